"""Evaluations of records built by hand, against plain loops over their rows."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from ml.errors import InvalidRecord, SchemaMismatch
from ml.evaluation import evaluate_record
from ml.lifecycle.evaluations import ONE_SIDED_90, Evaluations, evaluations_of, on_common_bars
from ml.record import OutOfSample, RiskRecord, VolatilityRecord
from ml.tasks.risk_figures import evaluate_risk
from ml.tasks.volatility_figures import evaluate_volatility

HOUR = 3_600_000
COUNT = 60


def shared(rng, horizon: int) -> dict[str, np.ndarray]:
    k = 1_000 + np.arange(COUNT) + (np.arange(COUNT) >= 20) * 5  # five bars are missing
    return {
        "open_ms": k * HOUR,
        "k": k,
        "fold": np.repeat([0, 1, 2], COUNT // 3).astype(np.int16),
        "raw_score": rng.normal(size=COUNT),
        "close": np.full(COUNT, 100.0),
        "sigma": np.full(COUNT, 0.01),
        "scored": k % horizon == 0,
    }


def direction_record(seed=0, horizon=4) -> OutOfSample:
    rng = np.random.default_rng(seed)
    columns = shared(rng, horizon)
    p_up = rng.uniform(0.3, 0.7, COUNT)
    p_up[columns["fold"] == 0] = np.nan
    returns = rng.normal(0, 0.01, COUNT)
    returns[[25, 31]] = 0.0
    returns[-4:] = np.nan
    return OutOfSample(
        **columns,
        p_up=p_up,
        forward_return=returns,
        expected_return=np.zeros(COUNT),
        low=np.full(COUNT, -0.1),
        high=np.full(COUNT, 0.1),
        train_base_rate=np.where(columns["fold"] == 1, 0.53, 0.40),
        last_sign_p=rng.choice([0.48, 0.52], COUNT),
    )


def risk_record(seed=0, horizon=4) -> RiskRecord:
    rng = np.random.default_rng(seed)
    columns = shared(rng, horizon)
    stated = rng.uniform(0.05, 0.6, COUNT)
    stated[columns["fold"] == 0] = np.nan
    outcome = (rng.random(COUNT) < 0.3).astype(np.float64)
    outcome[40] = np.nan
    return RiskRecord(
        **columns,
        p_adverse=stated,
        outcome=outcome,
        train_base_rate=np.full(COUNT, 0.3),
        last_outcome_p=rng.choice([0.25, 0.4], COUNT),
        volatility_p=rng.uniform(0.2, 0.4, COUNT),
    )


def volatility_record(seed=0, horizon=4) -> VolatilityRecord:
    rng = np.random.default_rng(seed)
    columns = shared(rng, horizon)
    forecast, realised = rng.uniform(0.01, 0.02, (2, COUNT))
    forecast[columns["fold"] == 0] = np.nan
    realised[[30, 31]] = np.nan, 0.0
    confidence = np.where(np.isfinite(forecast), 0.6, np.nan)
    ewma, har, constant = rng.uniform(0.01, 0.02, (3, COUNT))
    return VolatilityRecord(
        **columns, forecast=forecast, confidence=confidence, realised=realised, ewma=ewma, har=har, constant=constant
    )


def wilson_low(share: float, n: int) -> float:
    """The smaller root of (share - p)^2 = z^2 p (1 - p) / n."""
    z2 = ONE_SIDED_90**2
    a, b, c = 1 + z2 / n, -(2 * share + z2 / n), share * share
    return (-b - math.sqrt(b * b - 4 * a * c)) / (2 * a)


def test_directions_of_every_phase_are_judged_and_nothing_else():
    record = direction_record()
    found = evaluations_of(record, "direction", 4, training_rows=900)
    rows = [
        i
        for i in range(COUNT)
        if math.isfinite(record.p_up[i]) and math.isfinite(record.forward_return[i]) and record.forward_return[i] != 0
    ]
    assert len(found) == len(rows) == COUNT - 20 - 2 - 4
    assert set((found.k % 4).tolist()) == {0, 1, 2, 3}
    for place, i in enumerate(rows):
        p, up = record.p_up[i], record.forward_return[i] > 0
        assert found.open_ms[place] == record.open_ms[i]
        assert found.came_true[place] == ((p >= 0.5) == up)
        assert found.stated[place] == max(p, 1 - p)
        assert found.loss[place] == pytest.approx(-math.log(p if up else 1 - p))
        for name, said in (
            ("coin", 0.5),
            ("base_rate", record.train_base_rate[i]),
            ("last_sign", record.last_sign_p[i]),
        ):
            assert found.baseline_loss[name][place] == pytest.approx(-math.log(said if up else 1 - said))
            assert found.gain(name)[place] == pytest.approx(found.baseline_loss[name][place] - found.loss[place])
        majority = max(record.train_base_rate[i], 1 - record.train_base_rate[i])
        assert found.null_rate[place] == pytest.approx(majority if wilson_low(majority, 900) > 0.5 else 0.5)


def test_the_null_rate_follows_the_rows_behind_the_base_rate():
    record = direction_record()
    plain = evaluations_of(record, "price", 4)
    assert set(plain.null_rate.tolist()) == {0.53, 0.6}
    few = np.where(record.fold == 1, 20, 100_000)
    bounded = evaluations_of(record, "price", 4, training_rows=few)
    second = np.isin(bounded.open_ms, record.open_ms[record.fold == 2])
    assert (bounded.null_rate[~second] == 0.5).all()
    assert wilson_low(0.6, 100_000) > 0.5
    assert (bounded.null_rate[second] == 0.6).all()


def test_risks_are_judged_by_the_event():
    record = risk_record()
    found = evaluations_of(record, "risk", 4)
    rows = [i for i in range(COUNT) if math.isfinite(record.p_adverse[i]) and math.isfinite(record.outcome[i])]
    assert len(found) == len(rows) == COUNT - 21
    for place, i in enumerate(rows):
        came = record.outcome[i] == 1.0
        assert found.came_true[place] == came
        assert found.stated[place] == record.p_adverse[i]
        assert found.null_rate[place] == 0.3
        for said, loss in (
            (record.p_adverse[i], found.loss),
            (record.train_base_rate[i], found.baseline_loss["base_rate"]),
            (record.last_outcome_p[i], found.baseline_loss["last_outcome"]),
            (record.volatility_p[i], found.baseline_loss["volatility"]),
        ):
            assert loss[place] == pytest.approx(-math.log(said if came else 1 - said))
    assert found.unit == "nats"


def test_volatilities_are_judged_by_a_quarter_and_by_qlike():
    record = volatility_record()
    found = evaluations_of(record, "volatility", 4)
    rows = [i for i in range(COUNT) if math.isfinite(record.forecast[i]) and record.realised[i] > 0]
    assert len(found) == len(rows) == COUNT - 22
    for place, i in enumerate(rows):
        assert found.came_true[place] == (0.75 * record.forecast[i] <= record.realised[i] <= 1.25 * record.forecast[i])
        for said, loss in [(record.forecast[i], found.loss)] + [
            (getattr(record, name)[i], found.baseline_loss[name]) for name in ("ewma", "har", "constant")
        ]:
            x = record.realised[i] ** 2 / said**2
            assert loss[place] == pytest.approx(x - math.log(x) - 1)
    assert np.isnan(found.null_rate).all()
    assert found.unit == "QLIKE"


@pytest.mark.parametrize(
    ("record", "task", "figures"),
    [
        (direction_record(), "direction", evaluate_record),
        (risk_record(), "risk", evaluate_risk),
        (volatility_record(), "volatility", evaluate_volatility),
    ],
)
def test_the_first_phase_is_what_the_figures_count(record, task, figures):
    """Figures of a bundle are measured on the thinned rows: the same gains by the code that reports them."""
    found = evaluations_of(record, task, 4)
    kept = np.isin(record.open_ms, found.open_ms)
    reported = figures(dataclasses.replace(record, scored=record.scored & kept))
    first = found.phase(0)
    assert reported["n"] == len(first) > 5
    assert set(reported["gain"]) == set(first.baseline_loss)
    for name, gain in reported["gain"].items():
        assert gain["mean"] == pytest.approx(first.gain(name).mean())


def test_a_repeated_bar_is_named():
    record = direction_record()
    twice = record.open_ms.copy()
    twice[33] = twice[32]
    with pytest.raises(InvalidRecord, match="twice"):
        evaluations_of(dataclasses.replace(record, open_ms=twice), "direction", 4)


def test_a_record_of_another_task_is_refused():
    with pytest.raises(SchemaMismatch, match="risk is a RiskRecord"):
        evaluations_of(direction_record(), "risk", 4)
    with pytest.raises(InvalidRecord, match="path"):
        evaluations_of(direction_record(), "path", 4)


def test_phases_and_times_cut_the_rows():
    found = evaluations_of(direction_record(), "direction", 4)
    assert found.phases == range(4)
    assert sum(len(found.phase(number)) for number in found.phases) == len(found)
    assert (found.phase(3).k % 4 == 3).all()
    cut = int(found.open_ms[10])
    assert len(found.before(cut)) == 10
    assert found.since(cut).open_ms[0] == cut
    again = Evaluations.concat([found.before(cut), found.since(cut)])
    assert (again.loss == found.loss).all()
    assert (again.baseline_loss["coin"] == found.baseline_loss["coin"]).all()


def test_stretches_that_overlap_are_not_joined():
    found = evaluations_of(direction_record(), "direction", 4)
    with pytest.raises(ValueError, match="a bar counts once"):
        Evaluations.concat([found, found])
    with pytest.raises(ValueError, match="of one task"):
        Evaluations.concat([found, evaluations_of(risk_record(), "risk", 4)])
    with pytest.raises(ValueError, match="of one task"):
        Evaluations.concat([])


def test_columns_of_different_length_are_refused():
    found = evaluations_of(direction_record(), "direction", 4)
    with pytest.raises(ValueError, match="differ in length"):
        dataclasses.replace(found, loss=found.loss[:-1])
    with pytest.raises(ValueError, match="horizon"):
        dataclasses.replace(found, horizon=0)


def test_only_common_bars_are_compared():
    a, b = (evaluations_of(direction_record(seed), "direction", 4) for seed in (1, 2))
    a, b = a.take(np.arange(len(a)) % 3 != 0), b.take(np.arange(len(b)) % 2 == 0)
    left, right = on_common_bars(a, b)
    common = sorted(set(a.open_ms.tolist()) & set(b.open_ms.tolist()))
    assert left.open_ms.tolist() == right.open_ms.tolist() == common
    assert 0 < len(common) < min(len(a), len(b))
    losses = dict(zip(b.open_ms.tolist(), b.loss.tolist(), strict=True))
    assert right.loss.tolist() == [losses[time] for time in common]


def test_different_questions_have_no_common_bars():
    a = evaluations_of(direction_record(), "direction", 4)
    with pytest.raises(SchemaMismatch, match="cannot be compared"):
        on_common_bars(a, evaluations_of(risk_record(), "risk", 4))
    with pytest.raises(SchemaMismatch, match="cannot be compared"):
        on_common_bars(a, evaluations_of(direction_record(), "direction", 5))
    price = evaluations_of(direction_record(), "price", 4)
    assert len(on_common_bars(a, price)[1]) == len(a)
