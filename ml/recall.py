"""What an engine remembers: keys of predictions, the cache behind them, and going on without it when it fails."""

from __future__ import annotations

import hashlib
import logging
from functools import cache as remember
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import CacheUnavailable
from ml.features.version import feature_code_version
from ml.fingerprints import earlier_blocks, fingerprints, newest_fingerprint
from ml.predictions import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import numpy.typing as npt

    from ml.bundles import BundleRunner
    from ml.cache import PredictionCache
    from ml.candles import Candles
    from ml.features.blocks import Blocks
    from ml.paths.bundle import PathBundle
    from ml.predictions import PredictionBatch

    Codes = npt.NDArray[np.int8]
    Floats = npt.NDArray[np.float64]
    Row = tuple[float, ...]
    Run = tuple[int, int, int]

__all__ = ["Recall"]

_LOG = logging.getLogger(__name__)


class Recall:
    """Predictions of one bundle in one cache.

    A key is a digest of bundle, feature code, runtime and the fingerprint of the slice up to the bar; for a run of bars, of
    all their fingerprints. Rows of a sequence that stand in earlier blocks add the fingerprints of these (see
    ``ml.fingerprints.earlier_blocks``). Only predictions with status OK are stored.

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

    def __init__(self, cache: PredictionCache | None, bundle_digest: str, bundle: BundleRunner | PathBundle) -> None:
        self._cache = cache
        self._schema = bundle.schema
        parts = (bundle_digest, feature_code_version(), bundle.runtime, bundle.schema.fingerprint, _code_version())
        self._salt = hashlib.blake2b("|".join(parts).encode(), digest_size=32).digest()
        self.hits = 0
        self.misses = 0
        self.problem: str | None = None

    def bar(self, candles: Candles, blocks: Blocks, oldest: int | None = None) -> tuple[bytes, tuple[Row, int] | None]:
        """Return the key of the newest bar (empty without a cache) and what is stored under it.

        ``oldest`` is the position of the first row that a model of sequences reads.
        """
        if self._cache is None:
            return b"", None
        key = self._key(newest_fingerprint(candles, self._schema, blocks, oldest))
        try:
            found = self._cache.get_bar(key)
        except CacheUnavailable as error:
            self._leave(error)
            return b"", None
        self.hits += found is not None
        self.misses += found is None
        return key, found

    def keep_bar(self, key: bytes, row: Row, status: int) -> None:
        """Store the newest bar under the key that `bar` returned."""
        if self._cache is None or status != Status.OK:
            return
        try:
            self._cache.put_bar(key, row, status)
        except CacheUnavailable as error:
            self._leave(error)

    def runs(
        self,
        candles: Candles,
        blocks: Blocks,
        runs: list[Run],
        batch: PredictionBatch,
        oldest: Mapping[Run, int] | None = None,
    ) -> dict[Run, bytes]:
        """Fill in the runs of bars that are stored; return the others with their keys.

        Parameters
        ----------
        candles, blocks
            The series and its blocks.
        runs
            (block, first bar, end) by position.
        batch
            Receives what is found.
        oldest
            For a model of sequences, the position of the first row that the first bar of each run reads.
        """
        if self._cache is None or not runs:
            return dict.fromkeys(runs, b"")
        prints = fingerprints(candles, self._schema, blocks)
        keys = {}
        for run in runs:
            block, lo, hi = run
            taken = earlier_blocks(blocks, block, oldest[run]) if oldest else []
            before = prints[blocks.positions[taken, 2] - 1].tobytes() if taken else b""
            keys[run] = self._key(before + prints[lo:hi].tobytes())
        return self._look_up(keys, batch.values, batch.status)

    def keep_runs(self, missing: dict[Run, bytes], batch: PredictionBatch) -> None:
        """Store the runs that `runs` missed, now that they are filled in; a run with a failed bar is not stored."""
        whole = {run: key for run, key in missing.items() if (batch.status[run[1] : run[2]] == Status.OK).all()}
        self._store(whole, batch.values, batch.status)

    def _look_up(self, keys: dict[Run, bytes], values: Floats, status: Codes) -> dict[Run, bytes]:
        """Fill in the runs whose keys are stored; return the others."""
        if self._cache is None:
            return keys
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

    def _store(self, runs: dict[Run, bytes], values: Floats, status: Codes) -> None:
        """Keep what was found for some runs."""
        if self._cache is None or not runs:
            return
        try:
            self._cache.put_tables({key: (values[lo:hi], status[lo:hi]) for (_, lo, hi), key in runs.items()})
        except CacheUnavailable as error:
            self._leave(error)

    def _key(self, content: bytes) -> bytes:
        return hashlib.blake2b(content, digest_size=16, key=self._salt).digest()

    def _leave(self, error: CacheUnavailable) -> None:
        """Go on without the cache: it saves time, it decides nothing."""
        self._cache = None
        self.problem = str(error)
        _LOG.warning("predictions go on without the cache: %s", error)


@remember
def _code_version() -> str:
    """Return a digest of the code between features and cache, and the versions of what compiles and runs it."""
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):  # all of them: a list would be out of date one day
        digest.update(source.read_bytes())
    return f"{digest.hexdigest()[:16]}|numba {version('numba')}|numpy {version('numpy')}"
