#!/usr/bin/env python3
"""Measure every number that the project promises and print it beside what was asked.

    .venv/bin/python scripts/benchmark.py                 all of them (about two hours on two cores)
    .venv/bin/python scripts/benchmark.py features trees  those of tests/benchmarks/bench_features.py and bench_trees.py

Each module there has ``measure()``, which returns dicts with what, asked, measured and ok; figures are ratios against a
named peer in one run where the machine matters. Exits 1 when a figure misses what was asked.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import sys
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "tests" / "benchmarks"


def available() -> dict[str, Path]:
    """Return the benchmark modules by name."""
    return {path.stem.removeprefix("bench_"): path for path in sorted(FOLDER.glob("bench_*.py"))}


def run(path: Path) -> list[dict[str, Any]]:
    """Import one module and return what it measured."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise ImportError(path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    rows: list[dict[str, Any]] = module.measure()
    return rows


def main() -> int:
    """Run the benchmarks named on the command line, or all."""
    known = available()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(known)}; all when none is named")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        parser.error(f"no benchmark named {', '.join(unknown)}; there are {', '.join(known)}")
    rows: list[dict[str, Any]] = []
    for name in options.names or known:
        started = time.perf_counter()
        found = run(known[name])
        rows += [{"benchmark": name, **row} for row in found]
        if not options.json:
            print(f"\n{name} ({time.perf_counter() - started:.0f} s)")
            for row in found:
                mark = "ok  " if row["ok"] else "MISS"
                print(f"  {mark} {row['what']}\n         asked {row['asked']}; measured {row['measured']}", flush=True)
    missed = sum(not row["ok"] for row in rows)
    if options.json:
        machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
        print(json.dumps({"machine": machine, "missed": missed, "rows": rows}, indent=2, default=str))
    else:
        print(f"\n{len(rows)} figures, {missed} missed")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
