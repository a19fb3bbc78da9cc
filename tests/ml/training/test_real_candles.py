"""Real candles: a year of hours is promoted and earns less than its costs, seven days of minutes are refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pytest

from ml.candles import Candles
from ml.training.settings import TrainingSettings, default_horizon
from ml.training.trainer import train
from registry.names import ModelKey


def candles_of(path, timeframe, start, days):
    frame = pd.read_csv(path)
    begin = pd.Timestamp(start, tz="UTC").value // 1_000_000
    frame = frame[(frame.timestamp >= begin) & (frame.timestamp < begin + days * 86_400_000)]
    return Candles.from_frame(frame, timeframe)


def train_on(candles):
    return train(
        candles,
        ModelKey("BTCUSDT", "basic", candles.timeframe),
        TrainingSettings(plots=False, horizon=default_horizon(candles.timeframe)),
        at=datetime(2026, 1, 1, tzinfo=UTC),
        code_version="test",
    )


def test_a_year_of_hours_is_promoted_and_its_card_names_the_cost(shared_data):
    candles = candles_of(shared_data / "binance_spot_BTCUSDT_1h_2018_2024.csv.gz", "1h", "2023-07-01", 365)
    result = train_on(candles)
    figures = result.metrics["out_of_sample"]
    assert result.gate.promoted
    assert 0.52 < figures["direction_accuracy"] < 0.58  # more would be a leak
    assert figures["break_even_cost"] < 0.001  # a taker pays 0.002 for a round trip
    assert figures["interval_coverage"] == pytest.approx(0.9, abs=0.03)
    assert "not about profit" in result.gate.reason


@pytest.mark.parametrize("start", ["2024-01-01", "2024-02-12", "2024-03-18"])
def test_seven_days_of_minutes_are_refused(shared_data, start):
    result = train_on(candles_of(shared_data / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz", "1m", start, 7))
    assert not result.gate.promoted
    assert result.gate.reason.startswith("refused: right on ")
    assert "bars" in result.gate.reason


def test_without_volume_currencies_train(shared_data):
    path = shared_data / "fx_EURUSD_1h_2017_2024_novol.csv.gz"
    candles = candles_of(path, "1h", "2021-01-01", 2 * 365)
    result = train_on(candles)
    assert candles.volume is None or not candles.volume.any()
    assert result.plan.usable > 0.5 * len(candles)
    assert result.metrics["out_of_sample"]["n"] > 3_000
