"""The stop and target of a purchase as orders: pure functions, with the prices and sizes that the ledger gives them."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.broker.lots import floor_size, refusal
from bot.broker.protection import exit_prices
from bot.live.orders import Ticket, pair_id

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.broker.rules import ExchangeRules
    from bot.live.facts import OrderRow
    from bot.live.orders import Execution

__all__ = ["average_price", "guard_tickets", "legs_for", "market_exit", "target_alone"]


def average_price(trades: Sequence[Execution]) -> float:
    """Return the price paid: of one trade exactly its own, of several their average weighted by size."""
    if len(trades) == 1:
        return float(trades[0].price)
    total = sum((trade.size for trade in trades), Decimal(0))
    return float(sum((trade.size * trade.price for trade in trades), Decimal(0)) / total)


def guard_tickets(
    entry: Ticket, trades: Sequence[Execution], held: Decimal, rules: ExchangeRules, earlier: Sequence[OrderRow]
) -> list[Ticket]:
    """Return the stop and target for all that is held after a purchase.

    Parameters
    ----------
    entry
        The purchase, with the guard that it asks for.
    trades
        Its executions, at least one.
    held
        By all executions of the run, base currency.
    rules
        Of the symbol; an order that the exchange would refuse is left out.
    earlier
        Stops and targets that it had before.
    """
    guard = entry.guard
    if guard is None:
        return []
    prices = exit_prices(average_price(trades), guard.stop_loss, guard.take_profit, rules)
    return legs_for(entry, floor_size(float(held), rules), prices, rules, earlier)


def legs_for(
    entry: Ticket,
    size: float,
    prices: tuple[float | None, float | None],
    rules: ExchangeRules,
    earlier: Sequence[OrderRow],
) -> list[Ticket]:
    """Return stop and target orders of a size at these prices, those left out that the exchange would refuse."""
    stop, target = prices
    stop_id, target_id = _ids(entry.client_id, earlier)
    leg = Ticket(
        client_id=stop_id,
        symbol=entry.symbol,
        bar_ms=entry.bar_ms,
        side="sell",
        kind="market",
        role="stop",
        size=Decimal(repr(size)) or Decimal(1),
        pair=pair_id(stop_id),
        parent=entry.client_id,
    )
    found = []
    if stop is not None and not refusal(size, stop, rules):
        found.append(replace(leg, kind="stop", stop_price=Decimal(repr(stop))))
    if target is not None and not refusal(size, target, rules):
        found.append(replace(leg, client_id=target_id, kind="limit", role="target", price=Decimal(repr(target))))
    return found


def market_exit(leg: Ticket, earlier: Sequence[OrderRow]) -> Ticket:
    """Return the sale at the market that takes the place of a guard which the exchange will not have."""
    stop_id, _ = _ids(leg.parent or "", earlier)
    pair = pair_id(stop_id)
    return replace(leg, client_id=stop_id, kind="market", role="stop", price=None, stop_price=None, pair=pair)


def target_alone(target: Ticket, earlier: Sequence[OrderRow]) -> Ticket:
    """Return the sale at the target's price that takes the place of a pair whose target has been passed."""
    stop_id, target_id = _ids(target.parent or "", earlier)
    return replace(target, client_id=target_id, pair=pair_id(stop_id))


def _ids(entry_id: str, earlier: Sequence[OrderRow]) -> tuple[str, str]:
    """Return the client ids of the next stop and target of a purchase."""
    head, _, number = entry_id.rpartition("-")
    attempt = len({row.ticket.pair for row in earlier}) or ""
    return f"{head}-{number[:-1]}S{attempt}", f"{head}-{number[:-1]}T{attempt}"
