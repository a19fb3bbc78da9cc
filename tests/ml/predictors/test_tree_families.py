"""The types direction, risk and volatility: XGBoost, scikit-learn and LightGBM themselves as the oracles."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
import xgboost
from planted_data import planted_dataset
from sklearn.ensemble import RandomForestClassifier

from ml.bundles import MODEL_FILES
from ml.errors import InvalidParameter, MissingLibrary, TrainingFailed
from ml.predictors.direction import AUDIT_FILE, DirectionPredictor
from ml.predictors.risk import RiskScorer
from ml.predictors.volatility import VolatilityRegressor

CONTEXT = {"symbol": "BTCUSDT", "timeframe": "1h", "horizon": 1}


@pytest.fixture(scope="module")
def plain():
    return planted_dataset(1_600, edge=0.2)


@pytest.fixture(scope="module")
def risky(plain):
    return replace(plain, outcome=np.where(np.isfinite(plain.returns), plain.returns < -0.002, np.nan))


@pytest.fixture(scope="module")
def moving(plain):
    noise = np.random.default_rng(0).normal(0, 0.5, len(plain))
    realised = plain.sigma * np.exp(0.3 * plain.rows[:, 0] + noise)
    return replace(plain, outcome=np.where(np.isfinite(plain.returns), realised, np.nan))


def known(dataset):
    return np.flatnonzero(dataset.labelled)[:1_300]


def test_direction_is_xgboost_with_these_parameters(plain):
    predictor = DirectionPredictor({"n_estimators": 30, "min_child_weight": 5, "subsample": 0.8})
    fitted = predictor.fit(plain, known(plain), seed=5, threads=1)
    settings = dict(predictor.parameters) | {"seed": 5, "tree_method": "hist", "nthread": 1}
    rounds = settings.pop("n_estimators")
    rows, labels = plain.rows[known(plain)], plain.returns[known(plain)] > 0
    names = list(plain.names)
    table = xgboost.QuantileDMatrix(rows, label=labels, max_bin=settings["max_bin"], feature_names=names)
    booster = xgboost.train(settings, table, rounds)
    expected = booster.predict(xgboost.DMatrix(plain.rows, feature_names=names), output_margin=True)
    np.testing.assert_allclose(fitted.scores(plain.rows), expected, atol=2e-6)
    gain = booster.get_score(importance_type="total_gain")
    np.testing.assert_allclose(
        list(fitted.importance().values()), [gain.get(name, 0.0) / sum(gain.values()) for name in names], rtol=1e-5
    )


def test_what_is_kept_for_an_audit_is_the_model_of_xgboost(plain):
    files = DirectionPredictor({"n_estimators": 12}).fit(plain, known(plain), seed=0, threads=1).to_files()
    booster = xgboost.Booster()
    booster.load_model(bytearray(files[AUDIT_FILE]))
    margin = booster.predict(xgboost.DMatrix(plain.rows, feature_names=list(plain.names)), output_margin=True)
    np.testing.assert_allclose(MODEL_FILES["model.txt"](files["model.txt"]).scores(plain.rows), margin, atol=2e-6)
    assert json.loads(files[AUDIT_FILE])["learner"]["objective"]["name"] == "binary:logistic"


def test_the_numbers_of_the_seed_and_all_usual_names_are_accepted():
    seed = DirectionPredictor({"n_estimators": 100, "max_depth": 6, "learning_rate": 0.1}).parameters
    assert (seed["n_estimators"], seed["max_depth"], seed["learning_rate"]) == (100, 6, 0.1)
    named = DirectionPredictor(
        {"num_boost_round": "80", "eta": "0.2", "lambda_l2": 3, "colsample_bytree": 0.5}
    ).parameters
    assert (named["n_estimators"], named["learning_rate"], named["reg_lambda"]) == (80, 0.2, 3.0)
    forest = RiskScorer({"n_estimators": 100, "max_depth": 10, "adverse_atr": "1.5", "min_data_in_leaf": 9}).parameters
    assert (forest["adverse_atr"], forest["min_samples_leaf"]) == (1.5, 9)
    trees = VolatilityRegressor({"subsample": 0.5, "num_leaves": 31}).parameters
    assert (trees["bagging_fraction"], trees["bagging_freq"], trees["objective"]) == (0.5, 1, "regression")


@pytest.mark.parametrize(
    ("family", "given", "message"),
    [
        (DirectionPredictor, {"max_deph": 3}, "did you mean 'max_depth'"),
        (DirectionPredictor, {"eta": 0}, "eta is 0, expected a number above 0"),
        (DirectionPredictor, {"eta": 0.1, "learning_rate": 0.1}, "are the same parameter"),
        (DirectionPredictor, {"objective": "multi:softmax"}, "objective is 'multi:softmax'"),
        (RiskScorer, {"adverse_atr": 0}, "above 0 and at most 20"),
        (RiskScorer, {"adverse_atr": "much"}, "adverse_atr is 'much', expected a number"),
        (RiskScorer, {"max_leaf_nodes": 1}, "at least 2"),
        (VolatilityRegressor, {"objective": "binary"}, "objective is 'binary'"),
    ],
)
def test_wrong_parameters_say_what_is_right(family, given, message):
    with pytest.raises(InvalidParameter) as caught:
        family(given)
    assert message in str(caught.value)


def test_risk_is_a_forest_with_these_parameters(risky):
    predictor = RiskScorer({"n_estimators": 25, "min_samples_leaf": 10, "sample_rows": 600, "max_features": 0.5})
    positions = known(risky)
    fitted = predictor.fit(risky, positions, seed=7, threads=1)
    labels = risky.target[positions] > 0.5
    forest = RandomForestClassifier(
        25, max_depth=10, max_leaf_nodes=200, min_samples_leaf=10, max_features=0.5, max_samples=600, random_state=7
    ).fit(risky.rows[positions], labels)
    expected = forest.predict_proba(risky.rows)[:, 1] - labels.mean()
    np.testing.assert_allclose(fitted.scores(risky.rows), expected, rtol=0, atol=1e-12)


def test_threads_change_the_speed_of_a_forest_only(risky):
    one, two = (
        RiskScorer({"n_estimators": 8}).fit(risky, known(risky), seed=0, threads=threads).to_files()
        for threads in (1, 2)
    )
    assert one == two


@pytest.mark.parametrize("family", [DirectionPredictor, RiskScorer])
def test_the_seed_matters(family, risky):
    one, two = (
        family({"n_estimators": 5}).fit(risky, known(risky), seed=seed, threads=1).to_files() for seed in (0, 1)
    )
    assert one["model.txt"] != two["model.txt"]


def test_a_forest_stays_small_however_long_the_data():
    dataset = planted_dataset(30_000, edge=0.1, features=12)
    dataset = replace(dataset, outcome=np.where(np.isfinite(dataset.returns), dataset.returns > 0, np.nan))
    given = {"min_samples_leaf": 1, "n_estimators": 10, "sample_rows": 30_000}
    text = RiskScorer(given).fit(dataset, np.flatnonzero(dataset.labelled), seed=0, threads=1).to_files()["model.txt"]
    assert max(int(line.split("=")[1]) for line in text.decode().splitlines() if line.startswith("num_leaves=")) == 200
    assert len(text) < 500_000  # so 100 trees stay below 5 MB


def test_volatility_is_lightgbm_on_the_logarithm_of_the_ratio(moving):
    predictor = VolatilityRegressor({"num_boost_round": 30, "min_data_in_leaf": 30})
    positions = known(moving)
    fitted = predictor.fit(moving, positions, seed=3, threads=1)
    settings = dict(predictor.parameters) | {
        "seed": 3, "num_threads": 1, "verbosity": -1, "deterministic": True, "force_row_wise": True,
    }  # fmt: skip
    rounds = settings.pop("num_boost_round")
    label = np.log(moving.target[positions] / moving.sigma[positions])
    table = lightgbm.Dataset(moving.rows[positions], label=label, params=settings)
    expected = lightgbm.train(settings, table, rounds).predict(moving.rows)
    assert fitted.scores(moving.rows).tobytes() == expected.tobytes()
    assert np.corrcoef(fitted.scores(moving.rows), moving.rows[:, 0])[0, 1] > 0.7


def test_prices_that_stood_still_are_no_lesson(moving):
    still = replace(moving, outcome=np.where(np.arange(len(moving)) == 5, 0.0, moving.outcome))
    with pytest.raises(TrainingFailed, match="1 of 1300 training rows have no volatility above 0"):
        VolatilityRegressor().fit(still, known(still), seed=0, threads=1)


@pytest.mark.parametrize("family", [DirectionPredictor, RiskScorer])
def test_infinite_features_are_refused(family, risky):
    rows = risky.rows.copy()
    rows[[3, 9], 2] = np.inf
    with pytest.raises(TrainingFailed, match="2 of 1300 training rows hold an infinite feature"):
        family().fit(replace(risky, rows=rows), known(risky), seed=0, threads=1)


def test_answers_have_the_names_that_users_know():
    values = {"direction": -1.0, "risk": 35.5, "volatility": 0.02, "confidence": 0.6}
    assert DirectionPredictor.answer(values, CONTEXT) == {"direction": "DOWN"}
    assert DirectionPredictor.answer(values | {"direction": 1.0}, CONTEXT) == {"direction": "UP"}
    assert RiskScorer.answer(values, CONTEXT) == {"risk": 35.5}
    assert VolatilityRegressor.answer(values, CONTEXT) == {"predicted_volatility": 0.02}


@pytest.mark.parametrize(("family", "library"), [(DirectionPredictor, "xgboost"), (RiskScorer, "sklearn.ensemble")])
def test_without_the_library_the_message_says_what_to_install(family, library, risky, monkeypatch):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingLibrary, match=r"pip install 'mlbot\[train\]'"):
        family().fit(risky, known(risky), seed=0, threads=1)


def test_numbers_next_to_nothing_are_zero_and_no_obstacle(plain):
    """LightGBM takes values up to 1e-35 for zero, XGBoost does not: none may end a training."""
    rows = plain.rows.copy()
    rows[::3, 3], rows[1::3, 3] = 1e-40, -1e-40
    fitted = DirectionPredictor({"n_estimators": 10}).fit(replace(plain, rows=rows), known(plain), seed=0, threads=1)
    assert np.isfinite(fitted.scores(rows)).all()
