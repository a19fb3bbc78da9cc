"""Ensembles as bundles: pinned members, the self-test, and predictions through the members' engines."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from small_ensembles import member_files, register_ensemble, register_members, registry_of, select
from small_models import AT, KEY, market, with_holes

from ml.cache import PredictionCache
from ml.edges import holding_edges
from ml.engine import PredictionEngine
from ml.engines import open_bundle, open_engine
from ml.ensembles.bundle import ENSEMBLE_FILE
from ml.ensembles.predictor import EnsemblePredictor
from ml.errors import BrokenModel, InvalidParameter, SchemaMismatch
from ml.predictions import PREDICTION_COLUMNS, Status
from ml.record import RECORD_FILE, OutOfSample
from registry.errors import InvalidBundle
from registry.names import ModelKey

METHODS = ("weighted_avg", "voting", "stacking")


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return {method: register_ensemble(tmp_path_factory.mktemp(method), method) for method in METHODS}


@pytest.mark.parametrize("method", METHODS)
def test_the_newest_bar_has_the_bits_of_the_batch(homes, method):
    engine = open_engine(homes[method])
    candles = with_holes(market(), seed=5)
    batch = engine.predict_batch(candles)
    assert (batch.status[-300:] == Status.OK).mean() > 0.9
    for end in range(len(candles) - 60, len(candles) + 1):
        row, status = engine.predict_newest(candles.slice(max(0, end - engine.window_bars), end))
        assert status == batch.status[end - 1]
        np.testing.assert_array_equal(np.array(row), batch.values[end - 1])


def test_an_answer_is_the_pooled_answers_of_the_members(homes):
    engine, candles = open_engine(homes["weighted_avg"]), market()
    batch = engine.predict_batch(candles)
    parts = [PredictionEngine(member.model).predict_batch(candles) for member in engine.members]
    pool, frozen = json.loads(homes["weighted_avg"].read(ENSEMBLE_FILE))["pool"], homes["weighted_avg"].calibration
    for i in range(2_900, 2_960):
        p = [part.column("p_up")[i] for part in parts]
        score = sum(w * math.log(q / (1 - q)) for w, q in zip(pool["weights"], p, strict=True))
        if frozen["score_scale"] > 0:
            score = frozen["score_scale"] * math.tanh(score / frozen["score_scale"])
        p_up = 1 / (1 + math.exp(-frozen["slope"] * score))
        assert batch.column("p_up")[i] == pytest.approx(p_up, abs=1e-12)
        assert batch.column("confidence")[i] == pytest.approx(max(p_up, 1 - p_up), abs=1e-12)
        returns = sum(w * part.column("expected_return")[i] for w, part in zip(pool["weights"], parts, strict=True))
        expected = frozen["return_scale"] * returns
        expected = expected if (expected > 0) == (p_up > 0.5) else 0.0
        assert batch.column("expected_return")[i] == pytest.approx(expected, abs=1e-12)
        assert batch.column("price")[i] == pytest.approx(candles.close[i] * math.exp(expected))
        assert batch.column("low")[i] < candles.close[i] < batch.column("high")[i]
    assert np.isnan(batch.column("risk")).all()


def test_it_is_what_every_user_of_an_engine_expects(homes):
    model = homes["weighted_avg"]
    engine = open_engine(model)
    assert isinstance(engine, PredictionEngine)
    assert engine.name == str(model)
    assert (engine.timeframe, engine.horizon, engine.digest) == ("1h", 1, model.digest)
    assert engine.window_bars == max(member.window_bars for member in engine.members)
    assert engine.trained_until_ms == max(member.trained_until_ms for member in engine.members)
    candles = market()
    assert engine.outcome_ms(candles) == int(candles.open_ms[-1]) + 2 * 3_600_000
    record = OutOfSample.from_parquet(model.read(RECORD_FILE))
    assert engine.holding_edges(0.52, 0.5).to_dict() == holding_edges(record, 0.52, 0.5).to_dict()
    said = engine.predict(candles)
    assert said.model_name == str(model)
    assert [getattr(said, name) for name in PREDICTION_COLUMNS[:7]] == list(engine.predict_newest(candles)[0][:7])
    copy = pickle.loads(pickle.dumps(engine))
    np.testing.assert_array_equal(copy.predict_batch(candles).values, engine.predict_batch(candles).values)


def test_members_answer_from_the_cache_that_they_share_with_their_own_engines(homes, tmp_path):
    candles = market()
    with closing(PredictionCache(tmp_path / "predictions.db")) as cache:
        cold = open_engine(homes["voting"], cache=cache)
        first = cold.predict_batch(candles)
        assert cold.cache_hits == 0
        assert cold.cache_misses > 0
        warm = open_engine(homes["voting"], cache=cache)
        np.testing.assert_array_equal(warm.predict_batch(candles).values, first.values)
        assert warm.cache_misses == 0
        alone = PredictionEngine(cold.members[0].model, cache=cache)
        alone.predict_batch(candles)
        assert alone.cache_misses == 0
        assert warm.cache_problem is None


def test_a_bar_that_a_member_does_not_answer_has_its_status_and_no_number(homes):
    engine, candles = open_engine(homes["weighted_avg"]), market()
    early = engine.predict_batch(candles)
    assert early.status[0] == Status.WARMING
    assert np.isnan(early.values[early.status != Status.OK]).all()
    trained = max(member.trained_until_ms for member in engine.members)
    later = replace(candles, open_ms=candles.open_ms + 40 * 86_400_000)
    expiring = open_engine(homes["weighted_avg"], expires_after_ms=30 * 86_400_000)
    late = later.open_ms + 3_600_000 > trained + 30 * 86_400_000
    assert late.any()
    assert (expiring.predict_batch(later).status[late] == Status.EXPIRED).all()
    assert expiring.predict_newest(later)[1] == Status.EXPIRED
    broken = open_engine(homes["weighted_avg"])
    broken.members[1]._bundle = None  # a member without a model
    assert set(broken.predict_batch(candles).status[-100:]) == {Status.NO_MODEL}
    assert broken.predict_newest(candles)[1] == Status.NO_MODEL
    with pytest.raises(SchemaMismatch, match="reads candles of 1h"):
        engine.predict_batch(replace(candles, timeframe="4h", open_ms=candles.open_ms * 4))


@pytest.mark.parametrize("method", METHODS)
def test_the_bundle_says_what_it_is_made_of(homes, method):
    model = homes[method]
    document = json.loads(model.read(ENSEMBLE_FILE))
    registry = registry_of(model.path.parents[2])
    for pin in document["members"]:
        member = registry.select_bundle(
            symbol=pin["symbol"], model_type=pin["model_type"], timeframe=pin["timeframe"], version=pin["version"]
        )
        assert member.digest == pin["digest"]
    assert model.metadata["task"] == "direction"
    assert model.metadata["architecture"] == method
    assert model.metrics["out_of_sample"]["n"] == model.metrics["comparison"]["n"]
    assert model.metrics["gate"]["tests"][-1]["baseline"] == "best_member"
    card = model.read("README.md").decode()
    for words in ("best member", "plain mean", "disagree", document["members"][0]["digest"][:16]):
        assert words in card
    assert registry.validate() == []
    same = (
        EnsemblePredictor(
            [
                registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version=pin["version"])
                for pin in document["members"]
            ],
            method=method,
        )
        .build(at=AT, code_version="test")
        .files
    )
    assert all(same[name] == model.read(name) for name in same)  # the same members make the same bytes


def test_a_member_that_is_gone_or_another_is_refused(tmp_path):
    model = register_ensemble(tmp_path)
    open_bundle(model)
    folder = tmp_path / "BTCUSDT" / "basic"
    member = json.loads(model.read(ENSEMBLE_FILE))["members"][1]["version"]
    (folder / member).rename(tmp_path / "away")
    for opener in (open_bundle, open_engine):
        with pytest.raises(BrokenModel, match=r"BTCUSDT/basic@.*_v2 cannot be used.*bot ensemble create"):
            opener(select(tmp_path))
    findings = registry_of(tmp_path).validate()
    assert any("cannot be used" in str(finding) for finding in findings)
    (tmp_path / "away").rename(folder / member)
    open_bundle(select(tmp_path))

    other = tmp_path / "other"  # the same names, another model: as a registry that was put together by hand
    registry = registry_of(other)
    registry.register(KEY, member_files(0), at=AT)
    registry.register(KEY, member_files(2), at=AT)
    files = {name: model.read(name) for name in model.manifest.files}
    registry.register(model.key, files, at=AT)
    with pytest.raises(BrokenModel, match=r"_v2 has the digest [0-9a-f]{16}, [0-9a-f]{16} was pinned"):
        open_bundle(select(other))

    alone = tmp_path / "alone"
    registry_of(alone).register(model.key, files, at=AT)
    with pytest.raises(BrokenModel, match=r"its member BTCUSDT/basic@.*_v1 cannot be used: no model"):
        open_bundle(select(alone))


def test_a_damaged_member_is_named(tmp_path):
    model = register_ensemble(tmp_path)
    member = json.loads(model.read(ENSEMBLE_FILE))["members"][0]["version"]
    path = tmp_path / "BTCUSDT" / "basic" / member / "model.txt"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(BrokenModel, match=r"'model\.txt' was changed"):
        open_bundle(select(tmp_path))


def edited(name, change):
    def edit(files):
        document = json.loads(files[name])
        change(document)
        return {**files, name: json.dumps(document).encode()}

    return edit


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (edited(ENSEMBLE_FILE, lambda d: d["pool"].update(weights=[0.5])), "two or more"),
        (edited(ENSEMBLE_FILE, lambda d: d["pool"].update(weights=[0.5, 0.3, 0.2])), "do not belong together"),
        (edited(ENSEMBLE_FILE, lambda d: d["pool"].update(weights=[0.6, 0.4])), "self-test failed"),
        (edited(ENSEMBLE_FILE, lambda d: d["pool"].update(method="median")), "no method of an ensemble"),
        (edited(ENSEMBLE_FILE, lambda d: d.update(schema_version=2)), "schema version 2"),
        (edited(ENSEMBLE_FILE, lambda d: d.pop("members")), "cannot be read: KeyError"),
        (edited(ENSEMBLE_FILE, lambda d: d["members"][0].update(symbol="b/")), "cannot be read"),
        (edited("calibration.json", lambda d: d.update(slope=d["slope"] * 1.01)), "self-test failed"),
        (edited("calibration.json", lambda d: d.update(horizon=2)), "another horizon"),
        (edited("calibration.json", lambda d: d.update(slope=None)), "slope is None"),
        (edited("golden.json", lambda d: d["close"].pop()), "golden.json is damaged"),
        (edited("golden.json", lambda d: d["predictions"][3].__setitem__(0, 1.0)), "self-test failed"),
        (lambda files: {**files, ENSEMBLE_FILE: b"{"}, "is not JSON"),
        (lambda files: {n: b for n, b in files.items() if n != "golden.json"}, "has no 'golden.json'"),
    ],
)
def test_a_bundle_whose_parts_do_not_belong_together_is_refused(homes, tmp_path, edit, message):
    model = homes["weighted_avg"]
    files = edit({name: model.read(name) for name in model.manifest.files})
    register_members(tmp_path)
    registry_of(tmp_path).register(model.key, files, at=AT)
    with pytest.raises((BrokenModel, InvalidParameter, InvalidBundle), match=message) as caught:
        open_bundle(select(tmp_path))
    assert caught.value.exit_code == 3


def test_members_that_do_not_belong_together(tmp_path):
    members = register_members(tmp_path)
    registry = registry_of(tmp_path)
    further = registry.register(KEY, member_files(0, horizon=3), at=AT)
    for chosen, options, message in (
        (members[:1], {}, "at least two members, got 1"),
        ([], {}, "at least two members, got 0"),
        ([members[0], members[0]], {}, "named twice"),
        ([members[0], further], {}, r"has the horizon 1 bars, .* 3 bars"),
        (members, {"method": "mean"}, "no method"),
        (members, {"weights": (1.0,)}, "1 weights for 2 members"),
        (members, {"weights": (0.0, 0.0)}, "not all 0"),
        (members, {"weights": (1.0, -1.0)}, "at least 0"),
        (members, {"weights": (1.0, math.nan)}, "at least 0"),
        (members, {"weights": (1.0, 1.0), "method": "voting"}, "belong to the method weighted_avg"),
    ):
        with pytest.raises(InvalidParameter, match=message):
            EnsemblePredictor(chosen, **options)
    key = ModelKey("ETHUSDT", "basic", "1h")
    files = member_files(0)
    renamed = {**files, "metadata.json": files["metadata.json"].replace(b'"BTCUSDT"', b'"ETHUSDT"')}
    with pytest.raises(InvalidParameter, match="has the symbol BTCUSDT, ETHUSDT/basic"):
        EnsemblePredictor([members[0], registry.register(key, renamed, at=AT)])
    predictor = EnsemblePredictor(members)
    made = registry.register(predictor.key, predictor.build(at=AT, code_version="test").files, at=AT)
    with pytest.raises(InvalidParameter, match="is an ensemble itself"):
        EnsemblePredictor([members[0], made])


def test_members_of_other_candles_are_refused(tmp_path):
    registry = registry_of(tmp_path)
    first = registry.register(KEY, member_files(0), at=AT)
    second = registry.register(KEY, member_files(1, bars=2_400), at=AT)
    record = OutOfSample.from_parquet(second.read(RECORD_FILE))
    moved = replace(record, close=record.close * 1.001)
    third = registry.register(KEY, {**member_files(1, bars=2_400), RECORD_FILE: moved.to_parquet()}, at=AT)
    with pytest.raises(InvalidParameter, match=r"different candles \(the bar of 2018-.* differs\)"):
        EnsemblePredictor([first, third]).build(at=AT, code_version="test")


def test_serving_loads_no_library_of_training(homes):
    script = (
        "import sys; from ml.engines import open_bundle, open_engine; from registry.store import PredictionModelRegistry\n"
        f"registry = PredictionModelRegistry({str(homes['stacking'].path.parents[2])!r}, open_bundle)\n"
        "model = registry.select_bundle(symbol='BTCUSDT', model_type='ensemble', timeframe='1h', version='newest')\n"
        "engine = open_engine(model); engine.predict_newest\n"
        "names = ('lightgbm', 'sklearn', 'xgboost', 'tensorflow', 'optuna', 'pandas', 'ml.training', 'ml.predictors')\n"
        "print([name for name in names if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
