"""Evidence: one bar's digests are those of the batch, and they change with exactly what the prediction is computed from."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest
from path_models import drifting, register_path
from small_ensembles import register_ensemble
from small_models import market, register, register_trading_days, revised, trading_days, with_holes
from small_networks import off_the_grid, register_network

from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.errors import MissingColumns, SchemaMismatch
from ml.features.blocks import find_blocks, valid_bars
from ml.features.pipeline import FeaturePipeline
from ml.fingerprints import fingerprints
from ml.predictions import Status

NOTHING = ("", "")
KINDS = {
    "single": (register, market),
    "weekdays": (register_trading_days, trading_days),
    "sequence": (lambda root: register_network(root, 12), market),
    "dense network": (lambda root: register_network(root, 1), market),
    "ensemble": (register_ensemble, market),
    "autoregressive": (register_path, drifting),
    "multi_ohlc": (lambda root: register_path(root, "multi_ohlc"), drifting),
}


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    made = {}

    def engine(kind):
        if kind not in made:
            made[kind] = open_engine(KINDS[kind][0](tmp_path_factory.mktemp(kind.replace(" ", "_"))))
        return made[kind]

    return engine


def schema_of(engine):
    reads = engine.members[0]._reads() if hasattr(engine, "members") else engine._reads()
    return reads[0].schema


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holes", [False, True])
def test_the_newest_bar_has_the_evidence_of_the_batch(engines, kind, holes):
    engine, candles = engines(kind), KINDS[kind][1]()
    if holes:
        candles = with_holes(candles, 4)
        candles = off_the_grid(candles, 5) if kind not in {"weekdays", "ensemble"} else candles
    whole = engine.evidence_batch(candles)
    assert len(whole) == len(candles)
    assert len({row for row in whole if row != NOTHING}) == sum(row != NOTHING for row in whole) > 500
    schema = schema_of(engine)
    borders = find_blocks(candles, schema.anchor_bars, schema.index).positions[:, 2]
    near = {int(at) + shift for at in borders for shift in (-2, -1, 0, 1)}
    drawn = np.random.default_rng(6).integers(0, len(candles), 25).tolist()
    for at in sorted(near | set(drawn) | {int(np.argmax(candles.off_grid))}):
        if at < len(candles):
            assert engine.evidence(candles.slice(0, at + 1)) == whole[at]
            if at >= engine.window_bars:
                assert engine.evidence(candles.slice(at + 1 - engine.window_bars, at + 1)) == whole[at]


@pytest.mark.parametrize("kind", ["single", "weekdays", "sequence", "dense network", "ensemble"])
def test_after_a_prediction_the_evidence_is_of_the_rows_that_it_read_and_of_no_other_candles(
    engines, kind, monkeypatch
):
    engine, candles = engines(kind), KINDS[kind][1]()
    whole = engine.evidence_batch(candles)
    computed = []
    for name in ("latest", "newest"):
        plain = getattr(FeaturePipeline, name)
        monkeypatch.setattr(
            FeaturePipeline, name, lambda *given, plain=plain, **more: computed.append(1) or plain(*given, **more)
        )
    first, second = (candles.slice(0, end) for end in (len(candles) - 1, len(candles)))
    for bar in (first, second):
        engine.predict_newest(bar)
        members = len(computed)
        assert members > 0
        assert engine.evidence(bar) == whole[len(bar) - 1]
        assert len(computed) == members  # nothing was computed again
        computed.clear()
    assert engine.evidence(first) == whole[-2]  # the bar before, once more, is not the newest
    assert computed
    early = candles.slice(0, 5)
    assert (engine.predict_newest(early)[1], engine.evidence(early)) == (Status.WARMING, NOTHING)
    assert engine.evidence(second) == whole[-1]


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_evidence_where_and_only_where_there_are_features(engines, kind):
    engine = engines(kind)
    candles = with_holes(KINDS[kind][1](), 8)
    status = engine.predict_batch(candles).status
    for evidence, code in zip(engine.evidence_batch(candles), status.tolist(), strict=True):
        assert (evidence == NOTHING) == (code == Status.WARMING)


def test_the_digests_are_those_of_the_pipeline_and_of_the_fingerprints(engines):
    engine, candles = engines("single"), market()
    schema = schema_of(engine)
    rows = FeaturePipeline(schema).compute(candles).rows
    prints = fingerprints(candles, schema)
    valid = valid_bars(candles, find_blocks(candles, schema.anchor_bars, schema.index), schema.min_candles)
    for at, (fingerprint, features) in enumerate(engine.evidence_batch(candles)):
        if not valid[at]:
            assert (fingerprint, features) == NOTHING
            continue
        assert fingerprint == prints[at].tobytes().hex()
        assert not np.isnan(rows[at]).any()
        assert features == hashlib.blake2b(rows[at].astype("<f4").tobytes(), digest_size=16).hexdigest()


@pytest.mark.parametrize("kind", ["single", "sequence", "ensemble", "autoregressive"])
def test_a_revised_candle_changes_the_fingerprints_that_see_it_and_no_other(engines, kind):
    engine, candles = engines(kind), KINDS[kind][1]()
    at = len(candles) - 400
    before, after = engine.evidence_batch(candles), engine.evidence_batch(revised(candles, at))
    assert before[:at] == after[:at]
    assert before[at][0] != after[at][0]
    assert before[at][1] != after[at][1]
    changed = [row for row in range(at, len(candles)) if before[row][0] != after[row][0]]
    schema = schema_of(engine)
    block = candles.index // schema.anchor_bars
    sees = np.flatnonzero((block[at:] == block[at]) | (block[at:] == block[at] + 1)) + at
    assert set(sees.tolist()) <= set(changed)
    alone = set(changed) - set(sees.tolist())
    assert not alone or (kind == "sequence" and max(alone) - max(sees) < engine.window_bars)
    for row in range(at, len(candles)):
        assert before[row][0] != after[row][0] or before[row][1] == after[row][1]


def test_a_column_that_no_feature_reads_is_no_evidence(engines):
    engine, candles = engines("single"), market()
    assert "trades" not in engine.columns
    trades = np.arange(len(candles), dtype=np.float64)
    assert engine.evidence_batch(replace(candles, trades=trades)) == engine.evidence_batch(candles)


def test_expiry_changes_no_evidence(engines):
    engine = engines("single")
    late = PredictionEngine(engine.model, expires_after_ms=0)
    after = replace(market(), open_ms=market().open_ms + 4096 * 3_600_000, asked=())
    assert late.predict_newest(after)[1] == Status.EXPIRED
    assert late.evidence(after) == engine.evidence(after) != NOTHING


def test_without_a_model_or_a_bar_there_is_none(engines):
    engine = PredictionEngine(None)
    assert engine.evidence(market()) == NOTHING
    assert engine.evidence_batch(market()) == [NOTHING] * len(market())
    for kind in KINDS:
        empty = KINDS[kind][1]().slice(0, 0)
        assert engines(kind).evidence(empty) == NOTHING
        assert engines(kind).evidence_batch(empty) == []


@pytest.mark.parametrize("kind", ["single", "ensemble", "autoregressive"])
def test_candles_that_the_model_does_not_read_are_refused(engines, kind):
    engine, candles = engines(kind), KINDS[kind][1]()
    daily = replace(candles, timeframe="1d", open_ms=candles.open_ms * 24, asked=())
    for ask in (engine.evidence, engine.evidence_batch):
        with pytest.raises(SchemaMismatch):
            ask(daily)
    if kind == "single":
        for ask in (engine.evidence, engine.evidence_batch):
            with pytest.raises(MissingColumns):
                ask(replace(candles, taker_buy_base=None))
