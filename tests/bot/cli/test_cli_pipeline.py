"""``bot pipeline`` through the entry point: exit codes, the JSON documents, wrong usage, repair, status and simulate."""

from __future__ import annotations

import json
import os
import signal
import threading
from types import SimpleNamespace

import pytest
from small_recipes import KEY, Works, moment, one_by_one

from bot.cli import pipeline as command
from bot.cli.main import main
from bot.errors import BotError


class Clock:
    """The wall clock of the command, in candles of the market."""

    bars = 6_000

    def __call__(self):
        return moment(self.bars)


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(command, "wall_ms", made)
    monkeypatch.setattr("bot.pipeline.running.build_here", lambda jobs, workers: one_by_one(jobs))
    return made


@pytest.fixture
def works(tmp_path):
    works = Works(tmp_path)
    works.recipe("one")
    works.recipe("two", seed=1)
    works.store(6_000)
    return works


@pytest.fixture
def bot(works, clock, capsys):
    def run(*words):
        code = main(["pipeline", *words, "--home", str(works.home.root), "--settings", str(works.settings_path)])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run


def test_a_cycle_is_told_as_a_table_and_as_json(works, bot, clock):
    code, out, err = bot("run", "--no-fetch")
    assert (code, err) == (0, "")
    assert "one     registered  2018-09-08T000000Z_1h_v1" in out
    assert "BTCUSDT/1h/basic: promote 2018-09-08T000000Z_1h_v" in out
    assert "BTCUSDT/1h/basic: kept " in out
    clock.bars = 6_012
    works.store(6_012)
    code, out, _ = bot("run", "--json", "--no-promote")
    document = json.loads(out)
    assert code == 0
    assert [(each["recipe"], each["state"], each["scored"]) for each in document["recipes"]] == [
        ("one", "registered", 11),
        ("two", "registered", 11),
    ]
    assert (document["resumed"], document["finished"], document["decisions"]) == (False, [], [])
    clock.bars = 6_013
    works.store(6_013)
    code, out, _ = bot("run", "--json")
    assert [each["state"] for each in json.loads(out)["recipes"]] == ["skipped", "skipped"]
    code, out, _ = bot("run", "--force", "--json")
    assert [each["state"] for each in json.loads(out)["recipes"]] == ["registered", "registered"]


def test_a_cycle_that_was_cut_short_is_finished_and_the_one_of_now_follows(works, bot, clock):
    def dark(jobs):
        raise BotError("the power went out")

    with works.pipeline(builder=dark) as pipeline, pytest.raises(BotError, match="the power went out"):
        pipeline.run(moment(6_000))
    clock.bars = 6_024
    works.store(6_024)
    code, out, _ = bot("run", "--json")
    document = json.loads(out)
    assert code == 0
    (finished,) = document["finished"]
    assert (finished["moment"], finished["resumed"]) == ("2018-09-08T00:00:00Z", True)
    assert (document["moment"], document["resumed"]) == ("2018-09-09T00:00:00Z", False)
    assert [each["scored"] for each in document["recipes"]] == [23, 23]


def test_a_recipe_that_failed_is_1(works, bot):
    works.recipe("three", symbol="ETH/USDT")
    code, out, _ = bot("run")
    assert code == 1
    assert "three   failed" in out
    assert "one     registered" in out


def test_wrong_usage_is_2(works, bot, tmp_path):
    works.recipe("typo", tipe="basic")
    code, _, err = bot("run")
    assert code == 2
    assert f"{works.recipes}/typo.yaml:" in err
    assert "type" in err
    assert bot("run", "--recipes", str(tmp_path / "nowhere"))[0] == 2
    (works.recipes / "typo.yaml").unlink()
    assert bot("run", "--every", "soon")[0] == 2
    assert bot("run", "--workers", "0")[0] == 2
    code, _, err = bot("run", "--every", "12h", "--json")
    assert (code, "one document" in err) == (2, True)


def test_two_at_once_and_a_clock_that_went_backwards_are_1(works, bot, clock):
    with works.pipeline():
        code, _, err = bot("run")
    assert (code, "another cycle or drift check runs" in err) == (1, True)
    assert bot("run")[0] == 0
    clock.bars = 5_999
    code, _, err = bot("run")
    assert (code, "the clock stands at 2018-09-07T23:00:00Z" in err) == (1, True)


def test_a_rhythm_goes_on_over_a_cycle_that_fails_and_ends_with_a_signal(works, bot, clock, monkeypatch):
    """The first cycle finds another one running; the second is done; SIGTERM ends it after the third."""
    done = []

    class Wait(threading.Event):
        def wait(self, timeout=None):
            done.append((clock.bars, timeout))
            if len(done) == 1:
                other.__exit__(None, None, None)
            clock.bars += 12
            works.store(clock.bars)
            if len(done) == 3:
                os.kill(os.getpid(), signal.SIGTERM)
            return self.is_set()

    own = SimpleNamespace(**(vars(threading) | {"Event": Wait}))  # the command's alone: other threads wait as ever
    monkeypatch.setattr(command, "threading", own)
    other = works.pipeline()
    other.__enter__()
    before = signal.getsignal(signal.SIGTERM)
    code, out, err = bot("run", "--every", "12h")
    assert code == 0
    assert err.count("error: another cycle or drift check runs") == 1
    assert [bars for bars, _ in done] == [6_000, 6_012, 6_024]
    assert all(timeout == 12 * 3_600 for _, timeout in done)
    assert out.count("next cycle at 2018-09-") == 3
    assert signal.getsignal(signal.SIGTERM) is before
    with works.pipeline() as pipeline:
        assert [each.moment_ms for each in pipeline.store.cycles()] == [moment(6_024), moment(6_012)]


def test_status_before_and_after_a_cycle(works, bot, clock):
    code, out, _ = bot("status")
    assert code == 0
    assert "No cycle was run yet" in out
    assert "none yet" in out
    bot("run")
    code, out, _ = bot("status", "--json")
    document = json.loads(out)
    (model,) = document["models"]
    assert document["last_cycle"]["status"] == "done"
    assert model["champion"]["drift"].startswith("calm")
    assert model["champion"]["age_hours"] == 0.0
    assert {each["role"] for each in model["recipes"]} == {"champion", "candidate"}
    assert [each["next"] for each in model["recipes"]] == ["2018-09-08T12:00:00Z"] * 2
    with works.pipeline(reading=True) as pipeline:  # beside a cycle, and after somebody else decided
        serving = pipeline.registry.champion(KEY)
        pipeline.registry.withdraw(KEY, at=serving.registered_at, reason="by hand")
        code, out, _ = bot("status")
    assert code == 0
    assert "the ledger has nobody for champion since: the next cycle takes it over" in out


def test_repair_scores_a_damaged_record_anew(works, bot, clock):
    bot("run")
    clock.bars = 6_012
    works.store(6_012)
    bot("run")
    with works.pipeline() as pipeline:
        stream = next(iter(pipeline.store.known_recipes()))
        pipeline.store.state.execute("DELETE FROM record_direction WHERE stream = ? AND number = 2", (stream,))
    clock.bars = 6_024
    works.store(6_024)
    code, out, _ = bot("run")
    assert code == 1
    assert f"bot pipeline repair {stream}" in out
    code, out, _ = bot("repair", stream)
    assert (code, out) == (0, f"{stream}: 1 append(s) were taken away, 23 rows were scored anew\n")
    assert bot("run", "--force")[0] == 0
    code, _, err = bot("repair", "nobody")
    assert (code, "there is no record 'nobody'" in err) == (2, True)


def test_simulate_leaves_the_home_alone_and_keeps_its_own_where_told(works, bot, tmp_path):
    works.store(6_200)
    kept = tmp_path / "kept"
    words = ("simulate", "--start", "2018-09-08T00:00", "--end", "2018-09-10T00:00", "--workers", "1")
    code, out, _ = bot(*words, "--json", "--keep", str(kept))
    document = json.loads(out)
    assert code == 0
    assert (document["cycles"], document["registered"], document["failures"]) == (5, 10, [])
    assert [each["kind"] for each in document["decisions"]] == ["promote", "refit", "refit", "refit", "refit"]
    assert all(figures["rows"] == 47 for figures in document["streams"].values())
    assert not works.home.pipeline_db.exists()
    assert not works.home.models.exists()
    assert (kept / "pipeline.db").exists()
    code, _, err = bot(*words, "--keep", str(kept))
    assert (code, "is not empty" in err) == (2, True)
    assert bot("simulate", "--start", "2018-09-10", "--end", "2018-09-08")[0] == 2


def test_a_scheduler_that_does_not_answer_is_1(bot, monkeypatch):
    pytest.importorskip("distributed", reason="the dist extra is not installed")
    monkeypatch.setattr("bot.pipeline.building._SCHEDULER_SECONDS", 1.0)
    before = set(threading.enumerate())
    code, _, err = bot("run", "--dask", "tcp://127.0.0.1:9")
    assert (code, "error: the Dask scheduler tcp://127.0.0.1:9 does not answer" in err) == (1, True)
    code, _, err = bot("run", "--dask", "nonsense://")
    assert (code, "error: the Dask scheduler nonsense:// does not answer" in err) == (1, True)
    assert set(threading.enumerate()) <= before, "each failed cycle leaves a thread"
