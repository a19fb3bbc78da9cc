"""The drift check of a key: calm, an edge that turns, champions with and without a recipe, and what bots were told."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest
from small_models import bundle_files
from small_recipes import KEY, Works, moment

from bot.errors import BotError
from bot.live.journal_tables import JOURNAL_STEPS
from bot.pipeline.drifting import check_key, watched_keys
from bot.report.drift_page import drift_page
from bot.state import StateDatabase
from ml.engine import PredictionEngine
from ml.predictions import PREDICTION_COLUMNS
from registry.errors import ModelNotFound

FALL = 6_300


def champion_of(works, *, recipes=("one",)):
    for number, name in enumerate(recipes):
        works.recipe(name, seed=number)
    report = works.cycle(6_000)
    assert [each["kind"] for each in report.decisions] == ["promote"]
    return report.decisions[0]["version"]


def check(works, bars, *, act=True, told=None, stored=True):
    if stored:
        works.store(bars)
    with works.pipeline(need_recipes=False) as pipeline:
        if told is not None:
            pipeline._tell = lambda kind, text: told.append((kind, text))
        found = check_key(pipeline, KEY, moment(bars), works.home.state_db, act=act)
        return found, pipeline.registry.champion_version(KEY), pipeline.registry.history(KEY)


def test_a_sound_champion_is_calm_and_what_was_counted_adds_up(tmp_path):
    works = Works(tmp_path, dies=FALL)
    version = champion_of(works)
    found, serving, _ = check(works, 6_250)
    assert (found.alarms, serving) == ((), version)
    document = found.document
    assert (document["state"], document["version"]) == ("calm", version)
    performance = document["performance"]
    candles = works.candles(6_250)
    with works.pipeline() as pipeline:
        engine = PredictionEngine(pipeline.bench(KEY).open(version))
    p_up = engine.predict_batch(candles).column("p_up")[6_000:6_249]
    close = candles.columns["close"]
    rose, fell = close[6_001:] > close[6_000:-1], close[6_001:] < close[6_000:-1]
    counted = rose | fell
    assert performance["open_ms"] == candles.open_ms[6_000:6_249][counted].tolist()
    assert performance["came_true"] == ((p_up > 0.5) == rose)[counted].tolist()
    assert performance["statistic"][-1] < performance["level"]
    assert "<svg" in drift_page(document) or "<img" in drift_page(document)


def test_an_edge_that_turns_quarantines_the_champion(tmp_path):
    works, told = Works(tmp_path, dies=FALL), []
    version = champion_of(works)
    look, serving, rows = check(works, FALL + 150, act=False)
    assert serving == version  # a look changes nothing
    assert "action" not in look.document
    found, serving, rows = check(works, FALL + 150, told=told, stored=False)
    assert found.alarms[0].startswith("performance: its hit rate fell from 70.")
    assert found.alarms[: len(look.alarms)] == look.alarms
    assert serving is None
    assert (rows[-1].action, rows[-1].version) == ("quarantine", version)
    assert rows[-1].evidence["statistic"] > rows[-1].evidence["threshold"]
    assert f"quarantine of {version}" in found.document["action"]
    assert [kind for kind, text in told if version in text] == ["lifecycle"]
    since = found.document["performance"]["fall"]["since"]
    assert abs(since - 300) < 40  # bars of the reign before the fall
    calm, _, _ = check(works, FALL + 151)
    assert (calm.document["state"], calm.alarms) == ("no champion", ())
    assert works.cycle(FALL + 175).decisions == []  # the place must be earned anew


def test_the_rule_of_five_points_is_the_trigger_where_it_is_asked_for(tmp_path):
    works = Works(tmp_path, dies=FALL, settings={"drift": {"rule": "naive"}})
    champion_of(works)
    found, serving, rows = check(works, FALL + 24)
    assert found.alarms[0].startswith("performance: right in ")
    assert "naive rule of five points" in found.alarms[0]
    assert serving is None
    assert rows[-1].action == "quarantine"


def test_a_champion_that_no_recipe_made_is_watched_too(tmp_path):
    works = Works(tmp_path, dies=FALL)
    works.recipes.rmdir()
    works.store(3_000)
    with works.pipeline(need_recipes=False) as pipeline:
        at = datetime.fromtimestamp(moment(3_000) / 1000, UTC)
        model = pipeline.registry.register(KEY, bundle_files(), at=at)
        pipeline.registry.promote(KEY, model.version_id, at=at, reason="by hand")
        assert watched_keys(pipeline, "BTCUSDT", "basic") == [KEY]
    calm, serving, _ = check(works, 3_000)
    assert calm.document["words"].startswith("No bar that it spoke of")
    calm, serving, _ = check(works, 3_200)
    assert (calm.document["state"], calm.alarms, serving) == ("calm", (), model.version_id)
    assert len(calm.document["performance"]["open_ms"]) == pytest.approx(199, abs=3)
    found, serving, _ = check(works, FALL + 150)
    assert (found.document["state"], serving) == ("alarm", None)


def test_keys_without_recipe_and_champion_are_named_with_the_nearest(tmp_path):
    works = Works(tmp_path)
    works.recipe("one")
    with works.pipeline() as pipeline:
        assert watched_keys(pipeline, None, None) == [KEY]
        with pytest.raises(ModelNotFound, match=r"no recipe and no champion of the symbol BTCUSD.*BTCUSDT"):
            watched_keys(pipeline, "BTCUSD", None)
        with pytest.raises(ModelNotFound, match="of the type risk"):
            watched_keys(pipeline, "BTCUSDT", "risk")


def test_a_damaged_record_is_a_failure_of_the_check(tmp_path):
    works = Works(tmp_path)
    champion_of(works)
    with works.pipeline() as pipeline:
        pipeline.store.state.execute("DELETE FROM record_direction WHERE k % 100 = 7")
    with pytest.raises(BotError, match=r"rows are missing; 'bot pipeline repair one-"):
        check(works, 6_050)


def test_a_champion_whose_bundle_is_gone_is_quarantined_by_the_check(tmp_path):
    works = Works(tmp_path)
    version = champion_of(works)
    with works.pipeline() as pipeline:
        (pipeline.registry.root / "BTCUSDT/basic" / version / "model.txt").unlink()
    found, serving, rows = check(works, 6_050)
    assert serving is None
    assert rows[-1].action == "quarantine"
    assert "its bundle cannot be used" in found.document["action"]


def journal_of(works, version, bars, change=None):
    """Write down what a bot was told by a version, as it does itself; ``change`` is a bar at which it was another value."""
    with works.pipeline() as pipeline:
        engine = PredictionEngine(pipeline.bench(KEY).open(version))
    candles = works.candles(bars)
    values = engine.predict_batch(candles).values
    with StateDatabase(works.home.state_db) as state:
        state.apply("journal", JOURNAL_STEPS)
        state.execute("DELETE FROM live_decisions")
        for row in range(6_000, bars):
            numbers = [None if np.isnan(each) else each for each in values[row].tolist()]
            said = dict(zip(PREDICTION_COLUMNS, numbers, strict=True))
            if row == change:
                said["p_up"] = np.nextafter(said["p_up"], 1.0)
            document = {
                "predictions": {
                    "main": {"model": f"BTCUSDT/basic@{version}", "values": said},
                    "other": {"model": "BTCUSDT/risk@x", "values": dict.fromkeys(PREDICTION_COLUMNS)},
                }
            }
            state.execute(
                "INSERT INTO live_decisions VALUES ('run', 'BTCUSDT', ?, ?, ?)",
                (int(candles.open_ms[row]), b"", json.dumps(document)),
            )


def test_what_bots_were_told_stands_beside_the_record(tmp_path):
    works = Works(tmp_path)
    version = champion_of(works)
    journal_of(works, version, 6_100)
    works.store(6_100)
    from bot.pipeline.drifting import _live

    def live():
        with works.pipeline() as pipeline:
            found = check_key(pipeline, KEY, moment(6_100), works.home.state_db)
            bench = pipeline.bench(KEY)
            champion = bench.tenure.facts.champion
            assert champion.version == version
            return found, _live(bench, champion, "direction", *bench.rows(champion.stream), works.home.state_db)

    found, equal = live()
    assert found.alarms == ()
    assert (equal.bars, equal.differing, equal.last_ms) == (99, (), moment(6_098))
    hits = found.document["performance"]["came_true"]
    assert (equal.hits, equal.evaluated) == (sum(hits), len(hits))
    assert equal.accuracy == sum(hits) / len(hits)
    journal_of(works, version, 6_100, change=6_050)
    found, changed = live()
    assert changed.differing == (moment(6_050),)
    (alarm,) = found.alarms
    assert alarm.startswith("integrity: at 1 bars, the first 2018-09-10T02:00:00Z, a bot was told something else")


def test_the_best_sound_member_of_the_kept_set_serves_in_its_place(tmp_path):
    """The first recipe reads the edge that turns, the second the drift of prices that lasts."""
    works, told = Works(tmp_path, seed=7, edge=0.2, path_drift=0.15, dies=FALL), []
    works.recipe("one", features=["taker_imbalance_20"])
    works.recipe("two", features=["rsi_14", "zscore_20", "return_15", "return_5"])
    report = works.cycle(6_000)
    assert report.decisions[0]["stream"].startswith("one-")
    second = report.recipes[1].version
    calm, serving, _ = check(works, FALL)
    assert (calm.document["state"], serving) == ("calm", report.recipes[0].version)
    found, serving, rows = check(works, FALL + 100, told=told)
    assert serving == second
    assert [(row.action, row.version) for row in rows[-2:]] == [
        ("quarantine", report.recipes[0].version),
        ("promote", second),
    ]
    assert rows[-1].evidence["kind"] == "fallback"
    assert [text.split()[1] for kind, text in told if kind == "lifecycle"] == ["quarantine", "fallback"]
    calm, serving, _ = check(works, FALL + 110)
    assert (calm.document["state"], serving) == ("calm", second)
