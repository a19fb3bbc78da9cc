"""HoldingEdge: what predictions like the current one earned."""

from __future__ import annotations

import numpy as np
import pytest
from scripted_engine import Edges, ScriptedEngine
from small_models import market, register
from trading_runs import MODES, candles_of, indicator_lines, random_bars

from indicators.edge import HoldingEdge
from indicators.prediction import MLPrediction
from ml.engine import PredictionEngine

P_UP = [0.5, 0.55, 0.599, 0.6, 0.8, 1.0, np.nan, 0.2]
BOUNDS = [np.nan, 0.001, 0.001, 0.004, 0.004, 0.004, np.nan, np.nan]


def edge(engine):
    return lambda data: HoldingEdge(MLPrediction(data, model=engine), model=engine, enter=0.55, exit=0.45)


@pytest.mark.parametrize("mode", MODES)
def test_each_bar_shows_the_bound_of_its_bin(mode):
    candles = candles_of(random_bars(8, 1))
    edges = Edges(np.array([0.55, 0.6, 1.0]), np.array([0.001, 0.004]))
    found = indicator_lines(edge(ScriptedEngine(candles, P_UP, edges=edges)), candles, mode)
    np.testing.assert_array_equal(found["lower_bound"], BOUNDS)


def test_a_real_record_gives_the_engines_figures(tmp_path):
    engine, candles = PredictionEngine(register(tmp_path)), market()
    found = indicator_lines(edge(engine), candles)["lower_bound"]
    p_up = engine.predict_batch(candles).column("p_up")
    np.testing.assert_array_equal(found, engine.holding_edges(0.55, 0.45).at(p_up))


def test_without_a_model_nothing_is_known():
    found = indicator_lines(edge(PredictionEngine(None)), candles_of(random_bars(5, 1)))
    assert np.isnan(found["lower_bound"]).all()
