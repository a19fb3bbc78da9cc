"""What ``bot data list`` says about a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.candles import format_ms

if TYPE_CHECKING:
    from bot.market.store import ListedSeries

__all__ = ["describe_series"]


def describe_series(series: ListedSeries) -> dict[str, Any]:
    """Return one row of the listing; figures of a damaged file are None."""
    row: dict[str, Any] = {
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "exchange": series.exchange,
        "bars": None,
        "first": None,
        "last": None,
        "columns": [],
        "digest": None,
        "rules": None,
        "origin": None,
        "problem": series.problem,
    }
    header = series.header
    if header is None:
        return row
    return row | {
        "bars": header.bars,
        "first": format_ms(header.first_ms),
        "last": format_ms(header.last_ms),
        "columns": list(header.columns),
        "digest": header.digest,
        "rules": None if header.rules is None else header.rules.to_dict(),
        "origin": header.origin,
    }
