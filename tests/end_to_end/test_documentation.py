"""What the documents show is true: commands in ``console`` blocks run, those in ``sh`` blocks parse, links lead somewhere."""

from __future__ import annotations

import functools
import io
import json
import re
import shlex
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import typer.main

from bot.cli.main import app, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```(console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines(page: Path, language: str) -> list[list[str]]:
    """Return the command lines of one page, as words."""
    found = []
    for kind, text in BLOCK.findall(page.read_text()):
        if kind == language:
            prompt = "$ " if language == "console" else ""
            told = [line for line in text.replace("\\\n", " ").splitlines() if line.startswith(prompt)]
            found += [shlex.split(line.removeprefix(prompt), comments=True) for line in told]
    return [words for words in found if words]


def commands(page: Path, language: str) -> list[list[str]]:
    """Return the ``bot`` command lines of one page, as words without the first."""
    return [words[1:] for words in lines(page, language) if words[0] == "bot"]


@functools.cache
def program() -> Any:
    """Return the ``bot`` command with all below it."""
    return typer.main.get_command(app)


def run_session(page: Path, folder: Path) -> list[str]:
    """Run what a page shows in a folder, with the home in it, up to the first command that fails; return what failed."""
    (folder / "configs").symlink_to(ROOT / "configs")  # what is written beside it does not land in the checkout
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BOT_HOME", str(folder / "home"))
        patch.chdir(folder)
        for command, *words in lines(page, "console"):
            if command == "cd":
                patch.chdir(words[0])
                continue
            if command != "bot":
                return [f"{command} is not bot"]
            said = io.StringIO()
            with redirect_stderr(said):
                code = main(words)
            if code != 0:
                return [f"bot {shlex.join(words)}: {said.getvalue()}"]
    return []


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Callable[[Path], tuple[Path, list[str]]]:
    """Return by page the folder in which its session ran, once, and what failed in it."""

    @functools.cache
    def ran(page: Path) -> tuple[Path, list[str]]:
        folder = tmp_path_factory.mktemp("session")
        return folder, run_session(page, folder)

    return ran


@pytest.mark.parametrize("page", [p for p in PAGES if commands(p, "console")], ids=lambda p: p.name)
def test_shown_sessions_run(page, session):
    _, failed = session(page)

    assert failed == []


def test_the_strategy_of_the_readme_trades(session, tmp_path, monkeypatch, capsys):
    folder, failed = session(ROOT / "README.md")  # candles and model
    assert failed == []
    source = re.search(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "my_module.py").write_text(source)
    config = (ROOT / "configs" / "ml_basic_synth.yaml").read_text()
    config = re.sub(
        r"^strategy: .*?(?=^symbols)", "strategy: my_module:Careful\n", config, flags=re.MULTILINE | re.DOTALL
    )
    (tmp_path / "config.yaml").write_text(config)
    monkeypatch.setenv("BOT_HOME", str(folder / "home"))
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()

    code = main(["backtest", "config.yaml", "--json", "--no-report"])

    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert json.loads(captured.out)["out_of_sample"]["trades"] > 3


@pytest.mark.parametrize("words", [w for p in PAGES for w in commands(p, "sh")], ids=lambda w: shlex.join(w)[:60])
def test_shown_commands_parse(words):
    command, rest = program(), list(words)
    while hasattr(command, "commands") and (rest or not command.invoke_without_command):
        if rest[0].startswith("-"):
            break
        command = command.commands[rest.pop(0)]

    assert command.make_context(command.name, rest)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())

    missing = [link for link in links if not (page.parent / link).exists()]
    assert not missing


def requirements():
    """Return the rows of ``docs/requirements.md``: numbers, and the cells after them."""
    rows = []
    for line in (ROOT / "docs" / "requirements.md").read_text().splitlines():
        if not line.startswith("| R"):
            continue
        label, *cells = (cell.strip() for cell in line.strip("|").split(" | "))
        numbers = []
        for part in label.strip("| ").split(", "):
            first, _, last = part.replace("R", "").partition("-")
            numbers += range(int(first), int(last or first) + 1)
        rows.append((numbers, cells))
    return rows


def test_every_requirement_is_accounted_for_once():
    found = [number for numbers, _ in requirements() for number in numbers]
    assert sorted(found) == [7, *range(9, 53), *range(85, 154), *range(157, 208)]


def test_what_the_requirements_point_at_exists():
    pointed = set()
    for _, cells in requirements():
        assert len(cells) == 2
        assert all(cells)
        pointed |= set(
            re.findall(r"`?((?:bot|docs|indicators|ml|registry|scripts|strategies|tests)/[\w./-]+\w)`?", cells[1])
        )
    assert len(pointed) > 40
    assert [place for place in sorted(pointed) if not (ROOT / place).exists()] == []


def test_commands_that_the_requirements_name_exist():
    for _, cells in requirements():
        for words in re.findall(r"`bot ((?:[a-z]+ ?)+)", cells[1]):
            command = program()
            for word in words.split():
                if hasattr(command, "commands"):
                    assert word in command.commands, f"bot {words}"
                    command = command.commands[word]
