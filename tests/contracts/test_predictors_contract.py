"""What every family of models promises; the suite finds its subjects in the catalogue."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil

import numpy as np
import pytest
from network_fits import tensorflow_uncollected
from planted_data import planted_dataset, with_next_candles

import ml.predictors
from ml.bundles import MODEL_FILES
from ml.errors import BrokenModel, InvalidParameter, TrainingFailed, UnknownPredictor
from ml.predictions import PREDICTION_COLUMNS
from ml.predictors.catalogue import PREDICTORS, predictor_class, predictor_names
from ml.predictors.contract import FittedPredictor, Predictor
from ml.runners import LightGBMRunner
from ml.tasks.catalogue import PATH, TASKS

QUICK = {
    "basic-gbm": {"num_boost_round": 20, "min_data_in_leaf": 20},
    "basic-lstm": {"sequence_length": 8, "epochs": 3, "units": 8, "learning_rate": 0.01, "device": "cpu"},
    "basic-tcn": {"sequence_length": 8, "epochs": 3, "units": 8, "learning_rate": 0.01, "device": "cpu"},
    "price_nn-mlp": {"epochs": 3, "units": 16, "learning_rate": 0.01, "device": "cpu"},
    "momentum-svm": {"C": 1.0},
    "direction-xgboost": {"n_estimators": 20, "min_child_weight": 5},
    "risk-forest": {"n_estimators": 20, "min_samples_leaf": 20, "max_features": 1.0},
    "volatility-gbm": {"num_boost_round": 20, "min_data_in_leaf": 20},
    "sentiment-gbm": {"num_boost_round": 20, "min_data_in_leaf": 20},
    "sentiment-lstm": {"sequence_length": 8, "epochs": 3, "units": 8, "learning_rate": 0.01, "device": "cpu"},
    "sentiment-tcn": {"sequence_length": 8, "epochs": 3, "units": 8, "learning_rate": 0.01, "device": "cpu"},
    "autoregressive-gbm": {"num_boost_round": 20, "min_data_in_leaf": 20},
    "multi_ohlc-gbm": {"num_boost_round": 20, "min_data_in_leaf": 20},
}
"""Parameters that keep each family quick here, by type and architecture; a family without an entry fails."""

PATH_FILES = dict.fromkeys(("open.txt", "high.txt", "low.txt", "close.txt"), LightGBMRunner.from_text)
"""What a path of candles is made of; ``ml.paths.bundle`` runs them together."""

FAMILIES = {f"{family.type_name}-{family.architecture}": family for family in PREDICTORS}

SAFE_SUFFIXES = {".txt", ".json", ".onnx", ".parquet"}


def again(name):
    """Return the name for the tests that fit anew: a network that is another's, features apart, does so on request."""
    family = FAMILIES[name]
    others = [other for other in PREDICTORS if other in family.__mro__[1:] and other.library == "tensorflow"]
    same = any(family.fit is other.fit and family.build is other.build for other in others)
    return pytest.param(name, marks=pytest.mark.slow) if same else name


AGAIN = pytest.mark.parametrize("name", [again(name) for name in sorted(FAMILIES)])


@pytest.fixture(params=sorted(FAMILIES))
def name(request):
    return request.param


@pytest.fixture(scope="module")
def quick_fits():
    with tensorflow_uncollected():
        yield


@functools.cache
def planted(name):
    dataset = with_next_candles(planted_dataset(900, edge=0.25, features=5))
    dataset = dataclasses.replace(dataset, outcome=outcome_of(FAMILIES[name].task, dataset))
    if name != "momentum-svm":
        return dataset
    required = FAMILIES[name].required_features
    rows = dataset.rows.copy()
    rows[:, 2] = np.nan_to_num(dataset.past)
    return dataclasses.replace(
        dataset, rows=rows, names=(*dataset.names[:2], *required(dataset.horizon), *dataset.names[3:])
    )


def outcome_of(task, dataset):
    """Return what a task learns, planted so that feature 0 tells it; None where that is the return."""
    known = np.isfinite(dataset.returns)
    if task == "risk":
        return np.where(known, dataset.returns > 0, np.nan)
    if task == "volatility":
        noise = np.random.default_rng(8).normal(0, 0.4, len(dataset))
        return np.where(known, dataset.sigma * np.exp(0.5 * np.sign(dataset.rows[:, 0]) + noise), np.nan)
    return None


def came_high(task, dataset):
    """Return where what happened is what a positive score says."""
    if task == "volatility":
        return dataset.target > dataset.sigma * np.sqrt(dataset.horizon)
    return dataset.target > (0.5 if task == "risk" else 0.0)


@functools.cache
def fitted_once(name):
    """Return a model that several tests look at: fitting a network takes a second."""
    dataset = planted(name)
    return fit(name, dataset, np.flatnonzero(dataset.labelled)[:700])


@pytest.fixture
def dataset(name, request):
    if FAMILIES[name].library == "tensorflow":
        request.getfixturevalue("quick_fits")
    return planted(name)


@pytest.fixture
def fitted(name, dataset):
    return fitted_once(name)


@pytest.fixture
def positions(dataset):
    return np.flatnonzero(dataset.labelled)[:700]


def fit(name, dataset, positions, seed=3):
    return FAMILIES[name](QUICK[name]).fit(dataset, positions, seed=seed, threads=1)


def windows(fitted, rows):
    """Return one array of rows for each score."""
    return [rows[i : i + fitted.sequence] for i in range(len(rows) - fitted.sequence + 1)]


def test_every_family_of_the_package_is_in_the_catalogue():
    found = set()
    for module in pkgutil.iter_modules(ml.predictors.__path__):
        loaded = importlib.import_module(f"ml.predictors.{module.name}")
        for _, member in inspect.getmembers(loaded, inspect.isclass):
            if member.__module__ == loaded.__name__ and isinstance(getattr(member, "type_name", None), str):
                found.add(member)
    assert found == set(PREDICTORS)


def test_names_and_words(name):
    family = FAMILIES[name]
    assert name in QUICK, "give the new family quick parameters"
    assert predictor_class(family.type_name, family.architecture) is family
    for text in (family.title, family.description, family.library):
        assert text.strip() == text != ""
    predictor = family()
    assert isinstance(predictor, Predictor)
    assert predictor.parameters == family({}).parameters


def test_a_task_judges_every_family_that_is_not_of_paths(name):
    family = FAMILIES[name]
    if family.task == PATH:
        return
    task = TASKS[family.task]
    assert task.name == family.task
    assert task.default_horizon("1h") >= 1
    values = dict.fromkeys(PREDICTION_COLUMNS, 0.5)
    said = family.answer(values, {"symbol": "BTCUSDT", "timeframe": "1h", "horizon": 1})
    assert said
    assert all(value is None or isinstance(value, (str, float)) for value in said.values())


def test_unknown_families_get_the_nearest_name():
    with pytest.raises(UnknownPredictor, match=r"'basics' is not a model type; did you mean 'basic'\? \(known: "):
        predictor_class("basics")
    with pytest.raises(UnknownPredictor, match=r"'gmb' is no model of the type basic; did you mean 'gbm'\? \(known: "):
        predictor_class("basic", "gmb")
    assert set(predictor_names()) == {family.type_name for family in PREDICTORS}
    assert predictor_class("basic") is PREDICTORS[0]


def test_parameters_are_a_copy_and_unknown_ones_are_refused(name):
    predictor = FAMILIES[name]()
    dict(predictor.parameters).clear()
    assert predictor.parameters
    with pytest.raises(InvalidParameter, match="no_such_parameter"):
        FAMILIES[name]({"no_such_parameter": 1})


@AGAIN
def test_same_data_seed_and_threads_same_bytes(name, fitted, dataset, positions):
    assert isinstance(fitted, FittedPredictor)
    assert fit(name, dataset, positions).to_files() == fitted.to_files()


@AGAIN
def test_labels_elsewhere_and_later_rows_are_not_read(name, fitted, dataset, positions):
    files = fitted.to_files()
    returns, rows = dataset.returns.copy(), dataset.rows.copy()
    elsewhere = np.setdiff1d(np.arange(len(dataset)), positions)
    returns[elsewhere] = 123.0
    rows[positions[-1] + 1 :] = 7.0
    outcome = (
        None if dataset.outcome is None else np.where(np.isin(np.arange(len(dataset)), positions), dataset.outcome, 9)
    )
    changed = dataclasses.replace(dataset, returns=returns, rows=rows, outcome=outcome)
    assert fit(name, changed, positions).to_files() == files


def test_scores_survive_the_files_to_the_bit(name, fitted, dataset):
    files = fitted.to_files()
    again = FAMILIES[name].from_files(files)
    assert again.scores(dataset.rows).tobytes() == fitted.scores(dataset.rows).tobytes()
    assert again.to_files().keys() == files.keys()


def test_the_runner_of_a_bundle_says_the_same_to_the_bit(name, fitted, dataset):
    files = fitted.to_files()
    known = [file for file in files if file in MODEL_FILES or file in PATH_FILES]
    assert known, "ml.bundles must know how to run one of the files"
    assert len(known) == 1 or FAMILIES[name].task == "path", "ml.bundles must know how to run exactly one of the files"
    runner = {**PATH_FILES, **MODEL_FILES}[known[-1]](files[known[-1]])  # of a path of candles: that of the close
    rows = dataset.rows.copy()
    rows[::17, 2] = np.nan
    assert runner.scores(rows).tobytes() == fitted.scores(rows).tobytes()
    assert runner.feature_names == dataset.names


def test_one_row_gives_the_bits_of_a_batch(fitted, dataset):
    rows = dataset.rows[:200].copy()
    rows[::13, 0] = np.nan
    batch = fitted.scores(rows)
    assert batch.dtype == np.float64
    singles = np.concatenate([fitted.scores(window) for window in windows(fitted, rows)])
    assert singles.tobytes() == batch.tobytes()
    assert fitted.scores(rows[:0]).shape == (0,)


def test_a_strong_edge_is_found(name, fitted, dataset):
    unseen = np.flatnonzero(dataset.labelled)[720:]
    scores = fitted.scores(dataset.rows[unseen[0] - fitted.sequence + 1 : unseen[-1] + 1])
    assert np.mean((scores > 0) == came_high(FAMILIES[name].task, dataset)[unseen]) > 0.6


def test_files_cannot_run_code(fitted):
    for file, content in fitted.to_files().items():
        assert "." + file.rsplit(".", 1)[-1] in SAFE_SUFFIXES
        assert not content.startswith(b"\x80")


def test_importance_is_shares_by_name(name, fitted, dataset):
    shares = fitted.importance()
    if shares:
        assert tuple(shares) == dataset.names
        assert sum(shares.values()) == pytest.approx(1.0)
        assert max(shares, key=shares.__getitem__) == "feature_0"


@pytest.mark.parametrize("sign", [1, -1])
def test_labels_of_one_class_are_refused(name, dataset, positions, sign):
    same = {"risk": float(sign > 0), "volatility": 1.0 + 0.5 * sign}.get(FAMILIES[name].task)
    outcome = None if same is None else np.full(len(dataset), same)
    one_way = dataclasses.replace(dataset, returns=sign * np.abs(dataset.returns), outcome=outcome)
    words = (
        r"every one of the 700 (training labels is (a rise|a fall|an adverse move|no adverse move|the same)"
        r"|next returns to learn from is (above|below) 0)"
    )
    with pytest.raises(TrainingFailed, match=words):
        fit(name, one_way, positions)


@pytest.mark.parametrize("value", [1.5, np.nan])
def test_features_that_never_vary_are_refused(name, dataset, positions, value):
    constant = dataclasses.replace(dataset, rows=np.full_like(dataset.rows, value))
    with pytest.raises(TrainingFailed, match="none of the 5 features varies"):
        fit(name, constant, positions)


@AGAIN
def test_a_constant_column_among_others_is_no_obstacle(name, dataset, positions):
    rows = dataset.rows.copy()
    rows[:, 3], rows[:, 4] = 1.0, np.nan
    fitted = fit(name, dataclasses.replace(dataset, rows=rows), positions)
    assert np.isfinite(fitted.scores(rows)).all()


def test_no_rows_and_missing_labels_are_refused(name, dataset, positions):
    with pytest.raises(TrainingFailed, match="no bar has both features and a label"):
        fit(name, dataset, positions[:0])
    unlabelled = np.append(positions, len(dataset) - 1)
    with pytest.raises(TrainingFailed, match="1 of 701 training rows have no label"):
        fit(name, dataset, unlabelled)


def test_missing_and_foreign_files_are_refused(name, fitted):
    files = fitted.to_files()
    for file in files:
        with pytest.raises(BrokenModel, match="missing"):
            FAMILIES[name].from_files({key: value for key, value in files.items() if key != file})
        with pytest.raises(BrokenModel):
            FAMILIES[name].from_files(files | {file: b"nonsense\n"})
