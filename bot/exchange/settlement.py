"""What a fill costs and moves: pieces, fees, locks and balances."""

from __future__ import annotations

from decimal import Decimal
from itertools import count
from typing import TYPE_CHECKING

from bot.broker.execution import market_price
from bot.errors import BrokerError
from bot.exchange.accounts import add, multiply
from bot.exchange.orders import LIMIT_KINDS, STOP_KINDS, Trade

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.broker.fees import FeeSchedule
    from bot.exchange.accounts import Account
    from bot.exchange.market import Market
    from bot.exchange.orders import Order

__all__ = ["Settlement", "hold_name"]

_ZERO = Decimal(0)


def hold_name(order: Order) -> str:
    """Return the name under which an order locks balance; the two of a pair share one."""
    return f"order {order.order_id}" if order.list_id < 0 else f"list {order.list_id}"


class Settlement:
    """Turns fills into trades on an account.

    Parameters
    ----------
    account : Account
    fees : FeeSchedule
        What each trade is charged.
    slippage : float
        Fraction by which market and stop orders fill worse than the price that triggers them.
    partial : sequence of float
        Fractions of an order that are traded one by one before its rest; empty for one trade an order.
    """

    def __init__(self, account: Account, fees: FeeSchedule, slippage: float, partial: Sequence[float]) -> None:
        if not 0 <= slippage < 0.1:
            raise BrokerError(f"the slippage is {slippage}: expected a fraction from 0 to 0.1, such as 0.0005")
        if not all(0 < part < 1 for part in partial) or sum(partial) > 1:
            raise BrokerError(f"partial fills of {list(partial)}: expected fractions above 0 that add up to 1 at most")
        self._account = account
        self.fees = fees
        self.slippage = slippage
        self._partial = [Decimal(repr(float(part))) for part in partial]

    def pieces(self, market: Market, quantity: Decimal) -> list[Decimal]:
        """Return the sizes of the trades of an order that is filled at once, each whole lots."""
        sizes = [self._part(market, quantity, part) for part in self._partial]
        return [size for size in (*sizes, quantity - sum(sizes)) if size]

    def resting_pieces(self, market: Market, order: Order) -> list[Decimal]:
        """Return the sizes in which candles fill an order that rests: a first part, then all the rest."""
        if order.executed or not self._partial:
            return [order.remaining]
        first = self._part(market, order.quantity, self._partial[0])
        return [size for size in (first, order.quantity - first) if size]

    def cost(self, pieces: Sequence[Decimal], price: Decimal) -> Decimal:
        """Return the quote currency that a purchase in these pieces takes, with the fees that are due in it."""
        total = _ZERO
        for size in pieces:
            fee, unit = self.fees.charge(float(size), float(price), is_buy=True)
            total = add(total, multiply(size, price))
            if unit == "quote":
                total = add(total, Decimal(repr(fee)))
        return total

    def need(self, market: Market, order: Order) -> tuple[str, Decimal]:
        """Return the asset and the amount that what is left of an order locks."""
        if not order.is_buy:
            return market.base, order.remaining
        if order.kind in LIMIT_KINDS:
            costs = [self.cost(self.resting_pieces(market, order), order.price)]
            if not order.executed:  # it may be filled in other pieces, on arrival or by its trigger
                costs.append(self.cost(self.pieces(market, order.remaining), order.price))
            return market.quote, max(costs)
        price = order.stop_price
        if order.kind in STOP_KINDS:
            price = self.slipped(market, price, is_buy=True)
        return market.quote, self.cost(self.pieces(market, order.remaining), price)

    def slipped(self, market: Market, price: Decimal, *, is_buy: bool) -> Decimal:
        """Return what a market order pays or gets when the market stands at ``price``."""
        return Decimal(repr(market_price(float(price), market.rules, self.slippage, is_buy=is_buy)))

    def lock(self, market: Market, *orders: Order) -> None:
        """Lock what an order needs, or the most that one of a pair needs; it has nothing locked yet.

        Raises
        ------
        Refusal
            -2010 for want of balance.
        """
        needs = [self.need(market, order) for order in orders]
        self._account.hold(hold_name(orders[0]), needs[0][0], max(amount for _, amount in needs))

    def can_pay(self, order: Order, pieces: Sequence[Decimal], price: Decimal, market: Market) -> bool:
        """Tell whether the account, with what the order has locked, pays for these pieces."""
        if not order.is_buy:
            return True
        there = add(self._account.free(market.quote), self._account.held(hold_name(order)))
        return self.cost(pieces, price) <= there

    def settle(
        self,
        market: Market,
        order: Order,
        pieces: Sequence[Decimal],
        price: Decimal,
        *,
        first_id: int,
        time_ms: int,
        is_maker: bool,
    ) -> list[Trade]:
        """Exchange the assets of a fill, and return its trades; the order's own record is not touched."""
        self._account.release(hold_name(order))
        trades = []
        for trade_id, size in zip(count(first_id), pieces, strict=False):
            quote = multiply(size, price)
            fee, unit = self.fees.charge(float(size), float(price), is_buy=order.is_buy)
            asset, charged = market.quote if unit == "quote" else market.base, Decimal(repr(fee))
            bought, sold = (market.base, size), (market.quote, quote)
            self._account.exchange(*((sold, bought) if order.is_buy else (bought, sold)), (asset, charged))
            trades.append(
                Trade(
                    trade_id=trade_id,
                    order_id=order.order_id,
                    symbol=order.symbol,
                    side=order.side,
                    price=price,
                    quantity=size,
                    quote_quantity=quote,
                    commission=charged,
                    commission_asset=asset,
                    time_ms=time_ms,
                    is_maker=is_maker,
                    list_id=order.list_id,
                )
            )
        return trades

    def unlock(self, order: Order) -> None:
        """Free what an order, or its pair, has locked."""
        self._account.release(hold_name(order))

    def balances(self, market: Market) -> dict[str, tuple[Decimal, Decimal]]:
        """Return free and locked of the two assets of a market."""
        return {
            asset: (self._account.free(asset), self._account.locked(asset)) for asset in (market.base, market.quote)
        }

    @staticmethod
    def _part(market: Market, quantity: Decimal, fraction: Decimal) -> Decimal:
        return multiply(quantity, fraction) // market.lot * market.lot
