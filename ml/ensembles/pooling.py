"""How the answers of several models become one score: weights, votes, or a learnt combination.

Everything is fitted on rows that the members had not seen, and on nothing later than the bar that is asked about.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel, InvalidParameter
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["METHODS", "STACKING_ROWS", "Pool", "check_method", "fit_pool", "fit_weights", "log_likelihood", "stack"]

METHODS = ("weighted_avg", "voting", "stacking")
"""Mean of the log odds, majority vote, or a logistic regression on the log odds."""

STACKING_ROWS = 2_000
"""Fewest rows that a combination is learnt from; below, stacking is the mean of equal weights."""

_SHRINK_ROWS = 5_000
_MOST_ROWS = 20_000
_RIDGE = 10.0
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Pool:
    """The frozen numbers of a combination of K models.

    Attributes
    ----------
    method
        One of `METHODS`.
    weights
        Of the members' log odds, not negative; they sum to 1 unless they were learnt by stacking.
    intercept
        Added to the weighted sum; 0 but for stacking.
    learnt
        Whether a combination was learnt by stacking: with too few rows its weights are equal.
    rows
        Rows that it was fitted on.
    """

    method: str
    weights: tuple[float, ...]
    intercept: float = 0.0
    learnt: bool = False
    rows: int = 0

    def __post_init__(self) -> None:
        """Refuse numbers that nothing could be pooled with."""
        check_method(self.method)
        if len(self.weights) < 2 or not all(math.isfinite(w) and w >= 0 for w in (*self.weights, abs(self.intercept))):
            raise BrokenModel(f"an ensemble needs two or more finite weights of at least 0, got {self.weights}")

    @property
    def shares(self) -> tuple[float, ...]:
        """The weights as shares that sum to 1, equal where all are 0: what returns and bands are averaged with."""
        total = math.fsum(self.weights)
        count = len(self.weights)
        return tuple(w / total for w in self.weights) if total > 0 else (1.0 / count,) * count

    def pool(self, stated: Floats, expected: Floats, low: Floats, high: Floats, centre: float = 0.0) -> Floats:
        """Return score, log return, middle and half width of the band of n bars, float64 (n, 4).

        Parameters
        ----------
        stated, expected, low, high : float64 arrays, shape (n, K)
            What each member says: a probability, and log returns.
        centre
            Log odds of no opinion: 0 for a rise, those of the base rate for a risk.
        """
        from ml.kernels.ensembles import pool_answers

        out = np.empty((len(stated), 4))
        p, r, lower, upper = (np.ascontiguousarray(part, dtype=np.float64) for part in (stated, expected, low, high))
        weights, shares = np.array(self.weights), np.array(self.shares)
        pool_answers(p, r, lower, upper, float(centre), weights, self.intercept, shares, self.method == "voting", out)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {
            "method": self.method,
            "weights": list(self.weights),
            "intercept": self.intercept,
            "learnt": self.learnt,
            "rows": self.rows,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Pool:
        """Read what ``to_dict`` wrote; raises BrokenModel where something is missing or of another type."""
        try:
            return cls(
                method=str(data["method"]),
                weights=tuple(float(w) for w in data["weights"]),
                intercept=float(data["intercept"]),
                learnt=bool(data["learnt"]),
                rows=int(data["rows"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenModel(f"the pool of the ensemble cannot be read: {type(error).__name__}: {error}") from None


def check_method(method: str) -> str:
    """Return the method; raises InvalidParameter with the nearest name where it is unknown."""
    if method not in METHODS:
        raise InvalidParameter(
            f"{method!r} is no method of an ensemble{suggestion(method, METHODS)} (known: {', '.join(METHODS)})"
        )
    return method


def fit_pool(
    method: str,
    stated: Floats,
    happened: Flags,
    given: Sequence[float] | None = None,
    centres: Floats | None = None,
    log_scores: Floats | None = None,
) -> Pool:
    """Fit a combination on thinned out-of-sample rows in time order.

    Parameters
    ----------
    method
        One of `METHODS`.
    stated : float64 array, shape (n, K)
        What the members said of n bars.
    happened : bool array, shape (n,)
        What came of them.
    given
        Weights of the user, for ``weighted_avg``; they are normalised.
    centres : float64 array, shape (n,), optional
        Log odds of no opinion for each row, which stacking learns about; 0 unless given.
    log_scores : float64 array, shape (n, K), optional
        What weights are fitted by; the logarithm of the probability given to what happened, unless given.
    """
    count, members = stated.shape
    equal = (1.0 / members,) * members
    if method == "voting":
        return Pool(method, equal, rows=count)
    if method == "stacking":
        if count < STACKING_ROWS:
            return Pool(method, equal, rows=count)
        weights, intercept = stack(stated, happened, centres)
        return Pool(method, weights, intercept, learnt=True, rows=count)
    if given is not None:
        total = math.fsum(given)
        return Pool(method, tuple(w / total for w in given), rows=count)
    return Pool(method, fit_weights(log_likelihood(stated, happened) if log_scores is None else log_scores), rows=count)


def log_likelihood(stated: Floats, happened: Flags) -> Floats:
    """Return the logarithm of the probability that each member gave to what happened, float64 (n, K)."""
    given = np.clip(np.where(happened[:, None], stated, 1.0 - stated), _SMALLEST, 1.0)
    logs: Floats = np.log(given)
    return logs


def fit_weights(log_scores: Floats) -> tuple[float, ...]:
    """Return the weights ``(1 - l) / K + l w``, ``w`` = softmax of the members' summed log-scores, ``l = n / (n + 5000)``.

    The softmax of the log-scores is the posterior of "this member is the true one" under equal odds (Bayesian model
    averaging); shrinking towards equal weights is what the forecast combination puzzle asks for (Wang et al. 2022).
    """
    count, members = log_scores.shape
    score = log_scores.sum(axis=0) if count else np.zeros(members)
    posterior = np.exp(score - score.max())
    posterior /= posterior.sum()
    part = count / (count + _SHRINK_ROWS)
    return tuple(float(w) for w in (1.0 - part) / members + part * posterior)


def stack(stated: Floats, happened: Flags, centres: Floats | None = None) -> tuple[tuple[float, ...], float]:
    """Return weights and intercept of a ridge-penalised logistic regression on log odds with weights of at least 0.

    It minimises ``sum log(1 + exp(-y (c + b + sum_j w_j (l_j - c)))) + ridge / 2 (b^2 + sum_j (w_j rms_j)^2)`` over the last
    20,000 rows, y = +-1, c the centre (0 for a direction); stacked generalisation of Wolpert 1992 with Breiman's (1996)
    constraint.
    """
    from scipy.optimize import minimize

    stated, happened = np.clip(stated[-_MOST_ROWS:], _SMALLEST, 1.0 - _SMALLEST), happened[-_MOST_ROWS:]
    offset = np.zeros(len(stated)) if centres is None else centres[-_MOST_ROWS:]
    logits = np.log(stated / (1.0 - stated)) - offset[:, None]
    size = np.sqrt(np.mean(logits * logits, axis=0))
    size[size == 0.0] = 1.0  # a member without any opinion: its weight stays 0
    columns = [np.ones(len(logits)), *(np.ascontiguousarray(column) for column in (logits / size).T)]
    sign = np.where(happened, 1.0, -1.0)

    def loss(theta: Floats) -> tuple[float, Floats]:
        fitted = offset.copy()
        for weight, column in zip(theta, columns, strict=True):
            fitted += weight * column
        margin = sign * fitted
        small = np.exp(-np.abs(margin))
        value = float(np.sum(np.log1p(small) - np.minimum(margin, 0.0)) + 0.5 * _RIDGE * np.sum(theta * theta))
        wrong = sign * np.where(margin > 0, small, 1.0) / (1.0 + small)
        return value, np.array([-float(np.sum(wrong * column)) for column in columns]) + _RIDGE * theta

    members = logits.shape[1]
    bounds = [(None, None), *[(0.0, None)] * members]
    start = np.array([0.0, *(size / members)])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 500, "ftol": 1e-13})
    weights = np.maximum(found.x[1:], 0.0) / size
    return tuple(float(w) for w in weights), float(found.x[0])
