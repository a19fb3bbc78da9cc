"""Lines of models that change between two bars: each bar shows the version in force, batch or bar by bar, history or live."""

from __future__ import annotations

import backtrader as bt
import numpy as np
import pytest
from known_feed import KnownFeed
from path_models import drifting, register_path
from small_ensembles import register_ensemble
from small_models import market, register, with_holes
from trading_runs import MODES, assert_same_bits, indicator_lines

from bot.backtest.cerebro import FastCerebro
from indicators.edge import HoldingEdge
from indicators.errors import IndicatorError
from indicators.forecast import MLForecast
from indicators.lines import feed_of, open_ms
from indicators.prediction import MLPrediction
from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.errors import InvalidParameter
from ml.predictions import Status
from ml.schedule import schedule_engines

BARS, BORDER = 900, 700


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp
    return {
        "single": (register(root("a")), register(root("b"), trees=12, seed=4)),
        "ensemble": (register_ensemble(root("c")), register_ensemble(root("d"), "voting", 3)),
        "path": (register_path(root("e")), register_path(root("f"), "multi_ohlc")),
    }


def candles_for(kind):
    return with_holes(drifting() if kind == "path" else market(), 3).slice(0, BARS)


def maker(kind, engine):
    if kind == "path":
        return lambda data: MLForecast(data, model=engine, steps=(1, 5, 24))
    if kind == "edge":
        return lambda data: HoldingEdge(MLPrediction(data, model=engine), model=engine)
    return lambda data: MLPrediction(data, model=engine)


def expected_lines(kind, engines, candles):
    """Return the lines of each engine alone, on its side of the border."""
    first, second = (indicator_lines(maker(kind, engine), candles) for engine in engines)
    assert any(not np.array_equal(first[name][BORDER:], second[name][BORDER:], equal_nan=True) for name in first)
    return {name: np.append(first[name][:BORDER], second[name][BORDER:]) for name in first}


@pytest.mark.parametrize("kind", ["single", "ensemble", "path", "edge"])
def test_every_mode_shows_the_model_in_force(models, kind):
    candles = candles_for(kind)
    engines = tuple(open_engine(model) for model in models["single" if kind == "edge" else kind])
    expected = expected_lines(kind, engines, candles)
    border = int(candles.open_ms[BORDER])
    for mode in MODES if kind == "single" else ("batch", "exactbars 1", "live"):
        schedule = schedule_engines([(None, engines[0]), (border, engines[1])])
        assert_same_bits(indicator_lines(maker(kind, schedule), candles, mode), expected)
    for cut in (BORDER - 50, BORDER, BORDER + 50):
        schedule = schedule_engines([(None, engines[0]), (border, engines[1])])
        feed = KnownFeed(candles=candles, history=candles.slice(0, cut))
        assert_same_bits(indicator_lines(maker(kind, schedule), candles, "live", feed=feed), expected)


@pytest.mark.parametrize("kind", ["single", "ensemble", "path", "edge"])
@pytest.mark.parametrize("absent", [False, True])
def test_a_model_that_is_deployed_while_bars_come_answers_the_next_bar(models, kind, absent):
    candles = candles_for(kind)
    engines = [open_engine(model) for model in models["single" if kind == "edge" else kind]]
    if absent:
        engines = [PredictionEngine(None), engines[0]]
    expected = expected_lines(kind, engines, candles)
    schedule = schedule_engines([(None, engines[0])], timeframe="1h", paths=kind == "path")

    class Recorder(bt.Strategy):
        def __init__(self):
            self.indicator = maker(kind, schedule)(self.data)
            self.names, self.rows, self.refused = self.indicator.lines.getlinealiases(), [], 0

        def next(self):
            self.rows.append([getattr(self.indicator.lines, name)[0] for name in self.names])
            if len(self.data) == 200:  # the rest of the history is answered already
                with pytest.raises(InvalidParameter, match="are answered already"):
                    schedule.deploy(int(candles.open_ms[210]), engines[1])
            if len(self.data) == BORDER:
                with pytest.raises(InvalidParameter, match="are answered already"):
                    schedule.deploy(open_ms(self.data, candles.step_ms), engines[1])
                schedule.deploy(open_ms(self.data, candles.step_ms) + 1, engines[1])

    main = FastCerebro()
    main.adddata(KnownFeed(candles=candles, history=candles.slice(0, 450)))
    main.addstrategy(Recorder)
    strategy = main.run()[0]
    table = np.array(strategy.rows)
    assert_same_bits({name: table[:, i].copy() for i, name in enumerate(strategy.names)}, expected)
    if kind != "edge":
        assert (table[:BORDER, -1] == Status.NO_MODEL).all() == absent


def test_a_schedule_of_single_predictions_forecasts_no_path(models):
    engine = open_engine(models["single"][0])
    with pytest.raises(IndicatorError, match="an engine of a model of paths"):
        indicator_lines(maker("path", schedule_engines([(None, engine)])), candles_for("single"))


def test_the_default_steps_are_those_that_every_path_has(models):
    schedule = schedule_engines([(None, open_engine(models["path"][0]))])
    found = indicator_lines(lambda data: MLForecast(data, model=schedule), candles_for("path"))
    assert np.isfinite(found["return_3"]).any()
    assert np.isnan(found["return_4"]).all()


def test_an_indicator_without_a_feed_below_has_no_times():
    class Lines:
        def getlinealiases(self):
            return ("value",)

    class Loose:
        lines = Lines()

    with pytest.raises(IndicatorError, match="Loose does not stand on a data feed"):
        feed_of(Loose())
