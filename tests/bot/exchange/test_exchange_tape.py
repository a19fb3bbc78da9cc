"""Candles as the exchange shows them while they happen: never more than is known, and exactly what there was."""

from __future__ import annotations

import numpy as np
import pytest
from exchange_mirror import exchange_of
from hypothesis import given, settings
from hypothesis import strategies as st
from spot_oracle import HOUR_MS, Setup
from trading_runs import START_MS, candles_of, random_bars

from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.errors import DataError
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.orders import CandleEvent
from bot.exchange.refusals import Refusal
from bot.exchange.tape import Tape, number_text
from ml.candles import Candles

BARS = [(100.0, 103.0, 99.0, 102.0), (101.0, 104.0, 97.0, 98.0), (98.5, 99.0, 95.0, 96.0), (96.0, 98.0, 94.0, 97.0)]


def gapped(seed: int, count: int = 60) -> Candles:
    """Return hourly candles of which some are missing, with every column."""
    random = np.random.default_rng(seed)
    rows = random_bars(count, seed)
    keep = np.sort(random.choice(count, size=count * 3 // 4, replace=False))
    columns = {name: rows[keep, k].copy() for k, name in enumerate(("open", "high", "low", "close"))}
    for name in ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote"):
        columns[name] = np.round(random.uniform(0, 50, len(keep)), 4)
    columns["trades"] = random.integers(0, 900, len(keep)).astype(float)
    return Candles.from_columns("1h", {"open_ms": START_MS + HOUR_MS * keep, **columns})


def test_the_forming_candle_shows_its_open_alone():
    tape = Tape(candles_of(BARS))
    now = START_MS + 2 * HOUR_MS
    for moment in (now, now + HOUR_MS - 1):
        rows = tape.rows(moment, "1h")
        assert [row[1:6] for row in rows] == [
            ["100.0", "103.0", "99.0", "102.0", "10.0"],
            ["101.0", "104.0", "97.0", "98.0", "10.0"],
            ["98.5", "98.5", "98.5", "98.5", "0"],
        ]
        assert tape.price(moment) == 98.5
        assert tape.closed_price(moment) == 98.0
        assert tape.newest_closed_ms(moment) == START_MS + HOUR_MS
    assert rows[2][0] == now
    assert rows[2][6:] == [now + HOUR_MS - 1, "0", 0, "0", "0", "0"]
    assert tape.rows(START_MS - 1, "1h") == []


def test_a_longer_candle_grows_by_what_has_closed():
    tape = Tape(candles_of(BARS))
    assert [row[:6] for row in tape.rows(START_MS + 2 * HOUR_MS, "4h")] == [
        [START_MS, "100.0", "104.0", "97.0", "98.5", "20.0"]
    ]
    assert tape.rows(START_MS, "2h")[0][1:6] == ["100.0", "100.0", "100.0", "100.0", "0"]
    assert [row[0] for row in tape.rows(START_MS + 9 * HOUR_MS, "2h")] == [START_MS, START_MS + 2 * HOUR_MS]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 20),
    interval=st.sampled_from([1, 2, 3, 4, 6, 24]),
    now=st.integers(0, 66 * 4),
    start=st.none() | st.integers(-20, 260),
    end=st.none() | st.integers(-20, 260),
    limit=st.integers(1, 30),
)
def test_rows_are_what_a_plain_loop_over_the_candles_gives(seed, interval, now, start, end, limit):
    candles = gapped(seed)
    quarter = HOUR_MS // 4
    now_ms = START_MS + now * quarter
    start_ms = None if start is None else START_MS + start * quarter
    end_ms = None if end is None else START_MS + end * quarter
    groups: dict[int, list[tuple]] = {}
    for k, open_ms in enumerate(candles.open_ms.tolist()):
        if open_ms > now_ms:
            break
        bar = [float(getattr(candles, name)[k]) for name in ("open", "high", "low", "close", "volume", "trades")]
        if now_ms < open_ms + HOUR_MS:
            bar = [bar[0]] * 4 + [0.0, 0.0]
        groups.setdefault(open_ms // (interval * HOUR_MS) * interval * HOUR_MS, []).append(tuple(bar))
    expected = [
        (opens, bars[0][0], max(b[1] for b in bars), min(b[2] for b in bars), bars[-1][3],
         round(sum(b[4] for b in bars), 6), sum(b[5] for b in bars))
        for opens, bars in groups.items()
        if (start_ms is None or opens >= start_ms) and (end_ms is None or opens <= end_ms)
    ]  # fmt: skip
    expected = expected[-limit:] if start is None else expected[:limit]
    rows = Tape(candles).rows(now_ms, f"{interval}h", start_ms, end_ms, limit)
    assert [(row[0], *map(float, row[1:5]), round(float(row[5]), 6), row[8]) for row in rows] == expected
    assert all(row[6] == row[0] + interval * HOUR_MS - 1 and len(row) == 12 for row in rows)


def test_numbers_read_back_exactly_and_carry_no_exponent():
    for value in (1e-8, 1.2345e-05, 0.1 + 0.2, 5e-324, 1e22, 123456.789, 3.0):
        assert float(number_text(value)) == value
        assert "e" not in number_text(value)


def test_weeks_begin_on_mondays_and_odd_intervals_are_refused():
    tape = Tape(candles_of(random_bars(24 * 9, 1), "1h"))  # from Monday 2024-01-01 on
    now = START_MS + 8 * 24 * HOUR_MS
    assert [row[0] for row in tape.rows(now, "1w")] == [START_MS, START_MS + 7 * 24 * HOUR_MS]
    for interval in ("30m", "90m", "1M", "", "x", "0h"):
        with pytest.raises(Refusal, match="-1120 Invalid interval"):
            tape.rows(now, interval)


def test_boundaries_jump_gaps_and_end_with_the_last_close():
    candles = gapped(3)
    tape = Tape(candles)
    found, now = [], START_MS - 1
    while (now := tape.boundary_after(now)) is not None:
        found.append(now)
    assert found == [*candles.open_ms.tolist(), int(candles.open_ms[-1]) + HOUR_MS]
    assert tape.boundary_after(tape.end_ms) is None
    assert tape.boundary_after(tape.end_ms - 1) == tape.end_ms


def test_in_a_gap_the_last_close_is_the_price():
    keep = np.array([0, 3])
    rows = np.array(BARS)[keep]
    columns = {name: rows[:, k].copy() for k, name in enumerate(("open", "high", "low", "close"))}
    tape = Tape(Candles.from_columns("1h", {"open_ms": START_MS + HOUR_MS * keep, **columns}))
    assert tape.price(START_MS + HOUR_MS - 1) == 100.0
    assert tape.price(START_MS + HOUR_MS) == 102.0
    assert tape.price(START_MS + 3 * HOUR_MS - 1) == 102.0
    assert tape.price(START_MS + 3 * HOUR_MS) == 96.0
    assert tape.price(START_MS + 99 * HOUR_MS) == 97.0
    assert tape.rows(START_MS + HOUR_MS, "1h")[0][5:] == [
        "0", START_MS + HOUR_MS - 1, "0", 0, "0", "0", "0",
    ]  # fmt: skip
    with pytest.raises(Refusal, match=r"Market is closed"):
        tape.price(START_MS - 1)
    assert tape.candle(START_MS + 3 * HOUR_MS) == BARS[3]
    with pytest.raises(LookupError):
        tape.candle(START_MS + HOUR_MS)
    with pytest.raises(DataError, match="at least one candle"):
        Tape(candles_of(BARS).slice(0, 0))


@settings(max_examples=60, deadline=None)
@given(hops=st.lists(st.integers(1, 12 * 3_600_000), min_size=1, max_size=40), seed=st.integers(0, 9))
def test_candles_of_all_markets_are_told_once_in_order_of_time_however_often_one_asks(hops, seed):
    def run(moments):
        first, second = gapped(seed, 40), gapped(seed + 50, 40)
        tapes = {
            name: (Market(name, name[:3], "USDT", ExchangeRules()), Tape(candles))
            for name, candles in (("AAAUSDT", first), ("BBBUSDT", second))
        }
        market = LocalExchange(tapes, {}, fees=FeeSchedule(), start_ms=START_MS - 1)
        heard = []
        market.listeners.append(heard.append)
        for moment in moments:
            market.advance_to(moment)
            assert market.now_ms == moment
        return heard

    moments = np.cumsum(hops) + START_MS - 1
    asked, once = run(moments.tolist()), run([int(moments[-1])])
    assert asked == once
    assert [event.time_ms for event in asked] == sorted(event.time_ms for event in asked)
    assert len({(event.symbol, event.open_ms, event.closed) for event in asked}) == len(asked)
    for event in asked:
        assert isinstance(event, CandleEvent)
        assert event.time_ms == event.open_ms + HOUR_MS * event.closed


def test_time_does_not_run_backwards():
    market = exchange_of(candles_of(BARS), Setup())
    market.advance_to(START_MS + HOUR_MS)
    market.advance_to(START_MS)
    assert market.now_ms == START_MS + HOUR_MS
    assert market.next_boundary_ms() == START_MS + 2 * HOUR_MS
