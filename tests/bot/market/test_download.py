"""Downloads through the real ccxt client against a loopback server that speaks Binance's protocol."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from fake_binance import FakeBinance, serving

from bot.errors import DataError, ExchangeError, StorageError, UsageError
from bot.market.download import Download
from bot.market.exchanges import ExchangeSource, connect
from bot.market.pages import KLINE_PAGE
from bot.market.store import CandleStore
from ml.candles import Candles
from ml.synthetic import START_MS, synthetic_candles

HOUR = 3_600_000
BARS = 2_500
END = START_MS + BARS * HOUR


@pytest.fixture(scope="module")
def market_candles() -> Candles:
    return synthetic_candles(BARS, seed=5)


@pytest.fixture
def fake(market_candles):
    with serving(FakeBinance(market_candles, END + HOUR // 2)) as server:
        yield server


@pytest.fixture
def store(tmp_path) -> CandleStore:
    return CandleStore(tmp_path / "candles")


def job(fake: FakeBinance, store: CandleStore, symbol: str = "BTC/USDT", timeframe: str = "1h", waits=None) -> Download:
    client = connect("binance", url=fake.url, rate_limit=False, timeout_ms=2_000)
    source = ExchangeSource(client, symbol, timeframe, lambda: END)
    return Download(source, store, sleep=(waits if waits is not None else []).append)


def quiet(_fraction: float, _text: str) -> None:
    """Take progress and show nothing."""


def same(candles: Candles, expected: Candles) -> bool:
    return len(candles) == len(expected) and all(
        np.array_equal(candles.columns[name], column) for name, column in expected.columns.items()
    )


def test_a_download_stores_every_column_and_the_rules(fake, store, market_candles) -> None:
    seen = []
    report = job(fake, store).run(START_MS, None, lambda fraction, text: seen.append(fraction))
    stored = store.read("BTCUSDT", "1h", "binance")
    assert same(stored.candles, market_candles)
    assert report.fetched == report.added == BARS
    assert report.requests == 3
    assert stored.rules.price_tick == Decimal("0.01")
    assert stored.rules.lot_step == Decimal("0.00001")
    assert stored.rules.min_qty == Decimal("0.00002")
    assert stored.rules.min_notional == Decimal(5)
    assert stored.taker_fee == Decimal("0.001")
    assert stored.candles.asked == ((START_MS, END),)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    paths = {path for path, _ in fake.requests}
    assert paths == {"/api/v3/time", "/api/v3/exchangeInfo", "/api/v3/klines"}, "no other host or market is asked"


def test_the_forming_candle_is_never_stored(fake, store) -> None:
    fake.now_ms = START_MS + 100 * HOUR + 1  # the candle of hour 100 has just opened
    job(fake, store).run(START_MS, None, quiet)
    stored = store.read("BTCUSDT", "1h").candles
    assert len(stored) == 100
    fake.now_ms = START_MS + 101 * HOUR  # now it has closed, to the millisecond
    report = job(fake, store).run(START_MS, None, quiet)
    assert report.added == 1
    assert report.fetched == 1, "only what was not asked before is asked"


def test_a_second_run_resumes_and_a_third_asks_nothing(fake, store, market_candles) -> None:
    job(fake, store).run(START_MS, START_MS + 600 * HOUR, quiet)
    fake.klines = 0
    report = job(fake, store).run(START_MS, None, quiet)
    assert (report.fetched, report.added, report.requests) == (BARS - 600, BARS - 600, 2)
    assert job(fake, store).run(START_MS, END, quiet).requests == 0
    assert same(store.read("BTCUSDT", "1h").candles, market_candles)


def test_history_before_the_stored_part_is_fetched_too(fake, store, market_candles) -> None:
    job(fake, store).run(START_MS + 900 * HOUR, START_MS + 1_000 * HOUR, quiet)
    assert store.read("BTCUSDT", "1h").candles.asked == ((START_MS + 900 * HOUR, START_MS + 1_000 * HOUR),)
    report = job(fake, store).run(START_MS, None, quiet)
    assert report.fetched == BARS - 100
    assert same(store.read("BTCUSDT", "1h").candles, market_candles)
    assert store.read("BTCUSDT", "1h").candles.asked == ((START_MS, END),)


def test_refresh_finds_revised_candles(fake, store, market_candles) -> None:
    job(fake, store).run(START_MS, None, quiet)
    columns = {name: column.copy() for name, column in market_candles.columns.items()}
    columns["volume"][7] += 1.0
    fake.candles = Candles.from_columns("1h", {"open_ms": market_candles.open_ms, **columns})
    assert job(fake, store).run(START_MS, None, quiet).requests == 0
    report = job(fake, store).run(START_MS, None, quiet, refresh=True)
    assert report.revised == (START_MS + 7 * HOUR,)
    assert (report.added, report.unchanged) == (0, BARS - 1)


def test_an_outage_of_the_exchange_is_a_known_gap(fake, store, market_candles) -> None:
    keep = np.ones(BARS, dtype=bool)
    keep[200:1_700] = False  # longer than a page
    fake.candles = Candles.from_columns(
        "1h",
        {"open_ms": market_candles.open_ms[keep], **{n: c[keep] for n, c in market_candles.columns.items()}},
    )
    job(fake, store).run(START_MS, None, quiet)
    stored = store.read("BTCUSDT", "1h").candles
    assert len(stored) == BARS - 1_500
    assert stored.asked == ((START_MS, END),)


def test_a_start_before_the_listing_is_asked_once(fake, store) -> None:
    job(fake, store).run(START_MS - 5_000 * HOUR, None, quiet)
    assert store.read("BTCUSDT", "1h").candles.asked[0][0] == START_MS - 5_000 * HOUR
    assert job(fake, store).run(START_MS - 5_000 * HOUR, None, quiet).requests == 0


@pytest.mark.parametrize(
    "broken",
    [
        lambda rows: (500, "Internal Server Error"),
        lambda rows: (502, "<html>Bad Gateway</html>"),
        lambda rows: (503, json.dumps({"code": -1000, "msg": "An unknown error occurred."})),
        lambda rows: (429, json.dumps({"code": -1003, "msg": "Too many requests."})),
        lambda rows: (200, json.dumps(rows)[: len(json.dumps(rows)) // 2]),
        lambda rows: (200, "{}"),
        lambda rows: (200, "<html>maintenance</html>"),
        lambda rows: (200, ""),
        lambda rows: (200, json.dumps([[6, None, None, None, None, None] * 2])),
        lambda rows: (200, json.dumps([row[:5] for row in rows])),
        lambda rows: (200, json.dumps(rows[::-1])),
        lambda rows: (200, json.dumps([rows[0], rows[0]])),
        lambda rows: (200, json.dumps([[rows[0][0], "1", "0.5", "2", "1", *rows[0][5:]]])),
        lambda rows: (200, json.dumps([[rows[0][0], "NaN", *rows[0][2:]]])),
        lambda rows: (200, json.dumps([[rows[0][0] // 1000, *rows[0][1:]]])),
    ],
)
def test_a_bad_reply_is_asked_again(fake, store, market_candles, broken) -> None:
    fake.faults[2] = broken
    waits: list[float] = []
    job(fake, store, waits=waits).run(START_MS, None, quiet)
    assert same(store.read("BTCUSDT", "1h").candles, market_candles)
    assert waits == [1.0]


def test_retries_wait_longer_each_time_and_give_up_keeping_what_was_fetched(fake, store, market_candles) -> None:
    fake.faults = {number: lambda rows: (500, "down") for number in range(3, 50)}
    waits: list[float] = []
    with pytest.raises(ExchangeError, match=r"did not answer \(6 attempts\).*2000 bars up to .* are kept"):
        job(fake, store, waits=waits).run(START_MS, None, quiet)
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0]
    stored = store.read("BTCUSDT", "1h").candles
    assert same(stored, market_candles.slice(0, 2_000))
    assert stored.asked == ((START_MS, START_MS + 2_000 * HOUR),)
    fake.faults = {}
    report = job(fake, store).run(START_MS, None, quiet)
    assert report.fetched == 500, "the same command goes on from there"
    assert same(store.read("BTCUSDT", "1h").candles, market_candles)


def test_rubbish_for_good_is_an_error_that_shows_it(fake, store) -> None:
    fake.faults = {number: lambda rows: (200, "<html>maintenance</html>") for number in range(1, 50)}
    with pytest.raises(ExchangeError, match=r"replied with rubbish.*maintenance"):
        job(fake, store).run(START_MS, None, quiet)
    assert store.list() == []


def test_an_interrupt_keeps_what_was_fetched(fake, store, market_candles) -> None:
    def stop_after_two(fraction: float, _text: str) -> None:
        if fraction > 0.7:
            raise KeyboardInterrupt

    download = job(fake, store)
    with pytest.raises(KeyboardInterrupt):
        download.run(START_MS, None, stop_after_two)
    assert same(store.read("BTCUSDT", "1h").candles, market_candles.slice(0, 2_000))
    assert "2000 bars" in download.kept


def test_a_full_disk_leaves_what_was_stored(fake, store, market_candles, monkeypatch) -> None:
    job(fake, store).run(START_MS, START_MS + 100 * HOUR, quiet)

    def full(*_args: object, **_options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bot.market.series_file.os.fsync", full)
    with pytest.raises(StorageError, match="No space left on device"):
        job(fake, store).run(START_MS, None, quiet)
    monkeypatch.undo()
    assert same(store.read("BTCUSDT", "1h").candles, market_candles.slice(0, 100))
    assert [path.name for path in (store.root / "binance").iterdir() if not path.name.endswith(".lock")] == [
        "BTCUSDT_1h.parquet"
    ]


def test_broken_market_lists_and_clocks_are_asked_again(fake, store) -> None:
    fake.other_faults = {
        "exchangeInfo": [(500, "down"), (200, "{}"), (200, '{"symbols": [{"symbol": 1}]}'), (200, "[1, 2")],
        "time": [(502, "down"), (200, "{}")],
    }
    waits: list[float] = []
    job(fake, store, waits=waits).run(START_MS, START_MS + 10 * HOUR, quiet)
    assert len(store.read("BTCUSDT", "1h").candles) == 10
    assert len(waits) == 6


def test_the_wait_that_the_exchange_asks_for_is_kept() -> None:
    from bot.market.pages import NoAnswer

    assert NoAnswer("slow down", 30.0).wait_s == 30.0


def test_unknown_names_are_refused_with_the_nearest(fake, store) -> None:
    with pytest.raises(UsageError, match="did you mean 'BTCUSDT'"):
        job(fake, store, "BTCUSD").run(START_MS, None, quiet)
    with pytest.raises(UsageError, match=r"no spot market DOGEUSDT.*|did you mean"):
        job(fake, store, "DOGE/USDT").run(START_MS, None, quiet)
    with pytest.raises(UsageError, match="no candles of 7h; it has 1s, 1m"):
        job(fake, store, timeframe="7h").run(START_MS, None, quiet)
    with pytest.raises(UsageError, match="no exchange 'binanse'; did you mean 'binance'"):
        connect("binanse")
    with pytest.raises(UsageError, match="--url"):
        connect("kraken", url="http://127.0.0.1:1")
    assert store.list() == []


def test_a_refusal_of_the_exchange_is_final(fake, store) -> None:
    fake.faults[1] = lambda rows: (400, json.dumps({"code": -1121, "msg": "Invalid symbol."}))
    waits: list[float] = []
    with pytest.raises(ExchangeError, match=r"refused.*Invalid symbol"):
        job(fake, store, waits=waits).run(START_MS, None, quiet)
    assert waits == []


def test_times_that_make_no_sense_are_refused(fake, store) -> None:
    with pytest.raises(UsageError, match="is not before"):
        job(fake, store).run(END, START_MS, quiet)
    with pytest.raises(UsageError, match="no candle of 1h has closed"):
        job(fake, store).run(END + 10 * HOUR, None, quiet)


def test_a_series_with_other_columns_is_refused_before_anything_is_asked(fake, store, market_candles) -> None:
    bare = Candles.from_columns(
        "1h",
        {"open_ms": market_candles.open_ms, **{n: market_candles.columns[n] for n in ("open", "high", "low", "close")}},
    )
    store.merge(bare, "BTCUSDT", "binance")
    with pytest.raises(DataError, match="has the columns open, high, low, close, but binance gives"):
        job(fake, store).run(START_MS, None, quiet)
    assert fake.klines == 0


def test_nothing_listening_is_an_error_after_the_attempts(store) -> None:
    client = connect("binance", url="http://127.0.0.1:9", rate_limit=False, timeout_ms=500)
    waits: list[float] = []
    with pytest.raises(ExchangeError, match="did not answer"):
        Download(ExchangeSource(client, "BTCUSDT", "1h", lambda: END), store, sleep=waits.append).run(
            START_MS, None, quiet
        )
    assert len(waits) == 5


class ScriptedSource:
    """An exchange without Binance's habits: a page covers a fixed span, plain OHLCV, its history begins somewhere."""

    exchange = "other"
    symbol = "BTCUSDT"
    timeframe = "1h"
    page_bars = 100
    jumps_gaps = False

    def __init__(self, candles: Candles, *, newest_only: bool = False) -> None:
        from bot.market.pages import OHLCV_PAGE

        self.layout = OHLCV_PAGE
        self._rows = [
            [int(candles.open_ms[i]), *(float(candles.columns[n][i]) for n in self.layout.names)]
            for i in range(len(candles))
        ]
        self._newest_only = newest_only

    def open(self) -> None:
        """Be ready."""

    def now_ms(self) -> int:
        return END

    def page(self, since_ms: int, _end_ms: int) -> list:
        if self._newest_only:
            return self._rows[-self.page_bars :]
        return [row for row in self._rows if since_ms <= row[0] < since_ms + self.page_bars * HOUR]

    def terms(self):
        from bot.market.series_file import MarketTerms

        return MarketTerms()


def test_empty_pages_before_the_listing_are_passed(store, market_candles) -> None:
    report = Download(ScriptedSource(market_candles), store).run(START_MS - 1_000 * HOUR, None, quiet)
    assert report.fetched == BARS
    stored = store.read("BTCUSDT", "1h").candles
    assert set(stored.columns) == {"open", "high", "low", "close", "volume"}
    assert stored.asked == ((START_MS - 1_000 * HOUR, END),)


def test_an_exchange_that_keeps_only_the_newest_bars_does_not_invent_a_gap(store, market_candles) -> None:
    report = Download(ScriptedSource(market_candles, newest_only=True), store).run(START_MS, None, quiet)
    assert report.fetched == 100
    assert store.read("BTCUSDT", "1h").candles.asked == ((END - 100 * HOUR, END),)


def test_kline_pages_hold_every_optional_column() -> None:
    assert KLINE_PAGE.names == (
        "open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote",
    )  # fmt: skip
