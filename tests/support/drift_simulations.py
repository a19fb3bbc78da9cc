"""Streams of hits and losses with known properties, and how long the lifecycle's tests take on them."""

from __future__ import annotations

import math

import numpy as np

from ml.intervals import wilson
from ml.lifecycle.drift_test import DriftTest, reference_rate
from ml.lifecycle.hit_rate_test import HitRateTest
from ml.lifecycle.paired_test import PairedTest
from ml.lifecycle.phases import Phased

YEAR = 8_760


def time_to_alarm(rng, test: DriftTest, rate: float, limit: int, chunk: int = 4_000) -> int | None:
    """Return after how many evaluations of that hit rate the alarm comes; None within ``limit``."""
    while test.n < limit and not test.alarm:
        test = test.update(rng.random(min(chunk, limit - test.n)) < rate)
    return None if test.alarm_at is None else test.alarm_at + 1


def delay(rng, before: float, after: float, record: int | None, *, healthy: int = 0, limit: int = 60_000) -> float:
    """Return the evaluations from a fall to its alarm.

    Parameters
    ----------
    record
        Rows that p0 is the Wilson bound of; None where it is known.
    healthy
        Evaluations that the test sees before the fall.

    Returns
    -------
    float
        NaN where the bound is not above a coin, or where the alarm came before the fall; infinity beyond the limit.
    """
    p0 = before if record is None else reference_rate(int(rng.binomial(record, before)), record)
    if p0 <= 0.5:
        return math.nan
    test = DriftTest.of_hit_rate(p0, YEAR).update(rng.random(healthy) < before)
    if test.alarm:
        return math.nan
    start = test.n
    found = time_to_alarm(rng, test, after, start + limit, chunk=1_000)
    return math.inf if found is None else found - start


def calibrated_alarm(rng, limit: int, skill: float = 1.0) -> int | None:
    """Return when a model whose log odds are normal around a rate of 30 % raises the alarm by its stated probabilities.

    Parameters
    ----------
    skill
        1 where what it states comes true as stated, 0 where only the rate does.
    """
    test = DriftTest.of_probabilities(YEAR)
    while test.n < limit and not test.alarm:
        odds = math.log(0.3 / 0.7) + 0.3 * rng.standard_normal(min(2_000, limit - test.n))
        stated = logistic(odds)
        null = np.full(len(odds), float(stated.mean()))
        test = test.update(rng.random(len(odds)) < skill * stated + (1 - skill) * null, stated, null)
    return None if test.alarm_at is None else test.alarm_at + 1


def overlapping_hits(rng, count: int, horizon: int, rate: float) -> np.ndarray:
    """Return hits of a model that always says up, where sums of ``horizon`` independent moves rise with probability ``rate``.

    The direction never changes, so neighbouring hits share all but one of their moves: the most that labels can overlap.
    """
    from scipy.special import ndtri

    moves = rng.standard_normal(count + horizon) + ndtri(rate) / math.sqrt(horizon)
    total = np.cumsum(moves)
    return total[horizon:] - total[:-horizon] > 0


def years_to_overlapping_alarm(rng, horizon: int, rate: float, p0: float, phases: int, years: int) -> int | None:
    """Return the bar of a false alarm on overlapping labels; None where none came."""
    test = DriftTest.of_hit_rate(p0, YEAR / horizon)
    phased = Phased.of(test, horizon, phases)
    hits = overlapping_hits(rng, years * YEAR, horizon, rate)
    for year in range(years):
        part = slice(year * YEAR, (year + 1) * YEAR)
        phased = phased.update(np.arange(years * YEAR)[part], hits[part])
        if phased.alarm_k is not None:
            return phased.alarm_k + 1
    return None


def evidence_delay(rng, rate: float, threshold: float, limit: int, null_rate: float = 0.5) -> float:
    """Return after how many evaluations the hit-rate test reaches the threshold; infinity beyond the limit."""
    test = HitRateTest()
    while test.n < limit:
        hits = rng.random(min(2_000, limit - test.n)) < rate
        above = test.path(hits, null_rate) >= math.log(threshold)
        if above.any():
            return test.n + int(np.argmax(above)) + 1
        test = test.update(hits, null_rate)
    return math.inf


def naive_alarms(rng, rate: float, evaluations: int, window: int = 24, every: int = 12, points: float = 0.05) -> int:
    """Return how many checks of the last ``window`` hits find the rate more than ``points`` below the true one."""
    sums = np.concatenate([[0], np.cumsum(rng.random(evaluations) < rate)])
    ends = np.arange(window, evaluations + 1, every)
    # the last day's share, as the seed has it, against the backtest's accuracy
    return int(np.count_nonzero((sums[ends] - sums[ends - window]) / window < rate - points))


def logistic(x):
    return 1.0 / (1.0 + np.exp(-x))


def losses_of(stated_logit, rose):
    """Log-loss in nats of probabilities given by their log odds."""
    return np.logaddexp(0.0, np.where(rose, -stated_logit, stated_logit))


def spread_of(rate: float) -> float:
    """Return the deviation of a normal log odds whose calibrated sign is right with that probability."""
    return (rate - 0.5) * 4.0 / math.sqrt(2.0 / math.pi)  # E max(p, 1-p) - 1/2 = E |logit| / 4 to first order


def pair(rng, count: int, rate_a: float, rate_b: float, shared: float = 0.5) -> np.ndarray:
    """Return ``loss_b - loss_a`` of two calibrated models with these hit rates.

    The log odds of the truth are a sum of parts; a knows parts with a variance that gives its hit rate, b likewise, and they
    share a fraction of the smaller.
    """
    var_a, var_b = spread_of(rate_a) ** 2, spread_of(rate_b) ** 2
    common = shared * min(var_a, var_b)
    base = rng.standard_normal(count) * math.sqrt(common)
    own_a = rng.standard_normal(count) * math.sqrt(var_a - common)
    own_b = rng.standard_normal(count) * math.sqrt(var_b - common)
    rose = rng.random(count) < logistic(base + own_a + own_b)
    return losses_of(base + own_b, rose) - losses_of(base + own_a, rose)


def equally_good(rng, count: int, kind: str) -> np.ndarray:
    """Return differences of two models whose expected losses are equal, of several kinds of noise."""
    truth = rng.standard_normal(count) * spread_of(0.54)
    rose = rng.random(count) < logistic(truth)
    if kind == "noise":  # both see the truth through noise of the same size
        a, b = (truth + 0.15 * rng.standard_normal(count) for _ in range(2))
    elif kind == "bold":  # one overstates as much as the other understates: equal losses, differences that are skewed
        a, b = 1.8 * truth, 0.2 * truth
    elif kind == "wild":  # far overconfident, both: differences of about a nat
        a, b = (truth + 1.5 * rng.standard_normal(count) for _ in range(2))
    elif (
        kind == "volatility"
    ):  # variance stated a fifth too low, and too high so that the mean QLIKE is the same; fat tails
        ratio = rng.f(4, 8, count) * (8 - 2) / 8  # realised over true variance, mean 1
        low = 0.8
        high = _same_qlike(low)
        return (ratio / high + math.log(high)) - (ratio / low + math.log(low))
    elif kind == "rare":  # an event of 1 in 100, stated too low by the one and too high by the other
        rose = rng.random(count) < 0.01
        low, high = 0.005, _mirror(0.01, 0.005)
        a = np.full(count, math.log(low / (1 - low)))
        b = np.full(count, math.log(high / (1 - high)))
    else:
        raise ValueError(kind)
    return losses_of(b, rose) - losses_of(a, rose)


def _same_qlike(low: float) -> float:
    """Return the factor above 1 on a variance that costs as much mean QLIKE as ``low``."""
    from scipy.optimize import brentq

    def cost(g):
        return 1 / g + math.log(g)

    return float(brentq(lambda g: cost(g) - cost(low), 1.0001, 10))


def _mirror(p: float, low: float) -> float:
    """Return the probability above p with the same expected log-loss as ``low`` below it."""
    from scipy.optimize import brentq

    def cost(q):
        return -p * math.log(q) - (1 - p) * math.log(1 - q)

    return float(brentq(lambda q: cost(q) - cost(low), p, 0.5))


def paired_delay(rng, draw, threshold: float, limit: int, chunk: int = 2_000) -> float:
    """Return after how many bars the paired test reaches the threshold; infinity beyond the limit."""
    test = PairedTest()
    while test.n < limit:
        differences = draw(rng, min(chunk, limit - test.n))
        above = test.path(differences) >= math.log(threshold)
        if above.any():
            return test.n + int(np.argmax(above)) + 1
        test = test.update(differences)
    return math.inf


def share_interval(count: int, of: int) -> str:
    """Return a share in words with its Wilson interval."""
    low, high = wilson(count, of)
    return f"{100 * count / of:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
