"""Files of candles: every accepted form gives the same candles, every fault is named by its line."""

from __future__ import annotations

import csv
import gzip
import time
import zipfile
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from bot.errors import BotError, DataError, UsageError
from bot.market.importer import read_candles
from bot.market.quality import find_gaps
from ml.candles import Candles
from ml.synthetic import START_MS, synthetic_candles

HOUR = 3_600_000
DAY = 24 * HOUR
NOW = START_MS + 10_000 * HOUR
COLUMNS = ("open", "high", "low", "close", "volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote")


@pytest.fixture(scope="module")
def candles() -> Candles:
    return synthetic_candles(60, seed=6)


def iso(ms: int, form: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime(form)


def rows_of(candles: Candles, times=None, columns=COLUMNS) -> list[list[object]]:
    times = candles.open_ms.tolist() if times is None else times
    return [[time, *(repr(float(candles.columns[n][i])) for n in columns)] for i, time in enumerate(times)]


def write(path, header, rows, delimiter=",") -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        if header:
            writer.writerow(header)
        writer.writerows(rows)


def ours(path, candles, times=None) -> None:
    write(path, ("timestamp", *COLUMNS), rows_of(candles, times))


# ------------------------------------------------------------------------------------------------- accepted forms


def test_our_own_columns(tmp_path, candles) -> None:
    ours(tmp_path / "a.csv", candles)
    found = read_candles(tmp_path / "a.csv", "1h", NOW)
    assert found.candles.digest == candles.digest
    assert found.notes == ()


@pytest.mark.parametrize(
    "times",
    [
        lambda ms: ms // 1000,
        lambda ms: f"{ms / 1000:.1f}",
        lambda ms: ms,
        lambda ms: ms * 1000,
        lambda ms: ms * 1_000_000,
        iso,
        lambda ms: iso(ms, "%Y-%m-%d %H:%M:%S"),
        lambda ms: iso(ms, "%Y-%m-%dT%H:%M"),
        lambda ms: iso(ms, "%Y-%m-%d %H:%M:%S+00:00"),
        lambda ms: iso(ms, "%Y-%m-%d %H:%M:%S UTC"),
        lambda ms: iso(ms, "%Y/%m/%d %H:%M:%S"),
        lambda ms: iso(ms, "%Y.%m.%d %H:%M"),
        lambda ms: iso(ms + 5 * HOUR + HOUR // 2, "%Y-%m-%dT%H:%M:%S+05:30"),
        lambda ms: iso(ms - 4 * HOUR, "%Y-%m-%dT%H:%M:%S.000-0400"),
    ],
)
@pytest.mark.parametrize("name", ["timestamp", "Date", "open_ms", "Open Time", "datetime", "unix"])
def test_times_in_every_unit_and_zone(tmp_path, candles, times, name) -> None:
    write(tmp_path / "a.csv", (name, *COLUMNS), rows_of(candles, [times(ms) for ms in candles.open_ms.tolist()]))
    assert read_candles(tmp_path / "a.csv", "1h", NOW).candles.digest == candles.digest


def test_times_without_a_zone_are_noted(tmp_path, candles) -> None:
    ours(tmp_path / "a.csv", candles, [iso(ms, "%Y-%m-%d %H:%M") for ms in candles.open_ms.tolist()])
    assert read_candles(tmp_path / "a.csv", "1h", NOW).notes == ("its times name no zone: they are taken as UTC",)


@pytest.mark.parametrize(
    "header",
    [
        ("Date", "Open", "High", "Low", "Close", "Volume"),
        ("DATE", "OPEN", "HIGH", "LOW", "CLOSE", "VOL"),
        ("time", "o", "h", "l", "c", "v"),
        (" Timestamp ", '"open"', "High", "Low", " Close", "Vol."),
        ("<DATETIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<TICKVOL>"),
        ("openTime", "openPrice", "highPrice", "lowPrice", "closePrice", "baseVolume"),
    ],
)
def test_usual_names_in_any_case(tmp_path, candles, header) -> None:
    write(tmp_path / "a.csv", header, rows_of(candles, columns=COLUMNS[:5]))
    found = read_candles(tmp_path / "a.csv", "1h", NOW).candles
    np.testing.assert_array_equal(found.close, candles.close)
    np.testing.assert_array_equal(found.volume, candles.volume)
    assert found.trades is None


def test_columns_in_another_order_and_others_are_ignored_with_a_note(tmp_path, candles) -> None:
    rows = [
        [
            "BTC/USDT",
            repr(float(candles.close[i])),
            "1.0",
            *(repr(float(candles.columns[n][i])) for n in COLUMNS[:3]),
            ms,
            "",
        ]
        for i, ms in enumerate(candles.open_ms.tolist())
    ]
    write(tmp_path / "a.csv", ("Symbol", "Close", "Adj Close", "Open", "High", "Low", "Date", "Dividends"), rows)
    found = read_candles(tmp_path / "a.csv", "1h", NOW)
    np.testing.assert_array_equal(found.candles.close, candles.close)
    assert found.notes == (
        "columns that were not read: Symbol, Adj Close, Dividends",
        "prices are taken as traded, not adjusted: splits and dividends show as jumps",
    )


def test_date_and_time_in_two_columns(tmp_path, candles) -> None:
    rows = [[iso(row[0], "%Y.%m.%d"), iso(row[0], "%H:%M:%S"), *row[1:]] for row in rows_of(candles)]
    write(tmp_path / "a.csv", ("<DATE>", "<TIME>", *COLUMNS), rows, delimiter="\t")
    assert read_candles(tmp_path / "a.csv", "1h", NOW).candles.digest == candles.digest


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("width", [11, 12])
def test_klines_of_binance_without_a_header(tmp_path, candles, unit, width) -> None:
    rows = [
        [row[0] * unit, *row[1:6], (row[0] + HOUR) * unit - 1, row[6], int(float(row[7])), *row[8:], "0"][:width]
        for row in rows_of(candles)
    ]
    write(tmp_path / "a.csv", None, rows)
    found = read_candles(tmp_path / "a.csv", "1h", NOW)
    assert found.candles.digest == candles.digest
    assert found.notes == ()


def test_klines_with_the_header_of_the_archive(tmp_path, candles) -> None:
    header = "open_time,open,high,low,close,volume,close_time,quote_volume,count"
    header += ",taker_buy_volume,taker_buy_quote_volume,ignore"
    rows = [[*row[:6], row[0] + HOUR - 1, *row[6:], "0"] for row in rows_of(candles)]
    write(tmp_path / "a.csv", header.split(","), rows)
    assert read_candles(tmp_path / "a.csv", "1h", NOW).candles.digest == candles.digest


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters(tmp_path, candles, delimiter) -> None:
    write(tmp_path / "a.csv", ("timestamp", *COLUMNS), rows_of(candles), delimiter)
    assert read_candles(tmp_path / "a.csv", "1h", NOW).candles.digest == candles.digest


def test_compression_and_encoding_are_told_by_content(tmp_path, candles) -> None:
    ours(tmp_path / "a.csv", candles)
    plain = (tmp_path / "a.csv").read_bytes()
    (tmp_path / "b.csv").write_bytes(gzip.compress(plain))
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbf" + plain.replace(b"\n", b"\r\n").replace(b"\r\r", b"\r"))
    (tmp_path / "d.csv").write_bytes(plain.decode().encode("utf-16"))
    with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
        archive.writestr("BTCUSDT-1h-2018-01.csv", plain)
    (tmp_path / "f.csv").write_bytes(b"https://www.example.org\n# a comment\n\n" + plain)
    for name in ("b.csv", "c.csv", "d.csv", "e.zip", "f.csv"):
        assert read_candles(tmp_path / name, "1h", NOW).candles.digest == candles.digest, name


def test_columns_as_yfinance_writes_them(tmp_path, candles) -> None:
    rows = [[iso(row[0], "%Y-%m-%d %H:%M:%S+00:00"), *row[1:]] for row in rows_of(candles, columns=COLUMNS[:5])]
    head = [["Price", "Open", "High", "Low", "Close", "Volume"], ["Ticker", *["SPY"] * 5], ["Datetime", *[""] * 5]]
    write(tmp_path / "a.csv", None, head + rows)
    np.testing.assert_array_equal(read_candles(tmp_path / "a.csv", "1h", NOW).candles.close, candles.close)
    rows[15][1] = "x"
    write(tmp_path / "a.csv", None, head + rows)
    with pytest.raises(DataError, match=r"a\.csv:19: open is 'x'"):
        read_candles(tmp_path / "a.csv", "1h", NOW)
    write(tmp_path / "a.csv", None, head)
    with pytest.raises(DataError, match="has a header, but no rows"):
        read_candles(tmp_path / "a.csv", "1h", NOW)
    write(tmp_path / "a.csv", None, head[:2])
    with pytest.raises(DataError, match="has a header, but no rows"):
        read_candles(tmp_path / "a.csv", "1h", NOW)


def test_a_series_that_is_off_the_grid_as_a_whole_is_noted(tmp_path, candles) -> None:
    ours(tmp_path / "a.csv", candles, (candles.open_ms + HOUR // 2).tolist())
    found = read_candles(tmp_path / "a.csv", "1h", NOW)
    assert found.candles.off_grid.all()
    assert found.notes == ("most bars do not open on multiples of 1h: such bars are kept, but never scored or traded",)


@pytest.mark.parametrize("kind", ["ms", "datetime", "zoned", "index", "text", "seconds", "date32"])
@pytest.mark.parametrize("form", ["parquet", "feather"])
def test_parquet_and_feather(tmp_path, candles, kind, form) -> None:
    frame = pd.DataFrame(dict(candles.columns))
    moments = pd.to_datetime(candles.open_ms, unit="ms", utc=True)
    timeframe, expected = "1h", candles
    if kind == "ms":
        frame.insert(0, "open_ms", candles.open_ms)
    elif kind == "datetime":
        frame.insert(0, "date", moments.tz_localize(None))
    elif kind == "zoned":
        frame.insert(0, "date", moments.tz_convert("America/New_York"))
    elif kind == "index":
        frame.index = moments
    elif kind == "text":
        frame.insert(0, "time", moments.strftime("%Y-%m-%dT%H:%M:%SZ"))
    elif kind == "seconds":
        frame.insert(0, "timestamp", candles.open_ms / 1000.0)
    else:
        expected = synthetic_candles(60, seed=6, timeframe="1d")
        frame = pd.DataFrame({"date": pd.to_datetime(expected.open_ms, unit="ms").date, **expected.columns})
        timeframe = "1d"
    path = tmp_path / f"file.{form}"
    table = pa.Table.from_pandas(frame)
    pq.write_table(table, path) if form == "parquet" else feather.write_feather(table, path)
    found = read_candles(path, timeframe, NOW)
    assert found.candles.digest == expected.digest


def test_numbers_are_read_to_the_last_bit(tmp_path) -> None:
    generator = np.random.default_rng(8)
    base = np.exp(generator.normal(0, 8, 3_000))
    texts = [repr(float(value)) for value in base]
    rows = [[START_MS + i * HOUR, text, text, text, text, text] for i, text in enumerate(texts)]
    write(tmp_path / "a.csv", ("timestamp", *COLUMNS[:5]), rows)
    np.testing.assert_array_equal(
        read_candles(tmp_path / "a.csv", "1h", NOW).candles.close, [float(text) for text in texts]
    )


@pytest.mark.parametrize("silent", ["0", "", "0.0"])
def test_a_volume_that_says_nothing_is_absent(tmp_path, candles, silent) -> None:
    rows = [[*row[:5], silent] for row in rows_of(candles)]
    write(tmp_path / "a.csv", ("timestamp", *COLUMNS[:5]), rows)
    found = read_candles(tmp_path / "a.csv", "1h", NOW)
    assert found.candles.volume is None
    assert found.notes == ("volume is empty or zero in every row: taken as absent",)


def test_the_forming_candle_is_left_out(tmp_path, candles) -> None:
    ours(tmp_path / "a.csv", candles)
    last = int(candles.open_ms[-1])
    found = read_candles(tmp_path / "a.csv", "1h", last + HOUR - 1)
    assert len(found.candles) == 59
    assert "still forming" in found.notes[0]
    assert len(read_candles(tmp_path / "a.csv", "1h", last + HOUR).candles) == 60


# ------------------------------------------------------------------------------------------------- days of sessions


def daily_rows(dates, stamp) -> list[list[object]]:
    return [[stamp(date), 10.0 + i, 11.0 + i, 9.0 + i, 10.5 + i, 100 + i] for i, date in enumerate(dates)]


WEEKDAYS = [day for day in range(START_MS // DAY, START_MS // DAY + 365) if (day + 3) % 7 < 5]


def new_york(hour: float):
    """Return a stamp in epoch milliseconds at that hour in New York, summer time from March to October."""

    def stamp(day: int) -> int:
        month = datetime.fromtimestamp(day * 86_400, UTC).month
        return day * DAY + int((hour + (4 if 4 <= month <= 10 else 5)) * HOUR)

    return stamp


def as_text(stamp):
    """Return the same stamp as a written time of UTC."""
    return lambda day: iso(stamp(day), "%Y-%m-%d %H:%M:%S+00:00")


@pytest.mark.parametrize(
    "stamp",
    [
        lambda day: iso(day * DAY, "%Y-%m-%d"),
        lambda day: iso(day * DAY, "%Y%m%d"),
        lambda day: iso(day * DAY, "%Y-%m-%d 00:00:00-05:00"),
        lambda day: iso(day * DAY, "%Y-%m-%d 00:00:00+09:00"),
        lambda day: iso(day * DAY, "%Y-%m-%d 16:00:00"),
        new_york(0),
        new_york(9.5),
        new_york(16),
        lambda day: day * DAY - 9 * HOUR,  # midnight in Tokyo
        lambda day: day * DAY - HOUR,  # midnight in Berlin, winter
        as_text(new_york(0)),  # 04:00 in summer, 05:00 in winter
        as_text(new_york(16)),
        as_text(new_york(-7)),  # 17:00 of the evening before: days of foreign exchange
        new_york(-5),  # midnight in London: 23:00 of the day before in summer, 00:00 in winter
        as_text(new_york(-5)),
    ],
)
def test_session_dates_are_named_by_their_date(tmp_path, stamp) -> None:
    write(tmp_path / "a.csv", ("Date", "Open", "High", "Low", "Close", "Volume"), daily_rows(WEEKDAYS, stamp))
    found = read_candles(tmp_path / "a.csv", "1d", NOW)
    np.testing.assert_array_equal(found.candles.open_ms, np.array(WEEKDAYS) * DAY)
    assert not found.candles.off_grid.any()
    gaps = find_gaps(found.candles.open_ms, DAY)
    assert len(gaps) == 52
    assert all(gap.closed for gap in gaps)


def test_days_at_changing_hours_stay_as_they_are(tmp_path) -> None:
    days = list(range(START_MS // DAY, START_MS // DAY + 40))
    rows = daily_rows(days, lambda day: day * DAY + 5 * HOUR * (day % 7 == 0))
    write(tmp_path / "a.csv", ("Date", "Open", "High", "Low", "Close", "Volume"), rows)
    assert read_candles(tmp_path / "a.csv", "1d", NOW).candles.off_grid.sum() in {5, 6}


def test_days_that_begin_in_the_evening_are_named_late_never_early(tmp_path) -> None:
    days = list(range(START_MS // DAY, START_MS // DAY + 40))
    write(tmp_path / "a.csv", ("ts", "o", "h", "l", "c", "v"), daily_rows(days, lambda day: day * DAY + 16 * HOUR))
    found = read_candles(tmp_path / "a.csv", "1d", NOW).candles
    np.testing.assert_array_equal(found.open_ms, (np.array(days) + 1) * DAY)


@pytest.mark.parametrize("unit", [1, 1_000])
def test_daily_history_before_1973_is_no_mixture_of_units(tmp_path, unit) -> None:
    days = list(range(-2_000, 3_000))
    rows = daily_rows(days, lambda day: day * DAY // 1_000 * unit)
    write(tmp_path / "a.csv", ("timestamp", "o", "h", "l", "c", "v"), rows)
    np.testing.assert_array_equal(read_candles(tmp_path / "a.csv", "1d", NOW).candles.open_ms, np.array(days) * DAY)


# ------------------------------------------------------------------------------------------------- bad input


def assert_refused(
    tmp_path, rows, message: str, *, header=("timestamp", *COLUMNS), timeframe="1h", now=NOW, error=DataError, **options
):
    path = tmp_path / "prices.csv"
    write(path, header, rows)
    with pytest.raises(DataError, match=message) as caught:
        read_candles(path, timeframe, now, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(candles, row: int, column: str, value: object) -> list[list[object]]:
    rows = rows_of(candles)
    rows[row][(("timestamp", *COLUMNS)).index(column)] = value
    return rows


def test_a_missing_file_is_usage(tmp_path, candles) -> None:
    ours(tmp_path / "prices.csv", candles)
    with pytest.raises(UsageError, match=r"there is no file .*price.csv; did you mean 'prices.csv'"):
        read_candles(tmp_path / "price.csv", "1h", NOW)
    with pytest.raises(UsageError, match="there is no file"):
        read_candles(tmp_path / "nowhere" / "price.csv", "1h", NOW)
    with pytest.raises(UsageError, match="is a folder"):
        read_candles(tmp_path, "1h", NOW)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"timestamp,open,high,low,close\n", "has a header, but no rows"),
        (b"timestamp,open,high,low,close", "has a header, but no rows"),
        (b"\x89PNG\r\n\x1a\n\0\0\0", "is not a table of candles"),
        (b"hello\nworld\n", "has no open and no high and no low and no close column"),
        (b"PAR1xxxxPAR1", "is a damaged Parquet file"),
        (b"ARROW1xxxx", "is a damaged Feather file"),
        (b"PK\x03\x04xxxx", "is a damaged zip file"),
        (b"1,2,3\n4,5,6\n", "has 3 numbers and no column names"),
        (b"\xff\xfet\x00i", "is not a text file"),
        (b"caf\xe9,open,high,low,close\n1,2,3,4,5\n", "is not text in UTF-8"),
        (b"timestamp,open,high,low,close\n1514764800000,1,1,1,caf\xe9\n", "cannot be read as a table"),
    ],
)
def test_files_that_are_no_tables(tmp_path, content, message) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_candles(tmp_path / "a.csv", "1h", NOW)


def test_a_truncated_or_damaged_gzip(tmp_path, candles) -> None:
    ours(tmp_path / "a.csv", candles)
    packed = gzip.compress((tmp_path / "a.csv").read_bytes())
    for size in (len(packed) - 1, len(packed) - 9, len(packed) // 2, 20, 5):
        (tmp_path / "a.csv.gz").write_bytes(packed[:size])
        with pytest.raises(DataError, match="gzip file"):
            read_candles(tmp_path / "a.csv.gz", "1h", NOW)
    broken = bytearray(packed)
    broken[len(packed) // 2] ^= 0xFF
    (tmp_path / "a.csv.gz").write_bytes(broken)
    with pytest.raises(DataError, match="damaged gzip file"):
        read_candles(tmp_path / "a.csv.gz", "1h", NOW)


def test_archives_of_several_files(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.csv", "x")
        archive.writestr("b.csv", "x")
    with pytest.raises(DataError, match="an archive of 2 files"):
        read_candles(tmp_path / "a.zip", "1h", NOW)


@pytest.mark.parametrize("missing", ["timestamp", "open", "high", "low", "close"])
def test_a_missing_column_is_named_with_those_there_are(tmp_path, candles, missing) -> None:
    header = ["timestamp", *COLUMNS[:5]]
    place = header.index(missing)
    rows = [[cell for i, cell in enumerate(row) if i != place] for row in rows_of(candles, columns=COLUMNS[:5])]
    header.remove(missing)
    name = "time" if missing == "timestamp" else missing
    assert_refused(tmp_path, rows, f"has no {name} column: its columns are {', '.join(header)}", header=header)


def test_a_misspelled_column_is_suggested(tmp_path, candles) -> None:
    header = ("timestamp", "open", "high", "low", "clsoe", "volume")
    assert_refused(
        tmp_path, rows_of(candles, columns=COLUMNS[:5]), "no close column.*did you mean 'clsoe'", header=header
    )
    header = ("timestamp", "open", "high", "low", "adj close", "volume")
    assert_refused(tmp_path, rows_of(candles, columns=COLUMNS[:5]), "an adjusted close is not the price", header=header)
    header = ("timestamp", "open", "high", "low", "close", "close")
    assert_refused(tmp_path, rows_of(candles, columns=COLUMNS[:5]), "two columns named 'close'", header=header)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("close", "abc", r"prices.csv:17: close is 'abc', expected a number"),
        ("close", "1,234.5", r"prices.csv:17: close is '1,234.5', expected a number"),
        ("volume", "1_000", r"prices.csv:17: volume is '1_000', expected a number"),
        ("trades", "null", r"prices.csv:17: trades is 'null', expected a number"),
        ("open", "", r"prices.csv:17 \(2018-01-01T15:00:00Z\): open is empty or not a number"),
        ("open", "nan", r"prices.csv:17 \(2018-01-01T15:00:00Z\): open is empty or not a number"),
        ("high", "inf", r"prices.csv:17 \(2018-01-01T15:00:00Z\): high is inf, expected a finite number above 0"),
        ("low", "0", r"prices.csv:17 .*low is 0, expected a finite number above 0"),
        ("low", "-3.5", r"prices.csv:17 .*low is -3.5"),
        ("volume", "-1", r"prices.csv:17 .*volume is -1, expected a finite number of at least 0"),
        ("volume", "", r"prices.csv:17 .*volume is empty"),
        ("taker_buy_quote", "-inf", r"prices.csv:17 .*taker_buy_quote is -inf"),
        ("high", "0.5", r"prices.csv:17 .*high 0.5 is below low"),
        ("timestamp", "", r"prices.csv:17: the time is empty"),
        ("timestamp", "yesterday", r"prices.csv:17: the time is 'yesterday': expected ISO such as"),
        (
            "timestamp",
            str((START_MS + 15 * HOUR) // 1000),
            r":17: the time 1514818800.* is in seconds.*mixed time units",
        ),
        (
            "timestamp",
            str((START_MS + 15 * HOUR) * 1000),
            r"prices.csv:17: the time .* is in microseconds.*mixed time units",
        ),
    ],
)
def test_a_bad_cell_is_named_by_line_and_time(tmp_path, candles, column, value, message) -> None:
    assert_refused(tmp_path, changed(candles, 15, column, value), message)


def test_lines_are_counted_as_an_editor_counts_them(tmp_path, candles) -> None:
    rows = changed(candles, 15, "close", "abc")
    lines = ["# from somewhere", "", ",".join(("timestamp", *COLUMNS)), "", *(",".join(map(str, row)) for row in rows)]
    lines.insert(10, "")
    (tmp_path / "a.csv").write_text("\r\n".join(lines))
    expected = next(number for number, line in enumerate(lines, 1) if "abc" in line)
    with pytest.raises(DataError, match=rf"a.csv:{expected}: close is 'abc'"):
        read_candles(tmp_path / "a.csv", "1h", NOW)


def test_rows_of_another_width_are_named(tmp_path, candles) -> None:
    rows = rows_of(candles)
    rows[30] = rows[30][:-1]
    assert_refused(tmp_path, rows, r"prices.csv:32 has 9 cells, expected 10")
    rows[30] = [*rows_of(candles)[30], "1"]
    assert_refused(tmp_path, rows, r"prices.csv:32 has 11 cells, expected 10")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ("31/01/2018", r":17: the time is '31/01/2018'"),
        ("2018-13-01T00:00:00Z", r":17: the time is '2018-13-01T00:00:00Z'"),
        ("", r":17: the time is empty"),
        (
            "2018-01-01T15:00:00",
            r":17: the time '2018-01-01T15:00:00' is without a time zone, the rows before are with",
        ),
    ],
)
def test_bad_iso_times_are_named(tmp_path, candles, bad, message) -> None:
    times = [iso(ms) for ms in candles.open_ms.tolist()]
    times[15] = bad
    assert_refused(tmp_path, rows_of(candles, times), message)


def test_times_that_are_no_times(tmp_path, candles) -> None:
    assert_refused(tmp_path, rows_of(candles, list(range(60))), "the time is '0': expected ISO")
    assert_refused(tmp_path, rows_of(candles, [10**30 + i for i in range(60)]), "expected ISO")


def test_disorder_and_repeats_are_named_and_can_be_allowed(tmp_path, candles) -> None:
    rows = rows_of(candles)
    swapped = [*rows[:20], rows[21], rows[20], *rows[22:]]
    message = r"prices.csv:23 \(2018-01-01T20:00:00Z\): is out of order, the row before is 2018-01-01T21:00:00Z.*--sort"
    assert_refused(tmp_path, swapped, message)
    found = read_candles(tmp_path / "prices.csv", "1h", NOW, sort=True)
    assert found.candles.digest == candles.digest
    assert "rows were sorted" in found.notes[0]

    assert_refused(tmp_path, rows[::-1], "runs from newest to oldest.*--sort")
    assert read_candles(tmp_path / "prices.csv", "1h", NOW, sort=True).candles.digest == candles.digest

    repeated = [*rows[:20], rows[19], *rows[20:]]
    message = r"prices.csv:22 .*appears twice, also at prices.csv:21, with the same values: --drop-duplicates"
    assert_refused(tmp_path, repeated, message)
    assert_refused(tmp_path, repeated, message, sort=True)
    found = read_candles(tmp_path / "prices.csv", "1h", NOW, drop_duplicates=True)
    assert found.candles.digest == candles.digest
    assert found.notes == ("1 rows that repeat another were left out",)

    far = [*rows, rows[3]]
    assert_refused(tmp_path, far, r"prices.csv:62 .*out of order")
    assert_refused(tmp_path, far, r"prices.csv:62 .*appears twice, also at prices.csv:5", sort=True)
    assert (
        read_candles(tmp_path / "prices.csv", "1h", NOW, sort=True, drop_duplicates=True).candles.digest
        == candles.digest
    )

    other = [*rows[:20], [*rows[19][:-1], "1.0"], *rows[20:]]
    assert_refused(tmp_path, other, r"prices.csv:22 .*with other values: remove the wrong one", drop_duplicates=True)


def test_times_in_the_future(tmp_path, candles) -> None:
    now = int(candles.open_ms[40]) - 1
    assert_refused(
        tmp_path,
        rows_of(candles),
        r"prices.csv:42 .*lies in the future \(it is 2018-01-02T15:59:59.999Z now\)",
        now=now,
    )


@pytest.mark.parametrize(
    ("held", "asked", "message"),
    [
        ("1h", "1m", "59 of 59 bars are 1h apart, not 1m: use --timeframe 1h"),
        ("1m", "1h", "59 of 59 bars are 1m apart, not 1h: use --timeframe 1m"),
        ("1h", "2h", "use --timeframe 1h"),
        ("1d", "1h", "use --timeframe 1d"),
        ("4h", "1d", "use --timeframe 4h"),
        ("1w", "1d", "use --timeframe 1w"),
    ],
)
def test_another_spacing_names_the_timeframe_that_fits(tmp_path, held, asked, message) -> None:
    assert_refused(tmp_path, rows_of(synthetic_candles(60, timeframe=held)), message, timeframe=asked)


def test_a_spacing_that_no_timeframe_has(tmp_path, candles) -> None:
    rows = rows_of(candles, [START_MS + 1_234 * i for i in range(60)])
    assert_refused(tmp_path, rows, "1.234 s apart, not 1h: no timeframe fits")


def test_too_few_bars(tmp_path, candles) -> None:
    assert_refused(tmp_path, rows_of(candles)[:1], "holds 1 bar: at least 2 are needed")


def test_a_second_bar_in_one_interval(tmp_path, candles) -> None:
    times = candles.open_ms.tolist()
    times[16] = times[15] + 60_000
    assert_refused(
        tmp_path,
        rows_of(candles, times),
        r"prices.csv:18 .*a second candle in the same 1h interval as 2018-01-01T15",
    )


def test_off_grid_bars_are_kept(tmp_path, candles) -> None:
    times = [ms + (1_694_789 if 20 <= i < 30 else 0) for i, ms in enumerate(candles.open_ms.tolist())]
    ours(tmp_path / "a.csv", candles, times)
    assert read_candles(tmp_path / "a.csv", "1h", NOW).candles.off_grid.sum() == 10


def test_ranges_that_do_not_hold_open_and_close(tmp_path, candles) -> None:
    low = float(candles.low[15])
    top = max(float(candles.open[15]), float(candles.close[15]))
    rows = changed(candles, 15, "high", repr((top + low) / 2))
    assert_refused(tmp_path, rows, r"prices.csv:17 .*are not between low .*--widen-ranges")
    found = read_candles(tmp_path / "prices.csv", "1h", NOW, widen_ranges=True)
    assert found.candles.high[15] == top
    assert found.notes == ("low or high of 1 bars did not hold open and close: widened",)
    write(tmp_path / "a.csv", ("timestamp", *COLUMNS), changed(candles, 15, "high", repr(top * (1 - 1e-9))))
    found = read_candles(tmp_path / "a.csv", "1h", NOW)
    assert found.candles.high[15] == top
    assert "a rounding of the source" in found.notes[0]


def test_several_symbols_in_one_file(tmp_path, candles) -> None:
    rows = [[*row, "BTC" if i % 2 else "ETH"] for i, row in enumerate(rows_of(candles))]
    assert_refused(tmp_path, rows, "holds 2 symbols", header=("timestamp", *COLUMNS, "Symbol"))


def test_parquet_faults_name_the_row(tmp_path, candles) -> None:
    frame = pd.DataFrame({"open_ms": candles.open_ms, **candles.columns})
    frame.loc[15, "close"] = np.nan
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet row 16 \(2018-01-01T15:00:00Z\): close is empty"):
        read_candles(tmp_path / "a.parquet", "1h", NOW)
    frame = pd.DataFrame({"date": pd.to_datetime(candles.open_ms, unit="ms"), **candles.columns})
    frame.loc[15, "date"] = pd.NaT
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a.parquet row 16: the time is empty"):
        read_candles(tmp_path / "a.parquet", "1h", NOW)
    frame.iloc[:0].to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="has columns, but no rows"):
        read_candles(tmp_path / "a.parquet", "1h", NOW)


def test_no_cut_of_a_file_is_ever_accepted_in_silence_or_crashes(tmp_path, candles) -> None:
    ours(tmp_path / "whole.csv", candles)
    whole = (tmp_path / "whole.csv").read_bytes()
    messages = []
    for size in range(0, len(whole), 97):
        (tmp_path / "cut.csv").write_bytes(whole[:size])
        try:
            found = read_candles(tmp_path / "cut.csv", "1h", NOW).candles
        except BotError as error:
            messages.append(str(error))
        else:
            np.testing.assert_array_equal(found.close[:-1], candles.close[: len(found) - 1])
    assert not any("\n" in message for message in messages)


# ------------------------------------------------------------------------------------------------- real files

REAL = {
    "binance_spot_BTCUSDT_1h_2018_2024.csv.gz": ("1h", 61_248, 27, 120, 43),
    "binance_spot_ETHUSDT_1h_2018_2024.csv.gz": ("1h", 61_248, 27, 120, 43),
    "binance_spot_XRPUSDT_1h_2022_2024_ohlcv.csv.gz": ("1h", 22_839, 1, 1, 0),
    "binance_spot_BTCUSDT_1m_2024Q1.csv.gz": ("1m", 131_040, 0, 0, 0),
    "binance_spot_ETHUSDT_1m_2022-11.csv.gz": ("1m", 43_200, 0, 0, 0),
    "fx_EURUSD_1h_2017_2024_novol.csv.gz": ("1h", 45_728, None, None, 0),
}


@pytest.mark.parametrize("name", REAL)
def test_real_files_come_in_whole(shared_data, name) -> None:
    timeframe, bars, gaps, missing, off_grid = REAL[name]
    began = time.perf_counter()
    candles = read_candles(shared_data / name, timeframe, NOW * 2).candles
    assert time.perf_counter() - began < 5.0  # measured: 0.1 to 0.25 s
    assert len(candles) == bars
    assert candles.off_grid.sum() == off_grid
    found = find_gaps(candles.open_ms, candles.step_ms)
    if gaps is not None:
        assert (len(found), sum(gap.missing for gap in found)) == (gaps, missing)
    else:
        assert sum(gap.closed for gap in found) > 380, "weekends are no gaps"
        assert sum(not gap.closed for gap in found) < 20
    frame = pd.read_csv(shared_data / name, dtype=str)
    np.testing.assert_array_equal(candles.open_ms, frame["timestamp"].astype(int))
    for column in candles.columns:
        np.testing.assert_array_equal(candles.columns[column], [float(text) for text in frame[column]])
