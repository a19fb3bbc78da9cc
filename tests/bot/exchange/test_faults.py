"""Faults on order: each kind as a client meets it, and what the exchange took."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

import ccxt
import pytest
from local_ccxt import START_MS, local_exchange, play, sync_client, walk

from bot.errors import UsageError
from bot.exchange.clocks import Lockstep
from bot.exchange.faults import CANDLE_KINDS, EVENT_KINDS, REPLY_KINDS, Fault, FaultPlan
from bot.exchange.limits import RateLimits
from bot.exchange.server import ExchangeServer

SYMBOL = "BTC/USDT"
STEP = 60_000
ORDER = {"path": "/api/v3/order", "method": "POST"}


@pytest.fixture
def server():
    with ExchangeServer(local_exchange()) as running:
        yield running


@pytest.fixture
def client(server):
    with sync_client(server.url, timeout=400) as found:
        yield found


def local(server, method: str, path: str, body=None):
    """Ask below /local/ and return status and document."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data=data, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as reply:
            return reply.status, json.load(reply)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def buy(client, **params):
    return client.create_order(SYMBOL, "market", "buy", 0.01, None, params)


def taken(server) -> int:
    return server.call(lambda: len(server.exchange.trades("BTCUSDT")))


# kind -> (what ccxt makes of it, whether the order was taken)
OUTCOMES = [
    (Fault("reset_before", **ORDER), ccxt.NetworkError, 0),
    (Fault("reset_after", **ORDER), ccxt.NetworkError, 1),
    (Fault("delay_after", delay=0.6, **ORDER), ccxt.RequestTimeout, 1),
    (Fault("status", status=429, retry_after=7, **ORDER), ccxt.DDoSProtection, 0),
    (Fault("status", status=418, retry_after=120, **ORDER), ccxt.DDoSProtection, 0),
    (Fault("status", status=500, **ORDER), ccxt.ExchangeNotAvailable, 0),
    (Fault("status", status=502, **ORDER), ccxt.ExchangeNotAvailable, 0),
    (Fault("status", status=503, **ORDER), ccxt.ExchangeNotAvailable, 0),
    (Fault("error_before", code=-1000, **ORDER), ccxt.OperationFailed, 0),
    (Fault("error_before", code=-1001, **ORDER), ccxt.OperationFailed, 0),
    (Fault("error_before", code=-1006, **ORDER), ccxt.OperationFailed, 0),
    (Fault("error_before", code=-1007, **ORDER), ccxt.RequestTimeout, 0),
    (Fault("error_after", code=-1007, **ORDER), ccxt.RequestTimeout, 1),
    (Fault("error_after", code=-1006, **ORDER), ccxt.OperationFailed, 1),
    (Fault("error_before", code=-1008, **ORDER), ccxt.OperationFailed, 0),
    (Fault("error_before", code=-1021, **ORDER), ccxt.InvalidNonce, 0),
    (Fault("error_before", code=-2015, **ORDER), ccxt.AuthenticationError, 0),
]


@pytest.mark.parametrize(
    ("fault", "error", "orders"), OUTCOMES, ids=[f"{f.kind}{f.status or f.code}" for f, _, _ in OUTCOMES]
)
def test_faults_that_are_errors(server, client, fault, error, orders):
    server.faults.add(fault)
    with pytest.raises(error):
        buy(client)
    if fault.retry_after:
        assert client.last_response_headers["Retry-After"] == str(fault.retry_after)
    assert taken(server) == orders
    buy(client)  # it was met once
    assert taken(server) == orders + 1
    assert server.faults.counts == {fault.kind: 1}


@pytest.mark.parametrize("kind", ["cut_json", "html", "empty_object", "empty_list"])
def test_rubbish_with_status_200_is_no_error_to_ccxt_and_the_order_was_taken(server, client, kind):
    server.faults.add(Fault(kind, **ORDER))
    assert buy(client)["id"] is None
    assert taken(server) == 1
    server.faults.add(Fault(kind, path="/api/v3/klines"))
    try:
        rows = client.fetch_ohlcv(SYMBOL, "1m", limit=5)
    except ccxt.BaseError:
        rows = []
    sound = len(rows) == 5 and all(isinstance(cell, (int, float)) for row in rows for cell in row)
    assert not sound


def test_silence_before_and_the_order_is_taken_after_the_client_gave_up(server, client):
    server.faults.add(Fault("delay_before", delay=0.6, **ORDER))
    with pytest.raises(ccxt.RequestTimeout):
        buy(client)
    assert taken(server) == 0
    deadline = time.monotonic() + 5
    while taken(server) == 0:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert taken(server) == 1


def test_late_acceptance_within_the_window_of_the_request(server, client):
    server.faults.add(Fault("late_acceptance", delay=0.3, **ORDER))
    with pytest.raises(ccxt.NetworkError):
        buy(client, newClientOrderId="late")
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(None, SYMBOL, {"origClientOrderId": "late"})
    time.sleep(0.5)
    assert client.fetch_order(None, SYMBOL, {"origClientOrderId": "late"})["status"] == "closed"


def test_late_acceptance_after_the_window_is_refused(server, client):
    client.options["recvWindow"] = 200
    server.faults.add(Fault("late_acceptance", delay=0.3, **ORDER))
    with pytest.raises(ccxt.NetworkError):
        buy(client, newClientOrderId="late")
    time.sleep(0.5)
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(None, SYMBOL, {"origClientOrderId": "late"})
    assert server.requests[-2]["status"] == 400


def test_duplicate_rows(server, client):
    server.faults.add(Fault("duplicate_reply", **ORDER), Fault("duplicate_reply", path="/api/v3/myTrades"))
    order = buy(client)
    assert [fill["tradeId"] for fill in order["info"]["fills"]] == [1, 1]
    assert [trade["id"] for trade in client.fetch_my_trades(SYMBOL)] == ["1", "1"]
    assert taken(server) == 1


def newest(client, limit: int = 4):
    return client.public_get_klines({"symbol": "BTCUSDT", "interval": "1m", "limit": str(limit)})


def test_hidden_candles(server, client):
    true = newest(client)
    server.faults.add(Fault("hide_candle", count=2))
    assert newest(client)[1:] == [row for row in true if row != true[-2]][1:]
    assert true[-2] not in newest(client)
    assert newest(client) == true
    server.faults.add(Fault("hide_candle", open_ms=START_MS + 5 * STEP, count=None))
    assert newest(client) == true  # not among them
    for _ in range(3):
        assert len(newest(client, 100)) == 20
    server.faults.clear()
    assert len(newest(client, 100)) == 21
    assert server.faults.counts == {"hide_candle": 5}


def test_late_candles_look_as_if_they_were_forming(server, client):
    server.faults.add(Fault("late_candle", open_ms=START_MS + 19 * STEP, count=1))
    late = newest(client)
    assert (late[-1][0], late[-1][1], late[-1][4]) == (START_MS + 19 * STEP, late[-1][2], late[-1][3])
    assert newest(client)[-1][0] == START_MS + 20 * STEP


def test_revised_candles(server, client):
    true = newest(client)[-2]
    server.faults.add(Fault("revise_candle", factor=1.01))
    revised = newest(client)[-2]
    assert float(revised[4]) == pytest.approx(float(true[4]) * 1.01)
    assert float(revised[2]) >= float(revised[4])
    assert (revised[0], revised[1]) == (true[0], true[1])
    assert newest(client)[-2] == true


@pytest.mark.parametrize(
    ("variant", "broken"),
    [
        ("future", lambda row: row[0] > START_MS + 500 * STEP),
        ("unaligned", lambda row: row[0] % STEP),
        ("nan", lambda row: row[4] == "NaN"),
        ("high_below_low", lambda row: float(row[2]) < float(row[3])),
    ],
)
def test_broken_candles(server, client, variant, broken):
    server.faults.add(Fault("broken_candle", variant=variant, symbol="BTCUSDT"))
    assert any(broken(row) for row in newest(client))
    assert not any(broken(row) for row in newest(client))


def test_a_faulty_candle_moves_no_time_forward(server, client):
    """A client that did not get the newest candle asks for it again, and must still find it as the newest."""
    since = START_MS + 18 * STEP
    client.fetch_ohlcv(SYMBOL, "1m", since=since)
    server.faults.add(Fault("hide_candle", count=3))
    for _ in range(3):
        assert START_MS + 19 * STEP not in [row[0] for row in client.fetch_ohlcv(SYMBOL, "1m", since=since)]
    assert [row[0] for row in client.fetch_ohlcv(SYMBOL, "1m", since=since)][-2:] == [since + STEP, since + 2 * STEP]


def test_halt_and_delist_happen_at_once_or_at_a_request(server, client):
    server.call(lambda: server.venue.control.order([Fault("halt", symbol="BTCUSDT")]))
    with pytest.raises(ccxt.MarketClosed):
        buy(client)
    assert local(server, "POST", "/local/status", {"symbol": "BTCUSDT", "status": "TRADING"})[0] == 200
    server.faults.add(Fault("delist", symbol="BTCUSDT", skip=1, **ORDER))
    buy(client)
    with pytest.raises(ccxt.BadSymbol):
        buy(client)
    assert server.faults.counts == {"halt": 1, "delist": 1}


def test_a_clock_that_is_off(server, client):
    assert local(server, "POST", "/local/faults", {"kind": "clock_skew", "value": 60_000})[0] == 200
    with pytest.raises(ccxt.InvalidNonce):
        buy(client)
    assert abs(client.fetch_time() - time.time() * 1000 - 60_000) < 2_000
    client.load_time_difference()
    client.options["adjustForTimeDifference"] = True
    buy(client)
    local(server, "DELETE", "/local/faults")
    assert abs(client.fetch_time() - time.time() * 1000) < 2_000


def test_skip_count_method_and_path_choose_the_requests():
    plan = FaultPlan()
    plan.add(Fault("status", path="/api/v3/order", method="POST", skip=1, count=2))
    met = [
        plan.take(method, "/api/v3/order") is not None for method in ("GET", "POST", "POST", "DELETE", "POST", "POST")
    ]
    assert met == [False, False, True, False, True, False]
    assert not plan
    assert plan.take("POST", "/api/v3/order/oco") is None


def test_random_faults_are_the_same_for_the_same_seed():
    def met(seed: int) -> list[str | None]:
        plan = FaultPlan(seed)
        plan.add_random(("reset_before", "html", "delay_after"), 0.05, delay=0.0)
        faults = [plan.take("GET", "/api/v3/klines") for _ in range(2000)]
        return [None if fault is None else fault.kind for fault in faults]

    assert met(1) == met(1) != met(2)
    for kind in ("reset_before", "html", "delay_after"):
        assert 60 < met(1).count(kind) < 140


@pytest.mark.parametrize(
    ("properties", "message"),
    [
        ({"kind": "rest_before"}, "did you mean 'reset_before'"),
        ({}, "a fault needs a kind"),
        ({"kind": "html", "pth": "/"}, "unknown property 'pth'"),
        ({"kind": "html", "path": "("}, "is no regular expression"),
        ({"kind": "html", "rate": 2}, "a chance above 0 and up to 1"),
        ({"kind": "html", "count": 0}, "a count of at least 1"),
        ({"kind": "html", "count": "3"}, "expected int | None"),
        ({"kind": "halt"}, "needs a symbol"),
        ({"kind": "broken_candle", "variant": "odd"}, "unknown variant"),
    ],
)
def test_faults_that_make_no_sense(server, properties, message):
    with pytest.raises(UsageError, match=message.split("|", maxsplit=1)[0]):
        Fault.from_dict(properties)
    status, document = local(server, "POST", "/local/faults", properties)
    assert status == 400
    assert message in document["error"]


def test_every_kind_of_the_table_survives_json():
    for kind in (*REPLY_KINDS, *CANDLE_KINDS, *EVENT_KINDS):
        fault = Fault(kind, symbol="BTCUSDT", rate=0.5, count=None)
        assert Fault.from_dict(json.loads(json.dumps(fault.to_dict()))) == fault


def test_the_local_door(server, client):
    assert local(
        server, "POST", "/local/faults", [{"kind": "html", "path": "/x"}, {"kind": "status", "path": "/y"}]
    ) == (
        200,
        {"ids": [1, 2]},
    )
    assert [fault["kind"] for fault in local(server, "GET", "/local/faults")[1]["faults"]] == ["html", "status"]
    assert local(server, "DELETE", "/local/faults?id=1") == (200, {"removed": True})
    assert local(server, "DELETE", "/local/faults?id=1") == (200, {"removed": False})
    assert [fault["id"] for fault in local(server, "GET", "/local/faults")[1]["faults"]] == [2]
    assert local(server, "POST", "/local/advance", {"candles": 2}) == (200, {"market_ms": START_MS + 22 * STEP})
    assert local(server, "POST", "/local/advance", {"ms": 30_000})[1]["market_ms"] == START_MS + 22 * STEP + 30_000
    assert local(server, "POST", "/local/advance", {"to_ms": START_MS})[1]["market_ms"] == START_MS + 22 * STEP + 30_000
    state = local(server, "GET", "/local/state")[1]
    assert state["market_ms"] == START_MS + 22 * STEP + 30_000
    assert state["symbols"] == {"BTCUSDT": {"status": "TRADING", "price": repr(float(walk().open[22]))}}
    buy(client)
    last = local(server, "GET", "/local/requests")[1][-1]
    assert (last["method"], last["path"], last["status"], last["fault"]) == ("POST", "/api/v3/order", 200, None)
    assert "side=BUY" in last["parameters"]
    assert "signature" not in last["parameters"]
    assert local(server, "GET", f"/local/requests?after={last['number']}")[1] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "message"),
    [
        ("POST", "/local/advance", {"bars": 1}, "expected one of"),
        ("POST", "/local/advance", {"candles": -1}, "not negative"),
        ("POST", "/local/advance", {"candles": True}, "not negative"),
        ("POST", "/local/status", {"symbol": "ETHUSDT", "status": "HALT"}, "expected one of BTCUSDT"),
        ("POST", "/local/status", {"symbol": "BTCUSDT", "status": "OPEN"}, "expected one of TRADING"),
        ("POST", "/local/faults", 5, "expected a fault"),
        ("GET", "/local/stat", None, "did you mean 'GET /local/state'"),
        ("GET", "/local/requests?after=x", None, "expected a whole number"),
    ],
)
def test_the_local_door_says_what_it_expects(server, method, path, body, message):
    status, document = local(server, method, path, body)
    assert status in {400, 404}
    assert message in document["error"]


def test_weights_are_counted_and_limited():
    limits = RateLimits(weight=100, orders_10s=3)
    moment = time.time() + 1.5
    still = Lockstep(lambda: moment)  # no new minute begins meanwhile
    with ExchangeServer(local_exchange(), clock=still, limits=limits) as server, sync_client(server.url) as client:
        assert client.last_response_headers["X-MBX-USED-WEIGHT-1M"] == "20"
        for _ in range(3):
            buy(client)
        assert client.last_response_headers["X-MBX-ORDER-COUNT-10S"] == "3"
        with pytest.raises(ccxt.DDoSProtection, match="-1015"):
            buy(client)
        while int(client.last_response_headers["X-MBX-USED-WEIGHT-1M"]) <= 80:
            client.fetch_balance()
        with pytest.raises(ccxt.DDoSProtection, match="-1003"):
            client.fetch_balance()
        assert 1 <= int(client.last_response_headers["Retry-After"]) <= 60
        assert taken(server) == 3
        for _ in range(30):
            with pytest.raises(ccxt.DDoSProtection):
                client.fetch_balance()
        assert "418" in str(client.last_http_response) or "banned" in client.last_http_response


def test_a_new_minute_forgives():
    limits = RateLimits(weight=10)
    for _ in range(5):
        limits.charge(2, 60_000)
    with pytest.raises(Exception, match="-1003"):
        limits.charge(2, 119_999)
    limits.charge(2, 120_000)
    assert limits.weight_headers(120_000)["X-MBX-USED-WEIGHT"] == "2"


def test_what_no_endpoint_answers_is_listed(server, client):
    with pytest.raises(ccxt.OperationFailed):
        client.sapi_get_asset_dribblet()
    assert server.strays == ["GET /elsewhere/sapi/asset/dribblet"]
    with pytest.raises(ccxt.OperationFailed):
        client.private_post_sor_order()
    assert len(server.strays) == 1


def test_the_server_stops_while_a_fault_keeps_a_request_waiting():
    with ExchangeServer(local_exchange()) as server, sync_client(server.url, timeout=100) as client:
        server.faults.add(Fault("delay_after", delay=60.0, path="/api/v3/time"))
        with pytest.raises(ccxt.RequestTimeout):
            client.fetch_time()
        server.faults.add(Fault("late_acceptance", delay=60.0, **ORDER))
        with pytest.raises(ccxt.NetworkError):
            buy(client)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 3
    assert server.exchange.trades("BTCUSDT") == []


def test_a_market_at_its_end_stays_there(server, client):
    play(server, 10_000)
    rows = client.fetch_ohlcv(SYMBOL, "1m", limit=2)
    assert rows[-1][0] == START_MS + 299 * STEP
    assert rows[-1][4] == float(walk().close[299])
    for _ in range(3):
        client.fetch_ohlcv(SYMBOL, "1m", since=rows[-1][0])
    assert server.exchange.now_ms == START_MS + 300 * STEP
