"""A real server over a real small home, and a browser that looks at its page."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import chart_pages
import httpx
import pytest

from bot.service.access import Scope, TokenStore

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
_HISTORY, _BARS = 6_000, 7_000
_TRADED = ", start: 2018-10-01, end: 2018-10-06"


@dataclass(frozen=True)
class Server:
    """A running ``bot serve``, and the tokens that it knows."""

    url: str
    token: str
    read_token: str
    home: Path

    def ask(self, path: str, **options: Any) -> Any:
        """Return what the server answers, asked without a browser."""
        headers = {"Authorization": f"Bearer {self.token}"}
        answer = httpx.request(options.pop("method", "GET"), self.url + path, headers=headers, timeout=60, **options)
        answer.raise_for_status()
        return answer.json()


@dataclass
class Look:
    """A page of a server in a browser, and what went wrong in it."""

    page: Any
    server: Server
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._requested)

    def go(self, part: str) -> None:
        """Open a part of the page and wait until nothing is being read any more."""
        self.page.goto(f"{self.server.url}/#/{part}")
        self.settle()

    def anew(self, part: str) -> None:
        """Leave the page and load it at a part; what went wrong before is forgotten."""
        self.page.goto("about:blank")
        self.complaints.clear()
        self.go(part)

    def settle(self) -> None:
        """Wait until nothing is being read any more."""
        self.page.wait_for_selector("main h1, main form")
        self.page.wait_for_function("() => !document.querySelector('[aria-busy], .skeleton')")

    def log_in(self, token: str) -> None:
        """Type a token into the form."""
        self.page.locator("#token").fill(token)
        self.page.get_by_role("button", name="Log in").click()

    def foreign(self) -> list[str]:
        """Return what was asked of another host."""
        return [each for each in self.addresses if not each.startswith((f"{self.server.url}/", "data:"))]

    def overflow(self) -> int:
        """Return by how many pixels the page is wider than the window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def close(self) -> None:
        """Leave the page."""
        self.page.context.close()

    def _heard(self, message: Any) -> None:
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def _requested(self, request: Any) -> None:
        self.addresses.append(request.url)
        if request.method != "GET":
            self.sent.append(f"{request.method} {request.url.removeprefix(self.server.url)}")


def make_home(folder: Path) -> Path:
    """Fill a home by the program's own parts: a pipeline that ran twice, a path model, two backtests and a bot's journal."""
    from backtest_runs import small_run
    from live_statuses import live_status, symbol_status
    from path_models import drifting, register_path
    from recorded_runs import basic_config, record_run
    from small_recipes import Works

    from bot.backtest.document import result_document
    from bot.backtest.outputs import write_run
    from bot.live.control import Control
    from bot.live.status import OpenOrder, RolePrediction
    from bot.parity.recorded import decision_rows
    from bot.state import StateDatabase
    from bot.wall_clock import wall_ms

    works = Works(folder)
    works.recipe("one")
    works.recipe("two", seed=1)
    works.cycle(_HISTORY)
    works.cycle(_HISTORY + 100)
    works.store(_BARS, origin="built-in market, planted edge 0.2, seed 3")
    works.store(drifting(), "SYNTH")
    home = works.home
    register_path(home.models)

    here = {"exchange: local": "exchange: synth"}
    for day, choices in enumerate(({}, {"enter: 0.52, exit: 0.48": "enter: 0.7, exit: 0.65"})):
        made = small_run(home, **({"when": ", start: 2018-09-12"} | here | choices))
        at = datetime(2026, 11, 20 + day, 12, 0, 5, tzinfo=UTC)
        write_run(made, result_document(made), home.runs, at, lambda: "<html></html>")

    run_id = record_run(basic_config(when=_TRADED, **here), home)
    with StateDatabase(home.state_db) as state:
        last = decision_rows(state, run_id, "BTCUSDT")[-1]
        said = last["predictions"]["prediction"]
        close, bought = last["candle"]["close"], last["candle"]["open"]
        symbol = symbol_status(
            open_ms=last["open_ms"],
            close=close,
            position=last["position"],
            entry_price=bought,
            stop=0.996 * bought,
            target=1.006 * bought,
            open_orders=(
                OpenOrder("sell", last["position"], 0.996 * bought, "stop", "mlbot-1-s"),
                OpenOrder("sell", last["position"], 1.006 * bought, "target", "mlbot-1-t"),
            ),
            predictions=(
                RolePrediction(
                    "prediction", said["model"], said["version"], "up", said["values"]["confidence"], said["status"]
                ),
            ),
        )
        words = live_status(
            bot="run",
            run_id=run_id,
            symbols=(symbol,),
            cash=last["cash"],
            value=last["value"],
            market_ms=last["open_ms"] + 3_600_000,
            heartbeat_ms=wall_ms(),
            events=((last["open_ms"], "bought BTCUSDT"), (last["open_ms"] + 1_000, "stop and target rest")),
        )
        Control(state, "run", wall_ms).publish(words)
    return home.root


@contextmanager
def serving(home: Path, port: int = 0, known: Server | None = None) -> Iterator[Server]:
    """Run a server over a home until the block ends; one that ran there before is ``known`` for its tokens."""
    command = [sys.executable, "-m", "bot", "serve", "--home", str(home), "--json"]
    # the folder above has the settings of the pipeline
    with subprocess.Popen(
        [*command, "--port", str(port)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=home.parent
    ) as process:
        try:
            assert process.stdout is not None
            text = ""
            while not text.rstrip().endswith("}"):
                line = process.stdout.readline()
                assert line, "the server ended before it said where it listens"
                text += line
            told = json.loads(text)
            if known is None:
                reader = TokenStore(home / "service").create("reader", Scope.READ)
                yield Server(told["url"], told["token"], reader, home)
            else:
                yield replace(known, url=told["url"])
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a filled home, its recipes beside it; for copies only."""
    folder = tmp_path_factory.mktemp("dashboard")
    make_home(folder)
    return folder


@pytest.fixture(scope="module")
def filled(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a filled home, for those who change nothing that others look at."""
    folder = tmp_path_factory.mktemp("filled") / "work"
    shutil.copytree(template, folder, symlinks=True)
    with serving(folder / "home") as server:
        yield server


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a home in which nothing is."""
    with serving(tmp_path_factory.mktemp("empty") / "home") as server:
        yield server


@pytest.fixture(scope="module")
def changing(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server over a filled home whose tests change it: each what no other of them looks at, or sets before it does."""
    folder = tmp_path_factory.mktemp("changing") / "work"
    shutil.copytree(template, folder, symlinks=True)
    with serving(folder / "home") as server:
        yield server


@pytest.fixture
def own(template: Path, tmp_path: Path) -> Path:
    """A filled home of one test's own."""
    shutil.copytree(template, tmp_path / "work", symlinks=True)
    return tmp_path / "work" / "home"


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser; tests that need it are skipped where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not there: the page is tested in Debian's chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where the charts alone are served."""
    with chart_pages.served() as url:
        yield url


@pytest.fixture(scope="module")
def sheet(chromium: Any) -> Iterator[Any]:
    """A page on which one chart after the other is drawn."""
    with chart_pages.blank(chromium) as page:
        yield page


@pytest.fixture
def drawing(sheet: Any, address: str) -> Iterator[chart_pages.Drawing]:
    """A page of charts alone, loaded anew."""
    with chart_pages.opened(sheet, address + "/") as drawing:
        yield drawing


def open_look(browser: Any, server: Server, token: str | None, *, width: int = 1_280, theme: str = "light") -> Look:
    """Return an empty page in a context of its own; with a token it will be logged in, as after a reload."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme)
    if token is not None:
        context.add_init_script(f"if (!sessionStorage.length) sessionStorage.setItem('token', {json.dumps(token)})")
    return Look(context.new_page(), server)


@pytest.fixture(scope="module")
def tour(chromium: Any) -> Iterator[Callable[[Server], Look]]:
    """Return by server the page of its owner, for those who load it anew and change nothing in it."""
    opened: dict[str, Look] = {}

    def page_of(server: Server) -> Look:
        if server.url not in opened:
            opened[server.url] = open_look(chromium, server, server.token)
        return opened[server.url]

    yield page_of
    for each in opened.values():
        each.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Look]]:
    """Open a server's page at one of its parts: with a token it is logged in already, as after a reload."""
    opened: list[Look] = []

    def open_page(
        server: Server, token: str | None = None, part: str = "", *, width: int = 1_280, theme: str = "light"
    ) -> Look:
        found = open_look(chromium, server, token, width=width, theme=theme)
        opened.append(found)
        if part:
            found.go(part)
        else:
            found.page.goto(f"{server.url}/")
            found.page.wait_for_selector("main h1")
        return found

    yield open_page
    for each in opened:
        each.close()
