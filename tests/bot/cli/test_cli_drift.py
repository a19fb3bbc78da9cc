"""``bot drift`` through the entry point: exit codes, the JSON document, what it does and what it only looks at."""

from __future__ import annotations

import json

import pytest
from small_recipes import KEY, Works, moment

from bot.cli.main import main

NOW_BARS = 6_450


@pytest.fixture
def works(tmp_path):
    """A market with a champion; its edge turns."""
    works = Works(tmp_path, dies=6_300)
    works.recipe("one")
    works.cycle(6_000)
    return works


@pytest.fixture
def bot(works, capsys, monkeypatch):
    monkeypatch.setattr("bot.cli.drift.wall_ms", lambda: moment(NOW_BARS))

    def run(*words):
        code = main(["drift", *words, "--home", str(works.home.root), "--settings", str(works.settings_path)])
        done = capsys.readouterr()
        return code, done.out, done.err

    return run


def champion(works):
    with works.pipeline() as pipeline:
        return pipeline.registry.champion_version(KEY)


def test_calm_is_0_and_drift_is_3_once(works, bot):
    serving = champion(works)
    works.store(6_250)
    code, out, err = bot("check")
    assert (code, err) == (0, "")
    assert out.startswith("BTCUSDT/1h/basic: calm. 65.5 % of 249 evaluations were right")
    assert "the drift statistic stands at" in out
    assert "naive:" in out  # the rule of 24 hours is shown and decides nothing
    works.store(NOW_BARS)
    code, out, _ = bot("check", "--dry-run", "--json")
    document = json.loads(out)
    assert (code, document["drift"], champion(works)) == (3, True, serving)
    (found,) = document["checks"]
    assert found["state"] == "alarm"
    assert found["alarms"][0].startswith("performance: its hit rate fell from 70.")
    assert found["performance"]["evaluations"] > 400
    assert document["failures"] == []
    code, out, _ = bot("check", "--symbol", "btc/usdt", "--type", "basic")
    assert (code, champion(works)) == (3, None)
    assert f"Done: quarantine of {serving}" in out
    code, out, _ = bot("check")
    assert (code, out) == (0, "BTCUSDT/1h/basic: no champion. Nobody serves, so there is nothing to watch.\n")


def test_what_cannot_be_checked_is_1_and_keeps_no_other_from_its_turn(works, bot):
    works.store(6_250)
    works.recipe("eth", symbol="ETH/USDT")
    works.store(6_250, symbol="ETHUSDT")
    works.cycle(6_251, stored=False)
    works.home.candles.joinpath("synth/ETHUSDT_1h.parquet").write_bytes(b"damaged")
    code, out, err = bot("check")
    assert code == 1
    assert "BTCUSDT/1h/basic: calm" in out
    assert err.startswith("error: ETHUSDT/1h/basic: ")
    code, out, _ = bot("check", "--json")
    document = json.loads(out)
    assert (code, [each["key"] for each in document["failures"]]) == (1, ["ETHUSDT/1h/basic"])


def test_wrong_usage_is_2_with_the_nearest_name(bot):
    code, _, err = bot("check", "--symbol", "BTCUSD")
    assert code == 2
    assert "no recipe and no champion of the symbol BTCUSD" in err
    assert "BTCUSDT" in err
    assert bot("check", "--type", "Basic!")[0] == 2
    assert bot("check", "--every", "1h")[0] == 2


def test_nothing_to_watch_is_0_and_said(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["drift", "check", "--home", str(tmp_path / "empty")]) == 0
    assert capsys.readouterr().out == "Nothing to watch: there is no recipe and no champion.\n"


def test_a_check_beside_a_cycle_is_refused(works, bot):
    with works.pipeline():
        code, _, err = bot("check")
    assert code == 1
    assert "another cycle or drift check runs in" in err


def test_a_clock_before_the_last_cycle_is_1(works, bot):
    works.store(NOW_BARS)
    works.cycle(NOW_BARS + 30, stored=False)
    code, _, err = bot("check")
    assert code == 1
    assert "the clock stands at" in err


def test_the_report_is_a_page_and_changes_nothing(works, bot, tmp_path):
    works.store(NOW_BARS)
    serving = champion(works)
    code, out, _ = bot("report", "--out", str(tmp_path / "pages"))
    assert (code, champion(works)) == (0, serving)
    page = tmp_path / "pages/BTCUSDT_1h_basic.html"
    assert out == f"BTCUSDT/1h/basic: alarm, {page}\n"
    text = page.read_text()
    assert serving in text
    assert "its hit rate fell from" in text
