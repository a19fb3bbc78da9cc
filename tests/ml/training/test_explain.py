"""Contributions sum to the score; a feature that nothing rests on has none; the planted one has the most."""

from __future__ import annotations

import dataclasses
import functools
import itertools

import lightgbm
import numpy as np
import pytest
from planted_data import planted_dataset
from small_models import FEATURES, bundle_files, market

from ml.bundles import open_files
from ml.errors import BrokenModel
from ml.lightgbm_text import parse_lightgbm
from ml.predictors.basic import BasicPredictor
from ml.predictors.direction import DirectionPredictor
from ml.predictors.risk import RiskScorer
from ml.runners import LightGBMRunner
from ml.training.explain import contributions, gain_importance, tree_file


@functools.cache
def rows() -> np.ndarray:
    bundle = open_files(bundle_files())
    matrix = bundle.pipeline.compute(market())
    return matrix.rows[matrix.valid][::97]


def text() -> bytes:
    return bundle_files()["model.txt"]


def test_contributions_sum_to_the_score_that_the_bundle_serves():
    scores = LightGBMRunner.from_text(text()).scores(rows())
    for row, score in zip(rows(), scores, strict=True):
        found = contributions(text(), row)
        assert found.score == score
        assert found.base + sum(found.values.values()) == pytest.approx(score, abs=1e-9)
        assert tuple(found.values) == parse_lightgbm(text()).feature_names
    names = [name for name, _ in found.largest(2)]
    assert abs(found.values[names[0]]) == max(abs(value) for value in found.values.values())


def test_they_are_the_shapley_values_of_one_tree():
    """By the definition: the mean over all orders of what knowing a feature adds, absent ones averaged by their rows."""
    rng = np.random.default_rng(2)
    data = rng.normal(size=(800, 3)).astype(np.float32)
    target = data[:, 0] + (data[:, 1] > 0) * data[:, 2]
    settings = {"objective": "regression", "num_leaves": 6, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 20}
    model = lightgbm.train(settings, lightgbm.Dataset(data, label=target, params=settings), num_boost_round=1)
    tree = model.dump_model()["tree_info"][0]["tree_structure"]

    def mean(node, row, known):
        if "leaf_value" in node:
            return node["leaf_value"]
        left, right = node["left_child"], node["right_child"]
        if node["split_feature"] in known:
            return mean(left if row[node["split_feature"]] <= node["threshold"] else right, row, known)
        weights = [each.get("internal_count", each.get("leaf_count")) for each in (left, right)]
        values = [mean(each, row, known) for each in (left, right)]
        return float(np.average(values, weights=weights))

    for row in data[:5]:
        expected = np.zeros(3)
        for order in itertools.permutations(range(3)):
            known = set()
            for feature in order:
                before = mean(tree, row, known)
                known = known | {feature}
                expected[feature] += (mean(tree, row, known) - before) / 6
        found = contributions(model.model_to_string().encode(), row)
        assert list(found.values.values()) == pytest.approx(expected.tolist(), abs=1e-9)
        assert found.base == pytest.approx(mean(tree, row, set()), abs=1e-9)


def test_the_planted_feature_has_the_largest_share():
    shares = gain_importance(text())
    assert set(shares) == set(FEATURES)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert max(shares, key=shares.__getitem__) == "taker_imbalance_20"


@pytest.mark.parametrize("family", [DirectionPredictor, RiskScorer])
def test_exported_trees_of_other_libraries_are_explained_alike(family):
    dataset = planted_dataset(900, edge=0.25, features=5)
    rose = np.where(np.isfinite(dataset.returns), dataset.returns > 0, np.nan)
    dataset = dataclasses.replace(dataset, outcome=rose if family.task == "risk" else None)
    positions = np.flatnonzero(dataset.labelled)[:700]
    files = family({"n_estimators": 12}).fit(dataset, positions, seed=0, threads=1).to_files()
    shares = gain_importance(files["model.txt"])
    assert max(shares, key=shares.__getitem__) == "feature_0"
    for row in dataset.rows[10:20]:
        found = contributions(files["model.txt"], row)
        assert found.base + sum(found.values.values()) == pytest.approx(found.score, abs=1e-9)
        assert found.score == LightGBMRunner.from_text(files["model.txt"]).scores(row[None])[0]


def test_a_fitted_model_answers_under_the_usual_names():
    fitted = BasicPredictor.from_files(bundle_files())
    assert fitted.feature_names == parse_lightgbm(text()).feature_names
    assert len(fitted.model.feature_importance()) == len(fitted.feature_names)


def test_trees_that_count_no_rows_cannot_be_taken_apart():
    lines = text().decode().splitlines()
    stripped = "\n".join(
        f"{line.partition('=')[0]}={' '.join('0' for _ in line.partition('=')[2].split())}"
        if line.startswith(("leaf_count=", "internal_count="))
        else line
        for line in lines
    )
    with pytest.raises(BrokenModel, match="do not count the rows"):
        contributions((stripped + "\n").encode(), rows()[0])


def test_what_is_no_model_or_no_row_is_refused():
    with pytest.raises(BrokenModel, match="is not text"):
        gain_importance(b"\xff\xfe")
    with pytest.raises(ValueError, match="expected a row of 5 features"):
        contributions(text(), rows()[0][:3])


def test_which_file_is_explained():
    assert tree_file({"model.txt", "metadata.json"}) == "model.txt"
    assert tree_file({"open.txt", "close.txt", "high.txt", "low.txt"}) == "close.txt"
    assert tree_file({"open.txt", "close.txt"}, "open") == "open.txt"
    assert tree_file({"open.txt"}, "metadata") is None
    assert tree_file({"model.onnx"}) is None
