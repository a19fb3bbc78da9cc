"""Is a model right more often than somebody without one? A test that may be looked at after every bar.

An e-process: under the null hypothesis, that given the past each hit has at most its null rate, its expectation is at most 1
at every moment, chosen in whatever way. So it ever reaches 20 with a probability of at most 1/20 (Ville 1939), however long
and often one looks. With m candidates in play the threshold is 20 m.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.lifecycle.wealth import Bettor, Products

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["ALTERNATIVES", "HitRateTest"]

ALTERNATIVES = (0.01, 0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08)
"""By how much a model may be right more often than the null rate: 51 to 58 % against a coin."""

_LEAST, _MOST = 0.001, 0.999


@dataclass(frozen=True, slots=True)
class HitRateTest(Bettor):
    """Mixture of likelihood ratios of hits: the mean over a of ``prod Bern(z; q + a) / Bern(z; q)`` with the null rates q.

    An alternative never takes more than half of what is left to certainty: ``min(q + a, (1 + q) / 2)``.
    Source: Ramdas, Gruenwald, Vovk and Shafer 2023, Game-theoretic statistics and safe anytime-valid inference, Statistical
    Science 38(4).

    Attributes
    ----------
    n, hits
        Evaluations seen, and how many were right.
    products
        One for each of ``ALTERNATIVES``.
    """

    n: int = 0
    hits: int = 0
    products: Products = field(default_factory=lambda: Products.ones(len(ALTERNATIVES)))

    def __post_init__(self) -> None:
        """Refuse counts and products that do not fit."""
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"hits lie between 0 and the evaluations, got {self.hits} of {self.n}")
        if len(self.products.mantissas) != len(ALTERNATIVES):
            raise ValueError(f"expected {len(ALTERNATIVES)} products, got {len(self.products.mantissas)}")

    def update(self, came_true: Flags, null_rate: Floats | float = 0.5) -> HitRateTest:
        """Return the test after further evaluations.

        Parameters
        ----------
        came_true : bool array, shape (n,)
            In time order; evaluations of one phase, whose label intervals do not overlap.
        null_rate : float64 array, shape (n,), or float
            Hit rate of somebody without a model, known beforehand, from 0.001 to 0.999.

        Raises
        ------
        ValueError
            When a null rate is out of range.
        """
        if len(came_true) == 0:
            return self
        return HitRateTest(
            n=self.n + len(came_true),
            hits=self.hits + int(np.count_nonzero(came_true)),
            products=self.products.times(_factors(came_true, null_rate)),
        )

    def path(self, came_true: Flags, null_rate: Floats | float = 0.5) -> Floats:
        """Return ``log_e`` after each further evaluation, float64 (n,)."""
        return self.products.path(_factors(came_true, null_rate))

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``from_dict`` gives the same test to the bit."""
        return {
            "test": "hit_rate",
            "alternatives": list(ALTERNATIVES),
            "n": self.n,
            "hits": self.hits,
            **self.products.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HitRateTest:
        """Read what ``to_dict`` returned.

        Raises
        ------
        ValueError
            When it is the state of another test, or of other alternatives.
        """
        if data.get("test") != "hit_rate" or tuple(data.get("alternatives", ())) != ALTERNATIVES:
            raise ValueError(f"this is no state of a hit-rate test with the alternatives {ALTERNATIVES}")
        return cls(int(data["n"]), int(data["hits"]), Products.from_dict(data))


def _factors(came_true: Flags, null_rate: Floats | float) -> Floats:
    """Return the likelihood ratio of each evaluation under each alternative, shape (n, alternatives)."""
    null = np.asarray(null_rate, dtype=np.float64)
    if null.ndim and null.shape != came_true.shape:
        raise ValueError(f"{len(came_true)} evaluations with {len(null)} null rates")
    wrong = ~((null >= _LEAST) & (null <= _MOST))
    if wrong.any():
        raise ValueError(f"a null rate lies between {_LEAST} and {_MOST}, got {float(null[wrong].flat[0])}")
    distinct, place = np.unique(null, return_inverse=True)  # one rate a refit
    column = distinct[:, None]
    rate = np.minimum(column + np.array(ALTERNATIVES), 0.5 + column / 2)
    table = np.stack([(1.0 - rate) / (1.0 - column), rate / column])
    factors: Floats = table[came_true.astype(np.intp), place.reshape(-1) if null.ndim else 0]
    return factors
