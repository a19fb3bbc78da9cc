"""A local exchange in real time that stands for a real one, configs that trade there, and bots as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

from local_ccxt import RULES

from bot.broker.fees import FeeSchedule
from bot.exchange.clocks import Wall
from bot.exchange.market import Market
from bot.exchange.matching import LocalExchange
from bot.exchange.server import ExchangeServer, unlimited
from bot.exchange.signing import ApiKey
from bot.exchange.tape import Tape
from bot.live.control import Control
from bot.state import StateDatabase
from ml.synthetic import synthetic_candles

KEY, SECRET = "kEyOfTheTest0123456789", "sEcReTofTheTest9876543210"
OWNER = (ApiKey(KEY, SECRET),)
KEYS = {"BOT_API_KEY": KEY, "BOT_API_SECRET": SECRET}

CONFIG = """\
name: trial
strategy: BuyAndHold
symbols: [BTCUSDT]
timeframe: 1s
broker: {cash: 10000, commission: 0.001, slippage: 0.0005}
risk: {stop_loss: 0.2, max_position: 0.9}
live: {exchange: binance, mode: real, endpoint: "URL", max_data_age: 1}
"""

SIM = """\
name: trial
strategy: BuyAndHold
symbols: [SYNTH]
timeframe: 1h
data: {synth: {bars: 3000, edge: 0.0, seed: 1}, start: 2018-01-05}
broker: {cash: 10000, commission: 0.001, slippage: 0.0005}
risk: {stop_loss: 0.2, max_position: 0.9}
"""


def wall_ms() -> int:
    """Return the wall clock, milliseconds UTC."""
    return time.time_ns() // 1_000_000


def real_time_exchange(symbols=("BTCUSDT",), *, cash=10_000, history=3_200, fees=None, **options) -> ExchangeServer:
    """Return an exchange of candles of a second, of which the newest is forming now; it is not started yet."""
    now = wall_ms() // 1000 * 1000
    tapes = {
        symbol: (
            Market(symbol, symbol.removesuffix("USDT"), "USDT", RULES),
            Tape(synthetic_candles(history + 600, seed=seed, timeframe="1s", start_ms=now - history * 1000)),
        )
        for seed, symbol in enumerate(symbols)
    }
    balances = {"USDT": Decimal(cash)} | {symbol.removesuffix("USDT"): Decimal(0) for symbol in symbols}
    exchange = LocalExchange(tapes, balances, fees=fees or FeeSchedule(0.001), slippage=0.0005, start_ms=now)
    return ExchangeServer(exchange, **({"clock": Wall(), "limits": unlimited()} | options))


def write_config(folder: Path, text: str, **changes: str) -> Path:
    """Write a config with some of its texts replaced, and return where."""
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{old!r} is not in the config")
        text = text.replace(old, new)
    path = folder / "trial.yaml"
    path.write_text(text)
    return path


def is_holding(status) -> bool:
    """Tell whether a bot runs and has a position."""
    return status.state == "running" and status.symbols[0].position > 0


def is_flat(status) -> bool:
    """Tell whether a bot's first symbol has no position."""
    return not status.symbols[0].position


def journal(home: Path, sql: str) -> list[tuple]:
    """Return rows of a home's state database."""
    with StateDatabase(home / "state.db") as state:
        return [tuple(row) for row in state.rows(sql)]


def assert_no_secret(home: Path, *texts: str) -> None:
    """Check that neither key nor secret stands in a home, nor in what was printed."""
    files = [path.read_bytes() for path in home.rglob("*") if path.is_file()]
    for secret in (KEY, SECRET):
        assert not any(secret.encode() in content for content in files)
        assert not any(secret in text for text in texts)


class Steering:
    """A bot's commands and status, from outside; ``trial`` is its name."""

    def __init__(self, home: Path, pid: int | None = None) -> None:
        self.home, self.pid = home, pid

    @contextmanager
    def control(self) -> Iterator[Control]:
        """Open its rows of the state database."""
        with StateDatabase(self.home / "state.db") as state:
            yield Control(state, "trial", wall_ms)

    def status(self):
        """Return its newest status, or None before it has said anything."""
        if not (self.home / "state.db").exists():
            return None
        with self.control() as control:
            return self._said(control)

    def wait_for(self, condition, what: str, seconds: float = 20.0):
        """Wait until something holds of its status, and return that."""
        deadline = time.monotonic() + seconds
        while not (self.home / "state.db").exists() and time.monotonic() < deadline:
            self.check(what)
            time.sleep(0.02)
        with self.control() as control:
            while time.monotonic() < deadline:
                status = self._said(control)
                if status is not None and condition(status):
                    return status
                self.check(what)
                time.sleep(0.02)
        raise AssertionError(f"no {what} within {seconds:g} s: {status}")

    def _said(self, control: Control):
        return control.status() if self.pid is None or control.pid() == self.pid else None

    def check(self, what: str) -> None:
        """Raise when it has ended before ``what``."""

    def tell(self, verb: str, **arguments) -> tuple[bool, str, float]:
        """Send a command; return whether it was obeyed, the answer, and after how many seconds."""
        with self.control() as control:
            began = time.monotonic()
            answer = control.wait(control.send(verb, arguments), 20)
            assert answer is not None
            return answer.ok, answer.text, time.monotonic() - began


class LiveBot(Steering):
    """``bot live`` as a process; stopped at the end of the block, if it is not over before."""

    def __init__(self, config: Path, home: Path, *words: str, keys: bool = False) -> None:
        command = [sys.executable, "-m", "bot", "live", str(config), "--home", str(home), *words]
        environment = {name: value for name, value in os.environ.items() if name not in KEYS} | (KEYS if keys else {})
        self._log = (home.parent / f"{home.name}-{time.monotonic_ns()}.log").open("w+")
        self.process = subprocess.Popen(
            command, stdout=self._log, stderr=subprocess.STDOUT, env=environment, text=True, start_new_session=True
        )
        super().__init__(home, self.process.pid)

    def __enter__(self) -> LiveBot:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._log.close()

    @property
    def output(self) -> str:
        """What it has printed so far."""
        return Path(self._log.name).read_text()

    def check(self, what: str) -> None:
        """Raise when it has ended before ``what``."""
        if self.process.poll() is not None:
            raise AssertionError(f"the bot has ended before {what}:\n{self.output}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to end by a signal, and return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)
