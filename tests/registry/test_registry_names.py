from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from registry.errors import InvalidName, suggestion
from registry.names import (
    ModelKey,
    VersionName,
    normalise_symbol,
    normalise_type,
    parse_reference,
    parse_version,
    timeframe_ms,
)


@pytest.mark.parametrize("text", ["BTCUSDT", "btcusdt", "BTC/USDT", "BTC_USDT", "BTC-USDT", " btc/usdt "])
def test_every_spelling_of_a_symbol_is_one_symbol(text):
    assert normalise_symbol(text) == "BTCUSDT"


@pytest.mark.parametrize("text", ["", "/", "..", "BTC USDT", "BTC:USDT", "É", "A" * 33, "../etc"])
def test_what_is_no_symbol_is_refused(text):
    with pytest.raises(InvalidName, match="not a symbol"):
        normalise_symbol(text)


def test_price_is_an_alias_of_basic():
    assert normalise_type("price") == normalise_type(" Basic ") == "basic"
    assert normalise_type("random-forest") == "random_forest"


@pytest.mark.parametrize("text", ["", "1basic", "a b", "a/b", "..", "a" * 33])
def test_what_is_no_type_is_refused(text):
    with pytest.raises(InvalidName, match="not a model type"):
        normalise_type(text)


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("1s", 1000), ("1m", 60_000), ("4h", 14_400_000), ("1d", 86_400_000), ("2w", 1_209_600_000)],
)
def test_a_timeframe_is_a_count_and_a_unit(text, milliseconds):
    assert timeframe_ms(text) == milliseconds


@pytest.mark.parametrize("text", ["", "h", "0h", "1H", "1.5h", "-1h", "1M", "1h ", "1000h", "01h"])
def test_what_is_no_timeframe_is_refused(text):
    with pytest.raises(InvalidName, match="not a timeframe"):
        timeframe_ms(text)


def test_a_key_is_canonical_or_refused():
    assert str(ModelKey.of("btc/usdt", "price", " 1h ")) == "BTCUSDT/1h/basic"
    with pytest.raises(InvalidName, match="not canonical"):
        ModelKey("btcusdt", "basic", "1h")
    with pytest.raises(InvalidName, match="not canonical"):
        ModelKey("BTCUSDT", "price", "1h")
    with pytest.raises(InvalidName, match="not a timeframe"):
        ModelKey("BTCUSDT", "basic", "hour")


def test_a_reference_names_symbol_type_and_selector():
    assert str(parse_reference("BTC/USDT/price@newest")) == "BTCUSDT/basic@newest"
    assert parse_reference("BTCUSDT/basic").selector == "latest"
    assert parse_reference("BTCUSDT/basic@").selector == "latest"
    for text in ("BTCUSDT", "/basic", "", "@latest"):
        with pytest.raises(InvalidName):
            parse_reference(text)


def test_a_version_name_reads_back():
    name = VersionName(datetime(2026, 11, 20, 12, tzinfo=UTC), "1h", 3)
    assert str(name) == "2026-11-20T120000Z_1h_v3"
    assert parse_version(str(name)) == name


def test_a_version_is_named_in_utc():
    noon_in_tokyo = datetime(2026, 11, 20, 12, tzinfo=timezone(timedelta(hours=9)))
    assert str(VersionName(noon_in_tokyo, "1h", 1)) == "2026-11-20T030000Z_1h_v1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "latest-1h",
        "2026-11-20T120000Z_1h",
        "2026-11-20T120000Z_1h_v0",
        "2026-13-20T120000Z_1h_v1",
        "2026-02-30T120000Z_1h_v1",
        "2026-11-20T12:00:00Z_1h_v1",
        "../2026-11-20T120000Z_1h_v1",
        "2026-11-20T120000Z_1h_v1\n",
        "2026-11-20T120000Z_1x_v1",
    ],
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(InvalidName, match="not a version"):
        parse_version(text)


def test_a_suggestion_is_near_or_absent():
    assert suggestion("basc", ["basic", "sentiment"]) == "; did you mean 'basic'?"
    assert suggestion("zzz", ["basic"]) == ""
