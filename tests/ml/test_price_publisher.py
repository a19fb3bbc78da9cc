"""The conformal distribution of a price against its formula, counted out in plain Python."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import BrokenModel
from ml.predictions import PREDICTION_COLUMNS
from ml.price_publisher import PricePublisher, fit_price
from ml.publishing import Publisher, read_publisher

Sample = tuple[np.ndarray, np.ndarray, np.ndarray]


def sample(edge: float, seed: int = 0, count: int = 6_000) -> Sample:
    """Return scores, returns and volatilities of a market in which the score knows ``edge`` deviations of the return."""
    rng = np.random.default_rng(seed)
    sigma = 0.01 * np.exp(0.3 * np.sin(np.arange(count) / 200) + 0.1 * rng.standard_normal(count))
    score = rng.standard_normal(count)
    returns = sigma * (edge * score + rng.standard_t(5, count) / math.sqrt(5 / 3))
    return 0.3 * score, returns, sigma


def by_hand(publisher: PricePublisher, raw: float, sigma: float, close: float) -> dict[str, float]:
    """Publish one bar as the documentation of the class says."""
    scale = publisher.score_scale
    forecast = sigma * publisher.return_slope * (scale * math.tanh(raw / scale) if scale else raw)
    width = math.sqrt(publisher.variance_now * sigma**2 + publisher.variance_level)
    count = len(publisher.pool)
    below = (1 + sum(residual <= (0 - forecast) / width for residual in publisher.pool)) / (count + 2)
    odds = math.log((1 - below) / below)
    turn = publisher.slope_scale
    p_up = 1 / (1 + math.exp(-publisher.slope * (turn * math.tanh(odds / turn) if turn else odds)))
    low = publisher.pool[max(1, math.floor(publisher.miscoverage / 2 * (count + 1))) - 1]
    high = publisher.pool[min(count, math.ceil((1 - publisher.miscoverage / 2) * (count + 1))) - 1]
    expected = forecast + width * float(np.median(publisher.pool))
    return {
        "price": close * math.exp(expected),
        "expected_return": expected,
        "direction": 1.0 if p_up >= 0.5 else -1.0,
        "confidence": max(p_up, 1 - p_up),
        "p_up": p_up,
        "low": close * math.exp(forecast + width * low),
        "high": close * math.exp(forecast + width * high),
    }


def test_what_is_published_is_the_formula() -> None:
    raw, returns, sigma = sample(0.1)
    publisher = fit_price(raw, returns, sigma, horizon=1)
    close = 100 + np.arange(200.0)
    values = publisher.publish(raw[:200], sigma[:200], close)
    for row in range(200):
        expected = by_hand(publisher, raw[row], sigma[row], close[row])
        for name, number in expected.items():
            assert values[row, PREDICTION_COLUMNS.index(name)] == pytest.approx(number, rel=1e-11, abs=1e-15), name
    assert np.isnan(values[:, 7:]).all()
    assert publisher.states == PREDICTION_COLUMNS[:7]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 5_990), st.integers(1, 9))
def test_a_bar_alone_and_among_others_gets_the_same_bits_after_json(first: int, count: int) -> None:
    raw, returns, sigma = sample(0.1)
    publisher = cached_publisher()
    read = read_publisher(json.loads(json.dumps(publisher.to_dict())))
    assert isinstance(read, Publisher)
    assert read == publisher
    close = np.exp(np.cumsum(returns))
    whole = publisher.publish(raw, sigma, close)
    part = slice(first, first + count)
    assert read.publish(raw[part], sigma[part], close[part]).tobytes() == whole[part].tobytes()


_CACHE: list[PricePublisher] = []


def cached_publisher() -> PricePublisher:
    """Return the publisher of `sample(0.1)`, fitted once."""
    if not _CACHE:
        _CACHE.append(fit_price(*sample(0.1), horizon=1))
    return _CACHE[0]


def test_forecasts_explain_later_returns_and_the_band_holds_nine_in_ten() -> None:
    publisher = fit_price(*sample(0.15, seed=1), horizon=1)
    raw, returns, sigma = sample(0.15, seed=2)
    values = publisher.publish(raw, sigma, np.ones(len(raw)))
    expected, p_up = values[:, 1], values[:, 4]
    assert np.sum((returns - expected) ** 2) < 0.99 * np.sum(returns**2)
    loss = -np.log(np.where(returns > 0, p_up, 1 - p_up))
    assert loss.mean() < math.log(2) - 0.004
    for low, high in ((0.5, 0.53), (0.53, 0.6)):
        chosen = (p_up >= low) & (p_up < high)
        assert (returns[chosen] > 0).mean() == pytest.approx(p_up[chosen].mean(), abs=0.05)
    inside = (np.log(values[:, 5]) <= returns) & (returns <= np.log(values[:, 6]))
    assert inside.mean() == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_scores_that_know_nothing_move_no_price(seed: int) -> None:
    raw, returns, sigma = sample(0.0, seed=seed)
    publisher = fit_price(raw, returns, sigma, horizon=1)
    values = publisher.publish(raw, sigma, np.full(len(raw), 100.0))
    assert np.abs(values[:, 1]).max() < 0.05 * sigma.mean()
    assert values[:, 3].max() < 0.53


def test_an_inverted_score_is_not_turned_round() -> None:
    raw, returns, sigma = sample(0.15)
    publisher = fit_price(-raw, returns, sigma, horizon=1)
    assert publisher.return_slope == publisher.slope == 0.0
    values = publisher.publish(-raw, sigma, np.ones(len(raw)))
    assert (values[:, 1] == 0.0).all()
    assert (values[:, 4] == 0.5).all()


def test_the_direction_never_contradicts_the_expected_return() -> None:
    raw, _, sigma = sample(0.1)
    values = cached_publisher().publish(raw, sigma, np.ones(len(raw)))
    told = values[:, 4] != 0.5
    assert (np.sign(values[told, 1]) == values[told, 2]).all()


def test_a_higher_score_never_lowers_probability_price_or_band() -> None:
    raw = np.linspace(-3, 3, 500)
    values = cached_publisher().publish(raw, np.full(500, 0.01), np.full(500, 100.0))
    for name in ("price", "expected_return", "p_up", "low", "high"):
        assert (np.diff(values[:, PREDICTION_COLUMNS.index(name)]) >= 0).all(), name
    assert (values[:, 5] < values[:, 0]).all()
    assert (values[:, 0] < values[:, 6]).all()


def test_bars_with_unknown_inputs_say_nothing() -> None:
    raw = np.array([np.nan, 0.1, 0.1, 0.1, np.inf, 0.1])
    sigma = np.array([0.01, np.nan, -0.01, 0.01, 0.01, 0.0])
    close = np.array([1.0, 1.0, 1.0, 0.0, 1.0, 1.0])
    values = cached_publisher().publish(raw, sigma, close)
    assert np.isnan(values[:5]).all()
    assert np.isfinite(values[5, :7]).all()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 499])
def test_few_rows_have_no_opinion_but_a_band(count: int) -> None:
    raw, returns, sigma = (values[:count] for values in sample(0.3))
    publisher = fit_price(raw, returns, sigma, horizon=4)
    values = publisher.publish(np.array([2.0]), np.array([0.01]), np.array([100.0]))
    assert publisher.rows == (count if count >= 2 else 0)
    assert values[0, 4] == 0.5
    assert values[0, 1] == 0.0
    assert values[0, 5] <= 100.0 <= values[0, 6]
    if count < 2:
        assert math.log(values[0, 6] / 100) == pytest.approx(1.645 * 0.01 * 2, rel=0.05)


def test_only_the_last_five_thousand_rows_count_and_unknown_ones_do_not() -> None:
    raw, returns, sigma = sample(0.1)
    spoiled = sigma.copy()
    spoiled[5_500:] = np.nan
    expected = fit_price(raw[500:5_500], returns[500:5_500], sigma[500:5_500], horizon=1)
    assert fit_price(raw, returns, spoiled, horizon=1) == expected


def damaged() -> list[tuple[dict[str, Any], str]]:
    """Return changes of a document with what the message says."""
    return [
        ({"schema_version": 9}, "schema version"),
        ({"slope": None}, "slope is None"),
        ({"return_slope": -1.0}, "out of range"),
        ({"miscoverage": 0.0}, "out of range"),
        ({"pool": []}, "missing or not in order"),
        ({"pool": [1.0, 0.0]}, "missing or not in order"),
        ({"pool": [0.0, math.nan]}, "not finite"),
        ({"pool": "x"}, "list of numbers"),
        ({"horizon": 0}, "horizon"),
        ({"rows": math.nan}, "whole number"),
        ({"kind": "prices"}, "did you mean"),
    ]


@pytest.mark.parametrize(("change", "words"), damaged())
def test_a_damaged_document_is_refused(change: dict[str, Any], words: str) -> None:
    with pytest.raises(BrokenModel, match=words):
        read_publisher(cached_publisher().to_dict() | change)


def test_a_negative_variance_is_refused() -> None:
    with pytest.raises(BrokenModel, match="out of range"):
        replace(cached_publisher(), variance_level=-1e-9)
