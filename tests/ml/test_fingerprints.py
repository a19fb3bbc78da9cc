"""Fingerprints: equal where the slice is equal, different where one bit of it is not."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from small_models import FEATURES, market, revised, with_holes

from ml.candles import Candles
from ml.features.blocks import find_blocks
from ml.features.schema import FeatureSchema
from ml.fingerprints import fingerprints, most_candles, newest_fingerprint

SCHEMA = FeatureSchema.of(FEATURES, "1h")
L = SCHEMA.anchor_bars


def prints(candles: Candles, schema: FeatureSchema = SCHEMA) -> list[bytes]:
    return [row.tobytes() for row in fingerprints(candles, schema)]


def test_sixteen_bytes_a_bar_and_no_two_alike():
    found = prints(market())
    assert {len(row) for row in found} == {16}
    assert len(set(found)) == len(market())


def test_the_digest_is_what_the_docstring_says():
    """The chain, written out with hashlib for one bar."""
    candles = market()
    first, begin, _ = find_blocks(candles, L).positions[3].tolist()
    at = begin + 7
    names = ("open", "high", "low", "close", *sorted(set(SCHEMA.columns) - {"open", "high", "low", "close"}))

    def row(i: int) -> bytes:
        numbers = [np.float64(getattr(candles, name)[i]).tobytes() for name in names]
        return int(candles.open_ms[i]).to_bytes(8, "little", signed=True) + b"".join(numbers)

    text = f"1|1h|{L}|calendar|{','.join(names[4:])}"
    before = hashlib.blake2b(b"".join(row(i) for i in range(first, begin)), digest_size=32).digest()
    header = hashlib.blake2b(text.encode(), digest_size=32).digest()
    number = int(candles.index[at] // L).to_bytes(8, "little", signed=True)
    whole = header + number + before + b"".join(row(i) for i in range(begin, at + 1))
    assert prints(candles)[at] == hashlib.blake2b(whole, digest_size=16).digest()


@pytest.mark.parametrize("seed", range(3))
def test_the_newest_bar_and_any_start_agree_with_the_batch(seed):
    candles = with_holes(market(), seed)
    found = prints(candles)
    blocks = find_blocks(candles, L)
    rng = np.random.default_rng(seed)
    for at in rng.integers(0, len(candles), 40).tolist():
        assert newest_fingerprint(candles.slice(0, at + 1), SCHEMA) == found[at]
        block = int(np.searchsorted(blocks.positions[:, 2], at, side="right"))
        first = int(blocks.positions[block, 0])
        for start in (first, max(0, at + 1 - most_candles(SCHEMA)), int(rng.integers(0, first + 1))):
            cut = candles.slice(start, min(len(candles), at + 1 + int(rng.integers(0, 50))))
            assert prints(cut)[at - start] == found[at]
            assert newest_fingerprint(candles.slice(start, at + 1), SCHEMA) == found[at]


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume", "taker_buy_base"])
def test_one_revised_number_changes_exactly_the_slices_that_see_it(column):
    candles = market()
    row = 2 * L + 100
    factor = {"high": 1.001, "low": 0.999}.get(column, 1.0 + 2**-50)
    other = revised(candles, row, column, factor)
    assert getattr(other, column)[row] != getattr(candles, column)[row]
    differs = np.array([a != b for a, b in zip(prints(candles), prints(other), strict=True)])
    block = candles.index // L
    sees = (np.arange(len(candles)) >= row) & (block <= block[row] + 1)
    np.testing.assert_array_equal(differs, sees)


def test_a_column_that_no_feature_reads_does_not_count():
    candles = market()
    other = revised(candles, 900, "quote_volume", 2.0)
    assert "quote_volume" not in SCHEMA.columns
    assert prints(other) == prints(candles)
    assert prints(replace(candles, quote_volume=None)) == prints(candles)


def test_an_absent_column_is_not_a_column_of_zeros():
    candles = market()
    zeros = replace(candles, taker_buy_base=np.zeros(len(candles)))
    absent = replace(candles, taker_buy_base=None)
    assert not set(prints(zeros)) & set(prints(absent))


def test_two_columns_that_change_places_are_noticed():
    candles = market()
    swapped = replace(candles, volume=candles.taker_buy_base, taker_buy_base=candles.volume)
    assert not set(prints(swapped)) & set(prints(candles))


def test_a_late_candle_changes_the_slices_that_see_it():
    candles = market()
    missing = 2 * L + 40
    kept = np.arange(len(candles)) != missing
    late = replace(candles, open_ms=candles.open_ms[kept], **{name: c[kept] for name, c in candles.columns.items()})
    whole, holed = prints(candles), prints(late)
    same = {ms for ms, key in zip(candles.open_ms.tolist(), whole, strict=True) if key in set(holed)}
    block = candles.index // L
    blind = (np.arange(len(candles)) < missing) | (block > block[missing] + 1)
    assert same == set(candles.open_ms[blind].tolist())


def test_another_way_to_cut_time_is_another_fingerprint():
    wide = FeatureSchema(SCHEMA.names, "1h", 2 * L)
    assert not set(prints(market(), wide)) & set(prints(market()))


def test_what_was_asked_is_not_part_of_the_content():
    candles = market()
    assert prints(replace(candles, asked=((0, int(candles.open_ms[-1]) + 10**9),))) == prints(candles)


def test_weekdays_are_counted_where_the_schema_says_so():
    day = 86_400_000
    days = np.array([d for d in range(19_000, 19_900) if (d + 3) % 7 < 5], dtype=np.int64)
    close = 100 + np.sin(np.arange(len(days)))
    candles = Candles("1d", days * day, close, close + 1, close - 1, close)
    schema = FeatureSchema.of(("ewma_volatility", "rsi_14"), "1d", index="weekdays")
    found = prints(candles, schema)
    for at in (0, 5, len(days) // 2, len(days) - 1):
        assert newest_fingerprint(candles.slice(0, at + 1), schema) == found[at]
    assert most_candles(schema) == -(-2 * schema.anchor_bars * 7 // 5)


def test_no_candles_no_fingerprints():
    assert fingerprints(market().slice(0, 0), SCHEMA).shape == (0, 16)
