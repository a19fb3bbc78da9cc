"""Features advanced candle by candle have the bits that the batch gives them, over all bars of awkward and real candles."""

from __future__ import annotations

import numpy as np
import pytest
from feature_identity import bits
from market_series import random_candles, real_candles, weekday_candles
from path_forests import SHORT, SHORT_OHLC, blank

from ml.candles import Candles
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.paths.features import OHLC_FEATURES, PATH_FEATURES
from ml.paths.rollout import PathModel


def check_all_bars(candles: Candles, names: tuple[str, ...], kind: str) -> int:
    """Compare the first row of a path from every bar with the batch; return how many values were compared."""
    schema = FeatureSchema.for_candles(candles, names)
    forests = (blank(schema.names),) * (1 if kind == "close" else 4)
    model = PathModel(schema, forests, 1.0, kind)
    matrix = FeaturePipeline(schema).compute(candles)
    expected = np.where(candles.off_grid[:, None], np.float32(np.nan), matrix.rows)

    rows = model.rows(candles, np.arange(len(candles)), 1)[:, 0]

    wrong = bits(rows) != bits(expected)
    places = np.flatnonzero(wrong.any(axis=1))[:5]
    assert not wrong.any(), f"{[schema.names[f] for f in np.flatnonzero(wrong.any(axis=0))]} at {places}"
    return int((matrix.valid & ~candles.off_grid).sum()) * len(schema.names)


def every_name(kind: str) -> tuple[str, ...]:
    names = PATH_FEATURES if kind == "close" else OHLC_FEATURES
    return tuple(dict.fromkeys((*names, *(SHORT if kind == "close" else SHORT_OHLC))))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("timeframe", ["1h", "1m", "1d"])
def test_random_candles_with_gaps_flat_stretches_and_off_grid_opens(seed, timeframe):
    candles = random_candles(6000, seed, timeframe=timeframe, columns="prices", gaps=0.005)

    assert check_all_bars(candles, every_name("ohlc"), "ohlc") > 100_000


def test_short_blocks_of_few_candles():
    candles = random_candles(8000, 5, columns="prices", gaps=0.05, flat=0.2)
    schema = FeatureSchema.of(SHORT_OHLC, "1h")
    assert schema.anchor_bars == 256
    model = PathModel(schema, (blank(schema.names),) * 4, 1.0, "ohlc")
    matrix = FeaturePipeline(schema).compute(candles)
    usable = matrix.valid & ~candles.off_grid

    rows = model.rows(candles, np.flatnonzero(usable), 1)[:, 0]

    assert 1000 < usable.sum() < 0.95 * len(candles)
    assert np.array_equal(bits(rows), bits(matrix.rows[usable]))


@pytest.mark.parametrize(
    "name, timeframe", [("binance_spot_BTCUSDT_1h", "1h"), ("fx_EURUSD", "1h"), ("binance_spot_BTCUSDT_1m", "1m")]
)
def test_real_candles(shared_data, name, timeframe):
    candles = real_candles(shared_data, name, timeframe).slice(0, 12_000)

    assert check_all_bars(candles, every_name("ohlc"), "ohlc") > 500_000


def test_daily_candles_of_weekdays(shared_data):
    candles = weekday_candles(real_candles(shared_data, "fx_EURUSD", "1h"))
    names = tuple(name for name in SHORT_OHLC if name != "hour_sin")

    assert check_all_bars(candles, names, "ohlc") > 50_000


def test_the_set_of_closes_reads_nothing_but_closes():
    candles = random_candles(4000, 9, columns="prices")
    wild = Candles.from_columns(
        "1h", {"open_ms": candles.open_ms, "open": candles.close, "high": 2 * candles.close, "low": candles.close / 2,
               "close": candles.close}, candles.asked
    )  # fmt: skip
    names = every_name("close")
    schema = FeatureSchema.of(names, "1h")
    model = PathModel(schema, (blank(schema.names, 0.5),), 1.0, "close")

    places = np.arange(3000, 4000)
    assert np.array_equal(model.paths(candles, places, 5), model.paths(wild, places, 5), equal_nan=True)
    assert check_all_bars(candles, names, "close") > 50_000


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["binance_spot_BTCUSDT_1h", "fx_EURUSD", "binance_spot_XRPUSDT", "binance_spot_ETHUSDT_1h"]
)
def test_all_hours_of_real_candles(shared_data, name):
    candles = real_candles(shared_data, name, "1h")

    assert check_all_bars(candles, every_name("ohlc"), "ohlc") > 1_000_000
