"""A duel: only bars of which both spoke, each once, whenever the rows come."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_streams import at, direction_rows, hits, share, volatility_rows

from ml.lifecycle.candidacy import Candidacy
from ml.lifecycle.duel import Duel
from ml.lifecycle.paired_test import PairedTest

ROSE = np.random.default_rng(1).random(600) < 0.5
BETTER = direction_rows(ROSE, np.where(ROSE, 0.6, 0.42))
WORSE = direction_rows(ROSE, np.where(ROSE, 0.52, 0.5))


def judge_of(rows) -> Candidacy:
    judge = Candidacy("1h")
    judge.feed(rows)
    return judge


def fought(challenger, incumbent, since=0) -> Duel:
    duel = Duel("1h", at(since))
    duel.look(judge_of(challenger), judge_of(incumbent))
    return duel


def test_the_evidence_is_that_of_the_paired_test_on_the_bars_since():
    duel = fought(BETTER, WORSE, 100)
    expected = PairedTest().update((WORSE.loss - BETTER.loss)[100:])
    assert (duel.n, duel.log_e) == (500, expected.log_e)
    assert duel.gain == pytest.approx(expected.mean)
    assert fought(WORSE, BETTER, 100).log_e < 0 < duel.log_e


def test_bars_that_one_of_them_lacks_do_not_count():
    gaps = np.ones(600, dtype=bool)
    gaps[[0, 5, 200, 201, 599]] = False
    duel = fought(BETTER.take(gaps), WORSE)
    assert duel.n == 595
    assert duel.log_e == PairedTest().update((WORSE.loss - BETTER.loss)[gaps]).log_e


def test_nothing_is_compared_before_both_have_spoken():
    duel = fought(BETTER.take(slice(0, 0)), WORSE)
    assert (duel.n, duel.log_e) == (0, 0.0)
    assert math.isnan(duel.gain)
    assert duel.to_dict() == {"evaluations": 0, "gain": None, "evidence": 1.0}
    assert duel.words("a", "b") == "b and a have no evaluation in common yet"
    assert fought(BETTER, WORSE, 600).n == 0


def test_it_is_told_to_people():
    duel = fought(BETTER, WORSE)
    assert duel.words("a", "b") == (
        f"over 600 evaluations b saves {duel.gain:+.5f} against a each (evidence {math.exp(duel.log_e):.3g})"
    )


@settings(max_examples=30, deadline=None)
@given(
    mine=st.lists(st.integers(0, 600), max_size=5),
    theirs=st.lists(st.integers(0, 600), max_size=5),
    gaps=st.sets(st.integers(0, 599), max_size=20),
)
def test_rows_may_come_in_any_chunks_and_one_after_the_other(mine, theirs, gaps):
    kept = np.array([row not in gaps for row in range(600)])
    challenger, incumbent, duel = Candidacy("1h"), Candidacy("1h"), Duel("1h", at(50))
    spoken = BETTER.take(kept)
    ends = [int(np.searchsorted(spoken.open_ms, at(end))) for end in (0, *sorted(theirs), 600)]
    moments = sorted(
        [(end, challenger, spoken.take(slice(start, end))) for start, end in pairwise(ends)]
        + [(end, incumbent, WORSE.take(slice(start, end))) for start, end in pairwise((0, *sorted(mine), 600))],
        key=lambda moment: moment[0],
    )
    for _, judge, rows in moments:
        judge.feed(rows)
        duel.look(challenger, incumbent)
    whole = fought(spoken, WORSE, 50)
    assert (duel.n, duel.log_e, duel.gain) == (whole.n, whole.log_e, whole.gain)


def test_every_phase_counts_where_one_is_too_few():
    long = hits(share(0.6, 240), horizon=24)
    short = hits(share(0.4, 240), horizon=24)
    duel = fought(long, short)
    gains = short.loss - long.loss
    wealth = [math.exp(PairedTest().update(gains[long.k % 24 == phase]).log_e) for phase in range(24)]
    assert duel.n == 240
    assert math.exp(duel.log_e) == pytest.approx(np.mean(wealth))


def test_losses_of_volatility_have_their_own_unit():
    rng = np.random.default_rng(2)
    loss = rng.standard_gamma(1.0, 400)
    duel = fought(volatility_rows(loss, loss), volatility_rows(loss + 0.5, loss))
    assert duel.log_e == pytest.approx(PairedTest.in_unit("QLIKE").update(np.full(400, 0.5)).log_e)
