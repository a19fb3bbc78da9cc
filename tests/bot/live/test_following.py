"""Live bots that follow the champion: who is told, what a role takes and when, and that a replay takes the same."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from backtest_runs import config_text
from live_statuses import live_status
from past_champions import market, promote, register_trained, registry_of
from path_models import path_settings

from bot.assembly import assemble_backtest
from bot.config.loader import parse_config
from bot.home import Home
from bot.live.control import Control
from bot.live.following import Follower, Turn, first_bar_ms, followers, note_followers, tell_followers
from bot.live.opening import choose_all, open_run, run_differences
from bot.live.runner import LiveRun
from bot.live.venue import embedded_server, embedded_venue
from bot.live.versions import put_in_force, scheduled_choices
from bot.market.store import CandleStore
from bot.parity.recorded import decision_rows
from bot.parity.replay import replay_run
from bot.state import StateDatabase
from ml.engine import PredictionEngine
from ml.engines import open_engine
from ml.errors import InvalidParameter
from ml.predictions import PREDICTION_COLUMNS, Status
from ml.training.trainer import train
from registry.names import ModelKey

KEY = ModelKey("BTCUSDT", "basic", "1h")
HOUR = 3_600_000
FIRST = 3_530
START = "2018-05-28T02:00"  # of that row
NOW = datetime(2026, 11, 28, tzinfo=UTC)
FOLLOW = '{model: "{symbol}/basic@latest", follow: true}'


def config(role=FOLLOW, **changes):
    text = config_text(when=f", start: {START}", **{'"{symbol}/basic@newest"': role, **changes})
    return parse_config(text, "run.yaml")


class Lives:
    """One life after another of a bot that trades dry on a market in lockstep; each ends at a bar."""

    def __init__(self, folder, role=FOLLOW):
        self.home = Home(folder)
        CandleStore(self.home.candles).write(market(), "BTCUSDT", "local")
        self.models = [
            register_trained(self.home.models, bars, trees=trees) for bars, trees in ((3000, 12), (3500, 20))
        ]
        self.file = config(role)
        self.state = StateDatabase(self.home.state_db)
        self._server = None

    def _venue(self):
        if self._server is None:
            assembly = assemble_backtest(config('"{symbol}/basic@newest"'), "BTCUSDT", self.home)
            assert assembly.trade_from_ms == market().open_ms[FIRST]
            self._series = {"BTCUSDT": (assembly.candles.slice(0, assembly.first_row), assembly.trade_from_ms)}
            parts = {"BTCUSDT": assembly.candles}, {"BTCUSDT": assembly.rules}
            self._server = embedded_server(self.file, *parts, assembly.trade_from_ms)
            self._server.start()
        venue = embedded_venue(self._server, self._series, lockstep=True)
        settings = replace(venue.settings, trades=False)
        return replace(venue, trades=False, mode="dry", settings=settings)

    def open(self, last=None, file=None, **options):
        venue, file = self._venue(), file or self.file
        choices = choose_all(file, self.home)
        opened = open_run(file, self.home, self.state, venue, choices=choices, now_ms=lambda: 1)
        last_ms = None if last is None else int(market().open_ms[last])
        run = LiveRun(file, self.home, self.state, venue, opened, last_bar_ms=last_ms, **options)
        run.prepare()
        return run

    def play(self, last, file=None):
        run = self.open(last, file)
        run.start()
        run.wait()
        run.venue.gateway.close()
        return run

    def promote(self, number, after=0):
        promote(self.home.models, self.models[number], NOW + timedelta(seconds=after))

    def versions(self):
        """Return version and status of the prediction at each bar that was traded, as they were written down."""
        run = self.state.rows("SELECT run_id FROM live_runs ORDER BY rowid DESC LIMIT 1")[0]["run_id"]
        rows = decision_rows(self.state, run, "BTCUSDT")
        said = [row["predictions"]["prediction"] for row in rows]
        assert [row["open_ms"] for row in rows] == market().open_ms[FIRST : FIRST + len(rows)].tolist()
        return [(each["version"], each["status"]) for each in said], [
            [each["values"][name] for name in PREDICTION_COLUMNS] for each in said
        ]

    def assert_replays(self, run):
        replay = replay_run(self.state, run.run, self.home)
        assert replay.is_identical, replay.symbols[0].first.words()
        assert replay.unwritten <= 1  # the bar with which the last life ended

    def close(self):
        self.state.close()
        if self._server is not None:
            self._server.stop()


@pytest.fixture
def lives(tmp_path):
    found = Lives(tmp_path / "home")
    yield found
    found.close()


def assert_said(lives, spans):
    """Check each bar against what the version of its span says alone."""
    versions, values = lives.versions()
    row = FIRST
    for model, bars in spans:
        part = versions[row - FIRST : row - FIRST + bars]
        if model is None:
            assert part == [(None, "no_model")] * bars
        else:
            batch = open_engine(model).predict_batch(market().slice(0, row + bars))
            assert part == [(model.version_id, "ok")] * bars
            found = np.array(values[row - FIRST : row - FIRST + bars], dtype=float)
            np.testing.assert_array_equal(found, batch.values[row:])
        row += bars
    assert len(versions) == row - FIRST


def test_each_life_begins_with_the_champion_of_now_and_a_replay_takes_the_same(lives):
    a, b = lives.models
    registry = registry_of(lives.home.models)
    run = lives.play(FIRST + 19)  # there is no champion yet
    lives.promote(0)
    run = lives.play(FIRST + 39)
    assert run.opened.notes == (f"BTCUSDT: {a} answers prediction from the next bar on",)
    lives.promote(1, 1)
    run = lives.play(FIRST + 59)
    registry.quarantine(KEY, b.version_id, at=NOW + timedelta(seconds=2), reason="its hit rate fell")
    run = lives.play(FIRST + 79)
    assert run.opened.notes == (
        "BTCUSDT: prediction has no model from the next bar on (quarantined: its hit rate fell)",
    )
    said = run.board.status("running").symbols[0].predictions[0]
    assert (said.status, said.version, said.detail) == ("no_model", None, "quarantined: its hit rate fell")
    run = lives.play(FIRST + 89)  # nothing has changed
    assert run.opened.notes == ()
    assert run.board.status("running").symbols[0].predictions[0].detail == "quarantined: its hit rate fell"
    lives.promote(0, 3)
    run = lives.play(FIRST + 99)
    assert_said(lives, [(None, 20), (a, 20), (b, 20), (None, 30), (a, 10)])
    lives.assert_replays(run)
    assert len(lives.state.rows("SELECT 1 FROM live_runs")) == 1


def test_one_that_does_not_follow_goes_on_with_what_it_began_with(lives):
    a, b = lives.models
    lives.promote(0)
    lives.file = config('"{symbol}/basic@latest"')
    lives.play(FIRST + 9)
    lives.promote(1, 1)
    run = lives.play(FIRST + 19)
    assert run.opened.notes[0].startswith(
        f"BTCUSDT: the run goes on with {a}; {b} is what BTCUSDT/basic@latest means now"
    )
    assert_said(lives, [(a, 20)])
    run = lives.play(FIRST + 29, config(FOLLOW))  # to follow from now on is no other run
    assert_said(lives, [(a, 20), (b, 10)])
    lives.assert_replays(run)


def test_as_of_is_the_champion_of_now_and_follows(tmp_path):
    lives = Lives(tmp_path / "home", '"{symbol}/basic@as-of"')
    lives.promote(1)
    lives.play(FIRST + 9)
    lives.promote(0, 1)
    run = lives.play(FIRST + 19)
    assert_said(lives, [(lives.models[1], 10), (lives.models[0], 10)])
    lives.assert_replays(run)
    lives.close()


def told(lives, run, **arguments):
    """Send a command to a run that is watched, and return the answer."""
    control = Control(lives.state, "run", lambda: time.time_ns() // 1_000_000)
    answer = control.wait(control.send("deploy-model", {"role": "prediction", "model": "x", **arguments}), 30)
    assert answer is not None
    return answer


class Watched:
    """A run that is watched in a thread, as ``bot live`` watches it, held at its first bars until the block ends."""

    def __init__(self, lives, last):
        self.alerts, self.gate = [], threading.Event()
        self.run = lives.open(last, on_alert=lambda *alert: self.alerts.append(alert))
        ready, self._bars = self.run.store.on_ready, 0

        def on_ready(symbol):
            self._bars += 1
            if self._bars == 2:  # after the replay, and one bar of the market
                assert self.gate.wait(60)
            ready(symbol)

        self.run.store.on_ready = on_ready
        self.control = Control(lives.state, "run", lambda: time.time_ns() // 1_000_000)
        self.thread = threading.Thread(target=self.run.watch, args=(self.control, lambda _status: None))

    def __enter__(self):
        self.run.start()
        self.thread.start()
        while not self.control.is_running() or self._bars < 2:
            time.sleep(0.005)
        return self

    def __exit__(self, *_):
        self.gate.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        self.run.venue.gateway.close()


def test_a_running_bot_that_is_told_takes_the_champion_between_two_bars(lives):
    a, b = lives.models
    lives.promote(0)
    note_followers(lives.state, lives.file)
    with Watched(lives, FIRST + 30) as watched:
        lives.promote(1, 1)
        assert tell_followers(lives.state, KEY, b.version_id, "shown better") == (
            Follower("run", "BTCUSDT", "prediction"),
        )
        while not any("answers prediction" in text for _, text in watched.alerts):
            time.sleep(0.005)
        # a command of yesterday, of the champion that was: the ledger knows better
        old = told(lives, watched.run, follow=True, versions={"BTCUSDT": str(a)})
        assert (old.ok, old.text) == (True, "prediction: the champion answers already")
    assert ("lifecycle", f"BTCUSDT: {b} answers prediction from the next bar on: shown better") in watched.alerts
    assert_said(lives, [(a, 1), (b, 30)])
    lives.assert_replays(watched.run)
    assert tell_followers(lives.state, KEY, a.version_id, "nobody runs") == ()


def test_a_champion_that_is_withdrawn_while_the_bot_starts_is_found_out_by_itself(lives):
    lives.promote(0)
    watched = Watched(lives, FIRST + 10)
    registry_of(lives.home.models).withdraw(KEY, at=NOW + timedelta(seconds=1), reason="by hand")  # told to nobody
    with watched:
        while not any("has no model" in text for _, text in watched.alerts):
            time.sleep(0.005)
    assert ("lifecycle", "BTCUSDT: prediction has no model from the next bar on (withdrawn: by hand)") in watched.alerts
    versions, _ = lives.versions()
    assert versions[2:] == [(None, "no_model")] * 9
    lives.assert_replays(watched.run)


def test_none_by_hand_and_twice_between_two_bars(lives):
    a, b = lives.models
    lives.file = config('"{symbol}/basic@latest"')
    lives.promote(0)
    with Watched(lives, FIRST + 20) as watched:
        first = told(lives, watched.run, versions={"BTCUSDT": str(b)})
        assert (first.ok, first.text) == (True, f"BTCUSDT: {b} answers prediction from the next bar on")
        none = told(lives, watched.run, versions={"BTCUSDT": "BTCUSDT/basic@none"})
        assert (none.ok, none.text) == (True, "BTCUSDT: prediction has no model from the next bar on (by command)")
    said = watched.run.board.status("stopped").symbols[0].predictions[0]
    assert (said.status, said.detail) == ("no_model", "by command")
    run = lives.play(FIRST + 30)
    assert run.board.status("running").symbols[0].predictions[0].detail == "none was deployed"
    assert run.opened.notes[0].startswith("BTCUSDT: the run goes on without a model; ")
    assert_said(lives, [(a, 1), (None, 30)])
    lives.assert_replays(run)


@pytest.mark.parametrize("policy", ["hold", "close"])
def test_without_a_model_nothing_is_opened_and_the_policy_decides_what_is_held(lives, policy):
    patient = {"enter: 0.52, exit: 0.48": "enter: 0.5, exit: 0.05", "risk: {": f"risk: {{on_no_model: {policy}, "}
    lives.file = config(**patient)
    lives.promote(0)
    run = lives.play(FIRST + 10)
    assert run.journal.held("BTCUSDT")
    registry_of(lives.home.models).quarantine(
        KEY, lives.models[0].version_id, at=NOW + timedelta(seconds=1), reason="x"
    )
    run = lives.play(FIRST + 40)
    placed = [(row.ticket.role, row.state) for row in run.journal.orders.values()]
    if policy == "hold":
        assert placed == [("entry", "filled"), ("stop", "open")]
    else:
        assert placed == [("entry", "filled"), ("stop", "cancelled"), ("exit", "filled")]
    lives.assert_replays(run)


def test_what_cannot_take_over_leaves_what_is_in_force_unless_that_is_quarantined(lives):
    a = lives.models[0]
    lives.promote(0)
    lives.play(FIRST + 4)
    far = register_trained(lives.home.models, 3000, horizon=3)
    promote(lives.home.models, far, NOW + timedelta(seconds=1))
    run = lives.play(FIRST + 9)
    assert run.opened.notes[0].startswith(f"BTCUSDT: the run goes on with {a}: {far} cannot take over from {a}")
    registry_of(lives.home.models).quarantine(KEY, a.version_id, at=NOW + timedelta(seconds=2), reason="drift")
    run = lives.play(FIRST + 14)
    assert f"{a.version_id} is quarantined" in run.opened.notes[0]
    assert_said(lives, [(a, 10), (None, 5)])
    lives.assert_replays(run)


def test_what_is_not_on_the_disk_does_not_count(lives, monkeypatch):
    lives.promote(0)
    run = lives.open()
    bound = run.opened.choices["BTCUSDT"].models[0]
    before = bound.engine.engines
    from_ms = int(market().open_ms[FIRST + 5])
    monkeypatch.setattr(lives.state, "execute", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        put_in_force(lives.state, run.run.run_id, "BTCUSDT", bound, from_ms, open_engine(lives.models[1]))
    monkeypatch.undo()
    assert bound.engine.engines == before
    bound.engine.predict_newest(market().slice(0, FIRST + 6))
    with pytest.raises(InvalidParameter, match="answered already"):
        put_in_force(lives.state, run.run.run_id, "BTCUSDT", bound, from_ms, PredictionEngine(None))
    assert len(lives.state.rows("SELECT 1 FROM live_models")) == 1
    run.venue.gateway.close()


def trained_path(root):
    """Register a model of paths of that symbol."""
    key = ModelKey("BTCUSDT", "autoregressive", "1h")
    files = train(market(), key, path_settings("autoregressive"), at=NOW, code_version="test").files
    return registry_of(root).register(key, files, at=NOW)


# ---------------------------------------------------------------- who follows


@pytest.fixture
def state(tmp_path):
    with StateDatabase(tmp_path / "state.db") as opened:
        yield opened


def test_followers_are_those_of_the_last_start_of_each_bot(state):
    two = {"symbols: [BTCUSDT]": "symbols: [BTCUSDT, ETHUSDT]"}
    note_followers(state, config(**two, **{"name: run": "name: two"}))
    note_followers(state, config('"BTCUSDT/basic@as-of"'))
    assert followers(state, KEY) == (Follower("run", "BTCUSDT", "prediction"), Follower("two", "BTCUSDT", "prediction"))
    assert followers(state, ModelKey("ETHUSDT", "basic", "1h")) == (Follower("two", "ETHUSDT", "prediction"),)
    assert followers(state, ModelKey("BTCUSDT", "basic", "4h")) == ()
    note_followers(state, config('"BTCUSDT/basic@latest"'))
    assert followers(state, KEY) == (Follower("two", "BTCUSDT", "prediction"),)


def test_only_bots_that_run_are_told_and_a_shared_model_is_told_once(state):
    role = '{model: "BTCUSDT/basic@latest", follow: true, shared: true}'
    note_followers(state, config(role, **{"symbols: [BTCUSDT]": "symbols: [BTCUSDT, ETHUSDT]"}))
    note_followers(state, config(**{"name: run": "name: down"}))
    now = time.time_ns() // 1_000_000
    for name, word in (("run", "running"), ("down", "stopped")):
        Control(state, name, lambda: now).publish(live_status(bot=name, heartbeat_ms=now, state=word))
    assert tell_followers(state, KEY, None, "drift", clock=lambda: now) == (
        Follower("run", "BTCUSDT", "prediction"),
        Follower("run", "ETHUSDT", "prediction"),
    )
    (command,) = Control(state, "run", lambda: now).pending()
    assert command.arguments == {
        "role": "prediction",
        "model": "BTCUSDT/basic@none",
        "versions": {"BTCUSDT": "BTCUSDT/basic@none", "ETHUSDT": "BTCUSDT/basic@none"},
        "follow": True,
        "reason": "drift",
    }
    assert Control(state, "down", lambda: now).pending() == []


def test_in_real_time_a_bar_that_closed_before_the_promotion_keeps_its_version(lives):
    turn = Turn(open_engine(lives.models[0]), 10 * HOUR + 500, "")
    assert first_bar_ms(turn, 9 * HOUR, "1h", follows_wall=True) == 9 * HOUR + 500  # the bar of 09:00 closed at 10:00
    assert first_bar_ms(turn, 10 * HOUR, "1h", follows_wall=True) == 10 * HOUR
    assert first_bar_ms(turn, 9 * HOUR, "1h", follows_wall=False) == 9 * HOUR
    assert first_bar_ms(replace(turn, promoted_ms=None), 9 * HOUR, "1h", follows_wall=True) == 9 * HOUR


def test_whether_a_role_follows_is_no_other_config():
    assert (
        run_differences(config(FOLLOW).config.to_dict(), config('{model: "{symbol}/basic@latest"}').config.to_dict())
        == []
    )
    other = run_differences(config(FOLLOW).config.to_dict(), config('"{symbol}/basic@as-of"').config.to_dict())
    assert other == ["models.prediction.model: {symbol}/basic@latest became {symbol}/basic@as-of"]


def test_a_role_that_reads_paths_is_known_as_such_before_it_has_a_model(lives):
    text = config_text(
        when=f", start: {START}",
        **{
            "strategy: MLBasic": "strategy: MLPredictive",
            "{enter: 0.52, exit: 0.48, min_edge: none}": "{}",
            'prediction: "{symbol}/basic@newest"': 'forecast: {model: "{symbol}/autoregressive@latest", follow: true}',
        },
    )
    model = trained_path(lives.home.models)
    choices = scheduled_choices(choose_all(parse_config(text, "run.yaml"), lives.home), "1h")
    bound = choices["BTCUSDT"].models[0]
    assert (bound.model, bound.absence) == (None, "no version was promoted")
    bound.engine.deploy(int(market().open_ms[FIRST]), open_engine(model))
    found = bound.engine.summaries(market(), (1, 5))
    assert (found.status[:FIRST] == Status.NO_MODEL).all()
    assert (found.status[FIRST:] == Status.OK).all()
