"""The default features in pandas: the peer of the benchmark, written as one would write it in a notebook."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

__all__ = ["PEERS", "peer_of"]

Frame = pd.DataFrame
Peer = Callable[[Frame, int], pd.Series]


def _ema(x: pd.Series, n: int) -> pd.Series:
    return x.ewm(span=n, adjust=False).mean()


def _wilder(x: pd.Series, n: int) -> pd.Series:
    return x.ewm(alpha=1 / n, adjust=False).mean()


def _log(f: Frame) -> pd.Series:
    return np.log(f.close / f.close.shift())


def _true_range(f: Frame) -> pd.Series:
    return np.maximum(f.high, f.close.shift()) - np.minimum(f.low, f.close.shift())


def _rsi(f: Frame, n: int) -> pd.Series:
    step = f.close.diff()
    up, down = _wilder(step.clip(lower=0), n), _wilder((-step).clip(lower=0), n)
    return 100 * up / (up + down)


def _movement(f: Frame, n: int, sign: int) -> pd.Series:
    up, down = f.high.diff(), -f.low.diff()
    one, other = (up, down) if sign > 0 else (down, up)
    return 100 * _wilder(one.where((one > other) & (one > 0), 0.0), n) / _wilder(_true_range(f), n)


def _adx(f: Frame, n: int) -> pd.Series:
    plus, minus = _movement(f, n, 1), _movement(f, n, -1)
    return _wilder(100 * (plus - minus).abs() / (plus + minus), n)


def _stochastic(f: Frame, n: int) -> pd.Series:
    low = f.low.rolling(n).min()
    return 100 * (f.close - low) / (f.high.rolling(n).max() - low)


def _macd(f: Frame) -> pd.Series:
    return _ema(f.close, 12) - _ema(f.close, 26)


def _zscore(x: pd.Series, n: int, ddof: int = 0) -> pd.Series:
    return (x - x.rolling(n).mean()) / x.rolling(n).std(ddof=ddof)


def _typical(f: Frame) -> pd.Series:
    return (f.high + f.low + f.close) / 3


def _cci(f: Frame, n: int) -> pd.Series:
    t = _typical(f)
    w = np.lib.stride_tricks.sliding_window_view(t.to_numpy(), n)
    deviation = np.abs(w - w.mean(axis=1, keepdims=True)).mean(axis=1)
    return (t - t.rolling(n).mean()) / (0.015 * pd.Series(np.concatenate((np.full(n - 1, np.nan), deviation))))


def _money_flow(f: Frame, n: int) -> pd.Series:
    t = _typical(f)
    turnover, step = t * f.volume, t.diff()
    up, down = turnover.where(step > 0, 0).rolling(n).sum(), turnover.where(step < 0, 0).rolling(n).sum()
    return 100 * up / (up + down)


def _session(f: Frame) -> pd.Series:
    day = f.open_ms // 86_400_000
    return (_typical(f) * f.volume).groupby(day).cumsum() / f.volume.groupby(day).cumsum()


def _trend(f: Frame, n: int) -> pd.Series:
    t = np.arange(n) - (n - 1) / 2
    w = np.lib.stride_tricks.sliding_window_view(f.close.to_numpy(), n)
    slope = pd.Series(np.concatenate((np.full(n - 1, np.nan), w @ t / (t @ t))))
    return slope / f.close.rolling(n).mean()


def _fit(f: Frame, n: int) -> pd.Series:
    return f.close.rolling(n).corr(pd.Series(np.arange(len(f), dtype=float))) ** 2


def _garman_klass(f: Frame, n: int) -> pd.Series:
    term = 0.5 * np.log(f.high / f.low) ** 2 - (2 * np.log(2) - 1) * np.log(f.close / f.open) ** 2
    return np.sqrt(term.rolling(n).mean())


def _roll(f: Frame, n: int) -> pd.Series:
    covariance = _log(f).rolling(n).cov(_log(f).shift())
    return -np.sign(covariance) * 2 * np.sqrt(covariance.abs())


def _corwin(f: Frame, n: int) -> pd.Series:
    u = np.log(f.high / f.low) ** 2
    beta = u + u.shift()
    gamma = np.log(f.high.rolling(2).max() / f.low.rolling(2).min()) ** 2
    k = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    return (2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))).clip(lower=0).rolling(n).mean()


def _net(f: Frame) -> pd.Series:
    return 2 * f.taker_buy_base - f.volume


def _amihud(f: Frame, n: int) -> pd.Series:
    return (_log(f).abs() / (f.close * f.volume)).rolling(n).mean()


def _body(f: Frame) -> pd.Series:
    return (f.close - f.open).abs()


def _top(f: Frame) -> pd.Series:
    return np.maximum(f.open, f.close)


def _bottom(f: Frame) -> pd.Series:
    return np.minimum(f.open, f.close)


def _streak(f: Frame) -> pd.Series:
    sign = np.sign(f.close.diff())
    run = sign.groupby((sign != sign.shift()).cumsum()).cumsum()
    return run.clip(-10, 10)


def _engulfing(f: Frame, sign: int) -> pd.Series:
    o, c = f.open * sign, f.close * sign
    return ((c.shift() < o.shift()) & (c > o) & (o <= c.shift()) & (c >= o.shift())).astype(float)


def _turn(f: Frame, function: Callable, period: int, unit: int, offset: int = 0) -> pd.Series:
    return function(2 * np.pi * ((f.open_ms // unit + offset) % period) / period)


def _share(a: pd.Series, b: pd.Series, n: int) -> pd.Series:
    return a.rolling(n).sum() / b.rolling(n).sum()


PEERS: dict[str, Peer] = {
    "return_{n}": lambda f, n: f.close.pct_change(n),
    "momentum_{n}": lambda f, n: f.close.pct_change(n),
    "acceleration_{n}": lambda f, n: f.close.pct_change(n).diff(n),
    "hl_range_pct": lambda f, n: (f.high - f.low) / f.close,
    "oc_range_pct": lambda f, n: (f.close - f.open) / f.open,
    "body_to_range": lambda f, n: _body(f) / (f.high - f.low),
    "upper_wick_to_range": lambda f, n: (f.high - _top(f)) / (f.high - f.low),
    "lower_wick_to_range": lambda f, n: (_bottom(f) - f.low) / (f.high - f.low),
    "close_location": lambda f, n: (2 * f.close - f.high - f.low) / (f.high - f.low),
    "gap_pct": lambda f, n: f.open / f.close.shift() - 1,
    "ema_{n}_distance": lambda f, n: f.close / _ema(f.close, n) - 1,
    "ema_{n}_slope": lambda f, n: _ema(f.close, n).pct_change(5),
    "trix_{n}": lambda f, n: _ema(_ema(_ema(f.close, n), n), n).pct_change(),
    "rsi_{n}": _rsi,
    "stochastic_{n}": _stochastic,
    "stochastic_{n}_d": lambda f, n: _stochastic(f, n).rolling(3).mean(),
    "bollinger_{n}_width": lambda f, n: 4 * f.close.rolling(n).std(ddof=0) / f.close.rolling(n).mean(),
    "atr_{n}_pct": lambda f, n: _wilder(_true_range(f), n) / f.close,
    "true_range_ratio_{n}": lambda f, n: _true_range(f) / _wilder(_true_range(f), n),
    "plus_di_{n}": lambda f, n: _movement(f, n, 1),
    "minus_di_{n}": lambda f, n: _movement(f, n, -1),
    "adx_{n}": _adx,
    "macd_pct": lambda f, n: _macd(f) / f.close,
    "macd_signal_pct": lambda f, n: _ema(_macd(f), 9) / f.close,
    "macd_histogram_pct": lambda f, n: (_macd(f) - _ema(_macd(f), 9)) / f.close,
    "ewma_volatility": lambda f, n: np.sqrt((_log(f) ** 2).ewm(alpha=0.06, adjust=False).mean()),
    "cci_{n}": _cci,
    "volume_ratio": lambda f, n: f.volume / f.volume.rolling(20).mean(),
    "volume_zscore_{n}": lambda f, n: _zscore(f.volume, n),
    "obv_{n}": lambda f, n: _share(np.sign(f.close.diff()) * f.volume, f.volume, n),
    "chaikin_money_flow_{n}": lambda f, n: _share(
        ((2 * f.close - f.high - f.low) / (f.high - f.low)).fillna(0) * f.volume, f.volume, n
    ),
    "mfi_{n}": _money_flow,
    "vwap_distance": lambda f, n: f.close / _session(f) - 1,
    "sma_{n}_distance": lambda f, n: f.close / f.close.rolling(n).mean() - 1,
    "zscore_{n}": lambda f, n: _zscore(f.close, n),
    "volatility_{n}": lambda f, n: _log(f).rolling(n).std(),
    "min_{n}_distance": lambda f, n: f.close / f.low.rolling(n).min() - 1,
    "max_{n}_distance": lambda f, n: f.close / f.high.rolling(n).max() - 1,
    "channel_position_{n}": lambda f, n: _stochastic(f, n) / 100,
    "return_zscore_{n}": lambda f, n: _zscore(_log(f), n, 1),
    "skew_{n}": lambda f, n: _log(f).rolling(n).skew(),
    "kurtosis_{n}": lambda f, n: _log(f).rolling(n).kurt(),
    "up_ratio_{n}": lambda f, n: (f.close.diff() > 0).astype(float).rolling(n).mean(),
    "downside_ratio_{n}": lambda f, n: _share(_log(f).clip(upper=0) ** 2, _log(f) ** 2, n),
    "efficiency_ratio_{n}": lambda f, n: _log(f).rolling(n).sum().abs() / _log(f).abs().rolling(n).sum(),
    "autocorrelation_{n}": lambda f, n: _log(f).rolling(n).corr(_log(f).shift()),
    "parkinson_{n}": lambda f, n: np.sqrt((np.log(f.high / f.low) ** 2).rolling(n).mean() / (4 * np.log(2))),
    "garman_klass_{n}": _garman_klass,
    "trend_{n}": _trend,
    "trend_fit_{n}": _fit,
    "bullish_candle": lambda f, n: (f.close > f.open).astype(float),
    "doji": lambda f, n: (10 * _body(f) <= f.high - f.low).astype(float),
    "hammer": lambda f, n: (
        (f.high > f.low) & (_bottom(f) - f.low >= 2 * _body(f)) & (10 * (f.high - _top(f)) <= f.high - f.low)
    ).astype(float),
    "shooting_star": lambda f, n: (
        (f.high > f.low) & (f.high - _top(f) >= 2 * _body(f)) & (10 * (_bottom(f) - f.low) <= f.high - f.low)
    ).astype(float),
    "bullish_engulfing": lambda f, n: _engulfing(f, 1),
    "bearish_engulfing": lambda f, n: _engulfing(f, -1),
    "inside_bar": lambda f, n: ((f.high <= f.high.shift()) & (f.low >= f.low.shift())).astype(float),
    "outside_bar": lambda f, n: ((f.high > f.high.shift()) & (f.low < f.low.shift())).astype(float),
    "candle_streak": lambda f, n: _streak(f),
    "volume_spike_{n}": lambda f, n: (f.volume > 2 * f.volume.rolling(n).mean()).astype(float),
    "volume_dry_up_{n}": lambda f, n: (f.volume < f.volume.rolling(n).mean() / 2).astype(float),
    "volume_trend_{n}": lambda f, n: f.volume.rolling(n // 4).mean() / f.volume.rolling(n).mean() - 1,
    "support_{n}_distance": lambda f, n: f.close / f.low.rolling(n).min().shift() - 1,
    "resistance_{n}_distance": lambda f, n: f.close / f.high.rolling(n).max().shift() - 1,
    "day_of_month": lambda f, n: pd.to_datetime(f.open_ms, unit="ms").dt.day,
    "hour_sin": lambda f, n: _turn(f, np.sin, 1440, 60_000),
    "hour_cos": lambda f, n: _turn(f, np.cos, 1440, 60_000),
    "day_of_week_sin": lambda f, n: _turn(f, np.sin, 7, 86_400_000, 3),
    "day_of_week_cos": lambda f, n: _turn(f, np.cos, 7, 86_400_000, 3),
    "taker_imbalance": lambda f, n: 2 * f.taker_buy_base / f.volume - 1,
    "taker_imbalance_{n}": lambda f, n: (2 * f.taker_buy_base / f.volume - 1).rolling(n).mean(),
    "flow_imbalance_{n}": lambda f, n: _share(_net(f), f.volume, n),
    "flow_toxicity_{n}": lambda f, n: _share(_net(f).abs(), f.volume, n),
    "kyle_lambda_{n}": lambda f, n: (
        _log(f).rolling(n).cov(_net(f)) / _net(f).rolling(n).var() * f.volume.rolling(n).mean()
    ),
    "flow_return_correlation_{n}": lambda f, n: _log(f).rolling(n).corr(_net(f)),
    "trade_size_ratio_{n}": lambda f, n: f.volume / f.trades / _share(f.volume, f.trades, n),
    "trade_intensity_{n}": lambda f, n: f.trades / f.trades.rolling(n).mean(),
    "amihud_ratio_{n}": lambda f, n: _amihud(f, n // 4) / _amihud(f, n) - 1,
    "rolling_vwap_distance_{n}": lambda f, n: f.close / _share(_typical(f) * f.volume, f.volume, n) - 1,
    "roll_spread_{n}": _roll,
    "corwin_schultz_{n}": _corwin,
    "bar_vwap_distance": lambda f, n: f.close / (f.quote_volume / f.volume) - 1,
    "taker_premium": lambda f, n: (f.taker_buy_quote / f.taker_buy_base) / (f.quote_volume / f.volume) - 1,
}


def peer_of(name: str) -> tuple[Peer, int]:
    """The pandas expression of a default feature, and its period."""
    if name in PEERS:
        return PEERS[name], 0
    parts = name.split("_")
    place = next(k for k, part in enumerate(parts) if part.isdigit())
    return PEERS["_".join([*parts[:place], "{n}", *parts[place + 1 :]])], int(parts[place])
