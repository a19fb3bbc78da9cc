"""Errors as problem details: the right status, a helpful line, and nothing of this machine."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from itertools import chain
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from fastapi import Body, FastAPI, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field

import bot.errors
import ml.errors
import registry.errors
from bot.errors import BotError, ConfigError, ExchangeError, SeriesNotFound, StorageError, UsageError
from bot.service.jobs.records import JobNotFound, TooManyJobs
from bot.service.problems import (
    API_POLICY,
    GUARD_HEADERS,
    Problem,
    install,
    problem_of,
    problem_response,
    without_paths,
)
from ml.errors import InvalidRecipe, MissingLibrary, MLError, NotEnoughBars
from registry.errors import InvalidLedger, ModelNotFound, NoChampion, RegistryError
from registry.names import normalise_symbol

STATUSES = {
    422: [
        "UsageError", "ConfigError", "InvalidName", "InvalidParameter", "UnknownFeature", "UnsupportedTask", "NotEnoughBars",
        "InvalidRecipe", "MissingColumns", "TrainingFailed", "ImportRefused", "BrokerError",
    ],
    404: ["SeriesNotFound", "ModelNotFound", "NoChampion", "UnknownPredictor"],
    409: ["RegistryBusy", "TransitionRefused"],
    503: ["StorageError", "RegistryUnwritable", "CacheUnavailable", "ExchangeError", "MissingLibrary"],
    500: [
        "InvalidBundle", "InvalidLedger", "LedgerTooNew", "BrokenModel", "SchemaMismatch", "InvalidRecord", "DataError",
        "InvalidCandles", "BotError", "MLError", "RegistryError",
    ],
}  # fmt: skip
CLASSES = {
    name: getattr(module, name)
    for module in (bot.errors, ml.errors, registry.errors)
    for name in module.__all__
    if name != "suggestion"
}


class Order(BaseModel):
    model_config = ConfigDict(extra="forbid")

    symbol: str = Field(max_length=10)
    steps: int = Field(ge=1)


class Broken(Exception):
    """Of no tree of ours."""


class Client:
    """Asks an application in this process, one request after the other."""

    def __init__(self, app):
        self.app = app

    def ask(self, method, path, **named):
        async def one():
            transport = httpx.ASGITransport(self.app, raise_app_exceptions=False)
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
                return await client.request(method, path, **named)

        return asyncio.run(one())


@pytest.fixture
def home(tmp_path):
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


@pytest.fixture
def raised():
    """Hold the error that the route raises."""
    return []


@pytest.fixture
def client(home, raised):
    app = FastAPI()
    install(app, home)

    @app.get("/raise")
    def fail():
        raise raised[0]

    @app.post("/order")
    def order(body: Order, limit: Annotated[int, Query(ge=1, le=9)] = 5):
        return {"symbol": body.symbol, "limit": limit}

    @app.post("/many")
    def many(body: Annotated[list[int], Body()]):
        return body

    return Client(app)


def sent(client, raised, error):
    raised[:] = [error]
    answer = client.ask("GET", "/raise")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code
    return answer


def test_every_error_of_our_trees_is_in_the_table():
    assert sorted(chain.from_iterable(STATUSES.values())) == sorted(CLASSES)


@pytest.mark.parametrize(("status", "name"), [(status, name) for status, names in STATUSES.items() for name in names])
def test_errors_of_our_trees_keep_their_words(client, raised, status, name):
    cls = CLASSES[name]
    error = cls((("family",), "what is wrong")) if cls is InvalidRecipe else cls("what is wrong")

    answer = sent(client, raised, error)

    document = answer.json()
    assert answer.status_code == status
    assert document["detail"] == "what is wrong"
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["type"] == "about:blank" or re.fullmatch(r"/problems/[a-z-]+", document["type"])
    assert answer.headers.get("retry-after") == ("5" if status == 503 and cls is not MissingLibrary else None)


def test_a_relative_of_a_kind_is_of_its_kind(client, raised):
    assert sent(client, raised, InvalidLedger("row 3")).json()["type"] == "/problems/invalid-bundle"
    assert sent(client, raised, ConfigError("x.yaml:1:1: no")).json()["type"] == "/problems/usage"
    assert sent(client, raised, NoChampion("none")).json()["type"] == "/problems/no-champion"
    assert sent(client, raised, ModelNotFound("none")).json()["type"] == "/problems/model-not-found"


@pytest.mark.parametrize(
    ("bases", "code", "status"),
    [
        ((BotError, LookupError), 1, 404),
        ((MLError, KeyError), 2, 404),
        ((RegistryError,), 2, 422),
        ((MLError,), 3, 500),
        ((StorageError,), 1, 503),
    ],
)
def test_an_error_that_is_new_to_the_table_is_judged_by_its_kin(bases, code, status):
    new = type("New", bases, {"exit_code": code, "__str__": lambda self: "said"})

    found = problem_of(new())

    assert (found.status, found.detail) == (status, "said")


def test_jobs_that_are_unknown_or_too_many():
    assert problem_of(JobNotFound("no such job")).status == 404
    found = problem_of(TooManyJobs("16 jobs wait"))
    assert (found.status, found.headers) == (503, {"Retry-After": "5"})


def test_a_real_error_of_the_names_reaches_the_caller(client, raised):
    with pytest.raises(RegistryError) as caught:
        normalise_symbol("../../etc/passwd")

    document = sent(client, raised, caught.value).json()

    assert document["status"] == 422
    assert document["detail"] == str(caught.value)


def test_a_fault_says_nothing_but_its_name(client, raised, caplog):
    with caplog.at_level(logging.ERROR, logger="bot.service.problems"):
        answer = sent(client, raised, Broken("secret mlbot_abc in /etc/shadow"))

    document = answer.json()
    assert document == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "instance": document["instance"],
    }
    (record,) = [record for record in caplog.records if record.name == "bot.service.problems"]
    assert document["instance"] in record.getMessage()
    assert record.exc_info[0] is Broken
    assert "'/raise'" in record.getMessage()
    second = sent(client, raised, Broken("again"))
    assert second.json()["instance"] != document["instance"]


def test_a_fault_has_the_guarding_headers_though_it_passes_no_middleware(client, raised):
    answer = sent(client, raised, Broken())

    assert {name: answer.headers[name] for name in GUARD_HEADERS} == GUARD_HEADERS
    assert answer.headers["content-security-policy"] == API_POLICY


def test_our_own_faults_stand_in_the_log_with_their_path(client, raised, home, caplog):
    with caplog.at_level(logging.ERROR, logger="bot.service.problems"):
        sent(client, raised, StorageError(f"{home}/state.db: the disk is full"))
        sent(client, raised, UsageError("not worth a line"))

    (record,) = [record for record in caplog.records if record.name == "bot.service.problems"]
    assert record.getMessage() == f"GET '/raise': StorageError: {home}/state.db: the disk is full"


def test_a_line_break_in_an_address_makes_no_second_line_of_the_log(client, raised, caplog):
    app = client.app
    app.add_api_route("/x/{name}", lambda name: raised[0].fail(), methods=["GET"])
    raised[:] = [StorageError("no")]
    with caplog.at_level(logging.ERROR, logger="bot.service.problems"):
        client.ask("GET", "/x/a%0aERROR%20forged")

    (record,) = [record for record in caplog.records if record.name == "bot.service.problems"]
    assert "\n" not in record.getMessage()


def test_a_problem_of_a_route_with_all_its_members(client, raised):
    answer = sent(
        client,
        raised,
        Problem(
            409, "Busy", "the job runs", type="/problems/busy", instance="/api/jobs/1", headers={"X-Job": "1"}, job_id=1
        ),
    )

    assert answer.status_code == 409
    assert answer.headers["x-job"] == "1"
    assert answer.json() == {
        "type": "/problems/busy",
        "title": "Busy",
        "status": 409,
        "detail": "the job runs",
        "instance": "/api/jobs/1",
        "job_id": 1,
    }
    assert sent(client, raised, Problem(403, "Forbidden")).json() == {
        "type": "about:blank",
        "title": "Forbidden",
        "status": 403,
    }


def test_no_answer_tells_where_the_home_is(client, raised, home):
    link = home.parent / "link"
    link.symlink_to(home)
    for error in (
        StorageError(f"{home}/state.db: the disk is full"),
        NotEnoughBars(f"'{home}/candles/BTCUSDT_1h.parquet' holds 12"),
        Problem(422, "Not trained", f"see {home}", places=[{"file": f"{home}/models"}]),
        HTTPException(400, f"{home}/x"),
        SeriesNotFound(f"not in {home.resolve()}"),
    ):
        answer = sent(client, raised, error)
        assert str(home) not in answer.text
        assert str(home.parent) not in answer.text
        assert "home" in answer.text
    assert sent(client, raised, StorageError(f"{home}/state.db: full")).json()["detail"] == "home/state.db: full"
    assert without_paths(f"{home}/a and {link}/b", link) == "home/a and home/b"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/srv/bot/var/models/x: no", "home/models/x: no"),
        ("/srv/bot/var", "home"),
        ("chmod 600 '/srv/bot/var/service/tokens.json'", "chmod 600 'home/service/tokens.json'"),
        ("/srv/bot/variant/x", ".../x"),
        ("/mnt/srv/bot/var/x", ".../x"),
        ("/mnt/srv/bot/var", ".../var"),
        ("cannot read (/usr/lib/python3/x.py), sorry", "cannot read (.../x.py), sorry"),
        ("sqlite:/mnt/cache/y", "sqlite:.../y"),
        ("BTC/USDT, ETH/USDT: 1/2 or http://127.0.0.1:8000/api/models", None),
        ("see /api/jobs/12 and /problems/busy/x", None),
        ("symbol '../../etc/passwd': expected letters", None),
        ("~/models and ./var/x and a / b", None),
        ("", None),
    ],
)
def test_paths_go_and_everything_else_stays(text, shown):
    assert without_paths(text, Path("/srv/bot/var")) == (text if shown is None else shown)


def test_a_home_at_the_root_or_none_changes_nothing_else():
    assert without_paths("BTC/USDT: a / b", Path("/")) == "BTC/USDT: a / b"
    assert without_paths("/etc/x/y", None) == ".../y"


def test_a_request_that_makes_no_sense_says_where_and_not_what(client):
    answer = client.ask(
        "POST", "/order?limit=77", json={"symbol": "SECRET-SYMBOL", "steps": -31337, "colour": "mlbot_secret"}
    )

    document = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["loc"] for error in document["errors"]] == [
        ["query", "limit"],
        ["body", "symbol"],
        ["body", "steps"],
        ["body", "colour"],
    ]
    assert all(set(error) == {"loc", "msg"} for error in document["errors"])
    assert not any(
        value in answer.text for value in ("77", "SECRET-SYMBOL", "31337", "mlbot_secret", "__main__", ".py")
    )
    assert document["detail"].startswith("query.limit: Input should be less than or equal to 9; body.symbol: ")
    assert document["detail"].endswith("; and 1 more")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"", 422),
        (b'"text"', 422),
        (b"\xff\xff", 400),
        (b'{"symbol": "\\ud800", "steps": 1}', 422),
        (b'{"\\ud800": 1}', 422),
        (b'{"symbol": NaN, "steps": Infinity}', 422),
    ],
)
def test_a_body_that_is_no_order_is_a_problem(client, body, status):
    answer = client.ask("POST", "/order", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_ever_so_many_errors_make_a_short_answer(client):
    answer = client.ask("POST", "/many", json=["x" * 50] * 2_000)

    assert answer.status_code == 422
    assert len(answer.json()["errors"]) == 50
    assert answer.json()["detail"].endswith("; and 1997 more")
    assert len(answer.content) < 10_000
    answer = client.ask("POST", "/order", json={"symbol": "a", "steps": 1, "k" * 50_000: 1})
    assert len(answer.content) < 2_000


def test_what_is_not_there_and_what_is_not_allowed(client):
    answer = client.ask("GET", "/nowhere/mlbot_secret")
    assert answer.status_code == 404
    assert answer.json() == {
        "type": "about:blank",
        "title": "Not Found",
        "status": 404,
        "detail": "there is nothing at this address",
    }

    answer = client.ask("DELETE", "/order")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    assert answer.json()["detail"] == "allowed here: POST"


def test_errors_of_the_framework_keep_words_and_headers(client, raised):
    answer = sent(client, raised, HTTPException(418, "no coffee", headers={"X-Pot": "short"}))
    assert answer.json()["detail"] == "no coffee"
    assert answer.json()["title"] == "I'm a Teapot"
    assert answer.headers["x-pot"] == "short"
    assert sent(client, raised, HTTPException(499, "gone")).json()["title"] == "Error"

    raised[:] = [HTTPException(304, headers={"ETag": '"1"'})]
    answer = client.ask("GET", "/raise")
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')


def test_a_problem_that_is_not_raised_in_an_application():
    response = problem_response(Problem(401, "Unauthorized", "half \ud800", headers={"WWW-Authenticate": "Bearer"}))

    assert response.status_code == 401
    assert json.loads(response.body)["detail"] == "half \ud800"
    assert response.headers["www-authenticate"] == "Bearer"
    assert response.headers["cache-control"] == "no-store"


def test_a_problem_keeps_its_own_headers():
    response = problem_response(Problem(404, "Not Found", headers={"Cache-Control": "max-age=5"}))

    assert response.headers.getlist("cache-control") == ["max-age=5"]


def test_an_exchange_that_does_not_answer_is_waited_for():
    assert problem_of(ExchangeError("no answer")).headers == {"Retry-After": "5"}
