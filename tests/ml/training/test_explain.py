"""Contributions sum to the score; a feature that nothing rests on has none; the planted one has the most."""

from __future__ import annotations

import functools
import itertools

import lightgbm
import numpy as np
import pytest
from small_models import FEATURES, bundle_files, market

from ml.bundles import open_files
from ml.errors import BrokenModel
from ml.lightgbm_text import parse_lightgbm
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
