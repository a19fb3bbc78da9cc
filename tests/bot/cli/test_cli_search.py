"""``bot train search``: what it prints, keeps and refuses."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

from bot.cli.main import main
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from bot.searches import TrialStore
from registry.names import ModelKey

QUICK = ["--params", "num_boost_round=8", "--features", "rsi_14,taker_imbalance_20"]


@pytest.fixture
def home(tmp_path):
    store_synthetic(CandleStore(tmp_path / "candles"), "SYNTH", bars=3_000, edge=0.15, seed=4)
    return tmp_path


def search(home, *words, as_json=True):
    return main(["train", "search", "SYNTH", *QUICK, *words, "--home", str(home), *(["--json"] if as_json else [])])


def document(capsys):
    return json.loads(capsys.readouterr().out)


def test_trials_are_counted_for_good_and_the_best_can_be_trained(home, capsys):
    assert search(home, "--trials", "3") == 0
    first = document(capsys)
    assert len(first["trials"]) == 3
    assert first["cost"]["trials"] == 3
    assert (first["earlier_trials"], first["earlier_exams"]) == (0, 0)
    assert first["best"]["gain"] == max(trial["gain"] for trial in first["trials"])
    assert not (home / "models").exists()  # nothing is registered

    assert search(home, "--trials", "2") == 0
    second = document(capsys)
    assert (second["earlier_trials"], second["earlier_exams"]) == (3, 1)
    assert second["cost"]["trials"] == second["cost"]["on_these_bars"] == 5
    assert any("it is no longer unseen" in words for words in second["words"])

    assert search(home, "--trials", "1", "--horizon", "2") == 0  # another question: the looks count, the scores do not
    third = document(capsys)
    assert (third["cost"]["trials"], third["cost"]["on_these_bars"]) == (6, 1)

    command = [*shlex.split(second["command"])[1:], "--skip-plots", "--skip-robustness", "--home", str(home), "--json"]
    assert main(command) == 0
    trained = document(capsys)
    meta = json.loads((home / "models" / "SYNTH" / "basic" / trained["version"] / "metadata.json").read_bytes())
    assert second["best"]["params"].items() <= meta["hyperparams"].items()
    assert meta["hyperparams"]["num_boost_round"] == 8

    # the figures of a model whose parameters were searched count the bars that chose them: bundle and notes say so
    assert meta["training"]["searched_trials"] == 6
    card = (home / "models" / "SYNTH" / "basic" / trained["version"] / "README.md").read_text()
    assert "after a search of 6 trials" in card
    assert any("6 trials were made" in note for note in trained["notes"])


def test_a_training_with_the_defaults_owes_nothing_to_a_search(home, capsys):
    assert search(home, "--trials", "1") == 0
    document(capsys)
    words = ["train", "model", "SYNTH", "--features", "rsi_14", "--skip-plots", "--skip-robustness"]
    assert main([*words, "--home", str(home), "--json"]) == 0
    trained = document(capsys)
    folder = home / "models" / "SYNTH" / "basic" / trained["version"]
    assert trained["notes"] == []
    assert "searched_trials" not in json.loads((folder / "metadata.json").read_bytes())["training"]
    assert "search of" not in (folder / "README.md").read_text()


def test_words_for_a_person(home, capsys):
    assert search(home, "--trials", "3", as_json=False) == 0
    text = capsys.readouterr().out
    for words in (
        "The best of 3 trials looked like",
        "after paying for 3 looks",
        "which no trial saw",
        "The defaults",
        "Sharpe ratio",
        "overfitted",
        "Train the best: bot train model SYNTH --type basic --timeframe 1h",
    ):
        assert words in text
    assert "nan" not in text


def test_ctrl_c_keeps_the_finished_trials_and_prints_the_best(home, capsys, monkeypatch):
    keep, kept = TrialStore.keep, []

    def interrupted(self, trial):
        keep(self, trial)
        kept.append(trial)
        if len(kept) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(TrialStore, "keep", interrupted)
    assert search(home, "--trials", "30") == 1
    found = document(capsys)
    assert found["interrupted"] is True
    assert len(found["trials"]) == 2
    assert found["exam"] is None
    assert found["command"].startswith("bot train model SYNTH")
    monkeypatch.undo()
    assert search(home, "--trials", "1") == 0
    assert document(capsys)["earlier_trials"] == 2


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--trials", "0"], 2, "--trials is 0"),
        (["--trials", "-3"], 2, "--trials is -3"),
        (["--type", "basix"], 2, "did you mean 'basic'"),
        (["--type", "autoregressive"], 2, "models of the kind path cannot be searched"),
        (["--model", "lstn"], 2, "did you mean 'lstm'"),
        (["--params", "foo=3"], 2, "'foo' is not a parameter"),
        (["--params", "num_leaves"], 2, "expected key=value"),
        (["--start-date", "2018-04-20"], 2, "Insufficient data for training"),
        (["--start-date", "2018-04-05", "--trials", "1"], 2, "a search needs 500"),
        (["--timeout", "-1"], 2, "timeout"),
        (["--timeframe", "1x"], 2, "is not a timeframe"),
        (["--exchange", "nowhere"], 2, "nowhere"),
    ],
)
def test_wrong_requests_say_what_is_right_and_leave_nothing(home, capsys, words, code, message):
    assert search(home, *words) == code
    captured = capsys.readouterr()
    assert message in captured.err
    assert "Traceback" not in captured.err
    assert json.loads(captured.out)["exit_code"] == code
    assert not (home / "searches").exists()


def test_without_optuna_the_message_names_the_command(home, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert search(home) == 2
    assert "pip install 'mlbot[train]'" in document(capsys)["error"]


def test_a_file_of_trials_that_is_no_such_file_is_named(home, capsys):
    (home / "searches").mkdir()
    (home / "searches" / "SYNTH_1h_basic_gbm.jsonl").write_text("{}\n")
    assert search(home, "--trials", "1") == 1
    assert "SYNTH_1h_basic_gbm.jsonl:1: not a line of this program" in document(capsys)["error"]


def test_what_a_crash_cut_off_is_passed_over_and_dropped(tmp_path):
    store = TrialStore(tmp_path, ModelKey("SYNTH", "basic", "1h"), "gbm", "d")
    assert store.read().counted == 0
    store.keep({"gain": 1})
    whole = store.path.read_bytes()
    with store.path.open("ab") as file:
        file.write(whole[: len(whole) // 2])
    assert store.read().same == ({"gain": 1},)
    store.keep({"gain": 2})
    store.keep_exam()
    assert store.read().same == ({"gain": 1}, {"gain": 2})
    assert store.read().exams == 1
    other = TrialStore(tmp_path, ModelKey("SYNTH", "basic", "1h"), "gbm", "e").read()
    assert (other.counted, other.same, other.exams) == (2, (), 0)
