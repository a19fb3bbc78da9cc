"""Orders on the spot broker, one at a time, with the numbers worked out by hand."""

from __future__ import annotations

import backtrader as bt
import pytest
from spot_oracle import Setup
from trading_runs import both, place, run_script, withdraw

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.broker.spot import SpotBroker
from bot.errors import BrokerError

FLAT = (100.0, 101.0, 99.0, 100.0)
DOWN = (96.0, 97.0, 94.0, 95.0)
UP = (104.0, 106.0, 103.0, 105.0)


def told(broker):
    return [(f.side, f.size, f.price, f.reason) for f in broker.fills]


def test_market_order_fills_at_the_next_open():
    broker, strategy = run_script([FLAT, (100.5, 101.0, 99.0, 100.0), FLAT], {0: place("a", "buy", size=2.0)})
    assert told(broker) == [("buy", 2.0, 100.5, "entry")]
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Completed"]
    assert broker.getcash() == 10_000 - 201.0
    assert broker.getvalue() == 10_000 - 201.0 + 200.0


@pytest.mark.parametrize(
    ("side", "kind", "price", "bar", "expected"),
    [
        ("buy", bt.Order.Limit, 97.0, DOWN, 96.0),  # the open is better
        ("buy", bt.Order.Limit, 95.0, DOWN, 95.0),
        ("buy", bt.Order.Limit, 93.0, DOWN, None),
        ("buy", bt.Order.Stop, 103.5, UP, 104.0),  # a gap through
        ("buy", bt.Order.Stop, 105.5, UP, 105.5),
        ("buy", bt.Order.Stop, 107.0, UP, None),
        ("sell", bt.Order.Limit, 103.0, UP, 104.0),
        ("sell", bt.Order.Limit, 105.5, UP, 105.5),
        ("sell", bt.Order.Limit, 107.0, UP, None),
        ("sell", bt.Order.Stop, 97.0, DOWN, 96.0),
        ("sell", bt.Order.Stop, 95.0, DOWN, 95.0),
        ("sell", bt.Order.Stop, 93.0, DOWN, None),
    ],
)
def test_limit_and_stop_orders_fill_as_in_backtrader(side, kind, price, bar, expected):
    script = {0: place("first", "buy", size=5.0), 1: place("a", side, size=1.0, exectype=kind, price=price)}
    broker, _ = run_script([FLAT, FLAT, bar], script)
    found = told(broker)[1:]
    assert found == ([] if expected is None else [(side, 1.0, expected, "entry" if side == "buy" else "exit")])


def test_slippage_applies_to_market_and_stop_orders_not_to_limits():
    script = {
        0: place("market", "buy", size=3.0),
        1: both(
            place("limit", "sell", size=1.0, exectype=bt.Order.Limit, price=105.0),
            place("stop", "sell", size=1.0, exectype=bt.Order.Stop, price=95.0),
        ),
    }
    broker, _ = run_script([FLAT, FLAT, (100.0, 105.0, 95.0, 100.0)], script, Setup(taker=0.0, slippage=0.001))
    assert told(broker) == [
        ("buy", 3.0, 100.1, "entry"),
        ("sell", 1.0, 105.0, "exit"),
        ("sell", 1.0, 94.9, "exit"),  # 94.905, down to the tick
    ]


def test_sizes_and_prices_are_rounded_once():
    setup = Setup(taker=0.0, lot="0.01", tick="0.5")
    script = {0: place("a", "buy", size=1.2399, exectype=bt.Order.Limit, price=98.3)}
    broker, strategy = run_script([FLAT, (99.0, 99.0, 98.0, 98.0)], script, setup)
    assert told(broker) == [("buy", 1.23, 98.5, "entry")]
    assert strategy.orders["a"].created.size == 1.23


@pytest.mark.parametrize(
    ("options", "setup", "status", "reason"),
    [
        ({"size": 0.004}, Setup(lot="0.01"), "Rejected", "size rounds to 0 lots of 0.01"),
        ({"size": 0.04}, Setup(min_notional=5.0), "Rejected", "notional 4 is below the smallest notional 5"),
        ({"size": 101.0}, Setup(taker=0.0), "Margin", "not enough cash: needs 10100, has 10000"),
        ({"size": 100.0}, Setup(taker=0.001), "Margin", "not enough cash: needs 10010, has 10000"),
        ({"size": float("nan")}, Setup(), "Rejected", "size nan or price None is not a finite positive number"),
        (
            {"size": 1.0, "price": -3.0, "exectype": bt.Order.Limit},
            Setup(),
            "Rejected",
            "size 1.0 or price -3.0 is not",
        ),
    ],
)
def test_an_order_that_an_exchange_refuses_is_rejected_with_its_reason(options, setup, status, reason):
    broker, strategy = run_script([FLAT] * 3, {0: place("a", "buy", **options)}, setup)
    assert broker.fills == []
    assert strategy.statuses("a") == [status]
    assert strategy.orders["a"].info.rejection.startswith(reason)
    assert broker.rejections[0].reason.startswith(reason)
    assert (broker.rejections[0].side, broker.rejections[0].order_ref) == ("buy", 1)


def test_cash_is_checked_again_at_the_fill():
    broker, strategy = run_script([FLAT, (102.0, 103.0, 101.0, 102.0)], {0: place("a", "buy", size=99.0)})
    assert broker.fills == []
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Margin"]
    assert broker.rejections[0].reason == "not enough cash at the fill: needs 10098, has 10000"


def test_resting_purchases_lock_cash():
    limit = {"exectype": bt.Order.Limit, "price": 90.0}
    script = {0: both(place("a", "buy", size=60.0, **limit), place("b", "buy", size=60.0, **limit))}
    _, strategy = run_script([FLAT] * 3, script)
    assert strategy.statuses("a") == ["Submitted", "Accepted"]
    assert strategy.statuses("b") == ["Margin"]


def test_nothing_is_sold_short():
    script = {
        0: both(place("naked", "sell", size=1.0), place("a", "buy", size=2.0)),
        1: both(place("b", "sell", size=2.0), place("c", "sell", size=2.0)),
    }
    broker, strategy = run_script([FLAT] * 4, script)
    assert strategy.statuses("naked") == ["Rejected"]
    assert strategy.statuses("b")[-1] == "Completed"
    assert strategy.statuses("c") == ["Rejected"]  # a double sell would go short
    assert strategy.orders["c"].info.rejection == "nothing may be sold short: asks 2, has 0"
    assert strategy.position.size == 0.0
    assert len(broker.rejections) == 2


def test_sales_that_cancel_one_another_lock_the_holding_once():
    def pair(strategy):
        first = strategy.sell(size=2.0, exectype=bt.Order.Limit, price=105.0)
        second = strategy.sell(size=2.0, exectype=bt.Order.Stop, price=95.0, oco=first)
        strategy.orders |= {"target": first, "stop": second}

    broker, strategy = run_script([FLAT, FLAT, UP, FLAT], {0: place("a", "buy", size=2.0), 1: pair})
    assert told(broker)[1:] == [("sell", 2.0, 105.0, "exit")]
    assert strategy.statuses("stop")[-1] == "Canceled"


@pytest.mark.parametrize("kind", [bt.Order.Market, bt.Order.Limit])
def test_cancel_works_on_the_bar_of_submission(kind):
    script = {0: both(place("a", "buy", size=1.0, exectype=kind, price=100.0), withdraw("a"))}
    broker, strategy = run_script([FLAT] * 3, script)
    assert broker.fills == []
    assert strategy.statuses("a") == ["Submitted", "Canceled"]


def test_cancel_of_a_resting_order_and_of_one_that_is_done():
    script = {
        0: both(place("a", "buy", size=1.0, exectype=bt.Order.Limit, price=90.0), place("b", "buy", size=1.0)),
        1: both(withdraw("a"), withdraw("b")),
    }
    broker, strategy = run_script([FLAT, FLAT, (95.0, 95.0, 80.0, 90.0)], script)
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Canceled"]
    assert strategy.statuses("b") == ["Submitted", "Accepted", "Completed"]
    assert len(broker.fills) == 1


def test_an_order_expires():
    from datetime import timedelta

    script = {0: place("a", "buy", size=1.0, exectype=bt.Order.Limit, price=90.0, valid=timedelta(hours=2))}
    _, strategy = run_script([FLAT] * 6, script)
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Expired"]


def test_brackets_of_backtrader_work():
    def bracket(strategy):
        orders = strategy.buy_bracket(size=1.0, exectype=bt.Order.Market, stopprice=95.0, limitprice=105.0)
        strategy.orders |= dict(zip(("main", "stop", "limit"), orders, strict=True))

    broker, strategy = run_script([FLAT, FLAT, UP, FLAT], {0: bracket})
    assert told(broker) == [("buy", 1.0, 100.0, "entry"), ("sell", 1.0, 105.0, "exit")]
    assert strategy.statuses("stop")[-1] == "Canceled"


def test_trailing_stops_of_backtrader_work():
    script = {
        0: place("a", "buy", size=1.0),
        1: place("trail", "sell", size=1.0, exectype=bt.Order.StopTrail, trailamount=3.0),
    }
    broker, _ = run_script([FLAT, FLAT, UP, (104.0, 104.5, 101.0, 103.0), FLAT], script)
    assert told(broker)[1:] == [("sell", 1.0, 102.0, "exit")]


# ---- stops and targets that the broker rests


def test_stop_and_target_rest_as_one_pair_sized_by_what_is_held():
    script = {0: place("a", "buy", size=1.0, stop_loss=0.05, take_profit=0.05)}
    setup = Setup(taker=0.01, in_kind=True, lot="0.001")
    broker, strategy = run_script([FLAT, FLAT, UP, FLAT], script, setup)
    assert told(broker) == [("buy", 1.0, 100.0, "entry"), ("sell", 0.99, 105.0, "target")]
    assert strategy.statuses("stop") == ["Accepted", "Canceled"]
    assert strategy.statuses("target") == ["Accepted", "Completed"]


def test_a_sale_of_the_strategy_cancels_the_pair():
    script = {0: place("a", "buy", size=1.0, stop_loss=0.05, take_profit=0.05), 2: place("out", "sell", size=1.0)}
    broker, strategy = run_script([FLAT, FLAT, FLAT, FLAT, DOWN, UP], script)
    assert told(broker)[1:] == [("sell", 1.0, 100.0, "exit")]
    assert strategy.statuses("stop") == ["Accepted", "Canceled"]
    assert strategy.statuses("target") == ["Accepted", "Canceled"]
    events = [row for row in strategy.events if row[0] == 3 and row[1] in {"stop", "target", "out"}]
    assert events[0][1] != "out"  # the exchange must free the holding first


def test_a_refused_sale_leaves_the_pair_alone():
    script = {0: place("a", "buy", size=1.0, stop_loss=0.05), 1: place("out", "sell", size=2.0)}
    broker, strategy = run_script([FLAT, FLAT, FLAT, (96.0, 97.0, 94.0, 96.0)], script)
    assert strategy.statuses("out") == ["Rejected"]
    assert told(broker)[1:] == [("sell", 1.0, 95.0, "stop")]


def test_after_a_part_is_sold_the_rest_is_guarded_at_the_same_prices():
    script = {0: place("a", "buy", size=2.0, stop_loss=0.05, take_profit=0.1), 1: place("half", "sell", size=1.0)}
    broker, _ = run_script([FLAT, FLAT, FLAT, (96.0, 97.0, 94.0, 96.0)], script)
    assert told(broker)[1:] == [("sell", 1.0, 100.0, "exit"), ("sell", 1.0, 95.0, "stop")]


def test_after_a_sale_is_cancelled_the_holding_is_guarded_again():
    limit = {"exectype": bt.Order.Limit, "price": 120.0}
    script = {
        0: place("a", "buy", size=2.0, stop_loss=0.05),
        1: place("out", "sell", size=2.0, **limit),
        3: withdraw("out"),
    }
    broker, strategy = run_script([FLAT, FLAT, FLAT, FLAT, (96.0, 97.0, 94.0, 96.0)], script)
    assert told(broker)[1:] == [("sell", 2.0, 95.0, "stop")]
    assert strategy.statuses("stop") == ["Accepted", "Canceled", "Accepted", "Completed"]


def test_after_a_sale_expires_the_holding_is_guarded_again():
    from datetime import timedelta

    limit = {"exectype": bt.Order.Limit, "price": 120.0, "valid": timedelta(hours=1)}
    script = {0: place("a", "buy", size=2.0, stop_loss=0.05), 1: place("out", "sell", size=2.0, **limit)}
    broker, _ = run_script([FLAT] * 5 + [(96.0, 97.0, 94.0, 96.0)], script)
    assert told(broker)[1:] == [("sell", 2.0, 95.0, "stop")]


def test_the_strategy_may_cancel_the_pair_for_good():
    def lift(strategy):
        strategy.cancel(next(order for order in strategy.broker.pending if order.exectype == bt.Order.Stop))

    script = {0: place("a", "buy", size=2.0, stop_loss=0.05, take_profit=0.05), 1: lift}
    broker, strategy = run_script([FLAT, FLAT, DOWN, UP], script)
    assert len(broker.fills) == 1
    assert strategy.statuses("target") == ["Accepted", "Canceled"]


def test_a_second_purchase_widens_the_guard_to_all_that_is_held():
    script = {0: place("a", "buy", size=1.0, stop_loss=0.05), 1: place("b", "buy", size=2.0)}
    broker, _ = run_script([FLAT, FLAT, FLAT, (96.0, 97.0, 94.0, 96.0)], script)
    assert told(broker)[2:] == [("sell", 3.0, 95.0, "stop")]


def test_a_second_purchase_with_its_own_stop_replaces_the_first():
    script = {0: place("a", "buy", size=1.0, stop_loss=0.05), 1: place("b", "buy", size=2.0, stop_loss=0.02)}
    broker, _ = run_script([FLAT, FLAT, FLAT, (99.0, 99.5, 97.0, 98.0)], script)
    assert told(broker)[2:] == [("sell", 3.0, 98.0, "stop")]


def test_a_limit_entry_inside_the_bar_judges_only_what_comes_after_it():
    entry = {"size": 1.0, "exectype": bt.Order.Limit, "price": 97.0, "stop_loss": 0.05, "take_profit": 0.05}
    bar = (100.0, 110.0, 96.0, 98.0)  # the high may have come before the fill
    broker, strategy = run_script([FLAT, bar, FLAT], {0: place("a", "buy", **entry)})
    assert told(broker) == [("buy", 1.0, 97.0, "entry")]
    bar = (100.0, 110.0, 96.0, 104.0)  # the close comes after it, above the target of 101.85
    broker, _ = run_script([FLAT, bar, FLAT], {0: place("a", "buy", **entry)})
    assert told(broker)[1:] == [("sell", 1.0, 101.85, "target")]
    bar = (100.0, 110.0, 92.0, 104.0)  # the low may have come after it: worst case
    broker, _ = run_script([FLAT, bar, FLAT], {0: place("a", "buy", **entry)})
    assert told(broker)[1:] == [("sell", 1.0, 92.15, "stop")]
    assert strategy.position.size == 1.0


def test_a_stop_entry_that_gaps_is_filled_at_the_open_and_judged_from_there():
    entry = {"size": 1.0, "exectype": bt.Order.Stop, "price": 102.0, "take_profit": 0.01}
    broker, _ = run_script([FLAT, UP, FLAT], {0: place("a", "buy", **entry)})
    assert told(broker) == [("buy", 1.0, 104.0, "entry"), ("sell", 1.0, 105.04, "target")]


def test_a_guard_below_the_smallest_notional_cannot_rest_and_says_so():
    setup = Setup(taker=0.0, min_notional=98.0)
    broker, _ = run_script([FLAT] * 4, {0: place("a", "buy", size=1.0, stop_loss=0.05, take_profit=0.05)}, setup)
    assert [r.reason for r in broker.rejections] == ["stop: notional 95 is below the smallest notional 98"]
    broker, _ = run_script([FLAT, FLAT, UP], {0: place("a", "buy", size=1.0, stop_loss=0.05, take_profit=0.05)}, setup)
    assert told(broker)[1:] == [("sell", 1.0, 105.0, "target")]


def test_nothing_is_placed_before_the_first_bar_that_may_trade():
    from trading_runs import START_MS

    script = {0: place("early", "buy", size=1.0), 2: place("late", "buy", size=1.0)}
    broker, strategy = run_script([FLAT] * 5, script, trade_from_ms=START_MS + 2 * 3_600_000)
    assert strategy.statuses("early") == ["Rejected"]
    assert [f.bar_open_ms for f in broker.fills] == [START_MS + 3 * 3_600_000]
    # what was too early leaves no trace: how much of it there is depends on how much history was fed
    assert [f.order_ref for f in broker.fills] == [1]
    assert broker.rejections == []


def test_fills_have_the_bars_open_time_and_numbers_of_the_run():
    from trading_runs import START_MS

    script = {0: place("a", "buy", size=1.0), 1: place("b", "sell", size=1.0)}
    for _ in range(2):
        broker, _ = run_script([FLAT] * 4, script, Setup(taker=0.001))
        assert [(f.bar_open_ms - START_MS, f.order_ref) for f in broker.fills] == [(3_600_000, 1), (7_200_000, 2)]
        assert [(f.fee, f.fee_asset) for f in broker.fills] == [(0.1, "quote"), (0.1, "quote")]


def test_fees_in_kind_and_dust():
    script = {0: place("a", "buy", size=1.0), 1: place("gross", "sell", size=1.0), 2: place("b", "sell", size=0.99)}
    setup = Setup(taker=0.001, in_kind=True, lot="0.01")
    broker, strategy = run_script([FLAT] * 5, script, setup)
    assert strategy.statuses("gross") == ["Rejected"]  # the fee came out of what was bought
    assert strategy.position.size == 0.0
    assert broker.dust == {strategy.data: pytest.approx(0.009)}
    assert broker.getcash() == pytest.approx(10_000 - 100 + 99 - 0.099)
    assert broker.getvalue() == pytest.approx(broker.getcash() + 0.9)


def test_a_bracket_whose_holding_was_sold_ends_without_going_short():
    def bracket(strategy):
        orders = strategy.buy_bracket(size=1.0, exectype=bt.Order.Market, stopprice=95.0, limitprice=120.0)
        strategy.orders |= dict(zip(("main", "stop", "limit"), orders, strict=True))

    broker, strategy = run_script([FLAT, FLAT, FLAT, DOWN, FLAT], {0: bracket, 1: place("out", "sell", size=1.0)})
    assert [f[0] for f in told(broker)] == ["buy", "sell"]
    assert strategy.statuses("stop")[-1] == "Rejected"
    assert strategy.statuses("limit")[-1] == "Canceled"
    assert broker.rejections[0].reason == "nothing may be sold short: asks 1, has 0"


def test_a_filler_may_fill_nothing():
    broker, strategy = run_script([FLAT] * 4, {0: place("a", "buy", size=1.0)}, filler=lambda *_: 0.0)
    assert broker.fills == []
    assert strategy.statuses("a") == ["Submitted", "Accepted"]


def test_orders_wait_in_the_queue_while_another_one_is_cancelled():
    limit = {"exectype": bt.Order.Limit, "price": 90.0}
    script = {0: both(place("a", "buy", size=1.0, **limit), place("b", "buy", size=1.0, **limit), withdraw("b"))}
    broker, strategy = run_script([FLAT, FLAT, (92.0, 93.0, 89.0, 91.0)], script)
    assert [f.order_ref for f in broker.fills] == [1]
    assert strategy.statuses("b") == ["Submitted", "Canceled"]


def test_partial_fills_by_a_filler():
    def half(order, price, ago):
        return min(abs(order.executed.remsize), 1.0)

    script = {0: place("a", "buy", size=2.5, exectype=bt.Order.Limit, price=100.0, stop_loss=0.05)}
    broker, strategy = run_script([FLAT] * 5 + [(96.0, 97.0, 94.0, 96.0)] * 3, script, filler=half)
    assert [f.size for f in broker.fills[:3]] == [1.0, 1.0, 0.5]
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Partial", "Partial", "Completed"]
    assert {f.reason for f in broker.fills[3:]} == {"stop"}


def test_what_a_cancelled_purchase_has_bought_is_guarded():
    script = {
        0: place("a", "buy", size=2.0, exectype=bt.Order.Limit, price=100.0, stop_loss=0.05, take_profit=0.05),
        1: withdraw("a"),
    }
    broker, strategy = run_script(
        [FLAT, FLAT, FLAT, DOWN], script, filler=lambda order, *_: abs(order.executed.remsize) / 2
    )
    assert told(broker) == [("buy", 1.0, 100.0, "entry"), ("sell", 0.5, 95.0, "stop")]
    assert strategy.statuses("a") == ["Submitted", "Accepted", "Partial", "Canceled"]


class FromExchange(SpotBroker):
    """A broker whose fills come from elsewhere: the books are those of a backtest."""

    params = (("fills_elsewhere", {}),)

    def _try_exec(self, order):
        if order.data.lines.datetime[0] > order.created.dt:
            for size, price, fee, asset in self.p.fills_elsewhere.pop(self.order_number(order), ()):
                self.book(order, size, price, fee, asset)

    def _judge_entry_bar(self, entry, guard):
        pass


def test_fills_may_come_from_an_exchange():
    from trading_runs import Scripted, candles_of

    from bot.backtest.cerebro import FastCerebro
    from bot.backtest.feed import CandleFeed

    main = FastCerebro()
    elsewhere = {
        1: [(0.4, 100.5, 0.0004, "base"), (0.6, 100.6, 0.0006, "base")],
        5: [(-0.999, 104.9, 0.02, "BNB")],  # the second pair; the first was for the first part alone
    }
    main.broker = FromExchange(fills_elsewhere=elsewhere)
    main.adddata(CandleFeed(candles=candles_of([FLAT, FLAT, FLAT, UP])))
    main.addstrategy(Scripted, script={0: place("a", "buy", size=1.0, stop_loss=0.05, take_profit=0.05)})
    main.run()
    fills = [(f.order_ref, f.size, f.price, f.fee, f.fee_asset, f.reason) for f in main.broker.fills]
    assert fills == [
        (1, 0.4, 100.5, 0.0004, "base", "entry"),
        (1, 0.6, 100.6, 0.0006, "base", "entry"),
        (5, 0.999, 104.9, 0.02, "BNB", "target"),
    ]
    assert main.broker.getcash() == pytest.approx(10_000 - 0.4 * 100.5 - 0.6 * 100.6 + 0.999 * 104.9)
    assert main.broker.getvalue() == main.broker.getcash()


def test_cash_that_is_added_counts_from_the_next_bar():
    broker, _ = run_script([FLAT] * 3, {0: lambda strategy: strategy.broker.add_cash(500.0)})
    assert broker.getcash() == broker.getvalue() == 10_500.0


def test_backtraders_way_to_set_a_commission_works_and_others_are_refused():
    broker = SpotBroker(fees=FeeSchedule(0.001, in_kind=True))
    broker.setcommission(commission=0.002)
    assert broker.p.fees == FeeSchedule(0.002, in_kind=True)
    with pytest.raises(BrokerError, match="it has no leverage"):
        broker.setcommission(commission=0.001, leverage=3.0)
    with pytest.raises(BrokerError, match="no order history"):
        broker.add_order_history([])
    with pytest.raises(BrokerError, match="no fund history"):
        broker.set_fund_history([])
    with pytest.raises(BrokerError, match=r"slippage is 0\.5"):
        SpotBroker(slippage=0.5)
    assert SpotBroker().p.rules == ExchangeRules()


def test_a_run_can_be_repeated_on_the_same_broker():
    from trading_runs import Scripted, candles_of, spot_broker

    from bot.backtest.cerebro import FastCerebro
    from bot.backtest.feed import CandleFeed

    broker = spot_broker(Setup())
    results = []
    for _ in range(2):
        main = FastCerebro()
        main.broker = broker
        main.adddata(CandleFeed(candles=candles_of([FLAT, FLAT, UP, DOWN])))
        main.addstrategy(Scripted, script={0: place("a", "buy", size=1.0, stop_loss=0.02)})
        main.run()
        results.append((list(broker.fills), broker.getcash(), broker.getvalue()))
    assert results[0] == results[1]


def test_targets_of_backtrader_buy_fractions_of_a_coin():
    def half_and_a_bit(strategy):
        strategy.order_target_percent(target=0.50125, stop_loss=0.03)

    broker, _ = run_script([FLAT, FLAT, FLAT], {0: half_and_a_bit}, Setup(taker=0.0, lot="0.01"))
    assert told(broker) == [("buy", 50.12, 100.0, "entry")]
    assert [order.created.price for order in broker.pending if order is not None] == [97.0]
