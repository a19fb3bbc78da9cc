"""``bot predict``: the newest prediction, the model behind it, and what is said when there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from small_models import AT, KEY, bundle_files, market

from bot.cli.main import main
from bot.home import Home
from bot.market.store import CandleStore
from ml.bundles import open_runner
from ml.engine import PredictionEngine
from registry.store import PredictionModelRegistry


@pytest.fixture
def home(tmp_path):
    """Return a home with candles and one version that is not promoted."""
    home = Home(tmp_path / "var")
    CandleStore(home.candles).merge(market(), "BTCUSDT", "local")
    PredictionModelRegistry(home.models).register(KEY, bundle_files(), at=AT)
    return home


def run(capsys, home, *words) -> tuple[int, str, str]:
    code = main(["predict", "BTC/USDT", "--home", str(home.root), *words])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def promote(home) -> str:
    registry = PredictionModelRegistry(home.models)
    version = registry.list_bundles()[0].version_id
    registry.promote(KEY, version, at=AT, reason="test")
    return version


def test_the_json_holds_the_engines_numbers(capsys, home):
    version = promote(home)
    code, out, err = run(capsys, home, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    model = PredictionModelRegistry(home.models, open_runner).select_bundle(
        symbol="BTCUSDT", model_type="basic", timeframe="1h"
    )
    expected = PredictionEngine(model).predict(market())
    for name in ("price", "expected_return", "confidence", "p_up", "low", "high"):
        assert found[name] == getattr(expected, name)
    assert found["direction"] == ("UP" if expected.direction > 0 else "DOWN")
    assert found["predicted_price"] == expected.price
    assert found["risk"] is found["predicted_volatility"] is None
    assert found["status"] == "ok"
    assert found["model"]["version"] == version
    assert found["model"]["digest"] == model.digest
    assert (found["model"]["status"], found["model"]["promoted"]) == ("champion", True)
    assert found["bar"]["open_ms"] == market().open_ms[-1]
    assert found["bar"]["close"] == market().close[-1]
    assert found["bar"]["age_seconds"] > 0
    assert found["horizon"] == 1
    assert found["in_sample"] is False
    assert found["exchange"] == "local"


def test_text_for_a_person(capsys, home):
    promote(home)
    code, out, err = run(capsys, home)
    assert (code, err) == (0, "")
    assert out.startswith("BTCUSDT 1h from local, bar of 2018-05-05T23:00:00Z, closed ")
    assert "(champion), trained until 2018-05-06T00:00:00Z" in out
    assert "direction   " in out
    assert " % that " in out
    assert "in 9 of 10 cases" in out
    assert "note" not in out


def test_without_a_champion_it_offers_the_newest(capsys, home):
    code, out, err = run(capsys, home)
    assert (code, out) == (2, "")
    assert "none of its 1 version(s) is promoted" in err
    assert "--version newest" in err
    code, out, _ = run(capsys, home, "--json")
    assert code == 2
    assert json.loads(out)["exit_code"] == 2


def test_versions_by_name(capsys, home):
    version = PredictionModelRegistry(home.models).list_bundles()[0].version_id
    for selector in ("newest", version):
        code, out, _ = run(capsys, home, "--version", selector)
        assert code == 0
        assert "(candidate, never promoted)" in out
    code, _, err = run(capsys, home, "--version", "2099-01-01T000000Z_1h_v1")
    assert code == 2
    assert "2099-01-01T000000Z_1h_v1" in err


def test_a_bar_whose_outcome_was_a_label_is_marked(capsys, home, tmp_path):
    earlier = Home(tmp_path / "earlier")
    CandleStore(earlier.candles).merge(market().slice(0, 2000), "BTCUSDT", "local")
    PredictionModelRegistry(earlier.models).register(KEY, bundle_files(), at=AT)
    code, out, _ = run(capsys, earlier, "--version", "newest")
    assert code == 0
    assert "the model was trained on the outcome of this bar" in out
    assert json.loads(run(capsys, earlier, "--version", "newest", "--json")[1])["in_sample"] is True


def test_a_bar_that_warms_up_has_a_reason_and_no_numbers(capsys, home, tmp_path):
    short = Home(tmp_path / "short")
    CandleStore(short.candles).merge(market().slice(1000, 1100), "BTCUSDT", "local")
    PredictionModelRegistry(short.models).register(KEY, bundle_files(), at=AT)
    code, out, _ = run(capsys, short, "--version", "newest")
    assert code == 0
    assert "status      warming" in out
    assert "not enough history" in out
    found = json.loads(run(capsys, short, "--version", "newest", "--json")[1])
    assert found["status"] == "warming"
    assert found["price"] is None
    assert found["confidence"] is None


def test_candles_that_are_not_there(capsys, home):
    promote(home)
    code, _, err = run(capsys, home, "--exchange", "binance")
    assert code == 2
    assert "binance" in err
    code, _, err = run(capsys, home, "--timeframe", "4h")
    assert code == 2
    assert "4h" in err
    code, _, err = run(capsys, home, "--timeframe", "7x")
    assert code == 2
    assert "is not a timeframe" in err


def test_two_exchanges_must_be_told_apart(capsys, home):
    promote(home)
    CandleStore(home.candles).merge(replace(market(), volume=market().volume * 2), "BTCUSDT", "other")
    code, _, err = run(capsys, home)
    assert code == 2
    assert "--exchange" in err
    assert run(capsys, home, "--exchange", "other")[0] == 0


def test_a_changed_byte_in_the_bundle_is_a_finding(capsys, home):
    promote(home)
    path = PredictionModelRegistry(home.models).list_bundles()[0].path / "model.txt"
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(bytes(data))
    code, _, err = run(capsys, home)
    assert code == 3
    assert "model.txt" in err
    assert "Traceback" not in err


def test_help_loads_nothing_heavy():
    script = (
        "import sys\nfrom bot.cli.main import main\nmain(['predict', '--help'])\n"
        "heavy = {'numpy', 'pandas', 'numba', 'lightgbm', 'pyarrow', 'scipy', 'backtrader', 'ccxt', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "newest (promoted or not)" in " ".join(done.stdout.split())
