"""Holdings of the out-of-sample record against a replay written as a plain loop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ml.edges import MINIMUM_HOLDINGS, both_sides, holding_edges, holdings
from ml.record import OutOfSample


def record(p_up, close=None, k=None) -> OutOfSample:
    p_up = np.asarray(p_up, dtype=np.float64)
    count = len(p_up)
    nothing = np.zeros(count)
    k = np.arange(count) if k is None else np.asarray(k)
    close = np.full(count, 100.0) if close is None else np.asarray(close, dtype=np.float64)
    return OutOfSample(
        open_ms=k.astype(np.int64) * 3_600_000, k=k.astype(np.int64), fold=np.ones(count, np.int16), raw_score=nothing,
        p_up=p_up, forward_return=nothing, expected_return=nothing, low=nothing, high=nothing, train_base_rate=nothing,
        last_sign_p=nothing, close=close, sigma=nothing, scored=np.ones(count, dtype=np.bool_),
    )  # fmt: skip


def wandering(count: int, seed: int, gaps: bool = True) -> OutOfSample:
    rng = np.random.default_rng(seed)
    state = np.zeros(count)
    for i in range(1, count):
        state[i] = 0.9 * state[i - 1] + rng.normal(0, 0.04)
    p_up = np.clip(0.5 + state, 0.01, 0.99).round(3)
    p_up[: count // 6] = np.nan
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, count) + np.nan_to_num((p_up - 0.5) * 0.02)))
    steps = rng.choice([1, 2, 30], size=count, p=[0.98, 0.01, 0.01]) if gaps else np.ones(count, int)
    return record(p_up, close, np.cumsum(steps))


def loop(oos: OutOfSample, enter: float, leave: float) -> list[tuple[float, float, int]]:
    """Replay bar by bar: the obvious way."""
    found, held = [], None
    rows = [i for i in range(len(oos)) if not math.isnan(oos.p_up[i])]
    for place, i in enumerate(rows):
        last = place + 1 == len(rows) or oos.k[rows[place + 1]] != oos.k[i] + 1
        if held is not None and (oos.p_up[i] <= leave or last):
            start = rows[held]
            found.append((oos.p_up[start], oos.close[i] / oos.close[start] - 1, place - held))
            held = None
        elif held is None and oos.p_up[i] >= enter and not last:
            held = place
    return found


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("enter", "leave"), [(0.55, 0.45), (0.51, 0.5), (0.6, 0.2), (0.5, 0.0)])
def test_holdings_are_those_of_a_plain_loop(seed, enter, leave):
    oos = wandering(1500, seed)
    expected = loop(oos, enter, leave)
    p, gross, bars = holdings(oos, enter, leave)
    assert len(p) == len(expected)
    np.testing.assert_array_equal(p, [each[0] for each in expected])
    np.testing.assert_array_equal(gross, [each[1] for each in expected])
    np.testing.assert_array_equal(bars, [each[2] for each in expected])


def test_a_holding_by_hand():
    oos = record([0.5, 0.56, 0.5, 0.46, 0.45, 0.7, 0.3], [100, 100, 101, 102, 103, 50, 60])
    p, gross, bars = holdings(oos, 0.55, 0.45)
    assert p.tolist() == [0.56, 0.7]
    np.testing.assert_allclose(gross, [0.03, 0.2], rtol=1e-15)
    assert bars.tolist() == [3, 1]


def test_a_gap_and_the_end_of_the_record_end_a_holding():
    oos = record([0.6, 0.5, 0.5, 0.5, 0.6, 0.6], [100, 110, 300, 300, 100, 130], k=[0, 1, 5, 6, 7, 8])
    p, gross, bars = holdings(oos, 0.55, 0.45)
    assert p.tolist() == [0.6, 0.6]
    np.testing.assert_allclose(gross, [0.1, 0.3], rtol=1e-14)
    assert bars.tolist() == [1, 1]


def test_a_fall_is_the_mirror_of_a_rise():
    p_up = np.array([0.5, 0.44, 0.5, 0.54, 0.55, 0.3, 0.7])
    close = np.array([100, 100, 99, 98, 97, 50, 40.0])
    p, gross, bars = both_sides(record(p_up, close), 0.55, 0.45)
    expected = [(a, b, c) for a, b, c in loop(record(p_up, close), 0.55, 0.45)]
    expected += [(a, -b, c) for a, b, c in loop(record(1 - p_up, close), 0.55, 0.45)]
    assert list(zip(p, gross, bars, strict=True)) == expected
    assert gross[-2:].tolist() == [-(97 / 100 - 1), -(40 / 50 - 1)]


def test_drift_without_skill_earns_nothing():
    oos = wandering(40_000, 3, gaps=False)
    rising = replace(oos, close=100 * np.exp(0.0005 * np.arange(len(oos))))
    edges = holding_edges(rising, 0.55, 0.45)
    long_only = holdings(rising, 0.55, 0.45)[1]
    assert long_only.mean() > 0.003
    assert abs(edges.overall_mean) < 0.0005


def test_bins_bounds_and_figures():
    oos = wandering(40_000, 5, gaps=False)
    edges = holding_edges(oos, 0.55, 0.45)
    p, gross, bars = both_sides(oos, 0.55, 0.45)
    assert edges.holdings == len(p) == edges.count.sum()
    assert len(edges.bounds) == len(edges.count) + 1 == 4
    assert edges.bounds[0] == 0.55
    assert edges.bounds[-1] == 1.0
    assert (np.diff(edges.bounds) > 0).all()
    assert edges.mean_bars == bars.mean()
    for i in range(3):
        low, high = edges.bounds[i], edges.bounds[i + 1]
        inside = gross[(p >= low) & ((p < high) | (i == 2))]
        assert edges.count[i] == len(inside) >= MINIMUM_HOLDINGS
        assert edges.mean[i] == pytest.approx(inside.mean(), rel=1e-12)
        interval = stats.ttest_1samp(inside, 0, alternative="greater").confidence_interval(0.95)
        assert edges.lower_bound[i] == pytest.approx(interval.low, rel=1e-9)
    overall = stats.ttest_1samp(gross, 0, alternative="greater").confidence_interval(0.95)
    assert edges.overall_mean == pytest.approx(gross.mean(), rel=1e-12)
    assert edges.overall_lower == pytest.approx(overall.low, rel=1e-9)


def test_look_up_is_by_bin():
    edges = holding_edges(wandering(40_000, 5), 0.55, 0.45)
    p = np.array([np.nan, 0.0, 0.549, 0.55, *edges.bounds[1:-1], np.nextafter(edges.bounds[2], 0), 0.999, 1.0])
    b = edges.lower_bound
    np.testing.assert_array_equal(edges.at(p), [np.nan, np.nan, np.nan, b[0], *b[1:], b[1], b[-1], b[-1]])
    assert edges.at(0.55) == b[0]
    assert edges.at(np.full((2, 3), 0.55)).shape == (2, 3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("count", [300, 900, 3000])
def test_no_bin_is_small_and_none_is_lost(seed, count):
    oos = wandering(count, seed)
    coarse = replace(oos, p_up=np.round(oos.p_up, 2))  # many ties
    edges = holding_edges(coarse, 0.55, 0.45)
    assert edges.count.sum() == edges.holdings
    if edges.holdings >= MINIMUM_HOLDINGS:
        assert (edges.count >= MINIMUM_HOLDINGS).all()
        assert np.isfinite(edges.lower_bound).all()
    else:
        assert np.isnan(edges.at(0.9))


@pytest.mark.parametrize("oos", [None, record([]), record([np.nan] * 50), record([0.6, 0.4] * 14), record([0.5] * 100)])
def test_a_short_record_says_nothing(oos):
    edges = holding_edges(oos, 0.55, 0.45)
    assert edges.bounds.tolist() == [0.55, 1.0]
    assert np.isnan(edges.lower_bound).all()
    assert np.isnan(edges.mean).all()
    assert np.isnan(edges.at([0.5, 0.6, 1.0])).all()
    assert edges.holdings == (27 if oos is not None and len(oos) == 28 else 0)


def test_figures_are_plain_data():
    document = holding_edges(wandering(40_000, 5), 0.55, 0.45).to_dict()
    assert document["holdings"] == sum(each["n"] for each in document["bins"])
    assert set(document["bins"][0]) == {"p_up", "n", "mean", "lower"}
    assert document["bins"][0]["p_up"] == 0.55


@pytest.mark.parametrize(("enter", "leave"), [(0.4, 0.5), (0.5, 0.5), (1.1, 0.5), (0.5, -0.1)])
def test_thresholds_that_make_no_sense(enter, leave):
    with pytest.raises(ValueError, match="expected 0 <= exit < enter <= 1"):
        holding_edges(wandering(100, 0), enter, leave)
