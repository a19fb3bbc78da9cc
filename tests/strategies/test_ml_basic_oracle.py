"""MLBasic and the spot broker against a simulation written by hand, bar by bar."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted_engine import Edges
from spot_oracle import Setup, simulate
from trading_runs import START_MS, fills_of, random_bars, run_basic


def assert_agrees(bars, p_up, setup, *, edges=None, **run):
    """Assert that both give the same fills, refusals, cash and value at every bar; return the broker and strategy."""
    looked_up = None
    if edges is not None:
        looked_up = [None if p is None else _bin(edges, p) for p in p_up]
    expected = simulate(bars, p_up, setup, first_ms=START_MS, edge=looked_up)
    broker, strategy, watch = run_basic(bars, p_up, setup, edges=edges, **run)
    assert fills_of(broker) == expected.fills
    assert watch.cash == expected.cash
    assert watch.value == expected.value
    return broker, strategy


def _bin(edges, p):
    for low, high, bound in zip(edges.bounds[:-1], edges.bounds[1:], edges.lower_bound, strict=True):
        if low <= p < high:
            return None if np.isnan(bound) else bound
    return None


FLAT = (100.0, 100.5, 99.5, 100.0)


def test_buys_at_the_next_open_and_sells_at_the_next_open():
    bars = [FLAT, (101.0, 102.0, 100.0, 101.5), FLAT, (103.0, 104.0, 102.0, 103.0), FLAT]
    broker, strategy = assert_agrees(bars, [0.6, 0.5, 0.4, 0.5, 0.5], Setup())
    assert [(f[0], f[1], f[3]) for f in fills_of(broker)] == [(1, "buy", 101.0), (3, "sell", 103.0)]
    assert strategy.counts == {"entries": 1, "exits_by_signal": 1}


def test_an_order_larger_than_the_cash_at_the_open_is_refused():
    bars = [FLAT, (101.0, 102.0, 100.0, 101.5), FLAT, FLAT]
    broker, strategy = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(headroom=0.0))
    assert broker.fills == []
    assert strategy.counts == {"entries": 1, "refused_by_broker": 1}
    assert "not enough cash at the fill" in broker.rejections[0].reason


def test_a_stop_fills_at_its_price_inside_the_bar():
    bars = [FLAT, FLAT, (99.0, 99.5, 96.5, 99.0), FLAT]
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, take_profit=0.1))
    assert fills_of(broker)[1][3] == 97.0
    assert broker.fills[1].reason == "stop"


def test_a_gap_through_the_stop_fills_at_the_open():
    bars = [FLAT, FLAT, (90.0, 95.0, 89.0, 94.0), FLAT]
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, take_profit=0.1))
    assert (broker.fills[1].reason, broker.fills[1].price) == ("stop", 90.0)


def test_a_gap_through_the_target_fills_at_the_open_even_when_the_bar_falls_to_the_stop():
    bars = [FLAT, FLAT, (112.0, 113.0, 90.0, 94.0), FLAT]
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, take_profit=0.1))
    assert (broker.fills[1].reason, broker.fills[1].price) == ("target", 112.0)


def test_a_bar_that_reaches_both_is_a_stop():
    bars = [FLAT, FLAT, (100.0, 120.0, 90.0, 110.0), FLAT]
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, take_profit=0.1))
    assert (broker.fills[1].reason, broker.fills[1].price) == ("stop", 97.0)


def test_a_target_fills_at_its_price_without_slippage():
    bars = [FLAT, FLAT, (100.0, 120.0, 99.0, 110.0), FLAT]
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, take_profit=0.1, slippage=0.001))
    assert (broker.fills[1].reason, broker.fills[1].price) == ("target", 110.11)


@pytest.mark.parametrize(
    ("bar", "reason"),
    [
        ((100.0, 101.0, 96.0, 100.0), "stop"),
        ((100.0, 111.0, 99.0, 100.0), "target"),
        ((100.0, 111.0, 96.0, 99.0), "stop"),
    ],
)
def test_stop_and_target_are_in_force_from_the_entrys_own_bar(bar, reason):
    broker, _ = assert_agrees([FLAT, bar, FLAT, FLAT], [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, take_profit=0.1))
    assert [f.reason for f in broker.fills] == ["entry", reason]
    assert broker.fills[0].bar_open_ms == broker.fills[1].bar_open_ms


def test_slippage_makes_market_and_stop_fills_worse_and_is_rounded_against_the_order():
    bars = [FLAT, (100.01, 101.0, 99.5, 100.0), (99.0, 99.5, 90.0, 95.0), FLAT]
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.5, 0.5], Setup(stop_loss=0.03, slippage=0.0005))
    assert broker.fills[0].price == 100.07  # 100.060005 up to the tick
    assert broker.fills[1].price == 97.02  # the stop of 97.07 less slippage of 0.048535, down to the tick


def test_fees_in_kind_reduce_what_is_held_and_leave_dust():
    bars = [FLAT, FLAT, FLAT, (102.0, 103.0, 101.0, 102.0), FLAT, FLAT, FLAT]
    setup = Setup(in_kind=True, lot="0.01", stop_loss=0.2)
    broker, _ = assert_agrees(bars, [0.6, 0.5, 0.4, 0.5, 0.6, 0.4, 0.5], setup)
    first, second = broker.fills[0], broker.fills[1]
    assert first.fee_asset == "base"
    assert first.fee == pytest.approx(first.size * 0.001)
    assert second.size == pytest.approx(np.floor((first.size - first.fee) * 100) / 100)
    assert broker.getposition(broker.cerebro.datas[0]).size == 0.0
    assert sum(broker.dust.values()) > 0.0


def test_the_smallest_notional_refuses_orders_and_keeps_the_reason():
    broker, strategy = assert_agrees([FLAT] * 4, [0.6, 0.5, 0.5, 0.5], Setup(cash=9.0, min_notional=10.0))
    assert broker.fills == []
    assert "below the smallest notional 10" in broker.rejections[0].reason
    assert strategy.counts["refused_by_broker"] == 1


def test_a_daily_loss_closes_and_blocks_until_the_next_utc_day():
    falling = [(100.0 - i, 100.0 - i, 98.0 - i, 99.0 - i) for i in range(30)]
    _, strategy = assert_agrees(falling, [0.6] * 30, Setup(max_daily_loss=0.03))
    assert strategy.counts["exits_by_max_daily_loss"] >= 2
    assert strategy.counts["blocked_by_max_daily_loss"] > 5


def test_a_drawdown_closes_for_good():
    falling = [(100.0 - i, 100.0 - i, 98.0 - i, 99.0 - i) for i in range(60)]
    _, strategy = assert_agrees(falling, [0.6] * 60, Setup(max_drawdown=0.1))
    assert strategy.counts["exits_by_max_drawdown"] == 1
    assert strategy.counts["entries"] == 1
    assert strategy.counts["blocked_by_max_drawdown"] > 40


def test_a_losing_streak_pauses_until_the_next_utc_day():
    falling = [(100.0 - i / 10, 100.0 - i / 10, 98.0 - i / 10, 99.9 - i / 10) for i in range(60)]
    broker, strategy = assert_agrees(falling, [0.6, 0.4] * 30, Setup(max_losing_streak=2))
    assert strategy.counts["blocked_by_max_losing_streak"] > 0
    days = {f.bar_open_ms // 86_400_000 for f in broker.fills}
    assert len(days) == 3


def test_a_cool_down_lets_bars_pass_after_an_exit():
    broker, strategy = assert_agrees([FLAT] * 12, [0.6, 0.4, 0.6] + [0.6] * 9, Setup(cooldown_bars=3))
    bars = [f[0] for f in fills_of(broker)]
    assert bars == [1, 2, 6]
    assert strategy.counts["blocked_by_cooldown_bars"] == 3


@pytest.mark.parametrize(("on_no_model", "bars"), [("hold", [1]), ("close", [1, 3])])
def test_without_a_prediction_nothing_is_opened_and_a_position_is_held_or_closed(on_no_model, bars):
    broker, strategy = assert_agrees([FLAT] * 5, [0.6, 0.6, None, None, None], Setup(on_no_model=on_no_model))
    assert [f[0] for f in fills_of(broker)] == bars
    assert strategy.counts.get("blocked_by_no_prediction", 0) == (2 if on_no_model == "close" else 0)


def test_opens_only_where_the_record_earned_more_than_is_needed():
    edges = Edges(np.array([0.5, 0.6, 0.7, 1.0]), np.array([0.001, 0.004, np.nan]))
    bars, p_up = [FLAT] * 8, [0.58, 0.75, 0.65, 0.4, 0.5, 0.58, 0.5, 0.5]
    broker, strategy = assert_agrees(bars, p_up, Setup(needed_edge=0.002), edges=edges)
    assert [f[0] for f in fills_of(broker)] == [3, 4]
    assert strategy.counts["blocked_by_min_edge"] == 3
    assert strategy.summary()["best_edge"] == 0.004


def test_nothing_trades_before_the_first_bar_of_the_data():
    broker, _ = assert_agrees([FLAT] * 8, [0.6] * 8, Setup(trade_from_bar=4))
    assert [f[0] for f in fills_of(broker)] == [5]


@st.composite
def setups(draw):
    maybe = lambda low, high: draw(st.one_of(st.none(), st.floats(low, high)))  # noqa: E731
    return Setup(
        cash=draw(st.sampled_from([50.0, 1_000.0, 10_000.0, 12_345.67])),
        taker=draw(st.sampled_from([0.0, 0.0001, 0.001, 0.01])),
        in_kind=draw(st.booleans()),
        slippage=draw(st.sampled_from([0.0, 0.0005, 0.01])),
        tick=draw(st.sampled_from([None, "0.01", "0.5"])),
        lot=draw(st.sampled_from([None, "0.00001", "0.1"])),
        min_notional=draw(st.sampled_from([None, 5.0, 40.0])),
        max_position=draw(st.sampled_from([0.25, 0.5, 1.0])),
        max_daily_loss=maybe(0.005, 0.1),
        max_drawdown=maybe(0.02, 0.5),
        max_losing_streak=draw(st.sampled_from([None, 1, 2, 4])),
        cooldown_bars=draw(st.integers(0, 4)),
        stop_loss=maybe(0.001, 0.05),
        take_profit=maybe(0.001, 0.05),
        headroom=draw(st.sampled_from([0.0, 0.002, 0.02])),
        on_no_model=draw(st.sampled_from(["hold", "close"])),
        trade_from_bar=draw(st.sampled_from([0, 7])),
    )


@settings(max_examples=120, deadline=None)
@given(setup=setups(), seed=st.integers(0, 2**32 - 1), volatility=st.sampled_from([0.002, 0.01, 0.03]))
def test_random_walks_agree_fill_by_fill(setup, seed, volatility):
    count = 150
    random = np.random.default_rng(seed)
    bars = random_bars(count, seed, volatility=volatility, gap=volatility / 4)
    p_up = [None if random.random() < 0.03 else float(p) for p in random.uniform(0.3, 0.7, count)]
    assert_agrees(bars.tolist(), p_up, setup)
