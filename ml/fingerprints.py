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

__all__ = ["FINGERPRINT_BYTES", "fingerprints", "most_candles", "newest_fingerprint"]

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


def newest_fingerprint(candles: Candles, schema: FeatureSchema, blocks: Blocks | None = None) -> bytes:
    """Return the fingerprint of the last bar, 16 bytes, equal to the last row of `fingerprints`; only its slice is hashed."""
    blocks = blocks or find_blocks(candles, schema.anchor_bars, schema.index)
    first, begin, _ = blocks.positions[-1].tolist()
    packed = _pack(candles, schema, first)
    border = begin - first
    state = _state(_header(candles, schema), int(blocks.numbers[-1]), packed[:border].data)
    state.update(packed[border:].data)
    return state.digest()


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
