"""Scoring: rows are what the engine publishes and what the market did, whatever the history and the cut."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from path_models import trained
from recipe_versions import BARS, HORIZONS, HOUR, KINDS, TRAINED, close_time, recipe_key, recipe_settings, version_files
from small_models import AT, market, with_holes
from small_networks import off_the_grid

from ml.bundles import open_runner
from ml.candles import Candles
from ml.dataset import build_dataset
from ml.engine import PredictionEngine
from ml.errors import BrokenModel, SchemaMismatch, UnsupportedTask
from ml.features.schema import FeatureSchema
from ml.lifecycle.scoring import score_version
from ml.predictions import Status
from ml.record import OutOfSample, RiskRecord, VolatilityRecord, concat_records
from ml.tasks.catalogue import TASKS
from ml.training.documents import json_bytes
from ml.training.trainer import train
from registry.store import PredictionModelRegistry

START = TRAINED + 40
RECORDS = {"risk": RiskRecord, "volatility": VolatilityRecord}
OUTCOME = {"risk": "outcome", "volatility": "realised"}


@pytest.fixture(scope="module")
def candles() -> Candles:
    """A market whose later part has holes and bars off the grid; what the versions learnt from is whole."""
    whole = market(BARS)
    later = off_the_grid(with_holes(whole.slice(TRAINED - 100, BARS), 5), 6)
    early = whole.slice(0, TRAINED - 100)
    columns = {name: np.concatenate([early.columns[name], later.columns[name]]) for name in whole.columns}
    times = np.concatenate([early.open_ms, later.open_ms])
    return Candles.from_columns("1h", {"open_ms": times, **columns}, asked=whole.asked)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    registry = PredictionModelRegistry(tmp_path_factory.mktemp("models"), open_runner=open_runner)
    return {kind: registry.register(recipe_key(kind), version_files(kind), at=AT) for kind in KINDS}


def time_of(candles, position):
    return int(candles.open_ms[position])


def trained_until(kind, bars=TRAINED):
    return json.loads(version_files(kind, bars)["metadata.json"])["trained_until_ms"]


@pytest.mark.parametrize("kind", KINDS)
def test_stated_numbers_are_those_of_the_engine_to_the_bit(candles, models, kind):
    batch = PredictionEngine(models[kind]).predict_batch(candles)
    record = score_version(models[kind], candles, since_ms=0, version_number=7)
    at = np.searchsorted(candles.open_ms, record.open_ms)
    assert len(record) > 100
    assert (batch.status[at] == Status.OK).all()
    assert (record.fold == 7).all()
    if kind == "risk":
        assert record.p_adverse.tobytes() == (batch.column("risk")[at] / 100.0).tobytes()
    elif kind == "volatility":
        assert record.forecast.tobytes() == batch.column("volatility")[at].tobytes()
        assert record.confidence.tobytes() == batch.column("confidence")[at].tobytes()
    else:
        assert record.p_up.tobytes() == batch.column("p_up")[at].tobytes()
        assert record.expected_return.tobytes() == batch.column("expected_return")[at].tobytes()
        np.testing.assert_allclose(record.low, np.log(batch.column("low")[at] / candles.close[at]), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_the_unseen_bars_with_a_known_outcome_are_there(candles, models, kind):
    """The bars are found again one by one: closed after the training, answered, and the candles ahead exist."""
    horizon = HORIZONS[kind]
    batch = PredictionEngine(models[kind]).predict_batch(candles)
    on_grid = {int(k): i for i, k in enumerate(candles.index) if not candles.off_grid[i]}
    logs = np.log(candles.close)
    if kind == "risk":
        adverse = models[kind].metadata["hyperparams"]["adverse_atr"]
        runner = models[kind].runner
        unit = runner.pipeline.compute(candles).rows[:, runner.schema.names.index("atr_14_pct")].astype(np.float64)
    expected, outcomes = [], []
    for k, i in sorted(on_grid.items()):
        ahead = [on_grid.get(k + j) for j in range(1, horizon + 1)]
        wanted = ahead if kind in RECORDS else ahead[-1:]
        if batch.status[i] != Status.OK or time_of(candles, i) + HOUR <= trained_until(kind) or None in wanted:
            continue
        expected.append(time_of(candles, i))
        if kind == "volatility":
            steps = [i, *ahead]
            outcomes.append(np.sqrt(sum((logs[b] - logs[a]) ** 2 for a, b in pairwise(steps))))
        elif kind == "risk":
            fall = 1 - min(candles.low[j] for j in ahead) / candles.close[i]
            outcomes.append(float(fall > adverse * unit[i]))
        else:
            outcomes.append(logs[ahead[-1]] - logs[i])
    record = score_version(models[kind], candles, since_ms=0)
    assert record.open_ms.tolist() == expected
    assert record.k.tolist() == [time // HOUR for time in expected]
    assert expected[0] + HOUR > trained_until(kind)
    found = getattr(record, OUTCOME.get(kind, "forward_return"))
    np.testing.assert_allclose(found, outcomes, rtol=1e-9, atol=1e-13)
    assert len(set(found.tolist())) > 1
    ties = found == 0.0 if kind not in RECORDS else np.zeros(len(found), dtype=bool)
    assert record.scored.tolist() == ((record.k % horizon == 0) & ~ties).tolist()


@pytest.mark.parametrize("kind", [*KINDS, "far"])
def test_neither_the_start_of_history_nor_the_cut_into_calls_changes_a_bit(candles, models, kind):
    if kind == "far":  # so far ahead that its baselines read more candles than its features
        candles, models = market(BARS), {kind: version_files(kind)}
    whole = score_version(models[kind], candles, since_ms=time_of(candles, START), version_number=5)
    for first in (0, 150, 411, 700):
        shorter = candles.between(time_of(candles, first), None)
        again = score_version(models[kind], shorter, since_ms=time_of(candles, START), version_number=5)
        assert again.to_parquet() == whole.to_parquet()
    rng = np.random.default_rng(3)
    cuts = [START, *sorted(rng.choice(np.arange(START + 1, len(candles)), 12, replace=False)), len(candles)]
    parts = []
    for a, b in pairwise(cuts):
        until = None if b == len(candles) else time_of(candles, b)
        parts.append(
            score_version(models[kind], candles, since_ms=time_of(candles, a), until_ms=until, version_number=5)
        )
    joined = {name: np.concatenate([part.columns()[name] for part in parts]) for name in whole.columns()}
    assert type(whole)(**joined).to_parquet() == whole.to_parquet()


@pytest.mark.parametrize("kind", ["risk", "volatility", "far"])
def test_baselines_read_as_far_back_as_they_do_in_training(candles, models, kind):
    """Every column that needs no model equals, to the bit, what the task says of the whole history."""
    if kind == "far":
        candles, models = market(BARS), {kind: version_files(kind)}
    files = version_files(kind)
    task = TASKS["risk" if kind == "risk" else "volatility"]
    schema = FeatureSchema.from_dict(json.loads(files["feature_schema.json"]))
    whole = build_dataset(candles, schema, HORIZONS[kind])
    parameters = json.loads(files["metadata.json"])["hyperparams"]
    whole = replace(whole, outcome=task.target(candles, whole, parameters))
    record = score_version(models[kind], candles, since_ms=time_of(candles, START))
    positions = np.searchsorted(candles.open_ms, record.open_ms)
    baselines = task.read_baselines(json.loads(files["metrics.json"])["baselines"])
    for name, column in task.outcomes(whole, positions, baselines).items():
        assert column.tobytes() == getattr(record, name).tobytes(), name
    assert len(record) > 100


@pytest.mark.parametrize("kind", ["basic", "risk", "volatility"])
def test_bars_that_come_later_change_nothing_but_add_rows(candles, models, kind):
    """What was recorded at one moment is a prefix of what is recorded later: nothing looks ahead."""
    before = score_version(models[kind], candles.slice(0, 3_200), since_ms=0)
    after = score_version(models[kind], candles, since_ms=0)
    assert 0 < len(before) < len(after)
    assert before.to_parquet() == after.rows(slice(0, len(before))).to_parquet()
    last_known = before.k[-1] + HORIZONS[kind]
    assert last_known <= candles.index[3_199]


def test_files_that_are_not_registered_give_the_same_rows(candles, models):
    for kind in ("basic", "network"):
        there = score_version(models[kind], candles, since_ms=0)
        assert score_version(version_files(kind), candles, since_ms=0).to_parquet() == there.to_parquet()


def test_baselines_are_those_of_the_bundle(candles, models):
    stored = json.loads(version_files("basic")["metrics.json"])["baselines"]
    record = score_version(models["basic"], candles, since_ms=0)
    assert (record.train_base_rate == stored["base_rate"]).all()
    closes = {int(k): c for k, c, off in zip(candles.index, candles.close, candles.off_grid, strict=True) if not off}
    for k, close, said in zip(record.k.tolist(), record.close.tolist(), record.last_sign_p.tolist(), strict=True):
        past = np.sign(close - closes[k - 1]) if k - 1 in closes else 0.0
        towards = past if stored["persists"] else -past
        assert said == 0.5 + towards * (stored["sign_rate"] - 0.5)
    risk = score_version(models["risk"], candles, since_ms=0)
    rules = json.loads(version_files("risk")["metrics.json"])["baselines"]
    known = dict(zip(risk.k.tolist(), risk.outcome.tolist(), strict=True))
    checked = 0
    for k, said in zip(risk.k.tolist(), risk.last_outcome_p.tolist(), strict=True):
        if k - 4 in known:
            assert said == rules["after_adverse" if known[k - 4] else "after_calm"]
            checked += 1
    assert checked > 50


def test_nothing_to_score_is_an_empty_record_of_the_right_columns(candles, models):
    for kind, model in models.items():
        for since, until in ((time_of(candles, -1) + HOUR, None), (0, trained_until(kind) - HOUR)):
            record = score_version(model, candles, since_ms=since, until_ms=until)
            assert isinstance(record, RECORDS.get(kind, OutOfSample))
            assert len(record) == 0
            assert {name: column.dtype for name, column in record.columns().items()} == record.dtypes()
        newest = score_version(model, market(BARS).slice(0, TRAINED + 1), since_ms=0)
        assert len(newest) == 0  # the bar is there, what comes of it is not


def test_expiry_is_not_asked(candles):
    files = version_files("basic")
    short = {**json.loads(files["metadata.json"]), "expires_after_ms": HOUR}
    expiring = files | {"metadata.json": json_bytes(short)}
    assert (
        score_version(expiring, candles, since_ms=0).to_parquet()
        == score_version(files, candles, since_ms=0).to_parquet()
    )


def by_the_newest(versions, candles, since_ms):
    """Score each bar by the last version whose training ended before it closed, as a cycle does."""
    ends = [json.loads(files["metadata.json"])["trained_until_ms"] - HOUR + 1 for _, files in versions]
    parts = []
    for (number, files), begin, until_ms in zip(versions, ends, [*ends[1:], None], strict=True):
        span = {"since_ms": max(since_ms, begin), "until_ms": until_ms}
        parts.append(score_version(files, candles, **span, version_number=number))
    return concat_records(parts)


def test_each_bar_is_scored_once_by_the_newest_version_of_its_time():
    """With a horizon twice as long as the time between refits, every bar is scored all the same."""
    candles, horizon = market(BARS), 24
    ends = [TRAINED + 12 * i for i in range(5)]
    versions = []
    for number, end in enumerate(ends):
        past = candles.slice(0, end)
        made = train(
            past,
            recipe_key("basic"),
            recipe_settings("basic", horizon=horizon),
            at=close_time(past),
            code_version="test",
        )
        versions.append((3 + number, made.files))
    whole = by_the_newest(versions, candles, since_ms=0)
    first = int(candles.index[TRAINED])
    assert whole.k.tolist() == list(range(first, int(candles.index[-1]) - horizon + 1))
    expected = [3 + min(4, max(0, (k - first) // 12)) for k in whole.k.tolist()]
    assert whole.fold.tolist() == expected
    # the same, as the cycles would have done it: what is known at each refit is appended
    parts, since = [], 0
    for cycle in range(1, 8):
        now = candles.slice(0, TRAINED + 12 * cycle)
        part = by_the_newest(versions[:cycle], now, since_ms=since)
        parts.append(part)
        since = int(part.open_ms[-1]) + HOUR if len(part) else since
    joined = {name: np.concatenate([part.columns()[name] for part in parts]) for name in whole.columns()}
    count = len(joined["k"])
    assert count == 7 * 12 - horizon
    assert OutOfSample(**joined).to_parquet() == whole.rows(slice(0, count)).to_parquet()
    # a version that was deleted leaves its bars to the one before it
    without = by_the_newest([versions[0], *versions[2:]], candles, since_ms=0)
    assert without.k.tolist() == whole.k.tolist()
    assert set(without.fold.tolist()) == {3, 5, 6, 7}


def test_what_cannot_be_scored_is_named(candles, models):
    with pytest.raises(UnsupportedTask, match="recipes of whole paths are not scored by the pipeline yet"):
        score_version(trained("autoregressive").files, candles, since_ms=0)
    files = version_files("basic")
    ensemble = json_bytes({**json.loads(files["metadata.json"]), "members": []})
    with pytest.raises(UnsupportedTask, match="is an ensemble"):
        score_version(files | {"metadata.json": ensemble}, candles, since_ms=0)
    metrics = {name: part for name, part in json.loads(files["metrics.json"]).items() if name != "baselines"}
    with pytest.raises(BrokenModel, match="nothing can be scored without baselines"):
        score_version(files | {"metrics.json": json_bytes(metrics)}, candles, since_ms=0)
    damaged = json.loads(files["metrics.json"])
    damaged["baselines"]["sign_rate"] = "half"
    with pytest.raises(BrokenModel, match="sign_rate of the baselines is 'half'"):
        score_version(files | {"metrics.json": json_bytes(damaged)}, candles, since_ms=0)
    with pytest.raises(ValueError, match="0 to 32,767"):
        score_version(models["basic"], candles, since_ms=0, version_number=40_000)
    with pytest.raises(SchemaMismatch, match="1h"):
        score_version(models["basic"], replace(candles, timeframe="5m"), since_ms=0)
