"""Building in processes of their own: what dies, runs out of memory or raises costs its own job and no other."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from faulty_candles import Deadly, Nice, Vast, Wrong
from small_recipes import KEY, SMALL, Works, moment, planted

from bot.pipeline import building
from bot.pipeline.building import Built, Failed, Job, build, build_here
from bot.pipeline.settings import PipelineSettings
from ml.recipes import Recipe

AT = datetime(2026, 11, 28, tzinfo=UTC)


@pytest.fixture(scope="module", autouse=True)
def parent():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TEST_PARENT", str(os.getpid()))
        yield


@pytest.fixture(scope="module")
def there(parent):
    """What two processes made of jobs that do well and jobs that fail, and how nice this one was before."""
    before = os.nice(0)
    jobs = [job("vast", Vast), job("wrong", Wrong), job("nice", Nice), job("short", bars=300)]
    return by_stream(build_here([job("a"), *jobs, job("b", bars=1_600)], 2)), before


def job(stream, kind=None, bars=1_500):
    candles = planted(10_000).slice(0, bars)
    recipe = Recipe(
        name=stream,
        symbol="BTCUSDT",
        model_type="basic",
        timeframe="1h",
        horizon=1,
        features=tuple(SMALL["features"]),
        parameters=SMALL["params"],
        folds=2,
    )
    if kind is not None:
        candles = kind(**{name: getattr(candles, name) for name in candles.__dataclass_fields__})
    return Job(stream, recipe, candles, None, "synth", None, AT, "test")


def by_stream(results):
    return {each.stream: each for each in results}


def test_jobs_in_processes_make_the_bundles_that_one_process_makes(there):
    made, _ = there
    here = by_stream(build(each) for each in (job("a"), job("b", bars=1_600)))
    assert made["a"].files == here["a"].files
    assert made["b"].files == here["b"].files
    assert made["a"].files != made["b"].files
    assert made["a"].record.open_ms.tolist() == here["a"].record.open_ms.tolist()
    assert made["a"].trained_until_ms == moment(1_500)


def test_what_kills_its_process_is_lost_alone():
    jobs = [job("a"), job("deadly", Deadly), job("b")]
    found = by_stream(build_here(jobs, 2))
    assert found.keys() == {"a", "b", "deadly"}
    assert found["deadly"] == Failed("deadly", "its process died: killed from outside, or out of memory")
    assert all(isinstance(found[name], Built) for name in "ab")


def test_what_runs_out_of_memory_or_raises_is_told_in_one_line(there):
    found, _ = there
    assert found["vast"].reason == "out of memory: shorten the window, or take fewer features"
    assert found["wrong"].reason == "ZeroDivisionError: a fault of the family"


def test_workers_give_way_to_trading_and_leave_this_process_as_it_is(there):
    found, before = there
    assert found["nice"].reason == f"nice {max(10, before)}, Ctrl-C ignored True, threads 1"
    assert os.nice(0) == before
    cores = len(os.sched_getaffinity(0))
    assert PipelineSettings().worker_count(cores) == max(1, cores // 2)


def test_too_few_candles_are_said_as_the_trainer_says_it(there):
    found, _ = there
    assert isinstance(found["short"], Failed)
    assert "at least 500" in found["short"].reason


def test_a_cycle_registers_what_was_built_and_tells_what_died(tmp_path):
    works = Works(tmp_path)
    works.recipe("dies")
    works.recipe("lives", seed=1)
    works.store(3_000)
    told = []
    with works.pipeline(builder=None, workers=1) as pipeline:
        pipeline._tell = lambda kind, text: told.append(text) if kind == "errors" else None
        plain = pipeline._builder

        def builder(jobs):
            deadly = [
                replace(each, candles=job("x", Deadly).candles) if each.recipe.name == "dies" else each for each in jobs
            ]
            return plain(deadly)

        pipeline._builder = builder
        report = pipeline.run(moment(3_000))
        assert [(each.recipe, each.state) for each in report.recipes] == [("dies", "failed"), ("lives", "registered")]
        assert report.failed
        assert told == ["dies: its process died: killed from outside, or out of memory"]
        assert len(pipeline.registry.list_bundles(KEY.symbol)) == 1
        build_of = pipeline.store.builds(pipeline.store.cycles()[0])[report.recipes[0].stream]
        assert (build_of.state, build_of.reason) == ("failed", building.DIED)
    again = works.cycle(3_001)
    assert [each.state for each in again.recipes] == ["registered", "skipped"]
