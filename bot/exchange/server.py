"""The local exchange as a server on loopback: in a thread of this process, or for as long as a command runs."""

from __future__ import annotations

import asyncio
import errno
import logging
import signal
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import web

from bot.errors import StorageError, UsageError
from bot.exchange.clocks import Clock, Lockstep
from bot.exchange.control import Control
from bot.exchange.desk import Desk
from bot.exchange.faults import FaultPlan
from bot.exchange.limits import RateLimits
from bot.exchange.rest import RestApi
from bot.exchange.signing import ApiKey, KeyRing
from bot.exchange.streams import StreamHub
from bot.exchange.transport import Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from bot.exchange.matching import LocalExchange
    from bot.exchange.persistence import StateFile

    Result = TypeVar("Result")

__all__ = ["HOST", "ExchangeServer", "LocalVenue", "serve_forever", "unlimited"]

_log = logging.getLogger(__name__)

HOST = "127.0.0.1"
_LONGEST_NAP = 0.25
_SHORTEST_NAP = 0.001
_SHUTDOWN_SECONDS = 0.2
_START_SECONDS = 30.0


def unlimited() -> RateLimits:
    """Return limits that count and never refuse, for a market in lockstep."""
    return RateLimits(None, None, None)


class LocalVenue:
    """Everything of one exchange that lives on an event loop: market, interfaces, pump.

    Parameters
    ----------
    exchange : LocalExchange
        The market; from now on only the loop touches it.
    clock : Clock or None
        Moves it; lockstep by default.
    keys : sequence of ApiKey
        Who may trade.
    limits : RateLimits or None
        By default those of the real exchange, and none in lockstep.
    port : int
        0 for any that is free.
    state : StateFile or None
        Its memory; the market goes on from there.
    seed : int
        Of random faults.
    """

    def __init__(
        self,
        exchange: LocalExchange,
        *,
        clock: Clock | None = None,
        keys: Sequence[ApiKey] = (ApiKey("key", "secret"),),
        limits: RateLimits | None = None,
        port: int = 0,
        state: StateFile | None = None,
        seed: int = 0,
    ) -> None:
        if state is not None:
            state.restore(exchange)
        self.exchange = exchange
        self.state = state
        self.clock = Lockstep() if clock is None else clock
        self.limits = limits or (unlimited() if isinstance(self.clock, Lockstep) else RateLimits())
        self.faults = FaultPlan(seed)
        self.desk = Desk(exchange, self.clock, state)
        ring = KeyRing(keys)
        self._api = RestApi(self.desk, ring, self.limits, self.faults)
        self.hub = StreamHub(self.desk, self._api, ring)
        self.control = Control(self.desk, self.faults, self.hub)
        self.transport = Transport(self._api, self.hub, self.control, self.faults)
        self.port = port
        self._runner: web.ServerRunner | None = None
        self._pump: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{HOST}:{self.port}"

    async def start(self) -> None:
        """Listen, and let time run.

        Raises
        ------
        UsageError
            When the port is in use.
        """
        self._runner = web.ServerRunner(
            web.Server(self.transport.handle, access_log=None), shutdown_timeout=_SHUTDOWN_SECONDS
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.port, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            if error.errno == errno.EADDRINUSE:
                raise UsageError(
                    f"port {self.port} of {HOST} is in use: stop what listens there, or choose another --port"
                ) from None
            raise
        self.port = int(self._runner.addresses[0][1])
        self.hub.listen()
        if not isinstance(self.clock, Lockstep):
            self._pump = asyncio.get_running_loop().create_task(self._run_time())

    async def stop(self) -> None:
        """Close every connection, write the state, and listen no more."""
        self.hub.unlisten()
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        await self.hub.close_all()
        await self.transport.stop()
        if self._runner is not None:
            await self._runner.cleanup()
        if self.state is not None:
            self.state.save(self.exchange)
            self.state.close()

    async def _run_time(self) -> None:
        while True:
            try:
                self.desk.sync()
            except StorageError as error:  # every order notes the time as well: nothing is lost but this line
                _log.error("%s", error)
            self.hub.repeat()
            boundary = self.exchange.next_boundary_ms()
            seconds = None if boundary is None else self.clock.seconds_until(boundary)
            await asyncio.sleep(max(_SHORTEST_NAP, _LONGEST_NAP if seconds is None else min(seconds, _LONGEST_NAP)))


class ExchangeServer:
    """A local exchange in a thread of this process.

    ::

        with ExchangeServer(exchange) as server:
            client = ccxt.binance(local_config(server.url))

    Parameters
    ----------
    exchange : LocalExchange
        The market. While the server runs, touch it through `call` only, or while no request is under way.
    **options
        As `LocalVenue` takes them.
    """

    def __init__(self, exchange: LocalExchange, **options: Any) -> None:
        self.venue = LocalVenue(exchange, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._started: Future[None] = Future()
        self._stop: asyncio.Event | None = None
        self._ended: BaseException | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.venue.url

    @property
    def port(self) -> int:
        """The port."""
        return self.venue.port

    @property
    def exchange(self) -> LocalExchange:
        """The market."""
        return self.venue.exchange

    @property
    def faults(self) -> FaultPlan:
        """Where faults of replies and candles are ordered, from any thread."""
        return self.venue.faults

    @property
    def requests(self) -> list[dict[str, Any]]:
        """The newest requests."""
        return self.call(lambda: list(self.venue.transport.requests))

    @property
    def strays(self) -> list[str]:
        """Requests that were meant for other parts of an exchange."""
        return list(self.venue.transport.strays)

    def call(self, action: Callable[[], Result]) -> Result:
        """Run something on the loop's thread, between two requests, and return its result."""
        if self._loop is None:
            raise UsageError("the exchange is not running")
        done: Future[Result] = Future()

        def run() -> None:
            try:
                done.set_result(action())
            except BaseException as error:  # noqa: BLE001 - it is raised where it was asked for
                done.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return done.result(_START_SECONDS)

    def start(self) -> None:
        """Start the thread and wait until it listens.

        Raises
        ------
        UsageError
            When the port is in use.
        """
        self._thread = threading.Thread(target=self._main, name="local exchange", daemon=True)
        self._thread.start()
        try:
            self._started.result(_START_SECONDS)
        except BaseException:
            self._thread.join()
            raise

    def stop(self) -> None:
        """Stop, and wait until every connection is closed."""
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
            self._loop = None
            if self._ended is not None:
                raise self._ended

    def __enter__(self) -> ExchangeServer:
        """Start."""
        self.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _place: TracebackType | None
    ) -> None:
        """Stop."""
        self.stop()

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        try:
            await self.venue.start()
        except BaseException as error:  # noqa: BLE001 - it is raised where the server was started
            if self.venue.state is not None:
                self.venue.state.close()
            self._started.set_exception(error)
            return
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._started.set_result(None)
        await self._stop.wait()
        try:
            await self.venue.stop()
        except StorageError as error:
            self._ended = error


async def serve_forever(venue: LocalVenue, ready: Callable[[], None], tick: Callable[[], None], every: float) -> None:
    """Serve until the process is asked to stop (SIGINT, SIGTERM), then close everything.

    Parameters
    ----------
    venue : LocalVenue
        What to serve.
    ready : callable
        Called once it listens.
    tick : callable
        Called every so many seconds, on the loop: it may read the market.
    every : float
        Seconds.

    Raises
    ------
    UsageError
        When the port is in use.
    StorageError
        When the state cannot be written at the end.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        await venue.start()
        ready()
        while not stop.is_set():
            tick()
            try:
                await asyncio.wait_for(stop.wait(), every)
            except TimeoutError:
                continue
    finally:
        await venue.stop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
