"""The prediction service from outside: how soon it answers, under load, fuzzed, killed, and what it takes of memory.

scripts/benchmark.py service                              all of it, about twenty minutes
SERVICE_PART=latency scripts/benchmark.py service         one of latency, load, fuzz, kills, memory
SERVICE_SCALE=0.1 scripts/benchmark.py service            a tenth of the requests, kills and seconds
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "support"))

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service_server import Served

    from bot.home import Home
    from ml.candles import Candles

__all__ = ["measure"]

PARTS = ("latency", "load", "fuzz", "kills", "memory")
SCALE = float(os.environ.get("SERVICE_SCALE", "1"))
STEPS, STORED, TRAINED = 300, 43_200, 20_000
CALLS = 60
CLIENTS, SECONDS = 50, 60
FUZZED = 20_000
KILLS = 50
REQUESTS = 10_000
_DATA = ROOT.parent / "shared" / "data" / "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"
_NEWEST = "/api/predictions?symbol=BTC_USDT&timeframe=1m"
_PINNED = f"{_NEWEST}&version=2026-01-02T000000Z_1m_v1"
_CANDLES = "/api/candles?symbol=BTC_USDT&timeframe=1m&points=500"
_MIX = (*(_NEWEST,) * 5, _PINNED, _CANDLES, "/api/models", "/api/jobs", "/api/live", "/api/runs", "/api/version")
_QUEUED = 8  # trainings, so that one is running until the end
Found = list[dict[str, Any]]


def measure() -> Found:
    """Return what was measured beside what was asked."""
    wanted = [part for part in os.environ.get("SERVICE_PART", "").split(",") if part] or list(PARTS)
    unknown = sorted(set(wanted) - set(PARTS))
    if unknown:
        raise SystemExit(f"SERVICE_PART={','.join(unknown)}: expected some of {', '.join(PARTS)}")
    found: Found = []
    with tempfile.TemporaryDirectory(prefix="bench-service-") as folder:
        home = None
        for part in wanted:
            if part in {"latency", "load", "memory"}:
                home = home or _minutes_home(Path(folder) / "minutes")
                found += {"latency": _latency, "load": _load, "memory": _memory}[part](home)
            else:
                found += {"fuzz": _fuzz, "kills": _kills}[part](Path(folder) / part)
    return found


# ---------------------------------------------------------------- a home with minutes


def _minutes_home(root: Path) -> Home:
    """Return a home with thirty days of minutes and a champion of 300 steps, whatever its gate said."""
    from service_server import put
    from small_models import AT

    from bot.home import Home
    from bot.market.store import CandleStore
    from ml.engines import open_bundle
    from ml.training.settings import TrainingSettings
    from ml.training.trainer import train
    from registry.names import ModelKey
    from registry.store import PredictionModelRegistry

    home, candles = Home(root), _minutes()
    CandleStore(home.candles).write(candles.slice(0, STORED), "BTCUSDT", "binance")
    key = ModelKey("BTCUSDT", "multi_ohlc", "1m")
    settings = TrainingSettings(parameters={"n_steps_ahead": STEPS}, plots=False, robustness=False)
    files = train(candles.slice(0, TRAINED), key, settings, at=AT, code_version="benchmark").files
    put(PredictionModelRegistry(home.models, open_runner=open_bundle), key, files, AT)
    return home


def _minutes() -> Candles:
    from ml.candles import Candles
    from ml.synthetic import synthetic_candles

    if not _DATA.exists():
        return synthetic_candles(STORED + 2_000, edge=0.06, timeframe="1m")
    import pandas as pd

    return Candles.from_frame(pd.read_csv(_DATA, nrows=STORED + 2_000), "1m")


@contextmanager
def _served(home: Home, *words: str) -> Iterator[Served]:
    """Serve a copy of a home, so that each part begins with the same."""
    from service_server import served

    with tempfile.TemporaryDirectory(prefix="bench-served-") as folder:
        root = Path(folder) / "home"
        shutil.copytree(home.root, root, symlinks=True)
        with served(root, *words) as server:
            yield server


# ---------------------------------------------------------------- one caller


def _latency(home: Home) -> Found:
    """Ask again and again over one connection, with a new candle each time and without."""
    import http.client

    from bot.market.store import CandleStore

    candles = _minutes()
    with _served(home) as server:
        place = urlsplit(server.url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=60)

        def ask() -> tuple[float, dict[str, Any]]:
            began = time.perf_counter()
            connection.request("GET", _NEWEST, headers={"Authorization": f"Bearer {server.token}"})
            with connection.getresponse() as answer:
                data = answer.read()
            seconds = time.perf_counter() - began
            document = json.loads(data)
            if answer.status != 200 or len(document["predictions"]) != STEPS:
                raise RuntimeError(f"{answer.status}: {data[:300]!r}")
            return seconds, document

        store = CandleStore(server.home / "candles")
        kernel = _Kernel(home)
        fresh, alone, closes = [], [], set()
        for number in range(3 + max(5, int(CALLS * SCALE))):
            known = candles.slice(0, STORED + 1 + number)
            store.write(known, "BTCUSDT", "binance")
            time.sleep(0.05)  # 20 requests a second: below the limit of a token
            seconds, document = ask()
            closes.add(document["timestamp"])
            fresh.append(seconds)
            alone.append(kernel.seconds(known))
        remembered = []
        for _ in range(max(10, int(200 * SCALE))):
            time.sleep(0.025)
            remembered.append(ask()[0])
        computed, _ = _counts(server)
        connection.close()
    over = median(fresh[3:]) - median(alone[3:])
    if len(closes) != len(fresh) or computed != len(fresh):
        raise RuntimeError(f"{len(fresh)} new candles, {len(closes)} answers, {computed} computed")
    return [
        {
            "what": f"GET /api/predictions, {STEPS} steps of candles, warm, a new candle each time, over loopback",
            "asked": "<= 25 ms over the kernel's own time",
            "measured": f"median {1e3 * over:.1f} ms over it ({1e3 * median(fresh[3:]):.1f} less "
            f"{1e3 * median(alone[3:]):.1f}), {len(fresh) - 3} candles after {STORED:,}",
            "ok": over <= 0.025,
        },
        {
            "what": "the same request again, remembered",
            "asked": "<= 8 ms",
            "measured": f"median {1e3 * median(remembered):.1f} ms, {len(remembered)} times",
            "ok": median(remembered) <= 0.008,
        },
    ]


class _Kernel:
    """The path alone, of the same bundle and the same candles, in this process."""

    def __init__(self, home: Home) -> None:
        from ml.engines import open_bundle, open_engine
        from registry.store import PredictionModelRegistry

        registry = PredictionModelRegistry(home.models, open_runner=open_bundle)
        engine: Any = open_engine(registry.select_bundle(symbol="BTCUSDT", model_type="multi_ohlc", timeframe="1m"))
        self._model, self._bars = engine._paths.model, engine.window_bars

    def seconds(self, candles: Candles) -> float:
        window = candles.slice(len(candles) - self._bars, len(candles))
        began = time.perf_counter()
        self._model.newest(window, STEPS)
        return time.perf_counter() - began


def _counts(server: Served) -> tuple[int, int]:
    """Return how many predictions a server has computed, and how many it remembered."""
    text = server.get("/api/metrics").data.decode()
    found = {
        source: int(float(re.search(rf'^mlbot_predictions_total{{source="{source}"}} (\S+)', text, re.MULTILINE)[1]))
        for source in ("computed", "remembered")
    }
    return found["computed"], found["remembered"]


# ---------------------------------------------------------------- many callers


def _load(home: Home) -> Found:
    """Have fifty clients read for a minute while a training runs."""
    seconds = max(5.0, SECONDS * SCALE)
    with _served(home) as server:
        tokens = _tokens(server, CLIENTS)
        server.get(_NEWEST)
        before = _counts(server)
        rows = []
        for pause in (0.5, 0.0):
            writers = _tokens(server, _QUEUED, "write", f"writer-{len(rows)}")
            jobs = _begin_trainings(server, writers)
            said = _clients(server.url, tokens, seconds, pause)
            running = sum(server.get(f"/api/jobs/{job_id}").document["status"] == "running" for job_id in jobs)
            for job_id, writer in zip(reversed(jobs), writers, strict=True):
                server.ask("POST", f"/api/jobs/{job_id}/cancel", token=writer)
            server.job(jobs[0])
            waits = sorted(said["seconds"])
            p99 = waits[int(len(waits) * 0.99)]
            errors = sum(count for status, count in said["statuses"].items() if status != "200")
            pace = f"each {1 / pause:g} a second at most" if pause else "each as fast as it is answered"
            rows.append(
                {
                    "what": f"{CLIENTS} clients for {seconds:.0f} s, {pace}, one training job beside them",
                    "asked": "0 errors, p99 <= 250 ms",
                    "measured": f"{errors} errors {said['statuses']}, median {1e3 * median(waits):.0f} ms, "
                    f"p99 {1e3 * p99:.0f} ms, {len(waits) / seconds:.0f} requests a second; {_slowest(said)}",
                    "ok": errors == 0 and p99 <= 0.25 and running == 1,
                }
            )
        after = _counts(server)
    computed, remembered = after[0] - before[0], after[1] - before[1]
    rows.append(
        {
            "what": "predictions that were computed for them, all asking for the same candle",
            "asked": "once, before",
            "measured": f"{computed} computed, {remembered:,} remembered",
            "ok": computed == 0 and remembered > 0,
        }
    )
    rows.append(_single_flight(home))
    return rows


def _begin_trainings(server: Served, tokens: list[str]) -> list[str]:
    """Ask for trainings, and wait until the first runs; the others keep it so until the clients are done."""
    asked = {"symbol": "BTC_USDT", "timeframe": "1m", "days_history": None, "promote": False}
    jobs = [
        server.post("/api/models/train?wait=0", asked | {"seed": seed}, token=token).document["id"]
        for seed, token in enumerate(tokens)
    ]
    until = time.monotonic() + 60
    while server.get(f"/api/jobs/{jobs[0]}").document["status"] == "queued":
        if time.monotonic() > until:
            raise RuntimeError("the training does not begin")
        time.sleep(0.1)
    return jobs


def _slowest(said: dict[str, Any]) -> str:
    """Return which address took longest, in words."""
    medians = {path: median(waits) for path, waits in said["paths"].items()}
    path = max(medians, key=lambda name: medians[name])
    return f"slowest {path.partition('?')[0]}, median {1e3 * medians[path]:.0f} ms"


def _single_flight(home: Home) -> dict[str, Any]:
    """Have all of them ask at once for what nobody has asked for yet."""
    with _served(home) as server:
        said = _clients(server.url, _tokens(server, CLIENTS), 0.0, 0.0, (_NEWEST,))
        computed, remembered = _counts(server)
    return {
        "what": f"the same request of {CLIENTS} clients at once, of a server that has just begun",
        "asked": "computed once",
        "measured": f"computed {computed}, told {computed + remembered} times, {said['statuses']}",
        "ok": computed == 1 and said["statuses"] == {"200": CLIENTS},
    }


def _tokens(server: Served, count: int, scope: str = "read", name: str = "reader") -> list[str]:
    from bot.service.access import Scope, TokenStore

    store = TokenStore(server.home / "service")
    return [store.create(f"{name}-{number}", Scope(scope)) for number in range(count)]


def _clients(
    url: str, tokens: list[str], seconds: float, pause: float, paths: tuple[str, ...] = _MIX
) -> dict[str, Any]:
    """Run the clients in a process of their own, and return the seconds and statuses of their requests."""
    order = json.dumps({"url": url, "tokens": tokens, "seconds": seconds, "pause": pause, "paths": paths})
    done = subprocess.run(
        [sys.executable, __file__], input=order, capture_output=True, text=True, check=True, timeout=seconds + 120
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


async def _ask_all(order: dict[str, Any]) -> dict[str, Any]:
    place, end = urlsplit(order["url"]), time.perf_counter() + order["seconds"]
    waits: list[float] = []
    paths: dict[str, list[float]] = {}
    statuses: dict[str, int] = {}

    async def client(number: int, token: str) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        await asyncio.sleep(order["pause"] * number / len(order["tokens"]))  # they do not march in step
        turn = number
        while True:
            path = order["paths"][turn % len(order["paths"])]
            turn += 1
            began = time.perf_counter()
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {place.netloc}\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
            )
            status = await _answer(reader)
            took = time.perf_counter() - began
            waits.append(took)
            paths.setdefault(path, []).append(took)
            statuses[status] = statuses.get(status, 0) + 1
            if time.perf_counter() >= end:
                break
            await asyncio.sleep(max(order["pause"] - took, 0.0))
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client(number, token) for number, token in enumerate(order["tokens"])))
    return {"seconds": waits, "statuses": statuses, "paths": paths}


async def _answer(reader: asyncio.StreamReader) -> str:
    """Read one answer to its end; returns its status."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    length = re.search(r"(?i)^content-length: (\d+)", head, re.MULTILINE)
    if length is None:
        raise RuntimeError(f"an answer without its length: {head}")
    await reader.readexactly(int(length[1]))
    return head.split(" ", 2)[1]


# ---------------------------------------------------------------- a fuzzer


def _fuzz(root: Path) -> Found:
    """Have schemathesis send whatever the document admits, and what it does not."""
    from service_server import fill_whole_home, fuzz, local_service

    root.mkdir()
    home = fill_whole_home(root / "home")
    wanted = int(FUZZED * SCALE)
    cases, failed, said, code = 0, 0, "", 0
    with local_service(home.root) as server:
        began, seed = time.perf_counter(), 1
        while cases < wanted:
            per_operation = max(5, min(400, (wanted - cases) // 25))
            found = fuzz(server, root, "--max-examples", str(per_operation), "--seed", str(seed), seconds=3_600.0)
            if not found.cases:
                raise RuntimeError(found.said[-2_000:])
            cases, seed, code = cases + found.cases, seed + 1, code or found.code
            failed += len(re.findall(r"^- ST\d+", found.said, re.MULTILINE))
            if found.code:
                said += found.said
        seconds = time.perf_counter() - began
        server_errors = len(
            re.findall(
                r'^mlbot_http_requests_total\{.*status="500".*\} [1-9]',
                server.get("/api/metrics").data.decode(),
                re.MULTILINE,
            )
        )
    if said:
        (Path(tempfile.gettempdir()) / "bench-service-fuzz.txt").write_text(said)
    return [
        {
            "what": f"schemathesis, all checks, {seconds:.0f} s, {seed - 1} runs",
            "asked": f"0 server errors, 0 undocumented answers over {wanted:,} requests",
            "measured": f"{server_errors} routes with server errors, {failed} findings over {cases:,} requests",
            "ok": code == 0 and server_errors == 0 and cases >= wanted,
        }
    ]


# ---------------------------------------------------------------- kills


def _kills(root: Path) -> Found:
    """Kill the server while it works, again and again; some jobs lose two servers."""
    from service_server import QUICK, fill_home, served

    from registry.store import PredictionModelRegistry

    home = fill_home(root)
    kills, rng = max(4, int(KILLS * SCALE)), random.Random(6)
    known = len(PredictionModelRegistry(home.models).list_bundles())
    jobs: dict[str, int] = {}
    killed = 0
    with served(home.root) as server:
        while killed < kills:
            answer = server.post("/api/models/train?wait=0", {**QUICK, "seed": len(jobs), "promote": False})
            job_id = answer.document["id"]
            jobs[job_id] = 0
            for _ in range(min(1 + (len(jobs) % 4 == 0), kills - killed)):
                while server.get(f"/api/jobs/{job_id}").document["status"] == "queued":
                    time.sleep(0.01)
                time.sleep(rng.uniform(0.0, 2.0))
                if server.get(f"/api/jobs/{job_id}").document["ended_at"] is not None and jobs[job_id]:
                    break
                server.kill()
                killed += 1
                jobs[job_id] += 1
                server.restart()
            server.job(job_id, 120.0)
        ended = [server.get(f"/api/jobs/{job_id}").document for job_id in jobs]
        listed = {each["id"] for each in server.get("/api/jobs", limit=500).document}
    bundles = PredictionModelRegistry(home.models).list_bundles()
    made = [each.metadata.get("job") for each in bundles]
    lost = sum(job_id not in listed for job_id in jobs) + sum(each["status"] != "completed" for each in ended)
    twice = sum(made.count(job_id) != 1 for job_id in jobs)
    again = sum(each["attempts"] > 1 for each in ended)
    done = subprocess.run(
        [sys.executable, "-m", "bot", "models", "validate", "--home", str(home.root), "--json"],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    left = [path.name for path in home.models.rglob(".*") if path.is_dir()]
    return [
        {
            "what": f"kill -9 of the server {killed} times during {len(jobs)} jobs ({again} of them begun again)",
            "asked": "no job lost, none run twice, no half-written bundle",
            "measured": f"{lost} lost, {twice} without exactly one version; {len(bundles) - known} new bundles, "
            f"bot models validate ends with {done.returncode}, {len(left)} folders left over",
            "ok": lost == 0 and twice == 0 and done.returncode == 0 and len(bundles) == known + len(jobs),
        }
    ]


# ---------------------------------------------------------------- memory


def _memory(home: Home) -> Found:
    """Read the memory of the server's process when it idles, when it is warm, and after many requests."""
    count = int(REQUESTS * SCALE)
    with _served(home) as server:
        tokens = _tokens(server, 40)
        server.get("/api/health")
        time.sleep(1.0)
        idle = _resident(server)
        _many(server, tokens, max(100, count // 10))
        time.sleep(1.0)
        warm = _resident(server)
        _many(server, tokens, count)
        time.sleep(1.0)
        after = _resident(server)
    return [
        {
            "what": "memory of an idle server, MB",
            "asked": "<= 350",
            "measured": f"{idle:.0f}; {warm:.0f} once it has answered {max(100, count // 10):,} requests of every kind",
            "ok": idle <= 350,
        },
        {
            "what": f"memory after {count:,} requests more, MB",
            "asked": "grows <= 10",
            "measured": f"grows {after - warm:.1f}, to {after:.0f}",
            "ok": after - warm <= 10,
        },
    ]


def _many(server: Served, tokens: list[str], count: int) -> None:
    """Send so many requests from a few clients, below the limit of each token."""
    done = 0
    while done < count:
        said = _clients(server.url, tokens, min(30.0, (count - done) / 200), 0.05)
        if set(said["statuses"]) != {"200"}:
            raise RuntimeError(str(said["statuses"]))
        done += len(said["seconds"])


def _resident(server: Served) -> float:
    with Path(f"/proc/{server.process.pid}/status").open() as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024


if __name__ == "__main__":  # the clients, as `_clients` starts them
    print(json.dumps(asyncio.run(_ask_all(json.loads(sys.stdin.read())))))
