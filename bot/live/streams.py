"""The exchange's websocket streams, used for one thing: to know that there is something to ask for.

What they say is not believed, and what they miss is not missed: candles and orders are read over REST. A stream that falls
silent or is cut costs a few hundred milliseconds, never a decision.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bot.live.client import stream_client

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.live.client import Keys

__all__ = ["Streams"]

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0
_CLOSE_S = 2.0


class Streams:
    """Watch candles and orders in a thread of its own, and wake the store at each news.

    Parameters
    ----------
    exchange
        As ccxt names it.
    pairs
        Symbols as ccxt writes them, such as ``BTC/USDT``.
    timeframe
        Length of a candle.
    wake
        Called when a candle has begun or an order has changed; from the thread of the streams.
    keys
        Access to the account; None to watch candles only.
    endpoint
        As ``bot.live.client.trading_client``.
    """

    def __init__(
        self,
        exchange: str,
        pairs: Sequence[str],
        timeframe: str,
        wake: Callable[[], None],
        *,
        keys: Keys | None = None,
        endpoint: str | None = None,
    ) -> None:
        self._exchange, self._pairs, self._timeframe = exchange, tuple(pairs), timeframe
        self._wake, self._keys, self._endpoint = wake, keys, endpoint
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._thread: threading.Thread | None = None
        self._ends = threading.Event()
        self.problem = ""
        self.news = 0

    def start(self) -> None:
        """Start the thread; what goes wrong in it is kept in ``problem`` and tried again."""
        self._thread = threading.Thread(target=self._run, name="streams", daemon=True)
        self._thread.start()

    def ask_to_stop(self) -> None:
        """Have the connections closed, and return at once."""
        self._ends.set()
        loop = self._loop
        if loop is not None:
            with suppress(RuntimeError):  # it has ended by itself
                loop.call_soon_threadsafe(self._cancel)

    def stop(self) -> None:
        """Close the connections and wait for the thread, for as long as that takes where somebody answers."""
        self.ask_to_stop()
        if self._thread is not None:
            self._thread.join(_CLOSE_S + 0.5)

    def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._watch())

    async def _watch(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(
            lambda _loop, _context: None
        )  # ccxt drops futures of connections that were cut
        client = stream_client(self._exchange, self._keys, endpoint=self._endpoint)
        try:
            self._tasks = [self._loop.create_task(self._repeat(self._candles, client, pair)) for pair in self._pairs]
            if self._keys is not None:
                self._tasks.append(self._loop.create_task(self._repeat(self._orders, client, "")))
            if self._ends.is_set():
                self._cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        finally:
            with suppress(Exception):
                await asyncio.wait_for(client.close(), _CLOSE_S)

    async def _repeat(self, watch: Callable[[Any, str], Any], client: Any, pair: str) -> None:
        """Watch until cancelled; after a failure again, later and later."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                async for _ in watch(client, pair):
                    self.problem, pause = "", _FIRST_PAUSE_S
                    self.news += 1
                    self._wake()
            except Exception as error:  # noqa: BLE001 - whatever it is: REST goes on, and this is tried again
                self.problem = f"{type(error).__name__}: {str(error).splitlines()[0][:120] if str(error) else ''}"
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    async def _candles(self, client: Any, pair: str) -> Any:
        newest = 0
        while True:
            rows = await client.watch_ohlcv(pair, self._timeframe)
            opened = int(rows[-1][0])
            if opened > newest:
                newest = opened
                yield opened

    async def _orders(self, client: Any, _pair: str) -> Any:
        while True:
            await client.watch_orders()
            yield 0
