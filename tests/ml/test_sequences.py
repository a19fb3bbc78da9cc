"""Models of several rows: a window is the newest candles on the grid, each with its own slice, live as in a batch."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_data import planted_dataset
from small_models import market, revised, with_holes
from small_networks import network_files, off_the_grid, register_network

from ml.bundles import open_files
from ml.cache import PredictionCache
from ml.candles import Candles
from ml.dataset import build_dataset
from ml.engine import PredictionEngine
from ml.errors import BrokenModel, NotEnoughBars
from ml.features.blocks import block_index
from ml.fingerprints import FINGERPRINT_BYTES, fingerprints, newest_fingerprint
from ml.predictions import Status
from ml.sequences import OFF_GRID, find_windows, stretches
from ml.training.walk_forward import score_positions

SEQUENCE = 24  # rows of the window
FEW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture(scope="module", params=["lstm", "tcn"])
def model(request, tmp_path_factory):
    return register_network(tmp_path_factory.mktemp("models"), SEQUENCE, request.param)


@pytest.fixture(scope="module")
def recurrent(tmp_path_factory):
    return register_network(tmp_path_factory.mktemp("models"), SEQUENCE)


@pytest.fixture
def cache(tmp_path):
    cache = PredictionCache(tmp_path / "predictions.db")
    yield cache
    cache.close()


def rough(seed: int) -> Candles:
    return off_the_grid(with_holes(market(), seed), seed)


def windows_by_hand(known, stretch, sequence):
    """The definition, bar by bar."""
    complete = np.zeros(len(known), dtype=bool)
    for bar in range(len(known)):
        if stretch[bar] == OFF_GRID:
            continue
        rows = [i for i in range(bar, -1, -1) if stretch[i] != OFF_GRID][:sequence]
        near = len(rows) == sequence and bar - rows[-1] < 2 * sequence
        complete[bar] = near and all(known[i] and stretch[i] == stretch[bar] for i in rows)
    return complete


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_windows_are_those_of_the_definition(seed, sequence, count):
    rng = np.random.default_rng(seed)
    stretch = np.sort(rng.integers(0, 3, count))
    stretch[rng.random(count) < rng.choice([0.0, 0.1, 0.6])] = OFF_GRID
    known = rng.random(count) < 0.95
    found = find_windows(known, stretch, sequence)
    np.testing.assert_array_equal(found.complete, windows_by_hand(known, stretch, sequence))
    for bar in np.flatnonzero(found.complete):
        rows = found.rows(bar, bar)
        assert len(rows) == sequence
        assert (rows[0], rows[-1]) == (found.oldest(bar), bar)


@pytest.mark.parametrize("seed", range(3))
def test_a_prediction_is_that_of_its_own_rows(recurrent, seed):
    """The oracle: rows of the feature pipeline, chosen by hand, through the runner."""
    bundle, candles = recurrent.runner, rough(seed)
    matrix = bundle.pipeline.compute(candles)
    complete = windows_by_hand(matrix.valid, stretches(candles), SEQUENCE)
    batch = PredictionEngine(recurrent).predict_batch(candles)
    np.testing.assert_array_equal(batch.status == Status.OK, complete)
    assert complete.sum() > 500
    assert np.isnan(batch.values[~complete]).all()
    grid = np.flatnonzero(~candles.off_grid)
    for bar in np.flatnonzero(complete)[::37]:
        rows = matrix.rows[grid[grid <= bar][-SEQUENCE:]]
        found = bundle.predict(rows, candles.close[bar : bar + 1])
        np.testing.assert_array_equal(batch.values[bar], found.values[0])
    whole = bundle.predict_candles(candles)
    assert (whole.values.tobytes(), whole.status.tobytes()) == (batch.values.tobytes(), batch.status.tobytes())


@given(seed=st.integers(0, 4), start=st.integers(0, 1_500), size=st.integers(1, 1_500), cached=st.booleans())
@FEW
def test_no_bit_depends_on_where_history_starts_or_ends(model, cache, seed, start, size, cached):
    candles = rough(seed)
    whole = PredictionEngine(model).predict_batch(candles)
    engine = PredictionEngine(model, cache=cache if cached else None)
    stop = min(start + size, len(candles))
    part = engine.predict_batch(candles.slice(start, stop))
    known = part.status == Status.OK
    np.testing.assert_array_equal(part.values[known], whole.values[start:stop][known])
    assert (part.status[~known] == Status.WARMING).all()
    far = np.arange(start, stop) >= start + engine.window_bars - 1
    np.testing.assert_array_equal(part.status[far], whole.status[start:stop][far])
    for at in {stop, (start + stop + 1) // 2}:
        row, status = engine.predict_newest(candles.slice(start, at))
        if at > start:
            assert status == part.status[at - start - 1]
            np.testing.assert_array_equal(np.array(row), part.values[at - start - 1])
        window = candles.slice(max(0, at - engine.window_bars), at)  # what the indicator hands over
        row, status = engine.predict_newest(window)
        assert status == whole.status[at - 1]
        np.testing.assert_array_equal(np.array(row), whole.values[at - 1])


@given(
    seed=st.integers(0, 3),
    steps=st.lists(st.tuples(st.integers(0, 2_500), st.sampled_from(["close", "open", "taker_buy_base"])), max_size=4),
    stop=st.integers(600, 2_500),
)
@FEW
def test_the_cache_is_never_stale(recurrent, cache, seed, steps, stop):
    """One cache for a history and its revisions: it answers with what would be computed."""
    candles = rough(seed)
    bare, engine = PredictionEngine(recurrent), PredictionEngine(recurrent, cache=cache)
    engine.predict_batch(candles)
    for row, column in steps:
        candles = revised(candles, min(row, len(candles) - 1), column)
        part = candles.slice(0, stop)
        expected, found = bare.predict_batch(part), engine.predict_batch(part)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.status, expected.status)
        row, status = engine.predict_newest(part)
        assert status == expected.status[-1]
        np.testing.assert_array_equal(np.array(row), expected.values[-1])
    if steps and (expected.status == Status.OK).any():  # an early revision may leave nothing that was known before
        hits = engine.cache_hits
        np.testing.assert_array_equal(engine.predict_batch(part).values, expected.values)
        assert engine.cache_hits > hits


def test_a_candle_that_only_the_oldest_row_sees_is_in_the_key(recurrent, cache):
    candles, schema = market(), recurrent.runner.schema
    length = schema.anchor_bars
    index = block_index(candles, schema.index)
    border = int(np.flatnonzero(np.diff(index // length))[-1]) + 1  # first bar of the newest block
    newest = border + SEQUENCE // 2  # its window reaches into the block before
    seen_by_oldest = border - length - length // 2  # in the slice of that block's rows, not in the newest bar's own
    assert index[seen_by_oldest] // length == index[border] // length - 2
    engine = PredictionEngine(recurrent, cache=cache)
    part = candles.slice(0, newest + 1)
    other = revised(part, seen_by_oldest)
    blocks = recurrent.runner.pipeline.blocks(part)
    oldest = newest - SEQUENCE + 1
    assert newest_fingerprint(part, schema, blocks) == newest_fingerprint(other, schema, blocks)
    assert newest_fingerprint(part, schema, blocks, oldest) != newest_fingerprint(other, schema, blocks, oldest)
    engine.predict_newest(part)
    engine.predict_newest(other)
    assert (engine.cache_hits, engine.cache_misses) == (0, 2)
    engine.predict_newest(other)
    assert (engine.cache_hits, engine.cache_misses) == (1, 2)


def test_a_window_within_one_block_has_the_key_of_its_bar(recurrent):
    schema, candles = recurrent.runner.schema, market()
    blocks = recurrent.runner.pipeline.blocks(candles)
    border = int(blocks.positions[-1, 1])
    prints = fingerprints(candles, schema, blocks)
    inside = newest_fingerprint(candles, schema, blocks, border)
    assert inside == prints[-1].tobytes()
    across = newest_fingerprint(candles, schema, blocks, border - 1)
    assert across == prints[border - 1].tobytes() + prints[-1].tobytes()
    assert len(across) == 2 * FINGERPRINT_BYTES


def test_rows_on_both_sides_of_a_stretch_that_nobody_asked_for_are_no_window(recurrent):
    candles = market()
    schema = recurrent.runner.schema
    hole = len(candles) // 2
    first, last = int(candles.open_ms[0]), int(candles.open_ms[-1]) + candles.step_ms
    cut = int(candles.open_ms[hole])
    kept = np.arange(len(candles)) != hole
    parts = {name: column[kept] for name, column in candles.columns.items()}
    known = replace(candles, open_ms=candles.open_ms[kept], **parts)
    asked = replace(known, asked=((first, cut), (cut + candles.step_ms, last)))
    whole = PredictionEngine(recurrent).predict_batch(known)
    split = PredictionEngine(recurrent).predict_batch(asked)
    ok = split.status == Status.OK
    np.testing.assert_array_equal(split.values[ok], whole.values[ok])
    assert (whole.status[hole : hole + schema.anchor_bars] == Status.OK).all()
    assert not ok[hole : hole + SEQUENCE - 1].any()
    assert ok[:hole].any()


def test_a_copy_in_another_process_says_the_same(recurrent):
    candles = market().slice(0, 1_500)
    engine = pickle.loads(pickle.dumps(PredictionEngine(recurrent)))
    batch = PredictionEngine(recurrent).predict_batch(candles)
    assert engine.predict_batch(candles).values.tobytes() == batch.values.tobytes()


def test_window_bars_grow_with_the_sequence(recurrent):
    schema = recurrent.runner.schema
    assert PredictionEngine(recurrent).window_bars == 2 * schema.anchor_bars + 2 * SEQUENCE


def test_the_golden_windows_hold_what_their_oldest_row_sees():
    files = network_files(SEQUENCE)
    document = json.loads(files["golden.json"])
    schema = json.loads(files["feature_schema.json"])
    window = document["windows"][0]
    first_row = window["rows"][0]["open_ms"] // 3_600_000
    oldest_block = (first_row - SEQUENCE + 1) // schema["anchor_bars"]
    assert window["columns"]["open_ms"][0] // 3_600_000 == (oldest_block - 1) * schema["anchor_bars"]
    assert open_files(files).sequence == SEQUENCE
    row = window["columns"]["open_ms"].index(window["rows"][0]["open_ms"])
    window["columns"]["close"][row - SEQUENCE // 2] = window["columns"]["low"][row - SEQUENCE // 2]
    with pytest.raises(BrokenModel, match=r"self-test fails|damaged"):
        open_files(files | {"golden.json": json.dumps(document).encode()})
    short = json.loads(files["golden.json"])
    short["windows"][0]["columns"] = {name: values[200:] for name, values in window["columns"].items()}
    with pytest.raises(BrokenModel):
        open_files(files | {"golden.json": json.dumps(short).encode()})


def test_a_sequence_longer_than_the_history_has_no_golden_windows():
    with pytest.raises(NotEnoughBars, match="no 4000 candles in a row have features"):
        network_files(4_000)


@pytest.mark.parametrize("missing", [(), (100, 101, 250)])
def test_positions_of_a_dataset_are_scored_in_one_batch(recurrent, missing):
    dataset = planted_dataset(600, features=5, missing=missing)
    runner = recurrent.runner.runner
    positions = np.flatnonzero(dataset.usable)[5::3]
    found = score_positions(runner, dataset, positions)
    for place, position in enumerate(positions):
        if position < SEQUENCE - 1:
            assert np.isnan(found[place])
        else:
            window = dataset.rows[position - SEQUENCE + 1 : position + 1]
            assert runner.scores(window)[0] == found[place]


def test_training_scores_the_windows_that_the_engine_predicts_from(recurrent):
    candles = rough(1)
    dataset = build_dataset(candles, recurrent.runner.schema, 1)
    batch = PredictionEngine(recurrent).predict_batch(candles)
    scores = score_positions(recurrent.runner.runner, dataset, np.arange(len(dataset)))
    np.testing.assert_array_equal(np.isfinite(scores), batch.status == Status.OK)
