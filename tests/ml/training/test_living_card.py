"""The card of today: what happened since, beside what the bundle says; the bundle itself stays as it is."""

from __future__ import annotations

import json

import numpy as np
import pytest
from path_models import register_path
from recipe_versions import BARS, TRAINED, recipe_key, version_files
from small_models import AT, market

from ml.bundles import open_runner
from ml.candles import format_ms
from ml.lifecycle.scoring import score_version
from ml.record import concat_records, record_class
from ml.training.living_card import card_now, rows_since
from registry.store import PredictionModelRegistry

HOUR = 3_600_000


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    registry = PredictionModelRegistry(tmp_path_factory.mktemp("models"), open_runner=open_runner)
    return {
        kind: registry.register(recipe_key(kind), version_files(kind), at=AT)
        for kind in ("basic", "risk", "volatility")
    }


def record_of(model):
    first = record_class(model.metadata["task"]).from_parquet(model.read("oos_predictions.parquet"))
    return concat_records([first, score_version(model, market(BARS), since_ms=0, version_number=3)])


def test_figures_since_the_training_are_those_of_the_rows_since(models):
    model = models["basic"]
    record = record_of(model)
    card, document = card_now(model, record)
    since = record.open_ms >= market(BARS).open_ms[TRAINED]
    rows = since & record.scored
    right = np.mean((record.p_up[rows] >= 0.5) == (record.forward_return[rows] > 0))
    live = document["live_performance"]
    assert live["accuracy"] == pytest.approx(right)
    assert live["trades_evaluated"] == int(rows.sum()) > 500
    # the newest label is that of the last bar but one, known when the last candle closed
    assert live["last_updated"] == format_ms(int(market(BARS).open_ms[-1]) + HOUR)
    assert f"On the {rows.sum():,} scored bars after its training" in card
    assert card.index("## Now") < card.index("## Verdict") < card.index("## Limits")
    assert len(rows_since(record, model)) == int(since.sum())


def test_the_metadata_is_that_of_the_bundle_and_what_the_ledger_knows(models):
    model = models["basic"]
    card, document = card_now(model)
    stored = json.loads(model.read("metadata.json"))
    assert {name: document[name] for name in stored if name != "live_performance"} == {
        name: value for name, value in stored.items() if name != "live_performance"
    }
    assert document["version"] == model.version_id
    assert document["status"] == "candidate"
    assert document["type"] == "basic"
    assert document["live_performance"] == {"accuracy": None, "last_updated": None, "trades_evaluated": 0}
    assert "No bar after its training has been scored yet." in card
    assert "In live trading" not in card
    assert stored["live_performance"]["trades_evaluated"] == 0
    json.dumps(document, allow_nan=False)


def test_live_figures_and_status_come_from_outside(models):
    live = {"accuracy": 0.531, "last_updated": "2026-11-20T12:00:00Z", "trades_evaluated": 1_312, "other": 1}
    card, document = card_now(models["basic"], record_of(models["basic"]), live, status="flagged for retraining")
    assert document["live_performance"] == {
        "accuracy": 0.531,
        "last_updated": "2026-11-20T12:00:00Z",
        "trades_evaluated": 1_312,
    }
    assert document["status"] == "flagged for retraining"
    assert "In live trading: 1,312 evaluated, 53.1 % of them right, until 2026-11-20T12:00:00Z." in card
    assert "flagged for retraining" in card
    nothing, empty = card_now(models["basic"], None, {})
    assert "In live trading: 0 evaluated." in nothing
    assert empty["live_performance"] == {"accuracy": None, "last_updated": None, "trades_evaluated": 0}


@pytest.mark.parametrize("kind", ["risk", "volatility"])
def test_tasks_without_a_hit_rate_have_none(models, kind):
    record = record_of(models[kind])
    card, document = card_now(models[kind], record)
    live = document["live_performance"]
    assert live["accuracy"] is None
    assert live["trades_evaluated"] == int((record.scored & (record.fold == 3)).sum()) > 100
    assert "## Now" in card


def test_models_of_paths_have_a_card_of_today_too(tmp_path):
    model = register_path(tmp_path)
    card, document = card_now(model, live={"trades_evaluated": 3})
    assert "In live trading: 3 evaluated." in card
    assert document["version"] == model.version_id
