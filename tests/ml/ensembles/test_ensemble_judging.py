"""The judgement of an ensemble: nothing later reaches back, and verdicts are those of the truth that was built in."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from member_rows import altered, cut, member_rows

from ml.ensembles.judging import BLOCK_ROWS, compare, judge
from ml.evaluation import evaluate_record, log_loss

METHODS = ("weighted_avg", "voting", "stacking")


def bits(record, end):
    return {f.name: getattr(record, f.name)[:end].tobytes() for f in fields(record)}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", [1, 3])
def test_altering_later_rows_changes_no_bit_of_earlier_ones(method, horizon):
    rows = member_rows(4_200 * horizon, horizon=horizon, seed=horizon)
    whole = judge(rows, method, horizon=horizon)
    for first in (1_300 * horizon, 2_750 * horizon + 1, 4_100 * horizon):
        other = judge(altered(rows, first), method, horizon=horizon)
        assert bits(other.record, first) == bits(whole.record, first)
        assert other.learnt[:first].tobytes() == whole.learnt[:first].tobytes()
    changed = judge(altered(rows, 1_300 * horizon), method, horizon=horizon)
    assert bits(changed.record, len(rows)) != bits(whole.record, len(rows))  # the alteration is one
    if method == "stacking":
        assert whole.learnt.any()  # and a learnt combination was among what was held against it


@pytest.mark.parametrize("method", METHODS)
def test_appending_rows_changes_no_bit_of_earlier_ones(method):
    rows = member_rows(3_456, seed=5)
    whole = judge(rows, method, horizon=1)
    for end in (499, 1_000, 2_777):
        part = judge(cut(rows, end), method, horizon=1)
        assert bits(part.record, end) == bits(whole.record, end)


def test_outcomes_that_were_not_known_yet_are_purged():
    horizon = 4
    rows = member_rows(4_000 * horizon, horizon=horizon, seed=3)
    whole = judge(rows, "weighted_avg", horizon=horizon)
    border = int(np.flatnonzero(whole.record.fold == 3)[0])
    known = int(np.flatnonzero(rows.scored[: border - horizon + 1])[-1])
    late = np.flatnonzero(rows.scored[:border])
    late = late[late > known]
    assert len(late) == 1
    returns = rows.outcome.copy()
    returns[late] *= -1  # its label ends after the block's first bar
    other = judge(replace(rows, outcome=returns), "weighted_avg", horizon=horizon)
    block = whole.record.fold == 3
    assert whole.record.p_up[block].tobytes() == other.record.p_up[block].tobytes()
    returns[known] *= -1  # known when the block begins: it counts
    counted = judge(replace(rows, outcome=returns), "weighted_avg", horizon=horizon)
    assert whole.record.p_up[block].tobytes() != counted.record.p_up[block].tobytes()


def test_the_first_block_is_not_judged():
    rows = member_rows(2_000, seed=6)
    record = judge(rows, "weighted_avg", horizon=1).record
    assert np.isnan(record.p_up[:BLOCK_ROWS]).all()
    assert np.isfinite(record.p_up[BLOCK_ROWS:]).all()
    assert (np.bincount(record.fold) == BLOCK_ROWS).all()


@pytest.mark.parametrize("method", ["weighted_avg", "stacking"])
def test_members_that_know_different_things_are_better_together(method):
    rows = member_rows(12_000, seed=7, signals=((0.3, 0.0, 0.0), (0.0, 0.3, 0.0), (0.0, 0.0, 0.3)))
    judged = judge(rows, method, horizon=1)
    found = compare(rows, judged, judge(rows, "weighted_avg", horizon=1, given=(1, 1, 1)))
    assert found["versus_best"]["better"]
    assert found["versus_best"]["low"] > 0
    assert found["n"] == 11_500
    assert found["second_half"] == 5_750
    figures = evaluate_record(judged.record)
    # pooled log odds of a third each are too timid by a factor of three: the map after the pool makes up for it
    assert figures["calibration_error"] < 0.02
    assert judged.calibration.slope > (1.8 if method == "weighted_avg" else 0.8)


def test_the_same_member_twice_is_not_better_than_itself():
    rows = member_rows(12_000, seed=8, signals=((0.3,), (0.3,)))
    found = compare(rows, judge(rows, "weighted_avg", horizon=1), judge(rows, "weighted_avg", horizon=1, given=(1, 1)))
    assert not found["versus_best"]["better"]
    assert found["pairs"][0]["disagreement"] == 0.0
    assert found["pairs"][0]["error_correlation"] == pytest.approx(1.0)
    assert found["pairs"][0]["score_correlation"] == pytest.approx(1.0)


def test_the_best_member_is_chosen_on_the_first_half_and_met_on_the_second():
    rows = member_rows(8_000, seed=9, signals=((0.5, 0.0), (0.0, 0.2)))
    p_up = rows.stated.copy()
    p_up[4_500:, 0] = 1 - p_up[4_500:, 0]  # the star of the first half turns wrong; over all the other is better
    rows = replace(rows, stated=p_up)
    judged = judge(rows, "weighted_avg", horizon=1, given=(0.0, 1.0))
    found = compare(rows, judged, judge(rows, "weighted_avg", horizon=1, given=(1, 1)))
    assert found["best_member"] == rows.names[0]
    assert [each["best"] for each in found["members"]] == [True, False]
    rest = np.arange(8_000)[BLOCK_ROWS:][3_750:]
    saved = log_loss(rows.stated[rest, 0], (rows.outcome > 0)[rest]) - log_loss(
        judged.record.p_up[rest], (rows.outcome > 0)[rest]
    )
    assert found["versus_best"]["mean"] == pytest.approx(float(saved.mean()))
    assert found["versus_best"]["n"] == len(rest)


def test_the_confidence_of_a_vote_is_calibrated_and_not_its_share():
    rows = member_rows(15_000, seed=10, signals=((0.2,),) * 5)  # five heads, one opinion
    judged = judge(rows, "voting", horizon=1)
    figures = evaluate_record(judged.record)
    assert figures["direction_accuracy"] == pytest.approx(figures["mean_confidence"], abs=0.015)
    assert figures["mean_confidence"] < 0.62  # the share of the vote is 1 throughout
    assert (np.abs(judged.record.raw_score) == 1.0).all()


def test_a_tie_is_no_opinion():
    rows = member_rows(3_000, seed=11, signals=((0.3, 0.0), (0.0, 0.3)))
    record = judge(rows, "voting", horizon=1).record
    apart = ((rows.stated[:, 0] > 0.5) != (rows.stated[:, 1] > 0.5)) & np.isfinite(record.p_up)
    assert apart.any()
    assert (record.p_up[apart] == 0.5).all()
    assert (record.expected_return[apart] == 0.0).all()


def test_members_that_know_nothing_are_stated_as_such():
    rows = member_rows(6_000, seed=12, signals=((0.0,), (0.0,)))
    noise = np.random.default_rng(0).uniform(0.4, 0.6, rows.stated.shape)
    judged = judge(replace(rows, stated=noise), "weighted_avg", horizon=1)
    assert evaluate_record(judged.record)["gain"]["coin"]["lower_95"] < 0
    assert abs(evaluate_record(judged.record)["mean_confidence"] - 0.5) < 0.02


def test_bands_cover_nine_in_ten():
    rows = member_rows(10_000, seed=13)
    wide = replace(rows, low=rows.low * 3, high=rows.high * 3)  # members that know no widths
    for each in (rows, wide):
        assert evaluate_record(judge(each, "weighted_avg", horizon=1).record)["interval_coverage"] == pytest.approx(
            0.9, abs=0.02
        )


def test_the_last_days_alone():
    rows = member_rows(5_000, seed=14)
    judged = judge(rows, "weighted_avg", horizon=1)
    since = int(rows.open_ms[-240])
    found = compare(rows, judged, judged, first_ms=since)
    assert found["n"] == 240
    nothing = compare(rows, judged, judged, first_ms=int(rows.open_ms[-1]) + 1)
    assert nothing["n"] == 0
    assert nothing["ensemble"]["accuracy"] is None
    assert not nothing["versus_best"]["better"]
