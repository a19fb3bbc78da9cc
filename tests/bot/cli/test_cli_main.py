"""The entry point: help is light, errors are one message and an exit code, JSON stays one document."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import typer.main

from bot.cli.main import app, main
from bot.cli.output import to_json

HEAVY = {
    "backtrader", "ccxt", "lightgbm", "matplotlib", "numba", "numpy", "onnxruntime", "pandas", "pyarrow", "scipy",
    "sklearn", "tensorflow",
}  # fmt: skip


def leaves(command, path=()):
    """Yield every command below a group with the words that reach it."""
    if hasattr(command, "commands"):
        for name, child in command.commands.items():
            yield from leaves(child, (*path, name))
    else:
        yield path, command


COMMANDS = dict(leaves(typer.main.get_command(app)))


def test_help_imports_nothing_heavy():
    code = "import sys; from bot.cli.main import main; main(['--help']); print(*sorted(sys.modules), file=sys.stderr)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "Usage: bot" in done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_the_commands_of_the_design_are_there():
    names = {" ".join(path) for path in COMMANDS}

    assert {"init", "backtest", "predict", "train model", "data import", "data download", "data synth", "data list",
            "data check", "models list", "models show", "models compare", "models validate", "models promote",
            "models rollback", "models archive"} <= names  # fmt: skip


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(path, capsys):
    code = main([*path, "--help"])

    text = capsys.readouterr().out
    assert code == 0
    assert "Usage: bot" in text
    assert "--json" in text
    assert "--home" in text or path == ("init",)
    assert COMMANDS[path].help


@pytest.mark.parametrize(
    "words",
    [["bakctest", "x.yaml"], ["backtest"], ["backtest", "--nope"], ["models"], []],
    ids=lambda w: " ".join(w) or "none",
)
def test_wrong_usage_is_exit_2_without_a_traceback(words, capsys):
    code = main(words)

    captured = capsys.readouterr()
    assert code == 2
    assert "Traceback" not in captured.err + captured.out
    assert captured.err or "Usage:" in captured.out


def test_an_error_with_json_is_one_document(tmp_path, capsys):
    code = main(["backtest", str(tmp_path / "missing.yaml"), "--json"])

    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert code == document["exit_code"] == 2
    assert "missing.yaml" in document["error"]


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out[0].isdigit()


def test_undefined_figures_are_null():
    import numpy as np

    document = {
        "a": float("nan"),
        "b": np.float64("inf"),
        "c": np.int64(3),
        "d": np.array([1.0, np.nan]),
        "e": (True, None),
    }

    assert json.loads(to_json(document)) == {"a": None, "b": None, "c": 3, "d": [1.0, None], "e": [True, None]}
