"""Intervals: how far a figure measured on n bars may be from the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["MeanInterval", "bars_to_see", "block_weights", "hac_standard_error", "mean_interval", "wilson"]

_ONE_SIDED_95 = 1.6448536269514722
_TWO_SIDED_95 = 1.959963984540054


def wilson(hits: float, count: float, z: float = _TWO_SIDED_95) -> tuple[float, float]:
    """Return the Wilson score interval of a proportion (NaN, NaN when nothing was counted).

    Counts of overlapping rows are divided by how many overlap, and then need not be whole numbers.

    Source: Wilson 1927, JASA 22, 209-212.
    """
    if count == 0:
        return math.nan, math.nan
    share = hits / count
    centre = share + z * z / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def hac_standard_error(values: Floats, lag: int = 0) -> float:
    """Return the standard error of a mean under serial correlation (NaN below two values).

    Newey and West 1987 with Bartlett weights; lag ``floor(4 (n / 100)^(2/9))`` as in Newey and West 1994. Where the weighted
    sum is not positive (a strongly alternating series) the plain variance stands in.

    Parameters
    ----------
    values : float64 array, shape (n,)
        In time order, finite.
    lag
        Values that overlap with their neighbours are correlated at least so far; a longer lag of the rule prevails.
    """
    count = len(values)
    if count < 2:
        return math.nan
    centred = values - values.mean()
    plain = float((centred * centred).mean())
    lag = min(count - 1, max(lag, int(4 * (count / 100) ** (2 / 9))))
    total = plain
    for step in range(1, lag + 1):
        covariance = float((centred[step:] * centred[:-step]).sum()) / count
        total += 2 * (1 - step / (lag + 1)) * covariance
    return math.sqrt((total if total > 0 else plain) / count)


@dataclass(frozen=True, slots=True)
class MeanInterval:
    """A mean of n values in time order with its standard error.

    Attributes
    ----------
    lower_one_sided
        One-sided 95 % lower bound: the truth is above it in 95 of 100 such samples.
    low, high
        Two-sided 95 % interval.
    """

    mean: float
    standard_error: float
    count: int
    lower_one_sided: float
    low: float
    high: float


def mean_interval(values: Floats, lag: int = 0) -> MeanInterval:
    """Return mean, HAC standard error and 95 % bounds of values in time order; NaN where undefined.

    ``lag`` is that of `hac_standard_error`.
    """
    if len(values) == 0:
        return MeanInterval(math.nan, math.nan, 0, math.nan, math.nan, math.nan)
    mean = float(values.mean())
    error = hac_standard_error(values, lag)
    return MeanInterval(
        mean=mean,
        standard_error=error,
        count=len(values),
        lower_one_sided=mean - _ONE_SIDED_95 * error,
        low=mean - _TWO_SIDED_95 * error,
        high=mean + _TWO_SIDED_95 * error,
    )


def bars_to_see(hit_rate: float) -> int:
    """Return how many independent forecasts show that a hit rate is above one half.

    One-sided binomial test at 5 % with a power of 95 %:
    ``n = (z sqrt(1/4) + z sqrt(p (1 - p)))^2 / (p - 1/2)^2``: 3,001 for 0.53, 1,686 for 0.54, 1,077 for 0.55.

    Raises
    ------
    ValueError
        When the rate is not above 0.5 and below 1.
    """
    if not 0.5 < hit_rate < 1:
        raise ValueError(f"a hit rate to be seen lies above 0.5 and below 1, got {hit_rate}")
    z = _ONE_SIDED_95
    return math.ceil((z * 0.5 + z * math.sqrt(hit_rate * (1 - hit_rate))) ** 2 / (hit_rate - 0.5) ** 2)


def block_weights(blocks: int, draws: int, seed: int) -> npt.NDArray[np.int64]:
    """Return how often each of ``blocks`` blocks of time is drawn in each bootstrap sample, shape (draws, blocks).

    Blocks are drawn with replacement, so that what is correlated inside one stays together (Künsch 1989 on
    non-overlapping blocks, Carlstein 1986).
    """
    generator = np.random.default_rng(seed)
    weights: npt.NDArray[np.int64] = generator.multinomial(blocks, np.full(blocks, 1 / blocks), size=draws)
    return weights
