"""Every way to get a config wrong has one clear message with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bot.config.loader import load_config, parse_config
from bot.errors import ConfigError

GOOD = """\
name: ml-basic-btc
strategy: MLBasic
params: {enter: 0.55, exit: 0.45, min_edge: cost}
symbols: [BTC/USDT]
timeframe: 1h
data: {exchange: binance, start: 2023-07-01, end: 2024-12-31}
models: {prediction: "{symbol}/basic@latest"}
broker: {cash: 10000, commission: 0.001, slippage: 0.0005, min_notional: 5, lot_step: 0.00001, price_tick: 0.01}
risk: {max_position: 1.0, max_daily_loss: 0.05, max_drawdown: 0.25, cooldown_bars: 3, stop_loss: 0.03, take_profit: null}
live: {exchange: sim, mode: paper}
"""


def refused(old: str, new: str) -> str:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        parse_config(GOOD.replace(old, new), "bad.yaml")
    assert caught.value.exit_code == 2
    return str(caught.value)


def test_the_config_of_the_design_is_read_with_every_value():
    config = parse_config(GOOD).config
    assert (config.name, config.strategy, config.symbols, config.timeframe) == (
        "ml-basic-btc",
        "MLBasic",
        ("BTCUSDT",),
        "1h",
    )
    assert config.params == {"enter": 0.55, "exit": 0.45, "min_edge": "cost"}
    assert config.broker.cash == 10_000.0
    assert config.broker.rules == {"price_tick": 0.01, "lot_step": 1e-05, "min_notional": 5.0}
    assert config.broker.round_trip_cost == 0.003
    assert config.risk.take_profit is None
    assert config.risk.on_no_model == "hold"
    assert str(config.models["prediction"].reference("BTCUSDT")) == "BTCUSDT/basic@latest"
    assert config.data.start_ms == 1_688_169_600_000
    assert config.data.end_ms == 1_735_689_600_000  # 2025-01-01: the whole last day is inside
    assert config.to_dict()["data"] == {
        "exchange": "binance",
        "start": "2023-07-01",
        "end": "2024-12-31",
        "synth": None,
    }


@pytest.mark.parametrize(
    "old, new, place, words",
    [
        ("cash: 10000", "cash: no", "8:16", ["broker.cash: expected a number", "'no'"]),
        ("cash: 10000", "cash: yes", "8:16", ["expected a number"]),
        ("cash: 10000", "cash: true", "8:16", ["expected a number, got true"]),
        ("cash: 10000", 'cash: "10000"', "8:16", ["expected a number, got the text '10000'"]),
        ("cash: 10000", "cash: -5", "8:16", ["expected more than 0, got -5"]),
        ("cash: 10000", "cash: .nan", "8:16", ["expected a number"]),
        ("cash: 10000", "cash: 1e999", "8:16", ["expected a finite number"]),
        ("cash: 10000", "cash: 10_000", "8:16", ["expected a number, got the text '10_000'"]),
        ("cash: 10000", "cash: [1]", "8:16", ["expected a number, got a list"]),
        ("cash: 10000", "csh: 10000", "8:10", ["unknown key 'csh' in broker", "did you mean 'cash'?"]),
        ("commission: 0.001", "commission: 10", "8:35", ["broker.commission: expected less than 0.1, got 10"]),
        ("broker:", "brokr:", "8:1", ["unknown key 'brokr'", "did you mean 'broker'?"]),
        ("live:", "zebra: 1\nlive:", "10:1", ["unknown key 'zebra'; known are name, strategy"]),
        ("mode: paper", "mode: papr", "10:29", ["live.mode: expected 'paper' or 'real'", "did you mean 'paper'?"]),
        ("timeframe: 1h", "timeframe: 60", "5:12", ["timeframe: expected a text, got 60"]),
        ("timeframe: 1h", "timeframe: 1 hour", "5:12", ["'1 hour' is not a timeframe"]),
        (
            "start: 2023-07-01",
            "start: 2025-01-01",
            "6:34",
            ["data.start: 2025-01-01 is not before the end, 2024-12-31"],
        ),
        ("start: 2023-07-01", "start: 2023-02-31", "6:34", ["'2023-02-31' is not a date"]),
        ("start: 2023-07-01", "start: 20230701", "6:34", ["expected a date such as 2024-01-31"]),
        ("end: 2024-12-31", "end: 9999-12-31", "6:51", ["is not a date"]),
        ("exchange: binance", "synth: {}, exchange: x", "6:29", ["data.exchange", "not both"]),
        ("exchange: binance", "synth: {bars: 5, edg: 1}", "6:22", ["data.synth.bars: expected at least 100, got 5"]),
        ("exchange: binance", "synth: {bars: 5, edg: 1}", "6:25", ["unknown key 'edg' in data.synth", "'edge'"]),
        ("cooldown_bars: 3", "cooldown_bars: 3.5", "9:84", ["risk.cooldown_bars: expected a whole number, got 3.5"]),
        ("max_position: 1.0", "max_position: 1.5", "9:22", ["risk.max_position: expected at most 1, got 1.5"]),
        ("stop_loss: 0.03", "stop_loss: 0", "9:98", ["risk.stop_loss: expected more than 0"]),
        ("risk: {", "risk: {on_no_model: no, ", "9:21", ["expected 'hold' or 'close', got the text 'no'"]),
        ("symbols: [BTC/USDT]", "symbols: BTC/USDT", "4:10", ["expected a list such as [BTC/USDT]"]),
        ("symbols: [BTC/USDT]", "symbols: []", "4:10", ["symbols: is empty"]),
        ("symbols: [BTC/USDT]", "symbols: [BTC/USDT, btc-usdt]", "4:21", ["BTCUSDT is listed twice"]),
        ("symbols: [BTC/USDT]", "symbols: [BTC/USDT, 5]", "4:21", ["symbols.1: expected a text, got 5"]),
        ("symbols: [BTC/USDT]", "symbols: ['B T C']", "4:11", ["is not a symbol"]),
        ("{symbol}/basic@latest", "basic", "7:22", ["'basic' is not a model"]),
        ("{symbol}/basic@latest", "{sym}/basic", "7:22", ["{sym} is not known here"]),
        ("prediction:", "Prediction Role:", "7:27", ["'Prediction Role' is not a role"]),
        ('"{symbol}/basic@latest"', "{mdl: x, shared: yes}", "7:23", ["unknown key 'mdl' in models.prediction"]),
        ('"{symbol}/basic@latest"', "{mdl: x, shared: yes}", "7:39", ["expected true or false, got the text 'yes'"]),
        ("name: ml-basic-btc", "name: a/b", "1:7", ["'a/b' is not a name"]),
        ("name: ml-basic-btc\n", "", "1:1", ["name is missing"]),
        ("params: {enter: 0.55, exit: 0.45, min_edge: cost}", "params: 5", "3:9", ["params: expected keys and values"]),
        ("name: ml-basic-btc", "name: ml-basic-btc\nname: other", "2:1", ["'name' is there twice, first in line 1"]),
        ("exit: 0.45", "enter: 0.45", "3:23", ["'enter' is there twice"]),
        ("timeframe: 1h", "timeframe: 1h: x", "5:14", ["not valid YAML"]),
        ("strategy: MLBasic", "\tstrategy: MLBasic", "2:1", ["a tab; indent with spaces"]),
        ("name: ml-basic-btc", "name: !!python/object:os.system x", "1:7", ["is not allowed in a config"]),
        ("name: ml-basic-btc", "name: &a [*a]", "1:1", ["too many values"]),
        ("name: ml-basic-btc", "? [a]\n: b", "1:3", ["a key must be a word"]),
        ("name: ml-basic-btc", "name: 'open", "", ["not valid YAML"]),
    ],
)
def test_a_mistake_is_named_with_its_line_and_column(old, new, place, words):
    message = refused(old, new)
    assert f"bad.yaml:{place}" in message
    for word in words:
        assert word in message
    assert "Traceback" not in message


def test_every_mistake_is_reported_in_the_order_of_the_file():
    lines = refused("broker: {cash: 10000, commission: 0.001", "broker: {cash: -1, comission: 0.001").splitlines()
    assert [line.split(":")[1:3] for line in lines] == [["8", "16"], ["8", "20"]]


def test_several_symbols_need_a_template_or_shared():
    several = GOOD.replace("[BTC/USDT]", "[BTC/USDT, ETH/USDT]")
    assert len(parse_config(several).config.symbols) == 2
    literal = several.replace("{symbol}/basic@latest", "BTCUSDT/basic@latest")
    with pytest.raises(
        ConfigError, match=r"7:22: 'BTCUSDT/basic@latest' names one symbol, but the config trades 2.*shared: true"
    ):
        parse_config(literal, "bad.yaml")
    shared = several.replace('"{symbol}/basic@latest"', "{model: BTCUSDT/basic, shared: true}")
    role = parse_config(shared).config.models["prediction"]
    assert str(role.reference("ETHUSDT")) == "BTCUSDT/basic@latest"


@pytest.mark.parametrize("key", ["apiKey", "api_key", "secret", "password", "privateKey", "access_token"])
def test_secrets_are_refused_and_not_echoed(key):
    message = refused("live: {exchange: sim", f"live: {{{key}: hunter2, exchange: sim")
    assert f"{key!r} does not belong in a config" in message
    assert "hunter2" not in message


def test_numbers_and_words_are_those_of_yaml_1_2():
    text = GOOD.replace(
        "params: {enter: 0.55, exit: 0.45, min_edge: cost}",
        "params: {a: 1e-3, b: no, c: 12:30, d: 2024-01-31, e: '5', f: ~}",
    )
    assert parse_config(text).config.params == {
        "a": 0.001,
        "b": "no",
        "c": "12:30",
        "d": "2024-01-31",
        "e": "5",
        "f": None,
    }
    assert parse_config(GOOD.replace("cash: 10000", "cash: 1e4")).config.broker.cash == 10_000.0


def test_the_built_in_market_has_a_short_form():
    short = parse_config(GOOD.replace("{exchange: binance, start: 2023-07-01, end: 2024-12-31}", "synth")).config.data
    assert (short.synth.bars, short.synth.edge, short.synth.seed) == (17_520, 0.06, 0)
    assert short.start_ms is None
    assert short.end_ms is None


def test_times_may_have_a_zone_and_an_exact_end():
    text = GOOD.replace("start: 2023-07-01, end: 2024-12-31", "start: '2023-07-01 02:00+02:00', end: 2023-07-02T12:00")
    data = parse_config(text).config.data
    assert data.start == "2023-07-01T00:00:00Z"
    assert (data.start_ms, data.end_ms) == (1_688_169_600_000, 1_688_299_200_000)


def test_values_cannot_be_changed():
    config = parse_config(GOOD).config
    with pytest.raises(ValueError, match="frozen"):
        config.broker.cash = 1.0


@pytest.mark.parametrize(
    "content, words",
    [(b"", "is empty"), (b"# only a comment\n", "is empty"), (b"- a\n", "got a list"), (b"5\n", "a single value")],
)
def test_a_file_that_is_no_mapping(tmp_path: Path, content, words):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=f"bad.yaml:1:1: .*{words}"):
        load_config(path)


def test_files_that_cannot_be_read(tmp_path: Path):
    (tmp_path / "strategy.yaml").write_text(GOOD)
    with pytest.raises(ConfigError, match=r"no such file; did you mean .*strategy.yaml"):
        load_config(tmp_path / "stratgy.yaml")
    with pytest.raises(ConfigError, match=r"the folder .* does not exist"):
        load_config(tmp_path / "nowhere" / "strategy.yaml")
    with pytest.raises(ConfigError, match="is a folder"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"name: x\nstrategy: caf\xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml:2:1: not UTF-8 text"):
        load_config(tmp_path / "latin.yaml")
    (tmp_path / "control.yaml").write_bytes(b"name: x\nstrategy: \x00\n")
    with pytest.raises(ConfigError, match=r"control.yaml:2:1: a character that YAML does not allow"):
        load_config(tmp_path / "control.yaml")
    (tmp_path / "large.yaml").write_bytes(b"#" * 1_000_001)
    with pytest.raises(ConfigError, match="larger than a megabyte"):
        load_config(tmp_path / "large.yaml")


def test_deep_nesting_is_an_error_not_a_crash():
    with pytest.raises(ConfigError):
        parse_config("[" * 3000)


@given(st.text(alphabet=st.sampled_from("abc:{}[]-&*!|>'\"#%@,? \n\t0.5~"), max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_config_or_a_config_error(text):
    with pytest.raises(ConfigError):
        parse_config(text)


FOLDER = Path(__file__).parents[3] / "configs"
CONFIGS = sorted(set(FOLDER.glob("*.yaml")) - {FOLDER / "pipeline.yaml"})  # that has a reader of its own


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_of_the_project_loads(path):
    file = load_config(path)
    from strategies.catalog import check_params, find_strategy

    check_params(find_strategy(file.config.strategy), file.config.params)
    assert file.config.name.replace("-", "_") == path.stem
