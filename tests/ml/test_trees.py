"""The tree kernels against LightGBM itself, to the last bit."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from forests import SPECIAL, hard_rows, trained, written
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.lightgbm_text import parse_lightgbm
from ml.runners import LightGBMRunner

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def assert_same_bits(runner: LightGBMRunner, booster: lightgbm.Booster, rows: np.ndarray) -> None:
    """Compare many rows at once, and each row alone."""
    expected = booster.predict(rows, raw_score=True, num_threads=1)
    np.testing.assert_array_equal(runner.scores(rows).view(np.int64), expected.view(np.int64))
    alone = np.array([runner.scores(rows[i : i + 1])[0] for i in range(min(len(rows), 70))])
    np.testing.assert_array_equal(alone.view(np.int64), expected[: len(alone)].view(np.int64))


@SETTINGS
@given(seed=st.integers(0, 2**32 - 1), features=st.integers(1, 6), trees=st.integers(1, 20), leaves=st.integers(1, 40))
def test_written_forests_have_lightgbms_bits(seed, features, trees, leaves):
    text = written(seed, features=features, trees=trees, leaves=leaves)
    rows = hard_rows(np.random.default_rng(seed), 150, features)
    rows[:26] = SPECIAL[:, None]
    rows[30:90] = np.random.default_rng(seed + 1).choice(SPECIAL, size=(60, features))
    assert_same_bits(LightGBMRunner.from_text(text.encode()), lightgbm.Booster(model_str=text), rows)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    seed=st.integers(0, 10_000),
    zero_as_missing=st.booleans(),
    use_missing=st.booleans(),
    objective=st.sampled_from(["binary", "regression"]),
    leaves=st.integers(2, 31),
    boosting=st.sampled_from(["gbdt", "dart", "rf"]),
)
def test_trained_forests_have_lightgbms_bits(seed, zero_as_missing, use_missing, objective, leaves, boosting):
    extra = {"bagging_freq": 1, "bagging_fraction": 0.7} if boosting == "rf" else {}
    booster = trained(
        seed,
        zero_as_missing=zero_as_missing,
        use_missing=use_missing,
        objective=objective,
        num_leaves=leaves,
        boosting=boosting,
        **extra,
    )
    rows = hard_rows(np.random.default_rng(seed + 1), 300, 6)
    assert_same_bits(LightGBMRunner.from_text(booster.model_to_string().encode()), booster, rows)


@pytest.mark.parametrize("boost_from_average", [True, False])
def test_constant_targets_and_single_leaves(boost_from_average):
    x = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    parameters = {
        "objective": "regression",
        "verbosity": -1,
        "boost_from_average": boost_from_average,
        "min_data_in_leaf": 150,
    }
    booster = lightgbm.train(parameters, lightgbm.Dataset(x, x[:, 0] + 2.0), 3)
    runner = LightGBMRunner.from_text(booster.model_to_string().encode())
    assert_same_bits(runner, booster, x)
    assert "num_leaves=1\n" in booster.model_to_string()


def test_rows_at_the_thresholds_themselves():
    booster = trained(5, features=3, trees=30, num_leaves=15)
    runner = LightGBMRunner.from_text(booster.model_to_string().encode())
    lines = [line for line in booster.model_to_string().splitlines() if line.startswith("threshold=")]
    cuts = np.array([float(word) for line in lines for word in line[10:].split()])
    near = cuts.astype(np.float32)
    values = np.concatenate([near, np.nextafter(near, np.float32(np.inf)), np.nextafter(near, np.float32(-np.inf))])
    rows = np.random.default_rng(0).choice(values, size=(2000, 3))
    assert_same_bits(runner, booster, rows)


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 63, 64, 65, 129])
def test_a_row_has_the_same_bits_in_any_company(count):
    booster = trained(3)
    runner = LightGBMRunner.from_text(booster.model_to_string().encode())
    rows = hard_rows(np.random.default_rng(9), 200, 6)
    whole = runner.scores(rows)
    np.testing.assert_array_equal(runner.scores(rows[:count]), whole[:count])
    np.testing.assert_array_equal(runner.scores(rows[200 - count :]), whole[200 - count :])


def test_a_long_chain_is_walked_to_its_end():
    text = written(11, features=2, trees=3, leaves=200)
    rows = hard_rows(np.random.default_rng(1), 100, 2)
    assert_same_bits(LightGBMRunner.from_text(text.encode()), lightgbm.Booster(model_str=text), rows)
    assert parse_lightgbm(text.encode()).trees == 3
