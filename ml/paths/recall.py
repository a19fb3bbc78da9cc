"""What an engine of paths remembers: tables of numbers a bar, in the prediction cache, under keys that name their content."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ml.fingerprints import fingerprints
from ml.predictions import Status
from ml.recall import Recall

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.blocks import Blocks

    Floats = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int8]
    Run = tuple[int, int, int]

__all__ = ["PathRecall"]


class PathRecall(Recall):
    """Numbers of paths of one bundle in one cache.

    A key is a digest of bundle, feature code, runtime, what was asked (kind of numbers and steps) and the fingerprints of the
    slices of a run of bars. Only runs without a failed bar are stored. Parameters and attributes are those of `Recall`.
    """

    def find(
        self, candles: Candles, blocks: Blocks, runs: list[Run], asked: str, values: Floats, status: Codes
    ) -> dict[Run, bytes]:
        """Fill in the runs of bars that are stored; return the others with their keys.

        Parameters
        ----------
        candles, blocks
            The series and its blocks.
        runs
            (block, first bar, end) by position.
        asked
            What the numbers are: another question is another key.
        values, status
            Receive what is found.
        """
        if self._cache is None or not runs:
            return dict.fromkeys(runs, b"")
        prints = fingerprints(candles, self._schema, blocks)
        question = hashlib.blake2b(asked.encode(), digest_size=32).digest()
        keys = {run: self._key(question + prints[run[1] : run[2]].tobytes()) for run in runs}
        return self._look_up(keys, values, status)

    def keep(self, missing: dict[Run, bytes], values: Floats, status: Codes) -> None:
        """Store the runs that `find` missed, now that they are filled in; a run with a failed bar is not stored."""
        whole = {run: key for run, key in missing.items() if not (status[run[1] : run[2]] == Status.ERROR).any()}
        self._store(whole, values, status)
