"""What a live run paid beyond what its backtest would have paid for the same orders, and what was never traded.

On a real exchange fill prices differ; that is legitimate, and it is told. A positive slippage is worse for us.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.broker.execution import limit_price, market_price
from bot.live.guards import average_price
from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.broker.rules import ExchangeRules
    from bot.live.facts import OrderRow
    from bot.live.journal import Journal
    from bot.live.orders import Ticket
    from ml.candles import Candles

__all__ = ["OrderOutcome", "Slippage", "order_outcomes"]


@dataclass(frozen=True, slots=True)
class OrderOutcome:
    """One order of a live run, against what its candles say of it.

    Attributes
    ----------
    client_id, symbol, side, kind, role, state, reason : str
        As the journal has them.
    decided_ms : int
        Open time of the bar at whose close it was decided, milliseconds UTC.
    size, executed : float
        Base currency that was asked for, and traded.
    price : float or None
        Average that was paid or received, quote currency; None where nothing was traded.
    reference : float or None
        Price of the market at that moment by the candles: the next open, the trigger of a stop, a limit; None where there is
        none, as for a sale by command.
    expected : float or None
        What the backtest would have paid or received: the reference with the slippage of the config.
    bars_late : int
        Bars between the first that could fill an order at the market and the one that did; 0 for other kinds.
    """

    client_id: str
    symbol: str
    side: str
    kind: str
    role: str
    state: str
    reason: str
    decided_ms: int
    size: float
    executed: float
    price: float | None
    reference: float | None
    expected: float | None
    bars_late: int = 0

    @property
    def slippage(self) -> float | None:
        """By how much the price was worse than the reference, quote currency a unit."""
        return self._worse_than(self.reference)

    @property
    def beyond(self) -> float | None:
        """By how much the price was worse than the backtest's, quote currency a unit."""
        return self._worse_than(self.expected)

    def _worse_than(self, other: float | None) -> float | None:
        if self.price is None or other is None:
            return None
        return self.price - other if self.side == "buy" else other - self.price

    def to_dict(self) -> dict[str, Any]:
        """Return plain data: with both differences in basis points and in quote currency."""
        found = {**asdict(self), "decided": format_ms(self.decided_ms)}
        for name, worse, base in (("slippage", self.slippage, self.reference), ("beyond", self.beyond, self.expected)):
            found[f"{name}_bp"] = None if worse is None or not base else 1e4 * worse / base
            found[f"{name}_quote"] = None if worse is None else worse * self.executed
        return found


@dataclass(frozen=True, slots=True)
class Slippage:
    """All orders of a run, and their sums."""

    orders: tuple[OrderOutcome, ...]

    @property
    def traded(self) -> tuple[OrderOutcome, ...]:
        """Orders of which something was traded and whose reference is known."""
        return tuple(order for order in self.orders if order.slippage is not None)

    @property
    def not_traded(self) -> dict[str, int]:
        """How many orders traded nothing, by their state and the reason; stops and targets that gave way are none."""
        counted = Counter(
            f"{order.state}: {order.reason}" if order.reason else order.state
            for order in self.orders
            if not order.executed and (order.reason or order.role not in {"stop", "target"})
        )
        return dict(counted.most_common())

    def to_dict(self) -> dict[str, Any]:
        """Return sums as plain data; basis points are of the sums, so weighted by what was traded."""
        found: dict[str, Any] = {
            "orders": len(self.orders),
            "traded": len(self.traded),
            "by_command": sum(order.role == "close" for order in self.orders),
            "late": sum(order.bars_late > 0 for order in self.orders),
            "partly_traded": sum(0 < order.executed < order.size for order in self.orders),
            "not_traded": self.not_traded,
        }
        worth = sum((order.reference or 0.0) * order.executed for order in self.traded)
        for name in ("slippage", "beyond"):
            amounts = [getattr(order, name) * order.executed for order in self.traded]
            shares = [1e4 * getattr(order, name) / order.reference for order in self.traded if order.reference]
            found[f"{name}_quote"] = sum(amounts)
            found[f"{name}_bp"] = 1e4 * sum(amounts) / worth if worth else None
            found[f"worst_{name}_bp"] = max(shares, default=None)
        return found


def order_outcomes(
    journal: Journal, symbol: str, bars: Candles, rules: ExchangeRules, slippage: float
) -> list[OrderOutcome]:
    """Return what became of the orders of a symbol, in the order in which they were decided.

    Parameters
    ----------
    journal
        Of the run.
    symbol
        Canonical spelling.
    bars
        That were delivered, with those before the first that may trade.
    rules, slippage
        By which the backtest fills.
    """
    opens: list[int] = bars.open_ms.tolist()
    return [
        _outcome(row, journal, bars, opens, rules, slippage)
        for row in list(journal.orders.values())
        if row.ticket.symbol == symbol
    ]


def _outcome(
    row: OrderRow, journal: Journal, bars: Candles, opens: Sequence[int], rules: ExchangeRules, slippage: float
) -> OrderOutcome:
    ticket, trades = row.ticket, journal.trades_of(row.ticket.client_id)
    reference = expected = None
    late = 0
    if trades and ticket.role != "close":
        filled = max(0, bisect_right(opens, trades[0].at_ms) - 1)
        first = bisect_right(opens, ticket.bar_ms)
        if ticket.kind == "market" and ticket.parent is None:
            late = max(0, filled - first)
            filled = min(first, len(opens) - 1) if first < len(opens) else filled
        known_open = first < len(opens) or ticket.parent is not None
        if known_open:
            reference, expected = _prices(ticket, float(bars.open[filled]), rules, slippage)
    return OrderOutcome(
        client_id=ticket.client_id,
        symbol=ticket.symbol,
        side=ticket.side,
        kind=ticket.kind,
        role=ticket.role,
        state=row.state,
        reason=row.reason,
        decided_ms=ticket.bar_ms,
        size=float(ticket.size),
        executed=float(sum((trade.size for trade in trades), Decimal(0))),
        price=average_price(trades) if trades else None,
        reference=reference,
        expected=expected,
        bars_late=late,
    )


def _prices(ticket: Ticket, open_: float, rules: ExchangeRules, slippage: float) -> tuple[float, float]:
    """Return the market's price at the fill by the bar (the open where that gapped), and what the backtest fills at."""
    is_buy = ticket.side == "buy"
    reference = open_
    if ticket.stop_price is not None:
        stop = float(ticket.stop_price)
        reference = max(open_, stop) if is_buy else min(open_, stop)
    if ticket.price is None:
        return reference, market_price(reference, rules, slippage, is_buy=is_buy)
    limit = float(ticket.price)
    if reference <= limit if is_buy else reference >= limit:
        return reference, limit_price(reference, limit, rules, is_buy=is_buy)
    return limit, limit
