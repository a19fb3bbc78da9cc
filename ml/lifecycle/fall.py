"""When a hit rate fell, and what it has been since: for the words of an alarm, not for its decision."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.intervals import wilson

if TYPE_CHECKING:
    import numpy.typing as npt

    Flags = npt.NDArray[np.bool_]

__all__ = ["Fall", "estimate_fall"]


@dataclass(frozen=True, slots=True)
class Fall:
    """The likeliest moment of a fall, and the hit rate since then.

    The moment is the one that makes the rest look worst, so the rate since then is, on average, a little low.

    Attributes
    ----------
    since
        Number, counted from 0, of the first evaluation after the fall.
    n, hits, rate
        Evaluations since then, how many were right, and their share.
    low, high
        Two-sided 95 % Wilson interval of the share.
    before
        Share of hits before; NaN when there are none.
    log_ratio
        Natural logarithm of the likelihood ratio of that fall against none.
    """

    since: int
    n: int
    hits: int
    rate: float
    low: float
    high: float
    before: float
    log_ratio: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the share before is None when nothing was before."""
        return asdict(self) | {"before": None if math.isnan(self.before) else self.before}


def estimate_fall(came_true: Flags, p0: float, horizon: int = 1) -> Fall | None:
    """Return when a hit rate of ``p0`` fell, by maximum likelihood over the moment and the rate after it.

    ``max over i of n_i KL(rate_i || p0)`` over the tails i whose rate is below p0 (Hinkley 1970 with an unknown level).

    Parameters
    ----------
    came_true : bool array, shape (n,)
        In time order.
    p0
        Hit rate before, in (0, 1).
    horizon
        Bars that the label intervals of neighbouring rows share: 1 for thinned rows.

    Returns
    -------
    Fall or None
        None where no tail has a lower rate.
    """
    count = len(came_true)
    if count == 0:
        return None
    size = np.arange(count, 0, -1)
    hits = np.cumsum(came_true[::-1])[::-1]
    rate = hits / size
    with np.errstate(divide="ignore", invalid="ignore"):
        right = np.where(hits > 0, hits * np.log(rate / p0), 0.0)
        wrong = np.where(hits < size, (size - hits) * np.log((1 - rate) / (1 - p0)), 0.0)
    ratio = np.where(rate < p0, (right + wrong) / horizon, 0.0)
    since = int(np.argmax(ratio))
    if ratio[since] <= 0:
        return None
    n, right_ones, total = int(size[since]), int(hits[since]), int(hits[0])
    low, high = wilson(right_ones / horizon, n / horizon)
    return Fall(
        since=since,
        n=n,
        hits=right_ones,
        rate=right_ones / n,
        low=low,
        high=high,
        before=(total - right_ones) / since if since else math.nan,
        log_ratio=float(ratio[since]),
    )
