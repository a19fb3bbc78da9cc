"""The server's own views: every kind of damage in words, versions, and metrics that a scraper can read."""

from __future__ import annotations

import asyncio
import json
import platform
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from importlib.metadata import version as version_of

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.responses import StreamingResponse
from prometheus_client.parser import text_string_to_metric_families
from small_models import KEY

from bot.home import Home
from bot.service.views.system import Measured, Metrics, health, version
from bot.state import StateDatabase
from bot.version import code_version
from registry.store import PredictionModelRegistry

AT = datetime(2026, 1, 2, tzinfo=UTC)


class Jobs:
    def counts(self):
        return {"queued": 2, "running": 1}


class Predictions:
    computed = 3
    remembered = 40


@pytest.fixture
def home(tmp_path):
    """A home with a champion and two databases."""
    made = Home(tmp_path / "home")
    registry = PredictionModelRegistry(made.models)
    files = {"metadata.json": json.dumps({"schema_version": 1}).encode(), "model.txt": b"tree"}
    found = registry.register(KEY, files, at=AT)
    registry.promote(KEY, found.version_id, at=AT, reason="good")
    StateDatabase(made.state_db).close()
    StateDatabase(made.pipeline_db).close()
    return made


# ---------------------------------------------------------------- health


def test_a_sound_home_is_ok(home):
    found = health(home)
    assert (found["ok"], found["problems"]) == (True, [])
    assert found["time"].endswith("Z")


def damage_database(home):
    home.state_db.write_bytes(b"no database" * 200)


def damage_link(home):
    link = home.models / "BTCUSDT" / "basic" / "latest-1h"
    link.unlink()
    link.symlink_to("2020-01-01T000000Z_1h_v1")


def lose_link(home):
    (home.models / "BTCUSDT" / "basic" / "latest-1h").unlink()


def lose_champion(home):
    folder = home.models / "BTCUSDT" / "basic"
    (folder / "2026-01-02T000000Z_1h_v1").rename(home.root / "elsewhere")


def damage_ledger(home):
    path = home.models / "BTCUSDT" / "basic" / "ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"register", b"promoted", 1))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (damage_database, "home/state.db cannot be read: file is not a database"),
        (
            damage_link,
            "BTCUSDT/basic: the link latest-1h points to 2020-01-01T000000Z_1h_v1, the ledger says 2026-01-02",
        ),
        (lose_link, "BTCUSDT/basic: the link latest-1h points to None, the ledger says 2026-01-02"),
        (lose_champion, "BTCUSDT/basic: the champion of 1h, 2026-01-02T000000Z_1h_v1, is gone from the disk"),
        (damage_ledger, "BTCUSDT/basic: home/models/BTCUSDT/basic/ledger.jsonl"),
    ],
)
def test_damage_is_told_in_words_without_paths(home, damage, told):
    damage(home)
    found = health(home)
    assert not found["ok"]
    assert any(problem.startswith(told) for problem in found["problems"]), found["problems"]
    assert str(home.root) not in json.dumps(found)


def test_everything_that_is_wrong_is_told_at_once(home):
    damage_database(home)
    lose_link(home)
    assert len(health(home)["problems"]) == 2


def test_a_home_that_is_a_file_or_below_one_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("x")
    for home in (Home(tmp_path / "file"), Home(tmp_path / "file" / "below")):
        found = health(home)
        assert not found["ok"]
        assert "is not a folder" in found["problems"][0]


def test_a_home_that_cannot_be_written_says_so(home, monkeypatch):
    monkeypatch.setattr("bot.service.views.system.os.access", lambda *_: False)  # to root every folder can be written
    assert health(home)["problems"] == [
        "home cannot be written: make the folder writable, or choose another --home",
    ]


def test_a_writer_is_no_problem(home):
    with closing(sqlite3.connect(home.state_db, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert health(home)["ok"]


# ---------------------------------------------------------------- version


def test_the_versions_are_those_that_run():
    found = version()
    assert (found["version"], found["python"]) == (code_version(), platform.python_version())
    for name in ("numpy", "lightgbm", "fastapi", "prometheus-client"):
        assert found["libraries"][name] == version_of(name)
    json.dumps(found)


# ---------------------------------------------------------------- metrics


def samples(metrics) -> dict:
    """Return what a scraper reads, by name and labels."""
    text = metrics.text(Jobs(), Predictions())
    return {
        (each.name, *sorted(each.labels.items())): each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
    }


def test_requests_are_counted_by_route_method_and_status():
    metrics = Metrics()
    for status, seconds in ((200, 0.003), (200, 0.2), (404, 20.0)):
        metrics.request("/api/jobs/{job_id}", "GET", status, seconds)
    metrics.request("none", "BREW", 405, 0.1)
    found = samples(metrics)
    route = (("method", "GET"), ("route", "/api/jobs/{job_id}"))
    assert found["mlbot_http_requests_total", *route, ("status", "200")] == 2
    assert found["mlbot_http_requests_total", *route, ("status", "404")] == 1
    assert found["mlbot_http_requests_total", ("method", "other"), ("route", "none"), ("status", "405")] == 1
    assert found["mlbot_http_request_seconds_count", *route] == 3
    assert found["mlbot_http_request_seconds_sum", *route] == pytest.approx(20.203)
    buckets = [
        found["mlbot_http_request_seconds_bucket", ("le", le), *route] for le in ("0.005", "0.25", "10.0", "+Inf")
    ]
    assert buckets == [1, 2, 2, 3]


def test_jobs_predictions_uptime_and_memory_are_told():
    found = samples(Metrics())
    assert {key[1][1]: value for key, value in found.items() if key[0] == "mlbot_jobs"} == {"queued": 2, "running": 1}
    assert found["mlbot_predictions_total", ("source", "computed")] == 3
    assert found["mlbot_predictions_total", ("source", "remembered")] == 40
    assert 0 <= found["mlbot_uptime_seconds",] < 60
    assert found["process_resident_memory_bytes",] > 10_000_000
    assert not [key for key in found if key[0].endswith("_created")]


def test_two_servers_of_one_process_count_apart():
    one, other = Metrics(), Metrics()
    one.request("/", "GET", 200, 0.1)
    assert not [key for key in samples(other) if key[0].startswith("mlbot_http")]


def test_the_text_is_that_of_the_format():
    text = Metrics().text(Jobs(), Predictions())
    assert "# HELP mlbot_jobs Jobs that are known.\n# TYPE mlbot_jobs gauge\n" in text
    assert "# TYPE mlbot_predictions_total counter\n" in text
    assert text.endswith("\n")


def application(metrics) -> FastAPI:
    """Return a real application behind the middleware."""
    router = APIRouter(prefix="/api")

    @router.get("/jobs/{job_id}")
    def job(job_id: str) -> dict:
        if job_id == "bad":
            raise ValueError(job_id)
        return {"id": job_id}

    @router.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(iter([b"a", b"b"]))

    app = FastAPI()
    app.include_router(router)
    app.add_middleware(Measured, metrics=metrics)
    return app


def test_the_middleware_counts_by_the_template_of_the_route():
    metrics = Metrics()

    async def ask():
        transport = httpx.ASGITransport(application(metrics), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            paths = ("/api/jobs/1", "/api/jobs/2", "/api/jobs/bad", "/api/stream", "/nowhere/at/all")
            return [await client.get(path) for path in paths]

    answers = asyncio.run(ask())
    assert [answer.status_code for answer in answers] == [200, 200, 500, 200, 404]
    assert answers[3].content == b"ab"
    counted = {
        tuple(value for _, value in key[1:]): value
        for key, value in samples(metrics).items()
        if key[0] == "mlbot_http_requests_total"
    }
    assert counted == {
        ("GET", "/api/jobs/{job_id}", "200"): 2,
        ("GET", "/api/jobs/{job_id}", "500"): 1,
        ("GET", "/api/stream", "200"): 1,
        ("GET", "none", "404"): 1,
    }


def test_what_is_no_request_passes_and_a_caller_who_left_is_counted():
    metrics, seen = Metrics(), []

    async def silent(scope, receive, send):
        seen.append(scope["type"])

    async def ask():
        for kind in ("lifespan", "http"):
            await Measured(silent, metrics)({"type": kind, "method": "GET"}, None, None)

    asyncio.run(ask())
    assert seen == ["lifespan", "http"]
    assert [key[-1] for key in samples(metrics) if key[0] == "mlbot_http_requests_total"] == [("status", "499")]
