"""What a read of a prediction asks to be trained, and that it checks once what is asked for again and again."""

from __future__ import annotations

import pytest
from path_models import drifting
from service_server import local_service, put
from small_models import AT, KEY, bundle_files

from bot.home import Home
from bot.market.store import CandleStore
from bot.service.jobs.records import JobStatus
from ml.engines import open_bundle
from ml.training import trainer
from registry.store import PredictionModelRegistry

ABSENT = {"symbol": "ETH_USDT", "timeframe": "1h", "type": "basic"}
OLDER = {"symbol": "BTC_USDT", "timeframe": "1h", "type": "basic", "force_retrain": "true"}


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
