"""What the schedules start is started here as cron and systemd would: from ``bot init``, from a checkout, from a wheel."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from scheduler_files import cron_jobs, environment_file, exec_start

from bot.cli.main import main
from bot.home import Home
from bot.live.control import Control
from bot.state import StateDatabase

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = Path(sys.executable).with_name("bot")
BARS = 4_000
RECIPE = """\
symbol: SYNTH
type: basic
timeframe: 1h
exchange: synth
features: [price, rsi_14, taker_imbalance_20]
params: {num_boost_round: 20}
"""


def prepare(folder: Path, program: Path = PROGRAM) -> Path:
    """Make a working folder as ``bot init`` does, with candles in its home and a quick recipe."""
    subprocess.run([program, "init", folder], check=True, capture_output=True, timeout=120)
    (folder / "recipes" / "synth-basic-1h.yaml").write_text(RECIPE)
    (folder / ".env").write_text("# where it is kept\nBOT_HOME=./home\n")
    strategy = (folder / "strategy.yaml").read_text().replace("start: 2020-01-01", "start: 2018-05-01")
    (folder / "strategy.yaml").write_text(strategy)
    synthesise(folder / "home")
    return folder


def synthesise(home: Path) -> None:
    words = ["data", "synth", "--symbol", "SYNTH", "--bars", str(BARS), "--seed", "3", "--home", str(home)]
    assert main(words) == 0


def cron(folder: Path, number: int, text: str | None = None, home: Path | None = None) -> subprocess.CompletedProcess:
    """Do one line of a crontab with what cron gives it: a shell, HOME and a short PATH."""
    job = cron_jobs(text or (folder / "schedule" / "crontab").read_text())[number]
    return subprocess.run(
        [shutil.which("dash") or "/bin/sh", "-c", job.command],
        check=False,
        cwd="/",
        env=_bare(home or Path.home()),
        capture_output=True,
        text=True,
        timeout=200,
    )


def started(units: Path, name: str, instance: str = "") -> subprocess.Popen:
    """Start a service with what systemd gives it: its folder, its environment file, no shell."""
    words, folder = exec_start((units / name).read_text(), instance)
    given = environment_file((Path(folder) / ".env").read_text())
    return subprocess.Popen(
        words, cwd=folder, env=_bare(Path.home()) | given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _bare(home: Path) -> dict[str, str]:
    """Return the little that a scheduler passes on; PYTHONPATH chooses the sources that are tested."""
    passed = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
    return {"HOME": str(home), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh", "LOGNAME": "me", **passed}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("scheduled") / "my bot")


def test_the_lines_for_cron(folder):
    cycle = cron(folder, 0)
    assert (cycle.returncode, cycle.stdout, cycle.stderr) == (0, "", "")  # nothing to mail
    assert re.search(r"synth-basic-1h  (registered|skipped)", (folder / "pipeline.log").read_text())
    assert (folder / "home" / "pipeline.db").exists()
    check = cron(folder, 1)
    assert (check.returncode, check.stdout, check.stderr) == (0, "", "")
    assert "Nobody serves" in (folder / "drift.log").read_text()


def test_the_services_of_systemd(folder):
    for name, told in (("bot-pipeline.service", "synth-basic-1h"), ("bot-drift.service", "SYNTH/1h/basic")):
        process = started(folder / "schedule", name)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        assert told in output


def test_the_trading_service_runs_until_it_is_stopped(tmp_path):
    folder = prepare(tmp_path / "my bot")
    quick = ["--features", "price", "--params", "num_boost_round=20", "--skip-robustness", "--skip-plots"]
    assert main(["train", "model", "SYNTH", "--timeframe", "1h", *quick, "--home", str(folder / "home")]) == 0
    process = started(folder / "schedule", "bot-live@.service", "strategy")
    try:
        state = Home(folder / "home").state_db
        until = time.monotonic() + 120
        while not _is_trading(state):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, output
    assert "my-first-strategy stopped" in output


def _is_trading(path: Path) -> bool:
    if not path.exists():
        return False
    with StateDatabase(path) as state:
        status = Control(state, "my-first-strategy", lambda: 0).status()
    return status is not None and status.state == "running"


def test_what_fails_is_mailed(folder):
    recipe = folder / "recipes" / "broken.yaml"
    recipe.write_text("symbol: SYNTH\ntype: basik\ntimeframe: 1h\n")
    try:
        broken = cron(folder, 0)
        assert "broken.yaml:2:7" in broken.stderr
        recipe.write_text("symbol: ABSENT\ntype: basic\ntimeframe: 1h\n")
        failed = cron(folder, 0)
        assert "broken" in failed.stdout
        assert "no candles of ABSENT" in failed.stdout
    finally:
        recipe.unlink()


def test_the_crontab_of_a_checkout(tmp_path):
    """The one in ``configs``, for a checkout at home: here a folder with its parts and other settings."""
    checkout = tmp_path / "mlbot"
    (checkout / "configs" / "recipes").mkdir(parents=True)
    (checkout / ".venv").symlink_to(sys.prefix)
    settings = (ROOT / "configs" / "pipeline.yaml").read_text().replace("fetch: true", "fetch: false")
    (checkout / "configs" / "pipeline.yaml").write_text(settings)
    (checkout / "configs" / "recipes" / "quick.yaml").write_text(RECIPE)
    synthesise(checkout / "var")
    text = (ROOT / "configs" / "crontab.example").read_text()

    for number in (0, 1):
        done = cron(checkout, number, text, home=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    assert "quick" in (checkout / "pipeline.log").read_text()


@pytest.mark.parametrize(
    ("script", "words", "command"),
    [
        ("train.py", ["--no-fetch"], ["pipeline", "run"]),
        ("train.py", ["--every", "soon"], ["pipeline", "run"]),
        ("train.py", ["model", "SYNTH", "--type", "basik"], ["train"]),
        ("drift_check.py", ["--dry-run"], ["drift", "check"]),
        ("drift_check.py", ["--symbol", "SYNHT"], ["drift", "check"]),
    ],
)
def test_scripts_are_the_commands(folder, monkeypatch, capsys, script, words, command):
    """The same output and exit code, where something is done and where something is wrong."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("BOT_HOME", str(folder / "home"))

    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / script, *words, "--json"],
        check=False,
        capture_output=True,
        text=True,
        timeout=200,
    )

    code = main([*command, *words, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert done.returncode == code, done.stderr
    assert code == (2 if "error" in told else 0)
    assert set(json.loads(done.stdout)) == set(told)
    assert json.loads(done.stdout).get("error") == told.get("error")


@pytest.mark.slow
def test_an_installed_wheel(tmp_path, folder):
    """Built, installed into an environment of its own, and scheduled from there; libraries come from the one of the tests."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "var", "build", "dist", "tests", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT, source, ignore=ignored)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--retries", "1"]
    built = subprocess.run(
        [*pip, "--wheel-dir", tmp_path, source], capture_output=True, text=True, check=False, timeout=280
    )
    if "No matching distribution found for setuptools" in built.stderr:
        pytest.skip("building a wheel takes a newer setuptools, and no index can be reached")
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=200)
    installed = tmp_path / "venv" / "bin"
    pip = [installed / "python", "-m", "pip", "--disable-pip-version-check", "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, wheel], check=True, capture_output=True, timeout=200)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    libraries = Path(sys.prefix) / "lib" / version / "site-packages"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(libraries))  # its .pth files are not read, so the checkout is not seen
        mine = prepare(tmp_path / "mine", installed / "bot")
        assert f"{installed}/bot pipeline run" in (mine / "schedule" / "crontab").read_text()
        for number in (0, 1):
            done = cron(mine, number)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        process = started(mine / "schedule", "bot-pipeline.service")
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
    place = subprocess.run(
        [installed / "python", "-c", "import bot; print(bot.__file__)"],
        cwd=tmp_path,
        env=_bare(tmp_path) | {"PYTHONPATH": str(libraries)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert str(tmp_path / "venv") in place
