"""The type basic: parameters, and LightGBM itself as the oracle."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from planted_data import planted_dataset

from ml.errors import InvalidParameter
from ml.predictors.basic import BasicPredictor
from ml.predictors.parameters import DEFAULTS, resolve_parameters


def test_defaults_are_legal_and_complete():
    assert resolve_parameters({}) == DEFAULTS == resolve_parameters(None)
    assert resolve_parameters(DEFAULTS) == DEFAULTS


@pytest.mark.parametrize(
    "given",
    [
        # the two sets that the guides for users give
        {"objective": "regression", "metric": "rmse", "learning_rate": 0.05, "num_leaves": 31, "max_depth": 7},
        {
            "learning_rate": 0.03,
            "num_leaves": 15,
            "max_depth": 5,
            "min_data_in_leaf": 50,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.7,
            "lambda_l1": 0.1,
            "lambda_l2": 0.1,
        },
        {"feature_fraction": "0.8", "bagging_fraction": "0.8", "num_boost_round": "500"},
    ],
)
def test_the_parameter_sets_of_the_guides_train(given):
    dataset = planted_dataset(700, edge=0.3)
    positions = np.flatnonzero(dataset.labelled)
    predictor = BasicPredictor(given)
    for name, value in given.items():
        assert str(predictor.parameters[name]) == str(value)
    fitted = predictor.fit(dataset, positions, seed=0, threads=1)
    hits = (fitted.scores(dataset.rows[positions]) > 0) == (dataset.returns[positions] > 0)
    assert hits.mean() > 0.7


def test_aliases_are_one_parameter():
    found = resolve_parameters({"n_estimators": 40, "subsample": 0.5, "reg_lambda": 3, "min_child_samples": "25"})
    assert (found["num_boost_round"], found["bagging_fraction"], found["lambda_l2"]) == (40, 0.5, 3.0)
    assert found["min_data_in_leaf"] == 25
    assert found["bagging_freq"] == 1  # without it a fraction would do nothing
    with pytest.raises(InvalidParameter, match="n_estimators and num_boost_round are the same"):
        resolve_parameters({"num_boost_round": 3, "n_estimators": 4})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"num_leafs": 7}, "'num_leafs' is not a parameter of this model; did you mean 'num_leaves'"),
        ({"learning_rate": 0}, "learning_rate is 0, expected a number above 0 and at most 1"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast', expected a number"),
        ({"num_leaves": 7.5}, "num_leaves is 7.5, expected a whole number"),
        ({"num_leaves": 1}, "at least 2"),
        ({"num_leaves": True}, "num_leaves is True"),
        ({"lambda_l1": float("nan")}, "lambda_l1 is nan"),
        ({"objective": "binery"}, "objective is 'binery'; did you mean 'binary'"),
        ({"metric": "ndcg"}, "metric is 'ndcg'"),
        ({"max_depth": None}, "max_depth is None"),
    ],
)
def test_wrong_parameters_say_what_is_right(given, message):
    with pytest.raises(InvalidParameter) as caught:
        BasicPredictor(given)
    assert message in str(caught.value)


def test_fit_is_lightgbm_with_these_parameters():
    dataset = planted_dataset(1_500, edge=0.2)
    positions = np.flatnonzero(dataset.labelled)[:1_200]
    predictor = BasicPredictor({"num_boost_round": 30})
    fitted = predictor.fit(dataset, positions, seed=5, threads=1)
    settings = dict(predictor.parameters) | {
        "seed": 5,
        "num_threads": 1,
        "verbosity": -1,
        "deterministic": True,
        "force_row_wise": True,
    }
    rounds = settings.pop("num_boost_round")
    table = lightgbm.Dataset(dataset.rows[positions], label=dataset.returns[positions] > 0, params=settings)
    expected = lightgbm.train(settings, table, num_boost_round=rounds).predict(dataset.rows, raw_score=True)
    assert fitted.scores(dataset.rows).tobytes() == expected.tobytes()


def test_threads_change_the_speed_only():
    dataset = planted_dataset(1_500, edge=0.2)
    positions = np.flatnonzero(dataset.labelled)
    one, two = (BasicPredictor().fit(dataset, positions, seed=0, threads=threads) for threads in (1, 2))
    assert one.scores(dataset.rows).tobytes() == two.scores(dataset.rows).tobytes()


def test_seed_matters_where_features_are_sampled():
    dataset = planted_dataset(1_500, edge=0.2)
    positions = np.flatnonzero(dataset.labelled)
    one, two = (BasicPredictor().fit(dataset, positions, seed=seed, threads=1).to_files() for seed in (0, 1))
    assert one != two


def test_too_few_rows_for_a_split_give_one_constant_score():
    dataset = planted_dataset(300)
    fitted = BasicPredictor().fit(dataset, np.flatnonzero(dataset.labelled), seed=0, threads=1)
    assert len(np.unique(fitted.scores(dataset.rows))) == 1
    assert sum(fitted.importance().values()) == 0
