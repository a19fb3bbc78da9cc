"""One of several processes that use a registry at once; run as a program of its own.

Usage: ``working.py FOLDER ROLE COUNT``. Prints one JSON document.
"""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from registry.errors import InvalidBundle
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KEY = ModelKey("BTCUSDT", "basic", "1h")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FILES = ("model.txt", "metrics.json", "calibration.json", "feature_schema.json")


def bundle(tag: str) -> dict[str, bytes]:
    document = json.dumps({"schema_version": 1, "tag": tag}).encode()
    return dict.fromkeys(("metadata.json", *FILES), document)


def register(registry: PredictionModelRegistry, count: int) -> list[str]:
    return [registry.register(KEY, bundle(f"{os.getpid()}-{i}"), at=AT).version_id for i in range(count)]


def promote(registry: PredictionModelRegistry, count: int) -> dict[str, float]:
    """Promote one version after the other; returns milliseconds of a turn, over the first and the last thousand."""
    versions = [model.version_id for model in registry.list_bundles()]
    ends = [time.perf_counter()]
    for i in range(count):
        registry.promote(KEY, versions[(i + os.getpid()) % len(versions)], at=AT, reason=f"turn {i}")
        ends.append(time.perf_counter())
    part = min(1000, count)
    return {"first_ms": 1e3 * (ends[part] - ends[0]) / part, "last_ms": 1e3 * (ends[-1] - ends[-part - 1]) / part}


def read(registry: PredictionModelRegistry, nice: int) -> dict[str, int]:
    """Read the champion until the file `stop` appears: through the registry, and through the link as P7 describes."""
    os.nice(nice)
    stop, reads, swaps, last = registry.root / ".stop", 0, 0, ""
    folder = registry.root / "BTCUSDT" / "basic"
    tag_of = {model.version_id: model.metadata["tag"] for model in registry.list_bundles()}
    mixed = missing = 0
    while not stop.exists():
        try:
            model = registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h")
            tags = {json.loads(model.read(name))["tag"] for name in FILES} | {model.metadata["tag"]}
            resolved = folder / (folder / "latest-1h").readlink()
            linked = {json.loads((resolved / name).read_bytes())["tag"] for name in ("metadata.json", *FILES)}
        except (InvalidBundle, LookupError, OSError):
            missing += 1
            continue
        mixed += tags != {tag_of[model.version_id]} or linked != {tag_of[resolved.name]}
        reads += 1
        swaps += model.version_id != last
        last = model.version_id
    return {"reads": reads, "swaps": swaps, "mixed": mixed, "missing": missing}


if __name__ == "__main__":
    os.fsync = lambda _descriptor: None  # nobody cuts the power here, and the swaps come faster
    work = {"register": register, "promote": promote, "read": read}[sys.argv[2]]
    print(json.dumps(work(PredictionModelRegistry(Path(sys.argv[1]), lock_timeout=100.0), int(sys.argv[3]))))
