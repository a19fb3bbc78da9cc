"""``bot serve`` as a user meets it: what it refuses to start with, how it ends, its tokens, curl and the client."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from path_models import AT, path_settings
from service_server import QUICK, ROOT, Asked, command, fill_home, put, served

import bot.service.client
from bot.cli.main import main
from bot.home import Home
from bot.market.store import CandleStore
from ml.engines import open_bundle
from ml.synthetic import synthetic_candles
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

MINUTES = ModelKey("BTCUSDT", "multi_ohlc", "1m")
BTC = {"symbol": "BTC_USDT", "timeframe": "1h"}
HIDING = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] == "fastapi" else found(name, path, target)
PathFinder.find_spec = find_spec
"""
AS_NOBODY = """
import os, sys
import uvicorn
import bot.cli.serve, bot.service.app, bot.service.context
from bot.cli.main import main
if os.geteuid() == 0:
    os.seteuid(65534)  # root may write everything
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """A server on a home with a champion of hours and, as in the examples, one of minutes."""
    home = fill_home(tmp_path_factory.mktemp("home"))
    candles = synthetic_candles(4_000, path_drift=0.3, seed=3, timeframe="1m")
    CandleStore(home.candles).write(candles, "BTCUSDT", "local")
    files = train(candles, MINUTES, path_settings("multi_ohlc"), at=AT, code_version="test").files
    put(PredictionModelRegistry(home.models, open_runner=open_bundle), MINUTES, files, AT)
    with served(home.root) as server:
        yield server


@pytest.fixture
def running(first):
    """That server; started again where a test before has ended it, so tests may."""
    if first.process.poll() is not None:
        first.restart()
    return first


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A server on a home that holds nothing, at every address of this machine."""
    home = tmp_path_factory.mktemp("empty") / "home"
    with served(home, "--host", "0.0.0.0", "--allow-remote") as server:
        yield Asked(server.url.replace("0.0.0.0", "127.0.0.1"), server.token), Home(home)


@pytest.fixture
def call(capsys):
    """Return what calls ``bot serve`` in this process, for what ends before anything is served."""

    def called(*words):
        code = main(["serve", *map(str, words)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return called


def run(*words, script=None, env=None, seconds=60):
    """Run ``bot serve`` to its end; returns code, what it wrote, and its error."""
    line = command(*words) if script is None else [sys.executable, "-c", script, "serve", *map(str, words)]
    done = subprocess.run(
        line,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=seconds,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "ignore", **(env or {})},
    )
    return done.returncode, done.stdout, done.stderr


def refused(code, out, err, *words):
    """Check that a start was refused in one line."""
    assert code != 0
    assert err.startswith("error: "), err
    assert len(err.strip().splitlines()) == 1
    for word in words:
        assert word in err
    assert json.loads(out)["error"] == err.removeprefix("error: ").strip()


# ---------------------------------------------------------------- what it does not start with


def test_a_port_that_is_taken_is_named(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(*run("--port", port, "--home", tmp_path / "home", "--json"), f"127.0.0.1:{port}", "--port")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
def test_other_machines_are_not_served_unless_that_is_said(call, tmp_path, host):
    found = call("--host", host, "--port", "0", "--home", tmp_path / "home", "--json")
    refused(*found, "--allow-remote", "TLS")
    assert found[0] == 2
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("host", ["example.com", "localhost.", "127.0.0.1:80", ""])
def test_a_host_that_is_no_address_is_refused(call, tmp_path, host):
    refused(*call("--host", host, "--port", "0", "--home", tmp_path / "home", "--json"), "--host")


def test_settings_that_are_not_there_are_refused(tmp_path):
    found = run("--settings", tmp_path / "none.yaml", "--port", "0", "--home", tmp_path / "home", "--json")
    refused(*found, "none.yaml", "no such file")
    assert found[0] == 2
    assert not (tmp_path / "home").exists()


def test_an_address_of_another_machine_cannot_be_listened_at(tmp_path):
    found = run("--host", "192.0.2.1", "--allow-remote", "--port", "0", "--home", tmp_path / "home", "--json")
    refused(*found, "192.0.2.1")


def test_with_leave_it_is_reached_from_everywhere_and_asks_for_a_token_all_the_same(empty):
    where, _ = empty
    assert where.ask("GET", "/api/models", headers={"Host": "bot.example"}).document == []
    assert where.ask("GET", "/api/models", token=None).status == 401


def test_a_missing_library_is_named_with_the_command_that_installs_it(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    found = run("--port", "0", "--home", tmp_path / "home", "--json", env={"PYTHONPATH": path})
    refused(*found, "fastapi", "pip install 'mlbot[api]'")
    assert found[0] == 2


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_home_that_is_read_only_is_refused(tmp_path, mode):
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents:
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o011)
    home = tmp_path / "home"
    home.mkdir(mode=mode)
    found = run("--port", "0", "--home", home, "--json", script=AS_NOBODY)
    home.chmod(0o755)
    refused(*found, str(home))
    assert list(home.iterdir()) == []


def test_a_second_server_on_a_home_is_refused_and_the_first_goes_on(running):
    refused(*run("--port", "0", "--home", running.home, "--json"), f"process {running.process.pid}", "--home")
    assert running.get("/api/health").document["ok"] is True


# ---------------------------------------------------------------- while it runs


def test_a_database_that_another_process_locks_is_a_503_for_as_long(running):
    assert running.get("/api/predictions", **BTC).status == 200
    jobs = running.get("/api/jobs").document
    with closing(sqlite3.connect(running.home / "state.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        began = time.monotonic()
        answer = running.post("/api/models/train?wait=0", {**QUICK, "seed": 1})
        seconds = time.monotonic() - began
        assert answer.status == 503, answer
        assert answer.headers["retry-after"]
        assert answer.headers["content-type"] == "application/problem+json"
        assert str(running.home) not in answer.data.decode()
        assert seconds <= 6
        assert running.get("/api/predictions", **BTC).status == 200  # who only reads does not wait
        assert running.get("/api/jobs").document == jobs
        other.execute("ROLLBACK")
    done = running.post("/api/models/train?wait=60", {**QUICK, "seed": 1})
    assert done.status == 200, done


def test_a_signal_ends_it_in_order_whoever_still_listens(running):
    job_id = running.post("/api/models/train?wait=0", {**QUICK, "seed": 2}).document["id"]
    for number in (signal.SIGINT, signal.SIGTERM):
        with (
            running.opened("GET", "/api/live/events") as bots,
            running.opened("GET", f"/api/jobs/{job_id}/events") as watched,
        ):
            assert bots.status == 200
            assert watched.readline()
            began = time.monotonic()
            out, err = running.end(number)
            assert time.monotonic() - began <= 10
        assert running.process.returncode in {0, 130}
        assert "Traceback" not in err
        assert "Traceback" not in out
        running.restart()
    done = running.job(job_id)
    assert (done["status"], done["attempts"]) == ("completed", 1)


def test_a_training_that_was_killed_with_its_server_is_done_by_the_next_and_once(running):
    job_id = running.post("/api/models/train?wait=0", {**QUICK, "seed": 4}).document["id"]
    end = time.monotonic() + 30
    while running.get(f"/api/jobs/{job_id}").document["status"] != "running":
        assert time.monotonic() < end
        time.sleep(0.02)
    running.kill()
    running.restart()
    done = running.job(job_id)
    assert (done["status"], done["attempts"]) == ("completed", 2)
    registry = PredictionModelRegistry(running.home / "models")
    jobs = [each.metadata.get("job") for each in registry.list_bundles()]
    assert jobs.count(job_id) == 1
    assert registry.validate() == []


def test_tensorflow_is_not_loaded(running):
    assert running.get("/api/predictions", **BTC).status == 200
    assert running.post("/api/models/train?wait=60", {**QUICK, "seed": 3}).status == 200
    assert running.get("/api/metrics").status == 200
    maps = Path(f"/proc/{running.process.pid}/maps").read_text()
    assert "onnxruntime" not in maps or "numba" in maps  # the file is that of the server
    for name in ("tensorflow", "keras", "xgboost", "sklearn"):
        assert name not in maps


# ---------------------------------------------------------------- tokens


def test_the_token_is_shown_once_and_stands_nowhere(tmp_path):
    with served(tmp_path / "home") as server:
        token = server.token
        assert token is not None
        assert server.get("/api/version").status == 200
        assert server.ask("GET", "/api/version", token="wrong").status == 401
        out, err = server.end()
        said = [out, err]
        server.restart()
        assert server.get("/api/version").status == 200  # it is the same token still
        stored = server.home / "service" / "tokens.json"
        assert stat.S_IMODE(stored.stat().st_mode) == 0o600
        for path in server.home.rglob("*"):
            if path.is_file():
                assert token.encode() not in path.read_bytes(), path
        said += server.end()
    assert not [text for text in said if token in text or "mlbot_" in text]


def test_where_only_readers_have_tokens_a_start_makes_one_that_may_write(call, tmp_path):
    home = tmp_path / "home"
    code, out, _ = run("token", "create", "owner", "--home", home, "--json")
    reader = json.loads(out)
    assert (code, reader["scope"]) == (0, "read")
    with served(home) as server:
        assert server.token is not None
        absent = {"symbol": "BTC_USDT", "timeframe": "1h"}
        assert server.ask("POST", "/api/models/train", absent, token=reader["token"]).status == 403
        assert server.post("/api/models/train", absent).status == 404  # it may write; there are no candles
        listed = json.loads(call("token", "list", "--home", home, "--json")[1])["tokens"]
        assert [(each["name"], each["scope"]) for each in listed] == [("owner", "read"), ("owner-2", "write")]
        server.end()
        server.restart()
        assert server.get("/api/models").status == 200  # the same token still
        assert len(json.loads(call("token", "list", "--home", home, "--json")[1])["tokens"]) == 2


def test_a_person_is_shown_the_token_and_how_to_use_it(tmp_path):
    process = subprocess.Popen(
        command("--port", "0", "--home", tmp_path / "home"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "curl" in line:
                break
        text = "".join(lines)
        url = re.search(r"http://127\.0\.0\.1:\d+", text)[0]
        token = re.search(r"mlbot_\S+", text)[0]
        assert Asked(url, token).get("/api/models").document == []
    finally:
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode in {0, 130}, err) == (True, "")
    assert token not in out


def test_tokens_are_made_listed_and_taken_back_while_it_runs(call, running):
    def tokens(*words):
        code, out, err = call("token", *words, "--home", running.home, "--json")
        return code, json.loads(out), err

    code, made, _ = tokens("create", "phone")
    assert (code, made["name"], made["scope"]) == (0, "phone", "read")
    assert running.ask("GET", "/api/models", token=made["token"]).status == 200
    assert running.ask("POST", "/api/models/train", QUICK, token=made["token"]).status == 403
    code, listed, _ = tokens("list")
    assert {(each["name"], each["scope"]) for each in listed["tokens"]} >= {("owner", "write"), ("phone", "read")}
    assert made["token"] not in json.dumps(listed)
    code, _, err = tokens("create", "phone")
    assert (code, "already" in err) == (2, True)
    assert tokens("revoke", "phone")[0] == 0
    assert running.ask("GET", "/api/models", token=made["token"]).status == 401
    code, _, err = tokens("revoke", "owner")
    assert (code, "last token" in err) == (2, True)
    code, _, err = tokens("revoke", "owne")
    assert (code, "did you mean 'owner'" in err) == (2, True)
    assert running.get("/api/models").status == 200


# ---------------------------------------------------------------- from outside


def curl(server, *words):
    """Run curl as the documents write it, the token added; returns the status and the answer."""
    line = ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {server.token}", *words]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text)


def test_the_commands_of_the_documents_run(running):
    port = running.url.rpartition(":")[2]
    status, found = curl(running, f"http://localhost:{port}/api/predictions?symbol=BTC_USDT&timeframe=1m")
    assert status == 200
    assert (found["symbol"], found["timeframe"]) == ("BTC_USDT", "1m")
    assert [step["minutes_ahead"] for step in found["predictions"]] == list(range(1, 25))
    assert found["model_info"]["name"] == "BTC_USDT_1m_24steps_multi_ohlc"
    body = '{"symbol": "BTC_USDT", "timeframe": "1m", "auto_train": true}'
    given = ("-X", "POST", "-H", "Content-Type: application/json", "-d")
    status, started = curl(running, *given, body, f"http://localhost:{port}/api/predictions/generate")
    assert (status, started["status"]) == (202, "running")
    address = re.search(r"/api/predictions/\S+", started["message"])[0]
    end = time.monotonic() + 60
    while True:
        status, told = curl(running, f"http://localhost:{port}{address}")
        assert status == 200
        if told["status"] != "running":
            break
        assert time.monotonic() < end
        time.sleep(0.2)
    assert told["status"] == "completed"
    assert told["result"]["predictions"] == found["predictions"]
    status, models = curl(running, f"http://localhost:{port}/api/models")
    assert "BTC_USDT_1m_24steps_multi_ohlc" in [row["name"] for row in models]
    body = json.dumps({"symbol": "BTC_USDT", "timeframe": "1m", "n_steps_ahead": 300, "days_history": 30})
    status, answer = curl(running, *given, body, f"http://localhost:{port}/api/models/train?wait=0")
    assert status in {202, 422}, answer
    if status == 202:
        status, _ = curl(running, "-X", "POST", f"http://localhost:{port}/api/jobs/{answer['id']}/cancel")
        assert status == 200
    else:
        assert "Insufficient data for training" in answer["detail"]


def test_the_client_works_as_its_first_lines_show_it(running):
    words = bot.service.client.__doc__.partition("\n")[2].replace("http://127.0.0.1:8000", running.url)
    assert running.url in words
    done = subprocess.run(
        [sys.executable, "-c", words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=60,
        check=False,
        env={**os.environ, "BOT_TOKEN": running.token},
    )
    assert done.returncode == 0, done.stderr
    price, version = done.stdout.split()
    found = running.get("/api/predictions", **BTC).document
    assert float(price) == found["predictions"][0]["predicted_close"]
    assert version == found["model_info"]["version"]


def test_the_client_trains_watches_and_is_told_what_is_wrong(running):
    client = bot.service.client.Client(running.url, running.token)
    assert client.predictions("BTC_USDT", "1h", auto_train=False)["retraining"] is False
    settings = {name: value for name, value in QUICK.items() if name not in BTC}
    job = client.train("BTC_USDT", "1h", **settings, seed=11)
    watched = list(client.events(f"/api/jobs/{job['id']}/events"))
    assert {name for name, _ in watched} == {"job"}
    assert watched[-1][1]["status"] == "completed"
    assert client.job(job["id"], wait=5)["result"] == watched[-1][1]["result"]
    row = client.train("BTC_USDT", "1h", wait=60, **settings, seed=12)
    assert row["version"] in [each["version"] for each in client.models(symbol="BTC_USDT")]
    with pytest.raises(bot.service.client.Refused, match=r"404 .*BTCUSDT") as refusal:
        client.predictions("BTC_USDC", "1h")
    assert refusal.value.status == 404
    with pytest.raises(bot.service.client.Refused, match="401"):
        bot.service.client.Client(running.url, "wrong").models()
    assert running.token not in repr(client)


def test_an_empty_home_is_served(empty):
    where, home = empty
    assert where.get("/api/models").document == []
    assert where.get("/api/live").document == []
    assert where.get("/api/series").document == []
    assert where.get("/api/predictions", **BTC).status == 404
    assert home.state_db.exists()
