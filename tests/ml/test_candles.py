"""Candles: validated, immutable, sliced without losing what is known about their source."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ml.candles import Candles, format_ms
from ml.errors import InvalidCandles
from ml.synthetic import START_MS, synthetic_candles

HOUR = 3_600_000
GOOD = {
    "open_ms": [START_MS, START_MS + HOUR, START_MS + 3 * HOUR],
    "open": [10.0, 11.0, 12.0],
    "high": [11.5, 12.0, 13.0],
    "low": [9.5, 10.5, 11.0],
    "close": [11.0, 12.0, 11.5],
}


def changed(**columns) -> Candles:
    return Candles.from_columns("1h", {**GOOD, **columns})


def test_arrays_are_converted_contiguous_and_frozen() -> None:
    mine = np.array([10.0, 11.0, 12.0])
    candles = changed(open=mine, volume=[1, 2, 0])
    assert candles.open_ms.dtype == np.int64
    assert candles.volume.dtype == np.float64
    with pytest.raises(ValueError, match="read-only"):
        candles.open[0] = 1.0
    mine[0] = 10.5  # the caller's own array stays writable
    assert candles.asked == ((START_MS, START_MS + 4 * HOUR),)
    assert set(candles.columns) == {"open", "high", "low", "close", "volume"}
    with pytest.raises(AttributeError):
        candles.open = mine


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"open_ms": [START_MS, START_MS, START_MS + HOUR]}, "row 1 .* appears twice"),
        ({"open_ms": [START_MS, START_MS - HOUR, START_MS + HOUR]}, "row 1 .* out of order"),
        ({"open_ms": [START_MS, START_MS + 60_000, START_MS + HOUR]}, "second candle in the same 1h interval"),
        ({"close": [11.0, float("nan"), 11.5]}, "row 1 .*close is nan"),
        ({"high": [11.5, float("inf"), 13.0]}, "row 1 .*high is inf"),
        ({"low": [9.5, 10.5, 0.0]}, "row 2 .*low is 0.0"),
        ({"low": [9.5, 11.5, 11.0]}, "row 1 .*not between low 11.5"),
        ({"high": [10.5, 12.0, 13.0]}, "row 0 .*high 10.5"),
        ({"volume": [1.0, -1.0, 0.0]}, "row 1 .*volume is -1.0"),
        ({"volume": [1.0, 1.0]}, "column volume has 2 values for 3 candles"),
        ({"volume": [[1.0], [1.0], [1.0]]}, "one-dimensional"),
    ],
)
def test_impossible_candles_are_refused_by_row(columns, message) -> None:
    with pytest.raises(InvalidCandles, match=message):
        changed(**columns)


def test_index_and_grid() -> None:
    candles = changed(open_ms=[START_MS, START_MS + HOUR + 1, START_MS + 3 * HOUR])
    np.testing.assert_array_equal(candles.index - candles.index[0], [0, 1, 3])
    np.testing.assert_array_equal(candles.off_grid, [False, True, False])


def test_weeks_are_counted_from_mondays() -> None:
    candles = Candles("1w", START_MS + 7 * 86_400_000 * np.arange(3), *[np.full(3, 5.0)] * 4)
    assert not candles.off_grid.any()
    assert format_ms(int(candles.open_ms[0])) == "2018-01-01T00:00:00Z"


def test_a_cut_forgets_what_was_asked_outside() -> None:
    whole = synthetic_candles(10)
    asked = ((START_MS - 5 * HOUR, START_MS + 20 * HOUR),)
    candles = Candles.from_columns("1h", {"open_ms": whole.open_ms, **whole.columns}, asked)
    assert candles.slice(0, 10).asked == asked
    assert candles.slice(2, 10).asked == ((START_MS + 2 * HOUR, START_MS + 20 * HOUR),)
    assert candles.slice(0, 4).asked == ((START_MS - 5 * HOUR, START_MS + 4 * HOUR),)
    assert candles.between(START_MS + HOUR, START_MS + 3 * HOUR).asked == ((START_MS + HOUR, START_MS + 3 * HOUR),)
    assert candles.between(START_MS - HOUR, START_MS + 3 * HOUR).asked == ((START_MS - HOUR, START_MS + 3 * HOUR),)
    assert candles.between(None, None).digest == candles.digest
    assert len(candles.between(START_MS + 50 * HOUR, None)) == 0


def test_frames_come_in_with_an_index_or_a_column_of_times() -> None:
    whole = synthetic_candles(5)
    frame = pd.DataFrame(
        {name.title(): column for name, column in whole.columns.items()},
        index=pd.to_datetime(whole.open_ms, unit="ms", utc=True),
    )
    assert Candles.from_frame(frame, "1h").digest == whole.digest
    naive = frame.set_axis(frame.index.tz_localize(None))
    assert Candles.from_frame(naive, "1h").digest == whole.digest
    column = frame.reset_index(drop=True).assign(timestamp=whole.open_ms)
    assert Candles.from_frame(column, "1h").digest == whole.digest
    with pytest.raises(InvalidCandles, match="no column close"):
        Candles.from_frame(frame.drop(columns="Close"), "1h")


def test_the_digest_depends_on_every_bit_and_on_what_was_asked() -> None:
    base = changed(volume=[1.0, 2.0, 3.0])
    others = [
        changed(),
        changed(volume=[1.0, 2.0, 3.0 + 4e-16]),
        changed(quote_volume=[1.0, 2.0, 3.0]),
        Candles.from_columns("1h", {**GOOD, "volume": [1.0, 2.0, 3.0]}, ((START_MS, START_MS + 9 * HOUR),)),
        Candles.from_columns("30m", {**GOOD, "volume": [1.0, 2.0, 3.0]}),
    ]
    assert len({base.digest, *(other.digest for other in others)}) == 6
    assert changed(volume=[1.0, 2.0, 3.0]).digest == base.digest


def test_no_candles_are_candles() -> None:
    empty = synthetic_candles(3).slice(0, 0)
    assert len(empty) == 0
    assert len(empty.index) == 0
    assert Candles.from_columns("1h", {name: [] for name in GOOD}).asked == ()
