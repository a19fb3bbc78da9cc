"""Two records on the same bars: the arithmetic against a plain loop, the verdict against planted differences."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from ml.comparison import compare_records, read_record
from ml.errors import NotEnoughBars, SchemaMismatch
from ml.paths.record import PathRecord
from ml.record import OutOfSample, RiskRecord, VolatilityRecord

HOUR = 3_600_000


def record(count=2_000, seed=0, *, edge=0.1, noise=0.0, start=0) -> OutOfSample:
    """Forecasts of a coin with a known bias; the coins are the same for every noise."""
    rng = np.random.default_rng(seed)
    truth = 0.5 + edge * rng.choice([-1.0, 1.0], count)
    rose = rng.random(count) < truth
    moves = np.abs(rng.normal(0, 0.01, count)) + 1e-4
    p_up = np.clip(truth + np.random.default_rng(seed + 1).normal(0, noise, count), 0.02, 0.98)
    k = start + np.arange(count)
    plain = np.full(count, 0.5)
    return OutOfSample(
        open_ms=k * HOUR,
        k=k,
        fold=np.ones(count, dtype=np.int16),
        raw_score=np.log(p_up / (1 - p_up)),
        p_up=p_up,
        forward_return=np.where(rose, moves, -moves),
        expected_return=np.zeros(count),
        low=np.full(count, -0.1),
        high=np.full(count, 0.1),
        train_base_rate=plain,
        last_sign_p=plain,
        close=np.full(count, 100.0),
        sigma=np.full(count, 0.01),
        scored=np.ones(count, dtype=bool),
    )


def by_hand(a: OutOfSample, b: OutOfSample) -> tuple[int, float, float]:
    theirs = {int(t): i for i, t in enumerate(b.open_ms) if b.counted[i]}
    gains, hits = [], []
    for i, t in enumerate(a.open_ms.tolist()):
        if not a.counted[i] or t not in theirs:
            continue
        j, up = theirs[t], a.forward_return[i] > 0
        given = [math.log(p if up else 1 - p) for p in (a.p_up[i], b.p_up[j])]
        gains.append(given[0] - given[1])
        hits.append(int((a.p_up[i] >= 0.5) == up) - int((b.p_up[j] >= 0.5) == up))
    return len(gains), float(np.mean(gains)), float(np.mean(hits))


def without(found, every: int, offset: int = 0):
    """Some rows were not scored."""
    scored = found.scored.copy()
    scored[offset::every] = False
    return dataclasses.replace(found, scored=scored)


def cut(found, start: int, stop: int):
    return dataclasses.replace(
        found, **{field.name: getattr(found, field.name)[start:stop] for field in dataclasses.fields(found)}
    )


def test_only_rows_that_both_count_enter():
    a = without(cut(record(), 0, 1_500), 7)
    b = without(cut(record(noise=0.05), 300, 2_000), 5)
    found = compare_records(a, b)
    rows, gain, hits = by_hand(a, b)
    assert found.rows == rows < 1_200
    assert found.gain.mean == pytest.approx(gain, rel=1e-12)
    assert found.accuracy_gain.mean == pytest.approx(hits, rel=1e-12, abs=1e-15)
    assert found.loss_b - found.loss_a == pytest.approx(gain, rel=1e-9)
    assert (found.first_ms, found.last_ms) == (302 * HOUR, 1_499 * HOUR)


def test_the_better_one_is_named_whichever_stands_first():
    good, bad = record(8_000), record(8_000, noise=0.2)
    first, second = compare_records(good, bad), compare_records(bad, good)
    assert (first.better, second.better) == ("a", "b")
    assert first.gain.mean == pytest.approx(-second.gain.mean)
    assert first.verdict("good", "bad").startswith("good is better than bad by")
    assert second.verdict("bad", "good").startswith("good is better than bad by")
    assert first.to_dict()["tied"] is False


def test_models_that_chance_cannot_tell_apart_are_tied():
    a, b = record(600, noise=0.02), record(600, noise=0.0201)
    found = compare_records(a, b)
    assert found.better is None
    assert "are statistically tied" in found.verdict("a", "b")
    same = compare_records(a, a)
    assert same.tied
    assert same.verdict("x", "y") == "x and y said the same of all 600 bars"


def test_a_tie_is_declared_for_as_many_pairs_as_the_interval_promises():
    """Two models of equal worth: about 95 of 100 pairs are called a tie."""
    ties = 0
    for seed in range(150):
        a = record(400, seed=10 * seed, noise=0.1)
        other = np.random.default_rng(10 * seed + 5).normal(0, 0.1, 400)
        truth = np.clip(record(400, seed=10 * seed).p_up + other, 0.02, 0.98)
        ties += compare_records(a, dataclasses.replace(a, p_up=truth)).tied
    assert 0.88 <= ties / 150 <= 0.99


def test_different_outcomes_or_questions_are_refused():
    a = record(200)
    moved = dataclasses.replace(a, forward_return=a.forward_return * 1.5)
    with pytest.raises(SchemaMismatch, match="judged on different outcomes"):
        compare_records(a, moved)
    with pytest.raises(NotEnoughBars, match="0 bars are counted in both"):
        compare_records(a, record(200, start=500))
    with pytest.raises(SchemaMismatch, match="different questions"):
        compare_records(a, volatility(200))
    with pytest.raises(SchemaMismatch, match="of the task dreams cannot be compared"):
        read_record("dreams", b"")


def volatility(count: int, factor: float = 1.0) -> VolatilityRecord:
    rng = np.random.default_rng(4)
    true = np.exp(rng.normal(-4.5, 0.3, count))
    realised = true * np.abs(rng.normal(1, 0.2, count))
    columns = dict.fromkeys(("ewma", "har", "constant", "sigma"), true)
    k = np.arange(count)
    return VolatilityRecord(
        open_ms=k * HOUR, k=k, fold=np.ones(count, dtype=np.int16), raw_score=np.zeros(count), forecast=true * factor,
        confidence=np.full(count, 0.6), realised=realised, close=true, scored=np.ones(count, dtype=bool), **columns,
    )  # fmt: skip


def test_volatilities_are_compared_by_qlike():
    a, b = volatility(900), volatility(900, 1.3)
    found = compare_records(a, b)
    ratio = [(one.realised / one.forecast) ** 2 for one in (a, b)]
    losses = [float(np.mean(x - np.log(x) - 1)) for x in ratio]
    assert found.gain.mean == pytest.approx(losses[1] - losses[0], rel=1e-9)
    assert (found.better, found.unit, found.accuracy_a) == ("a", "QLIKE", None)


def test_risks_are_compared_by_log_loss():
    rng = np.random.default_rng(8)
    p = rng.uniform(0.05, 0.6, 3_000)
    came = (rng.random(3_000) < p).astype(float)
    k = np.arange(3_000)
    plain = {name: np.full(3_000, 0.3) for name in ("train_base_rate", "last_outcome_p", "volatility_p")}
    good = RiskRecord(
        open_ms=k * HOUR, k=k, fold=np.ones(3_000, dtype=np.int16), raw_score=np.zeros(3_000), p_adverse=p, outcome=came,
        close=p, sigma=p, scored=np.ones(3_000, dtype=bool), **plain,
    )  # fmt: skip
    flat = dataclasses.replace(good, p_adverse=np.full(3_000, float(came.mean())))
    found = compare_records(good, flat)
    assert found.better == "a"
    expected = -np.mean(came * np.log(p) + (1 - came) * np.log(1 - p))
    assert found.loss_a == pytest.approx(expected, rel=1e-12)
    assert read_record("risk", good.to_parquet()).p_adverse.tobytes() == p.tobytes()


def paths(count=400, steps=12, spacing=4, seed=0, *, edge=0.0) -> PathRecord:
    """Random walks, of whose first steps a share may be known."""
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, 0.01, (count, steps))
    realised = np.cumsum(moves, axis=1).astype(np.float32)
    k = np.arange(count) * spacing
    return PathRecord(
        open_ms=k * HOUR, k=k, fold=np.ones(count, dtype=np.int16), close=np.full(count, 100.0),
        sigma=np.full(count, 0.01), long_sigma=np.full(count, 0.01), drift=np.zeros(count),
        predicted=(edge * realised).astype(np.float32), realised=realised,
    )  # fmt: skip


def test_paths_are_compared_over_the_steps_between_two_starts():
    flat, knowing = paths(), paths(edge=0.3)
    found = compare_records(knowing, flat)
    loss = 0.0
    for start in range(400):
        for step in range(4):
            loss += float(flat.realised[start, step]) ** 2 / (0.01**2 * (step + 1)) / 1600
    assert found.loss_b == pytest.approx(loss, rel=1e-6)
    assert found.loss_a == pytest.approx(0.49 * loss, rel=1e-5)
    assert (found.better, found.unit, found.rows) == ("a", "sigma^2", 400)
    assert compare_records(flat, flat).tied
    holes = flat.realised.copy()
    holes[::2, 2] = np.nan
    assert compare_records(knowing, dataclasses.replace(flat, realised=holes)).rows == 200
    assert read_record("path", flat.to_parquet()).predicted.tobytes() == flat.predicted.tobytes()
