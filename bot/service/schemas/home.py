"""What a home holds: candles, runs, bots, the pipeline; documents whose inner fields other commands describe are open."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from bot.service.schemas.common import Answer, Time

__all__ = ["Accuracy", "BotRow", "CandleSeries", "CandleTable", "Document", "Health", "RunRow"]


class Document(Answer):
    """An open document, as the command of the same name prints it with ``--json``."""


class CandleTable(Answer):
    """Candles in columns; each entry stands for ``group`` neighbours."""

    symbol: str
    timeframe: str
    exchange: str
    group: int = Field(ge=1, description="Candles in one entry.")
    rows: list[list[int | float | None]] = Field(description="Open time in ms UTC, open, high, low, close, volume.")


class CandleSeries(Answer):
    """One stored series."""

    symbol: str
    timeframe: str
    exchange: str


class RunRow(Answer):
    """One run; figures are null where its folder is damaged, and ``problem`` says why."""

    run_id: str
    problem: str | None = None


class BotRow(Answer):
    """One bot."""

    name: str
    running: bool


class Accuracy(Answer):
    """Predictions against what came true."""

    symbol: str
    timeframe: str
    type: str
    rows: int


class Health(Answer):
    """Whether the server can do its work."""

    ok: bool
    problems: list[str] = Field(description="What is wrong, in words.")
    time: Time | None = None
    details: dict[str, Any] | None = None
