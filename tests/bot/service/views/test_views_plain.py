"""Documents that may leave the machine: no NaN, no path of it, times in UTC."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

from bot.home import Home
from bot.service.views.plain import iso, not_here, plain, without_paths


def test_what_json_has_no_word_for_is_null():
    told = plain({"a": (1.0, math.nan, [math.inf, -math.inf]), 3: {"b": None, "c": True, "d": 7}})
    assert told == {"a": [1.0, None, [None, None]], "3": {"b": None, "c": True, "d": 7}}


def test_the_folder_of_the_home_is_called_home(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "real")
    home = Home(link)
    told = plain({"a": f"{link}/state.db is locked", "b": [f"see {tmp_path}/real/KILL"], "c": link / "x"}, home)
    assert told == {"a": "home/state.db is locked", "b": ["see home/KILL"], "c": "home/x"}
    assert without_paths(f"{link}/a\n  is damaged", home) == "home/a is damaged"
    assert plain("/etc/passwd", Home(Path("/"))) == "/etc/passwd"


def test_milliseconds_become_times_where_that_is_asked():
    told = plain({"open_ms": 1_795_165_200_000, "end_ms": None, "note_ms": "x", "bars": 3}, times=True)
    assert told == {"open_at": "2026-11-20T09:00:00Z", "end_at": None, "note_ms": "x", "bars": 3}
    assert plain({"open_ms": 5}) == {"open_ms": 5}


def test_moments_are_told_in_utc():
    assert iso(datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)) == "2026-01-02T03:04:05.678Z"
    assert iso(datetime(2026, 1, 2, 1, tzinfo=timezone(timedelta(hours=1)))) == "2026-01-02T00:00:00Z"


def test_a_name_that_is_none_is_cut():
    assert str(not_here("bot", "b" * 100, [])) == f"no bot '{'b' * 80}...' in this home; there are none"
    assert str(not_here("bot", "x", ["a", "b", "c"], most=2)) == "no bot 'x' in this home; known: a, b"


def test_a_longer_name_is_not_the_home(tmp_path):
    home = Home(tmp_path / "var")
    assert plain([f"{home.root}iant/x", f"{home.root}/x"], home) == [f"{home.root}iant/x", "home/x"]
