"""The task of a price, from the walk forward to its figures."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

from ml.dataset import build_dataset, purged_walk_forward
from ml.features.schema import FeatureSchema
from ml.predictors.basic import BasicPredictor
from ml.price_publisher import PricePublisher, fit_price
from ml.record import OutOfSample
from ml.synthetic import synthetic_candles
from ml.tasks.catalogue import TASKS
from ml.tasks.price import return_figures
from ml.training.walk_forward import walk_forward

FEATURES = ("taker_imbalance_20", "ewma_volatility", "rsi_14", "return_1")


@cache
def record(edge: float) -> OutOfSample:
    """Return the record of regression trees on a planted market, judged as a price."""
    candles = synthetic_candles(9_000, edge=edge, seed=3)
    dataset = build_dataset(candles, FeatureSchema.for_candles(candles, FEATURES), 1)
    predictor = BasicPredictor({"objective": "regression", "num_boost_round": 30, "min_data_in_leaf": 50})
    folds = purged_walk_forward(dataset, folds=4)
    found: Any = walk_forward(
        dataset, folds, predictor, seed=0, threads=1, progress=lambda _done, _text: None, task=TASKS["price"]
    )
    assert isinstance(found, OutOfSample)
    return found


def test_each_fold_is_published_by_what_the_folds_before_it_knew() -> None:
    found = record(0.15)
    past = found.scored & (found.fold < 2) & (found.k + 1 <= found.k[found.fold == 2][0])
    publisher = fit_price(found.raw_score[past], found.forward_return[past], found.sigma[past], horizon=1)
    now = found.fold == 2
    values = publisher.publish(found.raw_score[now], found.sigma[now], np.ones(int(now.sum())))
    np.testing.assert_array_equal(found.p_up[now], values[:, 4])
    np.testing.assert_array_equal(found.expected_return[now], values[:, 1])
    np.testing.assert_array_equal(found.high[now], np.log(values[:, 6]))
    assert np.isnan(found.p_up[found.fold == 0]).all()


def test_the_figures_of_a_planted_market_are_those_counted_by_hand() -> None:
    found = record(0.15)
    figures = TASKS["price"].evaluate(found)
    counted = found.counted
    returns, expected, close = (
        values[counted] for values in (found.forward_return, found.expected_return, found.close)
    )
    after = close * np.exp(returns)
    spread = np.sum((after - after.mean()) ** 2)
    assert figures["r2_price"] == pytest.approx(1 - np.sum((after - close * np.exp(expected)) ** 2) / spread)
    assert figures["r2_price_persistence"] == pytest.approx(1 - np.sum((after - close) ** 2) / spread)
    assert figures["r2_os"] == pytest.approx(1 - np.sum((returns - expected) ** 2) / np.sum(returns**2))
    assert figures["squared_error_saved"] == pytest.approx(figures["r2_os"])
    assert figures["rmse"] == pytest.approx(math.sqrt(np.mean((returns - expected) ** 2)))
    assert figures["rmse"] < figures["rmse_zero"]
    assert figures["mae_zero"] == pytest.approx(np.abs(returns).mean())
    assert figures["gain"]["coin"]["lower_95"] > 0
    assert figures["interval_coverage"] == pytest.approx(0.9, abs=0.03)


def test_a_price_near_one_is_no_skill() -> None:
    figures = TASKS["price"].evaluate(record(0.0))
    assert figures["r2_price_persistence"] > 0.95
    assert figures["gain"]["coin"]["lower_95"] <= 0
    assert figures["squared_error_saved_lower_95"] <= 0
    words = {what: beside for what, _, beside in TASKS["price"].headline(figures)}
    assert "no more than chance" in words["squared return explained (R2)"]


def test_the_gate_is_that_of_the_direction() -> None:
    assert TASKS["price"].words.baselines == TASKS["direction"].words.baselines
    assert "r2_price" not in TASKS["price"].words.baselines


@pytest.mark.parametrize(("timeframe", "bars"), [("1m", 60), ("5m", 12), ("1h", 1), ("4h", 1), ("1d", 1)])
def test_the_default_horizon_is_an_hour(timeframe: str, bars: int) -> None:
    assert TASKS["price"].default_horizon(timeframe) == bars


def test_the_publisher_of_the_task_is_of_kind_price() -> None:
    found = record(0.15)
    publisher = TASKS["price"].fit_publisher(found.scored_columns(), None, horizon=1)
    assert isinstance(publisher, PricePublisher)
    assert publisher.rows == min(5_000, int(found.scored.sum()))


def test_nothing_counted_has_undefined_figures() -> None:
    found = record(0.15)
    columns = {name: getattr(found, name)[found.fold == 0] for name in found.__dataclass_fields__}
    figures = return_figures(OutOfSample(**columns))
    assert all(math.isnan(value) for value in figures.values())
