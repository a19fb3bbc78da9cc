"""The engine of paths: the bits of a loop by hand, of one bar and of many, cached or not; bundles that prove themselves."""

from __future__ import annotations

import json
import math
import pickle
from dataclasses import replace

import lightgbm
import numpy as np
import pytest
from path_models import AT, FEATURES, STEPS, drifting, path_key, path_settings, register_path, trained
from small_models import revised, with_holes

from ml.cache import PredictionCache
from ml.candles import Candles
from ml.engine import PredictionEngine
from ml.engines import open_bundle, open_engine
from ml.errors import BrokenModel, InvalidParameter, NotEnoughBars, SchemaMismatch
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.paths.bundle import PATH_MODEL_FILES, open_path_files
from ml.paths.engine import PathEngine
from ml.predictions import Status
from ml.training.trainer import train
from registry.store import PredictionModelRegistry

KINDS = ("autoregressive", "multi_ohlc")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    root = tmp_path_factory.mktemp("models")
    return {kind: register_path(root, kind) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def engine(models, kind):
    return open_engine(models[kind])


def naive_path(kind, candles, steps):
    """Grow the candles one by one, with LightGBM itself; return open, high, low, close of each step."""
    files = trained(kind).files
    schema = FeatureSchema.from_dict(json.loads(files["feature_schema.json"]))
    shrink = json.loads(files["calibration.json"])["shrink"]
    names = PATH_MODEL_FILES["close" if kind == "autoregressive" else "ohlc"]
    boosters = [lightgbm.Booster(model_str=files[name].decode()) for name in names]
    columns = {name: getattr(candles, name).tolist() for name in ("open_ms", "open", "high", "low", "close")}
    begin = candles.asked[0][0]
    for _ in range(steps):
        grown = Candles.from_columns("1h", columns, ((begin, columns["open_ms"][-1] + 3_600_000),))
        row = FeaturePipeline(schema).compute(grown).rows[-1:]
        sigma = float(row[0, schema.names.index("ewma_volatility")])
        moves = [s * float(b.predict(row, raw_score=True)[0]) * sigma for s, b in zip(shrink, boosters, strict=True)]
        last = columns["close"][-1]
        close = last * math.exp(moves[-1])
        opened = last if kind == "autoregressive" else last * math.exp(moves[0])
        high, low = max(opened, close), min(opened, close)
        if kind == "multi_ohlc":
            high, low = high * math.exp(max(moves[1], 0.0)), low * math.exp(-max(moves[2], 0.0))
        for name, value in zip(columns, (columns["open_ms"][-1] + 3_600_000, opened, high, low, close), strict=True):
            columns[name].append(value)
    return np.array([columns[name][-steps:] for name in ("open", "high", "low", "close")]).T


def test_a_path_is_what_a_loop_by_hand_finds(engine, kind):
    candles = drifting()
    border = int(np.flatnonzero(candles.index % 64 == 0)[-3])
    for end in (border - 5, border + 1, len(candles)):
        part = candles.slice(0, end)
        assert engine.path(part).candles.tobytes() == naive_path(kind, part, STEPS).tobytes()


def test_candles_of_a_path_are_valid_and_its_steps_speak_for_people(engine):
    candles = drifting().slice(0, 3000)
    path = engine.path(candles)
    assert (path.status, len(path), path.open_ms) == (Status.OK, STEPS, int(candles.open_ms[-1]))
    opened, high, low, close = path.candles.T
    assert (low <= np.minimum(opened, close)).all()
    assert (high >= np.maximum(opened, close)).all()
    assert (path.low < close).all()
    assert (path.high > close).all()
    assert ((path.confidence >= 0.5) & (path.confidence <= 1)).all()
    assert (path.confidence[path.trusted_steps :] == 0.5).all()
    steps = json.loads(json.dumps(path.steps()))
    assert [row["step"] for row in steps] == list(range(1, STEPS + 1))
    assert [row["minutes_ahead"] for row in steps[:3]] == [60, 120, 180]
    last = steps[-1]
    assert last["predicted_close"] == close[-1]
    assert last["predicted_return"] == pytest.approx(close[-1] / path.close - 1)
    assert last["timestamp"] == "2018-05-07T00:00:00Z"
    assert last["trusted"] is (path.trusted_steps >= STEPS)


def test_a_path_has_a_trusted_step_where_a_drift_was_planted(engine):
    assert engine.trusted_steps >= 1
    assert engine.horizon == engine.trusted_steps
    assert engine.path(drifting()).confidence[0] >= 0.5


def test_one_bar_and_many_give_the_same_bits(engine):
    candles = with_holes(drifting(), 4).slice(0, 2500)
    steps = (1, 3, STEPS)
    batch, whole = engine.predict_batch(candles), engine.summaries(candles, steps)
    assert {Status.OK, Status.WARMING} == {Status(code) for code in batch.status}
    assert batch.status.tolist() == whole.status.tolist()
    for end in (1, 700, 1500, 1501, 2200, 2500):
        part = candles.slice(max(0, end - engine.window_bars), end)
        row, status = engine.predict_newest(part)
        assert np.array(row).tobytes() == batch.values[end - 1].tobytes()
        one = engine.newest_summary(part, steps)
        assert (status, one.status[0]) == (batch.status[end - 1], whole.status[end - 1])
        assert one.values[0].tobytes() == whole.values[end - 1].tobytes()
    alone = replace(engine.predict(candles), model_name="")
    assert np.float64(alone.price).tobytes() == batch.values[-1, :1].tobytes()


def test_summaries_are_read_off_the_paths(engine):
    candles = drifting().slice(0, 2000)
    steps = (2, 9)
    found = engine.summaries(candles, steps)
    for end in (1200, 1641, 2000):
        path = engine.path(candles.slice(0, end))
        row = end - 1
        returns = np.log(path.candles[:, 3] / path.close)
        assert found.returns[row] == pytest.approx(returns[[1, 8]], abs=1e-15)
        high, low = (3, 3) if engine.model.model_type == "autoregressive" else (1, 2)  # a path of closes has no wicks
        assert found.highest[row] == pytest.approx(np.log(path.candles[:, high].max() / path.close), abs=1e-15)
        assert found.lowest[row] == pytest.approx(np.log(path.candles[:, low].min() / path.close), abs=1e-15)
        trusted = returns[: engine.trusted_steps]
        assert found.peak_step[row] == trusted.argmax() + 1
        assert found.peak_return[row] == pytest.approx(trusted.max(), abs=1e-15)
        assert found.peak_confidence[row] == path.confidence[trusted.argmax()]


def test_single_predictions_speak_of_the_last_trusted_step(engine):
    candles = drifting().slice(0, 2000)
    path, said = engine.path(candles), engine.predict(candles)
    place = engine.horizon - 1
    assert said.expected_return == path.returns[place]
    assert said.price == pytest.approx(path.candles[place, 3], rel=1e-12)
    assert (said.low, said.high) == pytest.approx((path.low[place], path.high[place]), rel=1e-12)
    assert said.confidence == path.confidence[place]
    assert said.direction == np.sign(said.expected_return)
    assert engine.outcome_ms(candles) == path.close_ms[place]


def test_the_cache_gives_the_same_bits_and_knows_another_question(models, kind, tmp_path):
    cache = PredictionCache(tmp_path / "predictions.db")
    candles = drifting().slice(0, 2300)
    plain = PathEngine(models[kind])
    expected, batch = plain.summaries(candles, (1, 5)), plain.predict_batch(candles)
    first = PathEngine(models[kind], cache=cache)
    assert first.summaries(candles, (1, 5)).values.tobytes() == expected.values.tobytes()
    assert (first.cache_hits, first.cache_misses) == (0, int((expected.status == Status.OK).sum()))
    second = PathEngine(models[kind], cache=cache)
    assert second.summaries(candles, (1, 5)).values.tobytes() == expected.values.tobytes()
    assert second.cache_misses == 0
    assert second.summaries(candles, (1, 6)).returns[:, 0].tobytes() == expected.returns[:, 0].tobytes()
    assert second.predict_batch(candles).values.tobytes() == batch.values.tobytes()
    assert second.cache_misses == 2 * int((expected.status == Status.OK).sum())
    changed = revised(candles, 2100)
    third = PathEngine(models[kind], cache=cache)
    assert third.summaries(changed, (1, 5)).values.tobytes() == plain.summaries(changed, (1, 5)).values.tobytes()
    assert 0 < third.cache_hits < len(candles)
    assert third.cache_misses > 0


def test_an_engine_survives_a_copy_to_another_process(engine, tmp_path, models, kind):
    cached = PathEngine(models[kind], cache=PredictionCache(tmp_path / "p.db"))
    candles = drifting().slice(0, 1500)
    again = pickle.loads(pickle.dumps(cached))
    assert again.summaries(candles, (1,)).values.tobytes() == engine.summaries(candles, (1,)).values.tobytes()


def test_absence_is_typed(models, kind):
    candles = drifting().slice(0, 1500)
    trained_until = int(models[kind].metadata["trained_until_ms"])
    late = PathEngine(models[kind], expires_after_ms=0)
    shifted = replace(candles, open_ms=candles.open_ms + trained_until - int(candles.open_ms[-1]), asked=())
    batch = late.predict_batch(shifted)
    assert batch.status[-1] == Status.EXPIRED
    assert batch.status[-2] == Status.OK
    assert late.predict_newest(shifted)[1] == Status.EXPIRED
    assert late.path(shifted).status == Status.EXPIRED
    assert late.path(shifted).steps() == []
    short = candles.slice(0, 20)
    assert late.path(short).status == Status.WARMING
    assert late.newest_summary(short, (1,)).status.tolist() == [Status.WARMING]
    assert np.isnan(late.newest_summary(short, (1,)).values).all()
    times = candles.open_ms.copy()
    times[1400:] += 60_000
    astray = late.summaries(replace(candles, open_ms=times, asked=()), (1,))
    assert set(astray.status[1400:].tolist()) == {Status.WARMING}
    assert astray.status[1399] == Status.OK


def test_what_cannot_be_asked_is_refused(engine):
    candles = drifting().slice(0, 1500)
    for steps in ((0,), (STEPS + 1,), (), (1.5,), (True,)):
        with pytest.raises(InvalidParameter, match=r"step"):
            engine.summaries(candles, steps)
    with pytest.raises(NotEnoughBars):
        engine.path(candles.slice(0, 0))
    minutes = Candles.from_columns(
        "1m", {"open_ms": 60_000 * np.arange(5), **dict.fromkeys(("open", "high", "low", "close"), np.ones(5))}
    )
    with pytest.raises(SchemaMismatch, match="reads candles of 1h, these are of 1m"):
        engine.path(minutes)


def test_engines_are_chosen_by_the_bundle(models, kind):
    assert isinstance(open_engine(models[kind]), PathEngine)
    assert type(open_engine(None)) is PredictionEngine
    assert models[kind].runner.steps == STEPS


def damaged(kind, name, change):
    files = dict(trained(kind).files)
    files[name] = change(files[name])
    return files


def test_a_bundle_opens_and_a_damaged_one_does_not(kind):
    files = trained(kind).files
    bundle = open_path_files(files)
    assert (bundle.steps, bundle.schema.names) == (STEPS, FEATURES[kind])
    model = PATH_MODEL_FILES[bundle.model.kind][-1]

    def calibration(**values):
        return lambda text: json.dumps(json.loads(text) | values).encode()

    shrink = json.loads(files["calibration.json"])["shrink"]
    cases = [
        (model, lambda text: text[: len(text) // 2], "truncated|damaged"),
        ("calibration.json", calibration(shrink=[0.5 * s for s in shrink]), "the self-test fails: the path from"),
        (
            "calibration.json",
            calibration(slopes=[9.0] * bundle.publisher.trusted_steps),
            "the self-test fails: the prediction",
        ),
        ("calibration.json", calibration(trusted_steps=STEPS + 1), "trusted steps of 24 make no sense"),
        ("calibration.json", calibration(shrink=[2.0] * len(shrink)), "lie between 0 and 1"),
        ("calibration.json", calibration(kind="direction"), "of kind 'direction'"),
        ("golden.json", lambda text: text.replace(b'"open_ms":[', b'"open_ms":[7,'), "golden.json is damaged"),
        ("golden.json", lambda _: b"[]", "is not a JSON object"),
        ("feature_schema.json", lambda text: text.replace(b'"anchor_bars": ', b'"anchor_bars": 1'), "bundle: "),
    ]
    for name, change, message in cases:
        with pytest.raises((BrokenModel, SchemaMismatch), match=message):
            open_path_files(damaged(kind, name, change))
    for name in (model, "golden.json", "calibration.json", "feature_schema.json"):
        with pytest.raises(BrokenModel, match=f"{name} is missing"):
            open_path_files({key: value for key, value in files.items() if key != name})


def test_leaves_of_another_model_fail_the_self_test(kind):
    name = PATH_MODEL_FILES["close" if kind == "autoregressive" else "ohlc"][-1]
    lines = trained(kind).files[name].decode().splitlines()
    at = next(place for place, line in enumerate(lines) if line.startswith("leaf_value="))
    leaves = [float(word) for word in lines[at].removeprefix("leaf_value=").split()]
    lines[at] = "leaf_value=" + " ".join(repr(leaf + 0.01) for leaf in leaves)
    with pytest.raises(BrokenModel, match="the self-test fails"):
        open_path_files(damaged(kind, name, lambda _: "\n".join(lines).encode()))


def test_metadata_that_says_something_else_is_refused(kind, tmp_path):
    files = dict(trained(kind).files)
    document = json.loads(files["metadata.json"]) | {"trusted_steps": 1_000}
    files["metadata.json"] = json.dumps(document).encode()
    registry = PredictionModelRegistry(tmp_path, open_runner=open_bundle)
    with pytest.raises(BrokenModel, match=r"metadata\.json has trusted_steps 1000"):
        registry.register(path_key(kind), files, at=AT).runner  # noqa: B018


def test_training_is_reproducible(kind):
    again = train(drifting(), path_key(kind), path_settings(kind), at=AT, code_version="test")
    assert again.files == trained(kind).files
