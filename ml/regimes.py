"""Regimes: in which of nine states of the market a bar stands, and whether a calibration should know it.

A regime is a pure function of the bar's own feature row: three classes of volatility times three of trend, their borders the
thirds of the training rows, frozen. There is deliberately no hysteresis and no dwell time: both need the regime of the bar
before, a state that reaches back to where the history began, and then the same bar could be told two ways.

``regime_slopes`` is the regime-aware calibration, ``a_g = a + u_g`` with ``u_g`` shrunk by ``n_g / (n_g + 1,000)``;
``regime_gain`` measures out of sample, fold by fold, whether it loses less than the plain slope. It does not on any series
that was measured (decision record 0011), so bundles are published with the plain slope; their metrics tell what was missed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.calibration import MINIMUM_ROWS, calibrated, fit_slope
from ml.conformal import read_numbers
from ml.dataset import VOLATILITY_FEATURE
from ml.errors import BrokenModel
from ml.evaluation import log_loss
from ml.intervals import mean_interval

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ml.dataset import Dataset, Fold
    from ml.intervals import MeanInterval
    from ml.record import OutOfSample

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = [
    "REGIMES",
    "SLOPE_ROWS",
    "TREND_FEATURE",
    "Regimes",
    "calibrated_by_regime",
    "regime_gain",
    "regime_report",
    "regime_slopes",
]

TREND_FEATURE = "trend_50"
"""Least squares slope of 50 closes a candle; divided by the volatility it tells a trend from a storm."""

REGIMES = tuple(
    f"{volatility} {trend}" for volatility in ("calm", "usual", "wild") for trend in ("falling", "flat", "rising")
)
"""Names of the nine regimes, in the order of their codes."""

SLOPE_ROWS = 5_000
"""Newest rows that slopes are fitted on, as ``ml.calibration.fit_slope`` does."""

_SHRINKAGE = 1_000
_SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Regimes:
    """Frozen borders between the classes.

    Attributes
    ----------
    volatility, trend
        The two borders of each: thirds of the volatility of a bar, and of the trend in units of it, over training rows.
    """

    volatility: tuple[float, float]
    trend: tuple[float, float]

    def __post_init__(self) -> None:
        """Refuse borders out of order."""
        for name in ("volatility", "trend"):
            low, high = getattr(self, name)
            if not low <= high:
                raise BrokenModel(f"borders of the {name} regimes are not in order: {low}, {high}")

    @classmethod
    def fit(cls, rows: Rows, names: Sequence[str]) -> Regimes:
        """Return the thirds of training rows.

        Parameters
        ----------
        rows : float32 array, shape (n, F)
            Feature rows; at least one whose two features are known.
        names
            Of the F columns; `ewma_volatility` and `trend_50` must be among them.

        Raises
        ------
        ValueError
            When a feature is missing, or no row knows both.
        """
        volatility, trend = _measures(rows, names)
        known = np.isfinite(volatility) & np.isfinite(trend)
        if not known.any():
            raise ValueError(f"no row knows both {VOLATILITY_FEATURE} and {TREND_FEATURE}")
        first, second = (np.quantile(values[known], [1 / 3, 2 / 3]) for values in (volatility, trend))
        return cls((float(first[0]), float(first[1])), (float(second[0]), float(second[1])))

    def classify(self, rows: Rows, names: Sequence[str]) -> npt.NDArray[np.int8]:
        """Return the code of each row's regime (see ``REGIMES``), int8 (n,); -1 where a feature is not known.

        One row and many give the same codes.
        """
        volatility, trend = _measures(rows, names)
        known = np.isfinite(volatility) & np.isfinite(trend)
        codes = 3 * np.searchsorted(self.volatility, volatility, side="left") + np.searchsorted(
            self.trend, trend, side="left"
        )
        return np.where(known, codes, -1).astype(np.int8)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {"schema_version": _SCHEMA_VERSION, "volatility": list(self.volatility), "trend": list(self.trend)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Regimes:
        """Read what ``to_dict`` wrote; raises `BrokenModel` when it is of another form."""
        pairs = [tuple(read_numbers(data, name).tolist()) for name in ("volatility", "trend")]
        if data.get("schema_version") != _SCHEMA_VERSION or any(len(pair) != 2 for pair in pairs):
            raise BrokenModel("regimes: expected schema version 1 and two borders each of volatility and trend")
        return cls(*pairs)


def _measures(rows: Rows, names: Sequence[str]) -> tuple[Floats, Floats]:
    """Return volatility and trend strength of each row, NaN where unknown."""
    missing = [name for name in (VOLATILITY_FEATURE, TREND_FEATURE) if name not in names]
    if missing:
        raise ValueError(f"regimes need the feature {' and '.join(missing)}")
    order = list(names)
    volatility = rows[:, order.index(VOLATILITY_FEATURE)].astype(np.float64)
    trend = rows[:, order.index(TREND_FEATURE)].astype(np.float64)
    strength = np.divide(trend, volatility, out=np.full(len(trend), np.nan), where=volatility > 0)
    return volatility, strength


def regime_slopes(raw: Floats, rose: Flags, regime: Integers, groups: int = len(REGIMES)) -> tuple[Floats, float]:
    """Return the slope of each regime, float64 (groups,), and the scale that all share.

    ``a_g = max(0, a + u_g)``: ``a`` is the slope of all rows (``fit_slope``), ``u_g`` the difference of the slope of the
    regime's rows alone times ``n_g / (n_g + 1,000)``. Both see the same last 5,000 rows: otherwise the number
    of rows would be measured, not the regime. Below 500 rows in all every slope is 0.

    Parameters
    ----------
    raw : float64 array, shape (n,)
        Out-of-sample scores in time order, thinned.
    rose : bool array, shape (n,)
        Whether the return was positive.
    regime : integer array, shape (n,)
        Codes; rows with a negative one count for ``a`` only.
    groups
        Number of regimes.
    """
    raw, rose, regime = raw[-SLOPE_ROWS:], rose[-SLOPE_ROWS:], regime[-SLOPE_ROWS:]
    slope, scale = fit_slope(raw, rose)
    slopes = np.full(groups, slope)
    if len(raw) < MINIMUM_ROWS or scale == 0.0:
        return slopes, scale
    score = scale * np.tanh(raw / scale)
    size = float(np.sqrt(np.mean(score * score)))
    for group in range(groups):
        inside = regime == group
        count = int(inside.sum())
        if count:
            own = _logistic_slope(score[inside] / size, rose[inside]) / size
            slopes[group] = max(0.0, slope + (own - slope) * count / (count + _SHRINKAGE))
    return slopes, scale


def _logistic_slope(score: Floats, rose: Flags, ridge: float = 10.0) -> float:
    """Return the ridge-penalised slope of a logistic regression without intercept, of either sign."""
    target = rose.astype(np.float64)
    slope = 0.0
    for _ in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(slope * score, -500, 500)))
        gradient = float(np.sum((p - target) * score)) + ridge * slope
        step = gradient / (float(np.sum(p * (1 - p) * score * score)) + ridge)
        slope -= step
        if abs(step) < 1e-12:
            break
    return slope


def calibrated_by_regime(raw: Floats, regime: Integers, slopes: Floats, scale: float, plain: float) -> Floats:
    """Return the probabilities of a rise, float64 (n,); rows without a regime take the plain slope."""
    out = calibrated(raw, plain, scale)
    for group, slope in enumerate(slopes):
        inside = regime == group
        if inside.any():
            out[inside] = calibrated(raw[inside], float(slope), scale)
    return out


def regime_gain(
    raw: Floats, returns: Floats, regime: Integers, fold: Integers, *, groups: int = len(REGIMES)
) -> tuple[MeanInterval, Floats]:
    """Return the mean log-loss that regime slopes save over the plain slope, nats a bar, and the saving of each row.

    Each fold is judged by slopes fitted on the folds before it; the first is not. The regime-aware map is accepted where the
    one-sided 95 % lower bound is above 0.

    Parameters
    ----------
    raw, returns : float64 arrays, shape (n,)
        Scores and log returns of thinned out-of-sample rows in time order, without ties.
    regime, fold : integer arrays, shape (n,)
        Codes of the regime and of the fold.
    """
    rose = returns > 0
    saved = []
    for number in np.unique(fold)[1:]:
        past, now = fold < number, fold == number
        plain, scale = fit_slope(raw[past], rose[past])
        slopes, _ = regime_slopes(raw[past], rose[past], regime[past], groups)
        ours = calibrated_by_regime(raw[now], regime[now], slopes, scale, plain)
        saved.append(log_loss(calibrated(raw[now], plain, scale), rose[now]) - log_loss(ours, rose[now]))
    gains = np.concatenate(saved) if saved else np.empty(0)
    return mean_interval(gains), gains


def regime_report(dataset: Dataset, folds: Sequence[Fold], record: OutOfSample) -> dict[str, Any] | None:
    """Return whether a regime-aware calibration would have helped a model, for ``metrics.json``; None where nothing tells.

    Borders are those of the first fold's training rows, which precede everything that is judged.

    Parameters
    ----------
    dataset, folds
        Of the walk forward that made the record.
    record
        Its rows are the bars of the folds' tests, in order.
    """
    if any(name not in dataset.names for name in (VOLATILITY_FEATURE, TREND_FEATURE)):
        return None
    regimes = Regimes.fit(dataset.rows[folds[0].train], dataset.names)
    codes = regimes.classify(dataset.rows[np.concatenate([fold.test for fold in folds])], dataset.names)
    rows = record.scored
    interval, _ = regime_gain(
        record.raw_score[rows],
        record.forward_return[rows],
        codes[rows].astype(np.int64),
        record.fold[rows].astype(np.int64),
    )
    return {
        **regimes.to_dict(),
        "n": interval.count,
        "gain": interval.mean,
        "gain_lower_95": interval.lower_one_sided,
        "helps": interval.lower_one_sided > 0,
        "used": False,
    }
