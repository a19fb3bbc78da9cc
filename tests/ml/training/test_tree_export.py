"""Trees of XGBoost and scikit-learn as LightGBM texts: the libraries themselves are the oracles."""

from __future__ import annotations

import json

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.ensemble import RandomForestClassifier

from ml.errors import TrainingFailed
from ml.lightgbm_text import parse_lightgbm
from ml.runners import LightGBMRunner
from ml.training.tree_export import TreeNodes, forest_trees, lightgbm_text, proof_rows, prove, xgboost_trees

NAMES = ("a", "b", "c", "d", "e")


def rows_of(seed, count=1_500):
    """Return rows with NaN, whole numbers (many equal values at a border) and a column of large values."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, 5)).astype(np.float32)
    rows[:, 1] = rng.integers(-3, 4, count)
    rows[:, 2] *= 1e6
    rows[rng.random(count) < 0.2, 3] = np.nan
    labels = rows[:, 0] + 0.5 * rows[:, 1] + np.nan_to_num(rows[:, 3]) + rng.normal(size=count) > 0
    return rows, labels


def xgboost_model(seed, rows, labels, **settings):
    parameters = {
        "objective": "binary:logistic",
        "max_depth": 5,
        "learning_rate": 0.3,
        "seed": seed,
        "nthread": 1,
    } | settings
    return xgboost.train(parameters, xgboost.DMatrix(rows, label=labels, feature_names=list(NAMES)), 25)


def said_by_xgboost(booster, rows):
    return booster.predict(xgboost.DMatrix(rows, feature_names=list(NAMES)), output_margin=True).astype(np.float64)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("tree_method", ["hist", "exact"])
def test_xgboost_and_its_export_agree_on_every_row(seed, tree_method):
    rows, labels = rows_of(seed)
    booster = xgboost_model(seed, rows, labels, tree_method=tree_method)
    trees = xgboost_trees(bytes(booster.save_raw("json")))
    runner = LightGBMRunner.from_text(lightgbm_text(trees, NAMES, "binary sigmoid:1"))
    asked = np.concatenate([rows, proof_rows(rows, trees)])
    np.testing.assert_allclose(runner.scores(asked), said_by_xgboost(booster, asked), rtol=0, atol=3e-6)


def test_a_row_at_a_border_goes_where_xgboost_sends_it():
    rows = np.array([[0.0], [0.0], [1.0], [1.0], [2.0], [2.0]] * 20, dtype=np.float32)
    labels = rows[:, 0] >= 1.0
    table = xgboost.DMatrix(rows, label=labels, feature_names=["x"])
    booster = xgboost.train({"objective": "binary:logistic", "max_depth": 1, "tree_method": "exact"}, table, 1)
    (border,) = {c for c in json.loads(booster.get_dump(dump_format="json")[0]).items() if c[0] == "split_condition"}
    at = np.float32(border[1])
    asked = np.array([[at], [np.nextafter(at, np.float32(-9))], [np.nextafter(at, np.float32(9))]], dtype=np.float32)
    runner = LightGBMRunner.from_text(
        lightgbm_text(xgboost_trees(bytes(booster.save_raw("json"))), ["x"], "binary sigmoid:1")
    )
    said = booster.predict(xgboost.DMatrix(asked, feature_names=["x"]), output_margin=True)
    assert said[0] == said[2] != said[1]
    np.testing.assert_allclose(runner.scores(asked), said, atol=1e-6)


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("missing", [True, False])
def test_a_forest_and_its_export_agree_on_every_row(seed, missing):
    rows, labels = rows_of(seed)
    rows = rows if missing else np.nan_to_num(rows)
    forest = RandomForestClassifier(30, max_depth=8, min_samples_leaf=3, random_state=seed, max_samples=700).fit(
        rows, labels
    )
    trees = forest_trees(forest, 0.4)
    runner = LightGBMRunner.from_text(lightgbm_text(trees, NAMES, "regression"))
    asked = np.concatenate([rows, proof_rows(rows, trees)])
    asked = asked if missing else np.nan_to_num(asked)
    np.testing.assert_allclose(0.4 + runner.scores(asked), forest.predict_proba(asked)[:, 1], rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["xgboost", "forest"])
def test_lightgbm_reads_the_text_with_the_same_bits(kind):
    rows, labels = rows_of(5)
    if kind == "xgboost":
        trees = xgboost_trees(bytes(xgboost_model(5, rows, labels).save_raw("json")))
    else:
        trees = forest_trees(RandomForestClassifier(20, max_depth=6, random_state=5).fit(rows, labels), 0.5)
    text = lightgbm_text(trees, NAMES, "regression")
    asked = np.concatenate([rows, proof_rows(rows, trees)])
    booster = lightgbm.Booster(model_str=text.decode())
    expected = booster.predict(asked, raw_score=True, num_threads=1)
    assert LightGBMRunner.from_text(text).scores(asked).tobytes() == expected.tobytes()
    assert parse_lightgbm(booster.model_to_string(num_iteration=-1).encode()).trees == len(trees)
    # contributions of the features add up to the score: the counts of the nodes are sound
    parts = booster.predict(rows[:200], pred_contrib=True)
    np.testing.assert_allclose(parts.sum(axis=1), booster.predict(rows[:200], raw_score=True), atol=1e-6)
    assert np.abs(parts[:, 0]).mean() > np.abs(parts[:, 4]).mean()


def test_trees_without_a_split_add_a_constant():
    text = lightgbm_text([TreeNodes.leaf(0.25), TreeNodes.leaf(-1.0)], NAMES, "regression")
    assert LightGBMRunner.from_text(text).scores(np.zeros((3, 5), np.float32)).tolist() == [-0.75] * 3


def test_a_model_of_another_objective_is_not_exported():
    rows, labels = rows_of(1)
    booster = xgboost_model(1, rows, labels, objective="reg:squarederror")
    with pytest.raises(TrainingFailed, match="objective reg:squarederror cannot be exported"):
        xgboost_trees(bytes(booster.save_raw("json")))


def test_a_difference_is_no_model():
    good = np.array([0.5, 0.6])
    assert prove(good, good + 9e-7, "XGBoost") == pytest.approx(9e-7)
    with pytest.raises(TrainingFailed, match=r"not those of XGBoost: of 2 rows 1 differ by more than 1e-06"):
        prove(good, good + np.array([0.0, 2e-6]), "XGBoost")
    with pytest.raises(TrainingFailed, match="1 differ"):
        prove(good, np.array([0.5, np.nan]), "XGBoost")


def test_the_proof_would_see_one_wrong_threshold():
    rows, labels = rows_of(3)
    booster = xgboost_model(3, rows, labels)
    trees = xgboost_trees(bytes(booster.save_raw("json")))
    asked = proof_rows(rows, trees)
    broken = [
        TreeNodes(
            **{
                **vars(tree),
                "threshold": np.nextafter(tree.threshold.astype(np.float32), np.float32(9e9)).astype(float),
            }
        )
        for tree in trees
    ]  # x <= t instead of x < t
    scores = LightGBMRunner.from_text(lightgbm_text(broken, NAMES, "binary sigmoid:1")).scores(asked)
    with pytest.raises(TrainingFailed, match="nothing was registered"):
        prove(1 / (1 + np.exp(-said_by_xgboost(booster, asked))), 1 / (1 + np.exp(-scores)), "XGBoost")
