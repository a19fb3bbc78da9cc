"""``bot live`` on input that it must refuse, and on accounts that it must not touch: a clear message, no order."""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
import small_models
from real_time_market import CONFIG, KEY, KEYS, SECRET, SIM, Steering, real_time_exchange, write_config

from bot.cli.main import main
from bot.exchange.announcement import Announcement
from bot.exchange.orders import OrderRequest
from bot.exchange.signing import ApiKey
from bot.live.client import KEY_VARIABLES
from bot.live.kill_switch import KillSwitch
from registry.store import PredictionModelRegistry

READ_ONLY = "rEaDoNlYkEy0123456789"
ORDERS = {"/api/v3/order", "/api/v3/orderList/oco", "/api/v3/openOrders"}


@pytest.fixture(scope="module")
def server():
    keys = (ApiKey(KEY, SECRET), ApiKey(READ_ONLY, SECRET, can_trade=False))
    with real_time_exchange(("BTCUSDT", "ETHUSDT"), keys=keys) as running:
        yield running
        assert running.strays == []


@pytest.fixture
def home(tmp_path):
    return tmp_path / "var"


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def write(tmp_path, server):
    """Write a config of ``mode: real`` at the server, changed as told."""

    def written(text=CONFIG, **changes):
        return write_config(tmp_path, text, **({"URL": server.url} if "URL" in text else {}), **changes)

    return written


@pytest.fixture
def run(home, capsys):
    """Run a command; no key may show in what it prints, nor in any file that it leaves."""

    def command(config, *words):
        code = main(["live", str(config), "--home", str(home), *words])
        printed = capsys.readouterr()
        for secret in (KEY, SECRET, READ_ONLY):
            assert secret not in printed.out + printed.err
            for path in home.rglob("*"):
                assert not path.is_file() or secret.encode() not in path.read_bytes()
        assert "Traceback" not in printed.err
        return code, printed.out, printed.err

    return command


@pytest.fixture
def refused(run, server):
    """Start for real money: refused in one message, and no order is sent; the pre-flight says the same, with exit code 3."""

    def start(config, says, *, code=2, preflight=True):
        before = sent(server)
        ended, out, err = run(config, "--real-money")
        assert (ended, out) == (code, "")
        assert err.startswith("error: ")
        assert says in err
        if preflight:
            ended, out, _ = run(config, "--real-money", "--check", "--json")
            assert ended == 3
            checks = json.loads(out)["checks"]
            assert any(check["level"] == "fail" and says in f"{check['words']}: {check['advice']}" for check in checks)
            assert json.loads(out)["ready"] is False
        assert sent(server) == before
        return err.removeprefix("error: ")

    return start


def sent(server):
    """Return how many orders and cancellations the exchange was ever asked for."""
    return sum(each["path"] in ORDERS and each["method"] != "GET" for each in server.requests)


# ---------------------------------------------------------------- what the config and the command line say


def test_real_money_must_be_said_twice(run, write):
    config = write()
    code, _, err = run(config)
    assert (code, err) == (
        2,
        f"error: {config}:7:33: mode real trades with money: say so on the command line, too: bot live ... --real-money\n",
    )
    paper = write(**{"mode: real": "mode: paper"})
    code, _, err = run(paper, "--real-money")
    assert code == 2
    assert "--real-money goes with mode: real; this config says paper" in err
    code, _, err = run(write(SIM + "live: {mode: real}\n"), "--real-money")
    assert code == 2
    assert "mode real needs a real exchange; sim is the local one" in err


@pytest.mark.parametrize("name", ["api_key", "apiKey", "secret", "api_secret", "password"])
@pytest.mark.parametrize("place", ["live: {", "broker: {"])
def test_a_key_in_the_config_is_refused_and_not_echoed(run, write, name, place):
    code, out, err = run(write(**{place: f"{place}{name}: {SECRET}, "}), "--real-money", "--json")
    assert code == 2
    assert f"{name!r} does not belong in a config: keys are read from the environment (see .env.example)" in err
    assert ":7:" in err if place == "live: {" else ":5:" in err
    assert json.loads(out)["exit_code"] == 2


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [
        ({"exchange: binance": "exchange: binnance"}, ":7:18: ", "did you mean 'binance'"),
        ({"exchange: binance": "exchange: kraken"}, ":7:18: ", "kraken cannot be traded with"),
        ({"BTCUSDT": "BTCUSD"}, ":3:", "has no spot market BTCUSD"),
        ({"timeframe: 1s": "timeframe: 7m"}, ":4:12: ", "binance has no candles of 7m"),
        ({"timeframe: 1s": "timeframe: 1w"}, ":4:12: ", "no closed candle of 1w"),
        ({"max_position: 0.9": "max_position: 0.0001"}, ":5:", "is too little for an order of BTCUSDT"),
        ({"cash: 10000": "cash: 10001"}, ":5:16: ", "holds 10,000.00 USDT, the books begin with 10,001.00"),
        ({"symbols: [BTCUSDT]": "symbols: [BTCUSDT, ETHUSDT]"}, ":5:16: ", "the books begin with 20,000.00"),
        ({"cash: 10000": "cash: 10000, price_tick: 0.1"}, ":5:35: ", "is 0.01 on binance, the config says 0.1"),
        ({"cash: 10000": "cash: 10000, min_notional: 0"}, ":5:37: ", "is 5 on binance, the config says 0"),
    ],
)
def test_what_the_exchange_or_the_account_does_not_have(refused, write, change, place, says):
    config = write(**change)
    message = refused(config, says)
    assert message.startswith(f"{config}{place}")


def test_everything_that_fails_is_told_at_once(refused, write):
    message = refused(write(**{"cash: 10000": "cash: 20000, lot_step: 0.1, min_notional: 7"}), "lot_step")
    assert len(message.splitlines()) == 2
    assert "min_notional of BTCUSDT is 5 on binance, the config says 7: write 5" in message


# ---------------------------------------------------------------- keys


@pytest.mark.parametrize("missing", [KEY_VARIABLES[:1], KEY_VARIABLES[1:], KEY_VARIABLES])
def test_missing_keys(refused, write, keys, missing):
    for name in missing:
        keys.setenv(name, "  ") if name == "BOT_API_KEY" else keys.delenv(name)
    message = refused(write(), "keys are read from the environment (see .env.example), never from a config")
    assert message.startswith(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set")


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("BOT_API_KEY", "wrong" + KEY, "binance refuses the keys: Invalid API-key, IP, or permissions for action."),
        ("BOT_API_SECRET", "wrong" + SECRET, "binance refuses the keys: Signature for this request is not valid."),
        ("BOT_API_KEY", f"'{KEY} '", "BOT_API_KEY holds letters that no key has"),
        ("BOT_API_SECRET", SECRET + "\N{NO-BREAK SPACE}\N{EN DASH}", "BOT_API_SECRET holds letters that no key has"),
        ("BOT_API_KEY", READ_ONLY, "may not trade"),
    ],
)
def test_keys_that_open_nothing(refused, write, keys, name, value, says):
    keys.setenv(name, value)
    refused(write(), says)


# ---------------------------------------------------------------- the exchange


def test_a_clock_that_is_off_by_a_minute(refused, run, write, server):
    clock = server.venue.clock
    try:
        clock.skew_ms = 60_000
        message = refused(write(), "this computer's clock is 60 s behind binance")
        assert "set it (timedatectl set-ntp true)" in message
        clock.skew_ms = -60_000
        refused(write(), "this computer's clock is 60 s ahead of binance")
        clock.skew_ms = 4_000
        code, out, _ = run(write(), "--check")  # to look needs no word about money
        assert code == 0
        assert "ready to trade (1 warning(s))" in out
        assert "ms behind binance" in out
    finally:
        clock.skew_ms = 0


def test_a_market_that_is_halted_or_gone(refused, write, server):
    try:
        server.call(lambda: server.exchange.set_status("ETHUSDT", "BREAK"))
        config = write(**{"[BTCUSDT]": "[BTCUSDT, ETHUSDT]", "cash: 10000": "cash: 5000"})
        message = refused(config, "ETHUSDT does not trade on binance now: it is halted or delisted")
        assert message.startswith(f"{config}:3:20: ")
    finally:
        server.call(lambda: server.exchange.set_status("ETHUSDT", "TRADING"))


def test_an_exchange_that_does_not_answer(refused, write, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and not listened to
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        config = write_config(tmp_path, CONFIG, URL=url)
        message = refused(config, "binance does not answer", code=1)
    assert message.endswith("a bot does not start blindly\n")


def test_a_market_that_was_delisted(refused, tmp_path):
    with real_time_exchange(("BTCUSDT", "ETHUSDT"), keys=(ApiKey(KEY, SECRET),)) as server:
        server.call(lambda: server.exchange.delist("BTCUSDT"))
        config = write_config(tmp_path, CONFIG, URL=server.url)
        assert ":3:10: " in refused(config, "binance has no spot market BTCUSDT")


# ---------------------------------------------------------------- the home


def test_the_pre_flight_looks_at_the_home_and_at_who_is_told(run, tmp_path, home, keys):
    config = write_config(tmp_path, SIM)

    def check(name):
        code, out, err = run(config, "--check", "--json")
        assert "hidden" not in out + err
        found = next(each for each in json.loads(out)["checks"] if each["name"] == name)
        assert code == (3 if found["level"] == "fail" else 0)
        return found["level"], found["words"]

    assert check("kill switch") == ("ok", "off")
    KillSwitch(home).engage("storm", close=True)
    assert check("kill switch") == (
        "warn",
        f"on, so the bot closes what is held, and opens nothing ({home / 'KILL'}: storm)",
    )
    KillSwitch(home).release()
    assert check("alerts")[0] == "ok"
    keys.setenv("BOT_ALERTS", "json://127.0.0.1:1/hidden nothing://hidden")
    assert check("alerts")[0] == "fail"
    keys.setenv("BOT_ALERTS", "json://127.0.0.1:1/hidden")
    assert check("alerts") == ("ok", "1 address(es)")
    assert check("state database") == ("ok", f"{home / 'state.db'} is sound")
    (home / "state.db").write_bytes(b"no database at all, " * 500)
    level, words = check("state database")
    assert level == "fail"
    assert "state.db" in words


def test_a_strategy_that_is_none(run, tmp_path):
    config = write_config(tmp_path, SIM, BuyAndHold="BuyAndHolt")
    code, _, err = run(config)
    assert code == 2
    assert f"{config}:2:11: " in err
    assert "did you mean 'BuyAndHold'" in err
    code, out, _ = run(config, "--check")
    assert code == 3
    assert "did you mean 'BuyAndHold'" in out


@pytest.mark.parametrize(
    ("change", "place", "says"),
    [({"timeframe": "1m"}, ":4:12: ", "has candles of 1m"), ({"symbols": ("BTCUSDT",)}, ":3:10: ", "not SYNTH")],
)
def test_a_local_exchange_of_another_market(run, tmp_path, home, change, place, says):
    known = Announcement("http://127.0.0.1:1", "key", "secret", ("SYNTHUSDT",), "1h", "accelerated", os.getpid())
    replace(known, **change).write(home)
    config = write_config(tmp_path, SIM)
    code, _, err = run(config)
    assert code == 2
    assert err.startswith(f"error: {config}{place}the local exchange at http://127.0.0.1:1")
    assert says in err
    code, _, err = run(config, "--speed", "60")
    assert code == 2
    assert "has its own speed" in err


# ---------------------------------------------------------------- models

ML = """\
name: trial
strategy: MLBasic
params: {min_edge: none}
symbols: [BTCUSDT]
timeframe: 1h
data: {exchange: local}
models: {prediction: ROLE}
live: {exchange: binance, mode: real, endpoint: "URL"}
"""


@pytest.fixture
def registered(home):
    """Register the small model as BTCUSDT/basic of 1h; return the registry and the version."""
    registry = PredictionModelRegistry(home / "models")
    return registry, registry.register(small_models.KEY, small_models.bundle_files(), at=small_models.AT).version_id


def checks_of(run, config):
    """Return the checks of the pre-flight by name; the market of 1h is too young, so it fails."""
    _, out, _ = run(config, "--real-money", "--check", "--json")
    return {check["name"]: check for check in json.loads(out)["checks"]}


def test_a_model_that_is_missing_or_of_another_timeframe(refused, run, write, registered):
    message = refused(write(ML, ROLE='"{symbol}/risk@latest"'), "no model BTCUSDT/1h/risk", code=2)
    assert ":7:" in message
    other = write(ML, ROLE='"{symbol}/basic@latest"', **{"timeframe: 1h": "timeframe: 5m"})
    assert "5m" in refused(other, "no model BTCUSDT/5m/basic", code=2)
    code, _, err = run(write(ML, ROLE='"{symbol}/basic@newest"'), "--real-money")
    assert code == 2
    assert "@newest is for research" in err


def test_what_is_told_of_the_age_of_each_model(run, trade, tmp_path, registered, home):
    registry, version = registered
    sim = ML.replace('live: {exchange: binance, mode: real, endpoint: "URL"}', "broker: {cash: 10000}").replace(
        "data: {exchange: local}", "data: {synth: {bars: 4000, edge: 0.2, seed: 3}, start: 2018-05-10}"
    )

    def check(text, role="BTCUSDT prediction"):
        code, out, _ = run(write_config(tmp_path, text), "--check", "--json")
        found = json.loads(out)
        assert code == 0
        assert found["ready"]
        return next(each for each in found["checks"] if each["name"] == role)

    def said(text):
        def first_bar(bot):
            bot.wait_for(lambda status: status.state == "running" and status.symbols[0].predictions, "prediction")

        code, _, _ = trade(write_config(tmp_path, text), first_bar, "--speed", "36000", "--new-run")
        assert code == 0
        symbol = Steering(home).status().symbols[0]
        assert not symbol.position
        return symbol.predictions[0].status

    role = '"{symbol}/basic@latest"'
    assert said(sim.replace("ROLE", role)) == "no_model"
    found = check(sim.replace("ROLE", role))
    assert found["level"] == "warn"
    assert found["words"] == "BTCUSDT/basic@latest has no champion of 1h: no position is opened (status no_model)"
    registry.promote(small_models.KEY, version, at=datetime(2026, 1, 3, tzinfo=UTC), reason="test")
    found = check(sim.replace("ROLE", role))
    assert found["level"] == "ok"
    assert found["words"].endswith("(champion), trained until 2018-05-06T00:00:00Z, 96 bars ago")
    found = check(sim.replace("ROLE", f"{{model: {role}, max_age: 4d}}"))
    assert found["level"] == "ok"
    found = check(sim.replace("ROLE", f"{{model: {role}, max_age: 95h}}"))
    assert found["level"] == "warn"
    assert "is expired" in found["words"]
    assert said(sim.replace("ROLE", f"{{model: {role}, max_age: 95h}}")) == "expired"
    found = check(sim.replace("ROLE", role).replace("2018-05-10", "2018-05-01"))
    assert found["level"] == "warn"
    assert "the market to come is in its training data" in found["words"]


# ---------------------------------------------------------------- an account that somebody else trades


@pytest.fixture
def trade(run, home):
    """Trade until a thread that steers the bot is done; returns the exit code and what was printed."""

    def traded(config, steer, *words):
        problems = []

        def work():
            bot = Steering(home)
            try:
                steer(bot)
            except BaseException as error:
                problems.append(error)
            finally:
                bot.tell("stop")

        thread = threading.Thread(target=work)
        thread.start()
        ended = run(config, *words)
        thread.join()
        if problems:
            raise AssertionError(ended[2]) from problems[0]
        return ended

    return traded


def holding(bot):
    return bot.wait_for(lambda status: status.state == "running" and status.symbols[0].position, "position")


def running(bot):
    return bot.wait_for(lambda status: status.state in {"running", "paused"}, "running")


@pytest.fixture
def own_server():
    with real_time_exchange(keys=(ApiKey(KEY, SECRET),)) as running:
        yield running


def test_what_somebody_else_did_to_the_account(trade, run, tmp_path, own_server):
    server = own_server
    config = write_config(tmp_path, CONFIG, URL=server.url)
    code, out, _ = trade(config, holding, "--real-money")
    assert code == 0
    assert "stopped after" in out

    price = server.call(lambda: server.exchange.last_price("BTCUSDT"))
    low = (price * 9 / 10).quantize(price)
    foreign = OrderRequest("BTCUSDT", "BUY", "LIMIT", Decimal("0.001"), None, low, None, "GTC", "by-hand")
    server.call(lambda: server.venue.desk.place(foreign))
    code, _, err = run(config, "--real-money")
    assert code == 2
    assert "the open order by-hand is not ours. Somebody else has traded here" in err
    server.call(lambda: server.venue.desk.cancel("BTCUSDT", None, "by-hand"))

    sale = replace(foreign, client_id="manual", kind="MARKET", price=None, time_in_force=None)
    server.call(lambda: server.venue.desk.place(sale))
    code, out, err = run(config, "--real-money", "--check")
    assert code == 3
    assert "the journal explains" in out
    code, _, err = run(config, "--real-money")
    assert code == 2
    assert "BTC, the journal explains" in err
    assert "bot live CONFIG --accept-account" in err

    code, _, _ = trade(config, running, "--real-money", "--accept-account")
    assert code == 0
    code, _, _ = trade(config, running, "--real-money")  # accepted once and for all
    assert code == 0


@pytest.mark.parametrize("where", ["a dry run", "the local exchange"])
def test_a_config_that_changed_while_a_position_is_open_and_while_none_is(trade, run, tmp_path, home, server, where):
    paper = {"URL": server.url, "mode: real": "mode: paper"} if where == "a dry run" else {}
    text, speed = (CONFIG, ()) if paper else (SIM, ("--speed", "36000"))

    def config(**changes):
        return write_config(tmp_path, text, **paper, **changes)

    assert trade(config(), holding, *speed)[0] == 0
    changed = config(**{"stop_loss: 0.2": "stop_loss: 0.1"})
    code, _, err = run(changed)
    assert code == 2
    assert "still holds" in err
    assert "risk.stop_loss: 0.2 became 0.1" in err
    assert "Put the config back and go on, or close the position first" in err
    code, _, err = run(config(), "--new-run")
    assert code == 2
    assert "a new run was asked for" in err

    def close(bot):
        running(bot)
        ok, text, seconds = bot.tell("close-all")
        assert ok
        assert "sold" in text
        assert seconds < 1.0
        bot.wait_for(lambda status: not status.symbols[0].position, "sale")

    code, out, _ = trade(config(), close, *speed)
    assert code == 0
    before = Steering(home).status()
    assert before.cash == before.value != 10_000  # a sale later than usual may gain

    changed = config(**{"stop_loss: 0.2": "stop_loss: 0.1"})
    code, out, _ = trade(changed, running, *speed)
    assert code == 0
    assert "the earlier run is closed; this one begins with its cash" in out
    after = Steering(home).status()
    assert after.run_id != before.run_id
    assert after.initial_value == pytest.approx(before.cash, abs=1e-8)
