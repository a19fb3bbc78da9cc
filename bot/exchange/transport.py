"""HTTP around the REST interface: requests in, replies out, and the faults that lie between."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any

from aiohttp import web

from bot.errors import StorageError
from bot.exchange.faults import EVENT_KINDS
from bot.exchange.rest import Answer, Question

if TYPE_CHECKING:
    from bot.exchange.control import Control
    from bot.exchange.faults import Fault, FaultPlan
    from bot.exchange.rest import RestApi
    from bot.exchange.streams import StreamHub

__all__ = ["Transport"]

_log = logging.getLogger(__name__)

_REMEMBERED = 2_000  # requests
_SOCKETS = ("/stream", "/ws", "/ws-api")
_HTML = "<html><head><title>Bad gateway</title></head><body>The page is not here.</body></html>"


class Transport:
    """The one handler of the server.

    Parameters
    ----------
    api : RestApi
        Answers requests.
    hub : StreamHub
        Serves websockets.
    control : Control
        Answers below ``/local/``.
    faults : FaultPlan
        What goes wrong.

    Attributes
    ----------
    requests : deque of dict
        The newest requests: number, wall time, method, path, parameters without the signature, status, fault.
    strays : list of str
        Requests that no endpoint here answers, such as those meant for other parts of an exchange.
    """

    def __init__(self, api: RestApi, hub: StreamHub, control: Control, faults: FaultPlan) -> None:
        self._api = api
        self._hub = hub
        self._control = control
        self._faults = faults
        self._late: set[asyncio.Task[None]] = set()
        self._count = 0
        self.requests: deque[dict[str, Any]] = deque(maxlen=_REMEMBERED)
        self.strays: list[str] = []
        control.requests = self.requests

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request."""
        path, _, query = request.raw_path.partition("?")
        if path.startswith("/local/"):
            return _reply(self._control.answer(request.method, path, query, await request.text()))
        if path.startswith(_SOCKETS) and request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._hub.serve(request, path)
        try:
            body = (await request.read()).decode("utf-8", "replace") if request.body_exists else ""
        except ConnectionError:  # the client is gone, in the middle of its request
            return web.Response()
        question = Question(request.method, path, query, body, request.headers.get("X-MBX-APIKEY"))
        fault = self._faults.take(request.method, path) if self._faults else None
        entry = self._note(question, fault)
        if fault is not None:
            return await self._faulty(request, question, fault, entry)
        return _reply(self._answer(question, entry))

    async def stop(self) -> None:
        """Forget requests that were to be taken later."""
        for task in self._late:
            task.cancel()
        await asyncio.gather(*self._late, return_exceptions=True)

    def _note(self, question: Question, fault: Fault | None) -> dict[str, Any]:
        self._count += 1
        sent = [part for text in (question.query, question.body) for part in text.split("&") if part]
        entry = {
            "number": self._count,
            "time_ms": self._control.wall_ms(),
            "method": question.method,
            "path": question.path,
            "parameters": "&".join(part for part in sent if not part.startswith("signature=")),
            "status": None,
            "fault": None if fault is None else fault.kind,
        }
        self.requests.append(entry)
        if not self._api.knows(question.path):
            self.strays.append(f"{question.method} {question.path}")
            _log.warning("a request for another host or part of an exchange: %s %s", question.method, question.path)
        return entry

    def _answer(self, question: Question, entry: dict[str, Any]) -> Answer:
        try:
            answer = self._api.answer(question)
        except StorageError as error:
            _log.error("%s", error)
            answer = Answer(500, {"code": -1006, "msg": f"Execution status unknown: {error}"})
        except Exception:  # noqa: BLE001 - the exchange goes on, as a real one does
            _log.exception("a fault of the exchange itself at %s %s", question.method, question.path)
            answer = Answer(500, {"code": -1000, "msg": "An unknown error occurred while processing the request."})
        entry["status"] = answer.status
        return answer

    async def _faulty(
        self, request: web.BaseRequest, question: Question, fault: Fault, entry: dict[str, Any]
    ) -> web.StreamResponse:
        kind = fault.kind
        if kind in EVENT_KINDS:
            self._control.happen(fault)
            return _reply(self._answer(question, entry))
        if kind == "reset_before":
            return _cut(request)
        if kind == "late_acceptance":
            task = asyncio.get_running_loop().create_task(self._later(question, fault.delay, entry))
            self._late.add(task)
            task.add_done_callback(self._late.discard)
            return _cut(request)
        if kind == "delay_before":
            await asyncio.sleep(fault.delay)
        elif kind in {"status", "error_before"}:
            answer = _refusing(fault)
            entry["status"] = answer.status
            return _reply(answer, body="" if kind == "status" else None)
        answer = self._answer(question, entry)
        if kind == "reset_after":
            return _cut(request)
        if kind == "delay_after":
            await asyncio.sleep(fault.delay)
        elif kind == "error_after":
            return _reply(_refusing(fault))
        elif kind == "html":
            return web.Response(text=_HTML, content_type="text/html")
        elif kind == "cut_json":
            text = answer.text()
            return _reply(answer, body=text[: len(text) // 2])
        elif kind in {"empty_object", "empty_list"}:
            return _reply(Answer(200, {} if kind == "empty_object" else [], answer.headers))
        elif kind == "duplicate_reply":
            answer.document = _twice(answer.document)
        return _reply(answer)

    async def _later(self, question: Question, delay: float, entry: dict[str, Any]) -> None:
        await asyncio.sleep(delay)
        self._answer(question, entry)


def _refusing(fault: Fault) -> Answer:
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.kind == "status":
        return Answer(fault.status or 503, None, headers)
    code, message, status = fault.error()
    return Answer(status, {"code": code, "msg": message}, headers)


def _twice(document: Any) -> Any:
    if isinstance(document, list):
        return [row for row in document for _ in range(2)]
    if isinstance(document, dict) and document.get("fills"):
        return {**document, "fills": _twice(document["fills"])}
    return document


def _cut(request: web.BaseRequest) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()  # goes nowhere


def _reply(answer: Answer, body: str | None = None) -> web.Response:
    text = answer.text() if body is None else body
    return web.Response(
        status=answer.status,
        body=text.encode(),
        headers=answer.headers,
        content_type="application/json",
        charset="utf-8",
    )
