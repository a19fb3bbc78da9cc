"""Websockets: market streams, the user's data stream, and requests over a socket.

Events are written down the moment they happen and sent by one task for each socket, so a slow reader delays nobody. A socket
that dropped misses what happened meanwhile, as at the real exchange: nothing is sent twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from aiohttp import WSMsgType, web

from bot.errors import StorageError
from bot.exchange.clocks import Lockstep
from bot.exchange.market_events import MarketEvents
from bot.exchange.orders import BalanceEvent, CandleEvent, ListEvent, OrderEvent
from bot.exchange.refusals import Refusal
from bot.exchange.user_events import account_position, execution_report, list_status

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bot.exchange.desk import Desk
    from bot.exchange.orders import Event
    from bot.exchange.rest import RestApi
    from bot.exchange.signing import KeyRing

__all__ = ["StreamHub"]

_log = logging.getLogger(__name__)

_HEARTBEAT_SECONDS = 20.0
_REPEAT_SECONDS = 1.0
_MOST_WAITING = 10_000  # messages for one reader that does not read; then it is dropped
_METHODS = {
    "ping": ("GET", "/api/v3/ping"),
    "time": ("GET", "/api/v3/time"),
    "exchangeInfo": ("GET", "/api/v3/exchangeInfo"),
    "depth": ("GET", "/api/v3/depth"),
    "trades.recent": ("GET", "/api/v3/trades"),
    "trades.historical": ("GET", "/api/v3/historicalTrades"),
    "trades.aggregate": ("GET", "/api/v3/aggTrades"),
    "klines": ("GET", "/api/v3/klines"),
    "uiKlines": ("GET", "/api/v3/uiKlines"),
    "avgPrice": ("GET", "/api/v3/avgPrice"),
    "ticker": ("GET", "/api/v3/ticker"),
    "ticker.tradingDay": ("GET", "/api/v3/ticker/tradingDay"),
    "ticker.24hr": ("GET", "/api/v3/ticker/24hr"),
    "ticker.price": ("GET", "/api/v3/ticker/price"),
    "ticker.book": ("GET", "/api/v3/ticker/bookTicker"),
    "order.place": ("POST", "/api/v3/order"),
    "order.test": ("POST", "/api/v3/order/test"),
    "order.status": ("GET", "/api/v3/order"),
    "order.cancel": ("DELETE", "/api/v3/order"),
    "order.cancelReplace": ("POST", "/api/v3/order/cancelReplace"),
    "openOrders.status": ("GET", "/api/v3/openOrders"),
    "openOrders.cancelAll": ("DELETE", "/api/v3/openOrders"),
    "allOrders": ("GET", "/api/v3/allOrders"),
    "orderList.place": ("POST", "/api/v3/order/oco"),
    "orderList.place.oco": ("POST", "/api/v3/orderList/oco"),
    "orderList.status": ("GET", "/api/v3/orderList"),
    "orderList.cancel": ("DELETE", "/api/v3/orderList"),
    "openOrderLists.status": ("GET", "/api/v3/openOrderList"),
    "allOrderLists": ("GET", "/api/v3/allOrderList"),
    "account.status": ("GET", "/api/v3/account"),
    "account.commission": ("GET", "/api/v3/account/commission"),
    "account.rateLimits.orders": ("GET", "/api/v3/rateLimit/order"),
    "myTrades": ("GET", "/api/v3/myTrades"),
    "myPreventedMatches": ("GET", "/api/v3/myPreventedMatches"),
    "myAllocations": ("GET", "/api/v3/myAllocations"),
}


class _Socket:
    """One connection: what it subscribed to, and what waits to be sent."""

    def __init__(self, response: web.WebSocketResponse, request: web.BaseRequest, *, combined: bool) -> None:
        self.response = response
        self.request = request
        self.combined = combined
        self.names: set[str] = set()
        self.user: int | None = None
        self.waiting: asyncio.Queue[str] = asyncio.Queue(_MOST_WAITING)

    def send(self, document: Any) -> None:
        """Put a document in the line of this socket."""
        try:
            self.waiting.put_nowait(json.dumps(document, separators=(",", ":")))
        except asyncio.QueueFull:
            self.drop()

    def drop(self) -> None:
        """End the connection without a word."""
        if self.request.transport is not None:
            self.request.transport.abort()


class StreamHub:
    """All open websockets.

    Parameters
    ----------
    desk : Desk
        The market; its events are published from the moment on that `listen` is called.
    api : RestApi
        Answers requests over a socket.
    keys : KeyRing
        Checks who subscribes to the account.
    """

    def __init__(self, desk: Desk, api: RestApi, keys: KeyRing) -> None:
        self._desk = desk
        self._exchange = desk.exchange
        self._api = api
        self._keys = keys
        self._market_events = MarketEvents(desk.exchange, api.market)
        self._sockets: set[_Socket] = set()
        self._silent_until = 0.0
        self._repeats_at = 0.0
        self._subscriptions = 0
        self.sent: Counter[str] = Counter()

    def __len__(self) -> int:
        """Return the number of open sockets."""
        return len(self._sockets)

    def subscriptions(self) -> list[str]:
        """Return every stream that a socket has subscribed to; ``user`` for the account's."""
        users = ["user" for socket in self._sockets if socket.user is not None]
        return [name for socket in self._sockets for name in sorted(socket.names)] + users

    def listen(self) -> None:
        """Publish the market's events from now on."""
        self._exchange.listeners.append(self._on_event)

    def unlisten(self) -> None:
        """Publish nothing any more."""
        with contextlib.suppress(ValueError):
            self._exchange.listeners.remove(self._on_event)

    def drop_all(self) -> None:
        """Cut every socket off."""
        for socket in list(self._sockets):
            socket.drop()

    def silence(self, seconds: float) -> None:
        """Send nothing for so many seconds; what happens meanwhile is lost, the connections stay."""
        self._silent_until = time.monotonic() + seconds

    def repeat(self) -> None:
        """Send anew what streams of a state show (candles, tickers, books), once a second has passed since the last time."""
        if time.monotonic() >= self._repeats_at:
            self._repeats_at = time.monotonic() + _REPEAT_SECONDS
            self._tell_state({name for socket in self._sockets for name in socket.names}, self._sockets)

    async def close_all(self) -> None:
        """Say goodbye to every socket."""
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError, RuntimeError, asyncio.TimeoutError):
                await asyncio.wait_for(socket.response.close(code=1001, message=b"the exchange stops"), 1.0)

    async def serve(self, request: web.BaseRequest, path: str) -> web.WebSocketResponse:
        """Serve one connection until it ends.

        Parameters
        ----------
        request : BaseRequest
            Asks for a websocket.
        path : str
            ``/ws-api/...`` for requests and the user's data; ``/stream?streams=`` and ``/ws/NAME`` subscribe at once.
        """
        response = web.WebSocketResponse(heartbeat=_HEARTBEAT_SECONDS)
        await response.prepare(request)
        at_once = parse_qs(request.rel_url.query_string).get("streams", [""])[0].split("/")
        socket = _Socket(response, request, combined=path.rstrip("/") == "/stream")
        socket.names.update(name for name in (*at_once, *path.split("/")) if "@" in name)
        self._sockets.add(socket)
        self._tell_state(socket.names, [socket])
        writer = asyncio.get_running_loop().create_task(self._write(socket))
        try:
            async for message in response:
                if message.type != WSMsgType.TEXT:
                    continue
                if path.startswith("/ws-api"):
                    self._on_request(socket, message.data)
                else:
                    self._on_command(socket, message.data)
        finally:
            self._sockets.discard(socket)
            writer.cancel()
        return response

    async def _write(self, socket: _Socket) -> None:
        with contextlib.suppress(ConnectionError, RuntimeError):
            while True:
                await socket.response.send_str(await socket.waiting.get())

    def _on_command(self, socket: _Socket, text: str) -> None:
        command = _object(text)
        number, method, names = command.get("id"), command.get("method"), command.get("params")
        wanted = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
        if method == "SUBSCRIBE" and wanted:
            socket.names.update(wanted)
        elif method == "UNSUBSCRIBE" and wanted:
            socket.names.difference_update(wanted)
        elif method == "LIST_SUBSCRIPTIONS":
            socket.send({"result": sorted(socket.names), "id": number})
            return
        else:
            socket.send(
                {"error": {"code": 2, "msg": "Invalid request: method must be SUBSCRIBE or UNSUBSCRIBE"}, "id": number}
            )
            return
        socket.send({"result": None, "id": number})
        if method == "SUBSCRIBE":
            self._tell_state(wanted, [socket])

    def _on_request(self, socket: _Socket, text: str) -> None:
        request = _object(text)
        number, method = request.get("id"), str(request.get("method", ""))
        given = request.get("params")
        values = {name: _plain(value) for name, value in given.items()} if isinstance(given, dict) else {}
        try:
            result = self._result(socket, method, values)
        except Refusal as refusal:
            socket.send({"id": number, "status": refusal.status, "error": refusal.document(), "rateLimits": []})
        except StorageError as error:
            _log.error("%s", error)
            unknown = {"code": -1006, "msg": "An unexpected response was received. Execution status unknown."}
            socket.send({"id": number, "status": 500, "error": unknown, "rateLimits": []})
        else:
            socket.send({"id": number, "status": 200, "result": result, "rateLimits": []})

    def _result(self, socket: _Socket, method: str, values: dict[str, str]) -> Any:
        if method == "userDataStream.subscribe.signature":
            self._keys.check_socket(values, self._desk.clock.wall_ms())
            socket.user = self._subscriptions
            self._subscriptions += 1
            return {"subscriptionId": socket.user}
        if method == "userDataStream.unsubscribe":
            socket.user = None
            return {}
        if method not in _METHODS:
            _log.warning("no such method here: %s", method)
            raise Refusal(-1000, f"no such method at the local exchange: {method}")
        return self._api.perform(*_METHODS[method], values)

    def _on_event(self, event: Event) -> None:
        """Publish an event; whatever goes wrong here must not reach the market, which is in the middle of a step."""
        try:
            self._publish(event)
        except Exception:  # noqa: BLE001 - see above
            _log.exception("an event was not published: %s", event)

    def _publish(self, event: Event) -> None:
        if not self._sockets or time.monotonic() < self._silent_until:
            return
        if isinstance(event, CandleEvent):
            self._on_candle(event)
        elif isinstance(event, OrderEvent):
            self._to_user(execution_report(event.order, event.execution_type, event.trade, event.time_ms))
        elif isinstance(event, ListEvent):
            pair = event.order_list
            orders = [self._exchange.register.by_id(number) for number in pair.order_ids]
            self._to_user(list_status(pair, orders, event.time_ms))
        elif isinstance(event, BalanceEvent):
            self._to_user(account_position(event.balances.items(), event.time_ms))

    def _to_user(self, document: dict[str, Any]) -> None:
        for socket in self._sockets:
            if socket.user is not None:
                self.sent[document["e"]] += 1
                socket.send({"subscriptionId": socket.user, "event": document})

    def _tell_state(self, names: Iterable[str], sockets: Iterable[_Socket]) -> None:
        """Send sockets what their streams of a state show now; in lockstep nothing is said before the market moves."""
        if isinstance(self._desk.clock, Lockstep) or time.monotonic() < self._silent_until:
            return
        for name in sorted(names):
            document = self._market_events.current(name)
            if document is not None:
                self._send(name, document, [socket for socket in sockets if name in socket.names])

    def _on_candle(self, event: CandleEvent) -> None:
        wire = event.symbol.lower()
        wanted: dict[str, list[_Socket]] = {}
        for socket in self._sockets:
            for name in socket.names:
                if name.startswith((f"{wire}@", "!")):
                    wanted.setdefault(name, []).append(socket)
        for name, sockets in wanted.items():
            document = self._market_events.document(name, event)
            if document is None:
                continue
            self._send(name, document, sockets)

    def _send(self, name: str, document: Any, sockets: Sequence[_Socket]) -> None:
        kind = document[0]["e"] if isinstance(document, list) else document.get("e", "bookTicker")
        self.sent[kind] += len(sockets)
        for socket in sockets:
            socket.send({"stream": name, "data": document} if socket.combined else document)


def _object(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return json.dumps(value, separators=(",", ":"))
    return str(value).lower() if isinstance(value, bool) else str(value)
