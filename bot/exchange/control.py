"""The door behind the counter, below ``/local/``: order faults, move time, halt markets, see what was asked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from bot.errors import BotError, UsageError
from bot.exchange.documents import balances_document
from bot.exchange.faults import EVENT_KINDS, Fault
from bot.exchange.refusals import Refusal
from bot.exchange.rest import Answer
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections import deque

    from bot.exchange.desk import Desk
    from bot.exchange.faults import FaultPlan
    from bot.exchange.streams import StreamHub

__all__ = ["Control"]

_STATUSES = ("TRADING", "BREAK", "HALT")
_PATHS = (
    "GET /local/state",
    "GET /local/requests",
    "GET /local/faults",
    "POST /local/faults",
    "DELETE /local/faults",
    "POST /local/advance",
    "POST /local/status",
)
_MOST_CANDLES = 1_000_000


class Control:
    """What a tester may do to the exchange, in-process and over HTTP.

    Parameters
    ----------
    desk : Desk
        The market.
    faults : FaultPlan
        Where faults are ordered.
    hub : StreamHub
        Whose sockets may drop.
    """

    def __init__(self, desk: Desk, faults: FaultPlan, hub: StreamHub) -> None:
        self._desk = desk
        self._faults = faults
        self._hub = hub
        self.requests: deque[dict[str, Any]] | None = None

    def wall_ms(self) -> int:
        """Return the wall time that the exchange tells."""
        return self._desk.clock.wall_ms()

    def order(self, faults: list[Fault]) -> list[int]:
        """Order faults; an event without a chance and without requests to skip happens at once.

        Returns
        -------
        list of int
            Numbers of the faults that wait for a request.
        """
        waiting = []
        for fault in faults:
            if fault.kind in EVENT_KINDS and fault.rate >= 1.0 and fault.skip == 0:
                self._faults.counts[fault.kind] += 1
                self.happen(fault)
            else:
                waiting.append(fault)
        return self._faults.add(*waiting)

    def happen(self, fault: Fault) -> None:
        """Let an event happen now."""
        if fault.kind == "drop_ws":
            self._hub.drop_all()
        elif fault.kind == "silence_ws":
            self._hub.silence(fault.delay)
        elif fault.kind == "clock_skew":
            self._desk.clock.skew_ms = fault.value
        elif fault.symbol in self._desk.exchange.symbols:
            if fault.kind == "halt":
                self._desk.set_status(fault.symbol, "BREAK")
            else:
                self._desk.delist(fault.symbol)

    def clear(self) -> None:
        """Take back what was ordered and did not happen yet, the silence of sockets and the skew of the clock."""
        self._faults.clear()
        self._hub.silence(0.0)
        self._desk.clock.skew_ms = 0

    def answer(self, method: str, path: str, query: str, body: str) -> Answer:
        """Answer a request below ``/local/``: 200 with a document, or 400 and 404 with ``error``."""
        call = f"{method} {path.rstrip('/')}"
        try:
            if call == "GET /local/state":
                return Answer(200, self.state())
            if call == "GET /local/requests":
                return Answer(200, self._recent(query))
            if call == "GET /local/faults":
                return Answer(200, {"faults": self._faults.listed(), "counts": dict(self._faults.counts)})
            if call == "POST /local/faults":
                return Answer(200, {"ids": self.order(_faults(body))})
            if call == "DELETE /local/faults":
                return Answer(200, self._forget(query))
            if call == "POST /local/advance":
                return Answer(200, self._advance(_object(body)))
            if call == "POST /local/status":
                return Answer(200, self._status(_object(body)))
        except BotError as error:
            return Answer(400, {"error": str(error)})
        except Refusal as refusal:
            return Answer(400, {"error": refusal.message})
        return Answer(404, {"error": f"nothing at {call}{suggestion(call, _PATHS)}; there is {', '.join(_PATHS)}"})

    def state(self) -> dict[str, Any]:
        """Return where the market stands."""
        exchange = self._desk.exchange
        symbols = {}
        for name in exchange.symbols:
            try:
                price = str(exchange.last_price(name))
            except Refusal:
                price = None
            symbols[name] = {"status": exchange.status(name), "price": price}
        return {
            "clock": self._desk.clock.name,
            "market_ms": exchange.now_ms,
            "wall_ms": self.wall_ms(),
            "next_boundary_ms": exchange.next_boundary_ms(),
            "symbols": symbols,
            "balances": balances_document(exchange.balances()),
            "open_orders": len(exchange.open_orders()),
            "sockets": len(self._hub),
            "faults": dict(self._faults.counts),
        }

    def _recent(self, query: str) -> list[dict[str, Any]]:
        after = _whole(parse_qs(query).get("after", ["0"])[0], "after")
        return [entry for entry in self.requests or () if entry["number"] > after]

    def _forget(self, query: str) -> dict[str, Any]:
        number = parse_qs(query).get("id")
        if number is None:
            self.clear()
            return {"removed": True}
        return {"removed": self._faults.remove(_whole(number[0], "id"))}

    def _advance(self, wanted: dict[str, Any]) -> dict[str, Any]:
        names = ("candles", "ms", "to_ms")
        given = [name for name in names if name in wanted]
        if len(given) != 1 or len(wanted) != 1:
            raise UsageError('expected one of {"candles": 1}, {"ms": 60000} and {"to_ms": 1700000000000}')
        value = wanted[given[0]]
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise UsageError(f"{given[0]} is {value!r}: expected a whole number that is not negative")
        if given[0] == "candles":
            self._desk.advance(min(value, _MOST_CANDLES))
        else:
            self._desk.advance_to(value + (self._desk.exchange.now_ms if given[0] == "ms" else 0))
        return {"market_ms": self._desk.exchange.now_ms}

    def _status(self, wanted: dict[str, Any]) -> dict[str, Any]:
        symbol, status = wanted.get("symbol"), wanted.get("status")
        if not isinstance(symbol, str) or symbol not in self._desk.exchange.symbols:
            raise UsageError(f"symbol is {symbol!r}: expected one of {', '.join(self._desk.exchange.symbols)}")
        if status == "TRADING":
            self._desk.set_status(symbol, "TRADING")
        elif status == "BREAK":
            self._desk.set_status(symbol, "BREAK")
        elif status == "HALT":
            self._desk.set_status(symbol, "HALT")
        else:
            raise UsageError(f"status is {status!r}: expected one of {', '.join(_STATUSES)}")
        return {"symbol": symbol, "status": status}


def _faults(body: str) -> list[Fault]:
    found = _json(body)
    items = found if isinstance(found, list) else [found]
    for item in items:
        if not isinstance(item, dict):
            raise UsageError("expected a fault, or a list of faults, as JSON objects")
    return [Fault.from_dict(item) for item in items]


def _object(body: str) -> dict[str, Any]:
    found = _json(body)
    if not isinstance(found, dict):
        raise UsageError("expected a JSON object")
    return found


def _json(body: str) -> Any:
    try:
        return json.loads(body)
    except ValueError as error:
        raise UsageError(f"the body is no JSON: {error}") from None


def _whole(text: str, name: str) -> int:
    if not text.isdecimal():
        raise UsageError(f"{name} is {text!r}: expected a whole number")
    return int(text)
