"""Bad input, as a person meets it: one clear message with the place, the right exit code, and nothing half-written.

What a single part refuses is tested beside that part (files of candles in ``test_importer``, configs in
``test_config_loader``, bundles and ledgers under ``tests/registry``, the cache in ``test_cache``); here whole commands run.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from backtest_runs import config_text, small_home
from small_models import AT, KEY, bundle_files, register

import bot.cli.models
from bot.cli.main import main
from bot.cli.output import Report
from bot.home import Home
from bot.market.store import CandleStore
from ml.cache import PredictionCache
from registry.store import PredictionModelRegistry

BAR = "{},100,101,99,100.5,10\n"
HEADER = "time,open,high,low,close,volume\n"
START = 1_600_000_200_000 // 3_600_000 * 3_600_000


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """Return a home with candles and a champion; tests that write take a copy."""
    home = small_home(tmp_path_factory.mktemp("filled"))
    registry = PredictionModelRegistry(home.models)
    registry.promote(KEY, registry.list_bundles()[0].version_id, at=AT, reason="test")
    return home.root


@pytest.fixture
def home(filled, tmp_path) -> Home:
    shutil.copytree(filled, tmp_path / "var", symlinks=True)
    return Home(tmp_path / "var")


@pytest.fixture
def write(tmp_path):
    def written(name: str, text: str) -> str:
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return written


def tree(folder: Path) -> dict[str, bytes | str]:
    """Return every file, link and folder below a folder, lock files apart."""
    return {
        str(path.relative_to(folder)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in folder.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.suffix != ".lock" and path.name != ".lock"
    }


@pytest.fixture
def refused(capsys):
    """Run a command twice, for a person and with ``--json``: it fails in one message and changes no file."""

    def run(code: int, *words: str | Path, home: Home | Path) -> str:
        root = home.root if isinstance(home, Home) else home
        before = tree(root) if root.is_dir() else {}
        assert main([*map(str, words), "--home", str(root)]) == code
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert "Traceback" not in printed.err
        assert main([*map(str, words), "--home", str(root), "--json"]) == code
        document = json.loads(capsys.readouterr().out)
        assert document == {"error": printed.err.removeprefix("error: ").removesuffix("\n"), "exit_code": code}
        assert (tree(root) if root.is_dir() else {}) == before
        return document["error"]

    return run


def program(*words: str | Path, before: str = "", **keywords) -> subprocess.Popen[str]:
    """Start the program as a process of its own, perhaps with a line of Python before it."""
    start = f"import sys\n{before}\nfrom bot.__main__ import main\nsys.exit(main())"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", start, *map(str, words)], **(pipes | keywords))


# The home


@pytest.mark.parametrize(
    "words",
    [
        ["data", "list"],
        ["data", "synth"],
        ["data", "check", "SYNTH", "--timeframe", "1h"],
        ["train", "model", "SYNTH"],
        ["models", "list"],
        ["models", "validate"],
        ["models", "show", "SYNTH", "basic"],
        ["models", "promote", "SYNTH", "basic", "2026"],
        ["predict", "SYNTH"],
    ],
)
@pytest.mark.parametrize("below", ["", "models"])
def test_a_home_that_is_a_file(refused, tmp_path, words, below):
    place = tmp_path / "home" / below
    place.parent.mkdir(exist_ok=True)
    place.write_text("not a folder")
    assert f"{place} is not a folder" in refused(2, *words, home=tmp_path / "home")


def test_a_home_of_a_user_that_is_not_there(refused):
    assert "no such user's home" in refused(2, "data", "list", home=Path("~nobody-of-that-name/x"))


def test_without_a_home_it_is_var_in_the_working_folder(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("BOT_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert main(["models", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["root"] == str(tmp_path / "var" / "models")
    assert list(tmp_path.iterdir()) == []


# Names


@pytest.mark.parametrize("symbol", ["../../etc", "..", "/", "", "BTC USDT", "*", "A\nB", "\x1b[31mX", "БТЦ", "X" * 500])
@pytest.mark.parametrize(
    "words",
    [
        ["predict"],
        ["train", "model"],
        ["models", "show", "--timeframe", "1h"],
        ["data", "check", "--timeframe", "1h"],
    ],
)
def test_symbols_that_are_none(refused, filled, words, symbol):
    rest = ["basic"] if words[:2] == ["models", "show"] else []
    assert "is not a symbol" in refused(2, *words, symbol, *rest, home=filled)


def test_a_misspelt_version_names_the_word(refused, filled):
    assert "did you mean 'newest'?" in refused(2, "predict", "BTCUSDT", "--version", "newst", home=filled)


# Configs: the rest is in test_config_loader and test_cli_backtest


@pytest.mark.parametrize(
    ("changes", "place", "words"),
    [
        ({"symbols: [BTCUSDT]": "symbols: [BTCUSD]"}, ":4:11: ", "did you mean 'BTCUSDT'?"),
        ({"{{prediction:": "{{predictin:"}, ":7:10: ", "'predictin' is no role of MLBasic; did you mean 'prediction'?"),
        ({"{{prediction:": "{{other:"}, ":7:9: ", "needs a model for the role 'prediction': add 'prediction: "),
        ({"/basic@": "/basik@"}, ":7:22: ", "did you mean 'basic'?"),
        ({"strategy: MLBasic": "strategy: MLBasik"}, ":2:11: ", "did you mean 'MLBasic'?"),
        ({"cash: 10000": "cash: 10000, cash: 5"}, ":8:23: ", "the key 'cash' is there twice"),
        (
            {"exchange: local": "exchange: local, start: 2019-01-01, end: 2018-01-01"},
            ":6:32: ",
            "is not before the end",
        ),
    ],
)
def test_a_wrong_config_leaves_not_even_a_cache(refused, filled, tmp_path, write, changes, place, words):
    changes = {old.replace("{{", "{"): new.replace("{{", "{") for old, new in changes.items()}
    path = write("strategy.yaml", config_text(**changes))
    shutil.copytree(filled, tmp_path / "var", symlinks=True)
    message = refused(2, "backtest", path, home=tmp_path / "var")
    assert message.startswith(f"{path}{place}")
    assert words in message
    assert not (tmp_path / "var" / "predictions.db").exists()


def test_a_config_on_a_new_machine_makes_nothing(refused, tmp_path, write):
    refused(2, "backtest", write("strategy.yaml", config_text()), home=tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("kind", ["folder", "unreadable", "missing"])
def test_configs_that_cannot_be_read(refused, home, tmp_path, write, kind):
    path = Path(write("strategy.yaml", config_text()))
    if kind == "unreadable":
        if os.geteuid() == 0:
            pytest.skip("root reads everything")
        path.chmod(0)
    elif kind == "folder":
        path = tmp_path
    else:
        path = tmp_path / "strateggy.yaml"
    assert str(path) in refused(2, "backtest", path, home=home)


# Candles: the rest is in test_importer


def test_dates_among_epoch_times(refused, tmp_path, write):
    rows = [BAR.format(START + i * 3_600_000) for i in range(20)]
    rows[12] = BAR.format("2020-09-13T23:00:00+00:00")
    path = write("mixed.csv", HEADER + "".join(rows))
    message = refused(3, "data", "import", path, "--symbol", "A", "--timeframe", "1h", home=tmp_path / "var")
    assert message.startswith("mixed.csv:14: ")
    assert message.endswith("mixed time units")


@pytest.mark.parametrize("bars", ["0", "5000001", "99999999999999"])
def test_a_market_of_impossible_size(refused, tmp_path, bars):
    assert "expected 1 to 5000000" in refused(2, "data", "synth", "--bars", bars, home=tmp_path / "var")


def test_too_few_bars_to_train(refused, tmp_path, capsys):
    assert main(["data", "synth", "--bars", "300", "--home", str(tmp_path)]) == 0
    capsys.readouterr()
    message = refused(2, "train", "model", "SYNTH", home=tmp_path)
    assert message.startswith("Insufficient data for training (got 300 rows): ")
    assert "bot data import" in message


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="counts the threads that Linux lists")
def test_reading_candles_starts_no_threads(home):
    """A worker of Arrow that holds Python's bytes while Python ends aborts a process that has done its work."""
    path = CandleStore(home.candles).find("BTCUSDT", "1h", "local")
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom bot.market.series_file import read_columns\n"
        "def threads():\n"
        "    names = [path.read_text().strip() for path in Path('/proc/self/task').glob('*/comm')]\n"
        "    return sum(name != 'jemalloc_bg_thd' for name in names)\n"
        "before = threads()\nread_columns(Path(sys.argv[1]))\nsys.exit(threads() - before)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(path)], check=False).returncode == 0


# Bundles


def registered(home: Home, name: str, change) -> None:
    """Register and promote a bundle with one changed document, all of its digests right."""
    files = dict(bundle_files())
    document = json.loads(files[name])
    change(document)
    files[name] = json.dumps(document).encode()
    registry = PredictionModelRegistry(home.models)
    model = registry.register(KEY, files, at=AT)
    registry.promote(KEY, model.version_id, at=AT, reason="test")


@pytest.mark.parametrize("name", ["feature_schema.json", "calibration.json", "golden.json"])
@pytest.mark.parametrize("version", [99, None, "1"])
def test_a_document_of_an_unknown_version(refused, tmp_path, filled, write, name, version):
    home = Home(tmp_path / "var")
    shutil.copytree(filled / "candles", home.candles)
    registered(home, name, lambda document: document.update(schema_version=version))
    for words in (["predict", "BTCUSDT"], ["backtest", write("s.yaml", config_text())]):
        message = refused(3, *words, home=home)
        assert message.startswith("BTCUSDT/basic@")
        assert "version" in message
        assert repr(version) in message


@pytest.mark.parametrize("name", ["metadata.json", "manifest.json"])
def test_a_changed_version_number_is_a_changed_byte(refused, home, name):
    path = next(home.models.glob(f"BTCUSDT/basic/*_v1/{name}"))
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 9'))
    assert f"{name}' was changed" in refused(3, "predict", "BTCUSDT", home=home).replace(f"{name} was", f"{name}' was")


@pytest.mark.parametrize("name", ["model.txt", "golden.json", "manifest.json", "oos_predictions.parquet"])
def test_a_missing_file(refused, home, write, name):
    next(home.models.glob(f"BTCUSDT/basic/*_v1/{name}")).unlink()
    for words in (["predict", "BTCUSDT"], ["backtest", write("s.yaml", config_text(version="latest"))]):
        assert f"'{name}' is missing" in refused(3, *words, home=home)


def test_a_latest_that_points_nowhere(refused, home, write, capsys):
    link = home.models / "BTCUSDT" / "basic" / "latest-1h"
    version = link.readlink().name
    link.unlink()
    link.symlink_to("2020-01-01T000000Z_1h_v1")
    for words in (["predict", "BTCUSDT"], ["backtest", write("s.yaml", config_text(version="latest"))]):
        message = refused(3, *words, home=home)
        assert "latest-1h points to '2020-01-01T000000Z_1h_v1', which does not exist" in message
        assert "bot models promote BTCUSDT basic VERSION" in message
    assert main(["models", "promote", "BTCUSDT", "basic", version, "--home", str(home.root)]) == 0
    assert main(["models", "validate", "--home", str(home.root)]) == 0
    capsys.readouterr()


def test_a_lost_ledger_is_not_an_empty_registry(refused, home):
    (home.models / "BTCUSDT" / "basic" / "ledger.jsonl").unlink()
    for words in (["models", "show", "BTCUSDT", "basic"], ["models", "promote", "BTCUSDT", "basic", "2026"]):
        assert "ledger.jsonl is missing or empty: nothing vouches for" in refused(3, *words, home=home)


# The cache


def test_a_cache_of_another_program(refused, home, write):
    other = sqlite3.connect(home.predictions_db)
    other.execute("PRAGMA journal_mode = WAL")
    other.execute("CREATE TABLE prediction_chunks (a)")
    other.close()
    message = refused(3, "backtest", write("s.yaml", config_text()), home=home)
    assert "is damaged (table prediction_chunks already exists)" in message
    assert message.endswith("delete the file; --no-cache goes on without it")


def test_a_locked_cache(home, write, capsys, monkeypatch):
    monkeypatch.setitem(PredictionCache.__init__.__kwdefaults__, "busy_seconds", 0.1)
    path = write("s.yaml", config_text())
    PredictionCache(home.predictions_db).close()
    other = sqlite3.connect(home.predictions_db, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    assert main(["backtest", path, "--home", str(home.root), "--json"]) == 3
    message = json.loads(capsys.readouterr().out)["error"]
    assert "is locked by another process" in message
    assert message.endswith("--no-cache goes on without it")
    assert not home.runs.exists()
    assert main(["backtest", path, "--home", str(home.root), "--no-cache", "--no-report", "--json"]) == 0
    other.close()


# The disk


@pytest.mark.parametrize("command", ["import", "synth", "train", "backtest"])
def test_a_file_that_may_not_grow(home, write, command):
    """The kernel's limit on the size of a file stands for a full disk: the same calls fail, in the same places."""
    pytest.importorskip("resource")
    rows = "".join(BAR.format(START + i * 3_600_000) for i in range(2_000))
    words = {
        "import": ["data", "import", write("a.csv", HEADER + rows), "--symbol", "NEW", "--timeframe", "1h"],
        "synth": ["data", "synth", "--bars", "2000"],
        "train": ["train", "model", "BTCUSDT", "--skip-plots"],
        "backtest": ["backtest", write("s.yaml", config_text()), "--no-cache"],
    }[command]
    before = tree(home.root)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    child = program(*words, "--home", home.root, "--json", before=limit)
    out, err = child.communicate(timeout=120)
    assert child.returncode == 1, err
    assert "File too large" in json.loads(out)["error"]
    assert "Traceback" not in err
    assert tree(home.root) == before


# Interruptions and kills


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
def test_a_real_ctrl_c_in_the_middle_of_a_backtest(home, write, tmp_path):
    (tmp_path / "a_strategy_that_waits.py").write_text(
        "import time, backtrader as bt\nfrom pathlib import Path\n"
        "class Waits(bt.Strategy):\n"
        "    def next(self):\n"
        f"        Path({str(tmp_path / 'reached')!r}).touch()\n"
        "        time.sleep(60)\n"
    )
    text = "name: x\nstrategy: a_strategy_that_waits:Waits\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
    before = tree(home.root)
    child = program("backtest", write("s.yaml", text), "--home", home.root, "--json")
    deadline = time.monotonic() + 60
    while not (tmp_path / "reached").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert json.loads(out) == {"error": "interrupted", "exit_code": 1}
    assert err == "error: interrupted\n"
    assert tree(home.root) == before


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.2])
def test_a_real_ctrl_c_in_the_middle_of_a_training(home, seconds):
    before = tree(home.root)
    words = ("train", "model", "BTCUSDT", "--skip-plots", "--no-promote", "--home", home.root, "--json")
    child = program(*words, before="import bot.__main__; print('begun', file=sys.stderr, flush=True)")
    assert child.stderr.readline() == "begun\n"  # Python's own start is not ours
    time.sleep(seconds)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert "Traceback" not in err
    if child.returncode == 1:
        assert json.loads(out) == {"error": "interrupted", "exit_code": 1}
        assert tree(home.root) == before
    else:  # it was quicker than the signal
        assert child.returncode in {0, -signal.SIGINT}
    assert main(["models", "validate", "--no-run", "--home", str(home.root)]) == 0


def test_ctrl_c_while_the_program_loads(capsys, monkeypatch):
    import bot.__main__

    class Interrupted:
        def find_spec(self, name, path=None, target=None):
            if name == "bot.cli.main":
                raise KeyboardInterrupt

    monkeypatch.delitem(sys.modules, "bot.cli.main")
    monkeypatch.setattr(sys, "meta_path", [Interrupted(), *sys.meta_path])
    monkeypatch.setattr(sys, "argv", ["bot", "data", "list"])
    assert bot.__main__.main() == 1
    assert capsys.readouterr() == ("", "error: interrupted\n")
    monkeypatch.setattr(sys, "argv", ["bot", "data", "list", "--json"])
    assert bot.__main__.main() == 1
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"error": "interrupted", "exit_code": 1}, "error: interrupted\n")


CTRL_C_IN_A_CALLBACK = """
import sys, time, weakref
import bot.__main__
from bot.cli import main as commands

class Subject: pass

def interrupted(reference):
    raise KeyboardInterrupt

def command():
    subject = Subject()
    watch = weakref.ref(subject, interrupted)
    del subject  # Python drops what the callback raises
    time.sleep(100)
    return 0

commands.main = command
try:
    bot.__main__.main()
except KeyboardInterrupt:
    print("arrived")
"""


def test_ctrl_c_that_falls_into_a_callback_is_not_lost():
    finished = subprocess.run(
        [sys.executable, "-c", CTRL_C_IN_A_CALLBACK], capture_output=True, text=True, check=False, timeout=60
    )
    assert (finished.stdout, finished.stderr) == ("arrived\n", "")


def test_two_processes_that_promote_at_once(home):
    first = PredictionModelRegistry(home.models).list_bundles()[0].version_id
    second = register(home.models, seed=4).version_id
    words = ("models", "promote", "BTCUSDT", "basic")
    children = [program(*words, version, "--force", "--home", home.root, "--json") for version in [first, second] * 2]
    for child in children:
        out, err = child.communicate(timeout=60)
        assert child.returncode == 0, err
        json.loads(out)
    assert main(["models", "validate", "--no-run", "--home", str(home.root)]) == 0


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("command", ["train", "promote"])
def test_kills_at_any_moment_leave_a_registry_that_works(home, command, capsys):
    registry = PredictionModelRegistry(home.models)
    versions = [registry.list_bundles()[0].version_id, register(home.models, seed=4).version_id]
    for turn in range(20):
        version = versions[turn % 2]
        train = ["train", "model", "BTCUSDT", "--skip-plots"]
        words = train if command == "train" else ["models", "promote", "BTCUSDT", "basic", version, "--force"]
        child = program(*words, "--home", home.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep((2.5 if command == "train" else 0.5) * (0.4 + 0.03 * turn))
        child.kill()
        child.wait()
        assert main(["models", "validate", "--no-run", "--home", str(home.root)]) == 0
        assert (
            main(["models", "promote", "BTCUSDT", "basic", versions[1 - turn % 2], "--force", "--home", str(home.root)])
            == 0
        )
        capsys.readouterr()
        assert main(["models", "validate", "--no-run", "--home", str(home.root), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["leftovers"] == []


# What is printed, and where it goes


def test_a_fault_of_the_program_is_one_message(refused, home, monkeypatch):
    def fault(_root):
        raise RuntimeError("not foreseen")

    monkeypatch.setattr(bot.cli.models, "open_registry", fault)
    monkeypatch.delenv("BOT_TRACEBACK", raising=False)
    message = refused(1, "models", "list", home=home)
    assert message.startswith("a fault of this program: RuntimeError: not foreseen (test_bad_input.py:")
    monkeypatch.setenv("BOT_TRACEBACK", "1")
    with pytest.raises(RuntimeError, match="not foreseen"):
        main(["models", "list", "--home", str(home.root)])


def test_too_little_memory_is_one_message(refused, home, monkeypatch):
    def fault(_root):
        raise MemoryError("Unable to allocate 745. GiB")

    monkeypatch.setattr(bot.cli.models, "open_registry", fault)
    assert refused(1, "models", "list", home=home) == "not enough memory: Unable to allocate 745. GiB"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
@pytest.mark.parametrize("as_json", [False, True])
def test_an_encoding_without_our_letters(tmp_path, encoding, as_json):
    words = ["predict", "БТЦ", "--home", tmp_path, *(["--json"] if as_json else [])]
    child = program(*words, env={**os.environ, "PYTHONIOENCODING": encoding})
    out, err = child.communicate(timeout=60)
    assert child.returncode == 2
    assert err.startswith("error: '\\u0411\\u0422\\u0426' is not a symbol")
    if as_json:
        assert json.loads(out)["error"].startswith("'БТЦ' is not a symbol")


def test_a_minus_sign_stays_one(monkeypatch):
    from bot.cli.output import prepare_streams

    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    prepare_streams()
    print("\N{MINUS SIGN}4.6 % \N{GREEK SMALL LETTER ALPHA}", flush=True)
    assert raw.getvalue() == b"-4.6 % \\u03b1" + os.linesep.encode()


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices of POSIX")
@pytest.mark.parametrize("where", ["closed", "full", "left"])
@pytest.mark.parametrize("words", [["data", "list"], ["models", "show", "BTCUSDT", "basic", "--json"]])
def test_a_stdout_that_takes_nothing(home, words, where):
    command = [sys.executable, "-m", "bot", *words, "--home", str(home.root)]
    if where == "closed":
        done = subprocess.run(
            ["/bin/sh", "-c", '"$@" >&-', "sh", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0
    elif where == "full":
        if not Path("/dev/full").exists():
            pytest.skip("there is no device that is full")
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == "error: No space left on device\n"
    else:
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        os.close(writing)
        assert done.returncode in {0, 1}
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_narrow_terminal_cuts_no_figure_off(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "40")
    Report(as_json=False).table(
        "title", ("a long name", "another"), [["2026-11-21T020511Z_1h_v1", "99.9 % to 100.0 %"]]
    )
    shown = capsys.readouterr().out
    assert "2026-11-21T020511Z_1h_v1  99.9 % to 100.0 %" in shown
    monkeypatch.setenv("COLUMNS", "100")
    Report(as_json=False).table("title", ("a", "b"), [["1", "2"]])
    assert "\N{BOX DRAWINGS LIGHT VERTICAL}" in capsys.readouterr().out
