"""Compare feature rows to the last bit, whatever was known when they were computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ml.candles import Candles
from ml.features import pipeline as pipeline_module
from ml.features.pipeline import FeatureMatrix, FeaturePipeline


def bits(rows: np.ndarray) -> np.ndarray:
    """Float32 rows as integers, every NaN as the same one."""
    same = np.where(np.isnan(rows), np.float32(np.nan), rows)
    return np.ascontiguousarray(same).view(np.int32)


def cut(candles: Candles, start: int, stop: int, asked_from: int | None = None) -> Candles:
    """Candles ``start:stop``; ``asked_from`` says from when the source was asked (default: from the first of them)."""
    part = candles.slice(start, stop)
    if asked_from is None or not len(part):
        return part
    kept = tuple((begin, end) for begin, end in part.asked if begin > part.open_ms[0])
    end = next(end for begin, end in part.asked if begin <= part.open_ms[0] < end)
    return replace(part, asked=((asked_from, end), *kept))


class Reference:
    """Rows of a whole history, to which rows of its parts are compared."""

    def __init__(self, pipeline: FeaturePipeline, candles: Candles) -> None:
        self.pipeline = pipeline
        self.candles = candles
        self.blocks = pipeline.blocks(candles)
        self.full: FeatureMatrix = pipeline.compute(candles)
        self.bits = bits(self.full.rows)
        self.checked = 0

    def check_part(self, start: int, stop: int, *, newest: int = 3, asked_from: int | None = None) -> int:
        """Compute a part, batch and newest bars, and return how many bars of it had features."""
        part = cut(self.candles, start, stop, asked_from)
        matrix = self.pipeline.compute(part)
        known = np.flatnonzero(matrix.valid)
        assert self.full.valid[start:stop][known].all()
        same = bits(matrix.rows[known]) == self.bits[start:stop][known]
        assert same.all(), self._where(~same, start + known)
        assert np.isnan(matrix.rows[~matrix.valid]).all()
        self.checked += same.size
        for place in self._newest(part, newest):
            row = self.pipeline.latest(cut(part, 0, place + 1, asked_from))
            assert row.valid[0] == matrix.valid[place]
            same = bits(row.rows) == bits(matrix.rows[place : place + 1])
            assert same.all(), self._where(~same, np.array([start + place]))
            self.checked += same.size
        return len(known)

    def check_slice_start(self, block: int, stop: int) -> int:
        """Start the history exactly where the slice of a block starts, if the whole history knows that time."""
        if not any(begin <= self.blocks.start_ms[block] < end for begin, end in self.candles.asked):
            return 0
        first = int(self.blocks.positions[block, 0])
        return self.check_part(first, stop, asked_from=int(self.blocks.start_ms[block]))

    def _newest(self, part: Candles, count: int) -> list[int]:
        if not len(part):
            return []
        places = np.linspace(0, len(part) - 1, count).astype(int)
        return sorted({int(place) for place in places})

    def _where(self, wrong: np.ndarray, bars: np.ndarray) -> str:
        names = self.pipeline.schema.names
        return f"{sorted({names[f] for f in np.flatnonzero(wrong.any(axis=0))})} at {bars[wrong.any(axis=1)][:5]}"


def with_chunk(monkeypatch, size: int) -> None:
    """Turn columns into rows after so many candles."""
    monkeypatch.setattr(pipeline_module, "_CHUNK", size)
