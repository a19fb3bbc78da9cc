"""What a request must pass before a route sees it: the right host, a token, a rate, a size.

All of them are plain ASGI, so an answer that is a stream stays one. What is no HTTP passes untouched: a route for websockets,
of which the service has none, would have to check its caller itself.
"""

from __future__ import annotations

import json
import logging
import math
import re
import time
from array import array
from collections import OrderedDict
from itertools import accumulate
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders

from bot.errors import StorageError, UsageError
from bot.service.access import Scope
from bot.service.problems import API_POLICY, GUARD_HEADERS, Problem, problem_response

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from starlette.types import ASGIApp, Message, Receive, Send
    from starlette.types import Scope as Connection

    from bot.service.access import Identity, TokenStore

__all__ = [
    "Authentication",
    "BodyLimit",
    "Buckets",
    "HostCheck",
    "RateLimit",
    "SecurityHeaders",
    "json_depth",
]

_READS = frozenset({"GET", "HEAD"})
_MOST_BYTES = 64 * 1024
_DEEPEST = 32
_MOST_BUCKETS = 10_000
_WRONG_A_MINUTE = 10
_ROUNDING = 1e-6  # whoever waited as long as it was told is let in
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"?', re.DOTALL)
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[{]}"))

_log = logging.getLogger(__name__)


class Buckets:
    """Token buckets: each key may do one thing at once per token, and gets new ones at a steady rate.

    Parameters
    ----------
    rate
        New tokens a second.
    burst
        Most tokens that a bucket holds, and those that it begins with.
    clock
        Seconds, never going back.
    most
        Buckets that are kept; of more, those go that were not asked for longest.
    """

    def __init__(
        self,
        rate: float,
        burst: float,
        clock: Callable[[], float] = time.monotonic,
        most: int = _MOST_BUCKETS,
    ) -> None:
        if not (rate > 0 and burst >= 1):
            raise UsageError(f"a rate of {rate:g} with bursts of {burst:g}: expected above 0, and at least 1")
        self._rate, self._burst, self._clock, self._most = rate, burst, clock, most
        self._levels: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: Hashable) -> float:
        """Take a token and return 0, or return how many seconds there is none."""
        now = self._clock()
        level, then = self._levels.get(key, (self._burst, now))
        level = min(self._burst, level + (now - then) * self._rate)
        taken = level >= 1 - _ROUNDING
        self._levels[key] = (max(level - 1, 0.0) if taken else level, now)
        self._levels.move_to_end(key)
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return 0.0 if taken else (1 - level) / self._rate


class _Paths:
    """Single paths, and all below those that end in ``/``; ``/`` itself is the one page."""

    def __init__(self, paths: frozenset[str]) -> None:
        self._single = paths
        self._below = tuple(path for path in paths if path.endswith("/") and path != "/")

    def __contains__(self, path: str) -> bool:
        return path in self._single or path.startswith(self._below)


class RateLimit:
    """Limits how often one token, or without one an address, may read and write.

    Parameters
    ----------
    app
        What comes next.
    reads_per_second, writes_per_minute
        In the long run.
    read_burst, write_burst
        At once; by default what comes together in two seconds of reading and in ten seconds of writing.
    free_paths
        What is not counted: a path, or all below one that ends in ``/``, as the files of a page that come from memory.
    clock
        Seconds, never going back.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        reads_per_second: float,
        writes_per_minute: float,
        read_burst: float | None = None,
        write_burst: float | None = None,
        free_paths: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._free = _Paths(free_paths)
        self._reads = Buckets(reads_per_second, read_burst or max(1.0, 2 * reads_per_second), clock)
        self._writes = Buckets(writes_per_minute / 60, write_burst or max(1.0, writes_per_minute / 6), clock)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in self._free:
            identity: Identity | None = (scope.get("state") or {}).get("identity")
            key = ("address", _address(scope)) if identity is None else ("token", identity.name)
            wait = (self._reads if scope["method"] in _READS else self._writes).take(key)
            if wait:
                await _refuse(_too_many(wait, "too many requests"), scope, receive, send)
                return
        await self._app(scope, receive, send)


class Authentication:
    """Lets in who has a token, and lets only those write whose token may.

    The caller stands in ``scope["state"]["identity"]`` behind it. A right token passes even from an address that sent many
    wrong ones: nobody guesses 256 bits, but whoever shares the owner's address or proxy could lock the owner out.

    Parameters
    ----------
    app
        What comes next.
    tokens
        Who may ask.
    open_paths
        What needs no token: a path, or all below one that ends in ``/`` (``/`` itself is the one page).
    wrong_per_minute
        Wrong tokens of one address that get 401; more get 429.
    clock
        Seconds, never going back.
    """

    def __init__(
        self,
        app: ASGIApp,
        tokens: TokenStore,
        open_paths: frozenset[str] = frozenset(),
        wrong_per_minute: float = _WRONG_A_MINUTE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app, self._tokens, self._open = app, tokens, _Paths(open_paths)
        self._wrong = Buckets(wrong_per_minute / 60, max(1.0, wrong_per_minute), clock)

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on with its caller, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in self._open:
            found = self._identify(scope)
            if isinstance(found, Problem):
                await _refuse(found, scope, receive, send)
                return
            scope["state"] = {**(scope.get("state") or {}), "identity": found}
        await self._app(scope, receive, send)

    def _identify(self, scope: Connection) -> Identity | Problem:
        raw = _bearer(Headers(scope=scope))
        if raw is None:
            return _unknown("send a token: Authorization: Bearer TOKEN")
        try:
            identity = self._tokens.identify(raw)
        except StorageError as error:
            _log.error("no token can be checked: %s", error)
            return Problem(
                503, "Tokens cannot be checked", "the log of the server says why", headers={"Retry-After": "5"}
            )
        if identity is None:
            wait = self._wrong.take(_address(scope))
            return _too_many(wait, "too many wrong tokens") if wait else _unknown("this token is wrong or was revoked")
        needed = Scope.READ if scope["method"] in _READS else Scope.WRITE
        if not identity.scope.allows(needed):
            words = f"this needs a token of scope {needed}; that of {identity.name} is {identity.scope}"
            return Problem(403, "Forbidden", words, needed_scope=str(needed))
        return identity


class BodyLimit:
    """Refuses bodies that are too large, and JSON that is nested too deep to be parsed without harm.

    Parameters
    ----------
    app
        What comes next; it gets the whole body at once.
    most_bytes
        Of a body.
    deepest
        Objects and arrays inside one another.
    """

    def __init__(self, app: ASGIApp, *, most_bytes: int = _MOST_BYTES, deepest: int = _DEEPEST) -> None:
        self._app, self._most_bytes, self._deepest = app, most_bytes, deepest

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on with its body, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        stated = headers.get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > self._most_bytes:
            await _refuse(self._too_large(), scope, receive, send)
            return
        body, more = bytearray(), True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                await _refuse(self._too_large(), scope, receive, send)
                return
            more = message.get("more_body", False)
        whole = bytes(body)
        if "json" in headers.get("content-type", "json").lower() and json_depth(whole) > self._deepest:
            words = f"the body is nested deeper than {self._deepest} objects and arrays"
            await _refuse(Problem(422, "Nested too deep", words, type="/problems/too-deep"), scope, receive, send)
            return
        await self._app(scope, _replay(whole, receive), send)

    def _too_large(self) -> Problem:
        words = f"the body is larger than {self._most_bytes} bytes"
        return Problem(413, "Content Too Large", words, type="/problems/too-large")


class SecurityHeaders:
    """Adds to every answer what keeps a browser from misusing it; what a route set itself stays.

    Parameters
    ----------
    app
        What comes next.
    page_policy
        Content security policy of what is not below ``/api/``.
    """

    def __init__(self, app: ASGIApp, *, page_policy: str = API_POLICY) -> None:
        self._app, self._page_policy = app, page_policy

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on, and its answer back with the headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = API_POLICY if scope["path"].startswith("/api/") else self._page_policy

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message.setdefault("headers", [])
                headers = MutableHeaders(scope=message)
                for name, value in {**GUARD_HEADERS, "Content-Security-Policy": policy}.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, guarded)


class HostCheck:
    """Serves only who asked for this machine by one of its own names.

    A page of another site whose name was made to point at 127.0.0.1 sends that site's name as ``Host``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http":
            hosts = Headers(scope=scope).getlist("host")
            if len(hosts) != 1 or not _LOOPBACK.fullmatch(hosts[0]):
                words = "this server answers to localhost, 127.0.0.1 and [::1] only"
                await _refuse(Problem(421, "Misdirected Request", words), scope, receive, send)
                return
        await self._app(scope, receive, send)


def json_depth(body: bytes) -> int:
    """Return how many objects and arrays stand inside one another at the deepest place, without parsing.

    It is never less than what a parser would meet, also in what is not JSON. Like the parser it takes UTF-16 and UTF-32.
    """
    code = json.detect_encoding(body)
    if not code.startswith("utf-8"):
        try:
            body = body.decode(code, "surrogatepass").encode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            return 0  # no parser gets further
    # every bracket outside strings as a step of +1 or -1, added up without a loop of Python's
    steps = array("b", _STRING.sub(b"", body).translate(_STEPS, _NO_BRACKETS))
    return max(accumulate(steps, initial=0))


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a receiver of a body that was read; then it waits for the end of the connection as the real one does."""
    sent = False

    async def receiver() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receiver


def _bearer(headers: Headers) -> str | None:
    values = headers.getlist("authorization")
    scheme, _, raw = values[0].partition(" ") if len(values) == 1 else ("", "", "")
    return raw.strip() or None if scheme.lower() == "bearer" else None


def _address(scope: Connection) -> str:
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def _unknown(detail: str) -> Problem:
    return Problem(401, "Unauthorized", detail, headers={"WWW-Authenticate": "Bearer"})


def _too_many(wait: float, detail: str) -> Problem:
    seconds = max(1, math.ceil(wait - _ROUNDING))
    return Problem(
        429, "Too Many Requests", f"{detail}: try again in {seconds} s", headers={"Retry-After": str(seconds)}
    )


async def _refuse(problem: Problem, scope: Connection, receive: Receive, send: Send) -> None:
    await problem_response(problem)(scope, receive, send)
