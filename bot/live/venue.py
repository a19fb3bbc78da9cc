"""Where a live bot trades: a real exchange, the local exchange of this home, or one inside this process."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.broker.fees import FeeSchedule
from bot.errors import ExchangeError, UsageError
from bot.live.answers import NoAnswer
from bot.live.client import Keys, keys_from_environment, trading_client
from bot.live.desk import DeskSettings
from bot.live.gateway import Gateway
from bot.live.store_settings import StoreSettings
from ml.candles import Candles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bot.assembly import Choice
    from bot.broker.rules import ExchangeRules
    from bot.config.loader import ConfigFile
    from bot.exchange.clocks import Clock
    from bot.exchange.server import ExchangeServer

__all__ = ["LOCAL_DESK", "Venue", "attached_venue", "close_after", "embedded_server", "embedded_venue", "real_venue"]

LOCAL_DESK = DeskSettings(margin_ms=300)
"""The local exchange takes no order after its receive window, so little more than that need be waited out."""

_LOCAL_RECV_WINDOW_MS = 1_000
_LEAST_WARM = 2_048


@dataclass(frozen=True)
class Venue:
    """An account that a bot trades with.

    Attributes
    ----------
    gateway : Gateway
        Requests to it.
    exchange, mode : str
        ``sim`` or the exchange's name; ``paper``, ``dry`` or ``real``.
    settings : StoreSettings
        How to wait for its candles and orders.
    warm_up : callable
        Of a symbol and what was chosen for it: the candles before the first bar that may trade, and that bar's open time.
    endpoint : str or None
        Where its streams are asked, too.
    keys : Keys or None
        Access to it.
    trades : bool
        False where orders are filled by the bars, not by the exchange.
    lives_here : bool
        Whether the exchange runs inside this process.
    """

    gateway: Gateway
    exchange: str
    mode: str
    settings: StoreSettings
    warm_up: Callable[[str, Choice], tuple[Candles, int]]
    endpoint: str | None = None
    keys: Keys | None = None
    trades: bool = True
    lives_here: bool = False


def real_venue(file: ConfigFile, environment: Mapping[str, str] | None = None) -> Venue:
    """Return the account of ``mode: real``, or the public data of the exchange for a dry run.

    Raises
    ------
    UsageError
        When the keys are not in the environment, or the exchange cannot be traded with.
    """
    live = file.config.live
    keys = keys_from_environment(environment) if live.mode == "real" else None
    client = trading_client(live.exchange, keys, endpoint=live.endpoint)
    gateway = Gateway(client)
    return Venue(
        gateway=gateway,
        exchange=live.exchange,
        mode="real" if live.mode == "real" else "dry",
        settings=StoreSettings(trades=live.mode == "real"),
        warm_up=_from_exchange(gateway, file.config.timeframe),
        endpoint=live.endpoint,
        keys=keys,
        trades=live.mode == "real",
    )


def attached_venue(url: str, keys: Keys, timeframe: str, clock: str) -> Venue:
    """Return the account of a local exchange that runs as ``bot exchange serve``."""
    client = trading_client("binance", keys, endpoint=url, recv_window_ms=_LOCAL_RECV_WINDOW_MS)
    gateway = Gateway(client)
    is_lockstep = clock == "lockstep"
    settings = StoreSettings(
        poll_s=0.0 if is_lockstep else 0.05,
        follows_wall=False,
        gap_s=0.0 if is_lockstep else 2.0,
        sync_s=0.0 if is_lockstep else 1.0,
        desk=LOCAL_DESK,
    )
    return Venue(gateway, "sim", "paper", settings, _from_exchange(gateway, timeframe), url, keys)


def embedded_server(
    file: ConfigFile,
    candles: Mapping[str, Candles],
    rules: Mapping[str, ExchangeRules],
    start_ms: int,
    clock: Clock | None = None,
    *,
    cash: Decimal | None = None,
    **options: Any,
) -> ExchangeServer:
    """Return a local exchange inside this process, on the terms of the config's broker; it is not started yet.

    Parameters
    ----------
    candles, rules
        By symbol.
    start_ms
        Market time at the start.
    clock
        Lockstep by default.
    cash
        Of the account; by default the config's for each symbol.
    options
        For ``ExchangeServer``.
    """
    from bot.exchange.opening import Listing, Terms, open_exchange, pair_of, quote_of
    from bot.exchange.server import ExchangeServer

    broker = file.config.broker
    quotes = {quote_of(symbol) for symbol in candles}
    if len(quotes) > 1:
        raise UsageError(f"{', '.join(candles)} are quoted in {' and '.join(sorted(quotes))}: one account trades one")
    quote = quotes.pop()
    listings = [
        Listing(*pair_of(symbol, quote), close_after(series), rules[symbol]) for symbol, series in candles.items()
    ]
    total = Decimal(repr(broker.cash)) * len(candles) if cash is None else cash
    terms = Terms(total, FeeSchedule(broker.commission, in_kind=broker.fees_in_kind), broker.slippage, start_ms)
    return ExchangeServer(open_exchange(listings, terms), clock=clock, **options)


def embedded_venue(server: ExchangeServer, series: Mapping[str, tuple[Candles, int]], *, lockstep: bool) -> Venue:
    """Return the account of a local exchange inside this process.

    Parameters
    ----------
    server
        Started.
    series
        By symbol: the candles before the first bar that may trade, and that bar's open time.
    lockstep
        Whether its market waits for the bot.
    """
    venue = attached_venue(server.url, Keys("key", "secret"), "", "lockstep" if lockstep else "accelerated")
    return replace(venue, warm_up=lambda symbol, _choice: series[symbol], lives_here=True)


def close_after(candles: Candles) -> Candles:
    """Return the candles with one more that never closes: an exchange shows a candle as closed when the next has begun."""
    columns = {name: np.append(column, column[-1]) for name, column in candles.columns.items()}
    for name in ("open", "high", "low"):
        columns[name][-1] = candles.close[-1]
    times = np.append(candles.open_ms, candles.open_ms[-1] + candles.step_ms)
    return Candles.from_columns(candles.timeframe, {"open_ms": times, **columns}, candles.asked)


def _from_exchange(gateway: Gateway, timeframe: str) -> Callable[[str, Choice], tuple[Candles, int]]:
    def warm_up(symbol: str, choice: Choice) -> tuple[Candles, int]:
        """Ask for half as many closed candles again as the longest window reaches."""
        from registry.names import timeframe_ms

        step = timeframe_ms(timeframe)
        needed = choice.history or _LEAST_WARM
        try:
            newest = gateway.candles(symbol, timeframe, limit=2)
            if not len(newest):
                raise ExchangeError(f"{symbol}: the exchange has no candles of {timeframe}")
            forming = int(newest.open_ms[-1])
            since = asked_from = forming - (needed + needed // 2) * step
            parts: list[Candles] = []
            while True:
                page = gateway.candles(symbol, timeframe, since_ms=since, end_ms=forming)
                parts.append(page)
                if len(page) < 1000:
                    break
                since = int(page.open_ms[-1]) + step
        except NoAnswer as error:
            raise ExchangeError(f"{symbol}: the exchange does not answer: {error}") from error
        names = list(parts[0].columns)
        columns = {name: np.concatenate([part.columns[name] for part in parts]) for name in names}
        columns["open_ms"] = np.concatenate([part.open_ms for part in parts])
        return Candles.from_columns(timeframe, columns, ((asked_from, forming),)), forming

    return warm_up
