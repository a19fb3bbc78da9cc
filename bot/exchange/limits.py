"""Rate limits: the weight of each request in a minute, orders in ten seconds and in a day, and what happens above."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.exchange.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RateLimits", "weight_of"]

_MINUTE_MS = 60_000
_TEN_SECONDS_MS = 10_000
_DAY_MS = 86_400_000
_BAN_MS = 120_000
_PATIENCE = 20  # requests into a closed door before the address is banned

_WEIGHTS = {
    "/api/v3/ping": 1,
    "/api/v3/time": 1,
    "/api/v3/exchangeInfo": 20,
    "/api/v3/depth": 5,
    "/api/v3/trades": 25,
    "/api/v3/historicalTrades": 25,
    "/api/v3/aggTrades": 4,
    "/api/v3/klines": 2,
    "/api/v3/uiKlines": 2,
    "/api/v3/avgPrice": 2,
    "/api/v3/account": 20,
    "/api/v3/account/commission": 20,
    "/api/v3/myTrades": 20,
    "/api/v3/myPreventedMatches": 20,
    "/api/v3/myAllocations": 20,
    "/api/v3/allOrders": 20,
    "/api/v3/allOrderList": 20,
    "/api/v3/openOrderList": 6,
    "/api/v3/rateLimit/order": 40,
}
_WITH_SYMBOL = {  # (with a symbol, for all of them)
    "/api/v3/ticker/24hr": (2, 80),
    "/api/v3/ticker/price": (2, 4),
    "/api/v3/ticker/bookTicker": (2, 4),
}


_OF_EACH = {"/api/v3/ticker", "/api/v3/ticker/tradingDay"}
_WEIGHT_OF_EACH, _MOST_OF_ALL = 4, 200


def weight_of(method: str, path: str, values: Mapping[str, str]) -> int:
    """Return what a request counts against the limit of a minute.

    Parameters
    ----------
    method, path : str
        Of the request.
    values : mapping of str to str
        Its parameters: whether, and how many, symbols it names.
    """
    symbol = "symbol" in values
    if path in _OF_EACH:
        return min(_WEIGHT_OF_EACH * (values.get("symbols", "").count(",") + 1), _MOST_OF_ALL)
    if path in _WITH_SYMBOL:
        return _WITH_SYMBOL[path][0 if symbol else 1]
    if method == "GET":
        if path == "/api/v3/openOrders":
            return 6 if symbol else 80
        if path in {"/api/v3/order", "/api/v3/orderList"}:
            return 4
    return _WEIGHTS.get(path, 1)


class _Window:
    """A count that begins anew with each interval of the wall's time."""

    def __init__(self, length_ms: int, limit: int | None) -> None:
        self.length_ms = length_ms
        self.limit = limit
        self._number = 0
        self._count = 0

    def count(self, now_ms: int) -> int:
        """Return what was counted in this interval."""
        number = now_ms // self.length_ms
        if number != self._number:
            self._number, self._count = number, 0
        return self._count

    def add(self, amount: int, now_ms: int) -> None:
        """Count more."""
        self._count = self.count(now_ms) + amount

    def is_over(self, now_ms: int) -> bool:
        """Tell whether more was counted than is allowed."""
        return self.limit is not None and self.count(now_ms) > self.limit

    def ends_in_seconds(self, now_ms: int) -> int:
        """Return the whole seconds until the next interval."""
        return -(-((now_ms // self.length_ms + 1) * self.length_ms - now_ms) // 1000)


class RateLimits:
    """Counts of one address; an exchange in lockstep counts and refuses nothing.

    Parameters
    ----------
    weight : int or None
        Weight that a minute allows; None for no limit.
    orders_10s, orders_day : int or None
        New orders that ten seconds and a day allow.
    """

    def __init__(
        self, weight: int | None = 6_000, orders_10s: int | None = 100, orders_day: int | None = 200_000
    ) -> None:
        self._weight = _Window(_MINUTE_MS, weight)
        self._orders_10s = _Window(_TEN_SECONDS_MS, orders_10s)
        self._orders_day = _Window(_DAY_MS, orders_day)
        self._knocks = _Window(_MINUTE_MS, _PATIENCE)
        self._banned_until = 0

    def charge(self, weight: int, now_ms: int) -> None:
        """Count a request.

        Raises
        ------
        Refusal
            -1003 with status 429 above the limit, 418 for a client that goes on asking.
        """
        if now_ms < self._banned_until:
            raise _banned(self._banned_until, now_ms)
        self._weight.add(weight, now_ms)
        if not self._weight.is_over(now_ms):
            return
        self._knocks.add(1, now_ms)
        if self._knocks.is_over(now_ms):
            self._banned_until = now_ms + _BAN_MS
            raise _banned(self._banned_until, now_ms)
        raise Refusal(
            -1003,
            f"Too much request weight used; current limit is {self._weight.limit} request weight per 1 MINUTE. "
            "Please use WebSocket Streams for live updates to avoid polling the API.",
            429,
            {"Retry-After": str(self._weight.ends_in_seconds(now_ms))},
        )

    def charge_orders(self, orders: int, now_ms: int) -> None:
        """Count new orders.

        Raises
        ------
        Refusal
            -1015; it does not say when to come again, as the real one.
        """
        for window, interval in ((self._orders_10s, "10 SECOND"), (self._orders_day, "1 DAY")):
            if window.limit is not None and window.count(now_ms) + orders > window.limit:
                raise Refusal(
                    -1015, f"Too many new orders; current limit is {window.limit} orders per {interval}.", 429
                )
        self._orders_10s.add(orders, now_ms)
        self._orders_day.add(orders, now_ms)

    def weight_headers(self, now_ms: int) -> dict[str, str]:
        """Return the headers that tell a client what it has used."""
        used = str(self._weight.count(now_ms))
        return {"X-MBX-USED-WEIGHT": used, "X-MBX-USED-WEIGHT-1M": used}

    def order_headers(self, now_ms: int) -> dict[str, str]:
        """Return the headers that tell a client how many orders it has sent."""
        return {
            "X-MBX-ORDER-COUNT-10S": str(self._orders_10s.count(now_ms)),
            "X-MBX-ORDER-COUNT-1D": str(self._orders_day.count(now_ms)),
        }

    def rules(self) -> list[dict[str, Any]]:
        """Return the limits as ``exchangeInfo`` lists them."""
        listed = (
            ("REQUEST_WEIGHT", "MINUTE", 1, self._weight.limit),
            ("ORDERS", "SECOND", 10, self._orders_10s.limit),
            ("ORDERS", "DAY", 1, self._orders_day.limit),
        )
        return [
            {"rateLimitType": kind, "interval": unit, "intervalNum": number, "limit": limit}
            for kind, unit, number, limit in listed
            if limit is not None
        ]


def _banned(until_ms: int, now_ms: int) -> Refusal:
    return Refusal(
        -1003,
        f"Way too much request weight used; IP banned until {until_ms}. "
        "Please use WebSocket Streams for live updates to avoid bans.",
        418,
        {"Retry-After": str(-(-(until_ms - now_ms) // 1000))},
    )
