"""``bot models import``: models of other programs, taken over where they can be judged, refused with a reason elsewhere."""

from __future__ import annotations

import functools
import json
import pickle
import shutil

import lightgbm
import numpy as np
import pytest

from bot.cli.main import main
from bot.importing import read_folder
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from ml.candles import format_ms
from ml.engines import open_bundle
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.lightgbm_text import parse_lightgbm
from ml.runners import LightGBMRunner
from ml.synthetic import synthetic_candles
from ml.training.importing import read_lightgbm
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

FEATURES = ("taker_imbalance_20", "rsi_14", "return_1", "ema_10_distance")
BARS, SEED, EDGE = 4_200, 4, 0.2
CUT = 1_500  # bars that the foreign program learnt from
FOLDER = "BTC_USDT_1h_300steps"


@functools.cache
def market():
    return synthetic_candles(BARS, edge=EDGE, seed=SEED)


@functools.cache
def booster(objective: str, names: tuple[str, ...] = FEATURES, target: str = "sign") -> str:
    """Fit a small LightGBM model, as another program would, and return what its save_model writes."""
    candles = market()
    rows = FeaturePipeline(FeatureSchema.for_candles(candles, FEATURES)).compute(candles)
    used = np.flatnonzero(rows.valid[:CUT])
    later = candles.close[used + 1]
    label = {"sign": later > candles.close[used], "price": later, "return": np.log(later / candles.close[used])}[target]
    settings = {"objective": objective, "num_leaves": 7, "verbosity": -1, "num_threads": 1, "min_data_in_leaf": 50}
    data = lightgbm.Dataset(rows.rows[used], label=label.astype(float), feature_name=list(names), params=settings)
    return lightgbm.train(settings, data, num_boost_round=30).model_to_string()


CONFIG = {
    "predictor_type": "autoregressive",
    "n_steps_ahead": 300,
    "feature_names": list(FEATURES),
    "training_metrics": {"train_r2": 0.9, "val_r2": 0.8},
    "trained_at": format_ms(int(market().open_ms[CUT])),
    "symbol": "BTC/USDT",
    "timeframe": "1h",
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    path = tmp_path_factory.mktemp("stored") / "candles"
    store_synthetic(CandleStore(path), "BTCUSDT", bars=BARS, edge=EDGE, seed=SEED)
    return path


@pytest.fixture
def home(tmp_path, stored):
    shutil.copytree(stored, tmp_path / "home/candles")
    return tmp_path / "home"


def folder(root, text=None, config=CONFIG, name=FOLDER, file="autoregressive_model.txt"):
    path = root / name
    path.mkdir(parents=True)
    (path / file).write_text(booster("binary") if text is None else text)
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return path


def take(home, path, *words, json_too=True):
    return main(["models", "import", str(path), *words, "--home", str(home), *(["--json"] if json_too else [])])


def refusal(capsys, home, path, *words, code=3):
    assert take(home, path, *words, json_too=False) == code
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err.startswith("error: ")
    assert "Traceback" not in streams.err
    assert not (home / "models").exists()
    return streams.err


# ------------------------------------------------------------------------------------------------- what is taken over


def test_a_model_of_known_features_is_judged_on_later_bars_and_registered(home, tmp_path, capsys):
    assert take(home, folder(tmp_path)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["key"] == "BTCUSDT/1h/basic"
    assert found["promoted"] is False
    assert found["gate"]["promoted"] is True  # the market has an edge, and the model has found it
    figures = found["metrics"]["out_of_sample"]
    assert figures["first_ms"] > market().open_ms[CUT]
    assert figures["direction_accuracy"] > 0.55
    registry = PredictionModelRegistry(home / "models")
    assert registry.validate() == []
    assert registry.champion(ModelKey("BTCUSDT", "basic", "1h")) is None
    bundle = registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")
    assert bundle.metadata["origin"]["folder"] == FOLDER
    assert bundle.metadata["origin"]["trained_until"] == CONFIG["trained_at"]
    assert "trained elsewhere" in bundle.read("README.md").decode()
    assert main(["models", "promote", "BTCUSDT", "basic", found["version"], "--home", str(home)]) == 0
    assert main(["predict", "BTCUSDT", "--type", "basic", "--home", str(home), "--json"]) == 0


def test_its_scores_are_those_of_the_booster(home, tmp_path):
    path = folder(tmp_path)
    (path / "config.pkl").write_bytes(pickle.dumps(Bomb()))  # beside text and JSON it is left alone
    assert take(home, path) == 0
    (version,) = (home / "models/BTCUSDT/basic").glob("2*")
    candles = market()
    rows = FeaturePipeline(FeatureSchema.for_candles(candles, (*FEATURES, "ewma_volatility"))).compute(candles).rows
    rows = rows[300:900]
    runner = LightGBMRunner.from_text((version / "model.txt").read_bytes())
    original = lightgbm.Booster(model_str=booster("binary"))
    expected = original.predict(rows[:, : len(FEATURES)], raw_score=True, num_threads=1)
    assert runner.feature_names == (*FEATURES, "ewma_volatility")
    assert runner.scores(rows).tobytes() == expected.tobytes()


def test_returns_are_calibrated_like_log_odds(home, tmp_path, capsys):
    assert take(home, folder(tmp_path, text=booster("regression", target="return"))) == 0
    assert json.loads(capsys.readouterr().out)["metrics"]["out_of_sample"]["direction_accuracy"] > 0.55


def test_the_name_of_the_folder_says_what_the_config_leaves_out(tmp_path):
    config = {"trained_at": CONFIG["trained_at"]}
    found = read_folder(folder(tmp_path, config=config))
    assert (found.symbol, found.timeframe, found.steps, found.kind) == ("BTCUSDT", "1h", 300, "lightgbm")
    assert format_ms(found.trained_until_ms) == CONFIG["trained_at"]


def test_a_pickle_beside_text_and_json_is_named(tmp_path):
    path = folder(tmp_path)
    (path / "config.pkl").write_bytes(pickle.dumps({}))
    assert read_folder(path).notes == ("config.pkl is a pickle, and loading one runs code: it was not read",)


def test_a_date_of_training_takes_the_whole_day(tmp_path):
    config = CONFIG | {"trained_at": "2021-03-01"}
    assert format_ms(read_folder(folder(tmp_path, config=config)).trained_until_ms) == "2021-03-02T00:00:00Z"


def test_what_the_user_states_may_only_be_later(home, tmp_path, capsys):
    config = {name: value for name, value in CONFIG.items() if name != "trained_at"}
    path = folder(tmp_path, config=config)
    assert "does not say when its training ended" in refusal(capsys, home, path)
    later = format_ms(int(market().open_ms[CUT + 500]))
    assert take(home, path, "--trained-until", later) == 0
    assert json.loads(capsys.readouterr().out)["origin"]["trained_until"] == later


def test_an_appended_feature_leaves_the_trees_as_they_are():
    text = booster("binary").encode()
    model = read_lightgbm(text)
    ours = model.fitted.to_files()["model.txt"]
    assert parse_lightgbm(ours).feature_names == (*FEATURES, "ewma_volatility")
    assert len(parse_lightgbm(ours).arrays[6]) == len(parse_lightgbm(text).arrays[6])
    rows = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    wide = np.column_stack([rows, np.full(50, 9.0, np.float32)])
    expected = lightgbm.Booster(model_str=text.decode()).predict(rows, raw_score=True, num_threads=1)
    assert model.fitted.scores(wide).tobytes() == expected.tobytes()
    gain = lightgbm.Booster(model_str=text.decode()).feature_importance("gain")
    shares = model.fitted.importance()
    assert list(shares.values())[:-1] == pytest.approx((gain / gain.sum()).tolist(), rel=1e-5)
    assert shares["ewma_volatility"] == 0.0


# ------------------------------------------------------------------------------------------------- what is refused


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


@pytest.mark.parametrize("name", ["model.pkl", "model.joblib", "model.h5", "model.pt", "deep/model.keras"])
def test_files_that_can_run_code_are_named_and_never_opened(home, tmp_path, capsys, name):
    path = tmp_path / FOLDER
    (path / name).parent.mkdir(parents=True)
    (path / name).write_bytes(pickle.dumps(Bomb()))
    message = refusal(capsys, home, path)
    assert name.rpartition("/")[2] in message
    assert "run" in message
    assert "save_model" in message
    assert "save_model" in refusal(capsys, home, path / name)


def test_settings_in_a_pickle_are_asked_for_as_json(home, tmp_path, capsys):
    path = folder(tmp_path, config=None)
    (path / "config.pkl").write_bytes(pickle.dumps(Bomb()))
    message = refusal(capsys, home, path)
    assert "config.pkl, a pickle" in message
    assert "config.json" in message


def test_features_that_we_cannot_compute_are_listed(home, tmp_path, capsys):
    names = ("Price_1", "rsi_14", "my_secret", "ema_10_distance")
    message = refusal(capsys, home, folder(tmp_path, text=booster("binary", names)))
    assert "reads 2 features that are not in our catalogue" in message
    assert "Price_1, my_secret" in message
    assert "bot train model BTCUSDT --type autoregressive --timeframe 1h --params n_steps_ahead=300" in message


def test_a_model_of_prices_is_refused(home, tmp_path, capsys):
    message = refusal(capsys, home, folder(tmp_path, text=booster("regression", target="price")), code=1)
    assert "predicts a price, not a return" in message


def test_four_models_of_candles_are_read_and_refused(home, tmp_path, capsys):
    path = tmp_path / f"{FOLDER}_multi_ohlc"
    for part in ("open", "high", "low", "close"):
        (path / part).mkdir(parents=True)
        (path / part / "autoregressive_model.txt").write_text(booster("binary"))
    (path / "config.json").write_text(json.dumps(CONFIG | {"predictor_type": "multi_ohlc"}))
    found = read_folder(path)
    assert (found.kind, set(found.models)) == ("multi_ohlc", {"open", "high", "low", "close"})
    assert "bot train model BTCUSDT --type multi_ohlc" in refusal(capsys, home, path)
    (path / "low/autoregressive_model.txt").unlink()
    assert "has no model in low" in refusal(capsys, home, path)


def test_too_few_bars_after_the_training(home, tmp_path, capsys):
    config = CONFIG | {"trained_at": format_ms(int(market().open_ms[BARS - 300]))}
    message = refusal(capsys, home, folder(tmp_path, config=config), code=2)
    assert "labelled bars lie after" in message
    assert "1,000 are needed" in message


@pytest.mark.parametrize(
    "change, words, code, message",
    [
        ({"timeframe": "5m"}, (), 3, "its name says timeframe 1h, its config says 5m"),
        ({"n_steps_ahead": 10}, (), 3, "its name says steps 300, its config says 10"),
        ({"n_steps_ahead": "many"}, (), 3, "n_steps_ahead is 'many', expected a whole number"),
        ({"trained_at": "yesterday"}, (), 3, "trained_at: 'yesterday' is not a date"),
        ({}, ("--symbol", "ETHUSDT"), 2, "--symbol ETHUSDT, but BTC_USDT_1h_300steps is of BTCUSDT"),
        ({}, ("--timeframe", "4h"), 2, "--timeframe 4h, but BTC_USDT_1h_300steps is of 1h"),
        ({"horizon": 0}, (), 3, "horizon is 0, expected a whole number"),
        ({}, ("--horizon", "0"), 2, "horizon is 0"),
        ({}, ("--type", "basics"), 2, "did you mean 'basic'?"),
        ({}, ("--type", "autoregressive"), 2, "only one of direction, such as basic"),
    ],
)
def test_contradictions_are_one_message(home, tmp_path, capsys, change, words, code, message):
    assert message in refusal(capsys, home, folder(tmp_path, config=CONFIG | change), *words, code=code)


@pytest.mark.parametrize(
    "text, message",
    [
        ("nonsense", "its first line is not 'tree'"),
        (booster("binary")[:2000], "truncated"),
    ],
)
def test_damaged_text_is_refused(home, tmp_path, capsys, text, message):
    assert message in refusal(capsys, home, folder(tmp_path, text=text))


@pytest.mark.parametrize("content, message", [("{", "is not JSON"), ("[1]", "is not a JSON object")])
def test_damaged_settings_are_refused(home, tmp_path, capsys, content, message):
    path = folder(tmp_path)
    (path / "config.json").write_text(content)
    assert message in refusal(capsys, home, path)


def test_no_folder_and_an_empty_one(home, tmp_path, capsys):
    assert "there is no folder" in refusal(capsys, home, tmp_path / "nowhere", code=2)
    (tmp_path / "empty").mkdir()
    assert "holds no model that can be read" in refusal(capsys, home, tmp_path / "empty")


def test_no_candles_names_the_commands(tmp_path, capsys):
    assert "bot data download" in refusal(capsys, tmp_path / "other", folder(tmp_path), code=2)


# ------------------------------------------------------------------------------------------------- ONNX


def linear_graph(weights, inputs: int) -> bytes:
    """A graph of one row: score = row @ weights, with no metadata of ours."""
    onnx = pytest.importorskip("onnx")
    from onnx import TensorProto, helper, numpy_helper

    graph = helper.make_graph(
        [helper.make_node("MatMul", ["rows", "w"], ["score"])],
        "linear",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", inputs])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(np.array(weights, np.float32).reshape(-1, 1), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def graph_folder(root, names, weights):
    path = root / "exported"
    path.mkdir()
    (path / "model.onnx").write_bytes(linear_graph(weights, len(names)))
    document = {"symbol": "BTCUSDT", "timeframe": "1h", "horizon": 1, "trained_at": CONFIG["trained_at"]}
    (path / "metadata.json").write_text(json.dumps(document))
    (path / "feature_schema.json").write_text(json.dumps({"features": [{"name": name} for name in names]}))
    return path


def test_a_graph_with_metadata_and_schema_is_taken_over(home, tmp_path, capsys):
    names = ("taker_imbalance_20", "ewma_volatility")
    assert take(home, graph_folder(tmp_path, names, [1.0, 0.0])) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["origin"]["kind"] == "onnx"
    registry = PredictionModelRegistry(home / "models", open_bundle)
    bundle = registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")
    rows = np.array([[0.25, 1.0], [-0.5, 2.0]], np.float32)
    assert bundle.runner.runner.scores(rows).tolist() == [0.25, -0.5]


def test_a_graph_without_the_volatility_or_with_probabilities_is_refused(home, tmp_path, capsys):
    names = ("taker_imbalance_20", "rsi_14")
    path = graph_folder(tmp_path, names, [1.0, 0.0])
    assert "does not read ewma_volatility" in refusal(capsys, home, path)
    (path / "feature_schema.json").unlink()
    assert "does not name its features" in refusal(capsys, home, path)
    shutil.rmtree(path)
    path = graph_folder(tmp_path, ("ewma_volatility", "ewma_volatility"), [1.0, 0.0])
    assert "names the feature ewma_volatility twice" in refusal(capsys, home, path)
    shutil.rmtree(path)
    names = ("rsi_14", "ewma_volatility")  # 0 to 100
    path = graph_folder(tmp_path, names, [0.01, 0.0])
    assert "seem to be probabilities" in refusal(capsys, home, path, code=1)
