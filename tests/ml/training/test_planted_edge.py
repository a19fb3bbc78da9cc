"""An edge that is there is found, and nothing is found where there is nothing: 5 and 10 seeds of four years of hours.

The benchmark runs 20 and 60 seeds.
"""

from __future__ import annotations

import pytest
from planted_markets import confidence_gap, train_on_markets


def test_planted_edge_is_promoted_and_its_confidence_comes_true():
    outcomes = train_on_markets(0.04, range(5))
    assert sum(outcome.promoted for outcome in outcomes) >= 4
    errors = [outcome.calibration_error for outcome in outcomes]
    assert sum(errors) / len(errors) <= 0.02  # five seeds are noisier than the twenty of the benchmark
    assert max(errors) <= 0.03
    assert abs(confidence_gap(outcomes)) <= 0.015


def test_a_market_without_an_edge_is_refused():
    assert sum(outcome.promoted for outcome in train_on_markets(0.0, range(100, 110))) <= 1


@pytest.mark.slow
def test_over_many_seeds():
    found = train_on_markets(0.04, range(1_000, 1_020))
    assert sum(outcome.promoted for outcome in found) >= 19
    assert sum(outcome.promoted for outcome in train_on_markets(0.0, range(2_000, 2_060))) <= 3
    assert abs(confidence_gap(found)) <= 0.01
