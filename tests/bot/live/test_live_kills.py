"""Kill -9 between every pair of steps, and at any moment: the last life has the log of an undisturbed one."""

from __future__ import annotations

import pytest
from live_bench import Bench, broken_rules, differences, folder_in_memory
from live_kills import STEPS, Nursery
from live_proofs import Proof, bench_of, prove, prove_exchange_kills, prove_in_real_time

from bot.exchange.server import ExchangeServer


@pytest.fixture(scope="module")
def nursery():
    with Nursery() as running:
        yield running


@pytest.mark.parametrize("seed", [2, 4])
def test_lives_that_are_killed_again_and_again(nursery, seed):
    proof = prove(seed, bars=50, kills=15, nursery=nursery)
    assert proof.kills.total() >= 3
    assert proof.differences + proof.broken == []


def test_a_kill_at_each_step_of_the_first_orders(nursery):
    """Every step from the first order to the first stop that is filled, one life each."""
    bench = Bench(seed=21, bars=32)
    expected = bench.backtest()
    with ExchangeServer(bench.exchange()) as server, folder_in_memory() as folder:
        ends = []
        for _ in range(60):
            ends.append(nursery.live(bench, server.url, folder, kill_step=7))
            if ends[-1] == "done":
                break
        assert ends[-1] == "done" or nursery.live(bench, server.url, folder) == "done"
        import json

        logs = json.loads((folder / "logs.json").read_text())
        assert differences(expected, logs) == []
        assert broken_rules(bench, server.exchange, folder, logs, server.strays) == []
    assert ends.count("killed") >= 5


def test_kills_and_faults_together(nursery):
    proof = prove(4, bars=45, rate=0.01, kills=8, nursery=nursery)
    assert proof.kills.total() >= 2
    assert proof.differences + proof.broken == []


def test_an_exchange_that_is_killed_and_restarted(nursery):
    proof = prove_exchange_kills(3, bars=50, nursery=nursery)
    assert proof.kills["exchange"] >= 1
    assert proof.differences + proof.broken == []


@pytest.mark.slow
def test_five_hundred_kills(nursery):
    total = Proof()
    for seed in range(40):
        if total.kills.total() >= 500:
            break
        total += prove(seed, bars=160, kills=60, nursery=nursery)
    assert total.kills.total() >= 500
    assert total.differences + total.broken == []
    named = {
        f"{when} {owner}.{name}" for owner, names in STEPS.items() for name in names for when in ("before", "after")
    }
    common = {
        name
        for name in named
        if any(part in name for part in ("intend", "send", "report", "deliver", "find", "_book_trades"))
    }
    missed = common - set(total.kills) - {"before journal.sending", "after journal.sending"}
    assert not missed, f"no life ended {sorted(missed)}"


@pytest.mark.slow
def test_kills_and_faults_together_for_long(nursery):
    total = Proof()
    for seed in range(12):
        total += prove(seed, bars=100, rate=0.015, kills=25, nursery=nursery)
    assert {bench_of(seed, 1).symbols for seed in range(12)} == {("BTCUSDT",), ("BTCUSDT", "ETHUSDT")}
    assert total.differences + total.broken == []


def test_a_market_that_does_not_wait_under_kills_and_faults(nursery):
    proof = prove_in_real_time(21, bars=40, speed=600.0, rate=0.005, kills=4, nursery=nursery)
    assert proof.differences + proof.broken == []


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 110))
def test_a_market_that_does_not_wait_with_streams_that_drop(seed):
    proof = prove_in_real_time(seed, bars=90, rate=0.01, streams=True)
    assert proof.faults["drop_ws"] + proof.faults["silence_ws"] > 0
    assert proof.differences + proof.broken == []
