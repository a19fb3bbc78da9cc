"""What live runs have written down, read without touching it: a bot may be running on the same file."""

from __future__ import annotations

import json
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.errors import StorageError, UsageError
from bot.live.journal_rows import read_run_row
from bot.live.journal_tables import JOURNAL_STEPS
from bot.state import StateDatabase
from ml.candles import format_ms
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bot.home import Home
    from bot.live.journal_rows import RunRow

__all__ = ["bar_orders", "copied_state", "decision_rows", "events_near", "find_live_run", "recorded_symbols"]

_NEAR = 20  # events that are shown around a bar


@contextmanager
def copied_state(home: Home) -> Iterator[StateDatabase]:
    """Give a copy of the state database for the length of the block: whatever is done with it changes nothing.

    Raises
    ------
    UsageError
        When no bot ever ran in this home.
    StorageError
        When the database cannot be read.
    """
    if not home.state_db.exists():
        raise UsageError(
            f"{home.root}: no bot has run here: there is no {home.state_db.name} (bot live CONFIG makes one)"
        )
    with tempfile.TemporaryDirectory(prefix="bot-state-") as folder:
        path = Path(folder) / "state.db"
        try:
            source = sqlite3.connect(f"{home.state_db.resolve().as_uri()}?mode=ro", uri=True, timeout=5.0)
            try:
                target = sqlite3.connect(path)
                try:
                    source.backup(target)
                finally:
                    target.close()
            finally:
                source.close()
        except sqlite3.Error as error:
            raise StorageError(f"{home.state_db}: cannot be read: {error}") from error
        with StateDatabase(path) as state:
            state.apply("journal", JOURNAL_STEPS)
            yield state


def find_live_run(state: StateDatabase, text: str) -> RunRow:
    """Return a live run: the newest of a bot's name, or the one whose id begins so.

    Raises
    ------
    UsageError
        When there is none, or several ids begin so; the message names what there is.
    """
    rows = state.rows("SELECT * FROM live_runs ORDER BY started_ms DESC, rowid DESC")
    named = [row for row in rows if row["bot"] == text]
    if named:
        return read_run_row(named[0])
    found = [row for row in rows if text and str(row["run_id"]).startswith(text.lower())]
    if len(found) == 1:
        return read_run_row(found[0])
    if found:
        listed = ", ".join(f"{row['run_id'][:12]} ({row['bot']})" for row in found[:5])
        raise UsageError(f"{len(found)} live runs begin with {text!r}: {listed}; give more of the id")
    if not rows:
        raise UsageError(f"no live run {text!r}: none is recorded (bot live CONFIG makes one)")
    near = suggestion(text, {str(row["bot"]) for row in rows}) or "; the newest: " + ", ".join(
        f"{row['run_id'][:8]} of {row['bot']}, begun {format_ms(int(row['started_ms']))}" for row in rows[:3]
    )
    raise UsageError(f"no live run {text!r}: expected the name of a bot or the beginning of a run id{near}")


def recorded_symbols(state: StateDatabase, run: RunRow) -> list[str]:
    """Return the symbols of a run, in the order of its config."""
    found = {str(row["symbol"]) for row in state.rows("SELECT symbol FROM live_series WHERE run_id = ?", (run.run_id,))}
    return [symbol for symbol in run.inputs["config"]["symbols"] if symbol in found]


def decision_rows(state: StateDatabase, run_id: str, symbol: str) -> list[dict[str, Any]]:
    """Return the rows of the decision journal, in order of time, as ``DecisionRow.to_dict`` made them."""
    return [
        json.loads(row["document"])
        for row in state.rows(
            "SELECT document FROM live_decisions WHERE run_id = ? AND symbol = ? ORDER BY open_ms", (run_id, symbol)
        )
    ]


def bar_orders(state: StateDatabase, run_id: str, symbol: str, open_ms: int) -> list[dict[str, Any]]:
    """Return the orders that belong to a bar, with their executions, as plain data.

    These are the orders that were decided at its close, and those that traded or ended in it.
    """
    rows = state.rows(
        "SELECT * FROM live_orders WHERE run_id = ? AND symbol = ? AND (bar_ms = ? OR ended_bar_ms = ? OR client_id IN "
        "(SELECT client_id FROM live_executions WHERE run_id = ? AND symbol = ? AND bar_ms = ?)) ORDER BY rowid",
        (run_id, symbol, open_ms, open_ms, run_id, symbol, open_ms),
    )
    names = (
        "client_id",
        "exchange_id",
        "side",
        "kind",
        "role",
        "size",
        "price",
        "stop_price",
        "state",
        "reason",
        "parent",
    )
    found = []
    for row in rows:
        trades = state.rows(
            "SELECT trade_id, size, price, fee, fee_asset, at_ms, bar_ms FROM live_executions WHERE client_id = ? "
            "ORDER BY at_ms, rowid",
            (row["client_id"],),
        )
        found.append({
            **{name: row[name] for name in names},
            "decided_ms": int(row["bar_ms"]),
            "sent_ms": int(row["sent_ms"]),
            "executions": [dict(trade) for trade in trades],
        })  # fmt: skip
    return found


def events_near(state: StateDatabase, run_id: str, symbol: str, open_ms: int, step_ms: int) -> list[dict[str, Any]]:
    """Return what happened between the delivery of the bar before and of the bar after, by this computer's clock."""
    times = {
        int(row["open_ms"]): int(row["delivered_ms"])
        for row in state.rows(
            "SELECT open_ms, delivered_ms FROM live_bars WHERE run_id = ? AND symbol = ? AND open_ms BETWEEN ? AND ?",
            (run_id, symbol, open_ms - step_ms, open_ms + step_ms),
        )
    }
    if open_ms not in times:
        return []
    first = times.get(open_ms - step_ms, times[open_ms] - step_ms)
    last = times.get(open_ms + step_ms, times[open_ms] + step_ms)
    rows = state.rows(
        "SELECT at_ms, kind, text FROM live_events WHERE run_id = ? AND (symbol IS NULL OR symbol = ?) "
        "AND at_ms BETWEEN ? AND ? ORDER BY at_ms, rowid LIMIT ?",
        (run_id, symbol, first, last, _NEAR),
    )
    return [dict(row) for row in rows]
