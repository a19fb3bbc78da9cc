"""What a run earned, bar by bar and trade by trade, rebuilt from its fills and the closes.

Nothing observes the loop of a backtest; cash and holdings change at fills only, so a walk over the fills in the broker's own
arithmetic and one product with the closes give every curve, the last value to the bits of the broker's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from bot.broker.lots import count, dust_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from bot.broker.records import Fill
    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Curves", "RoundTrip", "fee_in_quote", "rebuild_curves", "rebuild_trades", "slippage_paid"]

_NOISE = 1e-12  # as in bot.broker.ledger: what sums of floats leave behind


@dataclass(frozen=True, eq=False)
class Curves:
    """The account at the close of each bar, n bars.

    Attributes
    ----------
    open_ms : int64 array, shape (n,)
        Open times, milliseconds UTC.
    close : float64 array, shape (n,)
        Quote currency per unit.
    cash, position, equity : float64 arrays, shape (n,)
        Quote currency, base currency (with what is left below one lot), cash plus position at the close.
    drawdown : float64 array, shape (n,)
        Fraction below the highest equity so far, 0 or negative.
    exposure : float64 array, shape (n,)
        Share of the equity that is in the market.
    """

    open_ms: Integers
    close: Floats
    cash: Floats
    position: Floats
    equity: Floats
    drawdown: Floats
    exposure: Floats

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.open_ms)


@dataclass(frozen=True, slots=True)
class RoundTrip:
    """One trade from flat to flat.

    Attributes
    ----------
    entry_ms, exit_ms : int
        Open times of the bars of the first purchase and the last sale; ``exit_ms`` is None while it is open.
    size : float
        Base currency bought.
    entry_price, exit_price : float
        Average prices of purchases and sales; ``exit_price`` is None while nothing was sold.
    fees : float
        Quote currency; fees in kind at the price of their fill.
    profit : float
        Quote currency after fees; while it is open, of what was sold and what is held at the last close.
    profit_share : float
        Profit as a fraction of what was paid for the purchases.
    bars : int
        Bars from entry to exit (0 when both are in one bar).
    reason : str
        ``exit``, ``stop``, ``target``, or ``open``.
    """

    entry_ms: int
    exit_ms: int | None
    size: float
    entry_price: float
    exit_price: float | None
    fees: float
    profit: float
    profit_share: float
    bars: int
    reason: str

    @property
    def is_closed(self) -> bool:
        """Whether everything was sold."""
        return self.exit_ms is not None


class _Books:
    """Cash and holdings after each fill, in the arithmetic of ``bot.broker.ledger``."""

    def __init__(self, cash: float, lot_step: float) -> None:
        self.cash, self.size, self.dust = cash, 0.0, 0.0
        self._lot_step = lot_step

    def enter(self, fill: Fill) -> None:
        """Book one fill."""
        base_fee = fill.fee if fill.fee_asset == "base" else 0.0
        quote_fee = fill.fee if fill.fee_asset == "quote" else 0.0
        if fill.side == "buy":
            cost = fill.size * fill.price + quote_fee
            self.cash = 0.0 if self.cash <= cost <= self.cash * (1 + _NOISE) else self.cash - cost
            self.size = count(self.size + count(fill.size - base_fee + self.dust, self._lot_step), self._lot_step)
            self.dust = 0.0
            return
        self.cash += fill.size * fill.price - quote_fee
        rest = count(self.size - fill.size, self._lot_step)
        if rest < dust_limit(self.size, self._lot_step):
            if rest > self.size * _NOISE:
                self.dust = rest
            self.size = 0.0
        else:
            self.size = rest

    @property
    def held(self) -> float:
        """Base currency owned, what is left below one lot included."""
        return self.size + self.dust


def rebuild_curves(candles: Candles, fills: Sequence[Fill], cash: float, lot_step: float = 0.0) -> Curves:
    """Return the account at the close of each candle.

    Parameters
    ----------
    candles : Candles
        The bars of the run, n of them.
    fills : sequence of Fill
        In the order in which they happened.
    cash : float
        What the account began with, quote currency.
    lot_step : float
        Lot of the symbol, base currency; 0 for none.

    Returns
    -------
    Curves
        ``equity`` is ``cash + position * close``, with the broker's own roundings.
    """
    books = _Books(cash, lot_step)
    cash_after, size_after, dust_after = [cash], [0.0], [0.0]
    for fill in fills:
        books.enter(fill)
        cash_after.append(books.cash)
        size_after.append(books.size)
        dust_after.append(books.dust)
    times = np.array([fill.bar_open_ms for fill in fills], dtype=np.int64)
    done = np.searchsorted(times, candles.open_ms, side="right")
    money = np.array(cash_after)[done]
    size, dust = np.array(size_after)[done], np.array(dust_after)[done]
    market = size * candles.close + dust * candles.close
    equity = money + market
    peak = np.maximum.accumulate(np.maximum(equity, cash)) if len(equity) else equity
    return Curves(
        open_ms=candles.open_ms,
        close=candles.close,
        cash=money,
        position=size + dust,
        equity=equity,
        drawdown=equity / peak - 1.0,
        exposure=market / equity,
    )


def rebuild_trades(candles: Candles, fills: Sequence[Fill], cash: float, lot_step: float = 0.0) -> list[RoundTrip]:
    """Return the round trips of a run, the last one open where something is still held.

    What is left below one lot is valued at the price of the fill; the sum of the profits therefore differs from the change of
    equity by what such remainders moved between trades.
    """
    books = _Books(cash, lot_step)
    trades: list[RoundTrip] = []
    current: list[Fill] = []
    before = 0.0
    for fill in fills:
        if not current:
            before = books.cash + books.held * fill.price
        current.append(fill)
        books.enter(fill)
        if books.size == 0.0:
            trades.append(_round_trip(candles, current, books.cash + books.held * fill.price - before, closed=True))
            current = []
    if current:
        value = books.cash + books.held * float(candles.close[-1])
        trades.append(_round_trip(candles, current, value - before, closed=False))
    return trades


def slippage_paid(fills: Sequence[Fill], slippage: float) -> float:
    """Return what slippage cost in the quote currency: market and stop fills were that fraction worse.

    Limit orders do not slip. A purchase at ``p`` was triggered at ``p / (1 + slippage)``, a sale at ``p / (1 - slippage)``;
    rounding to ticks is left out.
    """
    total = 0.0
    for fill in fills:
        if not fill.slipped:
            continue
        trigger = fill.price / (1.0 + slippage) if fill.side == "buy" else fill.price / (1.0 - slippage)
        total += abs(fill.price - trigger) * fill.size
    return total


def fee_in_quote(fill: Fill) -> float:
    """Return the fee of a fill in the quote currency; a fee in kind at the price of the fill, a third asset's as 0."""
    if fill.fee_asset == "base":
        return fill.fee * fill.price
    return fill.fee if fill.fee_asset == "quote" else 0.0


def _round_trip(candles: Candles, fills: Sequence[Fill], profit: float, *, closed: bool) -> RoundTrip:
    bought = [fill for fill in fills if fill.side == "buy"]
    sold = [fill for fill in fills if fill.side == "sell"]
    paid = sum(fill.size * fill.price for fill in bought)
    size = sum(fill.size for fill in bought)
    sold_size = sum(fill.size for fill in sold)
    last = fills[-1].bar_open_ms if closed else int(candles.open_ms[-1])
    rows = np.searchsorted(candles.open_ms, np.array([fills[0].bar_open_ms, last]))
    return RoundTrip(
        entry_ms=fills[0].bar_open_ms,
        exit_ms=last if closed else None,
        size=size,
        entry_price=paid / size if size else 0.0,
        exit_price=sum(fill.size * fill.price for fill in sold) / sold_size if sold_size else None,
        fees=sum(fee_in_quote(fill) for fill in fills),
        profit=profit,
        profit_share=profit / paid if paid else 0.0,
        bars=int(rows[1] - rows[0]),
        reason=fills[-1].reason if closed else "open",
    )
