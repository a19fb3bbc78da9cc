"""What the account holds against what the journal explains, and the words for what is left over."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from bot.live.answers import NotFound

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from bot.live.gateway import Gateway
    from bot.live.journal import Journal
    from bot.live.orders import Execution

    Trade = tuple[str, str, str, Execution]  # base, quote, side and execution

__all__ = ["accepted_baseline", "account_problems", "expected_balances", "fresh_trades", "unexplained"]

_UNIT = Decimal("1e-8")


def expected_balances(baseline: Mapping[str, Decimal], traded: Iterable[Trade]) -> dict[str, Decimal]:
    """Return what the account must hold, by asset.

    Parameters
    ----------
    baseline
        What it held when the run began.
    traded
        Base, quote, side and execution of every trade of the run.
    """
    found = dict(baseline)

    def add(asset: str, amount: Decimal) -> None:
        found[asset] = found.get(asset, Decimal(0)) + amount

    for base, quote, side, trade in traded:
        sign = 1 if side == "buy" else -1
        add(base, sign * trade.size)
        add(quote, -sign * trade.size * trade.price)
        add(trade.fee_asset, -trade.fee)
    return found


def unexplained(
    expected: Mapping[str, Decimal], held: Mapping[str, Decimal], trades: int, foreign: Sequence[str] = ()
) -> list[str]:
    """Return what nobody of ours has done, in words; empty when everything is explained.

    Parameters
    ----------
    expected, held
        By asset; only assets of ``expected`` are looked at.
    trades
        How many: an exchange rounds each to 1e-8.
    foreign
        Client ids of open orders that are not ours.
    """
    tolerance = _UNIT * max(1, trades)
    found = [
        f"the account holds {held.get(asset, Decimal(0)).normalize():f} {asset}, the journal explains {amount.normalize():f}"
        for asset, amount in sorted(expected.items())
        if abs(held.get(asset, Decimal(0)) - amount) > tolerance
    ]
    found += [f"the open order {client_id} is not ours" for client_id in foreign]
    return found


def account_problems(
    gateway: Gateway, journal: Journal, baseline: Mapping[str, Decimal], fresh: Sequence[Trade] = ()
) -> list[str]:
    """Ask the exchange and return what nobody of ours has done, in words.

    What becomes of our own open orders must be in the journal already (``Desk.sync``), or in ``fresh``.

    Raises
    ------
    NoAnswer, Refused
        When the exchange does not tell.
    """
    traded = [*_traded(gateway, journal), *fresh]
    held, _, _ = gateway.account()
    foreign = [
        report.client_id
        for symbol in gateway.markets
        for report in gateway.open_orders(symbol)
        if journal.order(report.client_id) is None
    ]
    expected = expected_balances(baseline, traded)
    return unexplained({asset: expected[asset] for asset in baseline}, held, len(traded), foreign)


def fresh_trades(gateway: Gateway, journal: Journal) -> list[Trade]:
    """Return the trades of our own orders that the journal does not have yet; it stays as it is.

    Raises
    ------
    NoAnswer, Refused
        When the exchange does not tell.
    """
    found: list[Trade] = []
    for row in journal.undone():
        symbol, client_id = row.ticket.symbol, row.ticket.client_id
        try:
            report = gateway.find(symbol, client_id)
        except NotFound:
            continue
        if report.executed == row.executed:
            continue
        known = {trade.trade_id for trade in journal.trades_of(client_id)}
        market = gateway.markets[symbol]
        found += [
            (market.base, market.quote, row.ticket.side, trade)
            for trade in gateway.executions(symbol, report)
            if trade.trade_id not in known
        ]
    return found


def accepted_baseline(gateway: Gateway, journal: Journal, baseline: Mapping[str, Decimal]) -> dict[str, str]:
    """Return the baseline by which the journal explains what the account holds now; raises as ``account_problems``."""
    held, _, _ = gateway.account()
    expected = expected_balances(baseline, _traded(gateway, journal))
    return {asset: str(amount + held.get(asset, Decimal(0)) - expected[asset]) for asset, amount in baseline.items()}


def _traded(gateway: Gateway, journal: Journal) -> list[Trade]:
    """Return every trade of the run."""
    return [
        (market.base, market.quote, side, trade)
        for symbol, market in gateway.markets.items()
        for side, trade in journal.traded(symbol)
    ]
