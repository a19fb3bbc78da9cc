"""The engine: the same bits from a batch, a live bar, a frame, a cache and another process; absence has a reason."""

from __future__ import annotations

import logging
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_models import market, register, register_trading_days, revised, trading_days, with_holes

from ml import recall
from ml.bundles import open_runner
from ml.cache import PredictionCache
from ml.candles import Candles
from ml.edges import holding_edges
from ml.engine import PredictionEngine
from ml.errors import CacheUnavailable, InvalidCandles, MissingColumns, NotEnoughBars, SchemaMismatch
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status
from ml.record import OutOfSample

HOUR = 3_600_000
DAY = 24 * HOUR


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return register(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def other_model(tmp_path_factory):
    return register(tmp_path_factory.mktemp("others"), trees=26)


@pytest.fixture
def cache(tmp_path):
    cache = PredictionCache(tmp_path / "predictions.db", busy_seconds=0.2)
    yield cache
    cache.close()


def bits(batch: PredictionBatch) -> tuple[bytes, bytes]:
    return batch.values.tobytes(), batch.status.tobytes()


def same_bar(engine: PredictionEngine, candles: Candles, batch: PredictionBatch, at: int, start: int = 0) -> None:
    row, status = engine.predict_newest(candles.slice(start, at + 1))
    assert status == batch.status[at]
    np.testing.assert_array_equal(np.array(row), batch.values[at])


def test_without_a_model_every_bar_says_so():
    engine = PredictionEngine(None)
    batch = engine.predict_batch(market())
    assert (batch.status == Status.NO_MODEL).all()
    assert np.isnan(batch.values).all()
    row, status = engine.predict_newest(market())
    assert status == Status.NO_MODEL
    assert np.isnan(row).all()
    assert engine.predict(market()).status is Status.NO_MODEL
    assert (engine.name, engine.timeframe, engine.digest, engine.trained_until_ms) == ("no model", None, None, None)
    assert (engine.horizon, engine.window_bars, engine.cache_hits, engine.cache_misses) == (0, 1, 0, 0)
    assert engine.cache_problem is None
    assert np.isnan(engine.holding_edges(0.55, 0.45).at(0.9))
    with pytest.raises(SchemaMismatch, match="pass timeframe="):
        engine.predict(object())


def test_what_an_engine_says_of_its_model(model):
    engine = PredictionEngine(model)
    assert engine.name == str(model)
    assert engine.timeframe == "1h"
    assert engine.horizon == 1
    assert engine.digest == model.digest
    assert engine.window_bars == 2 * engine._bundle.schema.anchor_bars + 1
    assert engine.trained_until_ms == market().open_ms[-1] + HOUR


def test_an_outcome_is_counted_as_the_schema_counts(model, tmp_path):
    newest = market()
    assert PredictionEngine(model).outcome_ms(newest) == newest.open_ms[-1] + 2 * HOUR
    assert PredictionEngine(None).outcome_ms(newest) == newest.open_ms[-1] + HOUR
    with pytest.raises(NotEnoughBars):
        PredictionEngine(model).outcome_ms(newest.slice(0, 0))

    days = trading_days()
    engine = PredictionEngine(register_trading_days(tmp_path))
    assert engine._bundle.schema.index == "weekdays"
    of_day = [engine.outcome_ms(days.slice(0, end)) for end in range(len(days) - 5, len(days) + 1)]
    steps = (np.array(of_day) - days.open_ms[-6:]) // DAY
    weekday = (days.open_ms[-6:] // DAY + 3) % 7
    assert [int(step) for step in steps] == [
        4 if day == 4 else 2 for day in weekday
    ]  # of a Friday: the close of Monday


@pytest.mark.parametrize("name", ["candles.py", "predictions.py", "runners.py", "calibration.py"])
def test_code_between_candles_and_predictions_is_in_the_cache_key(monkeypatch, name):
    fresh = recall._code_version.__wrapped__
    before, read = fresh(), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == name else b""))
    assert fresh() != before


def test_a_batch_is_what_the_bundle_predicts(model):
    batch = PredictionEngine(model).predict_batch(market())
    assert bits(batch) == bits(model.runner.predict_candles(market()))
    assert set(batch.status.tolist()) == {Status.OK, Status.WARMING}


def test_a_model_of_a_registry_that_reads_only_is_opened_too(model):
    engine = PredictionEngine(replace(model, open_runner=None))
    assert bits(engine.predict_batch(market())) == bits(PredictionEngine(model).predict_batch(market()))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("cached", [False, True])
def test_the_newest_bar_has_the_bits_of_the_batch(model, cache, seed, cached):
    engine = PredictionEngine(model, cache=cache if cached else None)
    candles = with_holes(market(), seed)
    batch = PredictionEngine(model).predict_batch(candles)
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(candles), 40).tolist():
        same_bar(engine, candles, batch, at)
        if at >= engine.window_bars:  # exactly the window that the indicator hands over
            same_bar(engine, candles, batch, at, at + 1 - engine.window_bars)
    if cached:
        assert engine.cache_hits > 0


@pytest.mark.parametrize("seed", range(4))
def test_any_stretch_of_history_gives_the_same_bits_or_none(model, cache, seed):
    candles = with_holes(market(), seed)
    whole = PredictionEngine(model).predict_batch(candles)
    rng = np.random.default_rng(seed)
    for turn in range(12):
        start, stop = np.sort(rng.integers(0, len(candles) + 1, 2)).tolist()
        engine = PredictionEngine(model, cache=cache if turn % 2 else None)
        part = engine.predict_batch(candles.slice(start, stop))
        known = part.status == Status.OK
        np.testing.assert_array_equal(part.values[known], whole.values[start:stop][known])
        assert (part.status[~known] == Status.WARMING).all()
        asked = replace(candles.slice(start, stop), asked=candles.asked)
        assert bits(engine.predict_batch(asked)) == bits(PredictionEngine(model).predict_batch(asked))


def test_a_hit_skips_features_and_inference(model, cache, monkeypatch):
    first = PredictionEngine(model, cache=cache)
    expected = first.predict_batch(market())
    count = int((expected.status == Status.OK).sum())
    assert (first.cache_hits, first.cache_misses) == (0, count)
    again = PredictionEngine(model, cache=cache)
    monkeypatch.setattr(again._bundle, "pipeline", None)
    monkeypatch.setattr(again._bundle, "runner", None)
    assert bits(again.predict_batch(market())) == bits(expected)
    assert (again.cache_hits, again.cache_misses) == (count, 0)


def test_a_live_bar_is_answered_from_the_cache_the_second_time(model, cache, monkeypatch):
    engine = PredictionEngine(model, cache=cache)
    first = engine.predict_newest(market())
    monkeypatch.setattr(engine._bundle, "pipeline", None)
    again = engine.predict_newest(market())
    assert (np.array(again[0]).tobytes(), again[1]) == (np.array(first[0]).tobytes(), first[1])
    assert (engine.cache_hits, engine.cache_misses) == (1, 1)


def test_a_revised_candle_is_computed_again_and_nothing_else(model, cache):
    engine = PredictionEngine(model, cache=cache)
    engine.predict_batch(market())
    length = engine._bundle.schema.anchor_bars
    row = 5 * length + 3
    changed = revised(market(), row)
    again = PredictionEngine(model, cache=cache)
    assert bits(again.predict_batch(changed)) == bits(PredictionEngine(model).predict_batch(changed))
    block = market().index // length
    assert again.cache_misses == int(np.isin(block, [block[row], block[row] + 1]).sum())


def test_a_longer_history_computes_its_new_blocks_only(model, cache):
    PredictionEngine(model, cache=cache).predict_batch(market().slice(0, 2000))
    engine = PredictionEngine(model, cache=cache)
    assert bits(engine.predict_batch(market())) == bits(PredictionEngine(model).predict_batch(market()))
    assert engine.cache_hits > 1000
    assert engine.cache_misses < 1000 + engine._bundle.schema.anchor_bars


def test_another_model_kernel_or_runtime_finds_nothing(model, other_model, cache, monkeypatch):
    PredictionEngine(model, cache=cache).predict_batch(market())
    PredictionEngine(model, cache=cache).predict_newest(market())
    stranger = PredictionEngine(other_model, cache=cache)
    stranger.predict_batch(market())
    stranger.predict_newest(market())
    assert stranger.cache_hits == 0
    for name in ("ml.recall.feature_code_version", "ml.recall._code_version"):
        with monkeypatch.context() as patch:
            patch.setattr(name, lambda: "another")
            engine = PredictionEngine(model, cache=cache)
            engine.predict_batch(market())
            engine.predict_newest(market())
            assert engine.cache_hits == 0
    with monkeypatch.context() as patch:
        patch.setattr("ml.runners._code_version", lambda: "another")
        engine = PredictionEngine(model, cache=cache)
        engine.predict_batch(market())
        assert engine.cache_hits == 0


def test_expiry_goes_by_the_close_of_the_bar(model, cache):
    late = 100 * HOUR
    trained = PredictionEngine(model).trained_until_ms
    candles = replace(market(), open_ms=market().open_ms + 50 * 24 * HOUR, asked=())
    expected = PredictionEngine(model).predict_batch(candles)
    for _ in range(2):  # the second time the blocks come from the cache
        engine = PredictionEngine(model, expires_after_ms=late, cache=cache)
        batch = engine.predict_batch(candles)
        expired = candles.open_ms + HOUR > trained + late
        assert 0 < expired.sum() < len(candles)
        assert (batch.status[expired] == Status.EXPIRED).all()
        assert np.isnan(batch.values[expired]).all()
        np.testing.assert_array_equal(batch.values[~expired], expected.values[~expired])
        np.testing.assert_array_equal(batch.status[~expired], expected.status[~expired])
        first = int(np.argmax(expired))
        for at in (first - 1, first, len(candles) - 1):
            same_bar(engine, candles, batch, at)
    with pytest.raises(ValueError, match="may not be negative"):
        PredictionEngine(model, expires_after_ms=-1)


def test_bars_off_the_grid_stay_in_windows_and_are_never_answered(model, cache):
    times = market().open_ms.copy()
    times[[700, 1500]] += 14_789
    candles = replace(market(), open_ms=times)
    for _ in range(2):
        engine = PredictionEngine(model, cache=cache)
        batch = engine.predict_batch(candles)
        assert (batch.status[[700, 1500]] == Status.WARMING).all()
        assert np.isnan(batch.values[[700, 1500]]).all()
        assert (batch.status[[699, 701, 1499, 1501]] == Status.OK).all()
        for at in (699, 700, 701):
            same_bar(engine, candles, batch, at)


def test_a_failure_in_a_live_bar_is_a_status_and_is_logged_once(model, monkeypatch, caplog):
    engine = PredictionEngine(replace(model))

    def fail(_rows):
        raise RuntimeError("the model is upset")

    monkeypatch.setattr(engine._bundle.runner, "scores", fail)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            row, status = engine.predict_newest(market())
            assert status == Status.ERROR
            assert np.isnan(row).all()
    assert len(caplog.records) == 1
    assert "no prediction for 2018-05-05T23:00:00Z: RuntimeError: the model is upset" in caplog.text
    assert engine.predict(market()).status is Status.ERROR
    with pytest.raises(RuntimeError, match="upset"):
        engine.predict_batch(market())


def test_a_score_that_is_not_finite_is_an_error_of_its_bar(model, cache, monkeypatch):
    engine = PredictionEngine(replace(model), cache=cache)
    scores = engine._bundle.runner.scores

    def odd(rows):
        found = scores(rows)
        found[-1] = np.nan
        return found

    monkeypatch.setattr(engine._bundle.runner, "scores", odd)
    batch = engine.predict_batch(market())
    assert batch.status[-1] == Status.ERROR
    assert (batch.status == Status.ERROR).sum() == 1
    assert engine.predict_newest(market())[1] == Status.ERROR
    monkeypatch.undo()
    again = PredictionEngine(model, cache=cache)  # what failed was not stored
    assert bits(again.predict_batch(market())) == bits(PredictionEngine(model).predict_batch(market()))
    assert again.cache_hits > 0


def test_candles_that_the_model_does_not_read(model):
    engine = PredictionEngine(model)
    wrong = replace(market(), timeframe="2h", open_ms=market().open_ms * 2, asked=())
    bare = replace(market(), taker_buy_base=None)
    for predict in (engine.predict, engine.predict_newest, engine.predict_batch):
        with pytest.raises(SchemaMismatch, match=r"BTCUSDT/basic@.* reads candles of 1h, these are of 2h"):
            predict(wrong)
        with pytest.raises(MissingColumns, match="taker_buy_base"):
            predict(bare)
    nothing = market().slice(0, 0)
    assert len(engine.predict_batch(nothing)) == 0
    assert engine.predict_newest(nothing)[1] == Status.WARMING
    with pytest.raises(NotEnoughBars, match="no bar to predict from"):
        engine.predict(nothing)


def test_a_frame_gives_the_prediction_of_its_last_bar(model):
    import pandas as pd

    engine = PredictionEngine(model)
    candles = market()
    index = pd.DatetimeIndex(pd.to_datetime(candles.open_ms, unit="ms", utc=True))
    frame = pd.DataFrame({name.title(): column for name, column in candles.columns.items()}, index=index)
    frame["sentiment"] = 0.5
    expected = engine.predict_batch(candles)
    for given in (frame, frame.tz_localize(None), frame.reset_index(drop=True).assign(timestamp=candles.open_ms)):
        found = engine.predict(given)
        assert found.open_ms == candles.open_ms[-1]
        assert found.model_name == str(model)
        assert found.status is Status.OK
        np.testing.assert_array_equal([getattr(found, name) for name in PREDICTION_COLUMNS], expected.values[-1])
    with pytest.raises(InvalidCandles, match="no column close"):
        engine.predict(frame.drop(columns="Close"))
    with pytest.raises(SchemaMismatch, match="these are of 4h"):
        engine.predict(frame.iloc[::4], timeframe="4h")


class FailingCache:
    """A cache whose disk dies at a chosen call."""

    def __init__(self, inner: PredictionCache, fail: str) -> None:
        self._inner, self._fail, self.calls = inner, fail, 0

    def __getattr__(self, name):
        if name == self._fail:
            return self._die
        return getattr(self._inner, name)

    def _die(self, *_arguments):
        self.calls += 1
        raise CacheUnavailable("predictions.db: the prediction cache cannot grow: the disk is full")


@pytest.mark.parametrize("fail", ["get_tables", "put_tables", "get_bar", "put_bar"])
def test_a_cache_that_fails_does_not_stop_predictions(model, cache, fail, caplog):
    failing = FailingCache(cache, fail)
    engine = PredictionEngine(model, cache=failing)
    expected = PredictionEngine(model).predict_batch(market())
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert bits(engine.predict_batch(market())) == bits(expected)
            same_bar(engine, market(), expected, len(market()) - 1)
    assert failing.calls == 1
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "the disk is full" in engine.cache_problem


def test_a_copy_in_another_process_predicts_the_same(model, cache):
    engine = PredictionEngine(model, cache=cache)
    expected = engine.predict_batch(market())
    copy = pickle.loads(pickle.dumps(engine))
    assert bits(copy.predict_batch(market())) == bits(expected)
    assert copy.cache_hits == int((expected.status == Status.OK).sum())
    copy._recall._cache.close()


def test_holding_edges_come_from_the_bundles_own_record(model):
    engine = PredictionEngine(model)
    edges = engine.holding_edges(0.52, 0.48)
    expected = holding_edges(OutOfSample.from_parquet(model.read("oos_predictions.parquet")), 0.52, 0.48)
    np.testing.assert_array_equal(edges.lower_bound, expected.lower_bound)
    assert edges.holdings == expected.holdings > 0
    assert engine.holding_edges(0.52, 0.48) is edges
    assert engine.holding_edges(0.53, 0.48) is not edges


def test_opening_without_the_registry(model):
    assert open_runner(model).schema == model.runner.schema
