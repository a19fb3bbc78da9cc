"""Every feature computed again, independently, on the candles of one slice: TA-Lib, pandas, scipy, or the formula itself.

``ORACLES`` maps a name, its period written as ``{n}``, to a function of (frame, n) that returns one value a candle. Windows
are summed afresh, in two passes, so that what is compared is our rounding and not pandas'.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pandas as pd
import talib
from scipy import stats

Oracle = Callable[[pd.DataFrame, int], np.ndarray]


def oracle_of(name: str) -> tuple[Oracle, int] | None:
    """The oracle of a feature and its period (0 where the name has none)."""
    if name in ORACLES:
        return ORACLES[name], 0
    found = re.search(r"_([0-9]+)", name)
    template = re.sub(r"_[0-9]+", "_{n}", name, count=1)
    return (ORACLES[template], int(found[1])) if found and template in ORACLES else None


def windows(x: np.ndarray, n: int) -> np.ndarray:
    """The last n values before each candle's end, shape (len, n); NaN rows where there are fewer."""
    x = np.asarray(x, dtype=float)
    padded = np.concatenate((np.full(n - 1, np.nan), x))
    return np.lib.stride_tricks.sliding_window_view(padded, n)


def before(x: np.ndarray, n: int = 1) -> np.ndarray:
    return np.concatenate((np.full(min(n, len(x)), np.nan), np.asarray(x, dtype=float)[:-n]))[: len(x)]


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.where(b != 0, a / np.where(b != 0, b, 1), np.nan)


def log_returns(f: pd.DataFrame) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.log(f.close.to_numpy() / before(f.close))


def ema(x: np.ndarray, n: int) -> np.ndarray:
    return pd.Series(x).ewm(span=n, adjust=False).mean().to_numpy()


def wilder(x: np.ndarray, n: int) -> np.ndarray:
    return pd.Series(x).ewm(alpha=1 / n, adjust=False).mean().to_numpy()


def typical(f: pd.DataFrame) -> np.ndarray:
    return (f.high + f.low + f.close).to_numpy() / 3


def true_range(f: pd.DataFrame) -> np.ndarray:
    return np.maximum(f.high, before(f.close)) - np.minimum(f.low, before(f.close))


def deviation(w: np.ndarray, ddof: int) -> np.ndarray:
    with np.errstate(all="ignore"):
        sd = np.std(w, axis=1, ddof=ddof)
    return np.where(np.ptp(w, axis=1) == 0, 0.0, sd)


def days_before(f: pd.DataFrame, n: int) -> np.ndarray:
    """Sentiment of the newest candle that opened at least n days earlier, by a join of times."""
    wanted = pd.DataFrame({"open_ms": f.open_ms.to_numpy() - n * 86_400_000})
    return pd.merge_asof(wanted, f[["open_ms", "sentiment"]], on="open_ms").sentiment.to_numpy()


def change(f, n):
    return f.close.to_numpy() / before(f.close, n) - 1


def zscore(x, n, ddof):
    w = windows(x, n)
    return divide(w[:, -1] - w.mean(axis=1), deviation(w, ddof))


def moment(function):
    def oracle(f, n):
        w = windows(log_returns(f), n)
        out = np.full(len(w), np.nan)
        good = ~np.isnan(w).any(axis=1) & (np.ptp(w, axis=1) > 0)
        out[good] = function(w[good], axis=1, bias=False)
        return out

    return oracle


def line(f, n):
    """Least squares slope and squared correlation of closes with time, by numpy's polynomial fit."""
    w = windows(f.close, n)
    t = np.arange(n) - (n - 1) / 2
    centred = w - w.mean(axis=1, keepdims=True)
    slope = (centred @ t) / (t @ t)
    flat = np.ptp(w, axis=1) == 0
    fit = divide((centred @ t) ** 2, (t @ t) * (centred**2).sum(axis=1))
    slope, fit = np.where(flat, 0.0, slope), np.where(flat, np.nan, fit)
    return divide(slope, w.mean(axis=1)), fit


def paired(f, n):
    """Sample covariance and correlation of log returns with the one before each."""
    x = log_returns(f)
    a, b = windows(x, n), windows(before(x), n)
    a = a - a.mean(axis=1, keepdims=True)
    b = b - b.mean(axis=1, keepdims=True)
    covariance = (a * b).sum(axis=1)
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    still = (np.ptp(a, axis=1) == 0) | (np.ptp(b, axis=1) == 0)
    return covariance / (n - 1), np.where(still, np.nan, divide(covariance, norm))


def roll_spread(f, n):
    covariance, _ = paired(f, n)
    return np.copysign(2 * np.sqrt(np.abs(covariance)), -covariance)


def directional(function):
    return lambda f, n: function(f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy(), timeperiod=n)


def taker_ratio(f):
    return divide(2 * f.taker_buy_base.to_numpy(), f.volume.to_numpy()) - np.where(f.volume > 0, 1, np.nan)


def mean_of_known(x, n):
    w = windows(np.where(np.isnan(x), 0.0, x), n)
    return divide(w.sum(axis=1), windows((~np.isnan(x)).astype(float), n).sum(axis=1))


def sums(x, n):
    return windows(x, n).sum(axis=1)


def net(f):
    return (2 * f.taker_buy_base - f.volume).to_numpy()


def regression(f, n):
    x, s = windows(log_returns(f), n), windows(net(f), n)
    with np.errstate(all="ignore"):
        x0, s0 = x - x.mean(axis=1, keepdims=True), s - s.mean(axis=1, keepdims=True)
        covariance, var_s, var_x = (x0 * s0).sum(axis=1), (s0**2).sum(axis=1), (x0**2).sum(axis=1)
    var_s = np.where(np.ptp(s, axis=1) == 0, 0.0, var_s)
    var_x = np.where(np.ptp(x, axis=1) == 0, 0.0, var_x)
    slope = divide(covariance, var_s) * windows(f.volume, n).mean(axis=1)
    return slope, divide(covariance, np.sqrt(var_s * var_x))


def amihud(f, n):
    traded = f.volume.to_numpy() > 0
    term = np.where(traded, divide(np.abs(log_returns(f)), (f.close * f.volume).to_numpy()), 0.0)
    term[0] = np.nan
    return divide(sums(term, n), sums(np.where(np.isnan(term), np.nan, traded), n))


def amihud_ratio(f, n):
    return divide(amihud(f, max(1, n // 4)), amihud(f, n)) - 1


def corwin_schultz(f, n):
    u = np.log(f.high / f.low).to_numpy()
    beta = u**2 + before(u) ** 2
    gamma = np.log(np.maximum(f.high, before(f.high)) / np.minimum(f.low, before(f.low))).to_numpy() ** 2
    k = 3 - 2 * np.sqrt(2)
    alpha = (np.sqrt(2 * beta) - np.sqrt(beta)) / k - np.sqrt(gamma / k)
    spread = 2 * (np.exp(alpha) - 1) / (1 + np.exp(alpha))
    return windows(np.maximum(spread, 0), n).mean(axis=1)


def streak(f):
    out, run = [], 0
    for step in np.sign(np.diff(f.close)):
        run = 0 if step == 0 else (run + int(step) if run * step > 0 else int(step))
        out.append(max(-10, min(10, run)))
    return after(10, [np.nan, *out])


def session(f):
    day = f.open_ms // 86_400_000
    paid = (typical(f) * f.volume).groupby(day).cumsum()
    return divide(paid.to_numpy(), f.volume.groupby(day).cumsum().to_numpy())


def clock(attribute):
    def oracle(f, n):
        times = pd.to_datetime(f.open_ms, unit="ms", utc=True)
        return np.asarray(getattr(times.dt, attribute), dtype=float)

    return oracle


def turn(kind, unit):
    def oracle(f, n):
        times = pd.to_datetime(f.open_ms, unit="ms", utc=True).dt
        part = {
            "day": (times.hour * 60 + times.minute) / 1440,
            "week": times.day_of_week / 7,
            "year": (times.month - 1) / 12,
        }[unit]
        return kind(2 * np.pi * part.to_numpy())

    return oracle


def highest(f, n):
    return windows(f.high, n).max(axis=1)


def lowest(f, n):
    return windows(f.low, n).min(axis=1)


def stochastic(f, n):
    return 100 * divide(f.close.to_numpy() - lowest(f, n), highest(f, n) - lowest(f, n))


def span(f):
    return (f.high - f.low).to_numpy()


def top(f):
    return np.maximum(f.open, f.close).to_numpy()


def bottom(f):
    return np.minimum(f.open, f.close).to_numpy()


def after(candles: int, condition) -> np.ndarray:
    """A condition as 1 or 0, NaN at the first candles."""
    out = np.asarray(condition, dtype=float)
    out[:candles] = np.nan
    return out


def engulfing(f, sign):
    o, c = f.open.to_numpy() * sign, f.close.to_numpy() * sign
    po, pc = before(o), before(c)
    return after(1, (pc < po) & (c > o) & (o <= pc) & (c >= po))


def pin(f, long, short):
    body = np.abs(f.close - f.open).to_numpy()
    return ((span(f) > 0) & (long >= 2 * body) & (10 * short <= span(f))).astype(float)


def breakout(f, n):
    c, h, l = f.close.to_numpy(), before(highest(f, n)), before(lowest(f, n))
    return np.where(np.isnan(h), np.nan, np.where(c > h, 1.0, np.where(c < l, -1.0, 0.0)))


def volume_flag(f, n, condition):
    mean = windows(f.volume, n).mean(axis=1)
    return np.where(mean > 0, condition(f.volume.to_numpy(), mean), np.nan)


def macd(f, part):
    line_ = ema(f.close, 12) - ema(f.close, 26)
    signal = ema(line_, 9)
    return {"line": line_, "signal": signal, "histogram": line_ - signal}[part]


def obv(f, n):
    signed = np.sign(f.close.to_numpy() - before(f.close)) * f.volume.to_numpy()
    return divide(sums(signed, n), sums(f.volume, n))


def chaikin(f, n):
    location = np.nan_to_num(divide((2 * f.close - f.high - f.low).to_numpy(), span(f)))
    return divide(sums(location * f.volume, n), sums(f.volume, n))


def money_flow(f, n):
    t = typical(f)
    turnover, step = t * f.volume.to_numpy(), np.sign(t - before(t))
    up, down = (sums(np.where(np.isnan(step), np.nan, (step == s) * turnover), n) for s in (1, -1))
    return 100 * divide(up, up + down)


def downside(f, n):
    w = windows(log_returns(f), n)
    share = divide(np.where(w < 0, w, 0) ** 2 @ np.ones(n), (w**2).sum(axis=1))
    return np.where(np.isnan(w).any(axis=1), np.nan, share)


ORACLES: dict[str, Oracle] = {
    # price
    "close": lambda f, n: f.close.to_numpy(),
    "returns": lambda f, n: change(f, 1),
    "return_{n}": change,
    "momentum_{n}": lambda f, n: talib.ROCP(f.close.to_numpy(), timeperiod=n),
    "log_return_{n}": lambda f, n: np.log(f.close.to_numpy() / before(f.close, n)),
    "acceleration_{n}": lambda f, n: change(f, n) - before(change(f, n), n),
    "hl_range": lambda f, n: span(f),
    "hl_range_pct": lambda f, n: span(f) / f.close.to_numpy(),
    "oc_range": lambda f, n: (f.close - f.open).to_numpy(),
    "oc_range_pct": lambda f, n: (f.close / f.open - 1).to_numpy(),
    "body_to_range": lambda f, n: divide(np.abs(f.close - f.open).to_numpy(), span(f)),
    "upper_wick_to_range": lambda f, n: divide(f.high.to_numpy() - top(f), span(f)),
    "lower_wick_to_range": lambda f, n: divide(bottom(f) - f.low.to_numpy(), span(f)),
    "close_location": lambda f, n: divide((2 * f.close - f.high - f.low).to_numpy(), span(f)),
    "gap_pct": lambda f, n: f.open.to_numpy() / before(f.close) - 1,
    "true_range_pct": lambda f, n: (
        talib.TRANGE(f.high.to_numpy(), f.low.to_numpy(), f.close.to_numpy()) / f.close.to_numpy()
    ),
    # technical
    "ema_{n}": lambda f, n: ema(f.close, n),
    "ema_{n}_distance": lambda f, n: f.close.to_numpy() / ema(f.close, n) - 1,
    "ema_{n}_slope": lambda f, n: ema(f.close, n) / before(ema(f.close, n), 5) - 1,
    "trix_{n}": lambda f, n: talib.TRIX(f.close.to_numpy(), timeperiod=n) / 100,
    "rsi_{n}": lambda f, n: talib.RSI(f.close.to_numpy(), timeperiod=n),
    "stochastic_{n}": stochastic,
    "stochastic_{n}_d": lambda f, n: windows(stochastic(f, n), 3).mean(axis=1),
    "bollinger_{n}_middle": lambda f, n: talib.BBANDS(f.close.to_numpy(), timeperiod=n)[1],
    "bollinger_{n}_upper": lambda f, n: windows(f.close, n).mean(axis=1) + 2 * deviation(windows(f.close, n), 0),
    "bollinger_{n}_lower": lambda f, n: windows(f.close, n).mean(axis=1) - 2 * deviation(windows(f.close, n), 0),
    "bollinger_{n}_position": lambda f, n: (zscore(f.close, n, 0) + 2) / 4,
    "bollinger_{n}_width": lambda f, n: 4 * deviation(windows(f.close, n), 0) / windows(f.close, n).mean(axis=1),
    "atr_{n}": directional(talib.ATR),
    "atr_{n}_pct": lambda f, n: directional(talib.NATR)(f, n) / 100,
    "true_range_ratio_{n}": lambda f, n: true_range(f) / directional(talib.ATR)(f, n),
    "plus_di_{n}": directional(talib.PLUS_DI),
    "minus_di_{n}": directional(talib.MINUS_DI),
    "adx_{n}": directional(talib.ADX),
    "macd": lambda f, n: macd(f, "line"),
    "macd_signal": lambda f, n: macd(f, "signal"),
    "macd_histogram": lambda f, n: talib.MACD(f.close.to_numpy())[2],
    "macd_pct": lambda f, n: macd(f, "line") / f.close.to_numpy(),
    "macd_signal_pct": lambda f, n: macd(f, "signal") / f.close.to_numpy(),
    "macd_histogram_pct": lambda f, n: macd(f, "histogram") / f.close.to_numpy(),
    "ewma_volatility": lambda f, n: np.sqrt(pd.Series(log_returns(f) ** 2).ewm(alpha=0.06, adjust=False).mean()),
    "cci_{n}": lambda f, n: np.where(np.ptp(windows(typical(f), n), axis=1) == 0, np.nan, directional(talib.CCI)(f, n)),
    "volume_sma_{n}": lambda f, n: windows(f.volume, n).mean(axis=1),
    "volume_ratio": lambda f, n: divide(f.volume.to_numpy(), windows(f.volume, 20).mean(axis=1)),
    "volume_zscore_{n}": lambda f, n: zscore(f.volume, n, 0),
    "obv_{n}": obv,
    "chaikin_money_flow_{n}": chaikin,
    "mfi_{n}": money_flow,
    "vwap": lambda f, n: session(f),
    "vwap_distance": lambda f, n: f.close.to_numpy() / session(f) - 1,
    # rolling
    "sma_{n}": lambda f, n: talib.SMA(f.close.to_numpy(), timeperiod=n),
    "sma_{n}_distance": lambda f, n: f.close.to_numpy() / windows(f.close, n).mean(axis=1) - 1,
    "zscore_{n}": lambda f, n: zscore(f.close, n, 0),
    "volatility_{n}": lambda f, n: deviation(windows(log_returns(f), n), 1),
    "min_{n}": lambda f, n: talib.MIN(f.low.to_numpy(), timeperiod=n),
    "max_{n}": lambda f, n: talib.MAX(f.high.to_numpy(), timeperiod=n),
    "min_{n}_distance": lambda f, n: f.close.to_numpy() / lowest(f, n) - 1,
    "max_{n}_distance": lambda f, n: f.close.to_numpy() / highest(f, n) - 1,
    "channel_position_{n}": lambda f, n: stochastic(f, n) / 100,
    "return_zscore_{n}": lambda f, n: zscore(log_returns(f), n, 1),
    "skew_{n}": moment(stats.skew),
    "kurtosis_{n}": moment(stats.kurtosis),
    "up_ratio_{n}": lambda f, n: windows(after(1, f.close.to_numpy() > before(f.close)), n).mean(axis=1),
    "downside_ratio_{n}": downside,
    "efficiency_ratio_{n}": lambda f, n: divide(np.abs(sums(log_returns(f), n)), sums(np.abs(log_returns(f)), n)),
    "autocorrelation_{n}": lambda f, n: paired(f, n)[1],
    "parkinson_{n}": lambda f, n: np.sqrt(windows(np.log(f.high / f.low) ** 2, n).mean(axis=1) / (4 * np.log(2))),
    "garman_klass_{n}": lambda f, n: np.sqrt(
        windows(
            0.5 * np.log(f.high / f.low) ** 2 - (2 * np.log(2) - 1) * np.log(f.close / f.open) ** 2,
            n,
        ).mean(axis=1)
    ),
    "trend_{n}": lambda f, n: line(f, n)[0],
    "trend_fit_{n}": lambda f, n: line(f, n)[1],
    # pattern
    "bullish_candle": lambda f, n: (f.close > f.open).to_numpy(dtype=float),
    "bearish_candle": lambda f, n: (f.close < f.open).to_numpy(dtype=float),
    "doji": lambda f, n: (10 * np.abs(f.close - f.open).to_numpy() <= span(f)).astype(float),
    "hammer": lambda f, n: pin(f, bottom(f) - f.low.to_numpy(), f.high.to_numpy() - top(f)),
    "shooting_star": lambda f, n: pin(f, f.high.to_numpy() - top(f), bottom(f) - f.low.to_numpy()),
    "bullish_engulfing": lambda f, n: engulfing(f, 1),
    "bearish_engulfing": lambda f, n: engulfing(f, -1),
    "inside_bar": lambda f, n: after(1, (f.high <= before(f.high)) & (f.low >= before(f.low))),
    "outside_bar": lambda f, n: after(1, (f.high > before(f.high)) & (f.low < before(f.low))),
    "candle_streak": lambda f, n: streak(f),
    "volume_spike_{n}": lambda f, n: volume_flag(f, n, lambda v, m: v > 2 * m),
    "volume_dry_up_{n}": lambda f, n: volume_flag(f, n, lambda v, m: v < m / 2),
    "volume_trend_{n}": lambda f, n: (
        divide(windows(f.volume, n)[:, -max(1, n // 4) :].mean(axis=1), windows(f.volume, n).mean(axis=1)) - 1
    ),
    "support_{n}_distance": lambda f, n: f.close.to_numpy() / before(lowest(f, n)) - 1,
    "resistance_{n}_distance": lambda f, n: f.close.to_numpy() / before(highest(f, n)) - 1,
    "breakout_{n}": breakout,
    # time
    "hour": clock("hour"),
    "day_of_week": clock("day_of_week"),
    "day_of_month": clock("day"),
    "month": clock("month"),
    "quarter": clock("quarter"),
    "hour_sin": turn(np.sin, "day"),
    "hour_cos": turn(np.cos, "day"),
    "day_of_week_sin": turn(np.sin, "week"),
    "day_of_week_cos": turn(np.cos, "week"),
    "month_sin": turn(np.sin, "year"),
    "month_cos": turn(np.cos, "year"),
    # microstructure
    "taker_imbalance": lambda f, n: taker_ratio(f),
    "taker_imbalance_{n}": lambda f, n: mean_of_known(taker_ratio(f), n),
    "flow_imbalance_{n}": lambda f, n: divide(sums(net(f), n), sums(f.volume, n)),
    "flow_toxicity_{n}": lambda f, n: divide(sums(np.abs(net(f)), n), sums(f.volume, n)),
    "kyle_lambda_{n}": lambda f, n: regression(f, n)[0],
    "flow_return_correlation_{n}": lambda f, n: regression(f, n)[1],
    "average_trade_size_{n}": lambda f, n: divide(sums(f.volume, n), sums(f.trades, n)),
    "trade_size_ratio_{n}": lambda f, n: divide(
        divide(f.volume.to_numpy(), f.trades.to_numpy()), divide(sums(f.volume, n), sums(f.trades, n))
    ),
    "trade_intensity_{n}": lambda f, n: divide(f.trades.to_numpy(), windows(f.trades, n).mean(axis=1)),
    "amihud_{n}": amihud,
    "amihud_ratio_{n}": amihud_ratio,
    "rolling_vwap_distance_{n}": lambda f, n: (
        f.close.to_numpy() / divide(sums(typical(f) * f.volume, n), sums(f.volume, n)) - 1
    ),
    "roll_spread_{n}": roll_spread,
    "corwin_schultz_{n}": corwin_schultz,
    "bar_vwap_distance": lambda f, n: f.close.to_numpy() / divide(f.quote_volume.to_numpy(), f.volume.to_numpy()) - 1,
    "taker_premium": lambda f, n: (
        divide(
            divide(f.taker_buy_quote.to_numpy(), f.taker_buy_base.to_numpy()),
            divide(f.quote_volume.to_numpy(), f.volume.to_numpy()),
        )
        - 1
    ),
    # sentiment
    "sentiment_level": lambda f, n: f.sentiment.to_numpy() / 50 - 1,
    "sentiment_change_{n}": lambda f, n: (f.sentiment.to_numpy() - days_before(f, n)) / 50,
    "sentiment_distance_{n}": lambda f, n: (
        (f.sentiment.to_numpy() - np.mean([days_before(f, d) for d in range(n)], axis=0)) / 50
    ),
    "sentiment_fear": lambda f, n: np.where(f.sentiment.isna(), np.nan, f.sentiment <= 25),
    "sentiment_greed": lambda f, n: np.where(f.sentiment.isna(), np.nan, f.sentiment > 75),
}
