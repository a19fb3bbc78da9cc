"""The cycle: five models on a week of minutes, the same on Dask, and a year of hours with two recipes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

__all__ = ["measure"]

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"
RECIPES = ROOT / "configs" / "recipes"
CYCLE_S, YEAR_S = 60.0, 600.0
_MINUTES, _HOURS = "binance_spot_BTCUSDT_1m_2024Q1.csv.gz", "binance_spot_BTCUSDT_1h_2018_2024.csv.gz"
_WEEK = "\nwindow: 7d"


def measure() -> list[dict[str, Any]]:
    """Return the figures; a year alone with ``PIPELINE_PART=year``, a cycle alone with ``PIPELINE_PART=cycle``."""
    part = os.environ.get("PIPELINE_PART", "")
    with tempfile.TemporaryDirectory(prefix="bench-pipeline-") as folder:
        rows = [] if part == "year" else _cycles(Path(folder))
        return rows + ([] if part == "cycle" else _year(Path(folder)))


def _cycles(folder: Path) -> list[dict[str, Any]]:
    """Build the five recipes of one minute by processes, and again on a Dask cluster of two."""
    recipes = folder / "minutes"
    recipes.mkdir()
    for path in sorted(RECIPES.glob("*1m*.yaml")):
        shutil.copy(path, recipes)
    homes = {name: folder / name for name in ("warm", "here", "dask")}
    for home in homes.values():
        _bot(
            "data",
            "import",
            DATA / _MINUTES,
            "--symbol",
            "BTCUSDT",
            "--timeframe",
            "1m",
            "--exchange",
            "binance",
            home=home,
        )
    _bot(
        "pipeline", "run", "--recipes", recipes, "--no-fetch", "--workers", "2", home=homes["warm"]
    )  # compiles the kernels
    started = time.perf_counter()
    here = _bot("pipeline", "run", "--recipes", recipes, "--no-fetch", "--workers", "2", home=homes["here"])
    seconds = time.perf_counter() - started
    rows = [
        {
            "what": f"{len(here['recipes'])} models on 7 days of 1m candles in two processes",
            "asked": f"<= {CYCLE_S:.0f} s",
            "measured": f"{seconds:.1f} s; "
            + ", ".join(f"{r['recipe']} {r['seconds'] or 0:.1f}" for r in here["recipes"]),
            "ok": seconds <= CYCLE_S and all(each["state"] == "registered" for each in here["recipes"]),
        }
    ]
    with _dask() as address:
        _bot("pipeline", "run", "--recipes", recipes, "--no-fetch", "--dask", address, home=homes["dask"])
    mine, theirs = _models(homes["here"]), _models(homes["dask"])
    same = sum(mine[name] == theirs.get(name) for name in mine)
    rows.append(
        {
            "what": "the same cycle on Dask with two workers: bundles that learnt the same",
            "asked": f"{len(mine)} of {len(mine)}",
            "measured": f"{same} of {len(mine)} (every file but the two that hold the moment of training)",
            "ok": same == len(mine) and bool(mine),
        }
    )
    return rows


def _year(folder: Path) -> list[dict[str, Any]]:
    home = folder / "hours"
    recipes = folder / "recipes-1h"
    recipes.mkdir()
    text = (RECIPES / "btc-basic-1h.yaml").read_text()
    (recipes / "btc-basic-1h.yaml").write_text(text)
    (recipes / "btc-small-1h.yaml").write_text(f"{text}params: {{num_leaves: 7}}\n")
    _bot(
        "data", "import", DATA / _HOURS, "--symbol", "BTCUSDT", "--timeframe", "1h", "--exchange", "binance", home=home
    )
    started = time.perf_counter()
    span = ("--start", "2024-01-01", "--end", "2024-12-30")
    done = _bot("pipeline", "simulate", "--recipes", recipes, *span, "--every", "12h", home=home)
    seconds = time.perf_counter() - started
    rows = [
        {
            "what": f"a year of {done['cycles']} cycles on BTC 1h with {len(done['streams'])} tree recipes",
            "asked": f"<= {YEAR_S:.0f} s",
            "measured": f"{seconds:.0f} s, {done['registered']:,} versions, {len(done['failures'])} failures",
            "ok": seconds <= YEAR_S and not done["failures"],
        }
    ]
    rows += [
        {
            "what": f"what came of it: {line.split(':')[0]}",
            "asked": "-",
            "measured": line.partition(": ")[2],
            "ok": True,
        }
        for line in done["lines"][1:]
    ]
    return rows


def _bot(*words: Any, home: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "bot", *map(str, words), "--home", str(home), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in {0, 3}:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


class _dask:  # noqa: N801 - used as a function
    """A scheduler with two workers on loopback."""

    def __enter__(self) -> str:
        from distributed import LocalCluster

        self._cluster = LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
        return str(self._cluster.scheduler_address)

    def __exit__(self, *_: object) -> None:
        self._cluster.close()


def _models(home: Path) -> dict[str, dict[str, str]]:
    """Return digests of the files of each bundle, but for those that hold when it was made."""
    found = {}
    for path in sorted((home / "models").glob("*/*/*_v*/manifest.json")):
        files = json.loads(path.read_text())["files"]
        dated = {"metadata.json", "README.md"}
        found[path.parent.parent.name] = {name: each["sha256"] for name, each in files.items() if name not in dated}
    return found
