"""What looking many times costs: figures of the best of N trials, corrected for having been chosen.

The best of many worthless models looks good. These formulas say how good it would look by luck alone, and how often the
choice itself was wrong. Kurtosis is everywhere the plain fourth standardised moment: 3 for a normal law, not 0.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = [
    "SharpeFigures",
    "deflated_sharpe",
    "effective_trials",
    "expected_maximum",
    "mean_correlation",
    "overfitting_probability",
    "probabilistic_sharpe",
    "sharpe_figures",
]

_EULER = 0.5772156649015329
_MOST_BLOCKS = 16
_CHUNK = 1_000


@dataclass(frozen=True, slots=True)
class SharpeFigures:
    """Sharpe ratio of one period and what its error depends on.

    Attributes
    ----------
    ratio
        Mean over standard deviation of the returns of a period; not annualised.
    skew, kurtosis
        Third and fourth standardised moments; the kurtosis of a normal law is 3.
    count
        Periods.
    """

    ratio: float
    skew: float
    kurtosis: float
    count: int

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def sharpe_figures(returns: Floats) -> SharpeFigures:
    """Return the Sharpe ratio of a period with its moments; NaN below two returns or where they do not vary.

    Parameters
    ----------
    returns : float64 array, shape (n,)
        Simple returns of bets whose periods do not overlap.
    """
    count = len(returns)
    deviation = float(returns.std()) if count else 0.0
    if count < 2 or deviation <= 1e-15 * max(1.0, float(np.abs(returns).max())):
        return SharpeFigures(math.nan, math.nan, math.nan, count)
    mean = float(returns.mean())
    standard = (returns - mean) / deviation
    return SharpeFigures(
        ratio=mean / (deviation * math.sqrt(count / (count - 1))),
        skew=float(np.mean(standard**3)),
        kurtosis=float(np.mean(standard**4)),
        count=count,
    )


def probabilistic_sharpe(figures: SharpeFigures, benchmark: float = 0.0) -> float:
    """Return the probability that the true Sharpe ratio is above ``benchmark``.

    ``PSR = Phi((SR - SR*) sqrt(T - 1) / sqrt(1 - skew SR + (kurtosis - 1) / 4 SR^2))``, all per period.
    Source: Bailey and Lopez de Prado 2012, The Sharpe ratio efficient frontier, Journal of Risk 15(2).
    """
    if not math.isfinite(figures.ratio) or not math.isfinite(benchmark):
        return math.nan
    from scipy.special import ndtr

    ratio = figures.ratio
    variance = 1.0 - figures.skew * ratio + (figures.kurtosis - 1.0) / 4.0 * ratio * ratio
    if variance <= 0.0:
        return math.nan
    return float(ndtr((ratio - benchmark) * math.sqrt(figures.count - 1) / math.sqrt(variance)))


def expected_maximum(variance: float, trials: float) -> float:
    """Return how large the best of ``trials`` figures with mean 0 and this variance is expected to be.

    ``sqrt(V) ((1 - g) Phi^-1(1 - 1 / N) + g Phi^-1(1 - 1 / (N e)))`` with Euler's g = 0.5772; 0 for one trial.
    Source: Bailey and Lopez de Prado 2014, The deflated Sharpe ratio, Journal of Portfolio Management 40(5).

    Raises
    ------
    ValueError
        When there is less than one trial, or the variance is negative.
    """
    if trials < 1 or variance < 0:
        raise ValueError(f"expected at least one trial and no negative variance, got {trials} and {variance}")
    if trials == 1 or variance == 0:
        return 0.0
    from scipy.special import ndtri

    first, second = float(ndtri(1.0 - 1.0 / trials)), float(ndtri(1.0 - 1.0 / (trials * math.e)))
    return math.sqrt(variance) * max(0.0, (1.0 - _EULER) * first + _EULER * second)


def deflated_sharpe(figures: SharpeFigures, variance: float, trials: float) -> float:
    """Return the probability that the true Sharpe ratio of the best of ``trials`` is above what luck would show.

    ``DSR = PSR(SR* = expected_maximum(V, N))`` with V the variance of the trials' Sharpe ratios; 0.95 is the usual threshold.
    Source: as for ``expected_maximum``.
    """
    return probabilistic_sharpe(figures, expected_maximum(variance, trials))


def effective_trials(trials: float, correlation: float) -> float:
    """Return how many independent trials N correlated ones amount to: ``N (1 - rho) + rho``, rho cut to 0..1.

    Source: Bailey and Lopez de Prado 2014, appendix on the number of independent trials.
    """
    rho = min(max(correlation, 0.0), 1.0) if math.isfinite(correlation) else 0.0
    return trials * (1.0 - rho) + rho


def mean_correlation(scores: Floats) -> float:
    """Return the mean correlation of each two columns of (T, N) scores; NaN where fewer than two of them vary."""
    centred = scores - scores.mean(axis=0)
    size = np.sqrt((centred * centred).sum(axis=0))
    kept = size > 0
    count = int(kept.sum())
    if count < 2:
        return math.nan
    unit = centred[:, kept] / size[kept]
    # the sum over all pairs is the squared length of the summed unit vectors
    total = float((unit.sum(axis=1) ** 2).sum())
    return (total - count) / (count * (count - 1))


def overfitting_probability(scores: Floats, blocks: int = _MOST_BLOCKS) -> float:
    """Return how often the best trial of one half of the time is below the median of all trials in the other half.

    Combinatorially symmetric cross-validation: the T scores are averaged in ``blocks`` pieces of time, every choice of half
    of them is once the first half. A rank exactly at the median counts one half. 0.5 and more is pure overfitting.
    Source: Bailey, Borwein, Lopez de Prado and Zhu 2017, The probability of backtest overfitting, Journal of Computational
    Finance 20(4).

    Parameters
    ----------
    scores : float64 array, shape (T, N)
        Higher is better; one column for each trial, rows in time order.
    blocks
        An even number of pieces, at most 16 (12,870 choices); fewer where there are fewer rows.

    Returns
    -------
    float
        NaN with fewer than two trials or four rows.

    Raises
    ------
    ValueError
        When ``blocks`` is odd, below 2 or above 16.
    """
    if blocks % 2 or not 2 <= blocks <= _MOST_BLOCKS:
        raise ValueError(f"expected an even number of blocks from 2 to {_MOST_BLOCKS}, got {blocks}")
    rows, trials = scores.shape
    pieces = min(blocks, rows - rows % 2)
    if trials < 2 or pieces < 4:
        return math.nan
    means = np.stack([part.mean(axis=0) for part in np.array_split(scores, pieces)])
    chosen = np.array(list(combinations(range(pieces), pieces // 2)))
    inside = np.zeros((len(chosen), pieces))
    np.put_along_axis(inside, chosen, 1.0, axis=1)
    total, bad = means.sum(axis=0), 0.0
    for start in range(0, len(inside), _CHUNK):
        first = inside[start : start + _CHUNK] @ means
        second = total - first
        own = np.take_along_axis(second, first.argmax(axis=1)[:, None], axis=1)
        tolerance = 1e-12 * np.maximum(1.0, np.abs(own))
        below = (second < own - tolerance).sum(axis=1)
        equal = (np.abs(second - own) <= tolerance).sum(axis=1)
        relative = (below + (equal + 1) / 2) / (trials + 1)
        bad += float((relative < 0.5 - 1e-12).sum()) + 0.5 * float((np.abs(relative - 0.5) <= 1e-12).sum())
    return bad / len(inside)
