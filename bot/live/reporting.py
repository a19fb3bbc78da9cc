"""What a live run says of itself: the newest decision of each symbol, the books, and the last events, as one status."""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from bot.decision_words import reason_words
from bot.live.guards import average_price
from bot.live.status import LiveStatus, OpenOrder, RolePrediction, SymbolStatus
from ml.predictions import PREDICTION_COLUMNS, Status
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from bot.decision_rows import DecisionRow, RecordedPrediction
    from bot.live.runner import LiveRun

__all__ = ["StatusBoard"]

_MOST_EVENTS = 20
_DAY_MS = 86_400_000


class StatusBoard:
    """Collects what happens in the threads of a run, and puts it into a ``LiveStatus``.

    Parameters
    ----------
    run
        The run.
    """

    def __init__(self, run: LiveRun) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._rows: dict[str, DecisionRow] = {}
        self._events: deque[tuple[int, str]] = deque(maxlen=_MOST_EVENTS)
        self._started_ms = run.now_ms()
        self._bars = 0
        self._peak = 0.0
        self._day = -1
        self._day_start = self._last_value = sum(run.run.cash.values())
        self.is_fresh = False
        self.absences: dict[tuple[str, str], str] = {
            (symbol, bound.role): bound.absence
            for symbol, choice in run.opened.choices.items()
            for bound in choice.models
        }

    def take(self, symbol: str, row: DecisionRow) -> None:
        """Take the newest decision of a symbol; called in its thread."""
        with self._lock:
            self._rows[symbol] = row
            self._bars += symbol == next(iter(self._run.run.cash))
            value = sum(self._value(name) for name in self._run.run.cash)
            day = row.open_ms // _DAY_MS
            if day != self._day:
                self._day, self._day_start = day, self._last_value
            self._last_value = value
            self._peak = max(self._peak, value)
            self.is_fresh = True

    def event(self, text: str) -> None:
        """Take something that happened."""
        with self._lock:
            self._events.append((self._run.now_ms(), text))
            self.is_fresh = True

    def status(self, state: str) -> LiveStatus:
        """Return the state of the run."""
        run = self._run
        with self._lock:
            self.is_fresh = False
            rows, events = dict(self._rows), tuple(self._events)
        initial = sum(run.run.cash.values())
        symbols = tuple(self._symbol(symbol, rows.get(symbol)) for symbol in run.run.cash)
        value = sum(each.value or 0.0 for each in symbols)
        step = timeframe_ms(run.file.config.timeframe)
        peak = max(self._peak, initial)
        return LiveStatus(
            bot=run.run.bot,
            run_id=run.run.run_id,
            mode=run.venue.mode,
            exchange=run.venue.exchange,
            timeframe=run.file.config.timeframe,
            state=state,
            connection=run.store.connection,
            started_ms=self._started_ms,
            market_ms=max((row.open_ms + step for row in rows.values()), default=None),
            heartbeat_ms=run.now_ms(),
            bars=self._bars,
            cash=sum(each.cash or 0.0 for each in symbols),
            value=value,
            initial_value=initial,
            drawdown=max(0.0, 1.0 - value / peak),
            day_return=value / self._day_start - 1.0 if self._day_start else 0.0,
            errors=run.gates.error_count,
            protections=run.gates.protections(),
            symbols=symbols,
            events=events,
        )

    def _value(self, symbol: str) -> float:
        row = self._rows.get(symbol)
        return self._run.run.cash[symbol] if row is None else row.value

    def _symbol(self, symbol: str, row: DecisionRow | None) -> SymbolStatus:
        run = self._run
        bound = {each.role: each for each in run.opened.choices[symbol].models}
        orders = [order.ticket for order in run.journal.undone(symbol)]
        prices = {ticket.role: ticket.stop_price or ticket.price for ticket in orders if ticket.parent}
        stop, target = prices.get("stop"), prices.get("target")
        resting = tuple(
            OpenOrder(
                side=ticket.side,
                size=float(ticket.size),
                price=None if ticket.kind == "market" else float(ticket.stop_price or ticket.price or 0),
                kind=ticket.role if ticket.parent else ticket.kind,
                client_id=ticket.client_id,
            )
            for ticket in orders
        )
        if row is None:
            cash = run.run.cash[symbol]
            return SymbolStatus(symbol=symbol, open_orders=resting, cash=cash, value=cash)
        decision = row.decision
        return SymbolStatus(
            symbol=symbol,
            open_ms=row.open_ms,
            close=row.close,
            predictions=tuple(
                _said(
                    role,
                    str(bound[role].reference) if role in bound else role,
                    said,
                    self.absences.get((symbol, role), ""),
                )
                for role, said in row.predictions.items()
            ),
            position=row.position,
            entry_price=self._entry_price(symbol) if row.position else None,
            stop=None if stop is None else float(stop),
            target=None if target is None else float(target),
            open_orders=resting,
            cash=row.cash,
            value=row.value,
            action=_action(row),
            reason="" if decision is None else reason_words(decision.action, decision.reason),
        )

    def _entry_price(self, symbol: str) -> float | None:
        """Return the average price of the newest purchase."""
        bought = [
            order
            for order in list(self._run.journal.orders.values())
            if order.ticket.symbol == symbol and order.ticket.role == "entry" and order.executed
        ]
        if not bought:
            return None
        return average_price(self._run.journal.trades_of(bought[-1].ticket.client_id))


def _action(row: DecisionRow) -> str:
    placed = [order.side for order in row.orders if not order.refused]
    if placed:
        return placed[-1]
    return "none" if row.decision is None else row.decision.action


def _said(role: str, reference: str, said: RecordedPrediction, absence: str) -> RolePrediction:
    """Return a prediction as a view shows it."""
    values: dict[str, Any] = dict(zip(PREDICTION_COLUMNS, said.values, strict=True))
    direction = {1.0: "up", -1.0: "down"}.get(values["direction"])
    confidence = values["confidence"]
    detail = ", ".join(f"{name} {values[name]:.4g}" for name in ("risk", "volatility") if not math.isnan(values[name]))
    if said.status == Status.NO_MODEL.label:
        detail = absence
    return RolePrediction(
        role=role,
        model=reference,
        version=said.version,
        direction=direction,
        confidence=None if math.isnan(confidence) else confidence,
        status=said.status,
        detail=detail,
    )
