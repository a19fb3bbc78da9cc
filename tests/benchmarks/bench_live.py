"""Live trading through real HTTP: speed in lockstep, the time from a candle to its order, a restart, and memory.

scripts/benchmark.py live           about six minutes; the soak runs 24 simulated hours at 720x
SOAK_SPEED=60 scripts/benchmark.py live     with the soak at 60x: 24 minutes more
"""

from __future__ import annotations

import gc
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from live_market import build_home, config, lockstep_bot  # noqa: E402

SPEED_BARS = 3_000
RESTART_BARS = 43_200
SOAK_SPEED = float(os.environ.get("SOAK_SPEED", "720"))


def measure() -> list[dict[str, Any]]:
    """Return what was measured beside what was asked."""
    with tempfile.TemporaryDirectory(prefix="bench-live-") as folder:
        home = build_home(Path(folder) / "home", 12_000 + RESTART_BARS + 2_000)
        return [*speed_and_latency(home), *restart(home), *soak(home)]


def speed_and_latency(home) -> list[dict[str, Any]]:
    """Run bars in lockstep, and time each order from the reply with the candle to the order's request."""
    file = config("2018-01-10", "2018-01-13", "speed")
    with (
        tempfile.TemporaryDirectory() as folder,
        lockstep_bot(file, home, Path(folder) / "state.db", last_row=SPEED_BARS) as (run, _, _),
    ):
        waits = _time_orders(run)
        run.prepare()
        began = time.perf_counter()
        run.start()
        run.wait()
        seconds = time.perf_counter() - began
        orders = len(run.journal.orders)
    waits = sorted(waits)
    median, p99 = statistics.median(waits) * 1e3, waits[int(len(waits) * 0.99)] * 1e3
    return [
        {
            "what": f"lockstep replay with predictions, orders, stops and targets ({orders} orders), bars a second",
            "asked": ">= 200",
            "measured": f"{SPEED_BARS / seconds:.0f}",
            "ok": SPEED_BARS / seconds >= 200,
        },
        {
            "what": f"candle seen to order sent, basic model, {len(waits)} orders, ms",
            "asked": "median <= 20, p99 <= 60",
            "measured": f"median {median:.1f}, p99 {p99:.1f}",
            "ok": median <= 20 and p99 <= 60,
        },
    ]


def _time_orders(run) -> list[float]:
    """Note for each strategy's order how long after its candle's reply the request leaves."""
    gateway, waits, seen = run.venue.gateway, [], [0.0]
    ask, send = gateway.candles, gateway.send

    def candles(*args, **kwargs):
        found = ask(*args, **kwargs)
        seen[0] = time.perf_counter()
        return found

    def sending(ticket):
        if ticket.parent is None:
            waits.append(time.perf_counter() - seen[0])
        return send(ticket)

    gateway.candles, gateway.send = candles, sending
    return waits


def restart(home) -> list[dict[str, Any]]:
    """Start a bot with 30 days of minutes behind it, as a command would: a new process, until it waits for a candle."""
    file = config("2018-01-10", "2018-02-12", "restart")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        with lockstep_bot(file, home, path, last_row=RESTART_BARS - 1) as (run, server, _):
            run.prepare()
            run.start()
            run.wait()
            shutil.copytree(home.root, Path(folder) / "home")
        script = Path(folder) / "again.py"
        names = {"support": ROOT / "tests" / "support", "home": Path(folder) / "home", "state": path}
        script.write_text(_AGAIN.format(**{name: str(value) for name, value in names.items()}))
        words = [sys.executable, str(script), repr(time.time())]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=ROOT)
    words, _, ready = (done.stdout.strip() or done.stderr.strip()[-300:]).rpartition("; ready after ")
    seconds = float(ready) if done.returncode == 0 else float("inf")
    return [
        {
            "what": f"restart of a bot with {RESTART_BARS:,} bars of 1m behind it, process start to ready, s ({words})",
            "asked": "<= 20",
            "measured": f"{seconds:.1f}",
            "ok": seconds <= 20,
        }
    ]


_AGAIN = """
import os, sys, time
sys.path.insert(0, {support!r})
from pathlib import Path
from live_market import config, lockstep_bot
from bot.home import Home
file = config("2018-01-10", "2018-02-12", "restart")
home = Home(Path({home!r}))
from bot.series import read_series
candles = read_series(file, "SYNTH", home).candles
with lockstep_bot(file, home, Path({state!r}), start_ms=int(candles.open_ms[0]) + 39 * 86_400_000) as (run, server, _):
    run.store.desk.recover = lambda: None  # the exchange of this process is another one: nothing to ask it
    run.prepare()
    run.start()
    while len(run._done) < 1 and run.failure is None:
        time.sleep(0.01)
    if run.failure is not None:
        raise run.failure
    seconds = time.time() - float(sys.argv[1])
    bars = run.board.status("running").bars
    print(f"{{bars:,}} bars replayed, {{len(run.journal.orders)}} orders; ready after {{seconds:.1f}}", flush=True)
    os._exit(0)  # the orders of this journal are at another exchange: nothing to see through
"""


def soak(home) -> list[dict[str, Any]]:
    """Trade 24 simulated hours and read the memory of the process after each."""
    from bot.exchange.clocks import Accelerated

    file = config("2018-01-10", "2018-01-11", "soak")
    kilobytes: list[int] = []
    handles: list[int] = []
    with tempfile.TemporaryDirectory() as folder:
        bot = lockstep_bot(
            file, home, Path(folder) / "state.db", last_row=1_439, clock=Accelerated(SOAK_SPEED), lockstep=False
        )
        with bot as (run, server, _):
            run.prepare()
            run.start()
            first = run.opened.run.inputs["first"]["SYNTH"]
            hour = 0
            while not run.join(0.2):
                done = (run.store.released_ms("SYNTH") - first) // 3_600_000
                if done > hour:
                    hour = done
                    gc.collect()
                    kilobytes.append(_resident())
                    handles.append(sum(1 for _ in Path("/proc/self/fd").iterdir()))
            run.wait()
            orders = len(run.journal.orders)
    grown = (max(kilobytes[1:]) - kilobytes[0]) / 1024
    return [
        {
            "what": f"memory over {len(kilobytes) + 1} hours of market at {SOAK_SPEED:g}x ({orders} orders), MB",
            "asked": "grows <= 5",
            "measured": f"grows {grown:.1f}; open files {handles[0]} to {handles[-1]}",
            "ok": grown <= 5 and handles[-1] <= handles[0] + 2,
        }
    ]


def _resident() -> int:
    """Return the memory of this process, the local exchange included, in kilobytes."""
    with Path("/proc/self/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS"))
