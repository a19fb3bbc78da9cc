"""The publisher of kind ``price``: a forecast of the return becomes a price, its band and a probability of direction.

A score forecasts the return in units of the volatility. What is published is the conformal predictive distribution of Vovk et
al. 2005: ``F(x) = (1 + #{eps_i <= (x - r) / sigma_h}) / (n + 2)`` with ``r`` the forecast, ``eps_i`` the standardised
residuals of forecasts of the past and ``sigma_h^2 = a sigma^2 + level`` the regressed variance at the horizon (see
``ml.conformal``). Price and expected return are its median, the band holds 90 % at a level that was adapted on the record,
and ``1 - F(0)`` passes through the slope map of ``ml.calibration``, so that a confidence means the same in every family. All
numbers are frozen in ``calibration.json``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.calibration import MINIMUM_ROWS, fit_slope
from ml.conformal import MISCOVERAGE, POOL_ROWS, adaptive_level, conformal_bounds, fit_variance, read_numbers
from ml.errors import BrokenModel
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["PricePublisher", "fit_price"]

_ROWS = 5_000
_SATURATION = 1.5  # scores saturate at this multiple of their root mean square, as in ml.calibration
_LARGEST_MOVE = 4.0  # robust deviations: what a return may weigh at most in the slope of the forecast
_TO_DEVIATION = 1.4826  # from a median absolute value to the deviation of a normal law
_SCHEMA_VERSION = 1
_NUMBERS = (
    *("return_slope", "score_scale", "variance_now", "variance_level"),
    *("slope", "slope_scale", "miscoverage"),
)


@dataclass(frozen=True)
class PricePublisher:
    """The numbers that turn a score into a distribution of the return; written to ``calibration.json``.

    Attributes
    ----------
    return_slope, score_scale
        ``r = sigma b c tanh(score / c)`` with ``b >= 0``; ``sigma`` is the volatility of one bar. A scale of 0 is one without
        end.
    variance_now, variance_level
        ``sigma_h^2 = variance_now sigma^2 + variance_level``.
    slope, slope_scale
        ``p_up = sigmoid(a d tanh(z / d))`` of the log odds ``z`` of ``1 - F(0)``, ``a >= 0``.
    miscoverage
        Nominal share outside the band that gave 10 % on the record.
    pool
        Standardised residuals in ascending order, their median 0; at most 1,000.
    horizon
        Bars ahead.
    rows
        Thinned out-of-sample rows that the slopes were fitted on.
    """

    return_slope: float
    score_scale: float
    variance_now: float
    variance_level: float
    slope: float
    slope_scale: float
    miscoverage: float
    pool: tuple[float, ...]
    horizon: int
    rows: int

    kind: ClassVar[str] = "price"

    def __post_init__(self) -> None:
        """Refuse numbers that no prediction could be published with."""
        numbers = [getattr(self, name) for name in _NUMBERS]
        if not all(math.isfinite(number) for number in (*numbers, *self.pool)):
            raise BrokenModel("calibration of a price holds a number that is not finite")
        if min(numbers) < 0 or not 0 < self.miscoverage < 1:
            found = dict(zip(_NUMBERS, numbers, strict=True))
            raise BrokenModel(f"calibration of a price holds a number out of range: {found}")
        if not self.pool or list(self.pool) != sorted(self.pool):
            raise BrokenModel("the residuals of a price are missing or not in order")
        if self.horizon < 1:
            raise BrokenModel(f"a horizon is at least 1 bar, got {self.horizon}")

    @property
    def states(self) -> tuple[str, ...]:
        """Columns that these predictions fill in."""
        return PREDICTION_COLUMNS[:7]

    @cached_property
    def _ordered(self) -> Floats:
        return np.array(self.pool, dtype=np.float64)

    @cached_property
    def _numbers(self) -> tuple[float, ...]:
        """Return what the kernel reads, in its order."""
        low, high = conformal_bounds(self._ordered, self.miscoverage)
        first = tuple(float(getattr(self, name)) for name in _NUMBERS[:6])
        return (*first, low, float(np.median(self._ordered)), high)

    def publish(self, raw: Floats, sigma: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9); n rows at once and one by one give the same bits.

        Parameters
        ----------
        raw : float64 array, shape (n,)
            Forecasts of the return in units of the volatility.
        sigma : float64 array, shape (n,)
            Volatility of one bar's log return (the feature ``ewma_volatility``).
        close : float64 array, shape (n,)
            Closes in the quote currency.
        """
        from ml.kernels.price import publish_price

        out = np.empty((len(raw), len(PREDICTION_COLUMNS)))
        publish_price(
            np.ascontiguousarray(raw, dtype=np.float64),
            np.ascontiguousarray(sigma, dtype=np.float64),
            np.ascontiguousarray(close, dtype=np.float64),
            self._numbers,
            self._ordered,
            out,
        )
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "kind": self.kind,
            **{name: getattr(self, name) for name in _NUMBERS},
            "pool": list(self.pool),
            "horizon": self.horizon,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PricePublisher:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a number is missing, of another type or out of range.
        """
        version = data.get("schema_version")
        if version != _SCHEMA_VERSION:
            raise BrokenModel(f"calibration.json has schema version {version!r}, this program reads {_SCHEMA_VERSION}")
        values: dict[str, Any] = {}
        for name in (*_NUMBERS, "horizon", "rows"):
            value = data.get(name)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise BrokenModel(f"calibration.json: {name} is {value!r}, expected a number")
            whole = name in {"horizon", "rows"}
            if whole and not float(value).is_integer():
                raise BrokenModel(f"calibration.json: {name} is {value!r}, expected a whole number")
            values[name] = int(value) if whole else float(value)
        return cls(**values, pool=tuple(read_numbers(data, "pool").tolist()))


def fit_price(raw: Floats, returns: Floats, sigma: Floats, *, horizon: int) -> PricePublisher:
    """Fit every published number on thinned out-of-sample rows in time order; only the last 5,000 count.

    The slope of the forecast is a regression of ``r / sigma`` without intercept; returns are cut off at four robust
    deviations, and the slope is multiplied by ``z^2 / (1 + z^2)``, z its distance from 0 in standard errors: a slope that
    could be chance moves prices little, and one below 0 not at all. The pool is a thousand quantiles of the residuals, moved
    so that their median is 0, because the middle of a few thousand residuals is noise of the size of a good forecast. Below
    500 rows, or where the probability of a rise shows no relation to what happened, the forecast is 0 and the probability
    one half. Without any row the band is that of a random walk of normal steps.

    Parameters
    ----------
    raw, returns, sigma : float64 arrays, shape (n,)
        Scores, log returns at the horizon (no ties, no NaN) and volatilities of one bar.
    horizon
        Bars ahead.
    """
    from ml.kernels.price import log_odds

    known = np.isfinite(sigma) & (sigma > 0) & np.isfinite(raw) & np.isfinite(returns)
    raw, returns, sigma = raw[known][-_ROWS:], returns[known][-_ROWS:], sigma[known][-_ROWS:]
    if len(raw) < 2:
        return _normal(horizon)
    scale, slope = _forecast_slope(raw, returns / sigma)
    level = math.sqrt(float(np.mean(sigma * sigma)))

    def residuals(forecast: Floats) -> tuple[float, float, Floats, Floats]:
        left = returns - forecast
        now, settled = fit_variance(left, sigma, np.full(len(sigma), level))
        width = np.sqrt(now * (sigma * sigma) + settled * (level * level))
        return now, settled * (level * level), width, left / np.where(width > 0, width, 1.0)

    squashed = scale * np.tanh(raw / scale) if scale > 0 else np.zeros(len(raw))
    forecast = sigma * (slope * squashed)
    now, settled, width, errors = residuals(forecast)
    odds = np.empty(len(raw))
    log_odds(forecast, width, np.array(_centred(errors)), odds)
    confidence, confidence_scale = fit_slope(odds, returns > 0)
    if confidence == 0.0:
        slope = confidence_scale = 0.0
        now, settled, _, errors = residuals(np.zeros(len(raw)))
    return PricePublisher(
        return_slope=slope,
        score_scale=scale,
        variance_now=now,
        variance_level=settled,
        slope=confidence,
        slope_scale=confidence_scale,
        miscoverage=adaptive_level(errors),
        pool=_centred(errors),
        horizon=horizon,
        rows=len(raw),
    )


def _forecast_slope(raw: Floats, move: Floats) -> tuple[float, float]:
    """Return scale and slope of the forecast of ``r / sigma``."""
    scale = _SATURATION * math.sqrt(float(np.mean(raw * raw)))
    if len(raw) < MINIMUM_ROWS or scale == 0.0:
        return 0.0, 0.0
    limit = _LARGEST_MOVE * _TO_DEVIATION * float(np.median(np.abs(move)))
    cut = np.clip(move, -limit, limit)
    score = scale * np.tanh(raw / scale)
    square = float(np.sum(score * score))
    slope = float(np.sum(score * cut)) / square
    error = float(np.mean((cut - slope * score) ** 2)) / square  # of the slope, squared
    if slope <= 0.0:
        return scale, 0.0
    return scale, slope * (slope * slope) / (slope * slope + error)


def _centred(errors: Floats) -> tuple[float, ...]:
    """Return residuals in order and around their median, thinned evenly to 1,000; an even number where there are two."""
    ordered = np.sort(errors)
    count = min(len(ordered), POOL_ROWS)
    count -= count % 2 if count > 1 else 0
    ordered = ordered[((np.arange(count) + 0.5) * len(ordered) / count).astype(np.int64)]
    half = count // 2
    if half:
        ordered -= (ordered[half - 1] + ordered[half]) / 2
        gap = (ordered[half] - ordered[half - 1]) / 2
        ordered[half - 1], ordered[half] = -gap, gap  # the median is 0 to the bit
    return tuple(ordered.tolist())


def _normal(horizon: int) -> PricePublisher:
    """Return what can be said without a record: nothing of the direction, and normal steps."""
    from scipy.stats import norm

    quantiles = norm.ppf((np.arange(200) + 0.5) / 200)
    pool = tuple(((quantiles - quantiles[::-1]) / 2).tolist())
    return PricePublisher(0.0, 0.0, float(horizon), 0.0, 0.0, 0.0, MISCOVERAGE, pool, horizon, 0)
