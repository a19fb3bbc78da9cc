"""kill -9 between any two steps of a cycle: the next run finishes it, and nothing shows that it was ever cut short."""

from __future__ import annotations

import pytest
from cycle_kills import aside, copied, run_cycle, state_of, warm_up
from small_recipes import KEY, Works

OTHER = {"num_boost_round": 6, "num_leaves": 4, "learning_rate": 0.3, "min_data_in_leaf": 50}
FALL = 6_300


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    warm_up(tmp_path_factory.mktemp("warm"))


def prepared(root, scenario):
    """Lay out what comes before the cycle that is killed; returns options of the works and the bars of that cycle."""
    options = {"dies": FALL} if scenario == "quarantine" else {}
    works = Works(root, **options)
    works.recipe("one")
    works.recipe("two", params=OTHER)
    cycles = {"first": [], "refit": [6_000, 6_012], "quarantine": [6_000, 6_012]}[scenario]
    for bars in cycles:
        run_cycle(root, bars, **options)
    return options, {"first": 6_000, "refit": 6_024, "quarantine": FALL + 150}[scenario]


def check(tmp_path, scenario, points):
    options, bars = prepared(tmp_path / "template", scenario)
    whole = copied(tmp_path / "template", tmp_path / "whole")
    steps = run_cycle(whole, bars, **options)
    wanted = aside(lambda: state_of(whole, KEY, **options))
    assert wanted["disorder"] == []
    actions = {row[0] for row in wanted["ledger"]}
    assert {"first": "promote", "refit": "promote", "quarantine": "quarantine"}[scenario] in actions
    killed = set()
    for point in points(steps):
        place = copied(tmp_path / "template", tmp_path / "cut")
        assert run_cycle(place, bars, point, **options) == "killed"
        run_cycle(place, bars, **options)
        found = aside(lambda: state_of(tmp_path / "cut", KEY, **options))
        where = f"killed {steps[point - 1]} ({point} of {len(steps)})"
        if steps[point - 1] == "after PipelineStore.end":  # it was over: the second run is another cycle
            found["cycles"].pop(0)
        for part in wanted:
            left, right = found[part], wanted[part]
            if part == "facts" and left != right:  # who is held beside a refit may be so from the next one on
                assert "promote" in steps[point - 1], where
                left, right = left | {"held": None}, right | {"held": None}
            assert left == right, f"{where}: {part}"
        killed.add(steps[point - 1])
    return killed, set(steps)


KILLS = {
    "first": (
        "after PredictionModelRegistry.register",
        "after Records.append",
        "before PredictionModelRegistry.promote",
    ),
    "refit": ("after PipelineStore.begin", "after Records.append", "after PredictionModelRegistry.promote"),
    "quarantine": ("after PredictionModelRegistry.quarantine",),
}


@pytest.mark.parametrize("scenario", list(KILLS))
def test_a_cycle_that_is_killed_is_finished_as_if_nothing_had_been(tmp_path, scenario):
    killed, _ = check(tmp_path, scenario, lambda steps: [steps.index(name) + 1 for name in KILLS[scenario]])
    assert killed == set(KILLS[scenario])


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["first", "refit", "quarantine"])
def test_a_cycle_may_be_killed_at_every_step(tmp_path, scenario):
    killed, steps = check(tmp_path, scenario, lambda steps: range(1, len(steps) + 1))
    assert killed == steps
