"""Crontabs and units, read as cron and systemd read them."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass


@dataclass(frozen=True)
class CronJob:
    """One line of a crontab: minute, hour, day of month, month, day of week, command."""

    fields: tuple[str, ...]
    command: str

    def moments(self) -> list[tuple[int, int]]:
        """Return hour and minute of each time that it is started at within any day."""
        assert self.fields[2:] == ("*", "*", "*"), self.fields
        minutes, hours = ([int(part) for part in field.split(",")] for field in self.fields[:2])
        assert all(0 <= minute < 60 for minute in minutes)
        assert all(0 <= hour < 24 for hour in hours)
        return [(hour, minute) for hour in hours for minute in minutes]


def cron_jobs(text: str) -> list[CronJob]:
    """Return the jobs; what follows a bare % would be given to the command as its input, and there must be none."""
    jobs = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#") or re.match(r"\s*\w+\s*=", line):
            continue
        *fields, command = line.split(None, 5)
        assert not re.search(r"(?<!\\)%", command), line
        jobs.append(CronJob(tuple(fields), command.replace(r"\%", "%")))
    return jobs


def unit(text: str) -> dict[str, dict[str, list[str]]]:
    """Return the settings of a unit by section."""
    found: dict[str, dict[str, list[str]]] = {}
    for line in text.splitlines():
        if section := re.fullmatch(r"\[(\w+)\]", line):
            found[section[1]] = {}
        elif line.strip() and not line.startswith(("#", ";")):
            name, _, value = line.partition("=")
            list(found.values())[-1].setdefault(name, []).append(value)
    return found


def exec_start(text: str, instance: str = "") -> tuple[list[str], str]:
    """Return the words that a service is started with, and the folder that it is started in."""
    service = unit(text)["Service"]
    (line,), (folder,) = service["ExecStart"], service["WorkingDirectory"]
    return [_specifiers(word, instance) for word in shlex.split(line)], _specifiers(folder, instance)


def environment_file(text: str) -> dict[str, str]:
    """Return the variables of a file as EnvironmentFile reads it."""
    pairs = (line.partition("=") for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return {name: shlex.split(value)[0] if value else "" for name, _, value in pairs}


def _specifiers(word: str, instance: str) -> str:
    return re.sub("%(.)", lambda match: {"%": "%", "i": instance}[match[1]], word)
