"""The walk forward: what a fold says depends on nothing that came after its training labels."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from planted_data import planted_dataset

from ml.baselines import fit_baselines
from ml.calibration import calibrated, fit_slope
from ml.dataset import purged_walk_forward
from ml.predictors.basic import BasicPredictor
from ml.training.walk_forward import score_positions, walk_forward

QUICK = {"num_boost_round": 15, "min_data_in_leaf": 30}


def run(dataset, progress=lambda _fraction, _text: None):
    folds = purged_walk_forward(dataset)
    return folds, walk_forward(dataset, folds, BasicPredictor(QUICK), seed=0, threads=1, progress=progress)


@pytest.fixture(scope="module")
def dataset():
    return planted_dataset(4_200, edge=0.35, horizon=2, missing=tuple(range(1_500, 1_520)))


@pytest.fixture(scope="module")
def walked(dataset):
    return run(dataset)


def test_every_bar_of_the_test_folds_stands_in_the_record(dataset, walked):
    folds, record = walked
    expected = np.concatenate([fold.test for fold in folds])
    np.testing.assert_array_equal(record.k, dataset.k[expected])
    np.testing.assert_array_equal(record.forward_return, dataset.returns[expected])
    np.testing.assert_array_equal(np.unique(record.fold), range(5))
    assert np.isnan(record.p_up[record.fold == 0]).all()
    assert np.isfinite(record.p_up[record.fold > 0]).all()
    assert ((record.k[record.scored] % 2) == 0).all()


def test_probabilities_come_from_a_calibrator_of_earlier_folds(walked):
    _, record = walked
    for number in range(1, 5):
        now = record.fold == number
        earlier = record.scored & (record.fold < number) & (record.k + 2 <= record.k[now][0])
        slope, scale = fit_slope(record.raw_score[earlier], record.forward_return[earlier] > 0)
        np.testing.assert_array_equal(record.p_up[now], calibrated(record.raw_score[now], slope, scale))


def test_no_calibrator_sees_a_label_that_ends_inside_its_fold():
    long = planted_dataset(4_200, edge=0.35, horizon=24)
    folds, record = run(long)
    for fold in folds[1:]:
        first = long.k[fold.test[0]]
        returns = long.returns.copy()
        returns[(long.k < first) & (long.k + 24 > first)] *= -1  # known only after the fold began
        _, other = run(dataclasses.replace(long, returns=returns))
        now = record.fold == fold.number
        assert other.p_up[now].tobytes() == record.p_up[now].tobytes()


def test_baselines_come_from_training_rows(dataset, walked):
    folds, record = walked
    for fold in folds:
        rule = fit_baselines(dataset.returns[fold.train], dataset.past[fold.train])
        now = record.fold == fold.number
        assert (record.train_base_rate[now] == rule.base_rate).all()
        np.testing.assert_array_equal(record.last_sign_p[now], rule.last_sign_probability(dataset.past[fold.test]))


def test_the_future_does_not_change_the_past(dataset, walked):
    folds, record = walked
    third = folds[2].test
    returns, rows = dataset.returns.copy(), dataset.rows.copy()
    returns[third[-1] - 1 :] *= -3
    rows[third[-1] + 1 :] = 0.5
    _, other = run(dataclasses.replace(dataset, returns=returns, rows=rows))
    before = record.fold <= 2
    for name in ("raw_score", "p_up", "expected_return", "low", "high", "last_sign_p", "train_base_rate"):
        assert getattr(other, name)[before].tobytes() == getattr(record, name)[before].tobytes(), name
    assert (other.raw_score[~before] != record.raw_score[~before]).any()


def test_skill_is_found_and_bands_hold(walked):
    _, record = walked
    counted = record.counted
    hit = (record.p_up[counted] >= 0.5) == (record.forward_return[counted] > 0)
    assert hit.mean() > 0.56
    inside = (record.low <= record.forward_return) & (record.forward_return <= record.high)
    assert inside[counted].mean() == pytest.approx(0.9, abs=0.04)


def test_progress_is_told(dataset):
    told = []
    run(dataset, progress=lambda fraction, text: told.append((fraction, text)))
    assert [fraction for fraction, _ in told] == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert told[1][1] == "fold 2 of 5"


def test_models_of_sequences_read_only_whole_windows(dataset):
    class SumOfThree:
        sequence = 3

        def scores(self, rows):
            return np.array([rows[i : i + 3, 0].sum() for i in range(len(rows) - 2)], dtype=np.float64)

    usable = dataset.usable.copy()
    usable[50] = False
    broken = dataclasses.replace(dataset, usable=usable)
    scores = score_positions(SumOfThree(), broken, np.array([0, 1, 2, 49, 51, 52, 53]))
    np.testing.assert_array_equal(np.isnan(scores), [True, True, False, False, True, True, False])
    assert scores[2] == np.float32(dataset.rows[:3, 0].sum())
