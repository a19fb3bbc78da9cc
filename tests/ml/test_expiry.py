"""When a model is too old: the config's word, the bundle's own, an ensemble's and its members'."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from past_champions import HOUR, market, register_trained
from path_models import drifting, path_key, trained
from small_ensembles import member_files, registry_of, select
from small_models import AT, KEY

from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.ensembles.predictor import EnsemblePredictor
from ml.expiry import expiry_of
from ml.predictions import Status
from registry.errors import InvalidBundle

DAY = 24 * HOUR


def first_expired(engine, candles):
    """Return the first bar with status expired, and check that each one by itself says the same."""
    status = engine.predict_batch(candles).status
    rows = np.flatnonzero(status == Status.EXPIRED)
    assert rows.tolist() == list(range(int(rows[0]), len(candles))) if len(rows) else True
    first = int(rows[0]) if len(rows) else len(candles)
    for row in {max(0, first - 1), min(first, len(candles) - 1)}:
        start = max(0, row + 1 - engine.window_bars)
        values, code = engine.predict_newest(candles.slice(start, row + 1))
        assert code == status[row]
        assert code != Status.EXPIRED or all(math.isnan(value) for value in values)
    return first


@pytest.mark.parametrize(
    ("own", "stated", "days"),
    [(None, None, None), (5 * DAY, None, 5), (5 * DAY, 9 * DAY, 9), (None, 3 * DAY, 3), (0, None, 0)],
)
def test_the_config_holds_over_the_bundle_and_the_bundle_over_never(tmp_path, own, stated, days):
    model = register_trained(tmp_path, 2000, expires_after_ms=own)
    engine = PredictionEngine(model, expires_after_ms=stated)
    # the last bar of the training closes at trained_until; the first to expire closes more than so many days later
    expected = len(market()) if days is None else 2000 + 24 * days
    assert first_expired(engine, market()) == expected
    assert engine.expires_after_ms == (None if days is None else days * DAY)


@pytest.mark.parametrize("wrong", [-1, True, 1.5, "90d"])
def test_a_bundle_that_states_no_length_of_time_is_refused(tmp_path, wrong):
    model = register_trained(tmp_path, 2000, expires_after_ms=wrong)
    with pytest.raises(
        InvalidBundle, match=r"@2026-01-02T000000Z_1h_v1: metadata.json has expires_after_ms .*expected milli"
    ):
        PredictionEngine(model)
    assert expiry_of(model, DAY) == DAY


def test_nothing_expires_without_a_model():
    assert expiry_of(None) is None
    assert PredictionEngine(None, expires_after_ms=DAY).predict_newest(market())[1] == Status.NO_MODEL


def with_expiry(files, expires_after_ms):
    """Return the files of a bundle that says when it expires."""
    document = {**json.loads(files["metadata.json"]), "expires_after_ms": expires_after_ms}
    return {**files, "metadata.json": json.dumps(document).encode()}


@pytest.mark.parametrize(
    ("members", "own", "stated", "days"),
    [
        ((None, None), None, None, None),
        ((None, 7 * DAY), None, None, 7),  # a member that is too old answers no more, and so does the ensemble
        ((9 * DAY, 7 * DAY), 4 * DAY, None, 4),
        ((None, 7 * DAY), 20 * DAY, None, 7),
        ((1 * DAY, 1 * DAY), 2 * DAY, 10 * DAY, 10),
    ],
)
def test_an_ensemble_expires_with_the_first_of_its_members(tmp_path, members, own, stated, days):
    registry = registry_of(tmp_path)
    made = [
        registry.register(KEY, with_expiry(member_files(number), limit), at=AT) for number, limit in enumerate(members)
    ]
    predictor = EnsemblePredictor(made)
    files = with_expiry(predictor.build(at=AT, code_version="test").files, own)
    version = registry.register(predictor.key, files, at=AT).version_id
    engine = open_engine(select(tmp_path, version), expires_after_ms=stated)
    assert first_expired(engine, market()) == (len(market()) if days is None else 3000 + 24 * days)


@pytest.mark.parametrize(("own", "stated", "days"), [(2 * DAY, None, 2), (2 * DAY, 4 * DAY, 4)])
def test_paths_expire_as_predictions_do(tmp_path, own, stated, days):
    files = with_expiry(trained("autoregressive").files, own)
    model = registry_of(tmp_path).register(path_key("autoregressive"), files, at=AT)
    engine, candles = open_engine(model, expires_after_ms=stated), drifting(4400)
    assert first_expired(engine, candles) == 4000 + 24 * days
    found = engine.summaries(candles.slice(3900, 4400), (1, 5))
    assert np.flatnonzero(found.status == Status.EXPIRED)[0] == 100 + 24 * days
    assert np.isnan(found.values[100 + 24 * days :]).all()
