"""ONNX models: what is refused and why, the bits of a row alone and among others, and what serving never imports."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from backtest_runs import config_text
from onnx import TensorProto, helper, numpy_helper
from small_models import market
from small_networks import network_bytes, register_network

from bot.home import Home
from bot.market.store import CandleStore
from ml import onnx_runner
from ml.bundles import MODEL_FILES
from ml.errors import BrokenModel
from ml.onnx_file import read_onnx
from ml.onnx_runner import FEATURES_KEY, SEQUENCE_KEY, OnnxRunner
from ml.runners import Runner
from ml.training.onnx_export import Graph

ROOT = Path(__file__).resolve().parents[2]
NAMES = ("a", "b", "c", "d", "e")


def rows(count, width=5, seed=0):
    generator = np.random.default_rng(seed)
    found = generator.normal(size=(count, width)).astype(np.float32)
    found[generator.random(found.shape) < 0.02] = np.nan
    return found


def model(nodes, constants=(), *, shape=("n", 5), metadata=None, kind=TensorProto.FLOAT, external=None, domain=""):
    """A graph with input x and output y that was written by somebody else."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants]
    graph = helper.make_graph(
        nodes,
        "theirs",
        [helper.make_tensor_value_info("x", kind, list(shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        tensors,
    )
    sets = [helper.make_opsetid("", 15)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    built = helper.make_model(graph, opset_imports=sets, ir_version=8)
    helper.set_model_props(built, {FEATURES_KEY: json.dumps(list(NAMES))} if metadata is None else metadata)
    if external:
        tensor = built.graph.initializer[0]
        onnx.external_data_helper.set_external_data(tensor, location=external)
        tensor.ClearField("raw_data")
    return built.SerializeToString()


WEIGHTS = ("w", np.arange(1, 6, dtype=np.float32)[:, None])
LINEAR = [helper.make_node("MatMul", ["x", "w"], ["y"])]


def test_a_linear_graph_is_its_formula():
    runner = OnnxRunner.from_bytes(model(LINEAR, [WEIGHTS]))
    assert isinstance(runner, Runner)
    assert MODEL_FILES["model.onnx"] == OnnxRunner.from_bytes
    assert (runner.feature_names, runner.sequence) == (NAMES, 1)
    given = np.arange(15, dtype=np.float32).reshape(3, 5)
    found = runner.scores(given)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, given @ np.arange(1, 6))
    assert runner.scores(given[:0]).shape == (0,)


@pytest.mark.parametrize(("kind", "sequence"), [("mlp", 1), ("lstm", 12), ("tcn", 12), ("lstm", 2)])
def test_a_row_has_the_same_bits_in_every_batch(kind, sequence):
    runner = OnnxRunner.from_bytes(network_bytes(NAMES, sequence, kind))
    given = rows(400 + sequence - 1)
    whole = runner.scores(given)
    assert np.isfinite(whole).all()
    assert len(set(whole.tolist())) > 350
    for size in (1, 2, 3, 7, 8, 33, 64, 255, 256, 257):
        parts = [runner.scores(given[lo : lo + size + sequence - 1]) for lo in range(0, 400, size)]
        assert np.concatenate(parts).tobytes() == whole.tobytes()
    order = np.random.default_rng(1).permutation(400)
    alone = np.array([runner.scores(given[i : i + sequence])[0] for i in order])
    assert alone.tobytes() == whole[order].tobytes()


def test_an_lstm_is_its_formula():
    """The gates written out in numpy, in the order that ONNX lists them."""
    data = network_bytes(NAMES, 6)
    arrays = {each.name: numpy_helper.to_array(each) for each in onnx.load_from_string(data).graph.initializer}
    center, factor = arrays["c0"], arrays["c1"]
    given = rows(6, seed=4)
    scaled = np.clip(np.nan_to_num((given - center) * factor), -5, 5).astype(float)
    w, r, b = (next(a for a in arrays.values() if a.ndim and a.shape == s) for s in ((1, 24, 5), (1, 24, 6), (1, 48)))
    h, c = np.zeros(6), np.zeros(6)

    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    for row in scaled:
        i, o, f, g = np.split(w[0] @ row + r[0] @ h + b[0, :24] + b[0, 24:], 4)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
    head = next(a for a in arrays.values() if a.shape == (6, 1))
    assert OnnxRunner.from_bytes(data).scores(given)[0] == pytest.approx((h @ head)[0], abs=1e-6)


def test_the_scaling_of_the_graph_is_that_of_training():
    from ml.predictors.network_training import LIMIT, fit_scaling

    given = rows(300) * np.array([1, 100, 1e-3, 1, 0], dtype=np.float32) + 7
    given[:, 3] = np.nan
    scaling = fit_scaling(given)
    graph = Graph(NAMES)
    picked = graph.add("MatMul", graph.scaled(scaling.center, scaling.spread, LIMIT), graph.constant(np.eye(5)[:, :1]))
    wide = given.copy()
    wide[3, 0], wide[4, 0] = 1e9, np.inf
    found = OnnxRunner.from_bytes(graph.to_bytes(picked)).scores(wide)
    np.testing.assert_array_equal(found, scaling.apply(wide)[:, 0].astype(float))
    assert found.max() == LIMIT
    assert (scaling.spread[3:] == 0).all()
    assert abs(scaling.apply(given)[:, 1].mean()) < 0.05
    assert scaling.apply(given)[:, 1].std() == pytest.approx(1, abs=0.1)
    assert not scaling.apply(given)[:, 3:].any()


def test_copies_open_the_model_where_they_are_used():
    runner = OnnxRunner.from_bytes(network_bytes(NAMES, 4))
    packed = pickle.dumps(runner)
    assert len(packed) < 1.2 * len(network_bytes(NAMES, 4)) + 500
    copy = pickle.loads(packed)
    assert copy._session is None
    assert copy.feature_names == NAMES
    assert copy.scores(rows(20)).tobytes() == runner.scores(rows(20)).tobytes()


def test_the_runtime_names_library_and_instructions(monkeypatch, tmp_path):
    import onnxruntime

    runner = OnnxRunner.from_bytes(model(LINEAR, [WEIGHTS]))
    assert runner.runtime.startswith(f"onnxruntime {onnxruntime.__version__} ")
    fresh = onnx_runner._instruction_set.__wrapped__
    for flags, wanted in (
        ("flags : avx avx2 fma avx512f avx512bw avx512dq avx512vl", "avx512"),
        ("flags : avx avx2 fma avx512f", "avx2"),
        ("flags : avx avx2", "avx"),
        ("Features : fp asimd", "asimd"),
        ("model : 1", None),
    ):
        monkeypatch.setattr(Path, "read_text", lambda _path, flags=flags, **_: flags)
        monkeypatch.setattr(onnx_runner.platform, "machine", lambda: "cpu")
        assert fresh() == (f"cpu {wanted}" if wanted else "cpu")


@pytest.mark.parametrize("shape", [(3, 4), (3,), (2, 3, 5)])
def test_rows_of_another_form_are_refused(shape):
    runner = OnnxRunner.from_bytes(model(LINEAR, [WEIGHTS]))
    with pytest.raises(ValueError, match="expected float32 rows of 5 features, got float32 of shape"):
        runner.scores(np.zeros(shape, dtype=np.float32))
    with pytest.raises(ValueError, match="got float64"):
        runner.scores(np.zeros((3, 5)))


QUANTISED = [
    helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
    helper.make_node("MatMulInteger", ["q", "w8", "z"], ["i"]),
    helper.make_node("Cast", ["i"], ["y"], to=TensorProto.FLOAT),
]
INTEGERS = ("w8", np.ones((5, 1), dtype=np.uint8))
BRANCH = helper.make_graph(
    [helper.make_node("RandomNormal", [], ["inner"], shape=[1])],
    "branch",
    [],
    [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [1])],
)
NESTED = [
    helper.make_node("If", ["flag"], ["r"], then_branch=BRANCH, else_branch=BRANCH),
    helper.make_node("MatMul", ["x", "w"], ["m"]),
    helper.make_node("Add", ["m", "r"], ["y"]),
]
CENTRED = [
    helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]),
    helper.make_node("Sub", ["x", "m"], ["z"]),
    helper.make_node("MatMul", ["z", "w"], ["y"]),
]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it holds no graph"),
        (b"nonsense\n", "damaged"),
        (b"\x80\x04\x95", "damaged"),
        (json.dumps({"a": 1}).encode(), "damaged"),
        (model(LINEAR, [WEIGHTS])[:-20], "damaged, or was cut off"),
        (model(LINEAR, [WEIGHTS], external="weights.bin"), "its tensor 'w' stands in another file"),
        (model(QUANTISED, [INTEGERS]), r"dynamically quantised \(DynamicQuantizeLinear, MatMulInteger\)"),
        (
            model([helper.make_node("DynamicQuantizeMatMul", ["x", "w"], ["y"], domain="com.microsoft")], [WEIGHTS]),
            "dynamically quantised",
        ),
        (model(NESTED, [WEIGHTS, ("flag", np.array(True))]), r"draws random numbers \(RandomNormal\)"),
        (model(LINEAR, [WEIGHTS], metadata={}), f"lacks {FEATURES_KEY}"),
        (model(LINEAR, [WEIGHTS], metadata={FEATURES_KEY: "a, b"}), "cannot be read"),
        (model(LINEAR, [WEIGHTS], metadata={FEATURES_KEY: "[]"}), "not a list of names"),
        (model(LINEAR, [WEIGHTS], metadata={FEATURES_KEY: '["a"]', SEQUENCE_KEY: "0"}), "expected 1 to 10000"),
        (model(LINEAR, [WEIGHTS], metadata={FEATURES_KEY: '["a"]'}), r"input must be one float32 array \(rows, 1\)"),
        (
            model(LINEAR, [WEIGHTS], metadata={FEATURES_KEY: json.dumps(NAMES), SEQUENCE_KEY: "3"}),
            r"must be one float32 array \(rows, 3, 5\), found x: tensor\(float\)",
        ),
        (model(LINEAR, [WEIGHTS], shape=(1, 5)), "must be one float32 array"),
        (model([helper.make_node("Nonsense", ["x"], ["y"])]), "ONNX Runtime cannot open it"),
        (model([helper.make_node("MatMul", ["x", "w"], ["y"])], [("w", np.ones((3, 1), np.float32))]), "cannot"),
        (model([helper.make_node("Identity", ["x"], ["y"])]), "the graph returns an array of shape"),
        (
            model(CENTRED, [WEIGHTS]),
            "it scores a row differently alone and among others",
        ),
    ],
)
def test_what_is_no_model_or_must_not_be_run_is_refused(data, message):
    with pytest.raises(BrokenModel, match=message):
        OnnxRunner.from_bytes(data)


def test_a_model_is_never_opened_before_its_bytes_are_read(monkeypatch):
    monkeypatch.setattr(onnx_runner, "_onnxruntime", lambda: pytest.fail("the runtime was asked"))
    with pytest.raises(BrokenModel, match="another file"):
        OnnxRunner.from_bytes(model(LINEAR, [WEIGHTS], external="/etc/passwd"))


def test_truncated_anywhere_is_refused():
    data = network_bytes(NAMES, 4)
    for size in range(0, len(data) - 1, 37):
        with pytest.raises(BrokenModel):
            OnnxRunner.from_bytes(data[:size])


def test_the_reader_finds_what_onnx_finds():
    data = network_bytes(NAMES, 4, "tcn")
    loaded, found = onnx.load_from_string(data), read_onnx(data)
    assert found.operators == {node.op_type for node in loaded.graph.node}
    assert found.nodes == len(loaded.graph.node)
    assert found.metadata == {each.key: each.value for each in loaded.metadata_props}
    assert not found.external


def test_a_backtest_imports_no_library_of_training_and_leaves_no_telemetry(tmp_path):
    """A backtest and a prediction with a network, in a process of its own with an empty home."""
    register_network(Home(tmp_path).models, 8)
    CandleStore(Home(tmp_path).candles).write(market().slice(0, 1_200), "BTCUSDT", "local")
    (tmp_path / "run.yaml").write_text(config_text())
    code = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from bot.__main__ import main
assert "onnxruntime" not in sys.modules, "loaded before it was needed"
for words in (["backtest", "run.yaml", "--home", "."], ["predict", "BTCUSDT", "--type", "basic", "--timeframe", "1h",
              "--version", "newest", "--home", ".", "--json"]):
    sys.argv = ["bot", *words]
    try:
        code = main()
    except SystemExit as stop:
        code = stop.code
    assert not code, (words, code)
forbidden = ("tensorflow", "keras", "sklearn", "xgboost", "lightgbm", "onnx", "skl2onnx", "onnxmltools", "tf2onnx", "optuna")
loaded = [name for name in forbidden if name in sys.modules]
assert not loaded, loaded
assert "onnxruntime" in sys.modules
"""
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / ".cache")}
    environment.pop("ORT_DISABLE_TELEMETRY", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    left = [str(path) for path in home.rglob("*") if "onnxruntime" in str(path) or "Microsoft" in str(path)]
    assert not left
