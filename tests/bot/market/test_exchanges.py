"""The side of ccxt: connecting without a network, markets, terms and errors of clients of other kinds."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import ccxt
import pytest

from bot.errors import ExchangeError, UsageError
from bot.market.exchanges import ExchangeSource, connect
from bot.market.pages import KLINE_PAGE, OHLCV_PAGE, BrokenReply, NoAnswer, closed_until, read_page
from ml.synthetic import START_MS

HOUR = 3_600_000


def client(**changes) -> SimpleNamespace:
    """Return a stub with the parts of a ccxt client that are used."""
    market = {
        "id": "XXBTZUSD", "symbol": "BTC/USD", "base": "BTC", "quote": "USD", "spot": True, "active": True,
        "precision": {"price": 2, "amount": 5}, "limits": {"amount": {"min": 0.0001}, "cost": {"min": None}},
        "maker": 0.0016, "taker": 0.0026,
    }  # fmt: skip
    parts = {
        "id": "kraken",
        "timeframes": {"1m": "1", "1h": "60", "1M": "x"},
        "has": {"fetchTime": False},
        "features": {"spot": {"fetchOHLCV": {"limit": 720}}},
        "precisionMode": ccxt.DECIMAL_PLACES,
        "last_response_headers": {},
        "load_markets": lambda: {"BTC/USD": market},
        "fetch_ohlcv": lambda *arguments: [list(arguments)],
    }
    return SimpleNamespace(**{**parts, **changes})


def source(**changes) -> ExchangeSource:
    return ExchangeSource(client(**changes), "btc-usd", "1h", lambda: 1_234)


def test_the_generic_side() -> None:
    found = source()
    found.open()
    assert found.layout is OHLCV_PAGE
    assert found.page_bars == 720
    assert not found.jumps_gaps
    assert found.now_ms() == 1_234, "no clock there: the local one"
    assert found.page(5, 9) == [["BTC/USD", "1h", 5, 720]]
    terms = found.terms()
    assert terms.rules.price_tick == Decimal("0.01")
    assert terms.rules.lot_step == Decimal("0.00001")
    assert terms.rules.min_qty == Decimal("0.0001")
    assert terms.rules.min_notional is None
    assert (terms.maker_fee, terms.taker_fee) == (Decimal("0.0016"), Decimal("0.0026"))


def test_terms_that_are_not_known_are_none() -> None:
    market = {"id": "a", "symbol": "BTC/USD", "base": "BTC", "quote": "USD", "spot": True, "active": True}
    found = source(precisionMode=ccxt.SIGNIFICANT_DIGITS, features=None, load_markets=lambda: {"x": market})
    found.open()
    assert found.page_bars == 500
    terms = found.terms()
    assert set(terms.rules.to_dict().values()) == {None}
    assert (terms.maker_fee, terms.taker_fee) == (None, None)


def test_markets_of_other_kinds_are_passed_over() -> None:
    base = {"symbol": "BTC/USD", "base": "BTC", "quote": "USD", "spot": True}
    markets = {
        "swap": {**base, "id": "swap", "spot": False, "active": True},
        "strange": {**base, "id": "strange", "base": "b t c $", "active": True},
        "nameless": {"id": "nameless", "spot": True},
        "old": {**base, "id": "old", "active": False},
        "new": {**base, "id": "new", "active": True},
        "older": {**base, "id": "older", "active": False},
    }
    found = source(load_markets=lambda: markets)
    found.open()
    assert found._market["id"] == "new"


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ccxt.NetworkError("no route"), NoAnswer),
        (ccxt.RequestTimeout("late"), NoAnswer),
        (ccxt.ExchangeNotAvailable("down\nfor long"), NoAnswer),
        (ccxt.OperationFailed("-1000"), NoAnswer),
        (ccxt.RateLimitExceeded("slow down"), NoAnswer),
        (KeyError("symbols"), NoAnswer),
        (TypeError("'NoneType'"), NoAnswer),
        (ccxt.BadSymbol("no such market"), ExchangeError),
        (ccxt.PermissionDenied("not you"), ExchangeError),
    ],
)
def test_errors_are_passing_or_final(error, expected) -> None:
    def fail(*_arguments: object) -> None:
        raise error

    found = source(fetch_ohlcv=fail)
    found.open()
    with pytest.raises(expected) as caught:
        found.page(5, 9)
    assert "\n" not in str(caught.value)


def test_the_wait_that_an_exchange_asks_for() -> None:
    def busy(*_arguments: object) -> None:
        raise ccxt.RateLimitExceeded("slow down")

    found = source(fetch_ohlcv=busy, last_response_headers={"Retry-After": "30"})
    found.open()
    with pytest.raises(NoAnswer) as caught:
        found.page(5, 9)
    assert caught.value.wait_s == 30.0


@pytest.mark.parametrize("now", [None, 0, "soon", 1.5])
def test_a_clock_that_is_none_is_asked_again(now) -> None:
    found = source(has={"fetchTime": True}, fetch_time=lambda: now)
    with pytest.raises(NoAnswer, match="time is"):
        found.now_ms()


@pytest.mark.parametrize("markets", [{}, None, []])
def test_no_markets_are_asked_again(markets) -> None:
    with pytest.raises(NoAnswer, match="list of markets is empty"):
        source(load_markets=lambda: markets).open()


def test_connecting_needs_no_network() -> None:
    kraken = connect("Kraken")
    assert kraken.id == "kraken"
    assert kraken.enableRateLimit
    binance = connect("binance")
    assert binance.options["fetchMarkets"]["types"] == ["spot"]
    assert "binance.com" in binance.urls["api"]["public"]
    local = connect("binance", url="http://127.0.0.1:5/")
    assert all(str(address).startswith("http://127.0.0.1:5/") for address in local.urls["api"].values())
    assert local.urls["api"]["public"] == "http://127.0.0.1:5/api/v3"


def test_an_exchange_without_candles_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(ccxt, "kraken", lambda config: SimpleNamespace(has={"fetchOHLCV": None}))
    with pytest.raises(UsageError, match="kraken gives no candles"):
        connect("kraken")


def test_pages_outside_what_was_asked_are_cut() -> None:
    rows = [[START_MS + i * HOUR, 1.0, 2.0, 0.5, 1.5, 10.0] for i in range(5)]
    page = read_page(rows, OHLCV_PAGE, "1h", START_MS + HOUR, START_MS + 3 * HOUR)
    assert page.open_ms.tolist() == [START_MS + HOUR, START_MS + 2 * HOUR]
    assert len(read_page([], KLINE_PAGE, "1h", 0, 1)) == 0
    with pytest.raises(BrokenReply, match="second candle in the same"):
        read_page([rows[0], [rows[0][0] + 1, *rows[0][1:]]], OHLCV_PAGE, "1h", 0, START_MS * 2)
    with pytest.raises(BrokenReply, match="expected a number, got 'x'"):
        read_page([[*rows[0][:4], "x", 1.0]], OHLCV_PAGE, "1h", 0, START_MS * 2)
    with pytest.raises(BrokenReply, match="expected a finite number"):
        read_page([[*rows[0][:4], float("inf"), 1.0]], OHLCV_PAGE, "1h", 0, START_MS * 2)
    with pytest.raises(BrokenReply, match="expected an open time"):
        read_page([[True, *rows[0][1:]]], OHLCV_PAGE, "1h", 0, START_MS * 2)


def test_what_has_closed() -> None:
    assert closed_until(START_MS + HOUR - 1, "1h") == START_MS
    assert closed_until(START_MS + HOUR, "1h") == START_MS + HOUR
    assert closed_until(START_MS + 8 * 24 * HOUR, "1w") == START_MS + 7 * 24 * HOUR
