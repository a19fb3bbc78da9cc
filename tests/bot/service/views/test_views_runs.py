"""Backtest runs as the service shows them: figures beside buy and hold, curves, trades, and folders that are none."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from backtest_runs import small_home, small_run

from bot.backtest.document import result_document
from bot.backtest.outputs import write_run
from bot.errors import DataError, UsageError
from bot.home import Home
from bot.service.views.plain import NotHere
from bot.service.views.runs import run, runs

AT = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """A home with two runs, for those who change nothing."""
    home = small_home(tmp_path_factory.mktemp("home"))
    for day, choices in enumerate(({}, {"when": ", start: 2018-05-10"})):
        made = small_run(home, **choices)
        write_run(made, result_document(made), home.runs, AT + timedelta(days=day), lambda: "<html></html>")
    return home


@pytest.fixture
def own(ran, tmp_path):
    shutil.copytree(ran.runs, tmp_path / "home" / "runs")
    return Home(tmp_path / "home")


def names(home):
    return sorted(path.name for path in home.runs.iterdir())


def table(home, name, file):
    with (home.runs / name / file).open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_runs_are_listed_newest_first_with_their_figures(ran):
    rows = runs(ran)
    assert [row["run_id"] for row in rows] == names(ran)[::-1]
    row = rows[1]
    result = json.loads((ran.runs / row["run_id"] / "result.json").read_text())
    assert (row["identity"], row["config"], row["bars"]) == (result["run_id"], result["config"], result["bars"])
    assert (row["symbol"], row["strategy"], row["created_at"]) == ("BTC_USDT", "MLBasic", "2026-11-20T12:00:05Z")
    assert (row["first"], row["last"], row["problem"]) == (result["first"], result["last"], None)
    assert row["figures"] == {name: result["out_of_sample"][name] for name in row["figures"]}
    assert row["figures"]["total_return"] is not None
    assert row["figures"]["buy_and_hold_return"] is not None
    assert row["figures"]["majority_baseline"] is not None
    assert "buying and holding would have made" in row["words"]
    assert runs(ran, 1) == rows[:1]
    json.dumps(rows, allow_nan=False)
    with pytest.raises(UsageError, match="expected 1 or more"):
        runs(ran, 0)


def test_a_run_has_its_curves_in_a_thousand_rows(ran):
    name = names(ran)[0]
    found, stored = run(ran, name), table(ran, name, "equity.csv")
    assert len(stored) > 3_000
    equity = found["equity"]
    assert 900 < len(equity) <= 1_000
    group = -(-len(stored) // 1_000)
    ends = [*range(group - 1, len(stored), group)]
    ends += [] if ends[-1] == len(stored) - 1 else [len(stored) - 1]
    assert [row["equity"] for row in equity] == [float(stored[at]["equity"]) for at in ends]
    assert [row["buy_and_hold"] for row in equity] == [float(stored[at]["buy_and_hold"]) for at in ends]
    assert min(row["drawdown"] for row in equity) == min(float(row["drawdown"]) for row in stored)
    assert equity[-1]["time"] == found["last"]
    assert (
        found["result"]["out_of_sample"] == json.loads((ran.runs / name / "result.json").read_text())["out_of_sample"]
    )
    assert (found["problems"], "report.html" in found["files"]) == ([], True)
    json.dumps(found, allow_nan=False)


def test_a_run_has_its_newest_trades(ran, own):
    name = names(ran)[0]
    found, stored = run(ran, name), table(ran, name, "trades.csv")
    assert found["trades_in_all"] == len(stored) > 20
    assert [trade["profit"] for trade in found["trades"]] == [float(row["profit"]) for row in stored[::-1]][:500]
    assert found["trades"][0]["entered_at"] == stored[-1]["entry_time"]
    path = own.runs / name / "trades.csv"
    head, *lines = path.read_text().splitlines()
    path.write_text("\n".join([head, *(lines * (700 // len(lines) + 1))]) + "\n")
    many = run(own, name)
    assert (len(many["trades"]), many["trades_in_all"] > 600) == (500, True)


def test_a_run_is_found_by_its_identity(ran):
    name = names(ran)[1]
    identity = runs(ran)[0]["identity"]
    assert run(ran, identity[:8])["run_id"] == run(ran, identity.upper())["run_id"] == name


@pytest.mark.parametrize("text", ["../home", "..", ".", "", "/etc/passwd", "2026", "a" * 5_000, "%2e%2e", "\0"])
def test_only_names_of_the_listing_are_runs(ran, text):
    with pytest.raises(NotHere, match="no run") as found:
        run(ran, text)
    assert len(str(found.value)) < 500


def test_a_near_name_is_told(ran):
    name = names(ran)[0]
    with pytest.raises(NotHere, match=f"did you mean {name!r}"):
        run(ran, name[:-1])


def test_a_link_and_what_is_being_written_are_no_runs(own, tmp_path):
    (tmp_path / "outside").mkdir()
    (own.runs / "2026-11-30T000000Z_link_12345678").symlink_to(tmp_path / "outside")
    (own.runs / ".writing-1").mkdir()
    (own.runs / "note.txt").write_text("mine")
    assert len(runs(own)) == 2
    with pytest.raises(NotHere):
        run(own, "2026-11-30T000000Z_link_12345678")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"{", "is damaged"),
        (b"[" * 100_000, "is damaged"),
        (b"[1]", "is not the result of a backtest"),
        (b'{"run_id": "x", "config": {}}', "it lacks name, symbol"),
        (b"\xff\xfe", "is damaged"),
    ],
)
def test_a_broken_folder_is_a_row_with_the_problem(own, content, told):
    name = names(own)[1]
    path = own.runs / name / "result.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    broken, good = runs(own)
    assert (broken["run_id"], good["problem"]) == (name, None)
    assert broken["problem"].startswith(f"home/runs/{name}/result.json: ")
    assert told in broken["problem"]
    assert broken.keys() == good.keys()
    with pytest.raises(Exception, match=told):
        run(own, name)


def test_tables_that_are_gone_or_damaged_leave_the_rest(own):
    name = names(own)[0]
    (own.runs / name / "equity.csv").write_text("open_ms,equity\n1,x\n")
    (own.runs / name / "trades.csv").unlink()
    found = run(own, name)
    assert (found["equity"], found["trades"]) == ([], [])
    assert "equity.csv: is damaged" in found["problems"][0]
    assert "trades.csv: cannot be read" in found["problems"][1]
    assert str(own.root) not in json.dumps(found)
    assert found["result"]["out_of_sample"]


def test_undefined_figures_are_null(own):
    name = names(own)[0]
    path = own.runs / name / "equity.csv"
    head, *lines = path.read_text().splitlines()
    cells = [line.split(",") for line in lines[:5]]
    place = head.split(",").index("exposure")
    for row in cells:
        row[place] = ""
    path.write_text("\n".join([head, *(",".join(row) for row in cells)]) + "\n")
    found = run(own, name)["equity"]
    assert [row["exposure"] for row in found] == [None] * 5
    assert np.isfinite([row["equity"] for row in found]).all()


def test_a_result_that_lacks_its_blocks_is_data_that_is_damaged(own):
    name = names(own)[0]
    path = own.runs / name / "result.json"
    document = json.loads(path.read_text())
    path.write_text(json.dumps({**document, "out_of_sample": None}))
    with pytest.raises(DataError, match="is not the result of a backtest"):
        run(own, name)
