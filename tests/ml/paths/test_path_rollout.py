"""Paths have the bits of candles grown one by one, whatever the chunk, the threads and the neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from feature_identity import bits
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from market_series import random_candles, real_candles, weekday_candles
from path_forests import SHORT, SHORT_OHLC, blank, boosters, model_of, short_names, strange
from path_reference import next_candle, paths_step_by_step

from ml.candles import Candles
from ml.errors import InvalidParameter, SchemaMismatch
from ml.features.blocks import block_index, find_blocks, index_start_ms
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.paths.features import default_path_names
from ml.paths.rollout import PathModel

KINDS = ("close", "ohlc")


def same_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a.view(np.int64) == b.view(np.int64)) | (np.isnan(a) & np.isnan(b))


def border_starts(candles: Candles, schema: FeatureSchema, *, around: tuple[int, ...] = (-3, -1, 0, 1)) -> list[int]:
    """Bars just before and just after block borders."""
    begins = find_blocks(candles, schema.anchor_bars, schema.index).positions[2::3, 1]
    return [int(begin) + offset for begin in begins for offset in around if 0 <= begin + offset < len(candles)]


@pytest.fixture(scope="module", params=KINDS)
def trained(request):
    """A kind, candles with gaps, and a trained model: of closes with its boosters."""
    candles = random_candles(5000, 3, columns="prices", gaps=0.004, flat=0.01)
    schema = FeatureSchema.of(short_names(request.param), "1h")
    found = boosters(schema, candles, request.param)
    return candles, found, model_of(schema, [each.model_to_string() for each in found], request.param, 0.7)


def test_step_by_step_with_lightgbm_and_with_our_runner(trained):
    candles, found, model = trained
    starts = [*border_starts(candles, model.schema)[:8], 700, 2222, len(candles) - 1, 10]
    score = [lambda row, b=each: b.predict(row, raw_score=True, num_threads=1) for each in found]

    paths = model.paths(candles, starts, 40)

    assert np.isfinite(paths[:-1]).any()
    assert same_bits(paths, paths_step_by_step(model, candles, starts, 40, score)).all()
    assert same_bits(paths, paths_step_by_step(model, candles, starts, 40)).all()


def test_paths_across_one_and_two_borders_are_those_of_the_batch_on_the_grown_candles(trained):
    """Every row along the path against the batch over the candles and the path; every candle from LightGBM's scores."""
    candles, found, model = trained
    schema = model.schema
    steps = 2 * schema.anchor_bars + 60
    usable = np.flatnonzero(FeaturePipeline(schema).compute(candles).valid & ~candles.off_grid)
    starts = [int(usable[-1]), int(usable[len(usable) // 2]), int(usable[len(usable) // 3])]
    paths = model.paths(candles, starts, steps)
    rows = model.rows(candles, starts, steps)
    for place, path, seen in zip(starts, paths, rows, strict=True):
        length = int(np.isfinite(path.reshape(steps, -1)).all(axis=1).sum())
        assert length > schema.anchor_bars + 30
        check_path(model, found, candles.slice(0, place + 1), path[:length], seen)


def check_path(model, found, known, path, seen):
    schema = model.schema
    k = int(block_index(known, schema.index)[-1])
    scores = [booster.predict(seen[: len(path)], raw_score=True, num_threads=1) for booster in found]
    sigma = seen[:, schema.names.index("ewma_volatility")].astype(float)
    times = index_start_ms(k + 1 + np.arange(len(path)), schema.timeframe, schema.index)
    columns: dict[str, list[float]] = {name: list(getattr(known, name)) for name in ("open", "high", "low", "close")}
    for step in range(len(path)):
        moves = [
            shrink * float(raw[step]) * float(sigma[step]) for shrink, raw in zip(model.shrink, scores, strict=True)
        ]
        candle = next_candle(model.kind, columns["close"][-1], moves)
        assert candle is not None
        assert np.array_equal(path[step], candle[3] if model.kind == "close" else candle)
        for name, price in zip(columns, candle, strict=True):
            columns[name].append(price)
    asked = ((known.asked[0][0], int(times[-1]) + known.step_ms),)
    longer = Candles.from_columns("1h", {"open_ms": np.append(known.open_ms, times), **columns}, asked)
    batch = FeaturePipeline(schema).compute(longer)
    here = len(known) - 1
    assert np.array_equal(bits(batch.rows[here : here + len(path)]), bits(seen[: len(path)]))


def test_any_order_chunk_and_number_of_threads(trained):
    candles, _, model = trained
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(candles), 333)
    whole = model.paths(candles, starts, 25)

    for threads in (2, 5):
        assert same_bits(whole, model.paths(candles, starts, 25, threads=threads)).all()
    for part in np.array_split(np.arange(333), 40):
        assert same_bits(whole[part], model.paths(candles, starts[part], 25)).all()
    for number in (0, 7, 100, 332):
        assert same_bits(whole[number], model.paths(candles, [starts[number]], 25)[0]).all()
    assert same_bits(whole[:, :9].copy(), model.paths(candles, starts, 9)).all()
    assert 200 < np.isfinite(whole.reshape(333, -1)).all(axis=1).sum() <= 333


def test_the_newest_bar_and_a_short_history(trained):
    candles, _, model = trained
    for place in (2500, 3333, 4100):
        known = candles.slice(0, place + 1)
        path = model.paths(candles, [place], 30)[0]
        assert np.isfinite(path).all()
        assert same_bits(path, model.newest(known, 30)).all()
        start = model.schema.anchor_bars * (int(candles.index[place]) // model.schema.anchor_bars - 1)
        slice_ = known.between(int(index_start_ms(np.array([start]), "1h")[0]), None)
        assert same_bits(path, model.newest(slice_, 30)).all()


def test_what_comes_after_the_start_is_not_seen(trained):
    candles, _, model = trained
    place = 3000
    other = Candles.from_columns(
        "1h",
        {"open_ms": candles.open_ms, **{name: np.where(np.arange(len(candles)) > place, 5 * column, column)
                                        for name, column in candles.columns.items()}},
    )  # fmt: skip
    assert same_bits(model.paths(candles, [place, 2990], 20), model.paths(other, [place, 2990], 20)).all()


def test_bars_without_features_and_off_the_grid_are_nan(trained):
    candles, _, model = trained
    valid = FeaturePipeline(model.schema).compute(candles).valid
    assert (valid & candles.off_grid).any()
    paths = model.paths(candles, np.arange(len(candles)), 2).reshape(len(candles), -1)

    assert np.array_equal(np.isfinite(paths).all(axis=1), valid & ~candles.off_grid)
    assert np.isnan(paths[~(valid & ~candles.off_grid)]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_strange_trees_and_rows_with_nan(kind, seed):
    candles = random_candles(2500, 40 + seed, columns="prices", gaps=0.003, flat=0.3)
    names = short_names(kind)
    schema = FeatureSchema.of(names, "1h")
    texts = [strange(names, 10 * seed + part) for part in range(1 if kind == "close" else 4)]
    model = model_of(schema, texts, kind, 0.3)
    starts = np.random.default_rng(seed).integers(300, len(candles), 24).tolist()

    paths = model.paths(candles, starts, 12)

    assert np.isnan(model.rows(candles, starts, 12)[np.isfinite(paths.reshape(24, 12, -1)).all(axis=2)]).any()
    assert same_bits(paths, paths_step_by_step(model, candles, starts, 12)).all()


@pytest.mark.parametrize("shrink", [0.0, -1.0, (1.0, 0.0, 2.0, 0.5)])
def test_any_factor_of_the_scores(shrink):
    candles = random_candles(1200, 8, columns="prices", gaps=0.0, flat=0.0)
    kind = "ohlc" if isinstance(shrink, tuple) else "close"
    names = short_names(kind)
    texts = [strange(names, part) for part in range(4 if kind == "ohlc" else 1)]
    model = model_of(FeatureSchema.of(names, "1h"), texts, kind, shrink)

    paths = model.paths(candles, [600, 1199], 20)

    assert same_bits(paths, paths_step_by_step(model, candles, [600, 1199], 20)).all()
    if shrink == 0.0:
        assert np.array_equal(paths, np.repeat(candles.close[[600, 1199], None], 20, axis=1))


@pytest.mark.parametrize("kind", KINDS)
def test_trees_of_one_leaf(kind):
    candles = random_candles(1000, 2, columns="prices", gaps=0.0, flat=0.0)
    names = short_names(kind)
    values = (0.25,) if kind == "close" else (0.05, 0.5, -0.5, -0.25)
    model = PathModel(FeatureSchema.of(names, "1h"), tuple(blank(names, v) for v in values), 1.0, kind)

    paths = model.paths(candles, [500, 900], 15)

    assert same_bits(paths, paths_step_by_step(model, candles, [500, 900], 15)).all()
    closes = paths if kind == "close" else paths[:, :, 3]
    assert (np.diff(closes, axis=1) * values[-1] > 0).all()
    if kind == "ohlc":
        assert np.array_equal(paths[:, :, 2], np.minimum(paths[:, :, 0], paths[:, :, 3]))  # a wick is never negative


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [1e6, -1e6])
def test_a_price_that_is_no_number_ends_the_path(kind, value):
    candles = random_candles(1000, 2, columns="prices", gaps=0.0, flat=0.0)
    names = short_names(kind)
    model = PathModel(FeatureSchema.of(names, "1h"), (blank(names, value),) * (1 if kind == "close" else 4), 1e-3, kind)

    paths = model.paths(candles, [500, 900], 400)

    assert same_bits(paths, paths_step_by_step(model, candles, [500, 900], 400)).all()
    ended = np.isnan(paths.reshape(2, 400, -1)).all(axis=2)
    assert ended[:, -1].all()
    assert not ended[:, 0].any()
    assert (np.diff(ended.astype(int), axis=1) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_slice_that_is_too_thin_behind_a_border_ends_the_path(kind):
    """Half of the last block is missing, so the first rows of the next one are not valid."""
    candles = random_candles(2000, 6, columns="prices", gaps=0.0, flat=0.0)
    names = short_names(kind)
    schema = FeatureSchema.of(names, "1h")
    border = int(find_blocks(candles, schema.anchor_bars).positions[4, 1])
    keep = np.ones(2000, dtype=bool)
    keep[border - 200 : border - 20] = False
    thin = Candles.from_columns(
        "1h", {"open_ms": candles.open_ms[keep], **{n: c[keep] for n, c in candles.columns.items()}}
    )
    start = int(np.flatnonzero(thin.open_ms == candles.open_ms[border - 5])[0])
    model = PathModel(schema, (blank(names, 0.1),) * (1 if kind == "close" else 4), 1.0, kind)

    path = model.paths(thin, [start], 30)

    assert same_bits(path, paths_step_by_step(model, thin, [start], 30)).all()
    assert (
        np.isfinite(path.reshape(30, -1)).all(axis=1).sum() == 5
    )  # the first candle behind the border is predicted too


@pytest.mark.parametrize("kind", KINDS)
def test_daily_candles_of_weekdays(shared_data, kind):
    candles = weekday_candles(real_candles(shared_data, "fx_EURUSD", "1h"))
    names = short_names(kind, "1d")
    schema = FeatureSchema.for_candles(candles, names)
    assert schema.index == "weekdays"
    texts = [each.model_to_string() for each in boosters(schema, candles, kind)]
    model = model_of(schema, texts, kind)
    starts = [*border_starts(candles, schema, around=(-2, 0)), 900, len(candles) - 1]

    paths = model.paths(candles, starts, 20)

    assert same_bits(paths, paths_step_by_step(model, candles, starts, 20)).all()
    assert np.isfinite(paths[-1]).all()


@pytest.mark.parametrize("name, timeframe", [("binance_spot_BTCUSDT_1h", "1h"), ("fx_EURUSD", "1h")])
def test_the_default_features_on_real_candles_with_gaps(shared_data, name, timeframe):
    candles = real_candles(shared_data, name, timeframe).slice(0, 12_000)
    for kind in KINDS:
        schema = FeatureSchema.for_candles(candles, default_path_names(kind, timeframe))
        texts = [each.model_to_string() for each in boosters(schema, candles, kind, trees=20)]
        model = model_of(schema, texts, kind)
        gap = int(np.argmax(np.diff(candles.index)[3000:])) + 3000
        starts = [*border_starts(candles, schema, around=(-4, 0))[-6:], gap, gap + 1, gap + 40, len(candles) - 1]

        paths = model.paths(candles, starts, 25, threads=2)

        assert same_bits(paths, paths_step_by_step(model, candles, starts, 25)).all()
        assert np.isfinite(paths).all(axis=tuple(range(1, paths.ndim))).sum() >= len(starts) - 2


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10_000), shrink=st.tuples(*[st.floats(-3, 3)] * 4))
def test_predicted_candles_are_valid(seed, shrink):
    candles = random_candles(700, seed % 7, columns="prices", gaps=0.0, flat=0.0)
    schema = FeatureSchema.of(SHORT_OHLC, "1h")
    model = model_of(schema, [strange(SHORT_OHLC, seed + part) for part in range(4)], "ohlc", shrink)

    path = model.paths(candles, [699], 30)[0]

    path = path[np.isfinite(path).all(axis=1)]
    open_, high, low, close = path.T
    assert (path > 0).all()
    assert (low <= np.minimum(open_, close)).all()
    assert (high >= np.maximum(open_, close)).all()


def test_bad_input_is_named():
    candles = random_candles(600, 1, columns="prices")
    schema = FeatureSchema.of(SHORT, "1h")
    model = PathModel(schema, (blank(SHORT),))
    with pytest.raises(InvalidParameter, match="at least one step"):
        model.paths(candles, [599], 0)
    with pytest.raises(InvalidParameter, match="one thread"):
        model.paths(candles, [599], 1, threads=0)
    with pytest.raises(InvalidParameter, match="outside the 600 candles"):
        model.paths(candles, [600], 1)
    with pytest.raises(InvalidParameter, match="outside the 0 candles"):
        model.newest(candles.slice(0, 0), 5)
    with pytest.raises(SchemaMismatch, match="1h candles"):
        model.paths(random_candles(600, 1, timeframe="1m"), [599], 1)
    with pytest.raises(InvalidParameter, match="needs 4 forests"):
        PathModel(schema, (blank(SHORT),), 1.0, "ohlc")
    with pytest.raises(InvalidParameter, match="no kind of path"):
        PathModel(schema, (blank(SHORT),), 1.0, "candles")
    with pytest.raises(InvalidParameter, match="shrink"):
        PathModel(schema, (blank(SHORT),), float("nan"))
    with pytest.raises(InvalidParameter, match="shrink"):
        PathModel(schema, (blank(SHORT),), (1.0, 1.0))
    with pytest.raises(SchemaMismatch, match="other features"):
        PathModel(schema, (blank(SHORT[:-1]),))
    with pytest.raises(InvalidParameter, match=r"volume_ratio cannot be carried.*return_1"):
        PathModel(
            FeatureSchema.of(("ewma_volatility", "volume_ratio"), "1h"), (blank(("ewma_volatility", "volume_ratio")),)
        )
    with pytest.raises(InvalidParameter, match="atr_14_pct"):
        PathModel(
            FeatureSchema.of(("ewma_volatility", "atr_14_pct"), "1h"), (blank(("ewma_volatility", "atr_14_pct")),)
        )
    with pytest.raises(InvalidParameter, match="needs the feature ewma_volatility"):
        PathModel(FeatureSchema.of(("return_1",), "1h"), (blank(("return_1",)),))


def test_no_start_and_an_empty_series():
    model = PathModel(FeatureSchema.of(SHORT, "1h"), (blank(SHORT),))
    candles = random_candles(600, 1, columns="prices")

    assert model.paths(candles, [], 7).shape == (0, 7)
    assert model.paths(candles.slice(0, 0), [], 7).shape == (0, 7)
    assert np.isnan(model.paths(candles.slice(0, 100), [5, 99], 3)).all()
