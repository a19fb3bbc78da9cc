"""The candle store: atomic, checked, one writer at a time, and helpful about what it does not hold."""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import time
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.broker.rules import ExchangeRules
from bot.errors import DataError, SeriesNotFound, StorageError, UsageError
from bot.market.merging import join_intervals, merge_candles, subtract_intervals
from bot.market.series_file import MarketTerms
from bot.market.store import CandleStore
from ml.candles import Candles
from ml.synthetic import START_MS, synthetic_candles

HOUR = 3_600_000


@pytest.fixture
def store(tmp_path) -> CandleStore:
    return CandleStore(tmp_path / "candles", lock_timeout=0.2)


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_candles(400, seed=2)


def only(candles: Candles, *names: str) -> Candles:
    return Candles.from_columns(
        candles.timeframe, {"open_ms": candles.open_ms, **{name: candles.columns[name] for name in names}}
    )


PRICES = ("open", "high", "low", "close")


def test_what_is_written_is_read_back_to_the_bit(store, candles) -> None:
    rules = ExchangeRules(price_tick=Decimal("0.01"), lot_step=Decimal("0.00001"), min_notional=Decimal(5))
    report = store.merge(
        candles, "BTC/USDT", "Binance", MarketTerms(rules, Decimal("0.0009"), Decimal("0.001"), "a test")
    )
    assert (report.added, report.unchanged, report.revised) == (400, 0, ())
    for symbol in ("BTCUSDT", "btc/usdt", "BTC_USDT", "BTC-USDT"):
        stored = store.read(symbol, "1h")
        assert stored.candles.digest == stored.digest == candles.digest
    assert (stored.symbol, stored.exchange, stored.timeframe) == ("BTCUSDT", "binance", "1h")
    assert stored.rules == rules
    assert (stored.maker_fee, stored.taker_fee, stored.origin) == (Decimal("0.0009"), Decimal("0.001"), "a test")
    assert store.path("BTC/USDT", "1h", "BINANCE") == store.root / "binance" / "BTCUSDT_1h.parquet"


def test_a_merge_counts_and_names_what_it_did(store, candles) -> None:
    store.merge(candles.slice(0, 300), "BTCUSDT", "local")
    columns = {name: column[200:].copy() for name, column in candles.columns.items()}
    columns["volume"][[3, 5]] += 1.0
    columns["close"][7] = columns["open"][7]
    newer = Candles.from_columns("1h", {"open_ms": candles.open_ms[200:], **columns})
    report = store.merge(newer, "BTCUSDT", "local")
    assert report.added == 100
    assert report.unchanged == 97
    assert report.revised == tuple(START_MS + HOUR * np.array([203, 205, 207]))
    found = store.read("BTCUSDT", "1h").candles
    assert len(found) == 400
    assert found.volume[203] == candles.volume[203] + 1.0, "the newer values win"
    np.testing.assert_array_equal(found.close[:207], candles.close[:207])
    again = store.merge(newer, "BTCUSDT", "local")
    assert (again.added, again.unchanged, again.revised) == (0, 200, ())


def test_a_merge_of_the_same_leaves_the_file_alone(store, candles) -> None:
    store.merge(candles, "BTCUSDT", "local", MarketTerms(origin="x"))
    before = store.path("BTCUSDT", "1h", "local").stat()
    report = store.merge(candles.slice(10, 20), "BTCUSDT", "local")
    after = store.path("BTCUSDT", "1h", "local").stat()
    assert report.unchanged == 10
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_terms_stay_until_newer_ones_come(store, candles) -> None:
    store.merge(candles, "BTCUSDT", "local", MarketTerms(taker_fee=Decimal("0.001"), origin="a"))
    store.merge(candles, "BTCUSDT", "local", MarketTerms(ExchangeRules(price_tick=Decimal("0.5")), origin="b"))
    stored = store.read("BTCUSDT", "1h")
    assert (stored.taker_fee, stored.rules.price_tick, stored.origin) == (Decimal("0.001"), Decimal("0.5"), "b")


def test_merges_remember_what_was_asked(store, candles) -> None:
    store.merge(candles.slice(0, 100), "BTCUSDT", "local")
    store.merge(candles.slice(200, 300), "BTCUSDT", "local")
    hole = ((START_MS, START_MS + 100 * HOUR), (START_MS + 200 * HOUR, START_MS + 300 * HOUR))
    assert store.read("BTCUSDT", "1h").candles.asked == hole
    nothing = Candles.from_columns(
        "1h", {name: [] for name in ("open_ms", *PRICES)}, ((START_MS + 90 * HOUR, hole[1][0]),)
    )
    store.merge(nothing, "BTCUSDT", "local")
    assert store.read("BTCUSDT", "1h").candles.asked == ((START_MS, START_MS + 300 * HOUR),)
    store.merge(candles, "BTCUSDT", "local")
    assert store.read("BTCUSDT", "1h").digest == candles.digest


def test_an_off_grid_bar_of_the_same_interval_is_a_revision(candles) -> None:
    times = candles.open_ms.copy()
    times[5] += 60_000
    moved = Candles.from_columns("1h", {"open_ms": times, **candles.columns})
    merged = merge_candles(candles, moved)
    assert merged.revised == (START_MS + 5 * HOUR + 60_000,)
    assert merged.candles.open_ms[5] == times[5]


def test_columns_that_do_not_fit_are_refused_unless_everything_is_replaced(store, candles) -> None:
    store.merge(candles, "BTCUSDT", "local")
    with pytest.raises(DataError, match=r"no quote_volume, trades, taker_buy_base, taker_buy_quote.*--replace"):
        store.merge(only(candles, *PRICES, "volume").slice(0, 10), "BTCUSDT", "local")
    assert store.read("BTCUSDT", "1h").digest == candles.digest
    store.write(only(candles, *PRICES), "BTCUSDT", "local")
    with pytest.raises(DataError, match="which the stored ones lack"):
        store.merge(candles.slice(0, 10), "BTCUSDT", "local")
    report = store.merge(candles, "BTCUSDT", "local")  # holds every stored bar: takes their place
    assert len(report.revised) == 400
    assert store.read("BTCUSDT", "1h").digest == candles.digest


def test_what_is_not_there_is_answered_with_what_is(store, candles) -> None:
    with pytest.raises(
        SeriesNotFound, match=r"no candles of BTCUSDT 1h.*`bot data download BTCUSDT --exchange binance"
    ):
        store.read("BTC/USDT", "1h")
    with pytest.raises(SeriesNotFound, match="`bot data synth --symbol SYNTH --timeframe 1h`"):
        store.read("SYNTH", "1h")
    store.merge(candles, "BTCUSDT", "local")
    store.merge(candles, "ETHUSDT", "kraken")
    with pytest.raises(SeriesNotFound, match=r"did you mean 'BTCUSDT'\?"):
        store.read("BTCUSD", "1h")
    with pytest.raises(SeriesNotFound, match="BTCUSDT is there in 1h from local"):
        store.read("BTCUSDT", "5m")
    with pytest.raises(SeriesNotFound, match=r"BTCUSDT 1h from kraken under .* BTCUSDT is there in 1h from local"):
        store.read("BTCUSDT", "1h", "kraken")
    with pytest.raises(SeriesNotFound, match="there are BTCUSDT, ETHUSDT"):
        store.read("SPY", "1h")


def test_two_sources_need_a_choice(store, candles) -> None:
    store.merge(candles, "BTCUSDT", "local")
    store.merge(candles.slice(0, 50), "BTCUSDT", "binance")
    with pytest.raises(UsageError, match="stored from binance, local: choose one with --exchange"):
        store.read("BTCUSDT", "1h")
    assert len(store.read("BTCUSDT", "1h", "binance").candles) == 50
    assert len(store.read("BTCUSDT", "1h", "LOCAL").candles) == 400


@pytest.mark.parametrize("exchange", ["", "a b", "../x", "x" * 40])
def test_exchange_names_are_names(store, candles, exchange) -> None:
    with pytest.raises(UsageError, match="is not an exchange name"):
        store.merge(candles, "BTCUSDT", exchange)


def test_every_flipped_byte_is_found_or_harmless(store, candles) -> None:
    small = candles.slice(0, 40)
    terms = MarketTerms(ExchangeRules(price_tick=Decimal("0.01")), Decimal("0.001"), Decimal("0.001"), "x")
    store.merge(small, "BTCUSDT", "local", terms)
    path = store.path("BTCUSDT", "1h", "local")
    whole = path.read_bytes()
    good = store.read("BTCUSDT", "1h")
    found = 0
    for place in range(0, len(whole), 11):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        try:
            stored = store.read("BTCUSDT", "1h")
        except DataError:
            found += 1
        else:
            assert stored.candles.digest == good.digest
            assert (stored.rules, stored.maker_fee, stored.origin) == (good.rules, good.maker_fee, good.origin)
        assert len(store.list()) == 1
    assert found > 0.6 * len(whole) / 11


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not a parquet file at all, only text", b"PAR1" * 50])
def test_a_damaged_file_is_named_and_can_be_replaced(store, candles, content) -> None:
    store.merge(candles, "BTCUSDT", "local")
    path = store.path("BTCUSDT", "1h", "local")
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"BTCUSDT_1h.parquet is damaged"):
        store.read("BTCUSDT", "1h")
    with pytest.raises(DataError, match="is damaged"):
        store.merge(candles, "BTCUSDT", "local")
    (listed,) = store.list()
    assert listed.header is None
    assert "damaged" in listed.problem
    store.write(candles, "BTCUSDT", "local")
    assert store.read("BTCUSDT", "1h").digest == candles.digest


def test_a_cut_file_is_damaged(store, candles) -> None:
    store.merge(candles, "BTCUSDT", "local")
    path = store.path("BTCUSDT", "1h", "local")
    whole = path.read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 100):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match="is damaged"):
            store.read("BTCUSDT", "1h")


def test_foreign_and_renamed_files_are_refused(store, candles) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    store.merge(candles, "BTCUSDT", "local")
    path = store.path("BTCUSDT", "1h", "local")
    path.rename(path.with_name("ETHUSDT_1h.parquet"))
    with pytest.raises(DataError, match="holds BTCUSDT 1h from local: it was moved or renamed"):
        store.read("ETHUSDT", "1h")
    pq.write_table(pa.table({"open_ms": [1]}), path)
    with pytest.raises(DataError, match="not a series of this store"):
        store.read("BTCUSDT", "1h")
    (path.parent / "notes.parquet").write_bytes(b"x")
    assert [series.symbol for series in store.list()] == ["BTCUSDT", "ETHUSDT"]


def test_a_newer_format_is_named(store, candles, monkeypatch) -> None:
    monkeypatch.setattr("bot.market.series_file._SCHEMA_VERSION", 2)
    store.merge(candles, "BTCUSDT", "local")
    monkeypatch.undo()
    with pytest.raises(DataError, match="has format 2, this program reads format 1"):
        store.read("BTCUSDT", "1h")


@pytest.mark.parametrize("step", ["os.fsync", "pq.write_table", "sync_folder"])
def test_a_full_disk_leaves_the_old_series_and_no_litter(store, candles, monkeypatch, step) -> None:
    store.merge(candles.slice(0, 100), "BTCUSDT", "local")
    folder = store.root / "local"
    before = sorted(path.name for path in folder.iterdir())

    def full(*_arguments: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"bot.market.series_file.{step}", full)
    with pytest.raises(StorageError, match=r"cannot write .*No space left on device"):
        store.merge(candles, "BTCUSDT", "local")
    monkeypatch.undo()
    assert sorted(path.name for path in folder.iterdir()) == before
    assert len(store.read("BTCUSDT", "1h").candles) in {100, 400}, "whole, old or new"
    if step != "sync_folder":
        assert len(store.read("BTCUSDT", "1h").candles) == 100


def test_an_interrupt_during_the_write_leaves_the_old_series_and_no_litter(store, candles, monkeypatch) -> None:
    store.merge(candles.slice(0, 100), "BTCUSDT", "local")

    def interrupted(*_arguments: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bot.market.series_file.os.fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.merge(candles, "BTCUSDT", "local")
    monkeypatch.undo()
    assert len(store.read("BTCUSDT", "1h").candles) == 100
    assert len(list((store.root / "local").glob(".tmp-*"))) == 0


def test_a_folder_that_cannot_be_written_is_named(tmp_path, candles) -> None:
    (tmp_path / "candles").write_text("a file where the folder should be")
    with pytest.raises(StorageError, match="cannot write"):
        CandleStore(tmp_path / "candles").merge(candles, "BTCUSDT", "local")


def test_a_second_writer_waits_and_then_says_so(store, candles) -> None:
    store.merge(candles.slice(0, 10), "BTCUSDT", "local")
    lock = store.root / "local" / ".BTCUSDT_1h.lock"
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match=r"another process is writing this series \(waited 0.2 s\)"):
            store.merge(candles, "BTCUSDT", "local")
        assert len(store.read("BTCUSDT", "1h").candles) == 10, "readers need no lock"
    assert store.merge(candles, "BTCUSDT", "local").added == 390


def _merge_slices(root, number, total) -> None:
    candles = synthetic_candles(400, seed=2)
    for start in range(number * 10, 400, total * 10):
        CandleStore(root, lock_timeout=60).merge(candles.slice(start, start + 10), "BTCUSDT", "local")


def test_several_processes_merge_into_one_series_without_losing_a_bar(tmp_path, candles) -> None:
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_merge_slices, args=(tmp_path, number, 3)) for number in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
        assert worker.exitcode == 0
    assert CandleStore(tmp_path).read("BTCUSDT", "1h").digest == candles.digest


def _write_forever(root) -> None:
    store, candles = CandleStore(root), synthetic_candles(400, seed=2)
    number = 0
    while True:
        number = number % 390 + 10
        store.write(candles.slice(0, number), "BTCUSDT", "local")


def test_a_killed_writer_leaves_a_whole_series(tmp_path, candles) -> None:
    store = CandleStore(tmp_path, lock_timeout=5)
    store.write(candles, "BTCUSDT", "local")
    context = multiprocessing.get_context("spawn")
    for pause in (0.0, 0.003, 0.01):
        before = store.path("BTCUSDT", "1h", "local").stat().st_ino
        worker = context.Process(target=_write_forever, args=(tmp_path,))
        worker.start()
        deadline = time.monotonic() + 60
        while store.path("BTCUSDT", "1h", "local").stat().st_ino == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(pause)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        assert len(store.read("BTCUSDT", "1h").candles) % 10 == 0
    store.merge(candles, "BTCUSDT", "local")
    assert store.read("BTCUSDT", "1h").digest == candles.digest
    assert list(store.root.glob("*/.tmp-*")) == [], "the next writer sweeps what the killed one left"


def test_listing_is_in_order_and_reads_no_candles(store, candles, monkeypatch) -> None:
    store.merge(candles, "ETHUSDT", "local")
    store.merge(candles, "BTCUSDT", "local")
    store.merge(synthetic_candles(10, timeframe="5m"), "BTCUSDT", "local")
    monkeypatch.setattr("bot.market.series_file.pq.read_table", None)
    listed = store.list()
    assert [(s.symbol, s.timeframe) for s in listed] == [("BTCUSDT", "5m"), ("BTCUSDT", "1h"), ("ETHUSDT", "1h")]
    assert listed[1].header.bars == 400
    assert CandleStore(store.root / "nowhere").list() == []


@given(cuts=st.lists(st.tuples(st.integers(0, 119), st.integers(1, 60)), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_merges_in_any_order_give_the_same_series(cuts) -> None:
    whole = synthetic_candles(120, seed=4)
    pieces = [whole.slice(start, start + length) for start, length in cuts]
    digests = set()
    for order in (pieces, pieces[::-1], sorted(pieces, key=len)):
        merged = order[0]
        for piece in order[1:]:
            result = merge_candles(merged, piece)
            assert result.added + result.unchanged == len(piece)
            assert result.revised == ()
            merged = result.candles
        digests.add(merged.digest)
    assert len(digests) == 1
    held = sorted({time for piece in pieces for time in piece.open_ms.tolist()})
    assert merged.open_ms.tolist() == held
    np.testing.assert_array_equal(merged.close, whole.close[np.searchsorted(whole.open_ms, held)])


def test_intervals_join_and_subtract() -> None:
    assert join_intervals([(5, 7), (1, 3), (3, 4), (6, 9), (2, 2)]) == ((1, 4), (5, 9))
    assert subtract_intervals(0, 10, [(2, 3), (5, 7)]) == ((0, 2), (3, 5), (7, 10))
    assert subtract_intervals(0, 10, []) == ((0, 10),)
    assert subtract_intervals(0, 10, [(-5, 15)]) == ()
    assert subtract_intervals(3, 6, [(0, 4), (20, 30)]) == ((4, 6),)
    assert subtract_intervals(3, 6, [(20, 30)]) == ((3, 6),)
