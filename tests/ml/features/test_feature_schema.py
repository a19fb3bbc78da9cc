"""The schema: what it fixes, how it is written, and what it refuses."""

from __future__ import annotations

import json

import pytest
from market_series import random_candles

from ml.errors import MissingColumns, SchemaMismatch, UnknownFeature
from ml.features.schema import FeatureSchema

SCHEMA = FeatureSchema.of(["rsi_14", "return_1", "taker_imbalance_20"], "1h")


def test_it_survives_json():
    again = FeatureSchema.from_dict(json.loads(json.dumps(SCHEMA.to_dict())))

    assert again == SCHEMA
    assert again.fingerprint == SCHEMA.fingerprint
    again.require_same(SCHEMA)


def test_it_says_what_it_needs():
    assert SCHEMA.min_candles == 126
    assert SCHEMA.anchor_bars == 128
    assert SCHEMA.window_bars == 256
    assert SCHEMA.columns == ("close", "volume", "taker_buy_base")
    assert [spec.name for spec in SCHEMA.features] == list(SCHEMA.names)


@pytest.mark.parametrize(
    "names, density, anchor_bars",
    [
        (["return_1"], 1.0, 64),
        (["min_50"], 1.0, 128),  # twice the longest window
        (["ema_200_distance"], 0.92, 1024),
        (["ema_200_distance"], 0.7, 2048),
        (["ema_200_distance"], 0.2, 8192),
    ],
)
def test_the_length_of_a_block(names, density, anchor_bars):
    assert FeatureSchema.of(names, "1h", candles_per_index=density).anchor_bars == anchor_bars


def test_for_candles_takes_names_and_groups():
    candles = random_candles(300, columns="volume")

    assert FeatureSchema.for_candles(candles, ["pattern", "rsi_9"]).names[-1] == "rsi_9"
    assert "taker_imbalance" not in FeatureSchema.for_candles(candles).names
    with pytest.raises(MissingColumns):
        FeatureSchema.for_candles(candles, ["taker_imbalance"])
    with pytest.raises(UnknownFeature):
        FeatureSchema.for_candles(candles, [])


def test_a_daily_series_with_weekends_is_counted_in_days():
    candles = random_candles(400, timeframe="1d", gaps=0.0)

    assert FeatureSchema.for_candles(candles).index == "calendar"


@pytest.mark.parametrize(
    "other, message",
    [
        (FeatureSchema.of(SCHEMA.names, "5m"), "differ in timeframe: 1h here, 5m there"),
        (FeatureSchema(SCHEMA.names, "1h", 512), "differ in anchor_bars: 128 here, 512 there"),
        (
            FeatureSchema.of(["rsi_14", "return_2", "taker_imbalance_20"], "1h"),
            "feature 2 is return_1 here and return_2",
        ),
        (
            FeatureSchema.of(["rsi_14", "return_1"], "1h"),
            "3 features here and 2 there: taker_imbalance_20 stands only here",
        ),
        (FeatureSchema.of([*SCHEMA.names, "hour"], "1h"), "3 features here and 4 there: hour stands only there"),
    ],
)
def test_a_difference_is_named(other, message):
    with pytest.raises(SchemaMismatch, match=message):
        SCHEMA.require_same(other)
    assert other.fingerprint != SCHEMA.fingerprint


@pytest.mark.parametrize(
    "values, message",
    [
        ({"names": ()}, "at least one feature"),
        ({"names": ("rsi_14", "rsi_14")}, "rsi_14 stands twice"),
        ({"anchor_bars": 100}, "power of two"),
        ({"anchor_bars": 32}, "power of two"),
        ({"index": "weekdays"}, "does not fit candles of 1h"),
        ({"index": "moon"}, "does not fit"),
        ({"dtype": "float64"}, "expected float32"),
        ({"min_candles": 5}, "these features need 126"),
    ],
)
def test_impossible_values_are_refused(values, message):
    with pytest.raises(SchemaMismatch, match=message):
        FeatureSchema(**{"names": SCHEMA.names, "timeframe": "1h", "anchor_bars": 128, **values})


def damage(**changes):
    data = json.loads(json.dumps(SCHEMA.to_dict()))
    data.update(changes)
    return data


def without(key):
    data = SCHEMA.to_dict()
    del data[key]
    return data


def renamed(**changes):
    data = json.loads(json.dumps(SCHEMA.to_dict()))
    data["features"][0].update(changes)
    return data


@pytest.mark.parametrize(
    "data, message",
    [
        (damage(schema_version=2), "version 2 is not known: expected 1"),
        (without("schema_version"), "version None is not known"),
        (without("timeframe"), "has no 'timeframe'"),
        (damage(features=3), "cannot be read"),
        (damage(anchor_bars="many"), "does not fit this version"),
        (damage(timeframe="soon"), "does not fit this version"),
        (damage(anchor_bars=256), "fingerprint"),
        (damage(fingerprint="0"), "fingerprint"),
        (renamed(period=15), "rsi_14 has period 15 in the schema and 14 in this program"),
        (renamed(name="rsi_of_old"), "does not fit this version of the program: there is no feature"),
        (renamed(kernel="other"), "rsi_14 has kernel 'other' in the schema and 'strength' in this program"),
    ],
)
def test_a_damaged_or_foreign_schema_is_refused(data, message):
    with pytest.raises(SchemaMismatch, match=message):
        FeatureSchema.from_dict(data)
