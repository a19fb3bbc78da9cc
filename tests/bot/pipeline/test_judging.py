"""Decisions and the ledger: rollbacks, a ledger that refuses, crashes, hands that decide meanwhile; all with real stores."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime

import pytest
from small_recipes import HOUR, KEY, Works, moment, one_by_one

from bot.pipeline.drifting import check_key
from ml.lifecycle.duel import Duel
from registry.errors import RegistryBusy

FALL = 6_300
OTHER = {"num_boost_round": 6, "num_leaves": 4, "learning_rate": 0.3, "min_data_in_leaf": 50}


class Crash(BaseException):
    """The process ends here."""


@pytest.fixture
def works(tmp_path):
    return Works(tmp_path)


@pytest.fixture
def evidence(monkeypatch):
    """Return what sets the logarithm of the evidence of every duel that has begun."""

    def set_to(log_e):
        monkeypatch.setattr(Duel, "log_e", property(lambda self: log_e if self.n else 0.0))

    set_to(0.0)
    return set_to


def at(bars):
    return datetime.fromtimestamp(moment(bars) / 1000, UTC)


def rows(pipeline):
    """Return the decisions of the ledger: action, version and kind."""
    taken = [row for row in pipeline.registry.history(KEY) if row.action not in {"register", "archive"}]
    return [(row.action, row.version, (row.evidence or {}).get("kind")) for row in taken]


def agree(pipeline):
    """Tell whether what is remembered is what the ledger says."""
    champion = pipeline.store.facts(str(KEY)).champion
    return pipeline.registry.champion_version(KEY) == (None if champion is None else champion.version)


def look(works, bars, **options):
    """Do a drift check."""
    works.store(bars)
    with works.pipeline(need_recipes=False, **options) as pipeline:
        return check_key(pipeline, KEY, moment(bars), works.home.state_db)


def replaced(works, evidence, **changes):
    """Let one recipe be replaced by the other, and refit both; returns streams and versions of the one before.

    The versions of that are: the one that was champion, and the newest, which was built in its shadow.
    """
    works.recipe("one", **changes)
    works.recipe("two", params=OTHER, **changes)
    first = works.cycle(6_000).decisions[0]
    evidence(50.0)
    (second,) = works.cycle(6_003).decisions
    assert second["kind"] == "replace"
    evidence(0.0)
    works.cycle(6_012)
    works.cycle(6_024)
    with works.pipeline() as pipeline:
        facts = pipeline.store.facts(str(KEY))
        assert (facts.champion.stream, facts.held.stream) == (second["stream"], first["stream"])
        versions = [version for version, _ in pipeline.store.versions(first["stream"])]
        assert versions[0] == first["version"]
        assert pipeline.bench(KEY).open(versions[-1]).promoted_at is None
    return first["stream"], second["stream"], versions


# ---------------------------------------------------------------------- rollback


def test_a_rollback_promotes_the_newest_version_of_the_recipe_before_once(works, evidence):
    before, after, versions = replaced(works, evidence)
    evidence(50.0)
    found = look(works, 6_027)
    assert any(each.startswith("rollback: shown worse than the model before it") for each in found.alarms)
    assert f"rollback of {versions[-1]}" in found.document["action"]
    with works.pipeline() as pipeline:
        assert rows(pipeline)[-1] == ("promote", versions[-1], "rollback")
        facts = pipeline.store.facts(str(KEY))
        assert (facts.champion.stream, facts.champion.version, facts.held) == (before, versions[-1], None)
        assert agree(pipeline)
        count = len(rows(pipeline))
    assert not any("rollback" in each for each in look(works, 6_028).alarms)
    with works.pipeline() as pipeline:
        assert len(rows(pipeline)) == count
        assert pipeline.registry.champion(KEY).version_id == versions[-1]


def test_a_rollback_to_a_version_that_was_champion_is_a_row_of_that_name(works, evidence):
    before, _, versions = replaced(works, evidence)
    with works.pipeline() as pipeline:
        for version in versions[1:]:
            pipeline.registry.quarantine(KEY, version, at=at(6_026), reason="by hand")
    evidence(50.0)
    look(works, 6_027)
    with works.pipeline() as pipeline:
        last = pipeline.registry.champion_version(KEY)
        assert rows(pipeline)[-1] == ("rollback", last, "rollback")
        assert last == versions[0]
        assert pipeline.store.facts(str(KEY)).champion.stream == before
        assert agree(pipeline)


@pytest.mark.parametrize("fate", ["quarantined", "lost", "expired"])
def test_where_nobody_of_the_recipe_before_can_serve_the_one_that_is_worse_leaves(works, evidence, fate):
    before, after, versions = replaced(works, evidence, **({"expires_after": "14h"} if fate == "expired" else {}))
    bars = 6_027
    with works.pipeline() as pipeline:
        worse = pipeline.registry.champion_version(KEY)
        for version in versions:
            if fate == "quarantined":
                pipeline.registry.quarantine(KEY, version, at=at(6_026), reason="by hand")
            elif fate == "lost" and version != versions[1]:  # neither the newest nor the one that served
                shutil.rmtree(pipeline.registry.root / "BTCUSDT/basic" / version)
    if fate == "expired":
        bars = 6_039
    evidence(50.0)
    found = look(works, bars)
    assert any("that one cannot serve any more" in each for each in found.alarms)
    with works.pipeline() as pipeline:
        assert rows(pipeline)[-1] == ("quarantine", worse, "quarantine")
        assert pipeline.registry.champion_version(KEY) is None
        facts = pipeline.store.facts(str(KEY))
        assert (facts.champion, facts.held) == (None, None)
        assert facts.restarts[after] == moment(bars)
        assert before not in facts.restarts


# ---------------------------------------------------------------------- a ledger that refuses, and crashes


def test_a_quarantine_that_cannot_be_written_is_repeated_and_nothing_is_promoted_until_then(tmp_path):
    works = Works(tmp_path, dies=FALL)
    works.recipe("one")
    works.recipe("two", params=OTHER)
    version = works.cycle(6_000).decisions[0]["version"]
    works.store(FALL + 150)
    told = []
    with works.pipeline(follow=lambda *each: told.append(each)) as pipeline:

        def busy(*_, **__):
            raise RegistryBusy("another process writes")

        before, count = pipeline.store.facts(str(KEY)), len(rows(pipeline))
        quarantine, pipeline.registry.quarantine = pipeline.registry.quarantine, busy
        report = pipeline.run(moment(FALL + 150))
        assert report.failed
        assert report.decisions == []
        assert {each.reason for each in report.recipes} == {"another process writes"}
        assert (pipeline.store.facts(str(KEY)), len(rows(pipeline)), told) == (before, count, [])
        pipeline.registry.quarantine = quarantine
        works.store(FALL + 151)
        report = pipeline.run(moment(FALL + 151))  # by the same object: nothing is left of what it meant to do
        assert [each["kind"] for each in report.decisions][:1] == ["quarantine"]
        assert rows(pipeline)[count] == ("quarantine", version, "quarantine")
        assert told[0][:2] == (KEY, None)
        assert agree(pipeline)


def test_bots_are_told_after_each_row_and_again_where_a_crash_came_between(tmp_path):
    works, told = Works(tmp_path, dies=FALL), []
    works.recipe("one")

    def follow(key, version, _reason):
        told.append((key, version))

    def crashing(*_):
        raise Crash

    works.store(6_000)
    with works.pipeline(follow=crashing) as pipeline, pytest.raises(Crash):
        pipeline.run(moment(6_000))
    with works.pipeline(follow=follow) as pipeline:
        assert not agree(pipeline)  # the row is there, and no more
        first = pipeline.registry.champion_version(KEY)
        assert pipeline.run(moment(6_001)).resumed
        assert told == [(KEY, first)]
        assert agree(pipeline)
    works.store(6_012)
    with works.pipeline(follow=follow) as pipeline:
        pipeline.run(moment(6_012))
        refit = pipeline.registry.champion_version(KEY)
        assert told[1:] == [(KEY, refit)]
        assert refit != first
    works.store(FALL + 150)
    with works.pipeline(follow=crashing) as pipeline, pytest.raises(Crash):
        check_key(pipeline, KEY, moment(FALL + 150), works.home.state_db)
    with works.pipeline(follow=follow) as pipeline:
        assert not agree(pipeline)
        check_key(pipeline, KEY, moment(FALL + 150), works.home.state_db)
        assert told[2:] == [(KEY, None)]
        assert agree(pipeline)
        facts = pipeline.store.facts(str(KEY))
        assert facts.restarts == dict.fromkeys((*facts.enrolled, f"@{refit}"), moment(FALL + 150))
        check_key(pipeline, KEY, moment(FALL + 150), works.home.state_db)
        assert len(told) == 3  # ledger and facts agree: nobody is told twice


def test_decisions_of_a_cycle_that_is_finished_late_are_dated_by_the_clock(works):
    works.recipe("one")
    works.recipe("two", params=OTHER)
    works.cycle(6_000)
    works.cycle(6_012)
    works.store(6_024)

    def crashing(_jobs):
        raise Crash
        yield

    with works.pipeline(builder=crashing) as pipeline, pytest.raises(Crash):
        pipeline.run(moment(6_024))
    with works.pipeline(now_ms=moment(6_030) + HOUR // 2) as pipeline:
        count = len(pipeline.registry.history(KEY))
        report = pipeline.run(moment(6_030))
        assert (report.resumed, report.moment_ms) == (True, moment(6_024))
        assert [each["kind"] for each in report.decisions] == ["refit"]
        dates = {row.action: row.at for row in pipeline.registry.history(KEY)[count:]}
        assert dates["register"] == at(6_024)  # a version is of the cycle's moment
        assert {dates[action] for action in dates if action != "register"} == {at(6_030) + (at(1) - at(0)) / 2}
        assert {"promote", "archive"} <= set(dates)


def test_a_bundle_that_is_lost_is_an_alarm_of_the_check(works):
    works.recipe("one")
    works.cycle(6_000)
    version = works.cycle(6_012).decisions[0]["version"]
    assert look(works, 6_013).alarms == ()
    with works.pipeline() as pipeline:
        shutil.rmtree(pipeline.registry.root / "BTCUSDT/basic" / version)
    found = look(works, 6_014)
    assert [each.split(":")[0] for each in found.alarms] == ["quarantine", "fallback"]
    assert "its bundle cannot be used" in found.alarms[0]
    assert look(works, 6_015).alarms == ()


# ---------------------------------------------------------------------- decisions by hand


@pytest.mark.parametrize("way", ["quarantine", "promote"])
def test_a_decision_by_hand_while_a_cycle_builds_stands(works, way):
    works.recipe("one")
    works.recipe("two", params=OTHER)
    first = works.cycle(6_000)
    version, stream = first.decisions[0]["version"], first.decisions[0]["stream"]
    other = next(each for each in first.recipes if each.version != version)
    works.store(6_012)
    with works.pipeline() as pipeline:

        def by_hand(jobs):
            if way == "quarantine":
                for each in (version, other.version):
                    pipeline.registry.quarantine(KEY, each, at=at(6_012), reason="by hand")
            else:
                pipeline.registry.promote(KEY, other.version, at=at(6_012), reason="by hand")
            yield from one_by_one(jobs)

        pipeline._builder = by_hand
        report = pipeline.run(moment(6_012))
        assert not report.failed
        facts = pipeline.store.facts(str(KEY))
        assert agree(pipeline)
        assert "refit" not in {each["kind"] for each in report.decisions}
        if way == "promote":
            assert report.decisions == []
            assert pipeline.registry.champion_version(KEY) == other.version
            assert stream not in facts.restarts
        else:
            assert facts.restarts[stream] == moment(6_012)
            assert stream not in {each["stream"] for each in report.decisions}
    works.store(6_024)
    with works.pipeline() as pipeline:
        decisions = pipeline.run(moment(6_024)).decisions
        assert agree(pipeline)
        if way == "quarantine":
            assert pipeline.store.facts(str(KEY)).counted_from(stream) == moment(6_012)
            assert stream not in {each["stream"] for each in decisions}  # a dozen bars show nothing
        else:
            assert pipeline.registry.champion_version(KEY) == other.version


def test_a_quarantine_and_a_promotion_by_hand_before_the_next_look(works):
    works.recipe("one")
    works.recipe("two", params=OTHER)
    first = works.cycle(6_000)
    version, stream = first.decisions[0]["version"], first.decisions[0]["stream"]
    other = next(each for each in first.recipes if each.version != version)
    with works.pipeline() as pipeline:
        pipeline.registry.quarantine(KEY, version, at=at(6_001), reason="by hand")
        pipeline.registry.promote(KEY, other.version, at=at(6_001), reason="by hand")
    look(works, 6_002)
    with works.pipeline() as pipeline:
        facts = pipeline.store.facts(str(KEY))
        assert facts.restarts == {stream: moment(6_002), f"@{version}": moment(6_002)}
        assert (facts.champion.stream, facts.champion.version) == (other.stream, other.version)
        assert facts.held is None  # nobody goes back to what a person took out
        assert agree(pipeline)
        bench = pipeline.bench(KEY)
        claim = bench.tenure.claim(stream)
        assert claim is None or claim.n == 0
