"""Tree families on markets of known truth: a few seeds; the benchmark `families` runs the promised numbers."""

from __future__ import annotations

import numpy as np
import pytest
from family_markets import market, outcomes, shuffled_returns, train_type

from ml.synthetic import synthetic_candles


def test_bars_in_random_order_keep_their_shape_and_nothing_else():
    candles = synthetic_candles(3_000, seed=2)
    shuffled = shuffled_returns(candles, 2)
    shape = np.sort(np.log(candles.close / candles.open))
    np.testing.assert_allclose(np.sort(np.log(shuffled.close / shuffled.open))[5:-5], shape[5:-5], atol=2e-3)
    sizes = np.abs(np.diff(np.log(candles.close))), np.abs(np.diff(np.log(shuffled.close)))
    clustered, scattered = (np.corrcoef(size[1:], size[:-1])[0, 1] for size in sizes)
    assert clustered > 0.15
    assert abs(scattered) < 0.06


def test_a_volatility_that_does_not_cluster_cannot_be_told():
    result = train_type("volatility", market("shuffled", 5, 8_000))
    assert not result.gate.promoted
    assert result.metrics["out_of_sample"]["gain"]["constant"]["lower_95"] < 0


@pytest.mark.slow
def test_a_planted_edge_is_found_by_xgboost():
    found = outcomes("direction", "edge", range(3_000, 3_005))
    assert sum(run.promoted for run in found) >= 4
    assert abs(np.mean([run.gap for run in found])) <= 0.015


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [("direction", "random"), ("direction", "shuffled"), ("volatility", "shuffled")]
)
def test_nothing_is_found_where_nothing_is(name, kind):
    assert sum(run.promoted for run in outcomes(name, kind, range(5_000, 5_010))) <= 1


@pytest.mark.slow
def test_a_forest_finds_no_risk_in_random_bars_and_finds_it_where_it_is_planted():
    assert sum(run.promoted for run in outcomes("risk", "shuffled", range(5_000, 5_003))) <= 1
    assert sum(run.promoted for run in outcomes("risk", "edge", range(3_000, 3_003))) >= 2
