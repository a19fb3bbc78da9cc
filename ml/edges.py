"""What a bundle's out-of-sample record earned per holding: the figure that `min_edge: cost` compares with the costs.

The record is replayed as a position with hysteresis, as MLBasic trades: enter at the close of a bar whose calibrated
probability of a rise is at least ``enter``, leave at the close of a bar where it is at most ``exit``. Falls are replayed as
rises of the mirrored record, and both sides count: the confidence of a model is that of either direction, a market that
rose while the record was made would otherwise lend its drift to the model, and twice the holdings halve the uncertainty's
square. Returns are gross: no fee, no slippage, no stop.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.record import OutOfSample

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["MINIMUM_HOLDINGS", "HoldingEdges", "both_sides", "holding_edges", "holdings"]

MINIMUM_HOLDINGS = 30
"""Fewest holdings that a bin may have; a record with fewer altogether says nothing."""

_BINS = 3
_LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class HoldingEdges:
    """Mean gross return of a holding, sign times simple return, by the confidence at its entry.

    Attributes
    ----------
    enter, exit
        The thresholds that were replayed.
    bounds : float64 array, shape (m + 1,)
        Ends of the m >= 1 bins, increasing, from ``enter`` to 1; a bin holds its lower end.
    count : int64 array, shape (m,)
        Holdings in each bin; at least `MINIMUM_HOLDINGS`, or fewer in one bin that says nothing.
    mean, lower_bound : float64 arrays, shape (m,)
        Mean simple return of a holding as a fraction, and its one-sided 95 % lower bound; NaN where the record is too short.
    holdings : int
        Holdings of the whole record.
    overall_mean, overall_lower : float
        The same two figures over all holdings; NaN below two.
    mean_bars : float
        Mean length of a holding in bars; NaN without one.
    """

    enter: float
    exit: float
    bounds: Floats
    count: Integers
    mean: Floats
    lower_bound: Floats
    holdings: int
    overall_mean: float
    overall_lower: float
    mean_bars: float

    def at(self, p_up: npt.ArrayLike) -> Floats:
        """Return the lower bound of the mean gross return of a holding that is entered at each probability.

        Parameters
        ----------
        p_up : array of probabilities, any shape

        Returns
        -------
        float64 array of that shape
            A fraction (0.001 is 10 basis points); NaN below ``enter``, for NaN, or without a record.
        """
        p = np.asarray(p_up, dtype=np.float64)
        place = np.searchsorted(self.bounds[:-1], p, side="right") - 1
        found: Floats = np.where((place >= 0) & ~np.isnan(p), self.lower_bound[np.maximum(place, 0)], np.nan)
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for a report."""
        columns = (self.bounds[:-1], self.count, self.mean, self.lower_bound)
        bins = zip(*(column.tolist() for column in columns), strict=True)
        return {
            "enter": self.enter,
            "exit": self.exit,
            "holdings": self.holdings,
            "mean": self.overall_mean,
            "lower": self.overall_lower,
            "mean_bars": self.mean_bars,
            "bins": [{"p_up": p, "n": n, "mean": mean, "lower": lower} for p, n, mean, lower in bins],
        }


def holdings(record: OutOfSample, enter: float, exit: float) -> tuple[Floats, Floats, Integers]:  # noqa: A002 - the config's word
    """Replay the record and return each holding's entry probability, gross simple return and length in bars.

    Bars without a calibrated probability (fold 0) hold nothing. A holding that meets a missing index, such as a halt of the
    market or the end of the record, ends at the last close before it: that was its length for a reason outside the model.

    Parameters
    ----------
    record
        Out-of-sample predictions in time order.
    enter, exit
        Probabilities of a rise: at least ``enter`` opens, at most ``exit`` closes.

    Raises
    ------
    ValueError
        Unless 0 <= exit < enter <= 1.
    """
    if not 0 <= exit < enter <= 1:
        raise ValueError(f"expected 0 <= exit < enter <= 1, got enter {enter} and exit {exit}")
    known = np.isfinite(record.p_up) & np.isfinite(record.close)
    k, p, close = record.k[known], record.p_up[known], record.close[known]
    count = len(k)
    if count == 0:
        return np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)
    ends_run = np.append(np.diff(k) != 1, True)
    leaves = np.flatnonzero((p <= exit) | ends_run)
    opens = np.flatnonzero((p >= enter) & ~ends_run)  # at the last bar of a run nothing can be held
    begin, stop, at = [], [], 0
    while at < len(opens):
        first = int(opens[at])
        last = int(leaves[np.searchsorted(leaves, first + 1)])
        begin.append(first)
        stop.append(last)
        at = int(np.searchsorted(opens, last, side="right"))
    entered, left = np.array(begin, dtype=np.int64), np.array(stop, dtype=np.int64)
    return p[entered], close[left] / close[entered] - 1.0, left - entered


def both_sides(record: OutOfSample, enter: float, exit: float) -> tuple[Floats, Floats, Integers]:  # noqa: A002
    """Return what ``holdings`` does, for rises and then for falls: a fall of p is a rise of 1 - p that earns the opposite."""
    fallen = replace(record, p_up=1.0 - record.p_up)
    up, down = holdings(record, enter, exit), holdings(fallen, enter, exit)
    return np.append(up[0], down[0]), np.append(up[1], -down[1]), np.append(up[2], down[2])


def holding_edges(record: OutOfSample | None, enter: float, exit: float) -> HoldingEdges:  # noqa: A002 - the config's word
    """Return the mean gross return of a holding of either side, by bins of equal mass of the confidence at its entry.

    At most three bins of at least `MINIMUM_HOLDINGS` holdings; equal probabilities share a bin. The lower bound is Student's:
    ``mean - t(0.95, n - 1) s / sqrt(n)``. A record of fewer holdings, or None, has one bin without figures.

    Raises
    ------
    ValueError
        Unless 0 <= exit < enter <= 1.
    """
    nothing = np.empty(0), np.empty(0), np.empty(0, dtype=np.int64)
    p, gross, bars = nothing if record is None else both_sides(record, enter, exit)
    total = len(p)
    overall_mean, overall_lower = _mean_and_bound(gross)
    ordered = np.sort(p)
    bins = min(_BINS, total // MINIMUM_HOLDINGS)
    edges = [enter, *(float(ordered[total * i // bins]) for i in range(1, bins))]
    place = np.searchsorted(edges, p, side="right") - 1
    bounds: list[float] = []
    groups: list[Floats] = []
    for i, edge in enumerate(edges):
        inside = gross[place == i]
        if bounds and (len(inside) < MINIMUM_HOLDINGS or len(groups[-1]) < MINIMUM_HOLDINGS):
            groups[-1] = np.concatenate((groups[-1], inside))
        else:
            bounds.append(edge)
            groups.append(inside)
    figures = [_mean_and_bound(group) if bins else (float("nan"), float("nan")) for group in groups]
    return HoldingEdges(
        enter=enter,
        exit=exit,
        bounds=np.array([*bounds, 1.0]),
        count=np.array([len(group) for group in groups], dtype=np.int64),
        mean=np.array([mean for mean, _ in figures]),
        lower_bound=np.array([lower for _, lower in figures]),
        holdings=total,
        overall_mean=overall_mean,
        overall_lower=overall_lower,
        mean_bars=float(bars.mean()) if total else float("nan"),
    )


def _mean_and_bound(values: Floats) -> tuple[float, float]:
    """Return the mean and its one-sided 95 % lower bound; NaN below two values."""
    count = len(values)
    if count < 2:
        return float("nan"), float("nan")
    from scipy.special import stdtrit

    mean = float(np.mean(values))
    return mean, mean - float(stdtrit(count - 1, _LEVEL)) * float(np.std(values, ddof=1)) / float(np.sqrt(count))
