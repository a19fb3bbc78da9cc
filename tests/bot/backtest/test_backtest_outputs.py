"""The run folder: bits that read back, bytes that repeat, and nothing half-written."""

from __future__ import annotations

import csv
import errno
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from backtest_runs import small_home, small_run

import bot.backtest.outputs as outputs
from bot.backtest.document import result_document
from bot.backtest.outputs import FILES, run_folder_name, write_run
from bot.errors import StorageError
from bot.home import Home
from ml.cache import PredictionCache
from ml.predictions import PREDICTION_COLUMNS, Status

AT = datetime(2026, 11, 20, 12, 0, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return small_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def run(home):
    return small_run(home)


def written(run, folder: Path, report=lambda: "<html></html>") -> Path:
    return write_run(run, result_document(run), folder / "runs", AT, report)


def test_the_folder_is_named_after_time_name_and_identity(run, tmp_path):
    document = result_document(run)
    folder = written(run, tmp_path)
    assert (
        folder.name
        == f"2026-11-20T120005Z_run_{document['run_id'][:8]}"
        == run_folder_name(AT, "run", document["run_id"])
    )
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    second = written(run, tmp_path)
    assert second.name == f"{folder.name}-2"


def test_the_report_can_be_left_out(run, tmp_path):
    folder = written(run, tmp_path, None)
    assert not (folder / "report.html").exists()


def test_every_number_reads_back_to_the_same_bits(run, tmp_path):
    folder = written(run, tmp_path)
    curves, batch = run.curves, run.predictions["prediction"]
    with (folder / "equity.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert next(iter(rows[0])) == "open_ms"
    assert [int(row["open_ms"]) for row in rows] == curves.open_ms.tolist()
    for name in ("close", "position", "cash", "equity", "drawdown", "exposure"):
        assert [float(row[name]) for row in rows] == getattr(curves, name).tolist()
    assert [int(row["in_sample"]) for row in rows] == [1] * 3000 + [0] * 1000
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert next(iter(rows[0])) == "open_ms"
    assert [row["status"] for row in rows] == [Status(code).label for code in batch.status]
    assert {row["status"] for row in rows} == {"ok", "warming"}
    for name in PREDICTION_COLUMNS:
        found = np.array([float(row[name] or "nan") for row in rows])
        assert np.array_equal(
            found.view(np.int64)[batch.status == 0], batch.column(name)[batch.status == 0].view(np.int64)
        )
        assert np.isnan(found[batch.status != 0]).all()


def test_pandas_reads_the_files_and_agrees(run, tmp_path):
    folder = written(run, tmp_path)
    out = json.loads((folder / "result.json").read_text())["out_of_sample"]
    equity = pd.read_csv(folder / "equity.csv")
    seen = equity[equity["in_sample"] == 0]
    assert out["total_return"] == pytest.approx(seen["equity"].iloc[-1] / seen["equity"].iloc[0] - 1, rel=1e-12)
    assert out["max_drawdown"] == pytest.approx((seen["equity"] / seen["equity"].cummax() - 1).min(), rel=1e-12)
    assert out["exposure"] == pytest.approx(seen["exposure"].mean(), rel=1e-12)
    assert np.allclose(equity["equity"], equity["cash"] + equity["position"] * equity["close"], rtol=1e-12)
    trades = pd.read_csv(folder / "trades.csv")
    assert out["trades"] == int(((trades["in_sample"] == 0) & (trades["exit_reason"] != "open")).sum())
    orders = pd.read_csv(folder / "orders.csv")
    filled = orders[orders["status"] == "filled"]
    assert len(filled) == len(run.fills)
    assert filled["fee"].sum() == pytest.approx(json.loads((folder / "result.json").read_text())["all"]["fees_paid"])
    cash = 10_000 + (filled["notional"] * np.where(filled["side"] == "buy", -1, 1)).sum() - filled["fee"].sum()
    assert equity["cash"].iloc[-1] == pytest.approx(cash)


def test_undefined_figures_are_null(home, tmp_path):
    folder = written(small_run(home, edge="0.5"), tmp_path)
    text = (folder / "result.json").read_text()
    assert "NaN" not in text
    assert json.loads(text)["out_of_sample"]["win_rate"] is None


def test_equal_runs_give_equal_bytes_with_and_without_the_cache(home, tmp_path):
    from bot.report.page import report_page

    cache = PredictionCache(tmp_path / "predictions.db")
    folders, documents = [], []
    for store in (None, cache, cache):
        run = small_run(home, store)
        document = result_document(run)
        documents.append(document)
        page = report_page(run, document)
        folders.append(write_run(run, document, tmp_path / "runs", AT, lambda page=page: page))
    assert [document["cache"]["misses"] > 0 for document in documents] == [False, True, False]
    assert documents[2]["cache"]["hits"] == documents[1]["cache"]["misses"]
    for name in FILES:
        contents = [(folder / name).read_bytes() for folder in folders]
        if name == "result.json":
            contents = [{**json.loads(content), "engine": 0, "cache": 0} for content in contents]
        assert contents[0] == contents[1] == contents[2], name


@pytest.mark.parametrize("where", ["result.json", "trades.csv", "predictions.csv", "equity.csv", "report.html"])
@pytest.mark.parametrize("failure", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()])
def test_a_full_disk_or_an_interruption_leaves_nothing(run, tmp_path, monkeypatch, where, failure):
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name == where:
            raise failure
        real(descriptor)

    monkeypatch.setattr(outputs.os, "fsync", fsync)
    expected = StorageError if isinstance(failure, OSError) else KeyboardInterrupt
    with pytest.raises(expected) as caught:
        written(run, tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []
    if expected is StorageError:
        assert "No space left on device" in str(caught.value)


def test_what_a_killed_process_left_goes_after_a_day(run, tmp_path):
    old, young = tmp_path / "runs" / ".writing-old", tmp_path / "runs" / ".writing-young"
    for folder in (old, young):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    os.utime(young, (AT.timestamp(), AT.timestamp()))
    written(run, tmp_path)
    assert not old.exists()
    assert young.exists()


def test_a_report_that_fails_leaves_nothing(run, tmp_path):
    def broken() -> str:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        written(run, tmp_path, broken)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_folder_that_cannot_be_made(run, tmp_path):
    (tmp_path / "runs").write_text("a file in the way")
    with pytest.raises(StorageError, match="cannot write the run"):
        written(run, tmp_path)


def test_a_name_taken_by_another_process_in_between(run, tmp_path, monkeypatch):
    first = written(run, tmp_path)
    real, looks = Path.exists, []

    def exists(path: Path) -> bool:
        if path == first and not looks:
            looks.append(path)
            return False
        return real(path)

    monkeypatch.setattr(Path, "exists", exists)
    assert written(run, tmp_path).name == f"{first.name}-2"


def test_refused_orders_are_listed_with_their_reason(home, tmp_path):
    run = small_run(home, **{"lot_step: 0.00001": "min_notional: 1000000"})
    assert run.rejections
    folder = written(run, tmp_path)
    with (folder / "orders.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["status"] for row in rows} == {"refused"}
    assert "notional" in rows[0]["message"]
    assert rows == sorted(rows, key=lambda row: int(row["open_ms"]))
