"""Evidence of a prediction: digests of what it was computed from, for whoever must compare two runs bar by bar.

Equal fingerprints mean equal candles, to the bit, in the slices that the bar's rows see; equal digests of rows mean equal
features. Two runs that differ in the second and not in the first computed differently from the same candles.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from ml.features.blocks import find_blocks, valid_bars
from ml.fingerprints import earlier_blocks, fingerprints, newest_fingerprint
from ml.sequences import candle_reach, find_windows, stretches

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.blocks import Blocks
    from ml.features.pipeline import FeaturePipeline
    from ml.features.schema import FeatureSchema

    Flags = npt.NDArray[np.bool_]
    Floats32 = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Evidence = tuple[str, str]

__all__ = [
    "NO_EVIDENCE",
    "evidence_of_all",
    "evidence_of_newest",
    "evidence_of_rows",
    "joined",
    "newest_rows",
    "newest_window",
]

NO_EVIDENCE: Evidence = ("", "")
"""Of a bar that no features exist for, and of every bar where there is no model."""

_DIGEST_BYTES = 16


def newest_window(candles: Candles, valid: Flags, sequence: int) -> Integers | None:
    """Return the positions of the rows that the last bar reads; None where its window is not complete.

    Parameters
    ----------
    candles
        Closed candles up to the bar.
    valid : bool array, shape (n,)
        Which bars have features.
    sequence
        Rows that one prediction reads, more than 1.
    """
    first = max(0, len(candles) - candle_reach(sequence) - 1)
    windows = find_windows(valid[first:], stretches(candles, first), sequence)
    return windows.grid[-sequence:] + first if windows.complete[-1] else None


def newest_rows(pipeline: FeaturePipeline, candles: Candles, window: Integers | None) -> Floats32:
    """Return the feature rows that the last bar reads, float32, shape (sequence, F); ``window`` is None for a single row."""
    if window is None:
        return pipeline.latest(candles).rows
    first = int(window[0])
    return pipeline.newest(candles, first).rows[window - first]


def evidence_of_newest(pipeline: FeaturePipeline, sequence: int, candles: Candles) -> Evidence:
    """Return the evidence of the last bar, with the digits that `evidence_of_all` gives it.

    Parameters
    ----------
    pipeline
        Computes the features that the model reads.
    sequence
        Rows that one prediction reads.
    candles
        Closed candles up to the bar; as many as the engine's ``window_bars`` suffice.

    Returns
    -------
    fingerprint : str
        Hex of the fingerprint of the candles, as the key of the prediction cache holds it: 32 digits, and 32 more for each
        earlier block that a window of rows reaches into.
    features : str
        Hex of the BLAKE2b digest of the float32 rows, 32 digits. Both are empty where the bar has no features, or is off
        the grid of its timeframe.

    Raises
    ------
    SchemaMismatch, MissingColumns
        When the candles are not what the model reads.
    """
    schema = pipeline.schema
    schema.require_columns(candles)
    if not len(candles):
        return NO_EVIDENCE
    blocks = find_blocks(candles, schema.anchor_bars, schema.index)
    valid = valid_bars(candles, blocks, schema.min_candles)
    if candles.off_grid[-1] or not valid[-1]:
        return NO_EVIDENCE
    window = newest_window(candles, valid, sequence) if sequence > 1 else None
    if sequence > 1 and window is None:
        return NO_EVIDENCE
    return evidence_of_rows(schema, candles, blocks, window, newest_rows(pipeline, candles, window))


def evidence_of_rows(
    schema: FeatureSchema, candles: Candles, blocks: Blocks, window: Integers | None, rows: Floats32
) -> Evidence:
    """Return the evidence of the last bar, whose feature rows are known already; see `evidence_of_newest`.

    Parameters
    ----------
    schema
        Of the rows.
    candles, blocks
        Closed candles up to the bar, and their blocks.
    window : int64 array or None
        Positions of the rows; None of a single row.
    rows : float32 array, shape (sequence, F)
        What the model was given.
    """
    oldest = None if window is None else int(window[0])
    return newest_fingerprint(candles, schema, blocks, oldest).hex(), _digest(rows)


def evidence_of_all(pipeline: FeaturePipeline, sequence: int, candles: Candles) -> list[Evidence]:
    """Return the evidence of every bar; see `evidence_of_newest`."""
    schema = pipeline.schema
    rows = _canonical(pipeline.compute(candles).rows)
    blocks = find_blocks(candles, schema.anchor_bars, schema.index)
    prints = fingerprints(candles, schema, blocks)
    windows = find_windows(valid_bars(candles, blocks, schema.min_candles), stretches(candles), sequence)
    found = [NO_EVIDENCE] * len(candles)
    for bar in np.flatnonzero(windows.complete).tolist():
        before = b""
        read = rows[bar]
        if sequence > 1:
            oldest = windows.oldest(bar)
            taken = earlier_blocks(blocks, blocks.holding(bar), oldest)
            before = prints[blocks.positions[taken, 2] - 1].tobytes() if taken else b""
            read = rows[windows.rows(bar, bar)]
        found[bar] = (before + prints[bar].tobytes()).hex(), _hex(read.tobytes())
    return found


def joined(parts: Sequence[Evidence]) -> Evidence:
    """Return the evidence of a bar that several models answer together: digests over theirs, empty where one has none."""
    if not parts or any(part == NO_EVIDENCE for part in parts):
        return NO_EVIDENCE
    fingerprint, features = ("|".join(texts).encode() for texts in zip(*parts, strict=True))
    return _hex(fingerprint), _hex(features)


def _canonical(rows: Floats32) -> Floats32:
    """Return the rows with one kind of NaN: its sign and payload are no value, and depend on the processor's path."""
    return np.where(np.isnan(rows), np.float32(np.nan), rows).astype("<f4")


def _digest(rows: Floats32) -> str:
    return _hex(np.ascontiguousarray(_canonical(rows)).tobytes())


def _hex(content: bytes) -> str:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()
