"""Features that are remembered from one refit to the next: only new and changed bars are computed.

A row depends on a bounded slice of candles and on nothing else, so a row that is kept has the bits that computing it again
would give. What is kept is only ever reused where every candle of its slice is still the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.features.blocks import find_blocks, valid_bars
from ml.features.pipeline import FeatureMatrix, FeaturePipeline

if TYPE_CHECKING:
    from ml.candles import Candles
    from ml.features.schema import FeatureSchema

__all__ = ["FeatureHistory"]


class FeatureHistory:
    """The features of the candles that were asked for last, by the schema that they were asked for.

    One for each recipe: its window moves forward, and each call computes what is new in it. Any other candles or schema are
    as welcome, and merely computed in whole. Not for use by two threads at once.

    Attributes
    ----------
    computed : int
        Bars whose rows were computed so far, for whoever wants to know what it saves.
    """

    def __init__(self) -> None:
        self.computed = 0
        self._schema: FeatureSchema | None = None
        self._candles: Candles | None = None
        self._matrix: FeatureMatrix | None = None

    def matrix(self, candles: Candles, schema: FeatureSchema) -> FeatureMatrix:
        """Return the features of every candle, with the values of ``FeaturePipeline(schema).compute(candles)``.

        Raises
        ------
        SchemaMismatch, MissingColumns
            When the candles are of another timeframe, or lack a column.
        """
        schema.require_columns(candles)
        pipeline = FeaturePipeline(schema)
        first, alike = self._overlap(candles) if self._schema == schema else (0, 0)
        if alike == 0 or self._matrix is None:
            found = pipeline.compute(candles)
            self.computed += len(candles)
        else:
            found = self._extended(candles, pipeline, self._matrix, first, alike)
        self._schema, self._candles, self._matrix = schema, candles, found
        return found

    def _extended(
        self, candles: Candles, pipeline: FeaturePipeline, held: FeatureMatrix, first: int, alike: int
    ) -> FeatureMatrix:
        """Take the rows of the first ``alike`` candles from position ``first`` of what is held, and compute the others."""
        schema = pipeline.schema
        valid = valid_bars(candles, find_blocks(candles, schema.anchor_bars, schema.index), schema.min_candles)
        newly = valid[:alike] & ~held.valid[first : first + alike]
        kept = int(np.argmax(newly)) if newly.any() else alike
        rows = np.empty((len(candles), held.rows.shape[1]), dtype=np.float32)
        rows[:kept] = held.rows[first : first + kept]
        if kept < len(candles):
            rows[kept:] = pipeline.newest(candles, kept).rows
            self.computed += len(candles) - kept
        rows[~valid] = np.nan
        return FeatureMatrix(rows, valid)

    def _overlap(self, candles: Candles) -> tuple[int, int]:
        """Return where the candles begin among those that are held, and how many of them are the same from there on."""
        held = self._candles
        if held is None or not len(held) or not len(candles):
            return 0, 0
        first = int(np.searchsorted(held.open_ms, candles.open_ms[0]))
        if first == len(held) or held.open_ms[first] != candles.open_ms[0]:
            return 0, 0
        if first and held.open_ms[first - 1] >= candles.asked[0][0]:
            return 0, 0  # a candle of these slices has gone
        count = min(len(held) - first, len(candles))
        alike = held.open_ms[first : first + count] == candles.open_ms[:count]
        ours, theirs = candles.columns, held.columns
        if ours.keys() != theirs.keys():
            return 0, 0
        for name, column in ours.items():
            now, before = column[:count], theirs[name][first : first + count]
            alike &= (now == before) | (np.isnan(now) & np.isnan(before))
        return first, count if alike.all() else int(np.argmin(alike))
