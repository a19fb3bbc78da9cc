"""``bot models`` through the entry point, as a person or a scheduler calls it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from bot.cli.main import main
from bot.cli.model_figures import age_text, flatten, percent, short
from bot.model_rows import gate_verdict, headline
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KEY = ModelKey("BTCUSDT", "basic", "1h")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)


def files(accuracy=0.55, *, promoted=True, **change):
    metrics = {
        "out_of_sample": {
            "n": 2000,
            "direction_accuracy": accuracy,
            "direction_accuracy_low": accuracy - 0.02,
            "direction_accuracy_high": accuracy + 0.02,
            "majority_baseline": 0.51,
            "last_sign_baseline": 0.49,
            "log_loss_skill": 0.004,
            "gain": {"coin": {"mean": 0.01}},
            "reliability": [1, 2],
            "first_ms": 1,
            "last_ms": 2,
        },
        "gate": {"promoted": promoted, "reason": "allowed: good" if promoted else "refused: chance explains it"},
    }
    metadata = {
        "schema_version": 1,
        "horizon": 1,
        "feature_count": 3,
        "trained_until": "2026-11-01T00:00:00Z",
        "data": {"start": "2025", "end": "2026", "bars": 9000, "digest": "d"},
    }
    made = {
        "metadata.json": json.dumps(metadata).encode(),
        "metrics.json": json.dumps(metrics).encode(),
        "model.txt": b"tree",
    }
    return made | change


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def registry(home):
    return PredictionModelRegistry(home / "models")


@pytest.fixture
def bot(home, capsys):
    """Run a command; returns exit code, standard output and standard error."""

    def run(*words):
        code = main(["models", *words, "--home", str(home)])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run


@pytest.fixture
def bot_json(bot):
    """Run a command with --json; returns exit code and the document."""

    def run(*words):
        code, out, _ = bot(*words, "--json")
        return code, json.loads(out)

    return run


@pytest.fixture
def two(registry):
    """A champion, and a candidate that the gate refused."""
    a = registry.register(KEY, files(), at=AT).version_id
    b = registry.register(KEY, files(0.5, promoted=False), at=AT + timedelta(days=1)).version_id
    registry.promote(KEY, a, at=AT, reason="gate")
    return a, b


# ---------------------------------------------------------------- list


def test_without_a_registry_the_list_is_empty_and_says_how_to_train(bot, bot_json, home):
    code, out, _ = bot("list")
    assert code == 0
    assert "Train one: bot train model BTCUSDT --type basic --timeframe 1h" in out
    assert bot_json("list") == (0, {"root": str(home / "models"), "models": []})
    assert bot_json("validate")[1]["sound"] is True
    assert not home.exists()


def test_the_list_marks_the_champion_and_shows_baselines(bot, two):
    code, out, _ = bot("list")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "BTCUSDT/1h/basic"
    champion = next(line for line in lines if two[0] in line)
    for part in ("*", "champion", "55.0 %", "53.0-57.0 %", "51.0 %", "0.40 %", "2000"):
        assert part in champion
    assert "*" not in next(line for line in lines if two[1] in line)


def test_the_list_as_json_has_the_same_figures(bot_json, two, registry):
    _, document = bot_json("list")
    first, second = document["models"]
    assert (first["symbol"], first["timeframe"], first["model_type"]) == ("BTCUSDT", "1h", "basic")
    assert (first["version"], first["status"], first["champion"], first["promoted"]) == (two[0], "champion", True, True)
    assert (first["direction_accuracy"], first["majority_baseline"], first["n"]) == (0.55, 0.51, 2000)
    assert first["calibration_error"] is None
    assert abs(first["age_seconds"] - (datetime.now(UTC) - AT).total_seconds()) < 60
    assert (second["status"], second["champion"], second["promoted"]) == ("candidate", False, False)


def test_the_list_filters(bot_json, two, registry):
    registry.register(ModelKey("ETHUSDT", "basic", "4h"), files(), at=AT)
    assert len(bot_json("list")[1]["models"]) == 3
    assert len(bot_json("list", "--symbol", "eth/usdt")[1]["models"]) == 1
    assert len(bot_json("list", "--timeframe", "1h", "--type", "price")[1]["models"]) == 2


def test_a_broken_bundle_is_listed_as_broken(bot, bot_json, two, registry):
    (registry.root / "BTCUSDT/basic" / two[1] / "model.txt").unlink()
    code, out, _ = bot("list")
    assert code == 0
    assert "broken" in next(line for line in out.splitlines() if two[1] in line)
    assert f"broken: BTCUSDT/basic@{two[1]}: " in out
    assert "'model.txt' is missing" in bot_json("list")[1]["models"][1]["problem"]


def test_metrics_of_another_form_are_absent_figures(registry, bot, bot_json):
    for number, metrics in enumerate(
        [b"{}", b'{"out_of_sample": []}', b'{"out_of_sample": {"n": "many", "direction_accuracy": NaN}}']
    ):
        registry.register(KEY, files(**{"metrics.json": metrics}), at=AT + timedelta(hours=number))
    registry.register(KEY, {"metadata.json": b'{"schema_version": 1}'}, at=AT)
    code, document = bot_json("list")
    assert code == 0
    assert {model["n"] for model in document["models"]} == {None}
    for command in (("list",), ("show", "BTCUSDT", "basic"), ("compare", "BTCUSDT", "1h", "basic")):
        assert bot(*command)[0] == 0


# ---------------------------------------------------------------- show


def test_show_tells_what_is_stored(bot, bot_json, two, registry):
    code, out, _ = bot("show", "btc/usdt", "price", "--timeframe", "1h")
    assert code == 0
    for part in (
        two[0],
        "champion",
        "right on 55.0 % of 2000 bars (53.0 % to 57.0 %)",
        "majority 51.0 %",
        "allowed: good",
        "model.txt",
    ):
        assert part in out
    code, document = bot_json("show", "BTCUSDT", "basic", "--version", "newest")
    assert (code, document["version"], document["promoted"]) == (0, two[1], False)
    assert document["gate"] == {"promoted": False, "reason": "refused: chance explains it"}
    assert document["metadata"]["horizon"] == 1
    assert document["metrics"]["out_of_sample"]["n"] == 2000
    assert set(document["files"]) == set(files())
    assert [row["action"] for row in document["history"]] == ["register"]
    assert bot_json("show", "BTCUSDT", "basic", "--version", "2026-11-21")[1]["version"] == two[1]
    assert bot_json("show", "BTCUSDT", "basic", "--version", "latest")[1]["version"] == two[0]


def test_show_without_a_champion_shows_the_newest(bot_json, registry):
    version = registry.register(KEY, files(), at=AT).version_id
    assert bot_json("show", "BTCUSDT", "basic")[1]["version"] == version
    code, document = bot_json("show", "BTCUSDT", "basic", "--version", "latest")
    assert code == 2
    assert "BTCUSDT/basic@newest" in document["error"]


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("show", "BTCUSD", "basic"), 2, "did you mean 'BTCUSDT'"),
        (("show", "BTCUSDT", "basik"), 2, "did you mean 'basic'"),
        (("show", "BTCUSDT", "basic", "--timeframe", "4h"), 2, "BTCUSDT/basic has timeframe 1h"),
        (("show", "BTCUSDT", "basic", "--version", "2020"), 2, "no version '2020'"),
        (("show", "BTC USDT", "basic"), 2, "not a symbol"),
        (("list", "--timeframe", "hour"), 2, "'hour' is not a timeframe"),
        (("compare", "BTCUSDT", "hour", "basic"), 2, "not a timeframe"),
        (("compare", "ETHUSDT", "1h", "basic"), 2, "known symbols: BTCUSDT"),
        (("compare", "BTCUSDT", "1h", "basic", "2020"), 2, "no version"),
        (("promote", "BTCUSDT", "basic", "2020"), 2, "no version"),
        (("promote", "XRP", "basic", "2020"), 2, "no model XRP/basic"),
        (("archive", "BTCUSDT", "basic", "2020"), 2, "no version"),
        (("rollback", "BTCUSDT", "basic"), 2, "nothing to roll back to"),
        (("rollback", "XRP", "basic"), 2, "no model XRP/basic"),
        (("history", "XRP", "basic"), 2, "no model XRP/basic"),
    ],
)
def test_bad_input_gives_one_clear_message(bot, bot_json, two, words, code, message):
    got, out, err = bot(*words)
    assert (got, out) == (code, "")
    assert err.startswith("error: ")
    assert message in err
    assert "Traceback" not in err
    got, document = bot_json(*words)
    assert got == document["exit_code"] == code
    assert message in document["error"]


def test_a_model_with_several_timeframes_asks_which(bot, bot_json, two, registry):
    other = ModelKey("BTCUSDT", "basic", "4h")
    version = registry.register(other, files(), at=AT + timedelta(days=9)).version_id
    assert "BTCUSDT/basic has timeframes 1h, 4h: choose one with --timeframe" in bot("show", "BTCUSDT", "basic")[2]
    assert bot("rollback", "BTCUSDT", "basic")[0] == 2
    assert bot_json("show", "BTCUSDT", "basic", "--timeframe", "4h")[1]["version"] == version
    assert bot_json("show", "BTCUSDT", "basic", "--version", version)[1]["timeframe"] == "4h"
    assert bot_json("promote", "BTCUSDT", "basic", "2026-11-29")[1]["timeframe"] == "4h"
    assert len(bot_json("history", "BTCUSDT", "basic")[1]["history"]) == 5
    assert len(bot_json("history", "BTCUSDT", "basic", "--timeframe", "4h")[1]["history"]) == 2


# ---------------------------------------------------------------- compare


def test_compare_prints_metrics_side_by_side(bot, bot_json, two):
    code, out, _ = bot("compare", "BTC_USDT", "1h", "price")
    assert code == 0
    row = next(line for line in out.splitlines() if line.strip().startswith("direction_accuracy "))
    assert row.split() == ["direction_accuracy", "0.55", "0.5"]
    assert f"{two[0]} *" in out
    assert "gain.coin.mean" in out
    assert "different bars" not in out
    code, document = bot_json("compare", "BTCUSDT", "1h", "basic")
    assert [each["version"] for each in document["versions"]] == list(two)
    assert document["versions"][0]["metrics"]["out_of_sample"]["direction_accuracy"] == 0.55
    assert document["same_bars"] is True


def test_compare_takes_named_versions_and_always_shows_the_champion(bot_json, two, registry):
    names = [registry.register(KEY, files(), at=AT + timedelta(days=9 + i)).version_id for i in range(3)]
    assert [
        each["version"] for each in bot_json("compare", "BTCUSDT", "1h", "basic", "--last", "2")[1]["versions"]
    ] == [two[0], *names[1:]]
    chosen = bot_json("compare", "BTCUSDT", "1h", "basic", names[0], "2026-11-21")[1]["versions"]
    assert [each["version"] for each in chosen] == [names[0], two[1]]


def test_compare_says_when_the_bars_differ(bot, bot_json, two, registry):
    metrics = json.loads(files()["metrics.json"])
    metrics["out_of_sample"]["last_ms"] = 3
    registry.register(KEY, files(**{"metrics.json": json.dumps(metrics).encode()}), at=AT)
    assert "tested on different bars" in bot("compare", "BTCUSDT", "1h", "basic")[1]
    assert bot_json("compare", "BTCUSDT", "1h", "basic")[1]["same_bars"] is False


def test_compare_shows_what_is_broken(bot, bot_json, two, registry):
    (registry.root / "BTCUSDT/basic" / two[1] / "metrics.json").write_bytes(b"{}")
    code, out, _ = bot("compare", "BTCUSDT", "1h", "basic")
    assert code == 0
    assert f"broken: BTCUSDT/basic@{two[1]}" in out
    assert bot_json("compare", "BTCUSDT", "1h", "basic")[1]["versions"][1]["metrics"] is None


# ---------------------------------------------------------------- promote, rollback, archive


def test_a_version_that_the_gate_refused_needs_force(bot, bot_json, two, registry):
    code, out, err = bot("promote", "BTCUSDT", "basic", two[1])
    assert (code, out) == (2, "")
    assert "did not pass the gate: refused: chance explains it" in err
    assert f"bot models promote BTCUSDT basic {two[1]} --force" in err
    assert registry.champion_version(KEY) == two[0]
    code, out, _ = bot("promote", "btc/usdt", "price", "2026-11-21", "--force", "--reason", "I know better")
    assert code == 0
    assert f"BTCUSDT/basic@{two[1]} is now the champion of 1h, after {two[0]}." in out
    assert "WARNING: promoted against the gate, which said: refused: chance explains it" in out
    row = registry.history(KEY)[-1]
    assert (row.action, row.version, row.reason) == ("promote", two[1], "I know better")
    assert (row.evidence["by_hand"], row.evidence["forced"]) == (True, True)
    assert row.evidence["direction_accuracy"] == 0.5
    assert str((registry.root / "BTCUSDT/basic/latest-1h").readlink()) == two[1]


def test_a_version_without_a_verdict_needs_force(bot, registry):
    version = registry.register(KEY, files(**{"metrics.json": b"{}"}), at=AT).version_id
    code, _, err = bot("promote", "BTCUSDT", "basic", version)
    assert code == 2
    assert "the bundle holds no verdict of the gate" in err
    assert bot("promote", "BTCUSDT", "basic", version, "--force")[0] == 0


def test_a_version_that_the_gate_allowed_is_promoted(bot, bot_json, registry):
    version = registry.register(KEY, files(), at=AT).version_id
    code, document = bot_json("promote", "BTCUSDT", "basic", "2026-11-20")
    assert (code, document["version"], document["status"]) == (0, version, "champion")
    assert (document["previous"], document["changed"], document["forced"]) == (None, True, False)
    assert bot_json("promote", "BTCUSDT", "basic", "newest")[1]["changed"] is False
    code, out, _ = bot("promote", "BTCUSDT", "basic", version)
    assert code == 0
    assert "already; nothing was changed" in out
    assert "WARNING" not in out


def test_rollback_and_history(bot, bot_json, two, registry):
    bot("promote", "BTCUSDT", "basic", two[1], "--force")
    code, out, _ = bot("rollback", "BTCUSDT", "basic", "--reason", "it loses")
    assert code == 0
    assert f"BTCUSDT/basic@{two[0]} is the champion of 1h again, after {two[1]}." in out
    assert bot_json("rollback", "BTCUSDT", "basic")[1]["version"] == two[1]
    code, out, _ = bot("history", "BTCUSDT", "basic")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()[2:]] == [
        "register",
        "register",
        "promote",
        "promote",
        "rollback",
        "rollback",
    ]
    assert "it loses" in out
    assert bot_json("history", "BTC/USDT", "price")[1]["history"][4]["reason"] == "it loses"


def test_archive(bot, bot_json, two, registry):
    code, document = bot_json("archive", "BTCUSDT", "basic", "2026-11-21")
    assert (code, document["status"], document["version"]) == (0, "archived", two[1])
    code, _, err = bot("archive", "BTCUSDT", "basic", two[0])
    assert code == 2
    assert "is the champion of 1h" in err
    assert bot("archive", "BTCUSDT", "basic", two[1])[1] == f"BTCUSDT/basic@{two[1]} is archived.\n"


def test_a_damaged_bundle_is_not_promoted(bot, two, registry):
    (registry.root / "BTCUSDT/basic" / two[1] / "model.txt").write_bytes(b"eert")
    code, _, err = bot("promote", "BTCUSDT", "basic", two[1], "--force")
    assert code == 3
    assert "'model.txt' was changed" in err


def test_a_latest_that_points_nowhere(bot, two, registry):
    link = registry.root / "BTCUSDT/basic/latest-1h"
    link.unlink()
    link.symlink_to("nowhere")
    code, _, err = bot("show", "BTCUSDT", "basic")
    assert code == 3
    assert "latest-1h points to 'nowhere', which does not exist" in err
    code, out, _ = bot("validate", "--no-run")
    assert code == 3
    assert "points to 'nowhere'" in out


# ---------------------------------------------------------------- rollback to, quarantine, withdraw, restore


@pytest.fixture
def three(registry):
    """Champions one after the other, an hour apart."""
    names = [registry.register(KEY, files(), at=AT + timedelta(days=i)).version_id for i in range(3)]
    for number, name in enumerate(names):
        registry.promote(KEY, name, at=AT + timedelta(hours=number), reason=f"turn {number}", evidence={"gain": 0.25})
    return names


def test_rollback_to_an_earlier_champion(bot, bot_json, three, registry):
    code, out, _ = bot("rollback", "BTCUSDT", "basic", "--to", "2026-11-20", "--reason", "the old one was better")
    assert (code, out) == (0, f"BTCUSDT/basic@{three[0]} is the champion of 1h again, after {three[2]}.\n")
    assert registry.history(KEY)[-1].reason == "the old one was better"
    code, document = bot_json("rollback", "BTCUSDT", "basic", "--to", three[0])
    assert (code, document["changed"], document["previous"]) == (0, False, three[0])
    assert "already; nothing was changed" in bot("rollback", "BTCUSDT", "basic", "--to", three[0])[1]
    never = registry.register(KEY, files(), at=AT + timedelta(days=9)).version_id
    code, _, err = bot("rollback", "BTCUSDT", "basic", "--to", never)
    assert code == 2
    assert "was never champion" in err


def test_quarantine_and_restore(bot, bot_json, three, registry):
    code, out, _ = bot("quarantine", "BTC/USDT", "price", "2026-11-22", "--reason", "drift")
    assert code == 0
    assert f"BTCUSDT/basic@{three[2]} is quarantined." in out
    assert "BTCUSDT/1h/basic has no champion now; an earlier one: bot models rollback BTCUSDT basic" in out
    assert registry.champion(KEY) is None
    code, document = bot_json("quarantine", "BTCUSDT", "basic", three[0])
    assert (code, document["status"], document["was_champion"]) == (0, "quarantined", False)
    assert bot("rollback", "BTCUSDT", "basic")[1] == f"BTCUSDT/basic@{three[1]} is the champion of 1h again.\n"
    assert bot("rollback", "BTCUSDT", "basic", "--to", three[2])[0] == 2
    code, out, _ = bot("restore", "BTCUSDT", "basic", three[2])
    assert (code, out) == (0, f"BTCUSDT/basic@{three[2]} is superseded.\n")
    code, document = bot_json("restore", "BTCUSDT", "basic", three[1])
    assert (code, document["status"], document["changed"]) == (0, "champion", False)
    assert "quarantined" in next(line for line in bot("list")[1].splitlines() if three[0] in line)


def test_withdraw(bot, bot_json, three, registry):
    code, out, _ = bot("withdraw", "BTCUSDT", "basic", "--reason", "no skill")
    assert (code, out) == (0, f"BTCUSDT/1h/basic has no champion any more; it was {three[2]}.\n")
    assert registry.history(KEY)[-1].action == "withdraw"
    code, document = bot_json("withdraw", "BTCUSDT", "basic")
    assert (code, document["changed"], document["previous"]) == (0, False, None)
    assert bot_json("rollback", "BTCUSDT", "basic")[1]["version"] == three[2]


# ---------------------------------------------------------------- history


def test_history_tells_the_evidence_and_the_reigns(bot, bot_json, three, registry):
    registry.quarantine(KEY, three[2], at=AT + timedelta(hours=5), reason="drift", evidence={"r": {"alarm": 9001.5}})
    code, out, _ = bot("history", "BTCUSDT", "basic")
    assert code == 0
    assert "gain=0.25" in out
    assert "r.alarm=9001.5" in out
    _, document = bot_json("history", "BTCUSDT", "basic", "--timeframe", "1h")
    assert [(each["from"], each["version"]) for each in document["reigns"]["1h"]] == [
        ("2026-11-20T12:00:00+00:00", three[0]),
        ("2026-11-20T13:00:00+00:00", three[1]),
        ("2026-11-20T14:00:00+00:00", three[2]),
        ("2026-11-20T17:00:00+00:00", None),
    ]
    assert document["history"][-1]["evidence"] == {"r": {"alarm": 9001.5}}


@pytest.mark.parametrize(
    ("moment", "champion", "text"),
    [
        ("2026-11-20T11:59:59.999", None, "there was no champion yet"),
        ("2026-11-20T12:00", 0, "(promote: turn 0)"),
        ("2026-11-20T15:30:00+02:00", 1, "since 2026-11-20T13:00:00+00:00 (promote: turn 1)"),
        ("2026-11-21", None, "there was no champion, since 2026-11-20T17:00:00+00:00 (quarantine: drift)"),
    ],
)
def test_history_tells_who_was_champion_then(bot, bot_json, three, registry, moment, champion, text):
    registry.quarantine(KEY, three[2], at=AT + timedelta(hours=5), reason="drift")
    wanted = None if champion is None else three[champion]
    code, document = bot_json("history", "BTCUSDT", "basic", "--at", moment)
    assert code == 0
    assert (document["champion"] or {"version": None})["version"] == wanted
    first = bot("history", "BTCUSDT", "basic", "--at", moment)[1].splitlines()[0]
    assert text in first
    assert wanted is None or f"champion was {wanted}" in first


def test_a_moment_that_is_none_or_of_which_model(bot, three, registry):
    code, _, err = bot("history", "BTCUSDT", "basic", "--at", "yesterday")
    assert code == 2
    assert "'yesterday' is not a date" in err
    registry.register(ModelKey("BTCUSDT", "basic", "4h"), files(), at=AT)
    code, _, err = bot("history", "BTCUSDT", "basic", "--at", "2026-11-20")
    assert code == 2
    assert "choose one with --timeframe" in err
    assert bot("history", "BTCUSDT", "basic", "--at", "2026-11-20", "--timeframe", "4h")[0] == 0


# ---------------------------------------------------------------- repair


@pytest.fixture
def damaged(three, registry):
    path = registry.root / "BTCUSDT/basic/ledger.jsonl"
    path.write_bytes(path.read_bytes().replace(b"turn 1", b"turn X"))
    return path


def test_commands_name_a_damaged_ledger_and_the_way_out(bot, bot_json, three, damaged):
    for words in (
        ("show", "BTCUSDT", "basic"),
        ("promote", "BTCUSDT", "basic", three[0], "--force"),
        ("rollback", "BTCUSDT", "basic"),
        ("quarantine", "BTCUSDT", "basic", three[0]),
        ("withdraw", "BTCUSDT", "basic"),
        ("history", "BTCUSDT", "basic"),
    ):
        code, out, err = bot(*words)
        assert (code, out) == (3, "")
        assert "ledger.jsonl:5: this row was damaged" in err
        assert "bot models repair BTCUSDT basic" in err
    assert "bot models repair BTCUSDT basic" in bot("list")[1]
    code, out, _ = bot("validate", "--no-run")
    assert code == 3
    assert "bot models repair BTCUSDT basic" in out


def test_repair_shows_asks_and_does(bot, bot_json, three, damaged, registry, monkeypatch):
    before = damaged.read_bytes()
    code, out, err = bot("repair", "BTCUSDT", "basic")
    assert code == 2
    assert "kept         4 row(s) before the damage" in out
    assert "lost         2 line(s) from there on, 1 of them unreadable" in out
    assert f"withdrawn    {three[0]}: after the damage the lost rows speak of {three[2]}" in out
    assert "add --yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    code, _, err = bot("repair", "BTCUSDT", "basic")
    assert (code, err) == (2, "error: nothing was changed\n")
    assert damaged.read_bytes() == before
    monkeypatch.setattr("typer.confirm", lambda *_, **__: True)
    code, out, _ = bot("repair", "btc/usdt", "price")
    assert code == 0
    assert "Repaired. The damaged ledger is kept as ledger.damaged-" in out
    assert registry.champion(KEY) is None
    assert bot("validate", "--no-run")[0] == 0
    assert bot("repair", "BTCUSDT", "basic")[1] == "The ledger is sound; nothing was changed.\n"
    code, out, _ = bot("history", "BTCUSDT", "basic")
    assert code == 0
    assert "the ledger was damaged: row 5" in out


def test_repair_as_json(bot_json, three, damaged, registry):
    code, document = bot_json("repair", "BTCUSDT", "basic")
    assert code == 2
    assert "add --yes" in document["error"]
    code, document = bot_json("repair", "BTCUSDT", "basic", "--yes")
    assert (code, document["changed"]) == (0, True)
    assert (document["repair"]["kept"], document["repair"]["lost"]) == (4, 2)
    assert set(document["repair"]["withdrawn"]) == {three[0]}
    assert (damaged.parent / document["repair"]["saved_as"]).exists()
    assert bot_json("repair", "BTCUSDT", "basic") == (0, {"changed": False, "repair": None})
    assert bot_json("repair", "XRP", "basic")[0] == 2


# ---------------------------------------------------------------- validate


def test_validate_finds_every_fault(bot, bot_json, two, registry):
    assert bot_json("validate", "--no-run") == (
        0,
        {"root": str(registry.root), "bundles": 2, "sound": True, "findings": [], "leftovers": []},
    )
    path = registry.root / "BTCUSDT/basic" / two[0] / "model.txt"
    path.write_bytes(b"twee")
    (registry.root / "BTCUSDT/basic/.tmp-0").mkdir()
    code, out, _ = bot("validate", "--no-run")
    assert code == 3
    assert f"wrong: BTCUSDT/basic@{two[0]}: " in out
    assert "1 problem(s)" in out
    assert "was left by an interrupted write; the next write there cleans it up" in out
    code, document = bot_json("validate", "--no-run")
    assert (code, document["sound"], len(document["findings"]), len(document["leftovers"])) == (3, False, 1, 1)
    assert document["findings"][0]["place"] == f"BTCUSDT/basic@{two[0]}"


def test_validate_opens_the_models(bot_json, two):
    """Sound by their digests, but no model can be made of them."""
    code, document = bot_json("validate")
    assert (code, len(document["findings"])) == (3, 2)


def test_a_trained_model_is_sound(home, capsys):
    for words in (
        ["data", "synth", "--bars", "3500", "--edge", "0.1", "--seed", "1"],
        [
            "train",
            "model",
            "SYNTH",
            "--features",
            "rsi_14,taker_imbalance_20,ewma_volatility",
            "--no-promote",
            "--skip-plots",
        ],
    ):
        code = main([*words, "--home", str(home)])
        assert code == 0, capsys.readouterr().err
    assert main(["models", "validate", "--home", str(home)]) == 0
    assert "1 bundle(s)" in capsys.readouterr().out
    assert main(["models", "list", "--json", "--home", str(home)]) == 0
    model = json.loads(capsys.readouterr().out)["models"][0]
    assert model["direction_accuracy_low"] < model["direction_accuracy"] < model["direction_accuracy_high"]
    golden = home / "models/SYNTH/basic" / model["version"] / "golden.json"
    golden.write_bytes(golden.read_bytes()[:-1] + b" ")
    assert main(["models", "validate", "--home", str(home)]) == 3
    assert "'golden.json' was changed" in capsys.readouterr().out


# ---------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (86_400 * 3.5, "3 d")]
)
def test_ages(seconds, text):
    assert age_text(seconds) == text


def test_figures_in_few_characters():
    assert [short(value) for value in (None, True, False, 3, 0.123456789, "x")] == [
        "-",
        "yes",
        "no",
        "3",
        "0.12346",
        "x",
    ]
    assert [percent(value) for value in (None, 0.5, 1.0)] == ["-", "50.0 %", "100.0 %"]
    assert flatten({"a": 1, "b": {"c": 2, "d": {"e": None}}, "f": [1]}) == {"a": 1, "b.c": 2, "b.d.e": None}


def test_a_broken_bundle_has_no_figures(registry, two):
    (registry.root / "BTCUSDT/basic" / two[0] / "metrics.json").unlink()
    model = registry.list_bundles()[0]
    assert set(headline(model).values()) == {None}
    assert gate_verdict(registry.list_bundles()[1]) == (False, "refused: chance explains it")
