"""The service from outside, by its own document: who may ask, what is answered, and what no request can do to it."""

from __future__ import annotations

import json
import os
import re
import shutil
import threading
import time
from datetime import datetime, timedelta
from itertools import pairwise
from urllib.parse import quote, urlencode

import jsonschema_rs
import pytest
from service_server import BOT, ENDLESS, PATH_KEY, QUICK, fill_whole_home, fuzz, local_service, unlimited
from small_models import KEY

from bot.service.access import Scope
from registry.store import PredictionModelRegistry

READS, WRITES = frozenset({"GET"}), frozenset({"POST", "DELETE", "PUT", "PATCH"})
NOWHERE = "6d1f3a52-0f0c-4a54-9f0e-1f5c9a3b7c11"
BTC = {"symbol": "BTC_USDT", "timeframe": "1h"}
BODIES = {
    "/api/predictions/generate": {**BTC, "auto_train": False},
    "/api/models/train": {**BTC, "symbol": "SOL_USDT"},
    "/api/models/{symbol}/{type}/promote": {"timeframe": "1h", "version": "latest", "reason": "a test"},
    "/api/models/{symbol}/{type}/rollback": {"timeframe": "1h", "reason": "a test"},
}
STRANGE = (
    "../../etc/passwd",
    "..%2f..%2fetc",
    "/etc/passwd",
    "BTC\0USDT",
    "A" * 9_000,
    "ビットコイン",
    "BTC\r\nX-Injected: 1",
    "a b",
    "%",
    "$(id)",
    "'; DROP TABLE service_jobs; --",
    ".",
    "..",
    "-",
)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A home with everything in it, for those who change nothing."""
    return fill_whole_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def service(filled):
    with local_service(filled.root) as running:
        yield running


@pytest.fixture
def own(filled, tmp_path):
    """A service over a copy of the home, which a test may change."""
    root = tmp_path / "own"
    root.mkdir()
    for name in ("candles", "models", "runs"):
        shutil.copytree(getattr(filled, name), root / name, symlinks=True)
    with local_service(root) as running:
        yield running


@pytest.fixture(scope="module")
def document(service):
    found = service.get("/api/openapi.json")
    assert found.status == 200
    return found.document


def operations(document):
    """Yield method, template, a real address and a body of every operation."""
    for template, methods in document["paths"].items():
        for method, operation in methods.items():
            given = {"symbol": "BTC_USDT", "timeframe": "1h"}
            query = {
                each["name"]: given[each["name"]]
                for each in operation.get("parameters", ())
                if each["in"] == "query" and each["required"]
            }
            samples = {
                "symbol": "BTC_USDT",
                "type": "basic",
                "version": "2026-01-03T000000Z_1h_v1",
                "name": BOT,
                "run_id": "unknown",
                "job_id": NOWHERE,
                "prediction_id": NOWHERE,
            }
            address = template.format(**samples) + (f"?{urlencode(query)}" if query else "")
            yield method.upper(), template, address, BODIES.get(template)


def conforms(document, template, method, answer):
    """Check status, media type and body of an answer against the document; returns it."""
    responses = document["paths"][template][method.lower()]["responses"]
    assert str(answer.status) in responses, (method, template, answer)
    media = answer.headers["content-type"].partition(";")[0]
    content = responses[str(answer.status)].get("content", {})
    assert media in content, (template, media, content)
    if media.endswith("json"):
        schema = {**content[media]["schema"], "components": document["components"]}
        jsonschema_rs.Draft202012Validator(schema).validate(answer.document)
    return answer


def is_problem(answer, status):
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.document["status"] == status
    assert answer.document["title"]
    return answer.document


# ---------------------------------------------------------------- who may ask


def test_nobody_is_answered_without_a_token_but_on_the_open_addresses(service, document):
    refused = []
    for method, template, address, body in operations(document):
        answer = service.ask(method, address, body, token=None)
        if document["paths"][template][method.lower()]["security"]:
            is_problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
            refused.append(template)
        else:
            assert (template, answer.status) == ("/api/health", 200)
    assert len(set(refused)) == len(document["paths"]) - 1 >= 25
    is_problem(service.ask("GET", "/api/nothing", token=None), 401)


@pytest.mark.parametrize("token", ["wrong", "mlbot_" + "A" * 43, "\u00e9", "x" * 5_000])
def test_a_wrong_token_opens_nothing(service, document, token):
    for method, template, address, body in operations(document):
        if template != "/api/health":
            is_problem(service.ask(method, address, body, token=token), 401)


def test_a_token_that_may_read_reads_everything_and_changes_nothing(service, document):
    before = service.get("/api/jobs").document
    seen = set()
    for method, template, address, body in operations(document):
        if template == ENDLESS:
            continue
        answer = service.ask(method, address, body, token=service.reader)
        conforms(document, template, method, answer)
        if method in WRITES:
            assert is_problem(answer, 403)["needed_scope"] == "write"
        else:
            assert method in READS
            assert answer.status in {200, 404}, (template, answer)
        seen.add((template, answer.status))
    assert sum(status == 200 for _, status in seen) >= 17
    assert service.get("/api/jobs").document == before


def test_every_answer_to_a_token_that_may_write_is_as_documented(own, document):
    for method, template, address, body in operations(document):
        if template != ENDLESS:
            conforms(document, template, method, own.ask(method, address, body))


def test_a_revoked_token_is_refused_from_the_next_request_on(own):
    token = own.service.tokens.create("passing", Scope.READ)
    assert own.ask("GET", "/api/version", token=token).status == 200
    own.service.tokens.revoke("passing")
    is_problem(own.ask("GET", "/api/version", token=token), 401)


def test_rates_are_limited_each_token_by_itself(filled, tmp_path):
    root = tmp_path / "own"
    shutil.copytree(filled.candles, root / "candles")
    with local_service(root, unlimited(reads_per_second=1.0, wrong_per_minute=2.0)) as limited:
        answers = [limited.get("/api/version") for _ in range(5)]
        refused = [answer for answer in answers if answer.status != 200]
        assert 2 <= len(refused) <= 3
        assert all(1 <= int(is_problem(answer, 429) and answer.headers["retry-after"]) <= 2 for answer in refused)
        assert limited.ask("GET", "/api/version", token=limited.reader).status == 200
        wrong = [limited.ask("GET", "/api/version", token="wrong").status for _ in range(4)]
        assert wrong[:2] == [401, 401]
        assert wrong[-1] == 429


def test_another_sites_name_is_not_served(service):
    is_problem(service.ask("GET", "/api/health", headers={"Host": "evil.example"}), 421)


def test_no_other_origin_is_let_in(service):
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"}
    for method in ("GET", "OPTIONS"):
        answer = service.ask(method, "/api/models", headers=asked)
        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_an_address_has_the_methods_of_the_document_and_no_other(service, document):
    for template, methods in document["paths"].items():
        address = next(each[2] for each in operations(document) if each[1] == template)
        for method in ("PUT", "PATCH", "OPTIONS", "GET", "POST", "DELETE"):
            if method.lower() not in methods:
                answer = service.ask(method, address)
                is_problem(answer, 405)
                assert answer.headers["allow"] == ", ".join(sorted(name.upper() for name in methods))


# ---------------------------------------------------------------- what is answered


def test_a_prediction_has_every_field_and_follows_the_timeframe(service):
    found = service.get("/api/predictions", **BTC).document
    assert found.keys() >= {"timestamp", "current_price", "symbol", "timeframe", "predictions", "model_info"}
    assert (found["symbol"], found["timeframe"], found["status"]) == ("BTC_USDT", "1h", "ok")
    assert found["model_info"].keys() >= {"name", "type", "trained_at", "n_steps_ahead", "version", "digest"}
    assert found["model_info"]["name"] == "BTC_USDT_1h_24steps_multi_ohlc"
    assert found["model_info"]["type"] == "multi_ohlc"
    assert len(found["predictions"]) == found["model_info"]["n_steps_ahead"] == 24
    assert 0 <= found["trusted_steps"] <= 24
    assert found["age_seconds"] > 0
    closed = datetime.fromisoformat(found["timestamp"])
    for number, step in enumerate(found["predictions"], 1):
        assert step.keys() >= {
            *("step", "minutes_ahead", "timestamp", "predicted_open", "predicted_high", "predicted_low"),
            *("predicted_close", "predicted_return", "confidence", "low", "high", "trusted"),
        }
        assert step["step"] == number
        assert step["minutes_ahead"] == 60 * number
        assert datetime.fromisoformat(step["timestamp"]) == closed + timedelta(hours=number)
        assert step["timestamp"].endswith("Z")
        assert step["predicted_low"] <= min(step["predicted_open"], step["predicted_close"])
        assert step["predicted_high"] >= max(step["predicted_open"], step["predicted_close"])
        assert step["predicted_return"] == pytest.approx(step["predicted_close"] / found["current_price"] - 1, abs=1e-9)
        assert 0.5 <= step["confidence"] <= 1
        assert step["low"] < step["predicted_close"] < step["high"]
        assert step["trusted"] is (number <= found["trusted_steps"])
    assert all(a["predicted_close"] == b["predicted_open"] for a, b in pairwise(found["predictions"]))


def test_four_spellings_of_a_symbol_are_one_question(filled, tmp_path):
    root = tmp_path / "own"
    for name in ("candles", "models"):
        shutil.copytree(getattr(filled, name), root / name, symlinks=True)
    with local_service(root) as own:
        answers = []
        for symbol in ("BTC_USDT", "BTC/USDT", "BTC-USDT", "BTCUSDT"):
            found = own.get("/api/predictions", symbol=symbol, timeframe="1h").document
            answers.append(
                json.dumps(found | {"age_seconds": 0, "model_info": found["model_info"] | {"age_seconds": 0}})
            )
            assert own.get("/api/candles", symbol=symbol, timeframe="1h").status == 200
            assert len(own.get("/api/models", symbol=symbol).document) == 4
        assert len(set(answers)) == 1
        assert (own.service.forecaster.answered, own.service.forecaster.computed) == (4, 1)
        counts = own.get("/api/metrics").data.decode()
        assert re.search(r'^mlbot_predictions_total\{source="computed"\} 1(\.0)?$', counts, re.MULTILINE)
        assert re.search(r'^mlbot_predictions_total\{source="remembered"\} 3(\.0)?$', counts, re.MULTILINE)


def test_models_have_every_field(service):
    rows = service.get("/api/models").document
    assert len(rows) == 4
    for row in rows:
        assert row.keys() >= {
            *("name", "type", "symbol", "timeframe", "n_steps_ahead", "model_size_kb", "trained_at", "performance"),
        }
        assert row["performance"].keys() >= {"train_r2", "val_r2", "train_rmse", "val_rmse"}
        assert row["model_size_kb"] > 0
    path = next(row for row in rows if row["type"] == "multi_ohlc")
    assert (path["name"], path["n_steps_ahead"]) == ("BTC_USDT_1h_24steps_multi_ohlc", 24)
    assert path["performance"]["val_r2"] > 0
    assert [row["champion"] for row in rows if row["type"] == "basic"] == [False, True, False]
    assert service.get("/api/models", symbol="ETHUSDT").document == []
    (only,) = service.get("/api/models", type="basic", limit=1).document
    assert only["champion"]  # which is never left out


def test_a_prediction_in_the_background_has_every_field(own, document):
    started = conforms(
        document,
        "/api/predictions/generate",
        "POST",
        own.post("/api/predictions/generate", {**BTC, "auto_train": True}),
    )
    assert started.status == 202
    said = started.document
    assert said["status"] == "running"
    assert said["message"] == f"Prediction started. Check status at /api/predictions/{said['prediction_id']}"
    own.job(said["prediction_id"])
    found = conforms(
        document, "/api/predictions/{prediction_id}", "GET", own.get(f"/api/predictions/{said['prediction_id']}")
    ).document
    assert found.keys() >= {"id", "symbol", "timeframe", "status", "created_at", "result"}
    assert (found["id"], found["status"], found["error"]) == (said["prediction_id"], "completed", None)
    assert (found["symbol"], found["timeframe"]) == ("BTC_USDT", "1h")
    at_once = own.get("/api/predictions", **BTC).document
    assert found["result"]["predictions"] == at_once["predictions"]
    assert found["result"]["current_price"] == at_once["current_price"]


def test_a_training_returns_the_model_and_the_same_request_meanwhile_is_the_same_job(own, document):
    template = "/api/models/train"
    first = conforms(document, template, "POST", own.post(f"{template}?wait=0", QUICK))
    second = own.post(f"{template}?wait=0", {**QUICK, "symbol": "btc/usdt", "seed": 0.0})
    assert (first.status, second.status) == (202, 202)
    assert first.document["id"] == second.document["id"]
    assert first.headers["location"] == f"/api/jobs/{first.document['id']}"
    done = own.job(first.document["id"])
    assert (done["status"], done["attempts"], done["progress"]) == ("completed", 1, 1.0)
    row = done["result"]
    assert row.keys() >= {
        *("name", "type", "symbol", "timeframe", "n_steps_ahead", "model_size_kb", "trained_at", "performance"),
    }
    assert row["version"] in [each["version"] for each in own.get("/api/models", type="basic").document]
    waited = conforms(document, template, "POST", own.post(f"{template}?wait=120", {**QUICK, "seed": 7}))
    assert waited.status == 200
    assert waited.document["name"] == "BTC_USDT_1h_1steps_basic"
    assert len(own.get("/api/jobs").document) == 2
    assert PredictionModelRegistry(own.service.home.models).validate() == []


def test_a_read_token_starts_no_training(service):
    reader = service.reader
    before = len(service.get("/api/jobs").document)
    eth = {"symbol": "ETH_USDT", "timeframe": "1h"}
    is_problem(service.ask("GET", "/api/predictions", token=reader, **eth), 404)
    assert (
        "write"
        in is_problem(service.ask("GET", "/api/predictions", token=reader, **BTC, force_retrain="true"), 403)["detail"]
    )
    assert service.ask("GET", "/api/predictions", token=reader, **BTC).document["retraining"] is False
    assert len(service.get("/api/jobs").document) == before


def test_a_write_token_trains_what_is_missing_and_renews_what_it_says(own, document):
    template, eth = "/api/predictions", {"symbol": "ETH_USDT", "timeframe": "1h", "type": "basic"}
    is_problem(own.get(template, **eth, auto_train="false"), 404)
    assert own.get("/api/jobs").document == []
    asked = conforms(document, template, "GET", own.get(template, **eth))
    assert asked.status == 202
    again = own.get(template, symbol="eth-usdt", timeframe="1h", type="basic")
    assert asked.document["id"] == again.document["id"]
    assert asked.headers["location"] == f"/api/jobs/{asked.document['id']}"
    renewed = conforms(document, template, "GET", own.get(template, **BTC, type="basic", force_retrain="true"))
    assert renewed.status == 200
    assert renewed.document["retraining"] is True
    assert renewed.document["predictions"]
    job_ids = [asked.document["id"], renewed.document["job_id"]]
    assert {each["id"] for each in own.get("/api/jobs").document} == set(job_ids)
    for job_id in job_ids:
        cancelled = own.ask("POST", f"/api/jobs/{job_id}/cancel")
        assert conforms(document, "/api/jobs/{job_id}/cancel", "POST", cancelled).status == 200
        assert own.job(job_id)["status"] == "cancelled"
    assert len(own.get("/api/models").document) == 4


def test_a_job_is_cancelled_once_by_a_request_that_has_no_body(own, document):
    jobs = [own.post("/api/models/train?wait=0", {**QUICK, "seed": seed}).document["id"] for seed in (1, 2)]
    cancel = "/api/jobs/{job_id}/cancel"
    for job_id, headers in zip(jobs, ({}, {"Content-Type": "application/json"}), strict=True):
        answer = own.ask("POST", cancel.format(job_id=job_id), headers=headers)
        assert conforms(document, cancel, "POST", answer).document["id"] == job_id
        assert own.job(job_id)["status"] == "cancelled"
        again = conforms(document, cancel, "POST", own.ask("POST", cancel.format(job_id=job_id)))
        assert "cancelled" in is_problem(again, 409)["detail"]
    assert {each["id"] for each in own.get("/api/jobs").document} == set(jobs)  # they stay, to be looked at
    assert "no job" in is_problem(own.ask("POST", cancel.format(job_id=NOWHERE)), 404)["detail"]
    is_problem(own.ask("DELETE", f"/api/jobs/{jobs[0]}"), 405)


def test_too_few_candles_are_told_with_what_is_needed(own):
    for answer in (
        own.post("/api/models/train", {"symbol": "SOL_USDT", "timeframe": "1h"}),
        own.get("/api/predictions", symbol="SOL_USDT", timeframe="1h"),
        own.post("/api/predictions/generate", {"symbol": "SOL_USDT", "timeframe": "1h"}),
    ):
        detail = is_problem(answer, 422)["detail"]
        assert "got 200 rows" in detail
        assert int(re.search(r"takes about ([\d,]+) candles", detail)[1].replace(",", "")) > 1_000
    assert own.get("/api/jobs").document == []


def test_a_promotion_and_a_rollback_stand_in_the_ledger(own):
    registry = PredictionModelRegistry(own.service.home.models)
    champion, newest = "2026-01-03T000000Z_1h_v1", "2026-01-04T000000Z_1h_v1"
    assert registry.champion_version(KEY) == champion
    body = {"timeframe": "1h", "version": newest, "reason": "reviewed by hand", "force": True}
    done = own.post("/api/models/BTC_USDT/basic/promote", body).document
    assert (done["champion"], done["replaced"]) == (newest, champion)
    assert registry.champion_version(KEY) == newest
    row = registry.history(KEY)[-1]
    assert (row.action, row.version) == ("promote", newest)
    assert row.reason.startswith("reviewed by hand (by write-0, over the service)")
    assert own.get("/api/predictions", **BTC, type="basic").document["model_info"]["version"] == newest
    done = own.post("/api/models/BTC-USDT/basic/rollback", {"timeframe": "1h", "reason": "too bold"}).document
    assert (done["champion"], done["replaced"]) == (champion, newest)
    row = registry.history(KEY)[-1]
    assert (row.action, row.version) == ("rollback", champion)
    assert "too bold" in row.reason
    assert own.get("/api/predictions", **BTC, type="basic").document["model_info"]["version"] == champion
    is_problem(
        own.post(f"/api/models/BTC_USDT/{PATH_KEY.model_type}/rollback", {"timeframe": "1h", "reason": "none"}), 409
    )


# ---------------------------------------------------------------- what is refused


def test_names_that_are_near_are_named(service):
    def detail(path, **query):
        return is_problem(service.ask("GET", path, token=service.reader, **query), 404)["detail"]

    assert "BTCUSDT" in detail("/api/predictions", symbol="BTC_USDC", timeframe="1h")
    assert "BTCUSDT" in detail("/api/candles", symbol="BTC_USDC", timeframe="1h")
    assert "1h" in detail("/api/predictions", symbol="BTC_USDT", timeframe="5m")
    assert "basic" in detail("/api/predictions", **BTC, type="basci")
    assert "2026-01-03T000000Z_1h_v1" in detail("/api/predictions", **BTC, type="basic", version="2026-02")
    assert "local" in detail("/api/predictions", **BTC, exchange="locla")
    assert "basic" in detail("/api/models/BTC_USDT/basci/latest")
    assert BOT in detail("/api/live/ml-basic-btx")
    (run,) = service.get("/api/runs").document
    assert run["run_id"] in detail(f"/api/runs/{run['run_id'][:-1]}")
    assert "no job" in detail(f"/api/jobs/{NOWHERE}")
    assert "no job" in detail(f"/api/jobs/{NOWHERE}/events")


def test_an_unknown_family_is_told_which_there_are(service):
    found = is_problem(service.post("/api/models/train", {**BTC, "type": "basci"}), 404)
    assert "basic" in found["detail"]


@pytest.mark.parametrize("name", STRANGE, ids=lambda name: ascii(name)[:20])
def test_no_name_reaches_the_file_system_unchecked(service, filled, name):
    inside = quote(name, safe="")
    asked = [
        service.get("/api/predictions", **BTC | {"symbol": name}),
        service.get("/api/predictions", **BTC | {"timeframe": name}),
        service.get("/api/predictions", **BTC, type=name),
        service.get("/api/predictions", **BTC, version=name),
        service.get("/api/predictions", **BTC, exchange=name),
        service.get("/api/candles", **BTC | {"symbol": name}),
        service.get("/api/candles", **BTC, exchange=name),
        service.get("/api/candles", **BTC, start=name),
        service.get("/api/accuracy", **BTC, type=name),
        service.post("/api/models/train", {**BTC, "symbol": name}),
        service.post("/api/models/train", {**BTC, "features": [name]}),
        service.post("/api/models/train", {**BTC, "params": {name: name}}),
        service.post("/api/models/train", {**BTC, "exchange": name}),
        service.post("/api/predictions/generate", {**BTC, "timeframe": name, "auto_train": False}),
        service.post("/api/predictions/generate", {**BTC, "type": name, "auto_train": False}),
        service.post("/api/models/BTC_USDT/basic/promote", {"timeframe": "1h", "version": name, "reason": "a test"}),
        service.get(f"/api/models/{inside}/basic/latest"),
        service.get(f"/api/models/BTC_USDT/{inside}/latest"),
        service.get(f"/api/models/BTC_USDT/basic/{inside}"),
        service.get(f"/api/runs/{inside}"),
        service.get(f"/api/live/{inside}"),
        service.get(f"/api/live/{inside}/decisions"),
        service.get(f"/api/jobs/{inside}"),
        service.post(f"/api/jobs/{inside}/cancel", None),
        service.get(f"/api/predictions/{inside}"),
        service.get(
            f"/api/{name.replace(' ', '%20').replace(chr(13), '%0d').replace(chr(10), '%0a')}"
            if name.isascii() and name.isprintable()
            else f"/api/{inside}"
        ),
    ]
    for number, answer in enumerate(asked):
        assert answer.status in {404, 405, 422}, (number, answer)
        assert answer.headers["content-type"] == "application/problem+json"
        assert len(answer.data) < 2_500, number
        text = answer.data.decode()
        assert str(filled.root) not in text
        assert os.sep + "work" + os.sep not in text
        assert "root:" not in text
        assert "x-injected" not in answer.headers


@pytest.mark.parametrize("symbol", STRANGE, ids=lambda name: ascii(name)[:20])
def test_a_prediction_in_the_background_has_a_symbol_that_may_be_one(own, symbol):
    answer = own.post("/api/predictions/generate", {**BTC, "symbol": symbol, "auto_train": False})
    if symbol == "/etc/passwd":  # ETCPASSWD, as slashes are nothing in a symbol
        job = own.job(answer.document["prediction_id"])
        assert (job["status"], job["result"], job["request"]["symbol"]) == ("failed", None, "ETCPASSWD")
        assert str(own.service.home.root) not in json.dumps(own.get(f"/api/predictions/{job['id']}").document)
    else:
        is_problem(answer, 422)
        assert own.get("/api/jobs").document == []


@pytest.mark.parametrize("limit", ["0", "-1", "2001", "9" * 400, "NaN", "inf", "1e3", "", "1.5", "0x10", "\u0663"])
def test_numbers_out_of_range_are_refused(service, limit):
    for path, name in (
        ("/api/models", "limit"),
        ("/api/jobs", "limit"),
        ("/api/runs", "limit"),
        (f"/api/live/{BOT}/decisions", "limit"),
    ):
        if (path, limit) != (f"/api/live/{BOT}/decisions", "2001"):
            found = is_problem(service.get(path, **{name: limit}), 422)
            assert found["errors"][0]["loc"] == ["query", name]
    is_problem(service.get("/api/candles", **BTC, points=limit if limit != "2001" else "5001"), 422)
    is_problem(service.get("/api/accuracy", **BTC, window=limit if limit != "2001" else "20001"), 422)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *((name, value) for name in ("n_steps_ahead", "days_history") for value in (0, -1, 10**30, "many", [], True)),
        ("n_steps_ahead", 1.5),
        ("n_steps_ahead", 1_001),
        ("seed", -1),
        ("seed", 2**31),
        ("seed", 0.5),
        ("promote", "yes"),
        ("features", "rsi_14"),
        ("features", ["rsi_14"] * 401),
        ("params", [1]),
        ("params", {"num_leaves": -5}),
        ("params", {"no_such_parameter": 1}),
        ("symbol", None),
        ("symbol", 5),
        ("timeframe", "1x"),
        ("color", "green"),
    ],
)
def test_a_training_that_makes_no_sense_is_refused(service, field, value):
    before = len(service.get("/api/jobs").document)
    is_problem(service.post("/api/models/train?wait=0", {**QUICK, field: value}), 422)
    assert len(service.get("/api/jobs").document) == before


@pytest.mark.parametrize(("name", "least", "most"), [("n_steps_ahead", 1, 1_000), ("seed", 0, 2**31 - 1)])
def test_the_document_and_the_service_take_the_same_whole_numbers(service, document, name, least, most):
    schema = {"$ref": "#/components/schemas/TrainRequest", "components": document["components"]}
    admits = jsonschema_rs.Draft202012Validator(schema).is_valid
    for value in (least - 1, least - 1.0, least + 0.5, most + 1, most + 1.0):
        body = {**BTC, name: value}
        assert not admits(body)
        (error,) = is_problem(service.post("/api/models/train", body), 422)["errors"]
        assert error["loc"] == ["body", name]
    for value in (least, float(least), most, float(most)):
        body = {**BTC, "symbol": "SOL_USDT", name: value}
        assert admits(body)
        assert "errors" not in is_problem(service.post("/api/models/train", body), 422)  # it has too few candles


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_refused(service, number):
    for field in ("days_history", "n_steps_ahead", "seed"):
        body = json.dumps({**BTC, field: 0}).replace(": 0}", f": {number}}}").encode()
        is_problem(service.post("/api/models/train", body), 422)
    body = (
        json.dumps({**BTC, "type": "basic", "params": {"learning_rate": 0}}).replace(": 0}", f": {number}}}").encode()
    )
    is_problem(service.post("/api/models/train", body), 422)
    is_problem(service.post(f"/api/models/train?wait={number}", QUICK), 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", {422}),
        (b"{", {422}),
        (b"symbol=BTC_USDT", {422}),
        (b"null", {422}),
        (b"[]", {422}),
        (b'"text"', {422}),
        (b"\xff\xfe\xfd", {400, 422}),
        (b"\x00" * 100, {400, 422}),
        (b'{"symbol": "\\ud800", "timeframe": "1h"}', {422}),
        (b'{"a":' * 40 + b"1" + b"}" * 40, {422}),
        (b"[" * 30_000, {422}),
        (b"[" * 100_000, {413}),
        (b'{"symbol": "' + b"A" * 100_000 + b'"}', {413}),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_a_body_that_cannot_be_read_is_refused(service, document, body, status):
    for template in BODIES:
        address = template.format(symbol="BTC_USDT", type="basic")
        answer = conforms(document, template, "POST", service.post(address, body))
        assert answer.status in status, answer
        is_problem(answer, answer.status)


def test_what_is_wrong_with_a_body_or_an_id_is_said_in_words(service):
    sent = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}
    said = [
        is_problem(service.ask("POST", "/api/models/train", body, headers=headers), 422)["detail"]
        for body, headers in ((b"{not", sent[0]), (json.dumps(BTC).encode(), sent[1]))
    ]
    assert said[0].endswith("this is not JSON")
    assert said[1] == "body: expected a JSON object, sent with Content-Type: application/json"
    for place in ("jobs", "predictions"):
        assert "expected 36 of 0-9, a-f and -" in is_problem(service.get(f"/api/{place}/x"), 422)["detail"]


def test_a_body_of_another_kind_or_without_its_length_is_refused(service):
    answer = service.ask("POST", "/api/models/train", b"symbol=BTC_USDT", headers={"Content-Type": "text/plain"})
    is_problem(answer, 422)
    endless = (b"A" * 10_000 for _ in range(20))
    with service.opened("POST", "/api/models/train", endless) as chunked:
        assert chunked.status == 413


# ---------------------------------------------------------------- streams


def until(condition, seconds=10.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def own_threads():
    """Return the threads but those of the pools, which stay until the server ends."""
    pools = ("AnyIO", "asyncio", "ThreadPoolExecutor")
    return {each.ident for each in threading.enumerate() if not each.name.startswith(pools)}


def test_a_job_is_watched_from_its_beginning_to_its_end(own):
    job_id = own.post("/api/models/train?wait=0", QUICK).document["id"]
    with own.opened("GET", f"/api/jobs/{job_id}/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.read().decode().splitlines()
    said = [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]
    assert said[-1]["status"] == "completed"
    assert said[-1] == own.get(f"/api/jobs/{job_id}").document
    progress = [each["progress"] for each in said]
    assert progress == sorted(progress)
    assert {line for line in lines if line.startswith("event:")} == {"event: job"}
    assert own.service.jobs._listeners == {}


def test_whoever_leaves_in_the_middle_of_a_stream_leaves_nothing_behind(own):
    threads = own_threads()
    job_id = own.post("/api/models/train?wait=0", {**BTC, "type": "basic", "days_history": None}).document["id"]
    for _ in range(3):
        with (
            own.opened("GET", f"/api/jobs/{job_id}/events") as watched,
            own.opened("GET", ENDLESS) as bots,
        ):
            assert watched.readline().startswith((b"event", b"data", b"id"))
            assert bots.status == 200
            until(lambda: len(own.service.jobs._listeners) == 1)
            watched.fp.raw._sock.shutdown(2)  # as a cable that is pulled, without a word of HTTP
            bots.fp.raw._sock.shutdown(2)
        until(lambda: not own.service.jobs._listeners)
        until(lambda: not own.server.server_state.connections)
        until(lambda: not own.server.server_state.tasks)
    assert own.ask("POST", f"/api/jobs/{job_id}/cancel").status == 200
    assert own_threads() <= threads


def test_bots_are_told_at_once_and_when_something_is_new(service):
    with service.opened("GET", ENDLESS, token=service.reader) as stream:
        lines = [stream.readline() for _ in range(2)]
    data = next(line for line in lines if line.startswith(b"data:"))
    assert json.loads(data.removeprefix(b"data:"))["name"] == BOT


# ---------------------------------------------------------------- a fuzzer


def test_a_fuzzer_finds_no_answer_that_is_not_documented(own, tmp_path):
    found = fuzz(own, tmp_path, "--phases", "examples,fuzzing", "--max-examples", "12", "--seed", "6")
    assert found.code == 0, found.said
    assert found.cases >= 250, found.said
    assert 'status="500"' not in own.get("/api/metrics").data.decode()
