"""What survives a kill of the exchange: a snapshot of the market and everything that it was told since, in one SQLite file.

The market is a pure function of its candles and of what it was told. So the file holds a snapshot and, after it, one row
for each mutation, written in a transaction of its own before the reply is sent; a restart takes the snapshot and tells the
market the rest once more. Write-ahead logging without a sync of each row loses nothing when the process dies, only when the
machine does.
"""

from __future__ import annotations

import json
import sqlite3
from dataclasses import asdict, is_dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.errors import StorageError
from bot.exchange.orders import Leg, OrderRequest, PairRequest
from bot.exchange.snapshot import restore, state_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bot.exchange.matching import LocalExchange

__all__ = ["StateFile"]

_FORMAT = "1"
_ROWS_A_SNAPSHOT = 5_000  # at least; and twice the orders, as a snapshot holds all of them
_NUMBERS = ("quantity", "quote_quantity", "price", "stop_price")


class StateFile:
    """The memory of one exchange.

    Parameters
    ----------
    path : Path
        Made where it is not there, readable by its owner only: it holds the keys.
    fresh : bool
        Forget what it holds.

    Raises
    ------
    StorageError
        When it cannot be opened, is no such file, or another process has it.
    """

    def __init__(self, path: Path, *, fresh: bool = False) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch(mode=0o600)
            self._db = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")  # one exchange a file
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS told (number INTEGER PRIMARY KEY, market_ms INTEGER NOT NULL, "
                "kind TEXT NOT NULL, body TEXT NOT NULL)"
            )
            if fresh:
                self._db.execute("DELETE FROM facts")
                self._db.execute("DELETE FROM told")
            self._db.execute("INSERT OR IGNORE INTO facts VALUES ('format', ?)", (_FORMAT,))
            self._db.execute("COMMIT")
            self._rows = self._db.execute("SELECT COUNT(*) FROM told").fetchone()[0]
            last = self._db.execute("SELECT number, kind FROM told ORDER BY number DESC LIMIT 1").fetchone()
        except (OSError, sqlite3.Error) as error:
            raise StorageError(f"cannot use {path} as the state of the exchange: {_reason(error)}") from None
        self._last: int | None = last[0] if last and last[1] == "advance" else None
        if self.fact("format") != _FORMAT:
            raise StorageError(f"{path} was written by another version of this program: start with --fresh")

    def fact(self, name: str) -> str | None:
        """Return something that was noted beside the market, or None."""
        row = self._db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def note(self, name: str, value: str) -> None:
        """Note something beside the market, in place of what had this name."""
        self._write("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def restore(self, exchange: LocalExchange) -> bool:
        """Bring a new market to where the old one was; returns whether there was anything.

        Raises
        ------
        StorageError
            When the file does not fit this market.
        """
        saved = self.fact("snapshot")
        try:
            if saved is not None:
                restore(exchange, json.loads(saved))
            rows = self._db.execute("SELECT market_ms, kind, body FROM told ORDER BY number").fetchall()
            for market_ms, kind, body in rows:
                exchange.advance_to(market_ms)
                _tell(exchange, kind, json.loads(body))
        except Exception as error:  # noqa: BLE001 - whatever it is: this file and this market do not fit
            raise StorageError(
                f"{self.path} cannot be continued with these candles and this program "
                f"({type(error).__name__}: {error}): start with --fresh"
            ) from None
        return saved is not None or bool(rows)

    def append(self, exchange: LocalExchange, kind: str, body: object) -> None:
        """Remember what the market was told and did; an advance after an advance replaces it.

        Raises
        ------
        StorageError
            When it cannot be written: then nothing may be answered.
        """
        if kind == "advance" and self._last is not None:
            self._write("UPDATE told SET market_ms = ? WHERE number = ?", (exchange.now_ms, self._last))
            return
        text = json.dumps(asdict(body) if is_dataclass(body) and not isinstance(body, type) else body, default=str)
        cursor = self._write("INSERT INTO told (market_ms, kind, body) VALUES (?, ?, ?)", (exchange.now_ms, kind, text))
        self._last = cursor.lastrowid if kind == "advance" else None
        self._rows += 1
        if self._rows >= _ROWS_A_SNAPSHOT and self._rows >= 2 * len(exchange.register.all_orders()):
            self.save(exchange)

    def save(self, exchange: LocalExchange) -> None:
        """Replace everything by a snapshot of the market as it is.

        Raises
        ------
        StorageError
            When it cannot be written.
        """
        text = json.dumps(state_of(exchange))
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR REPLACE INTO facts VALUES ('snapshot', ?)", (text,))
            self._db.execute("DELETE FROM told")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageError(f"cannot write {self.path}: {_reason(error)}") from None
        self._rows, self._last = 0, None

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _write(self, statement: str, values: tuple[Any, ...]) -> sqlite3.Cursor:
        try:
            return self._db.execute(statement, values)
        except sqlite3.Error as error:
            raise StorageError(f"cannot write {self.path}: {_reason(error)}") from None


def _tell(exchange: LocalExchange, kind: str, body: Mapping[str, Any]) -> None:
    if kind == "place":
        exchange.place(OrderRequest(**_decimals(body)))
    elif kind == "place_pair":
        legs = {name: Leg(**_decimals(body[name])) for name in ("above", "below")}
        exchange.place_pair(PairRequest(**{**_decimals(body), **legs}))
    elif kind == "cancel":
        exchange.cancel(body["symbol"], order_id=body["order_id"], client_id=body["client_id"])
    elif kind == "cancel_list":
        exchange.cancel_list(body["symbol"], list_id=body["list_id"], client_id=body["client_id"])
    elif kind == "cancel_all":
        exchange.cancel_all(body["symbol"])
    elif kind == "set_status":
        exchange.set_status(body["symbol"], body["status"])
    elif kind == "delist":
        exchange.delist(body["symbol"])


def _decimals(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Decimal(value) if name in _NUMBERS and value is not None else value for name, value in body.items()}


def _reason(error: OSError | sqlite3.Error) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if "locked" in str(error):
        return "another exchange is using it"
    return str(error)
