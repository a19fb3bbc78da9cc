"""Labels: what the market did after a bar, told by the candle at the horizon itself.

A label joins two closed candles by their absolute index. The candle ``h`` rows further on is never used in its place: after a
gap that candle closes later than the horizon says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["adverse_excursions", "decided", "forward_returns", "past_returns", "realised_volatility"]


def forward_returns(candles: Candles, horizon: int, index: Integers | None = None) -> Floats:
    """Return the log return from each close to the close of the candle at index ``k + horizon``.

    Parameters
    ----------
    candles
        n closed candles.
    horizon
        Bars ahead, at least 1.
    index : int64 array, shape (n,), optional
        Absolute index of each candle; default ``candles.index``. Schemas that count weekdays pass their own.

    Returns
    -------
    float64 array, shape (n,)
        ``ln(C[k + h] / C[k])``; NaN where no candle has that index, or where either candle is off the grid.

    Raises
    ------
    ValueError
        When the horizon is below 1.
    """
    source, target = _pairs(candles, horizon, index)
    returns = np.full(len(candles), np.nan)
    returns[source] = np.log(candles.close[target] / candles.close[source])
    return returns


def past_returns(candles: Candles, horizon: int, index: Integers | None = None) -> Floats:
    """Return the log return into each close from the close at index ``k - horizon``.

    This is the newest label that was known when the bar closed: the last-sign rule reads nothing else. Parameters,
    missing values and errors are those of ``forward_returns``.
    """
    source, target = _pairs(candles, horizon, index)
    returns = np.full(len(candles), np.nan)
    returns[target] = np.log(candles.close[target] / candles.close[source])
    return returns


def adverse_excursions(candles: Candles, horizon: int, index: Integers | None = None) -> Floats:
    """Return how far the price falls below each close within the next ``horizon`` candles, as a fraction of the close.

    Parameters
    ----------
    candles, horizon, index
        As in ``forward_returns``.

    Returns
    -------
    float64 array, shape (n,)
        ``(C[k] - min(L[k + 1] .. L[k + h])) / C[k]``, negative where the price never came back to the close; NaN unless every
        candle of the indices ``k`` to ``k + h`` exists on the grid.

    Raises
    ------
    ValueError
        When the horizon is below 1.
    """
    from scipy.ndimage import minimum_filter1d

    source, _ = _runs(candles, horizon, index)
    excursions = np.full(len(candles), np.nan)
    if len(source):
        on_grid = np.flatnonzero(~candles.off_grid)
        # the filter's window of h values begins at its own place
        lowest = minimum_filter1d(candles.low[on_grid], horizon, origin=-(horizon // 2), mode="nearest")
        first = np.searchsorted(on_grid, source) + 1
        excursions[source] = 1.0 - lowest[first] / candles.close[source]
    return excursions


def realised_volatility(candles: Candles, horizon: int, index: Integers | None = None) -> Floats:
    """Return the root of the sum of squared log returns from candle to candle over the next ``horizon`` candles.

    Parameters
    ----------
    candles, horizon, index
        As in ``forward_returns``.

    Returns
    -------
    float64 array, shape (n,)
        ``sqrt(sum_{j=1..h} ln(C[k+j] / C[k+j-1])^2)``; NaN unless every candle of the indices ``k`` to ``k + h`` exists on
        the grid.

    Raises
    ------
    ValueError
        When the horizon is below 1.
    """
    source, _ = _runs(candles, horizon, index)
    volatility = np.full(len(candles), np.nan)
    if len(source):
        on_grid = np.flatnonzero(~candles.off_grid)
        close = candles.close[on_grid]
        squares = np.log(close[1:] / close[:-1]) ** 2
        places = np.searchsorted(on_grid, source)
        total = np.zeros(len(source))
        for step in range(horizon):  # no running sum over the whole history: a crash would leave its rounding behind
            total += squares[places + step]
        volatility[source] = np.sqrt(total)
    return volatility


def decided(returns: Floats) -> Flags:
    """Return where a label exists and is not a tie: only these rows are fitted and scored."""
    flags: Flags = np.isfinite(returns) & (returns != 0.0)
    return flags


def _runs(candles: Candles, horizon: int, index: Integers | None) -> tuple[Integers, Integers]:
    """Return the pairs of ``_pairs`` between which no index is missing."""
    source, last = _pairs(candles, horizon, index)
    place = np.cumsum(~candles.off_grid) - 1
    whole = place[last] - place[source] == horizon
    return source[whole], last[whole]


def _pairs(candles: Candles, horizon: int, index: Integers | None) -> tuple[Integers, Integers]:
    """Return positions (bar, bar at the horizon) of every pair of on-grid candles ``horizon`` indices apart."""
    if horizon < 1:
        raise ValueError(f"a horizon is at least 1 bar, got {horizon}")
    on_grid = np.flatnonzero(~candles.off_grid)
    k = (candles.index if index is None else index)[on_grid]
    found = np.searchsorted(k, k + horizon)
    inside = found < len(k)
    inside[inside] = k[found[inside]] == k[inside] + horizon
    return on_grid[inside], on_grid[found[inside]]
