"""Error rates of the lifecycle's tests, over seeded streams of known hit rates: false alarms, delays, levels, power.

A year has 8,760 evaluations: 1h bars, horizon 1. Falls come a quarter of a year after the test began, or with its first
evaluation; the longer delay is judged. p0 is known, or the one-sided 85 % Wilson bound of a record.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from drift_simulations import (
    YEAR,
    calibrated_alarm,
    delay,
    equally_good,
    evidence_delay,
    naive_alarms,
    overlapping_hits,
    pair,
    paired_delay,
    share_interval,
    time_to_alarm,
    years_to_overlapping_alarm,
)

from ml.lifecycle.confidence_set import confidence_set
from ml.lifecycle.drift_test import ONE_SIDED_85, DriftTest, reference_rate
from ml.lifecycle.hit_rate_test import HitRateTest
from ml.lifecycle.paired_test import PairedTest
from ml.lifecycle.phases import Phased

__all__ = ["measure"]

SEED = 20_260
_FALLS = {  # before, after: asked with p0 known, and by the bound of 8,760 rows
    (0.55, 0.50): (1_250, 1_700),
    (0.55, 0.45): (450, 500),
    (0.54, 0.50): (2_500, 2_500),
}


def measure() -> list[dict[str, Any]]:
    """Return what was asked of each error rate beside what was measured; about two minutes on one idle core."""
    return [*healthy(), *overlapping(), *naive(), *falls(), *first_champion(), *pairs(), *kept(), *speed()]


def _row(what: str, asked: str, measured: str, *, ok: bool) -> dict[str, Any]:
    return {"what": what, "asked": asked, "measured": measured, "ok": ok}


def _quantile(values: list[float], share: float = 0.95) -> float:
    """Return the value within which that share of the runs lies; runs that do not count are NaN."""
    known = np.sort([value for value in values if not math.isnan(value)])
    return float(known[math.ceil(share * len(known)) - 1])


def healthy(runs: int = 1_000) -> list[dict[str, Any]]:
    """Return the mean time to a false alarm of models whose hit rate does not change."""
    rows = []
    for rate in (0.53, 0.54, 0.55):
        rng = np.random.default_rng([SEED, 1, round(1_000 * rate)])
        times = [time_to_alarm(rng, DriftTest.of_hit_rate(rate, YEAR), rate, 20 * YEAR) for _ in range(runs)]
        total, alarms = sum(20 * YEAR if t is None else t for t in times), sum(t is not None for t in times)
        mean, error = total / alarms, total / alarms / math.sqrt(alarms)
        rows.append(
            _row(
                f"mean time to a false alarm, hit rate {rate:.0%} known exactly, {runs:,} runs",
                f"at least {YEAR:,} evaluations, a year (within two standard errors)",
                f"{mean:,.0f} +- {error:,.0f}",
                ok=mean + 2 * error >= YEAR,
            )
        )
        rng = np.random.default_rng([SEED, 2, round(1_000 * rate)])
        bounds = [reference_rate(int(rng.binomial(YEAR, rate)), YEAR) for _ in range(runs)]
        found = sum(time_to_alarm(rng, DriftTest.of_hit_rate(p0, YEAR), rate, YEAR) is not None for p0 in bounds)
        rows.append(
            _row(
                f"the same with the bound of 8,760 rows (z = {ONE_SIDED_85:.4f}): models with a false alarm in one year",
                "at most 63 %, as with one alarm a year on average",
                share_interval(found, runs),
                ok=found / runs <= 1 - math.exp(-1),
            )
        )
    rng = np.random.default_rng([SEED, 3])
    times = [calibrated_alarm(rng, 10 * YEAR) for _ in range(300)]
    total, alarms = sum(10 * YEAR if t is None else t for t in times), sum(t is not None for t in times)
    rows.append(
        _row(
            "mean time to a false alarm by stated probabilities, calibrated, 300 runs",
            f"at least {YEAR:,} (within two standard errors)",
            f"{total / alarms:,.0f}",
            ok=total / alarms * (1 + 2 / math.sqrt(alarms)) >= YEAR,
        )
    )
    return rows


def overlapping(runs: int = 300) -> list[dict[str, Any]]:
    """Return false alarms and false evidence on labels of 24 bars, scored at every bar."""
    rows = []
    for phases, name in ((24, "24 phases averaged"), (1, "one phase in 24")):
        rng = np.random.default_rng([SEED, 4])
        found = [years_to_overlapping_alarm(rng, 24, 0.55, 0.55, phases, 10) for _ in range(runs)]
        bars, alarms = sum(10 * YEAR if k is None else k for k in found), sum(k is not None for k in found)
        years = bars / alarms / YEAR
        rows.append(
            _row(
                f"years to a false alarm, horizon 24 on 1h, {name}, {runs} runs",
                "at least 1 (within two standard errors)",
                f"{years:.2f}",
                ok=years * (1 + 2 / math.sqrt(alarms)) >= 1,
            )
        )
    rng, crossed = np.random.default_rng([SEED, 5]), 0
    for _ in range(runs):
        hits = overlapping_hits(rng, 3 * YEAR, 24, 0.5)
        _, path = Phased.of(HitRateTest(), 24, 24).path(np.arange(len(hits)), hits)
        crossed += bool(path.max() >= math.log(20))
    rows.append(
        _row(
            f"coins that show e >= 20 within three years, 24 phases averaged, {runs} runs",
            "at most 5 % (within its interval)",
            share_interval(crossed, runs),
            ok=crossed / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs),
        )
    )
    return rows


def naive(runs: int = 200) -> list[dict[str, Any]]:
    """Return the false alarms of the rule "last 24 bars more than 5 points under the backtest", looked at every 12 bars."""
    rows = []
    for rate in (0.53, 0.54, 0.55):
        rng = np.random.default_rng([SEED, 6])
        mean = float(np.mean([naive_alarms(rng, rate, YEAR) for _ in range(runs)]))
        rows.append(
            _row(
                f"false alarms a year of the naive rule, healthy {rate:.0%} model",
                "shown beside the test's one",
                f"{mean:.0f}",
                ok=True,
            )
        )
    return rows


def falls(runs: int = 1_000) -> list[dict[str, Any]]:
    """Return within how many evaluations 95 % of the falls are found."""
    rows = []
    for (before, after), (known, bounded) in _FALLS.items():
        for record, asked in ((None, known), (YEAR, bounded)):
            ends = []
            for healthy_time in (YEAR // 4, 0):
                rng = np.random.default_rng([SEED, 7, round(100 * before), round(100 * after), healthy_time])
                ends.append(_quantile([delay(rng, before, after, record, healthy=healthy_time) for _ in range(runs)]))
            name = "p0 known" if record is None else "p0 the bound of 8,760 rows"
            rows.append(
                _row(
                    f"fall from {before:.0%} to {after:.0%}, {name}: found in 95 % of {runs:,} runs",
                    f"within {asked:,} evaluations",
                    f"within {max(ends):,.0f} (later {ends[0]:,.0f}, at once {ends[1]:,.0f})",
                    ok=max(ends) <= asked,
                )
            )
    return rows


def first_champion(runs: int = 1_000) -> list[dict[str, Any]]:
    """Return how soon a model of 54 % is told from a coin, and how often a coin passes for one."""
    rows = []
    for candidates, asked in ((1, 3_500), (5, None)):
        rng = np.random.default_rng([SEED, 8, candidates])
        times = [evidence_delay(rng, 0.54, 20 * candidates, 60_000) for _ in range(runs)]
        end = _quantile(times)
        rows.append(
            _row(
                f"hit rate 54 %, e >= {20 * candidates} (m = {candidates}) in 95 % of {runs:,} runs",
                "reported" if asked is None else f"within {asked:,} evaluations",
                f"within {end:,.0f}, mean {np.mean(times):,.0f}",
                ok=asked is None or end <= asked,
            )
        )
        rng = np.random.default_rng([SEED, 9, candidates])
        crossed = sum(evidence_delay(rng, 0.5, 20 * candidates, YEAR) < math.inf for _ in range(runs))
        rows.append(
            _row(
                f"a coin shows e >= {20 * candidates} in a year of looking at every bar, {runs:,} runs",
                f"at most {5 / candidates:g} % (within two standard errors)",
                share_interval(crossed, runs),
                ok=crossed / runs <= 0.05 / candidates + 2 * math.sqrt(0.05 / candidates / runs),
            )
        )
    return rows


def pairs(runs: int = 500) -> list[dict[str, Any]]:
    """Return the level of the paired test under equal models, and how long it takes with unequal ones."""
    rows = []
    for kind in ("noise", "bold", "wild", "rare", "volatility"):
        rng, crossed = np.random.default_rng([SEED, 10]), np.zeros(2, dtype=int)
        test = PairedTest.in_unit("QLIKE" if kind == "volatility" else "nats")
        for _ in range(runs):
            differences = equally_good(rng, YEAR, kind)
            crossed += [bool(test.path(sign * differences).max() >= math.log(20)) for sign in (1, -1)]
        rows.append(
            _row(
                f"equally good models ({kind}): e >= 20 in a year of looking at every bar, {runs} runs, the worse side",
                "at most 5 % (within two standard errors)",
                share_interval(int(crossed.max()), runs),
                ok=crossed.max() / runs <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / runs),
            )
        )
    unequal = ((0.54, 0.52, 1.0), (0.54, 0.52, 0.5), (0.55, 0.53, 0.5), (0.55, 0.52, 0.5), (0.54, 0.5, 0.0))
    for rate_a, rate_b, shared in unequal:
        for threshold in (20, 100):
            rng = np.random.default_rng([SEED, 11])
            times = [
                paired_delay(rng, lambda g, n, p=(rate_a, rate_b, shared): pair(g, n, *p), threshold, 100_000)
                for _ in range(runs // 2)
            ]
            rows.append(
                _row(
                    f"paired test, {rate_a:.0%} against {rate_b:.0%} ({shared:.0%} of the weaker's knowledge shared), "
                    f"e >= {threshold}",
                    "reported",
                    f"half of the runs within {_quantile(times, 0.5):,.0f} bars, 95 % within {_quantile(times):,.0f}",
                    ok=True,
                )
            )
    return rows


def kept(runs: int = 200) -> list[dict[str, Any]]:
    """Return how often the model confidence set of 90 days of 1h bars holds the best model, and a clearly worse one."""
    rng, best, worse, sizes = np.random.default_rng([SEED, 12]), 0, 0, []
    for run in range(runs):
        base = rng.standard_normal(2_160) * 0.1
        losses = 0.69 + base[:, None] + 0.05 * rng.standard_normal((2_160, 5)) + np.array([0, 0, 0.001, 0.003, 0.008])
        found = confidence_set(losses, list("abcde"), seed=run)
        best += {"a", "b"} <= set(found.kept)
        worse += "e" in found.kept
        sizes.append(len(found.kept))
    return [
        _row(
            f"model confidence set holds both of two best of five models, {runs} runs",
            "at least 90 % (within two standard errors)",
            share_interval(best, runs),
            ok=best / runs >= 0.9 - 2 * math.sqrt(0.09 / runs),
        ),
        _row(
            "the same set holds a model that loses 0.008 nats more",
            "at most 5 %",
            f"{share_interval(worse, runs)}; mean size {np.mean(sizes):.1f}",
            ok=worse / runs <= 0.05,
        ),
    ]


def speed() -> list[dict[str, Any]]:
    """Return the time of one update by a cycle's 12 evaluations, and by a year's."""
    rng = np.random.default_rng([SEED, 13])
    hits, differences = rng.random(YEAR) < 0.54, 0.05 * rng.standard_normal(YEAR)
    tests = {
        "hit rate": lambda n: HitRateTest().update(hits[:n], 0.5),
        "paired": lambda n: PairedTest().update(differences[:n]),
        "drift": lambda n: DriftTest.of_hit_rate(0.54, YEAR).update(hits[:n]),
    }
    rows = []
    for name, run in tests.items():
        took = {n: min(_seconds(run, n) for _ in range(9)) for n in (12, YEAR)}
        rows.append(
            _row(
                f"{name} test: update by 12 evaluations",
                "at most 1 ms",
                f"{1e6 * took[12]:.0f} us; a year's {1e3 * took[YEAR]:.1f} ms",
                ok=took[12] <= 1e-3,
            )
        )
    return rows


def _seconds(run: Any, count: int) -> float:
    started = time.perf_counter()
    run(count)
    return time.perf_counter() - started
