from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from registry.errors import InvalidBundle
from registry.names import ModelKey

HOUR = timedelta(hours=1)


@pytest.fixture
def story(registry, key, files, at):
    """One hour after the other; returns the names."""
    a, b = (registry.register(key, files(tag), at=at).version_id for tag in "ab")
    other = ModelKey("BTCUSDT", "basic", "4h")
    d = registry.register(other, files("d"), at=at).version_id
    for number, act in enumerate(
        (
            lambda now: registry.promote(key, a, at=now, reason="first"),
            lambda now: registry.promote(other, d, at=now, reason="another timeframe"),
            lambda now: registry.promote(key, b, at=now, reason="better"),
            lambda now: registry.quarantine(key, a, at=now, reason="not the champion"),
            lambda now: registry.quarantine(key, b, at=now, reason="drift"),
            lambda now: registry.promote(key, a, at=now, reason="by hand"),
            lambda now: registry.withdraw(key, at=now, reason="no skill"),
            lambda now: registry.rollback(key, at=now, reason="a mistake"),
        ),
        start=1,
    ):
        act(at + number * HOUR)
    return a, b, d


def test_reigns_tell_who_was_champion_from_when(registry, key, at, story):
    a, b, d = story
    assert [(reign.from_at, reign.version, reign.row.reason) for reign in registry.reigns(key)] == [
        (at + 1 * HOUR, a, "first"),
        (at + 3 * HOUR, b, "better"),
        (at + 5 * HOUR, None, "drift"),
        (at + 6 * HOUR, a, "by hand"),
        (at + 7 * HOUR, None, "no skill"),
        (at + 8 * HOUR, a, "a mistake"),
    ]
    assert [reign.version for reign in registry.reigns(ModelKey("BTCUSDT", "basic", "4h"))] == [d]
    assert registry.reigns(ModelKey("ETHUSDT", "basic", "1h")) == ()


def test_the_champion_of_a_past_moment(registry, key, at, story):
    a, b, _ = story
    asked = [at, at + HOUR, at + 3 * HOUR - timedelta(milliseconds=1), at + 3 * HOUR, at + 5 * HOUR, at + 30 * HOUR]
    found = [registry.champion_at(key, moment) for moment in asked]
    assert [model and model.version_id for model in found] == [None, a, a, b, None, a]
    assert found[3].status == "quarantined"  # now; it was champion then
    assert found[3].metadata["tag"] == "b"
    assert registry.champion_at(ModelKey("ETHUSDT", "basic", "1h"), at) is None
    with pytest.raises(ValueError, match="no time zone"):
        registry.champion_at(key, datetime(2026, 11, 20))


def test_a_past_champion_that_was_damaged_is_refused(registry, key, at, story):
    (registry.root / "BTCUSDT/basic" / story[1] / "model.txt").unlink()
    with pytest.raises(InvalidBundle, match=r"'model.txt' is missing"):
        registry.champion_at(key, at + 3 * HOUR)
    assert registry.champion_at(key, at + HOUR).version_id == story[0]


def test_a_clock_that_went_back_keeps_the_order_of_decisions(registry, key, files, at):
    a, b = (registry.register(key, files(tag), at=at).version_id for tag in "ab")
    registry.promote(key, a, at=at + 10 * HOUR, reason="")
    registry.promote(key, b, at=at + 5 * HOUR, reason="the clock was put right")
    assert [reign.version for reign in registry.reigns(key)] == [a, b]
    moments = [at + 4 * HOUR, at + 6 * HOUR, at + 20 * HOUR]
    assert [model and model.version_id for model in (registry.champion_at(key, each) for each in moments)] == [
        None,
        b,
        b,
    ]


def test_history_is_of_one_timeframe_in_order(registry, key, story):
    rows = registry.history(key)
    assert [row.action for row in rows] == [
        *("register", "register", "promote", "promote", "quarantine", "quarantine", "promote", "withdraw", "rollback")
    ]
    assert [row.sequence for row in rows] == sorted(row.sequence for row in rows)
    assert {row.timeframe for row in rows} == {"1h"}
    assert all(row.at.tzinfo is UTC or row.at.utcoffset() == timedelta(0) for row in rows)
