"""Runners: one contract for whatever turns feature rows into raw scores.

A runner is immutable, may be copied to another process, and gives a row the same bits alone and among others.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from ml.kernels import trees
from ml.lightgbm_text import FlatTrees, parse_lightgbm

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["LightGBMRunner", "Runner"]


@runtime_checkable
class Runner(Protocol):
    """What a bundle needs of a model file.

    Attributes
    ----------
    runtime : str
        Name and version of the code that computes the scores; part of the cache key.
    feature_names : tuple of str
        Names of the columns that the model was fitted to, in order.
    sequence : int
        Rows that one score reads, the bar's own included.
    """

    @property
    def runtime(self) -> str:
        """Name and version of the code that computes the scores."""
        ...

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        ...

    @property
    def sequence(self) -> int:
        """Rows that one score reads."""
        ...

    def scores(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return the raw score of each complete window, shape (n,); rows have shape (n + sequence - 1, F)."""
        ...


class LightGBMRunner:
    """Boosted trees of LightGBM without LightGBM: numba kernels that return the bits of ``predict(raw_score=True)``.

    Parameters
    ----------
    forest
        Parsed and validated trees.
    """

    def __init__(self, forest: FlatTrees) -> None:
        self._forest = forest
        self._arrays = forest.arrays

    @classmethod
    def from_text(cls, data: bytes) -> LightGBMRunner:
        """Read a LightGBM text model; raises `BrokenModel` when it is damaged or of a kind that is not supported."""
        return cls(parse_lightgbm(data))

    @property
    def runtime(self) -> str:
        """Name and digest of the tree code."""
        return f"trees-{_code_version()}"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self._forest.feature_names

    @property
    def sequence(self) -> int:
        """Rows that one score reads: the bar's own."""
        return 1

    def scores(self, rows: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Return raw scores (log odds for a binary model), float64, shape (n,).

        Parameters
        ----------
        rows : float32 array, shape (n, F)
            NaN is a missing value.

        Raises
        ------
        ValueError
            When the array is not float32 or has another number of columns.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.feature_names) or rows.dtype != np.float32:
            expected = f"float32 rows of {len(self.feature_names)} features"
            raise ValueError(f"expected {expected}, got {rows.dtype} of shape {rows.shape}")
        rows = np.ascontiguousarray(rows)
        out = np.empty(len(rows))
        if len(rows) == 1:
            out[0] = trees.score_row(rows, *self._arrays)
        else:
            trees.score_rows(rows, out, *self._arrays)
        return out


@cache
def _code_version() -> str:
    """Return a digest of the source of the parser and of the kernels: another code is another runtime."""
    digest = hashlib.sha256()
    for name in ("lightgbm_text.py", "kernels/trees.py"):
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]
