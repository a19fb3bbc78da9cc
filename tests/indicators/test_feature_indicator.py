"""Feature: catalogue features as lines, on the data's timeframe and on a higher one."""

from __future__ import annotations

import numpy as np
import pytest
import talib
from small_models import with_holes
from trading_runs import MODES, assert_same_bits, candles_of, indicator_lines, pandas_feed, random_bars

from indicators.errors import IndicatorError
from indicators.feature import Feature
from ml.candles import Candles
from ml.errors import UnknownFeature
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema

CANDLES = candles_of(random_bars(900, 21, volatility=0.002), "1m", start_ms=1_704_067_200_000 + 7 * 60_000)


def with_volume(candles):
    volume = np.random.default_rng(1).uniform(1, 9, len(candles))
    columns = {**candles.columns, "volume": volume}
    return Candles.from_columns(candles.timeframe, {"open_ms": candles.open_ms, **columns}, candles.asked)


def feature(name, timeframe=None):
    return lambda data: Feature(data, name=name, timeframe=timeframe)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "batch"])
@pytest.mark.parametrize(("name", "timeframe"), [("rsi_14", None), ("rsi_5", "5m"), ("volume_zscore_20", "3m")])
def test_every_mode_gives_the_same_bits(mode, name, timeframe):
    candles = with_holes(with_volume(CANDLES), 4)
    expected = indicator_lines(feature(name, timeframe), candles)
    assert 0 < np.isnan(expected["value"]).sum() < len(candles) - 100
    assert_same_bits(indicator_lines(feature(name, timeframe), candles, mode), expected)


def test_on_the_datas_timeframe_it_is_what_models_see():
    found = indicator_lines(feature("rsi_14"), CANDLES)["value"]
    rows = FeaturePipeline(FeatureSchema.of(["rsi_14"], "1m")).compute(CANDLES).rows[:, 0]
    np.testing.assert_array_equal(found, rows.astype(np.float64))


def test_backtraders_own_feed_gives_the_same_bits():
    assert_same_bits(
        indicator_lines(feature("rsi_5", "5m"), CANDLES, feed=pandas_feed(CANDLES)),
        indicator_lines(feature("rsi_5", "5m"), CANDLES),
    )


def test_a_higher_candle_is_seen_at_the_close_of_the_bar_that_completes_it():
    found = indicator_lines(feature("return_1", "5m"), CANDLES)["value"]
    closes = {int(ms): close for ms, close in zip(CANDLES.open_ms, CANDLES.close, strict=True)}
    compared = 0
    for row in range(300, 900):
        now = int(CANDLES.open_ms[row]) + 60_000  # the bar's close
        end = now // 300_000 * 300_000  # the newest five minutes that are over
        expected = closes[end - 60_000] / closes[end - 360_000] - 1
        if not np.isnan(found[row]):
            assert found[row] == pytest.approx(expected, rel=1e-5, abs=1e-8)
            compared += 1
    assert compared > 400


def test_a_missing_bar_at_the_end_of_an_interval_delays_it_to_the_next_bar():
    kept = np.ones(len(CANDLES), dtype=bool)
    last_of_five = (CANDLES.open_ms // 60_000) % 5 == 4
    kept[np.flatnonzero(last_of_five)[100]] = False
    columns = {name: column[kept] for name, column in CANDLES.columns.items()}
    gappy = Candles.from_columns("1m", {"open_ms": CANDLES.open_ms[kept], **columns})
    found = indicator_lines(feature("return_1", "5m"), gappy)["value"]
    row = int(np.flatnonzero(~kept)[0])  # now the first bar after the gap
    assert found[row - 1] == found[row - 2]
    assert found[row] != found[row - 1]


def test_rsi_on_a_higher_timeframe_is_that_of_ta_lib():
    candles = candles_of(random_bars(3000, 22, volatility=0.002), "1m")
    found = indicator_lines(feature("rsi_14", "5m"), candles)["value"]
    ends = np.flatnonzero((candles.open_ms // 60_000) % 5 == 4)
    expected = talib.RSI(candles.close[ends], 14)
    known = ~np.isnan(found[ends])
    assert known.sum() > 50
    np.testing.assert_allclose(found[ends][known][30:], expected[known][30:], atol=0.6)  # Wilder's memory of the start


def test_the_same_timeframe_by_name_is_the_datas_own():
    assert_same_bits(indicator_lines(feature("rsi_14", "1m"), CANDLES), indicator_lines(feature("rsi_14"), CANDLES))


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(IndicatorError, match="5m is not a whole multiple of the data's 1h"):
        indicator_lines(feature("rsi_14", "5m"), candles_of(random_bars(5, 1)))
    with pytest.raises(IndicatorError, match="90m is not a whole multiple"):
        indicator_lines(feature("rsi_14", "90m"), candles_of(random_bars(5, 1)))
    with pytest.raises(IndicatorError, match="needs name="):
        indicator_lines(Feature, CANDLES)
    with pytest.raises(UnknownFeature, match="rsi"):
        indicator_lines(feature("rsy_14"), CANDLES)


def test_the_label_of_a_chart_names_the_feature():
    labels = []

    def label(data):
        made = Feature(data, name="rsi_14", timeframe="5m")
        labels.append(made._plotlabel())
        return made

    indicator_lines(label, CANDLES)
    assert labels == [["rsi_14", "5m"]]
