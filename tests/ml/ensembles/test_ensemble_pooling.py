"""How answers become one score: held against plain sums, the optimality conditions of stacking, and common sense."""

from __future__ import annotations

import math

import numpy as np
import pytest
from member_rows import member_rows

from ml.ensembles.pooling import STACKING_ROWS, Pool, fit_pool, fit_weights, log_likelihood, stack
from ml.errors import BrokenModel, InvalidParameter


def said(*probabilities):
    p = np.array([probabilities], dtype=np.float64)
    return p, np.zeros_like(p), np.full_like(p, -0.01), np.full_like(p, 0.01)


def test_the_score_is_the_weighted_mean_of_the_log_odds():
    pool = Pool("weighted_avg", (0.5, 0.3, 0.2), intercept=0.1)
    p = np.random.default_rng(0).uniform(0.2, 0.8, (50, 3))
    returned, low, high = 0.01 * (p - 0.5), 0.01 * (p - 0.9), 0.01 * (p + 0.4)
    found = pool.pool(p, returned, low, high)
    for row, each in zip(found, range(50), strict=True):
        expected = 0.1 + sum(w * math.log(q / (1 - q)) for w, q in zip(pool.weights, p[each], strict=True))
        assert row[0] == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(found[:, 1], returned @ pool.weights)
    np.testing.assert_allclose(found[:, 2] + found[:, 3], high @ pool.weights)
    np.testing.assert_allclose(found[:, 2] - found[:, 3], low @ pool.weights)


def test_one_row_and_many_have_the_same_bits():
    rows = member_rows(500, seed=4)
    for method in ("weighted_avg", "voting", "stacking"):
        pool = Pool(method, (0.4, 0.6), 0.0 if method != "stacking" else 0.01)
        parts = (rows.stated, rows.expected, rows.low, rows.high)
        many = pool.pool(*parts)
        alone = np.concatenate([pool.pool(*(part[i : i + 1] for part in parts)) for i in range(500)])
        assert many.tobytes() == alone.tobytes()


@pytest.mark.parametrize(
    ("votes", "score"),
    [
        ((0.6, 0.7, 0.4), 1 / 3),
        ((0.6, 0.5, 0.4), 0.0),
        ((0.9, 0.5, 0.5), 1 / 3),
        ((0.5, 0.5, 0.5), 0.0),
        ((0.51, 0.52, 0.99), 1.0),
        ((0.1, 0.499, 0.4), -1.0),
        ((0.6, 0.6, 0.4, 0.4), 0.0),
        ((0.6, 0.4, 0.6, 0.4, 0.6, 0.4, 0.5), 0.0),
    ],
)
def test_a_vote_counts_heads_and_who_says_half_abstains(votes, score):
    pool = Pool("voting", (1 / len(votes),) * len(votes))
    found = pool.pool(*said(*votes))[0, 0]
    assert found == pytest.approx(score, abs=1e-15)
    assert (found == 0.0) == (score == 0.0)  # a tie is exactly no opinion


def test_a_member_without_a_number_leaves_no_score():
    for method in ("weighted_avg", "voting"):
        assert np.isnan(Pool(method, (0.5, 0.5)).pool(*said(0.6, math.nan))[0, 0])


def test_a_member_that_states_certainty_has_not_the_last_word():
    assert Pool("weighted_avg", (0.5, 0.5)).pool(*said(1.0, 0.0))[0, 0] == pytest.approx(0.0, abs=1e-9)
    assert np.isfinite(Pool("weighted_avg", (0.5, 0.5)).pool(*said(1.0, 0.4))[0, 0])


def test_fitted_weights_are_the_shrunken_posterior():
    rows = member_rows(2_500, seed=1, signals=((0.3, 0.0), (0.0, 0.1)))
    logs = [0.0, 0.0]
    for i in range(2_500):
        for j in range(2):
            logs[j] += math.log(rows.stated[i, j] if rows.outcome[i] > 0 else 1 - rows.stated[i, j])
    top = max(logs)
    posterior = [math.exp(value - top) for value in logs]
    share = 2_500 / 7_500
    expected = [(1 - share) / 2 + share * value / sum(posterior) for value in posterior]
    assert fit_weights(log_likelihood(rows.stated, rows.outcome > 0)) == pytest.approx(expected, abs=1e-9)
    assert sum(fit_weights(log_likelihood(rows.stated, rows.outcome > 0))) == pytest.approx(1.0)
    assert fit_weights(log_likelihood(rows.stated[:0], rows.outcome[:0] > 0)) == (0.5, 0.5)


def test_given_weights_are_normalised_and_kept():
    rows = member_rows(100)
    assert fit_pool("weighted_avg", rows.stated, (rows.outcome > 0), (3.0, 1.0)).weights == (0.75, 0.25)


def test_stacking_satisfies_the_conditions_of_its_optimum():
    rows = member_rows(6_000, seed=2, signals=((0.4, 0.0, 0.2), (0.0, 0.3, 0.0), (0.0, 0.0, -0.3)), believed=0.5)
    weights, intercept = stack(rows.stated, (rows.outcome > 0))
    logits = np.log(rows.stated / (1 - rows.stated))
    size = np.sqrt((logits**2).mean(axis=0))

    def loss(w, b):
        y = np.where((rows.outcome > 0), 1.0, -1.0)
        fit = np.log1p(np.exp(-y * (b + logits @ w))).sum()
        return fit + 5.0 * (b * b + ((w * size) ** 2).sum())

    best = np.array(weights)
    assert min(weights) >= 0.0
    assert 0.0 in weights  # the member that is wrong is left out, not turned round
    here = loss(best, intercept)
    for step in (1e-3, -1e-3):
        assert loss(best, intercept + step) > here
        for j in range(3):
            moved = best.copy()
            moved[j] += step
            if moved[j] >= 0:
                assert loss(moved, intercept) > here


def test_stacking_needs_rows_and_says_so():
    rows = member_rows(STACKING_ROWS)
    few = fit_pool("stacking", rows.stated[1:], (rows.outcome > 0)[1:])
    assert (few.learnt, few.weights, few.intercept) == (False, (0.5, 0.5), 0.0)
    assert fit_pool("stacking", rows.stated, (rows.outcome > 0)).learnt


def test_a_pool_survives_its_plain_data_and_refuses_nonsense():
    pool = Pool("stacking", (0.1 + 0.2, 1 / 3), 0.1, learnt=True, rows=7)
    assert Pool.from_dict(pool.to_dict()) == pool
    for wrong in ({}, {**pool.to_dict(), "weights": "x"}, {**pool.to_dict(), "weights": [1.0]}):
        with pytest.raises(BrokenModel):
            Pool.from_dict(wrong)
    with pytest.raises(BrokenModel):
        Pool("voting", (0.5, math.nan))
    with pytest.raises(BrokenModel):
        Pool("weighted_avg", (0.5, -0.5))
    with pytest.raises(InvalidParameter, match="did you mean 'voting'"):
        Pool("votin", (0.5, 0.5))
