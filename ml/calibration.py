"""Calibration: how a raw score becomes a probability that may be believed, and how that is measured.

The map is a slope without an intercept, ``p = sigmoid(a c tanh(s / c))`` with ``a >= 0``: on weak signals a map with one
free number is the only one that helps from a few hundred rows on, and it can never turn a forecast round. The scale ``c`` is
one and a half times the usual size of a score: a score beyond what the record could check does not raise the stated
probability much further. Widths of price bands are quantiles of standardised out-of-sample residuals.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import BrokenModel
from ml.frozen_numbers import read_frozen
from ml.intervals import block_weights, wilson
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = [
    "MINIMUM_ROWS",
    "Calibration",
    "CalibrationError",
    "apply_calibration",
    "calibrated",
    "calibration_error",
    "fit_calibration",
    "fit_slope",
    "reliability",
]

MINIMUM_ROWS = 500
"""Below this many out-of-sample rows the slope is 0: the model has no opinion yet."""

_SLOPE_ROWS = 5_000
_RESIDUAL_ROWS = 1_000
_RIDGE = 10.0
_SATURATION = 1.5  # scores saturate at this multiple of their root mean square
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Calibration:
    """The numbers that turn a raw score into a published prediction; written to ``calibration.json``.

    Attributes
    ----------
    slope
        ``a`` in ``p_up = sigmoid(a c tanh(score / c))``, never negative.
    return_per_edge
        ``b`` in ``expected_return = sigma * b * (2 p_up - 1)``, never negative; ``sigma`` is the volatility of one bar.
    residual_low, residual_median, residual_high
        5 %, 50 % and 95 % conformal quantiles of ``(r - expected_return) / sigma`` at the horizon.
    horizon
        Bars ahead.
    rows
        Thinned out-of-sample rows that the slope was fitted on.
    residual_rows
        Thinned out-of-sample rows that the quantiles were taken from.
    score_scale
        ``c`` above; 0 stands for one without end, ``p_up = sigmoid(a score)``.
    """

    slope: float
    return_per_edge: float
    residual_low: float
    residual_median: float
    residual_high: float
    horizon: int
    rows: int
    residual_rows: int
    score_scale: float = 0.0

    kind: ClassVar[str] = "direction"

    def __post_init__(self) -> None:
        """Refuse numbers that no prediction could be published with."""
        numbers = (
            self.slope,
            self.score_scale,
            self.return_per_edge,
            self.residual_low,
            self.residual_median,
            self.residual_high,
        )
        if not all(math.isfinite(number) for number in numbers):
            raise BrokenModel(f"calibration holds a number that is not finite: {numbers}")
        if min(self.slope, self.score_scale, self.return_per_edge) < 0:
            raise BrokenModel(
                f"slope {self.slope}, score scale {self.score_scale} and return per edge {self.return_per_edge} "
                "may not be negative"
            )
        if not self.residual_low <= self.residual_median <= self.residual_high:
            raise BrokenModel("residual quantiles are not in order")
        if self.horizon < 1:
            raise BrokenModel(f"a horizon is at least 1 bar, got {self.horizon}")

    @property
    def states(self) -> tuple[str, ...]:
        """Columns that these predictions fill in."""
        return PREDICTION_COLUMNS[:7]

    def publish(self, raw: Floats, sigma: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars; see ``apply_calibration``."""
        return apply_calibration(raw, sigma, close, self)

    def probabilities(self, raw: Floats) -> Floats:
        """Return the probabilities of a rise, float64 (n,), with the bits that ``publish`` states."""
        return calibrated(raw, self.slope, self.score_scale)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {"schema_version": _SCHEMA_VERSION, "kind": self.kind, **asdict(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Calibration:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a number is missing, of another type or out of range.
        """
        found: Calibration = read_frozen(cls, data, _SCHEMA_VERSION)
        return found


def apply_calibration(raw: Floats, sigma: Floats, close: Floats, calibration: Calibration) -> Floats:
    """Return the published numbers of n bars, shape (n, 9), in the order of ``PREDICTION_COLUMNS``.

    One function for training, batch and the newest bar: n rows at once and one by one give the same bits.

    Parameters
    ----------
    raw : float64 array, shape (n,)
        Scores of the model, in log odds before calibration.
    sigma : float64 array, shape (n,)
        Volatility of one bar's log return (the feature ``ewma_volatility``).
    close : float64 array, shape (n,)
        Closes in the quote currency.

    Returns
    -------
    float64 array, shape (n, 9)
        Rows with an input that is not finite are NaN throughout.
    """
    from ml.kernels.calibration import publish

    out = np.empty((len(raw), len(PREDICTION_COLUMNS)))
    publish(
        np.ascontiguousarray(raw, dtype=np.float64),
        np.ascontiguousarray(sigma, dtype=np.float64),
        np.ascontiguousarray(close, dtype=np.float64),
        calibration.slope,
        calibration.score_scale,
        calibration.return_per_edge,
        calibration.residual_low,
        calibration.residual_high,
        out,
    )
    return out


def calibrated(raw: Floats, slope: float, score_scale: float = 0.0) -> Floats:
    """Return the probabilities of a rise, shape (n,), with the bits that ``apply_calibration`` publishes."""
    from ml.kernels.calibration import calibrated_probability

    out = np.empty(len(raw))
    calibrated_probability(np.ascontiguousarray(raw, dtype=np.float64), float(slope), float(score_scale), out)
    return out


def fit_slope(raw: Floats, rose: Flags, weight: float = 1.0) -> tuple[float, float]:
    """Return slope and scale of the map: a ridge-penalised logistic regression without intercept, slope at least 0.

    With ``t = c tanh(s / c)`` and c = 1.5 rms(s) it minimises ``w sum log(1 + exp(-y a t)) + ridge / 2 (a rms(t))^2``,
    y = +-1, by Newton steps; scale and penalty follow the size of the scores, so a model may scale them as it likes. Only
    the last 5,000 rows count; below 500 rows, or where the scores are all zero, both numbers are 0.

    Parameters
    ----------
    raw : float64 array, shape (n,)
        Out-of-sample scores in time order, thinned to one per horizon.
    rose : bool array, shape (n,)
        Whether the return was positive; ties are not among the rows.
    weight
        ``w``: how many independent rows a row counts for, above 0 and at most 1; below 1 where labels overlap.
    """
    raw, rose = raw[-_SLOPE_ROWS:], rose[-_SLOPE_ROWS:]
    scale = _SATURATION * math.sqrt(float(np.mean(raw * raw))) if len(raw) else 0.0
    if len(raw) < MINIMUM_ROWS or scale == 0.0:
        return 0.0, 0.0
    score = scale * np.tanh(raw / scale)
    size = math.sqrt(float(np.mean(score * score)))
    score /= size
    target = rose.astype(np.float64)
    slope = 0.0
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(slope * score, -500, 500)))
        gradient = weight * float(np.sum((p - target) * score)) + _RIDGE * slope
        curvature = weight * float(np.sum(p * (1 - p) * score * score)) + _RIDGE
        step = gradient / curvature
        slope -= step
        if abs(step) < 1e-12:
            break
    return max(0.0, slope / size), scale


def fit_calibration(raw: Floats, returns: Floats, sigma: Floats, *, horizon: int) -> Calibration:
    """Fit every published number on thinned out-of-sample rows in time order.

    Parameters
    ----------
    raw, returns, sigma : float64 arrays, shape (n,)
        Scores, log returns at the horizon (no ties, no NaN) and volatilities of one bar.
    horizon
        Bars ahead.

    Returns
    -------
    Calibration
        ``return_per_edge`` is the regression of ``r / sigma`` on ``2 p - 1`` without intercept, cut off at 0 so that the
        expected return never contradicts the direction. Without any row the band is that of a normal law.
    """
    slope, scale = fit_slope(raw, returns > 0)
    rows = min(len(raw), _SLOPE_ROWS)
    known = np.isfinite(sigma) & (sigma > 0)
    edge = 2.0 * calibrated(raw[known], slope, scale) - 1.0
    move = returns[known] / sigma[known]
    square = float(np.sum(edge * edge))
    per_edge = max(0.0, float(np.sum(edge * move)) / square) if square > 0 else 0.0
    residuals = (move - per_edge * edge)[-_RESIDUAL_ROWS:]
    if len(residuals) == 0:
        width = 1.6448536269514722 * math.sqrt(horizon)
        return Calibration(slope, per_edge, -width, 0.0, width, horizon, rows, 0, scale)
    low, middle, high = conformal_quantiles(residuals)
    return Calibration(slope, per_edge, low, middle, high, horizon, rows, len(residuals), scale)


def conformal_quantiles(residuals: Floats) -> tuple[float, float, float]:
    """Return the 5 %, 50 % and 95 % quantiles that cover 90 % of exchangeable new residuals.

    The outer ones are order statistics ``floor(0.05 (n + 1))`` and ``ceil(0.95 (n + 1))`` (Vovk et al. 2005), cut to the
    sample's range.
    """
    ordered = np.sort(residuals)
    count = len(ordered)
    low = max(1, math.floor(0.05 * (count + 1)))
    high = min(count, math.ceil(0.95 * (count + 1)))
    return float(ordered[low - 1]), float(np.median(ordered)), float(ordered[high - 1])


@dataclass(frozen=True, slots=True)
class CalibrationError:
    """Root mean square distance between stated and observed frequency, corrected for the noise of finite bins.

    Attributes
    ----------
    value
        Square root of the corrected mean square, 0 where the correction exceeds it; NaN without rows.
    upper
        95 % upper bound by a block bootstrap. Each draw carries the noise of resampling too, so the bound errs upwards.
    """

    value: float
    upper: float


def calibration_error(stated: Floats, came_true: Flags, *, bins: int = 10, seed: int = 0) -> CalibrationError:
    """Return the debiased RMS calibration error of stated probabilities.

    ``CE^2 = sum_b n_b / n [(y_b - p_b)^2 - y_b (1 - y_b) / (n_b - 1)]`` over bins of equal mass (Broecker 2012;
    Kumar, Liang and Ma 2019). Equal probabilities share a bin.

    Parameters
    ----------
    stated : float64 array, shape (n,)
        Probabilities in time order.
    came_true : bool array, shape (n,)
        What happened.
    """
    count = len(stated)
    if count < 2:
        return CalibrationError(math.nan, math.nan)
    labels, used = _equal_mass(stated, bins)
    block = max(10, math.ceil(count ** (1 / 3)))
    blocks = -(-count // block)
    cell = np.arange(count) // block * used + labels
    shape = (blocks, used)
    sums = np.stack(
        [
            np.bincount(cell, weights=weight, minlength=blocks * used).reshape(shape)
            for weight in (np.ones(count), came_true.astype(np.float64), stated)
        ]
    )
    value = _mean_square(sums.sum(axis=1)[:, None, :])[0]
    weights = block_weights(blocks, 500, seed).astype(np.float64)
    drawn = np.einsum("db,kbj->kdj", weights, sums, optimize=False)
    upper = float(np.quantile(_mean_square(drawn), 0.95))
    return CalibrationError(math.sqrt(max(0.0, float(value))), math.sqrt(max(0.0, upper)))


def _mean_square(sums: Floats) -> Floats:
    """Return the debiased mean square of (3, draws, bins) sums: rows, outcomes, stated."""
    rows, outcomes, stated = sums
    filled = rows > 0
    safe = np.where(filled, rows, 1.0)
    observed = outcomes / safe
    noise = observed * (1 - observed) / np.where(rows > 1, rows - 1, 1.0)
    terms = np.where(filled, rows * ((observed - stated / safe) ** 2 - noise), 0.0)
    result: Floats = terms.sum(axis=-1) / rows.sum(axis=-1)
    return result


def _equal_mass(values: Floats, bins: int) -> tuple[npt.NDArray[np.int64], int]:
    """Return the bin of each value and the number of bins; equal values share one."""
    ordered = np.sort(values)
    edges = np.unique(ordered[[len(ordered) * i // bins for i in range(1, bins)]])
    labels = np.searchsorted(edges, values, side="right")
    _, compact = np.unique(labels, return_inverse=True)
    return compact.astype(np.int64), int(compact.max()) + 1


def reliability(stated: Floats, came_true: Flags, *, bins: int = 10) -> list[dict[str, float]]:
    """Return, for bins of equal mass, what was stated and what came true with its Wilson interval.

    Each row holds ``low``, ``high`` (range of the stated probabilities), ``stated`` (their mean), ``observed``,
    ``observed_low``, ``observed_high`` and ``n``.
    """
    if len(stated) == 0:
        return []
    labels, used = _equal_mass(stated, bins)
    table = []
    for label in range(used):
        inside = labels == label
        hits, count = int(came_true[inside].sum()), int(inside.sum())
        low, high = wilson(hits, count)
        table.append(
            {
                "low": float(stated[inside].min()),
                "high": float(stated[inside].max()),
                "stated": float(stated[inside].mean()),
                "observed": hits / count,
                "observed_low": low,
                "observed_high": high,
                "n": count,
            }
        )
    return table
