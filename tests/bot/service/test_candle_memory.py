"""Candles in memory: what the store holds at this moment, read once a file, and no more memory than is allowed."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from bot.errors import SeriesNotFound
from bot.market.store import CandleStore
from bot.service.candle_memory import CandleMemory
from ml.synthetic import synthetic_candles

BARS = 6_000


@pytest.fixture(scope="module")
def candles():
    return synthetic_candles(BARS, seed=8)


def size(candles):
    return sum(column.nbytes for column in (candles.open_ms, *candles.columns.values()))


class Counting(CandleStore):
    """A store that counts how often a file is read."""

    reads = 0

    def read(self, symbol, timeframe, exchange=None):
        self.reads += 1
        return super().read(symbol, timeframe, exchange)


@pytest.fixture
def store(tmp_path, candles):
    found = Counting(tmp_path / "candles")
    found.write(candles, "SYNTH", "local")
    return found


def newest(memory, bars, **names):
    return memory.read(**{"symbol": "SYNTH", "timeframe": "1h", "exchange": None, **names}, bars=bars)


def test_all_and_the_newest_are_those_of_the_store_and_read_once(store, candles):
    memory, stored = CandleMemory(store), CandleStore(store.root).read("SYNTH", "1h")
    whole, some = newest(memory, None), newest(memory, 100)
    assert whole.candles.digest == stored.candles.digest == whole.digest == some.digest
    assert len(some.candles) == 4_096
    assert np.array_equal(some.candles.close, candles.close[-4_096:])
    assert (some.symbol, some.exchange, some.timeframe) == ("SYNTH", "local", "1h")
    assert len(newest(memory, 5_000).candles) == BARS
    assert store.reads == 1


@pytest.mark.parametrize("change", ["appended", "revised"])
def test_a_changed_file_is_read_again(store, candles, change):
    memory = CandleMemory(store)
    before = newest(memory, None)
    changed = synthetic_candles(BARS + 1, seed=8) if change == "appended" else synthetic_candles(BARS, seed=9)
    CandleStore(store.root).write(changed, "SYNTH", "local")
    after = newest(memory, None)
    assert after.candles.digest == changed.digest != before.candles.digest
    assert newest(memory, 1).candles.close[-1] == changed.close[-1]
    assert store.reads == 2


def test_of_a_series_that_does_not_fit_the_newest_are_kept_in_arrays_of_their_own(store, candles):
    memory = CandleMemory(store, most_bytes=size(candles) - 1)
    assert len(newest(memory, 1).candles) == 4_096
    (kept,) = memory._kept.values()
    assert kept.whole is None
    assert all(column.base is None or column.base.size == 4_096 for column in kept.newest.candles.columns.values())
    assert newest(memory, None).candles.digest == candles.digest  # read for this caller, and not kept
    assert memory._kept[store.find("SYNTH", "1h")].whole is None
    assert len(newest(memory, 4_500).candles) == 4_500
    reads = store.reads
    assert len(newest(memory, 10).candles) == 4_500
    assert store.reads == reads


def test_the_series_that_nobody_asks_for_goes(store, candles):
    store.write(candles, "OTHER", "local")
    store.write(candles.slice(0, 10), "SMALL", "local")
    for limits in ({"most_series": 2}, {"most_bytes": size(candles) + size(candles.slice(0, 10))}):
        memory, store.reads = CandleMemory(store, **limits), 0
        for symbol in ("SYNTH", "SMALL", "OTHER"):
            newest(memory, None, symbol=symbol)
        assert store.reads == 3
        newest(memory, 1, symbol="OTHER")
        newest(memory, 1, symbol="SMALL")
        assert store.reads == 3
        newest(memory, 1, symbol="SYNTH")
        assert store.reads == 4


def test_many_who_ask_at_once_cause_one_read(store):
    memory, together, found = CandleMemory(store), threading.Barrier(8), []

    def ask():
        together.wait()
        found.append(newest(memory, None))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert store.reads == 1
    assert len({id(each) for each in found}) == 1


def test_a_series_that_is_gone_is_missed(store):
    memory = CandleMemory(store)
    newest(memory, 1)
    store.find("SYNTH", "1h").unlink()
    with pytest.raises(SeriesNotFound, match="no candles of SYNTH 1h"):
        newest(memory, 1)
