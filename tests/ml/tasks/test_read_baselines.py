"""Baselines come back from a bundle as they were; their windows do not depend on where the history begins."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from recipe_versions import version_files
from small_models import market, with_holes

from ml.dataset import build_dataset
from ml.errors import BrokenModel
from ml.features.schema import FeatureSchema
from ml.tasks.catalogue import TASKS
from ml.tasks.volatility_baselines import VolatilityBaselines, past_variances

TASK_OF = {"basic": "direction", "risk": "risk", "volatility": "volatility"}


@pytest.mark.parametrize("kind", sorted(TASK_OF))
def test_what_was_written_is_read(kind):
    stored = json.loads(version_files(kind)["metrics.json"])["baselines"]
    baselines = TASKS[TASK_OF[kind]].read_baselines(stored)
    assert json.loads(json.dumps(baselines.to_dict())) == stored
    assert baselines == TASKS[TASK_OF[kind]].read_baselines(baselines.to_dict())
    with pytest.raises(BrokenModel, match="the baselines lack rows"):
        TASKS[TASK_OF[kind]].read_baselines({name: value for name, value in stored.items() if name != "rows"})
    for name, wrong in (("rows", 1.5), ("rows", True), ("rows", "many"), ("rows", None)):
        with pytest.raises(BrokenModel, match=f"{name} of the baselines is"):
            TASKS[TASK_OF[kind]].read_baselines({**stored, name: wrong})


def test_types_of_each_field_are_asked():
    stored = json.loads(version_files("basic")["metrics.json"])["baselines"]
    with pytest.raises(BrokenModel, match="persists of the baselines is 1, expected bool"):
        TASKS["direction"].read_baselines({**stored, "persists": 1})
    stored = json.loads(version_files("volatility")["metrics.json"])["baselines"]
    with pytest.raises(BrokenModel, match=r"coefficients of the baselines is 0\.5"):
        TASKS["volatility"].read_baselines({**stored, "coefficients": 0.5})
    nothing = TASKS["volatility"].read_baselines({**stored, "constant": None})
    assert isinstance(nothing, VolatilityBaselines)
    assert math.isnan(nothing.constant)


@pytest.mark.parametrize("horizon", [1, 4, 12])
def test_past_variances_have_the_same_bits_wherever_the_history_begins(horizon):
    candles = with_holes(market(), 4)
    schema = FeatureSchema.for_candles(candles, ("ewma_volatility",))
    dataset = build_dataset(candles, schema, horizon)
    whole = past_variances(dataset)
    for first in (1, 100, 1_001, 1_500):
        cut = past_variances(build_dataset(candles.slice(first, len(candles)), schema, horizon))
        width = 22 * horizon
        assert cut[width:].tobytes() == whole[first + width :].tobytes()


def test_past_variances_are_exact_to_the_last_multiple():
    candles = market()
    dataset = build_dataset(candles, FeatureSchema.for_candles(candles, ("ewma_volatility",)), 2)
    squares = np.log(candles.close[1:] / candles.close[:-1]) ** 2
    for i in (200, 1_700, len(candles) - 1):
        exact = sum(Fraction(round(Fraction(x) * 2**52)) for x in squares[i - 44 : i].tolist()) / 2**52 / 44
        assert past_variances(dataset)[i, 2] == float(exact)
    still = replace(dataset, close=np.full(len(candles), 3.0))
    assert (past_variances(still)[100:] == 0).all()
    wild = replace(dataset, close=np.where(np.arange(len(candles)) % 2 == 0, 1e-100, 1e100))
    assert np.isfinite(past_variances(wild)[100:, 0]).all()
