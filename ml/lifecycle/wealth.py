"""Running products of betting factors, exact in their bits however the rows are cut into chunks.

A product over years leaves the range of a float, and a sum of logarithms depends on the processor's path through them. So a
product is kept as a mantissa and a power of two: scaling by powers of two rounds nothing, hence one chunk gives the bits
that single rows give, on every machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["Bettor", "Products", "e_value", "log_mean", "log_mean_of", "mean_of"]

_BLOCK = 64  # factors lie in 1e-3..1e3, so no product of a block leaves the range of a float
_LOG_2 = math.log(2.0)
_LARGEST_LOG = 700.0  # an e-value of 1e304 is as good as any larger one


@dataclass(frozen=True, slots=True)
class Products:
    """Products of the rows seen so far, one for each bet: ``mantissas * 2 ** exponents``.

    Attributes
    ----------
    mantissas
        In [0.5, 1).
    exponents
        As many.
    """

    mantissas: tuple[float, ...]
    exponents: tuple[int, ...]

    def __post_init__(self) -> None:
        """Refuse what no product is."""
        if not self.mantissas or len(self.mantissas) != len(self.exponents):
            raise ValueError(
                f"products have as many mantissas as exponents, at least one; got {len(self.mantissas)} and "
                f"{len(self.exponents)}"
            )
        wrong = [value for value in self.mantissas if not 0.5 <= value < 1.0]
        if wrong:
            raise ValueError(f"the mantissa of a product lies in [0.5, 1), got {wrong[0]}")

    @classmethod
    def ones(cls, count: int) -> Products:
        """Return ``count`` products of nothing."""
        return cls((0.5,) * count, (1,) * count)

    def times(self, factors: Floats) -> Products:
        """Return the products after further rows.

        Parameters
        ----------
        factors : float64 array, shape (n, bets)
            In time order, each in [1e-3, 1e3].
        """
        mantissas, exponents = np.array(self.mantissas), np.array(self.exponents, dtype=np.int64)
        for start in range(0, len(factors), _BLOCK):
            mantissas, shift = np.frexp(_running(mantissas, factors[start : start + _BLOCK])[-1])
            exponents += shift
        return Products(tuple(mantissas.tolist()), tuple(exponents.tolist()))

    @property
    def logs(self) -> tuple[float, ...]:
        """Natural logarithm of each product."""
        return tuple(math.log(m) + e * _LOG_2 for m, e in zip(self.mantissas, self.exponents, strict=True))

    @property
    def log_mean(self) -> float:
        """Natural logarithm of the mean of the products: of the wealth of a bettor who split evenly over the bets."""
        return log_mean(self.logs)

    def path(self, factors: Floats) -> Floats:
        """Return the logarithm of the mean product after each row, float64 (n,); the last may differ in the last bits."""
        logs = np.empty(factors.shape)
        mantissas, offset = np.array(self.mantissas), np.array(self.exponents) * _LOG_2
        for start in range(0, len(factors), _BLOCK):
            block = _running(mantissas, factors[start : start + _BLOCK])
            logs[start : start + _BLOCK] = np.log(block[1:]) + offset
            mantissas, shift = np.frexp(block[-1])
            offset = offset + shift * _LOG_2
        top = logs.max(axis=1)
        means: Floats = top + np.log(np.mean(np.exp(logs - top[:, None]), axis=1))
        return means

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; floats are exact in JSON."""
        return {"mantissas": list(self.mantissas), "exponents": list(self.exponents)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Products:
        """Read what ``to_dict`` returned."""
        return cls(tuple(float(m) for m in data["mantissas"]), tuple(int(e) for e in data["exponents"]))


class Bettor:
    """What every test by betting says of its wealth: of the products of its bets, split evenly."""

    __slots__ = ()

    products: Products

    @property
    def log_e(self) -> float:
        """Natural logarithm of the e-value."""
        return self.products.log_mean

    @property
    def e_value(self) -> float:
        """Evidence against the null hypothesis; cut at 1e304."""
        return e_value(self.log_e)

    @property
    def value(self) -> float:
        """What is averaged over phases: ``log_e``."""
        return self.log_e

    @property
    def level(self) -> None:
        """No alarm is raised: whoever looks knows how many candidates there are."""
        return

    @staticmethod
    def average(values: Sequence[Floats]) -> Floats:
        """Return ``log_e`` of the mean e-value of several phases, element by element."""
        return log_mean_of(values)


def e_value(log_e: float) -> float:
    """Return the e-value of a logarithm, cut at 1e304."""
    return math.exp(min(log_e, _LARGEST_LOG))


def mean_of(values: Sequence[Floats]) -> Floats:
    """Return the mean of several phases' values, element by element and added in their order."""
    total = np.zeros_like(values[0])
    for one in values:
        total = total + one
    mean: Floats = total / len(values)
    return mean


def log_mean_of(values: Sequence[Floats]) -> Floats:
    """Return the logarithm of the mean of several phases' values, from their logarithms, element by element."""
    top = np.maximum.reduce(list(values))
    mean: Floats = top + np.log(mean_of([np.exp(one - top) for one in values]))
    return mean


def log_mean(logs: tuple[float, ...]) -> float:
    """Return the logarithm of the mean of values whose logarithms are given."""
    top = max(logs)
    return top + math.log(math.fsum(math.exp(value - top) for value in logs) / len(logs))


def _running(start: Floats, factors: Floats) -> Floats:
    """Return the start and the product after each row, multiplied one after the other, shape (n + 1, bets)."""
    running: Floats = np.multiply.accumulate(np.concatenate([start[None, :], factors]), axis=0)
    return running
