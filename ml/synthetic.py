"""The built-in market: seeded candles with a planted edge of known size, or none.

It is the honest test bed of everything above it: a trainer must find the edge where there is one and nothing where
there is none, and a strategy must earn from it what the plant says. The recipe is in `synthetic_candles`.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

from ml.candles import Candles
from ml.errors import InvalidCandles
from registry.names import timeframe_ms

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["IMBALANCE_WINDOW", "START_MS", "synthetic_candles"]

START_MS = 1_514_764_800_000  # 2018-01-01, a Monday: on the grid of every timeframe up to a week
IMBALANCE_WINDOW = 20

_HOUR_MS = 3_600_000
_SCALE = 0.0051  # standard deviation of an hour's return before regimes and clusters; makes E|r| 0.4 % an hour
_REGIMES = np.array([0.6, 1.0, 1.8])  # calm, normal, wild: multiples of the standard deviation
_REGIME_CHANGE = 1.0 / 250.0  # chance of drawing a new regime at a bar
_ARCH, _GARCH = 0.05, 0.93
_VARIANCE_CAP = 25.0
_TAIL = 5  # degrees of freedom of Student's t
_LARGEST_MOVE = 0.2  # fraction of the price
_FEWEST_TICKS = 100
_MOST_BARS = 5_000_000
_DRIFT_MEMORY = 0.98
_LEAST_CHANCE = 0.02


def synthetic_candles(
    bars: int,
    *,
    edge: float = 0.0,
    path_drift: float = 0.0,
    seed: int = 0,
    timeframe: str = "1h",
    start_ms: int = START_MS,
    start_price: float = 20_000.0,
    price_decimals: int = 2,
) -> Candles:
    """Return a simulated series with all optional columns; equal arguments give equal bytes.

    Volatility is a three-state Markov regime times a GARCH(1,1) cluster times Student-t(5) shocks. Volume, trade
    count and taker volume follow the volatility. A bar opens at the close before it; high and low are the extremes
    of a Brownian path between open and close.

    The plant: the next bar rises with probability ``0.5 + edge * sign(m)``, ``m`` the mean of the last 20 taker
    imbalances ``2 * taker_buy_base / volume - 1`` as published; each is ``0.15 u + 0.1 e`` with ``u`` a stationary
    autoregression (0.95, variance 1) and ``e`` standard normal. The sign decides nothing else, and nothing else
    decides the sign: the size of a move is drawn without looking at it and is the same up and down, in whole
    ticks, at least one. So at ``edge=0`` the price is a martingale, E[next close | past] = close exactly, and
    no rule earns anything before costs in expectation (the *median* of a long hold is below one, as for any
    martingale of prices).

    A second plant is a drift that lasts: every bar rises with probability ``0.5 + path_drift * v`` more, ``v`` a stationary
    autoregression (0.98, variance 1: half of it is left after 34 bars) that nothing publishes. It shows only in the
    returns that it causes, so it can be estimated from past returns, and what is estimated holds for many bars to come:
    the forecast of a path gains with its length. Chances are kept within 2 % and 98 %. At 0.2 the best forecast
    explains about 4 % of the variance of the next return and 15 % of that of the next 10 (Kalman filter).

    A longer series of the same seed begins with the same candles.

    Parameters
    ----------
    bars : int
        How many, 1 to 5 million.
    edge : float
        0 to 0.5: how much more (or less) often than half of the time the next bar rises.
    path_drift : float
        0 to 0.5: how much more often than half of the time a bar rises where the lasting drift is one standard deviation
        above zero.
    seed : int
        Not negative.
    timeframe : str
        Volatility grows with the square root of its length: E|r| is about 0.4 % for an hour.
    start_ms : int
        Open time of the first bar; moved up to the timeframe's grid.
    start_price : float
        First open, in the quote currency.
    price_decimals : int
        Prices are multiples of ``10 ** -price_decimals``.

    Returns
    -------
    Candles
        ``bars`` candles without gaps.

    Raises
    ------
    ValueError
        When an argument is out of range.
    InvalidCandles
        When the price falls to so few ticks that moves can no longer be told apart (very long series only).
    """
    if not 1 <= bars <= _MOST_BARS:
        raise ValueError(f"bars is {bars}: expected 1 to {_MOST_BARS}")
    if not 0.0 <= edge <= 0.5:
        raise ValueError(f"edge is {edge}: expected 0 to 0.5, such as 0.04 for a rise in 54 of 100 bars")
    if not 0.0 <= path_drift <= 0.5:
        raise ValueError(f"path_drift is {path_drift}: expected 0 to 0.5, such as 0.2")
    if seed < 0:
        raise ValueError(f"seed is {seed}: expected a whole number from 0 on")
    step = timeframe_ms(timeframe)
    # A stream of its own for each quantity: a longer series only draws further from each.
    streams = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(9)]
    moves, spread = _moves(bars, step, streams[0], streams[1])
    volume, trades, taker = _activity(bars, step, spread, streams[2], streams[3], streams[4])
    rises = _rises(volume, taker, edge, path_drift, streams[5], streams[8])
    opens, closes = _walk(moves, rises, round(start_price * 10**price_decimals))
    highs, lows = _extremes(opens, closes, spread, streams[6], streams[7])

    unit = float(10**price_decimals)  # ticks / unit is the double nearest to the decimal price
    average = (opens + highs + lows + closes) / 4.0 / unit
    origin = 345_600_000 if step % 604_800_000 == 0 else 0  # weeks open on Mondays
    first = -(-(start_ms - origin) // step) * step + origin
    return Candles(
        timeframe=timeframe,
        open_ms=first + step * np.arange(bars, dtype=np.int64),
        open=opens / unit,
        high=highs / unit,
        low=lows / unit,
        close=closes / unit,
        volume=volume,
        quote_volume=np.round(volume * average, 4),
        trades=trades,
        taker_buy_base=taker,
        taker_buy_quote=np.round(taker * average, 4),
    )


def _moves(bars: int, step_ms: int, shocks: np.random.Generator, regimes: np.random.Generator) -> tuple[Floats, Floats]:
    """Return the relative size of each move, and the standard deviation that it was drawn with; shape (bars,)."""
    sizes = np.abs(shocks.standard_t(_TAIL, bars)) / np.sqrt(_TAIL / (_TAIL - 2))
    draws = regimes.random((bars, 2))
    changes = draws[:, 0] < _REGIME_CHANGE
    changes[0] = True
    since = np.maximum.accumulate(np.where(changes, np.arange(bars), 0))
    level = _REGIMES[(draws[since, 1] * len(_REGIMES)).astype(np.int64)]

    cluster: list[float] = []
    variance = 1.0
    for squared in np.minimum(sizes**2, 50.0).tolist():
        cluster.append(variance)
        variance = min(1.0 - _ARCH - _GARCH + variance * (_ARCH * squared + _GARCH), _VARIANCE_CAP)
    spread = _SCALE * np.sqrt(step_ms / _HOUR_MS) * level * np.sqrt(np.array(cluster))
    return np.minimum(spread * sizes, _LARGEST_MOVE), np.minimum(spread, _LARGEST_MOVE)


def _activity(
    bars: int,
    step_ms: int,
    spread: Floats,
    volumes: np.random.Generator,
    counts: np.random.Generator,
    takers: np.random.Generator,
) -> tuple[Floats, Floats, Floats]:
    """Return volume, number of trades and taker volume; the first two follow the volatility."""
    usual = _SCALE * np.sqrt(step_ms / _HOUR_MS)
    volume = 400.0 * step_ms / _HOUR_MS * (spread / usual) ** 1.2 * np.exp(0.45 * volumes.standard_normal(bars))
    volume = np.maximum(np.round(volume, 5), 0.01)
    trades = np.maximum(np.round(volume * 25.0 * np.exp(0.25 * counts.standard_normal(bars))), 1.0)

    noise = takers.standard_normal((bars, 2))
    innovations = noise[:, 0] * np.sqrt(1.0 - 0.95**2)
    innovations[0] = noise[0, 0]  # starts in its stationary distribution
    pressure = _remembered(innovations, 0.95)
    imbalance = np.clip(0.15 * pressure + 0.1 * noise[:, 1], -0.98, 0.98)
    return volume, trades, np.round(volume * (1.0 + imbalance) / 2.0, 5)


def _remembered(innovations: Floats, memory: float) -> Floats:
    """Return the autoregression ``y[t] = memory * y[t-1] + innovations[t]``; SciPy's filter would cost a second to import."""
    return np.array(list(accumulate(innovations.tolist(), lambda last, fresh: fresh + memory * last)))


def _rises(
    volume: Floats,
    taker: Floats,
    edge: float,
    path_drift: float,
    signs: np.random.Generator,
    drifts: np.random.Generator,
) -> npt.NDArray[np.bool_]:
    """Return which bars rise: bar t+1 by the mean imbalance of bars t-19..t and the lasting drift.

    The first 20 bars know no imbalance.
    """
    draws = signs.random(len(volume))
    chance = np.full(len(volume), 0.5)
    if len(volume) > IMBALANCE_WINDOW:
        imbalance = 2.0 * taker / volume - 1.0
        mean = np.lib.stride_tricks.sliding_window_view(imbalance, IMBALANCE_WINDOW).mean(axis=1)
        chance[IMBALANCE_WINDOW:] += edge * np.sign(mean[:-1])
    if path_drift:
        innovations = drifts.standard_normal(len(volume))
        innovations[1:] *= np.sqrt(1.0 - _DRIFT_MEMORY**2)  # the first is drawn from the stationary distribution
        drift = _remembered(innovations, _DRIFT_MEMORY)
        chance = np.clip(chance + path_drift * drift, _LEAST_CHANCE, 1.0 - _LEAST_CHANCE)
    return draws < chance


def _walk(moves: Floats, rises: npt.NDArray[np.bool_], start: int) -> tuple[Integers, Integers]:
    """Return opens and closes in whole ticks: each move is at least one tick, and as large up as down."""
    closes: list[int] = []
    price = start
    for move, up in zip(moves.tolist(), rises.tolist(), strict=True):
        ticks = max(1, round(price * move))
        price += ticks if up else -ticks
        if price < _FEWEST_TICKS:
            raise InvalidCandles(
                f"after {len(closes)} bars the simulated price is down to {price} ticks: "
                "use fewer bars, a shorter timeframe, a higher price or another seed"
            )
        closes.append(price)
    ends = np.array(closes, dtype=np.int64)
    return np.concatenate(([start], ends[:-1])), ends


def _extremes(
    opens: Integers, closes: Integers, spread: Floats, ups: np.random.Generator, downs: np.random.Generator
) -> tuple[Integers, Integers]:
    """Return highs and lows in ticks: the extremes of a Brownian bridge, max = (x + sqrt(x^2 - 2 s^2 ln U)) / 2."""
    change = np.log(closes / opens)
    reach = 2.0 * spread**2
    up = (change + np.sqrt(change**2 - reach * np.log1p(-ups.random(len(opens))))) / 2.0
    down = (change - np.sqrt(change**2 - reach * np.log1p(-downs.random(len(opens))))) / 2.0
    highs = np.maximum(np.round(opens * np.exp(up)).astype(np.int64), np.maximum(opens, closes))
    lows = np.minimum(np.round(opens * np.exp(down)).astype(np.int64), np.minimum(opens, closes))
    return highs, np.maximum(lows, 1)
