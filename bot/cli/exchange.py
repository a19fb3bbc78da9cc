"""``bot exchange``: the local exchange, for any ccxt program and without an account."""

from __future__ import annotations

import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.errors import UsageError
from bot.home import Home

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.exchange.announcement import Announcement
    from bot.exchange.clocks import Clock
    from bot.exchange.matching import LocalExchange
    from bot.exchange.opening import Listing, Terms
    from bot.exchange.persistence import StateFile
    from bot.exchange.server import LocalVenue

__all__ = ["app"]

_COMMISSION = 0.001
_WIDTH = 80
_SNIPPET = """\
import ccxt
url = "{url}"
key = "{key}"
secret = "{secret}"
api = ccxt.binance().urls["api"]
urls = {{name: url + "/" + old.split("/", 3)[3] for name, old in api.items()}}
urls["ws"] = {{
    "spot": "{ws}/stream/ws",
    "ws-api": {{"spot": "{ws}/ws-api/v3"}},
}}
exact = ccxt.binance().exceptions["spot"]["exact"]
binance = ccxt.binance({{  # or ccxt.async_support.binance, ccxt.pro.binance
    "apiKey": key,
    "secret": secret,
    "urls": {{"api": urls}},
    "exceptions": {{"exact": dict(exact)}},
}})
order = binance.create_order("{pair}", "market", "buy", {size})
print(order["average"])"""

app = typer.Typer(help="The local exchange: a Binance-compatible spot market on this machine.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keep ``serve`` a command of its own while it is the only one."""


@app.command()
def serve(
    symbols: Annotated[
        list[str] | None, typer.Option("--symbol", help="What to trade, such as BTC/USDT; may be repeated.")
    ] = None,
    timeframe: Annotated[str, typer.Option("--timeframe", help="Length of a candle: 1m, 5m, 1h, 1d.")] = "1h",
    source: Annotated[
        str | None,
        typer.Option("--exchange", help="Source of the stored candles [default: the only one that holds the series]."),
    ] = None,
    synth: Annotated[bool, typer.Option("--synth", help="Simulate the candles; nothing needs to be stored.")] = False,
    bars: Annotated[int, typer.Option("--bars", min=3, help="Of --synth: how many candles.")] = 17_520,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of --synth, and of random faults.")] = 0,
    edge: Annotated[float, typer.Option("--edge", help="Of --synth: how predictable the market is, 0 to 0.5.")] = 0.06,
    start: Annotated[
        str | None, typer.Option("--start", help="Market time at the start, UTC [default: the middle of the candles].")
    ] = None,
    speed: Annotated[
        float | None, typer.Option("--speed", help="Market seconds for each second [default: 60].", min=0.001)
    ] = None,
    lockstep: Annotated[
        bool, typer.Option("--lockstep", help="The market moves only when a client has had every closed candle.")
    ] = False,
    wall: Annotated[
        bool, typer.Option("--wall", help="In real time: the candles are moved so that --start is now.")
    ] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="Port on 127.0.0.1; 0 for any.")] = 8899,
    cash: Annotated[str, typer.Option("--cash", help="What the account holds at the start.")] = "10000",
    quote: Annotated[str, typer.Option("--quote", help="The currency of --cash and of all prices.")] = "USDT",
    commission: Annotated[
        float | None, typer.Option("--commission", help="Fraction of each trade [default: the stored one, else 0.001].")
    ] = None,
    slippage: Annotated[float, typer.Option("--slippage", help="Fraction that market orders fill worse.")] = 0.0,
    fees_in_kind: Annotated[
        bool, typer.Option("--fees-in-kind", help="Take the fee of a purchase from what was bought.")
    ] = False,
    state: Annotated[
        Path | None, typer.Option("--state", help="File that survives a restart [default: HOME/exchange.db].")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what the state file holds.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Serve a spot market over HTTP and websocket, until it is interrupted; it goes on where it was stopped."""
    from bot.exchange.persistence import StateFile
    from bot.exchange.server import LocalVenue
    from bot.exchange.signing import ApiKey

    folder = Home.resolve(home)
    clock = _clock(speed, lockstep=lockstep, wall=wall)
    listings, stored_fee = _listings(
        folder, symbols or [], timeframe, quote.strip().upper(), source, (bars, seed, edge) if synth else None
    )
    memory = StateFile(state or folder.root / "exchange.db", fresh=fresh)
    try:
        fee = stored_fee if commission is None else commission
        terms = _terms(listings, memory, clock, cash, fee, slippage, start, in_kind=fees_in_kind)
        exchange = _opened(listings, terms, memory, restamped=wall)
        key, secret = _keys(memory)
        venue = LocalVenue(exchange, clock=clock, keys=[ApiKey(key, secret)], port=port, state=memory, seed=seed)
    except BaseException:
        memory.close()
        raise
    _run(venue, folder, (key, secret), timeframe, Report(as_json=as_json))


def _clock(speed: float | None, *, lockstep: bool, wall: bool) -> Clock:
    from bot.exchange.clocks import Accelerated, Lockstep, Wall

    if lockstep + wall + (speed is not None) > 1:
        raise UsageError("--speed, --lockstep and --wall are three clocks: choose one")
    if lockstep:
        return Lockstep()
    return Wall() if wall else Accelerated(60.0 if speed is None else speed)


def _listings(
    folder: Home,
    symbols: Sequence[str],
    timeframe: str,
    quote: str,
    source: str | None,
    synth: tuple[int, int, float] | None,
) -> tuple[list[Listing], float]:
    """Return what is traded, and the fee that is stored beside it."""
    from bot.broker.rules import ExchangeRules
    from bot.exchange.opening import Listing, pair_of
    from bot.market.store import CandleStore
    from bot.market.synth import SYNTH_RULES
    from ml.synthetic import synthetic_candles
    from registry.names import timeframe_ms

    timeframe_ms(timeframe)
    pairs = [pair_of(text, quote) for text in symbols or (["SYNTH"] if synth else [])]
    if not pairs:
        raise UsageError("an exchange needs something to trade: --symbol BTC/USDT of the store, or --synth")
    if len(set(pairs)) < len(pairs):
        raise UsageError("a symbol was given twice")
    listings, fee = [], _COMMISSION
    for number, (base, _) in enumerate(pairs):
        if synth is not None:
            bars, seed, edge = synth
            try:
                candles = synthetic_candles(bars, edge=edge, seed=seed + number, timeframe=timeframe)
            except ValueError as error:
                raise UsageError(str(error)) from None
            listings.append(Listing(base, quote, candles, SYNTH_RULES))
            continue
        name = symbols[number]
        series = CandleStore(folder.candles).read(name, timeframe, source)
        fee = _COMMISSION if series.taker_fee is None else float(series.taker_fee)
        listings.append(Listing(base, quote, series.candles, series.rules or ExchangeRules()))
    return listings, fee


def _terms(
    listings: Sequence[Listing],
    memory: StateFile,
    clock: Clock,
    cash: str,
    fee: float,
    slippage: float,
    start: str | None,
    *,
    in_kind: bool,
) -> Terms:
    from decimal import Decimal, InvalidOperation

    from bot.broker.fees import FeeSchedule
    from bot.errors import BrokerError
    from bot.exchange.opening import Terms, common_span
    from bot.market.times import parse_moment

    try:
        amount = Decimal(cash)
        fees = FeeSchedule(fee, in_kind)
    except InvalidOperation:
        raise UsageError(f"--cash is {cash!r}: expected an amount such as 10000") from None
    except BrokerError as error:
        raise UsageError(str(error)) from None
    first, end = common_span(listings)
    step = listings[0].candles.step_ms
    middle = first + max(1, (end - first) // step // 2) * step
    begins = middle if start is None else parse_moment(start)
    shift = 0
    if clock.name == "wall":  # what was moved once stays where it is
        noted = memory.fact("shift_ms")
        shift = (clock.wall_ms() - begins) // step * step if noted is None else int(noted)
        begins = max(begins + shift, clock.wall_ms()) if noted is None else begins + shift
    return Terms(amount, fees, slippage, begins, shift)


def _opened(listings: Sequence[Listing], terms: Terms, memory: StateFile, *, restamped: bool) -> LocalExchange:
    from bot.exchange.opening import differences, identity, open_exchange

    exchange = open_exchange(listings, terms)
    now = identity(listings, terms, restamped=restamped)
    before = memory.fact("market")
    if before is not None and before != now:
        raise UsageError(
            f"{memory.path} remembers another market (other {', '.join(differences(before, now))}): start it with the "
            "same options, forget it with --fresh, or keep this one in another file with --state FILE"
        )
    memory.note("market", now)
    if restamped:
        memory.note("shift_ms", str(terms.shift_ms))
    return exchange


def _keys(memory: StateFile) -> tuple[str, str]:
    """Return the keys, which stay the same as long as the state does."""
    import secrets

    found = []
    for name in ("key", "secret"):
        value = memory.fact(name)
        if value is None:
            value = secrets.token_hex(32)
            memory.note(name, value)
        found.append(value)
    return found[0], found[1]


def _run(venue: LocalVenue, folder: Home, keys: tuple[str, str], timeframe: str, report: Report) -> None:
    import asyncio
    import os

    from bot.cli.exchange_view import ExchangeView
    from bot.exchange.announcement import Announcement
    from bot.exchange.server import serve_forever

    announced: list[Announcement] = []

    def ready() -> None:
        exchange = venue.exchange
        found = Announcement(venue.url, *keys, tuple(exchange.symbols), timeframe, venue.clock.name, os.getpid())
        found.write(folder.root)
        announced.append(found)
        report.document(_document(found, venue))
        report.line(f"the local exchange listens at {found.url}  (clock: {found.clock})")
        report.line(textwrap.fill(f"symbols {', '.join(found.symbols)}", _WIDTH, subsequent_indent=" " * 8))
        report.line(f"key     {found.key}\nsecret  {found.secret}\n")
        report.line(_snippet(found, exchange) + "\n")
        sys.stdout.flush()  # whoever started us reads on
        view.start()

    began = time.monotonic()
    with ExchangeView(venue, quiet=report.as_json) as view:
        try:
            asyncio.run(serve_forever(venue, ready, view.update, view.every))
        finally:
            for found in announced:
                found.remove(folder.root)
    report.line(f"stopped after {time.monotonic() - began:.0f} s; the next start goes on from here")


def _document(found: Announcement, venue: LocalVenue) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(found), "market_ms": venue.exchange.now_ms, "control": f"{found.url}/local/state"}


def _snippet(found: Announcement, exchange: LocalExchange) -> str:
    symbol = found.symbols[0]
    market = exchange.market(symbol)
    price = float(exchange.last_price(symbol))
    size = max(float(market.min_quantity), round(100.0 / price, 5))
    return _SNIPPET.format(
        url=found.url,
        ws=found.url.replace("http", "ws", 1),
        key=found.key,
        secret=found.secret,
        pair=f"{market.base}/{market.quote}",
        size=f"{size:g}",
    )
