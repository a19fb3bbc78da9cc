"""Candles for the tests of features: random ones with every awkward thing in them, and the real ones of shared/data."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pandas as pd

from ml.candles import Candles

HOUR = 3_600_000
DAY = 86_400_000
START_MS = 1_609_459_200_000  # 2021-01-01, a Friday


def random_candles(
    count: int,
    seed: int = 0,
    *,
    timeframe: str = "1h",
    gaps: float = 0.01,
    flat: float = 0.03,
    idle: float = 0.02,
    columns: str = "full",
) -> Candles:
    """Candles with fat tails, volatility clusters, gaps, flat stretches, idle candles, spikes of volume, off-grid opens.

    ``columns``: ``full`` as Binance and with a daily sentiment, ``volume`` for OHLCV, ``prices`` for OHLC only.
    """
    rng = np.random.default_rng(seed)
    step = {"1m": 60_000, "5m": 300_000, "1h": HOUR, "4h": 4 * HOUR, "1d": DAY}[timeframe]
    skip = np.where(rng.random(count) < gaps, rng.integers(1, 60, count), 0)
    index = np.cumsum(1 + skip) - 1
    open_ms = START_MS + index * step
    if timeframe != "1d":  # a stretch that opens off the grid, as after an exchange's restart
        late = slice(count // 3, count // 3 + 30)
        open_ms[late] += step // 3
    calm = np.exp(np.cumsum(rng.normal(0, 0.05, count)) * 0.2)
    calm = 0.004 * calm / np.median(calm)
    steps = rng.standard_t(4, count) * np.clip(calm, 1e-4, 0.05)
    quiet = np.zeros(count, dtype=bool)
    for start in rng.integers(0, count, int(flat * count / 30)):
        quiet[start : start + 60] = True
    steps[quiet] = 0.0
    close = 30_000.0 * np.exp(np.cumsum(steps))
    opening = np.concatenate(([30_000.0], close[:-1])) * np.exp(np.where(quiet, 0, rng.normal(0, 2e-4, count)))
    high = np.maximum(opening, close) * np.exp(np.where(quiet, 0, np.abs(rng.normal(0, 0.002, count))))
    low = np.minimum(opening, close) * np.exp(-np.where(quiet, 0, np.abs(rng.normal(0, 0.002, count))))
    prices = {"open_ms": open_ms, "open": np.round(opening, 2), "close": np.round(close, 2)}
    prices["high"] = np.maximum(np.round(high, 2), np.maximum(prices["open"], prices["close"]))
    prices["low"] = np.minimum(np.round(low, 2), np.minimum(prices["open"], prices["close"]))
    if columns == "prices":
        return Candles.from_columns(timeframe, prices)
    volume = np.round(rng.lognormal(5, 1, count), 3)
    volume[rng.random(count) < 0.001] *= 1e5
    volume[rng.random(count) < idle] = 0.0
    volume[quiet] = 0.0
    if columns == "volume":
        return Candles.from_columns(timeframe, {**prices, "volume": volume})
    typical = (prices["high"] + prices["low"] + prices["close"]) / 3
    share = np.clip(0.5 + rng.normal(0, 0.1, count), 0, 1)
    taker = np.round(volume * share, 3)
    return Candles.from_columns(
        timeframe,
        {
            **prices,
            "volume": volume,
            "quote_volume": volume * typical,
            "trades": np.ceil(volume * rng.uniform(0.5, 2, count)),
            "taker_buy_base": taker,
            "taker_buy_quote": taker * typical * (1 + rng.normal(0, 1e-4, count)),
            "sentiment": daily_sentiment(open_ms + step, seed, missing=0.05 if idle else 0.0),
        },
    )


def daily_sentiment(close_ms: np.ndarray, seed: int = 0, *, missing: float = 0.05) -> np.ndarray:
    """A value for each day, 5 to 95, known from 00:00 UTC on; NaN on a share of the days, and on the first ones."""
    rng = np.random.default_rng([seed, 7])
    day = close_ms // DAY - close_ms[0] // DAY
    values = np.round(50 + 45 * np.sin(np.cumsum(rng.normal(0, 0.15, day[-1] + 1))))
    values[rng.random(len(values)) < missing] = np.nan
    if missing:
        values[:3] = np.nan
    return values[day]


@functools.cache
def real_candles(folder: Path, name: str, timeframe: str) -> Candles:
    """A series of shared/data by the start of its file name."""
    (path,) = folder.glob(f"{name}*.csv.gz")
    return Candles.from_frame(pd.read_csv(path), timeframe)


def weekday_candles(hourly: Candles) -> Candles:
    """Daily candles of Mondays to Fridays, gathered from hourly ones by the UTC date of the open."""
    frame = pd.DataFrame({"day": hourly.open_ms // DAY, **hourly.columns})
    frame = frame[(frame["day"] + 3) % 7 < 5]
    daily = frame.groupby("day").agg({"open": "first", "high": "max", "low": "min", "close": "last"})
    columns = {name: daily[name].to_numpy() for name in daily}
    return Candles.from_columns("1d", {"open_ms": daily.index.to_numpy() * DAY, **columns})


def frame_of(candles: Candles) -> pd.DataFrame:
    """A frame of float64 columns with a range index and the open time."""
    return pd.DataFrame({"open_ms": candles.open_ms, **candles.columns})
