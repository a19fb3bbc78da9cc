"""Which features a path carries, and which it takes by default."""

from __future__ import annotations

import pytest

from ml.errors import InvalidParameter, UnknownFeature
from ml.features.catalogue import feature
from ml.paths.features import OHLC_FEATURES, PATH_FEATURES, check_path_names, default_path_names, path_features


def test_no_feature_of_a_path_reads_volume_and_the_sets_are_nested():
    columns = {column for name in OHLC_FEATURES for column in feature(name).columns}

    assert columns <= {"open", "high", "low", "close"}
    assert set(PATH_FEATURES) < set(OHLC_FEATURES)
    assert "atr_14_pct" not in PATH_FEATURES
    assert path_features("close") == PATH_FEATURES


@pytest.mark.parametrize("kind", ["close", "ohlc"])
@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
def test_the_defaults_can_be_carried_and_are_scale_free(kind, timeframe):
    names = default_path_names(kind, timeframe)

    check_path_names(names, kind)
    assert 40 <= len(names) <= 70
    assert len(set(names)) == len(names)
    assert all(feature(name).scale_free for name in names)
    assert timeframe != "1d" or not any(name.startswith("hour") or feature(name).period > 50 for name in names)


def test_wrong_names_are_named_with_what_there_is():
    with pytest.raises(UnknownFeature, match="ewma_volatilty"):
        check_path_names(("ewma_volatilty",), "close")
    with pytest.raises(InvalidParameter, match=r"mfi_14 cannot be carried .* expected some of .*rsi_14"):
        check_path_names(("ewma_volatility", "mfi_14"), "ohlc")
    with pytest.raises(InvalidParameter, match="needs the feature ewma_volatility"):
        check_path_names(("rsi_14",), "close")
    with pytest.raises(InvalidParameter, match="expected close or ohlc"):
        default_path_names("candles", "1h")
