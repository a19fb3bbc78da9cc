"""What the jobs of the service do: models that are trained once whatever interrupts it, and predictions that train first."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest
from told_bots import follow, new_champion, told

from bot.errors import SeriesNotFound, UsageError
from bot.home import Home
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from bot.service import work
from bot.service.answers import model_answer, model_name, pair_text
from bot.service.jobs.records import JobStore, content_key
from bot.state import StateDatabase
from ml.engines import open_bundle
from ml.errors import InvalidParameter, NotEnoughBars, UnknownFeature, UnknownPredictor
from registry.errors import InvalidName, ModelNotFound, NoChampion
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

CREATED_MS = 1_772_600_767_123
STEPS = 12
PATH = {
    "symbol": "BTC/USDT",
    "timeframe": "1h",
    "type": "multi_ohlc",
    "n_steps_ahead": STEPS,
    "days_history": None,
    "features": ["return_1", "return_5", "sma_20_distance", "atr_14_pct", "close_location"],
    "params": {"num_boost_round": 20, "min_data_in_leaf": 50},
}
SINGLE = {
    "symbol": "BTC_USDT",
    "timeframe": "1h",
    "type": "basic",
    "days_history": None,
    "features": ["rsi_14", "taker_imbalance_20"],
    "params": {"num_boost_round": 10},
}
PATH_KEY = ModelKey("BTCUSDT", "multi_ohlc", "1h")


@pytest.fixture
def home(tmp_path):
    """Return a home with a market that drifts for a while, whose paths deserve trust."""
    store_synthetic(CandleStore(tmp_path / "candles"), "BTCUSDT", bars=4_000, path_drift=0.3, seed=3)
    return Home(tmp_path)


@pytest.fixture
def job(home):
    """Return a function that submits a job of a request and takes it."""

    def submitted(request, kind="train", created_ms=CREATED_MS):
        with StateDatabase(home.state_db) as state:
            jobs = JobStore(state)
            made, fresh = jobs.submit(
                kind, request, key=content_key(kind, request), owner="owner", now_ms=created_ms, most_waiting=9
            )
            assert fresh
            taken = jobs.take(created_ms + 5)
            assert taken.id == made.id
            return taken

    return submitted


def silent(_share, _text):
    pass


def registry_of(home):
    return PredictionModelRegistry(home.models, open_runner=open_bundle)


def actions(home, key=PATH_KEY):
    return [row.action for row in registry_of(home).history(key)]


# ---------------------------------------------------------------------- training


def test_a_path_is_trained_registered_and_promoted_and_its_row_is_that_of_the_registry(home, job):
    told = []
    answer = work.train(home, job(PATH), lambda *words: told.append(words))
    registry = registry_of(home)
    champion = registry.champion(PATH_KEY)
    assert registry.validate() == []  # the marked metadata and the golden test belong together
    files = {path.name: path.read_bytes() for path in champion.path.iterdir()}
    metrics, metadata = json.loads(files["metrics.json"]), json.loads(files["metadata.json"])
    models = ("open.txt", "high.txt", "low.txt", "close.txt")
    assert answer == {
        "name": "BTC_USDT_1h_12steps_multi_ohlc",
        "type": "multi_ohlc",
        "symbol": "BTC_USDT",
        "timeframe": "1h",
        "n_steps_ahead": STEPS,
        "model_size_kb": pytest.approx(sum(len(files[name]) for name in models) / 1024, abs=0.06),
        "trained_at": "2026-03-04T05:06:07Z",
        "performance": {
            "train_r2": None,
            "val_r2": metrics["out_of_sample"]["first_step"]["close"]["r2"],
            "train_rmse": None,
            "val_rmse": metrics["out_of_sample"]["first_step"]["close"]["rmse"],
            "measured": answer["performance"]["measured"],
        },
        "version": "2026-03-04T050607Z_1h_v1",
        "digest": champion.digest,
        "promoted": True,
        "reason": metrics["gate"]["reason"],
    }
    assert "volatilities" in answer["performance"]["measured"]
    assert metadata["hyperparams"]["n_steps_ahead"] == STEPS
    assert metadata["data"]["bars"] == 4_000
    assert champion.version_id == answer["version"]
    assert json.loads(json.dumps(answer, allow_nan=False)) == answer
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert 0 <= shares[0] <= shares[-1] <= 1
    assert not any(name.endswith(".png") for name in files)
    assert metrics["robustness"] == {"skipped": "by the settings"}


def test_running_a_finished_job_again_changes_nothing(home, job):
    done = job(PATH)
    first = work.train(home, done, silent)
    before = actions(home)
    assert work.train(home, done, silent) == first
    assert actions(home) == before == ["register", "promote"]


def test_a_job_that_was_cut_off_after_the_registration_is_finished_and_not_trained_again(home, job):
    cut = job(PATH)
    work._made_now(home, work.training_request(cut.request), cut, silent)
    assert actions(home) == ["register"]
    assert registry_of(home).champion(PATH_KEY) is None
    answer = work.train(home, cut, silent)
    assert actions(home) == ["register", "promote"]
    assert answer["promoted"] is True
    assert registry_of(home).champion(PATH_KEY).version_id == answer["version"]


def test_a_job_that_was_cut_off_within_the_registration_is_finished_and_not_trained_again(home, job):
    cut = job(PATH)
    bundle = work._made_now(home, work.training_request(cut.request), cut, silent)
    (row,) = registry_of(home).history(PATH_KEY)
    bundle.path.rename(bundle.path.parent / row.staged)  # the row is written, the folder has not its name yet
    with pytest.raises(ModelNotFound):
        registry_of(home).select_bundle(
            symbol="BTCUSDT", model_type="multi_ohlc", timeframe="1h", version=bundle.version_id
        )
    answer = work.train(home, cut, silent)
    assert answer["version"] == bundle.version_id
    assert [action for action in actions(home) if action == "register"] == ["register"]
    assert registry_of(home).champion(PATH_KEY).version_id == bundle.version_id
    assert registry_of(home).validate() == []


def test_bots_that_follow_are_told_of_the_new_champion(home, job):
    follow(home, "BTCUSDT", "multi_ohlc")
    answer = work.train(home, job(PATH), silent)
    assert answer["promoted"] is True
    assert told(home) == [new_champion(answer["version"], "BTCUSDT", "multi_ohlc", answer["reason"])]
    work.train(home, job({**PATH, "seed": 1, "promote": False}), silent)
    assert len(told(home)) == 1


def test_a_job_that_was_cut_off_before_it_told_the_bots_tells_them(home, job):
    follow(home, "BTCUSDT", "multi_ohlc")
    cut = job(PATH)
    bundle = work._made_now(home, work.training_request(cut.request), cut, silent)
    reason = bundle.metrics["gate"]["reason"]
    registry_of(home).promote(PATH_KEY, bundle.version_id, at=datetime.now(UTC), reason=reason)
    assert told(home) == []
    answer = work.train(home, cut, silent)
    assert told(home) == [new_champion(answer["version"], "BTCUSDT", "multi_ohlc", reason)]
    assert actions(home) == ["register", "promote"]


def test_a_second_run_takes_back_no_decision_of_a_person(home, job):
    cut = job(PATH)
    bundle = work._made_now(home, work.training_request(cut.request), cut, silent)
    registry_of(home).quarantine(PATH_KEY, bundle.version_id, at=datetime.now(UTC), reason="not this one")
    answer = work.train(home, cut, silent)
    assert answer["promoted"] is False
    assert actions(home) == ["register", "quarantine"]

    promoted = job({**PATH, "seed": 1})
    work.train(home, promoted, silent)
    registry_of(home).withdraw(PATH_KEY, at=datetime.now(UTC), reason="nor that one")
    work.train(home, promoted, silent)
    assert registry_of(home).champion(PATH_KEY) is None


def test_two_jobs_of_one_second_have_a_version_each(home, job):
    jobs = [job({**PATH, "seed": seed}) for seed in (0, 1)]
    versions = [work.train(home, each, silent)["version"] for each in jobs]
    assert versions == ["2026-03-04T050607Z_1h_v1", "2026-03-04T050607Z_1h_v2"]
    assert [work.train(home, each, silent)["version"] for each in jobs] == versions
    seeds = [
        registry_of(home)
        .select_bundle(symbol="BTCUSDT", model_type="multi_ohlc", timeframe="1h", version=version)
        .metadata["training"]["seed"]
        for version in versions
    ]
    assert seeds == [0, 1]


def test_a_damaged_bundle_of_the_job_is_made_anew(home, job):
    cut = job(PATH)
    bundle = work._made_now(home, work.training_request(cut.request), cut, silent)
    (bundle.path / "close.txt").write_bytes(b"nothing")
    answer = work.train(home, cut, silent)
    assert answer["version"] != bundle.version_id
    assert registry_of(home).champion(PATH_KEY).version_id == answer["version"]


def test_the_reign_begins_when_the_version_was_promoted_and_not_when_it_was_asked_for(home, job):
    before = datetime.now(UTC)
    work.train(home, job(PATH), silent)
    (reign,) = registry_of(home).reigns(PATH_KEY)
    assert before.replace(microsecond=0) <= reign.from_at <= datetime.now(UTC)
    assert registry_of(home).champion(PATH_KEY).registered_at < before


def test_a_model_that_is_not_to_be_promoted_is_registered_only(home, job):
    answer = work.train(home, job({**PATH, "promote": False}), silent)
    assert answer["promoted"] is False
    assert answer["reason"].startswith("not promoted, as the request says; the gate says: promoted: ")
    assert actions(home) == ["register"]


def test_a_single_step_family_takes_the_steps_as_its_horizon(tmp_path, home, job):
    store_synthetic(CandleStore(tmp_path / "candles"), "BTCUSDT", bars=3_000, edge=0.0, seed=5)
    follow(home, "BTCUSDT")
    answer = work.train(home, job({**SINGLE, "n_steps_ahead": 3}), silent)
    bundle = registry_of(home).select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")
    figures = json.loads((bundle.path / "metrics.json").read_bytes())["out_of_sample"]
    assert (answer["name"], answer["n_steps_ahead"]) == ("BTC_USDT_1h_3steps_basic", 3)
    assert bundle.metadata["horizon"] == 3
    assert answer["performance"]["val_r2"] == figures["r2_os"]
    assert answer["performance"]["val_rmse"] == figures["rmse"]
    assert answer["promoted"] is False
    assert answer["reason"].startswith("refused: ")
    assert told(home) == []


def test_what_a_family_does_not_measure_is_null(home, job):
    request = {**SINGLE, "type": "volatility", "features": ["rsi_14", "volatility_20"]}
    answer = work.train(home, job(request), silent)
    assert set(answer["performance"].values()) == {None}
    assert answer["name"] == f"BTC_USDT_1h_{answer['n_steps_ahead']}steps_volatility"


@pytest.mark.parametrize(
    ("days", "bars"), [({"days_history": 100}, 2_400), ({"days_history": None}, 4_000), ({}, 4_000)]
)
def test_days_of_history(home, job, days, bars):
    request = {name: value for name, value in SINGLE.items() if name != "days_history"}
    answer = work.train(home, job({**request, **days}), silent)
    bundle = registry_of(home).select_bundle(
        symbol="BTCUSDT", model_type="basic", timeframe="1h", version=answer["version"]
    )
    assert bundle.metadata["data"]["bars"] == bars


# ---------------------------------------------------------------------- requests


def test_equal_requests_have_one_form_whatever_their_spelling():
    forms = [
        work.normalised({"symbol": symbol, "timeframe": " 1h", "type": kind})
        for symbol in ("BTC_USDT", "BTC/USDT", "btc-usdt", "BTCUSDT")
        for kind in (None, "multi_ohlc", "Multi-OHLC")
    ]
    assert all(form == forms[0] for form in forms)
    assert forms[0]["type"] == "multi_ohlc"
    assert "days_history" not in forms[0]
    assert work.normalised({**PATH, "days_history": None})["days_history"] is None
    assert work.normalised(work.normalised(PATH)) == work.normalised(PATH)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"symbol": "BTCUSDC"}, SeriesNotFound, "did you mean 'BTCUSDT'"),
        ({"symbol": "../../etc"}, InvalidName, "is not a symbol"),
        ({"symbol": ""}, UsageError, "needs a symbol"),
        ({"timeframe": "5m"}, SeriesNotFound, "BTCUSDT is there in 1h"),
        ({"timeframe": "1x"}, InvalidName, "is not a timeframe"),
        ({"type": "multi_olhc"}, UnknownPredictor, "did you mean 'multi_ohlc'"),
        ({"exchange": "nowhere"}, SeriesNotFound, "nowhere"),
        ({"n_steps_ahead": 0}, InvalidParameter, "n_steps_ahead is 0"),
        ({"n_steps_ahead": 1_001}, InvalidParameter, "from 1 to 1,000"),
        ({"n_steps_ahead": 2.5}, UsageError, "expected a whole number"),
        ({"params": {"n_steps_ahead": 5}}, UsageError, "give it once"),
        ({"params": {"num_leafs": 5}}, InvalidParameter, "did you mean 'num_leaves'"),
        ({"params": ["num_leaves=5"]}, UsageError, "expected names with their values"),
        ({"features": ["rsx_14"]}, UnknownFeature, "rsi_14"),
        ({"features": ["taker_imbalance_20"]}, InvalidParameter, "taker_imbalance_20"),
        ({"days_history": 0}, UsageError, "0 days of history"),
        ({"days_history": "30"}, UsageError, "expected a number of days"),
        ({"seed": -1}, InvalidParameter, "may not be negative"),
        ({"seed": "x"}, UsageError, "expected a whole number"),
    ],
)
def test_what_is_wrong_is_refused_before_a_job_is_made(home, changes, error, message):
    with pytest.raises(error, match=re.escape(message)):
        work.check_training(home, {**PATH, **changes})
    assert not home.models.exists()


@pytest.mark.parametrize(
    ("changes", "got", "stored_is_enough"),
    [
        ({"days_history": 30}, 720, True),
        ({"days_history": 30, "n_steps_ahead": 600}, 720, False),
        ({"days_history": None, "n_steps_ahead": 600}, 4_000, False),
        ({"type": "basic", "features": [], "n_steps_ahead": 1, "days_history": 20}, 480, True),
    ],
)
def test_too_few_candles_are_told_with_both_numbers_and_so_many_are_enough(home, changes, got, stored_is_enough):
    request = {**PATH, "params": {}, **changes}
    with pytest.raises(NotEnoughBars) as refused:
        work.check_training(home, request)
    text = str(refused.value)
    assert f"Insufficient data for training (got {got} rows)" in text
    needed, days = (
        int(number.replace(",", "")) for number in re.findall(r"about ([\d,]+) candles.*?, ([\d,]+) days", text)[0]
    )
    assert needed > got
    assert days == -(-needed // 24)
    assert ("ask for more days_history" in text) is stored_is_enough
    assert ("4,000 are stored: get more" in text) is not stored_is_enough
    assert ("lower n_steps_ahead" in text) is (request["type"] == "multi_ohlc")
    if not stored_is_enough:
        store_synthetic(CandleStore(home.candles), "BTCUSDT", bars=needed, path_drift=0.3, seed=3)
    work.check_training(home, {**request, "days_history": days})


def test_without_days_there_are_enough_candles_of_an_hour(tmp_path):
    store_synthetic(CandleStore(tmp_path / "candles"), "BTCUSDT", bars=12_000, path_drift=0.3, seed=3)
    home = Home(tmp_path)
    request = {"symbol": "BTCUSDT", "timeframe": "1h"}
    work.check_training(home, request)  # 300 steps, of which 30 days know nothing
    with pytest.raises(NotEnoughBars):
        work.check_training(home, {**request, "days_history": 30})


def test_the_newest_candles_decide_only_where_they_are_enough(tmp_path, monkeypatch):
    store_synthetic(CandleStore(tmp_path / "candles"), "BTCUSDT", bars=4_000, path_drift=0.3, seed=3)
    monkeypatch.setattr(work, "_CHECKED_BARS", 700)
    work.check_training(Home(tmp_path), PATH)
    with pytest.raises(NotEnoughBars):
        work.check_training(Home(tmp_path), {**PATH, "n_steps_ahead": 600})


def test_what_the_check_lets_pass_is_trained(home, job):
    for request in (PATH, SINGLE):
        work.check_training(home, request)
        work.train(home, job(request), silent)


# ---------------------------------------------------------------------- predictions


def test_a_prediction_trains_first_and_only_once(home, job):
    request = {**PATH, "auto_train": True}
    document = work.generate(home, job(request, "generate"), silent)
    champion = registry_of(home).champion(PATH_KEY)
    assert document["model_info"]["version"] == champion.version_id
    assert document["model_info"]["name"] == "BTC_USDT_1h_12steps_multi_ohlc"
    assert document["status"] == "ok"
    assert len(document["predictions"]) == STEPS
    again = work.generate(home, job({**request, "symbol": "BTCUSDT"}, "generate", CREATED_MS + 60_000), silent)
    assert again["predictions"] == document["predictions"]
    assert actions(home) == ["register", "promote"]


def test_a_prediction_that_was_cut_off_before_the_promotion_is_finished(home, job):
    cut = job({**PATH, "auto_train": True}, "generate")
    work._made_now(home, work.training_request(cut.request), cut, silent)
    document = work.generate(home, cut, silent)
    assert document["status"] == "ok"
    assert actions(home) == ["register", "promote"]


def test_without_a_model_and_without_training_there_is_no_prediction(home, job):
    with pytest.raises(ModelNotFound):
        work.generate(home, job({**PATH, "auto_train": False}, "generate"), silent)
    with pytest.raises(ModelNotFound):
        work.generate(home, job({**PATH, "auto_train": True, "version": "2020"}, "generate"), silent)
    assert not home.models.exists()


def test_a_prediction_of_a_model_that_deserves_no_trust_says_why(tmp_path, home, job):
    store_synthetic(CandleStore(tmp_path / "candles"), "BTCUSDT", bars=3_000, edge=0.0, seed=5)
    with pytest.raises(NoChampion, match=r"BTC_USDT_1h_1steps_basic was trained as .* is not the champion: refused"):
        work.generate(home, job({**SINGLE, "auto_train": True}, "generate"), silent)
    key = ModelKey("BTCUSDT", "basic", "1h")
    assert actions(home, key) == ["register"]
    with pytest.raises(NoChampion):  # nothing has changed since: it is not trained again
        work.generate(home, job({**SINGLE, "auto_train": True, "seed": 1}, "generate", CREATED_MS + 9_000), silent)
    assert actions(home, key) == ["register"]


# ---------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("symbol", "text"),
    [
        ("BTCUSDT", "BTC_USDT"),
        ("ETHBTC", "ETH_BTC"),
        ("BTCFDUSD", "BTC_FDUSD"),
        ("EURUSD", "EUR_USD"),
        ("BTC", "BTC"),
        ("USDT", "USDT"),
        ("SYNTH", "SYNTH"),
    ],
)
def test_a_symbol_is_written_as_a_pair_where_its_currency_is_known(symbol, text):
    assert pair_text(symbol) == text
    assert ModelKey.of(text, "basic", "1h").symbol == symbol


def test_a_bundle_that_cannot_be_read_is_a_row_without_figures(home, job):
    work.train(home, job(SINGLE), silent)
    (bundle,) = registry_of(home).list_bundles()
    sound = model_answer(bundle)
    (bundle.path / "metadata.json").write_bytes(b"{}")
    (broken,) = registry_of(home).list_bundles()
    assert broken.problem
    row = model_answer(broken)
    assert {name for name in sound if row[name] != sound[name]} == {
        "name",
        "n_steps_ahead",
        "model_size_kb",
        "performance",
    }
    assert row["name"] == model_name(broken) == "BTC_USDT_1h_basic"
    assert set(row["performance"].values()) == {None}
