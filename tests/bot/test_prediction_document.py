"""The document of a prediction: what the engine says, under the names of the command, with the age of its bar."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from path_models import STEPS, drifting, register_path
from small_models import market, register

from bot.market.store import StoredSeries
from bot.prediction_document import age_seconds, prediction_document
from ml.engines import open_engine
from ml.predictions import PREDICTION_COLUMNS


def series(candles, symbol="BTCUSDT") -> StoredSeries:
    return StoredSeries(candles, symbol, "local", candles.digest)


def close_of(candles) -> datetime:
    return datetime.fromtimestamp((int(candles.open_ms[-1]) + candles.step_ms) / 1000, UTC)


def test_every_number_is_the_engines(tmp_path):
    model = register(tmp_path)
    engine = open_engine(model)
    expected = open_engine(model).predict(market())
    found = prediction_document(engine, model, series(market()), close_of(market()) + timedelta(seconds=90.4))
    for name in PREDICTION_COLUMNS:
        if name not in {"direction", "volatility"}:
            assert found[name] == getattr(expected, name) or (found[name] != found[name])
    assert found["predicted_price"] == expected.price
    assert found["bar"]["age_seconds"] == 90
    assert found["status"] == "ok"
    assert "predictions" not in found


@pytest.mark.parametrize("kind", ["autoregressive", "multi_ohlc"])
def test_a_path_adds_its_steps(tmp_path, kind):
    model = register_path(tmp_path, kind)
    engine = open_engine(model)
    path = open_engine(model).path(drifting())
    found = prediction_document(engine, model, series(drifting(), "SYNTH"), close_of(drifting()))
    assert found["predictions"] == path.steps()
    assert len(found["predictions"]) == STEPS == found["n_steps_ahead"]
    assert found["current_price"] == drifting().close[-1] == found["bar"]["close"]
    assert found["trusted_steps"] == path.trusted_steps
    assert found["bar"]["age_seconds"] == 0


def test_a_bar_without_a_prediction_has_no_steps_and_no_words_of_the_family(tmp_path):
    model = register_path(tmp_path)
    short = drifting().slice(1000, 1050)
    found = prediction_document(open_engine(model), model, series(short, "SYNTH"), close_of(short))
    assert found["status"] == "warming"
    assert found["predictions"] == []
    assert "predicted_price" not in found


@pytest.mark.parametrize(("seconds", "said"), [(0.0, 0), (0.4, 0), (59.6, 60), (-2.0, -2)])
def test_ages_are_whole_seconds(seconds, said):
    assert age_seconds(1_700_000_000_000, datetime.fromtimestamp(1_700_000_000 + seconds, UTC)) == said
