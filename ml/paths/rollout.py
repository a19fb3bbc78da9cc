"""Models that predict the next candle, iterated on their own predictions: a path of closes or of candles.

One step: the features of the newest candle, real or predicted, become a float32 row; each forest turns it into a score; the
scores, times ``shrink`` and times the row's own ``ewma_volatility`` (sigma), are the logarithmic moves of the next candle.

- A path of closes has one forest: close' = close exp(shrink score sigma).
- A path of candles has four, in the order of `OHLC_PARTS`. Open and close move from the close before; the wicks stand beyond
  the body and are never negative, so low <= open, close <= high always:
  high' = max(open', close') exp(max(move, 0)), low' = min(open', close') exp(-max(move, 0)).

Predicted candles take the indices after the start, one by one. The path from bar k is a function of the slice of bar k alone.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import InvalidParameter, SchemaMismatch
from ml.features.blocks import block_index, find_blocks, index_start_ms, valid_bars
from ml.paths.features import REQUIRED, check_path_names
from ml.paths.plan import join_forests, plan_features

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.schema import FeatureSchema
    from ml.lightgbm_text import FlatTrees
    from ml.paths.plan import FeaturePlan

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Rows = npt.NDArray[np.float32]

__all__ = ["OHLC_PARTS", "PathModel"]

OHLC_PARTS = ("open", "high", "low", "close")
_FORESTS = {"close": ("close",), "ohlc": OHLC_PARTS}


@dataclass(frozen=True, eq=False)
class PathModel:
    """What predicts the next candle of a path.

    Attributes
    ----------
    schema
        Features of a row; all of them may be carried along a path (``ml.paths.features``).
    forests
        One forest for ``close``; four for ``ohlc``: open, high, low, close.
    shrink
        Factor of every score, or one factor for each forest; finite.
    kind
        ``close`` or ``ohlc``.
    """

    schema: FeatureSchema
    forests: tuple[FlatTrees, ...]
    shrink: float | tuple[float, ...] = 1.0
    kind: str = "close"

    def __post_init__(self) -> None:
        """Check the values; ``shrink`` becomes one factor a forest."""
        check_path_names(self.schema.names, self.kind)
        parts = _FORESTS[self.kind]
        if len(self.forests) != len(parts):
            raise InvalidParameter(
                f"a path of kind {self.kind} needs {len(parts)} forests ({', '.join(parts)}), got {len(self.forests)}"
            )
        for part, forest in zip(parts, self.forests, strict=True):
            if forest.feature_names != self.schema.names:
                raise SchemaMismatch(f"the forest of the {part} was fitted to other features than those of the schema")
        shrink = self.shrink if isinstance(self.shrink, tuple) else (float(self.shrink),) * len(parts)
        if len(shrink) != len(parts) or not all(math.isfinite(factor) for factor in shrink):
            raise InvalidParameter(f"shrink is {self.shrink}: expected a finite number, or {len(parts)} of them")
        object.__setattr__(self, "shrink", tuple(float(factor) for factor in shrink))

    def paths(self, candles: Candles, positions: npt.ArrayLike, steps: int, threads: int = 1) -> Floats:
        """Return the paths from some bars.

        Parameters
        ----------
        candles
            The real candles; each path sees those up to its start only.
        positions
            Positions of the starting bars, integers, shape (n,), in any order.
        steps
            Length of a path, at least 1.
        threads
            Threads to use; no bit depends on them.

        Returns
        -------
        float64 array, shape (n, steps) for ``close``, (n, steps, 4) for ``ohlc`` with open, high, low, close
            NaN throughout where the bar has no features or is off the grid, and from the step on where a price is no longer
            a finite positive number or a slice holds too few candles.

        Raises
        ------
        InvalidParameter
            When ``steps`` or ``threads`` is less than 1, or a position is not one of the candles.
        SchemaMismatch, MissingColumns
            When the candles do not fit the schema.
        """
        return self._walk(candles, positions, steps, threads, 0)[0]

    def rows(self, candles: Candles, positions: npt.ArrayLike, steps: int, threads: int = 1) -> Rows:
        """Return what the forests see along the paths, float32, shape (n, steps, F).

        ``rows[:, 0]`` are the features of the starting bars themselves. NaN where ``paths`` has no start or has ended.
        Parameters and errors are those of ``paths``.
        """
        return self._walk(candles, positions, steps, threads, steps)[1]

    def newest(self, candles: Candles, steps: int) -> Floats:
        """Return the path from the last candle, shape (steps,) or (steps, 4); the bits are those of ``paths``.

        Raises
        ------
        InvalidParameter
            When there is no candle.
        """
        path: Floats = self.paths(candles, [len(candles) - 1], steps)[0]
        return path

    def _walk(
        self, candles: Candles, positions: npt.ArrayLike, steps: int, threads: int, seen_steps: int
    ) -> tuple[Floats, Rows]:
        places = np.asarray(positions, dtype=np.int64).reshape(-1)
        if steps < 1 or threads < 1:
            raise InvalidParameter(f"a path needs at least one step and one thread, got {steps} and {threads}")
        if len(places) and not ((places >= 0) & (places < len(candles))).all():
            raise InvalidParameter(f"a path starts at a position outside the {len(candles)} candles")
        self.schema.require_columns(candles)
        out = np.full((len(places), steps, 1 if self.kind == "close" else 4), np.nan)
        seen = np.full((len(places) if seen_steps else 0, seen_steps, len(self.schema.names)), np.nan, dtype=np.float32)
        if len(places):
            candles, places = self._cut(candles, places)
            starts, span = self._starts(candles, places)
            if len(starts[0]):
                self._roll(candles, starts, span, threads, out, seen)
        return (out[:, :, 0] if self.kind == "close" else out), seen

    @cached_property
    def _plan(self) -> FeaturePlan:
        return plan_features(self.schema)

    @cached_property
    def _forest(self) -> tuple[Any, ...]:
        return join_forests(self.forests)

    def _cut(self, candles: Candles, places: Integers) -> tuple[Candles, Integers]:
        """Return the candles that the starts need and the positions in them, where that is a small part of all."""
        schema = self.schema
        low, high = int(places.min()), int(places.max())
        number = block_index(candles, schema.index)[low] // schema.anchor_bars
        borders = np.array([(number - 1) * schema.anchor_bars], dtype=np.int64)
        start_ms = int(index_start_ms(borders, schema.timeframe, schema.index)[0])
        first = int(np.searchsorted(candles.open_ms, start_ms))
        if 2 * (high + 1 - first) > len(candles):
            return candles, places
        return candles.between(start_ms, int(candles.open_ms[high]) + 1), places - first

    def _starts(self, candles: Candles, places: Integers) -> tuple[tuple[Integers, ...], tuple[int, int]]:
        """Return position, row of the result, slice, block and index of each start that has features, in order of time.

        Positions count from the first candle of the span (begin, end) that the starts need.
        """
        blocks = find_blocks(candles, self.schema.anchor_bars, self.schema.index)
        usable = valid_bars(candles, blocks, self.schema.min_candles) & ~candles.off_grid
        rows = np.flatnonzero(usable[places])
        rows = rows[np.argsort(places[rows], kind="stable")]
        position = places[rows]
        if not len(rows):
            return (position,), (0, 0)
        block = np.searchsorted(blocks.positions[:, 1], position, side="right") - 1
        first, begin = blocks.positions[block, 0], blocks.positions[block, 1]
        low, high = int(first[0]), int(position[-1]) + 1
        index = block_index(candles, self.schema.index)[position]
        return (position - low, rows.astype(np.int64), first - low, begin - low, index.astype(np.int64)), (low, high)

    def _roll(
        self,
        candles: Candles,
        starts: tuple[Integers, ...],
        span: tuple[int, int],
        threads: int,
        out: Floats,
        seen: Rows,
    ) -> None:
        from ml.kernels.path_rollout import rollout

        schema, plan = self.schema, self._plan
        position, target, first, block, index = starts
        places = (position, first, block)
        begin, end = span
        prices = np.stack([getattr(candles, name)[begin:end] for name in OHLC_PARTS])
        open_ms = candles.open_ms[begin:end]
        origin = int(index_start_ms(np.zeros(1, dtype=np.int64), schema.timeframe)[0])
        weekdays = schema.index == "weekdays"
        layout = (candles.step_ms, origin, weekdays, schema.anchor_bars, schema.min_candles, self.kind == "ohlc")
        sizes = (schema.names.index(REQUIRED), plan.reach, plan.outputs)
        shrink = np.array(self.shrink, dtype=np.float64)

        def run(lo: int, hi: int) -> None:
            rollout(
                prices, open_ms, places, target, index, layout, plan.arrays, self._forest, shrink, plan.order, sizes,
                out, seen, lo, hi,
            )  # fmt: skip

        count = len(starts[0])
        parts = max(1, min(threads, count))
        if parts == 1:
            run(0, count)
            return
        borders = [count * part // parts for part in range(parts + 1)]
        with ThreadPoolExecutor(parts) as pool:
            list(pool.map(run, borders[:-1], borders[1:]))
