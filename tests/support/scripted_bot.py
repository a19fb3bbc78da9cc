"""A bot that trades nothing: it says that it runs, takes commands and answers them as it is told.

``python scripted_bot.py HOME [NAME]`` runs one as a process of its own: it answers everything, and ends on ``stop``.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

from live_statuses import live_status

from bot.live.control import Control
from bot.state import StateDatabase


def wall_ms():
    """Return the wall clock, milliseconds UTC."""
    return time.time_ns() // 1_000_000


class ScriptedBot:
    """Run in a thread of its own until the block ends; ``taken`` has the commands."""

    def __init__(self, home, answer=lambda command: (True, f"{command.verb} is done"), **change):
        self.answer = answer
        self.taken = []
        self._status = live_status(started_ms=wall_ms(), **change)
        self._path = Path(home) / "state.db"
        self._ends = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._ends.set()
        self._thread.join()

    def _run(self):
        with StateDatabase(self._path) as state:
            control = Control(state, self._status.bot, wall_ms)
            while not self._ends.is_set():
                control.publish(replace(self._status, heartbeat_ms=wall_ms()))
                self._ready.set()
                for command in control.pending():
                    self.taken.append(command)
                    ok_and_text = self.answer(command)
                    if ok_and_text is not None:
                        control.finish(command, ok=ok_and_text[0], answer=ok_and_text[1])
                self._ends.wait(0.02)
            control.publish(replace(self._status, heartbeat_ms=wall_ms(), state="stopped"))


def main(home, name="ml-basic-btc"):
    """Run one until it is told to stop, with a moment between the answer and the end."""
    with StateDatabase(Path(home) / "state.db") as state:
        control = Control(state, name, wall_ms)
        while True:
            control.publish(live_status(bot=name, heartbeat_ms=wall_ms()))
            for command in control.pending():
                control.finish(command, ok=True, answer=f"{command.verb} is done")
                if command.verb == "stop":
                    time.sleep(0.3)
                    control.publish(live_status(bot=name, heartbeat_ms=wall_ms(), state="stopped"))
                    return
            print("ready", flush=True)
            time.sleep(0.02)


if __name__ == "__main__":
    main(*sys.argv[1:])
