"""Group price: returns, momentum and the shape of the newest candles."""

from __future__ import annotations

from functools import partial

from ml.features.families import Family, single, window

__all__ = ["FAMILIES"]

family = partial(Family, group="price")

FAMILIES = (
    family("close", "shapes", "close", "close", single(), scale_free=False),
    family("returns", "lags", "change", "close / close 1 candle before - 1", window(1), periods=(1,)),
    family(
        "return_{n}",
        "lags",
        "change",
        "close / close {n} candles before - 1",
        window(1),
        periods=(1, 2, 5, 10),
        default=(1, 2, 5, 10),
    ),
    family(
        "log_return_{n}",
        "lags",
        "log_change",
        "ln(close / close {n} candles before)",
        window(1),
        periods=(1, 5),
    ),
    family(
        "momentum_{n}",
        "lags",
        "change",
        "rate of change: close / close {n} candles before - 1",
        window(1),
        periods=(5, 10, 20),
        default=(20,),
    ),
    family(
        "acceleration_{n}",
        "lags",
        "acceleration",
        "momentum_{n} minus momentum_{n} of {n} candles before",
        window(1, times=2),
        periods=(5,),
        default=(5,),
    ),
    family("hl_range", "shapes", "range", "high - low", single(), scale_free=False),
    family("hl_range_pct", "shapes", "range_pct", "(high - low) / close", single(), default=(0,)),
    family("oc_range", "shapes", "body", "close - open", single(), scale_free=False),
    family("oc_range_pct", "shapes", "body_pct", "(close - open) / open", single(), default=(0,)),
    family("body_to_range", "shapes", "body_share", "|close - open| / (high - low)", single(), default=(0,)),
    family(
        "upper_wick_to_range",
        "shapes",
        "upper_share",
        "(high - max(open, close)) / (high - low)",
        single(),
        default=(0,),
    ),
    family(
        "lower_wick_to_range",
        "shapes",
        "lower_share",
        "(min(open, close) - low) / (high - low)",
        single(),
        default=(0,),
    ),
    family(
        "close_location",
        "shapes",
        "location",
        "((close - low) - (high - close)) / (high - low)",
        single(),
        default=(0,),
    ),
    family("gap_pct", "shapes", "gap", "open / close before - 1", single(2), default=(0,)),
    family(
        "true_range_pct",
        "shapes",
        "true_range_pct",
        "(max(high, close before) - min(low, close before)) / close",
        single(2),
    ),
)
