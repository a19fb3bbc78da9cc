"""Conformal bands: how far a forecast may be off, from standardised residuals of forecasts of the past.

A residual is divided by a forecast of its size, ``sigma_k^2 = a_k now^2 + b_k long^2`` with ``now`` the volatility of a bar's
log return at the start (the feature ``ewma_volatility``) and ``long`` its long-run level (a feature of a long window,
``LONG_VOLATILITY`` where the schema has it, otherwise one frozen number). Volatility returns to its level, so the square root
of time is too narrow after calm and too wide after storm. The long-run volatility returns to its level as well: a share of
0.3 of its variance is the mean of the rows of ``fit``. Quantiles of the standardised residuals are the band. Everything is
fitted on forecasts of bars that the model had not seen and frozen in the bundle: no state moves after training.

The interface for paths of many steps::

    bands = PathBands.fit(residuals, now, long)     # residuals: (n, steps), ln(actual close / predicted close), NaN unknown
    low, high = bands.apply(path, now, long)        # path: (n, steps) predicted closes; two arrays of prices, same shape
    bands.low, bands.high, bands.a, bands.b         # frozen, one number a step
    PathBands.from_dict(bands.to_dict()) == bands   # to the bit through JSON

``long`` may be left out in both calls, then the level of ``now`` over the rows of ``fit`` stands in. n rows at once and one
by one give the same bits. Sources: Vovk, Gammerman and Shafer 2005 (order statistics); Gibbs and Candes 2021,
arXiv 2106.00170 (the adaptive level); Lei et al. 2018, JASA 113 (residuals divided by their expected size).
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = [
    "LONG_VOLATILITY",
    "MISCOVERAGE",
    "POOL_ROWS",
    "PathBands",
    "adaptive_level",
    "conformal_bounds",
    "fit_variance",
    "read_numbers",
]

MISCOVERAGE = 0.1
"""Share of outcomes that may lie outside a band."""

POOL_ROWS = 1_000
"""Newest residuals that a band of one horizon is taken from."""

LONG_VOLATILITY = "volatility_500"
"""Feature that tells the long-run volatility of a bar's log return best among those measured."""

_GAMMA = 0.005
_LEVEL_LIMITS = (0.02, 0.3)
_FEWEST_LEVEL_ROWS = 500  # below this the level stays where it was asked
_LEVEL_WARM_UP = 100  # residuals before the first one that is judged
_FEWEST_PATHS = 50
_LEVEL_SHARE = 0.3  # of the long-run variance; at 0 calm thirds of BTC 1h are held too rarely from step 100 on
_KNOTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024)
_NORMAL_95 = 1.6448536269514722
_SCHEMA_VERSION = 1


def conformal_bounds(ordered: Floats, miscoverage: float = MISCOVERAGE) -> tuple[float, float]:
    """Return the two order statistics between which a new exchangeable residual lies with the stated probability.

    They are number ``floor(m/2 (n + 1))`` and ``ceil((1 - m/2) (n + 1))`` of n, cut to the sample.

    Parameters
    ----------
    ordered : float64 array, shape (n,)
        Residuals in ascending order, at least one.
    miscoverage
        ``m``, above 0 and below 1.
    """
    count = len(ordered)
    low, high = _ranks(count, miscoverage)
    return float(ordered[low - 1]), float(ordered[high - 1])


def _ranks(count: int, miscoverage: float) -> tuple[int, int]:
    """Return the ranks, from 1, of the two order statistics."""
    low = math.floor(miscoverage / 2 * (count + 1))
    high = math.ceil((1 - miscoverage / 2) * (count + 1))
    return max(1, low), min(count, high)


def adaptive_level(residuals: Floats, *, miscoverage: float = MISCOVERAGE, rows: int = POOL_ROWS) -> float:
    """Return the nominal miscoverage that would have given the asked one on the record, to be frozen in a bundle.

    Adaptive conformal inference: ``m_{t+1} = m_t + 0.005 (m - outside_t)``, each residual judged by the band of at most
    ``rows`` residuals before it. The last value is a random walk's; its mean over the second half of the record is returned,
    cut to [0.02, 0.3]. Below 500 residuals the asked level is returned.

    Parameters
    ----------
    residuals : float64 array, shape (n,)
        Standardised residuals in time order, finite, one per horizon.
    miscoverage
        The long-run share outside that is asked for.
    rows
        Length of the pool.
    """
    count = len(residuals)
    if count < _FEWEST_LEVEL_ROWS:
        return miscoverage
    values = residuals.tolist()
    pool = sorted(values[:_LEVEL_WARM_UP])
    level, levels = miscoverage, []
    for place in range(_LEVEL_WARM_UP, count):
        value = values[place]
        levels.append(level)
        low, high = _ranks(len(pool), min(max(level, 0.0), 1.0))
        outside = level >= 1.0 or (level > 0.0 and not pool[low - 1] <= value <= pool[high - 1])
        level += _GAMMA * (miscoverage - outside)
        insort(pool, value)
        if len(pool) > rows:
            del pool[bisect_left(pool, values[place - rows])]
    second = levels[len(levels) // 2 :]
    return min(max(math.fsum(second) / len(second), _LEVEL_LIMITS[0]), _LEVEL_LIMITS[1])


def fit_variance(residuals: Floats, now: Floats, long: Floats) -> tuple[float, float]:
    """Return a and b of ``E residual^2 = a now^2 + b long^2``, both at least 0.

    Least squares with weights ``1 / (now^2 + long^2)^2``, so that calm and wild rows count alike; where one coefficient would
    be negative it is 0 and the other is fitted alone (non-negative least squares of two columns in closed form).

    Parameters
    ----------
    residuals, now, long : float64 arrays, shape (n,)
        Finite; the volatilities at least 0 and not both 0.
    """
    first, second, target = now * now, long * long, residuals * residuals
    weight = first + second
    first, second, target = first / weight, second / weight, target / weight
    aa, ab, bb = float(np.sum(first * first)), float(np.sum(first * second)), float(np.sum(second * second))
    at, bt = float(np.sum(first * target)), float(np.sum(second * target))
    determinant = aa * bb - ab * ab
    if determinant > 1e-9 * aa * bb:
        a, b = (at * bb - bt * ab) / determinant, (bt * aa - at * ab) / determinant
        if a >= 0 and b >= 0:
            return a, b
    only_first = at / aa if aa > 0 else 0.0
    only_second = bt / bb if bb > 0 else 0.0
    saved_by_first, saved_by_second = only_first * at, only_second * bt
    return (only_first, 0.0) if saved_by_first >= saved_by_second else (0.0, only_second)


@dataclass(frozen=True, eq=False)
class PathBands:
    """Bands of 90 % around predicted closes, one for each step ahead.

    Attributes
    ----------
    a, b : float64 arrays, shape (steps,)
        ``sigma_k^2 = a_k now^2 + b_k long'^2`` with ``long'^2 = 0.7 long^2 + 0.3 level^2``.
    low, high : float64 arrays, shape (steps,)
        Quantiles of ``ln(actual / predicted) / sigma_k``.
    long_level : float
        Root mean square of ``long`` over the rows of ``fit``; stands in for ``long`` where none is given.
    rows : int
        Paths that this was fitted on.
    """

    a: Floats
    b: Floats
    low: Floats
    high: Floats
    long_level: float
    rows: int

    def __post_init__(self) -> None:
        """Refuse numbers that are no band."""
        shapes = {name: getattr(self, name).shape for name in ("a", "b", "low", "high")}
        if len(set(shapes.values())) != 1 or len(self.a.shape) != 1 or not len(self.a):
            raise BrokenModel(f"path bands need as many a, b, low and high as steps, got {shapes}")
        numbers = np.concatenate([self.a, self.b, self.low, self.high, [self.long_level]])
        if not np.isfinite(numbers).all() or min(self.a.min(), self.b.min(), self.long_level) < 0:
            raise BrokenModel("path bands hold a number that is not finite, or a negative variance")
        if (self.low > self.high).any():
            raise BrokenModel("path bands hold a lower bound above the upper one")
        for name in shapes:
            getattr(self, name).flags.writeable = False

    @property
    def steps(self) -> int:
        """Steps ahead."""
        return len(self.a)

    def __eq__(self, other: object) -> bool:
        """Compare every number."""
        return isinstance(other, PathBands) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def fit(cls, residuals: Floats, now: Floats, long: Floats | None = None) -> PathBands:
        """Fit variances and quantiles at a ladder of steps and interpolate between them over the logarithm of the step.

        Paths may overlap; a path counts at a step where its residual is known. A step that fewer than 50 paths reach takes
        the numbers of the longest step before it that has them; with fewer than 50 at step 1 the band is that of a random
        walk of normal steps.

        Parameters
        ----------
        residuals : float64 array, shape (n, steps)
            ``ln(actual close / predicted close)`` of paths that start at bars the model had not seen; NaN where unknown.
        now : float64 array, shape (n,)
            Volatility of a bar's log return at the start; rows where it is not finite and positive are left out.
        long : float64 array, shape (n,), optional
            Its long-run level at the start.
        """
        usable = np.isfinite(now) & (now > 0)
        if long is not None:
            usable &= np.isfinite(long) & (long > 0)
        residuals, now = residuals[usable], now[usable]
        reference = now if long is None else long[usable]
        level = math.sqrt(float(np.mean(reference * reference))) if len(reference) else 0.0
        slow = _settled(None if long is None else reference, level, len(now))
        steps = residuals.shape[1]
        ladder: list[tuple[int, float, float, float, float]] = []
        for step in sorted({knot for knot in _KNOTS if knot < steps} | {steps}):
            column = residuals[:, step - 1]
            known = np.isfinite(column)
            if int(known.sum()) < _FEWEST_PATHS:
                break
            a, b = fit_variance(column[known], now[known], slow[known])
            sigma = np.sqrt(a * now[known] ** 2 + b * slow[known] ** 2)
            low, high = conformal_bounds(np.sort(column[known] / sigma)) if (sigma > 0).all() else (0.0, 0.0)
            ladder.append((step, a / step, b / step, low, high))
        if not ladder:
            ladder = [(1, 1.0, 0.0, -_NORMAL_95, _NORMAL_95)]
        every = np.arange(1, steps + 1)
        place = np.log([float(rung[0]) for rung in ladder])
        curves = [np.interp(np.log(every), place, _smooth([rung[column] for rung in ladder])) for column in range(1, 5)]
        return cls(curves[0] * every, curves[1] * every, curves[2], curves[3], level, len(residuals))

    def apply(self, path: Floats, now: Floats, long: Floats | None = None) -> tuple[Floats, Floats]:
        """Return lower and upper prices of each step, two float64 arrays of the path's shape.

        Parameters
        ----------
        path : float64 array, shape (n, s), s <= steps
            Predicted closes, quote currency, from step 1 on.
        now, long : float64 arrays, shape (n,)
            As in ``fit``.

        Raises
        ------
        ValueError
            When the path has more steps than there are bands.
        """
        from ml.kernels.price import path_bands

        if path.ndim != 2 or path.shape[1] > self.steps:
            raise ValueError(f"expected paths of at most {self.steps} steps, got an array of shape {path.shape}")
        slow = _settled(long, self.long_level, len(path))
        low, high = np.empty(path.shape), np.empty(path.shape)
        path_bands(
            np.ascontiguousarray(path, dtype=np.float64),
            np.ascontiguousarray(now, dtype=np.float64),
            slow,
            self.a,
            self.b,
            self.low,
            self.high,
            low,
            high,
        )
        return low, high

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {
            "schema_version": _SCHEMA_VERSION,
            **{name: getattr(self, name).tolist() for name in ("a", "b", "low", "high")},
            "long_level": self.long_level,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PathBands:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a number is missing, of another type or out of range.
        """
        if data.get("schema_version") != _SCHEMA_VERSION:
            found = data.get("schema_version")
            raise BrokenModel(f"path bands have schema version {found!r}, this program reads {_SCHEMA_VERSION}")
        level, rows = data.get("long_level"), data.get("rows")
        if isinstance(level, bool) or not isinstance(level, (int, float)) or type(rows) is not int:
            raise BrokenModel(f"path bands: long_level is {level!r} and rows is {rows!r}, expected numbers")
        a, b, low, high = (read_numbers(data, name) for name in ("a", "b", "low", "high"))
        return cls(a, b, low, high, float(level), rows)


def read_numbers(data: Mapping[str, Any], name: str) -> Floats:
    """Return a list of numbers of a JSON document as float64 array; raises `BrokenModel` when it is none."""
    values = data.get(name)
    if not isinstance(values, list) or any(isinstance(v, bool) or not isinstance(v, (int, float)) for v in values):
        raise BrokenModel(f"{name} is not a list of numbers")
    return np.array(values, dtype=np.float64)


def _settled(long: Floats | None, level: float, count: int) -> Floats:
    """Return the long-run volatility that the variance is regressed on: partly the level that it returns to itself."""
    if long is None:
        return np.full(count, level)
    settled: Floats = np.sqrt((1 - _LEVEL_SHARE) * (long * long) + _LEVEL_SHARE * (level * level))
    return settled


def _smooth(values: list[float]) -> list[float]:
    """Return a quarter, a half and a quarter of three neighbours; the ends stay."""
    inner = [(values[i - 1] + 2 * values[i] + values[i + 1]) / 4 for i in range(1, len(values) - 1)]
    return [values[0], *inner, values[-1]] if len(values) > 1 else values
