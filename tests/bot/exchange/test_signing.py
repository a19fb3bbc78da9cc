"""Keys, signatures and time windows, in the exchange's own order of checks."""

from __future__ import annotations

import time
from http.client import HTTPConnection
from urllib.parse import urlencode

import pytest
from local_ccxt import local_exchange

from bot.exchange.clocks import Accelerated, Lockstep, Wall
from bot.exchange.refusals import Refusal
from bot.exchange.server import ExchangeServer
from bot.exchange.signing import ApiKey, Deadline, KeyRing, sign

# The worked example of Binance's documentation of signed endpoints.
DOCUMENTED_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
DOCUMENTED_KEY = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
DOCUMENTED_PAYLOAD = (
    "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
)
DOCUMENTED_SIGNATURE = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
DOCUMENTED_QUERY = "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC"
DOCUMENTED_BODY = "quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559"
DOCUMENTED_MIXED = "0fd168b8ddb4876a0358a8d14d0c9f3da0e9b20c5d52b2a00fcf7d1c602f9a77"

NOW = 1_499_827_319_600
RING = KeyRing([ApiKey(DOCUMENTED_KEY, DOCUMENTED_SECRET), ApiKey("look", "s", can_trade=False)])


def parameters(*parts: str) -> dict[str, str]:
    return dict(pair.split("=", 1) for part in parts for pair in part.split("&") if pair)


def check(query: str, body: str = "", key: str | None = DOCUMENTED_KEY, now: int = NOW, **options) -> Deadline:
    return RING.check(key, query, body, parameters(query, body), now, **options)


def code(query: str, body: str = "", **options) -> int:
    with pytest.raises(Refusal) as caught:
        check(query, body, **options)
    return caught.value.code


def test_the_documented_signatures_hold():
    assert sign(DOCUMENTED_SECRET, DOCUMENTED_PAYLOAD) == DOCUMENTED_SIGNATURE
    check(f"{DOCUMENTED_PAYLOAD}&signature={DOCUMENTED_SIGNATURE}")
    check("", f"{DOCUMENTED_PAYLOAD}&signature={DOCUMENTED_SIGNATURE}")
    check(DOCUMENTED_QUERY, f"{DOCUMENTED_BODY}&signature={DOCUMENTED_MIXED}")  # joined without an ampersand
    check(f"{DOCUMENTED_QUERY}&signature={DOCUMENTED_MIXED}", DOCUMENTED_BODY)


def test_one_changed_byte_is_another_signature():
    signed = f"{DOCUMENTED_PAYLOAD}&signature={DOCUMENTED_SIGNATURE}"
    assert code(signed.replace("quantity=1", "quantity=2")) == -1022
    assert code(signed.replace("LTCBTC", "LTC%42TC")) == -1022  # the same meaning in other bytes
    assert code(signed[:-1] + ("0" if signed[-1] != "0" else "1")) == -1022
    assert code(f"{DOCUMENTED_PAYLOAD}&signature=nothexé") == -1022


def test_the_checks_come_in_the_order_of_the_exchange():
    wrong = f"{DOCUMENTED_PAYLOAD}&signature={'0' * 64}"
    late = NOW + 60_000
    assert code(wrong, key=None, now=late) == -2014
    assert code(wrong, key="nobody", now=late) == -2015
    assert code(wrong, now=late) == -1022
    assert code(f"{DOCUMENTED_PAYLOAD}&signature={DOCUMENTED_SIGNATURE}", now=late) == -1021
    assert code(DOCUMENTED_PAYLOAD) == -1102  # no signature at all


def signed(text: str, secret: str = DOCUMENTED_SECRET) -> str:
    return f"{text}&signature={sign(secret, text)}"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("recvWindow=5000", -1102),
        ("timestamp=yesterday", -1102),
        ("timestamp=-5", -1102),
        (f"timestamp={NOW}&recvWindow=60001", -1131),
        (f"timestamp={NOW}&recvWindow=soon", -1100),
        (f"timestamp={NOW + 1000}", -1021),
        (f"timestamp={NOW - 5001}", -1021),
        (f"timestamp={NOW - 101}&recvWindow=100", -1021),
    ],
)
def test_times_out_of_the_window(query, expected):
    assert code(signed(query)) == expected


@pytest.mark.parametrize(
    "query",
    [
        f"timestamp={NOW + 999}",
        f"timestamp={NOW - 5000}",
        f"timestamp={NOW - 59_999}&recvWindow=60000",
        f"timestamp={NOW - 100}&recvWindow=100.5",
        f"timestamp={(NOW - 100) * 1000}&recvWindow=200",  # microseconds
    ],
)
def test_times_within_the_window(query):
    check(signed(query))


def test_the_deadline_is_checked_again_before_the_matching_engine():
    deadline = check(signed(f"timestamp={NOW}&recvWindow=1000"))
    deadline.check(NOW + 1000)
    with pytest.raises(Refusal) as caught:
        deadline.check(NOW + 1001)
    assert caught.value.code == -1021


def test_a_read_only_key_may_look_and_not_trade():
    query = signed(f"timestamp={NOW}", "s")
    check(query, key="look")
    assert code(query, key="look", trades=True) == -2015


def test_messages_of_the_websocket_are_signed_in_alphabetical_order():
    message = {"timestamp": str(NOW), "apiKey": DOCUMENTED_KEY, "recvWindow": "5000"}
    payload = f"apiKey={DOCUMENTED_KEY}&recvWindow=5000&timestamp={NOW}"
    RING.check_socket({**message, "signature": sign(DOCUMENTED_SECRET, payload)}, NOW)
    with pytest.raises(Refusal) as caught:
        RING.check_socket({**message, "signature": sign(DOCUMENTED_SECRET, urlencode(message))}, NOW)
    assert caught.value.code == -1022


def test_signatures_are_over_the_bytes_on_the_wire():
    """A client that escapes in its own way signs what it sends, and that is what is checked."""
    with ExchangeServer(local_exchange()) as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=5)
        try:
            for escaped in ("bot%2D1", "bot-1"):
                text = f"symbol=BTCUSDT&origClientOrderId={escaped}&timestamp={int(time.time() * 1000)}"
                connection.request("GET", f"/api/v3/order?{signed(text, 'secret')}", headers={"X-MBX-APIKEY": "key"})
                assert b"-2013" in connection.getresponse().read()  # it came through: there is no such order
        finally:
            connection.close()


def test_clocks_keep_the_market_apart_from_the_wall():
    moment = [1_000.0]

    def now() -> float:
        return moment[0]

    still, fast, wall = Lockstep(now), Accelerated(60.0, now), Wall(now)
    fast.set_market(5_000_000)
    assert (still.market_ms(), fast.market_ms(), wall.market_ms()) == (None, 5_000_000, 1_000_000)
    moment[0] += 2.5
    assert (still.market_ms(), fast.market_ms(), wall.market_ms()) == (None, 5_150_000, 1_002_500)
    assert [clock.wall_ms() for clock in (still, fast, wall)] == [1_002_500] * 3
    assert fast.seconds_until(5_270_000) == pytest.approx(2.0)
    assert wall.seconds_until(1_010_000) == pytest.approx(7.5)
    wall.skew_ms = 60_000
    assert wall.wall_ms() - wall.market_ms() == 60_000
