"""What an engine of paths remembers: tables of numbers a bar, in the prediction cache, under keys that name their content."""

from __future__ import annotations

import hashlib
import logging
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import CacheUnavailable
from ml.features.version import feature_code_version
from ml.fingerprints import fingerprints
from ml.predictions import Status

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.cache import PredictionCache
    from ml.candles import Candles
    from ml.features.blocks import Blocks
    from ml.paths.bundle import PathBundle

    Floats = npt.NDArray[np.float64]
    Codes = npt.NDArray[np.int8]
    Run = tuple[int, int, int]

__all__ = ["PathRecall"]

_LOG = logging.getLogger(__name__)


class PathRecall:
    """Numbers of paths of one bundle in one cache.

    A key is a digest of bundle, feature code, runtime, what was asked (kind of numbers and steps) and the fingerprints of the
    slices of a run of bars. Only runs without a failed bar are stored.

    Parameters
    ----------
    cache
        Where they are kept; None remembers nothing.
    bundle_digest
        Names the content of the bundle.
    bundle
        The opened bundle.

    Attributes
    ----------
    hits, misses : int
        Bars that were found, and bars that were looked for and not found.
    problem : str or None
        Why the cache was left aside.
    """

    def __init__(self, cache: PredictionCache | None, bundle_digest: str, bundle: PathBundle) -> None:
        self._cache = cache
        self._schema = bundle.schema
        parts = (bundle_digest, feature_code_version(), bundle.runtime, bundle.schema.fingerprint)
        self._salt = hashlib.blake2b("|".join(parts).encode(), digest_size=32).digest()
        self.hits = 0
        self.misses = 0
        self.problem: str | None = None

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
        try:
            found = self._cache.get_tables(list(keys.values()), values.shape[1])
        except CacheUnavailable as error:
            self._leave(error)
            return keys
        missing = {}
        for run, key in keys.items():
            _, lo, hi = run
            table = found.get(key)
            if table is None or len(table[1]) != hi - lo:
                missing[run] = key
                self.misses += hi - lo
                continue
            values[lo:hi], status[lo:hi] = table
            self.hits += hi - lo
        return missing

    def keep(self, missing: dict[Run, bytes], values: Floats, status: Codes) -> None:
        """Store the runs that `find` missed, now that they are filled in; a run with a failed bar is not stored."""
        tables = {
            key: (values[lo:hi], status[lo:hi])
            for (_, lo, hi), key in missing.items()
            if not (status[lo:hi] == Status.ERROR).any()
        }
        if self._cache is None or not tables:
            return
        try:
            self._cache.put_tables(tables)
        except CacheUnavailable as error:
            self._leave(error)

    def _key(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=16, key=self._salt).digest()

    def _leave(self, error: CacheUnavailable) -> None:
        """Go on without the cache: it saves time, it decides nothing."""
        self._cache = None
        self.problem = str(error)
        _LOG.warning("paths go on without the cache: %s", error)
