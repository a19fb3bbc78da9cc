"""What ``bot data list`` says about a series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from bot.errors import BotError
from bot.market.series_file import read_series
from ml.candles import format_ms
from ml.errors import MLError
from registry.errors import RegistryError

if TYPE_CHECKING:
    from bot.market.store import ListedSeries
    from ml.candles import Candles

__all__ = ["describe_series"]


def describe_series(series: ListedSeries) -> dict[str, Any]:
    """Return one row of the listing; figures of a damaged file are None, and its ``problem`` says what is wrong.

    ``features_from`` is the first bar that has the default features of its timeframe, None where no bar has them yet.
    """
    row: dict[str, Any] = {
        "symbol": series.symbol,
        "timeframe": series.timeframe,
        "exchange": series.exchange,
        "bars": None,
        "first": None,
        "last": None,
        "features_from": None,
        "bars_with_features": None,
        "columns": [],
        "digest": None,
        "rules": None,
        "origin": None,
        "problem": series.problem,
    }
    header = series.header
    if header is None:
        return row
    row |= {
        "bars": header.bars,
        "first": format_ms(header.first_ms),
        "last": format_ms(header.last_ms),
        "columns": list(header.columns),
        "digest": header.digest,
        "rules": None if header.rules is None else header.rules.to_dict(),
        "origin": header.origin,
    }
    try:
        valid, candles = _bars_with_features(series)
    except (MLError, RegistryError):
        return row  # candles without features are candles: a timeframe that no schema covers
    except BotError as error:
        return row | {"problem": str(error)}
    first = format_ms(int(candles.open_ms[np.argmax(valid)])) if valid.any() else None
    return row | {"features_from": first, "bars_with_features": int(valid.sum())}


def _bars_with_features(series: ListedSeries) -> tuple[Any, Candles]:
    from ml.features.blocks import find_blocks, valid_bars
    from ml.features.schema import FeatureSchema

    _, candles = read_series(series.path)
    schema = FeatureSchema.for_candles(candles)
    blocks = find_blocks(candles, schema.anchor_bars, schema.index)
    return valid_bars(candles, blocks, schema.min_candles), candles
