"""Recipes in YAML: every mistake has a place and a way out; those of the project load and train on real candles."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.errors import ConfigError
from bot.pipeline.recipes import load_recipes, missing_library
from bot.pipeline.settings import load_settings
from ml.candles import Candles
from ml.predictors.catalogue import PREDICTORS
from ml.recipes import Recipe
from ml.training.trainer import train

HOUR = 3_600_000
DAY = 24 * HOUR
CONFIGS = Path(__file__).parents[3] / "configs"

GOOD = """\
name: btc-basic-1h
symbol: BTC/USDT
type: basic
model: gbm
timeframe: 1h
exchange: Binance
horizon: 1
window: 365d
every: 12h
features: [price, "technical, rsi_9"]
params: {num_trees: 200, eta: 1e-2}
expires_after: 48h
seed: 4
folds: 6
threads: 2
"""


@pytest.fixture
def read(tmp_path):
    def read(text: str, name: str = "recipe.yaml", **options) -> tuple[Recipe, ...]:
        path = tmp_path / name
        path.write_text(text)
        return load_recipes(path, **options)

    return read


@pytest.fixture
def refused(read):
    def refused(old: str, new: str, name: str = "recipe.yaml") -> str:
        assert old in GOOD
        with pytest.raises(ConfigError) as caught:
            read(GOOD.replace(old, new), name)
        assert caught.value.exit_code == 2
        return str(caught.value)

    return refused


def test_every_key_is_read(read):
    assert read(GOOD) == (
        Recipe(
            name="btc-basic-1h",
            symbol="BTCUSDT",
            model_type="basic",
            timeframe="1h",
            horizon=1,
            exchange="binance",
            architecture="gbm",
            features=("price", "technical", "rsi_9"),
            parameters={"num_trees": 200, "eta": 0.01},
            window_ms=365 * DAY,
            every_ms=12 * HOUR,
            expires_after_ms=48 * HOUR,
            folds=6,
            seed=4,
            threads=2,
        ),
    )


def test_what_is_left_out_has_its_usual_value(read):
    (made,) = read("symbol: eth_usdt\ntype: price\ntimeframe: 1m\n", "eth-basic.yaml", every_ms=3 * HOUR)
    assert made == Recipe("eth-basic", "ETHUSDT", "basic", "1m", 5, every_ms=3 * HOUR)
    words = "window: all\nexpires_after: never\nfeatures: default\nevery:\n"
    assert read(f"symbol: eth_usdt\ntype: price\ntimeframe: 1m\n{words}", "eth-basic.yaml", every_ms=3 * HOUR) == (
        made,
    )


@pytest.mark.parametrize("family, horizon", [("basic", 5), ("risk", 12), ("volatility", 60), ("price_nn", 60)])
def test_the_usual_horizon_is_that_of_the_task(read, family, horizon):
    assert read(f"symbol: BTCUSDT\ntype: {family}\ntimeframe: 1m\n")[0].horizon == horizon


def test_a_recipe_of_days_is_not_refitted_within_the_day(read):
    assert read("symbol: BTCUSDT\ntype: basic\ntimeframe: 1d\n")[0].every_ms == DAY
    with pytest.raises(ConfigError, match=r":4:8: a refit every 12h is too often: .* before a bar of 1d has closed"):
        read("symbol: BTCUSDT\ntype: basic\ntimeframe: 1d\nevery: 12h\n")


def test_several_symbols_are_a_recipe_each(read):
    made = read(GOOD.replace("symbol: BTC/USDT", "symbols: [BTC/USDT, eth-usdt, BRK.B]"))
    assert [(one.name, one.symbol) for one in made] == [
        ("btc-basic-1h-btcusdt", "BTCUSDT"),
        ("btc-basic-1h-ethusdt", "ETHUSDT"),
        ("btc-basic-1h-brk_b", "BRK.B"),
    ]
    assert len({one.digest for one in made}) == 3


@pytest.mark.parametrize(
    "old, new, place, words",
    [
        ("type: basic", "type: bsic", "3:7", ["'bsic' is not a model type", "did you mean 'basic'?"]),
        ("type: basic", "type: Basic Model", "3:7", ["is not a model type"]),
        ("type: basic\n", "", "1:1", ["type is missing"]),
        ("type: basic", "type: multi_ohlc", "3:7", ["forecasts whole paths", "not refitted by recipes yet"]),
        ("type: basic", "type: ensemble", "3:7", ["made of registered models"]),
        ("model: gbm", "model: gmb", "4:8", ["did you mean 'gbm'?"]),
        ("symbol: BTC/USDT", "symbol: 'B T C'", "2:9", ["is not a symbol"]),
        ("symbol: BTC/USDT\n", "", "1:1", ["symbol is missing"]),
        ("symbol: BTC/USDT", "symbols: []", "2:10", ["symbols: is empty"]),
        ("symbol: BTC/USDT", "symbols: [BTC/USDT, BTCUSDT]", "2:21", ["BTCUSDT is listed twice"]),
        ("symbol: BTC/USDT", "symbol: BTC/USDT\nsymbols: [ETH/USDT]", "3:1", ["symbol or symbols, not both"]),
        ("timeframe: 1h", "timeframe: 1 hour", "5:12", ["'1 hour' is not a timeframe"]),
        ("folds: 6", "fold: 6", "14:1", ["unknown key 'fold'", "did you mean 'folds'?"]),
        ("exchange: Binance", "exchange: ''", "6:11", ["exchange: is empty"]),
        ("horizon: 1", "horizon: 0", "7:10", ["horizon is 0, expected 1 to 10000"]),
        ("horizon: 1", "horizon: one", "7:10", ["horizon: expected a whole number, got the text 'one'"]),
        ("window: 365d", "window: 20d", "8:9", ["holds 480 bars of 1h", "at least 500"]),
        ("window: 365d", "window: 1y", "8:9", ["window: '1y' is not a length of time such as 12h or 7d, or all"]),
        ("window: 365d", "window: 365", "8:9", ["expected a length of time such as 12h or 7d, got 365, or all"]),
        ("window: 365d", "window: 0d", "8:9", ["expected a length of time"]),
        ("every: 12h", "every: 30m", "9:8", ["too often"]),
        ("every: 12h", "every: 12", "9:8", ["every: expected a length of time such as 12h or 7d, got 12"]),
        ("every: 12h", "evry: 12h", "9:1", ["unknown key 'evry'", "did you mean 'every'?"]),
        ('[price, "technical, rsi_9"]', "rsi14", "10:11", ["'rsi14'", "did you mean 'rsi_14'?"]),
        ('[price, "technical, rsi_9"]', "[price, default, rsi14]", "10:28", ["'rsi14'"]),
        ('[price, "technical, rsi_9"]', '[price, "price, tecnical"]', "10:19", ["did you mean 'technical'?"]),
        ('[price, "technical, rsi_9"]', "[price, 5]", "10:19", ["expected a text, got 5"]),
        ('[price, "technical, rsi_9"]', "5", "10:11", ["expected names or groups such as [price, rsi_14]"]),
        ('[price, "technical, rsi_9"]', "[]", "10:11", ["no feature is named"]),
        ("num_trees: 200", "trees: 200", "11:10", ["'trees' is not a parameter", "did you mean 'num_trees'?"]),
        ("num_trees: 200", "num_boost_round: 0", "11:27", ["num_boost_round is 0", "at least 1 and at most 10000"]),
        ("eta: 1e-2", "num_boost_round: 9", "11:43", ["num_boost_round and num_trees are the same parameter"]),
        ("params: {num_trees: 200, eta: 1e-2}", "params: 5", "11:9", ["params: expected keys and values"]),
        ("expires_after: 48h", "expires_after: 6h", "12:16", ["would expire after 6h, before its next refit"]),
        ("expires_after: 48h", "expires_after: nevr", "12:16", ["is not a length of time such as 12h or 7d, or never"]),
        ("seed: 4", "seed: -4", "13:7", ["seed is -4"]),
        ("folds: 6", "folds: 1", "14:8", ["folds is 1, expected 2 to 50"]),
        ("threads: 2", "threads: 0", "15:10", ["threads is 0"]),
        ("threads: 2", "sentiment: fear_and_greed", "15:12", ["not read by basic", "add sentiment"]),
        ("threads: 2", "sentiment: 'fear & greed'", "15:12", ["is no name of a series"]),
        ("name: btc-basic-1h", "name: BTC basic", "1:7", ["'BTC basic' is not a name for a recipe"]),
        ("name: btc-basic-1h", "api_key: hunter2", "1:1", ["does not belong in a config"]),
        ("name: btc-basic-1h", "name: [", "", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(refused, old, new, place, words):
    message = refused(old, new)
    assert f"recipe.yaml:{place}" in message
    assert len(message.splitlines()) == 1
    for word in words:
        assert word in message


def test_every_mistake_is_told_in_the_order_of_the_file(refused):
    lines = refused("window: 365d\nevery: 12h", "window: 1d\nevery: 1m").splitlines()
    assert [line.split(":")[1] for line in lines] == ["8", "9"]
    several = refused("symbol: BTC/USDT\ntype: basic", "symbols: [BTC/USDT, ETH/USDT]\ntype: bsic")
    assert several.count("bsic") == 1  # not once for each symbol


def test_a_file_name_that_is_no_name(read):
    text = GOOD.replace("name: btc-basic-1h\n", "")
    with pytest.raises(
        ConfigError, match=r"My Recipe.yaml:1:1: 'My Recipe' is not a name .*; rename the file, or say name:"
    ):
        read(text, "My Recipe.yaml")


def test_files_that_are_no_recipe(read, tmp_path):
    with pytest.raises(ConfigError, match=r"recipe.yaml:1:1: the file is empty; `bot init` writes a commented example"):
        read("# nothing\n")
    with pytest.raises(
        ConfigError, match=r"expected keys and values \(symbol: ..., type: ..., timeframe: ...\), got a list"
    ):
        load_recipes(write(tmp_path / "list.yaml", "- a\n"))
    with pytest.raises(ConfigError, match="larger than a megabyte; that is no recipe"):
        load_recipes(write(tmp_path / "large.yaml", "#" * 1_000_001))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def named(name: str, seed: int = 0) -> str:
    return f"name: {name}\nsymbol: BTCUSDT\ntype: basic\ntimeframe: 1h\nseed: {seed}\n"


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    for seed, stem in enumerate(["b", "a-2", "a"]):
        write(tmp_path / f"{stem}.yaml", named(stem, seed))
    write(tmp_path / "c.yml", named("c", 3))
    write(tmp_path / ".a.yaml", "an editor's file")
    write(tmp_path / "notes.txt", "a note")
    (tmp_path / "more").mkdir()
    assert [one.name for one in load_recipes(tmp_path)] == ["a", "a-2", "b", "c"]
    assert [one.name for one in load_recipes([tmp_path / "c.yml", tmp_path, tmp_path / "b.yaml"])] == [
        "c",
        "a",
        "a-2",
        "b",
    ]


def test_a_folder_that_is_not_there_or_empty(tmp_path):
    (tmp_path / "recipes").mkdir()
    with pytest.raises(ConfigError, match="recipes: no recipe in this folder: expected files such as"):
        load_recipes(tmp_path / "recipes")
    with pytest.raises(ConfigError, match=r"recipe: no such folder of recipes; did you mean .*recipes\?"):
        load_recipes(tmp_path / "recipe")
    with pytest.raises(ConfigError, match=r"the folder .*nowhere does not exist"):
        load_recipes(tmp_path / "nowhere" / "recipes")
    write(tmp_path / "recipes" / "btc.yaml", named("btc"))
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*btc.yaml\?"):
        load_recipes(tmp_path / "recipes" / "bct.yaml")


def test_the_mistakes_of_all_files_are_told(tmp_path):
    write(tmp_path / "a.yaml", named("a").replace("basic", "bsic"))
    write(tmp_path / "b.yaml", named("b"))
    write(tmp_path / "c.yaml", named("c").replace("1h", "1x"))
    with pytest.raises(ConfigError) as caught:
        load_recipes(tmp_path)
    first, second = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path / 'a.yaml'}:3:7: ")
    assert second.startswith(f"{tmp_path / 'c.yaml'}:4:12: ")


def test_two_recipes_of_one_name_are_refused(tmp_path):
    write(tmp_path / "a.yaml", named("btc", 1))
    write(tmp_path / "b.yaml", named("btc", 2))
    with pytest.raises(ConfigError) as caught:
        load_recipes(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path / 'b.yaml'}:1:7: the name 'btc' is that of {tmp_path / 'a.yaml'} too"
    )


def test_two_recipes_that_learn_the_same_are_refused(tmp_path):
    write(tmp_path / "a.yaml", named("a"))
    write(tmp_path / "b.yaml", named("b") + "every: 24h\nexpires_after: 48h\nparams: {num_leaves: 15}\n")
    with pytest.raises(ConfigError) as caught:
        load_recipes(tmp_path)
    assert str(caught.value).startswith(
        f"{tmp_path / 'b.yaml'}:1:1: 'b' learns the same as 'a' of {tmp_path / 'a.yaml'}: "
    )


def test_recipes_of_one_champion_look_equally_far_ahead(tmp_path):
    write(tmp_path / "a.yaml", named("a"))
    write(tmp_path / "b.yaml", named("b", 9) + "horizon: 4\n")
    with pytest.raises(ConfigError) as caught:
        load_recipes(tmp_path)
    assert f"{tmp_path / 'b.yaml'}:" in str(caught.value)
    assert "'b' looks 4 bars ahead and 'a' 1, but both are recipes of BTCUSDT/1h/" in str(caught.value)


def test_two_files_may_share_symbols_but_no_recipe(tmp_path):
    write(tmp_path / "a.yaml", named("a").replace("symbol: BTCUSDT", "symbols: [BTCUSDT, ETHUSDT]"))
    write(tmp_path / "b.yaml", named("b").replace("symbol: BTCUSDT", "symbols: [XRPUSDT, ETHUSDT]"))
    with pytest.raises(ConfigError, match="'b-ethusdt' learns the same as 'a-ethusdt'"):
        load_recipes(tmp_path)


@given(st.text(alphabet=st.sampled_from("symbolteframdnw:{}[]-&*!|>'\"#%@,? \n\t0.5~"), max_size=80))
@settings(max_examples=150, deadline=None)
def test_any_text_is_a_recipe_error(tmp_path_factory, text):
    path = write(tmp_path_factory.getbasetemp() / "any" / "any.yaml", text)
    with pytest.raises(ConfigError):
        load_recipes(path)


LINES = GOOD.splitlines()
VALUES = ["", "~", "5", "-1", "1e9", "x", "true", "[]", "[1]", "[a, b]", "{}", "{a: 1}", "1h", "all", "'1'"]


def error_of(path: Path) -> str:
    """Return what is wrong, an empty text where nothing is."""
    try:
        return "" if load_recipes(path)[0].digest else "no digest"
    except ConfigError as error:
        return str(error)


@given(line=st.integers(0, len(LINES) - 1), value=st.sampled_from(VALUES))
@settings(max_examples=150, deadline=None)
def test_any_value_is_read_or_refused_with_its_line(tmp_path_factory, line, value):
    key = LINES[line].split(":")[0]
    text = "\n".join([*LINES[:line], f"{key}: {value}", *LINES[line + 1 :]])
    path = write(tmp_path_factory.getbasetemp() / "one" / "one.yaml", text)
    error = error_of(path)
    assert all(told.startswith(f"{path}:") for told in error.splitlines())
    # a symbol, a type, a timeframe or an interval that is legal may make another line wrong
    assert not error or f"{path}:{line + 1}:" in error or key in {"symbol", "type", "timeframe", "every"}


@pytest.mark.parametrize("family", [one for one in PREDICTORS if one.task != "path"], ids=lambda one: one.__name__)
def test_a_library_that_is_missing_is_told_when_a_recipe_is_to_be_built(monkeypatch, read, family):
    made = read(f"symbol: BTCUSDT\ntype: {family.type_name}\nmodel: {family.architecture}\ntimeframe: 1h\n")[0]
    assert missing_library(made) is None
    module = {"xgboost-cpu": "xgboost", "scikit-learn": "sklearn"}.get(family.library, family.library)
    monkeypatch.setitem(sys.modules, module, None)
    told = missing_library(made)
    assert f"trained with {family.library}, which is not installed" in told
    assert "pip install 'mlbot[train]'" in told


PATHS = sorted((CONFIGS / "recipes").iterdir())


def test_the_recipes_of_the_project_are_named_like_their_files():
    recipes = load_recipes(load_settings(CONFIGS / "pipeline.yaml").recipes)
    assert [one.name for one in recipes] == sorted(path.stem for path in PATHS)
    assert len({str(one.key) for one in recipes if one.timeframe == "1m"}) == 5  # a model each
    rivals = [str(one.key) for one in recipes if one.timeframe == "1h"]
    assert rivals == ["BTCUSDT/1h/basic"] * 2  # champion and challenger


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_says_why_it_is_so(path):
    (made,) = load_recipes(path)
    assert path.read_text().startswith("# ")
    assert made.exchange is not None  # or nothing could be fetched for it
    assert made.window_ms is not None
    assert made.expires_after_ms == 48 * HOUR
    assert made.every_ms == 12 * HOUR


FILES = {"1h": "binance_spot_BTCUSDT_1h_2018_2024.csv.gz", "1m": "binance_spot_BTCUSDT_1m_2024Q1.csv.gz"}


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_recipe_of_the_project_trains_on_real_candles(shared_data, path):
    (made,) = load_recipes(path)
    frame = pd.read_csv(shared_data / FILES[made.timeframe])
    step = 60_000 if made.timeframe == "1m" else HOUR
    end = pd.Timestamp("2024-03-25", tz="UTC").value // 1_000_000
    first = end - made.window_ms
    frame = frame[(frame.timestamp >= first - 3_000 * step) & (frame.timestamp < end)]
    candles = Candles.from_frame(frame, made.timeframe)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    result = train(candles, made.key, made.settings(first, "binance"), at=at, code_version="test")
    assert result.plan.bars == (frame.timestamp >= first).sum()
    assert result.plan.bars == pytest.approx(
        made.window_ms / step, abs=1
    )  # the exchange stood still for an hour in 2023
    assert result.plan.warming == 0  # the candles before the window warmed the features
    assert result.metrics["out_of_sample"]["n"] >= 100
    if made.timeframe == "1h":
        assert result.gate.promoted
        assert 0.53 < result.metrics["out_of_sample"]["direction_accuracy"] < 0.58
    else:
        assert not result.gate.promoted  # seven days prove nothing at once; the record of many refits may
