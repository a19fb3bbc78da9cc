"""Feature drift: silent on a market that stays as it is, and names what changed where it does not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drift_documents import feature_rows, reference_of

from ml.drift.distribution import LEAST_ROWS
from ml.drift.features import feature_drift, rows_to_judge
from ml.drift.reference import CLOCK, LEVEL

TRAIN = 8_760


@pytest.fixture(scope="module")
def market():
    return feature_rows(14_000, seed=21)


@pytest.fixture(scope="module")
def reference(market):
    rows, names = market
    return reference_of(rows[:TRAIN], names)


def checks(seed: int, train: int, windows: int):
    """Yield what each of several windows of 720 rows after a training of a healthy market is said to be."""
    rows, names = feature_rows(train + 720 * windows + 1_200, seed)
    reference = reference_of(rows[:train], names)
    for window in range(windows):
        first = train + 720 * window
        yield feature_drift(reference, rows[first : first + 720], names)


def test_a_market_that_stays_as_it_is_raises_no_alarm():
    """18 checks of 112 features with clusters and regimes of volatility; 0.02 false alarms are expected."""
    found = [each for seed in (31, 32, 33) for each in checks(seed, TRAIN, 6)]
    assert [each.status for each in found] == ["calm"] * 18
    assert all(each.judged >= 110 for each in found)


@pytest.mark.slow
def test_false_alarms_are_as_rare_as_stated():
    """400 checks at 0.1 %: 0.4 expected, more than 3 in 1 of 1,000 such tests."""
    found = [each for seed in range(100, 140) for each in checks(seed, 17_520, 10)]
    assert len(found) == 400
    assert sum(bool(each.shifted) for each in found) <= 3


def test_a_planted_shift_is_named_first_and_alone(market, reference):
    rows, names = market
    live = rows[TRAIN : TRAIN + 720].copy()
    column = names.index("volume_ratio")
    live[:, column] += np.float32(1.0) * rows[:TRAIN, column].std()
    found = feature_drift(reference, live, names)
    assert found.status == "shifted"
    assert found.shifted == ("volume_ratio",)
    assert found.features[0].name == "volume_ratio"
    assert found.features[0].shift.wasserstein == pytest.approx(1.0, abs=0.15)
    assert found.words().startswith(f"1 of {found.judged} features differs from training: volume_ratio (720 rows).")


def test_another_market_is_called_so(market, reference):
    rows, names = market
    live = rows[TRAIN : TRAIN + 2_160].copy()
    live += np.float32(4.0) * rows[:TRAIN].std(axis=0)
    found = feature_drift(reference, live, names)
    assert found.status == "regime shift"
    assert len(found.shifted) >= found.judged / 2
    assert "another market regime" in found.words()


def test_features_are_sorted_by_how_far_they_are_beyond_their_threshold(market, reference):
    rows, names = market
    found = feature_drift(reference, rows[TRAIN : TRAIN + 900], names)
    ratios = [each.shift.ratio for each in found.features]
    assert ratios == sorted(ratios, reverse=True)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["status"] == found.status


def test_values_that_stay_away_are_a_fault(market, reference):
    rows, names = market
    live = rows[TRAIN : TRAIN + 900].copy()
    live[::3, names.index("rsi_14")] = np.nan
    found = feature_drift(reference, live, names)
    assert found.shifted == ("rsi_14",)
    assert found.features[0].lacking


def test_levels_and_clocks_are_not_judged(market):
    rows, _ = market
    names = ("close", "hour_sin", "return_1")
    reference = reference_of(rows[:2_000, :3], names)
    assert dict(reference.not_judged) == {"close": LEVEL, "hour_sin": CLOCK}
    live = rows[2_000:3_000, :3] + np.float32(1e6)
    found = feature_drift(reference, live, names)
    assert [each.name for each in found.features] == ["return_1"]


def test_too_few_rows_and_no_reference_are_said(market, reference):
    rows, names = market
    few = feature_drift(reference, rows[: LEAST_ROWS - 1], names)
    assert few.status == "too few rows"
    assert "719 rows are too few" in few.words()
    assert few.shifted == ()
    nothing = feature_drift(None, rows[:800], names)
    assert nothing.status == "no reference"
    assert "no drift reference" in nothing.words()
    gone = feature_drift(reference, np.full((900, len(names)), np.nan, dtype=np.float32), names)
    assert (gone.status, gone.rows) == ("too few rows", 0)


def test_the_window_is_thirty_days_and_at_least_720_rows():
    assert rows_to_judge("1m") == 43_200
    assert rows_to_judge("1h") == 720
    assert rows_to_judge("1d") == 720
