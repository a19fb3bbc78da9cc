"""The barrier: bars are released to all symbols at once, and a symbol that is gone holds nobody up."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.barrier import Barrier
from bot.live.inquiry import Stopped
from ml.candles import Candles

STEP = 60_000


def page(first: int, last: int) -> Candles:
    """Return candles by number, the last of which is the forming one."""
    count = last - first + 1
    ones = np.ones(count)
    columns = dict.fromkeys(("open", "high", "low", "close", "volume"), ones)
    return Candles.from_columns("1m", {"open_ms": STEP * np.arange(first, last + 1, dtype=np.int64), **columns})


class Exchange:
    """Candles of two symbols up to a number each, or an error."""

    def __init__(self, **newest) -> None:
        self.newest = newest
        self.asked: list[str] = []

    def candles(self, symbol, _timeframe, *, since_ms=None, limit=0):
        self.asked.append(symbol)
        newest = self.newest[symbol]
        if isinstance(newest, Exception):
            raise newest
        first = newest - 1 if since_ms is None else since_ms // STEP
        return page(first, newest)


class Scene:
    """A barrier of A and B, which have their candles up to number 0."""

    def __init__(self, starts=(0, 0), **newest) -> None:
        self.now = 0.0
        self.notes: list[tuple[str, str, str]] = []
        self.exchange = Exchange(**newest)
        self.barrier = Barrier(
            self.exchange, "1m", gap_s=10.0, note=lambda *note: self.notes.append(note), monotonic=lambda: self.now
        )
        for symbol, last in zip("AB", starts, strict=True):
            self.barrier.add(symbol, page(0, last))

    def step(self) -> dict[str, int]:
        """Ask, release one bar, and return its number by symbol."""
        self.failed = self.barrier.ask()[1]
        found = {}
        for symbol, arrivals in self.barrier.next_bar().items():
            found[symbol] = arrivals.next_open_ms // STEP
            self.barrier.release(symbol, arrivals, None)
        return found


def test_a_bar_is_released_to_all_at_once():
    scene = Scene(A=2, B=1)
    assert scene.step() == {}
    scene.exchange.newest["B"] = 2
    assert scene.step() == {"A": 1, "B": 1}
    assert scene.step() == {}


def test_a_symbol_without_a_candle_is_waited_for_and_then_not():
    scene = Scene(A=2, B=1)
    assert [scene.step(), scene.step()] == [{}, {}]
    scene.now = 10.0
    assert scene.step() == {"A": 1}
    assert scene.barrier.due_ms() == 3 * STEP, "the time of A alone"


def test_after_a_kill_between_two_deliveries_the_one_that_is_behind_goes_alone():
    scene = Scene(starts=(1, 0), A=2, B=2)
    assert scene.step() == {"B": 1}


def test_a_symbol_that_has_vanished_is_left_alone_and_comes_back():
    scene = Scene(A=2, B=Refused("Invalid symbol.", -1121))
    assert scene.step() == {"A": 1}
    assert [kind for kind, _, _ in scene.notes] == ["errors"]
    for number in range(3, 10):
        scene.exchange.newest["A"] = number
        assert scene.step() == {"A": number - 1}
    assert scene.exchange.asked.count("B") == 1
    assert len(scene.notes) == 1
    scene.now, scene.exchange.newest["B"] = 31.0, 9
    assert scene.step() == {"B": 1}


def test_what_cannot_be_read_holds_back_its_symbol_and_is_told():
    scene = Scene(A=NoAnswer("html"), B=2)
    assert scene.step() == {}
    assert str(scene.failed) == "html"
    scene.exchange.newest["A"] = 2
    assert scene.step() == {"A": 1, "B": 1}


def test_keys_that_are_refused_end_it():
    with pytest.raises(AccessDenied):
        Scene(A=AccessDenied("no"), B=2).step()


@pytest.mark.parametrize(("newest", "is_newest"), [(2, True), (3, False)])
def test_a_decision_that_took_long_is_checked_against_the_exchange(newest, is_newest):
    scene = Scene(A=2, B=2)
    scene.step()
    decision = SimpleNamespace(symbol="A", bar_ms=STEP)
    asked = len(scene.exchange.asked)
    assert scene.barrier.is_newest(decision, lambda _seconds: False)
    assert len(scene.exchange.asked) == asked, "a bar that has just come is the newest"
    scene.now, scene.exchange.newest["A"] = 60.0, newest
    assert scene.barrier.is_newest(decision, lambda _seconds: False) is is_newest
    assert scene.exchange.asked[asked:] == ["A"]


def test_a_decision_of_an_older_bar_is_too_late():
    scene = Scene(A=2, B=2)
    scene.step()
    assert not scene.barrier.is_newest(SimpleNamespace(symbol="A", bar_ms=0), lambda _seconds: False)


def test_an_exchange_that_does_not_answer_is_asked_until_the_bot_stops():
    scene = Scene(A=2, B=2)
    scene.step()
    scene.now, scene.exchange.newest["A"] = 60.0, NoAnswer("down")
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return len(pauses) == 8

    with pytest.raises(Stopped):
        scene.barrier.is_newest(SimpleNamespace(symbol="A", bar_ms=STEP), pause)
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0]


def test_a_candle_off_the_grid_does_not_make_a_decision_late():
    scene = Scene(A=2, B=2)
    scene.step()
    scene.now = 60.0
    plain, replies = scene.exchange.candles, []

    def candles(symbol, timeframe, **options):
        found = plain(symbol, timeframe, **options)
        replies.append(symbol)
        if len(replies) == 1:
            shifted = found.open_ms + np.array([STEP // 3, 0])
            return Candles.from_columns("1m", {"open_ms": shifted, **found.columns})
        return found

    scene.exchange.candles = candles
    assert scene.barrier.is_newest(SimpleNamespace(symbol="A", bar_ms=STEP), lambda _seconds: False)
    assert len(replies) == 2
