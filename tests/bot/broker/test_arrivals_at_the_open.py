"""What the open of a bar fills as it arrives comes before what the bar's range reaches, as on an exchange."""

from __future__ import annotations

import backtrader as bt
from spot_oracle import Setup
from trading_runs import both, fills_of, place, run_script, withdraw

SETUP = Setup(taker=0.0, slippage=0.0, cash=10_000.0)
FLAT = (100.0, 101.0, 99.0, 100.0)


def told(broker):
    return [(bar, side, size, price, reason) for bar, side, size, price, _, _, reason in fills_of(broker)]


def guarded(name: str, **options):
    return place(name, "buy", **{"size": 10.0, "stop_loss": 0.05, "take_profit": 0.10, **options})


def test_a_purchase_at_the_open_is_in_before_the_stop_of_the_bar():
    bars = [FLAT, FLAT, (98.0, 98.0, 90.0, 91.0), (91.0, 92.0, 90.0, 91.0)]
    broker, _ = run_script(bars, {0: guarded("a"), 1: guarded("b", size=5.0)}, SETUP)
    # bought at 98 before the fall: the guard is that of all 15, at 5 % below 98, and the low reaches it
    assert told(broker) == [
        (1, "buy", 10.0, 100.0, "entry"),
        (2, "buy", 5.0, 98.0, "entry"),
        (2, "sell", 15.0, 93.1, "stop"),
    ]


def test_what_an_open_sale_locks_is_not_guarded_until_the_sale_ends():
    bars = [FLAT, FLAT, FLAT, (100.0, 101.0, 90.0, 99.0), FLAT, (100.0, 100.0, 94.0, 96.0), FLAT]
    script = {
        0: place("held", "buy", size=10.0),
        1: place("sale", "sell", size=10.0, exectype=bt.Order.Limit, price=120.0),
        2: guarded("more", size=5.0),
        4: withdraw("sale"),
    }
    broker, _ = run_script(bars, script, SETUP)
    # the low of 90 in bar 3 finds no stop: the sale has the ten; from its end on all 15 are guarded
    assert told(broker) == [
        (1, "buy", 10.0, 100.0, "entry"),
        (3, "buy", 5.0, 100.0, "entry"),
        (5, "sell", 15.0, 95.0, "stop"),
    ]


def test_a_purchase_without_a_guard_of_its_own_is_guarded_from_the_next_open_on():
    bars = [FLAT, FLAT, (100.0, 101.0, 94.0, 96.0), FLAT]
    broker, _ = run_script(bars, {0: guarded("a"), 1: place("b", "buy", size=5.0)}, SETUP)
    assert told(broker)[2] == (2, "sell", 10.0, 95.0, "stop")  # of the ten that were guarded when the bar began
    assert broker.getposition(broker.cerebro.datas[0]).size == 5.0
    bars = [FLAT, FLAT, FLAT, (100.0, 101.0, 94.0, 96.0), FLAT]
    broker, _ = run_script(bars, {0: guarded("a"), 1: place("b", "buy", size=5.0)}, SETUP)
    assert told(broker)[2] == (3, "sell", 15.0, 95.0, "stop")


def test_a_guard_that_rests_anew_beyond_its_target_sells_before_a_purchase_that_came_after_it():
    bars = [FLAT, FLAT, FLAT, (112.0, 113.0, 111.0, 112.0), (112.0, 113.0, 111.0, 112.0), FLAT]
    script = {
        0: guarded("a"),
        2: place("sale", "sell", size=10.0, exectype=bt.Order.Limit, price=150.0),
        3: both(withdraw("sale"), place("b", "buy", size=1.0)),
    }
    broker, _ = run_script(bars, script, SETUP)
    assert told(broker)[1:] == [(4, "sell", 10.0, 112.0, "target"), (4, "buy", 1.0, 112.0, "entry")]


def test_a_limit_that_the_open_fills_comes_before_a_stop_that_rests():
    bars = [FLAT, FLAT, (97.0, 98.0, 94.0, 95.5), FLAT]
    script = {0: guarded("a"), 1: guarded("b", size=5.0, exectype=bt.Order.Limit, price=99.0)}
    broker, _ = run_script(bars, script, SETUP)
    assert told(broker)[1:] == [
        (2, "buy", 5.0, 97.0, "entry")
    ]  # 5 % below 97 is 92.15, which the low of 94 does not reach


def test_an_order_for_the_close_does_not_mind():
    bars = [FLAT, (100.0, 101.0, 99.0, 100.5), FLAT, FLAT]
    script = {
        0: both(
            place("a", "buy", size=1.0, exectype=bt.Order.Close),
            place("b", "buy", size=1.0, exectype=bt.Order.Limit, price=90.0),
        )
    }
    broker, _ = run_script(bars, script, SETUP)
    assert len(broker.fills) <= 1
