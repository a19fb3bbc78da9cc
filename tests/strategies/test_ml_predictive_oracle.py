"""MLPredictive against its rule written by hand over arrays, bar by bar, and what it does at its thresholds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scripted_engine import ScriptedEngine, ScriptedPaths, smooth_probabilities
from spot_oracle import Setup, simulate
from trading_runs import START_MS, QueueFeed, candles_of, fills_of, random_bars, run_setup

from strategies.catalog import check_params
from strategies.errors import StrategyError
from strategies.ml_predictive import MLPredictive

WAYS = {
    "runonce off": {"runonce": False},
    "preload off": {"preload": False},
    "exactbars 1": {"exactbars": 1},
    "exactbars -2": {"exactbars": -2},
}
FLAT = (100.0, 100.5, 99.5, 100.0)


class PredictiveRule:
    """The rule as its documentation says it; ``gain``, ``rise`` and ``peak`` are lists, None where there is no forecast."""

    def __init__(self, gain, rise, peak, setup, *, needed, sure, exit_return, exit_sure, longest=None):
        self.gain, self.rise, self.peak, self.setup = gain, rise, peak, setup
        self.needed, self.sure, self.exit_return, self.exit_sure, self.longest = (
            needed, sure, exit_return, exit_sure, longest,
        )  # fmt: skip
        self.due = None

    def opens(self, bar):
        return (
            self.gain[bar] is not None
            and self.peak[bar] > 0
            and self.gain[bar] >= self.needed
            and self.rise[bar] >= self.sure
        )

    def plan(self, bar):
        steps = self.peak[bar]
        self.due = bar + (steps if self.longest is None else min(steps, self.longest))

    def enters(self, bar):
        if self.opens(bar):
            self.plan(bar)
            return True
        return False

    def permits(self, bar):
        return True

    def leaves(self, bar):
        if self.gain[bar] is None:
            return self.setup.on_no_model == "close"
        if self.gain[bar] < self.exit_return or self.rise[bar] < self.exit_sure:
            return True
        if bar < self.due:
            return False
        if self.opens(bar):
            self.plan(bar)
            return False
        return True


def series(count, seed, scale):
    random = np.random.default_rng(seed)
    p_up = [
        None if random.random() < 0.02 else float(p) for p in smooth_probabilities(count, seed + 50, persistence=0.9)
    ]
    gain = [None if p is None else math.exp(scale * (2 * p - 1)) - 1 for p in p_up]
    return random_bars(count, seed, volatility=0.006, gap=0.001), p_up, gain


def engine(candles, p_up, **options):
    return ScriptedEngine(candles, np.array([float("nan") if p is None else p for p in p_up]), **options)


CASES = [
    ({}, 0.05, 4),
    (
        {"min_predicted_return": 0.002, "confidence_threshold": 0.52, "exit_return": -0.001, "exit_confidence": 0.4},
        0.02,
        6,
    ),
    ({"min_predicted_return": 0.0, "confidence_threshold": 0.5, "max_holding": 3}, 0.01, 12),
    ({"confidence_threshold": 0.6, "exit_return": 0.001, "exit_confidence": 0.55}, 0.1, 1),
]
LIMITS = [
    Setup(),
    Setup(stop_loss=0.02, take_profit=0.03, cooldown_bars=3, slippage=0.0005, on_no_model="close"),
    Setup(max_daily_loss=0.03, max_drawdown=0.2, max_losing_streak=2, in_kind=True, lot="0.01", trade_from_bar=70),
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("number", range(len(CASES)))
def test_it_trades_as_its_rule_written_by_hand(number, seed):
    given, scale, horizon = CASES[number]
    bars, p_up, gain = series(800, 200 + seed, scale)
    setup = LIMITS[(number + seed) % len(LIMITS)]
    wanted = given.get("min_predicted_return", "cost")
    rule = PredictiveRule(
        gain,
        p_up,
        [horizon] * len(bars),
        setup,
        needed=setup.round_trip_cost if wanted == "cost" else wanted,
        sure=given.get("confidence_threshold", 0.55),
        exit_return=given.get("exit_return", 0.0),
        exit_sure=given.get("exit_confidence", 0.5),
        longest=given.get("max_holding"),
    )
    expected = simulate(bars, None, setup, first_ms=START_MS, rule=rule)
    assert len(expected.fills) >= 6
    candles = candles_of(bars)
    models = {"prediction": engine(candles, p_up, scale=scale, horizon=horizon)}
    broker, strategy, watch = run_setup(MLPredictive, candles, {**given, "models": models}, setup)
    assert fills_of(broker) == expected.fills
    assert watch.value == expected.value
    rows = range(setup.trade_from_bar, len(bars))
    reached = [(row["bars"], row["of"]) for row in strategy.summary()["reached"]]
    known = [row for row in rows if gain[row] is not None]
    counted = [
        sum(gain[row] >= rule.needed for row in known),
        sum(p_up[row] >= rule.sure for row in known),
        sum(rule.opens(row) for row in known),
        sum(gain[row] >= 0.002 for row in known),
        sum(p_up[row] >= 0.7 for row in known),
    ]
    assert reached == [(count, len(known)) for count in counted]
    assert strategy.summary()["highest_return"] == pytest.approx(max(gain[row] for row in known), abs=1e-15)


def path_series(count, seed):
    """Return bars, gains at the peak, their steps and the probability of a rise, whose side is that of the gain."""
    random = np.random.default_rng(seed + 1)
    bars, p_up, _ = series(count, seed, 0.1)
    gain = [None if p is None else float(np.expm1(0.03 * (2 * p - 1) * random.uniform(0.2, 1))) for p in p_up]
    return bars, gain, random.integers(1, 13, count).tolist(), p_up


def paths(candles, gain, step, p_up, trusted_steps=12):
    nan = float("nan")
    known = [nan if value is None else value for value in gain]
    return ScriptedPaths(candles, known, step, [nan if p is None else p for p in p_up], trusted_steps=trusted_steps)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    "given",
    [
        {"min_predicted_return": 0.002},
        {"min_predicted_return": 0.001, "confidence_threshold": 0.52, "exit_return": -0.004, "exit_confidence": 0.3},
        {"min_predicted_return": 0.0005, "exit_return": -1.0, "exit_confidence": 0.0, "max_holding": 4},
    ],
)
def test_over_paths_it_trades_as_its_rule_written_by_hand(given, seed):
    bars, gain, step, p_up = path_series(500, 300 + seed)
    setup = LIMITS[seed % len(LIMITS)]
    rule = PredictiveRule(
        gain,
        p_up,
        step,
        setup,
        needed=given["min_predicted_return"],
        sure=given.get("confidence_threshold", 0.55),
        exit_return=given.get("exit_return", 0.0),
        exit_sure=given.get("exit_confidence", 0.5),
        longest=given.get("max_holding"),
    )
    expected = simulate(bars, None, setup, first_ms=START_MS, rule=rule)
    assert len(expected.fills) >= 6
    candles = candles_of(bars)
    given = {**given, "models": {"forecast": paths(candles, gain, step, p_up)}}
    broker, strategy, watch = run_setup(MLPredictive, candles, given, setup)
    assert fills_of(broker) == expected.fills
    assert watch.value == expected.value
    assert strategy.counts["exits_by_peak"] > 0
    for way in WAYS.values() if seed == 0 else ():
        other, again, _ = run_setup(MLPredictive, candles, given, setup, **way)
        assert fills_of(other) == expected.fills
        assert again.summary() == strategy.summary()


def test_a_path_without_a_trusted_step_opens_nothing_and_says_so():
    bars, gain, step, p_up = path_series(100, 1)
    candles = candles_of(bars)
    given = {"min_predicted_return": 0.0, "confidence_threshold": 0.5}
    for models in (
        {"forecast": paths(candles, gain, step, p_up, trusted_steps=0)},
        {"prediction": paths(candles, gain, step, p_up, trusted_steps=0)},
    ):
        broker, strategy, _ = run_setup(MLPredictive, candles, {**given, "models": models}, Setup())
        assert broker.fills == []
        known = sum(value is not None for value in gain)
        assert strategy.counts == {"blocked_by_no_trusted_step": known, "blocked_by_no_prediction": 100 - known}
        (note,) = strategy.summary()["notes"]
        assert "trusted_steps is 0" in note
        assert "nothing was opened" in note
        assert all(row["of"] == 0 for row in strategy.summary()["reached"])


def test_candles_that_come_later_change_no_decision():
    bars, gain, step, p_up = path_series(600, 4)
    candles = candles_of(bars)
    given = {"min_predicted_return": 0.001, "models": {"forecast": paths(candles, gain, step, p_up)}}
    broker, _, _ = run_setup(MLPredictive, candles, given, Setup())
    for cut in (200, 201, 450):
        later = [*bars[:cut], *(np.asarray(bars[cut:]) * 1.7).tolist()]
        changed, _, _ = run_setup(MLPredictive, candles_of(later), given, Setup())
        decided = [fill for fill in fills_of(broker) if fill[0] < cut]
        assert [fill for fill in fills_of(changed) if fill[0] < cut] == decided
        assert decided


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_it_gives_the_same_orders(way):
    bars, p_up, _ = series(500, 7, 0.05)
    candles = candles_of(bars)
    given = {"models": {"prediction": engine(candles, p_up, scale=0.05, horizon=5)}}
    broker, strategy, _ = run_setup(MLPredictive, candles, given, Setup())
    assert broker.fills
    other, again, _ = run_setup(MLPredictive, candles, given, Setup(), **WAYS[way])
    assert fills_of(other) == fills_of(broker)
    assert again.summary() == strategy.summary()
    live, lived, _ = run_setup(MLPredictive, candles, given, Setup(), feed=QueueFeed(candles=candles))
    assert fills_of(live) == fills_of(broker)
    assert lived.summary() == strategy.summary()


def test_decisions_do_not_depend_on_where_the_feed_begins():
    bars, p_up, _ = series(500, 8, 0.05)
    candles = candles_of(bars)
    given = {"models": {"prediction": engine(candles, p_up, scale=0.05, horizon=5)}}
    found = []
    for begin in (0, 1, 77, 150):
        broker, strategy, _ = run_setup(
            MLPredictive, candles.slice(begin, len(candles)), given, Setup(trade_from_bar=200 - begin)
        )
        found.append((fills_of(broker), strategy.summary()))
    assert found[0][0]
    assert all(each == found[0] for each in found)


def run_flat(p_up, *, scale=0.1, horizon=3, **given):
    """Run over flat bars; a probability of 0.6 means a predicted gain of 2 % (scale 0.1)."""
    candles = candles_of([FLAT] * len(p_up))
    models = {"prediction": engine(candles, p_up, scale=scale, horizon=horizon)}
    broker, strategy, _ = run_setup(MLPredictive, candles, {"models": models, **given}, Setup())
    return [(fill[0], fill[1]) for fill in fills_of(broker)], strategy


def test_it_opens_on_the_next_bar_and_leaves_at_the_peak():
    fills, strategy = run_flat([0.6, 0.51, 0.51, 0.51, 0.51, 0.51])
    assert fills == [(1, "buy"), (4, "sell")]  # decided at bar 0; three bars later its horizon has passed
    assert strategy.counts["exits_by_peak"] == 1


def test_it_is_kept_where_the_forecast_at_the_peak_would_open_it_again():
    fills, strategy = run_flat([0.6, 0.51, 0.51, 0.6, 0.51, 0.51, 0.51, 0.51])
    assert fills == [(1, "buy"), (7, "sell")]
    assert strategy.counts["kept_until_a_new_peak"] == 1


@pytest.mark.parametrize(
    ("p_up", "given", "reason"),
    [
        ([0.6, 0.49], {}, "path"),
        ([0.6, 0.52], {"exit_return": 0.0019, "min_predicted_return": 0.002}, ""),
        ([0.6, 0.509], {"exit_return": 0.0019, "min_predicted_return": 0.002}, "path"),
        ([0.6, 0.52], {"exit_confidence": 0.53}, "confidence"),
        ([0.6, 0.53], {"exit_confidence": 0.53}, ""),
        ([0.6, 0.45], {"exit_return": -0.02, "exit_confidence": 0.4}, ""),
        ([0.6, 0.51], {"max_holding": 1}, "peak"),
    ],
)
def test_what_closes_before_the_peak(p_up, given, reason):
    fills, strategy = run_flat([*p_up, 0.51], **given)
    assert fills == ([(1, "buy"), (2, "sell")] if reason else [(1, "buy")])
    assert strategy.counts.get(f"exits_by_{reason}", 0) == bool(reason)


def test_a_predicted_fall_opens_nothing_however_sure():
    for threshold in (0.5, 0.55):
        fills, strategy = run_flat([0.1] * 6, min_predicted_return=0.0, confidence_threshold=threshold)
        assert fills == []
        assert strategy.counts == {"blocked_by_predicted_return": 6}


def test_what_blocks_is_counted():
    assert run_flat([None] * 4)[1].counts == {"blocked_by_no_prediction": 4}
    assert run_flat([0.509] * 4)[1].counts == {"blocked_by_predicted_return": 4}  # 0.18 % where 0.2 % is the cost
    assert run_flat([0.511] * 4)[1].counts == {"blocked_by_confidence": 4}


def test_the_thresholds_that_others_use_are_accepted_and_seldom_reached():
    fills, strategy = run_flat([0.52, 0.6] * 20, scale=0.005, min_predicted_return=0.002, confidence_threshold=0.7)
    assert fills == []
    summary = strategy.summary()
    assert [row["bars"] for row in summary["reached"]] == [0, 0, 0, 0, 0]
    (note,) = summary["notes"]
    assert note == (
        "MLPredictive: 0 of 40 bars reach the predicted return of 0.2 % that is needed (the highest is 0.1 %); "
        "0 reach the probability of 70 %, 0 both."
    )


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_predicted_return": "costs"}, "min_predicted_return is 'costs': expected cost or a number"),
        ({"min_predicted_return": -0.1}, r"min_predicted_return is -0\.1: expected a number in \[0, 1\]"),
        ({"min_predicted_return": None}, "min_predicted_return is None"),
        ({"confidence_threshold": 0.4}, r"confidence_threshold is 0\.4: expected a number in \[0\.5, 1\]"),
        ({"exit_return": 0.01, "min_predicted_return": 0.002}, r"exit_return is 0\.01: expected at most min_predicted"),
        ({"exit_return": 0.01, "round_trip_cost": 0.003}, r"exit_return is 0\.01: .* which is 0\.003"),
        ({"exit_confidence": 0.6}, r"exit_confidence is 0\.6: expected at most confidence_threshold, which is 0\.55"),
        ({"max_holding": 0}, "max_holding is 0: expected a whole number from 1 or null"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(StrategyError, match=message):
        check_params(MLPredictive, params)


def test_parameters_that_are_accepted():
    check_params(MLPredictive, {"min_predicted_return": 0.002, "confidence_threshold": 0.7})
    check_params(MLPredictive, {"min_predicted_return": "cost", "exit_return": 0.001})


def test_roles_that_it_needs():
    assert MLPredictive.needed_roles({}) == (("forecast", "prediction"),)
    with pytest.raises(StrategyError, match="MLPredictive needs a model for the role 'prediction'"):
        run_setup(MLPredictive, candles_of([FLAT] * 3), {"models": {}}, Setup())
