"""A model that reads sentiment, on Backtrader's lines: the same bits in every mode, stretches without a value included."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from market_series import daily_sentiment
from small_models import market
from trading_runs import MODES, assert_same_bits, indicator_lines

from indicators.prediction import MLPrediction
from ml.engine import PredictionEngine
from ml.engines import open_bundle
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

AT = datetime(2026, 1, 2, tzinfo=UTC)
KEY = ModelKey("BTCUSDT", "sentiment", "1h")


def candles():
    found = market(1_700)
    values = daily_sentiment(found.open_ms + found.step_ms, seed=5, missing=0.0)
    values[1_500:1_540] = np.nan  # nothing was published
    return replace(found, sentiment=values)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    settings = TrainingSettings(
        features=("rsi_14", "sentiment_level", "sentiment_change_1", "sentiment_fear"),
        parameters={"num_boost_round": 20, "min_data_in_leaf": 30},
        folds=3,
        plots=False,
        robustness=False,
    )
    key = ModelKey("BTCUSDT", "basic", "1h")  # of the type sentiment the features of 30 days would join
    files = train(candles(), key, settings, at=AT, code_version="test").files
    registry = PredictionModelRegistry(tmp_path_factory.mktemp("models"), open_runner=open_bundle)
    return PredictionEngine(registry.register(key, files, at=AT))


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "batch"])
def test_every_mode_gives_the_same_bits(engine, mode):
    part = candles()
    expected = indicator_lines(lambda data: MLPrediction(data, model=engine), part)
    assert {0.0, 1.0} == set(expected["status"].tolist())
    assert expected["status"][1_510] == 0.0  # a missing value is a missing feature, not a missing bar
    part = part.slice(1_200, 1_700)
    expected = indicator_lines(lambda data: MLPrediction(data, model=engine), part)
    assert_same_bits(indicator_lines(lambda data: MLPrediction(data, model=engine), part, mode), expected)


def test_the_engine_says_which_columns_it_reads(engine):
    assert "sentiment" in engine.columns
    assert PredictionEngine(None).columns == ()
