"""What every feature of the catalogue owes: a description, an oracle, causality, its bits, its scale.

The subjects are discovered: a feature that is added without an oracle in ``feature_oracles`` fails here.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest
from feature_identity import bits, cut
from feature_oracles import oracle_of
from market_series import frame_of, random_candles

from ml.candles import OPTIONAL_COLUMNS, PRICE_COLUMNS
from ml.features.catalogue import GROUPS, describe, feature, feature_names
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema

NAMES = feature_names()
PLACE = {name: place for place, name in enumerate(NAMES)}
PRICES = (*PRICE_COLUMNS, "quote_volume", "taker_buy_quote")
VOLUMES = ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote")


@functools.cache
def pipeline() -> FeaturePipeline:
    return FeaturePipeline(FeatureSchema.of(NAMES, "1h"))


@functools.cache
def awkward(seed: int = 11):
    """Candles with gaps, flat stretches and idle bars, and their features."""
    candles = random_candles(4_500, seed, gaps=0.001)
    return candles, pipeline().compute(candles)


@functools.cache
def lively():
    """Candles that always move and trade."""
    candles = random_candles(3_500, 12, gaps=0.001, flat=0.0, idle=0.0)
    return candles, pipeline().compute(candles)


@functools.cache
def scaled(prices: float, volumes: float):
    candles, _ = lively()
    changed = {}
    for name, column in candles.columns.items():
        factor = (prices if name in PRICES else 1.0) * (volumes if name in VOLUMES else 1.0)
        changed[name] = column * factor
    return pipeline().compute(replace(candles, **changed))


@functools.cache
def slices():
    """Frames of two slices, the places of their block in them, and the rows that the pipeline gives for it."""
    candles, matrix = awkward()
    found = []
    for first, begin, end in pipeline().blocks(candles).positions:
        if matrix.valid[begin:end].all():
            frame = frame_of(candles.slice(first, end))
            found.append((frame, begin - first, matrix.rows[begin:end]))
    assert len(found) >= 2
    return found[:2]


@pytest.mark.parametrize("name", NAMES)
def test_it_is_described(name):
    spec, text = feature(name), describe(name)

    assert text["group"] in GROUPS
    assert text["formula"]
    assert "{" not in text["formula"]
    assert set(text["columns"]) <= {*PRICE_COLUMNS, *OPTIONAL_COLUMNS}
    assert 1 <= text["candles"] <= 1024
    assert not (spec.default and not spec.scale_free)


@pytest.mark.parametrize("name", NAMES)
def test_it_agrees_with_its_oracle(name):
    found = oracle_of(name)
    assert found is not None, f"{name} has no oracle: add one to tests/support/feature_oracles.py"
    oracle, period = found
    compared = 0
    for frame, begin, rows in slices():
        with np.errstate(all="ignore"):
            expected = np.asarray(oracle(frame, period), dtype=float)[begin:]
        actual = rows[:, PLACE[name]].astype(float)

        assert np.array_equal(np.isnan(expected), np.isnan(actual))
        known = ~np.isnan(expected)
        scale = expected[known].std() if known.any() else 0.0
        assert np.allclose(actual[known], expected[known], rtol=2e-6, atol=2e-6 * scale + 1e-12)
        compared += int(known.sum())
    assert compared > 500


@pytest.mark.parametrize("name", NAMES)
def test_it_sees_nothing_later(name):
    candles, matrix = awkward()
    place = 3_777
    part = pipeline().compute(cut(candles, 0, place)).rows[:, PLACE[name]]

    assert np.array_equal(bits(part), bits(matrix.rows[:place, PLACE[name]]))


@pytest.mark.parametrize("name", NAMES)
def test_its_bits_do_not_depend_on_the_start(name):
    candles, matrix = awkward()
    blocks = pipeline().blocks(candles)
    block = next(k for k in range(2, len(blocks)) if matrix.valid[blocks.positions[k, 1]])
    first, begin, end = (int(place) for place in blocks.positions[block])
    part = cut(candles, first, end, asked_from=int(blocks.start_ms[block]))
    rows = pipeline().compute(part).rows[begin - first :, PLACE[name]]
    newest = pipeline().latest(part).rows[0, PLACE[name]]

    assert np.array_equal(bits(rows), bits(matrix.rows[begin:end, PLACE[name]]))
    assert bits(np.array([newest])) == bits(matrix.rows[end - 1 : end, PLACE[name]])


@pytest.mark.parametrize("name", NAMES)
def test_it_is_finite_while_the_market_moves_and_trades(name):
    _, matrix = lively()
    column = matrix.rows[matrix.valid, PLACE[name]]

    assert len(column) > 1_000
    assert np.isfinite(column).all()
    assert not np.isinf(awkward()[1].rows[:, PLACE[name]]).any()


@pytest.mark.parametrize("name", [name for name in NAMES if feature(name).scale_free])
def test_it_does_not_depend_on_the_unit_of_price_or_volume(name):
    _, matrix = lively()
    expected = matrix.rows[matrix.valid, PLACE[name]]

    for prices, volumes in ((2.0, 1.0), (1.0, 0.25)):
        assert np.array_equal(bits(scaled(prices, volumes).rows[matrix.valid, PLACE[name]]), bits(expected))
    odd = scaled(3.7, 0.3).rows[matrix.valid, PLACE[name]]
    assert np.isclose(odd, expected, rtol=1e-4, atol=1e-5 * expected.std()).mean() > 0.999
