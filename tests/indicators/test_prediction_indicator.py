"""MLPrediction: the same bits however Cerebro runs it, and typed absence."""

from __future__ import annotations

import backtrader as bt
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, smooth_probabilities
from small_models import market, register, with_holes
from trading_runs import MODES, assert_same_bits, candles_of, indicator_lines, pandas_feed, random_bars

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from indicators.errors import IndicatorError
from indicators.prediction import MLPrediction
from ml.engine import PredictionEngine
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status


class WindowEngine(ScriptedEngine):
    """Predict from the closes of the last 16 indices, when they were asked for: a model with features, in small."""

    def predict_batch(self, candles):
        values = np.full((len(candles), len(PREDICTION_COLUMNS)), np.nan)
        status = np.full(len(candles), Status.WARMING, dtype=np.int8)
        begins = (candles.index - 15) * candles.step_ms
        for row in range(len(candles)):
            asked = any(a <= begins[row] and candles.open_ms[row] < b for a, b in candles.asked)
            if asked:
                inside = candles.index[: row + 1] >= candles.index[row] - 15
                values[row] = candles.close[: row + 1][inside].sum() + np.arange(len(PREDICTION_COLUMNS))
                status[row] = Status.OK
        return PredictionBatch(values, status)

    def predict_newest(self, candles):
        batch = self.predict_batch(candles)
        return batch.values[-1].tolist(), int(batch.status[-1])


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return register(tmp_path_factory.mktemp("models"))


def prediction(engine):
    return lambda data: MLPrediction(data, model=engine)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("asked_before", [0, 5, 40])
def test_every_mode_gives_the_same_bits(mode, asked_before):
    candles = with_holes(candles_of(random_bars(200, 5)), 1)
    first = int(candles.open_ms[0]) - asked_before * candles.step_ms
    candles = type(candles).from_columns(
        "1h", {"open_ms": candles.open_ms, **candles.columns}, ((first, int(candles.open_ms[-1]) + candles.step_ms),)
    )
    engine = WindowEngine(candles, np.full(len(candles), 0.5), window_bars=17)
    expected = engine.predict_batch(candles)
    found = indicator_lines(prediction(engine), candles, mode)
    for name in PREDICTION_COLUMNS:
        assert found[name].tobytes() == expected.column(name).tobytes(), name
    assert found["status"].tolist() == expected.status.tolist()
    assert (expected.status == Status.OK).sum() > 0


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "batch"])
def test_every_mode_gives_the_same_bits_with_a_real_model(model, mode):
    engine = PredictionEngine(model)
    candles = with_holes(market(), 2)
    candles = candles.slice(0, min(len(candles), engine.window_bars + 150))
    expected = indicator_lines(prediction(engine), candles)
    assert {0.0, 1.0} == set(expected["status"].tolist())
    assert_same_bits(indicator_lines(prediction(engine), candles, mode), expected)


def test_backtraders_own_feed_and_loop_give_the_same_bits(model):
    engine, candles = PredictionEngine(model), market()
    expected = indicator_lines(prediction(engine), candles)
    feed = pandas_feed(candles)
    if candles.trades is None:
        assert_same_bits(indicator_lines(prediction(engine), candles, cerebro=bt.Cerebro, feed=feed), expected)
    assert_same_bits(indicator_lines(prediction(engine), candles, cerebro=bt.Cerebro), expected)


def test_absence_is_nan_on_every_line_and_a_code_on_the_status():
    candles = candles_of(random_bars(30, 1))
    p_up = smooth_probabilities(30, 1)
    p_up[20:25] = np.nan
    for mode in MODES:
        found = indicator_lines(prediction(ScriptedEngine(candles, p_up, warming=10)), candles, mode)
        assert found["status"].tolist() == [1.0] * 10 + [0.0] * 10 + [2.0] * 5 + [0.0] * 5
        for name in PREDICTION_COLUMNS[:7]:
            np.testing.assert_array_equal(np.isnan(found[name]), found["status"] != 0)
        assert np.isnan(found["risk"]).all()  # the engine does not speak of it


@pytest.mark.parametrize("mode", MODES)
def test_without_a_model_every_bar_says_so(mode):
    found = indicator_lines(prediction(PredictionEngine(None)), candles_of(random_bars(20, 1)), mode)
    assert found["status"].tolist() == [float(Status.NO_MODEL)] * 20
    assert np.isnan(found["p_up"]).all()


@pytest.mark.parametrize("mode", MODES)
def test_the_first_bar_is_served_and_other_indicators_stack_on_top(mode):
    candles = candles_of(random_bars(40, 3))
    engine = ScriptedEngine(candles, smooth_probabilities(40, 2))

    def smoothed(data):
        return bt.ind.SMA(MLPrediction(data, model=engine).lines.p_up, period=3)

    found = indicator_lines(smoothed, candles, mode)["sma"]
    p_up = engine.predict_batch(candles).column("p_up")
    means = [np.mean(p_up[row - 2 : row + 1]) for row in range(2, 40)]
    np.testing.assert_allclose(found[-38:], means, rtol=1e-12)


def test_one_bar_is_enough_to_run():
    candles = candles_of(random_bars(1, 1))
    for mode in MODES:
        found = indicator_lines(prediction(ScriptedEngine(candles, [0.7])), candles, mode)
        assert found["p_up"].tolist() == [0.7]


def test_the_minimum_period_is_one_and_only_needed_bars_are_kept():
    candles = candles_of(random_bars(100, 1))
    engine = ScriptedEngine(candles, smooth_probabilities(100, 1), window_bars=16)

    class Look(bt.Strategy):
        def __init__(self):
            self.prediction = MLPrediction(self.data, model=engine)

    main = FastCerebro()
    main.adddata(CandleFeed(candles=candles))
    main.addstrategy(Look)
    strategy = main.run(exactbars=1)[0]
    assert strategy.prediction._minperiod == 1
    assert len(strategy.data.lines.close.array) <= 16
    assert len(strategy.prediction.lines.p_up.array) == 1
    assert strategy.prediction._plotlabel() == ["scripted"]


def test_what_cannot_be_predicted_is_refused():
    candles = candles_of(random_bars(5, 1))
    with pytest.raises(IndicatorError, match="MLPrediction needs model="):
        indicator_lines(MLPrediction, candles)
    engine = ScriptedEngine(candles_of(random_bars(5, 1), "1m"), np.full(5, 0.5))
    with pytest.raises(IndicatorError, match="the model scripted predicts bars of 1m, the data has bars of 1h"):
        indicator_lines(prediction(engine), candles)
    with pytest.raises(TypeError):
        indicator_lines(lambda data: MLPrediction(data, model=engine, modle=1), candles)
