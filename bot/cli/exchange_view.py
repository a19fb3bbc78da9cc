"""What ``bot exchange serve`` shows while it runs: one live line on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
from typing import TYPE_CHECKING, Any

from bot.exchange.orders import OrderEvent
from ml.candles import format_ms

if TYPE_CHECKING:
    from types import TracebackType

    from bot.exchange.orders import Event
    from bot.exchange.server import LocalVenue

__all__ = ["ExchangeView"]

_TERMINAL_SECONDS = 0.25
_PLAIN_SECONDS = 1.0
_MOST_SYMBOLS = 3  # on the live line


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
            self._say(self._status())

    def update(self) -> None:
        """Draw the live line anew, and tell when the candles have ended."""
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(self._status(), overflow="ellipsis", no_wrap=True), refresh=True)
        if not self._ended and self._venue.exchange.next_boundary_ms() is None:
            self._ended = True
            self._say("the candles have ended: prices stand still from here on")

    def _status(self) -> str:
        exchange = self._venue.exchange
        prices = [f"{name} {exchange.tape(name).price(exchange.now_ms):g}" for name in exchange.symbols[:_MOST_SYMBOLS]]
        held = [f"{free + locked:f} {asset}" for asset, (free, locked) in exchange.balances().items() if free + locked]
        opens = len(exchange.open_orders())
        faults = sum(self._venue.faults.counts.values())
        told = f"  {faults} faults" if faults else ""
        return (
            f"market {format_ms(exchange.now_ms // 1000 * 1000)}  {'  '.join(prices)}  "
            f"{opens} open  {', '.join(held)}{told}"
        )

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, OrderEvent):
            return
        order, trade = event.order, event.trade
        price = f" at {trade.price.normalize():f}" if trade is not None else ""
        size = trade.quantity if trade is not None else order.quantity
        self._say(
            f"{format_ms(event.time_ms)}  {event.execution_type.lower()}  {order.side.lower()} {size.normalize():f} "
            f"{order.symbol} {order.kind.lower()}{price}  {order.client_id}"
        )

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # nobody reads any more: the exchange goes on
            if self._live is not None:
                self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
            else:
                print(text, file=sys.stderr, flush=True)


class _Lines(logging.Handler):
    """Hands warnings on as one line each."""

    def __init__(self, say: Any) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Tell a warning."""
        self._say(f"{record.levelname.lower()}: {record.getMessage()}")
