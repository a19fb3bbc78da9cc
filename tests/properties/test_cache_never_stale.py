"""P3: whatever happens to candles, models, parameters and code, the cache never answers with what would not be computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_models import market, register, revised, with_holes

from ml.cache import PredictionCache
from ml.engine import PredictionEngine
from ml.predictions import Status

START, BARS = 800, 900


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three versions: another number of trees, another training set."""
    variants = ({"trees": 25}, {"trees": 26}, {"trees": 25, "seed": 4})
    return [register(tmp_path_factory.mktemp("models"), **variant) for variant in variants]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One file for all examples: the more it holds, the more could be mistaken."""
    cache = PredictionCache(tmp_path_factory.mktemp("cache") / "predictions.db")
    yield cache
    cache.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("revise"),
            st.integers(0, BARS - 1),
            st.sampled_from(["close", "volume", "taker_buy_base", "open", "quote_volume"]),
        ),
        st.tuples(st.just("holes"), st.integers(0, 10**6), st.none()),
        st.tuples(st.just("drop"), st.integers(1, BARS - 2), st.none()),
        st.tuples(st.just("cut"), st.integers(0, 400), st.none()),
        st.tuples(st.just("undo"), st.none(), st.none()),
        st.tuples(st.just("model"), st.integers(0, 2), st.none()),
        st.tuples(st.just("kernel"), st.integers(0, 3), st.none()),
        st.tuples(st.just("shift"), st.integers(1, 3), st.none()),
    ),
    min_size=1,
    max_size=5,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=STEPS, ends=st.lists(st.integers(1, BARS), min_size=1, max_size=3))
def test_a_cached_prediction_is_what_would_be_computed(models, cache, steps, ends):
    original = market().slice(START, START + BARS)
    candles, model, kernel = original, models[0], 0
    for step, number, column in steps:
        if step == "revise":
            candles = revised(candles, number % len(candles), column, 1 + 2**-40)
        elif step == "holes":
            candles = with_holes(candles, number)
        elif step == "drop" and len(candles) > 5:
            kept = np.arange(len(candles)) != 1 + number % (len(candles) - 2)
            parts = {name: values[kept] for name, values in candles.columns.items()}
            candles = replace(candles, open_ms=candles.open_ms[kept], **parts)
        elif step == "cut" and number < len(candles):
            candles = candles.slice(number, len(candles))
        elif step == "undo":
            candles = original
        elif step == "model":
            model = models[number]
        elif step == "kernel":
            kernel = number
        elif step == "shift":  # the same numbers at another time are other candles
            candles = replace(candles, open_ms=candles.open_ms + number * candles.step_ms, asked=())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("ml.recall.feature_code_version", lambda kernel=kernel: f"kernels {kernel}")
            cached = PredictionEngine(model, cache=cache)
            plain = PredictionEngine(model)
            scores = plain._bundle.runner.scores
            with pytest.MonkeyPatch.context() as other:
                # another kernel really computes something else, so that a wrong hit would show
                other.setattr(type(plain._bundle.runner), "scores", lambda _self, rows, k=kernel, f=scores: f(rows) + k)
                expected = plain.predict_batch(candles)
                found = cached.predict_batch(candles)
                assert found.values.tobytes() == expected.values.tobytes()
                assert found.status.tobytes() == expected.status.tobytes()
                for end in ends:
                    at = min(end, len(candles)) - 1
                    row, status = cached.predict_newest(candles.slice(0, at + 1))
                    assert status == expected.status[at]
                    np.testing.assert_array_equal(np.array(row), expected.values[at])


def test_the_property_would_notice_a_wrong_hit(models, cache, monkeypatch):
    """With keys that forget the candles, the comparison above fails: it can see what it looks for."""
    monkeypatch.setattr("ml.recall.fingerprints", lambda candles, *_rest: np.zeros((len(candles), 16), np.uint8))
    candles = market().slice(START, START + BARS)
    PredictionEngine(models[0], cache=cache).predict_batch(candles)
    changed = revised(candles, 600, "close", 1.05)
    found = PredictionEngine(models[0], cache=cache).predict_batch(changed)
    expected = PredictionEngine(models[0]).predict_batch(changed)
    assert (expected.status == Status.OK).any()
    assert found.values.tobytes() != expected.values.tobytes()
