"""The golden self-test of a bundle of paths: candles, the paths they gave at training, and the proof that they still do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import Candles, format_ms
from ml.errors import BrokenModel, InvalidCandles, NotEnoughBars
from ml.features.blocks import find_blocks, valid_bars
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.paths.bundle import PathBundle

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["PATH_GOLDEN_VERSION", "check_path_golden", "path_golden_windows"]

PATH_GOLDEN_VERSION = 1
_BEFORE, _AFTER = 3, 2  # bars from the block border to the two starts


def path_golden_windows(candles: Candles, bundle: PathBundle) -> dict[str, Any]:
    """Return the document of ``golden.json``: candles, and the paths from a bar on each side of a block border.

    The border is the newest one whose two sides have features; without one the paths start from the newest bars.

    Raises
    ------
    NotEnoughBars
        When no candle has features.
    """
    schema = bundle.schema
    blocks = find_blocks(candles, schema.anchor_bars, schema.index)
    valid = valid_bars(candles, blocks, schema.min_candles) & ~candles.off_grid
    if not valid.any():
        raise NotEnoughBars(f"none of {len(candles)} candles has features: nothing to build the self-test from")
    chosen = None
    for j in range(len(blocks) - 1, 0, -1):
        border = int(blocks.positions[j, 1])
        starts = [border - _BEFORE, border + _AFTER]
        neighbours = blocks.numbers[j] == blocks.numbers[j - 1] + 1
        if neighbours and starts[0] >= 0 and starts[1] < len(candles) and valid[starts].all():
            chosen = j - 1, starts
            break
    if chosen is None:
        last = int(np.flatnonzero(valid)[-1])
        chosen = int(np.searchsorted(blocks.positions[:, 2], last, side="right")), [last]
    block, starts = chosen
    first, end = int(blocks.positions[block, 0]), starts[-1] + 1
    wanted = {"open", "high", "low", "close", *schema.columns}
    columns = {name: column[first:end] for name, column in candles.columns.items() if name in wanted}
    times = candles.open_ms[first:end]
    asked = ((min(int(blocks.start_ms[block]), int(times[0])), int(times[-1]) + candles.step_ms),)
    window = Candles.from_columns(candles.timeframe, {"open_ms": times, **columns}, asked=asked)
    positions = np.array(starts, dtype=np.int64) - first
    paths, values = _compute(window, bundle, positions)
    return {
        "schema_version": PATH_GOLDEN_VERSION,
        "kind": "path",
        "windows": [
            {
                "timeframe": candles.timeframe,
                "asked": [list(interval) for interval in asked],
                "columns": {"open_ms": times.tolist(), **{name: column.tolist() for name, column in columns.items()}},
                "starts": [
                    {
                        "open_ms": int(window.open_ms[position]),
                        "path": _plain(paths[i].reshape(-1)),
                        "prediction": _plain(values[i]),
                    }
                    for i, position in enumerate(positions)
                ],
            }
        ],
    }


def check_path_golden(document: dict[str, Any], bundle: PathBundle, place: str) -> None:
    """Re-run every window of ``golden.json``; the paths at once, and the last one as the newest, must give the stored bits.

    Raises
    ------
    BrokenModel
        Naming the first bar that differs, or what cannot be read.
    """
    version = document.get("schema_version")
    if version != PATH_GOLDEN_VERSION or document.get("kind") != "path":
        raise BrokenModel(
            f"{place}: golden.json is of kind {document.get('kind')!r} and schema version {version!r}, expected 'path' and "
            f"{PATH_GOLDEN_VERSION}"
        )
    windows = document.get("windows")
    if not isinstance(windows, list) or not windows:
        raise BrokenModel(f"{place}: golden.json holds no windows")
    for window in windows:
        try:
            candles, positions, paths, values = _read(window, bundle)
        except (KeyError, TypeError, ValueError, InvalidCandles) as error:
            raise BrokenModel(f"{place}: golden.json is damaged: {type(error).__name__}: {error}") from error
        times = candles.open_ms[positions]
        found, said = _compute(candles, bundle, positions)
        _compare(paths, found, times, "the path", place)
        _compare(values, said, times, "the prediction", place)
        shorter = replace(candles.slice(0, int(positions[-1]) + 1), asked=candles.asked)
        alone = bundle.model.newest(shorter, bundle.steps)[None]
        _compare(paths[-1:], alone, times[-1:], "the path of the newest bar", place)


def _read(window: dict[str, Any], bundle: PathBundle) -> tuple[Candles, Integers, Floats, Floats]:
    asked = tuple((int(start), int(end)) for start, end in window["asked"])
    candles = Candles.from_columns(window["timeframe"], window["columns"], asked=asked)
    starts = window["starts"]
    times = np.array([start["open_ms"] for start in starts], dtype=np.int64)
    positions = np.searchsorted(candles.open_ms, times)
    if not len(starts) or positions.max() >= len(candles) or (candles.open_ms[positions] != times).any():
        raise ValueError("a start is not among the candles")
    values = np.array([_numbers(start["prediction"]) for start in starts])
    shape = (bundle.steps,) if bundle.model.kind == "close" else (bundle.steps, 4)
    paths = np.array([_numbers(start["path"]) for start in starts]).reshape(len(starts), *shape)
    if values.shape != (len(starts), len(PREDICTION_COLUMNS)):
        raise ValueError(f"predictions have shape {values.shape}")
    return candles, positions.astype(np.int64), paths, values


def _compute(candles: Candles, bundle: PathBundle, positions: Integers) -> tuple[Floats, Floats]:
    """Return paths and single predictions of some bars of a window."""
    rows = bundle.pipeline.compute(candles).rows[positions]
    return bundle.model.paths(candles, positions, bundle.steps), bundle.predictions(candles, positions, rows)


def _compare(expected: Floats, found: Floats, times: Integers, what: str, place: str) -> None:
    """Raise where two values differ in a bit; NaN equals NaN, whatever its payload."""
    same = (expected.view(np.uint64) == found.view(np.uint64)) | (np.isnan(expected) & np.isnan(found))
    if not same.all():
        row = int(np.argwhere(~same)[0][0])
        raise BrokenModel(
            f"{place}: the self-test fails: {what} from {format_ms(int(times[row]))} has other bits here than when the model "
            "was trained; train it again with these libraries, or run it with those it was trained with"
        )


def _plain(values: Floats) -> list[float | None]:
    """Return JSON values that read back to the same bits: null for what is not finite (a path that ended)."""
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _numbers(values: list[float | None]) -> list[float]:
    return [np.nan if value is None else float(value) for value in values]
