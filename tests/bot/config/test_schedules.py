"""What is written for cron and systemd: paths of every kind, the same text in ``configs``, valid for systemd itself."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from scheduler_files import cron_jobs, environment_file, unit

from bot.cli.main import main
from bot.config.schedules import CRONTAB, UNITS, schedule_files
from bot.errors import UsageError

CONFIGS = Path(__file__).parents[3] / "configs"
NASTY = "a b/100% $HOME 'it' \"x\""


def test_every_file_is_filled(tmp_path):
    texts = schedule_files(tmp_path, ["/opt/bot"])
    assert list(texts) == [CRONTAB, *UNITS]
    assert all("{folder}" not in text and "{bot}" not in text for text in texts.values())
    service = unit(texts["bot-pipeline.service"])
    assert service["Service"]["ExecStart"] == ["/opt/bot pipeline run"]
    assert service["Service"]["WorkingDirectory"] == [str(tmp_path)]


def test_a_shell_reads_any_path_as_it_is(tmp_path):
    folder = tmp_path / NASTY
    folder.mkdir(parents=True)
    (folder / "bot").write_text('#!/bin/sh\npwd > "$0.says"\necho "$@" >> "$0.says"\n')
    (folder / "bot").chmod(0o755)
    for job in cron_jobs(schedule_files(folder, [str(folder / "bot")])[CRONTAB]):
        done = subprocess.run(["/bin/sh", "-c", job.command], check=False, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        where, words = (folder / "bot.says").read_text().splitlines()
        assert (where, words) == (str(folder), " ".join(job.command.split(" >> ")[0].split()[-2:]))


def test_systemd_reads_any_path_as_it_is(tmp_path):
    folder = tmp_path / NASTY.replace("$HOME ", "")
    texts = schedule_files(folder, [str(folder / "bot"), "-m", "bot"])
    service = unit(texts["bot-live@.service"])["Service"]
    assert service["WorkingDirectory"] == [str(folder).replace("%", "%%")]
    assert service["ExecStart"] == [
        '"' + f"{folder}/bot".replace("%", "%%").replace('"', '\\"') + '" -m bot live %i.yaml'
    ]


def test_a_path_with_a_line_break_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot stand in a scheduler's file"):
        schedule_files(tmp_path / "a\nExecStart=b", ["/bot"])


@pytest.mark.parametrize("name", UNITS)
def test_the_units_of_configs_are_those_of_a_checkout_at_home(name):
    told = schedule_files(Path("/H/mlbot"), ["/H/mlbot/.venv/bin/bot"])[name]
    assert (CONFIGS / "systemd" / name).read_text() == told.replace("/H/", "%h/")


def test_the_crontab_of_configs_is_that_of_a_checkout_at_home():
    told = schedule_files(Path("/H/mlbot"), ["/H/mlbot/.venv/bin/bot"])[CRONTAB]
    told = told.replace("/H/mlbot/.venv", ".venv").replace("/H/", '"$HOME"/')
    assert (CONFIGS / "crontab.example").read_text() == told


def test_both_schedulers_keep_the_same_hours():
    """Each 12 hours the cycle, and after it the check; a missed run of systemd is made up for."""
    texts = schedule_files(Path("/f"), ["/bot"])
    cycle, check = cron_jobs(texts[CRONTAB])
    assert cycle.moments() == [(0, 7), (12, 7)]
    assert check.moments() == [(1, 37), (13, 37)]
    for job, name in ((cycle, "bot-pipeline.timer"), (check, "bot-drift.timer")):
        timer = unit(texts[name])["Timer"]
        hours = ",".join(f"{hour:02}" for hour, _ in job.moments())
        assert timer["OnCalendar"] == [f"*-*-* {hours}:{job.moments()[0][1]:02}:00 UTC"]
        assert timer["Persistent"] == ["true"]


def test_a_finding_is_no_crash_and_trading_comes_first():
    texts = schedule_files(Path("/f"), ["/bot"])
    pipeline, drift, live = (
        unit(texts[name])["Service"] for name in ("bot-pipeline.service", "bot-drift.service", "bot-live@.service")
    )
    assert drift["SuccessExitStatus"] == ["3"]
    assert "SuccessExitStatus" not in pipeline
    for service in (pipeline, drift):
        assert service["Type"] == ["oneshot"]
        assert service["Nice"] == ["10"]
        assert int(service["CPUWeight"][0]) < 100 < int(live["CPUWeight"][0])
    assert live["RestartPreventExitStatus"] == ["2 3"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd")
@pytest.mark.parametrize("where", ["init", "configs"])
def test_systemd_finds_no_fault(tmp_path, where):
    home, units = tmp_path / "home", tmp_path / "units"
    folder = home / "mlbot" if where == "configs" else home / "a b 100%"
    program = folder / ".venv" / "bin" / "bot"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    if where == "configs":
        shutil.copytree(CONFIGS / "systemd", units)
    else:
        units.mkdir()
        for name, text in schedule_files(folder, [str(program)]).items():
            (units / name).write_text(text)
        (units / CRONTAB).unlink()
    (units / "bot-live@.service").rename(units / "bot-live@strategy.service")
    runtime = tmp_path / "run"
    runtime.mkdir(mode=0o700)
    environment = {**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(runtime)}

    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", *sorted(units.iterdir())],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )

    if "initialize manager" in done.stderr:
        pytest.skip("systemd cannot be asked here")
    assert (done.returncode, done.stderr) == (0, "")


def test_shell_and_systemd_read_the_example_of_an_environment_alike(tmp_path):
    main(["init", str(tmp_path)])
    told = (tmp_path / ".env.example").read_text().replace("# BOT_A", "BOT_A")
    (tmp_path / ".env").write_text(told)

    done = subprocess.run(
        ["/bin/sh", "-c", "set -a && . ./.env && env"],
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert (done.returncode, done.stderr) == (0, "")
    read = dict(line.split("=", 1) for line in done.stdout.splitlines())
    expected = environment_file(told)
    assert {name: read[name] for name in expected} == expected
    assert expected["BOT_HOME"] == "./var"
    assert len(expected["BOT_ALERTS"].split()) == 3
