"""An edge that is there is found, and nothing is found where there is nothing, with the default settings on hourly candles.

By default 3 seeds of four years have an edge, and 10 of one year have none; on request it is four years throughout and more
seeds. The benchmark runs 20 and 60.
"""

from __future__ import annotations

import pytest
from planted_markets import confidence_gap, train_on_markets

YEAR = 8_760


@pytest.mark.parametrize("seeds", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_planted_edge_is_promoted_and_its_confidence_comes_true(seeds):
    outcomes = train_on_markets(0.04, range(seeds), 4 * YEAR)
    assert sum(outcome.promoted for outcome in outcomes) >= min(seeds, 4)
    errors = [outcome.calibration_error for outcome in outcomes]
    assert sum(errors) / len(errors) <= 0.02  # a few seeds are noisier than the twenty of the benchmark
    assert max(errors) <= 0.03
    assert abs(confidence_gap(outcomes)) <= 0.015


@pytest.mark.parametrize("years", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_a_market_without_an_edge_is_refused(years):
    outcomes = train_on_markets(0.0, range(100, 110), years * YEAR)
    assert sum(outcome.promoted for outcome in outcomes) <= 1


@pytest.mark.slow
def test_over_many_seeds():
    found = train_on_markets(0.04, range(1_000, 1_020))
    assert sum(outcome.promoted for outcome in found) >= 19
    assert sum(outcome.promoted for outcome in train_on_markets(0.0, range(2_000, 2_060))) <= 3
    assert abs(confidence_gap(found)) <= 0.01
