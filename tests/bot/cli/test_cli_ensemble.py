"""``bot ensemble``: what it prints, writes and refuses."""

from __future__ import annotations

import json
import shutil

import pytest
from small_ensembles import register_members, registry_of
from small_models import AT, KEY, market

from bot.cli.main import main
from bot.market.store import CandleStore
from registry.names import ModelKey

ENSEMBLE = ModelKey("BTCUSDT", "ensemble", "1h")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    home = tmp_path_factory.mktemp("ensembles")
    first, second = register_members(home / "models")
    registry_of(home / "models").promote(KEY, first.version_id, at=AT, reason="for the test")
    CandleStore(home / "candles").write(market(), "BTCUSDT", "local")
    return home, first.version_id, second.version_id


@pytest.fixture
def home(made, tmp_path):
    shutil.copytree(made[0], tmp_path / "home", symlinks=True)
    return tmp_path / "home"


def run(home, *words, as_json=True):
    return main(["ensemble", *words, "--home", str(home), *(["--json"] if as_json else [])])


def document(capsys):
    return json.loads(capsys.readouterr().out)


def test_create_test_activate_and_predict(home, made, capsys):
    words = ("create", "BTC/USDT", "--members", f"basic@latest,basic@{made[2]}", "--name", "ensemble_001")
    assert run(home, *words) == 0
    created = document(capsys)
    assert created["key"] == "BTCUSDT/1h/ensemble"
    assert [pin["version"] for pin in created["members"]] == [made[1], made[2]]
    assert sum(created["weights"]) == pytest.approx(1.0)
    registry = registry_of(home / "models")
    assert registry.champion(ENSEMBLE) is None  # registered only
    assert registry.validate() == []

    assert run(home, "test", "BTCUSDT", "--name", "ensemble_001") == 0
    tested = document(capsys)
    assert tested["comparison"] == created["comparison"]
    assert tested["days_back"] is None
    assert run(home, "test", "BTCUSDT", "--days-back", "7") == 0
    assert document(capsys)["comparison"]["n"] == counted_last_week(home)

    assert run(home, "activate", "BTCUSDT") == 2  # two models of the same feature are no better than one
    refused = document(capsys)
    assert created["better"] is False
    assert "--force" in refused["error"]
    assert registry.champion(ENSEMBLE) is None
    assert run(home, "activate", "BTCUSDT", "--force", "--reason", "to see") == 0
    done = document(capsys)
    assert (done["champion"], done["forced"], done["changed"]) == (True, True, True)
    row = registry.history(ENSEMBLE)[-1]
    assert row.reason == "to see"
    assert row.evidence["best_member"] == created["comparison"]["best_member"]
    assert run(home, "activate", "BTCUSDT") == 0
    assert document(capsys)["changed"] is False

    assert main(["predict", "BTCUSDT", "--type", "ensemble", "--home", str(home), "--json"]) == 0
    said = document(capsys)
    assert said["status"] == "ok"
    assert said["model"]["version"] == created["version"]
    assert 0.5 <= said["confidence"] <= 1


def counted_last_week(home):
    """Return how many bars of the last seven days can be scored: the newest has no outcome yet."""
    from ml.record import RECORD_FILE, OutOfSample

    registry = registry_of(home / "models")
    model = registry.select_bundle(symbol="BTCUSDT", model_type="ensemble", timeframe="1h", version="newest")
    record = OutOfSample.from_parquet(model.read(RECORD_FILE))
    return int(record.counted[record.open_ms >= record.open_ms[-1] - 7 * 86_400_000].sum())


def test_an_ensemble_that_beats_its_best_member_is_activated_without_force(home, made, capsys):
    assert run(home, "create", "BTCUSDT", "--members", f"basic@{made[1]},basic@{made[2]}") == 0
    first = document(capsys)
    registry = registry_of(home / "models")
    model = registry.select_bundle(symbol="BTCUSDT", model_type="ensemble", timeframe="1h", version="newest")
    files = {name: model.read(name) for name in model.manifest.files}
    metrics = json.loads(files["metrics.json"])
    metrics["gate"] |= {"promoted": True, "reason": "promoted: as a test"}
    registry.register(ENSEMBLE, {**files, "metrics.json": json.dumps(metrics).encode()}, at=AT)
    newest = registry.select_bundle(symbol="BTCUSDT", model_type="ensemble", timeframe="1h", version="newest")
    assert newest.version_id != first["version"]
    assert run(home, "activate", "BTCUSDT", "--version", newest.version_id) == 0
    assert document(capsys)["forced"] is False


def test_words_for_a_person(home, made, capsys):
    members = f"basic@{made[1]},basic@{made[2]}"
    assert run(home, "create", "BTCUSDT", "--members", members, "--method", "stacking", as_json=False) == 0
    text = capsys.readouterr().out
    assert "bot ensemble activate BTCUSDT --timeframe 1h" in text
    for words in ("common bars", "best member", "plain mean", "how alike", "weight 0.500", "stacking needs 2,000"):
        assert words in text
    assert run(home, "test", "BTCUSDT", as_json=False) == 0
    text = capsys.readouterr().out
    assert "equal weights" in text
    assert "nan" not in text
    assert run(home, "activate", "BTCUSDT", "--force", as_json=False) == 0
    assert "WARNING: activated against the verdict" in capsys.readouterr().out


@pytest.mark.parametrize("method", ["weighted_avg", "voting"])
def test_methods_and_weights(home, made, capsys, method):
    weights = ["--weights", "3,1"] if method == "weighted_avg" else []
    members = ["--members", f"basic@{made[1]}", "--members", f"basic@{made[2]}"]
    assert run(home, "create", "BTCUSDT", *members, "--method", method, *weights) == 0
    found = document(capsys)
    assert found["method"] == method
    assert found["weights"] == ([0.75, 0.25] if weights else [0.5, 0.5])
    assert run(home, "test", "BTCUSDT") == 0
    assert document(capsys)["comparison"] == found["comparison"]  # given weights are given again


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["create", "BTCUSDT", "--members", "basic@latest"], 2, "at least two members, got 1"),
        (["create", "BTCUSDT", "--members", ","], 2, "--members names no model"),
        (["create", "BTCUSDT", "--members", "basic@latest,basic@latest"], 2, "is named twice"),
        (["create", "BTCUSDT", "--members", "basic@latest,basix@latest"], 2, "did you mean"),
        (["create", "BTCUSDT", "--members", "basic@latest,basic@2019-01-01"], 2, "2019-01-01"),
        (["create", "BTCUSDT", "--members", "basic,basic@newest", "--method", "votng"], 2, "did you mean 'voting'"),
        (["create", "BTCUSDT", "--members", "basic,basic@newest", "--weights", "1,b"], 2, "expected numbers"),
        (["create", "BTCUSDT", "--members", "basic,basic@newest", "--weights", "1"], 2, "1 weights for 2 members"),
        (["create", "BTCUSDT", "--members", "basic,basic@newest", "--timeframe", "4h"], 2, "4h"),
        (
            ["create", "BTCUSDT", "--members", "basic,basic@newest", "--name", "../x"],
            2,
            "--name '../x': expected at most",
        ),
        (["create", "BTCUSDT", "--members", "basic,basic@newest", "--name", ""], 2, "--name '': expected at most"),
        (["test", "BTCUSDT"], 2, "make it with 'bot ensemble create BTCUSDT"),
        (["test", "BTCUSDT", "--name", "mine"], 2, "no ensemble is called 'mine' (known: none)"),
        (["test", "BTCUSDT", "--days-back", "0"], 2, "days-back"),
        (["activate", "BTCUSDT"], 2, "no model BTCUSDT/1h/ensemble"),
    ],
)
def test_wrong_requests_say_what_is_right_and_leave_nothing(home, capsys, words, code, message):
    assert run(home, *words) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert json.loads(captured.out)["exit_code"] == code
    assert not (home / "models" / "BTCUSDT" / "ensemble").exists()


def test_an_ensemble_is_not_trained(home, capsys):
    for words in (["train", "model", "BTCUSDT"], ["train", "search", "BTCUSDT"]):
        assert main([*words, "--type", "ensemble", "--home", str(home), "--json"]) == 2
        assert "bot ensemble create" in document(capsys)["error"]


def test_a_member_that_is_archived_is_told(home, made, capsys):
    assert main(["models", "archive", "BTCUSDT", "basic", made[2], "--home", str(home)]) == 0
    capsys.readouterr()
    assert run(home, "create", "BTCUSDT", "--members", f"basic@latest,basic@{made[2]}") == 0
    assert f"BTCUSDT/basic@{made[2]} is archived: it is used because it was named" in document(capsys)["notes"]


def test_an_ensemble_whose_member_is_gone_cannot_be_activated(home, made, capsys):
    assert run(home, "create", "BTCUSDT", "--members", f"basic@{made[1]},basic@{made[2]}") == 0
    shutil.rmtree(home / "models" / "BTCUSDT" / "basic" / made[2])
    for words in (("activate", "BTCUSDT", "--force"), ("test", "BTCUSDT")):
        capsys.readouterr()
        assert run(home, *words) == 3
        assert "bot ensemble create" in document(capsys)["error"]


@pytest.mark.parametrize(
    ("strategy", "role", "params"),
    [
        ("MLBasic", "prediction", "{enter: 0.55, exit: 0.5, min_edge: none}"),
        ("MLEnhanced", "direction", "{max_risk: null, oversold: 40, overbought: 60, min_edge: none}"),
        ("MLPredictive", "prediction", "{min_predicted_return: 0.0001, confidence_threshold: 0.52}"),
    ],
)
def test_a_backtest_trades_on_an_ensemble(home, made, capsys, tmp_path, strategy, role, params):
    assert run(home, "create", "BTCUSDT", "--members", f"basic@{made[1]},basic@{made[2]}") == 0
    config = tmp_path / "config.yaml"
    config.write_text(
        f"name: together\nstrategy: {strategy}\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
        f"models:\n  {role}: '{{symbol}}/ensemble@newest'\n"
        f"params: {params}\ndata:\n  start: 2018-04-01\n"
        "broker:\n  cash: 10000\n  commission: 0\n",
        encoding="utf-8",
    )
    capsys.readouterr()
    code = main(["backtest", str(config), "--home", str(home), "--json"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "ensemble@" in captured.out
