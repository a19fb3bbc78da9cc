"""A local exchange and unmodified ccxt clients for it; nothing of theirs can reach another host."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

import ccxt
import ccxt.pro
import numpy as np

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.server import ExchangeServer
from bot.exchange.tape import Tape
from ml.candles import Candles
from registry.names import timeframe_ms

START_MS = 1_699_999_200_000  # an hour's open
RULES = ExchangeRules(
    price_tick=Decimal("0.01"), lot_step=Decimal("0.00001"), min_qty=Decimal("0.00001"), min_notional=Decimal(5)
)


def local_config(url: str, key: str = "key", secret: str = "secret", **extra) -> dict:
    """Return the configuration of ``ccxt.binance`` (sync, async or pro) for the local exchange.

    Every url is replaced, as ccxt merges what is given into its own; what spot trading does not need points at a path that
    the exchange refuses and lists as a stray.
    """
    described = ccxt.pro.binance().describe()["urls"]["api"]
    api = {name: f"{url}/elsewhere/{name}" for name in described if name != "ws"}
    api["public"] = api["private"] = f"{url}/api/v3"
    ws = url.replace("http", "ws", 1)
    sockets = {name: f"{ws}/elsewhere/{name}" for name in described["ws"]}
    sockets["spot"] = sockets["margin"] = f"{ws}/stream/ws"
    sockets["ws-api"] = {name: f"{ws}/elsewhere/{name}" for name in described["ws"]["ws-api"]}
    sockets["ws-api"]["spot"] = f"{ws}/ws-api/v3"
    api["ws"] = sockets
    config = {
        "apiKey": key,
        "secret": secret,
        "urls": {"api": api},
        "timeout": 5000,
        "enableRateLimit": False,
        # ccxt knows the errors of spot by the real host's name only
        "exceptions": {"exact": dict(ccxt.binance().exceptions["spot"]["exact"])},
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},
            "fetchCurrencies": False,
            "fetchMargins": False,
            "adjustForTimeDifference": False,
            "recvWindow": 5000,
            "fetchOpenOrders": {"warnWithoutSymbol": False},
            "warnOnFetchOpenOrdersWithoutSymbol": False,
        },
    }
    config.update(extra)
    return config


def walk(bars: int = 300, *, seed: int = 7, price: float = 30_000.0, timeframe: str = "1m") -> Candles:
    """Return a random walk on a tick of 0.01 whose opens differ from the closes before them."""
    random = np.random.default_rng(seed)
    step = timeframe_ms(timeframe)
    closes = price * np.exp(np.cumsum(random.normal(0.0, 0.002, bars)))
    opens = np.concatenate([[price], closes[:-1]]) * (1.0 + random.normal(0.0, 0.0003, bars))
    highs = np.maximum(opens, closes) * (1.0 + np.abs(random.normal(0.0, 0.001, bars)))
    lows = np.minimum(opens, closes) * (1.0 - np.abs(random.normal(0.0, 0.001, bars)))
    return Candles(
        timeframe=timeframe,
        open_ms=START_MS + step * np.arange(bars),
        open=np.round(opens, 2),
        high=np.round(highs, 2),
        low=np.round(lows, 2),
        close=np.round(closes, 2),
        volume=np.round(np.abs(random.normal(10.0, 3.0, bars)), 5),
    )


def path(prices: list[tuple[float, float, float, float]], timeframe: str = "1m") -> Candles:
    """Return candles of given open, high, low and close."""
    rows = np.array(prices, dtype=float)
    times = START_MS + timeframe_ms(timeframe) * np.arange(len(rows))
    return Candles(timeframe, times, *rows.T)


def local_exchange(candles: Candles | dict[str, Candles] | None = None, *, first: int = 20, **options) -> LocalExchange:
    """Return a market of candles, by default a walk of BTCUSDT, where ``first`` candles have closed."""
    given = walk() if candles is None else candles
    by_symbol = given if isinstance(given, dict) else {"BTCUSDT": given}
    tapes = {
        symbol: (Market(symbol, symbol.removesuffix("USDT"), "USDT", RULES), Tape(series))
        for symbol, series in by_symbol.items()
    }
    series = next(iter(by_symbol.values()))
    options.setdefault("fees", FeeSchedule(0.001))
    options.setdefault("balances", {"USDT": Decimal(10_000), "BTC": Decimal(0)})
    balances = options.pop("balances")
    return LocalExchange(tapes, balances, start_ms=int(series.open_ms[0]) + first * series.step_ms, **options)


@contextmanager
def sync_client(url: str, **extra) -> Iterator[ccxt.binance]:
    """Yield a sync client that knows its markets; its sockets are closed at the end."""
    client = ccxt.binance(local_config(url, **extra))
    try:
        client.load_markets()
        yield client
    finally:
        client.session.close()


def play(server: ExchangeServer, bars: int = 1) -> None:
    """Let so many candles pass."""
    server.call(lambda: server.venue.desk.advance(bars))
