"""The unmodified sync client of ccxt trades at the local exchange over HTTP."""

from __future__ import annotations

from decimal import Decimal

import ccxt
import pytest
from local_ccxt import START_MS, local_exchange, path, play, sync_client, walk

from bot.broker.fees import FeeSchedule
from bot.exchange.server import ExchangeServer
from bot.exchange.signing import ApiKey

SYMBOL = "BTC/USDT"
STEP = 60_000


@pytest.fixture
def server():
    with ExchangeServer(local_exchange()) as running:
        yield running
        assert running.strays == []


@pytest.fixture
def client(server):
    with sync_client(server.url) as found:
        yield found


def test_markets_have_the_rules_of_the_exchange(client):
    market = client.market(SYMBOL)
    assert market["spot"]
    assert market["active"]
    assert market["precision"]["price"] == 0.01
    assert market["precision"]["amount"] == 1e-5
    assert market["limits"]["cost"]["min"] == 5
    assert market["limits"]["amount"]["min"] == 1e-5


def test_candles_are_those_of_the_tape_and_the_newest_shows_its_open_only(client):
    candles = walk()
    rows = client.fetch_ohlcv(SYMBOL, "1m", limit=1000)
    assert len(rows) == 21
    for k, row in enumerate(rows[:-1]):
        truth = [candles.open, candles.high, candles.low, candles.close, candles.volume]
        assert row == [int(candles.open_ms[k]), *(float(column[k]) for column in truth)]
    forming = float(candles.open[20])
    assert rows[-1] == [START_MS + 20 * STEP, forming, forming, forming, forming, 0.0]


def test_longer_intervals_are_put_together_from_the_base(client):
    candles = walk()
    rows = client.fetch_ohlcv(SYMBOL, "5m", limit=1000)
    assert [row[0] for row in rows] == [START_MS + 5 * STEP * k for k in range(5)]
    assert rows[1][2] == float(candles.high[5:10].max())
    assert rows[1][3] == float(candles.low[5:10].min())
    assert rows[1][4] == float(candles.close[9])
    with pytest.raises(ccxt.BadRequest):
        client.public_get_klines({"symbol": "BTCUSDT", "interval": "1s"})


def test_lockstep_moves_only_when_the_client_has_every_closed_candle(server, client):
    def times(since: int) -> list[int]:
        return [row[0] for row in client.fetch_ohlcv(SYMBOL, "1m", since=since, limit=10)]

    newest = START_MS + 19 * STEP
    assert times(newest - STEP)[-1] == newest + STEP  # not everything was had: it stands
    assert times(newest - STEP)[-1] == newest + STEP
    assert client.fetch_ohlcv(SYMBOL, "1m", limit=5)[-1][0] == newest + STEP
    assert times(newest) == [newest, newest + STEP, newest + 2 * STEP]  # had: one candle more
    assert times(newest)[-1] == newest + 2 * STEP  # not yet had
    assert times(newest + STEP)[-1] == newest + 3 * STEP
    assert server.exchange.now_ms == newest + 3 * STEP


def test_lockstep_waits_for_every_symbol_that_is_followed():
    exchange = local_exchange({"BTCUSDT": walk(seed=1), "ETHUSDT": walk(seed=2, price=2000.0)})
    with ExchangeServer(exchange) as server, sync_client(server.url) as client:

        def newest(symbol: str, since: int) -> int:
            return client.fetch_ohlcv(symbol, "1m", since=since, limit=10)[-1][0]

        had, now = START_MS + 19 * STEP, START_MS + 20 * STEP
        assert newest("BTC/USDT", had) == now
        assert newest("ETH/USDT", had) == now
        assert newest("BTC/USDT", had) == now  # ETH has not said that it has everything
        assert newest("BTC/USDT", had) == now
        assert newest("ETH/USDT", had) == now + STEP
        assert newest("ETH/USDT", had + STEP) == now + STEP  # BTC has not been told yet
        assert newest("BTC/USDT", had) == now + STEP
        assert newest("BTC/USDT", had + STEP) == now + 2 * STEP  # both have
        assert newest("ETH/USDT", had + STEP) == now + 2 * STEP


def test_lockstep_forgets_a_symbol_that_is_followed_no_more():
    exchange = local_exchange({"BTCUSDT": walk(seed=1), "ETHUSDT": walk(seed=2, price=2000.0)})
    with ExchangeServer(exchange) as server, sync_client(server.url) as client:
        had = START_MS + 19 * STEP
        client.fetch_ohlcv("ETH/USDT", "1m", since=had, limit=10)
        asked = 0
        while client.fetch_ohlcv("BTC/USDT", "1m", since=had, limit=10)[-1][0] == had + STEP:
            asked += 1
        assert 100 < asked < 300


def test_market_orders_fill_at_the_open_made_worse_by_the_slippage():
    candles = walk()
    with ExchangeServer(local_exchange(candles, slippage=0.001)) as server, sync_client(server.url) as client:
        order = client.create_order(SYMBOL, "market", "buy", 0.1)
        opens = Decimal(repr(float(candles.open[20])))
        bought = (opens * Decimal("1.001")).quantize(Decimal("0.01"), "ROUND_UP")
        assert Decimal(order["info"]["fills"][0]["price"]) == bought
        fee = (bought * Decimal("0.1") * Decimal("0.001")).quantize(Decimal("1e-8"), "ROUND_HALF_UP")
        assert Decimal(order["info"]["fills"][0]["commission"]) == fee
        assert order["status"] == "closed"
        assert order["filled"] == 0.1
        balance = client.fetch_balance()
        assert balance["BTC"]["free"] == 0.1
        assert Decimal(balance["info"]["balances"][0]["free"]) == 10_000 - bought / 10 - fee


def test_fee_in_kind_is_taken_from_what_was_bought():
    with (
        ExchangeServer(local_exchange(fees=FeeSchedule(0.001, in_kind=True))) as server,
        sync_client(server.url) as client,
    ):
        order = client.create_order(SYMBOL, "market", "buy", 0.1)
        assert order["fee"] == {"currency": "BTC", "cost": 0.0001}
        assert client.fetch_balance()["BTC"]["free"] == 0.0999


def test_orders_are_found_by_both_ids_and_in_every_list(client):
    order = client.create_order(SYMBOL, "limit", "buy", 0.01, 20_000, {"newClientOrderId": "bot-1"})
    assert order["status"] == "open"
    by_client = client.fetch_order(None, SYMBOL, {"origClientOrderId": "bot-1"})
    by_id = client.fetch_order(order["id"], SYMBOL)
    assert by_client["id"] == by_id["id"] == order["id"]
    assert [found["clientOrderId"] for found in client.fetch_open_orders(SYMBOL)] == ["bot-1"]
    assert [found["clientOrderId"] for found in client.fetch_open_orders()] == ["bot-1"]
    assert [found["clientOrderId"] for found in client.fetch_orders(SYMBOL)] == ["bot-1"]
    locked = client.fetch_balance()["USDT"]["used"]
    assert locked == pytest.approx(200.2)  # with the fee
    cancelled = client.cancel_order(None, SYMBOL, {"origClientOrderId": "bot-1"})
    assert cancelled["status"] == "canceled"
    assert cancelled["info"]["origClientOrderId"] == "bot-1"
    assert client.fetch_open_orders(SYMBOL) == []
    assert client.fetch_balance()["USDT"]["used"] == 0
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_order(order["id"], SYMBOL)
    with pytest.raises(ccxt.OrderNotFound):
        client.fetch_order(None, SYMBOL, {"origClientOrderId": "bot-2"})


def test_cancel_all(client):
    for price in (20_000, 21_000):
        client.create_order(SYMBOL, "limit", "buy", 0.001, price)
    assert {order["status"] for order in client.cancel_all_orders(SYMBOL)} == {"canceled"}
    with pytest.raises(ccxt.OrderNotFound):
        client.cancel_all_orders(SYMBOL)


def test_a_client_id_is_unique_among_open_orders_only(client):
    """The trap that costs real money: a resent market order fills twice, whatever its id."""
    for _ in range(2):
        client.create_order(SYMBOL, "market", "buy", 0.01, None, {"newClientOrderId": "same"})
    assert len(client.fetch_my_trades(SYMBOL)) == 2
    client.create_order(SYMBOL, "limit", "buy", 0.001, 20_000, {"newClientOrderId": "resting"})
    with pytest.raises(ccxt.InvalidOrder, match="Duplicate order sent"):
        client.create_order(SYMBOL, "limit", "buy", 0.001, 20_000, {"newClientOrderId": "resting"})


def test_a_pair_fills_one_leg_and_expires_the_other():
    candles = path([(100, 101, 99, 100)] * 3 + [(100, 106, 99, 105), (105, 105, 105, 105)])
    with ExchangeServer(local_exchange(candles, first=2)) as server, sync_client(server.url) as client:
        client.create_order(SYMBOL, "market", "buy", 1)
        pair = client.private_post_orderlist_oco(
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "quantity": "1",
                "listClientOrderId": "pair-1",
                "aboveType": "LIMIT_MAKER",
                "abovePrice": "105",
                "aboveClientOrderId": "target-1",
                "belowType": "STOP_LOSS",
                "belowStopPrice": "95",
                "belowClientOrderId": "stop-1",
            }
        )
        assert pair["listOrderStatus"] == "EXECUTING"
        assert client.fetch_balance()["BTC"] == {"free": 0.0, "used": 1.0, "total": 1.0}
        assert len(client.private_get_openorderlist()) == 1
        play(server, 1)  # the candle between 99 and 101
        assert len(client.fetch_open_orders(SYMBOL)) == 2
        play(server, 1)  # the candle that reaches 106
        target = client.fetch_order(None, SYMBOL, {"origClientOrderId": "target-1"})
        stop = client.fetch_order(None, SYMBOL, {"origClientOrderId": "stop-1"})
        assert (target["status"], target["average"], stop["status"]) == ("closed", 105.0, "expired")
        done = client.private_get_orderlist({"origClientOrderId": "pair-1"})
        assert done["listOrderStatus"] == "ALL_DONE"
        assert client.private_get_openorderlist() == []
        assert len(client.private_get_allorderlist()) == 1
        trades = client.fetch_my_trades(SYMBOL)
        assert [(trade["side"], trade["price"], trade["takerOrMaker"]) for trade in trades] == [
            ("buy", 100.0, "taker"),
            ("sell", 105.0, "maker"),
        ]


def test_the_old_pair_endpoint_and_cancelling_one_leg():
    candles = path([(100, 101, 99, 100)] * 6)
    with ExchangeServer(local_exchange(candles, first=2)) as server, sync_client(server.url) as client:
        client.create_order(SYMBOL, "market", "buy", 1)
        pair = client.private_post_order_oco(
            {
                "symbol": "BTCUSDT",
                "side": "SELL",
                "quantity": "1",
                "price": "110",
                "stopPrice": "90",
                "stopLimitPrice": "89",
            }
        )
        kinds = {report["type"]: report["status"] for report in pair["orderReports"]}
        assert kinds == {"LIMIT_MAKER": "NEW", "STOP_LOSS_LIMIT": "NEW"}
        client.cancel_order(pair["orders"][0]["orderId"], SYMBOL)
        assert {order["status"] for order in client.fetch_orders(SYMBOL)[1:]} == {"canceled"}
        assert client.fetch_balance()["BTC"]["free"] == 1


def test_stop_orders_of_ccxt_rest_and_trigger():
    candles = path([(100, 101, 99, 100)] * 3 + [(98, 99, 90, 91), (91, 91, 91, 91)])
    with ExchangeServer(local_exchange(candles, first=2)) as server, sync_client(server.url) as client:
        client.create_order(SYMBOL, "market", "buy", 1)
        stop = client.create_order(SYMBOL, "market", "sell", 1, None, {"stopLossPrice": 95})
        assert stop["info"]["orderId"]
        play(server, 2)
        found = client.fetch_order(stop["id"], SYMBOL)
        assert (found["status"], found["average"], found["type"]) == ("closed", 95.0, "market")


@pytest.mark.parametrize(
    ("order", "error"),
    [
        (("market", "buy", 10, None), ccxt.InsufficientFunds),
        (("market", "sell", 0.1, None), ccxt.InsufficientFunds),
        (("limit", "buy", 0.0001, 20_000), ccxt.BadRequest),  # notional: ccxt's own odd choice
        (("limit", "buy", 0.01, 2e9), ccxt.InvalidOrder),
        (("LIMIT_MAKER", "buy", 0.01, 40_000), ccxt.OrderImmediatelyFillable),
    ],
)
def test_refusals_are_the_errors_that_ccxt_makes_of_the_real_ones(client, order, error):
    kind, side, size, price = order
    with pytest.raises(error):
        client.create_order(SYMBOL, kind, side, size, price)
    assert client.fetch_orders(SYMBOL) == []


def test_a_halted_and_a_delisted_market(server, client):
    server.call(lambda: server.venue.desk.set_status("BTCUSDT", "BREAK"))
    with pytest.raises(ccxt.MarketClosed):
        client.create_order(SYMBOL, "market", "buy", 0.1)
    assert not client.load_markets(True)[SYMBOL]["active"]
    server.call(lambda: server.venue.desk.delist("BTCUSDT"))
    with pytest.raises(ccxt.BadSymbol):
        client.create_order(SYMBOL, "market", "buy", 0.1)
    with pytest.raises(ccxt.BadSymbol):
        client.fetch_ohlcv(SYMBOL, "1m")


def test_prices_book_and_ticker(client):
    last = float(walk().open[20])
    ticker = client.fetch_ticker(SYMBOL)
    assert ticker["last"] == last
    assert ticker["bid"] < last < ticker["ask"]
    assert ticker["high"] == float(walk().high[:20].max())
    assert ticker["open"] == float(walk().open[0])
    assert ticker["baseVolume"] == pytest.approx(float(walk().volume[:20].sum()))
    book = client.fetch_order_book(SYMBOL)
    assert book["bids"][0][0] == ticker["bid"]
    assert book["asks"][0][0] == ticker["ask"]
    assert client.fetch_tickers([SYMBOL])[SYMBOL]["last"] == last
    assert client.fetch_last_prices([SYMBOL])[SYMBOL]["price"] == last
    assert client.fetch_bids_asks([SYMBOL])[SYMBOL]["bid"] == ticker["bid"]
    assert client.fetch_trades(SYMBOL)[-1]["price"] == last
    fees = client.private_get_account_commission({"symbol": "BTCUSDT"})
    assert fees["standardCommission"]["taker"] == "0.00100000"


def test_a_read_only_key_sees_and_does_not_trade():
    keys = [ApiKey("look", "secret", can_trade=False)]
    with ExchangeServer(local_exchange(), keys=keys) as server, sync_client(server.url, apiKey="look") as client:
        assert client.fetch_balance()["info"]["canTrade"] is False
        client.options["hasAlreadyAuthenticatedSuccessfully"] = False  # ccxt then names the error as it is
        with pytest.raises(ccxt.AuthenticationError):
            client.create_order(SYMBOL, "market", "buy", 0.1)
        assert client.fetch_orders(SYMBOL) == []


@pytest.mark.parametrize(("key", "secret"), [("nobody", "secret"), ("key", "wrong")])
def test_wrong_keys(server, key, secret):
    with sync_client(server.url, apiKey=key, secret=secret) as client, pytest.raises(ccxt.AuthenticationError):
        client.fetch_balance()


def test_order_test_judges_and_takes_nothing(client):
    client.create_order(SYMBOL, "market", "buy", 0.1, None, {"test": True})
    with pytest.raises(ccxt.InvalidOrder):
        client.private_post_order_test({"symbol": "BTCUSDT", "side": "BUY", "type": "MARKET", "quantity": "0.000001"})
    assert client.fetch_orders(SYMBOL) == []


def test_partial_fills_come_as_several_trades():
    with ExchangeServer(local_exchange(partial=(0.3, 0.3))) as server, sync_client(server.url) as client:
        order = client.create_order(SYMBOL, "market", "buy", 0.1)
        assert [float(fill["qty"]) for fill in order["info"]["fills"]] == [0.03, 0.03, 0.04]
        assert order["filled"] == 0.1
        assert sum(trade["amount"] for trade in client.fetch_my_trades(SYMBOL)) == pytest.approx(0.1)


def test_a_client_of_which_only_the_urls_were_changed():
    """It asks for coins, margin pairs and contracts as well, and finds that there are none."""
    with ExchangeServer(local_exchange()) as server:
        api = {
            name: f"{server.url}/{old.split('/', 3)[3]}"
            for name, old in ccxt.binance().urls["api"].items()
            if isinstance(old, str)
        }
        client = ccxt.binance(
            {"apiKey": "key", "secret": "secret", "urls": {"api": api}, "options": {"fetchMargins": True}}
        )
        client.enableRateLimit = False
        try:
            assert list(client.load_markets()) == [SYMBOL]
            assert client.create_order(SYMBOL, "market", "buy", 0.1)["status"] == "closed"
            assert client.fetch_trading_fee(SYMBOL)["taker"] == 0.001
            assert client.fetch_balance()["BTC"]["free"] == 0.1
            rights = client.sapi_get_account_apirestrictions()
            assert (rights["enableSpotAndMarginTrading"], rights["enableWithdrawals"]) == (True, False)
        finally:
            client.session.close()
        assert server.strays == []
