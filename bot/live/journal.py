"""The journal of a live run: everything that decided its ledger, on the disk before it counts.

A run is bars, orders and executions. Each bar is written together with what the ledger books in it, before the strategy sees
it; each order before it is sent. So a restart that feeds the same bars and books the same executions comes to the same
ledger, the same predictions and the same decisions; where it does not, code, config or a model has changed.

All times are milliseconds UTC: those of bars and executions are the exchange's, the others this computer's.
"""

from __future__ import annotations

import threading
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.live.facts import NOTHING, BarFacts, Ending, OrderRow
from bot.live.journal_rows import (
    decision_digest,
    execution_values,
    order_values,
    read_execution_row,
    read_order_row,
    read_run_row,
)
from bot.live.journal_tables import JOURNAL_STEPS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.live.journal_rows import RunRow
    from bot.live.orders import Execution, OrderReport, Ticket
    from bot.state import StateDatabase

__all__ = ["Journal"]

_INSERT_ORDER = (
    "INSERT INTO live_orders (client_id, run_id, symbol, bar_ms, side, kind, role, size, price, stop_price, pair, parent, "
    "guard, state, reason, cash_short, sent_ms, known_bar_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_INSERT_EXECUTION = (
    "INSERT INTO live_executions (run_id, symbol, trade_id, client_id, size, price, fee, fee_asset, at_ms) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

_NOTE_NEW_GUARDS = """
UPDATE live_orders INDEXED BY live_orders_new_guards SET known_bar_ms = ?
WHERE run_id = ? AND symbol = ? AND parent IS NOT NULL AND known_bar_ms IS NULL AND NOT EXISTS (
    SELECT 1 FROM live_executions WHERE run_id = ? AND symbol = ? AND bar_ms IS NULL AND client_id = live_orders.parent
)
"""


class Journal:
    """The journal of one run, in the state database; its orders are held in memory, too.

    Parameters
    ----------
    state
        The database; every method may raise its ``StorageError``, and then nothing has changed.
    run
        Which run, as ``bot.live.journal_rows`` reads it.
    """

    def __init__(self, state: StateDatabase, run: RunRow) -> None:
        state.apply("journal", JOURNAL_STEPS)
        self._state = state
        self._lock = threading.RLock()
        self._notes: list[tuple[str, int, str]] = []
        self.run = run
        self.orders: dict[str, OrderRow] = {
            row["client_id"]: _order(row)
            for row in state.rows("SELECT * FROM live_orders WHERE run_id = ? ORDER BY rowid", (run.run_id,))
        }
        self._undone = {client_id: row for client_id, row in self.orders.items() if not row.is_done}
        self._by_parent: dict[str, list[OrderRow]] = {}
        for order in self.orders.values():
            self._by_parent.setdefault(order.ticket.parent or "", []).append(order)
        self._trades: dict[tuple[str, str], Execution] = {}
        self._by_order: dict[str, list[Execution]] = {}
        self._unbooked: dict[str, Decimal] = {}
        self._held: dict[str, Decimal] = {}
        for row in state.rows("SELECT * FROM live_executions WHERE run_id = ? ORDER BY rowid", (run.run_id,)):
            self._take(read_execution_row(row), str(row["symbol"]), booked=row["bar_ms"] is not None)

    @classmethod
    def newest_run(cls, state: StateDatabase, bot: str) -> RunRow | None:
        """Return the last run of a bot, or None."""
        state.apply("journal", JOURNAL_STEPS)
        rows = state.rows("SELECT * FROM live_runs WHERE bot = ? ORDER BY started_ms DESC, rowid DESC LIMIT 1", (bot,))
        return read_run_row(rows[0]) if rows else None

    def order(self, client_id: str) -> OrderRow | None:
        """Return an order, or None."""
        with self._lock:
            return self.orders.get(client_id)

    def guards_of(self, parent: str) -> list[OrderRow]:
        """Return every stop and target that a purchase ever had, in the order of their intents."""
        with self._lock:
            return list(self._by_parent.get(parent, ()))

    def undone(self, symbol: str | None = None) -> list[OrderRow]:
        """Return the orders that may still trade, in the order of their intents."""
        with self._lock:
            return [row for row in self._undone.values() if symbol is None or row.ticket.symbol == symbol]

    def intend(self, tickets: Sequence[Ticket], now_ms: int, known_bar_ms: int | None = None) -> None:
        """Write down what is about to be sent; when this returns, it is on the disk.

        Parameters
        ----------
        known_bar_ms
            Of a stop or target: the bar in which the ledger asked for it; None where the ledger learns of it at the next.
        """
        self._add([OrderRow(ticket, "intended", sent_ms=now_ms) for ticket in tickets], known_bar_ms)

    def gate(self, ticket: Ticket, reason: str, now_ms: int) -> None:
        """Write down an order that we ourselves forbade; it is never sent, and a replay refuses it for the same reason."""
        self._add([OrderRow(ticket, "gated", reason, sent_ms=now_ms)])

    def forgo(self, ticket: Ticket, reason: str, now_ms: int) -> None:
        """Write down an order that the ledger holds open and that is not sent after all: it ends at the next bar."""
        self._add([OrderRow(ticket, "refused", reason, sent_ms=now_ms)])

    def sending(self, client_id: str, now_ms: int) -> None:
        """Write down that an order is about to be sent again: the exchange certainly does not have it."""
        self._update(client_id, "intended", sent_ms=now_ms)

    def unsent(self, client_id: str) -> None:
        """Write down that the exchange certainly never had an order."""
        self._update(client_id, "unsent")

    def refuse(self, client_id: str, reason: str, *, is_cash_short: bool = False) -> None:
        """Write down that the exchange refused an order, or that it was given up before it was sent."""
        self._update(client_id, "refused", reason, is_cash_short=is_cash_short)

    def report(self, report: OrderReport) -> tuple[Execution, ...]:
        """Write down what the exchange says of an order and return the trades that were not known.

        It does not wait for the disk, as the exchange can be asked again: a power cut leaves an order that was sent, whose
        fate the next start looks up. The intent of the next order, which may depend on it, takes it to the disk with itself.

        Raises
        ------
        ValueError
            When the order is done and its trades are not all known: its end would be booked without them.
        """
        with self._lock:
            row = self.orders[report.client_id]
            symbol = row.ticket.symbol
            fresh = tuple(trade for trade in report.executions or () if (symbol, trade.trade_id) not in self._trades)
            executed = row.executed + sum((trade.size for trade in fresh), Decimal(0))
            if report.is_done and executed != report.executed:
                raise ValueError(
                    f"{report.client_id} executed {report.executed}, its known trades add up to {executed}"
                )
            if row.is_done and not report.is_done:  # an older answer: what is done stays done
                return ()
            if not fresh and row.state == report.status and row.exchange_id == report.exchange_id:
                return ()
            with self._state.transaction(durable=False):
                for trade in fresh:
                    self._state.execute(_INSERT_EXECUTION, execution_values(self.run.run_id, symbol, trade))
                self._state.execute(
                    "UPDATE live_orders SET state = ?, exchange_id = ?, ended_ms = ? WHERE client_id = ?",
                    (
                        report.status,
                        report.exchange_id,
                        report.updated_ms if report.is_done else None,
                        report.client_id,
                    ),
                )
            row.state, row.exchange_id = report.status, report.exchange_id
            self._keep(row)
            for trade in fresh:
                self._take(trade, symbol, booked=False)
            return fresh

    def trades_of(self, client_id: str) -> list[Execution]:
        """Return the executions of an order, in the order of their time."""
        with self._lock:
            found = list(self._by_order.get(client_id, ()))
        return sorted(found, key=lambda trade: trade.at_ms)

    def unbooked(self, client_id: str) -> Decimal:
        """Return how much of an order was traded in no bar that was delivered yet, base currency."""
        with self._lock:
            return self._unbooked.get(client_id, Decimal(0))

    def held(self, symbol: str) -> Decimal:
        """Return what the executions of the run leave of a symbol's base currency."""
        with self._lock:
            return self._held.get(symbol, Decimal(0))

    def note_decision(self, symbol: str, open_ms: int, document: str) -> None:
        """Keep what was decided at a bar; it is written with the next bar, or by ``flush``."""
        with self._lock:
            self._notes.append((symbol, open_ms, document))

    def decision_digests(self, symbol: str) -> dict[int, bytes]:
        """Return what ``decision_digest`` says of each decision of a symbol, by the open time of its bar."""
        rows = self._state.rows(
            "SELECT open_ms, digest FROM live_decisions WHERE run_id = ? AND symbol = ?", (self.run.run_id, symbol)
        )
        return {int(row["open_ms"]): bytes(row["digest"]) for row in rows}

    def flush(self) -> None:
        """Write the decisions that were noted."""
        with self._lock, self._state.transaction():
            self._write_notes()
            self._notes.clear()

    def deliver(
        self, symbol: str, open_ms: int, close_ms: int, content: bytes, *, is_late: bool, now_ms: int
    ) -> BarFacts:
        """Write a bar together with what the ledger books in it, and return that.

        Executions belong to the bar in which they happened; those of bars that were delivered before, and endings that
        have no time of their own, belong to this one.

        Parameters
        ----------
        content
            The bar's values, as ``bot.live.journal_rows.pack_bar`` gives them.
        is_late
            Whether a newer closed bar was known already: no order may rest on this one.
        """
        run = self.run.run_id
        with self._lock:
            with self._state.transaction(durable=False):  # a bar can be fetched again
                self._write_notes()
                self._state.execute(
                    "INSERT INTO live_bars (run_id, symbol, open_ms, content, late, delivered_ms) VALUES (?, ?, ?, ?, ?, ?)",
                    (run, symbol, open_ms, content, int(is_late), now_ms),
                )
                booked = self._state.execute(
                    "UPDATE live_executions SET bar_ms = ? WHERE run_id = ? AND symbol = ? AND bar_ms IS NULL AND at_ms < ?",
                    (open_ms, run, symbol, close_ms),
                )
                booked += self._state.execute(
                    "UPDATE live_orders SET ended_bar_ms = ? WHERE run_id = ? AND symbol = ? AND ended_bar_ms IS NULL "
                    "AND state IN ('filled', 'cancelled', 'expired', 'rejected', 'refused') "
                    "AND (ended_ms IS NULL OR ended_ms < ?)",
                    (open_ms, run, symbol, close_ms),
                )
                booked += self._state.execute(
                    _NOTE_NEW_GUARDS,
                    (open_ms, run, symbol, run, symbol),
                )
                facts = self.facts(symbol, open_ms) if booked else NOTHING
            self._notes.clear()
            for client_id in facts.endings:
                self.orders[client_id].ended_bar_ms = open_ms
            for client_id, trades in facts.executions.items():
                left = self._unbooked.pop(client_id) - sum((trade.size for trade in trades), Decimal(0))
                if left:
                    self._unbooked[client_id] = left
            return facts

    def facts(self, symbol: str, open_ms: int) -> BarFacts:
        """Return what the ledger books in a bar that was delivered."""
        run = self.run.run_id
        executions: dict[str, list[Execution]] = {}
        for row in self._state.rows(
            "SELECT * FROM live_executions WHERE run_id = ? AND symbol = ? AND bar_ms = ? ORDER BY at_ms, rowid",
            (run, symbol, open_ms),
        ):
            trade = read_execution_row(row)
            executions.setdefault(trade.client_id, []).append(trade)
        endings = {
            str(row["client_id"]): Ending(str(row["state"]), str(row["reason"]), bool(row["cash_short"]))
            for row in self._state.rows(
                "SELECT client_id, state, reason, cash_short FROM live_orders "
                "WHERE run_id = ? AND symbol = ? AND ended_bar_ms = ? AND state != 'filled' ORDER BY rowid",
                (run, symbol, open_ms),
            )
        }
        guards: dict[str, tuple[Ticket, ...]] = {}
        for row in self._state.rows(
            "SELECT * FROM live_orders WHERE run_id = ? AND symbol = ? AND known_bar_ms = ? ORDER BY rowid",
            (run, symbol, open_ms),
        ):
            leg = read_order_row(row)
            others = guards.get(leg.parent or "", ())
            guards[leg.parent or ""] = (*(other for other in others if other.pair == leg.pair), leg)
        return BarFacts({order: tuple(trades) for order, trades in executions.items()}, endings, guards)

    def all_facts(self, symbol: str) -> dict[int, BarFacts]:
        """Return what the ledger books, by the open time of the bar; bars without anything are left out."""
        run = self.run.run_id
        times = self._state.rows(
            "SELECT bar_ms FROM live_executions WHERE run_id = ? AND symbol = ? AND bar_ms IS NOT NULL UNION "
            "SELECT ended_bar_ms FROM live_orders WHERE run_id = ? AND symbol = ? AND ended_bar_ms IS NOT NULL UNION "
            "SELECT known_bar_ms FROM live_orders WHERE run_id = ? AND symbol = ? AND known_bar_ms IS NOT NULL",
            (run, symbol, run, symbol, run, symbol),
        )
        return {int(row[0]): self.facts(symbol, int(row[0])) for row in times}

    def event(self, kind: str, text: str, now_ms: int, symbol: str | None = None) -> None:
        """Write down something that a person should be able to find later: a disconnection, a revised bar, a command."""
        self._state.execute(
            "INSERT INTO live_events (run_id, at_ms, symbol, kind, text) VALUES (?, ?, ?, ?, ?)",
            (self.run.run_id, now_ms, symbol, kind, text),
        )

    def traded(self, symbol: str) -> list[tuple[str, Execution]]:
        """Return every execution of a symbol with its side."""
        with self._lock:
            return [
                (self.orders[trade.client_id].ticket.side, trade)
                for (market, _), trade in self._trades.items()
                if market == symbol
            ]

    def _add(self, rows: Sequence[OrderRow], known_bar_ms: int | None = None) -> None:
        with self._lock:
            with self._state.transaction():
                for row in rows:
                    self._state.execute(_INSERT_ORDER, (*order_values(self.run.run_id, row), known_bar_ms))
                    self._log(row.ticket.client_id, row.state, row.reason, row.sent_ms)
            for row in rows:
                self.orders[row.ticket.client_id] = row
                self._by_parent.setdefault(row.ticket.parent or "", []).append(row)
                self._keep(row)

    def _update(
        self, client_id: str, state: str, reason: str = "", *, is_cash_short: bool = False, sent_ms: int | None = None
    ) -> None:
        with self._lock:
            row = self.orders[client_id]
            sent = row.sent_ms if sent_ms is None else sent_ms
            with self._state.transaction():
                self._state.execute(
                    "UPDATE live_orders SET state = ?, reason = ?, cash_short = ?, sent_ms = ? WHERE client_id = ?",
                    (state, reason, int(is_cash_short), sent, client_id),
                )
                self._log(client_id, state, reason, sent)
            row.state, row.reason, row.is_cash_short, row.sent_ms = state, reason, is_cash_short, sent
            self._keep(row)

    def _keep(self, row: OrderRow) -> None:
        """Keep the list of orders that may still trade."""
        if row.is_done:
            self._undone.pop(row.ticket.client_id, None)
        else:
            self._undone[row.ticket.client_id] = row

    def _log(self, client_id: str, state: str, reason: str, at_ms: int) -> None:
        self._state.execute(
            "INSERT INTO live_order_states (client_id, at_ms, state, reason) VALUES (?, ?, ?, ?)",
            (client_id, at_ms, state, reason),
        )

    def _take(self, trade: Execution, symbol: str, *, booked: bool) -> None:
        self._trades[symbol, trade.trade_id] = trade
        self._by_order.setdefault(trade.client_id, []).append(trade)
        if not booked:
            self._unbooked[trade.client_id] = self._unbooked.get(trade.client_id, Decimal(0)) + trade.size
        row = self.orders[trade.client_id]
        row.executed += trade.size
        change = trade.size if row.ticket.side == "buy" else -trade.size
        if symbol.startswith(trade.fee_asset):
            change -= trade.fee
        self._held[symbol] = self.held(symbol) + change

    def _write_notes(self) -> None:
        for symbol, open_ms, document in self._notes:
            self._state.execute(
                "INSERT OR REPLACE INTO live_decisions (run_id, symbol, open_ms, digest, document) VALUES (?, ?, ?, ?, ?)",
                (self.run.run_id, symbol, open_ms, decision_digest(document), document),
            )


def _order(row: Any) -> OrderRow:
    return OrderRow(
        ticket=read_order_row(row),
        state=str(row["state"]),
        reason=str(row["reason"]),
        is_cash_short=bool(row["cash_short"]),
        exchange_id=row["exchange_id"],
        sent_ms=int(row["sent_ms"]),
        ended_bar_ms=row["ended_bar_ms"],
    )
