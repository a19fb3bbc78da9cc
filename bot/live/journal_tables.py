"""The tables of the journal in the state database. A step that was released never changes; a change is another step."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["JOURNAL_STEPS"]

_CREATE_TABLES = """
CREATE TABLE live_runs (
    run_id TEXT PRIMARY KEY NOT NULL, bot TEXT NOT NULL, started_ms INTEGER NOT NULL, ended_ms INTEGER,
    mode TEXT NOT NULL, exchange TEXT NOT NULL, inputs TEXT NOT NULL, cash TEXT NOT NULL, baseline TEXT NOT NULL
);
CREATE TABLE live_series (
    run_id TEXT NOT NULL REFERENCES live_runs, symbol TEXT NOT NULL, timeframe TEXT NOT NULL, columns TEXT NOT NULL,
    trade_from_ms INTEGER NOT NULL, asked TEXT NOT NULL, warm BLOB NOT NULL, PRIMARY KEY (run_id, symbol)
);
CREATE TABLE live_bars (
    run_id TEXT NOT NULL, symbol TEXT NOT NULL, open_ms INTEGER NOT NULL, content BLOB NOT NULL, late INTEGER NOT NULL,
    delivered_ms INTEGER NOT NULL, PRIMARY KEY (run_id, symbol, open_ms)
) WITHOUT ROWID;
CREATE TABLE live_orders (
    client_id TEXT PRIMARY KEY NOT NULL, run_id TEXT NOT NULL, symbol TEXT NOT NULL, bar_ms INTEGER NOT NULL,
    side TEXT NOT NULL, kind TEXT NOT NULL, role TEXT NOT NULL, size TEXT NOT NULL, price TEXT, stop_price TEXT,
    pair TEXT, parent TEXT, guard TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, cash_short INTEGER NOT NULL,
    exchange_id TEXT, sent_ms INTEGER NOT NULL, ended_ms INTEGER, ended_bar_ms INTEGER, known_bar_ms INTEGER
);
CREATE INDEX live_orders_by_end ON live_orders (run_id, symbol, ended_bar_ms);
CREATE INDEX live_orders_by_guard ON live_orders (run_id, symbol, known_bar_ms);
CREATE TABLE live_order_states (
    client_id TEXT NOT NULL REFERENCES live_orders, at_ms INTEGER NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE live_executions (
    run_id TEXT NOT NULL, symbol TEXT NOT NULL, trade_id TEXT NOT NULL, client_id TEXT NOT NULL REFERENCES live_orders,
    size TEXT NOT NULL, price TEXT NOT NULL, fee TEXT NOT NULL, fee_asset TEXT NOT NULL, at_ms INTEGER NOT NULL,
    bar_ms INTEGER, UNIQUE (run_id, symbol, trade_id)
);
CREATE INDEX live_executions_by_bar ON live_executions (run_id, symbol, bar_ms);
CREATE TABLE live_decisions (
    run_id TEXT NOT NULL, symbol TEXT NOT NULL, open_ms INTEGER NOT NULL, digest BLOB NOT NULL, document TEXT NOT NULL,
    UNIQUE (run_id, symbol, open_ms)
);
CREATE TABLE live_events (
    run_id TEXT NOT NULL, at_ms INTEGER NOT NULL, symbol TEXT, kind TEXT NOT NULL, text TEXT NOT NULL
);
CREATE TABLE live_models (
    run_id TEXT NOT NULL, symbol TEXT NOT NULL, role TEXT NOT NULL, from_ms INTEGER NOT NULL, version TEXT NOT NULL,
    digest TEXT NOT NULL, PRIMARY KEY (run_id, symbol, role, from_ms)
) WITHOUT ROWID
"""

_FIND_NEW_GUARDS = """
CREATE INDEX live_orders_new_guards ON live_orders (run_id, symbol) WHERE parent IS NOT NULL AND known_bar_ms IS NULL
"""

JOURNAL_STEPS: Mapping[str, Sequence[str]] = {
    "create_tables": tuple(_CREATE_TABLES.split(";")),
    "find_new_guards": (_FIND_NEW_GUARDS,),
}
"""Statements by name of the step, for ``StateDatabase.apply``."""
