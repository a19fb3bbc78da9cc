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
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import InvalidParameter, SchemaMismatch
from ml.features.blocks import block_index, index_start_ms
from ml.features.pipeline import FeaturePipeline
from ml.paths.features import REQUIRED, check_path_names

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles
    from ml.features.schema import FeatureSchema
    from ml.lightgbm_text import FlatTrees

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

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
            a finite positive number or a row is not valid.

        Raises
        ------
        InvalidParameter
            When ``steps`` or ``threads`` is less than 1, or a position is not one of the candles.
        SchemaMismatch, MissingColumns
            When the candles do not fit the schema.
        """
        places = np.asarray(positions, dtype=np.int64).reshape(-1)
        if steps < 1 or threads < 1:
            raise InvalidParameter(f"a path needs at least one step and one thread, got {steps} and {threads}")
        if len(places) and not (0 <= int(places.min()) and int(places.max()) < len(candles)):
            raise InvalidParameter(f"a path starts at a position outside the {len(candles)} candles")
        self.schema.require_columns(candles)
        out = np.full((len(places), steps, 4), np.nan)
        for number, place in enumerate(places.tolist()):
            _grow(self, candles.slice(0, place + 1), out[number])
        return np.ascontiguousarray(out[:, :, 3]) if self.kind == "close" else out

    def newest(self, candles: Candles, steps: int) -> Floats:
        """Return the path from the last candle, shape (steps,) or (steps, 4); the bits are those of ``paths``.

        Raises
        ------
        InvalidParameter
            When there is no candle.
        """
        path: Floats = self.paths(candles, [len(candles) - 1], steps)[0]
        return path


def _grow(model: PathModel, known: Candles, out: Floats) -> None:
    from ml.runners import LightGBMRunner

    schema = model.schema
    pipeline = FeaturePipeline(schema)
    if known.off_grid[-1]:
        return
    k = int(block_index(known, schema.index)[-1])
    sigma_at = schema.names.index(REQUIRED)
    runners = [LightGBMRunner(forest) for forest in model.forests]
    begin = max(0, len(known) - 2 * schema.anchor_bars - 1)
    known = replace(
        known.slice(begin, len(known)),
        asked=known.asked,
        **dict.fromkeys(("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")),
    )
    for step in range(len(out)):
        matrix = pipeline.latest(known)
        if not matrix.valid[0]:
            return
        sigma = float(matrix.rows[0, sigma_at])
        moves = [
            factor * float(runner.scores(matrix.rows)[0]) * sigma
            for factor, runner in zip(model.shrink, runners, strict=True)
        ]  # type: ignore[arg-type]
        before = float(known.close[-1])
        try:
            if model.kind == "close":
                open_, close = before, before * math.exp(moves[0])
                high, low = max(open_, close), min(open_, close)
            else:
                open_, close = before * math.exp(moves[0]), before * math.exp(moves[3])
                high = max(open_, close) * math.exp(max(moves[1], 0.0))
                low = min(open_, close) * math.exp(-max(moves[2], 0.0))
        except OverflowError:
            return
        candle = (open_, high, low, close)
        if not all(math.isfinite(price) and price > 0 for price in candle):
            return
        out[step] = candle
        time = int(index_start_ms(np.array([k + step + 1]), schema.timeframe, schema.index)[0])
        columns = {name: np.append(getattr(known, name), price) for name, price in zip(OHLC_PARTS, candle, strict=True)}
        asked = tuple(
            (a, max(b, time + known.step_ms)) if a <= known.open_ms[-1] < b else (a, b) for a, b in known.asked
        )
        asked = tuple((a, b) for a, b in asked if a <= time)
        known = replace(known, open_ms=np.append(known.open_ms, time), **columns, asked=asked)
