"""What a check finds: gaps and closing times told apart, faults told from facts."""

from __future__ import annotations

import numpy as np
import pytest

from bot.market.quality import find_gaps, inspect_columns, usual_step
from ml.synthetic import START_MS, synthetic_candles

HOUR = 3_600_000
DAY = 24 * HOUR


def raw(bars: int = 300) -> dict[str, np.ndarray]:
    candles = synthetic_candles(bars, seed=9)
    return {"open_ms": candles.open_ms.copy(), **{name: column.copy() for name, column in candles.columns.items()}}


def kinds(columns) -> dict[str, list[int]]:
    return {finding.kind: finding.rows.tolist() for finding in inspect_columns("1h", columns)}


def test_a_sound_series_has_no_findings() -> None:
    assert kinds(raw()) == {}


def test_gaps_are_counted_by_index() -> None:
    times = START_MS + HOUR * np.array([0, 1, 2, 5, 6, 10])
    gaps = find_gaps(times, HOUR)
    assert [(gap.after_ms, gap.before_ms, gap.missing) for gap in gaps] == [
        (int(times[2]), int(times[3]), 2),
        (int(times[4]), int(times[5]), 3),
    ]
    assert find_gaps(times[:1], HOUR) == []
    assert find_gaps(times[:0], HOUR) == []


def test_weekends_close_only_markets_that_have_no_saturdays() -> None:
    days = START_MS + DAY * np.arange(28)
    weekdays = (days // DAY + 3) % 7
    sessions = days[weekdays < 5]
    assert [gap.closed for gap in find_gaps(sessions, DAY)] == [True] * 3
    with_one_saturday = days[(weekdays < 5) | (np.arange(28) == 5)]
    assert not any(gap.closed for gap in find_gaps(with_one_saturday, DAY))
    holiday = sessions[sessions != START_MS + 14 * DAY]  # a Monday: the weekend lasts four days
    assert [gap.closed for gap in find_gaps(holiday, DAY)] == [True, False, True]


def test_a_week_of_hours_closes_from_friday_to_sunday() -> None:
    hours = START_MS + HOUR * np.arange(24 * 21)
    weekday, hour = (hours // DAY + 3) % 7, hours // HOUR % 24
    currencies = hours[~((weekday == 5) | ((weekday == 4) & (hour >= 22)) | ((weekday == 6) & (hour < 22)))]
    gaps = find_gaps(currencies, HOUR)
    assert [(gap.missing, gap.closed) for gap in gaps] == [(48, True)] * 3


def test_nights_close_session_markets() -> None:
    hours = START_MS + HOUR * np.arange(24 * 14)
    weekday, hour = (hours // DAY + 3) % 7, hours // HOUR % 24
    sessions = hours[(weekday < 5) & (hour >= 14) & (hour < 21)]
    assert all(gap.closed for gap in find_gaps(sessions, HOUR))
    assert len(find_gaps(sessions, HOUR)) == 9


@pytest.mark.parametrize(
    ("change", "kind", "rows"),
    [
        (lambda c: c["open_ms"].__setitem__(50, c["open_ms"][49]), "duplicates", [50]),
        (lambda c: c["open_ms"].__setitem__(50, c["open_ms"][40]), "out_of_order", [50]),
        (lambda c: c["high"].__setitem__(7, c["low"][7] * 0.99), "ohlc_violations", [7]),
        (lambda c: c["close"].__setitem__(7, np.nan), "bad_values", [7]),
        (lambda c: c["volume"].__setitem__(7, -1.0), "bad_values", [7]),
        (lambda c: c["low"].__setitem__(7, 0.0), "bad_values", [7]),
        (lambda c: c["taker_buy_base"].__setitem__(7, c["volume"][7] * 1.1), "taker_exceeds_volume", [7]),
    ],
)
def test_faults_are_found_and_are_faults(change, kind, rows) -> None:
    columns = raw()
    change(columns)
    found = {finding.kind: finding for finding in inspect_columns("1h", columns)}
    assert found[kind].rows.tolist() == rows
    assert found[kind].fault


def test_facts_are_no_faults() -> None:
    columns = raw()
    columns["open_ms"][80] += 60_000
    columns["volume"][5] = columns["taker_buy_base"][5] = 0.0
    for name in ("open", "high", "low", "close"):
        columns[name][200:] *= 2.0
    findings = list(inspect_columns("1h", columns))
    assert {finding.kind: finding.rows.tolist() for finding in findings} == {
        "off_grid": [80], "jumps": [200], "zero_volume": [5],
    }  # fmt: skip
    assert not any(finding.fault for finding in findings)


def test_the_usual_step() -> None:
    assert usual_step(START_MS + HOUR * np.array([0, 1, 2, 5, 6])) == HOUR
    assert usual_step(np.array([START_MS])) == 0
