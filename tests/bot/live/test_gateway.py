"""The gateway: whatever an exchange replies, a request ends in a value or in an error that says whether it happened."""

from __future__ import annotations

from decimal import Decimal

import pytest
from local_ccxt import local_exchange, play

from bot.errors import UsageError
from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer
from bot.live.answers import AccessDenied, NoAnswer, NotFound, Refused, read_order
from bot.live.client import Keys, trading_client
from bot.live.gateway import Gateway
from bot.live.orders import Ticket

ORDER = r"/api/v3/order"


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def server():
    with ExchangeServer(local_exchange()) as running:
        yield running


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def gateway(server, seconds):
    opened = Gateway(trading_client("binance", Keys("key", "secret"), endpoint=server.url, timeout_ms=300), seconds)
    opened.open(["BTCUSDT"])
    yield opened
    opened.close()


def ticket(number: int = 0, kind: str = "market", **prices) -> Ticket:
    return Ticket(f"mbtest-{number}b", "BTCUSDT", 0, "buy", kind, "entry", Decimal("0.01"), **prices)


def resting(number: int = 0) -> Ticket:
    return ticket(number, "limit", price=Decimal("20000.00"))


# ---- sound replies


def test_a_filled_order_carries_its_trades(gateway):
    report = gateway.send(ticket())
    assert (report.status, report.executed) == ("filled", Decimal("0.01"))
    (trade,) = report.executions
    assert (trade.size, trade.fee_asset) == (Decimal("0.01"), "USDT")
    assert gateway.find("BTCUSDT", "mbtest-0b").executions is None
    assert gateway.executions("BTCUSDT", gateway.find("BTCUSDT", "mbtest-0b")) == (trade,)


def test_a_pair_is_one_list_and_cancelling_one_cancels_both(gateway):
    gateway.send(ticket())
    stop = Ticket(
        "mbtest-0S",
        "BTCUSDT",
        0,
        "sell",
        "stop",
        "stop",
        Decimal("0.01"),
        None,
        Decimal(20000),
        "mbtest-0L",
        "mbtest-0b",
    )
    target = Ticket(
        "mbtest-0T",
        "BTCUSDT",
        0,
        "sell",
        "limit",
        "target",
        Decimal("0.01"),
        Decimal(90000),
        None,
        "mbtest-0L",
        "mbtest-0b",
    )
    assert {report.client_id for report in gateway.send_pair(stop, target)} == {"mbtest-0S", "mbtest-0T"}
    assert len(gateway.open_orders("BTCUSDT")) == 2
    ended = gateway.cancel("BTCUSDT", "mbtest-0T")
    assert [report.client_id for report in ended] == [
        "mbtest-0T",
        "mbtest-0S",
    ]  # the one that was asked for comes first
    assert {report.status for report in ended} == {"cancelled"}
    for report in ended:
        assert gateway.find("BTCUSDT", report.client_id) == report
    with pytest.raises(NotFound):
        gateway.cancel("BTCUSDT", "mbtest-0S")


def test_the_last_candle_is_the_forming_one(gateway, server):
    before = gateway.candles("BTCUSDT", "1m", limit=3)
    play(server)
    after = gateway.candles("BTCUSDT", "1m", since_ms=int(before.open_ms[-2]))
    assert after.open_ms[0] == before.open_ms[-2]
    assert len(after) == 3


def test_an_unknown_symbol_is_named_with_the_nearest(gateway):
    with pytest.raises(UsageError, match="BTCUSDT"):
        gateway.open(["BTCUSTD"])


# ---- rubbish


@pytest.mark.parametrize("kind", ["cut_json", "html", "empty_object", "empty_list", "reset_before", "reset_after"])
@pytest.mark.parametrize(
    "ask",
    [
        lambda gateway: gateway.send(resting(1)),
        lambda gateway: gateway.find("BTCUSDT", "mbtest-0b"),
        lambda gateway: gateway.candles("BTCUSDT", "1m", since_ms=1_699_999_200_000, end_ms=1_700_000_000_000),
        lambda gateway: gateway.account(),
        lambda gateway: gateway.free("USDT"),
        lambda gateway: gateway.time_ms(),
        lambda gateway: gateway.open(["BTCUSDT"]),
        lambda gateway: gateway.set_clock(),
    ],
    ids=["send", "find", "candles", "account", "free", "time", "markets", "clock"],
)
def test_a_broken_reply_is_no_answer(gateway, server, kind, ask):
    gateway.send(resting())
    server.faults.add(Fault(kind, path=r"/api/v3/.*", count=3))  # requests and ccxt send a cut GET no second time
    try:
        value = ask(gateway)
    except NoAnswer:
        return
    assert kind == "empty_list", f"{kind} was read as {value!r}"
    assert len(value) == 0, "an empty list of candles is a list of candles"


@pytest.mark.parametrize("kind", ["cut_json", "html", "empty_object"])
def test_a_broken_list_is_no_answer(gateway, server, kind):
    report = gateway.send(ticket())
    server.faults.add(Fault(kind, count=2))
    with pytest.raises(NoAnswer):
        gateway.open_orders("BTCUSDT")
    with pytest.raises(NoAnswer):
        gateway.executions("BTCUSDT", report)


@pytest.mark.parametrize("variant", ["future", "unaligned", "nan", "high_below_low"])
def test_a_candle_that_no_market_makes_is_never_delivered_as_closed(gateway, server, variant):
    sound = gateway.candles("BTCUSDT", "1m", limit=5)
    server.faults.add(Fault("broken_candle", variant=variant))
    try:
        broken = gateway.candles("BTCUSDT", "1m", limit=5)
    except NoAnswer:
        return
    assert broken.off_grid.any() or set(broken.open_ms.tolist()) <= set(sound.open_ms.tolist())


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_an_error_of_the_server_may_have_happened(gateway, server, status):
    server.faults.add(Fault("status", path=ORDER, method="POST", status=status))
    with pytest.raises(NoAnswer):
        gateway.send(resting())


@pytest.mark.parametrize("code", [-1000, -1001, -1006, -1007, -1008])
@pytest.mark.parametrize("kind", ["error_before", "error_after"])
def test_a_code_that_says_nothing_of_the_fate_may_have_happened(gateway, server, code, kind):
    server.faults.add(Fault(kind, path=ORDER, method="POST", code=code))
    with pytest.raises(NoAnswer):
        gateway.send(resting())
    assert len(server.call(server.exchange.open_orders)) == (kind == "error_after")


def test_silence_longer_than_the_time_out_may_have_happened(gateway, server):
    server.faults.add(Fault("delay_after", path=ORDER, method="POST", delay=0.6))
    with pytest.raises(NoAnswer):
        gateway.send(resting())
    assert len(server.call(server.exchange.open_orders)) == 1


def test_trades_that_come_twice_are_one(gateway, server):
    server.faults.add(Fault("duplicate_reply", path=ORDER, method="POST"))
    report = gateway.send(ticket())
    assert report.executions is None, "the fills of the reply do not add up"
    server.faults.add(Fault("duplicate_reply", path=r"/api/v3/myTrades"))
    (trade,) = gateway.executions("BTCUSDT", report)
    assert trade.size == Decimal("0.01")


def test_trades_that_lag_behind_are_no_answer(gateway, server):
    report = gateway.send(ticket())
    server.faults.add(Fault("empty_list", path=r"/api/v3/myTrades"))
    with pytest.raises(NoAnswer, match="add up"):
        gateway.executions("BTCUSDT", report)


@pytest.mark.parametrize(
    "row",
    [
        None,
        "",
        [],
        {},
        {"clientOrderId": "a"},
        {"clientOrderId": "a", "status": "NEW", "executedQty": "0"},
        {"clientOrderId": "a", "status": "NEW", "executedQty": "NaN", "orderId": 1},
        {"clientOrderId": "a", "status": "NEW", "executedQty": "-1", "orderId": 1},
        {"clientOrderId": "a", "status": "SOLD", "executedQty": "0", "orderId": 1},
        {"clientOrderId": "b", "status": "NEW", "executedQty": "0", "orderId": 1},
        {"clientOrderId": "a", "status": "NEW", "executedQty": "0", "orderId": "x"},
        {"clientOrderId": "a", "status": "FILLED", "executedQty": "1", "orderId": 1, "fills": [{"qty": "1"}]},
        {"clientOrderId": "a", "status": "FILLED", "executedQty": "1", "orderId": 1, "fills": "none"},
    ],
)
def test_what_is_no_order_is_never_read_as_one(row):
    with pytest.raises(NoAnswer):
        read_order(row, "a")


# ---- refusals


@pytest.mark.parametrize(
    ("fault", "wait"),
    [
        ({"kind": "status", "status": 429, "retry_after": 7}, 7.0),
        ({"kind": "status", "status": 418, "retry_after": 120}, 120.0),
        ({"kind": "error_before", "code": -1003, "retry_after": 3}, 3.0),
        ({"kind": "error_before", "code": -1015}, 1.0),
    ],
)
def test_a_rate_limit_pauses_all_requests_and_nothing_leaves_meanwhile(gateway, server, seconds, fault, wait):
    server.faults.add(Fault(**fault))
    with pytest.raises(Refused) as refused:
        gateway.candles("BTCUSDT", "1m", limit=2)
    assert refused.value.wait_s == wait
    before = server.requests[-1]["number"]
    seconds.now += wait - 0.01
    for ask in (
        gateway.time_ms,
        gateway.account,
        lambda: gateway.send(resting()),
        lambda: gateway.find("BTCUSDT", "x"),
    ):
        with pytest.raises(Refused) as quiet:
            ask()
        assert quiet.value.wait_s == pytest.approx(0.01)
    assert server.requests[-1]["number"] == before
    seconds.now += 0.02
    assert gateway.send(resting()).status == "open"


@pytest.mark.parametrize("skew_ms", [30_000, -20_000, 3_600_000])
def test_a_clock_that_is_off_is_measured_again_and_the_next_request_is_taken(gateway, server, skew_ms):
    server.faults.add(Fault("clock_skew", value=skew_ms, count=1))
    gateway.candles("BTCUSDT", "1m", limit=2)  # the clock jumps
    with pytest.raises(Refused) as refused:
        gateway.send(resting())
    assert (refused.value.code, refused.value.wait_s) == (-1021, 0.0)
    assert gateway.send(resting()).status == "open"
    assert gateway.clock_ahead_ms == pytest.approx(-skew_ms, abs=500)
    assert gateway.open_orders("BTCUSDT")[0].client_id == "mbtest-0b"


def test_keys_that_lose_their_permission_are_told_apart(gateway, server):
    gateway.account()  # once a key has worked, ccxt takes the same refusal for a ban
    server.faults.add(Fault("error_before", path=ORDER, code=-2015))
    with pytest.raises(AccessDenied):
        gateway.send(resting())


def test_a_lack_of_cash_is_told_apart(gateway):
    with pytest.raises(Refused) as refused:
        gateway.send(Ticket("mbtest-9b", "BTCUSDT", 0, "buy", "market", "entry", Decimal(100)))
    assert refused.value.is_cash_short
    assert refused.value.wait_s is None


def test_a_market_that_has_halted_refuses(gateway, server):
    server.call(lambda: server.venue.control.happen(Fault("halt", symbol="BTCUSDT")))
    with pytest.raises(Refused) as refused:
        gateway.send(ticket())
    assert refused.value.wait_s is None


def test_an_exchange_that_is_down_is_no_answer(server, seconds):
    gone = Gateway(
        trading_client("binance", Keys("key", "secret"), endpoint="http://127.0.0.1:9", timeout_ms=300), seconds
    )
    with pytest.raises(NoAnswer):
        gone.open(["BTCUSDT"])
    gone.close()
