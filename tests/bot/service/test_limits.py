"""What a request must pass: host, token, rate, size. Answers that are streams stay streams."""

from __future__ import annotations

import asyncio
import json
from fractions import Fraction
from types import SimpleNamespace

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route

from bot.errors import UsageError
from bot.service.access import Scope, TokenStore
from bot.service.limits import (
    Authentication,
    BodyLimit,
    Buckets,
    HostCheck,
    RateLimit,
    SecurityHeaders,
    json_depth,
)
from bot.service.problems import API_POLICY, GUARD_HEADERS, Problem, install

OPEN = frozenset({"/api/health", "/static/", "/"})
ALL = {
    SecurityHeaders: {},
    HostCheck: {},
    Authentication: {},
    RateLimit: {"reads_per_second": 1, "writes_per_minute": 60},
    BodyLimit: {},
}
LIMIT = 64 * 1024


class Clock:
    """Seconds that only the test moves."""

    now = 1_000.0

    def __call__(self):
        return self.now


async def echo(request):
    identity = getattr(request.state, "identity", None)
    return JSONResponse(
        {
            "body": (await request.body()).decode("latin-1"),
            "name": getattr(identity, "name", None),
            "before": getattr(request.state, "before", None),
        }
    )


async def own(_):
    return PlainTextResponse("x", headers={"Cache-Control": "max-age=9", "Content-Security-Policy": "own"})


def plain_app():
    every = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
    return Starlette(routes=[Route("/own", own), Route("/{path:path}", echo, methods=every)])


def ask(app, method="GET", path="/api/x", *, host="localhost", address="127.0.0.1", **named):
    """Send one request over httpx to an application of this process."""

    async def one():
        transport = httpx.ASGITransport(app, client=(address, 1_234))
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as client:
            return await client.request(method, path, **named)

    return asyncio.run(one())


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def is_problem(answer, status):
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    return answer.json()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tokens(tmp_path):
    store = TokenStore(tmp_path / "service")
    return SimpleNamespace(store=store, write=store.first(), read=store.create("reader", Scope.READ))


# ---------------------------------------------------------------- what passes untouched


@pytest.mark.parametrize("middleware", ALL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("kind", ["lifespan", "websocket"])
def test_what_is_no_http_passes_as_it_is(middleware, kind, tokens):
    seen = []

    async def inner(scope, receive, send):
        seen.append((scope, receive, send))

    named = {"tokens": tokens.store} if middleware is Authentication else ALL[middleware]
    scope, receive, send = {"type": kind, "path": "/api/x", "headers": []}, object(), object()
    asyncio.run(middleware(inner, **named)(scope, receive, send))

    assert seen == [(scope, receive, send)]
    assert seen[0][0] == {"type": kind, "path": "/api/x", "headers": []}


def guarded(app, tokens, **rates):
    rates = {"reads_per_second": 100, "writes_per_minute": 600} | rates
    inner = RateLimit(BodyLimit(app), **rates)
    return SecurityHeaders(HostCheck(Authentication(inner, tokens.store, OPEN)))


def test_a_stream_leaves_piece_by_piece_and_hears_that_its_reader_went(tokens):
    """The second piece is made only after the first has left, and the last never ends by itself."""

    async def run():
        left, first_left = [], asyncio.Event()

        async def pieces():
            yield b"one"
            await asyncio.wait_for(first_left.wait(), 5)
            yield b"two"
            await asyncio.sleep(60)

        async def stream(_):
            return StreamingResponse(pieces(), media_type="text/event-stream")

        gone = asyncio.Event()
        asked = 0

        async def receive():
            nonlocal asked
            asked += 1
            if asked == 1:
                return {"type": "http.request", "body": b"", "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            left.append(message)
            if message.get("body") == b"one":
                first_left.set()
            if message.get("body") == b"two":
                gone.set()

        app = guarded(Starlette(routes=[Route("/api/stream", stream)]), tokens)
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {tokens.read}".encode())]
        scope = {
            "type": "http", "method": "GET", "path": "/api/stream", "raw_path": b"/api/stream", "query_string": b"",
            "headers": headers, "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8_000), "scheme": "http",
            "http_version": "1.1", "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        await asyncio.wait_for(app(scope, receive, send), 5)
        return left

    left = asyncio.run(run())

    assert [message.get("body") for message in left[1:3]] == [b"one", b"two"]
    assert (b"x-content-type-options", b"nosniff") in left[0]["headers"]


# ---------------------------------------------------------------- authentication


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Basic b3duZXI6eA=="},
        {"Authorization": "Bearer mlbot_" + "A" * 43},
        {"X-Token": "TOKEN"},
        {"Cookie": "token=TOKEN"},
        {"Authorization": "TOKEN"},
        {"Authorization": "Bearer TOKEN TOKEN"},
        {"Authorization": "Bearer TOKENx"},
        [("Authorization", "Bearer TOKEN"), ("Authorization", "Bearer TOKEN")],
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS"])
def test_without_the_right_token_nobody_gets_in(tokens, headers, method):
    pairs = headers.items() if isinstance(headers, dict) else headers
    filled = [(name, value.replace("TOKEN", tokens.write)) for name, value in pairs]

    answer = ask(Authentication(plain_app(), tokens.store), method, f"/api/x?token={tokens.write}", headers=filled)

    assert is_problem(answer, 401)["title"] == "Unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert tokens.write not in answer.text


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_with_a_token_the_route_knows_who_asks(tokens, scheme):
    app = Authentication(plain_app(), tokens.store)

    answer = ask(app, headers={"Authorization": f"{scheme} {tokens.read}"})

    assert (answer.status_code, answer.json()["name"]) == (200, "reader")


def test_what_stood_in_the_state_stays(tokens):
    inner = Authentication(plain_app(), tokens.store)

    async def outer(scope, receive, send):
        await inner({**scope, "state": {"before": "kept"}}, receive, send)

    answer = ask(outer, headers=bearer(tokens.read))
    assert answer.json() == {"body": "", "name": "reader", "before": "kept"}


@pytest.mark.parametrize(
    ("method", "status"),
    [("GET", 200), ("HEAD", 200), ("POST", 403), ("PUT", 403), ("PATCH", 403), ("DELETE", 403), ("OPTIONS", 403)],
)
def test_a_token_that_may_read_changes_nothing(tokens, method, status):
    app = Authentication(plain_app(), tokens.store)

    answer = ask(app, method, headers=bearer(tokens.read))

    assert answer.status_code == status
    if status == 403:
        document = is_problem(answer, 403)
        assert document["needed_scope"] == "write"
        assert document["detail"] == "this needs a token of scope write; that of reader is read"
        assert ask(app, method, headers=bearer(tokens.write)).status_code == 200


@pytest.mark.parametrize(
    ("path", "is_open"),
    [
        ("/api/health", True), ("/static/app.js", True), ("/static/", True), ("/", True),
        ("/api/health/", False), ("/api/healthy", False), ("/api", False), ("/static", False), ("/other", False),
        ("//", False), ("//static/x", False), ("/Static/x", False), ("/api/x?path=/static/", False),
    ],
)  # fmt: skip
def test_open_paths_are_exact_or_what_is_below(tokens, path, is_open):
    answer = ask(Authentication(plain_app(), tokens.store, OPEN), "GET", f"http://localhost{path}")

    assert answer.status_code == (200 if is_open else 401)


def test_a_revoked_token_is_refused_from_the_next_request_on(tokens):
    app = Authentication(plain_app(), tokens.store)
    assert ask(app, headers=bearer(tokens.read)).status_code == 200

    TokenStore(tokens.store.path.parent).revoke("reader")

    assert is_problem(ask(app, headers=bearer(tokens.read)), 401)["detail"] == "this token is wrong or was revoked"
    assert ask(app, headers=bearer(tokens.write)).status_code == 200


def test_wrong_tokens_of_an_address_are_limited_and_the_right_one_still_passes(tokens, clock):
    app = Authentication(plain_app(), tokens.store, clock=clock)

    def guess(address="10.0.0.1"):
        return ask(app, address=address, headers=bearer("mlbot_guess"))

    assert [guess().status_code for _ in range(12)] == [401] * 10 + [429] * 2
    answer = guess()
    assert is_problem(answer, 429)["detail"] == "too many wrong tokens: try again in 6 s"
    assert answer.headers["retry-after"] == "6"
    assert guess("10.0.0.2").status_code == 401
    assert ask(app, address="10.0.0.1", headers=bearer(tokens.write)).status_code == 200
    assert ask(app, address="10.0.0.1").status_code == 401  # none is not a wrong one
    clock.now += 6
    assert [guess().status_code for _ in range(2)] == [401, 429]


def test_where_tokens_cannot_be_checked_nobody_gets_in(tokens, caplog):
    app = Authentication(plain_app(), tokens.store, OPEN)
    tokens.store.path.write_text("{")

    answer = ask(app, headers=bearer(tokens.write))

    assert is_problem(answer, 503)["title"] == "Tokens cannot be checked"
    assert answer.headers["retry-after"] == "5"
    assert str(tokens.store.path) not in answer.text
    assert any(str(tokens.store.path) in record.getMessage() for record in caplog.records)
    assert tokens.write not in caplog.text
    assert ask(app, path="/api/health").status_code == 200


# ---------------------------------------------------------------- rates


def limited(clock, tokens, **named):
    named = {"reads_per_second": 2, "writes_per_minute": 6} | named
    return Authentication(RateLimit(plain_app(), clock=clock, **named), tokens.store, OPEN)


def statuses(app, count, method="GET", path="/api/x", **named):
    return [ask(app, method, path, **named).status_code for _ in range(count)]


def test_reads_and_writes_have_rates_of_their_own(tokens, clock):
    app = limited(clock, tokens)

    assert statuses(app, 5, headers=bearer(tokens.write)) == [200] * 4 + [429]
    assert statuses(app, 2, "POST", headers=bearer(tokens.write)) == [200, 429]
    answer = ask(app, "DELETE", headers=bearer(tokens.write))
    assert is_problem(answer, 429)["detail"] == "too many requests: try again in 10 s"
    assert answer.headers["retry-after"] == "10"
    assert not any(name.startswith("ratelimit") for name in answer.headers)
    answer = ask(app, headers=bearer(tokens.write))
    assert answer.headers["retry-after"] == "1"  # half a second, in whole ones
    clock.now += 1
    assert statuses(app, 3, headers=bearer(tokens.write)) == [200, 200, 429]
    clock.now += 9
    assert statuses(app, 2, "POST", headers=bearer(tokens.write)) == [200, 429]


def test_tokens_do_not_share_a_rate_and_addresses_of_one_token_do(tokens, clock):
    app = limited(clock, tokens, read_burst=1)

    assert statuses(app, 2, headers=bearer(tokens.write), address="10.0.0.1") == [200, 429]
    assert statuses(app, 1, headers=bearer(tokens.write), address="10.0.0.2") == [429]
    assert statuses(app, 2, headers=bearer(tokens.read), address="10.0.0.1") == [200, 429]


def test_without_a_token_the_address_counts(tokens, clock):
    app = limited(clock, tokens, read_burst=1)

    assert statuses(app, 2, path="/api/health", address="10.0.0.1") == [200, 429]
    assert statuses(app, 1, path="/api/health", address="10.0.0.2") == [200]
    assert statuses(app, 1, headers=bearer(tokens.read), address="10.0.0.1") == [200]


def test_a_token_that_is_called_like_an_address_shares_nothing_with_it(tokens, clock):
    tokens.store.create("local", Scope.READ)
    raw = tokens.store.create("10-0-0-1", Scope.READ)
    app = limited(clock, tokens, read_burst=1)

    assert statuses(app, 1, path="/api/health", address="10-0-0-1") == [200]
    assert statuses(app, 1, headers=bearer(raw)) == [200]


def test_what_is_free_is_never_refused_and_takes_nothing_from_the_rest(tokens, clock):
    app = limited(clock, tokens, read_burst=1, free_paths=frozenset({"/api/health"}))

    assert statuses(app, 50, path="/api/health", address="10.0.0.1") == [200] * 50
    assert statuses(app, 2, headers=bearer(tokens.read), address="10.0.0.1") == [200, 429]


@pytest.mark.parametrize(("reads", "writes"), [(0, 1), (1, 0), (-1, 1), (float("nan"), 1)])
def test_a_rate_of_nothing_is_refused(reads, writes):
    with pytest.raises(UsageError, match="expected above 0"):
        RateLimit(plain_app(), reads_per_second=reads, writes_per_minute=writes)


def test_the_memory_of_buckets_is_bounded_and_the_longest_unseen_goes(clock):
    buckets = Buckets(1, 1, clock, most=3)
    for key in "abc":
        assert buckets.take(key) == 0
    assert buckets.take("a") > 0  # seen again
    assert buckets.take("d") == 0

    assert len(buckets) == 3
    assert buckets.take("a") > 0
    assert buckets.take("b") == 0  # forgotten, so it begins anew

    many = Buckets(1, 1, clock)
    for number in range(10_050):
        many.take(number)
    assert len(many) == 10_000


@settings(deadline=None)
@given(
    rate=st.sampled_from([Fraction(1, 6), Fraction(1), Fraction(5, 2), Fraction(50)]),
    burst=st.integers(1, 12),
    steps=st.lists(st.tuples(st.integers(0, 400), st.sampled_from("ab")), max_size=60),
)
def test_buckets_equal_a_naive_model(rate, burst, steps):
    """The model counts in fractions and from the beginning; times are hundredths of a second."""
    clock = Clock()
    buckets = Buckets(float(rate), burst, clock)
    level = {"a": Fraction(burst), "b": Fraction(burst)}
    begun = Fraction(0)
    now = Fraction(0)
    last = dict.fromkeys("ab", begun)
    for pause, key in steps:
        now += Fraction(pause, 100)
        clock.now = float(now)
        level[key] = min(Fraction(burst), level[key] + (now - last[key]) * rate)
        last[key] = now
        wait = buckets.take(key)
        if level[key] >= 1:
            level[key] -= 1
            assert wait == 0
        else:
            assert wait == pytest.approx(float((1 - level[key]) / rate), abs=1e-6)


@settings(deadline=None)
@given(rate=st.floats(0.01, 1_000), burst=st.integers(1, 20), pauses=st.lists(st.floats(0, 3), max_size=30))
def test_whoever_waits_as_told_gets_in_and_never_more_than_the_rate(rate, burst, pauses):
    clock = Clock()
    clock.now = 0.0
    buckets = Buckets(rate, burst, clock)
    for taken, pause in enumerate(pauses, start=1):
        clock.now += pause
        wait = buckets.take("a")
        if wait:
            clock.now += wait
            assert buckets.take("a") == 0
        assert taken <= burst + clock.now * rate + 1e-6


# ---------------------------------------------------------------- bodies


async def in_pieces(*pieces):
    for piece in pieces:
        yield piece


@pytest.mark.parametrize("size", [0, 1, LIMIT - 1, LIMIT])
@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_within_the_limit_arrives_whole(size, streamed):
    content = (
        in_pieces(*(b"x" * min(1_000, size - start) for start in range(0, size, 1_000))) if streamed else b"x" * size
    )

    answer = ask(BodyLimit(plain_app()), "POST", content=content, headers={"Content-Type": "text/plain"})

    assert answer.json()["body"] == "x" * size


@pytest.mark.parametrize("streamed", [False, True])
def test_a_body_over_the_limit_is_refused(streamed):
    content = in_pieces(b"x" * LIMIT, b"x") if streamed else b"x" * (LIMIT + 1)

    answer = ask(BodyLimit(plain_app()), "POST", content=content)

    assert is_problem(answer, 413)["detail"] == f"the body is larger than {LIMIT} bytes"


def test_a_stream_without_end_is_read_no_further_than_the_limit():
    read = 0

    async def endless():
        nonlocal read
        while True:
            read += 1
            yield b"x" * 100

    is_problem(ask(BodyLimit(plain_app(), most_bytes=1_000), "POST", content=endless()), 413)

    assert read == 11


def test_a_length_that_is_stated_is_believed_before_anything_is_read():
    async def never():
        raise AssertionError("nothing is read")
        yield b""

    headers = {"Content-Length": str(LIMIT + 1)}
    is_problem(ask(BodyLimit(plain_app()), "POST", content=never(), headers=headers), 413)


@pytest.mark.parametrize("stated", ["5", "-1", "x", "", "1" * 5_000])
def test_a_length_that_is_a_lie_helps_nobody(stated):
    headers = {"Content-Length": stated}
    answer = ask(BodyLimit(plain_app(), most_bytes=10), "POST", content=in_pieces(b"x" * 11), headers=headers)

    is_problem(answer, 413)


def test_who_leaves_in_the_middle_of_a_body_reaches_no_route():
    messages = iter([{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}])
    sent = []

    async def receive():
        return next(messages)

    async def send(message):
        sent.append(message)

    async def inner(*_):
        raise AssertionError("no route is reached")

    asyncio.run(BodyLimit(inner)({"type": "http", "method": "POST", "path": "/", "headers": []}, receive, send))
    assert sent == []


class Settings(BaseModel):
    settings: object


@pytest.fixture
def typed_app(tmp_path):
    app = FastAPI()
    install(app, tmp_path)

    @app.post("/api/x")
    def take(body: Settings):
        return "taken"

    app.add_middleware(BodyLimit)
    return app


@pytest.mark.parametrize(
    ("body", "status", "title"),
    [
        (b'{"settings": ' + b"[" * 31 + b"]" * 31 + b"}", 200, None),
        (b'{"settings": ' + b"[" * 32 + b"]" * 32 + b"}", 422, "Nested too deep"),
        (b"[" * 60_000, 422, "Nested too deep"),
        (b'{"a":' * 10_000, 422, "Nested too deep"),
        (b'{"settings": "' + b"[" * 1_000 + b'"}', 200, None),
        (b'{"settings": "\\"' + b"[" * 1_000 + b'"}', 200, None),
        (b'{"settings": "\\\\", "x": ' + b"[" * 40, 422, "Nested too deep"),
        (('{"settings": "\u2200", "x": ' + "[" * 40).encode("utf-16"), 422, "Nested too deep"),
        (("[" * 15_000).encode("utf-32-le"), 422, "Nested too deep"),
        (b"\xef\xbb\xbf" + b"[" * 40, 422, "Nested too deep"),
        (b'{"settings": 1}' + b"[]" * 30_000, 422, "The request makes no sense"),
        (b"not JSON", 422, "The request makes no sense"),
        (b"", 422, "The request makes no sense"),
        (b"\x00\xff[", 400, "Bad Request"),
    ],
    ids=range(14),
)
@pytest.mark.parametrize("kind", ["application/json", "application/vnd.x+json; charset=utf-8", "Application/JSON"])
def test_json_that_is_too_deep_reaches_no_parser(typed_app, body, status, title, kind):
    answer = ask(typed_app, "POST", content=body, headers={"Content-Type": kind})

    assert answer.status_code == status
    if title is not None:
        assert is_problem(answer, status)["title"] == title


def test_without_a_stated_kind_it_counts_as_json_and_a_text_does_not():
    app = BodyLimit(plain_app())
    deep = b"[" * 40

    is_problem(ask(app, "POST", content=deep), 422)
    assert ask(app, "POST", content=deep, headers={"Content-Type": "text/plain"}).json()["body"] == "[" * 40


def depth_of(value):
    """Return the depth of what `json.loads` made, pairs in place of objects so that no name hides another."""
    if isinstance(value, Pairs):
        return 1 + max((depth_of(one) for _, one in value.pairs), default=0)
    if isinstance(value, list):
        return 1 + max((depth_of(one) for one in value), default=0)
    return 0


class Pairs:
    def __init__(self, pairs):
        self.pairs = pairs


VALUES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text() | st.sampled_from(['"', "\\", '\\"', "[{", "]}", '\\\\"']),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=25,
)
CODES = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])


@settings(deadline=None)
@given(value=VALUES, code=CODES, ascii_only=st.booleans(), indent=st.sampled_from([None, 0, 2]))
def test_the_scan_finds_the_depth_of_every_document(value, code, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    body = text.encode(code, "surrogatepass")

    parsed = json.loads(body, object_pairs_hook=Pairs)

    assert json_depth(body) == depth_of(parsed)


FRAGMENTS = st.lists(
    st.sampled_from(
        ["[", "]", "{", "}", '"', "\\", '"a"', ":", ",", "1", " ", "\n", "é", "\u2200", "\u5b5b", "\u7b00"]
    ),
    max_size=40,
).map("".join)


def met(text):
    """Return the deepest nesting that a parser meets before it ends or gives up, read character by character."""
    deepest = level = position = 0
    while position < len(text):
        sign = text[position]
        if sign == '"':
            position += 1
            while position < len(text) and text[position] != '"':
                position += 2 if text[position] == "\\" else 1
        elif sign in "[{":
            level += 1
            deepest = max(deepest, level)
        elif sign in "]}":
            level -= 1
        position += 1
    return deepest


@settings(deadline=None, max_examples=400)
@given(text=FRAGMENTS, code=CODES)
@example(text="", code="utf-8")
@example(text='"\\', code="utf-8")
@example(text='"\\"[[', code="utf-16-le")
def test_the_scan_reads_what_is_no_document_like_a_reader_of_characters(text, code):
    body = text.encode(code)
    if code != "utf-8" and not body.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        head = text[:2]
        if len(head) < 2 or not head.isascii():  # the parser cannot know the code either
            return
    assert json_depth(body) == met(text)


@settings(deadline=None)
@given(body=st.binary(max_size=80))
def test_the_scan_is_never_below_the_parser_on_any_bytes(body):
    found = json_depth(body)

    try:
        parsed = json.loads(body, object_pairs_hook=Pairs)
    except ValueError:
        return
    assert found == depth_of(parsed)


# ---------------------------------------------------------------- headers and hosts


def test_every_answer_is_guarded_and_what_a_route_set_stays():
    app = SecurityHeaders(plain_app(), page_policy="default-src 'self'")

    api = ask(app)
    assert {name: api.headers[name] for name in GUARD_HEADERS} == GUARD_HEADERS
    assert api.headers["content-security-policy"] == API_POLICY
    assert api.headers["content-security-policy"].startswith("default-src 'none'")
    assert ask(app, path="/page").headers["content-security-policy"] == "default-src 'self'"
    own = ask(app, path="/own")
    assert own.headers.get_list("cache-control") == ["max-age=9"]
    assert own.headers.get_list("content-security-policy") == ["own"]
    assert ask(SecurityHeaders(plain_app()), path="/page").headers["content-security-policy"] == API_POLICY


def test_refusals_of_inner_guards_have_each_header_once(tokens):
    answer = ask(guarded(plain_app(), tokens))

    is_problem(answer, 401)
    for name in (*GUARD_HEADERS, "Content-Security-Policy"):
        assert len(answer.headers.get_list(name)) == 1


def test_an_answer_that_states_no_headers_gets_them():
    async def bare(scope, receive, send):
        await send({"type": "http.response.start", "status": 204})
        await send({"type": "http.response.body"})

    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(SecurityHeaders(bare)({"type": "http", "path": "/", "headers": []}, None, send))
    assert (b"referrer-policy", b"no-referrer") in sent[0]["headers"]


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True), ("LocalHost", True), ("localhost:8000", True), ("127.0.0.1", True), ("127.0.0.1:1", True),
        ("[::1]", True), ("[::1]:8000", True),
        ("evil.example", False), ("localhost.evil.example", False), ("evil.example:8000", False), ("", False),
        ("localhost:", False), ("localhost:80@evil", False), ("127.0.0.1.evil.example", False), ("127x0.0.1", False),
        ("0.0.0.0", False), ("[::]", False), ("::1", False), ("localhost\n", False), ("localhost:８０", False),
        ("localhost:123456", False), ("evil, localhost", False), ("localhost ", False),
    ],
)  # fmt: skip
def test_only_names_of_this_machine_are_served(host, served):
    scope_hosts = [(b"host", host.encode("utf-8"))]

    assert status_for(scope_hosts) == (200 if served else 421)


@pytest.mark.parametrize("hosts", [[], [b"localhost", b"localhost"], [b"localhost", b"evil.example"]])
def test_one_host_must_be_stated(hosts):
    assert status_for([(b"host", host) for host in hosts]) == 421


def status_for(headers):
    """Ask below httpx, which would mend the header."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": "/api/x", "raw_path": b"/api/x", "query_string": b"", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 8_000), "scheme": "http", "http_version": "1.1",
        "root_path": "", "asgi": {"version": "3.0"},
    }  # fmt: skip
    asyncio.run(HostCheck(plain_app())(scope, receive, send))
    return sent[0]["status"]


def test_a_foreign_host_learns_nothing():
    document = is_problem(ask(HostCheck(plain_app()), host="evil.example"), 421)

    assert document["detail"] == "this server answers to localhost, 127.0.0.1 and [::1] only"


def test_the_guards_together_in_the_order_of_the_application(tokens, tmp_path):
    app = FastAPI()
    install(app, tmp_path)

    @app.post("/api/x")
    def take(body: Settings):
        raise Problem(409, "Busy", "try later")

    app.add_middleware(BodyLimit)
    app.add_middleware(RateLimit, reads_per_second=50, writes_per_minute=0.06, write_burst=5)
    app.add_middleware(Authentication, tokens=tokens.store, open_paths=OPEN)
    app.add_middleware(HostCheck)
    app.add_middleware(SecurityHeaders)

    assert is_problem(ask(app, "POST", headers=bearer(tokens.write), json={"settings": 1}), 409)["title"] == "Busy"
    is_problem(ask(app, "POST", headers=bearer(tokens.write), content=b"[" * 99), 422)
    is_problem(ask(app, "POST", headers=bearer(tokens.write), content=b"x" * (LIMIT + 1)), 413)
    is_problem(ask(app, "POST", headers=bearer(tokens.read), json={"settings": 1}), 403)
    is_problem(ask(app, "POST", json={"settings": 1}), 401)
    is_problem(ask(app, "POST", host="evil.example", headers=bearer(tokens.write)), 421)
    is_problem(ask(app, "GET", headers=bearer(tokens.read)), 405)
    is_problem(ask(app, "GET", "/nowhere", headers=bearer(tokens.read)), 404)
    assert statuses(app, 3, "POST", headers=bearer(tokens.write)) == [422, 422, 429]
