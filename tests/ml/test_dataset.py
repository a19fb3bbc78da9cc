"""Datasets and folds: purging is checked against every pair of label intervals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_data import planted_dataset

from ml.dataset import Dataset, build_dataset, purged_walk_forward, with_warm_up
from ml.errors import NotEnoughBars
from ml.features.schema import FeatureSchema
from ml.labels import forward_returns, past_returns
from ml.synthetic import synthetic_candles


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 30),
    st.integers(0, 20),
    st.integers(2, 6),
    st.lists(st.integers(0, 899), max_size=200),
)
def test_no_training_label_meets_a_test_interval(horizon, embargo, folds, missing):
    dataset = planted_dataset(900, horizon=horizon, missing=tuple(missing))
    pieces = purged_walk_forward(dataset, folds=folds, embargo=embargo)
    assert [piece.number for piece in pieces] == list(range(folds))
    for piece in pieces:
        first = dataset.k[piece.test[0]]
        assert dataset.labelled[piece.train].all()
        ends = dataset.k[piece.train] + horizon
        assert (ends + embargo < first).all()
        kept = set(piece.train.tolist())
        before = np.flatnonzero(dataset.labelled & (dataset.k + horizon + embargo < first))
        assert kept == set(before.tolist())  # nothing more is thrown away than the rule says
    tested = np.concatenate([piece.test for piece in pieces])
    assert (np.diff(tested) > 0).all()
    assert tested[-1] == len(dataset) - 1
    sizes = [len(piece.test) for piece in pieces]
    assert max(sizes) - min(sizes) <= 1


def test_purge_counts_indices_not_rows():
    gap = tuple(
        range(480, 520)
    )  # the first test piece of 1,200 bars begins near 200; this gap stands before the second
    dataset = planted_dataset(1_200, horizon=30, missing=gap)
    for piece in purged_walk_forward(dataset):
        first = dataset.k[piece.test[0]]
        assert first - dataset.k[piece.train[-1]] > 30


def test_unusable_bars_are_in_no_fold():
    dataset = planted_dataset(1_000)
    usable = np.ones(1_000, dtype=bool)
    usable[:300] = False
    usable[500:540] = False
    dataset = dataclasses.replace(dataset, usable=usable)
    for piece in purged_walk_forward(dataset):
        assert usable[piece.train].all()
        assert usable[piece.test].all()


def test_too_few_bars_for_folds_say_how_many_it_takes():
    with pytest.raises(NotEnoughBars, match="240 are needed for 5 folds"):
        purged_walk_forward(planted_dataset(239))
    assert len(purged_walk_forward(planted_dataset(240))) == 5


@pytest.mark.parametrize(("folds", "embargo"), [(0, 0), (5, -1)])
def test_folds_and_embargo_are_checked(folds, embargo):
    with pytest.raises(ValueError, match="at least one fold"):
        purged_walk_forward(planted_dataset(500), folds=folds, embargo=embargo)


def test_ties_are_counted_and_left_out():
    dataset = planted_dataset(300)
    returns = dataset.returns.copy()
    returns[10:15] = 0.0
    dataset = dataclasses.replace(dataset, returns=returns)
    assert dataset.ties.sum() == 5
    assert not dataset.labelled[10:15].any()
    assert not dataset.labelled[-1]  # its label lies in the future
    assert dataset.labelled.sum() == 300 - 5 - 1


def test_scored_labels_do_not_overlap():
    dataset = planted_dataset(500, horizon=7)
    scored = dataset.k[dataset.scored]
    assert (np.diff(scored) >= 7).all()
    assert (scored % 7 == 0).all()


def test_arrays_that_do_not_fit_are_refused():
    dataset = planted_dataset(300)
    with pytest.raises(ValueError, match="float32"):
        dataclasses.replace(dataset, rows=dataset.rows.astype(np.float64))
    with pytest.raises(ValueError, match="returns has shape"):
        dataclasses.replace(dataset, returns=dataset.returns[1:])
    with pytest.raises(ValueError, match="at least 1 bar"):
        dataclasses.replace(dataset, horizon=0)


def test_dataset_of_candles_joins_rows_labels_and_volatility():
    from ml.features.schema import FeatureSchema

    candles = synthetic_candles(3_000, seed=2)
    schema = FeatureSchema.for_candles(candles, ("rsi_14", "ewma_volatility"))
    dataset = build_dataset(candles, schema, 4)
    assert isinstance(dataset, Dataset)
    np.testing.assert_array_equal(dataset.returns, forward_returns(candles, 4))
    np.testing.assert_array_equal(dataset.past, past_returns(candles, 4))
    np.testing.assert_array_equal(dataset.k, candles.index)
    np.testing.assert_array_equal(dataset.sigma, dataset.rows[:, 1].astype(np.float64))
    assert not dataset.usable[0]
    assert dataset.usable[-1]
    assert np.isnan(dataset.rows[~dataset.usable]).all()


def test_schema_without_volatility_is_refused():
    from ml.features.schema import FeatureSchema

    candles = synthetic_candles(3_000, seed=2)
    with pytest.raises(ValueError, match="ewma_volatility"):
        build_dataset(candles, FeatureSchema.for_candles(candles, ("rsi_14",)), 1)


def test_candles_before_the_first_bar_only_warm_its_features():
    candles = synthetic_candles(6_000, seed=3)
    schema = FeatureSchema.for_candles(candles)
    first_ms = int(candles.open_ms[4_000])

    whole = build_dataset(candles, schema, 1)
    cut = with_warm_up(candles, schema, first_ms)
    late = build_dataset(cut, schema, 1).since(first_ms)

    assert len(late) == 2_000
    assert late.usable.all()
    assert len(cut) <= 2_000 + 2 * schema.anchor_bars
    np.testing.assert_array_equal(late.rows, whole.rows[4_000:])
    np.testing.assert_array_equal(late.returns, whole.returns[4_000:])
    assert not build_dataset(candles.between(first_ms, None), schema, 1).usable[:1_000].any()
