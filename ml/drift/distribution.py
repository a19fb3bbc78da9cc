"""Has a distribution moved? The population stability index, with a threshold that knows how much the rows are worth.

A quantity is cut at the deciles of training; what it has few values of, at these. The index sums over the bins how far their
shares have moved. The threshold is what chance alone exceeds once in a thousand checks (`ml.drift.dependence`), and never
below 0.1, which is too small a shift to matter.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.drift.dependence import dependence, largest_by_chance
from ml.errors import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Values = npt.NDArray[np.floating[Any]]

__all__ = [
    "FALSE_ALARM",
    "LEAST_PSI",
    "LEAST_ROWS",
    "ReferenceDistribution",
    "Shift",
    "population_stability",
    "reference_distribution",
    "shift_of",
]

LEAST_ROWS = 720
"""Fewer newest rows than these are not judged: 30 days of 1h candles."""

LEAST_PSI = 0.1
"""A shift below this is not reported, however sure it is: it is too small to matter."""

FALSE_ALARM = 0.001
"""Chance that one check of all distributions together reports a shift where there is none."""

_BINS = 10
_LEAST_SHARE = 0.02  # a bin that holds less joins its neighbour: an index over nearly empty bins is all noise
_DIGITS = 6


@dataclass(frozen=True, slots=True)
class ReferenceDistribution:
    """What a quantity looked like in training.

    Attributes
    ----------
    edges
        Upper ends, inclusive, of all bins but the last; rising.
    counts
        Rows in each bin.
    middles
        Quantiles at 5 %, 15 %, ... 95 %.
    low, high, mean, sigma
        Range, mean and standard deviation of the finite rows.
    missing
        Share of rows without a finite value, which no bin counts.
    spread
        How dependent the rows are: what `ml.drift.dependence.dependence` returns.
    reach
        Rows over which dependence was summed.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]
    middles: tuple[float, ...]
    low: float
    high: float
    mean: float
    sigma: float
    missing: float
    spread: tuple[float, float, float]
    reach: int

    def __post_init__(self) -> None:
        """Refuse numbers that cannot be those of a distribution."""
        numbers = (*self.edges, *self.middles, self.low, self.high, self.mean, self.sigma, self.missing, *self.spread)
        if not all(math.isfinite(number) for number in numbers):
            raise BrokenModel("a reference distribution holds a number that is not finite")
        if len(self.counts) != len(self.edges) + 1 or min(self.counts) < 0 or len(self.spread) != 3:
            raise BrokenModel(f"{len(self.edges)} edges do not part {len(self.counts)} counts of rows")
        if any(a >= b for a, b in zip(self.edges, self.edges[1:], strict=False)):
            raise BrokenModel("the edges of a reference distribution do not rise")
        if min(self.spread) < 0 or self.sigma < 0 or not 0 <= self.missing <= 1 or self.reach < 0:
            raise BrokenModel("a reference distribution holds a negative number where none can be")

    @property
    def rows(self) -> int:
        """Rows that the bins were counted on."""
        return sum(self.counts)

    @property
    def dependence(self) -> float:
        """``1 + 2 sum rho_j``: so many rows are worth one independent row; NaN where there is one bin only."""
        return self.spread[0] / (len(self.counts) - 1) if len(self.counts) > 1 else math.nan

    @property
    def effective_rows(self) -> float:
        """Independent rows that these are worth; NaN where there is one bin only."""
        return self.rows / self.dependence if self.dependence > 0 else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads it back to the same numbers."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ReferenceDistribution:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When a part is missing or of another kind.
        """
        try:
            return cls(
                edges=tuple(float(edge) for edge in data["edges"]),
                counts=tuple(int(count) for count in data["counts"]),
                middles=tuple(float(middle) for middle in data["middles"]),
                low=float(data["low"]),
                high=float(data["high"]),
                mean=float(data["mean"]),
                sigma=float(data["sigma"]),
                missing=float(data["missing"]),
                spread=(float(data["spread"][0]), float(data["spread"][1]), float(data["spread"][2])),
                reach=int(data["reach"]),
            )
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise BrokenModel(f"a reference distribution cannot be read: {error!r}") from None


@dataclass(frozen=True, slots=True)
class Shift:
    """How the newest rows differ from the reference.

    Attributes
    ----------
    rows
        Newest rows with a finite value.
    effective_rows
        Independent rows that they are worth; NaN where unknown.
    psi
        Population stability index; NaN where nothing can be said.
    threshold
        What the index must exceed; NaN where nothing can be said.
    mean
        Of the newest rows; NaN without any.
    wasserstein
        Mean distance between equal quantiles, in standard deviations of the reference.
    outside
        Share of the newest rows outside the range of the reference.
    missing
        Share of the newest rows without a value.
    judged
        Whether the rows suffice for an answer.
    shifted
        Whether the index exceeds its threshold; False where it is not judged.
    """

    rows: int
    effective_rows: float
    psi: float
    threshold: float
    mean: float
    wasserstein: float
    outside: float
    missing: float
    judged: bool
    shifted: bool

    @property
    def ratio(self) -> float:
        """``psi / threshold``, by which shifts are sorted; 0 where it is not judged."""
        return self.psi / self.threshold if self.judged else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON; what is not known is None."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def reference_distribution(values: Values, *, edges: tuple[float, ...] | None = None) -> ReferenceDistribution | None:
    """Return what is kept of a quantity in training; None without any finite value.

    Parameters
    ----------
    values : float array, shape (m,)
        In time order; what is not finite counts as missing.
    edges
        Ends of the bins, where they are not to be the deciles; a quantity of at most ten values gets a bin for each.
    """
    finite = np.isfinite(values)
    known = values[finite].astype(np.float64)
    if not len(known):
        return None
    ordered = np.sort(known)
    chosen = _merged(ordered, _edges(ordered) if edges is None else edges)
    codes = np.searchsorted(np.array(chosen), known, side="left").astype(np.int8)
    reach, spread = dependence(codes, len(chosen) + 1)
    return ReferenceDistribution(
        edges=chosen,
        counts=tuple(int(count) for count in np.bincount(codes, minlength=len(chosen) + 1)),
        middles=tuple(_short(value) for value in _middles(ordered)),
        low=_short(ordered[0]),
        high=_short(ordered[-1]),
        mean=_short(ordered.mean()),
        sigma=_short(ordered.std()),
        missing=_short(1.0 - len(known) / len(values)),
        spread=(_short(spread[0]), _short(spread[1]), _short(spread[2])),
        reach=reach,
    )


def shift_of(
    reference: ReferenceDistribution, values: Values, *, tests: int = 1, least_rows: int = LEAST_ROWS
) -> Shift:
    """Compare the newest rows with the reference.

    Parameters
    ----------
    values : float array, shape (n,)
        Newest rows; what is not finite counts as missing.
    tests
        Distributions that are looked at in this check: each may take its part of the chance of a false alarm.
    least_rows
        Below so many finite rows nothing is judged.
    """
    known = values[np.isfinite(values)].astype(np.float64)
    count, bins = len(known), len(reference.counts)
    missing = 1.0 - count / len(values) if len(values) else 0.0
    if not count:
        return Shift(0, *(math.nan,) * 6, missing, judged=False, shifted=False)
    codes = np.searchsorted(np.array(reference.edges), known, side="left")
    live = tuple(int(number) for number in np.bincount(codes, minlength=bins))
    index = population_stability(live, reference.counts)
    scale = 1.0 / count + 1.0 / reference.rows
    threshold = max(LEAST_PSI, scale * largest_by_chance(reference.spread, FALSE_ALARM / tests))
    judged = count >= least_rows and bins > 1
    moved = float(np.mean(np.abs(_middles(np.sort(known)) - np.array(reference.middles))))
    return Shift(
        rows=count,
        effective_rows=count / reference.dependence if reference.dependence > 0 else math.nan,
        psi=index,
        threshold=threshold if bins > 1 else math.nan,
        mean=float(known.mean()),
        wasserstein=moved / reference.sigma if reference.sigma > 0 else math.nan,
        outside=float(np.mean((known < _down(reference.low)) | (known > _up(reference.high)))),
        missing=missing,
        judged=judged,
        shifted=judged and index > threshold,
    )


def population_stability(live: tuple[int, ...], reference: tuple[int, ...]) -> float:
    """Return the population stability index ``sum (p - q) ln(p / q)`` of two counts of rows by bin.

    Half a row is added to each bin of both, so that an empty bin does not make it infinite. Rule of thumb for very many
    independent rows: 0.1 is a small shift, 0.25 a large one.
    """
    p = np.array(live, dtype=np.float64) + 0.5
    q = np.array(reference, dtype=np.float64) + 0.5
    p /= p.sum()
    q /= q.sum()
    return float(np.sum((p - q) * np.log(p / q)))


def _edges(ordered: Floats) -> tuple[float, ...]:
    """Return the deciles, or the values themselves where there are at most ten."""
    changes = np.flatnonzero(ordered[1:] != ordered[:-1])
    count = len(ordered)
    found = ordered[changes] if len(changes) < _BINS else ordered[[count * part // _BINS for part in range(1, _BINS)]]
    rounded = sorted({_short(value) for value in found})
    return tuple(edge for edge in rounded if ordered[0] <= edge < ordered[-1])


def _merged(ordered: Floats, edges: tuple[float, ...]) -> tuple[float, ...]:
    """Return the edges without those that part off a bin of less than 2 % of the rows: its smaller neighbour takes it."""
    kept = list(edges)
    while kept:
        ends = np.searchsorted(ordered, kept, side="right").tolist()
        counts = [end - start for start, end in zip([0, *ends], [*ends, len(ordered)], strict=True)]
        least = counts.index(min(counts))
        if counts[least] >= _LEAST_SHARE * len(ordered):
            break
        left = counts[least - 1] if least > 0 else math.inf
        right = counts[least + 1] if least < len(kept) else math.inf
        del kept[least - 1 if left <= right else least]
    return tuple(kept)


def _middles(ordered: Floats) -> Floats:
    """Return the values below which 5 %, 15 %, ... 95 % lie."""
    middles: Floats = ordered[[len(ordered) * (2 * part + 1) // (2 * _BINS) for part in range(_BINS)]]
    return middles


def _short(value: float) -> float:
    return float(f"{float(value):.{_DIGITS}g}")


def _down(value: float) -> float:
    return value - abs(value) * 10.0 ** (1 - _DIGITS)


def _up(value: float) -> float:
    return value + abs(value) * 10.0 ** (1 - _DIGITS)
