"""MLEnhanced against its rule written by hand over arrays, bar by bar, and what it does at its thresholds."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_engine import Edges, ScriptedEngine, smooth_probabilities
from spot_oracle import HOUR_MS, Setup, simulate
from trading_runs import START_MS, QueueFeed, candles_of, fills_of, random_bars, run_setup

from indicators.errors import IndicatorError
from strategies.catalog import check_params
from strategies.errors import StrategyError
from strategies.ml_enhanced import MLEnhanced

WAYS = {
    "runonce off": {"runonce": False},
    "preload off": {"preload": False},
    "exactbars 1": {"exactbars": 1},
    "exactbars -2": {"exactbars": -2},
}


def rsi_seen(closes, first_ms, period, ratio, *, step_ms=HOUR_MS):
    """Return Wilder's index of the newest closed candle of ``ratio`` bars at each close; None before there is one.

    A block's values are those of a run from the start of the block before it; blocks are L candles long, L the smallest power
    of two from 64 on with ``(1 - 1/period)^L <= 1e-4``.
    """
    length = 64
    while (1 - 1 / period) ** length > 1e-4:
        length *= 2
    long_ms = ratio * step_ms
    last = {}  # index of a long candle that is seen whole -> its close
    first_whole = -(-first_ms // long_ms)
    seen = []
    for row, close in enumerate(closes):
        end = first_ms + (row + 1) * step_ms
        if end % long_ms == 0 and end // long_ms - 1 >= first_whole:
            last[end // long_ms - 1] = close
        newest = end // long_ms - 1
        begin = (newest // length - 1) * length
        if begin < first_whole or newest not in last:
            seen.append(None)
            continue
        up = down = 0.0
        for k in range(begin + 1, newest + 1):
            change = last[k] - last[k - 1]
            up += (max(change, 0.0) - up) / period
            down += (max(-change, 0.0) - down) / period
        seen.append(100 * up / (up + down) if up + down > 0 else None)
    return seen


class EnhancedRule:
    """The rule as its documentation says it, over lists; None where there is no number."""

    def __init__(self, rsi, p_up, risk, setup, *, bound=None, oversold, overbought, sure, down, max_risk):
        self.rsi, self.p_up, self.risk, self.setup, self.bound = rsi, p_up, risk, setup, bound
        self.oversold, self.overbought, self.sure, self.down, self.max_risk = oversold, overbought, sure, down, max_risk

    def says(self, bar, up, least):
        p = self.p_up[bar]
        if p is None or p == 0.5:
            return False
        return (p if up else 1 - p) >= max(least, 0.5) and (p > 0.5) == up

    def enters(self, bar):
        rsi = self.rsi[bar]
        if rsi is None or rsi >= self.oversold or not self.says(bar, True, self.sure):
            return False
        return self.max_risk is None or (self.risk[bar] is not None and self.risk[bar] < self.max_risk)

    def leaves(self, bar):
        if self.p_up[bar] is None:
            return self.setup.on_no_model == "close"
        rsi = self.rsi[bar]
        if rsi is not None and rsi > self.overbought and self.says(bar, False, self.sure):
            return True
        return self.down is not None and self.says(bar, False, self.down)

    def permits(self, bar):
        return self.bound is None or self.bound(self.p_up[bar]) > self.setup.needed_edge


def engines(candles, p_up, risk, edges=None):
    nan = float("nan")
    direction = ScriptedEngine(candles, np.array([nan if p is None else p for p in p_up]), edges=edges)
    scores = ScriptedEngine(
        candles,
        np.array([nan if r is None else 0.5 for r in risk]),
        risk=np.array([nan if r is None else r for r in risk]),
    )
    return {"direction": direction, "risk": scores}


def series(count, seed):
    random = np.random.default_rng(seed)
    p_up = [
        None if random.random() < 0.02 else float(p) for p in smooth_probabilities(count, seed + 50, persistence=0.9)
    ]
    risk = [None if random.random() < 0.02 else float(r) for r in random.uniform(20, 80, count)]
    return random_bars(count, seed, volatility=0.006, gap=0.001), p_up, risk


CASES = [
    {"rsi_period": 5, "rsi_timeframe": None, "oversold": 35.0, "overbought": 60.0},
    {"rsi_period": 5, "rsi_timeframe": "4h", "oversold": 45.0, "overbought": 55.0, "min_confidence": 0.52},
    {"rsi_period": 3, "rsi_timeframe": "2h", "oversold": 40.0, "overbought": 60.0, "down_confidence": None},
    {"rsi_period": 5, "rsi_timeframe": "3h", "oversold": 45.0, "overbought": 70.0, "max_risk": None},
]
LIMITS = [
    Setup(),
    Setup(stop_loss=0.02, take_profit=0.03, cooldown_bars=3, slippage=0.0005, on_no_model="close"),
    Setup(max_daily_loss=0.03, max_drawdown=0.2, max_losing_streak=2, in_kind=True, lot="0.01", trade_from_bar=700),
]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("number", range(len(CASES)))
def test_it_trades_as_its_rule_written_by_hand(number, seed):
    bars, p_up, risk = series(1200, 100 + seed)
    given, setup = CASES[number], LIMITS[(number + seed) % len(LIMITS)]
    candles = candles_of(bars)
    ratio = int((given["rsi_timeframe"] or "1h")[:-1])
    rule = EnhancedRule(
        rsi_seen([row[3] for row in bars], START_MS, given["rsi_period"], ratio),
        p_up,
        risk,
        setup,
        oversold=given["oversold"],
        overbought=given["overbought"],
        sure=given.get("min_confidence", 0.5),
        down=given.get("down_confidence", 0.55),
        max_risk=given.get("max_risk", 50.0),
    )
    expected = simulate(bars, None, setup, first_ms=START_MS, rule=rule)
    assert len(expected.fills) >= 6
    params = {**given, "models": engines(candles, p_up, risk), "min_edge": "none"}
    broker, strategy, watch = run_setup(MLEnhanced, candles, params, setup)
    assert fills_of(broker) == expected.fills
    assert watch.value == expected.value
    first = setup.trade_from_bar
    low = [rsi is not None and rsi < given["oversold"] for rsi in rule.rsi]
    up = [rule.says(bar, True, rule.sure) for bar in range(len(bars))]
    reached = {row["what"]: (row["bars"], row["of"]) for row in strategy.summary()["reached"]}
    where = f"RSI {given['rsi_period']}" + (f" on {given['rsi_timeframe']}" if given["rsi_timeframe"] else "")
    assert reached[f"{where} below {given['oversold']:g}"] == (sum(low[first:]), len(bars) - first)
    confirmed = [a and b for a, b in zip(low, up, strict=True)][first:]
    said = next(name for name in reached if "says UP" in name)
    assert reached[said] == (sum(confirmed), sum(low[first:]))
    if rule.max_risk is not None:
        passed = sum(rule.enters(bar) for bar in range(first, len(bars)))
        assert reached["of these the risk is below 50"] == (passed, sum(confirmed))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_to_run_it_gives_the_same_orders(way):
    bars, p_up, risk = series(700, 7)
    candles = candles_of(bars)
    params = {**CASES[1], "models": engines(candles, p_up, risk), "min_edge": "none"}
    broker, strategy, _ = run_setup(MLEnhanced, candles, params, Setup())
    assert broker.fills
    other, again, _ = run_setup(MLEnhanced, candles, params, Setup(), **WAYS[way])
    assert fills_of(other) == fills_of(broker)
    assert again.summary() == strategy.summary()
    live, lived, _ = run_setup(MLEnhanced, candles, params, Setup(), feed=QueueFeed(candles=candles))
    assert fills_of(live) == fills_of(broker)
    assert lived.summary() == strategy.summary()


def test_candles_that_come_later_change_no_decision():
    bars, p_up, risk = series(900, 8)
    candles = candles_of(bars)
    params = {**CASES[1], "models": engines(candles, p_up, risk), "min_edge": "none"}
    broker, _, _ = run_setup(MLEnhanced, candles, params, Setup())
    for cut in (700, 701, 702, 703, 850):
        later = [*bars[:cut], *(np.asarray(bars[cut:]) * 1.7).tolist()]
        changed, _, _ = run_setup(MLEnhanced, candles_of(later), params, Setup())
        decided = [fill for fill in fills_of(broker) if fill[0] < cut]  # decided at closes before the change
        assert [fill for fill in fills_of(changed) if fill[0] < cut] == decided
        assert decided


def test_decisions_do_not_depend_on_where_the_feed_begins():
    bars, p_up, risk = series(1300, 9)
    candles = candles_of(bars)
    given = {**CASES[1], "models": engines(candles, p_up, risk), "min_edge": "none"}
    needed = MLEnhanced.history_bars("1h", given)
    found = []
    for begin in (0, 1, 2, 3, 150, 900 - needed):
        part = candles.slice(begin, len(candles))
        broker, strategy, _ = run_setup(MLEnhanced, part, given, Setup(trade_from_bar=900 - begin))
        found.append((fills_of(broker), strategy.summary()))
    assert found[0][0]
    assert all(each == found[0] for each in found)


WARM = 130  # bars until the index of any short period is there
QUIET = [(100.0, 101.0, 99.0, 100.0 + row % 2) for row in range(WARM)]
FALLING = [(100.0 - row, 100.5 - row, 98.5 - row, 99.0 - row) for row in range(60)]
RISING = [(40.0 + row, 41.5 + row, 39.5 + row, 41.0 + row) for row in range(60)]
TURN = [*FALLING, *RISING]


def run_turn(p_up, risk=None, bars=TURN, setup=None, edges=None, **params):
    """Run over a fall and a rise, counted from the first bar after the quiet ones: an RSI of 0, then near 100."""
    count = len(bars)
    candles = candles_of([*QUIET, *bars])
    models = engines(candles, [0.5] * WARM + list(p_up), [10.0] * WARM + list(risk or [10.0] * count), edges)
    given = {"rsi_period": 2, "min_edge": "none", "models": models, **params}
    broker, strategy, _ = run_setup(MLEnhanced, candles, given, setup or Setup(trade_from_bar=WARM))
    return [(fill[0] - WARM, fill[1]) for fill in fills_of(broker)], strategy


def test_up_means_long_so_it_can_trade():
    fills, strategy = run_turn([0.6] * 50 + [0.5] * 40 + [0.6] * 10 + [0.48] * 20)
    assert fills[0][1] == "buy"
    assert fills[0][0] < 50
    assert fills[1] == (101, "sell")
    assert strategy.counts["exits_by_overbought"] == 1


def test_a_down_never_opens_and_an_up_alone_does_not_either():
    assert run_turn([0.3] * 120)[0] == []
    fills, strategy = run_turn([0.9] * 120, bars=RISING * 2, oversold=1.0)
    assert fills == []
    assert strategy.counts == {}


def test_no_opinion_confirms_nothing():
    fills, strategy = run_turn([0.5] * 120)
    assert fills == []
    assert strategy.counts["blocked_by_direction"] > 10
    assert run_turn([0.50001] * 120)[0]


@pytest.mark.parametrize(("down_confidence", "closes"), [(0.55, True), (0.6, True), (0.61, False), (None, False)])
def test_a_down_alone_closes_when_it_is_sure_enough(down_confidence, closes):
    p_up = [0.6] * 50 + [0.4] + [0.5] * 69
    fills, strategy = run_turn(p_up, down_confidence=down_confidence)
    assert ((51, "sell") in fills) == closes
    assert strategy.counts.get("exits_by_down", 0) == closes


def test_the_risk_must_be_below_its_limit_to_open_but_not_to_leave():
    p_up = [0.6] * 55 + [0.4] * 65
    fills, strategy = run_turn(p_up, [50.0] * 120)
    assert fills == []
    assert strategy.counts["blocked_by_risk"] == 55
    fills, _ = run_turn(p_up, [49.99] * 50 + [99.0] * 70)
    assert [side for _, side in fills] == ["buy", "sell"]
    fills, _ = run_turn(p_up, [99.0] * 120, max_risk=60.0)
    assert fills == []
    assert run_turn(p_up, [59.0] * 120, max_risk=60.0)[0]


def test_without_a_prediction_of_either_model_nothing_is_opened():
    for p_up, risk in (([None] * 120, [10.0] * 120), ([0.6] * 120, [None] * 120)):
        fills, strategy = run_turn(p_up, risk)
        assert fills == []
        assert strategy.counts["blocked_by_no_prediction"] > 10
    fills, _ = run_turn([0.6] * 120, [None] * 120, max_risk=None)
    assert fills


def test_without_history_it_says_so():
    fills, strategy = run_turn([0.6] * 120, rsi_period=50)
    assert fills == []
    assert strategy.summary()["reached"][-1] == {"what": "without RSI 50, for lack of history", "bars": 120, "of": 120}


@pytest.mark.parametrize(("bound", "opened"), [(0.001, False), (0.0021, True), (float("nan"), False)])
def test_opens_only_where_the_record_of_the_direction_model_pays(bound, opened):
    edges = Edges(np.array([0.5, 1.0]), np.array([bound]))
    fills, strategy = run_turn([0.6] * 120, edges=edges, min_edge="cost")
    assert bool(fills) == opened
    assert (strategy.counts["blocked_by_min_edge"] > 0) != opened
    assert strategy.summary()["needed_edge"] == 0.002


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"rsi_period": 1}, "rsi_period is 1: expected a whole number from 2"),
        ({"rsi_timeframe": 5}, "rsi_timeframe is 5: expected a text such as 5m, or null"),
        ({"oversold": 70}, "oversold is 70: expected less than overbought, which is 70"),
        ({"overbought": 101}, r"overbought is 101: expected a number in \[0, 100\]"),
        ({"min_confidence": 0.4}, r"min_confidence is 0\.4: expected a number in \[0\.5, 1\]"),
        ({"down_confidence": 55}, "down_confidence is 55"),
        ({"max_risk": 0}, r"max_risk is 0: expected a number in \(0, 100\] or null"),
        ({"min_edge": "costs"}, "min_edge is 'costs'"),
        ({"oversld": 20}, "did you mean 'oversold'"),
    ],
)
def test_parameters_out_of_range(params, message):
    with pytest.raises(StrategyError, match=message):
        check_params(MLEnhanced, params)


def test_a_timeframe_that_is_no_multiple():
    with pytest.raises(StrategyError, match="rsi_timeframe is '90m': expected a whole multiple of the bars' 1h"):
        MLEnhanced.history_bars("1h", {"rsi_timeframe": "90m"})
    with pytest.raises(StrategyError, match="rsi_timeframe is 'soon'"):
        MLEnhanced.history_bars("1h", {"rsi_timeframe": "soon"})
    with pytest.raises(IndicatorError, match="not a whole multiple"):
        run_turn([0.6] * 120, rsi_timeframe="90m")
    assert MLEnhanced.history_bars("1m", {"rsi_timeframe": "5m"}) == 5 * 258


def test_roles_that_it_needs():
    assert MLEnhanced.needed_roles({}) == (("direction",), ("risk",))
    assert MLEnhanced.needed_roles({"max_risk": None}) == (("direction",),)
    candles = candles_of(TURN)
    given = {"models": {"direction": ScriptedEngine(candles, np.full(120, 0.6))}}
    with pytest.raises(StrategyError, match="MLEnhanced needs a model for the role 'risk'"):
        run_setup(MLEnhanced, candles, given, Setup())
