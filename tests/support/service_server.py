"""Prediction services for tests: one in this process with its parts at hand, and one that ``bot serve`` starts.

Both are asked over real sockets. A home for them is made once a test session and copied.
"""

from __future__ import annotations

import functools
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from backtest_runs import small_run
from live_statuses import live_status
from path_models import drifting, path_settings
from small_models import AT, KEY, bundle_files

from bot.backtest.document import result_document
from bot.backtest.outputs import write_run
from bot.home import Home
from bot.live.control import Control
from bot.market.store import CandleStore
from bot.state import StateDatabase
from bot.wall_clock import wall_ms
from ml.engines import open_bundle
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import uvicorn

    from bot.service.context import Service, Settings

ROOT = Path(__file__).resolve().parents[2]
BOT = "ml-basic-btc"
PATH_KEY = ModelKey("BTCUSDT", "multi_ohlc", "1h")
QUICK = {
    "symbol": "BTC_USDT",
    "timeframe": "1h",
    "type": "basic",
    "days_history": None,
    "features": ["rsi_14", "taker_imbalance_20"],
    "params": {"num_boost_round": 10, "min_data_in_leaf": 50},
}
"""A training that takes a second or two."""
_START_S = 60.0


@dataclass(frozen=True)
class Reply:
    """An answer: status, headers by lower-case name, and what was sent."""

    status: int
    headers: dict[str, str]
    data: bytes

    @property
    def document(self) -> Any:
        """The JSON that was sent."""
        return json.loads(self.data)


@dataclass
class Asked:
    """Somewhere to send requests to, as they are written: nothing is normalised or escaped on the way.

    Attributes
    ----------
    url
        Where a service listens.
    token
        Sent with every request; None for none.
    """

    url: str
    token: str | None = field(repr=False)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: dict[str, str] | None = None,
        timeout: float = 60.0,
        **query: Any,
    ) -> Reply:
        """Return the answer to one request; a dict or a list is sent as JSON."""
        given = {name: value for name, value in query.items() if value is not None}
        address = f"{path}?{urlencode(given)}" if given else path
        with self.opened(method, address, body, token=token, headers=headers, timeout=timeout) as answer:
            return Reply(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())

    def get(self, path: str, **query: Any) -> Reply:
        return self.ask("GET", path, **query)

    def post(self, path: str, body: Any, **query: Any) -> Reply:
        return self.ask("POST", path, body, **query)

    @contextmanager
    def opened(
        self,
        method: str,
        address: str,
        body: Any = None,
        *,
        token: str | None = "",
        headers: dict[str, str] | None = None,
        timeout: float = 60.0,
    ) -> Iterator[http.client.HTTPResponse]:
        """Yield an answer that is not read yet, such as a stream; the connection is closed afterwards."""
        chosen = self.token if token == "" else token
        sent = {} if chosen is None else {"Authorization": f"Bearer {chosen}"}
        data = body
        if isinstance(body, dict | list):
            data = json.dumps(body).encode()
        if data is not None:
            sent["Content-Type"] = "application/json"
        place = urlsplit(self.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=timeout)
        connection._validate_path = lambda url: None  # what a client should not send is sent
        try:
            connection.request(method, address, data, sent | (headers or {}))
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()

    def job(self, job_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait for the end of a job and return it."""
        end = time.monotonic() + seconds
        while True:
            found = self.get(f"/api/jobs/{job_id}").document
            if found["ended_at"] is not None:
                return found
            assert time.monotonic() < end, found
            time.sleep(0.05)


# ---------------------------------------------------------------- a home


@functools.cache
def path_files() -> dict[str, bytes]:
    """Return the files of a path model of 24 steps, made once a session."""
    settings = path_settings("multi_ohlc")
    return dict(train(drifting(), PATH_KEY, settings, at=AT, code_version="test").files)


def fill_home(root: Path) -> Home:
    """Put candles of BTCUSDT 1h into a home, a champion of multi_ohlc, and three versions of basic, two of them promoted."""
    home = Home(root)
    CandleStore(home.candles).write(drifting(), "BTCUSDT", "local")
    registry = PredictionModelRegistry(home.models, open_runner=open_bundle)
    put(registry, PATH_KEY, path_files(), AT)
    for day, seed in ((2, 3), (3, 4), (4, 5)):
        put(registry, KEY, bundle_files(seed=seed), AT.replace(day=day), promote=day < 4)
    return home


def fill_whole_home(root: Path) -> Home:
    """Fill a home as `fill_home`, with a backtest run, a bot's last words, and two series that have no model.

    ETHUSDT has candles enough to train on, SOLUSDT has 200.
    """
    home = fill_home(root)
    store = CandleStore(home.candles)
    store.write(drifting(), "ETHUSDT", "local")
    store.write(drifting().slice(0, 200), "SOLUSDT", "local")
    made = small_run(home)
    write_run(made, result_document(made), home.runs, AT, lambda: "<html></html>")
    with StateDatabase(home.state_db) as state:
        Control(state, BOT, wall_ms).publish(live_status(bot=BOT, heartbeat_ms=wall_ms()))
    return home


def put(registry: PredictionModelRegistry, key: ModelKey, files: dict[str, bytes], at: datetime, *, promote=True):
    made = registry.register(key, files, at=at)
    return registry.promote(key, made.version_id, at=at, reason="test") if promote else made


# ---------------------------------------------------------------- in this process


@dataclass
class Local(Asked):
    """A service in a thread of this process, with its parts.

    Attributes
    ----------
    service
        The parts.
    reader
        A token that may only read.
    server
        What holds the connections.
    """

    service: Service
    reader: str = field(repr=False)
    server: uvicorn.Server


@contextmanager
def local_service(root: Path, settings: Settings | None = None) -> Iterator[Local]:
    """Serve a home from a thread of this process; everything is closed and joined when the block ends."""
    import uvicorn

    from bot.cli.serve import _listen
    from bot.service.access import Scope
    from bot.service.app import create_app
    from bot.service.context import open_service

    listener = _listen("127.0.0.1", 0)
    with listener, open_service(Home(root), settings or unlimited()) as service:
        number = len(service.tokens.list())
        writer, reader = (service.tokens.create(f"{scope}-{number}", scope) for scope in (Scope.WRITE, Scope.READ))
        config = uvicorn.Config(
            create_app(service), log_config=None, access_log=False, timeout_graceful_shutdown=2, lifespan="on"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="served")
        thread.start()
        try:
            while not server.started:
                assert thread.is_alive()
                time.sleep(0.005)
            url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            yield Local(url, writer, service, reader, server)
        finally:
            server.should_exit = True
            thread.join()


def unlimited(**changes: Any) -> Settings:
    """Return settings with rates that nobody reaches."""
    from bot.service.context import Settings

    return Settings(**{"reads_per_second": 1e6, "writes_per_minute": 1e8, "wrong_per_minute": 1e8, **changes})


# ---------------------------------------------------------------- in a process of its own


@dataclass
class Served(Asked):
    """A service that ``bot serve`` started.

    Attributes
    ----------
    home
        Its home folder.
    words
        Further words of the command.
    process
        The process that runs now.
    """

    home: Path
    words: tuple[str, ...]
    process: subprocess.Popen[str]
    env: dict[str, str]

    def kill(self) -> None:
        """Kill it as a power cut would, and its jobs' processes with it (they end when it is gone)."""
        self.process.kill()
        self.process.communicate(timeout=30)

    def end(self, number: int = signal.SIGTERM, seconds: float = 30.0) -> tuple[str, str]:
        """Send a signal, wait for the end and return what it wrote."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.communicate(timeout=seconds)

    def restart(self) -> None:
        """Start it again on the same home, at a port of its own."""
        self.process, self.url, _ = _started(self.home, self.words, self.env)


@contextmanager
def served(home: Path, *words: str, env: dict[str, str] | None = None) -> Iterator[Served]:
    """Run ``bot serve`` on a home that has no tokens yet; ended when the block ends, whatever happened."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", **(env or {})}
    process, url, token = _started(home, words, environment)
    found = Served(url, token, home, words, process, environment)
    try:
        yield found
    finally:
        with suppress(ProcessLookupError):
            found.process.kill()
        found.process.communicate(timeout=30)


def command(*words: Any) -> list[str]:
    """Return the command line of a command of ``bot serve``."""
    return [sys.executable, "-m", "bot", "serve", *map(str, words)]


def _started(home: Path, words: tuple[str, ...], env: dict[str, str]) -> tuple[subprocess.Popen[str], str, str | None]:
    process = subprocess.Popen(
        command("--port", "0", "--home", home, "--json", *words),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=env,
    )
    assert process.stdout is not None
    lines: list[str] = []
    watch = threading.Timer(_START_S, process.kill)
    watch.start()
    try:
        for line in process.stdout:
            lines.append(line)
            if line.rstrip() == "}":
                break
    finally:
        watch.cancel()
        watch.join()
    try:
        said = json.loads("".join(lines))
        return process, said["url"], said["token"]
    except (ValueError, KeyError):
        process.kill()
        raise AssertionError(f"bot serve said {lines}; {process.communicate()[1]}") from None


# ---------------------------------------------------------------- fuzzing

ENDLESS = "/api/live/events"
"""A stream that ends with the connection: no fuzzer waits for that."""

_FUZZ = """
hooks = "admitted.py"
[[operations]]
include-path = "/api/models/train"
parameters = {wait = 0}
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
[[operations]]
include-path = "/api/predictions"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
[[operations]]
include-path = "/api/predictions/generate"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
[[operations]]
include-path = "/api/candles"
checks.positive_data_acceptance.expected-statuses = ["2xx", "404", "422"]
"""
# 422 for what the document admits: too few candles to train on, a feature or a parameter that the family has not, a day that
# is none. What follows keeps it at that.
_ADMITTED = """
import schemathesis

@schemathesis.check
def admitted_data_is_spelled_right(ctx, response, case):
    if case.meta and case.meta.generation.mode.is_positive and response.status_code == 422:
        assert response.json()["type"] not in {"/problems/invalid-request", "/problems/invalid-name"}, response.text
"""


@dataclass(frozen=True)
class Fuzzed:
    """What a fuzzer found: exit code 0 where every check held, requests that were made, and all it said."""

    code: int
    cases: int
    said: str


def fuzz(where: Asked, folder: Path, *words: str, seconds: float = 600.0) -> Fuzzed:
    """Send requests that the service's own document admits, and such that it does not, and check every answer."""
    settings = folder / "schemathesis.toml"
    settings.write_text(_FUZZ)
    (folder / "admitted.py").write_text(_ADMITTED)
    program = Path(sys.executable).with_name("schemathesis")
    done = subprocess.run(
        [
            program, "--config-file", settings, "--no-color", "run", f"{where.url}/api/openapi.json",
            "--header", f"Authorization: Bearer {where.token}", "--exclude-path", ENDLESS, "--checks", "all",
            "--request-timeout", "30", *words,
        ],
        capture_output=True, text=True, cwd=folder, timeout=seconds, check=False,
        env={**os.environ, "NO_PROXY": "*", "no_proxy": "*", "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    found = re.search(r"(\d+) generated", done.stdout)
    return Fuzzed(done.returncode, int(found[1]) if found else 0, done.stdout + done.stderr)
