"""Plots of records that hold little or nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from planted_data import planted_dataset

from ml.dataset import purged_walk_forward
from ml.evaluation import evaluate_record
from ml.predictors.basic import BasicPredictor
from ml.training.plots import diagnostics
from ml.training.walk_forward import walk_forward


@pytest.fixture(scope="module")
def record():
    dataset = planted_dataset(400)
    folds = purged_walk_forward(dataset)
    predictor = BasicPredictor({"num_boost_round": 3})
    return walk_forward(dataset, folds, predictor, seed=0, threads=1, progress=lambda _fraction, _text: None)


def test_a_model_that_looked_at_nothing_has_no_importance(record):
    files = diagnostics(record, evaluate_record(record), {"a": 0.0}, title="x")
    assert set(files) == {"calibration.png", "signal_equity.png"}


def test_nothing_scored_still_draws(record):
    empty = dataclasses.replace(record, scored=np.zeros(len(record), dtype=bool))
    files = diagnostics(empty, evaluate_record(empty), {"a": 0.7, "b": 0.3}, title="x")
    assert all(content.startswith(b"\x89PNG") for content in files.values())
    assert len(files) == 3
    assert diagnostics(empty, evaluate_record(empty), {"a": 0.7, "b": 0.3}, title="x") == files
