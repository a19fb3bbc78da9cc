"""The run folder: built aside, and renamed when everything is in it.

Times are int64 milliseconds UTC; the first column of ``predictions.csv`` and ``equity.csv`` is the bar's open time. A float
is written with the fewest digits that read back to the same bits; what is undefined is an empty cell.
"""

from __future__ import annotations

import csv
import io
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from bot.errors import StorageError
from ml.candles import format_ms
from ml.predictions import PREDICTION_COLUMNS, Status
from ml.training.documents import json_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from bot.backtest.run import BacktestRun

__all__ = ["FILES", "run_folder_name", "write_run"]

FILES = ("orders.csv", "trades.csv", "predictions.csv", "equity.csv", "result.json", "report.html")
"""What a run folder holds; the report is left out on request."""

_TEMPORARY = ".writing-"
_DAY_S = 86_400
_ORDER_HEADER = (
    *("open_ms", "time", "order", "status", "side", "reason"),
    *("size", "price", "notional", "fee", "fee_asset", "message"),
)
_TRADE_HEADER = (
    *("entry_ms", "entry_time", "exit_ms", "exit_time", "in_sample", "size", "entry_price", "exit_price"),
    *("fees", "profit", "return", "bars", "exit_reason"),
)


def run_folder_name(at: datetime, name: str, identity: str) -> str:
    """Return ``2026-11-20T120000Z_ml-basic-btc_1a2b3c4d``."""
    return f"{at.strftime('%Y-%m-%dT%H%M%SZ')}_{name}_{identity[:8]}"


def write_run(
    run: BacktestRun,
    document: Mapping[str, Any],
    runs: Path,
    at: datetime,
    report: Callable[[], str] | None,
) -> Path:
    """Write the folder of a run and return it; on any failure, Ctrl-C included, nothing of it stays.

    Parameters
    ----------
    run
        What happened.
    document
        Content of ``result.json``.
    runs
        Folder of all runs; created when it is missing.
    at
        Now, UTC: names the folder. A number is appended when the name is taken.
    report
        Makes ``report.html``; None to leave it out.

    Raises
    ------
    StorageError
        When the disk is full or the folder cannot be written.
    """
    _remove_leftovers(runs, at)
    name = run_folder_name(at, str(document["name"]), str(document["run_id"]))
    with _folder(runs, name) as (aside, final), ThreadPoolExecutor(2) as workers:
        tables = [  # formatted outside of Python, while Python draws the report
            workers.submit(_write_table, aside / "predictions.csv", _prediction_columns(run)),
            workers.submit(_write_table, aside / "equity.csv", _equity_columns(run)),
        ]
        _write(aside / "result.json", json_bytes(document))
        _write(aside / "orders.csv", _orders(run).encode())
        _write(aside / "trades.csv", _trades(run).encode())
        if report is not None:
            _write(aside / "report.html", report().encode())
        for table in tables:
            table.result()
    return final()


def _remove_leftovers(runs: Path, at: datetime) -> None:
    """Remove what processes that were killed left more than a day ago."""
    for leftover in runs.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):
            if at.timestamp() - leftover.stat().st_mtime > _DAY_S:
                shutil.rmtree(leftover)


@contextmanager
def _folder(runs: Path, name: str) -> Iterator[tuple[Path, Callable[[], Path]]]:
    """Give a folder to write into; rename it at the end, or remove it when something fails."""
    aside = runs / f"{_TEMPORARY}{uuid4().hex}"
    taken: list[Path] = []
    try:
        aside.mkdir(parents=True)
        yield aside, lambda: taken[0]
        taken.append(_rename(aside, runs, name))
    except OSError as error:
        raise StorageError(f"cannot write the run to {runs}: {error.strerror or error}") from error
    finally:
        if not taken:
            shutil.rmtree(aside, ignore_errors=True)


def _rename(aside: Path, runs: Path, name: str) -> Path:
    """Give the finished folder its name, or the name with a number where it is taken."""
    for number in range(1, 1000):
        final = runs / (name if number == 1 else f"{name}-{number}")
        if final.exists():
            continue
        try:
            aside.rename(final)
        except OSError:
            if final.exists():  # another process took the name in between
                continue
            raise
        return final
    raise StorageError(f"{runs / name} and 998 more of that name exist: wait a second")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_table(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns as CSV: floats with the fewest digits that read back to the same bits, NaN as an empty cell."""
    import pyarrow as pa
    from pyarrow import csv as table_csv

    arrays = {name: _arrow(column) if isinstance(column, np.ndarray) else column for name, column in columns.items()}
    try:
        with path.open("wb") as file:
            file.write((",".join(arrays) + "\n").encode())
            options = table_csv.WriteOptions(include_header=False, quoting_style="none")
            table_csv.write_csv(pa.table(arrays), file, options)
            file.flush()
            os.fsync(file.fileno())
    except pa.ArrowInvalid as error:
        raise StorageError(f"cannot write {path}: {error}") from error


def _arrow(column: np.ndarray[Any, Any]) -> Any:
    """Return a numpy column for Arrow, NaN as null; built from its memory, since ``pa.array`` would load pandas."""
    import pyarrow as pa

    values = np.ascontiguousarray(column)
    there = None if values.dtype.kind != "f" else ~np.isnan(values)
    known = None if there is None or there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [known, pa.py_buffer(values)])


def _prediction_columns(run: BacktestRun) -> dict[str, Any]:
    """Return the columns of ``predictions.csv``: plain names for the first role, ``ROLE_`` before those of the others."""
    import pyarrow as pa

    columns: dict[str, Any] = {"open_ms": run.curves.open_ms, "in_sample": _in_sample(run)}
    labels = [status.label.encode() for status in Status]
    ends = np.cumsum([0, *(len(label) for label in labels)]).astype(np.int32)
    texts = pa.StringArray.from_buffers(len(labels), pa.py_buffer(ends), pa.py_buffer(b"".join(labels)))
    for number, (role, batch) in enumerate(run.predictions.items()):
        prefix = f"{role}_" if number else ""
        columns[f"{prefix}status"] = pa.DictionaryArray.from_arrays(_arrow(batch.status), texts)
        for name in PREDICTION_COLUMNS:
            columns[f"{prefix}{name}"] = np.ascontiguousarray(batch.column(name))
    return columns


def _equity_columns(run: BacktestRun) -> dict[str, Any]:
    curves = run.curves
    return {
        "open_ms": curves.open_ms,
        "in_sample": _in_sample(run),
        "close": curves.close,
        "position": curves.position,
        "cash": curves.cash,
        "equity": curves.equity,
        "drawdown": curves.drawdown,
        "exposure": curves.exposure,
        "buy_and_hold": float(run.assembly.config.broker.cash) * (curves.close / curves.close[0]),
    }


def _in_sample(run: BacktestRun) -> Any:
    return (np.arange(len(run.curves)) < run.out_of_sample_row).astype(np.int8)


def _orders(run: BacktestRun) -> str:
    """Return ``orders.csv``: every fill, and every order that was refused, in time order."""
    rows: list[tuple[int, int, Sequence[Any]]] = [
        (
            fill.bar_open_ms,
            fill.order_ref,
            (
                fill.bar_open_ms,
                format_ms(fill.bar_open_ms),
                fill.order_ref,
                "filled",
                fill.side,
                fill.reason,
                fill.size,
                fill.price,
                fill.size * fill.price,
                fill.fee,
                fill.fee_asset,
                "",
            ),
        )
        for fill in run.fills
    ]
    for refused in run.rejections:
        when, order = refused.bar_open_ms, refused.order_ref
        cells = (
            when,
            format_ms(when),
            order,
            "refused",
            refused.side,
            "",
            refused.size,
            "",
            "",
            "",
            "",
            refused.reason,
        )
        rows.append((when, order, cells))
    rows.sort(key=lambda row: row[:2])
    return _csv(_ORDER_HEADER, [cells for _, _, cells in rows])


def _trades(run: BacktestRun) -> str:
    """Return ``trades.csv``: every round trip; the last one has no exit where it is still open."""
    split = run.curves.open_ms[run.out_of_sample_row] if run.out_of_sample_row < len(run.curves) else None
    rows = [
        (
            trade.entry_ms,
            format_ms(trade.entry_ms),
            "" if trade.exit_ms is None else trade.exit_ms,
            "" if trade.exit_ms is None else format_ms(trade.exit_ms),
            int(split is None or trade.entry_ms < split),
            trade.size,
            trade.entry_price,
            "" if trade.exit_price is None else trade.exit_price,
            trade.fees,
            trade.profit,
            trade.profit_share,
            trade.bars,
            trade.reason,
        )
        for trade in run.trades
    ]
    return _csv(_TRADE_HEADER, rows)


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)  # Python writes a float by its repr
    return text.getvalue()
