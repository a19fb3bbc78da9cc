"""``bot data`` as a user meets it: exit codes, one JSON document, messages, and nothing half-written."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from fake_binance import FakeBinance, serving

from bot.cli.main import main
from bot.market.store import CandleStore
from ml.candles import format_ms
from ml.synthetic import START_MS, synthetic_candles

HOUR = 3_600_000


@pytest.fixture
def home(tmp_path):
    return tmp_path / "home"


@pytest.fixture
def run(home, capsys):
    """Run ``bot data ...`` and return the exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = main(["data", *map(str, words), "--home", str(home)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


@pytest.fixture
def as_json(run):
    def call(*words: object) -> tuple[int, dict]:
        code, out, _ = run(*words, "--json")
        return code, json.loads(out)

    return call


def write_csv(path, candles, times=None) -> None:
    times = candles.open_ms if times is None else times
    lines = ["timestamp,open,high,low,close,volume"]
    for i, time in enumerate(times):
        cells = (float(getattr(candles, name)[i]) for name in ("open", "high", "low", "close", "volume"))
        lines.append(f"{time},{','.join(map(repr, cells))}")
    path.write_text("\n".join(lines) + "\n")


def files(home) -> list[str]:
    return sorted(
        str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and not path.name.endswith(".lock")
    )


def test_import_says_what_it_did(run, as_json, home, tmp_path) -> None:
    candles = synthetic_candles(200, seed=1)
    write_csv(tmp_path / "a.csv", candles.slice(0, 150))
    code, out, err = run("import", tmp_path / "a.csv", "--symbol", "btc/usdt", "--timeframe", "1h")
    assert (code, err) == (0, "")
    assert "BTCUSDT 1h from local: 150 bars, 2018-01-01T00:00:00Z to 2018-01-07T05:00:00Z" in out
    assert "150 added, 0 unchanged, 0 revised" in out
    write_csv(tmp_path / "b.csv", candles.slice(100, 200))
    code, document = as_json("import", tmp_path / "b.csv", "--symbol", "BTCUSDT", "--timeframe", "1h")
    assert code == 0
    assert (document["bars"], document["added"], document["unchanged"], document["revised"]) == (200, 50, 50, [])
    assert document["columns"] == ["open", "high", "low", "close", "volume"]
    assert document["digest"] == CandleStore(home / "candles").read("BTCUSDT", "1h").digest
    assert files(home) == ["candles/local/BTCUSDT_1h.parquet"]


def test_revised_bars_are_listed(run, as_json, tmp_path) -> None:
    candles = synthetic_candles(100, seed=1)
    write_csv(tmp_path / "a.csv", candles)
    run("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    text = (tmp_path / "a.csv").read_text().splitlines()
    text[8] = text[8].rsplit(",", 1)[0] + ",1.5"
    (tmp_path / "a.csv").write_text("\n".join(text))
    code, out, _ = run("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    assert code == 0
    assert "0 added, 99 unchanged, 1 revised" in out
    assert "revised (the newer values won): 2018-01-01T07:00:00Z" in out
    text[9] = text[9].rsplit(",", 1)[0] + ",2.5"
    (tmp_path / "a.csv").write_text("\n".join(text))
    _, document = as_json("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    assert document["revised"] == ["2018-01-01T08:00:00Z"]


def test_an_import_of_other_columns_can_replace(run, as_json, tmp_path) -> None:
    write_csv(tmp_path / "a.csv", synthetic_candles(50, seed=1))
    assert run("synth", "--bars", 100, "--exchange", "local", "--symbol", "X")[0] == 0
    code, document = as_json("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    assert (code, document["exit_code"]) == (3, 3)
    assert "--replace" in document["error"]
    code, document = as_json("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h", "--replace")
    assert (code, document["bars"]) == (0, 50)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("missing.csv", "--symbol", "X", "--timeframe", "1h"), 2, "there is no file"),
        (("good.csv", "--symbol", "$", "--timeframe", "1h"), 2, "is not a symbol"),
        (("good.csv", "--symbol", "X", "--timeframe", "1hour"), 2, "is not a timeframe"),
        (("good.csv", "--symbol", "X", "--timeframe", "1h", "--exchange", "a/b"), 2, "is not an exchange name"),
        (("good.csv", "--symbol", "X"), 2, "candles need --timeframe"),
        (("good.csv", "--symbol", "X", "--timeframe", "1m"), 3, "use --timeframe 1h"),
        (("empty.csv", "--symbol", "X", "--timeframe", "1h"), 3, "is empty"),
        (("cut.csv.gz", "--symbol", "X", "--timeframe", "1h"), 3, "truncated gzip"),
        (("text.csv", "--symbol", "X", "--timeframe", "1h"), 3, "text.csv:6: close is 'abc'"),
        (("backwards.csv", "--symbol", "X", "--timeframe", "1h"), 3, "--sort"),
    ],
)
def test_bad_input_is_one_message_an_exit_code_and_no_file(run, as_json, home, tmp_path, words, code, message) -> None:
    candles = synthetic_candles(30, seed=1)
    write_csv(tmp_path / "good.csv", candles)
    good = (tmp_path / "good.csv").read_text()
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "cut.csv.gz").write_bytes(gzip.compress(good.encode())[:-30])
    lines = good.splitlines()
    broken = lines[5].split(",")
    (tmp_path / "text.csv").write_text("\n".join([*lines[:5], ",".join([*broken[:4], "abc", broken[5]]), *lines[6:]]))
    (tmp_path / "backwards.csv").write_text("\n".join([lines[0], *lines[:0:-1]]))
    found, out, err = run("import", tmp_path / words[0], *words[1:])
    assert found == code
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    found, document = as_json("import", tmp_path / words[0], *words[1:])
    assert document["exit_code"] == found == code
    assert message in document["error"]
    assert not home.exists() or files(home) == []


def test_a_failed_import_leaves_what_was_stored(run, home, tmp_path) -> None:
    candles = synthetic_candles(30, seed=1)
    write_csv(tmp_path / "a.csv", candles)
    run("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    before = (home / "candles/local/X_1h.parquet").read_bytes()
    (tmp_path / "a.csv").write_text((tmp_path / "a.csv").read_text() + "nonsense\n")
    assert run("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")[0] == 3
    assert (home / "candles/local/X_1h.parquet").read_bytes() == before


def test_sort_and_drop_duplicates(as_json, tmp_path) -> None:
    candles = synthetic_candles(30, seed=1)
    write_csv(tmp_path / "a.csv", candles)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    (tmp_path / "a.csv").write_text("\n".join([lines[0], *lines[:0:-1], lines[4]]))
    words = ("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h", "--sort")
    assert as_json(*words)[0] == 3
    code, document = as_json(*words, "--drop-duplicates")
    assert (code, document["bars"]) == (0, 30)
    assert len(document["notes"]) == 2


def test_the_future_is_refused_by_the_real_clock(run, tmp_path) -> None:
    candles = synthetic_candles(30, seed=1)
    write_csv(tmp_path / "a.csv", candles, candles.open_ms + 200 * 365 * 24 * HOUR)
    code, _, err = run("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    assert code == 3
    assert "lies in the future" in err


def test_synth_says_what_was_planted(run, as_json, home) -> None:
    code, out, _ = run("synth", "--bars", 500)
    assert code == 0
    assert "SYNTH 1h from synth: 500 bars" in out
    assert "planted edge of 0.06" in out
    stored = CandleStore(home / "candles").read("SYNTH", "1h")
    assert stored.digest == synthetic_candles(500, edge=0.06).digest
    assert str(stored.rules.price_tick) == "0.01"
    assert stored.origin == "built-in market, planted edge 0.06, seed 0"
    assert "a martingale" in run("synth", "--bars", 300, "--edge", 0, "--seed", 4, "--symbol", "FAIR/USD")[1]
    _, document = as_json(
        "synth", "--bars", 300, "--edge", 0.02, "--seed", 4, "--timeframe", "5m", "--exchange", "other"
    )
    assert (document["edge"], document["seed"], document["exchange"], document["timeframe"]) == (0.02, 4, "other", "5m")
    assert len(CandleStore(home / "candles").read("FAIRUSD", "1h").candles) == 300


def test_synth_replaces_another_market(run, home) -> None:
    run("synth", "--bars", 500, "--seed", 1)
    run("synth", "--bars", 300, "--seed", 2)
    assert CandleStore(home / "candles").read("SYNTH", "1h").digest == synthetic_candles(300, edge=0.06, seed=2).digest


@pytest.mark.parametrize(
    "words", [("--bars", 0), ("--edge", 0.6), ("--edge", -0.1), ("--seed", -1), ("--timeframe", "x")]
)
def test_synth_out_of_range_is_usage(run, home, words) -> None:
    code, _, err = run("synth", *words)
    assert code == 2
    assert err.startswith("error: ")
    assert not home.exists() or files(home) == []


def test_list_shows_series_and_the_first_bar_with_features(run, as_json, home) -> None:
    assert "No candles under" in run("list")[1]
    assert as_json("list") == (0, {"root": str(home / "candles"), "series": [], "sentiment": []})
    run("synth", "--bars", 3_000)
    run("synth", "--bars", 50, "--symbol", "SHORT")
    (home / "candles/synth/BROKEN_1h.parquet").write_bytes(b"PAR1")
    code, out, _ = run("list")
    assert code == 0
    assert any(line.split()[:4] == ["SYNTH", "1h", "synth", "3000"] for line in out.splitlines())
    assert "problem: " in out
    _, document = as_json("list")
    rows = {row["symbol"]: row for row in document["series"]}
    assert rows["BROKEN"]["bars"] is None
    assert "damaged" in rows["BROKEN"]["problem"]
    assert rows["SHORT"]["features_from"] is None
    assert rows["SHORT"]["bars_with_features"] == 0
    assert rows["SYNTH"]["rules"]["price_tick"] == "0.01"
    assert (
        START_MS < np.datetime64(rows["SYNTH"]["features_from"].rstrip("Z"), "ms").astype(int) < START_MS + 3_000 * HOUR
    )
    assert rows["SYNTH"]["bars_with_features"] > 500


def test_check_reports_facts_and_exits_zero(run, as_json, tmp_path) -> None:
    candles = synthetic_candles(300, seed=1)
    times = candles.open_ms + np.where(np.arange(300) >= 200, 5 * HOUR, 0)
    times[100] += 60_000
    write_csv(tmp_path / "a.csv", candles, times)
    run("import", tmp_path / "a.csv", "--symbol", "X", "--timeframe", "1h")
    code, out, _ = run("check", "X", "--timeframe", "1h")
    assert code == 0
    assert "gaps: 1 (5 bars missing): 5 after 2018-01-09T07:00:00Z" in out
    assert "off_grid: 1 bar not opened on a multiple of 1h" in out
    assert out.rstrip().endswith("no faults")
    code, document = as_json("check", "X", "--timeframe", "1h")
    assert code == 0
    assert (document["gaps"], document["missing_bars"], document["off_grid"], document["ok"]) == (1, 5, 1, True)
    assert document["gap_list"] == [
        {"after": format_ms(int(times[199])), "before": format_ms(int(times[200])), "missing": 5}
    ]
    code, document = as_json("check", "X", "--timeframe", "1h", "--strict")
    assert (code, document["ok"]) == (3, False)


def test_check_exits_three_for_edited_bars(as_json, home) -> None:
    import pyarrow.parquet as pq

    CandleStore(home / "candles").write(synthetic_candles(200), "SYNTH", "synth")
    path = home / "candles/synth/SYNTH_1h.parquet"
    table = pq.read_table(path)
    high = table.column("high").to_pylist()
    high[20] = 1.0
    edited = table.set_column(table.schema.get_field_index("high"), table.schema.field("high"), [high])
    pq.write_table(edited, path)
    code, document = as_json("check", "SYNTH", "--timeframe", "1h")
    assert (code, document["ok"], document["intact"]) == (3, False, False)
    assert document["ohlc_violations"] == 1
    assert document["faults"] == ["ohlc_violations", "changed_content"]
    assert document["times"]["ohlc_violations"] == [format_ms(START_MS + 20 * HOUR)]


def test_check_of_what_is_not_there(run, as_json) -> None:
    run("synth", "--bars", 50)
    code, document = as_json("check", "SINTH", "--timeframe", "1h")
    assert code == 2
    assert "did you mean 'SYNTH'" in document["error"]


def test_download_through_the_command(run, as_json, home) -> None:
    with serving(FakeBinance(synthetic_candles(1_200, seed=5), START_MS + 1_200 * HOUR)) as fake:
        words = ("download", "BTC/USDT", "--exchange", "binance", "--timeframe", "1h", "--url", fake.url)
        code, document = as_json(*words, "--start", "2018-01-01", "--end", "2018-01-10")
        assert (code, document["bars"], document["added"]) == (0, 240, 240), "the end date is included"
        code, out, _ = run(*words, "--start", "2018-01-01")
        assert code == 0
        assert "960 added" in out
        code, out, _ = run(*words, "--start", "2018-01-01")
        assert "nothing was asked" in out
        assert run(*words, "--start", "01/02/2018")[0] == 2
        code, _, err = run("download", "BTCUSD", *words[2:], "--start", "2018-01-01")
        assert (code, "did you mean 'BTCUSDT'" in err) == (2, True)
        code, _, err = run("download", "ETH/USDT", *words[2:], "--start", "2010-01-01", "--end", "2010-02-01")
        assert code == 0
    assert len(CandleStore(home / "candles").read("BTCUSDT", "1h", "binance").candles) == 1_200


def test_an_interrupted_download_says_what_it_kept(run, home, monkeypatch) -> None:
    from bot.market.download import Download

    original = Download._take_page

    def second_is_interrupted(self, cursor: int, end: int) -> int:
        if self._requests:
            raise KeyboardInterrupt
        return original(self, cursor, end)

    monkeypatch.setattr(Download, "_take_page", second_is_interrupted)
    with serving(FakeBinance(synthetic_candles(1_200, seed=5), START_MS + 1_200 * HOUR)) as fake:
        words = ("download", "BTC/USDT", "--exchange", "binance", "--timeframe", "1h", "--url", fake.url)
        code, _, err = run(*words, "--start", "2018-01-01")
    assert code == 1
    assert "interrupted; 1000 bars up to 2018-02-11T15:00:00Z are kept" in err
    assert len(CandleStore(home / "candles").read("BTCUSDT", "1h").candles) == 1_000


def test_a_real_ctrl_c_in_the_middle_of_a_download(home) -> None:
    fake = FakeBinance(synthetic_candles(1_200, seed=5), START_MS + 1_200 * HOUR)
    waiting, release = threading.Event(), threading.Event()

    def hang(rows: list) -> tuple[int, str]:
        waiting.set()
        release.wait(60)
        return 200, json.dumps(rows)

    fake.faults[2] = hang
    with serving(fake):
        words = ["download", "BTC/USDT", "--exchange", "binance", "--timeframe", "1h", "--url", fake.url]
        child = subprocess.Popen(
            [sys.executable, "-m", "bot", "data", *words, "--start", "2018-01-01", "--home", str(home)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert waiting.wait(60)
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
        release.set()
    assert child.returncode == 1
    assert out == ""
    assert "1000 bars up to 2018-02-11T15:00:00Z are kept, the same command goes on from there" in err
    assert "Traceback" not in err
    assert len(CandleStore(home / "candles").read("BTCUSDT", "1h").candles) == 1_000


@pytest.mark.parametrize(
    ("name", "symbol", "timeframe", "bars"),
    [
        ("binance_spot_BTCUSDT_1h_2018_2024.csv.gz", "BTCUSDT", "1h", 61_248),
        ("fx_EURUSD_1h_2017_2024_novol.csv.gz", "EURUSD", "1h", 45_728),
    ],
)
def test_real_files_through_the_commands(shared_data, as_json, name, symbol, timeframe, bars) -> None:
    code, document = as_json("import", shared_data / name, "--symbol", symbol, "--timeframe", timeframe)
    assert (code, document["bars"], document["added"]) == (0, bars, bars)
    code, checked = as_json("check", symbol, "--timeframe", timeframe)
    assert (code, checked["faults"], checked["bars"]) == (0, [], bars)
    if symbol == "BTCUSDT":
        assert (checked["gaps"], checked["missing_bars"], checked["off_grid"], checked["zero_volume"]) == (
            27,
            120,
            43,
            4,
        )
        assert document["off_grid"] == 43
    _, listed = as_json("list")
    assert listed["series"][0]["bars_with_features"] > 0.65 * bars
