"""Prediction drift: a model that is stuck or one-sided is found within days, a healthy one is left alone."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from drift_documents import reference_of
from scipy.signal import lfilter

from ml.drift.predictions import LEAST_STATED, prediction_drift


def signal(rng, count: int, phi: float = 0.8, centre: float = 0.0) -> np.ndarray:
    """Return probabilities of a rise that change slowly around ``centre``, in log odds."""
    noise = lfilter([1.0], [1.0, -phi], rng.standard_normal(count + 500))[500:] * math.sqrt(1 - phi * phi)
    return 1 / (1 + np.exp(-(centre + 0.15 * noise)))


def reference(rng, task: str = "direction"):
    rows = np.zeros((10, 1), dtype=np.float32)
    return reference_of(rows, ["return_1"], signal(rng, 6_000), task)


def test_a_healthy_model_raises_as_few_alarms_as_stated():
    """At 0.1 % a check: 1 of 1,000 checks; more than 5 in 1 of 1,000 such tests."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(100):
        known = reference(rng)
        alarms += sum(prediction_drift(known, signal(rng, 168)).status == "shifted" for _ in range(10))
    assert alarms <= 5


@pytest.mark.parametrize("rows", [LEAST_STATED, 168, 720])
def test_a_model_that_is_stuck_is_found(rows):
    rng = np.random.default_rng(rows)
    found = [prediction_drift(reference(rng), np.full(rows, 0.512)) for _ in range(10)]
    assert all(each.status == "shifted" for each in found)


def test_a_model_that_only_says_up_is_found_and_described():
    rng = np.random.default_rng(3)
    found = prediction_drift(reference(rng), signal(rng, 300, centre=0.5))
    assert found.status == "shifted"
    assert {"value", "up"} <= set(found.shifted)
    assert "no longer says what it used to say" in found.words()
    assert "the share of rises (" in found.words()
    document = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert document["parts"]["up"]["mean"] > 0.95
    assert document["parts"]["up"]["mean_before"] == pytest.approx(0.5, abs=0.1)
    assert sum(document["now"]) == pytest.approx(1.0)
    assert sum(document["before"]) == pytest.approx(1.0)
    assert len(document["edges"]) == len(document["now"]) - 1


def test_a_model_that_grew_bolder_is_found_by_its_size():
    rng = np.random.default_rng(4)
    bold = 1 / (1 + np.exp(-4 * np.log(1 / (1 / signal(rng, 500) - 1))))
    assert "size" in prediction_drift(reference(rng), bold).shifted


def test_the_forecast_of_a_volatility_has_no_side():
    rng = np.random.default_rng(5)
    found = prediction_drift(reference(rng, "volatility"), signal(rng, 500), task="volatility")
    assert [name for name, _, _ in found.parts] == ["value"]


def test_bars_without_a_prediction_do_not_count_and_few_are_not_judged():
    rng = np.random.default_rng(6)
    few = np.full(400, np.nan)
    few[: LEAST_STATED - 1] = 0.9
    found = prediction_drift(reference(rng), few)
    assert (found.status, found.rows) == ("too few rows", LEAST_STATED - 1)
    assert "too few" in found.words()
    assert found.to_dict()["now"] == []


def test_without_a_reference_nothing_is_claimed():
    rng = np.random.default_rng(7)
    assert prediction_drift(None, signal(rng, 500)).status == "no reference"
    bare = reference_of(np.zeros((10, 1), dtype=np.float32), ["return_1"], None)
    found = prediction_drift(bare, signal(rng, 500))
    assert found.status == "no reference"
    assert "no drift reference" in found.words()
