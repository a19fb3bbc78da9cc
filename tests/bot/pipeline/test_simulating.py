"""The cycle over stored candles: the same whatever builds it, and several recipes share fewer processes."""

from __future__ import annotations

from small_recipes import Works, moment, one_by_one

from bot.pipeline import simulating


def test_processes_change_nothing_and_three_recipes_share_two(tmp_path):
    works = Works(tmp_path)
    for number, name in enumerate(("one", "two", "three")):
        works.recipe(name, seed=number)
    works.store(3_100)
    documents = [
        simulating.simulate(
            works.home, works.settings_path, [], start_ms=moment(3_000), end_ms=moment(3_024), workers=workers
        )
        for workers in (1, 2)
    ]
    one, two = ({**each, "seconds": 0.0, "lines": each["lines"][1:]} for each in documents)
    assert one == two
    assert one["registered"] == 9
    assert one["failures"] == []


def test_a_simulation_decides_what_the_cycle_decides(tmp_path):
    works = Works(tmp_path)
    works.recipe("one")
    works.recipe("two", seed=1)
    lived = []
    for bars in (3_000, 3_012, 3_024, 3_036):
        works.store(bars)
        with works.pipeline(builder=one_by_one) as pipeline:
            lived += [(each["kind"], each["version"]) for each in pipeline.run(moment(bars)).decisions]
    document = simulating.simulate(
        works.home, works.settings_path, [], start_ms=moment(3_000), end_ms=moment(3_036), workers=1
    )
    assert [(each["kind"], each["version"]) for each in document["decisions"]] == lived
    assert len(lived) == 4
