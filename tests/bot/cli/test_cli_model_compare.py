"""``bot models compare A B`` and ``bot models explain``: two models on the same bars, and what trees look at."""

from __future__ import annotations

import json
import shutil
from datetime import timedelta

import numpy as np
import pytest
from small_models import AT, KEY, bundle_files, market

from bot.cli.main import main
from bot.market.store import CandleStore
from ml.candles import format_ms
from ml.record import RECORD_FILE, OutOfSample
from ml.runners import LightGBMRunner
from registry.names import ModelKey
from registry.store import PredictionModelRegistry


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two versions of basic, another horizon, one without trees, one of another timeframe; and the candles."""
    home = tmp_path_factory.mktemp("stored")
    CandleStore(home / "candles").merge(market(), "BTCUSDT", "local")
    registry = PredictionModelRegistry(home / "models")
    later = {}
    for name, key, files in (
        ("large", KEY, bundle_files(25)),
        ("small", KEY, bundle_files(4)),
        ("far", ModelKey("BTCUSDT", "direction", "1h"), _with(bundle_files(4), horizon=3, model_type="direction")),
        ("risk", ModelKey("BTCUSDT", "risk", "1h"), _with(bundle_files(4), task="risk", model_type="risk")),
        ("network", ModelKey("BTCUSDT", "momentum", "1h"), _renamed(_with(bundle_files(4), model_type="momentum"))),
    ):
        later[name] = registry.register(key, files, at=AT + timedelta(days=len(later))).version_id
    return home, later


def _with(files, **change):
    document = json.loads(files["metadata.json"]) | change
    return files | {"metadata.json": json.dumps(document).encode()}


def _renamed(files):
    return {("model.onnx" if name == "model.txt" else name): content for name, content in files.items()}


@pytest.fixture
def home(tmp_path, stored):
    shutil.copytree(stored[0], tmp_path / "home", symlinks=True)
    return tmp_path / "home"


@pytest.fixture
def versions(stored):
    return stored[1]


@pytest.fixture
def bot(home, capsys):
    def call(*words):
        code = main(["models", *map(str, words), "--home", str(home)])
        streams = capsys.readouterr()
        return code, streams.out, streams.err

    return call


def ref(version):
    return f"BTCUSDT/basic@{version}"


# ---------------------------------------------------------------- compare


def test_two_versions_on_the_same_bars(bot, home, versions):
    code, out, _ = bot("compare", ref(versions["large"]), ref(versions["small"]))
    assert code == 0
    assert "The same 1," in out
    assert versions["large"] in out
    document = json.loads(bot("compare", ref(versions["large"]), ref(versions["small"]), "--json")[1])["comparison"]
    a, b = (
        OutOfSample.from_parquet((home / "models/BTCUSDT/basic" / versions[name] / RECORD_FILE).read_bytes())
        for name in ("large", "small")
    )
    both = a.counted & b.counted
    given = [np.where(each.forward_return[both] > 0, each.p_up[both], 1 - each.p_up[both]) for each in (a, b)]
    assert document["rows"] == both.sum()
    assert document["gain"]["mean"] == pytest.approx(float(np.mean(np.log(given[0] / given[1]))), rel=1e-9)
    assert document["better"] in {"a", "b", None}
    assert ("statistically tied" in document["verdict"]) == document["tied"]
    assert document["verdict"].rstrip(".") in out


def test_swapping_them_turns_the_sign_only(bot, versions):
    one, two = (
        json.loads(bot("compare", ref(a), ref(b), "--json")[1])["comparison"]
        for a, b in ((versions["large"], "newest"), ("newest", versions["large"]))
    )
    assert one["gain"]["mean"] == -two["gain"]["mean"]
    assert (one["a"], one["b"]) == (two["b"], two["a"])


def test_the_form_of_versions_compares_two_as_well(bot, versions):
    words = ("compare", "BTCUSDT", "1h", "basic", versions["large"], versions["small"])
    code, out, _ = bot(*words)
    assert code == 0
    assert "Every figure is out of sample" in out
    assert "The same 1," in out
    assert json.loads(bot(*words, "--json")[1])["comparison"]["rows"] > 1_000
    assert "comparison" not in json.loads(bot("compare", "BTCUSDT", "1h", "basic", "--json")[1])


@pytest.mark.parametrize(
    "words, message",
    [
        (("BTCUSDT/basic@newest", "BTCUSDT/basic@newest"), "name two versions"),
        (("BTCUSDT/basic@newest", "BTCUSDT/direction@newest"), "differ in horizon in bars (1 and 3)"),
        (("BTCUSDT/basic@newest", "BTCUSDT/risk@newest"), "differ in task (direction and risk)"),
        (("BTCUSDT/basic@newest", "BTCUSDT/volatility"), "no model BTCUSDT/volatility"),
        (("BTCUSDT/basic@newest", "basic"), "'basic' is not a model: expected SYMBOL/TYPE@latest"),
        (("BTCUSDT/basic@newest", "BTCUSDT/basic@2020"), "no version '2020'"),
        (("BTCUSDT/basic@newest", "BTCUSDT/basic", "BTCUSDT/risk"), "compare takes two models such as"),
        (("BTCUSDT/basic",), "compare needs two models such as BTCUSDT/basic@latest"),
    ],
)
def test_pairs_without_a_common_question_are_refused(bot, words, message):
    code, out, err = bot("compare", *words)
    assert (code, out) == (2, "")
    assert message in err


def test_a_broken_bundle_is_named(bot, home, versions):
    (home / "models/BTCUSDT/basic" / versions["small"] / "metrics.json").write_bytes(b"{}")
    code, _, err = bot("compare", ref(versions["large"]), ref(versions["small"]))
    assert code in {2, 3}
    assert versions["small"] in err


# ---------------------------------------------------------------- explain


def test_explain_takes_the_newest_bar_apart(bot, home, versions, tmp_path):
    picture = tmp_path / "feature_importance.png"
    words = ("explain", "BTCUSDT", "basic", "--version", versions["large"])
    code, out, err = bot(*words, "--png", picture)
    assert code == 0, err
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "share of the gain" in out
    assert "what moved the score" in out
    document = json.loads(bot(*words, "--json")[1])
    bar = document["bar"]
    assert bar["open_ms"] == int(market().open_ms[-1])
    assert bar["base"] + sum(bar["contributions"].values()) == pytest.approx(bar["score"], abs=1e-9)
    assert sum(document["importance"].values()) == pytest.approx(1.0)
    assert next(iter(document["importance"])) == "taker_imbalance_20"
    text = (home / "models/BTCUSDT/basic" / versions["large"] / "model.txt").read_bytes()
    row = np.array([[bar["values"][name] for name in bar["values"]]], np.float32)
    assert LightGBMRunner.from_text(text).scores(row)[0] == bar["score"]


def test_explain_an_earlier_bar(bot, versions):
    time = format_ms(int(market().open_ms[2_000]))
    words = ("explain", "BTCUSDT", "basic", "--version", versions["large"], "--time", time)
    assert json.loads(bot(*words, "--json")[1])["bar"]["open_time"] == time
    code, out, _ = bot(*words, "--top", "2")
    assert code == 0
    assert "3 others" in out


@pytest.mark.parametrize(
    "words, message",
    [
        (("momentum",), "has no trees to explain: its kind of model"),
        (("basic", "--part", "high"), "has no part 'high': it is one model"),
        (
            ("basic", "--time", "2001-01-01"),
            "no bar of BTCUSDT 1h from local opens at 2001-01-01T00:00:00Z; the nearest is",
        ),
        (("basic", "--time", format_ms(int(market().open_ms[3]))), "has no features: there is not enough history"),
        (("basic", "--png", "/nowhere/at/all.png"), "cannot write /nowhere/at/all.png"),
        (("basics",), "no model BTCUSDT/basics"),
    ],
)
def test_what_cannot_be_explained_is_one_message(bot, words, message):
    code, out, err = bot("explain", "BTCUSDT", *words)
    assert code in {1, 2}
    assert "--png" in words or out == ""
    assert err.startswith("error: ")
    assert message in err
