"""The search: its exam is unseen, its trials are counted, and it can be interrupted."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from ml.dataset import purged_walk_forward
from ml.deflation import deflated_sharpe, expected_maximum, overfitting_probability
from ml.errors import InvalidParameter, MissingLibrary, NotEnoughBars, TrainingFailed
from ml.evaluation import bet_returns, counted_forecasts, log_loss_gain
from ml.predictors.basic import BasicPredictor
from ml.predictors.catalogue import PREDICTORS
from ml.synthetic import synthetic_candles
from ml.training.search import LEAST_BARS, deflate, search
from ml.training.search_scores import SCORED_TASKS, Trial
from ml.training.search_space import Dimension, search_space
from ml.training.settings import TrainingSettings
from ml.training.trainer import prepare
from ml.training.walk_forward import walk_forward
from registry.names import ModelKey

KEY = ModelKey("SYNTH", "basic", "1h")
FIXED = {"num_boost_round": 8, "min_data_in_leaf": 50}


@cache
def prepared(bars=3_000, edge=0.15, seed=4):
    settings = TrainingSettings(
        features=("ewma_volatility", "rsi_14", "taker_imbalance_20"), parameters=FIXED, folds=4, plots=False
    )
    return prepare(synthetic_candles(bars, edge=edge, seed=seed), KEY, settings)


@cache
def done():
    return search(prepared(), trials=5, seed=1)


def test_the_same_seed_makes_the_same_trials_and_the_first_are_the_defaults():
    again = search(prepared(), trials=5, seed=1)
    assert [replace(t, seconds=0) for t in again.trials] == [replace(t, seconds=0) for t in done().trials]
    assert again.exam == done().exam
    usual = BasicPredictor(FIXED).parameters
    assert done().trials[0] == done().defaults
    assert done().defaults.params == {name: usual[name] for name in done().defaults.params}
    other = search(prepared(), trials=5, seed=2)
    assert [t.params for t in other.trials] != [t.params for t in done().trials]


def test_fixed_parameters_stay_and_the_others_lie_in_their_ranges():
    space = search_space(BasicPredictor, FIXED)
    assert not set(FIXED) & set(space)
    for trial in done().trials:
        assert set(trial.params) == set(space)
        assert all(space[name].holds(value) for name, value in trial.params.items())


def test_a_trial_is_scored_as_one_would_by_hand_and_never_on_the_exam():
    ready, trial = prepared(), done().trials[2]
    folds = purged_walk_forward(ready.dataset, folds=4)
    record = walk_forward(
        ready.dataset,
        folds[:3],
        BasicPredictor({**FIXED, **trial.params}),
        seed=0,
        threads=1,
        progress=lambda _share, _text: None,
    )
    gains = log_loss_gain(counted_forecasts(record), "base_rate")
    assert trial.gain == float(gains.mean())
    assert trial.count == len(gains)
    assert record.open_ms.max() < ready.dataset.open_ms[folds[3].test[0]]
    bets = bet_returns(counted_forecasts(record))
    assert trial.sharpe.ratio == pytest.approx(bets.mean() / bets.std(ddof=1))
    assert np.mean(trial.blocks) == pytest.approx(trial.gain, rel=0.05)


def test_what_happens_in_the_exam_changes_no_trial_and_no_choice():
    ready = prepared()
    last = purged_walk_forward(ready.dataset, folds=4)[-1].test
    returns = ready.dataset.returns.copy()
    returns[last] = -returns[last]
    turned = replace(ready, dataset=replace(ready.dataset, returns=returns))
    found = search(turned, trials=5, seed=1)
    assert [t.gain for t in found.trials] == [t.gain for t in done().trials]
    assert found.best.params == done().best.params
    assert found.cost == done().cost
    assert found.exam["best"]["gain"] < 0 < done().exam["best"]["gain"]


def test_the_winner_alone_meets_the_exam():
    ready, found = prepared(), done()
    folds = purged_walk_forward(ready.dataset, folds=4)
    model = BasicPredictor({**FIXED, **found.best.params})
    record = walk_forward(ready.dataset, folds, model, seed=0, threads=1, progress=lambda _share, _text: None)
    inside = record.fold[record.counted] == 3
    gains = log_loss_gain(counted_forecasts(record), "base_rate")[inside]
    assert found.exam["best"]["n"] == len(gains)
    assert found.exam["best"]["gain"] == pytest.approx(float(gains.mean()))
    gap = found.exam["best"]["gain"] - found.exam["defaults"]["gain"]
    assert found.exam["difference"]["gain"] == pytest.approx(gap)


def test_the_cost_is_that_of_all_trials_ever_counted():
    trials = done().trials
    gains = np.array([t.gain for t in trials])
    ratios = np.array([t.sharpe.ratio for t in trials])
    cost = deflate(trials, 40)
    assert cost["trials"] == 40
    assert cost["on_these_bars"] == 5
    assert cost["looked"] == gains.max() == done().best.gain
    assert cost["luck"] == pytest.approx(expected_maximum(gains.var(ddof=1), 40))
    assert cost["after"] == pytest.approx(cost["looked"] - cost["luck"])
    best = trials[int(gains.argmax())].sharpe
    assert cost["deflated_sharpe"] == pytest.approx(deflated_sharpe(best, ratios.var(ddof=1), 40))
    assert cost["deflated_sharpe"] < cost["probabilistic_sharpe"]
    assert cost["overfitting_probability"] == overfitting_probability(np.array([t.blocks for t in trials]).T)
    assert deflate(trials, 5)["luck"] < cost["luck"]
    alone = deflate(trials[:1], 1)
    assert (alone["luck"], alone["overfitting_probability"]) == (0.0, None)


def test_earlier_trials_are_learnt_from_and_count():
    found = search(prepared(), trials=2, seed=1, known=done().trials, counted_before=9)
    assert len(found.trials) == 2
    assert found.cost["trials"] == 11
    assert found.cost["on_these_bars"] == 7
    assert found.best.gain >= done().best.gain
    assert done().defaults.params not in [t.params for t in found.trials]  # not tried a second time
    assert found.defaults == done().defaults


def test_ctrl_c_keeps_what_is_finished(monkeypatch):
    kept = []

    def tell(trial):
        kept.append(trial)
        if len(kept) == 2:
            raise KeyboardInterrupt

    found = search(prepared(), trials=50, seed=1, on_trial=tell)
    assert found.interrupted
    assert [t.params for t in kept] == [t.params for t in done().trials[:2]]
    assert found.best in kept
    assert found.exam is None

    def at_once(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("ml.training.search.walk_forward", at_once)
    with pytest.raises(KeyboardInterrupt):
        search(prepared(), trials=5)


def test_no_trial_is_begun_after_the_time_is_over():
    times = iter(range(0, 10_000, 10))
    found = search(prepared(), trials=50, seed=1, timeout=35, clock=lambda: float(next(times)))
    assert 1 <= len(found.trials) <= 3
    assert found.exam is not None
    assert len(search(prepared(), trials=5, timeout=0.0).trials) == 1


def test_trials_that_cannot_be_fitted_are_told(monkeypatch):
    calls = []
    real = walk_forward

    def sometimes(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise TrainingFailed("every label is a rise")
        return real(*args, **options)

    monkeypatch.setattr("ml.training.search.walk_forward", sometimes)
    found = search(prepared(), trials=3, seed=1)
    assert len(found.trials) == 2
    assert found.failed == ("every label is a rise",)

    def never(*_args, **_options):
        raise TrainingFailed("every label is a rise")

    monkeypatch.setattr("ml.training.search.walk_forward", never)
    with pytest.raises(TrainingFailed, match="none of 3 trials could be fitted: every label is a rise"):
        search(prepared(), trials=3)


def test_requests_that_make_no_sense(monkeypatch):
    with pytest.raises(InvalidParameter, match="--trials is 0"):
        search(prepared(), trials=0)
    few = prepared()
    with pytest.raises(InvalidParameter, match="at least 3 folds"):
        search(replace(few, settings=replace(few.settings, folds=2)), trials=1)
    short = few.dataset.since(int(few.dataset.open_ms[-400]))
    with pytest.raises(NotEnoughBars, match=f"needs {LEAST_BARS}"):
        search(replace(few, dataset=short), trials=1)
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(MissingLibrary, match=r"pip install 'mlbot\[train\]'"):
        search(prepared(), trials=1)


@pytest.mark.parametrize("family", PREDICTORS, ids=lambda f: f"{f.type_name}-{f.architecture}")
def test_every_family_has_a_space_around_its_defaults(family):
    if family.task not in SCORED_TASKS:
        pytest.skip("whole paths are not searched")
    space, usual = search_space(family, {}), family().parameters
    assert space
    for name, dimension in space.items():
        assert dimension.holds(usual[name])
        ends = dimension.choices or (dimension.low, dimension.high)
        for end in ends:
            family({name: int(end) if dimension.whole else end})  # every end is a legal parameter


def test_nothing_left_to_search():
    everything = dict(search_space(BasicPredictor, {}))
    usual = BasicPredictor().parameters
    with pytest.raises(InvalidParameter, match="no parameter left to search"):
        search_space(BasicPredictor, {name: usual[name] for name in everything})


def test_a_dimension_holds_its_values():
    assert Dimension(1, 5).holds(5)
    assert not Dimension(1, 5).holds(5.1)
    assert not Dimension(0, 1).holds(True)
    assert Dimension(choices=("a", "b")).holds("b")


def test_trials_survive_their_plain_data():
    for trial in done().trials:
        assert Trial.from_dict(trial.to_dict()) == trial
    flat = replace(done().trials[0], sharpe=None)
    assert Trial.from_dict(flat.to_dict()) == flat
