"""The registry under load: promotions against readers, kills at every step, rollbacks, and tampered bundles."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from registry.names import ModelKey
from registry.store import PredictionModelRegistry

__all__ = ["measure"]

KEY = ModelKey("BTCUSDT", "basic", "1h")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
_NICE = 10  # readers never pause: so the writer gets on where there are fewer cores than readers
_PROGRAMS = Path(__file__).resolve().parents[1] / "registry"
_SCENARIOS = (
    *("first", "register", "promote", "rollback", "archive", "quarantine", "withdraw", "restore", "checkpoint", "heal"),
    *("repair", "rewind"),
)


def measure(promotions: int = 100_000, readers: int = 8, mutations: int = 10_000) -> list[dict[str, Any]]:
    """Return the figures; the first ones take most of the time: readers and writer share the cores."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        root = folder / "models"
        rows = _under_readers(root, promotions, readers)
        rows += _rollbacks(root, promotions)
        small = folder / "small"
        _run("working.py", small, "register", 3)
        _run("working.py", small, "promote", 997)
        rows += _rollbacks(small, 1000)
        return [*rows, *_kills(folder / "kills"), _tampering(folder / "tampering", mutations)]


def _under_readers(root: Path, promotions: int, readers: int) -> list[dict[str, Any]]:
    _run("working.py", root, "register", 3)
    PredictionModelRegistry(root).promote(KEY, f"{AT:%Y-%m-%dT%H%M%SZ}_1h_v1", at=AT, reason="")
    watching = [_start("working.py", root, "read", _NICE) for _ in range(readers)]
    begin = time.perf_counter()
    try:
        pace = _run("working.py", root, "promote", promotions)
        taken = time.perf_counter() - begin
    finally:
        (root / ".stop").write_bytes(b"")
        seen = [_finish(process) for process in watching]
    registry = PredictionModelRegistry(root)
    begin = time.perf_counter()
    findings = len(registry.validate()) + len(registry.leftovers())
    checked = time.perf_counter() - begin
    mixed, missing = sum(each["mixed"] for each in seen), sum(each["missing"] for each in seen)
    reads, least = sum(each["reads"] for each in seen), min(each["swaps"] for each in seen)
    return [
        {
            "what": f"registry: {promotions:,} promotions against {readers} readers",
            "asked": "0 mixed bundles, 0 missing files",
            "measured": f"{mixed} mixed, {missing} missing in {reads:,} reads (each reader saw {least:,} or more changes); "
            f"{taken:.0f} s; afterwards {findings} findings (all of it verified in {checked:.1f} s)",
            "ok": mixed == missing == findings == 0 and least > 10,
        },
        {
            "what": "registry: a promotion among readers, the last thousand against the first thousand",
            "asked": "<= 3 times as long",
            "measured": f"{pace['last_ms']:.2f} ms against {pace['first_ms']:.2f} ms",
            "ok": pace["last_ms"] <= 3 * pace["first_ms"],
        },
    ]


def _rollbacks(root: Path, promotions: int) -> list[dict[str, Any]]:
    """Roll back with an object that has just been made, as a command does, and with one that remembers."""
    rows = []
    kept = PredictionModelRegistry(root)
    kept.champion_version(KEY)
    for what, make in (("a new object", lambda: PredictionModelRegistry(root)), ("an object in use", lambda: kept)):
        taken = []
        for _ in range(11):
            registry = make()
            begin = time.perf_counter()
            registry.rollback(KEY, at=AT, reason="benchmark")
            taken.append(1e3 * (time.perf_counter() - begin))
        rows.append(
            {
                "what": f"registry: rollback over {promotions:,} rows, {what} (flushes included)",
                "asked": "< 100 ms",
                "measured": f"median {median(taken):.1f} ms, slowest {max(taken):.1f} ms of {len(taken)}",
                "ok": median(taken) < 100,
            }
        )
    return rows


def _kills(folder: Path) -> list[dict[str, Any]]:
    points, faults, taken = 0, [], []
    for scenario in _SCENARIOS:
        (folder / scenario).mkdir(parents=True)
        found = _run("crashing.py", folder / scenario, scenario)
        points += found["points"]
        faults += found["faults"]
        taken += found["rollback_ms"]
    return [
        {
            "what": f"registry: kill -9 before, after and in the middle of every system call of {len(_SCENARIOS)} operations",
            "asked": "valid, and the next writer succeeds",
            "measured": f"{points} kills, {len(faults)} faults{': ' + faults[0] if faults else ''}",
            "ok": not faults,
        },
        {
            "what": "registry: the first call after a kill is a rollback",
            "asked": "< 100 ms",
            "measured": f"median {median(taken):.1f} ms, 99 of 100 within {quantiles(taken, n=100)[-1]:.1f} ms, "
            f"slowest {max(taken):.1f} ms of {len(taken)}",
            "ok": quantiles(taken, n=100)[-1] < 100,
        },
    ]


def _tampering(folder: Path, mutations: int) -> dict[str, Any]:
    folder.mkdir()
    found = _run("tampering.py", folder, mutations, 2)
    refused = found["mutations"] - len(found["accepted"])
    executed = sum(found["executed"].values()) + found["pickle_ran"]
    return {
        "what": f"registry: {found['mutations']:,} mutations of the files of a trained bundle, and pickles in sealed ones",
        "asked": "100 % refused, nothing executed",
        "measured": f"{refused:,} refused; {executed} events of the audit hook (exec, import, pickle, ...); "
        f"{found['sound_loads']} sound loads in between",
        "ok": refused == found["mutations"] and not executed and found["sound_loads"] > 0,
    }


def _start(program: str, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, str(_PROGRAMS / program), *map(str, words)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _finish(process: subprocess.Popen[str]) -> Any:
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    return json.loads(out)


def _run(program: str, *words: object) -> Any:
    return _finish(_start(program, *words))
