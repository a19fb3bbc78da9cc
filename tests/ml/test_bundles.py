"""Opening bundles: parts that do not belong together and changed bits are refused."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
from small_models import FEATURES, KEY, bundle_files, market, register, with_holes

from ml.bundles import BundleRunner, build_golden, open_files, open_runner
from ml.calibration import Calibration
from ml.errors import BrokenModel, NotEnoughBars, SchemaMismatch
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.predictions import PREDICTION_COLUMNS, Status
from registry.errors import InvalidBundle


@pytest.fixture(scope="module")
def bundle() -> BundleRunner:
    return open_files(bundle_files())


def changed(name: str, change) -> dict[str, bytes]:
    """Return the files with one JSON document changed."""
    document = json.loads(bundle_files()[name])
    change(document)
    return {**bundle_files(), name: json.dumps(document).encode()}


def test_rows_become_price_confidence_and_direction(bundle):
    matrix = FeaturePipeline(bundle.schema).compute(market())
    rows, close = matrix.rows[matrix.valid], market().close[matrix.valid]
    found = bundle.predict(rows, close)
    assert found.price.shape == found.confidence.shape == found.direction.shape == (len(rows),)
    assert (found.status == Status.OK).all()
    assert set(found.direction.tolist()) == {1.0, -1.0}
    assert ((found.confidence >= 0.5) & (found.confidence <= 1)).all()
    np.testing.assert_array_equal(found.direction == 1, found.column("p_up") >= 0.5)
    np.testing.assert_array_equal(found.price > close, (found.direction == 1) & (found.column("expected_return") > 0))
    assert (found.column("low") < found.column("high")).all()


def test_the_published_formula(bundle):
    """The arithmetic that calibration.json stands for, written out in numpy, within a few units in the last place."""
    matrix = bundle.pipeline.compute(market())
    rows, close = matrix.rows[matrix.valid], market().close[matrix.valid]
    found, c = bundle.predict(rows, close), bundle.calibration
    score = bundle.runner.scores(rows)
    score = c.score_scale * np.tanh(score / c.score_scale) if c.score_scale else score
    p = 1 / (1 + np.exp(-c.slope * score))
    sigma = rows[:, FEATURES.index("ewma_volatility")].astype(np.float64)
    expected = sigma * (c.return_per_edge * (2 * p - 1))
    np.testing.assert_allclose(found.column("p_up"), p, rtol=2e-15)
    np.testing.assert_allclose(found.column("expected_return"), expected, rtol=1e-12, atol=1e-18)
    np.testing.assert_allclose(found.price, close * np.exp(expected), rtol=1e-15)
    np.testing.assert_allclose(found.column("low"), close * np.exp(expected + sigma * c.residual_low), rtol=1e-15)
    np.testing.assert_allclose(found.column("high"), close * np.exp(expected + sigma * c.residual_high), rtol=1e-15)


def test_rows_without_closes_have_no_prices(bundle):
    rows = np.abs(np.random.default_rng(0).normal(size=(120, 5))).astype(np.float32)
    found = bundle.predict(rows)
    assert np.isnan(found.price).all()
    assert np.isnan(found.column("low")).all()
    assert np.isfinite(found.confidence).all()
    assert np.isfinite(found.direction).all()


def test_a_row_without_volatility_is_an_error_of_that_row_only(bundle):
    rows = np.full((3, 5), 0.01, dtype=np.float32)
    rows[1, 0] = np.nan
    found = bundle.predict(rows, np.full(3, 100.0))
    assert found.status.tolist() == [Status.OK, Status.ERROR, Status.OK]
    assert np.isnan(found.values[1]).all()


def test_candles_are_warming_until_they_have_features(bundle):
    batch = bundle.predict_candles(market())
    valid = bundle.pipeline.compute(market()).valid
    np.testing.assert_array_equal(batch.status == Status.WARMING, ~valid)
    assert np.isnan(batch.values[~valid]).all()
    assert np.isfinite(batch.values[valid][:, :7]).all()


def test_open_runner_reads_a_registered_version(tmp_path):
    model = register(tmp_path)
    opened = open_runner(model)
    assert opened.schema.names == FEATURES
    assert opened.horizon == 1
    assert model.runner is model.runner
    copy = pickle.loads(pickle.dumps(opened))
    rows = np.full((3, 5), 0.01, dtype=np.float32)
    np.testing.assert_array_equal(copy.predict(rows).values, opened.predict(rows).values)


@pytest.mark.parametrize("name", ["model.txt", "feature_schema.json", "calibration.json", "golden.json"])
def test_a_flipped_byte_on_disk_is_refused(tmp_path, name):
    model = register(tmp_path)
    data = bytearray((model.path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (model.path / name).write_bytes(bytes(data))
    with pytest.raises(InvalidBundle, match=name):
        open_runner(model)


@pytest.mark.parametrize("name", ["model.txt", "feature_schema.json", "calibration.json", "golden.json"])
def test_a_missing_part_is_named(name):
    files = {key: value for key, value in bundle_files().items() if key != name}
    with pytest.raises(BrokenModel, match=name.replace(".", r"\.")):
        open_files(files)


@pytest.mark.parametrize("name", ["feature_schema.json", "calibration.json", "golden.json"])
@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b"[" * 100_000], ids=range(5))
def test_a_part_that_is_no_json_object(name, content):
    with pytest.raises(BrokenModel, match="JSON"):
        open_files({**bundle_files(), name: content})


@pytest.mark.parametrize("name", ["calibration.json", "golden.json"])
def test_an_unknown_version_of_a_part(name):
    with pytest.raises(BrokenModel, match="schema version 99, this program reads 1"):
        open_files(changed(name, lambda document: document.update(schema_version=99)))


def test_an_unknown_version_of_the_features():
    with pytest.raises(SchemaMismatch, match="99"):
        open_files(changed("feature_schema.json", lambda document: document.update(schema_version=99)))


def test_model_and_schema_of_different_features():
    other = FeatureSchema.of(("rsi_14", "ewma_volatility", *FEATURES[2:]), "1h")
    files = {**bundle_files(), "feature_schema.json": json.dumps(other.to_dict()).encode()}
    with pytest.raises(BrokenModel, match="feature 0 is 'ewma_volatility' in the model and 'rsi_14' in the schema"):
        open_files(files)
    fewer = FeatureSchema.of(FEATURES[:4], "1h")
    with pytest.raises(BrokenModel, match="fitted to 5 features, the schema names 4"):
        open_files({**files, "feature_schema.json": json.dumps(fewer.to_dict()).encode()})


def test_a_schema_without_volatility():
    schema = FeatureSchema.of(("rsi_14",), "1h")

    class Model:
        runtime, feature_names = "none", ("rsi_14",)

    with pytest.raises(BrokenModel, match="lacks ewma_volatility"):
        BundleRunner(schema, Model(), Calibration.from_dict(json.loads(bundle_files()["calibration.json"])))


def golden_change(path: list, change):
    def apply(document):
        place = document
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = change(place[path[-1]])

    return changed("golden.json", apply)


ROW = ["windows", 0, "rows", 2]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ([*ROW, "features", 1], "rsi_14"),
        ([*ROW, "score"], "score"),
        ([*ROW, "prediction", 4], "p_up"),
    ],
)
def test_one_bit_in_the_golden_rows_is_noticed(path, name):
    kind = np.float32 if name == "rsi_14" else np.float64

    def next_bit(value):
        return float(np.nextafter(kind(value), kind(9e9)))

    with pytest.raises(BrokenModel, match=rf"self-test fails: at 20..-..-..T..:00:00Z {name} is .* here and was"):
        open_files(golden_change(path, next_bit))


def test_one_price_in_the_golden_candles_is_noticed():
    files = golden_change(["windows", 0, "columns", "close", -3], lambda value: value * (1 + 1e-9))
    with pytest.raises(BrokenModel, match=r"self-test|golden"):
        open_files(files)


@pytest.mark.parametrize(
    ("path", "change"),
    [
        (["windows"], lambda _value: []),
        (["windows"], lambda _value: {"a": 1}),
        (["windows", 0, "rows"], lambda _value: []),
        ([*ROW, "open_ms"], lambda value: value + 1),
        ([*ROW, "open_ms"], lambda value: value + 10**12),
        ([*ROW, "features"], lambda value: value[:-1]),
        ([*ROW, "features"], lambda value: ["x", *value[1:]]),
        ([*ROW, "prediction"], lambda value: value[:-1]),
        (["windows", 0, "columns", "close"], lambda value: value[:-1]),
        (["windows", 0, "columns", "close", 3], lambda value: -value),
        (["windows", 0, "timeframe"], lambda _value: "7x"),
        (["windows", 0, "asked"], lambda _value: 5),
        (["windows", 0], lambda _value: None),
    ],
)
def test_damaged_golden_windows_are_broken_models(path, change):
    with pytest.raises(BrokenModel, match="golden"):
        open_files(golden_change(path, change))


def test_a_model_with_other_leaves_fails_the_self_test():
    text = bundle_files()["model.txt"].decode()
    line = next(line for line in text.splitlines() if line.startswith("leaf_value="))
    values = line[11:].split()
    swapped = text.replace(line, "leaf_value=" + " ".join(str(float(v) * 1.0001) for v in values), 1)
    with pytest.raises(BrokenModel, match="self-test fails"):
        open_files({**bundle_files(), "model.txt": swapped.encode()})


def test_a_changed_calibration_fails_the_self_test():
    with pytest.raises(BrokenModel, match="self-test fails"):
        open_files(changed("calibration.json", lambda document: document.update(slope=document["slope"] * 1.01)))


def test_other_timeframes_and_horizons_are_noticed(tmp_path):
    model = register(tmp_path)
    model.metadata["horizon"] = 4
    with pytest.raises(BrokenModel, match=r"metadata.json has horizon 4, calibration.json 1"):
        open_runner(model)


def test_golden_windows_cross_a_border_and_see_gaps(bundle):
    holes = with_holes(market(), seed=5)
    files = {name: bundle_files()[name] for name in ("model.txt",)}
    document = json.loads(build_golden(holes, bundle.schema, files, bundle.calibration))
    blocks = bundle.schema.anchor_bars
    for window in document["windows"]:
        indices = {row["open_ms"] // 3_600_000 // blocks for row in window["rows"]}
        assert len(indices) == 2
    spans = [window["columns"]["open_ms"][-1] - window["columns"]["open_ms"][0] for window in document["windows"]]
    counts = [len(window["columns"]["open_ms"]) for window in document["windows"]]
    assert any(count * 3_600_000 < span for count, span in zip(counts, spans, strict=True))
    open_files({**bundle_files(), "golden.json": json.dumps(document).encode()})


def test_golden_of_a_history_without_a_border(bundle):
    anchor = bundle.schema.anchor_bars
    start = next(i for i in range(len(market())) if market().index[i] % anchor == 0)
    short = market().slice(start, start + anchor + 20)
    content = build_golden(short, bundle.schema, bundle_files(), bundle.calibration)
    rows = json.loads(content)["windows"][0]["rows"]
    assert [len(row["prediction"]) for row in rows] == [len(PREDICTION_COLUMNS)] * 5
    assert rows[-1]["open_ms"] == short.open_ms[-1]
    open_files({**bundle_files(), "golden.json": content})


def test_golden_needs_a_bar_with_features(bundle):
    with pytest.raises(NotEnoughBars, match="none of 20 candles has features"):
        build_golden(market().slice(0, 20), bundle.schema, bundle_files(), bundle.calibration)


def test_golden_needs_one_model_that_runs(bundle):
    with pytest.raises(BrokenModel, match=r"expected one model file of model\.txt, model\.onnx, found none of them"):
        build_golden(market(), bundle.schema, {"model.ubj": b""}, bundle.calibration)


def test_the_key_is_that_of_the_fixture():
    assert str(KEY) == "BTCUSDT/1h/basic"
