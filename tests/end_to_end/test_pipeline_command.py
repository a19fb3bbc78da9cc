"""The cycle as processes, as a scheduler starts it: done, beside another, killed, with a library missing, and watched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_recipes import KEY, Works

from bot.pipeline.lock import pipeline_lock

ROOT = Path(__file__).resolve().parents[2]
LARGE = {"num_boost_round": 600, "num_leaves": 31, "learning_rate": 0.01, "min_data_in_leaf": 50}
HIDING = """
from importlib.machinery import PathFinder
found = PathFinder.find_spec
def find_spec(name, path=None, target=None):
    return None if name.partition(".")[0] == "xgboost" else found(name, path, target)
PathFinder.find_spec = find_spec
"""


@pytest.fixture
def works(tmp_path):
    works = Works(tmp_path, settings={"window_of_ranking": "9000d"})  # the market is of 2018, the clock of today
    works.recipe("one")
    works.store(6_000)
    return works


def started(works, *words, path="", script=None):
    program = ["-c", "import sys; from bot.cli.main import main; sys.exit(main())"] if script is None else [str(script)]
    return subprocess.Popen(
        [sys.executable, *program, *words, "--home", str(works.home.root), "--settings", str(works.settings_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=works.root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [path, str(ROOT)])), "PYTHONWARNINGS": "ignore"},
    )


def run(works, *words, **options):
    process = started(works, *words, **options)
    out, err = process.communicate(timeout=240)
    return process.returncode, out, err


def children(process):
    """Return the processes that a process has started, and theirs."""
    found, wanted = [], {process.pid}
    for place in sorted(Path("/proc").glob("[0-9]*"), key=lambda place: int(place.name)):
        try:
            text = (place / "stat").read_text()
        except OSError:
            continue
        state, parent = text.rpartition(")")[2].split()[:2]
        if int(parent) in wanted and state != "Z":
            wanted.add(int(place.name))
            found.append(int(place.name))
    return found


def building(process):
    """Wait until a process builds in others, and return those."""
    while process.poll() is None:
        found = [pid for pid in children(process) if b"popen_loky" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if found:
            time.sleep(1.0)
            return found
        time.sleep(0.05)
    raise AssertionError(process.communicate())


def test_a_scheduler_trains_watches_and_sees_what_came(works):
    code, out, err = run(works, "--json", script=ROOT / "scripts/train.py")
    document = json.loads(out)
    assert (code, err) == (0, "")
    assert [each["kind"] for each in document["decisions"]] == ["promote"]
    code, out, err = run(works, script=ROOT / "scripts/drift_check.py")
    assert (code, err) == (0, "")
    assert out.startswith("BTCUSDT/1h/basic: calm. No bar that it spoke of")
    code, out, _ = run(works, "pipeline", "status")
    assert code == 0
    assert document["decisions"][0]["version"] in out


def test_a_cycle_beside_another_is_refused(works):
    with pipeline_lock(works.home.root):
        code, out, err = run(works, "pipeline", "run", "--json")
    assert code == 1
    assert err.startswith("error: another cycle or drift check runs in")
    assert json.loads(out) == {"error": err.removeprefix("error: ").strip(), "exit_code": 1}


def test_a_recipe_whose_library_is_missing_fails_and_the_others_go_on(works):
    works.recipe("trees", type="direction", params={"n_estimators": 5})
    (works.root / "hidden").mkdir()
    (works.root / "hidden/sitecustomize.py").write_text(HIDING)
    code, out, _ = run(works, "pipeline", "run", "--json", path=str(works.root / "hidden"))
    outcomes = {each["recipe"]: each for each in json.loads(out)["recipes"]}
    assert code == 1
    assert outcomes["one"]["state"] == "registered"
    assert outcomes["trees"]["state"] == "failed"
    assert "pip install 'mlbot[train]'" in outcomes["trees"]["reason"]


def test_a_cycle_that_is_killed_while_it_builds_leaves_no_process_behind_and_is_finished(works):
    works.recipe("large", params=LARGE)
    process = started(works, "pipeline", "run", "--workers", "1")
    workers = building(process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=30)
    until = time.monotonic() + 30
    while [pid for pid in workers if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < until
        time.sleep(0.1)
    code, out, _ = run(works, "pipeline", "run", "--json")
    document = json.loads(out)
    assert code == 0
    assert [each["resumed"] for each in document["finished"]] == [True]
    assert [each["state"] for each in document["finished"][0]["recipes"]] == ["registered", "registered"]
    with works.pipeline() as pipeline:
        assert len(pipeline.registry.list_bundles()) == 2
        assert pipeline.registry.champion_version(KEY) is not None


def test_a_worker_that_is_killed_costs_its_recipe_a_second_try(works):
    works.recipe("large", params=LARGE)
    process = started(works, "pipeline", "run", "--json", "--workers", "2")
    for pid in building(process):
        os.kill(pid, signal.SIGKILL)
    out, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    assert [each["state"] for each in json.loads(out)["recipes"]] == ["registered", "registered"]
