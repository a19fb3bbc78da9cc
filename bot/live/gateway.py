"""One account at an exchange, asked through ccxt: every reply is checked, every failure has one of few meanings.

ccxt gives rubbish rather than an error for many broken replies, and its error classes do not tell whether an order was taken.
Here a request ends in a value, or in one of the errors of this module; only ``Refused`` says that nothing happened.
Requests are those of Binance's spot interface, the only one whose rules for lost replies are known here.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.broker.rules import ExchangeRules
from bot.errors import UsageError
from bot.live.answers import AccessDenied, NoAnswer, NotFound, Refused, read_amount, read_execution, read_order, shown
from bot.market.pages import KLINE_PAGE, BrokenReply, read_page
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.live.orders import Execution, OrderReport, Ticket
    from ml.candles import Candles

__all__ = ["Gateway", "SpotMarket"]

_FAR_FUTURE_MS = 32_503_680_000_000
_KINDS = {"market": "MARKET", "limit": "LIMIT", "stop": "STOP_LOSS", "stop_limit": "STOP_LOSS_LIMIT"}
_CODE = re.compile(r'"code"\s*:\s*(-?\d+)')
_TEXT = re.compile(r'"msg"\s*:\s*"([^"]*)"')
_QUERY = re.compile(r"\?\S*")
_DUPLICATE = "Duplicate order"
_KEY_REFUSED = -2015


class SpotMarket:
    """A symbol as the exchange lists it.

    Attributes
    ----------
    symbol, wire : str
        Our spelling, and the exchange's.
    base, quote : str
        Assets.
    rules : ExchangeRules
        Tick, lot and smallest sizes.
    is_trading : bool
        Whether it trades now.
    """

    __slots__ = ("base", "is_trading", "quote", "rules", "symbol", "wire")

    def __init__(self, symbol: str, market: dict[str, Any]) -> None:
        self.symbol = symbol
        self.wire, self.base, self.quote = str(market["id"]), str(market["base"]), str(market["quote"])
        precision, limits = market.get("precision") or {}, market.get("limits") or {}
        self.rules = ExchangeRules.from_dict({
            "price_tick": precision.get("price"),
            "lot_step": precision.get("amount"),
            "min_qty": (limits.get("amount") or {}).get("min"),
            "min_notional": (limits.get("cost") or {}).get("min"),
        })  # fmt: skip
        self.is_trading = bool(market.get("active"))


class Gateway:
    """Requests to one account, one at a time, from one thread.

    Parameters
    ----------
    client
        A ccxt client as ``bot.live.client`` makes them.
    monotonic
        Seconds that only grow; for the pauses that the exchange asks for.
    """

    def __init__(self, client: Any, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._monotonic = monotonic
        self._quiet_until = 0.0
        self.markets: dict[str, SpotMarket] = {}
        self._by_wire: dict[str, SpotMarket] = {}

    @property
    def exchange(self) -> str:
        """The exchange's name, as ccxt has it."""
        return str(self._client.id)

    @property
    def recv_window_ms(self) -> int:
        """For how long after its time stamp the exchange may take a signed request."""
        return int(self._client.options["recvWindow"])

    @property
    def clock_ahead_ms(self) -> int:
        """By how much this computer's clock is ahead of the one that requests are signed with."""
        return int(self._client.options.get("timeDifference") or 0)

    def close(self) -> None:
        """Close the connections."""
        session = getattr(self._client, "session", None)
        if session is not None:
            session.close()

    def open(self, symbols: Sequence[str]) -> None:
        """Read the exchange's list of markets, anew each time, and find the symbols.

        Raises
        ------
        UsageError
            For a symbol that the exchange does not have; the message names the nearest.
        NoAnswer, Refused
            When the exchange does not answer, or refuses.
        """
        listed = self._ask(lambda: self._client.load_markets(True))
        markets = listed.values() if isinstance(listed, dict) else ()
        found = {str(market["id"]): market for market in markets if market.get("spot")}
        if not found:
            raise NoAnswer("the list of markets is empty")
        for symbol in symbols:
            alone = [market for market in found.values() if market["base"] == symbol]  # SYNTH, traded as SYNTHUSDT
            market = found.get(symbol) or (alone[0] if len(alone) == 1 else None)
            if market is None:
                near = suggestion(symbol, found) or f"; it has {len(found)}, such as {', '.join(list(found)[:5])}"
                raise UsageError(f"{self.exchange} has no spot market {symbol}{near}")
            self.markets[symbol] = SpotMarket(symbol, market)
        self._by_wire = {market.wire: market for market in self.markets.values()}

    def has_timeframe(self, timeframe: str) -> bool:
        """Tell whether the exchange has candles of this length."""
        return timeframe in (self._client.timeframes or {})

    def candles(
        self, symbol: str, timeframe: str, *, since_ms: int | None = None, end_ms: int | None = None, limit: int = 1000
    ) -> Candles:
        """Return candles in order of time; the last is the one that is forming, unless ``end_ms`` cuts it off.

        Without ``since_ms`` they are the newest ``limit``.

        Raises
        ------
        NoAnswer
            Also when the reply is no page of sound candles.
        """
        params: dict[str, Any] = {"symbol": self.markets[symbol].wire, "interval": timeframe, "limit": limit}
        if since_ms is not None:
            params["startTime"] = since_ms
        if end_ms is not None:
            params["endTime"] = end_ms - 1
        reply = self._ask(lambda: self._client.public_get_klines(params))
        try:
            return read_page(reply, KLINE_PAGE, timeframe, since_ms or 0, end_ms or _FAR_FUTURE_MS)
        except BrokenReply as error:
            raise NoAnswer(f"no page of candles: {error}") from error

    def time_ms(self) -> int:
        """Return the exchange's clock, milliseconds UTC."""
        reply = self._ask(self._client.public_get_time)
        try:
            return int(reply["serverTime"])
        except (TypeError, KeyError, ValueError):
            raise NoAnswer(f"no time in the reply {shown(reply)}") from None

    def set_clock(self) -> int:
        """Measure by how many milliseconds this computer's clock is ahead, sign with the exchange's, and return it."""
        return int(self._ask(self._client.load_time_difference))

    def account(self) -> tuple[dict[str, Decimal], bool, bool]:
        """Return what the account holds (free and locked together) by asset, whether it may trade, and whether withdraw."""
        reply = self._ask(self._client.private_get_account)
        try:
            held = {row["asset"]: read_amount(row["free"]) + read_amount(row["locked"]) for row in reply["balances"]}
            return held, bool(reply["canTrade"]), bool(reply["canWithdraw"])
        except (TypeError, KeyError, BrokenReply):
            raise NoAnswer(f"no account in the reply {shown(reply)}") from None

    def free(self, asset: str) -> Decimal:
        """Return what of an asset is not locked by open orders."""
        reply = self._ask(self._client.private_get_account)
        try:
            return next((read_amount(row["free"]) for row in reply["balances"] if row["asset"] == asset), Decimal(0))
        except (TypeError, KeyError, BrokenReply):
            raise NoAnswer(f"no account in the reply {shown(reply)}") from None

    def key_rights(self) -> tuple[bool, bool]:
        """Return whether the key itself may trade, and whether it may withdraw.

        Raises
        ------
        NoAnswer, Refused
            Also where the exchange does not tell: not all that speak this protocol do.
        """
        reply = self._ask(self._client.sapi_get_account_apirestrictions)
        try:
            return bool(reply["enableSpotAndMarginTrading"]), bool(reply["enableWithdrawals"])
        except (TypeError, KeyError):
            raise NoAnswer(f"no permissions in the reply {shown(reply)}") from None

    def taker_fee(self, symbol: str) -> tuple[Decimal, str]:
        """Return the fraction of a market order that the account is charged, and the asset that pays at a discount.

        That asset is empty where fees are taken from what is traded. Raises as ``key_rights``.
        """
        params = {"symbol": self.markets[symbol].wire}
        reply = self._ask(lambda: self._client.private_get_account_commission(params))
        try:
            rate = read_amount(reply["standardCommission"]["taker"]) + read_amount(reply["taxCommission"]["taker"])
            terms = reply["discount"]
            pays = terms["enabledForAccount"] and terms["enabledForSymbol"]
            return rate, str(terms["discountAsset"]) if pays else ""
        except (TypeError, KeyError, BrokenReply):
            raise NoAnswer(f"no commission in the reply {shown(reply)}") from None

    def rehearse(self, symbol: str, size: float) -> None:
        """Let the exchange judge a purchase at the market without placing it; raises ``Refused`` where it would refuse."""
        params = {
            "symbol": self.markets[symbol].wire,
            "side": "BUY",
            "type": "MARKET",
            "quantity": format(Decimal(repr(size)), "f"),
        }
        self._ask(lambda: self._client.private_post_order_test(params))

    def send(self, ticket: Ticket) -> OrderReport:
        """Place one order.

        Raises
        ------
        Refused
            Nothing was placed.
        NoAnswer
            It may have been placed.
        """
        params = {
            "symbol": self.markets[ticket.symbol].wire,
            "side": ticket.side.upper(),
            "type": _KINDS[ticket.kind],
            "quantity": format(ticket.size, "f"),
            "newClientOrderId": ticket.client_id,
            "newOrderRespType": "FULL",
        }
        if ticket.price is not None:
            params |= {"price": format(ticket.price, "f"), "timeInForce": "GTC"}
        if ticket.stop_price is not None:
            params["stopPrice"] = format(ticket.stop_price, "f")
        reply = self._ask(lambda: self._client.private_post_order(params))
        return read_order(reply, ticket.client_id)

    def send_pair(self, stop: Ticket, target: Ticket) -> tuple[OrderReport, ...]:
        """Place a stop and a target of which one cancels the other; raises as ``send``."""
        params = {
            "symbol": self.markets[stop.symbol].wire,
            "side": "SELL",
            "quantity": format(stop.size, "f"),
            "listClientOrderId": stop.pair,
            "aboveType": "LIMIT_MAKER",
            "aboveClientOrderId": target.client_id,
            "abovePrice": format(target.price or Decimal(0), "f"),
            "belowType": "STOP_LOSS",
            "belowClientOrderId": stop.client_id,
            "belowStopPrice": format(stop.stop_price or Decimal(0), "f"),
            "newOrderRespType": "FULL",
        }
        reply = self._ask(lambda: self._client.private_post_orderlist_oco(params))
        rows = reply.get("orderReports") if isinstance(reply, dict) else None
        if not isinstance(rows, list) or len(rows) != 2:
            raise NoAnswer(f"no pair of orders in the reply {shown(reply)}")
        found = tuple(read_order(row) for row in rows)
        if {report.client_id for report in found} != {stop.client_id, target.client_id}:
            raise NoAnswer(f"other orders in the reply {shown(reply)}")
        return found

    def cancel(self, symbol: str, order_id: str) -> tuple[OrderReport, ...]:
        """Cancel an open order by its client id and return how it ended, and behind it the other of its pair, as both end.

        Raises
        ------
        NotFound
            It is not open: filled, cancelled, or never there.
        """
        params = {"symbol": self.markets[symbol].wire, "origClientOrderId": order_id}
        reply = self._ask(lambda: self._client.private_delete_order(params))
        rows = (
            reply.get("orderReports", [reply]) if isinstance(reply, dict) else None
        )  # of one of a pair it is the list's
        reports = [read_order(row) for row in rows] if isinstance(rows, list) else []
        if all(report.client_id != order_id for report in reports):
            raise NoAnswer(f"no order {order_id} in the reply {shown(reply)}")
        return tuple(sorted(reports, key=lambda report: report.client_id != order_id))

    def find(self, symbol: str, order_id: str) -> OrderReport:
        """Return an order by its client id, the newest that has it.

        Raises
        ------
        NotFound
            The exchange does not know it now; an order on its way may still arrive.
        """
        params = {"symbol": self.markets[symbol].wire, "origClientOrderId": order_id}
        return read_order(self._ask(lambda: self._client.private_get_order(params)), order_id)

    def open_orders(self, symbol: str) -> list[OrderReport]:
        """Return the open orders of a symbol, those of others included."""
        params = {"symbol": self.markets[symbol].wire}
        reply = self._ask(lambda: self._client.private_get_openorders(params))
        if not isinstance(reply, list):
            raise NoAnswer(f"no list of orders in the reply {shown(reply)}")
        return [read_order(row) for row in reply]

    def executions(self, symbol: str, report: OrderReport) -> tuple[Execution, ...]:
        """Return the trades of an order, each once.

        Raises
        ------
        NoAnswer
            Also when they do not add up to what the order executed: the list of trades may lag behind.
        """
        params = {"symbol": self.markets[symbol].wire, "orderId": report.exchange_id}
        reply = self._ask(lambda: self._client.private_get_mytrades(params))
        if not isinstance(reply, list):
            raise NoAnswer(f"no list of trades in the reply {shown(reply)}")
        found: dict[str, Execution] = {}
        try:
            for row in reply:
                if str(row["orderId"]) == report.exchange_id:
                    trade = read_execution(report.client_id, row, str(row["id"]), int(row["time"]))
                    found[trade.trade_id] = trade
        except (TypeError, KeyError, ValueError, BrokenReply):
            raise NoAnswer(f"no trades in the reply {shown(reply)}") from None
        total = sum((trade.size for trade in found.values()), Decimal(0))
        if total != report.executed:
            raise NoAnswer(f"the trades of {report.client_id} add up to {total}, the order says {report.executed}")
        return tuple(sorted(found.values(), key=lambda trade: (trade.at_ms, int(trade.trade_id))))

    def _ask(self, request: Callable[[], Any]) -> Any:
        """Send one request; ccxt's errors become ours."""
        import ccxt

        pause = self._quiet_until - self._monotonic()
        if pause > 0:
            raise Refused(f"the exchange asked for no requests for another {pause:.1f} s", wait_s=pause)
        try:
            return request()
        except (ccxt.DDoSProtection, ccxt.RateLimitExceeded) as error:
            if _number(error) == _KEY_REFUSED:  # ccxt takes it for a ban once the key has worked
                raise AccessDenied(_words(error), _KEY_REFUSED) from error
            wait = self._retry_after()
            self._quiet_until = self._monotonic() + wait  # all requests pause, whatever they are for
            raise Refused(_words(error), _number(error), wait) from error
        except ccxt.InvalidNonce as error:
            self._measure_again()
            raise Refused(_words(error), _number(error), 0.0) from error
        except ccxt.OrderNotFound as error:
            raise NotFound(_words(error), _number(error)) from error
        except ccxt.AuthenticationError as error:
            raise AccessDenied(_words(error), _number(error)) from error
        except (ccxt.OrderImmediatelyFillable, ccxt.InvalidOrder) as error:
            words = _words(error)
            wrong_side = "trigger immediately" in words or "relationship of the prices" in words
            wrong_side |= "immediately match" in words
            raise Refused(words, _number(error), would_trigger=wrong_side, is_duplicate=_DUPLICATE in words) from error
        except ccxt.InsufficientFunds as error:
            raise Refused(_words(error), _number(error), is_cash_short=True) from error
        except (ccxt.BadRequest, ccxt.BadSymbol, ccxt.OperationRejected, ccxt.ArgumentsRequired) as error:
            words = _words(error)
            raise Refused(words, _number(error), would_trigger="relationship of the prices" in words) from error
        except ccxt.BaseError as error:  # everything else may have happened
            raise NoAnswer(_words(error)) from error
        except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:  # ccxt, on a broken reply
            raise NoAnswer(f"the reply could not be read ({type(error).__name__}: {error})") from error

    def _measure_again(self) -> None:
        """Sign with the exchange's clock from now on; where it does not tell, the next complaint asks again."""
        import ccxt

        with suppress(ccxt.BaseError, TypeError, KeyError, ValueError):
            self._client.load_time_difference()

    def _retry_after(self) -> float:
        headers = self._client.last_response_headers or {}
        text = str(headers.get("Retry-After", ""))
        return float(text) if text.isdigit() else 1.0


def _number(error: Exception) -> int:
    found = _CODE.search(str(error))
    return int(found.group(1)) if found else 0


def _words(error: Exception) -> str:
    """Return the exchange's own words, or the first line of ccxt's, cut to a length that fits a message."""
    text = str(error)
    if found := _TEXT.search(text):
        return found.group(1)[:200]
    words = _QUERY.sub("", text.strip().split("\n", maxsplit=1)[0])  # it holds the signature
    return f"{words[:200]} ({type(error).__name__})".strip()
