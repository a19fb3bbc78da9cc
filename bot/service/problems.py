"""What an answer says when something went wrong: problem details after RFC 9457, without a word about this machine."""

from __future__ import annotations

import json
import logging
import re
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from bot.errors import (
    BotError,
    BrokerError,
    DataError,
    ExchangeError,
    ImportRefused,
    SeriesNotFound,
    StorageError,
    UsageError,
)
from bot.service.jobs.records import JobNotFound, TooManyJobs
from bot.service.views.plain import home_pattern
from ml.errors import (
    BrokenModel,
    CacheUnavailable,
    InvalidCandles,
    InvalidParameter,
    InvalidRecipe,
    InvalidRecord,
    MissingColumns,
    MissingLibrary,
    MLError,
    NotEnoughBars,
    SchemaMismatch,
    TrainingFailed,
    UnknownFeature,
    UnknownPredictor,
    UnsupportedTask,
)
from registry.errors import (
    InvalidBundle,
    InvalidName,
    ModelNotFound,
    NoChampion,
    RegistryBusy,
    RegistryError,
    RegistryUnwritable,
    TransitionRefused,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI
    from starlette.requests import Request

__all__ = ["API_POLICY", "GUARD_HEADERS", "Problem", "install", "problem_of", "problem_response", "without_paths"]

API_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
"""Content security policy of what is no page: a browser loads and runs nothing for it."""

GUARD_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Headers of every answer; a problem has them by itself, as the one of a fault passes no middleware."""

_MEDIA_TYPE = "application/problem+json"
_BLANK = "about:blank"
_RETRY_S = 5
_MOST_ERRORS = 50
_MOST_CHARACTERS = 300
_KINDS: dict[type[Exception], tuple[int, str, str]] = {
    UsageError: (422, "The request makes no sense", "usage"),
    InvalidName: (422, "A name is not spelled as one", "invalid-name"),
    InvalidParameter: (422, "A parameter is unknown or out of range", "invalid-parameter"),
    InvalidRecipe: (422, "The recipe makes no sense", "invalid-recipe"),
    UnknownFeature: (422, "There is no such feature", "unknown-feature"),
    UnsupportedTask: (422, "Not for models of this kind", "unsupported-task"),
    MissingColumns: (422, "The candles lack a column", "missing-columns"),
    NotEnoughBars: (422, "Too few candles", "not-enough-bars"),
    TrainingFailed: (422, "No model can be fitted", "training-failed"),
    BrokerError: (422, "No exchange would take it", "broker"),
    ImportRefused: (422, "Not taken over", "import-refused"),
    SeriesNotFound: (404, "There are no such candles", "series-not-found"),
    ModelNotFound: (404, "There is no such model", "model-not-found"),
    NoChampion: (404, "No version is promoted", "no-champion"),
    UnknownPredictor: (404, "There is no such family of models", "unknown-model-type"),
    JobNotFound: (404, "There is no such job", "job-not-found"),
    RegistryBusy: (409, "Another process is at work", "busy"),
    TransitionRefused: (409, "Not in this state", "transition-refused"),
    TooManyJobs: (503, "Too many jobs are waiting", "too-many-jobs"),
    StorageError: (503, "The home cannot be used now", "storage"),
    RegistryUnwritable: (503, "The registry cannot be written", "registry-unwritable"),
    CacheUnavailable: (503, "The prediction cache cannot be used", "cache-unavailable"),
    ExchangeError: (503, "The exchange does not answer", "exchange"),
    MissingLibrary: (503, "A library is not installed", "missing-library"),
    InvalidBundle: (500, "The stored model is damaged", "invalid-bundle"),
    BrokenModel: (500, "The stored model does not work", "broken-model"),
    SchemaMismatch: (500, "The stored model does not fit the program", "schema-mismatch"),
    InvalidRecord: (500, "A stored record is damaged", "invalid-record"),
    DataError: (500, "The stored candles are faulty", "faulty-data"),
    InvalidCandles: (500, "The stored candles are faulty", "faulty-data"),
}
_CLEARER = {
    "json_invalid": "this is not JSON",
    "model_attributes_type": "expected a JSON object, sent with Content-Type: application/json",
    "string_pattern_mismatch": "this is no id: expected 36 of 0-9, a-f and -, as /api/jobs lists them",
}
"""What pydantic says of these would help nobody."""
_PERMANENT = (MissingLibrary,)  # waiting does not help
# a slash that begins a path: none of a symbol, of a fraction, of an address or of what a caller wrote as ../..
_ABSOLUTE = re.compile(r"(?<![\w./~-])/(?!/|(?:api|problems)/)(?:[^\s/'\"<>:;,()]+/)+(?P<last>[^\s/'\"<>:;,()]*)")

_log = logging.getLogger(__name__)


class Problem(Exception):
    """An answer that says what went wrong; a route raises it.

    Parameters
    ----------
    status
        HTTP status.
    title
        The kind of problem: the same words each time.
    detail
        This occurrence, in one line.
    type
        Relative URI of the kind, ``/problems/unknown-symbol``; by default the status says it all.
    instance
        Name of this occurrence, which the log has too.
    headers
        Further headers of the answer.
    **extra
        Further members of the document.
    """

    def __init__(
        self,
        status: int,
        title: str,
        detail: str | None = None,
        *,
        type: str = _BLANK,  # noqa: A002 - the member's name in the document
        instance: str | None = None,
        headers: Mapping[str, str] | None = None,
        **extra: Any,
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.type = type
        self.instance = instance
        self.headers = dict(headers or {})
        self.extra = extra

    def document(self, home: Path | None = None) -> dict[str, Any]:
        """Return the members of the answer; members that are not known are left out.

        Parameters
        ----------
        home
            The folder that is called ``home`` in every text.
        """
        named = {"detail": self.detail, "instance": self.instance}
        known = {name: value for name, value in named.items() if value is not None}
        return {
            "type": self.type,
            "title": self.title,
            "status": self.status,
            **_cleaned({**known, **self.extra}, home),
        }


def problem_response(problem: Problem, home: Path | None = None) -> Response:
    """Return a problem as an answer, its paths replaced as `without_paths` does it."""
    # escaped to ASCII: half a surrogate pair that a caller sent cannot be encoded
    body = json.dumps(problem.document(home), allow_nan=False).encode()
    headers = {**GUARD_HEADERS, "Content-Security-Policy": API_POLICY, **problem.headers}
    return Response(body, problem.status, headers, _MEDIA_TYPE)


def problem_of(error: Exception) -> Problem:
    """Return an error as a problem: those of our trees with their message, any other without a word.

    An error of our trees that has no kind of its own is judged by its nearest relative that has; failing that, what was
    looked up in vain is a 404, what the command line would call wrong usage a 422, and the rest a 500.
    """
    if isinstance(error, Problem):
        return error
    if not isinstance(error, BotError | MLError | RegistryError):
        return Problem(500, "Internal Server Error", instance=f"urn:uuid:{uuid4()}")
    kind = next((_KINDS[cls] for cls in type(error).__mro__ if cls in _KINDS), None)
    if kind is None:
        status = 404 if isinstance(error, LookupError) else 422 if error.exit_code == 2 else 500
        return Problem(status, _phrase(status), str(error))
    status, title, name = kind
    wait = status == 503 and not isinstance(error, _PERMANENT)
    headers = {"Retry-After": str(_RETRY_S)} if wait else None
    return Problem(status, title, str(error), type=f"/problems/{name}", headers=headers)


def without_paths(text: str, home: Path | None) -> str:
    """Return a text in which the home folder is called ``home``, and of other absolute paths the last name is left."""
    if home is not None:
        text = home_pattern(home).sub("home", text)
    return _ABSOLUTE.sub(lambda found: f".../{found['last']}", text)


def install(app: FastAPI, home: Path) -> None:
    """Have an application answer every error as a problem.

    Parameters
    ----------
    app
        The application.
    home
        Its home folder, whose path no answer tells.
    """

    async def known(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem.status >= 500 and problem is not error:
            _log.error("%s %r: %s: %s", request.method, request.url.path, type(error).__name__, error)
        return problem_response(problem, home)

    async def unknown(request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        where = f"{request.method} {request.url.path!r}"
        _log.error("%s failed (instance %s)", where, problem.instance, exc_info=error)
        return problem_response(problem, home)

    async def invalid(_: Request, error: Exception) -> Response:
        return problem_response(_invalid(error), home)

    async def plain(_: Request, error: Exception) -> Response:
        return _plain(error, home)

    for root in (Problem, BotError, MLError, RegistryError):
        app.add_exception_handler(root, known)
    app.add_exception_handler(RequestValidationError, invalid)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, unknown)


def _invalid(error: Exception) -> Problem:
    """Return which fields are wrong and why; what was sent is not sent back."""
    found = error.errors() if isinstance(error, RequestValidationError) else ()
    errors = [
        {
            "loc": [part if isinstance(part, int) else str(part)[:_MOST_CHARACTERS] for part in one["loc"]],
            "msg": _CLEARER.get(one["type"], str(one["msg"]))[:_MOST_CHARACTERS],
        }
        for one in found[:_MOST_ERRORS]
    ]
    words = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in errors[:3])
    more = f"; and {len(found) - 3} more" if len(found) > 3 else ""
    return Problem(422, "The request makes no sense", words + more, type="/problems/invalid-request", errors=errors)


def _plain(error: Exception, home: Path) -> Response:
    """Return what the router or the framework refused, its headers kept."""
    if not isinstance(error, HTTPException):
        return problem_response(problem_of(error), home)
    status, headers = error.status_code, dict(error.headers or {})
    if status < 200 or status in {204, 205, 304}:  # answers that have no body
        return Response(status_code=status, headers=headers)
    title = _phrase(status)
    detail: str | None = str(error.detail)
    if detail == title:
        allowed = next((value for name, value in headers.items() if name.lower() == "allow"), None)
        detail = "there is nothing at this address" if status == 404 else None
        detail = f"allowed here: {allowed}" if status == 405 and allowed else detail
    return problem_response(Problem(status, title, detail, headers=headers), home)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"


def _cleaned(value: Any, home: Path | None) -> Any:
    if isinstance(value, str):
        return without_paths(value, home)
    if isinstance(value, dict):
        return {name: _cleaned(one, home) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_cleaned(one, home) for one in value]
    return value
