"""The golden self-test: candles, the feature rows and outputs they gave at training, and the proof that they still do.

A bundle that gives other bits on this machine, with these libraries, is not the model that was validated: it is refused.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import Candles, format_ms
from ml.dataset import VOLATILITY_FEATURE
from ml.errors import BrokenModel, InvalidCandles, NotEnoughBars
from ml.features.blocks import Blocks, find_blocks, valid_bars
from ml.predictions import PREDICTION_COLUMNS
from ml.sequences import find_windows, stretches

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.bundles import BundleRunner
    from ml.sequences import Windows

__all__ = ["GOLDEN_VERSION", "check_golden", "golden_windows"]

GOLDEN_VERSION = 1

_ROWS = 4  # on each side of a block border


def golden_windows(candles: Candles, bundle: BundleRunner) -> dict[str, Any]:
    """Return the document of ``golden.json``: windows of candles with rows and outputs on both sides of a block border.

    The first window crosses the newest border whose two sides have features (or ends with the newest bars, where no border
    has them); the second, where there is one, crosses the border with the most missing candles.

    Raises
    ------
    NotEnoughBars
        When no candle has features, or none a whole window of them.
    """
    schema = bundle.schema
    blocks = find_blocks(candles, schema.anchor_bars, schema.index)
    valid = valid_bars(candles, blocks, schema.min_candles)
    if not valid.any():
        raise NotEnoughBars(f"none of {len(candles)} candles has features: nothing to build the self-test from")
    windows = None
    if bundle.sequence > 1:
        windows = find_windows(valid, stretches(candles), bundle.sequence)
        valid = windows.complete
        if not valid.any():
            raise NotEnoughBars(
                f"no {bundle.sequence} candles in a row have features: nothing to build the self-test from"
            )
    return {
        "schema_version": GOLDEN_VERSION,
        "windows": [_window(candles, bundle, *_reach(blocks, windows, place)) for place in _places(blocks, valid)],
    }


def _reach(
    blocks: Blocks, windows: Windows | None, place: tuple[int, int, int, list[int]]
) -> tuple[int, int, int, list[int]]:
    """Let a window of candles begin where the slice of the oldest row begins that its first bar reads."""
    _, end, _, rows = place
    if windows is None:
        return place
    j = blocks.holding(windows.oldest(rows[0]))
    return int(blocks.positions[j, 0]), end, int(blocks.start_ms[j]), rows


def _places(blocks: Blocks, valid: npt.NDArray[np.bool_]) -> list[tuple[int, int, int, list[int]]]:
    """Return (first candle, end, start of the slice in ms, rows) of each window."""
    borders = []
    for j in range(1, len(blocks)):
        begin = int(blocks.positions[j, 1])
        if blocks.numbers[j] == blocks.numbers[j - 1] + 1 and valid[begin - 1] and valid[begin]:
            borders.append(j)
    if not borders:
        j = blocks.holding(int(np.flatnonzero(valid)[-1]))
        first, begin, end = (int(position) for position in blocks.positions[j])
        last = begin + int(np.flatnonzero(valid[begin:end])[-1])
        rows = [i for i in range(max(begin, last - _ROWS), last + 1) if valid[i]]
        return [(first, last + 1, int(blocks.start_ms[j]), rows)]
    newest = borders[-1]
    held = [int(blocks.positions[j, 2] - blocks.positions[j - 1, 0]) for j in borders]
    sparse = borders[int(np.argmin(held))]
    chosen = [newest] + ([sparse] if sparse != newest and min(held) < held[-1] else [])
    places = []
    for j in chosen:
        begin = int(blocks.positions[j, 1])
        rows = [i for i in range(begin - _ROWS, begin + _ROWS) if 0 <= i < len(valid) and valid[i]]
        places.append((int(blocks.positions[j - 1, 0]), rows[-1] + 1, int(blocks.start_ms[j - 1]), rows))
    return places


def _window(
    candles: Candles, bundle: BundleRunner, first: int, end: int, start_ms: int, rows: list[int]
) -> dict[str, Any]:
    wanted = {"open", "high", "low", "close", *bundle.schema.columns}
    columns = {"open_ms": candles.open_ms, **{name: c for name, c in candles.columns.items() if name in wanted}}
    cut = {name: column[first:end] for name, column in columns.items()}
    last_ms = int(candles.open_ms[end - 1]) + candles.step_ms
    window = Candles.from_columns(candles.timeframe, cut, asked=((min(start_ms, int(cut["open_ms"][0])), last_ms),))
    positions = np.array(rows) - first
    features, score, values = _compute(window, bundle, positions)
    return {
        "timeframe": candles.timeframe,
        "asked": [list(interval) for interval in window.asked],
        "columns": {
            name: column.tolist() if column.dtype.kind == "i" else _plain(column) for name, column in cut.items()
        },
        "rows": [
            {
                "open_ms": int(window.open_ms[position]),
                "features": _plain(features[i]),
                "score": _plain(score)[i],
                "prediction": _plain(values[i]),
            }
            for i, position in enumerate(positions)
        ],
    }


def check_golden(document: dict[str, Any], bundle: BundleRunner, place: str) -> None:
    """Re-run every window of ``golden.json``; rows in one batch and each bar as the newest must give the stored bits.

    Raises
    ------
    BrokenModel
        Naming the first bar and value that differ, or what cannot be read.
    """
    version = document.get("schema_version")
    if version != GOLDEN_VERSION:
        raise BrokenModel(f"{place}: golden.json has schema version {version!r}, this program reads {GOLDEN_VERSION}")
    windows = document.get("windows")
    if not isinstance(windows, list) or not windows:
        raise BrokenModel(f"{place}: golden.json holds no windows")
    for window in windows:
        try:
            candles, positions, expected = _read(window, len(bundle.schema.names))
        except (KeyError, TypeError, ValueError, InvalidCandles) as error:
            raise BrokenModel(f"{place}: golden.json is damaged: {type(error).__name__}: {error}") from error
        _compare(expected, _compute(candles, bundle, positions), candles.open_ms[positions], bundle, place)
        newest = positions[-1:]
        shorter = replace(candles.slice(0, int(newest[0]) + 1), asked=candles.asked)
        _compare(
            [part[-1:] for part in expected],
            _outputs(_newest_rows(shorter, bundle), shorter.close[-1:], bundle),
            shorter.open_ms[-1:],
            bundle,
            place,
        )


def _read(window: dict[str, Any], width: int) -> tuple[Candles, npt.NDArray[np.int64], list[npt.NDArray[Any]]]:
    asked = tuple((int(start), int(end)) for start, end in window["asked"])
    candles = Candles.from_columns(window["timeframe"], window["columns"], asked=asked)
    rows = window["rows"]
    times = np.array([row["open_ms"] for row in rows], dtype=np.int64)
    positions = np.searchsorted(candles.open_ms, times)
    if not len(rows) or positions.max() >= len(candles) or (candles.open_ms[positions] != times).any():
        raise ValueError("a row is not among the candles")
    features = np.array([_numbers(row["features"]) for row in rows]).astype(np.float32)
    values = np.array([_numbers(row["prediction"]) for row in rows])
    score = np.array(_numbers([row["score"] for row in rows]))
    if features.shape != (len(rows), width) or values.shape != (len(rows), len(PREDICTION_COLUMNS)):
        raise ValueError(f"rows have shape {features.shape} and {values.shape}")
    return candles, positions, [features, score, values]


def _compute(candles: Candles, bundle: BundleRunner, positions: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
    """Return features, scores and predictions of some bars of a window."""
    matrix = bundle.pipeline.compute(candles)
    if bundle.sequence == 1:
        return _outputs(matrix.rows[positions], candles.close[positions], bundle)
    windows = find_windows(matrix.valid, stretches(candles), bundle.sequence)
    if not windows.complete[positions].all():
        missing = format_ms(int(candles.open_ms[positions][~windows.complete[positions]][0]))
        raise BrokenModel(f"golden.json is damaged: the bar {missing} has no window of {bundle.sequence} rows")
    first, last = int(positions.min()), int(positions.max())
    taken = windows.rows(first, last)
    bars = taken[bundle.sequence - 1 :]
    found = _outputs(matrix.rows[taken], candles.close[bars], bundle)
    chosen = np.isin(bars, positions)
    return [part[chosen] for part in found]


def _newest_rows(candles: Candles, bundle: BundleRunner) -> npt.NDArray[np.float32]:
    """Return the rows that the newest bar reads, computed as for a live bar."""
    if bundle.sequence == 1:
        return bundle.pipeline.latest(candles).rows
    grid = np.flatnonzero(~candles.off_grid)[-bundle.sequence :]
    rows: npt.NDArray[np.float32] = bundle.pipeline.newest(candles, int(grid[0])).rows[grid - grid[0]]
    return rows


def _outputs(
    rows: npt.NDArray[np.float32], close: npt.NDArray[np.float64], bundle: BundleRunner
) -> list[npt.NDArray[Any]]:
    """Return own rows, scores and predictions of the bars whose windows the rows hold."""
    score = bundle.runner.scores(rows)
    own = rows[bundle.sequence - 1 :]
    sigma = own[:, bundle.schema.names.index(VOLATILITY_FEATURE)].astype(np.float64)
    return [own, score, bundle.calibration.publish(score, sigma, close)]


def _compare(
    expected: list[npt.NDArray[Any]],
    found: list[npt.NDArray[Any]],
    times: npt.NDArray[np.int64],
    bundle: BundleRunner,
    place: str,
) -> None:
    """Raise where two values differ in a bit; NaN equals NaN, whatever its payload."""
    labels = (bundle.schema.names, ("score",), PREDICTION_COLUMNS)
    for names, a, b in zip(labels, expected, found, strict=True):
        bits = np.dtype(f"u{a.dtype.itemsize}")
        same = (a.view(bits) == b.view(bits)) | (np.isnan(a) & np.isnan(b))
        if same.all():
            continue
        row, column = np.argwhere(~same.reshape(len(times), -1))[0]
        was, now = a.reshape(len(times), -1)[row, column], b.reshape(len(times), -1)[row, column]
        raise BrokenModel(
            f"{place}: the self-test fails: at {format_ms(int(times[row]))} {names[column]} is {now!r} here and was {was!r} "
            "when the model was trained; train it again with these libraries, or run it with those it was trained with"
        )


def _plain(values: npt.NDArray[Any]) -> list[float | str | None]:
    """Return JSON values that read back to the same bits: null for NaN, a string for infinities."""
    numbers = values.astype(np.float64).tolist()
    return [None if x != x else str(x) if x in {np.inf, -np.inf} else x for x in numbers]  # noqa: PLR0124


def _numbers(values: list[float | str | None]) -> list[float]:
    return [np.nan if value is None else float(value) for value in values]
