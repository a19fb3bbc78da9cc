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

_FILES = {
    "strategy.yaml": "example.yaml",
    "pipeline.yaml": "pipeline.yaml",
    "recipes/synth-basic-1h.yaml": "recipe.yaml",
    ".env.example": "env.example",
}


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; it is created.")],
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Write the lines for cron and the units for systemd alone.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented config, a recipe, an environment example and schedules; nothing is overwritten."""
    from bot.config.schedules import schedule_files

    texts = {} if schedule else _examples()
    texts |= {f"schedule/{name}": text for name, text in schedule_files(folder.resolve(), _program()).items()}
    there = [name for name in texts if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder} has {' and '.join(there)} already: nothing was written; choose another folder")
    written = _write(folder, texts)
    report = Report(as_json=as_json)
    for path in written:
        report.line(f"wrote {path}")
    if not schedule:
        report.line(f"The comments at the top of {folder / 'strategy.yaml'} say what to type next.")
    report.document({"folder": str(folder), "files": list(texts)})


def _examples() -> dict[str, str]:
    from importlib.resources import files

    source = files("bot.config")
    return {name: source.joinpath(template).read_text(encoding="utf-8") for name, template in _FILES.items()}


def _program() -> list[str]:
    """Return the words that start this program from any folder."""
    beside = Path(sys.executable).with_name("bot")
    found = str(beside) if beside.exists() else shutil.which("bot")
    return [sys.executable, "-m", "bot"] if found is None else [str(Path(found).absolute())]


def _write(folder: Path, texts: dict[str, str]) -> list[Path]:
    """Write all or nothing, and return the paths."""
    written: list[Path] = []
    made = [path for path in dict.fromkeys((folder / name).parent for name in texts) if not path.exists()]
    try:
        for path in made:
            path.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            with (folder / name).open("x", encoding="utf-8") as file:
                written.append(folder / name)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        for path in reversed(made):
            if path.is_dir():
                path.rmdir()
        raise StorageError(f"cannot write to {folder}: {error.strerror or error}") from error
    return written
