"""Backtest runs: each beside buying and holding, and one with its equity and its trades."""

from __future__ import annotations

import csv
import json
import os
import re
from collections import deque
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.backtest.metrics import PREDICTION_FIGURES
from bot.backtest.outputs import FILES
from bot.errors import DataError, StorageError, UsageError
from bot.report.words import lead
from bot.service.answers import pair_text
from bot.service.views.plain import not_here, plain, without_paths
from ml.candles import format_ms

if TYPE_CHECKING:
    from pathlib import Path

    from bot.home import Home

__all__ = ["run", "runs"]

_RESULT, _EQUITY, _TRADES = "result.json", "equity.csv", "trades.csv"
_POINTS = 1_000
_NEWEST_TRADES = 500
_IDENTITY = re.compile(r"_([0-9a-f]{8})(-[0-9]+)?$")
_HEX = re.compile(r"[0-9a-f]{8}|[0-9a-f]{64}")
_STAMP = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z_")
_ACCOUNT = (
    *("bars", "total_return", "buy_and_hold_return", "max_drawdown", "buy_and_hold_max_drawdown", "sharpe", "sortino"),
    *("trades", "win_rate", "profit_factor", "fees_paid", "exposure", "n"),
)
_NEEDED = ("run_id", "name", "config", "symbol", "timeframe", "first", "last", "bars", "out_of_sample")
_CURVES = ("equity", "buy_and_hold", "close", "position", "cash", "exposure")


def runs(home: Home, most: int = 100) -> list[dict[str, Any]]:
    """Return the runs of a home, newest first, with their headline figures; a broken folder is a row with a ``problem``.

    Parameters
    ----------
    home
        Whose ``runs`` folder.
    most
        How many, at least 1.

    Returns
    -------
    list of dict
        ``run_id`` (the folder's name, which `run` takes), ``identity`` (digest of what decided the run), ``created_at``,
        ``name``, ``strategy``, ``symbol``, ``timeframe``, ``first``, ``last``, ``bars``, ``in_sample_bars``, ``config``,
        ``initial_cash``, ``final_value``, ``figures`` (out of sample: the account beside buy and hold, the predictions beside
        their baselines), ``words`` (how it went, in a sentence) and ``problem``.
    """
    if most < 1:
        raise UsageError(f"most is {most}: expected 1 or more")
    return [_row(home, name) for name in _names(home)[:most]]


def run(home: Home, run_id: str) -> dict[str, Any]:
    """Return one run: everything in ``result.json`` with its equity and its newest trades.

    Parameters
    ----------
    home
        Whose ``runs`` folder.
    run_id
        Name of the folder, the 8 digits at its end, or the whole identity; of equal runs the newest.

    Returns
    -------
    dict
        A row of `runs` with ``result``, ``equity`` (at most 1,000 rows: value at the end of each, deepest fall within it),
        ``trades`` (the newest 500, newest first), ``trades_in_all``, ``files`` (what the folder holds) and ``problems``
        (what could not be read).

    Raises
    ------
    NotHere
        When there is no such run; the message names the nearest.
    DataError, StorageError
        When ``result.json`` is damaged or cannot be read.
    """
    name = _find(home, run_id)
    folder = home.runs / name
    document = _read(folder)
    problems: list[str] = []
    equity: list[dict[str, Any]] = []
    trades: list[dict[str, Any]] = []
    in_all = 0
    try:
        equity = _equity(folder / _EQUITY)
    except (DataError, StorageError) as error:
        problems.append(str(error))
    try:
        trades, in_all = _trades(folder / _TRADES)
    except (DataError, StorageError) as error:
        problems.append(str(error))
    told: dict[str, Any] = plain(
        {
            **_told(name, document),
            "result": document,
            "equity": equity,
            "trades": trades,
            "trades_in_all": in_all,
            "files": [each for each in FILES if (folder / each).is_file()],
            "problems": problems,
        },
        home,
    )
    return told


def _names(home: Home) -> list[str]:
    """Return the names of the folders of runs, newest first; what is still being written is none."""
    try:
        with os.scandir(home.runs) as entries:
            found = [each.name for each in entries if not each.name.startswith(".") and _is_folder(each)]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StorageError(f"{home.runs}: cannot be read: {error.strerror or error}") from error
    return sorted(found, reverse=True)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Tell a folder from a link to one: what lies outside of the home is not shown."""
    return entry.is_dir(follow_symlinks=False)


def _find(home: Home, text: str) -> str:
    """Return the folder's name that is meant; only names of the listing ever become a path."""
    names = _names(home)
    if text in names:
        return text
    if _HEX.fullmatch(text.lower()):
        same = [name for name in names if (found := _IDENTITY.search(name)) and found[1] == text.lower()[:8]]
        if same:
            return max(same, key=lambda name: (_stamp(name) or "", name))
    raise not_here("run", text, names)


def _read(folder: Path) -> dict[str, Any]:
    path = folder / _RESULT
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: is damaged: {error}") from None
    missing = [name for name in _NEEDED if not (isinstance(document, dict) and name in document)]
    if missing or not isinstance(document["out_of_sample"], dict) or not isinstance(document["config"], dict):
        lacks = f": it lacks {', '.join(missing)}" if missing else ""
        raise DataError(f"{path}: is not the result of a backtest{lacks}")
    found: dict[str, Any] = document
    return found


def _row(home: Home, name: str) -> dict[str, Any]:
    try:
        told: dict[str, Any] = plain(_told(name, _read(home.runs / name)), home)
    except (DataError, StorageError) as error:
        nothing: dict[str, Any] = dict.fromkeys(_told(name, dict.fromkeys(_NEEDED)))
        return {**nothing, "run_id": name, "created_at": _stamp(name), "problem": without_paths(str(error), home)}
    return told


def _told(name: str, document: dict[str, Any]) -> dict[str, Any]:
    out, config = document["out_of_sample"] or {}, document["config"] or {}
    symbol = document["symbol"]
    return {
        "run_id": name,
        "identity": document["run_id"],
        "created_at": _stamp(name),
        "name": document["name"],
        "strategy": config.get("strategy"),
        "symbol": pair_text(symbol) if isinstance(symbol, str) else None,
        "timeframe": document["timeframe"],
        "first": document["first"],
        "last": document["last"],
        "bars": document["bars"],
        "in_sample_bars": document.get("in_sample_bars"),
        "config": config,
        "initial_cash": document.get("initial_cash"),
        "final_value": document.get("final_value"),
        "figures": {each: out.get(each) for each in (*_ACCOUNT, *PREDICTION_FIGURES)},
        "words": _words(document),
        "problem": None,
    }


def _words(document: dict[str, Any]) -> str | None:
    try:
        return lead(document)
    except (KeyError, TypeError, ValueError):  # of another version of the program
        return None


def _stamp(name: str) -> str | None:
    """Return when a run was written, as its folder is called; None of a folder that somebody renamed."""
    found = _STAMP.match(name)
    return None if found is None else f"{found[1]}T{found[2]}:{found[3]}:{found[4]}Z"


def _equity(path: Path) -> list[dict[str, Any]]:
    """Return the curves of a run in at most 1,000 rows: each value at the row's last bar, the drawdown its deepest."""
    columns = _table(path)
    count = len(columns["open_ms"])
    if not count:
        return []
    group = -(-count // _POINTS)
    starts = np.arange(0, count, group)
    ends = np.append(starts[1:], count) - 1
    times = columns["open_ms"][ends].astype(np.int64)
    told: dict[str, list[Any]] = {
        "time": [format_ms(int(each)) for each in times],
        **{name: columns[name][ends].tolist() for name in _CURVES},
        "drawdown": np.fmin.reduceat(columns["drawdown"], starts).tolist(),
        "in_sample": (columns["in_sample"][ends] > 0).tolist(),
    }
    return [dict(zip(told, row, strict=True)) for row in zip(*told.values(), strict=True)]


def _table(path: Path) -> dict[str, Any]:
    """Return the columns of ``equity.csv`` as numbers, empty cells as NaN."""
    import pyarrow as pa
    from pyarrow import csv as table_csv

    wanted = ("open_ms", "in_sample", "drawdown", *_CURVES)
    types = dict.fromkeys(wanted, pa.float64())  # times in ms are whole numbers in float64 for 285,000 years
    try:
        options = table_csv.ConvertOptions(column_types=types, include_columns=list(wanted), null_values=[""])
        table = table_csv.read_csv(path, table_csv.ReadOptions(use_threads=False), convert_options=options)
    except (pa.ArrowInvalid, pa.ArrowKeyError) as error:
        raise DataError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    # to_numpy would load pandas
    return {name: np.from_dlpack(table[name].fill_null(np.nan).combine_chunks()) for name in wanted}


def _trades(path: Path) -> tuple[list[dict[str, Any]], int]:
    """Return the newest trades, newest first, and how many there are."""
    newest: deque[dict[str, Any]] = deque(maxlen=_NEWEST_TRADES)
    count = 0
    try:
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file, strict=True):
                count += 1
                newest.append(_trade(row))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (csv.Error, KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}:{count + 1}: is damaged: {error}") from None
    return list(reversed(newest)), count


def _trade(row: dict[str, str]) -> dict[str, Any]:
    return {
        "entered_at": row["entry_time"],
        "left_at": row["exit_time"] or None,
        "in_sample": row["in_sample"] == "1",
        "size": float(row["size"]),
        "entry_price": float(row["entry_price"]),
        "exit_price": float(row["exit_price"]) if row["exit_price"] else None,
        "fees": float(row["fees"]),
        "profit": float(row["profit"]),
        "return": float(row["return"]),
        "bars": int(row["bars"]),
        "reason": row["exit_reason"],
    }
