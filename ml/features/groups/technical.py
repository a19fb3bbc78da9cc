"""Group technical: indicators of trend, strength, volatility and volume."""

from __future__ import annotations

from functools import partial

from ml.features.families import Family, day, smoother, wilder, window

__all__ = ["FAMILIES"]

_DAY_MS = 86_400_000
family = partial(Family, group="technical")

FAMILIES = (
    family(
        "ema_{n}",
        "averages",
        "level",
        "exponential average of the close, alpha 2 / ({n} + 1)",
        smoother(),
        periods=(10, 20, 50, 100, 200),
        scale_free=False,
    ),
    family(
        "ema_{n}_distance",
        "averages",
        "distance",
        "close / ema_{n} - 1",
        smoother(),
        periods=(10, 20, 50, 100, 200),
        default=(10, 20, 50, 100, 200),
    ),
    family(
        "ema_{n}_slope",
        "averages",
        "slope",
        "ema_{n} / ema_{n} of 5 candles before - 1",
        smoother(extra=5),
        periods=(10, 20, 50),
        default=(10, 20),
    ),
    family(
        "trix_{n}",
        "averages",
        "triple_slope",
        "one-candle change of the exponential average (thrice) of the close, alpha 2 / ({n} + 1)",
        smoother(chain=3, extra=1),
        periods=(15,),
        default=(15,),
    ),
    family(
        "rsi_{n}",
        "strength",
        "rsi",
        "relative strength index of Wilder, 0 to 100",
        wilder(extra=1),
        periods=(7, 14, 21),
        default=(7, 14, 21),
    ),
    family(
        "stochastic_{n}",
        "extremes",
        "stochastic",
        "%K: 100 (close - lowest low) / (highest high - lowest low) of {n} candles",
        window(),
        periods=(14,),
        default=(14,),
    ),
    family(
        "stochastic_{n}_d",
        "extremes",
        "stochastic_d",
        "%D: mean of stochastic_{n} over 3 candles",
        window(2),
        periods=(14,),
        default=(14,),
    ),
    *(
        family(
            f"bollinger_{{n}}_{part}",
            "levels",
            output,
            formula,
            window(),
            periods=(20,),
            default=default,
            scale_free=scale_free,
            least=2,
        )
        for part, output, formula, default, scale_free in (
            ("middle", "mean", "mean of {n} closes", (), False),
            ("upper", "upper", "mean of {n} closes + 2 deviations", (), False),
            ("lower", "lower", "mean of {n} closes - 2 deviations", (), False),
            ("position", "position", "%b: (close - lower band) / (upper band - lower band)", (), True),
            ("width", "width", "(upper band - lower band) / middle", (20,), True),
        )
    ),
    family(
        "atr_{n}",
        "directional",
        "atr",
        "average true range of Wilder",
        wilder(),
        periods=(14,),
        scale_free=False,
    ),
    family(
        "atr_{n}_pct",
        "directional",
        "atr_pct",
        "atr_{n} / close",
        wilder(),
        periods=(14,),
        default=(14,),
    ),
    family(
        "true_range_ratio_{n}",
        "directional",
        "true_range_ratio",
        "true range / atr_{n}",
        wilder(extra=1),
        periods=(14,),
        default=(14,),
    ),
    *(
        family(
            f"{name}_{{n}}",
            "directional",
            output,
            formula,
            wilder(chain=chain, extra=1),
            periods=(14,),
            default=(14,),
        )
        for name, output, formula, chain in (
            ("plus_di", "plus_di", "100 smoothed rise of the high / atr_{n}", 1),
            ("minus_di", "minus_di", "100 smoothed fall of the low / atr_{n}", 1),
            ("adx", "adx", "smoothed 100 |plus_di - minus_di| / (plus_di + minus_di)", 2),
        )
    ),
    *(
        family(
            name,
            "oscillators",
            output,
            formula,
            smoother(fixed=(2 / 27, 0.2) if "signal" in output or "histogram" in output else (2 / 27,)),
            default=(0,) if name.endswith("_pct") else (),
            scale_free=name.endswith("_pct"),
        )
        for name, output, formula in (
            ("macd", "line", "exponential average of 12 - of 26 closes"),
            ("macd_signal", "signal", "exponential average of 9 of macd"),
            ("macd_histogram", "histogram", "macd - macd_signal"),
            ("macd_pct", "line_pct", "macd / close"),
            ("macd_signal_pct", "signal_pct", "macd_signal / close"),
            ("macd_histogram_pct", "histogram_pct", "macd_histogram / close"),
        )
    ),
    family(
        "ewma_volatility",
        "oscillators",
        "ewma_volatility",
        "sqrt of the exponential average, lambda 0.94, of squared 1-candle log returns",
        smoother(fixed=(0.06,), extra=1),
        default=(0,),
    ),
    family(
        "cci_{n}",
        "commodity_channel",
        "cci",
        "(typical price - mean) / (0.015 mean absolute deviation) of {n} candles",
        window(),
        periods=(20,),
        default=(20,),
        least=2,
    ),
    family(
        "volume_sma_{n}",
        "volumes",
        "mean",
        "mean volume of {n} candles",
        window(),
        periods=(20,),
        scale_free=False,
    ),
    family(
        "volume_ratio",
        "volumes",
        "ratio",
        "volume / volume_sma_20",
        window(),
        periods=(20,),
        default=(20,),
    ),
    family(
        "volume_zscore_{n}",
        "volumes",
        "zscore",
        "(volume - mean) / deviation of {n} candles",
        window(),
        periods=(20,),
        default=(20,),
        least=2,
    ),
    family(
        "obv_{n}",
        "volumes",
        "on_balance",
        "on-balance volume of {n} candles / their volume, -1 to 1",
        window(1),
        periods=(20,),
        default=(20,),
    ),
    family(
        "chaikin_money_flow_{n}",
        "money",
        "chaikin",
        "accumulation / distribution of {n} candles / their volume, -1 to 1",
        window(),
        periods=(20,),
        default=(20,),
    ),
    family(
        "mfi_{n}",
        "money",
        "money_flow",
        "money flow index: 100 rising / (rising + falling) turnover of {n} candles",
        window(1),
        periods=(14,),
        default=(14,),
    ),
    family(
        "vwap",
        "session",
        "vwap",
        "volume weighted typical price since 00:00 UTC",
        day,
        scale_free=False,
    ),
    family(
        "vwap_distance",
        "session",
        "vwap_distance",
        "close / vwap - 1",
        day,
        default=(0,),
        below_ms=_DAY_MS,
    ),
)
