"""A live feed's history is one batch: the same bits as bar by bar, and nothing of it once other candles are delivered."""

from __future__ import annotations

import logging
import weakref
from dataclasses import replace

import numpy as np
import pytest
from known_feed import KnownFeed
from path_models import drifting, register_path
from scripted_engine import ScriptedEngine, smooth_probabilities
from scripted_paths import ScriptedPaths
from small_models import market, register, revised, with_holes
from trading_runs import QueueFeed, assert_same_bits, candles_of, indicator_lines, random_bars

from indicators.edge import HoldingEdge
from indicators.feature import Feature
from indicators.forecast import MLForecast
from indicators.history import HistoryRows
from indicators.prediction import MLPrediction
from ml.candles import Candles
from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.predictions import Status


class Counting:
    """An engine that counts how its bars are asked for."""

    def __init__(self, engine):
        self._engine, self.batches, self.singles = engine, [], 0

    def __getattr__(self, name):
        return getattr(self._engine, name)

    def predict_batch(self, candles):
        self.batches.append(len(candles))
        return self._engine.predict_batch(candles)

    def predict_newest(self, candles):
        self.singles += 1
        return self._engine.predict_newest(candles)

    def summaries(self, candles, steps):
        self.batches.append(len(candles))
        return self._engine.summaries(candles, steps)

    def newest_summary(self, candles, steps):
        self.singles += 1
        return self._engine.newest_summary(candles, steps)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return register(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def path_model(tmp_path_factory):
    return register_path(tmp_path_factory.mktemp("paths"))


def prediction(engine):
    return lambda data: MLPrediction(data, model=engine)


def live(make, candles, history):
    """Return the lines over a live feed that knew a history."""
    return indicator_lines(make, candles, "live", feed=KnownFeed(candles=candles, history=history))


def asked_earlier(candles: Candles, bars: int) -> Candles:
    """Return the candles of a source that was asked for some bars before the first, and had none."""
    start = int(candles.open_ms[0]) - bars * candles.step_ms
    return replace(candles, asked=((start, candles.asked[-1][1]),))


@pytest.mark.parametrize("seed", range(3))
def test_any_cut_between_history_and_live_bars_gives_the_same_bits(model, seed):
    engine = PredictionEngine(model)
    rng = np.random.default_rng(seed)
    candles = asked_earlier(with_holes(market(), seed), int(rng.integers(0, 700)))
    candles = candles.slice(0, engine.window_bars + 120)
    expected = indicator_lines(prediction(engine), candles)
    assert {0.0, 1.0} == set(expected["status"].tolist())
    assert_same_bits(live(prediction(engine), candles, None), expected)
    for cut in (1, int(rng.integers(2, len(candles) - 1)), len(candles) - 1, len(candles)):
        counting = Counting(engine)
        found = live(prediction(counting), candles, candles.slice(0, cut))
        assert_same_bits(found, expected)
        assert (counting.batches, counting.singles) == ([cut], len(candles) - cut)


@pytest.mark.parametrize("name", ["macd_signal", "rsi_14"])
@pytest.mark.parametrize("timeframe", [None, "4h"])
def test_features_of_a_history_have_the_same_bits(name, timeframe):
    candles = with_holes(market(), 4).slice(0, 1500)

    def make(data):
        return Feature(data, name=name, timeframe=timeframe)

    expected = indicator_lines(make, candles)
    assert np.isfinite(expected["value"]).any()
    for cut in (611, 1500):
        assert_same_bits(live(make, candles, candles.slice(0, cut)), expected)


def test_paths_of_a_history_have_the_same_bits(path_model):
    engine = open_engine(path_model)
    candles = with_holes(drifting(), 2).slice(0, engine.window_bars + 60)
    cut = engine.window_bars - 37
    expected = indicator_lines(lambda data: MLForecast(data, model=engine, steps=(1, 5, 24)), candles)
    assert np.isfinite(expected["peak_return"][:cut]).any()
    counting = Counting(engine)
    found = live(lambda data: MLForecast(data, model=counting, steps=(1, 5, 24)), candles, candles.slice(0, cut))
    assert_same_bits(found, expected)
    assert (counting.batches, counting.singles) == ([cut], len(candles) - cut)


def test_an_engine_without_a_model_says_so_of_a_history_too():
    candles, engine = candles_of(random_bars(40, 4)), PredictionEngine(None)
    for make in (prediction(engine), lambda data: MLForecast(data, model=engine)):
        found = live(make, candles, candles.slice(0, 25))
        assert found["status"].tolist() == [float(Status.NO_MODEL)] * 40


def test_the_edge_of_a_holding_follows_the_history():
    candles = candles_of(random_bars(60, 4))
    engine = ScriptedEngine(candles, smooth_probabilities(60, 2))

    def make(data):
        return HoldingEdge(MLPrediction(data, model=engine), model=engine)

    assert_same_bits(live(make, candles, candles.slice(0, 41)), indicator_lines(make, candles))


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume", "taker_buy_base"])
def test_a_revised_candle_ends_the_history_there(model, column):
    engine = PredictionEngine(model)
    candles = market().slice(0, 900)
    row = 700
    told = revised(candles, row, column, 1.05)  # what was known differs from what the feed delivers
    if column == "close":
        first, second = (indicator_lines(prediction(engine), each)["p_up"] for each in (told, candles))
        assert not np.array_equal(first[row:], second[row:], equal_nan=True)  # it would be another prediction
    counting = Counting(engine)
    found = live(prediction(counting), candles, told)
    assert_same_bits(found, indicator_lines(prediction(engine), candles))
    assert (counting.batches, counting.singles) == ([900], 200)


def test_a_candle_that_came_late_ends_the_history_there(model):
    engine = PredictionEngine(model)
    candles = market().slice(0, 800)
    kept = np.arange(800) != 650
    without = replace(candles, open_ms=candles.open_ms[kept], **{n: c[kept] for n, c in candles.columns.items()})
    for delivered, known in ((candles, without), (without, candles)):
        counting = Counting(engine)
        found = live(prediction(counting), delivered, known)
        assert_same_bits(found, indicator_lines(prediction(engine), delivered))
        assert counting.singles == len(delivered) - 650


def test_a_history_of_which_more_or_less_was_asked_is_not_used(model):
    engine = PredictionEngine(model)
    candles = asked_earlier(market().slice(0, 600), 600)
    expected = indicator_lines(prediction(engine), candles)
    known_less = replace(candles, asked=())
    assert not np.array_equal(expected["status"], indicator_lines(prediction(engine), known_less)["status"])
    for delivered, known in ((candles, known_less), (known_less, candles)):
        counting = Counting(engine)
        assert_same_bits(live(prediction(counting), delivered, known), indicator_lines(prediction(engine), delivered))
        assert (counting.batches, counting.singles) == ([], 600)


def test_what_cannot_be_compared_is_not_used():
    candles = candles_of(random_bars(30, 4))
    p_up = smooth_probabilities(30, 1)
    with_trades = replace(candles, trades=np.arange(30.0))
    for history in (candles.slice(0, 0), candles.slice(3, 30), with_trades, replace(candles, volume=None), object()):
        counting = Counting(ScriptedEngine(candles, p_up))
        found = live(prediction(counting), candles, history)
        assert found["p_up"].tolist() == p_up.tolist()
        assert (counting.batches, counting.singles) == ([], 30)
    half = {"timeframe": "30m", "open_ms": candles.open_ms + candles.step_ms // 2, "asked": candles.asked}
    counting = Counting(ScriptedEngine(candles, p_up))  # candles of another length that close at the same times
    live(prediction(counting), candles, replace(candles, **half))
    assert counting.batches == []


def test_the_same_prices_at_another_time_are_another_candle():
    plain = candles_of(random_bars(30, 4))
    times = plain.open_ms + np.where(np.arange(30) >= 15, 2 * plain.step_ms, 0)
    moved = times - np.where(np.arange(30) == 15, plain.step_ms, 0)
    asked = ((int(times[0]), int(times[-1]) + plain.step_ms),)
    delivered, known = (replace(plain, open_ms=each, asked=asked) for each in (times, moved))
    counting = Counting(ScriptedEngine(delivered, smooth_probabilities(30, 1)))
    live(prediction(counting), delivered, known)
    assert (counting.batches, counting.singles) == ([30], 15)


def test_an_absent_column_and_unknown_sentiment_are_like_themselves():
    plain = candles_of(random_bars(30, 4))
    gaps = np.where(np.arange(30) % 3 == 0, np.nan, 40.0)
    candles = replace(plain, volume=None, sentiment=gaps)
    counting = Counting(ScriptedEngine(candles, smooth_probabilities(30, 1)))
    live(prediction(counting), candles, candles.slice(0, 20))
    assert (counting.batches, counting.singles) == ([20], 10)
    other = replace(candles, sentiment=np.where(np.arange(30) == 12, 40.0, gaps))
    counting = Counting(ScriptedEngine(candles, smooth_probabilities(30, 1)))
    live(prediction(counting), candles, other)
    assert (counting.batches, counting.singles) == ([30], 18)


def test_a_batch_that_fails_leaves_each_bar_to_itself(model, monkeypatch, caplog):
    engine = PredictionEngine(replace(model))
    scores = engine._bundle.runner.scores

    def fail(rows):
        if len(rows) > 1:
            raise RuntimeError("too many rows")
        return scores(rows)

    candles = market().slice(0, 700)
    expected = indicator_lines(prediction(engine), candles)
    monkeypatch.setattr(engine._bundle.runner, "scores", fail)
    with caplog.at_level(logging.ERROR):
        found = live(prediction(engine), candles, candles)
    assert_same_bits(found, expected)


def test_the_batch_is_forgotten_with_the_last_bar_of_the_history():
    candles = candles_of(random_bars(30, 4))
    kept = []

    class Look(MLPrediction):
        def _rows(self, candles):
            rows = super()._rows(candles).view(Rows)
            kept.append(weakref.ref(rows))
            return rows

        def next(self):
            super().next()
            kept.append(kept[0]() is not None)

    engine = ScriptedEngine(candles, smooth_probabilities(30, 1))
    live(lambda data: Look(data, model=engine), candles, candles.slice(0, 20))
    assert kept[1:] == [True] * 19 + [False] * 11


class Rows(np.ndarray):
    """An array that can be referred to weakly."""


def test_a_bar_may_ask_twice_but_none_may_be_left_out():
    candles = candles_of(random_bars(6, 4))

    class Feed:
        history = candles
        place = 0

        def __len__(self):
            return self.place + 1

        @property
        def lines(self):
            return Bar(candles, self.place)

    class Bar:
        def __init__(self, candles, place):
            columns = {"datetime": (candles.open_ms + candles.step_ms) / 86_400_000 + 719_163, **candles.columns}
            self.names = list(columns)
            for name, column in columns.items():
                setattr(self, name, Line(feed, column))

        def getlinealiases(self):
            return self.names

    class Line:
        def __init__(self, feed, column):
            self.feed, self.column = feed, column

        def __getitem__(self, ago):
            return float(self.column[self.feed.place + ago])

    feed = Feed()
    rows = HistoryRows(feed, "1h", lambda given: given.close[:, None])
    served = []
    for place in (0, 1, 1, 2, 4, 3, 5):
        feed.place = place
        served.append(rows.current())
    assert served == [[c] for c in candles.close[[0, 1, 1, 2]].tolist()] + [None] * 3


def test_feeds_without_a_history_are_as_before(path_model):
    candles = candles_of(random_bars(50, 4))
    paths = ScriptedPaths(candles, smooth_probabilities(50, 1), warming=7)
    for make in (prediction(paths), lambda data: MLForecast(data, model=paths, steps=(2, 9))):
        plain = indicator_lines(make, candles, "live", feed=QueueFeed(candles=candles))
        assert_same_bits(plain, indicator_lines(make, candles))
        assert_same_bits(live(make, candles, candles.slice(0, 30)), plain)
