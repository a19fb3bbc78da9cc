"""Schedules of engines: each bar is answered by the version in force at it, to the bit, whatever is deployed later."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace

import numpy as np
import pytest
from path_models import STEPS, drifting, register_path
from small_ensembles import register_ensemble
from small_models import market, register, register_trading_days, with_holes

from ml.cache import PredictionCache
from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.errors import InvalidParameter, SchemaMismatch
from ml.paths.schedule import ScheduledPathEngine
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status
from ml.schedule import ScheduledEngine, schedule_engines

HOUR = 3_600_000
KINDS = ("single", "ensemble", "path")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Two models of each kind."""
    root = tmp_path_factory.mktemp
    return {
        "single": (register(root("a")), register(root("b"), trees=12, seed=4)),
        "ensemble": (register_ensemble(root("c")), register_ensemble(root("d"), "voting", 3)),
        "path": (register_path(root("e")), register_path(root("f"), "multi_ohlc")),
    }


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def engines(models, kind):
    return tuple(open_engine(model) for model in models[kind])


@pytest.fixture
def single(models):
    return tuple(PredictionEngine(model) for model in models["single"])


@pytest.fixture
def paths(models):
    return tuple(open_engine(model) for model in models["path"])


def candles_for(kind, seed=1, bars=2600):
    return with_holes(drifting() if kind == "path" else market(), seed).slice(0, bars)


def side_by_side(candles, border_ms, first, second):
    """Return what two batches say, each on its side of the border."""
    before = candles.open_ms < border_ms
    values = np.where(before[:, None], first.values, second.values)
    return values, np.where(before, first.status, second.status)


def assert_rows(batch, expected, rows=slice(None)):
    assert batch.values[rows].tobytes() == expected[0][rows].tobytes()
    assert batch.status[rows].tolist() == expected[1][rows].tolist()


def altered(engine, **attributes):
    """Return a copy of an engine that claims something else of itself."""
    kind = type(engine)
    other = copy.copy(engine)
    other.__class__ = type(f"Other{kind.__name__}", (kind,), attributes)
    return other


@pytest.mark.parametrize("seed", range(2))
def test_each_bar_has_the_bits_of_the_engine_in_force(engines, kind, seed):
    candles = candles_for(kind, seed)
    rng = np.random.default_rng(seed)
    first, second = (engine.predict_batch(candles) for engine in engines)
    known = (first.status == Status.OK) & (second.status == Status.OK)
    assert not np.array_equal(first.values[known], second.values[known])
    for at in (int(rng.integers(800, 1200)), 1500, len(candles) - 1):
        border = int(candles.open_ms[at])
        expected = side_by_side(candles, border, first, second)
        schedule = schedule_engines([(None, engines[0]), (border, engines[1])])
        assert_rows(schedule.predict_batch(candles), expected)
        for row in (at - 1, at, at + 1, *rng.integers(0, len(candles), 6).tolist()):
            if row >= len(candles):
                continue
            start = max(0, row + 1 - schedule.window_bars)
            values, status = schedule.predict_newest(candles.slice(start, row + 1))
            assert np.array(values).tobytes() == expected[0][row].tobytes()
            assert status == expected[1][row]


def test_a_border_between_two_bars_or_in_a_gap_is_a_border_of_time(single):
    candles = candles_for("single")
    gap = 600 + int(np.argmax(np.diff(candles.open_ms[600:]) > 3 * HOUR))
    assert candles.open_ms[gap + 1] - candles.open_ms[gap] > 3 * HOUR
    first, second = (engine.predict_batch(candles) for engine in single)
    for border in (int(candles.open_ms[gap]) + 1, int(candles.open_ms[gap]) + 2 * HOUR, int(candles.open_ms[gap + 1])):
        schedule = ScheduledEngine([(None, single[0]), (border, single[1])])
        expected = side_by_side(candles, int(candles.open_ms[gap + 1]), first, second)
        assert_rows(schedule.predict_batch(candles), expected)
        assert schedule.engine_at(border - 1) is single[0]
        assert schedule.engine_at(border) is single[1]


def test_three_reigns_one_of_them_without_a_bar(single):
    candles = candles_for("single")
    a, b = single
    times = [int(candles.open_ms[row]) for row in (900, 1400)]
    schedule = ScheduledEngine([(times[0], a), (times[1], PredictionEngine(a.model)), (times[1], b)])
    batch, of_a, of_b = schedule.predict_batch(candles), a.predict_batch(candles), b.predict_batch(candles)
    assert (batch.status[:900] == Status.NO_MODEL).all()
    assert np.isnan(batch.values[:900]).all()
    assert_rows(batch, (of_a.values, of_a.status), slice(900, 1400))
    assert_rows(batch, (of_b.values, of_b.status), slice(1400, None))
    assert schedule.predict_newest(candles.slice(0, 900))[1] == Status.NO_MODEL
    assert [start for start, _ in schedule.engines] == [None, times[0], times[1], times[1]]
    part = schedule.predict_batch(candles.slice(1000, 1200))  # bars of one engine alone
    alone = a.predict_batch(candles.slice(1000, 1200))
    assert_rows(part, (alone.values, alone.status))
    assert len(schedule.predict_batch(candles.slice(0, 0))) == 0


def test_deploying_in_the_middle_never_changes_earlier_bars(engines, kind):
    candles = candles_for(kind)
    schedule = schedule_engines([(None, engines[0])])
    first, second = (engine.predict_batch(candles) for engine in engines)
    at = 1300
    before = schedule.predict_batch(candles.slice(0, at))
    border = int(candles.open_ms[at])
    for early in (0, int(candles.open_ms[at - 1])):
        with pytest.raises(InvalidParameter, match=r"the bars up to .* are answered already"):
            schedule.deploy(early, engines[1])
    schedule.deploy(border, engines[1])
    assert schedule.model is engines[1].model
    after = schedule.predict_batch(candles)
    assert after.values[:at].tobytes() == before.values.tobytes()
    assert after.status[:at].tolist() == before.status.tolist()
    assert_rows(after, side_by_side(candles, border, first, second))
    with pytest.raises(InvalidParameter, match="are answered already"):
        schedule.deploy(border, engines[0])


def test_a_time_without_a_model_and_the_model_after_it(engines, kind):
    candles = candles_for(kind)
    times = [int(candles.open_ms[row]) for row in (900, 1300, 1300, 1600)]
    schedule = schedule_engines([(None, engines[0])])
    schedule.predict_batch(candles.slice(0, 900))
    for time, engine in zip(
        times, (PredictionEngine(None), engines[0], PredictionEngine(None), engines[1]), strict=True
    ):
        schedule.check(time, engine)
        schedule.deploy(time, engine)
        assert schedule.model is engine.model
    first, second = (engine.predict_batch(candles) for engine in engines)
    found = schedule.predict_batch(candles)
    assert_rows(found, (first.values, first.status), slice(0, 900))
    assert (found.status[900:1600] == Status.NO_MODEL).all()
    assert np.isnan(found.values[900:1600]).all()
    assert_rows(found, (second.values, second.status), slice(1600, None))
    assert schedule.predict_newest(candles.slice(0, 1000))[1] == Status.NO_MODEL
    assert schedule.evidence(candles.slice(0, 1000)) == ("", "")
    assert schedule.horizon == engines[1].horizon


def test_a_check_changes_nothing(single):
    schedule = ScheduledEngine([(None, single[0])])
    schedule.check(HOUR, single[1])
    assert schedule.engines == ((None, single[0]),)
    assert schedule.model is single[0].model


def test_which_bars_nobody_saw(single):
    candles = market()
    end = single[0].trained_until_ms
    assert end == candles.open_ms[-1] + HOUR
    times = np.arange(candles.open_ms[0], end + 100 * HOUR, HOUR)
    count = len(candles)
    assert single[0].unseen_from(times) == ScheduledEngine([(None, single[0])]).unseen_from(times) == count
    # a version that takes over at the close at which its training ended saw nothing of what it is asked
    assert ScheduledEngine([(end - HOUR, single[0])]).unseen_from(times) == 0
    assert ScheduledEngine([(end - 2 * HOUR, single[0])]).unseen_from(times) == count - 1
    later = ScheduledEngine([(None, single[0]), (end + 9 * HOUR, single[1])])
    assert later.unseen_from(times) == count
    assert ScheduledEngine([(None, PredictionEngine(None))]).unseen_from(times) == 0
    assert ScheduledEngine([(None, single[0])]).unseen_from(times[:count]) == count


def test_the_paths_of_each_bar_are_those_of_the_engine_in_force(paths):
    candles = candles_for("path")
    steps = (1, 5, STEPS)
    border = int(candles.open_ms[1200])
    schedule = schedule_engines([(None, paths[0])])
    early = schedule.summaries(candles.slice(0, 1200), steps)
    schedule.deploy(border, paths[1])
    first, second = (engine.summaries(candles, steps) for engine in paths)
    expected = side_by_side(candles, border, first, second)
    found = schedule.summaries(candles, steps)
    assert found.steps == steps
    assert_rows(found, expected)
    assert_rows(early, (expected[0][:1200], expected[1][:1200]))
    assert (found.status == Status.OK).sum() > 500
    trusted = schedule.trusted_steps_at(candles.open_ms)
    assert trusted.tolist() == [paths[0].trusted_steps] * 1200 + [paths[1].trusted_steps] * (len(candles) - 1200)
    assert found.trusted_steps == schedule.trusted_steps == paths[1].trusted_steps
    for row in (40, 700, 1199, 1200, 1201, len(candles) - 1):
        start = max(0, row + 1 - schedule.window_bars)
        newest = schedule.newest_summary(candles.slice(start, row + 1), steps)
        assert newest.values[0].tobytes() == expected[0][row].tobytes()
        assert newest.status[0] == expected[1][row]
        assert newest.trusted_steps == trusted[row]


def test_paths_without_a_model_at_first(paths):
    candles = candles_for("path")
    border = int(candles.open_ms[900])
    schedule = schedule_engines([(None, PredictionEngine(None))], timeframe="1h", paths=True)
    assert (schedule.steps, schedule.trusted_steps, schedule.timeframe) == (0, 0, "1h")
    nothing = schedule.newest_summary(candles.slice(0, 900), (1, 5))
    assert (nothing.status.tolist(), nothing.trusted_steps) == ([Status.NO_MODEL], 0)
    assert np.isnan(nothing.values).all()
    schedule.deploy(border, paths[0])
    found, expected = schedule.summaries(candles, (1, 5)), paths[0].summaries(candles, (1, 5))
    assert (found.status[:900] == Status.NO_MODEL).all()
    assert_rows(found, (expected.values, expected.status), slice(900, None))
    assert set(schedule.trusted_steps_at(candles.open_ms)[:900].tolist()) == {0}
    assert schedule.steps == STEPS


def test_a_model_must_have_the_steps_that_are_read(paths):
    schedule = schedule_engines([(None, paths[0])])
    assert isinstance(schedule, ScheduledPathEngine)
    assert schedule.check_steps([1, 24]) == (1, 24)
    with pytest.raises(InvalidParameter, match="expected whole numbers from 1 to 24"):
        schedule.check_steps((25,))

    def check_steps(self, steps):
        if max(steps) > 12:
            raise InvalidParameter("no such step")
        return tuple(steps)

    short = altered(paths[1], steps=12, check_steps=check_steps)
    with pytest.raises(SchemaMismatch, match="it forecasts 12 steps, and step 24 is read"):
        schedule.deploy(HOUR, short)
    other = schedule_engines([(None, paths[0])])
    other.check_steps((1, 12))
    other.deploy(HOUR, short)
    assert other.steps == 12


def test_the_horizon_of_paths_is_fixed_for_readers_of_single_predictions(paths):
    far = altered(paths[0], horizon=paths[0].horizon + 1)
    schedule = schedule_engines([(None, paths[0]), (HOUR, far)])
    assert schedule.horizon == far.horizon
    with pytest.raises(SchemaMismatch, match=f"predicts {far.horizon} bars ahead, not {paths[0].horizon}"):
        schedule_engines([(None, paths[0]), (HOUR, far)], fixed_horizon=True)


def test_single_predictions_and_paths_do_not_mix(single, paths):
    with pytest.raises(SchemaMismatch, match="it forecasts no path"):
        schedule_engines([(None, paths[0]), (HOUR, single[0])])
    assert not hasattr(schedule_engines([(None, single[0])]), "trusted_steps")
    assert not hasattr(schedule_engines([(None, PredictionEngine(None))]), "summaries")


def test_what_cannot_take_over_is_refused_with_every_difference(single, tmp_path):
    schedule = ScheduledEngine([(None, single[0])])
    days = PredictionEngine(register_trading_days(tmp_path))
    name, before = str(days.model), str(single[0].model)
    with pytest.raises(SchemaMismatch) as told:
        schedule.deploy(HOUR, altered(days, horizon=3, states=("price", "p_up"), columns=("close", "sentiment")))
    text = str(told.value)
    assert text.startswith(f"{name} cannot take over from {before}: it reads candles of 1d, not 1h, ")
    assert "predicts 3 bars ahead, not 1" in text
    assert "does not state expected_return and direction and confidence and low and high" in text
    assert "reads sentiment, which the candles lack" in text
    assert schedule.engines == ((None, single[0]),)  # nothing was changed
    assert schedule.model is single[0].model
    with pytest.raises(SchemaMismatch, match="reads candles of 1d, not 1h"):
        ScheduledEngine([(None, single[0]), (HOUR, days)])


def test_columns_are_those_of_the_candles_once_they_are_known(single):
    candles = candles_for("single")
    greedy = altered(single[1], columns=(*single[1].columns, "trades"))
    assert "trades" not in single[0].columns
    with pytest.raises(SchemaMismatch, match="reads trades, which the candles lack"):
        ScheduledEngine([(None, single[0])]).deploy(HOUR, greedy)
    after = int(candles.open_ms[-1]) + HOUR
    for given, lacks in ((replace(candles, trades=np.arange(float(len(candles)))), False), (candles, True)):
        schedule = ScheduledEngine([(None, PredictionEngine(None))])
        schedule.predict_newest(replace(given, trades=None) if lacks else given)
        assert schedule.timeframe == "1h"
        if lacks:
            with pytest.raises(SchemaMismatch, match="cannot take over from no model: it reads trades"):
                schedule.deploy(after, greedy)
        else:
            schedule.deploy(after, greedy)
            assert "trades" in schedule.columns


def test_a_schedule_that_is_built_anew_takes_what_was_deployed_into_it(single):
    candles = candles_for("single")
    greedy = altered(single[1], columns=(*single[1].columns, "sentiment"))
    pairs = [(None, single[0]), (int(candles.open_ms[1500]), greedy)]
    for columns in (None, (*candles.columns, "sentiment")):  # unknown, or known to suffice
        assert "sentiment" in ScheduledEngine(pairs, columns=columns).columns
    with pytest.raises(SchemaMismatch, match="reads sentiment, which the candles lack"):
        ScheduledEngine(pairs, columns=tuple(candles.columns))
    known = ScheduledEngine(pairs[:1], columns=(*candles.columns, "sentiment"))
    known.deploy(*pairs[1])
    with pytest.raises(SchemaMismatch, match="reads sentiment"):
        ScheduledEngine(pairs[:1], columns=tuple(candles.columns)).deploy(*pairs[1])


def test_a_schedule_must_make_sense(single):
    with pytest.raises(InvalidParameter, match="at least one engine"):
        ScheduledEngine([])
    with pytest.raises(InvalidParameter, match="engines come in order"):
        ScheduledEngine([(2 * HOUR, single[0]), (HOUR, single[1])])
    with pytest.raises(InvalidParameter, match="only the first engine"):
        ScheduledEngine([(None, single[0]), (None, single[1])])
    schedule = ScheduledEngine([(None, single[0]), (2 * HOUR, single[1])])
    with pytest.raises(InvalidParameter, match=r"1970-01-01T01:00:00Z: .* answers from 1970-01-01T02:00:00Z"):
        schedule.deploy(HOUR, single[0])
    days = altered(single[0], timeframe="1d")
    with pytest.raises(SchemaMismatch, match="reads candles of 1d, not 1h"):
        ScheduledEngine([(None, PredictionEngine(None))], timeframe="1h").deploy(HOUR, days)


def test_it_has_the_face_of_an_engine(engines, kind):
    candles = candles_for(kind)
    border = int(candles.open_ms[1500])
    schedule = schedule_engines([(None, engines[0]), (border, engines[1])])
    a, b = engines
    assert (schedule.name, schedule.digest, schedule.model) == (b.name, b.digest, b.model)
    assert (schedule.timeframe, schedule.horizon, schedule.states) == ("1h", b.horizon, b.states)
    assert schedule.window_bars == max(a.window_bars, b.window_bars)
    assert schedule.trained_until_ms == max(a.trained_until_ms, b.trained_until_ms)
    members = [*getattr(a, "members", (a,)), *getattr(b, "members", (b,))]
    assert list(schedule.members) == members
    assert set(schedule.columns) == {name for member in members for name in member.columns}
    for end, engine in ((1500, a), (1501, b)):
        part = candles.slice(0, end)
        assert repr(schedule.predict(part)) == repr(engine.predict(part))
        assert schedule.outcome_ms(part) == engine.outcome_ms(part)
        assert schedule.newest_features(part) == engine.newest_features(part)
    assert schedule.cache_problem is None
    assert schedule.predict_newest(candles.slice(0, 0))[1] == Status.WARMING


def test_evidence_is_that_of_the_engine_in_force(engines, kind):
    candles = candles_for(kind)
    schedule = schedule_engines([(None, engines[0]), (int(candles.open_ms[1500]), engines[1])])
    first, second = (engine.evidence_batch(candles) for engine in engines)
    found = schedule.evidence_batch(candles)
    assert found == first[:1500] + second[1500:]
    assert (first[1400:] != second[1400:]) == (kind != "single")  # whose two models read the same features
    for row in (30, 1499, 1500, len(candles) - 1):
        assert schedule.evidence(candles.slice(0, row + 1)) == found[row]


def test_a_frame_is_answered_as_candles_are(single):
    import pandas as pd

    candles = candles_for("single")
    index = pd.DatetimeIndex(pd.to_datetime(candles.open_ms, unit="ms", utc=True))
    frame = pd.DataFrame(dict(candles.columns), index=index)
    schedule = ScheduledEngine([(None, single[0]), (int(candles.open_ms[-1]), single[1])])
    found, expected = schedule.predict(frame), single[1].predict(candles)
    assert [getattr(found, name) for name in PREDICTION_COLUMNS[:7]] == [
        getattr(expected, name) for name in PREDICTION_COLUMNS[:7]
    ]
    assert found.model_name == single[1].name
    with pytest.raises(SchemaMismatch, match="pass timeframe="):
        ScheduledEngine([(None, PredictionEngine(None))]).predict(frame)


def test_the_cache_is_shared_and_counted(models, tmp_path):
    cache = PredictionCache(tmp_path / "predictions.db")
    candles = candles_for("single")
    border = int(candles.open_ms[1024])
    expected = None
    for hits in (False, True):
        a, b = (PredictionEngine(model, cache=cache) for model in models["single"])
        schedule = ScheduledEngine([(None, a), (border, b), (2 * border, a)])
        batch = schedule.predict_batch(candles)
        count = int((batch.status == Status.OK).sum())
        assert (schedule.cache_hits if hits else schedule.cache_misses) >= count
        assert (schedule.cache_misses if hits else schedule.cache_hits) == 0
        assert expected is None or batch.values.tobytes() == expected
        expected = batch.values.tobytes()
    cache.close()


def test_a_copy_in_another_process_predicts_the_same(single):
    candles = candles_for("single")
    schedule = ScheduledEngine([(None, single[0]), (int(candles.open_ms[1100]), single[1])])
    expected: PredictionBatch = schedule.predict_batch(candles)
    found = pickle.loads(pickle.dumps(schedule)).predict_batch(candles)
    assert_rows(found, (expected.values, expected.status))


def test_edges_go_by_the_bar(single):
    candles = candles_for("single")
    schedule = ScheduledEngine([(None, single[0]), (int(candles.open_ms[1500]), single[1])])
    p_up = schedule.predict_batch(candles).column("p_up")
    first, second = (engine.holding_edges(0.55, 0.45).at(p_up) for engine in single)
    found = schedule.edge_bounds(candles.open_ms, p_up, 0.55, 0.45)
    np.testing.assert_array_equal(found, np.append(first[:1500], second[1500:]))
    assert not np.array_equal(first[1500:], second[1500:], equal_nan=True)
    assert schedule.holding_edges(0.55, 0.45) is single[1].holding_edges(0.55, 0.45)
