"""Runs of the judge on simulated streams: one seed in, one figure out, so that processes can share the work."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from simulated_streams import (
    CYCLE,
    YEAR,
    best_of_the_day,
    direction_rows,
    first,
    knowing,
    live,
    no_skill,
    reign,
    right_in,
    serving,
)

BARS = YEAR * CYCLE
T, R = TypeVar("T"), TypeVar("R")


def over(run: Callable[[T], R], arguments: Iterable[T], workers: int = 2) -> list[R]:
    """Return what a run gives for each argument, in their order, by several processes."""
    with ProcessPoolExecutor(workers) as pool:
        return list(pool.map(run, list(arguments), chunksize=4))


class NoSkill(NamedTuple):
    promoted: bool
    by_f1: bool
    f1: float


def no_skill_year(arguments: tuple[str, int]) -> NoSkill:
    """Return whether five recipes without skill had a champion within a year, and what the rule of the F1 does there."""
    kind, seed = arguments
    rng = np.random.default_rng([seed, 1])
    streams = no_skill(rng, kind, 5, BARS)
    events, _ = live(streams)
    return NoSkill(first(events, "promote") < math.inf, *best_of_the_day(rng, streams))


def first_champion(arguments: tuple[float, int, int]) -> float:
    """Return after how many evaluations a model of that hit rate is the champion, among others without skill."""
    rate, candidates, seed = arguments
    rng = np.random.default_rng([seed, 2])
    rose = rng.random(4_200) < 0.5
    rates = [rate] + [0.5] * (candidates - 1)
    streams = {f"r{n}": direction_rows(rose, right_in(rng, rose, one, rate)) for n, one in enumerate(rates)}
    events, _ = live(streams)
    return first(events, "promote", stream="r0")


class Fallen(NamedTuple):
    """Of an edge that disappears: who served then, bars to the quarantine, who served at each of the bounds."""

    before: str | None
    delay: float
    after: tuple[str | None, ...]


def vanishing_edge(
    arguments: tuple[float, float, int, int, str, int], bounds: tuple[int, ...] = (1_700, 2_500)
) -> Fallen:
    """Return what becomes of a champion whose edge disappears.

    Parameters
    ----------
    arguments
        Hit rate before and after; bars of the record at its promotion; bars that it serves before the fall; a second recipe
        (``none``, ``healthy``: 54 % throughout, ``falls``: as good, and falls with it); seed.
    """
    before, after, record, healthy, second, seed = arguments
    rng = np.random.default_rng([seed, 3])
    fall = record + healthy
    count = fall + max(bounds) + CYCLE
    rose, past = rng.random(count) < 0.5, np.arange(count) < fall
    streams = {"r0": direction_rows(rose, right_in(rng, rose, np.where(past, before, after)))}
    if second == "healthy":
        streams["r1"] = direction_rows(rose, right_in(rng, rose, 0.54))
    elif second == "falls":
        streams["r1"] = direction_rows(rose, right_in(rng, rose, np.where(past, before, after)))
    events, _ = live(streams, record=record, joins={"r1": record + 40 * CYCLE})
    served = serving(events, fall)
    return Fallen(
        served,
        first(events, "quarantine", stream=served, after=fall) - fall,
        tuple(serving(events, fall + bound) for bound in bounds),
    )


def healthy_reign(arguments: tuple[float, int, int, int]) -> tuple[int, int]:
    """Return false alarms of a model whose hit rate stays, and the bars that it served; of a record and years to come."""
    rate, record, years, seed = arguments
    rng = np.random.default_rng([seed, 4])
    rose = rng.random(record + years * BARS) < 0.5
    events, _ = live({"r0": direction_rows(rose, right_in(rng, rose, rate))}, record=record)
    return sum(event.kind == "quarantine" for event in events), reign(events, len(rose))


def challenge(arguments: tuple[float, float, int]) -> float:
    """Return after how many bars a challenger of the second hit rate replaces a champion of the first, within two years.

    NaN where the champion fell just before the challenger came.
    """
    weak, strong, seed = arguments
    rng, record = np.random.default_rng([seed, 5]), 2 * BARS
    rose, said = knowing(rng, record + 2 * BARS, [weak, strong])
    streams = {f"r{n}": direction_rows(rose, p) for n, p in enumerate(said)}
    start = record + 40 * CYCLE
    events, _ = live(streams, record=record, joins={"r1": start})
    if serving(events, start - 1) != "r0":
        return math.nan
    return first(events, "replace", stream="r1") - start


class Refits(NamedTuple):
    """Of refits: who served when they became worse, what came first after that, and when; rollbacks in all."""

    before: str | None
    kind: str
    delay: float
    rollbacks: int


def refits(arguments: tuple[float, int]) -> Refits:
    """Return what becomes of a champion of 55 % that is refitted each cycle, where its refits are right at another rate.

    The refits get worse after a quarter of a year; at 55 % they are as good as the versions before, but know other things.
    """
    later, seed = arguments
    rng, record = np.random.default_rng([seed, 6]), BARS
    fall = record + BARS // 4
    count = fall + BARS // 2
    if later == 0.55:
        rose, (good, bad) = knowing(rng, count, [0.55, 0.55])
    else:
        rose, (good, other) = knowing(rng, count, [0.55, 0.501], shared=0.0)
        bad = np.where(other > 0.5, 1, -1) * np.abs(rng.permutation(good) - 0.5) + 0.5  # as sure as before
    past = np.arange(count) < fall
    rows = {True: direction_rows(rose, good), False: direction_rows(rose, bad)}

    def built_before(version: str) -> bool:
        return record + (int(version.removeprefix("v")) + 1) * CYCLE < fall

    events, _ = live(
        {"r0": direction_rows(rose, np.where(past, good, bad))},
        record=record,
        versions=lambda cycle: {"r0": f"v{cycle}"},
        version_rows=lambda version: rows[built_before(version)],
    )
    turn = next((e for e in events if e.bar > fall and e.kind in {"rollback", "quarantine"}), None)
    return Refits(
        serving(events, fall),
        "none" if turn is None else turn.kind,
        math.inf if turn is None else turn.bar - fall,
        sum(event.kind == "rollback" for event in events),
    )
