"""Paths the slow way: candles grown one by one, features of the newest, trees, the next candle."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ml.features.blocks import block_index, index_start_ms
from ml.features.pipeline import FeaturePipeline
from ml.runners import LightGBMRunner

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ml.candles import Candles
    from ml.paths.rollout import PathModel

__all__ = ["grown", "paths_step_by_step"]

_VOLUMES = dict.fromkeys(("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote"))


def grown(known: Candles, time: int, candle: Sequence[float]) -> Candles:
    """Append a candle; the interval that was asked and holds the last one then reaches to its end."""
    end = time + known.step_ms
    last = int(known.open_ms[-1])
    asked = tuple((a, max(b, end) if a <= last < b else b) for a, b in known.asked if a <= last)
    names = ("open", "high", "low", "close")
    columns = {name: np.append(getattr(known, name), price) for name, price in zip(names, candle, strict=True)}
    return replace(known, open_ms=np.append(known.open_ms, time), **columns, asked=asked)


def next_candle(kind: str, before: float, moves: Sequence[float]) -> tuple[float, float, float, float] | None:
    """Open, high, low, close; None where one is not a finite positive number."""
    try:
        if kind == "close":
            close = before * math.exp(moves[0])
            candle = (before, max(before, close), min(before, close), close)
        else:
            open_, close = before * math.exp(moves[0]), before * math.exp(moves[3])
            high = max(open_, close) * math.exp(max(moves[1], 0.0))
            candle = (open_, high, min(open_, close) * math.exp(-max(moves[2], 0.0)), close)
    except OverflowError:
        return None
    return candle if all(math.isfinite(price) and price > 0 for price in candle) else None


def paths_step_by_step(
    model: PathModel,
    candles: Candles,
    positions: Sequence[int],
    steps: int,
    score: Sequence[Callable[[np.ndarray], np.ndarray]] | None = None,
) -> np.ndarray:
    """What ``PathModel.paths`` returns; ``score`` are functions of a float32 row (default: the runners of the forests)."""
    pipeline = FeaturePipeline(model.schema)
    score = score or [LightGBMRunner(forest).scores for forest in model.forests]
    out = np.full((len(positions), steps, 4), np.nan)
    for number, place in enumerate(positions):
        if candles.off_grid[place]:
            continue
        known = candles.slice(0, place + 1)
        begin = max(0, len(known) - 3 * model.schema.anchor_bars)
        asked = known.asked
        known = replace(known.slice(begin, len(known)), asked=asked, **_VOLUMES)
        k = int(block_index(known, model.schema.index)[-1])
        for step in range(steps):
            matrix = pipeline.latest(known)
            if not matrix.valid[0]:
                break
            sigma = float(matrix.rows[0, model.schema.names.index("ewma_volatility")])
            moves = [s * float(f(matrix.rows)[0]) * sigma for s, f in zip(model.shrink, score, strict=True)]
            candle = next_candle(model.kind, float(known.close[-1]), moves)
            if candle is None:
                break
            out[number, step] = candle
            time = index_start_ms(np.array([k + step + 1]), model.schema.timeframe, model.schema.index)
            known = grown(known, int(time[0]), candle)
    return out[:, :, 3] if model.kind == "close" else out
