"""The pipeline as the service shows it: what the command says, where the drift tests stand, and nothing written."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing

import pytest
from service_server import local_service, unlimited
from small_recipes import KEY, Works, moment

from bot.cli.main import main
from bot.errors import UsageError
from bot.pipeline.drifting import check_key
from bot.pipeline.store import PipelineStore
from bot.service.views import pipeline as module
from bot.service.views.pipeline import drift, pipeline

FALL = 6_300


@pytest.fixture
def works(tmp_path, monkeypatch):
    """A home with two recipes, one of which serves; the wall clock stands at its last cycle."""
    works = Works(tmp_path, dies=FALL)
    works.recipe("one")
    works.recipe("two", seed=1)
    works.cycle(6_000)
    works.cycle(6_100)
    for name in ("bot.service.views.pipeline", "bot.cli.pipeline"):
        monkeypatch.setattr(f"{name}.wall_ms", lambda: moment(6_100))
    return works


def content(home):
    """Everything that the pipeline's database holds."""
    with closing(sqlite3.connect(home.pipeline_db)) as opened:
        return list(opened.iterdump())


def test_it_shows_what_the_command_shows(works, capsys):
    before, ledger = content(works.home), (works.home.models / "BTCUSDT/basic/ledger.jsonl").read_bytes()
    shown = pipeline(works.home, works.settings_path)
    assert content(works.home) == before
    assert (works.home.models / "BTCUSDT/basic/ledger.jsonl").read_bytes() == ledger
    words = ["pipeline", "status", "--home", str(works.home.root), "--settings", str(works.settings_path), "--json"]
    assert main(words) == 0
    told = json.loads(capsys.readouterr().out)
    for part in ("models", "findings"):
        for row in shown[part]:
            assert (row.pop("symbol"), row.pop("timeframe"), row.pop("type")) == ("BTC_USDT", "1h", "basic")
    assert shown == told
    assert shown["models"][0]["champion"]["version"]
    assert len(shown["models"][0]["recipes"]) == 2


def test_a_server_shows_the_recipes_of_its_settings(works):
    with local_service(works.home.root, unlimited(pipeline=works.settings_path)) as server:
        assert server.get("/api/pipeline").document["models"] == pipeline(works.home, works.settings_path)["models"]
        assert server.get("/api/drift").document["models"] == drift(works.home, settings=works.settings_path)["models"]
    with local_service(works.home.root, unlimited(pipeline=works.settings_path.with_name("other.yaml"))) as server:
        answer = server.get("/api/pipeline")
        assert (answer.status, "other.yaml" in answer.document["detail"]) == (422, True)


def test_recipes_whose_files_are_not_here_are_those_that_the_home_built(works):
    known = pipeline(works.home, works.settings_path)["models"][0]["recipes"]
    for path in works.recipes.iterdir():
        path.unlink()
    works.recipes.rmdir()
    module._status.cache_clear()
    shown = pipeline(works.home, works.settings_path)
    assert shown["models"][0]["recipes"] == known
    assert any("all recipes that this home ever built" in note for note in shown["notes"])


def test_a_recipe_that_was_never_built_is_not_enrolled(works):
    works.recipe("three", seed=2)
    module._status.cache_clear()
    shown = pipeline(works.home, works.settings_path)
    (row,) = [each for each in shown["models"][0]["recipes"] if each["recipe"] == "three"]
    assert (row["stream"], row["version"], row["next"]) == (None, None, "now")
    with PipelineStore(works.home.pipeline_db) as store:
        assert len(store.known_recipes()) == 2


def test_what_is_shown_is_read_once_as_long_as_nothing_is_written(works, monkeypatch):
    opened = []
    real = module._opened
    monkeypatch.setattr(module, "_opened", lambda *words: opened.append(words) or real(*words))
    first = pipeline(works.home, works.settings_path)
    first["models"].clear()  # what a caller does with it is its own
    assert pipeline(works.home, works.settings_path)["models"]
    before = len(opened)
    assert pipeline(works.home, works.settings_path)["models"]
    assert len(opened) == before
    works.cycle(6_112)
    assert pipeline(works.home, works.settings_path)["last_cycle"]["moment"] == "2018-09-12T16:00:00Z"


def test_drift_stands_where_the_check_says(works):
    shown = drift(works.home, settings=works.settings_path)
    with works.pipeline() as opened:
        looked = check_key(opened, KEY, moment(6_100), works.home.state_db, act=False).document
    (row,) = shown["models"]
    assert (row["state"], row["version"], row["recipe"]) == ("calm", looked["version"], looked["recipe"])
    assert row["statistic"] == looked["performance"]["statistic"][-1]
    assert row["evaluations"] == len(looked["performance"]["open_ms"])
    assert row["hits"] == sum(looked["performance"]["came_true"])
    assert row["hit_rate"] == row["hits"] / row["evaluations"]
    assert row["calibration"] == {
        name: value for name, value in looked["calibration"].items() if name != "overconfidence"
    }
    assert shown["findings"] == []
    json.dumps(shown, allow_nan=False)


def test_what_the_drift_test_led_to_is_a_finding(works):
    version = drift(works.home, settings=works.settings_path)["models"][0]["version"]
    works.cycle(FALL + 150)
    shown = drift(works.home, settings=works.settings_path)
    finding = shown["findings"][-1]
    assert (finding["kind"], finding["symbol"], finding["type"]) == ("quarantine", "BTC_USDT", "basic")
    assert "its hit rate fell" in finding["text"]
    assert version not in [row["version"] for row in shown["models"]]
    assert len(drift(works.home, 1, works.settings_path)["findings"]) == 1
    with pytest.raises(UsageError, match="expected 1 or more"):
        drift(works.home, 0)


def test_a_damaged_record_is_a_note(works):
    with PipelineStore(works.home.pipeline_db) as store:
        stream = store.facts(str(KEY)).champion.stream
        assert store.state.execute(
            "DELETE FROM record_direction WHERE stream = ? AND open_ms % 36000000 = 0", (stream,)
        )
    shown = drift(works.home, settings=works.settings_path)
    assert [row["version"] for row in shown["models"]] == []
    assert shown["notes"]
    assert str(works.home.root) not in json.dumps(shown)
    assert any("is damaged" in note for note in pipeline(works.home, works.settings_path)["notes"])
