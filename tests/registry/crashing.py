"""Kill a writer before, after and in the middle of each system call that it makes; run as a program of its own.

Usage: ``crashing.py FOLDER SCENARIO``. A process forks a child for each point; the child patches the calls of `os`, does
one operation and dies by SIGKILL at that point. The parent then looks at what the disk holds. Prints one JSON document.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from registry import ledger, reading
from registry.errors import InvalidLedger, NoChampion, RegistryError
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

CALLS = ("open", "write", "fsync", "close", "mkdir", "rename", "replace", "symlink", "unlink", "rmdir", "ftruncate")
SCENARIOS = (
    "first",
    "register",
    "promote",
    "rollback",
    "archive",
    "quarantine",
    "withdraw",
    "restore",
    "checkpoint",
    "heal",
    "repair",
    "rewind",
)
KEY = ModelKey("BTCUSDT", "basic", "1h")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def bundle(tag: str) -> dict[str, bytes]:
    return {
        "metadata.json": json.dumps({"schema_version": 1, "tag": tag}).encode(),
        "model.txt": tag.encode() * 1000,
        "metrics.json": json.dumps({"tag": tag}).encode(),
    }


def prepare(registry: PredictionModelRegistry, scenario: str) -> None:
    if scenario == "first":
        return
    names = [registry.register(KEY, bundle(tag), at=AT).version_id for tag in "abc"]
    registry.promote(KEY, names[0], at=AT, reason="")
    registry.promote(KEY, names[1], at=AT, reason="")
    folder = registry.root / "BTCUSDT" / "basic"
    if scenario in ("restore", "rewind"):
        registry.quarantine(KEY, names[2 if scenario == "restore" else 0], at=AT, reason="drift")
    if scenario == "repair":  # a registration and a promotion follow the damaged row
        registry.promote(KEY, registry.register(KEY, bundle("x"), at=AT).version_id, at=AT, reason="")
        damage(folder / "ledger.jsonl", b'"action":"promote"')
    if scenario == "rewind":  # what is damaged is that the present champion was rolled back
        registry.promote(KEY, names[2], at=AT, reason="")
        registry.rollback(KEY, at=AT, reason="worse")
        damage(folder / "ledger.jsonl", b'"action":"rollback"')
    if scenario == "heal":  # everything that a crash may leave, at once
        row = next(row for row in registry.history(KEY) if row.version == names[2])
        (folder / names[2]).rename(folder / row.staged)
        (folder / ".tmp-1").mkdir()
        (folder / ".tmp-1" / "model.txt").write_bytes(b"half")
        (folder / "latest-1h").unlink()
        (folder / "latest-1h").symlink_to(names[0])
        with (folder / "ledger.jsonl").open("ab") as stream:
            stream.write(b'{"action":"promo')


def damage(path: Path, wanted: bytes) -> None:
    """Change the first row of a ledger that holds some bytes."""
    lines = path.read_bytes().splitlines(keepends=True)
    number = [wanted in line for line in lines].index(True)
    lines[number] = lines[number].replace(b'"reason":"', b'"reason":"no')
    path.write_bytes(b"".join(lines))


def operate(registry: PredictionModelRegistry, scenario: str) -> None:
    if scenario in ("first", "register", "heal"):
        registry.register(KEY, bundle("d"), at=AT)
    elif scenario in ("promote", "checkpoint"):
        reading.INTERVAL = 1 if scenario == "checkpoint" else reading.INTERVAL
        registry.promote(KEY, f"{AT:%Y-%m-%dT%H%M%SZ}_1h_v3", at=AT, reason="better", evidence={"gain": 0.1})
    elif scenario == "rollback":
        registry.rollback(KEY, at=AT, reason="worse")
    elif scenario == "quarantine":
        registry.quarantine(KEY, f"{AT:%Y-%m-%dT%H%M%SZ}_1h_v2", at=AT, reason="drift", evidence={"r": 9000.0})
    elif scenario == "withdraw":
        registry.withdraw(KEY, at=AT, reason="no skill")
    elif scenario == "restore":
        registry.restore(KEY, f"{AT:%Y-%m-%dT%H%M%SZ}_1h_v3", at=AT, reason="well again")
    elif scenario in ("repair", "rewind"):
        registry.repair("BTCUSDT", "basic", at=AT)
    else:
        registry.archive(KEY, f"{AT:%Y-%m-%dT%H%M%SZ}_1h_v3", at=AT, reason="old")


def state(registry: PredictionModelRegistry) -> list[object]:
    """What every reader sees: versions, statuses, contents, champion, newest."""
    versions = [
        [m.version_id, "broken"] if m.problem else [m.version_id, m.status, m.metadata["tag"]]
        for m in registry.list_bundles()
    ]
    chosen = []
    for version in (None, "newest"):
        try:
            model = registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version=version)
            tags = {model.metadata["tag"], model.metrics["tag"], model.read("model.txt")[:1].decode()}
            chosen.append([model.version_id, sorted(tags)])
        except NoChampion:
            chosen.append("none")
        except InvalidLedger:
            chosen.append("damaged")
        except LookupError:
            chosen.append("unknown")
    return [versions, *chosen]


def arm(point: int, mode: str) -> None:
    """Count the calls of the functions in CALLS and die at number `point`."""
    count = 0

    def wrap(name):
        real = getattr(os, name)

        def call(*arguments, **keywords):
            nonlocal count
            count += 1
            if count == point:
                if mode == "after":
                    real(*arguments, **keywords)
                elif mode == "torn":
                    descriptor, data = arguments
                    real(descriptor, data[: len(data) // 2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **keywords)

        setattr(os, name, call)

    for name in ("write",) if mode == "torn" else CALLS:
        wrap(name)


def crash(template: Path, work: Path, scenario: str, point: int, mode: str) -> bool:
    """Copy the prepared registry, run the operation in a child and kill it there; False when it ended before."""
    shutil.rmtree(work, ignore_errors=True)
    if template.exists():
        shutil.copytree(template, work, symlinks=True)
    child = os.fork()
    if child == 0:
        arm(point, mode)
        operate(PredictionModelRegistry(work), scenario)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def main(folder: Path, scenario: str) -> dict[str, object]:
    os.fsync = lambda _descriptor: None  # SIGKILL loses nothing that was written; the calls are still counted
    ledger._ATTEMPTS = 1  # whoever wrote is dead: damage that is found stays
    template, work = folder / "template", folder / "work"
    prepare(PredictionModelRegistry(template), scenario)
    before = state(PredictionModelRegistry(template))
    done = folder / "done"
    if template.exists():
        shutil.copytree(template, done, symlinks=True)
    operate(PredictionModelRegistry(done), scenario)
    after = state(PredictionModelRegistry(done))
    faults, seen, points, taken = [], {"before": 0, "after": 0}, 0, []
    healed_only = None  # of the scenario `heal`: what the healing writer shows before its own row
    for mode in ("before", "after", "torn"):
        point = 0
        while crash(template, work, scenario, point := point + 1, mode):
            points += 1
            place = f"{scenario}, killed {mode} call {point}"
            registry = PredictionModelRegistry(work, lock_timeout=1.0)
            try:
                found, findings = state(registry), [str(each) for each in registry.validate()]
                damaged = "damaged" in found
                if findings and not (
                    damaged and len(findings) == 1 and "bot models repair BTCUSDT basic" in findings[0]
                ):
                    faults.append(f"{place}: {findings}")
                if found == before:
                    seen["before"] += 1
                elif found == after:
                    seen["after"] += 1
                elif scenario == "heal":  # the pending version has become visible
                    healed_only = healed_only or found
                    if found != healed_only:
                        faults.append(f"{place}: readers see {found}")
                else:
                    faults.append(f"{place}: readers see {found}")
                if damaged:
                    registry.repair("BTCUSDT", "basic", at=AT)
                    if state(registry) != after:
                        faults.append(f"{place}: repaired to {state(registry)}")
                if scenario not in ("first", "repair", "rewind") and point % 2:  # both are first to write after a crash
                    taken.append(roll_back(work, place, faults))
                third = f"{AT:%Y-%m-%dT%H%M%SZ}_1h_v3"
                registry.register(KEY, bundle("e"), at=AT)
                known = {model.version_id for model in registry.list_bundles()}
                registry.promote(KEY, third if third in known else min(known), at=AT, reason="next")
                if registry.validate() or registry.leftovers():
                    faults.append(f"{place}: the next writer left {registry.validate()} {registry.leftovers()}")
                if "e" not in {model.metadata["tag"] for model in registry.list_bundles()}:
                    faults.append(f"{place}: the next registration is lost")
            except (RegistryError, OSError) as error:
                faults.append(f"{place}: {type(error).__name__}: {error}")
    return {"points": points, "seen": seen, "faults": faults, "rollback_ms": taken}


def roll_back(work: Path, place: str, faults: list[str]) -> float:
    """Roll back in one call, as a new process would; returns its milliseconds."""
    registry = PredictionModelRegistry(work, lock_timeout=1.0)
    was = registry.champion_version(KEY)
    begin = time.perf_counter()
    now = registry.rollback(KEY, at=AT, reason="by hand")
    taken = 1e3 * (time.perf_counter() - begin)
    reader = PredictionModelRegistry(work)
    if now.version_id == was or reader.champion_version(KEY) != now.version_id or reader.validate():
        faults.append(f"{place}: rolled back from {was} to {now}, {reader.validate()}")
    return taken


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), sys.argv[2])))
