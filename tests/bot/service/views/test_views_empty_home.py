"""A home in which nothing was done yet: every view answers, and none of them makes a file."""

from __future__ import annotations

import json

import pytest

from bot.errors import SeriesNotFound
from bot.home import Home
from bot.service.views.bots import bot, bots, changes, decisions
from bot.service.views.candles import candles, series
from bot.service.views.models import model, models
from bot.service.views.pipeline import accuracy, drift, pipeline
from bot.service.views.plain import NotHere
from bot.service.views.runs import run, runs
from bot.service.views.system import health, version
from bot.state import StateDatabase
from registry.errors import ModelNotFound


@pytest.fixture(params=["missing", "empty", "a state database of another part"])
def home(request, tmp_path):
    made = Home(tmp_path / "home")
    if request.param != "missing":
        made.root.mkdir()
    if request.param.startswith("a state"):
        with StateDatabase(made.state_db) as state:
            state.apply("jobs", {"create": ("CREATE TABLE jobs (id TEXT)",)})
    return made


def listing(folder):
    """Every path with what is in it; SQLite's own side files come and go with a reader."""
    paths = [path for path in folder.rglob("*") if not path.name.endswith(("-shm", "-wal"))]
    return {str(path): path.read_bytes() if path.is_file() else None for path in paths}


def test_every_view_answers_and_writes_nothing(home, tmp_path):
    before = listing(tmp_path)
    assert (series(home), models(home), runs(home), bots(home), changes(home, None)) == ([], [], [], [], ({}, []))
    shown = pipeline(home)
    assert (shown["models"], shown["findings"], shown["last_cycle"]) == ([], [], None)
    assert shown["notes"] == ["No cycle was run yet: 'bot pipeline run' does the first."]
    assert drift(home)["models"] == []
    found = health(home)
    assert (found["ok"], found["problems"]) == (True, [])
    json.dumps([shown, found, drift(home), version()], allow_nan=False)
    assert listing(tmp_path) == before


@pytest.mark.parametrize(
    ("look", "error", "told"),
    [
        (lambda home: candles(home, "BTC_USDT", "1h"), SeriesNotFound, "no candles of BTCUSDT 1h"),
        (lambda home: model(home, "BTC_USDT", "basic", "latest"), ModelNotFound, "no model"),
        (lambda home: accuracy(home, "BTC_USDT", "basic", "1h"), ModelNotFound, "no model"),
        (lambda home: run(home, "12345678"), NotHere, "no run '12345678' in this home; there are none"),
        (lambda home: bot(home, "mine"), NotHere, "no bot 'mine' in this home; there are none"),
        (lambda home: decisions(home, "mine"), NotHere, "no bot 'mine' in this home; there are none"),
    ],
)
def test_what_is_not_there_is_said_and_nothing_is_written(home, tmp_path, look, error, told):
    before = listing(tmp_path)
    with pytest.raises(error, match=told):
        look(home)
    assert listing(tmp_path) == before
