"""Trees that another library has fitted and that are served as a LightGBM text model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import BrokenModel
from ml.runners import LightGBMRunner

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]

__all__ = ["MODEL_FILE", "FittedExport", "gain_shares"]

MODEL_FILE = "model.txt"


@dataclass(frozen=True, eq=False)
class FittedExport:
    """A forest as it is served: scores come from the exported text through the runner of bundles.

    Attributes
    ----------
    files
        ``model.txt``, and what is kept beside it for an audit.
    runner
        Reads ``model.txt``.
    shares
        Importance by feature; empty where the files do not tell.
    """

    files: Mapping[str, bytes]
    runner: LightGBMRunner
    shares: Mapping[str, float]

    @classmethod
    def of(cls, files: Mapping[str, bytes], shares: Mapping[str, float] | None = None) -> FittedExport:
        """Open ``model.txt``.

        Raises
        ------
        BrokenModel
            When it is missing or damaged.
        """
        if MODEL_FILE not in files:
            raise BrokenModel(f"{MODEL_FILE} is missing")
        return cls(dict(files), LightGBMRunner.from_text(files[MODEL_FILE]), shares or {})

    @property
    def sequence(self) -> int:
        """Rows that one score reads: the bar's own."""
        return 1

    def scores(self, rows: Rows) -> Floats:
        """Return raw scores of rows (n, F) as float64 (n,)."""
        return self.runner.scores(rows)

    def to_files(self) -> dict[str, bytes]:
        """Return ``model.txt`` and what is kept beside it."""
        return dict(self.files)

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the total gain."""
        return dict(self.shares)


def gain_shares(gain: Floats, names: tuple[str, ...]) -> dict[str, float]:
    """Return gains by feature, float64 (F,), as shares that sum to 1; all 0 where nothing was gained."""
    total = float(gain.sum())
    shares = gain / total if total > 0 else np.zeros_like(gain)
    return dict(zip(names, shares.tolist(), strict=True))
