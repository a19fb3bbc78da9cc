"""The pipeline: candles in, rows of features out; one calculation for a history and for its newest bar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.features.blocks import Blocks, block_index, find_blocks, index_start_ms, valid_bars
from ml.kernels.table import DERIVED, KERNELS

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.schema import FeatureSchema

    Floats32 = npt.NDArray[np.float32]
    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = ["FeatureMatrix", "FeaturePipeline"]

_CHUNK = 4096  # candles whose columns are computed before they are turned into rows: they stay in the processor's cache
_PADDING = 16  # floats after each column, so that columns do not share cache lines a power of two apart


@dataclass(frozen=True, eq=False)
class FeatureMatrix:
    """Features of n bars.

    Attributes
    ----------
    rows : float32 array, shape (n, F), C-contiguous
        In the order of the schema's names. NaN throughout where the bar is not valid; NaN in a valid row where a feature is
        undefined, such as a ratio to a range of zero.
    valid : bool array, shape (n,)
        Whether the bar has features at all.
    """

    rows: Floats32
    valid: Flags

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.valid)


@dataclass(frozen=True, eq=False)
class _Call:
    """One kernel, the arrays that it reads, its periods, and the row of the buffer for each output of each."""

    function: Callable[..., None]
    inputs: tuple[str, ...]
    periods: Integers
    rows: Integers


class FeaturePipeline:
    """Compute the features of a schema.

    Parameters
    ----------
    schema
        What to compute, over which slices.
    """

    def __init__(self, schema: FeatureSchema) -> None:
        self.schema = schema
        places: dict[tuple[str, int, str], int] = {}
        for spec in schema.features:
            places.setdefault((spec.kernel, spec.period, spec.output), len(places))
        self._count = len(places)
        self._order = np.array(
            [places[spec.kernel, spec.period, spec.output] for spec in schema.features], dtype=np.int64
        )
        self._calls = [_plan(name, places) for name in dict.fromkeys(kernel for kernel, _, _ in places)]

    def blocks(self, candles: Candles) -> Blocks:
        """Return the blocks of a series under this schema."""
        return find_blocks(candles, self.schema.anchor_bars, self.schema.index)

    def compute(self, candles: Candles) -> FeatureMatrix:
        """Return the features of every bar.

        Raises
        ------
        SchemaMismatch, MissingColumns
            When the candles are of another timeframe, or lack a column.
        """
        from ml.kernels.layout import publish

        self.schema.require_columns(candles)
        blocks = self.blocks(candles)
        valid = valid_bars(candles, blocks, self.schema.min_candles)
        rows = np.empty((len(candles), len(self._order)), dtype=np.float32)
        inputs = self._inputs(candles, 0)
        begins, ends = blocks.positions[:, 1], blocks.positions[:, 2]
        busy = np.array([valid[begin:end].any() for begin, end in zip(begins, ends, strict=True)], dtype=np.bool_)
        done = 0
        buffer = np.empty((0, 0), dtype=np.float32)
        for lo, hi in _chunks(begins, ends, busy):
            begin, end = int(begins[lo]), int(ends[hi - 1])
            rows[done:begin] = np.nan
            if buffer.shape[1] < end - begin:
                buffer = np.empty((self._count, max(end - begin, _CHUNK) + _PADDING), dtype=np.float32)
            positions = np.ascontiguousarray(blocks.positions[lo:hi][:, (0, 1, 1, 2)])
            self._run(inputs, positions, buffer, begin)
            publish(buffer, self._order, valid, begin, begin, end, rows)
            done = end
        rows[done:] = np.nan
        return FeatureMatrix(rows, valid)

    def latest(self, candles: Candles) -> FeatureMatrix:
        """Return the features of the last bar, with the bits that ``compute`` gives it.

        Only the slice of that bar is read, so candles that hold it suffice (``schema.window_bars`` indices).

        Raises
        ------
        SchemaMismatch, MissingColumns
            As ``compute``.
        """
        self.schema.require_columns(candles)
        size = len(candles)
        rows = np.full((1, len(self._order)), np.nan, dtype=np.float32)
        if size == 0:
            return FeatureMatrix(rows[:0], np.zeros(0, dtype=np.bool_))
        first, begin, known = self._slice_of_last(candles)
        if not known or size - first < self.schema.min_candles:
            return FeatureMatrix(rows, np.zeros(1, dtype=np.bool_))
        inputs = self._inputs(candles, first)
        positions = np.array([[0, begin - first, size - 1 - first, size - first]], dtype=np.int64)
        buffer = np.empty((self._count, 1), dtype=np.float32)
        self._run(inputs, positions, buffer, size - 1 - first)
        rows[0] = buffer[self._order, 0]
        return FeatureMatrix(rows, np.ones(1, dtype=np.bool_))

    def newest(self, candles: Candles, first: int) -> FeatureMatrix:
        """Return the features of the bars from position ``first`` on, with the bits that ``compute`` gives them.

        Only the slices of these bars are read, and nothing is computed for the bars before them.

        Raises
        ------
        SchemaMismatch, MissingColumns
            As ``compute``.
        """
        self.schema.require_columns(candles)
        blocks = self.blocks(candles)
        valid = valid_bars(candles, blocks, self.schema.min_candles)[first:]
        taken = blocks.positions[blocks.positions[:, 2] > first]
        rows = np.full((len(valid), len(self._order)), np.nan, dtype=np.float32)
        if not valid.any():
            return FeatureMatrix(rows, valid)
        start = int(taken[0, 0])
        positions = np.stack((taken[:, 0], taken[:, 1], np.maximum(taken[:, 1], first), taken[:, 2]), axis=1) - start
        buffer = np.empty((self._count, len(valid)), dtype=np.float32)
        self._run(self._inputs(candles, start), np.ascontiguousarray(positions), buffer, first - start)
        rows[valid] = buffer[self._order].T[valid]
        return FeatureMatrix(rows, valid)

    def _slice_of_last(self, candles: Candles) -> tuple[int, int, bool]:
        """Return the positions of the last bar's slice and block, and whether the slice's start was asked for."""
        schema = self.schema
        index = block_index(candles, schema.index)
        number = int(index[-1]) // schema.anchor_bars
        borders = np.array(((number - 1) * schema.anchor_bars, number * schema.anchor_bars))
        first, begin = (int(place) for place in np.searchsorted(index, borders))
        start_ms = int(index_start_ms(borders[:1], schema.timeframe, schema.index)[0])
        last_ms = int(candles.open_ms[-1])
        known = any(start <= start_ms and last_ms < end for start, end in candles.asked)
        return first, begin, known

    def _inputs(self, candles: Candles, first: int) -> dict[str, Any]:
        """Return the arrays that the kernels read, from position ``first`` on."""
        columns = {name: column[first:] for name, column in candles.columns.items()}
        inputs: dict[str, Any] = {"open_ms": candles.open_ms[first:], **columns}
        for name in dict.fromkeys(name for call in self._calls for name in call.inputs if name in DERIVED):
            from ml.kernels.logarithms import logarithm

            inputs[name] = logarithm(name, columns)
        return inputs

    def _run(self, inputs: dict[str, Any], positions: Integers, buffer: Floats32, base: int) -> None:
        for call in self._calls:
            taken = [inputs[name] for name in call.inputs]
            call.function(*taken, positions, call.periods, call.rows, buffer, base)


def _plan(name: str, places: dict[tuple[str, int, str], int]) -> _Call:
    """Gather what one kernel has to write."""
    kernel = KERNELS[name]
    wanted = {(period, output): row for (owner, period, output), row in places.items() if owner == name}
    periods = sorted({period for period, _ in wanted})
    rows = np.full((len(periods), len(kernel.outputs)), -1, dtype=np.int64)
    for (period, output), row in wanted.items():
        rows[periods.index(period), kernel.outputs.index(output)] = row
    return _Call(kernel.load(), kernel.inputs, np.array(periods, dtype=np.int64), rows)


def _chunks(begins: Integers, ends: Integers, busy: Flags) -> list[tuple[int, int]]:
    """Group neighbouring blocks that hold valid bars, until a group holds ``_CHUNK`` candles."""
    chunks: list[tuple[int, int]] = []
    start = -1
    for place, flag in enumerate(busy):
        if flag and start < 0:
            start = place
        full = start >= 0 and ends[place] - begins[start] >= _CHUNK
        if start >= 0 and (full or not flag or place + 1 == len(busy)):
            chunks.append((start, place + 1 if flag else place))
            start = -1
    return chunks
