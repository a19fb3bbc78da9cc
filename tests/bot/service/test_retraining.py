"""What a read of a prediction asks to be trained, and that it checks once what is asked for again and again."""

from __future__ import annotations

import json

import pytest
from path_models import drifting
from service_server import PATH_KEY, local_service, path_files, put
from small_models import AT, FEATURES, KEY, bundle_files

from bot.home import Home
from bot.market.store import CandleStore
from bot.service.jobs.records import JobStatus
from bot.service.work import training_request
from bot.training import prepare_training
from ml.dataset import VOLATILITY_FEATURE
from ml.engines import open_bundle
from ml.synthetic import synthetic_candles
from ml.training import trainer
from ml.training.settings import TrainingSettings
from registry.store import PredictionModelRegistry

ABSENT = {"symbol": "ETH_USDT", "timeframe": "1h", "type": "basic"}
OLDER = {"symbol": "BTC_USDT", "timeframe": "1h", "type": "basic", "force_retrain": "true"}
SMALL = {"num_boost_round": 30}


@pytest.fixture
def service(tmp_path):
    """A service with candles of two symbols and a champion of the first, whose jobs only wait."""
    home = Home(tmp_path)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        CandleStore(home.candles).write(drifting(), symbol, "local")
    CandleStore(home.candles).write(drifting().slice(0, 200), "SOLUSDT", "local")
    put(PredictionModelRegistry(home.models, open_runner=open_bundle), KEY, bundle_files(), AT)
    with local_service(home.root) as running:
        running.service.jobs.stop(1.0)
        yield running


@pytest.fixture
def prepared(monkeypatch):
    """Return a list of the keys whose features and labels were computed, in this process."""
    real, keys = trainer.prepare, []

    def counted(candles, key, settings):
        keys.append(str(key))
        return real(candles, key, settings)

    monkeypatch.setattr(trainer, "prepare", counted)
    return keys


@pytest.mark.parametrize("query", [ABSENT, OLDER], ids=["no model", "an older model"])
def test_what_waits_or_runs_already_is_not_checked_again_and_the_answer_is_the_same(service, prepared, query):
    jobs = service.service.jobs.store

    def ask():
        answer = service.get("/api/predictions", **query)
        document = answer.document
        job = jobs.get(document["job_id"] if answer.status == 200 else document["id"])
        return answer.status, document.get("predictions"), job

    first = ask()
    assert first[0] == (202 if query is ABSENT else 200)
    assert first[2].status is JobStatus.QUEUED
    assert len(prepared) == 1
    assert ask() == first

    assert jobs.take(first[2].created_ms + 1).id == first[2].id
    while_it_runs = ask()
    assert while_it_runs[:2] == first[:2]
    assert (while_it_runs[2].id, while_it_runs[2].status) == (first[2].id, JobStatus.RUNNING)
    assert len(prepared) == 1

    assert jobs.fail(first[2].id, "no skill", first[2].created_ms + 2)
    after_it = ask()
    assert after_it[2].id != first[2].id
    assert len(prepared) == 2


def test_what_cannot_be_trained_is_refused_each_time(service, prepared):
    for _ in range(2):
        answer = service.get("/api/predictions", **{**ABSENT, "symbol": "SOL_USDT"})
        assert answer.status == 422
        assert "Insufficient data for training" in answer.document["detail"]
    assert len(prepared) >= 2
    assert service.service.jobs.store.list() == ()


def test_a_job_of_other_settings_is_no_reason_to_leave_the_check_out(service, prepared):
    asked = service.post("/api/models/train?wait=0", {**ABSENT, "seed": 1})
    assert asked.status == 202
    before = len(prepared)
    answer = service.get("/api/predictions", **ABSENT)
    assert answer.document["id"] != asked.document["id"]
    assert len(prepared) == before + 1


def test_in_place_of_a_champion_the_same_kind_of_model_is_trained(service):
    home = service.service.home
    kept = CandleStore(home.candles).read("BTCUSDT", "1h").candles
    settings = TrainingSettings(horizon=4, features=FEATURES, parameters=SMALL, folds=3, plots=False, robustness=False)
    files = trainer.train(kept, KEY, settings, at=AT, code_version="test").files
    put(PredictionModelRegistry(home.models, open_runner=open_bundle), KEY, files, AT.replace(day=3))
    answer = service.get("/api/predictions", **OLDER)
    job = service.service.jobs.store.get(answer.document["job_id"])
    wanted = training_request(job.request)
    assert (wanted.key, wanted.horizon, wanted.architecture) == (KEY, 4, None)
    assert dict(wanted.parameters) == SMALL
    assert set(wanted.features) == set(FEATURES) | {VOLATILITY_FEATURE}
    again = prepare_training(home, wanted).fit(AT).files
    told = [json.loads(each["metadata.json"]) for each in (files, again)]
    for name in ("architecture", "horizon", "features"):
        assert told[0][name] == told[1][name]
    assert told[0]["recipe"]["parameters"] == told[1]["recipe"]["parameters"]


@pytest.mark.parametrize("bars", [9_000, 12_000])
def test_the_history_of_the_next_model_is_no_shorter(service, bars):
    home = service.service.home
    candles = synthetic_candles(12_000, edge=0.2, seed=3)
    CandleStore(home.candles).write(candles, "BTCUSDT", "local")
    settings = TrainingSettings(features=FEATURES, parameters=SMALL, folds=3, plots=False, robustness=False)
    files = trainer.train(candles.slice(0, bars), KEY, settings, at=AT, code_version="test").files
    put(PredictionModelRegistry(home.models, open_runner=open_bundle), KEY, files, AT.replace(day=3))
    job = service.service.jobs.store.get(service.get("/api/predictions", **OLDER).document["job_id"])
    learnt = prepare_training(home, training_request(job.request)).prepared.plan.bars
    assert learnt == max(bars, 10_000)


def test_a_path_keeps_its_length(service):
    home = service.service.home
    put(PredictionModelRegistry(home.models, open_runner=open_bundle), PATH_KEY, path_files(), AT)
    query = {**OLDER, "type": "multi_ohlc"}
    job = service.service.jobs.store.get(service.get("/api/predictions", **query).document["job_id"])
    again = prepare_training(home, training_request(job.request)).fit(AT).files
    told = [json.loads(each["metadata.json"]) for each in (path_files(), again)]
    for name in ("n_steps_ahead", "features"):
        assert told[0][name] == told[1][name]
    assert told[0]["recipe"]["parameters"] == told[1]["recipe"]["parameters"]
