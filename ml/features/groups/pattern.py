"""Group pattern: candlestick and volume patterns, support and resistance."""

from __future__ import annotations

from functools import partial

from ml.features.families import Family, single, window

__all__ = ["FAMILIES"]

family = partial(Family, group="pattern")

FAMILIES = (
    *(
        family(name, "patterns", output, formula, single(candles), default=() if name == "bearish_candle" else (0,))
        for name, output, formula, candles in (
            ("bullish_candle", "bullish", "1 where close > open", 1),
            ("bearish_candle", "bearish", "1 where close < open", 1),
            ("doji", "doji", "1 where |close - open| <= (high - low) / 10", 1),
            ("hammer", "hammer", "1 for a lower wick of two bodies and hardly an upper one", 1),
            ("shooting_star", "shooting_star", "1 for an upper wick of two bodies and hardly a lower one", 1),
            ("bullish_engulfing", "bullish_engulfing", "1 where a rising body covers the falling one before", 2),
            ("bearish_engulfing", "bearish_engulfing", "1 where a falling body covers the rising one before", 2),
            ("inside_bar", "inside", "1 where high and low stay within the candle before", 2),
            ("outside_bar", "outside", "1 where high and low pass those of the candle before", 2),
            ("candle_streak", "streak", "consecutive closes in one direction, signed, 10 at most", 11),
        )
    ),
    *(
        family(f"{name}_{{n}}", "volumes", output, formula, window(), periods=(20,), default=(20,))
        for name, output, formula in (
            ("volume_spike", "spike", "1 where volume > 2 means of {n} candles"),
            ("volume_dry_up", "dry_up", "1 where volume < half the mean of {n} candles"),
            ("volume_trend", "trend", "mean volume of the newest quarter of {n} candles / of all - 1"),
        )
    ),
    *(
        family(
            f"{name}_{{n}}{suffix}",
            "extremes",
            output,
            formula,
            window(1),
            periods=(20, 50),
            default=default,
        )
        for name, suffix, output, formula, default in (
            ("support", "_distance", "support_distance", "close / lowest low of the {n} candles before - 1", (20, 50)),
            (
                "resistance",
                "_distance",
                "resistance_distance",
                "close / highest high of the {n} candles before - 1",
                (20, 50),
            ),
            ("breakout", "", "breakout", "1 above the highs, -1 below the lows of the {n} candles before", ()),
        )
    ),
)
