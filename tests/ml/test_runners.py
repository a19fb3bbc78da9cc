"""Opening model texts: what is damaged or of another kind is refused with a reason."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from forests import trained, written

from ml.errors import BrokenModel
from ml.lightgbm_text import parse_lightgbm
from ml.runners import LightGBMRunner, Runner

TEXT = written(4, features=3, trees=4, leaves=6)


def assert_broken(text: str, reason: str) -> None:
    with pytest.raises(BrokenModel, match=reason):
        LightGBMRunner.from_text(text.encode())


def test_runner_keeps_the_contract():
    runner = LightGBMRunner.from_text(TEXT.encode())
    assert isinstance(runner, Runner)
    assert runner.feature_names == ("f0", "f1", "f2")
    assert runner.runtime.startswith("trees-")
    assert runner.runtime == LightGBMRunner.from_text(written(5).encode()).runtime


def test_runner_survives_a_copy_to_another_process():
    rows = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    runner = LightGBMRunner.from_text(TEXT.encode())
    copy = pickle.loads(pickle.dumps(runner))
    np.testing.assert_array_equal(copy.scores(rows), runner.scores(rows))


@pytest.mark.parametrize(
    "rows",
    [np.zeros((2, 3)), np.zeros((2, 4), np.float32), np.zeros(3, np.float32)],
    ids=["float64", "too many columns", "one dimension"],
)
def test_rows_of_another_kind_are_refused(rows):
    with pytest.raises(ValueError, match="expected float32 rows of 3 features, got"):
        LightGBMRunner.from_text(TEXT.encode()).scores(rows)


def test_rows_may_be_a_view_in_any_order():
    runner = LightGBMRunner.from_text(TEXT.encode())
    rows = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    np.testing.assert_array_equal(runner.scores(np.asfortranarray(rows)), runner.scores(rows))
    np.testing.assert_array_equal(runner.scores(rows[::2]), runner.scores(rows)[::2])


def test_every_truncation_is_noticed():
    end = TEXT.index("end of trees")
    for cut in range(0, end, 37):
        with pytest.raises(BrokenModel):
            parse_lightgbm(TEXT[:cut].encode())


def test_windows_line_ends_are_read():
    rows = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
    same = LightGBMRunner.from_text(TEXT.replace("\n", "\r\n").encode())
    np.testing.assert_array_equal(same.scores(rows), LightGBMRunner.from_text(TEXT.encode()).scores(rows))


def line_of(key: str, at: int = 0) -> str:
    found = [line for line in TEXT.splitlines() if line.startswith(f"{key}=") and len(line.split()) > 1]
    return found[at]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "its first line is not 'tree'"),
        ("hello\n" + TEXT, "its first line is not 'tree'"),
        (TEXT.replace("version=v4", "version=v9"), "version 'v9': this program reads v3 and v4"),
        (TEXT.replace("version=v4\n", ""), "version ''"),
        (TEXT.replace("num_tree_per_iteration=1", "num_tree_per_iteration=3"), "3 outputs: expected one"),
        (TEXT.replace("Tree=1\n", "Tree=2\n"), "tree '2' where 1 was expected"),
        (TEXT.replace("max_feature_idx=2", "max_feature_idx=3"), "names 3 features and says that it has 4"),
        (TEXT.replace("max_feature_idx=2", "max_feature_idx=x"), "max_feature_idx is 'x', expected a number"),
        (TEXT.replace("num_cat=0", "num_cat=1"), "categorical splits, which are not supported"),
        (TEXT.replace("is_linear=0", "is_linear=1"), "linear tree, which is not supported"),
        (TEXT.replace(line_of("threshold"), line_of("threshold") + " 1.0"), "threshold has . values, expected ."),
        (TEXT.replace(line_of("threshold"), line_of("threshold") + "x"), "threshold holds a word that is not a number"),
        (TEXT.replace(line_of("leaf_value"), line_of("leaf_value")[:-3] + "nan"), "leaf_value holds"),
        (TEXT.replace("leaf_value=", "leaf_valve="), "leaf_value has 0 values"),
        (TEXT.replace("num_leaves=", "num_leaves=-"), "leaves"),
        (TEXT.replace("tree_sizes=", "tree_sizes=1 "), "announces 5 trees and holds 4"),
    ],
)
def test_damage_is_named(text, reason):
    assert_broken(text, reason)


def test_bytes_that_are_not_text():
    with pytest.raises(BrokenModel, match="byte 4 is not UTF-8"):
        LightGBMRunner.from_text(b"tree\xff\xfe")


def edited(key: str, change) -> str:
    """Change the numbers of the first line of that key that has several."""
    line = line_of(key)
    numbers = [int(word) for word in line.split("=")[1].split()]
    return TEXT.replace(line, f"{key}=" + " ".join(map(str, change(numbers))), 1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (edited("left_child", lambda n: [0, *n[1:]]), "its children do not form a tree"),
        (edited("left_child", lambda n: [99, *n[1:]]), "its children do not form a tree"),
        (edited("left_child", lambda n: [-2, *n[1:]]), "leaves are not reached|do not form a tree"),
        (edited("left_child", lambda n: [-99, *n[1:]]), "its children do not form a tree"),
        (edited("right_child", lambda n: [*n[:-1], n[0]]), "its children do not form a tree"),
        (edited("split_feature", lambda n: [3, *n[1:]]), "splits on a feature that does not exist"),
        (edited("split_feature", lambda n: [-1, *n[1:]]), "splits on a feature that does not exist"),
        (edited("decision_type", lambda n: [1, *n[1:]]), "categorical"),
        (edited("decision_type", lambda n: [12, *n[1:]]), "unknown missing type"),
        (edited("decision_type", lambda n: [10**30, *n[1:]]), "not a number"),
    ],
)
def test_trees_that_are_no_trees(text, reason):
    assert_broken(text, reason)


def test_categorical_and_linear_models_of_lightgbm_are_refused():
    import lightgbm

    rng = np.random.default_rng(0)
    x = np.column_stack([rng.integers(0, 8, 500), rng.normal(size=500)]).astype(np.float64)
    y = (x[:, 0] % 3 == 1) + rng.normal(size=500) * 0.1
    quiet = {"verbosity": -1, "objective": "regression", "num_threads": 1}
    categorical = lightgbm.train(quiet, lightgbm.Dataset(x, y, categorical_feature=[0], params=quiet), 5)
    assert_broken(categorical.model_to_string(), "categorical")
    linear = quiet | {"linear_tree": True}
    assert_broken(lightgbm.train(linear, lightgbm.Dataset(x, y, params=linear), 5).model_to_string(), "linear tree")
    several = quiet | {"objective": "multiclass", "num_class": 3}
    assert_broken(
        lightgbm.train(several, lightgbm.Dataset(x, x[:, 0] % 3, params=several), 5).model_to_string(), "3 outputs"
    )


def test_flipping_a_byte_never_ends_in_anything_but_a_model_or_a_broken_model():
    data = bytearray(trained(1, trees=3).model_to_string().encode())
    rng = np.random.default_rng(0)
    end = data.index(b"end of trees")
    for at in rng.integers(0, end, 300):
        damaged = bytearray(data)
        damaged[at] ^= 1 << int(rng.integers(0, 8))
        try:
            runner = LightGBMRunner.from_text(bytes(damaged))
        except BrokenModel:
            continue
        assert np.isfinite(runner.scores(np.zeros((3, len(runner.feature_names)), np.float32))).all()
