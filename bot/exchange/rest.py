"""The REST interface without its transport: which endpoint answers, who may ask, and what a refusal looks like."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl

from bot.exchange.candle_faults import spoil
from bot.exchange.limits import weight_of
from bot.exchange.market_data import MarketData
from bot.exchange.parameters import Parameters
from bot.exchange.refusals import Refusal
from bot.exchange.trading import Trading
from bot.exchange.wallet import Wallet

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.exchange.desk import Desk
    from bot.exchange.faults import FaultPlan
    from bot.exchange.limits import RateLimits
    from bot.exchange.signing import ApiKey, KeyRing

__all__ = ["Answer", "Question", "RestApi"]

_log = logging.getLogger(__name__)

_ROOT = "/api/v3/"


@dataclass(slots=True)
class Question:
    """A request as it was sent.

    Attributes
    ----------
    method, path : str
        Of HTTP.
    query, body : str
        Still encoded: signatures are over these very texts.
    key : str or None
        Header ``X-MBX-APIKEY``.
    """

    method: str
    path: str
    query: str = ""
    body: str = ""
    key: str | None = None

    def parameters(self) -> dict[str, str]:
        """Return names and values of query and body; a name that comes twice has its first value."""
        found: dict[str, str] = {}
        for part in (self.query, self.body):
            for name, value in parse_qsl(part, keep_blank_values=True) if part else ():
                found.setdefault(name, value)
        return found


@dataclass(slots=True)
class Answer:
    """A reply: a document, an HTTP status and headers."""

    status: int
    document: Any
    headers: dict[str, str] = field(default_factory=dict)

    def text(self) -> str:
        """Return the document as JSON."""
        return json.dumps(self.document, separators=(",", ":"))


class RestApi:
    """Answers questions one after another.

    Parameters
    ----------
    desk : Desk
        The market.
    keys : KeyRing
        Who may ask.
    limits : RateLimits
        How often.
    faults : FaultPlan
        Which candles are shown wrongly.
    """

    def __init__(self, desk: Desk, keys: KeyRing, limits: RateLimits, faults: FaultPlan) -> None:
        self._desk = desk
        self._keys = keys
        self._limits = limits
        self._faults = faults
        self.market = market = MarketData(desk, limits)
        trading, wallet = Trading(desk, limits), Wallet(desk.exchange)
        self._public: dict[str, Callable[[Parameters], Any]] = {
            "ping": market.ping,
            "time": market.time,
            "exchangeInfo": market.exchange_info,
            "depth": market.depth,
            "trades": market.trades,
            "historicalTrades": market.older_trades,
            "aggTrades": market.aggregated_trades,
            "klines": market.klines,
            "uiKlines": market.klines,
            "avgPrice": market.average_price,
            "ticker": market.window_ticker,
            "ticker/24hr": market.day_ticker,
            "ticker/tradingDay": market.trading_day,
            "ticker/price": market.price,
            "ticker/bookTicker": market.book_ticker,
            "/fapi/v1/exchangeInfo": wallet.no_contracts,
            "/dapi/v1/exchangeInfo": wallet.no_contracts,
            "/sapi/v1/system/status": wallet.status,
            "/sapi/v1/margin/allPairs": wallet.nothing,
            "/sapi/v1/margin/isolated/allPairs": wallet.nothing,
        }
        self._private: dict[str, Callable[[Parameters], Any]] = {
            "order": trading.query,
            "openOrders": trading.open_orders,
            "allOrders": trading.all_orders,
            "myTrades": trading.trades,
            "orderList": trading.query_pair,
            "allOrderList": trading.all_pairs,
            "openOrderList": trading.open_pairs,
            "account/commission": trading.commission,
            "rateLimit/order": trading.order_usage,
            "/sapi/v1/capital/config/getall": wallet.coins,
            "/sapi/v1/asset/tradeFee": wallet.fees,
            "/sapi/v1/account/status": wallet.account_status,
            "/sapi/v1/capital/deposit/hisrec": wallet.nothing,
            "/sapi/v1/capital/withdraw/history": wallet.nothing,
            "myPreventedMatches": wallet.nothing,
            "myAllocations": wallet.nothing,
        }
        self._orders: dict[tuple[str, str], Callable[..., Any]] = {
            ("POST", "order"): trading.place,
            ("POST", "order/test"): trading.test,
            ("DELETE", "order"): trading.cancel,
            ("POST", "order/cancelReplace"): trading.replace,
            ("DELETE", "openOrders"): trading.cancel_all,
            ("POST", "orderList/oco"): trading.place_pair,
            ("POST", "order/oco"): trading.place_old_pair,
            ("DELETE", "orderList"): trading.cancel_pair,
        }
        self._of_key: dict[str, Callable[[Parameters, ApiKey], Any]] = {
            "account": trading.account,
            "/sapi/v1/account/apiRestrictions": wallet.restrictions,
        }

    def knows(self, path: str) -> bool:
        """Tell whether a path belongs to what this exchange speaks."""
        return path.startswith(_ROOT) or any(path in known for known in (self._public, self._private, self._of_key))

    def answer(self, question: Question) -> Answer:
        """Answer a question; every refusal is an answer too."""
        values = question.parameters()
        now = self._desk.clock.wall_ms()
        try:
            self._limits.charge(weight_of(question.method, question.path, values), now)
            self._desk.sync()
            answer = Answer(200, self._document(question, values))
        except Refusal as refusal:
            answer = refused(refusal)
        answer.headers.update(self._limits.weight_headers(now))
        if (question.method, question.path.removeprefix(_ROOT)) in self._orders:
            answer.headers.update(self._limits.order_headers(now))
        answer.headers["X-Local-Market-Time"] = str(self._desk.exchange.now_ms)
        return answer

    def perform(self, method: str, path: str, values: dict[str, str]) -> Any:
        """Do what a message of the websocket API asks for; its signature was checked.

        Raises
        ------
        Refusal
            As the endpoint.
        """
        name = path.removeprefix(_ROOT)
        self._limits.charge(weight_of(method, path, values), self._desk.clock.wall_ms())
        self._desk.sync()
        parameters = Parameters(values)
        if method == "GET" and name in self._public:
            return self._public[name](parameters)
        order = self._orders.get((method, name))
        key = self._keys.known(values.get("apiKey"))
        deadline = self._keys.check_socket(values, self._desk.clock.wall_ms(), trades=order is not None)
        if order is not None:
            return order(parameters, deadline)
        return self._of_key[name](parameters, key) if name in self._of_key else self._private[name](parameters)

    def _document(self, question: Question, values: dict[str, str]) -> Any:
        name = question.path.removeprefix(_ROOT)
        parameters = Parameters(values)
        if question.method == "GET" and name in self._public:
            document = self._public[name](parameters)
            if name in {"klines", "uiKlines"} and self._faults:
                symbol = values["symbol"]
                step_ms = self._desk.exchange.tape(symbol).step_ms
                spoil(document, self._faults, question.path, symbol, step_ms, self._desk.exchange.now_ms)
            return document
        order = self._orders.get((question.method, name))
        if order is None and not (question.method == "GET" and (name in self._private or name in self._of_key)):
            if question.path.startswith(_ROOT):
                _log.warning("no such endpoint here: %s %s", question.method, question.path)
            raise Refusal(-1000, f"no such endpoint at the local exchange: {question.method} {question.path}", 404)
        deadline = self._keys.check(
            question.key,
            question.query,
            question.body,
            values,
            self._desk.clock.wall_ms(),
            trades=order is not None,
        )
        if order is not None:
            return order(parameters, deadline)
        if name in self._of_key:
            return self._of_key[name](parameters, self._keys.known(question.key))
        return self._private[name](parameters)


def refused(refusal: Refusal) -> Answer:
    """Return the reply that tells a refusal."""
    return Answer(refusal.status, refusal.document(), dict(refusal.headers))
