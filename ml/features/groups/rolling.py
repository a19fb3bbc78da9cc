"""Group rolling: moving means, deviations, extremes and moments of returns."""

from __future__ import annotations

from functools import partial

from ml.features.families import Family, window

__all__ = ["FAMILIES"]

family = partial(Family, group="rolling")

FAMILIES = (
    family(
        "sma_{n}",
        "levels",
        "mean",
        "mean of {n} closes",
        window(),
        periods=(5, 10, 20, 50),
        scale_free=False,
    ),
    family(
        "sma_{n}_distance",
        "levels",
        "distance",
        "close / sma_{n} - 1",
        window(),
        periods=(5, 10, 20, 50),
        default=(5, 10, 20, 50),
    ),
    family(
        "zscore_{n}",
        "levels",
        "zscore",
        "(close - mean) / deviation of {n} closes",
        window(),
        periods=(5, 10, 20, 50),
        default=(10, 20, 50),
        least=2,
    ),
    family(
        "volatility_{n}",
        "returns",
        "volatility",
        "sample deviation of {n} 1-candle log returns",
        window(1),
        periods=(5, 10, 20, 50),
        default=(5, 10, 20, 50),
        least=2,
    ),
    *(
        family(
            f"{name}_{{n}}{suffix}",
            "extremes",
            f"{name}{suffix}",
            formula,
            window(),
            periods=(5, 10, 20, 50),
            default=(5, 10, 20, 50) if suffix else (),
            scale_free=bool(suffix),
        )
        for name, suffix, formula in (
            ("min", "", "lowest low of {n} candles"),
            ("max", "", "highest high of {n} candles"),
            ("min", "_distance", "close / min_{n} - 1"),
            ("max", "_distance", "close / max_{n} - 1"),
        )
    ),
    family(
        "channel_position_{n}",
        "extremes",
        "position",
        "(close - min_{n}) / (max_{n} - min_{n})",
        window(),
        periods=(20, 50),
        default=(20, 50),
    ),
    *(
        family(
            f"{name}_{{n}}",
            "returns",
            output,
            formula,
            window(extra),
            periods=periods,
            default=periods,
            least=least,
        )
        for name, output, formula, extra, periods, least in (
            ("return_zscore", "zscore", "(log return - mean) / deviation of {n} log returns", 1, (20,), 2),
            ("skew", "skew", "sample skewness of {n} log returns", 1, (20, 50), 3),
            ("kurtosis", "kurtosis", "sample excess kurtosis of {n} log returns", 1, (50,), 4),
            ("up_ratio", "up_ratio", "share of {n} candles that closed higher", 1, (10, 20), 1),
            ("downside_ratio", "downside_ratio", "squares of falls / squares of all of {n} log returns", 1, (20,), 1),
            ("efficiency_ratio", "efficiency", "|sum| / sum of |.| of {n} log returns", 1, (10, 20), 1),
            ("autocorrelation", "autocorrelation", "of {n} log returns with the one before each", 2, (20,), 2),
        )
    ),
    *(
        family(
            f"{name}_{{n}}",
            "ranges",
            name,
            formula,
            window(),
            periods=(20,),
            default=(20,),
        )
        for name, formula in (
            ("parkinson", "volatility of {n} candles from high and low"),
            ("garman_klass", "volatility of {n} candles from open, high, low, close"),
        )
    ),
    family(
        "trend_{n}",
        "levels",
        "trend",
        "least squares slope of {n} closes a candle / their mean",
        window(),
        periods=(20, 50),
        default=(20, 50),
        least=2,
    ),
    family(
        "trend_fit_{n}",
        "levels",
        "trend_fit",
        "squared correlation of {n} closes with time",
        window(),
        periods=(20, 50),
        default=(20,),
        least=2,
    ),
)
