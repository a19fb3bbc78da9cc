"""The session for servers on this machine reads every reply as ``requests`` does, and never sends a request twice."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager

import pytest
import requests
from requests.exceptions import ConnectionError as Broken
from requests.exceptions import HTTPError, Timeout

from bot.live.client import trading_client
from bot.live.plain_http import PlainSession, is_on_this_machine

BODY = '{"orderId":7,"note":"für"}'.encode()


def http(body: bytes, *headers: str, status: str = "200 OK", version: str = "1.1") -> bytes:
    lines = [f"HTTP/{version} {status}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


REPLIES = {
    "a length": http(BODY, f"Content-Length: {len(BODY)}", "Content-Type: application/json"),
    "chunks": http(b"5;name=x\r\nhello\r\na\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n", "Transfer-Encoding: chunked"),
    "no content": http(b"", status="204 No Content"),
    "until the end": http(BODY),
    "a refusal": http(BODY, f"content-length: {len(BODY)}", "Retry-After: 3", status="429 Too Many Requests"),
    "no reason": http(b"", "Content-Length: 0", status="503"),
    "an old version": http(BODY, f"Content-Length: {len(BODY)}", version="1.0"),
    "an interim reply before": http(b"", status="100 Continue") + http(BODY, f"Content-Length: {len(BODY)}"),
}
BROKEN = {
    "nothing": b"",
    "half a status": b"HTTP/1.1 20",
    "half a body": http(BODY[:9], f"Content-Length: {len(BODY)}"),
    "half a chunk": http(b"a\r\n01234", "Transfer-Encoding: chunked"),
    "no chunk": http(b"here\r\n", "Transfer-Encoding: chunked"),
    "no headers' end": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n",
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "no number": http(b"", status="twenty"),
}


class Peer:
    """Answers each request on a connection with the next reply; closes it where there is none, or a reply says so."""

    def __init__(self) -> None:
        self.replies: list[bytes] = []
        self.asked: list[bytes] = []
        self.connections = 0
        self.is_closing = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/api/v3/order?symbol=BTCUSDT"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # the test is over
                return
            self.connections += 1
            with connection:
                while message := self._message(connection):
                    self.asked.append(message)
                    reply = self.replies.pop(0) if self.replies else b""
                    connection.sendall(reply)
                    if self.is_closing or not reply:
                        break

    @staticmethod
    def _message(connection: socket.socket) -> bytes:
        found = b""
        while b"\r\n\r\n" not in found:
            part = connection.recv(65_536)
            if not part:
                return b""
            found += part
        head, _, body = found.partition(b"\r\n\r\n")
        wanted = [int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        while wanted and len(body) < wanted[0]:
            body += connection.recv(65_536)
        return head + b"\r\n\r\n" + body

    def stop(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


@contextmanager
def peer(*replies: bytes, closing: bool = False):
    """Serve these replies."""
    found = Peer()
    found.replies, found.is_closing = list(replies), closing
    thread = threading.Thread(target=found.serve, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        found.stop()
        thread.join(5)


@pytest.fixture
def session():
    opened = PlainSession()
    yield opened
    opened.close()


@pytest.mark.parametrize("reply", REPLIES.values(), ids=REPLIES)
def test_a_reply_is_read_as_requests_reads_it(session, reply):
    with peer(reply, reply, closing=True) as other, requests.Session() as usual:
        usual.trust_env = False
        wanted = usual.request("GET", other.url, timeout=5)
        found = session.request("GET", other.url, timeout=5)
    wanted.encoding = "utf-8"
    assert (found.status_code, found.reason, found.content) == (wanted.status_code, wanted.reason, wanted.content)
    assert found.text == wanted.text
    for name, value in wanted.headers.items():
        assert found.headers[name.upper()] == found.headers.get(name.lower()) == value
    assert found.headers.get("X-Other", "none") == "none"
    raised = []
    for each in (wanted, found):
        try:
            each.raise_for_status()
            raised.append(False)
        except HTTPError:
            raised.append(True)
    assert raised[0] == raised[1] == (wanted.status_code >= 400)


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN)
def test_a_broken_reply_is_an_error_and_the_next_request_has_a_connection_of_its_own(session, reply):
    with peer(reply, REPLIES["a length"], closing=True) as other:
        with pytest.raises(Broken):
            session.request("GET", other.url, timeout=5)
        assert session.request("GET", other.url, timeout=5).content == BODY
        assert (len(other.asked), other.connections) == (2, 2)


def test_one_connection_carries_many_requests_and_bodies_arrive_whole(session):
    with peer(*[REPLIES["a length"]] * 4) as other:
        session.request("POST", other.url, data=b"side=BUY", headers={"X-MBX-APIKEY": "key"}, timeout=5)
        session.request("POST", other.url, timeout=5)
        session.request("DELETE", other.url, timeout=5)
        session.request("GET", other.url, timeout=5)
    assert other.connections == 1
    lines = other.asked[0].decode().split("\r\n")
    assert lines[0] == "POST /api/v3/order?symbol=BTCUSDT HTTP/1.1"
    assert lines[-1] == "side=BUY"
    assert {"X-MBX-APIKEY: key", "Content-Length: 8", f"Host: {other.url.split('/')[2]}"} <= set(lines)
    assert b"Content-Length: 0" in other.asked[1]
    assert [message.split()[0] for message in other.asked[2:]] == [b"DELETE", b"GET"]


def test_no_reply_in_time_is_a_timeout_and_is_not_asked_again(session):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(Timeout):
            session.request("GET", address, timeout=0.05)
        connection, _ = silent.accept()
        with connection:
            connection.settimeout(5)
            assert connection.recv(65_536).count(b"GET / HTTP/1.1") == 1
            assert connection.recv(65_536) == b""  # it has hung up
        silent.settimeout(0.05)
        with pytest.raises(TimeoutError):
            silent.accept()


def test_a_connection_that_was_closed_while_idle_is_opened_anew_before_anything_is_sent(session):
    with peer(*[REPLIES["a length"]] * 2, closing=True) as other:
        for _ in range(2):
            assert session.request("GET", other.url, timeout=5).content == BODY
            while other.connections and not session._connection.was_closed():
                pass
        assert (len(other.asked), other.connections) == (2, 2)


def test_nobody_listens_is_a_broken_connection(session):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Broken, match="ConnectionRefusedError"):
        session.request("GET", f"http://127.0.0.1:{port}/", timeout=5)


def test_only_servers_on_this_machine_are_asked_so():
    assert all(map(is_on_this_machine, ("http://127.0.0.1:8080", "http://localhost", "http://[::1]:80/api")))
    others = (
        "https://127.0.0.1",
        "http://api.binance.com",
        "http://127.0.0.1.example.com",
        "http://localhost@example.com",
    )
    assert not any(map(is_on_this_machine, others))
    assert isinstance(trading_client("binance", None, endpoint="http://127.0.0.1:1").session, PlainSession)
    for endpoint in (None, "https://localhost:1", "http://example.com"):
        assert isinstance(trading_client("binance", None, endpoint=endpoint).session, requests.Session)


def test_a_session_that_is_closed_ends_the_request_that_waits():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        session, ended = PlainSession(), []

        def ask():
            with pytest.raises(requests.exceptions.ConnectionError) as caught:
                session.request("GET", f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout=60)
            ended.append(caught.value)

        thread = threading.Thread(target=ask)
        thread.start()
        connection, _ = silent.accept()
        with connection:
            connection.recv(1024)
            began = time.monotonic()
            session.close()
            thread.join(30)
        assert ended
        assert time.monotonic() - began < 5
