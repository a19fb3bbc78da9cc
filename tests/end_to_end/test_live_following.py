"""``bot live`` as a process that follows the champion: told by the pipeline, by hand, killed, restarted, and replayed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from backtest_runs import config_text
from past_champions import market, promote, register_trained, registry_of
from real_time_market import LiveBot, journal

from bot.cli.main import main
from bot.home import Home
from bot.live.following import Follower, tell_followers
from bot.market.store import CandleStore
from bot.state import StateDatabase
from registry.names import ModelKey

KEY = ModelKey("BTCUSDT", "basic", "1h")
NOW = datetime(2026, 11, 28, tzinfo=UTC)
ROLE = '{model: "{symbol}/basic@latest", follow: true}'
SPEED = ("--speed", "14400")  # four bars a second


@pytest.fixture
def home(tmp_path):
    found = Home(tmp_path / "var")
    CandleStore(found.candles).write(market(), "BTCUSDT", "local")
    return found


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "trial.yaml"
    text = config_text(
        when=", start: 2018-05-28T02:00", **{"name: run": "name: trial", '"{symbol}/basic@newest"': ROLE}
    )
    path.write_text(text)
    return path


def said(status):
    return status.symbols[0].predictions[0] if status.symbols and status.symbols[0].predictions else None


def answered_by(version):
    return lambda status: said(status) is not None and said(status).version == version and said(status).status == "ok"


def no_model(words):
    return lambda status: (
        said(status) is not None and said(status).status == "no_model" and said(status).detail == words
    )


def tell(home, version, reason):
    with StateDatabase(home.state_db) as state:
        return tell_followers(state, KEY, version, reason)


def asked(capsys, home, *words):
    code = main([*words, "--home", str(home.root), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_a_bot_takes_every_champion_between_two_bars_and_its_replay_is_identical(home, config, capsys):
    a, b = register_trained(home.models, 3000), register_trained(home.models, 3500, trees=20)
    registry = registry_of(home.models)
    promote(home.models, a, NOW)
    with LiveBot(config, home.root, *SPEED) as bot:
        bot.wait_for(answered_by(a.version_id), "first champion", 60)
        promote(home.models, b, NOW + timedelta(seconds=1))
        assert tell(home, b.version_id, "shown better") == (Follower("trial", "BTCUSDT", "prediction"),)
        bot.wait_for(answered_by(b.version_id), "second champion")

        code, done = asked(capsys, home, "live-control", "deploy-model", "prediction", "none")
        assert (code, done["outcome"]) == (0, "done")
        assert done["answer"] == "BTCUSDT: prediction has no model from the next bar on (by command)"
        bot.wait_for(no_model("by command"), "no model")
        code, done = asked(capsys, home, "live-control", "deploy-model", "prediction", "{symbol}/basic@as-of")
        assert (code, done["arguments"]["versions"]) == (0, {"BTCUSDT": str(b)})
        bot.wait_for(answered_by(b.version_id), "champion by hand")

        registry.quarantine(KEY, b.version_id, at=NOW + timedelta(seconds=2), reason="its hit rate fell")
        assert len(tell(home, None, "its hit rate fell")) == 1
        gone = bot.wait_for(no_model("quarantined: its hit rate fell"), "no model")
        assert any("has no model from the next bar on" in text for _, text in gone.events)
        assert main(["live-control", "status", "--home", str(home.root)]) == 0
        assert "no model (quarantined: its hit rate fell)" in capsys.readouterr().out

        promote(home.models, a, NOW + timedelta(seconds=3))
        assert len(tell(home, a.version_id, "back")) == 1
        bot.wait_for(answered_by(a.version_id), "third champion")
        os.killpg(bot.process.pid, signal.SIGKILL)
        bot.process.wait(10)
    promote(home.models, b, NOW + timedelta(seconds=4))  # while it is down
    assert tell(home, b.version_id, "shown better") in ((), (Follower("trial", "BTCUSDT", "prediction"),))
    with LiveBot(config, home.root, *SPEED) as bot:
        bot.wait_for(answered_by(b.version_id), "champion of now", 60)
        assert f"BTCUSDT: {b} answers prediction from the next bar on" in bot.output
        assert bot.stop() == 0
    spans = [version for (version,) in journal(home.root, "SELECT version FROM live_models ORDER BY from_ms")]
    none = "BTCUSDT/basic@none"
    assert spans == [str(a), str(b), none, str(b), none, str(a), str(b)]
    code, found = asked(capsys, home, "parity", "--run", "trial")
    assert (code, found["identical"]) == (0, True), found


def test_a_bot_waits_for_the_first_champion_ever(home, config):
    a = register_trained(home.models, 3000)
    with LiveBot(config, home.root, *SPEED) as bot:
        bot.wait_for(no_model("no version was promoted"), "no model", 60)
        promote(home.models, a, NOW)
        assert len(tell(home, a.version_id, "the first")) == 1
        bot.wait_for(answered_by(a.version_id), "first champion")
        assert bot.stop() == 0


def test_parity_of_a_config_with_the_champions_of_the_past(home, config, tmp_path):
    a, b = register_trained(home.models, 3000), register_trained(home.models, 3500, trees=20)
    times = [datetime.fromtimestamp(int(market().open_ms[row]) / 1000, UTC) for row in (3200, 3600)]
    promote(home.models, a, times[0])
    promote(home.models, b, times[1])
    text = config.read_text().replace(ROLE, '"{symbol}/basic@as-of"').replace("T02:00", "T02:00, end: 2018-06-04")
    path = tmp_path / "past.yaml"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "bot", "parity", str(path), "--home", str(home.root), "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["identical"]
