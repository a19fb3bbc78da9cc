"""Labels of risk and volatility against loops that look up every candle by its index."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ml.candles import Candles
from ml.labels import adverse_excursions, realised_volatility
from ml.synthetic import synthetic_candles


def holed(seed):
    """Return candles with holes and one candle off the grid."""
    candles = synthetic_candles(260, seed=seed)
    kept = np.ones(260, dtype=bool)
    kept[[40, 41, 120, 200]] = False
    times = candles.open_ms[kept].copy()
    times[150] += 60_000
    return replace(candles, open_ms=times, **{name: column[kept] for name, column in candles.columns.items()})


def by_loop(candles, horizon, index=None):
    numbers = candles.index if index is None else index
    places = {int(k): i for i, k in enumerate(numbers) if not candles.off_grid[i]}
    excursion, volatility = np.full(len(candles), np.nan), np.full(len(candles), np.nan)
    for k, i in places.items():
        steps = [places.get(k + j) for j in range(horizon + 1)]
        if None in steps:
            continue
        close = [float(candles.close[j]) for j in steps]
        excursion[i] = (close[0] - min(float(candles.low[j]) for j in steps[1:])) / close[0]
        volatility[i] = sum(np.log(close[j] / close[j - 1]) ** 2 for j in range(1, horizon + 1)) ** 0.5
    return excursion, volatility


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 5, 12, 30])
def test_labels_are_those_of_the_loop(horizon):
    candles = holed(horizon)
    excursion, volatility = by_loop(candles, horizon)
    assert np.isfinite(excursion).sum() > 50
    np.testing.assert_allclose(adverse_excursions(candles, horizon), excursion, rtol=0, atol=1e-14)
    np.testing.assert_allclose(realised_volatility(candles, horizon), volatility, rtol=1e-12)


def test_an_index_of_weekdays_joins_friday_and_monday():
    days = np.arange(400, dtype=np.int64)
    days = days[(days + 3) % 7 < 5]
    daily = synthetic_candles(len(days), seed=2, timeframe="1d")
    candles = replace(daily, open_ms=days * 86_400_000)
    count = np.arange(len(days), dtype=np.int64)
    for found, expected in zip(
        (adverse_excursions(candles, 3, count), realised_volatility(candles, 3, count)),
        by_loop(candles, 3, count),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
        assert np.isfinite(found[:-3]).all()


def test_a_candle_that_never_falls_back_has_a_negative_excursion():
    close = np.array([1.0, 2.0, 3.0])
    candles = Candles("1h", np.arange(3, dtype=np.int64) * 3_600_000, close, close, close, close)
    assert adverse_excursions(candles, 2).tolist()[0] == -1.0
    assert np.isnan(adverse_excursions(candles, 2)[1:]).all()


def test_a_horizon_is_at_least_one_and_may_exceed_the_data():
    candles = synthetic_candles(20)
    for label in (adverse_excursions, realised_volatility):
        assert np.isnan(label(candles, 50)).all()
        with pytest.raises(ValueError, match="at least 1"):
            label(candles, 0)
