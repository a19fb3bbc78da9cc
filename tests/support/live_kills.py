"""Lives that end by kill -9: between two chosen steps of the bot, or at any moment.

Processes are forked from one that has imported everything: a life costs what it does, not what the start of Python does.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["Nursery", "serve_until_killed"]

STEPS = {
    "journal": ("intend", "sending", "report", "refuse", "unsent", "deliver", "gate", "forgo", "flush"),
    "gateway": ("send", "send_pair", "cancel", "find", "executions", "open_orders", "candles"),
    "broker": ("_book_trades", "_end"),
}
"""Before and after each call of these the bot may be killed; they are all that changes the world, the disk or the books."""


class Nursery:
    """A process that brings up lives on request, one after the other.

    ::

        with Nursery() as nursery:
            killed = nursery.live(bench, url, folder, kill_step=17)
    """

    def __init__(self) -> None:
        self.killed_at: Counter[str] = Counter()

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).resolve())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)

    def live(self, bench: Any, url: str, folder: Path, **wish: Any) -> str:
        """Bring up a life; returns ``done``, or ``killed`` with the step.

        Parameters
        ----------
        kill_step : int
            Number of the step, from 1, at which it is killed.
        kill_after : float
            Seconds after which it is killed.

        Raises
        ------
        RuntimeError
            When it failed by itself; with its traceback.
        """
        order = {"bench": bench.to_dict(), "url": url, "folder": str(folder), **wish}
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if answer["end"] == "failed":
            raise RuntimeError(answer["text"])
        if answer["end"] == "killed":
            self.killed_at[answer["step"]] += 1
        return str(answer["end"])

    def lives(
        self, bench: Any, url: str, folder: Path, *, seed: int, kills: int, longest: int = 60, **options: Any
    ) -> dict[str, Any]:
        """Kill so many lives one after the other, then let one reach the end; returns its logs."""
        chance = random.Random(seed)
        for number in range(kills):
            wish = (
                {"kill_after": chance.uniform(0.02, 0.2)}
                if number % 3 == 2
                else {"kill_step": chance.randint(1, longest)}
            )
            if self.live(bench, url, folder, **wish, **options) == "done":
                break
        else:
            if self.live(bench, url, folder, **options) != "done":
                raise RuntimeError("the last life did not reach the end")
        return json.loads((folder / "logs.json").read_text())


def _count_steps(life: Any, limit: int, note: int) -> None:
    """Wrap what the steps call, and end the process at the step of this number."""
    lock = threading.Lock()
    done = 0

    def step(name: str) -> None:
        nonlocal done
        with lock:
            done += 1
            if done == limit:
                os.write(note, name.encode())
                os.kill(os.getpid(), signal.SIGKILL)

    def wrap(target: Any, name: str, owner: str) -> None:
        plain = getattr(target, name)

        def call(*args: Any, **options: Any) -> Any:
            if owner == "broker" and args[0].data.is_replaying:
                return plain(*args, **options)
            step(f"before {owner}.{name}")
            answer = plain(*args, **options)
            step(f"after {owner}.{name}")
            return answer

        setattr(target, name, call)

    for name in STEPS["journal"]:
        wrap(life.journal, name, "journal")
    for name in STEPS["gateway"]:
        wrap(life.gateway, name, "gateway")
    assemble = life.assemble

    def assembled() -> Any:
        logs = assemble()
        for broker in life.brokers.values():
            for name in STEPS["broker"]:
                wrap(broker, name, "broker")
        return logs

    life.assemble = assembled


def _live(order: dict[str, Any], note: int) -> None:
    """Be one life, in a process of its own."""
    from live_bench import Bench, Life

    folder = Path(order["folder"])
    life = Life(Bench.from_dict(order["bench"]), order["url"], folder, settings=order.get("settings", {}))
    if order.get("kill_after") is not None:
        timer = threading.Timer(
            order["kill_after"], lambda: (os.write(note, b"any"), os.kill(os.getpid(), signal.SIGKILL))
        )
        timer.daemon = True
        timer.start()
    if order.get("kill_step"):
        begin = life.open

        def opened() -> None:
            begin()
            _count_steps(life, order["kill_step"], note)

        life.open = opened
    logs = life.run()
    part = folder / "logs.part"
    part.write_text(json.dumps(logs))
    part.replace(folder / "logs.json")


def serve_until_killed(order: dict[str, Any], note: int) -> None:
    """Be an exchange with a state file, in a process of its own."""
    from live_bench import Bench

    from bot.exchange.persistence import StateFile
    from bot.exchange.server import ExchangeServer

    bench = Bench.from_dict(order["bench"])
    server = ExchangeServer(
        bench.exchange(), port=order["port"], state=StateFile(Path(order["folder"]) / "exchange.db")
    )
    with server:
        os.write(note, b"any")
        time.sleep(order["kill_after"])
        os.kill(os.getpid(), signal.SIGKILL)


def _main() -> None:
    """Fork a child for each line of the input, and tell how it ended."""
    import ccxt  # noqa: F401 - imported once, for all lives
    import live_bench  # noqa: F401

    for line in sys.stdin.buffer:
        order = json.loads(line)
        reading, note = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            os.dup2(2, 1)
            code = 0
            try:
                (serve_until_killed if "port" in order else _live)(order, note)
            except BaseException:
                os.write(note, traceback.format_exc()[-3000:].encode())
                code = 1
            finally:
                os._exit(code)
        os.close(note)
        _, status = os.waitpid(child, 0)
        text = os.read(reading, 4096).decode()
        os.close(reading)
        if os.WIFSIGNALED(status):
            answer = {"end": "killed", "step": text}
        else:
            answer = {"end": "done" if os.WEXITSTATUS(status) == 0 else "failed", "text": text}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _main()
