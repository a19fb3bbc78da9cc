"""``bot init``: files to start from."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from bot.cli.options import JsonOption
from bot.cli.output import Report
from bot.errors import StorageError, UsageError

__all__ = ["init"]

_FILES = {"strategy.yaml": "example.yaml", ".env.example": "env.example", "schedule.example": "schedule.example"}


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; it is created.")],
    as_json: JsonOption = False,
) -> None:
    """Write a commented config, an environment example and scheduler lines; nothing is overwritten."""
    from importlib.resources import files

    there = [name for name in _FILES if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} has {' and '.join(there)} already: nothing was written; choose another folder")
    source = files("bot.config")
    beside = Path(sys.executable).with_name("bot")
    program = str(beside) if beside.exists() else shutil.which("bot") or f"{sys.executable} -m bot"
    written: list[Path] = []
    made = not folder.exists()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, template in _FILES.items():
            text = source.joinpath(template).read_text(encoding="utf-8")
            if name == "schedule.example":
                text = text.replace("{folder}", str(folder.resolve())).replace("{bot}", program)
            with (folder / name).open("x", encoding="utf-8") as file:
                written.append(folder / name)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        if made and folder.is_dir():
            folder.rmdir()
        raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from error
    report = Report(as_json=as_json)
    for path in written:
        report.line(f"wrote {path}")
    report.line(f"The comments at the top of {folder / 'strategy.yaml'} say what to type next.")
    report.document({"folder": str(folder), "files": [path.name for path in written]})
