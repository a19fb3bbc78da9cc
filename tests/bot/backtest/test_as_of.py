"""A backtest with the champions of the past: each bar has the version that was champion when it closed, and no other."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from backtest_runs import config, config_text
from past_champions import BARS, HOUR, close_of, market, promote, register_trained, registry_of

from bot.assembly import assemble_backtest
from bot.backtest.document import result_document
from bot.backtest.run import run_backtest
from bot.cli.main import main
from bot.config.loader import parse_config
from bot.errors import ConfigError
from bot.home import Home
from bot.market.store import CandleStore
from ml.candles import format_ms
from ml.engines import open_engine
from ml.predictions import Status
from registry.errors import InvalidBundle, NoChampion
from registry.names import ModelKey

KEY = ModelKey("BTCUSDT", "basic", "1h")


def home_of(folder) -> Home:
    home = Home(folder)
    CandleStore(home.candles).write(market(), "BTCUSDT", "local")
    return home


@pytest.fixture
def home(tmp_path):
    return home_of(tmp_path / "home")


@pytest.fixture(scope="module")
def three(tmp_path_factory):
    """A home where A was champion from bar 2000 on, nobody from 2500, B from 2700, A again from 3000, C from 3300."""
    own = home_of(tmp_path_factory.mktemp("three"))
    a, b, c = (register_trained(own.models, bars, trees=trees) for bars, trees in ((1500, 12), (1800, 12), (2000, 20)))
    registry = registry_of(own.models)
    promote(own.models, a, close_of(2000))
    registry.quarantine(KEY, a.version_id, at=close_of(2500, late_ms=1), reason="its hit rate fell")
    promote(own.models, b, close_of(2700, late_ms=1))
    promote(own.models, a, close_of(3000, late_ms=-1))
    promote(own.models, c, close_of(3300))
    spans = [(0, None), (2000, a), (2501, None), (2701, b), (3000, a), (3300, c)]
    return own, spans


def expected_of(spans):
    """Return what each version alone says of all bars, taken over its own span."""
    values, status = np.full((BARS, 9), np.nan), np.full(BARS, int(Status.NO_MODEL))
    for number, (first, model) in enumerate(spans):
        end = spans[number + 1][0] if number + 1 < len(spans) else BARS
        if model is not None:
            batch = open_engine(model).predict_batch(market())
            values[first:end], status[first:end] = batch.values[first:end], batch.status[first:end]
    return values, status


def as_of(**choices):
    return config(version="as-of", **choices)


def run(home, file=None, symbol="BTCUSDT"):
    return run_backtest(assemble_backtest(file or as_of(), symbol, home))


def test_each_bar_has_the_bits_of_the_champion_at_its_close(three):
    home, spans = three
    values, status = expected_of(spans)
    found = run(home)
    batch = found.predictions["prediction"]
    assert batch.status.tolist() == status.tolist()
    assert batch.values.tobytes() == values.tobytes()
    assert found.out_of_sample_row == 0  # nobody was champion of bars that it was trained on
    assert found.fills
    absent = {int(market().open_ms[row]) for row in np.flatnonzero(status != Status.OK)}
    bought = [fill.bar_open_ms - HOUR for fill in found.fills if fill.reason == "entry"]
    assert bought
    assert not absent & set(bought)


def test_the_command_writes_down_who_answered_from_when_on(three, capsys, tmp_path):
    home, spans = three
    path = tmp_path / "run.yaml"
    path.write_text(config_text(version="as-of"))
    assert main(["backtest", str(path), "--home", str(home.root), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    model = document["models"]["prediction"]
    times = [format_ms(int(market().open_ms[row])) for row, _ in spans]
    assert [span["from"] for span in model["versions"]] == times
    assert [span["digest"] for span in model["versions"]] == [None if m is None else m.digest for _, m in spans]
    assert [span["bars"] for span in model["versions"]] == [2000, 501, 200, 299, 300, 700]
    assert (model["reference"], model["version"]) == ("BTCUSDT/basic@as-of", spans[-1][1].version_id)
    assert document["in_sample_bars"] == 0
    assert document["predictions"]["prediction"]["no_model"] == 2200
    report = next(home.runs.glob("*/report.html")).read_text()
    assert "the version that was champion when it closed: 3 versions, and none for 2,200 bars" in report


def test_each_version_is_scored_against_the_baselines_of_its_own_training(three):
    home, spans = three
    forecasts = run(home).forecasts
    rates = [m.metrics["baselines"]["base_rate"] for _, m in spans if m is not None]
    changes = np.flatnonzero(np.diff(forecasts.base_rate)) + 1
    assert forecasts.base_rate[[0, *changes]].tolist() == rates
    assert len(set(rates)) > 2


def test_why_explains_a_run_though_another_champion_came_since(three, capsys, tmp_path):
    shutil.copytree(three[0].root, tmp_path / "home", symlinks=True)
    home = Home(tmp_path / "home")
    path = tmp_path / "run.yaml"
    path.write_text(config_text(version="as-of"))
    words = ["--home", str(home.root), "--json"]
    assert main(["backtest", str(path), *words]) == 0
    document = json.loads(capsys.readouterr().out)
    time = document["models"]["prediction"]["versions"][3]["from"]
    promote(home.models, register_trained(home.models, 1500, trees=20), close_of(BARS - 1, late_ms=HOUR))
    assert main(["why", document["folder"], time, *words]) == 0
    said = json.loads(capsys.readouterr().out)
    assert three[1][3][1].version_id in json.dumps(said)
    registry_of(home.models).promote(KEY, three[1][1][1].version_id, at=close_of(2800), reason="by hand, of the past")
    assert main(["why", document["folder"], time, *words]) == 1
    assert "the champions of the past of the role prediction" in capsys.readouterr().err


def test_bars_that_the_champion_of_the_time_had_seen_stand_apart(home):
    early = register_trained(home.models, 1500)
    late = register_trained(home.models, 3000)
    promote(home.models, early, close_of(1600))
    promote(home.models, late, close_of(2900))  # by a clock that was wrong
    found = run(home)
    assert found.out_of_sample_row == 2999  # what came after the close of its last candle it cannot have seen
    document = result_document(found)
    assert document["in_sample_bars"] == 2999
    assert document["out_of_sample"]["bars"] == 1001


def test_a_champion_from_the_very_close_at_which_its_training_ended_saw_nothing(home):
    for bars in (1500, 1800, 2000):
        promote(home.models, register_trained(home.models, bars), close_of(bars - 1))
    found = run(home)
    assert found.out_of_sample_row == 0
    assert found.predictions["prediction"].status.tolist().count(Status.NO_MODEL) == 1499


def test_of_a_clock_that_was_set_back_the_last_row_of_the_ledger_holds(home):
    a, b, c = (register_trained(home.models, bars) for bars in (1500, 1800, 2000))
    promote(home.models, a, close_of(3000))
    promote(home.models, b, close_of(2500))
    promote(home.models, c, close_of(3500))
    versions = result_document(run(home))["model"]["versions"]
    assert [(span["bars"], span["version"]) for span in versions] == [
        (2500, None),
        (1000, b.version_id),
        (500, c.version_id),
    ]


def test_two_symbols_have_their_own_champions(home):
    CandleStore(home.candles).write(market("ETHUSDT"), "ETHUSDT", "local")
    btc, eth = (register_trained(home.models, 1500, symbol=symbol) for symbol in ("BTCUSDT", "ETHUSDT"))
    promote(home.models, btc, close_of(2000))
    promote(home.models, eth, close_of(3000))
    file = as_of(**{"[BTCUSDT]": "[BTCUSDT, ETHUSDT]"})
    for symbol, model, absent in (("BTCUSDT", btc, 2000), ("ETHUSDT", eth, 3000)):
        document = result_document(run(home, file, symbol))
        assert document["model"]["digest"] == model.digest
        assert document["predictions"]["prediction"]["no_model"] == absent


def refused(home, kind, file=None):
    with pytest.raises(kind) as told:
        assemble_backtest(file or as_of(), "BTCUSDT", home)
    return str(told.value)


def test_no_model_no_champion_no_ledger_are_one_message_each(home):
    assert "no model BTCUSDT/1h/basic" in refused(home, ConfigError)
    model = register_trained(home.models, 1500)
    text = refused(home, NoChampion)
    assert text.startswith("run.yaml:7:")
    assert "none of its 1 version(s) is promoted" in text
    promote(home.models, model, close_of(2000))
    (model.path.parent / "ledger.jsonl").unlink()
    assert "ledger.jsonl is missing or empty" in refused(home, InvalidBundle)


def test_a_champion_of_the_past_that_was_deleted_is_named_with_its_span(home):
    a, b = (register_trained(home.models, bars) for bars in (1500, 1800))
    promote(home.models, a, close_of(2000))
    promote(home.models, b, close_of(3000))
    shutil.rmtree(a.path)
    text = refused(home, InvalidBundle)
    began, ended = (format_ms(int(market().open_ms[row]) + HOUR) for row in (2000, 3000))
    assert text.startswith("run.yaml:7:")
    assert f"{a} was champion from {began} to {ended} and cannot be opened" in text
    after = format_ms(int(market().open_ms[3000]))
    found = run(home, as_of(when=f", start: {after}"))  # a time in which it was not champion
    assert [span["version"] for span in result_document(found)["model"]["versions"]] == [b.version_id]
    assert (found.predictions["prediction"].status == Status.OK).all()
    before = format_ms(int(market().open_ms[1900]))
    assert result_document(run(home, as_of(when=f", end: {before}")))["model"]["version"] is None


def test_champions_that_cannot_follow_each_other_point_at_the_role(home):
    a = register_trained(home.models, 1500)
    promote(home.models, a, close_of(2000))
    b = register_trained(home.models, 1800, horizon=3)
    promote(home.models, b, close_of(3000))
    text = refused(home, ConfigError)
    assert text.startswith("run.yaml:7:")
    assert "cannot follow each other" in text
    assert "predicts 3 bars ahead, not 1" in text


def statuses(home, file, cache, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(file)
    words = ["backtest", str(path), "--home", str(home.root), "--json", "--no-report"]
    assert main(words if cache else [*words, "--no-cache"]) == 0
    return json.loads(capsys.readouterr().out)["predictions"]["prediction"]


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("version", ["newest", "as-of"])
def test_expiry_of_the_config_and_of_the_bundle_with_and_without_a_cache(home, tmp_path, capsys, cache, version):
    day = 24 * HOUR
    model = register_trained(home.models, 2000, expires_after_ms=20 * day)
    promote(home.models, model, close_of(2000))
    role = f'"{{symbol}}/basic@{version}"'
    text = config_text(version=version)
    assert role in text
    own = statuses(home, text, cache, tmp_path, capsys)
    assert own["expired"] == 2000 - 480
    older = text.replace(role, f"{{model: {role}, max_age: 30d}}")
    assert statuses(home, older, cache, tmp_path, capsys)["expired"] == 2000 - 720
    younger = text.replace(role, f"{{model: {role}, max_age: 10d}}")
    assert statuses(home, younger, cache, tmp_path, capsys)["expired"] == 2000 - 240


@pytest.mark.parametrize(
    ("role", "message"),
    [
        ('{model: "BTCUSDT/basic@newest", follow: true}', "only @latest and @as-of can follow the champion"),
        ('{model: "BTCUSDT/basic@latest", follow: 1}', "follow"),
    ],
)
def test_only_the_champion_can_be_followed(role, message):
    with pytest.raises(ConfigError, match=message) as told:
        parse_config(config_text(**{'"{symbol}/basic@newest"': role}), "run.yaml")
    assert str(told.value).startswith("run.yaml:7:")


def test_as_of_follows_and_latest_does_not_unless_told():
    def follows(text):
        return (
            parse_config(config_text(**{'"{symbol}/basic@newest"': text}), "run.yaml")
            .config.models["prediction"]
            .follows
        )

    assert follows('"BTCUSDT/basic@as-of"')
    assert not follows('"BTCUSDT/basic@latest"')
    assert not follows('"BTCUSDT/basic"')
    assert follows('{model: "BTCUSDT/basic", follow: true}')
    assert not follows('{model: "BTCUSDT/basic@as-of", follow: false}')
