"""Names, groups, defaults and what a person may write."""

from __future__ import annotations

import numpy as np
import pytest
from market_series import random_candles

from ml.candles import OPTIONAL_COLUMNS, PRICE_COLUMNS
from ml.errors import MissingColumns, UnknownFeature
from ml.features.catalogue import GROUPS, default_names, describe, feature, feature_names, groups, select_names
from ml.features.families import smoother_candles

FULL = (*PRICE_COLUMNS, *OPTIONAL_COLUMNS)
OHLCV = (*PRICE_COLUMNS, "volume")
REQUIRED = """
return_1 return_2 return_5 return_10 log_return_1 log_return_5 momentum_5 momentum_10 momentum_20 acceleration_5
hl_range hl_range_pct oc_range oc_range_pct body_to_range ema_10 ema_20 ema_50 ema_200 rsi_14 stochastic_14 stochastic_14_d
bollinger_20_upper bollinger_20_middle bollinger_20_lower bollinger_20_position bollinger_20_width atr_14 volume_sma_20
volume_ratio macd macd_signal macd_histogram sma_5 sma_10 sma_20 sma_50 volatility_5 volatility_10 volatility_20
min_5 max_5 min_10 max_10 min_20 max_20 min_50 max_50 zscore_5 zscore_10 zscore_20 zscore_50 bullish_candle bearish_candle
volume_spike_20 volume_trend_20 support_20_distance resistance_20_distance hour day_of_week day_of_month month quarter
close returns vwap adx_14 ewma_volatility ema_10_distance sma_20_distance atr_14_pct vwap_distance
taker_imbalance taker_imbalance_20 amihud_20 roll_spread_20 corwin_schultz_20 average_trade_size_1 kyle_lambda_20
"""


def test_every_required_name_exists():
    assert set(REQUIRED.split()) <= set(feature_names())
    assert len(feature_names()) >= 100
    kinds = {"price", "technical", "rolling", "pattern", "time", "microstructure", "sentiment"}
    assert set(groups()) == set(GROUPS) == kinds
    assert all(groups().values())


def test_names_are_unique_and_found_under_themselves():
    names = feature_names()

    assert len(set(names)) == len(names)
    assert all(feature(name).name == name for name in names)


def test_the_default_set():
    names = default_names("1h", FULL)

    assert 105 <= len(names) <= 125
    assert all(feature(name).scale_free for name in names)
    assert set(default_names("1h", OHLCV)) < set(names)
    assert "ewma_volatility" in default_names("1d", PRICE_COLUMNS)
    assert all(feature(name).group in GROUPS for name in names)


def test_no_two_default_features_are_the_same_number():
    computations = [(feature(n).kernel, feature(n).output, feature(n).period) for n in default_names("1h", FULL)]

    assert len(set(computations)) == len(computations)


def test_days_take_short_periods_and_no_time_of_day():
    names = default_names("1d", FULL)

    assert max(feature(name).period for name in names) == 50
    assert not {"hour_sin", "hour_cos", "vwap_distance"} & set(names)
    assert "day_of_week_sin" in names
    assert "day_of_week_sin" not in default_names("1w", FULL)


def test_sums_of_a_day_do_not_lengthen_the_slices_of_minutes():
    assert "vwap_distance" in default_names("1h", FULL)
    assert "vwap_distance" not in default_names("1m", FULL)
    assert feature("vwap_distance").candles("1m") == 1_440


@pytest.mark.parametrize("name, period", [("rsi_9", 9), ("ema_33_distance", 33), ("taker_imbalance_3", 3)])
def test_other_periods_may_be_named(name, period):
    assert feature(name).period == period
    assert name not in feature_names()


@pytest.mark.parametrize("name", ["rsi_0", "rsi_", "rsi_1001", "skew_2", "zscore_1", "rsi_14_", "xrsi_14", "rsi_014"])
def test_other_names_are_unknown(name):
    with pytest.raises(UnknownFeature):
        feature(name)


def test_a_misspelled_name_is_answered_with_the_nearest():
    with pytest.raises(UnknownFeature, match="did you mean 'rsi_14'"):
        feature("rsi14")
    with pytest.raises(UnknownFeature, match="feature or group 'tecnical'; did you mean 'technical'"):
        select_names(["tecnical"], "1h", FULL)


def test_groups_and_names_may_be_mixed():
    names = select_names(["pattern", "rsi_9,return_1", "rsi_9"], "1h", FULL)

    assert names[-2:] == ("rsi_9", "return_1")
    assert names[:-2] == tuple(n for n in default_names("1h", FULL) if feature(n).group == "pattern")
    assert select_names(["default"], "1h", FULL) == default_names("1h", FULL)


def test_nothing_named_is_refused():
    with pytest.raises(UnknownFeature, match="no feature is named"):
        select_names(["", ","], "1h", FULL)


def test_sentiment_needs_a_series_and_fits_the_timeframe():
    with pytest.raises(MissingColumns, match=r"needs a series of sentiment.*`bot data import FILE --kind sentiment`"):
        select_names(["sentiment"], "1h", [name for name in FULL if name != "sentiment"])
    hourly = select_names(["sentiment"], "1h", FULL)
    assert hourly == feature_names("sentiment")
    assert select_names(["sentiment"], "1m", FULL) == ("sentiment_level", "sentiment_fear", "sentiment_greed")
    assert "sentiment_change_1" not in select_names(["sentiment"], "1w", FULL)
    assert not set(default_names("1h", FULL)) & set(hourly)


def test_the_microstructure_group_needs_its_columns():
    with pytest.raises(
        MissingColumns, match=r"group microstructure needs the column trades, taker_buy_base.*import candles"
    ):
        select_names(["microstructure"], "1h", OHLCV)


def test_a_feature_without_its_column_is_named():
    with pytest.raises(MissingColumns, match=r"volume_ratio \(group technical\) needs the column volume"):
        select_names(["rsi_14", "volume_ratio"], "1h", PRICE_COLUMNS)


def test_a_group_without_volume_is_what_prices_allow():
    names = select_names(["technical"], "1h", PRICE_COLUMNS)

    assert "rsi_14" in names
    assert "volume_ratio" not in names


def test_describe_says_what_a_document_needs():
    assert describe("rsi_14") == {
        "name": "rsi_14",
        "group": "technical",
        "formula": "relative strength index of Wilder, 0 to 100",
        "columns": ["close"],
        "candles": 126,
        "scale_free": True,
        "default": True,
    }


def test_smoothers_need_until_a_ten_thousandth_of_the_seed_remains():
    assert smoother_candles(2 / 201) == 922
    assert smoother_candles(1 / 14) == 125
    a, b = 2 / 27, 0.2
    weights = np.convolve(a * (1 - a) ** np.arange(2_000), b * (1 - b) ** np.arange(2_000))[:2_000]
    count = smoother_candles(a, b)
    assert weights[count:].sum() <= 1e-4 < weights[count - 1 :].sum()


def test_the_candles_that_a_feature_needs_are_enough_for_a_value():
    from ml.features.pipeline import FeaturePipeline
    from ml.features.schema import FeatureSchema

    candles = random_candles(2_100, seed=8, gaps=0.0, flat=0.0, idle=0.0)
    for name in feature_names():
        matrix = FeaturePipeline(FeatureSchema((name,), "1h", 1024)).compute(candles)
        assert np.isfinite(matrix.rows[matrix.valid]).all(), name
