"""The path as it is usually written: a frame that grows, every feature computed anew, ``lightgbm.predict``, a close."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import lightgbm

__all__ = ["naive_path"]


def naive_path(booster: lightgbm.Booster, frame: pd.DataFrame, names: tuple[str, ...], steps: int) -> list[float]:
    """Predict so many closes from the end of a frame of ``open_ms`` and ``close``; the last 600 candles are kept."""
    frame = frame[["open_ms", "close"]].tail(600).reset_index(drop=True)
    step_ms = int(frame["open_ms"].iloc[-1] - frame["open_ms"].iloc[-2])
    path = []
    for _ in range(steps):
        features = _features(frame, names)
        row = features.tail(1)
        score = float(booster.predict(row.to_numpy(np.float32), raw_score=True, num_threads=1)[0])
        close = float(frame["close"].iloc[-1]) * math.exp(score * float(row["ewma_volatility"].iloc[0]))
        newest = {"open_ms": [int(frame["open_ms"].iloc[-1]) + step_ms], "close": [close]}
        frame = pd.concat([frame, pd.DataFrame(newest)], ignore_index=True)
        path.append(close)
    return path


def _features(frame: pd.DataFrame, names: tuple[str, ...]) -> pd.DataFrame:
    close = frame["close"]
    returns = np.log(close / close.shift(1))
    found = {name: _feature(name, close, returns, pd.to_datetime(frame["open_ms"], unit="ms")) for name in names}
    return pd.DataFrame(found)


def _feature(name: str, close: pd.Series, returns: pd.Series, opened: pd.Series) -> pd.Series:
    n = next((int(part) for part in name.split("_") if part.isdigit()), 0)
    mean = close.rolling(n).mean() if n else close
    kind = "_".join(part for part in name.split("_") if not part.isdigit())
    formulas = {
        "return": lambda: close.pct_change(n),
        "acceleration": lambda: close.pct_change(n) - close.pct_change(n).shift(n),
        "ema_distance": lambda: close / close.ewm(span=n, adjust=False).mean() - 1,
        "ema_slope": lambda: close.ewm(span=n, adjust=False).mean().pct_change(5),
        "rsi": lambda: _strength(close, n),
        "macd_pct": lambda: _macd(close) / close,
        "macd_signal_pct": lambda: _macd(close).ewm(span=9, adjust=False).mean() / close,
        "macd_histogram_pct": lambda: (_macd(close) - _macd(close).ewm(span=9, adjust=False).mean()) / close,
        "ewma_volatility": lambda: np.sqrt((returns**2).ewm(alpha=0.06, adjust=False).mean()),
        "sma_distance": lambda: close / mean - 1,
        "zscore": lambda: (close - mean) / close.rolling(n).std(ddof=0),
        "bollinger_width": lambda: 4 * close.rolling(n).std(ddof=0) / mean,
        "trend": lambda: _covariance(close, n) / (n * (n * n - 1) / 12) / mean,
        "trend_fit": lambda: _covariance(close, n) ** 2 / (n * n * (n * n - 1) / 12 * close.rolling(n).var(ddof=0)),
        "volatility": lambda: returns.rolling(n).std(),
        "return_zscore": lambda: (returns - returns.rolling(n).mean()) / returns.rolling(n).std(),
        "skew": lambda: returns.rolling(n).skew(),
        "up_ratio": lambda: (returns > 0).rolling(n).mean(),
        "downside_ratio": lambda: (returns.clip(upper=0) ** 2).rolling(n).sum() / (returns**2).rolling(n).sum(),
        "efficiency_ratio": lambda: returns.rolling(n).sum().abs() / returns.abs().rolling(n).sum(),
        "candle_streak": lambda: _streak(returns),
        "hour_sin": lambda: np.sin(2 * np.pi * (opened.dt.hour * 60 + opened.dt.minute) / 1440),
        "hour_cos": lambda: np.cos(2 * np.pi * (opened.dt.hour * 60 + opened.dt.minute) / 1440),
        "day_of_week_sin": lambda: np.sin(2 * np.pi * opened.dt.dayofweek / 7),
        "day_of_week_cos": lambda: np.cos(2 * np.pi * opened.dt.dayofweek / 7),
    }
    return formulas[kind]()


def _macd(close: pd.Series) -> pd.Series:
    return close.ewm(span=12, adjust=False).mean() - close.ewm(span=26, adjust=False).mean()


def _strength(close: pd.Series, n: int) -> pd.Series:
    change = close.diff()
    up = change.clip(lower=0).ewm(alpha=1 / n, adjust=False).mean()
    down = (-change.clip(upper=0)).ewm(alpha=1 / n, adjust=False).mean()
    return 100 * up / (up + down)


def _covariance(close: pd.Series, n: int) -> pd.Series:
    """Sum of (position - middle) times the close over n candles."""
    weighted = (close * np.arange(len(close))).rolling(n).sum()
    first = pd.Series(np.arange(len(close)), index=close.index) - (n - 1) / 2
    return weighted - first * close.rolling(n).sum()


def _streak(returns: pd.Series) -> pd.Series:
    sign = np.sign(returns).fillna(0)
    run = sign.groupby((sign != sign.shift()).cumsum()).cumcount() + 1
    return (sign * run).clip(-10, 10)
