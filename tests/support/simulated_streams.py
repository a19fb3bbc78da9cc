"""Markets and recipes of known skill, and a year of cycles of their judge: what decides is real, only the models are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ml.intervals import wilson
from ml.lifecycle.evaluations import ONE_SIDED_90, Evaluations
from ml.lifecycle.facts import Decision, version_stream
from ml.lifecycle.tenure import Rules, Tenure

HOUR_MS = 3_600_000
CYCLE = 12  # bars between two cycles
YEAR = 730  # cycles
STARTED = 400_000  # absolute index of the first bar: no phase begins at 0 by accident


@dataclass(frozen=True)
class Event:
    """A decision and the bar at whose open it was taken, counted from the first of the stream."""

    bar: int
    decision: Decision

    @property
    def kind(self) -> str:
        return self.decision.kind

    @property
    def stream(self) -> str:
        return self.decision.stream


def at(bar: int) -> int:
    """Return the open time of a bar."""
    return (STARTED + bar) * HOUR_MS


def direction_rows(rose, p_up, *, base_rate=0.5, training_rows=8_760, horizon=1, first=0) -> Evaluations:
    """Return the evaluations of probabilities of a rise, beside a coin, the base rate and the reversal of the last sign."""
    rose, p_up = np.asarray(rose, dtype=bool), np.asarray(p_up, dtype=np.float64)
    k = STARTED + first + np.arange(len(rose))
    said_up = p_up >= 0.5
    majority = max(base_rate, 1 - base_rate)
    null = majority if wilson(majority * training_rows, training_rows, ONE_SIDED_90)[0] > 0.5 else 0.5
    reversal = np.where(np.concatenate([[True], rose[:-1]]), 0.495, 0.505)
    return Evaluations(
        "direction",
        horizon,
        k * HOUR_MS,
        k,
        said_up == rose,
        np.maximum(p_up, 1 - p_up),
        np.full(len(rose), null),
        log_loss(p_up, rose),
        {
            "coin": np.full(len(rose), math.log(2.0)),
            "base_rate": log_loss(np.full(len(rose), base_rate), rose),
            "last_sign": log_loss(reversal, rose),
        },
    )


def hits(pattern, *, horizon=1, first=0, stated=0.55, losing=False) -> Evaluations:
    """Return the evaluations of a direction that came true as told; ``losing`` states it too surely to gain anything."""
    pattern = np.asarray(pattern, dtype=bool)
    rose = np.arange(first, first + len(pattern)) % 4 < 2  # neither the base rate nor the last sign knows anything
    stated = 0.95 if losing else stated
    return direction_rows(rose, np.where(pattern == rose, stated, 1 - stated), horizon=horizon, first=first)


def share(rate, count) -> np.ndarray:
    """Return hits at a rate, spread as evenly as they can be."""
    return np.diff(np.floor(rate * np.arange(count + 1) + 1e-9)) > 0


def risk_rows(came, stated, *, base_rate=0.2, horizon=1, first=0) -> Evaluations:
    """Return the evaluations of probabilities of an adverse move, beside its base rate."""
    came, stated = np.asarray(came, dtype=bool), np.asarray(stated, dtype=np.float64)
    k = STARTED + first + np.arange(len(came))
    base = np.full(len(came), base_rate)
    return Evaluations(
        "risk",
        horizon,
        k * HOUR_MS,
        k,
        came,
        stated,
        base,
        log_loss(stated, came),
        {"base_rate": log_loss(base, came), "bands": log_loss(np.full(len(came), 0.3), came)},
    )


def volatility_rows(loss, baseline, *, came_true=None, first=0) -> Evaluations:
    """Return the evaluations of a volatility by their losses; a forecast comes within a quarter in four of five bars."""
    loss, baseline = np.asarray(loss, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    k = STARTED + first + np.arange(len(loss))
    came = share(0.8, len(loss)) if came_true is None else np.asarray(came_true, dtype=bool)
    stated, null = np.full(len(loss), 0.8), np.full(len(loss), math.nan)
    return Evaluations(
        "volatility", 1, k * HOUR_MS, k, came, stated, null, loss, {"ewma": baseline, "har": baseline + 0.01}
    )


def log_loss(p, rose):
    return -np.log(np.where(rose, p, 1 - p))


def right_in(rng, rose, rate, stated=None):
    """Return probabilities of a rise whose direction is right at a rate, one or one a bar, and that state it constantly."""
    rate = np.broadcast_to(np.asarray(rate, dtype=np.float64), rose.shape)
    stated = float(rate.max()) if stated is None else stated
    up = np.where(rng.random(len(rose)) < rate, rose, ~rose)
    return np.where(up, stated, 1 - stated)


def knowing(rng, count, rates, shared=0.5):
    """Return rises and calibrated probabilities of them by models of these hit rates, float64 (models, n).

    Each model knows a part of the log odds of its own, and a part that all know: what two of them know is alike.
    """
    spreads = [(rate - 0.5) * 4.0 / math.sqrt(2.0 / math.pi) for rate in rates]
    common = math.sqrt(shared) * min(spreads)
    base = rng.standard_normal(count) * common
    own = [rng.standard_normal(count) * math.sqrt(spread**2 - common**2) for spread in spreads]
    rose = rng.random(count) < 1 / (1 + np.exp(-(base + sum(own))))
    return rose, np.stack([1 / (1 + np.exp(-(base + part))) for part in own])


def no_skill(rng, kind, candidates, count):
    """Return the streams of recipes on a market in which there is nothing to know.

    Parameters
    ----------
    kind
        ``walk``: independent moves, predicted by rules of the moves before (momentum and reversal of several lengths);
        ``shuffled``: models that knew, whose outcomes were put in another order; ``rising``: 52 % of the bars rise, and the
        models have learnt little else.
    """
    warm = 200
    if kind == "shuffled":
        rose, said = knowing(rng, count, [0.53 + 0.01 * number for number in range(candidates)])
        rose = rng.permutation(rose)
        return {f"r{n}": direction_rows(rose, p) for n, p in enumerate(said)}
    moves = rng.standard_normal(warm + count) + (0.05015 if kind == "rising" else 0.0)
    rose = moves[warm:] > 0
    if kind == "rising":
        known = rng.random(8_760) < 0.52  # the base rate and the models are learnt on the same rows
        base = float(known.mean())
        said = [np.clip(base + 0.005 * (n + 1) * rng.standard_normal(count), 0.01, 0.99) for n in range(candidates)]
        return {f"r{n}": direction_rows(rose, p, base_rate=base) for n, p in enumerate(said)}
    total = np.concatenate([[0.0], np.cumsum(moves)])
    streams = {}
    for number in range(candidates):
        length = (1, 3, 8, 24, 72)[number % 5]
        past = total[warm : warm + count] - total[warm - length : warm + count - length]
        sign = 1 if rng.random() < 0.5 else -1
        p = 1 / (1 + np.exp(-0.08 * sign * past / math.sqrt(length)))
        streams[f"r{number}"] = direction_rows(rose, p)
    return streams


def best_of_the_day(
    rng, streams: Mapping[str, Evaluations], *, refits: int = YEAR, holdout: int = 34
) -> tuple[bool, float]:
    """Return whether the rule "keep the one whose F1 is better" claims to beat "always up", and the F1 that it believes in.

    Each refit of each recipe is measured on the last fifth of seven days, and is kept when it beats what is stored.
    """
    kept = 0.0
    for rows in streams.values():
        bars = rng.integers(0, len(rows) - holdout, refits)[:, None] + np.arange(holdout)
        right, up = rows.came_true[bars], rng.random(bars.shape) < 0.5
        rose = right == up
        f1 = 2 * (rose & up).sum(axis=1) / np.maximum(1, rose.sum(axis=1) + up.sum(axis=1))
        kept = max(kept, float(f1.max()))
    return kept > 2 / 3, kept


def live(
    streams: Mapping[str, Evaluations],
    *,
    record: int = 0,
    joins: Mapping[str, int] | None = None,
    cycles: int | None = None,
    per: int = CYCLE,
    rules: Rules | None = None,
    versions: Callable[[int], Mapping[str, str]] | None = None,
    version_rows: Callable[[str], Evaluations] | None = None,
    tenure: Tenure | None = None,
) -> tuple[list[Event], Tenure]:
    """Let a judge see the streams cycle by cycle, as the pipeline does, and return what it decided.

    Parameters
    ----------
    streams
        Whole rows of each recipe.
    record
        Bars whose rows are there before the first cycle.
    joins
        Bar at which a recipe comes under trial, with a record of what was before; the first cycle unless told.
    versions
        Newest version of each recipe at a cycle; without it every recipe has one.
    version_rows
        What one version says of every bar; asked for those that are watched by themselves.
    """
    tenure = tenure or Tenure("1h", rules=rules)
    count = max(int(rows.k[-1]) + 1 - STARTED for rows in streams.values())
    cycles = (count - record) // per if cycles is None else cycles
    fed = dict.fromkeys(streams, 0)
    alone: dict[str, int] = {}
    events: list[Event] = []
    for cycle in range(cycles):
        bar = record + (cycle + 1) * per
        now_ms = at(bar)
        for name, rows in streams.items():
            end = int(np.searchsorted(rows.open_ms, now_ms))
            if end == 0 or bar < (joins or {}).get(name, 0):
                continue
            if name not in tenure.facts.enrolled:
                tenure.enroll(name, now_ms)
            tenure.feed(name, rows.take(slice(fed[name], end)))
            fed[name] = end
        facts = tenure.facts
        for one in (facts.champion, facts.held):
            if one is not None and one.stream == version_stream(one.version) and version_rows is not None:
                since = max(alone.get(one.stream, 0), one.since_ms)
                rows = version_rows(one.version)
                tenure.feed(one.stream, rows.since(since).before(now_ms))
                alone[one.stream] = now_ms
        newest = {name: f"{name}-1" for name in streams if fed[name]} if versions is None else versions(cycle)
        if facts.held is not None:
            newest = {facts.held.stream: facts.held.version, **newest}
        events += [Event(bar, each) for each in (*tenure.watch(now_ms, newest), *tenure.choose(now_ms, newest))]
    return events, tenure


def first(events: list[Event], kind: str, *, stream: str | None = None, after: int = -1) -> float:
    """Return the bar of the first decision of a kind after a bar; infinity where there is none."""
    bars = (e.bar for e in events if e.kind == kind and e.bar > after and stream in {None, e.stream})
    return next(bars, math.inf)


def serving(events: list[Event], bar: float) -> str | None:
    """Return the stream that serves at a bar; None where nobody does."""
    found = None
    for event in events:
        if event.bar > bar:
            break
        found = None if event.kind == "quarantine" else event.stream
    return found


def reign(events: list[Event], end: int) -> int:
    """Return the bars in which somebody served."""
    total, since = 0, None
    for event in events:
        if event.kind == "quarantine":
            total, since = total + event.bar - (since or 0), None
        elif since is None:
            since = event.bar
    return total + (end - since if since is not None else 0)
