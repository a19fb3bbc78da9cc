"""Bad days of a cycle: no candles, no exchange, no disk, no bundle, no ledger, no library; each costs what it must."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest
from small_recipes import HOUR, KEY, Works, moment, one_by_one, rows_of

from bot.errors import BotError
from bot.market.exchanges import connect
from bot.pipeline.market import Market
from ml.errors import BrokenModel, SchemaMismatch

OTHER = {"params": {"num_boost_round": 6, "num_leaves": 4, "learning_rate": 0.3, "min_data_in_leaf": 50}}


@pytest.fixture
def works(tmp_path):
    return Works(tmp_path)


def states(report):
    return {each.recipe: each.state for each in report.recipes}


def statuses(pipeline, key=KEY):
    found = pipeline.registry.list_bundles(key.symbol, key.model_type, key.timeframe)
    return {model.version_id: model.status for model in found}


def test_a_clock_that_went_backwards_changes_nothing(works):
    works.recipe("one")
    works.cycle(3_000)
    with works.pipeline() as pipeline:
        before = rows_of(pipeline, next(iter(pipeline.store.known_recipes()))), statuses(pipeline)
        with pytest.raises(
            BotError, match="the clock stands at 2018-05-05T23:00:00Z, but the last cycle was of 2018-05-06"
        ):
            pipeline.run(moment(2_999))
        assert len(pipeline.store.cycles()) == 1
        assert before == (rows_of(pipeline, next(iter(pipeline.store.known_recipes()))), statuses(pipeline))


def test_two_at_once_are_refused(works):
    works.recipe("one")
    works.store(3_000)
    with works.pipeline(), pytest.raises(BotError, match="another cycle or drift check runs"):
        works.cycle(3_000, stored=False)
    assert states(works.cycle(3_000)) == {"one": "registered"}


def test_a_gap_in_new_candles_costs_the_bars_that_need_it_and_no_others(works):
    works.recipe("one")
    works.cycle(3_000)
    candles = works.candles(3_024)
    kept = (np.arange(3_024) < 3_005) | (np.arange(3_024) >= 3_010)
    columns = {name: column[kept] for name, column in candles.columns.items()}
    works.store(replace(candles, open_ms=candles.open_ms[kept], **columns))
    report = works.cycle(3_024, stored=False)
    assert states(report) == {"one": "registered"}
    with works.pipeline() as pipeline:
        record = pipeline.records.read(report.recipes[0].stream, "direction")
    fresh = ((record.open_ms - moment(0)) // HOUR)[record.open_ms >= moment(3_000)].tolist()
    assert set(range(3_000, 3_004)) <= set(fresh) <= set(range(3_000, 3_023)) - set(range(3_004, 3_010))
    assert fresh[-1] == 3_022


def test_a_recipe_without_candles_or_with_an_exchange_that_is_down_keeps_no_other_from_its_turn(works, monkeypatch):
    monkeypatch.setattr("bot.market.download._FIRST_WAIT_S", 0.001)
    works.recipe("one")
    works.recipe("lost", symbol="ETH/USDT")
    works.recipe("down", symbol="SOL/USDT")
    works.store(3_000)
    works.store(3_000, symbol="SOLUSDT", exchange="binance", origin="download from binance")
    with works.pipeline() as pipeline:

        def closed(name):
            return connect(name, url="http://127.0.0.1:9", rate_limit=False, timeout_ms=500)

        pipeline.market = Market(pipeline.market.store, closed, lambda: moment(3_010))
        report = pipeline.run(moment(3_010))
    assert states(report) == {"down": "failed", "lost": "failed", "one": "registered"}
    assert report.failed
    reasons = {each.recipe: each.reason for each in report.recipes}
    assert reasons["down"].startswith("no new candles: ")
    assert "127.0.0.1:9" in reasons["down"]
    assert "ETHUSDT" in reasons["lost"]
    assert "bot data" in reasons["lost"]


def test_a_champion_whose_bundle_was_deleted_makes_room_for_the_next_sound_version(works):
    works.recipe("one")
    works.cycle(6_000)
    first = works.cycle(6_012).decisions[0]["version"]
    with works.pipeline() as pipeline:
        shutil.rmtree(pipeline.registry.root / "BTCUSDT/basic" / first)
    told = []
    works.store(6_024)
    with works.pipeline(promote=False) as pipeline:
        pipeline._tell = lambda kind, text: told.append((kind, text))
        report = pipeline.run(moment(6_024))
        assert [each["kind"] for each in report.decisions] == ["quarantine", "fallback"]
        assert report.decisions[0]["version"] == first
        assert "its bundle cannot be used" in report.decisions[0]["reason"]
        serving = pipeline.registry.champion(KEY)
        assert serving.version_id == report.decisions[1]["version"] != first
        serving.verify()
    assert any(first in text and "serves no more" in text for kind, text in told if kind == "errors")
    assert [each["kind"] for each in works.cycle(6_036).decisions] == ["refit"]


def test_a_champion_without_another_version_leaves_nobody(works):
    works.recipe("one")
    report = works.cycle(6_000)
    with works.pipeline() as pipeline:
        shutil.rmtree(pipeline.registry.root / "BTCUSDT/basic" / report.decisions[0]["version"])
    works.store(6_001)
    with works.pipeline(promote=False) as pipeline:
        report = pipeline.run(moment(6_001))
        assert [each["kind"] for each in report.decisions] == ["quarantine"]
        assert pipeline.registry.champion_version(KEY) is None


def test_a_broken_ledger_is_named_and_nothing_is_promoted_until_it_is_repaired(works):
    works.recipe("one")
    works.recipe("eth", symbol="ETH/USDT")
    works.store(6_000, symbol="ETHUSDT")
    works.cycle(6_000)
    with works.pipeline() as pipeline:
        path = pipeline.registry.root / "BTCUSDT/basic/ledger.jsonl"
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b"shows skill", b"shows skull"))
    works.store(6_012, symbol="ETHUSDT")
    report = works.cycle(6_012)
    assert report.failed
    assert states(report) == {"eth": "registered", "one": "failed"}
    assert "bot models repair BTCUSDT basic" in report.recipes[1].reason
    assert [each["key"] for each in report.decisions] == ["ETHUSDT/1h/basic"]
    assert len(path.read_bytes().splitlines()) == len(sound.splitlines())
    path.write_bytes(sound)
    works.store(6_024, symbol="ETHUSDT")
    repaired = works.cycle(6_024)
    assert not repaired.failed
    assert repaired.recipes[1].scored == 23


def test_an_extra_that_is_not_installed_fails_its_recipe_alone(works, monkeypatch):
    works.recipe("one")
    works.recipe("two", type="direction", params={"n_estimators": 5})

    def missing_of(recipe):
        return "xgboost is not installed: pip install 'mlbot[xgb]'" if recipe.name == "two" else None

    monkeypatch.setattr("bot.pipeline.cycle.missing_library", missing_of)
    report = works.cycle(3_000)
    assert states(report) == {"one": "registered", "two": "failed"}
    assert report.recipes[1].reason.startswith("xgboost is not installed")


def test_a_full_disk_during_a_registration_fails_that_recipe_and_leaves_nothing_half_written(works, monkeypatch):
    works.recipe("one")
    works.recipe("two", **OTHER)
    works.store(3_000)
    with works.pipeline() as pipeline:
        register, real = pipeline.registry.register, os.write

        def full(descriptor, data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def on_a_full_disk(*arguments, **keywords):
            pipeline.registry.register = register
            monkeypatch.setattr(os, "write", full)
            try:
                return register(*arguments, **keywords)
            finally:
                monkeypatch.setattr(os, "write", real)

        pipeline.registry.register = on_a_full_disk
        report = pipeline.run(moment(3_000))
        assert states(report) == {"one": "failed", "two": "registered"}
        assert "cannot register: No space left on device" in report.recipes[0].reason
        assert report.failed
        assert pipeline.registry.validate() == []
        assert pipeline.registry.leftovers() == []
        assert len(statuses(pipeline)) == 1
        assert pipeline.store.versions(report.recipes[0].stream) == []
    assert states(works.cycle(3_001)) == {"one": "registered", "two": "skipped"}


def test_a_disk_that_is_full_under_the_records_fails_the_recipe_and_nothing_is_half_written(works):
    works.recipe("one")
    works.cycle(3_000)
    works.store(3_400)
    with works.pipeline() as pipeline:
        (pages,) = pipeline.store.state.rows("PRAGMA page_count")[0]
        pipeline.store.state.execute(f"PRAGMA max_page_count = {pages}")  # SQLite may not grow the file
        report = pipeline.run(moment(3_400))
        assert states(report) == {"one": "failed"}
        assert "cannot grow: the disk is full" in report.recipes[0].reason
        assert pipeline.records.last_ms(report.recipes[0].stream) < moment(3_000)
    report = works.cycle(3_401)
    assert (states(report), report.recipes[0].scored) == ({"one": "registered"}, 400)
    with works.pipeline() as pipeline:
        assert len(statuses(pipeline)) == 2


@pytest.mark.parametrize("refusal", [SchemaMismatch, BrokenModel])
def test_a_version_that_this_program_refuses_costs_its_own_bars_and_the_recipe_goes_on(works, refusal):
    works.recipe("one")
    refused = works.cycle(3_000).recipes[0].version
    told = []

    def cycle(bars):
        works.store(bars)
        with works.pipeline() as pipeline:
            opened, pipeline._tell = pipeline.registry.open_runner, lambda kind, text: told.append(text)

            def refusing(model):
                if model.version_id == refused:
                    raise refusal("made by another program")
                return opened(model)

            pipeline.registry.open_runner = refusing
            report = pipeline.run(moment(bars))
            return report, pipeline.records.read(report.recipes[0].stream, "direction").open_ms

    report, open_ms = cycle(3_012)
    assert (states(report), report.recipes[0].scored) == ({"one": "registered"}, 0)
    assert open_ms[-1] < moment(3_000)
    assert any(f"{refused} cannot be asked, its bars stay without a row" in text for text in told)
    report, open_ms = cycle(3_024)
    assert (states(report), report.recipes[0].scored) == ({"one": "registered"}, 11)
    assert open_ms[open_ms >= moment(3_000)].tolist() == [moment(bars) for bars in range(3_012, 3_023)]


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("cut", ["after the build", "after the registration"])
def test_what_a_cycle_registered_stays_when_it_is_resumed_without_an_exchange(works, monkeypatch, cut):
    works.recipe("one")
    works.recipe("two", **OTHER)
    works.store(3_000)

    def crashing(*_, **__):
        raise Crash

    def one_and_no_more(jobs):
        yield from one_by_one(jobs[:1])
        raise Crash

    with works.pipeline(builder=one_and_no_more) as pipeline:
        if cut == "after the registration":
            monkeypatch.setattr(type(pipeline.store), "keep_build", crashing)
        with pytest.raises(Crash):
            pipeline.run(moment(3_000))
        monkeypatch.undo()
        (version,) = statuses(pipeline)
    with works.pipeline() as pipeline:

        def closed(*_):
            raise BotError("the exchange does not answer")

        monkeypatch.setattr(type(pipeline.market), "fetch", closed)
        report = pipeline.run(moment(3_001))
        monkeypatch.undo()
        assert report.resumed
        assert states(report) == {"one": "failed", "two": "failed"}  # no new candles
        assert [each.version for each in report.recipes] == [version, None]
        (one, two) = (each.stream for each in report.recipes)
        found = pipeline.store.builds(pipeline.store.cycles(1)[0])
        assert (found[one].state, found[one].version, found[two].state) == ("registered", version, "failed")
        assert pipeline.store.stream_of(version, str(KEY)) == one
        assert one in pipeline.store.facts(str(KEY)).enrolled
        assert pipeline.records.last_ms(one) is not None
    report = works.cycle(3_012)
    assert states(report) == {"one": "registered", "two": "registered"}
    assert report.recipes[0].scored == 11
    with works.pipeline() as pipeline:
        assert len(statuses(pipeline)) == 3


def test_a_champion_whose_recipe_is_gone_is_watched_by_the_cycle_as_long_as_it_serves(tmp_path):
    works = Works(tmp_path, dies=6_300)
    path = works.recipe("one")
    works.recipe("eth", symbol="ETH/USDT")
    works.store(3_000, symbol="ETHUSDT")
    version = next(each["version"] for each in works.cycle(6_000).decisions if each["key"] == str(KEY))
    path.unlink()
    report = works.cycle(6_200)
    assert not report.failed
    with works.pipeline() as pipeline:
        champion = pipeline.store.facts(str(KEY)).champion
        assert (champion.version, champion.stream.split("-")[0]) == (version, "one")
        assert pipeline.records.last_ms(champion.stream) == moment(6_198)  # an outcome is known a bar later
    report = works.cycle(6_450)
    assert [(each["key"], each["kind"], each["version"]) for each in report.decisions] == [
        (str(KEY), "quarantine", version)
    ]
    assert [each.recipe for each in report.recipes] == ["eth"]
    with works.pipeline() as pipeline:
        assert pipeline.registry.champion_version(KEY) is None
