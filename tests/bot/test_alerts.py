"""Alerts: they arrive, grouped, and never hold anybody up or show an address."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bot.alerts import ENVIRONMENT, KINDS, MOST_WAITING, Alerts
from bot.errors import UsageError


class Postbox:
    """A sender that keeps what it gets; it can be slow or down."""

    def __init__(self):
        self.letters = []
        self.delay = 0.0
        self.is_down = False
        self.open = threading.Event()
        self.open.set()

    def __call__(self, kind, title, text):
        self.open.wait(20)
        time.sleep(self.delay)
        if self.is_down:
            return False
        self.letters.append((kind, title, text))
        return True


@pytest.fixture
def postbox():
    return Postbox()


def quick(sender, **change):
    return Alerts([], name="ml-basic", sender=sender, **{"gather": 0.05, "spacing": 0.1, **change})


def lines(text):
    """Return the lines of a message without their times."""
    return [line[9:] if line[2:3] == ":" else line for line in text.splitlines()]


def wait_until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


def test_a_burst_becomes_one_message_a_kind_in_the_order_of_its_lines(postbox):
    alerts = quick(postbox)
    for number in range(3):
        alerts.send("fills", f"bought {number}")
    alerts.send("errors", "timeout")
    alerts.send("fills", "sold")
    assert alerts.close(10)

    assert [(kind, title) for kind, title, _ in postbox.letters] == [
        ("fills", "ml-basic: fills (4)"),
        ("errors", "ml-basic: errors"),
    ]
    assert lines(postbox.letters[0][2]) == ["bought 0", "bought 1", "bought 2", "sold"]
    assert lines(postbox.letters[1][2]) == ["timeout"]
    assert (alerts.sent, alerts.failed, alerts.dropped) == (2, 0, 0)


def test_every_line_has_the_time_at_which_it_happened(postbox):
    before = time.strftime("%H:%M:%S", time.gmtime())
    alerts = quick(postbox)
    alerts.send("fills", "bought")
    alerts.close(10)
    after = time.strftime("%H:%M:%S", time.gmtime())

    assert postbox.letters[0][2].split()[0] in {before, after}


def test_the_same_words_are_written_once_with_their_count(postbox):
    alerts = quick(postbox)
    for _ in range(7):
        alerts.send("errors", "no answer")
    alerts.send("errors", "bad reply")
    alerts.close(10)

    assert lines(postbox.letters[0][2]) == ["no answer (x7)", "bad reply"]


def test_a_long_burst_keeps_its_last_lines_and_says_how_many_are_left_out(postbox):
    alerts = quick(postbox)
    for number in range(50):
        alerts.send("errors", f"error {number}")
    alerts.close(10)

    assert lines(postbox.letters[0][2]) == ["(30 earlier lines are left out)", *(f"error {n}" for n in range(30, 50))]


def test_messages_of_one_kind_keep_their_distance_and_other_kinds_do_not_wait(postbox):
    alerts = quick(postbox, gather=0.0, spacing=30.0)
    alerts.send("errors", "first")
    wait_until(lambda: len(postbox.letters) == 1)
    alerts.send("errors", "second")
    alerts.send("fills", "bought")
    wait_until(lambda: len(postbox.letters) == 2)
    assert [kind for kind, *_ in postbox.letters] == ["errors", "fills"]

    began = time.monotonic()
    assert alerts.close(10)  # which waits for no distance
    assert time.monotonic() - began < 5
    assert [kind for kind, *_ in postbox.letters] == ["errors", "fills", "errors"]


def test_a_line_is_one_line_of_bounded_length(postbox):
    alerts = quick(postbox)
    alerts.send("errors", "a\nb\t c " + "x" * 1000)
    alerts.close(10)

    (line,) = lines(postbox.letters[0][2])
    assert line.startswith("a b c xxx")
    assert len(line) == 300


def test_only_the_chosen_kinds_are_sent(postbox):
    alerts = quick(postbox, kinds=("errors",))
    alerts.send("fills", "bought")
    alerts.send("errors", "timeout")
    alerts.close(10)

    assert [kind for kind, *_ in postbox.letters] == ["errors"]


def test_sending_never_waits_and_a_full_queue_loses_its_oldest_lines_and_says_so(postbox):
    postbox.open.clear()  # a server that takes nothing
    alerts = quick(postbox, gather=0.0)
    alerts.send("lifecycle", "started")
    wait_until(lambda: not alerts._waiting)
    began = time.monotonic()
    for number in range(MOST_WAITING + 25):
        alerts.send("fills", f"fill {number}")
    assert time.monotonic() - began < 1
    assert alerts.dropped == 25
    assert not alerts.close(0.1)  # it cannot be done in this time

    postbox.open.set()
    assert alerts.close(10)
    text = postbox.letters[1][2]
    assert text.startswith("(25 older alert(s) were dropped: too many at once)\n")
    assert text.endswith(f"fill {MOST_WAITING + 24}")


def test_what_could_not_be_delivered_is_in_the_next_message(postbox):
    postbox.is_down = True
    alerts = quick(postbox, gather=0.0, spacing=0.0)
    for text in ("connection lost", "still away"):
        alerts.send("disconnects", text)
        wait_until(lambda: not alerts._waiting)
        time.sleep(0.05)
    wait_until(lambda: alerts.failed == 2)
    postbox.is_down = False
    alerts.send("disconnects", "connected again")
    assert alerts.close(10)

    (letter,) = postbox.letters
    assert lines(letter[2]) == ["(not delivered before:)", "connection lost", "still away", "(now:)", "connected again"]
    assert (alerts.sent, alerts.failed) == (1, 2)


def test_a_sender_that_raises_is_a_message_that_failed(postbox):
    def broken(kind, title, text):
        raise RuntimeError("tgram://secret")

    alerts = quick(broken)
    alerts.send("errors", "timeout")
    assert alerts.close(10)
    assert alerts.failed == 1


def test_without_addresses_nobody_is_told_and_nothing_is_started():
    alerts = Alerts.from_environment(environment={})
    alerts.send("errors", "timeout")

    assert not alerts.is_on
    assert alerts.close() is True
    assert "alerts" not in {thread.name for thread in threading.enumerate()}


def test_after_close_nothing_is_taken(postbox):
    alerts = quick(postbox)
    alerts.close(10)
    alerts.send("errors", "late")

    assert postbox.letters == []


def test_an_unknown_kind_is_said(postbox):
    with pytest.raises(UsageError, match="'fill'; did you mean 'fills'"):
        Alerts([], ["fill"])
    alerts = quick(postbox)
    with pytest.raises(UsageError, match="kind 'panic'"):
        alerts.send("panic", "help")
    alerts.close(10)


# ---------------------------------------------------------------- apprise, over real sockets


class Server(ThreadingHTTPServer):
    """A webhook that keeps the documents it gets."""

    def __init__(self, delay=0.0):
        self.documents, self.paths, self.delay = [], [], delay
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def end(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        time.sleep(self.server.delay)
        self.server.documents.append(json.loads(body))
        self.server.paths.append(self.path)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *words):
        pass


@pytest.fixture
def server():
    made = Server()
    yield made
    made.end()


def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_webhook_gets_title_text_and_severity(server):
    url = f"json://127.0.0.1:{server.server_port}/hook"
    alerts = Alerts.from_environment(["fills", "errors"], name="ml-basic", environment={ENVIRONMENT: f" {url}\n"})
    alerts.send("fills", "bought 0.5 BTCUSDT at <64,000> & *more*")
    alerts.send("errors", "no answer")
    assert alerts.close(20)

    fills, errors = server.documents
    assert (fills["title"], fills["type"]) == ("ml-basic: fills", "info")
    assert fills["message"].endswith("bought 0.5 BTCUSDT at <64,000> & *more*")
    assert (errors["title"], errors["type"]) == ("ml-basic: errors", "failure")
    assert server.paths == ["/hook", "/hook"]


def test_an_address_that_is_down_costs_the_others_nothing_and_no_log_shows_any(server, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    urls = [
        f"json://user:hunter2@127.0.0.1:{closed_port()}/s3cret",
        f"json://user:hunter2@127.0.0.1:{server.server_port}/s3cret",
    ]
    alerts = Alerts(urls, name="ml-basic")
    alerts.send("errors", "no answer")
    assert alerts.close(30)

    assert len(server.documents) == 1
    assert (alerts.sent, alerts.failed) == (1, 1)
    said = caplog.text + "".join(capfd.readouterr()) + repr(alerts) + repr(vars(alerts))
    for secret in ("hunter2", "s3cret", "user:"):
        assert secret not in said


def test_a_slow_webhook_holds_nobody_up():
    slow = Server(delay=1.0)
    try:
        alerts = Alerts([f"json://127.0.0.1:{slow.server_port}"])
        began = time.monotonic()
        for number in range(200):
            alerts.send("fills", f"fill {number}")
        assert time.monotonic() - began < 0.5
        assert alerts.close(20)
        assert len(slow.documents) == 1
    finally:
        slow.end()


@pytest.mark.parametrize("url", [
    "tgram://hunter2",
    "json://",
    "hunter2://host",
    "hunter2",
    "bot:hunter2://",
    "json//hunter2",
    "",
])  # fmt: skip
def test_a_wrong_address_is_named_by_position_and_scheme_only(url):
    with pytest.raises(UsageError) as error:
        Alerts(["json://127.0.0.1:9/fine", url])

    message = str(error.value)
    assert "BOT_ALERTS: address 2" in message
    assert "hunter2" not in message
    assert ("tgram://..." in message) == url.startswith("tgram")
    assert error.value.__cause__ is None
    assert error.value.__context__ is None or "hunter2" not in str(error.value.__context__)


def test_the_kinds_are_those_that_users_choose_from():
    assert KINDS == ("fills", "protections", "disconnects", "errors", "lifecycle")
