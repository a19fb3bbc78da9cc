"""What ``bot exchange serve`` shows while it runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from bot.exchange.orders import OrderEvent
from ml.candles import format_ms

if TYPE_CHECKING:
    from decimal import Decimal
    from types import TracebackType

    from bot.exchange.orders import Event
    from bot.exchange.server import LocalVenue

__all__ = ["ExchangeView"]

_TERMINAL_SECONDS = 0.25
_PLAIN_SECONDS = 1.0
_LARGE = 1_000  # amounts from here on are told to the cent
_MOST_SHOWN = 3  # prices, and balances, on the line


class ExchangeView:
    """Tells on stderr what happens at the exchange.

    Parameters
    ----------
    venue : LocalVenue
        The exchange.
    quiet : bool
        Draw no live line: stdout belongs to a program.

    Attributes
    ----------
    every : float
        Seconds between two calls of `update`.
    """

    def __init__(self, venue: LocalVenue, *, quiet: bool) -> None:
        self._venue = venue
        self._drawn = sys.stderr.isatty() and not quiet
        self._live: Any = None
        self._ended = False
        self._handler = _Lines(self._say)
        self.every = _TERMINAL_SECONDS if self._drawn else _PLAIN_SECONDS

    def __enter__(self) -> ExchangeView:
        """Take over the warnings of the exchange."""
        logging.getLogger("bot.exchange").addHandler(self._handler)
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _place: TracebackType | None
    ) -> None:
        """Leave the terminal as it was."""
        logging.getLogger("bot.exchange").removeHandler(self._handler)
        if self._live is not None:
            self._live.stop()

    def start(self) -> None:
        """Tell of orders from now on."""
        self._venue.exchange.listeners.append(self._on_event)
        if self._drawn:
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        else:
            self._say(self.status())

    def update(self) -> None:
        """Draw the live line anew, and tell when the candles have ended."""
        if self._live is not None:
            from rich.text import Text

            width = self._live.console.width
            self._live.update(Text(self.status(width), overflow="ellipsis", no_wrap=True), refresh=True)
        if not self._ended and self._venue.exchange.next_boundary_ms() is None:
            self._ended = True
            self._say("the candles have ended: prices stand still from here on")

    def status(self, width: int | None = None) -> str:
        """Return the state of the market in one line.

        Parameters
        ----------
        width
            Columns that there are: as many prices and balances are told as fit, the first ones first, and ``…`` for those
            that do not. None for no limit.
        """
        exchange = self._venue.exchange
        prices = [f"{name} {exchange.tape(name).price(exchange.now_ms):g}" for name in exchange.symbols]
        totals = {asset: free + locked for asset, (free, locked) in exchange.balances().items()}
        held = [f"{_short(total)} {asset}" for asset, total in totals.items() if total]
        count = min(max(len(prices), len(held)), _MOST_SHOWN)
        line = self._line(prices, held, count, count)
        while count and width is not None and len(line) > width:
            line = self._line(prices, held, count, count - 1)  # a price says more than a balance
            if len(line) > width:
                count -= 1
                line = self._line(prices, held, count, count)
        return line

    def _line(self, prices: list[str], held: list[str], most_prices: int, most_held: int) -> str:
        exchange = self._venue.exchange
        faults = sum(self._venue.faults.counts.values())
        is_cut = len(prices) > most_prices or len(held) > most_held
        parts = [
            f"market {format_ms(exchange.now_ms // 1000 * 1000)}",
            *prices[:most_prices],
            f"{len(exchange.open_orders())} open",
            ", ".join(held[:most_held]),
            "…" if is_cut else "",
            f"{faults} faults" if faults else "",
        ]
        return "  ".join(part for part in parts if part)

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, OrderEvent):
            return
        order, trade = event.order, event.trade
        price = f" at {trade.price.normalize():f}" if trade is not None else ""
        size = trade.quantity if trade is not None else order.quantity
        text = (
            f"{format_ms(event.time_ms)}  {event.execution_type.lower()}  {order.side.lower()} {size.normalize():f} "
            f"{order.symbol} {order.kind.lower()}{price}"
        )
        with_id = f"{text}  {order.client_id}"
        is_wide = self._live is None or len(with_id) <= self._live.console.width
        self._say(with_id if is_wide else text)

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the exchange goes on
            if self._live is not None:
                self._live.console.print(text, markup=False, highlight=False)  # between two words where it is too long
            else:
                print(text, file=sys.stderr, flush=True)


def _short(amount: Decimal) -> str:
    """Return an amount as a person reads it: cents where it is large."""
    return f"{round(amount, 2 if amount >= _LARGE else 8).normalize():f}"


class _Lines(logging.Handler):
    """Hands warnings on as one line each."""

    def __init__(self, say: Any) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a warning."""
        self._say(f"{record.levelname.lower()}: {record.getMessage()}")
