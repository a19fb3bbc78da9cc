"""The view of a running bot: fits every terminal, says what matters, and never holds trading up."""

from __future__ import annotations

import io
import os
import pty
import re
import select
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_statuses import MORNING_MS, live_status, symbol_status

from bot.live.screen import screen_lines
from bot.live.status import RolePrediction
from bot.live.view import LiveView, log_lines
from bot.live.wording import clean, price, size

ROOT = Path(__file__).parents[3]


def text(status, width=80, height=24, now_ms=None):
    return "\n".join("".join(part for part, _ in line) for line in screen_lines(status, width, height, now_ms))


# ---------------------------------------------------------------- the screen


def test_eighty_columns_and_twenty_four_rows_hold_everything_of_one_symbol():
    shown = text(live_status())

    for fact in (
        "ml-basic-btc", "PAPER", "sim", "1h", "running",  # what
        "market 2026-11-20 09:00:00 UTC", "42 bars", "connected",
        "value 10,001.65", "total +0.02 %", "today -0.31 %", "drawdown 1.23 %", "cash 9,210.37",
        "BTCUSDT  64,123.45", "candle of 2026-11-20 08:00:00",
        "up 57.3 %   ok", "2026-11-20T060000Z_1h_v1",
        "0.01234 at 63,900.10   +0.35 %", "stop 61,983.09 (-3.34 %)", "target 67,095.10 (+4.63 %)",
        "sell 0.01234 stop 61,983.09", "sell 0.01234 target 67,095.10",
        "hold: p_up 0.573 is above the exit of 0.45: the position stays",
        "stop and target rest", "bought 0.01234 BTCUSDT",
    ):  # fmt: skip
        assert fact in shown, fact
    assert "NO NEW ENTRIES" not in shown
    assert "REAL" not in shown


def test_what_forbids_entries_and_what_is_wrong_is_said():
    status = live_status(
        mode="real",
        state="paused",
        errors=1,
        connection="no answer since 08:59, trying again",
        protections=("daily loss of 5.2 %", "paused by hand"),
    )
    shown = text(status, now_ms=status.heartbeat_ms + 61_000)

    for fact in ("REAL MONEY", "paused", "1 error", "no answer since 08:59", "silent for 61 s"):
        assert fact in shown
    assert "NO NEW ENTRIES: daily loss of 5.2 %; paused by hand" in shown
    assert "silent" not in text(status, now_ms=status.heartbeat_ms + 9_000)
    assert "silent" not in text(replace(status, state="stopped"), now_ms=status.heartbeat_ms + 61_000)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("warming", "none (warming)"),
        ("no_model", "none (no model)"),
        ("no_model|quarantined: its hit rate\nfell", "no model (quarantined: its hit rate fell)"),
        ("out_of_distribution", "none (out of distribution)"),
    ],
)
def test_an_absent_prediction_says_why(status, words):
    status, _, detail = status.partition("|")
    said = RolePrediction("prediction", "BTCUSDT/basic@latest", None, None, None, status, detail)

    assert words in text(live_status(symbols=(symbol_status(predictions=(said,)),)))


def test_before_the_first_bar_there_is_a_screen_too():
    empty = symbol_status(
        open_ms=None, close=None, predictions=(), position=0.0, entry_price=None, stop=None, target=None, open_orders=(),
        action="", reason="",
    )  # fmt: skip
    shown = text(live_status(state="starting", market_ms=None, bars=0, symbols=(empty,), events=()))

    for fact in ("no candle yet", "0 bars", "no model", "flat", "decision    none"):
        assert fact in shown


NAMES = ["BTCUSDT", "ETHUSDT", "1000SHIBUSDT", "SOLUSDT", "ADAUSDT", "XRPUSDT", "DOGEUSDT", "BNBUSDT"]


@given(
    width=st.integers(20, 220),
    height=st.integers(3, 80),
    symbols=st.integers(0, 8),
    events=st.integers(0, 40),
    words=st.text(max_size=300),
)
def test_nothing_is_wider_or_taller_than_the_terminal(width, height, symbols, events, words):
    status = live_status(
        symbols=tuple(symbol_status(name, reason=words) for name in NAMES[:symbols]),
        events=tuple((MORNING_MS + n, f"{n} {words}") for n in range(events)),
        protections=(words,),
        connection=words,
    )
    lines = screen_lines(status, width, height, MORNING_MS)

    assert len(lines) <= height
    for line in lines:
        row = "".join(part for part, _ in line)
        assert len(row) <= width
        assert row.isprintable()


@pytest.mark.parametrize("count", [2, 3, 8])
def test_several_symbols_are_all_there_with_their_predictions(count):
    shown = text(live_status(symbols=tuple(symbol_status(name) for name in NAMES[:count])))

    for name in NAMES[:count]:
        assert name in shown
    assert shown.count("up 57.3 %") == count
    assert "last events" in shown
    assert "stop and target rest" in shown  # the newest event


def test_more_symbols_than_rows_are_counted():
    shown = text(live_status(symbols=tuple(symbol_status(f"COIN{n}USDT") for n in range(40))))

    listed = sum(f"COIN{n}USDT" in shown for n in range(40))
    assert f"and {40 - listed} more" in shown
    assert listed >= 8


def test_the_newest_events_come_first_and_fill_the_room():
    status = live_status(events=tuple((MORNING_MS + 1000 * n, f"event {n}.") for n in range(60)))
    rows = [row for row in text(status).splitlines() if "event " in row]

    assert rows[0].endswith("event 59.")
    assert rows[-1].endswith(f"event {60 - len(rows)}.")
    assert len(text(status).splitlines()) == 24


@pytest.mark.parametrize(
    ("words", "style"), [("live", "green"), ("connected", "green"), ("starting", "red"), ("broken: no answer", "red")]
)
def test_a_connection_that_works_is_shown_as_good(words, style):
    pieces = [piece for line in screen_lines(live_status(connection=words), 120, 24, MORNING_MS) for piece in line]

    assert (words, style) in pieces


def test_colours_are_those_that_light_and_dark_terminals_show():
    status = live_status(mode="real", protections=("kill switch",), state="failed", connection="away", errors=3)
    styles = {style for line in screen_lines(status, 80, 24, MORNING_MS * 2) for _, style in line}

    assert styles <= {"", "bold", "dim", "green", "red", "bold red"}
    assert "bold red" in styles


@pytest.mark.parametrize(
    ("value", "expected"),
    [(64_123.456, "64,123.46"), (100.0, "100.00"), (99.5, "99.5"), (0.00001234, "0.00001234"), (0.0, "0"), (None, "-"),
     (1e-9, "0"), (-1e-9, "0"), (-12.5, "-12.5"), (1e12, "1,000,000,000,000.00")],
)  # fmt: skip
def test_prices_keep_their_digits_and_never_an_exponent(value, expected):
    assert price(value) == expected


def test_sizes_have_no_needless_zeros_and_words_are_one_line():
    assert (size(0.5), size(0.0012300), size(12.0)) == ("0.5", "0.00123", "12")
    assert clean("a\n\x1b[31mred\x07\t b") == "a [31mred b"


# ---------------------------------------------------------------- lines of a log


BAR_LINE = (
    "2026-11-20T09:00:00Z BTCUSDT close 64,123.45 | prediction up 57.3 % | 0.01234 at 63,900.10, stop 61,983.09, "
    "target 67,095.10 | hold: p_up 0.573 is above the exit of 0.45: the position stays | "
    "value 10,001.65, today -0.31 %, drawdown 1.23 %"
)


def test_the_first_status_says_what_runs_and_each_bar_is_one_line():
    lines = log_lines(None, live_status())

    assert lines == [
        "2026-11-20T09:00:01Z ml-basic-btc (paper, sim, 1h): running",
        "2026-11-20T09:00:01Z connection: connected",
        "2026-11-20T09:00:00Z bought 0.01234 BTCUSDT at 63900.1",
        "2026-11-20T09:00:01Z stop and target rest",
        BAR_LINE,
    ]
    assert log_lines(live_status(), live_status(heartbeat_ms=MORNING_MS + 9_999, value=9_999.0)) == []


def test_changes_are_said_once_each():
    before = live_status()
    after = live_status(state="paused", connection="lost:\nread timed out", protections=("daily loss",))

    assert [line[21:] for line in log_lines(before, after)] == [
        "ml-basic-btc (paper, sim, 1h): paused",
        "connection: lost: read timed out",
        "no new entries: daily loss",
    ]
    assert [line[21:] for line in log_lines(after, replace(after, protections=()))] == ["over: daily loss"]


@given(
    total=st.integers(0, 30),
    kept=st.integers(1, 8),
    steps=st.lists(st.integers(0, 8), max_size=12),
    words=st.integers(1, 3),
)
def test_every_event_of_a_sliding_list_is_logged_exactly_once(total, kept, steps, words):
    events = [(MORNING_MS + 1000 * n, f"event {n % words}") for n in range(total)]
    before, logged, seen = None, [], 0
    for step in [*steps, *[1] * total]:
        seen = min(total, seen + min(step, kept))  # an event may not slide out unseen
        status = live_status(events=tuple(events[max(0, seen - kept) : seen]), symbols=())
        logged += [line for line in log_lines(before, status) if " event " in line]
        before = status

    assert [line[21:] for line in logged] == [words for _, words in events]


# ---------------------------------------------------------------- the view itself


def bars(count):
    for n in range(count):
        ms = MORNING_MS + 3_600_000 * n
        yield live_status(
            bars=n, market_ms=ms, symbols=(symbol_status(open_ms=ms - 3_600_000),), events=((ms, f"event {n}"),)
        )


def test_elsewhere_than_on_a_terminal_lines_are_written_in_order_and_all_of_them():
    stream = io.StringIO()
    with LiveView(stream=stream) as view:
        for status in bars(200):
            view.update(status)

    rows = stream.getvalue().splitlines()
    assert sum(" BTCUSDT close " in row for row in rows) == 200
    assert [row.split("event ")[1] for row in rows if " event " in row] == [str(n) for n in range(200)]
    assert "\x1b" not in stream.getvalue()
    assert max(map(len, rows)) > 150  # not wrapped


def test_a_replay_of_history_is_a_word_now_and_then():
    stream = io.StringIO()
    with LiveView(stream=stream) as view:
        for status in bars(5_000):
            view.update(replace(status, state="replaying"))
        for status in bars(3):
            view.update(status)

    rows = stream.getvalue().splitlines()
    assert len(rows) < 20
    assert any("replaying" in row for row in rows)
    assert any(row.endswith(": running") for row in rows)


def test_beside_json_nothing_is_shown(capfd):
    with LiveView(as_json=True) as view:
        for status in bars(3):
            view.update(status)

    assert capfd.readouterr() == ("", "")


class Blocked(io.StringIO):
    """A stream that nobody reads."""

    def __init__(self):
        super().__init__()
        self.free = threading.Event()

    def write(self, words):
        self.free.wait(30)
        return super().write(words)


def test_a_stream_that_nobody_reads_holds_nobody_up():
    stream = Blocked()
    began = time.monotonic()
    with LiveView(stream=stream) as view:
        for status in bars(2_000):
            view.update(status)
        assert time.monotonic() - began < 5
    assert time.monotonic() - began < 10  # the end waits a moment, then gives up
    stream.free.set()


class Broken(io.StringIO):
    def write(self, words):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [Broken(), io.StringIO()])
def test_a_stream_that_fails_ends_the_showing_only(stream):
    if not isinstance(stream, Broken):
        stream.close()
    with LiveView(stream=stream) as view:
        for status in bars(50):
            view.update(status)
            time.sleep(0.001)


SHOW = """
import sys, time
sys.path.insert(0, "tests/support")
from live_statuses import live_status
from bot.live.view import LiveView
with LiveView() as view:
    for n in range(200):
        view.update(live_status(bars=n, heartbeat_ms=time.time_ns() // 1_000_000))
        time.sleep(0.01)
print("after")
"""


def test_on_a_terminal_a_screen_is_drawn_at_most_four_times_a_second_and_given_back():
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {key: value for key, value in os.environ.items() if key not in {"COLUMNS", "LINES", "NO_COLOR"}}
    process = subprocess.Popen(
        [sys.executable, "-c", SHOW], stdin=follower, stdout=follower, stderr=follower, cwd=ROOT,
        env={**environment, "TERM": "xterm-256color"}, start_new_session=True,
    )  # fmt: skip
    os.close(follower)
    received = b""
    while True:
        ready, _, _ = select.select([leader], [], [], 60)
        try:
            part = os.read(leader, 65536) if ready else b""
        except OSError:  # the other side is closed
            part = b""
        if not part:
            break
        received += part
    os.close(leader)
    assert process.wait() == 0

    shown = received.decode()
    assert shown.count("\x1b[?1049h") == shown.count("\x1b[?1049l") == 1
    inside, after = shown.split("\x1b[?1049l")
    assert inside.count("ml-basic-btc") in range(3, 12)  # 2 seconds of 200 updates
    assert re.search(r"199 bars.*after", re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", after), re.DOTALL)
    assert "\x1b[?25h" in shown  # the cursor is back
