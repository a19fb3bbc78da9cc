"""The vector machine: its symmetry, its size, scikit-learn and a formula as oracles, and why the literal question is none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from planted_data import planted_dataset

from ml.errors import InvalidParameter, MissingLibrary, TrainingFailed
from ml.predictors import libraries
from ml.predictors.momentum import MomentumClassifier
from ml.predictors.network_training import fit_scaling

NAMES = ("feature_0", "feature_1", "log_return_1", "feature_3", "feature_4")


def moving_dataset(count=1_200, edge=0.3, seed=0):
    """Rows whose third feature is the last return itself."""
    data = planted_dataset(count, edge=edge, features=5, seed=seed)
    rows = data.rows.copy()
    rows[:, 2] = np.nan_to_num(data.past)
    return dataclasses.replace(data, rows=rows, names=NAMES)


@pytest.fixture(scope="module")
def dataset():
    return moving_dataset()


@pytest.fixture(scope="module")
def positions(dataset):
    return np.flatnonzero(dataset.labelled)[:900]


@pytest.fixture(scope="module")
def fitted(dataset, positions):
    return MomentumClassifier().fit(dataset, positions, seed=0, threads=1)


def test_it_is_scikit_learn_on_mirrored_rows(dataset, positions, fitted):
    from sklearn.svm import SVC

    kept = positions[dataset.rows[positions, 2] != 0]
    rows = dataset.rows[kept]
    past = np.sign(rows[:, 2])
    scaling = fit_scaling(rows)
    mirrored = scaling.apply(rows).astype(np.float64) * past[:, None]
    machine = SVC(C=0.1, gamma=1 / 5, class_weight="balanced").fit(mirrored, np.sign(dataset.returns[kept]) == past)
    unseen = dataset.rows[900:]
    sign = np.sign(unseen[:, 2])
    wanted = machine.decision_function(scaling.apply(unseen).astype(np.float64) * sign[:, None]) * sign
    np.testing.assert_allclose(fitted.scores(unseen), wanted, atol=1e-6)


def test_a_market_turned_upside_down_gives_the_forecast_turned_upside_down(dataset, positions):
    turned = dataclasses.replace(dataset, rows=-dataset.rows, returns=-dataset.returns, past=-dataset.past)
    one, other = (MomentumClassifier().fit(each, positions, seed=0, threads=1) for each in (dataset, turned))
    np.testing.assert_allclose(one.scores(dataset.rows), -other.scores(turned.rows), atol=1e-5)


def test_a_bar_without_a_last_move_has_no_opinion(dataset, fitted):
    rows = dataset.rows[:40].copy()
    rows[:20, 2], rows[20:, 2] = 0.0, np.nan
    assert not fitted.scores(rows).any()


def test_the_model_stays_small_and_is_taught_by_the_newest():
    data = moving_dataset(3_000)
    positions = np.flatnonzero(data.labelled)
    predictor = MomentumClassifier({"max_rows": 200})
    fitted = predictor.fit(data, positions, seed=0, threads=1)
    files = fitted.to_files()
    assert len(files["model.onnx"]) < 200 * (5 * 4 + 2 * 8) + 4_000
    old = data.rows.copy()
    old[: positions[-801]] = 99.0  # beyond four times max_rows
    again = predictor.fit(dataclasses.replace(data, rows=old), positions, seed=0, threads=1)
    assert again.to_files() == files


@pytest.mark.parametrize("given", [{"max_rows": 6_000}, {"C": 0}, {"gamma": -1}, {"kernel": "linear"}])
def test_wrong_parameters_are_refused(given):
    with pytest.raises(InvalidParameter, match=next(iter(given))):
        MomentumClassifier(given)


def test_what_cannot_be_learnt_is_said(dataset, positions):
    fit = MomentumClassifier().fit
    without = dataclasses.replace(dataset, names=("a", "b", "c", "d", "e"))
    with pytest.raises(TrainingFailed, match="the features lack log_return_1"):
        fit(without, positions, seed=0, threads=1)
    rows = dataset.rows.copy()
    rows[:, 2] = 0
    with pytest.raises(TrainingFailed, match="there is no last move that could go on"):
        fit(dataclasses.replace(dataset, rows=rows), positions, seed=0, threads=1)
    rows[:, 2] = dataset.returns
    with pytest.raises(TrainingFailed, match="training labels is a move that goes on"):
        fit(dataclasses.replace(dataset, rows=rows), positions, seed=0, threads=1)


def test_without_scikit_learn_the_message_names_the_command(dataset, positions, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(libraries, "import_module", missing)
    with pytest.raises(MissingLibrary, match=r"trained with scikit-learn.*pip install 'mlbot\[train\]'"):
        MomentumClassifier().fit(dataset, positions, seed=0, threads=1)


@pytest.mark.parametrize(
    ("direction", "past", "state"),
    [
        (1.0, 0.01, "accelerating"),
        (-1.0, -0.01, "accelerating"),
        (1.0, -0.01, "decelerating"),
        (-1.0, 0.01, "decelerating"),
        (1.0, 0.0, None),
        (1.0, float("nan"), None),
    ],
)
def test_the_state_is_said_of_the_last_move(direction, past, state):
    context = {"horizon": 4, "features": {"log_return_4": past}}
    assert MomentumClassifier.answer({"direction": direction}, context) == {"state": state}
    assert MomentumClassifier.answer({"direction": direction}, {"horizon": 4}) == {"state": None}
    assert MomentumClassifier.required_features(4) == ("log_return_4",)


def test_the_literal_question_is_answered_by_anybody_on_a_random_walk():
    """Whether the next move is larger than the last: three in four, from the size of the last move alone."""
    moves = np.abs(np.random.default_rng(0).normal(size=200_000))
    last, following = moves[:-1], moves[1:]
    guess = last < np.median(moves)
    assert np.mean(guess == (following > last)) == pytest.approx(0.75, abs=0.005)
