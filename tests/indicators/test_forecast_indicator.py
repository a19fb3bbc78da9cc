"""MLForecast: the lines say what the engine says, in every mode of Cerebro; absence is typed; nonsense is refused."""

from __future__ import annotations

import numpy as np
import pytest
from path_models import drifting, register_path
from scripted_engine import ScriptedEngine, smooth_probabilities
from scripted_paths import ScriptedPaths
from small_models import with_holes
from trading_runs import MODES, assert_same_bits, candles_of, indicator_lines, random_bars

from indicators.errors import IndicatorError
from indicators.forecast import MOST_STEPS, MLForecast
from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.predictions import Status

CANDLES = candles_of(random_bars(90, 4))


def forecast(engine, **params):
    return lambda data: MLForecast(data, model=engine, **params)


@pytest.mark.parametrize("mode", MODES)
def test_the_lines_are_the_engine_s_numbers(mode):
    engine = ScriptedPaths(CANDLES, smooth_probabilities(90, 1), warming=7)
    expected = engine.summaries(CANDLES, (2, 9, 60))
    found = indicator_lines(forecast(engine, steps=(2, 9, 60)), CANDLES, mode)
    for place in range(3):
        assert found[f"return_{place + 1}"].tobytes() == expected.returns[:, place].tobytes()
    for name in ("highest", "lowest", "peak_return", "peak_step", "peak_confidence"):
        assert found[name].tobytes() == np.ascontiguousarray(getattr(expected, name)).tobytes(), name
    for place in range(4, MOST_STEPS + 1):
        assert np.isnan(found[f"return_{place}"]).all()
    assert found["trusted_steps"].tolist() == [5.0] * 90
    assert found["status"].tolist() == [1.0] * 7 + [0.0] * 83
    assert np.isnan(found["highest"][:7]).all()


@pytest.mark.parametrize("mode", MODES)
def test_without_a_trusted_step_there_is_no_peak(mode):
    engine = ScriptedPaths(CANDLES, smooth_probabilities(90, 1), trusted_steps=0)
    found = indicator_lines(forecast(engine), CANDLES, mode)
    assert np.isnan(found["peak_return"]).all()
    assert np.isnan(found["peak_confidence"]).all()
    assert set(found["peak_step"]) == {0.0} == set(found["trusted_steps"])
    assert np.isfinite(found["return_4"]).all()  # the path is shown all the same


@pytest.mark.parametrize("mode", MODES)
def test_without_a_model_every_bar_says_so(mode):
    found = indicator_lines(forecast(PredictionEngine(None), steps=(3, 7)), CANDLES, mode)
    assert found["status"].tolist() == [float(Status.NO_MODEL)] * 90
    assert found["trusted_steps"].tolist() == [0.0] * 90
    assert np.isnan(found["return_1"]).all()
    assert np.isnan(found["peak_return"]).all()


@pytest.mark.parametrize("kind", ["autoregressive", "multi_ohlc"])
def test_every_mode_gives_the_same_bits_with_a_real_model(tmp_path, kind):
    engine = open_engine(register_path(tmp_path, kind))
    candles = with_holes(drifting(), 2)
    candles = candles.slice(0, engine.window_bars + 60)
    expected = indicator_lines(forecast(engine, steps=(1, 5, 24)), candles)
    assert {0.0, 1.0} == set(expected["status"].tolist())
    assert np.isfinite(expected["peak_return"]).any()
    for mode in (mode for mode in MODES if mode != "batch"):
        assert_same_bits(indicator_lines(forecast(engine, steps=(1, 5, 24)), candles, mode), expected)


def test_the_default_steps_end_with_the_path():
    engine = ScriptedPaths(CANDLES, smooth_probabilities(90, 1), steps=10)
    found = indicator_lines(forecast(engine), CANDLES)
    assert np.isfinite(found["return_2"]).all()
    assert np.isnan(found["return_3"]).all()


@pytest.mark.parametrize(
    ("steps", "message"),
    [((0,), "not among 1 to 60"), ((61,), "not among 1 to 60"), (range(1, 10), "one to 8 steps, got 9"), ((), "got 0")],
)
def test_steps_that_a_path_does_not_have_are_refused(steps, message):
    engine = ScriptedPaths(CANDLES, smooth_probabilities(90, 1))
    with pytest.raises(IndicatorError, match=message):
        indicator_lines(forecast(engine, steps=steps), CANDLES)


def test_a_model_that_forecasts_no_path_is_refused():
    engine = ScriptedEngine(CANDLES, smooth_probabilities(90, 1))
    with pytest.raises(IndicatorError, match=r"an engine of a model of paths .* got scripted"):
        indicator_lines(forecast(engine), CANDLES)
    other = ScriptedPaths(candles_of(random_bars(5, 1), "1m"), np.full(5, 0.5))
    with pytest.raises(IndicatorError, match="predicts bars of 1m, the data has bars of 1h"):
        indicator_lines(forecast(other), CANDLES)
