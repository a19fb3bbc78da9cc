"""Bad input of the model families, through whole commands: one message, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import path_models
import pytest
from backtest_runs import config_text, small_home
from small_ensembles import register_ensemble
from small_models import AT, KEY, bundle_files
from small_networks import network_files

from bot.cli.main import main
from bot.home import Home
from bot.market.store import CandleStore
from ml.candles import Candles
from registry.store import PredictionModelRegistry

NEEDS_TENSORFLOW = pytest.mark.skipif(find_spec("tensorflow") is None, reason="tensorflow is not installed")
HOUR = 3_600_000
SHORT = ("--params", "n_steps_ahead=10")
TRAINING = ("tensorflow", "keras", "sklearn", "xgboost", "onnx", "skl2onnx", "tf2onnx", "optuna", "lightgbm")
BLOCKED = """
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Missing())
"""


def plain(count: int, close: np.ndarray) -> Candles:
    return Candles("1h", np.arange(count, dtype=np.int64) * HOUR, close, close, close, close)


@pytest.fixture(scope="module")
def filled(tmp_path_factory) -> Path:
    """Return a home with candles and one bundle of each kind; tests that write take a copy."""
    home = small_home(tmp_path_factory.mktemp("models"))
    register_ensemble(home.models)
    PredictionModelRegistry(home.models).register(KEY, network_files(8), at=AT)
    store = CandleStore(home.candles)
    store.write(path_models.drifting(), "SYNTH", "local")
    store.write(plain(2_500, 100 * np.exp(np.arange(2_500) * 1e-4)), "RISING", "local")
    store.write(plain(2_500, np.full(2_500, 100.0)), "STILL", "local")
    path_models.register_path(home.models, "autoregressive")
    path_models.register_path(home.models, "multi_ohlc")
    words = ("--type", "volatility", "--params", "num_boost_round=5", "--features", "rsi_14", "--skip-plots")
    assert main(["train", "model", "BTCUSDT", *words, "--skip-robustness", "--home", str(home.root)]) == 0
    return home.root


@pytest.fixture
def home(filled, tmp_path) -> Home:
    shutil.copytree(filled, tmp_path / "var", symlinks=True)
    return Home(tmp_path / "var")


def tree(root: Path) -> dict[str, bytes | str]:
    """Return every file and link below a folder, locks apart."""
    return {
        str(path.relative_to(root)): str(path.readlink()) if path.is_symlink() else path.read_bytes()
        for path in root.rglob("*")
        if (path.is_symlink() or path.is_file()) and path.name != ".lock" and path.suffix != ".lock"
    }


@pytest.fixture
def refused(capsys):
    """Run a command with ``--json``: it fails in one document and one line, and changes no file."""

    def run(code: int, *words: str | Path, home: Path) -> str:
        capsys.readouterr()
        before = tree(home)
        assert main([*map(str, words), "--home", str(home), "--json"]) == code
        printed = capsys.readouterr()
        document = json.loads(printed.out)
        assert document["exit_code"] == code
        assert f"error: {document['error']}\n" in printed.err
        assert "a fault of this program" not in document["error"]
        assert tree(home) == before
        return document["error"]

    return run


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env=os.environ | environment
    )


# What cannot be learnt from


@pytest.mark.parametrize(
    ("symbol", "words", "code", "message"),
    [
        ("RISING", (), 1, "training labels is a rise"),
        ("RISING", ("--type", "autoregressive", *SHORT), 1, "next returns to learn from is above 0"),
        ("RISING", ("--type", "multi_ohlc", *SHORT), 1, "next returns to learn from is above 0"),
        ("STILL", (), 1, "this price never moves"),
        ("STILL", ("--type", "volatility"), 1, "that move at all"),
        ("STILL", ("--type", "autoregressive", *SHORT), 1, "next returns to learn from is 0"),
        ("BTCUSDT", ("--horizon", "2900"), 1, "shorten --horizon"),
        ("BTCUSDT", ("--type", "momentum", "--horizon", "2900"), 2, "horizon is 2900: momentum asks"),
        ("BTCUSDT", ("--type", "autoregressive", "--params", "n_steps_ahead=100000"), 2, "from 1 to 1,000"),
        ("BTCUSDT", ("--timeframe", "5m"), 2, "BTCUSDT is there in 1h from local"),
        ("BTCUSDT", ("--model", "lstn"), 2, "did you mean 'lstm'?"),
        ("BTCUSDT", ("--type", "ensemble"), 2, "see bot ensemble create --help"),
        ("BTCUSDT", ("--type", "risk", "--params", "adverse_atr=nan"), 2, "adverse_atr is 'nan', expected a number"),
        ("BTCUSDT", ("--type", "sentiment"), 2, "bot data import FILE --kind sentiment"),
    ],
)
def test_no_model_can_be_trained(refused, filled, symbol, words, code, message):
    features = () if "autoregressive" in words or "multi_ohlc" in words else ("--features", "rsi_14,volatility_20")
    assert message in refused(code, "train", "model", symbol, *features, *words, home=filled)


@pytest.mark.parametrize("trials", ["0", "-3"])
def test_a_search_of_no_trials(refused, filled, trials):
    assert "a search makes at least 1 trial" in refused(
        2, "train", "search", "BTCUSDT", "--trials", trials, home=filled
    )


@NEEDS_TENSORFLOW
def test_a_sequence_longer_than_the_data(refused, filled):
    words = ("--model", "lstm", "--sequence-length", "2900", "--features", "rsi_14")
    assert "2900 rows is longer than the data" in refused(2, "train", "model", "BTCUSDT", *words, home=filled)


def test_a_horizon_that_paths_do_not_have_is_noted(home, capsys):
    words = ("--type", "autoregressive", "--horizon", "9", "--params", "num_boost_round=2,n_steps_ahead=3")
    assert main(["train", "model", "SYNTH", *words, "--skip-plots", "--home", str(home.root)]) == 0
    assert "note: --horizon has no meaning for autoregressive: --params n_steps_ahead=N" in capsys.readouterr().out


# Bundles that are not what they were


@pytest.mark.parametrize(
    ("symbol", "model_type", "file"),
    [
        ("SYNTH", "autoregressive", "model.txt"),
        ("SYNTH", "multi_ohlc", "high.txt"),
        ("BTCUSDT", "ensemble", "ensemble.json"),
        ("BTCUSDT", "basic", "model.onnx"),
    ],
)
def test_one_changed_byte_in_any_file(refused, home, capsys, symbol, model_type, file):
    place = next(home.models.glob(f"{symbol}/{model_type}/*_v*/{file}")).parent
    for path in sorted(place.iterdir()):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        kept = path.read_bytes()
        path.write_bytes(bytes(data))
        words = ("predict", symbol, "--type", model_type, "--version", place.name)
        assert f"{path.name}" in refused(3, *words, home=home.root)
        assert main(["models", "validate", "--home", str(home.root), "--json"]) == 3
        assert path.name in capsys.readouterr().out
        path.write_bytes(kept)
    assert main(["models", "validate", "--home", str(home.root)]) == 0


def registered(home: Home, files: dict[str, bytes]) -> str:
    """Register a bundle whose digests are right and whose content is not."""
    return PredictionModelRegistry(home.models).register(KEY, files, at=AT).version_id


def onnx_with_external_data() -> bytes:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(network_files(8)["model.onnx"])
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return model.SerializeToString()


def dynamically_quantised() -> bytes:
    onnx = pytest.importorskip("onnx")
    model = onnx.load_from_string(network_files(8)["model.onnx"])
    entry = model.graph.input[0].name
    node = onnx.helper.make_node("DynamicQuantizeLinear", [entry], ["q_rows", "q_scale", "q_zero"])
    model.graph.node.insert(0, node)
    return model.SerializeToString()


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("model.onnx", onnx_with_external_data, "stands in another file"),
        ("model.onnx", dynamically_quantised, "dynamically quantised"),
        ("model.onnx", lambda: network_files(8)["model.onnx"][:200], "cut off"),
        ("model.txt", lambda: bundle_files()["model.txt"][:2_000], "truncated"),
    ],
    ids=["external data", "dynamic quantisation", "truncated graph", "truncated text"],
)
def test_models_that_no_runner_takes(refused, home, tmp_path, name, change, message):
    version = registered(home, dict(network_files(8) if name == "model.onnx" else bundle_files()) | {name: change()})
    (tmp_path / "run.yaml").write_text(config_text(version=version))
    assert message in refused(3, "predict", "BTCUSDT", "--version", version, home=home.root)
    assert message in refused(3, "backtest", tmp_path / "run.yaml", home=home.root)
    assert main(["models", "validate", "--home", str(home.root)]) == 3


def test_members_of_an_ensemble(refused, home):
    basic = [path.name for path in sorted(home.models.glob("BTCUSDT/basic/2*"))]
    words = ("--params", "num_boost_round=5", "--features", "rsi_14", "--skip-plots", "--skip-robustness")
    assert main(["train", "model", "BTCUSDT", "--horizon", "4", *words, "--home", str(home.root)]) == 0

    def create(members: str) -> str:
        return refused(2, "ensemble", "create", "BTCUSDT", "--members", members, home=home.root)

    assert "has the horizon 4 bars" in create(f"basic@newest,basic@{basic[0]}")
    assert "no version '2020-01-01T000000Z_1h_v1'" in create(f"basic@2020-01-01T000000Z_1h_v1,basic@{basic[0]}")
    assert "has the kind volatility" in create(f"volatility@newest,basic@{basic[0]}")
    pins = json.loads(next(home.models.glob("BTCUSDT/ensemble/*/ensemble.json")).read_text())["members"]
    member = home.models / "BTCUSDT" / "basic" / pins[0]["version"] / "model.txt"
    whole = member.read_bytes()
    member.write_bytes(whole[: len(whole) // 2])
    for words in (
        ("predict", "BTCUSDT", "--type", "ensemble", "--version", "newest"),
        ("ensemble", "test", "BTCUSDT"),
        ("ensemble", "activate", "BTCUSDT", "--force"),
    ):
        assert f"its member BTCUSDT/basic@{pins[0]['version']} cannot be used" in refused(3, *words, home=home.root)
    shutil.rmtree(member.parent)
    message = refused(3, "predict", "BTCUSDT", "--type", "ensemble", "--version", "newest", home=home.root)
    assert "folder does not exist; restore that version, or make the ensemble anew" in message


# Models in roles that they cannot play


@pytest.mark.parametrize(
    ("symbol", "strategy", "models", "message"),
    [
        ("BTCUSDT", "MLBasic", "prediction: volatility", "MLBasic reads the p_up of the role 'prediction', but"),
        ("BTCUSDT", "MLEnhanced", "direction: volatility", "reads the direction of the role 'direction'"),
        ("BTCUSDT", "MLEnhanced", "direction: ensemble, risk: ensemble", "reads the risk of the role 'risk'"),
        ("BTCUSDT", "MLPredictive", "forecast: ensemble", "reads the path of the role 'forecast'"),
        ("SYNTH", "MLPredictive", "forecst: autoregressive", "did you mean 'forecast'?"),
    ],
)
def test_roles(refused, home, tmp_path, symbol, strategy, models, message):
    bound = ", ".join(
        f'{role}: "{{symbol}}/{kind}@newest"' for role, kind in (pair.split(": ") for pair in models.split(", "))
    )
    params = "{max_risk: null}" if strategy == "MLEnhanced" and "risk" not in models else "{}"
    path = tmp_path / "run.yaml"
    path.write_text(
        f"name: x\nstrategy: {strategy}\nparams: {params}\nsymbols: [{symbol}]\ntimeframe: 1h\n"
        f"data: {{exchange: local}}\nmodels: {{{bound}}}\nbroker: {{cash: 1000}}\n"
    )
    found = refused(2, "backtest", path, home=home.root)
    assert found.startswith(f"{path}:7:")
    assert message in found


# The libraries of training


def test_without_the_train_extra_training_names_the_command_and_predicting_goes_on(home):
    basic = sorted(path.name for path in home.models.glob("BTCUSDT/basic/2*"))
    code = BLOCKED.format(names=set(TRAINING) - {"lightgbm"}) + (
        "import contextlib, io\nfrom bot.cli.main import main\n"
        "def run(*words):\n"
        "    out, err = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        f"        code = main([*words, '--home', {str(home.root)!r}])\n"
        "    return code, err.getvalue()\n"
        "for words in (['--type', 'direction'], ['--type', 'risk'], ['--type', 'momentum'], ['--type', 'price_nn'],\n"
        "              ['--model', 'lstm'], ['--model', 'tcn']):\n"
        "    code, text = run('train', 'model', 'BTCUSDT', '--features', 'rsi_14', *words)\n"
        "    assert code == 2 and text.count('\\n') == 1 and \"pip install 'mlbot[train]'\" in text, (words, code, text)\n"
        "code, text = run('train', 'search', 'BTCUSDT', '--trials', '1')\n"
        "assert code == 2 and \"pip install 'mlbot[train]'\" in text, text\n"
        f"for version in {basic!r}:\n"
        "    assert run('predict', 'BTCUSDT', '--version', version) == (0, ''), version\n"
        "assert run('models', 'validate') == (0, '')\n"
    )
    before = tree(home.root)
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert tree(home.root) == before


def test_predict_and_backtest_load_no_library_of_training(home, tmp_path):
    basic = sorted(path.name for path in home.models.glob("BTCUSDT/basic/2*"))
    config = tmp_path / "run.yaml"
    config.write_text(config_text(when=", start: 2018-04-20"))
    commands = [["predict", "BTCUSDT", "--version", version] for version in basic]
    commands += [["predict", "BTCUSDT", "--type", kind, "--version", "newest"] for kind in ("ensemble", "volatility")]
    commands += [["predict", "SYNTH", "--type", kind, "--version", "newest"] for kind in path_models.FEATURES]
    commands += [["backtest", str(config), "--no-report"]]
    code = (
        "import contextlib, io, sys\nfrom bot.cli.main import main\n"
        f"for words in {commands!r}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()):\n"
        f"        assert main([*words, '--home', {str(home.root)!r}]) == 0, words\n"
        f"print([name for name in {TRAINING!r} if name in sys.modules])"
    )
    done = python(code)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[]\n"


@NEEDS_TENSORFLOW
def test_ctrl_c_in_an_epoch_keeps_the_best_state_and_promotes_nothing(home):
    code = (
        "import os, signal, sys\nfrom functools import partial\nimport ml.predictors.network_training as training\n"
        "import ml.training.settings as settings\nfrom bot.cli.main import main\n"
        "settings.TrainingSettings = partial(settings.TrainingSettings, folds=2)\n"  # each fit is interrupted
        "order = training._order\n"
        "def interrupting(*words):\n"
        "    for epoch, chosen in enumerate(order(*words), 1):\n"
        "        if epoch == 3:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "        yield chosen\n"
        "training._order = interrupting\n"
        "words = ['--model', 'lstm', '--sequence-length', '4', '--batch-size', '256', '--epochs', '50']\n"
        "more = ['--params', 'patience=50', '--features', 'taker_imbalance_20', '--skip-plots', '--json']\n"
        f"sys.exit(main(['train', 'model', 'BTCUSDT', *words, *more, '--home', {str(home.root)!r}]))"
    )
    done = python(code, TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["promoted"] is False
    assert "interrupted: the training was stopped by Ctrl-C and kept the best state" in document["reason"]
    assert not (home.models / "BTCUSDT/basic/latest-1h").exists()
    assert main(["models", "validate", "--home", str(home.root)]) == 0
    assert main(["predict", "BTCUSDT", "--version", document["version"], "--home", str(home.root)]) == 0
