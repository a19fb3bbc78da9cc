"""``bot live --check``: the pre-flight as a table, or as JSON."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bot.cli.output import Report
    from bot.config.loader import ConfigFile
    from bot.home import Home

__all__ = ["print_checks"]

_FINDING = 3


def print_checks(file: ConfigFile, home: Home, report: Report) -> None:
    """Look at everything that trading needs, and print it.

    Raises
    ------
    typer.Exit
        With code 3 when something would keep the bot from starting.
    """
    from bot.live.preflight import preflight

    checks = preflight(file, home)
    levels = Counter(check.level for check in checks)
    failed = levels["fail"]
    report.table(
        f"Pre-flight of {file.config.name}", ["check", "", "found"], [[c.name, c.level, c.words] for c in checks]
    )
    report.line()
    for check in checks:
        if check.level != "ok" and check.advice:
            report.line(f"{check.level}: {check.name}: {check.advice}")
    verdict = f"{failed} of {len(checks)} checks failed: the bot would not start" if failed else "ready to trade"
    warned = f" ({levels['warn']} warning(s))" if levels["warn"] else ""
    report.line(f"{verdict}{warned}")
    report.document(
        {
            "bot": file.config.name,
            "ready": not failed,
            "checks": [
                {"name": check.name, "level": check.level, "words": check.words, "advice": check.advice or None}
                for check in checks
            ],
        }
    )
    if failed:
        raise typer.Exit(_FINDING)
