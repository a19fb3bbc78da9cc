"""Arrivals: a closed candle is delivered once, in order, and never past a gap that is not certain."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.live.arrivals import Arrivals, BrokenCandles
from ml.candles import Candles

STEP = 60_000
COLUMNS = ("open", "high", "low", "close", "volume")


def page(*numbers: int, close: float | dict[int, float] = 1.0) -> Candles:
    """Return candles by number; the last is the forming one."""
    closes = np.array([close.get(n, 1.0) if isinstance(close, dict) else close for n in numbers], dtype=float)
    return Candles.from_columns(
        "1m",
        {
            "open_ms": np.array([n * STEP for n in numbers], dtype=np.int64),
            "open": closes,
            "high": closes,
            "low": closes,
            "close": closes,
            "volume": np.ones(len(numbers)),
        },
    )


def arrivals(newest: int = 0, *, gap_s: float = 10.0) -> Arrivals:
    return Arrivals("1m", newest * STEP, (1.0, 1.0, 1.0, 1.0, 1.0), gap_s=gap_s)


def drain(queue: Arrivals) -> list[int]:
    found = []
    while queue.has_bar:
        found.append(queue.next_open_ms // STEP)
        queue.pop()
    return found


def test_the_forming_candle_is_not_delivered():
    queue = arrivals()
    queue.take(page(0, 1), COLUMNS, 0.0)
    assert drain(queue) == []
    queue.take(page(0, 1, 2), COLUMNS, 0.0)
    assert drain(queue) == [1]


def test_what_was_delivered_comes_again_and_is_not_delivered_again():
    queue = arrivals()
    queue.take(page(0, 1, 2), COLUMNS, 0.0)
    queue.take(page(0, 1, 2), COLUMNS, 0.0)
    assert drain(queue) == [1]
    queue.take(page(0, 1, 2), COLUMNS, 0.0)
    assert drain(queue) == []


def test_a_missing_candle_is_waited_for_and_comes_in_its_place():
    queue = arrivals()
    for now in (0.0, 9.9):
        with pytest.raises(BrokenCandles, match="missing"):
            queue.take(page(0, 2, 3), COLUMNS, now)
        assert drain(queue) == []
    queue.take(page(0, 1, 2, 3), COLUMNS, 9.95)
    assert drain(queue) == [1, 2]


def test_a_candle_that_stays_away_is_passed_with_a_note_and_is_not_invented():
    queue = arrivals()
    with pytest.raises(BrokenCandles):
        queue.take(page(0, 3, 4), COLUMNS, 0.0)
    (note,) = queue.take(page(0, 3, 4), COLUMNS, 10.0)
    assert "2 bars" in note
    assert drain(queue) == [3]


def test_each_gap_has_its_own_patience():
    queue = arrivals()
    with pytest.raises(BrokenCandles):
        queue.take(page(0, 2, 3), COLUMNS, 0.0)
    queue.take(page(0, 2, 3), COLUMNS, 10.0)
    with pytest.raises(BrokenCandles):
        queue.take(page(2, 4, 5), COLUMNS, 11.0)
    assert drain(queue) == [2]


def test_a_candle_off_the_grid_is_refused():
    queue = arrivals()
    odd = page(0, 1, 2)
    broken = Candles.from_columns("1m", {"open_ms": odd.open_ms + np.array([0, STEP // 3, 0]), **odd.columns})
    with pytest.raises(BrokenCandles, match="off the grid"):
        queue.take(broken, COLUMNS, 0.0)
    assert drain(queue) == []


def test_a_revision_before_delivery_is_the_candle_and_after_it_a_note():
    queue = arrivals()
    queue.take(page(0, 1, 2, close={1: 2.0}), COLUMNS, 0.0)
    assert queue.pop()[3] == 2.0
    (note,) = queue.take(page(1, 2, close={1: 3.0}), COLUMNS, 0.0)
    assert "revised" in note
    assert queue.take(page(1, 2, close={1: 3.0}), COLUMNS, 0.0) == [], "said once"


def test_an_empty_reply_changes_nothing():
    queue = arrivals()
    assert queue.take(page(), COLUMNS, 0.0) == []
    assert queue.since_ms == 0
    assert queue.needs_more


def test_a_full_page_says_that_there_is_more():
    queue = arrivals()
    queue.take(page(*range(1_000)), COLUMNS, 0.0)
    assert queue.has_newer
    assert len(drain(queue)) == 998
    queue.take(page(*range(998, 1_100)), COLUMNS, 0.0)
    assert drain(queue) == list(range(999, 1_099))


def test_others_wait_for_a_symbol_as_long_as_for_a_gap():
    queue = arrivals()
    assert [queue.gave_up(now) for now in (5.0, 14.9, 15.0)] == [False, False, True]
    queue.take(page(0, 1, 2), COLUMNS, 20.0)
    assert not queue.gave_up(21.0)


def test_a_symbol_that_is_past_a_bar_is_not_waited_for():
    queue = arrivals(3)
    assert [queue.is_past(number * STEP) for number in (2, 3, 4)] == [True, True, False]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(1, 6), st.sets(st.integers(0, 18), max_size=4)), max_size=30))
def test_whatever_is_replied_bars_come_once_in_order_without_holes(replies):
    queue, got, now = arrivals(gap_s=1e9), [], 0.0
    for start, length, hidden in replies:
        numbers = [n for n in range(start, start + length) if n not in hidden]
        now += 1.0
        with suppress(BrokenCandles):
            queue.take(page(*numbers), COLUMNS, now)
        got += drain(queue)
    assert got == list(range(1, len(got) + 1))
