"""Does one model lose less than another on the same bars? A test that may be looked at after every bar.

The wealth of a bettor: each bar she stakes a share of it on the first model's losing less, and it is multiplied by
``1 + bet * clip(d, -B, B) / B`` with ``d = loss_b - loss_a``. Given the past, nobody gains on average from a d whose mean is
at most 0, so under "a is not better" the wealth ever reaches 20 with a probability of at most 1/20 (Ville 1939), however
often one looks.

The unit. Of log-losses, ``exp(d)`` is the likelihood ratio of what the two stated. Where a is calibrated the mean of d is
half its variance, so the wealth grows fastest with a stake of half of d in nats, whatever the size of d; noisier pairs ask
for less. So B is 1 nat and the bets are halved from 0.9 on. Models of 52 to 56 % differ by 0.01 to 0.2 nats a bar.
QLIKE has fat tails: with B = 30 a volatility stated a fifth too low is taken for the better one in 2 % of the years (with
B = 1 in 40 %), and on five years of real hours an autoregression was told from an average no later than with B = 10.

Clipping. What is tested is the mean of the differences cut at -B and B. A rule without any bound does not exist (Bahadur and
Savage 1956): a model could win a little every day and lose everything once. So B grows: it is the largest difference that was
seen before, never less than the unit; only a bar that breaks the record is cut, at the record before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.lifecycle.wealth import Bettor, Products

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["BETS", "UNITS", "PairedTest"]

BETS = (0.9, 0.45, 0.225, 0.1125, 0.05625, 0.028125)
"""Shares of the wealth that are staked, each by a sixth of it."""

UNITS = {"nats": 1.0, "QLIKE": 30.0}
"""The least bound of a difference by the unit of the loss; a jump of the price costs a volatility forecast several QLIKE."""


@dataclass(frozen=True, slots=True)
class PairedTest(Bettor):
    """Test of "the mean of ``loss_b - loss_a`` is at most 0"; a high e-value says that a is better.

    The same test with the differences negated says whether b is better. Source of the bets: Waudby-Smith and Ramdas 2024,
    Estimating means of bounded random variables by betting, JRSS B 86(1).

    Attributes
    ----------
    bound
        Largest difference seen, at least the unit of the loss: where the next one is clipped.
    n, clipped
        Differences seen, and how many of them were clipped.
    total
        Their sum, unclipped.
    products
        One for each of ``BETS``.
    """

    bound: float = UNITS["nats"]
    n: int = 0
    clipped: int = 0
    total: float = 0.0
    products: Products = field(default_factory=lambda: Products.ones(len(BETS)))

    def __post_init__(self) -> None:
        """Refuse numbers that do not fit."""
        if not (self.bound > 0 and math.isfinite(self.bound) and math.isfinite(self.total)):
            raise ValueError(
                f"bound and sum of differences are finite, the bound above 0; got {self.bound}, {self.total}"
            )
        if not 0 <= self.clipped <= self.n:
            raise ValueError(f"clipped differences lie between 0 and {self.n}, got {self.clipped}")
        if len(self.products.mantissas) != len(BETS):
            raise ValueError(f"expected {len(BETS)} products, got {len(self.products.mantissas)}")

    @classmethod
    def in_unit(cls, unit: str) -> PairedTest:
        """Return a test that has seen nothing, for losses in ``nats`` or ``QLIKE``.

        Raises
        ------
        ValueError
            When the unit is another.
        """
        if unit not in UNITS:
            raise ValueError(f"unknown unit of loss {unit!r}: expected {' or '.join(UNITS)}")
        return cls(bound=UNITS[unit])

    def update(self, differences: Floats) -> PairedTest:
        """Return the test after further bars.

        Parameters
        ----------
        differences : float64 array, shape (n,)
            ``loss_b - loss_a`` of bars that both spoke of, in time order, of one phase.

        Raises
        ------
        ValueError
            When a difference is not finite.
        """
        if len(differences) == 0:
            return self
        factors, bounds = self._factors(differences)
        return PairedTest(
            bound=max(float(bounds[-1]), float(np.abs(differences[-1]))),
            n=self.n + len(differences),
            clipped=self.clipped + int(np.count_nonzero(np.abs(differences) > bounds)),
            total=float(np.add.accumulate(np.concatenate([[self.total], differences]))[-1]),
            products=self.products.times(factors),
        )

    def path(self, differences: Floats) -> Floats:
        """Return ``log_e`` after each further bar, float64 (n,)."""
        return self.products.path(self._factors(differences)[0])

    @property
    def mean(self) -> float:
        """Mean difference, in the unit of the loss; NaN before the first."""
        return self.total / self.n if self.n else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; ``from_dict`` gives the same test to the bit."""
        return {
            "test": "paired",
            "bets": list(BETS),
            "bound": self.bound,
            "n": self.n,
            "clipped": self.clipped,
            "total": self.total,
            **self.products.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PairedTest:
        """Read what ``to_dict`` returned.

        Raises
        ------
        ValueError
            When it is the state of another test, or of other bets.
        """
        if data.get("test") != "paired" or tuple(data.get("bets", ())) != BETS:
            raise ValueError(f"this is no state of a paired test with the bets {BETS}")
        return cls(
            float(data["bound"]), int(data["n"]), int(data["clipped"]), float(data["total"]), Products.from_dict(data)
        )

    def _factors(self, differences: Floats) -> tuple[Floats, Floats]:
        """Return what each bet is multiplied by, shape (n, bets), and the bound of each bar, which knows the past only."""
        size = np.abs(differences)
        if not np.isfinite(size).all():
            raise ValueError(f"difference {int(np.argmin(np.isfinite(size)))} of losses is not finite")
        bounds = np.maximum.accumulate(np.concatenate([[self.bound], size[:-1]]))
        share = np.clip(differences / bounds, -1.0, 1.0)
        return 1.0 + share[:, None] * np.array(BETS), bounds
