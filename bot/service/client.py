"""A client of the service, a page long: plain Python, no further library.

from bot.service.client import Client

client = Client("http://127.0.0.1:8000")  # the token comes from $BOT_TOKEN
forecast = client.predictions("BTC_USDT", "1h")
print(forecast["predictions"][0]["predicted_close"], forecast["model_info"]["version"])
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode
from urllib.request import ProxyHandler, Request, build_opener

from bot.errors import BotError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Client", "Refused"]

_TIMEOUT_S = 60.0


class Refused(BotError):
    """The service answered with a problem.

    Attributes
    ----------
    status
        HTTP status.
    problem
        The problem details, as the service sent them.
    """

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        super().__init__(f"{status} {problem.get('title', '')}: {problem.get('detail') or 'no detail'}")
        self.status = status
        self.problem = problem


class Client:
    """Asks a running service.

    Parameters
    ----------
    url
        Where it listens.
    token
        By default that of the environment, ``BOT_TOKEN``.

    Raises
    ------
    UsageError
        Where there is no token.
    Refused
        In every method, when the service answers with a problem; `BotError` when it does not answer.
    """

    def __init__(self, url: str = "http://127.0.0.1:8000", token: str | None = None) -> None:
        found = token or os.environ.get("BOT_TOKEN")
        if not found:
            raise UsageError("no token: pass one, or set BOT_TOKEN (bot serve shows it at its first start)")
        self._url, self._token = url.rstrip("/"), found
        self._opener = build_opener(ProxyHandler({}))  # a token is sent to nobody else

    def __repr__(self) -> str:
        return f"Client({self._url!r})"

    def predictions(self, symbol: str, timeframe: str, **options: Any) -> dict[str, Any]:
        """Return the newest prediction, or the job that trains a model first; options as ``GET /api/predictions``."""
        found: dict[str, Any] = self.get("/api/predictions", symbol=symbol, timeframe=timeframe, **options)
        return found

    def models(self, **filters: Any) -> list[dict[str, Any]]:
        """Return the registered models."""
        found: list[dict[str, Any]] = self.get("/api/models", **filters)
        return found

    def train(self, symbol: str, timeframe: str, *, wait: float = 0, **settings: Any) -> dict[str, Any]:
        """Train a model; return it, or the job where it takes longer than ``wait`` seconds."""
        body = {"symbol": symbol, "timeframe": timeframe, **settings}
        found: dict[str, Any] = self.send("POST", f"/api/models/train?wait={wait}", body)
        return found

    def job(self, job_id: str, *, wait: float = 0) -> dict[str, Any]:
        """Return a job, waiting for its end for so many seconds at most."""
        end = time.monotonic() + wait
        while True:
            found: dict[str, Any] = self.get(f"/api/jobs/{quote(job_id, safe='')}")
            if found["ended_at"] is not None or time.monotonic() >= end:
                return found
            time.sleep(0.2)

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield name and content of server-sent events, such as those of ``/api/jobs/ID/events``."""
        with self._open("GET", path, None) as answer:
            name, data = "message", ""
            for line in (raw.decode().rstrip("\n") for raw in answer):
                if line.startswith("event:"):
                    name = line[6:].strip()
                elif line.startswith("data:"):
                    data += line[5:].strip()
                elif not line and data:
                    yield name, json.loads(data)
                    name, data = "message", ""

    def get(self, path: str, **query: Any) -> Any:
        """Return the answer to a GET; None among the queries is left out."""
        given = {name: _plain(value) for name, value in query.items() if value is not None}
        return self.send("GET", f"{path}?{urlencode(given)}" if given else path)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Return the answer to any request: JSON as Python, else text."""
        with self._open(method, path, body) as answer:
            text = answer.read().decode()
            return json.loads(text) if answer.headers.get_content_type() == "application/json" else text

    def _open(self, method: str, path: str, body: dict[str, Any] | None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        request = Request(self._url + path, data, headers, method=method)  # noqa: S310 - the address is the caller's
        try:
            return self._opener.open(request, timeout=_TIMEOUT_S)
        except HTTPError as error:
            with error:
                raise Refused(error.code, _problem(error.read())) from None
        except (URLError, TimeoutError, ConnectionError) as error:
            raise BotError(f"{self._url} does not answer: {getattr(error, 'reason', error)}") from None


def _plain(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def _problem(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        return {"title": "not an answer of the service"}
    return found if isinstance(found, dict) else {"title": str(found)}
