"""The decision journal: a row a bar, in a backtest and bar by bar alike, that agrees with predictions, orders and account."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import backtrader as bt
import numpy as np
import path_models
import pytest
from backtest_runs import config, small_home
from known_feed import KnownFeed
from small_models import market, register
from spot_oracle import Setup
from trading_runs import MODES, QueueFeed, candles_of, random_bars, spot_broker

from bot.assembly import assemble_backtest
from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.backtest.run import run_backtest
from bot.decisions import DecisionRecorder, RecordedPrediction, record_decisions
from bot.errors import UsageError
from indicators.prediction import MLPrediction
from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.predictions import PREDICTION_COLUMNS, Status
from strategies.ml_basic import MLBasic
from strategies.ml_predictive import MLPredictive

DAY = 24 * 3_600_000


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return small_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def recorded(home):
    """A backtest from a start on, and its rows."""
    rows = []
    assembly = assemble_backtest(config(when=", start: 2018-03-10"), "BTCUSDT", home)
    record_decisions(assembly, rows.append)
    return rows, run_backtest(assembly)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return register(tmp_path_factory.mktemp("models"))


def run(candles, strategy, models, *, feed=None, mode="batch", start=0, **params):
    """Run a strategy with a recorder; returns the rows."""
    main, rows = FastCerebro(), []
    main.broker = spot_broker(Setup(lot="0.00001"))
    kind = QueueFeed if mode == "live" else CandleFeed
    main.adddata(kind(candles=candles) if feed is None else feed)
    first = int(candles.open_ms[start])
    given = {"models": models, "trade_from_ms": first} if issubclass(strategy, (MLBasic, MLPredictive)) else {}
    main.addstrategy(strategy, **given, **params)
    main.addanalyzer(DecisionRecorder, sink=rows.append, symbol="BTCUSDT", models=models, trade_from_ms=first)
    main.run(**MODES[mode])
    return rows


def plain(rows):
    return [row.to_dict() for row in rows]


def test_there_is_one_row_for_each_bar_that_may_trade(recorded):
    rows, run = recorded
    assembly = run.assembly
    assert assembly.first_row > 100
    assert [row.open_ms for row in rows] == assembly.candles.open_ms[assembly.first_row :].tolist()
    for at, row in enumerate(rows, start=assembly.first_row):
        candles = assembly.candles
        assert row.candle == {name: getattr(candles, name)[at] for name in ("open", "high", "low", "close", "volume")}
        assert (row.symbol, row.timeframe, row.close) == ("BTCUSDT", "1h", candles.close[at])


def test_rows_hold_the_predictions_of_the_run_and_their_evidence(recorded):
    rows, run = recorded
    batch, (bound,) = run.predictions["prediction"], run.assembly.models
    evidence = bound.engine.evidence_batch(run.assembly.candles)[run.assembly.first_row :]
    for at, row in enumerate(rows):
        said = row.predictions["prediction"]
        assert np.array(said.values).tobytes() == batch.values[at].tobytes()
        assert said.status == Status(int(batch.status[at])).label
        assert (said.fingerprint, said.features) == evidence[at]
        assert (said.version, said.digest, said.model) == (bound.model.version_id, bound.model.digest, str(bound.model))
        assert said.path is None
    assert all(len(said[0]) == len(said[1]) == 32 for said in evidence)


def test_rows_hold_the_account_and_every_fill_and_order_of_the_run(recorded):
    rows, run = recorded
    assert len(run.fills) > 20
    assert [fill for row in rows for fill in row.fills] == list(run.fills)
    assert all(fill.bar_open_ms == row.open_ms for row in rows for fill in row.fills)
    assert np.array([row.cash for row in rows]) == pytest.approx(run.curves.cash)
    assert np.array([row.value for row in rows]) == pytest.approx(run.curves.equity)
    assert np.array([row.position for row in rows]) == pytest.approx(run.curves.position)
    orders = {order.number: (row.open_ms, order) for row in rows for order in row.orders}
    of_strategy = [fill for fill in run.fills if fill.reason in {"entry", "exit"}]
    assert {fill.order_ref for fill in of_strategy} <= set(orders)
    for fill in of_strategy:
        placed_ms, order = orders[fill.order_ref]
        assert placed_ms == fill.bar_open_ms - run.assembly.candles.step_ms
        assert (order.side, order.size, order.kind, order.refused) == (fill.side, fill.size, "market", "")
        assert order.stop_loss == (0.05 if fill.side == "buy" else None)


def test_decisions_are_counted_as_the_run_counts_them(recorded):
    rows, run = recorded
    entries = [row for row in rows if row.decision.action == "enter"]
    assert len(entries) == run.decisions["entries"] > 10
    for name, count in run.decisions.items():
        if name.startswith("blocked_by_"):
            assert sum(row.decision.reason == name for row in rows) == count


def test_a_row_is_json_with_every_bit_of_its_floats(recorded):
    rows, _ = recorded
    warming = run_backtest_rows_of_a_cold_start(recorded)
    for row in (*rows[:200], *warming):
        document = row.to_dict()
        again = json.loads(json.dumps(document, allow_nan=False))
        assert again == document
        said, found = row.predictions["prediction"], again["predictions"]["prediction"]
        for name, value in zip(PREDICTION_COLUMNS, said.values, strict=True):
            assert found["values"][name] == (None if math.isnan(value) else value)
        assert again["value"] == row.value
        assert again["decision"]["reason"] == row.decision.reason
    assert warming[0].predictions["prediction"].status == "warming"
    assert warming[0].predictions["prediction"].fingerprint == ""


def run_backtest_rows_of_a_cold_start(recorded):
    model = recorded[1].assembly.models[0].model
    return run(market().slice(0, 600), MLBasic, {"prediction": open_engine(model)}, min_edge="none")


def test_a_run_that_nobody_records_is_the_same_run(recorded, home):
    _, run = recorded
    other = run_backtest(assemble_backtest(config(when=", start: 2018-03-10"), "BTCUSDT", home))
    assert other.fills == run.fills
    assert other.decisions == run.decisions
    assert other.curves.equity.tobytes() == run.curves.equity.tobytes()


def test_only_one_bar_may_be_recorded(recorded, home):
    rows, _ = recorded
    for row in (rows[0], next(row for row in rows if row.orders), rows[-1]):
        assembly, found = assemble_backtest(config(when=", start: 2018-03-10"), "BTCUSDT", home), []
        record_decisions(assembly, found.append, only_ms=row.open_ms)
        run_backtest(assembly)
        assert plain(found) == plain([row])


@pytest.mark.parametrize("mode", ["live", "runonce off", "preload off", "exactbars 1", "exactbars -1", "exactbars -2"])
def test_bar_by_bar_the_rows_are_the_same(model, mode):
    candles = market().slice(0, 900)
    options = {"min_edge": "none", "enter": 0.52, "exit": 0.48, "start": 500}
    whole = run(candles, MLBasic, {"prediction": open_engine(model)}, **options)
    single = run(candles, MLBasic, {"prediction": open_engine(model)}, mode=mode, **options)
    assert len(whole) == 400
    assert plain(single) == plain(whole)


class Counting(PredictionEngine):
    """An engine that counts how often it is asked."""

    def __init__(self, model):
        super().__init__(model)
        self.asked = {"evidence": 0, "evidence_batch": 0}

    def evidence(self, candles):
        self.asked["evidence"] += 1
        return super().evidence(candles)

    def evidence_batch(self, candles):
        self.asked["evidence_batch"] += 1
        return super().evidence_batch(candles)


def test_what_a_live_feed_knew_at_its_start_is_one_batch(model):
    candles, known = market().slice(0, 900), 850
    options = {"min_edge": "none", "enter": 0.52, "exit": 0.48, "start": 500}
    whole = run(candles, MLBasic, {"prediction": open_engine(model)}, **options)
    engine = Counting(model)
    feed = KnownFeed(candles=candles, history=candles.slice(0, known))
    rows = run(candles, MLBasic, {"prediction": engine}, feed=feed, mode="live", **options)
    assert plain(rows) == plain(whole)
    assert engine.asked == {"evidence": 900 - known, "evidence_batch": 1}
    loaded = Counting(model)
    run(candles, MLBasic, {"prediction": loaded}, **options)
    assert loaded.asked == {"evidence": 0, "evidence_batch": 1}


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_of_a_model_that_changes_a_row_names_the_version_in_force(model, tmp_path, mode):
    from ml.schedule import ScheduledEngine

    later = register(tmp_path, trees=26)
    candles = market().slice(0, 700)
    border = int(candles.open_ms[600])
    engine = ScheduledEngine([(None, open_engine(model)), (border, open_engine(later))])
    rows = run(candles, MLBasic, {"prediction": engine}, mode=mode, start=550, min_edge="none")
    for row in rows:
        in_force = later if row.open_ms >= border else model
        said = row.predictions["prediction"]
        assert (said.version, said.digest) == (in_force.version_id, in_force.digest)
        at = int(np.searchsorted(candles.open_ms, row.open_ms))
        values, _ = open_engine(in_force).predict_newest(candles.slice(0, at + 1))
        assert np.array(said.values).tobytes() == np.array(values).tobytes()


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_of_paths_a_row_holds_what_the_strategy_reads(tmp_path, mode):
    engine = open_engine(path_models.register_path(tmp_path))
    candles = path_models.drifting().slice(0, 640)
    rows = run(candles, MLPredictive, {"forecast": engine}, mode=mode, start=600, min_predicted_return=0.0)
    found = engine.summaries(candles, (1, 5, 20))
    for at, row in enumerate(rows, start=600):
        said = row.predictions["forecast"]
        assert said.status == "ok"
        expected = dict(zip(("return_1", "return_5", "return_20"), found.values[at], strict=False))
        names = ("highest", "lowest", "peak_return", "peak_step", "peak_confidence")
        expected |= dict(zip(names, found.values[at][3:], strict=True)) | {"trusted_steps": found.trusted_steps}
        assert said.path == pytest.approx(expected, rel=0, abs=0, nan_ok=True)
        assert all(math.isnan(value) for value in said.values)
        assert (said.fingerprint, said.features) == engine.evidence(candles.slice(0, at + 1))
        assert json.loads(json.dumps(row.to_dict(), allow_nan=False)) == row.to_dict()


class Own(bt.Strategy):
    """A strategy of a user's: it tells nothing, trades twice, and looks at no line."""

    decision = "mine"

    def next(self):
        if len(self.data) == 20:
            self.buy(size=1.0)
            self.buy(size=1e9)
        elif len(self.data) == 22:
            self.sell(size=0.5, exectype=bt.Order.Limit, price=1e6)
            self.sell(size=0.5, exectype=bt.Order.StopLimit, price=90.0, plimit=89.0)


class Reading(Own):
    params = (("models", None),)

    def __init__(self):
        self.prediction = MLPrediction(self.data, model=self.p.models["prediction"])


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_a_strategy_that_tells_nothing_has_predictions_and_orders(mode):
    candles = candles_of(random_bars(40, 3))
    rows = run(candles, Own, {}, mode=mode)
    assert all(row.decision is None and row.predictions == {} for row in rows)
    assert [len(row.orders) for row in rows if row.orders] == [2, 2]
    bought, refused = rows[19].orders
    assert (bought.number, bought.side, bought.size, bought.price, bought.refused) == (1, "buy", 1.0, None, "")
    assert (refused.number, refused.size) == (2, 1e9)
    assert "not enough cash" in refused.refused
    assert [refusal.order_ref for refusal in rows[19].refusals] == [2]
    limit, stop = rows[21].orders
    assert (limit.kind, limit.price, limit.limit) == ("limit", 1e6, None)
    assert (stop.kind, stop.price, stop.limit) == ("stoplimit", 90.0, 89.0)
    assert [fill.order_ref for fill in rows[20].fills] == [1]
    assert rows[20].position == 1.0
    assert plain(rows)[19]["decision"] is None


@pytest.mark.parametrize("mode", ["batch", "live"])
def test_a_role_that_no_line_shows_is_asked_of_its_engine(model, mode):
    candles = market().slice(0, 620)
    silent = run(candles, Own, {"prediction": open_engine(model)}, mode=mode, start=560)
    batch = open_engine(model).predict_batch(candles)
    for at, row in enumerate(silent, start=560):
        assert np.array(row.predictions["prediction"].values).tobytes() == batch.values[at].tobytes()
        assert row.predictions["prediction"].status == "ok"
    nothing = run(candles, Own, {"prediction": PredictionEngine(None)}, mode=mode, start=560)
    said = nothing[0].predictions["prediction"]
    assert (said.model, said.version, said.digest, said.status) == ("no model", None, None, "no_model")
    assert (said.fingerprint, said.features) == ("", "")


def test_bars_before_the_first_that_may_trade_leave_no_order_behind(model):
    candles = candles_of(random_bars(40, 3))
    rows = run(candles, Own, {}, start=19)
    assert [order.number for order in rows[0].orders] == [1, 2]
    later = run(candles, Own, {}, start=21)
    assert later[0].open_ms == candles.open_ms[21]
    assert [order.side for order in later[0].orders] == ["sell", "sell"]


def test_a_bar_has_one_row_also_where_a_finer_feed_ticks_in_between():
    class Buying(bt.Strategy):
        def next(self):
            if len(self.data1) == 30:  # inside the third hour
                self.buy(data=self.data0, size=1.0)

    hours, minutes = candles_of(random_bars(5, 3)), candles_of(random_bars(60, 3), "5m")
    main, rows = FastCerebro(), []
    main.broker = spot_broker(Setup())
    main.adddata(CandleFeed(candles=hours))
    main.adddata(CandleFeed(candles=minutes))
    main.addstrategy(Buying)
    main.addanalyzer(DecisionRecorder, sink=rows.append)
    main.run()
    assert [row.open_ms for row in rows] == hours.open_ms.tolist()
    assert [len(row.orders) for row in rows] == [0, 0, 1, 0, 0]


def test_a_recorder_needs_somebody_to_hand_its_rows_to():
    main = FastCerebro()
    main.adddata(CandleFeed(candles=candles_of(random_bars(5, 1))))
    main.addstrategy(Own)
    main.addanalyzer(DecisionRecorder)
    with pytest.raises(UsageError, match="needs sink="):
        main.run()
    with pytest.raises(ValueError, match="2 values of a prediction, expected 9"):
        RecordedPrediction("m", None, None, "ok", (1.0, 2.0), "", "")


def test_an_assembly_hands_its_own_symbol_models_and_start_to_the_recorder():
    added = {}

    class Main:
        def addanalyzer(self, kind, **params):
            added.update(params, kind=kind)

    bound = SimpleNamespace(role="prediction", engine=object())
    assembly = SimpleNamespace(cerebro=Main(), symbol="ETHUSDT", models=(bound,), trade_from_ms=5)
    record_decisions(assembly, print, only_ms=7)
    assert added == {
        "kind": DecisionRecorder,
        "sink": print,
        "symbol": "ETHUSDT",
        "models": {"prediction": bound.engine},
        "trade_from_ms": 5,
        "only_ms": 7,
    }
