"""Models as the service shows them: the commands' figures, champions that are never left out, broken bundles, the card."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from path_models import STEPS, register_path
from small_models import AT, KEY, register
from small_recipes import Works

import bot.service.views.models as module
from bot.cli.main import main
from bot.errors import UsageError
from bot.home import Home
from bot.pipeline.store import PipelineStore
from bot.service.views.models import model, models
from registry.errors import InvalidBundle, InvalidName, ModelNotFound
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

FIRST = datetime(2026, 11, 20, 12, tzinfo=UTC)


def files(number: int = 0) -> dict[str, bytes]:
    """Return a bundle that cannot be run, whose digest is its number's."""
    figures = {"n": 2_000 + number, "direction_accuracy": 0.55, "majority_baseline": 0.51, "log_loss_skill": 0.004}
    return {
        "metadata.json": json.dumps({"schema_version": 1, "horizon": 3, "task": "direction"}).encode(),
        "metrics.json": json.dumps({"out_of_sample": figures, "gate": {"promoted": True, "reason": "good"}}).encode(),
        "model.txt": b"tree" * number,
    }


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path / "home")


@pytest.fixture
def registry(home):
    return PredictionModelRegistry(home.models)


@pytest.fixture
def ten(registry):
    """Ten versions, the second of which is the champion."""
    names = [registry.register(KEY, files(n), at=FIRST + timedelta(days=n)).version_id for n in range(10)]
    registry.promote(KEY, names[1], at=FIRST + timedelta(days=20), reason="good")
    return names


def test_rows_come_newest_first_and_the_champion_is_never_left_out(home, ten):
    assert [row["version"] for row in models(home)] == ten[::-1]
    assert [row["version"] for row in models(home, most=3)] == [ten[9], ten[8], ten[1]]
    assert [row["version"] for row in models(home, most=1)] == [ten[1]]
    assert [row["champion"] for row in models(home, most=3)] == [False, False, True]
    with pytest.raises(UsageError, match="expected 1 or more"):
        models(home, most=0)


def test_figures_are_read_only_of_the_versions_that_are_returned(home, ten, monkeypatch):
    read = []
    told = module._told
    monkeypatch.setattr(module, "_told", lambda bundle: read.append(bundle.version_id) or told(bundle))
    module._figures.cache_clear()
    assert len(models(home, most=3)) == 3
    assert sorted(read) == sorted([ten[9], ten[8], ten[1]])
    models(home, most=3)
    assert len(read) == 3  # a bundle never changes


def test_rows_have_the_figures_of_the_command(home, capsys):
    register(home.models)
    registry = PredictionModelRegistry(home.models)
    version = registry.list_bundles()[0].version_id
    registry.promote(KEY, version, at=AT + timedelta(hours=1), reason="good")
    assert main(["models", "list", "--json", "--home", str(home.root)]) == 0
    listed = json.loads(capsys.readouterr().out)["models"][0]
    (row,) = models(home, now=AT + timedelta(days=2))
    same = ("version", "status", "champion", "promoted", "digest", "trained_until", "timeframe")
    assert {name: row[name] for name in same} == {name: listed[name] for name in same}
    assert row["skill"] == {name: listed[name] for name in row["skill"]}
    assert row["skill"]["direction_accuracy"] > row["skill"]["majority_baseline"] > 0
    assert (row["symbol"], row["type"], row["n_steps_ahead"], row["task"]) == ("BTC_USDT", "basic", 1, "direction")
    assert (row["registered_at"], row["promoted_at"]) == ("2026-01-02T00:00:00Z", "2026-01-02T01:00:00Z")
    assert (row["age_seconds"], row["quarantined"], row["broken"]) == (2 * 86_400, False, None)
    assert row["headline"][0]["what"] == "direction right"
    json.dumps(row, allow_nan=False)


def test_a_model_of_paths_says_how_far_it_looks(home):
    register_path(home.models)
    (row,) = models(home)
    assert (row["symbol"], row["n_steps_ahead"], row["task"]) == ("SYNTH", STEPS, "path")
    assert row["headline"]
    assert set(row["skill"].values()) != {0}


def test_rows_are_chosen_by_name(home, ten, registry):
    registry.register(ModelKey("ETHUSDT", "risk", "4h"), files(), at=FIRST)
    assert [row["symbol"] for row in models(home, "eth/usdt")] == ["ETH_USDT"]
    assert [row["type"] for row in models(home, model_type="risk")] == ["risk"]
    assert len(models(home, timeframe="1h", model_type="price")) == 10
    assert models(home, "XRPUSDT") == []
    for wrong in ({"symbol": "../etc"}, {"model_type": "../x"}, {"timeframe": "1x"}):
        with pytest.raises(InvalidName):
            models(home, **wrong)


def test_a_broken_bundle_and_a_folder_that_nobody_registered_say_so(home, ten, registry):
    models(home)  # what was read before must not hide what happens later
    (home.models / "BTCUSDT" / "basic" / ten[9] / "model.txt").unlink()
    (home.models / "BTCUSDT" / "basic" / "2030-01-01T000000Z_1h_v1").mkdir()
    registry.quarantine(KEY, ten[8], at=FIRST, reason="bad")
    stray, broken, third = models(home)[:3]
    assert "the ledger does not know this folder" in stray["broken"]
    assert "'model.txt' is missing" in broken["broken"]
    assert "home/models/BTCUSDT/basic" in broken["broken"]
    assert (stray["digest"], broken["skill"]["n"], broken["model_size_kb"]) == (None, None, None)
    assert (third["quarantined"], third["status"], third["broken"]) == (True, "quarantined", None)
    assert str(home.root) not in json.dumps(models(home))
    with pytest.raises(InvalidBundle):
        model(home, "BTCUSDT", "basic", ten[9])


def test_a_damaged_ledger_makes_its_versions_broken(home, ten):
    path = home.models / "BTCUSDT" / "basic" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"register", b"promoted", 1))
    rows = models(home)
    assert len(rows) == 10
    assert all("ledger" in row["broken"] for row in rows)


def test_the_card_is_that_of_the_command(home, capsys):
    register(home.models)
    PredictionModelRegistry(home.models).promote(
        KEY, "2026-01-02", at=AT + timedelta(hours=1), reason="good", evidence={"skill": 0.01}
    )
    assert main(["models", "show", "BTCUSDT", "basic", "--json", "--home", str(home.root)]) == 0
    shown = json.loads(capsys.readouterr().out)
    card = model(home, "btc_usdt", "basic", "latest", "1h")
    for name in ("gate", "metadata", "metrics", "files", "digest", "version"):
        assert card[name] == shown[name], name
    assert [(row["action"], row["time"]) for row in card["history"]] == [
        ("register", "2026-01-02T00:00:00Z"),
        ("promote", "2026-01-02T01:00:00Z"),
    ]
    assert card["history"][1]["evidence"] == {"skill": 0.01}
    assert "## Now" in card["card"]
    assert "promoted 2026-01-02T01:00:00Z" in card["card"]
    assert card["notes"] == []
    json.dumps(card, allow_nan=False)


def test_a_card_is_found_by_every_name_of_a_version(home, ten, registry):
    registry.register(ModelKey("BTCUSDT", "basic", "4h"), files(), at=FIRST)
    assert model(home, "BTCUSDT", "basic", "latest", "1h")["version"] == ten[1]
    assert model(home, "BTCUSDT", "basic", "newest", "1h")["version"] == ten[9]
    assert model(home, "BTCUSDT", "basic", None, "1h")["version"] == ten[1]
    assert model(home, "BTCUSDT", "basic", "2026-11-25")["version"] == ten[5]
    with pytest.raises(UsageError, match="has timeframes"):
        model(home, "BTCUSDT", "basic", "latest")
    with pytest.raises(ModelNotFound):
        model(home, "BTCUSDT", "basic", "2020-01-01")
    with pytest.raises(ModelNotFound, match="did you mean"):
        model(home, "BTCUSD", "basic", "latest")


def test_what_came_after_training_is_on_the_card_and_damage_is_a_note(tmp_path):
    works = Works(tmp_path)
    works.recipe("one")
    version = works.cycle(6_000).decisions[0]["version"]
    works.cycle(6_030)
    card = model(works.home, "BTCUSDT", "basic", version)
    assert card["metadata"]["live_performance"]["trades_evaluated"] > 20
    assert card["notes"] == []
    with PipelineStore(works.home.pipeline_db) as store:
        assert store.state.execute("DELETE FROM record_direction WHERE open_ms % 36000000 = 0") > 10
    damaged = model(works.home, "BTCUSDT", "basic", version)
    assert "is damaged" in damaged["notes"][0]
    assert str(works.home.root) not in json.dumps(damaged)
    assert damaged["metadata"]["live_performance"]["trades_evaluated"] == 0
    assert damaged["card"]
