"""A claim to serve: the evidence by exact arithmetic, what lacks in words, and the same bits however rows come."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_streams import at, hits, risk_rows, share, volatility_rows

from ml.lifecycle.candidacy import Candidacy

NEEDED = math.log(20)


def claim_of(rows, *, counted_from=None, timeframe="1h", needed=NEEDED):
    judge = Candidacy(timeframe, counted_from)
    judge.feed(rows)
    return judge.claim(needed)


def exact_evidence(pattern) -> float:
    """Mean likelihood ratio of 51 to 58 % against a coin, in exact arithmetic."""
    right, wrong = int(np.count_nonzero(pattern)), int(np.count_nonzero(~np.asarray(pattern)))
    rates = [Fraction(50 + points, 100) for points in range(1, 9)]
    return float(sum((2 * rate) ** right * (2 - 2 * rate) ** wrong for rate in rates) / len(rates))


def test_the_evidence_is_the_mixture_of_likelihood_ratios():
    pattern = share(0.57, 800)
    claim = claim_of(hits(pattern))
    assert math.exp(claim.log_e) == pytest.approx(exact_evidence(pattern), rel=1e-10)
    assert (claim.n, claim.hits) == (800, 456)
    assert claim.hit_rate == pytest.approx(0.57)
    # the score interval: p that solves (share - p)^2 = z^2 p (1 - p) / n
    assert (0.57 - claim.lower) ** 2 == pytest.approx(1.2815515655446**2 * claim.lower * (1 - claim.lower) / 800)
    assert claim.gains["coin"] == pytest.approx(0.57 * math.log(1.1) + 0.43 * math.log(0.9))
    assert claim.holds
    assert claim.lacks == ()


def test_each_lack_is_said_in_words():
    assert claim_of(hits([])).lacks == ("evidence 1 of 20", "no evaluations yet")
    weak = claim_of(hits(share(0.5, 100)))
    assert not weak.holds
    assert weak.lacks[0] == f"evidence {exact_evidence(share(0.5, 100)):.3g} of 20"
    assert weak.lacks[1:4] == ("loses more than coin", "loses more than base rate", "loses more than last sign")
    assert weak.lacks[4:] == ("hit rate may be as low as 43.6 %",)
    sure = claim_of(hits(share(0.57, 3_000), losing=True))
    assert sure.log_e > NEEDED
    assert sure.lacks == ("loses more than coin", "loses more than base rate", "loses more than last sign")
    assert claim_of(hits(share(0.57, 3_000)), needed=200.0).lacks == (
        f"evidence {math.exp(sure.log_e):.3g} of 7.23e+86",
    )


def test_a_claim_is_told_to_people_and_to_files():
    claim = claim_of(hits(share(0.57, 20_000)))
    assert (
        claim.words()
        == f"right in 57.0 % of 20,000 evaluations, at least 56.6 % (evidence {math.exp(claim.log_e):.3g}, needed 20)"
    )
    told = claim.to_dict()
    assert told["evidence_needed"] == pytest.approx(20)
    assert (told["evaluations"], told["lacks"]) == (20_000, [])
    assert claim_of(hits([])).to_dict()["hit_rate"] is None


def test_one_phase_counts_where_it_is_enough_and_every_phase_where_it_is_not():
    right = share(0.6, 2_400)
    thinned = claim_of(hits(right, horizon=4))
    rows = (400_000 + np.arange(2_400)) % 4 == 0
    assert (thinned.n, thinned.hits) == (600, int(right[rows].sum()))
    assert math.exp(thinned.log_e) == pytest.approx(exact_evidence(right[rows]))
    overlapping = claim_of(hits(right, horizon=24))
    phases = [right[(400_000 + np.arange(2_400)) % 24 == phase] for phase in range(24)]
    assert overlapping.n == 2_400
    assert math.exp(overlapping.log_e) == pytest.approx(np.mean([exact_evidence(phase) for phase in phases]))
    # a day's bars tell as much as one
    assert overlapping.lower == pytest.approx(claim_of(hits(share(0.6, 100))).lower)


def test_a_restart_counts_later_bars_only():
    rows = hits(np.concatenate([share(0.6, 1_000), share(0.5, 1_000)]))
    judge = Candidacy("1h")
    judge.feed(rows)
    assert judge.claim(NEEDED).holds
    judge.restart(at(1_000))
    assert judge.claim(NEEDED) == claim_of(rows.since(at(1_000))) == claim_of(rows, counted_from=at(1_000))
    assert judge.reference() == (500, 1_000)
    assert judge.reference(at(1_400)) == (200, 400)
    assert judge.rows is not None
    assert len(judge.rows) == 2_000


def test_the_record_before_a_time_is_counted_by_the_phases_that_count():
    right = share(0.6, 2_000)
    judge = Candidacy("1h")
    judge.feed(hits(right, horizon=4))
    taken = (400_000 + np.arange(1_000)) % 4 == 0
    assert judge.reference(at(1_000)) == (int(right[:1_000][taken].sum()), 250)
    assert judge.reference(at(2_000)) == judge.reference()


def test_later_rows_are_found_across_chunks():
    rows = hits(share(0.5, 100))
    judge = Candidacy("1h")
    for start in range(0, 100, 7):
        judge.feed(rows.take(slice(start, start + 7)))
    found = judge.later(at(40))
    assert found is not None
    np.testing.assert_array_equal(found.open_ms, rows.open_ms[40:])
    assert judge.later(at(100)) is None
    assert judge.last_ms == at(99)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    cuts=st.lists(st.integers(0, 400), max_size=6),
    horizon=st.sampled_from([1, 4, 24]),
    asked=st.lists(st.booleans(), min_size=7, max_size=7),
    counted_from=st.none() | st.integers(0, 400).map(at),
)
def test_chunks_and_questions_between_them_change_no_bit(seed, cuts, horizon, asked, counted_from):
    rows = hits(np.random.default_rng(seed).random(400) < 0.55, horizon=horizon)
    judge = Candidacy("1h", counted_from)
    for (start, end), ask in zip(pairwise([0, *sorted(cuts), 400]), asked, strict=False):
        judge.feed(rows.take(slice(start, end)))
        if ask:
            judge.claim(NEEDED)
    # the text of the bits, as a claim without rows holds NaN
    assert repr(judge.claim(NEEDED)) == repr(claim_of(rows, counted_from=counted_from))


def test_another_probability_must_lose_less_than_every_baseline():
    rng = np.random.default_rng(3)
    stated = rng.choice([0.05, 0.4], 4_000)
    came = rng.random(4_000) < stated
    claim = claim_of(risk_rows(came, stated))
    assert claim.holds
    assert math.isnan(claim.hit_rate)
    assert claim.words().startswith("it loses less than every baseline over 4,000 evaluations (evidence ")
    # no better than the base rate, though far better than the other one
    useless = claim_of(risk_rows(rng.random(4_000) < 0.2, np.full(4_000, 0.2)))
    assert useless.gains["bands"] > 0
    assert useless.lacks == ("evidence 1 of 20", "loses more than base rate")


def test_the_weakest_evidence_counts():
    rng = np.random.default_rng(4)
    loss = rng.standard_gamma(1.0, 6_000)
    claim = claim_of(volatility_rows(loss, loss + rng.normal(0.3, 1.0, 6_000)))
    assert set(claim.gains) == {"ewma", "har"}
    assert claim.holds
    worse = claim_of(volatility_rows(loss + 0.3, loss))
    assert worse.log_e < 0
    assert worse.lacks[1:] == ("loses more than ewma", "loses more than har")


def test_a_stream_tells_what_it_answers():
    judge = Candidacy("1h")
    assert (judge.question, judge.phases, judge.rows, judge.last_ms) == (None, 1, None, None)
    judge.feed(hits([True], horizon=24))
    assert (judge.question, judge.phases) == (("direction", 24), 24)
    judge = Candidacy("1h")
    judge.feed(risk_rows([True], [0.3]))
    assert (judge.question, judge.is_direction) == (("risk", 1), False)
