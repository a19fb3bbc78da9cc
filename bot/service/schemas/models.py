"""Models: what is registered, how good it was on unseen bars, and what is asked of a training."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from bot.service.schemas.common import (
    WHOLE,
    Answer,
    ExchangeText,
    Request,
    SymbolText,
    Time,
    TimeframeText,
    TypeText,
    VersionText,
)

__all__ = ["Decision", "ModelCard", "ModelRow", "Performance", "PromoteRequest", "RollbackRequest", "TrainRequest"]


NameText = Annotated[str, Field(min_length=1, max_length=80)]


class Performance(Answer):
    """Figures of a model; null where its family does not measure one."""

    train_r2: float | None = None
    val_r2: float | None = None
    train_rmse: float | None = None
    val_rmse: float | None = None


class ModelRow(Answer):
    """One version."""

    name: str = Field(examples=["BTC_USDT_1m_300steps_multi_ohlc"])
    type: str = Field(examples=["multi_ohlc"])
    symbol: str = Field(examples=["BTC_USDT"])
    timeframe: str = Field(examples=["1m"])
    n_steps_ahead: int | None = Field(default=None, examples=[300])
    model_size_kb: float | None = Field(default=None, examples=[204.5])
    trained_at: Time
    performance: Performance
    version: str | None = None
    digest: str | None = None


class ModelCard(Answer):
    """All that is known of one version."""

    name: str
    type: str
    symbol: str
    timeframe: str
    version: str
    metadata: dict[str, Any]
    history: list[dict[str, Any]]


class TrainRequest(Request):
    """A model to train."""

    symbol: SymbolText
    timeframe: TimeframeText
    type: TypeText = "multi_ohlc"
    n_steps_ahead: Annotated[int, Field(ge=1, le=1_000), WHOLE] | None = Field(
        default=None, description="Candles ahead; the family's by default."
    )
    days_history: float | None = Field(
        default=30, gt=0, le=36_500, description="Days of the newest candles to learn from; all where null."
    )
    features: list[NameText] | None = Field(
        default=None, max_length=400, description="Names or groups; all by default."
    )
    params: dict[NameText, str | int | float | bool] | None = Field(default=None, max_length=50)
    exchange: ExchangeText | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), WHOLE] = 0
    promote: bool = Field(default=True, description="Promote it where it beats every baseline.")


class PromoteRequest(Request):
    """A version to put in charge."""

    timeframe: TimeframeText
    version: VersionText
    reason: str = Field(min_length=3, max_length=500, examples=["reviewed by hand"])
    force: bool = Field(default=False, description="Promote it although the gate refused it.")


class RollbackRequest(Request):
    """A champion to take back."""

    timeframe: TimeframeText
    reason: str = Field(min_length=3, max_length=500, examples=["wrong since the exchange changed its fees"])


class Decision(Answer):
    """What is in force after a decision."""

    symbol: str
    type: str
    timeframe: str
    champion: str = Field(description="The version in force now.")
    replaced: str | None = Field(description="The one before it.")
    changed: bool = Field(description="False where it was the champion already.")
