"""Faults of every kind between the bot and its exchange: the log, the ledger and the account are those of a run without."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

import pytest
from live_bench import Bench, Life, broken_rules, differences, folder_in_memory
from live_proofs import Proof, prove

from bot.exchange.faults import Fault
from bot.exchange.server import ExchangeServer

POST = {"path": r"/api/v3/(order|orderList/oco)", "method": "POST"}
NAMED = {
    "a reply is lost after every order": [Fault("reset_after", **POST, count=None)],
    "the connection dies before every third order": [Fault("reset_before", **POST, count=None, rate=0.25)],
    "orders arrive late, within the receive window": [
        Fault("late_acceptance", **POST, count=None, rate=0.5, delay=0.2)
    ],
    "orders arrive too late": [Fault("late_acceptance", **POST, count=None, rate=0.3, delay=0.4)],
    "the execution status is unknown": [Fault("error_after", **POST, count=None, code=-1007)],
    "every list and every fill comes twice": [
        Fault("duplicate_reply", path=r"/api/v3/(order|myTrades|openOrders).*", count=None)
    ],
    "half of the replies to orders are cut": [Fault("cut_json", **POST, count=None, rate=0.5)],
    "look-ups fail": [
        Fault("reset_after", **POST, count=None, rate=0.5),
        Fault("status", path=r"/api/v3/order", method="GET", status=502, count=None, rate=0.5),
    ],
    "cancels fail": [Fault("reset_after", path=r"/api/v3/order", method="DELETE", count=None)],
    "the list of open orders is empty": [Fault("empty_list", path=r"/api/v3/openOrders", count=None)],
    "the list of trades lags behind": [
        Fault("reset_after", **POST, count=None, rate=0.5),
        Fault("empty_list", path=r"/api/v3/myTrades", count=None, rate=0.5),
    ],
    "the newest candle comes late": [Fault("hide_candle", path=r"/api/v3/klines", count=None, rate=0.4)],
}


@pytest.mark.parametrize("name", NAMED)
def test_one_kind_of_fault_all_the_time(name):
    number = list(NAMED).index(name)
    bench = Bench(seed=300 + number, bars=34, in_kind=number % 2 == 1)
    with ExchangeServer(bench.exchange(), seed=number) as server, folder_in_memory() as folder:
        server.faults.add(*NAMED[name])
        logs = Life(bench, server.url, folder).run()
        assert server.faults.counts.total() > 0, "nothing happened"
        assert differences(bench.backtest(), logs) == []
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []


@pytest.mark.parametrize("seed", [0, 2])
def test_random_faults_of_every_kind(seed):
    proof = prove(seed, bars=40, rate=0.02)
    assert proof.faults.total() > 5
    assert proof.differences + proof.broken == []


def test_the_bench_would_see_an_order_that_is_placed_twice():
    """The rules are no decoration: without the wait for certainty the same faults do place orders twice."""
    bench = Bench(seed=101, bars=80, margin_ms=-400)
    with ExchangeServer(bench.exchange(), seed=1) as server, folder_in_memory() as folder:
        server.faults.add(Fault("late_acceptance", path=r"/api/v3/order", method="POST", count=3, skip=2, delay=0.15))
        Life(bench, server.url, folder).run()
        time.sleep(0.4)  # until the last one has arrived
        assert max(server.exchange.placed().values()) > 1


@pytest.mark.slow
def test_two_thousand_random_faults():
    total = Proof()
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        for proof in pool.map(partial(prove, bars=100, rate=0.03), range(48)):
            total += proof
    assert total.faults.total() >= 2_000
    assert total.differences + total.broken == []
