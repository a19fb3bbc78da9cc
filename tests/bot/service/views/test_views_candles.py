"""Candles as the service shows them: whole groups, holes that no row spans, ranges, and names that are none."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_models import with_holes

from bot.errors import SeriesNotFound, UsageError
from bot.home import Home
from bot.market.store import CandleStore
from bot.service.views.candles import MOST_POINTS, candles, group_size, group_starts, series
from ml.candles import Candles
from ml.synthetic import synthetic_candles
from registry.errors import InvalidName

HOUR = 3_600_000


@pytest.fixture
def home(tmp_path):
    made = Home(tmp_path / "home")
    CandleStore(made.candles).write(with_holes(synthetic_candles(3_000, edge=0.0, seed=1), seed=2), "BTCUSDT", "synth")
    return made


def stored(home, **range_ms):
    whole = CandleStore(home.candles).read("BTCUSDT", "1h").candles
    return whole.between(range_ms.get("start"), range_ms.get("end"))


def rows_by_hand(part: Candles, group: int) -> list[list[float]]:
    """Put candles together one by one."""
    rows, inside = [], []
    for at in range(len(part)):
        if inside:
            hole = part.open_ms[at] - part.open_ms[inside[-1]] - part.step_ms
            if len(inside) == group or hole > group * part.step_ms:
                rows.append(inside)
                inside = []
        inside.append(at)
    rows += [inside] if inside else []
    return [
        [
            int(part.open_ms[row[0]]),
            float(part.open[row[0]]),
            max(float(part.high[at]) for at in row),
            min(float(part.low[at]) for at in row),
            float(part.close[row[-1]]),
            pytest.approx(sum(float(part.volume[at]) for at in row), rel=1e-12),
        ]
        for row in rows
    ]


@pytest.mark.parametrize("points", [1, 7, 100, 999, 2_400])
def test_rows_are_whole_groups_of_the_stored_candles(home, points):
    document = candles(home, "btc/usdt", "1h", points=points)
    part = stored(home)
    assert document["bars"] == len(part)
    assert len(document["rows"]) <= points
    assert document["rows"] == rows_by_hand(part, document["group"])
    json.dumps(document, allow_nan=False)


def test_few_candles_are_shown_as_they_are(home):
    document = candles(home, "BTC-USDT", "1h", points=MOST_POINTS)
    part = stored(home)
    assert (document["group"], len(document["rows"])) == (1, len(part))
    columns = np.array(document["rows"])
    for place, name in enumerate(("open_ms", "open", "high", "low", "close", "volume")):
        assert columns[:, place].tolist() == getattr(part, name).tolist()
    assert (document["symbol"], document["timeframe"], document["exchange"]) == ("BTC_USDT", "1h", "synth")
    assert document["digest"] == CandleStore(home.candles).read("BTCUSDT", "1h").digest


@given(
    kept=st.lists(st.integers(1, 60), min_size=1, max_size=120),
    points=st.integers(1, 40),
)
def test_the_group_is_the_smallest_that_fits_and_no_row_spans_a_longer_hole(kept, points):
    open_ms = np.cumsum(np.array(kept, dtype=np.int64)) * HOUR
    group = group_size(open_ms, HOUR, points)
    starts = group_starts(open_ms, HOUR, group)
    assert len(starts) <= points
    assert group == 1 or len(group_starts(open_ms, HOUR, group - 1)) > points
    ends = np.append(starts[1:], len(open_ms))
    for start, end in zip(starts, ends, strict=True):
        assert 1 <= end - start <= group
        assert ((np.diff(open_ms[start:end]) - HOUR) <= group * HOUR).all()


def test_a_range_is_half_open_and_a_day_as_its_end_is_whole(home):
    part = stored(home)
    moment = part.open_ms[100]
    iso = np.datetime_as_string(np.datetime64(int(moment), "ms"), unit="s") + "Z"
    assert candles(home, "BTCUSDT", "1h", end=iso)["bars"] == 100
    later = candles(home, "BTCUSDT", "1h", start=iso)
    assert (later["bars"], later["first"]) == (len(part) - 100, iso)
    day = candles(home, "BTCUSDT", "1h", start="2018-02-01", end="2018-02-01")
    first = 1_517_443_200_000
    assert day["bars"] == len(stored(home, start=first, end=first + 24 * HOUR)) > 10
    assert day["stored_from"] == candles(home, "BTCUSDT", "1h")["first"]


def test_an_empty_range_is_no_error(home):
    document = candles(home, "BTCUSDT", "1h", start="2031-01-01")
    assert (document["bars"], document["rows"], document["first"], document["last"]) == (0, [], None, None)
    assert document["group"] == 1


def test_a_source_without_volume_has_none(tmp_path):
    home = Home(tmp_path)
    made = synthetic_candles(50, edge=0.0, seed=1)
    prices = {name: made.columns[name] for name in ("open", "high", "low", "close")}
    CandleStore(home.candles).write(Candles("1h", made.open_ms, **prices), "ETHUSDT", "local")
    document = candles(home, "ETHUSDT", "1h", points=10)
    assert [row[5] for row in document["rows"]] == [None] * 10


@pytest.mark.parametrize(
    ("words", "error", "told"),
    [
        (("BTCUSD", "1h"), SeriesNotFound, "did you mean 'BTCUSDT'"),
        (("BTCUSDT", "5m"), SeriesNotFound, "BTCUSDT is there in 1h from synth"),
        (("BTCUSDT", "1x"), InvalidName, "is not a timeframe"),
        (("../../etc", "1h"), InvalidName, "is not a symbol"),
        (("BTCUSDT", "1h", "../up"), UsageError, "is not an exchange name"),
    ],
)
def test_names_that_are_none(home, words, error, told):
    with pytest.raises(error, match=told):
        candles(home, *words)


@pytest.mark.parametrize(
    ("choices", "told"),
    [
        ({"points": 0}, "expected 1 to 5,000"),
        ({"points": 5_001}, "expected 1 to 5,000"),
        ({"start": "yesterday"}, "is not a date"),
        ({"end": "9999-12-31"}, "too far away"),
        ({"start": "2018-02-02", "end": "2018-02-01"}, "start 2018-02-02 is not before end 2018-02-01"),
    ],
)
def test_numbers_and_moments_that_make_no_sense(home, choices, told):
    with pytest.raises(UsageError, match=told):
        candles(home, "BTCUSDT", "1h", **choices)


def test_every_series_is_listed_and_a_damaged_one_says_why(home):
    path = CandleStore(home.candles).path("ETHUSDT", "4h", "local")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 this is no Parquet file")
    bad, good = series(home)
    assert (good["symbol"], good["timeframe"], good["bars"]) == ("BTC_USDT", "1h", len(stored(home)))
    assert (bad["symbol"], bad["timeframe"], bad["exchange"], bad["bars"]) == ("ETH_USDT", "4h", "local", None)
    assert "home/candles/local/ETHUSDT_4h.parquet" in bad["problem"]
    assert str(home.root) not in json.dumps([bad, good])
