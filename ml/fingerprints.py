"""Fingerprints of the slices that feature rows are computed from: equal fingerprints mean equal input, to the bit.

The rows of block b see the candles of blocks b - 1 and b up to themselves. So a bar's fingerprint is a digest of the way in
which the schema cuts time, the digest of all candles of block b - 1, and the candles of block b up to and including it. The
last part is one running digest, which makes a bar cost the same wherever it stands in its block.
"""

from __future__ import annotations

import hashlib
import struct
from typing import TYPE_CHECKING

import numpy as np

from ml.features.blocks import find_blocks

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.blocks import Blocks
    from ml.features.schema import FeatureSchema

    Bytes = npt.NDArray[np.uint8]

__all__ = ["FINGERPRINT_BYTES", "earlier_blocks", "fingerprints", "most_candles", "newest_fingerprint"]

FINGERPRINT_BYTES = 16
_PRICES = ("open", "high", "low", "close")


def fingerprints(candles: Candles, schema: FeatureSchema, blocks: Blocks | None = None) -> Bytes:
    """Return the fingerprint of each bar's slice.

    Parameters
    ----------
    candles
        Closed candles; what was asked of the source does not enter, validity is decided apart.
    schema
        How time is cut, and which optional columns count.
    blocks
        What ``find_blocks`` returned for these candles, where it is at hand.

    Returns
    -------
    uint8 array, shape (n, 16)
        BLAKE2b digests.
    """
    out = np.empty((len(candles), FINGERPRINT_BYTES), dtype=np.uint8)
    blocks = blocks or find_blocks(candles, schema.anchor_bars, schema.index)
    if not len(blocks):
        return out
    header = _header(candles, schema)
    packed = _pack(candles, schema)
    width = packed.shape[1]
    data = packed.reshape(-1).data
    rows = struct.Struct(f"{width}s")
    digests: list[bytes] = []
    keep = digests.append
    for number, (first, begin, end) in zip(blocks.numbers.tolist(), blocks.positions.tolist(), strict=True):
        state = _state(header, number, data[first * width : begin * width])
        update, copy = state.update, state.copy
        for (row,) in rows.iter_unpack(data[begin * width : end * width]):
            update(row)
            keep(copy().digest())
    return np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(out.shape)


def newest_fingerprint(
    candles: Candles, schema: FeatureSchema, blocks: Blocks | None = None, oldest: int | None = None
) -> bytes:
    """Return the fingerprint of the last bar, 16 bytes, equal to the last row of `fingerprints`; only its slice is hashed.

    For a model of sequences ``oldest`` is the position of the first row that it reads: the fingerprints of the last bars of
    the earlier blocks that hold rows of the window stand before it, 16 bytes each, since those rows see other slices.
    """
    blocks = blocks or find_blocks(candles, schema.anchor_bars, schema.index)
    newest = len(blocks) - 1
    taken = [] if oldest is None else earlier_blocks(blocks, newest, oldest)
    start = int(blocks.positions[taken[0] if taken else newest, 0])
    packed = _pack(candles, schema, start)
    header = _header(candles, schema)
    parts = []
    for block in (*taken, newest):
        first, begin, end = (blocks.positions[block] - start).tolist()
        state = _state(header, int(blocks.numbers[block]), packed[first:begin].data)
        state.update(packed[begin:end].data)
        parts.append(state.digest())
    return b"".join(parts)


def earlier_blocks(blocks: Blocks, block: int, oldest: int) -> list[int]:
    """Return the blocks before ``block`` that hold candles from position ``oldest`` on: those that a window reaches into.

    What the rows of the window in such a block see is covered by the fingerprint of its last bar.
    """
    return list(range(blocks.holding(oldest), block))


def most_candles(schema: FeatureSchema) -> int:
    """Return the most candles that a slice can hold: one an index, and a weekend's two more where weekdays are counted."""
    indices = 2 * schema.anchor_bars
    return indices if schema.index == "calendar" else -(-indices * 7 // 5)


def _header(candles: Candles, schema: FeatureSchema) -> bytes:
    """Return how time is cut and which columns are there; a column that is absent is not a column of zeros."""
    names = [name if name in candles.columns else f"-{name}" for name in _optional(schema)]
    text = f"1|{candles.timeframe}|{schema.anchor_bars}|{schema.index}|{','.join(names)}"
    return hashlib.blake2b(text.encode(), digest_size=32).digest()


def _optional(schema: FeatureSchema) -> list[str]:
    return sorted(set(schema.columns) - {*_PRICES, "open_ms"})


def _pack(candles: Candles, schema: FeatureSchema, first: int = 0) -> Bytes:
    """Return one row of bytes a candle: open time, prices and the optional columns that are there, little-endian."""
    columns = candles.columns
    names = [*_PRICES, *(name for name in _optional(schema) if name in columns)]
    table = np.empty((len(candles) - first, 1 + len(names)), dtype="<f8")
    table[:, 0] = candles.open_ms[first:].astype("<i8").view("<f8")
    for j, name in enumerate(names, start=1):
        table[:, j] = columns[name][first:]
    return table.view(np.uint8).reshape(len(table), -1)


def _state(header: bytes, number: int, before: bytes | memoryview) -> hashlib.blake2b:
    """Return the running digest at the start of a block: block number and all candles of the block before."""
    previous = hashlib.blake2b(before, digest_size=32).digest()
    return hashlib.blake2b(header + number.to_bytes(8, "little", signed=True) + previous, digest_size=FINGERPRINT_BYTES)
