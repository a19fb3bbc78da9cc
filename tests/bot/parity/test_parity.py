"""The same config in a backtest and live: identical, and every class of difference is found where it is made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from recorded_runs import SHORT, basic_config, home_with, restless_config
from small_models import register, revised

from bot.errors import BotError, ConfigError
from bot.market.store import CandleStore
from bot.parity import run as parity_run
from bot.parity.run import run_parity
from ml.candles import Candles

SUPPORT = Path(__file__).resolve().parents[2] / "support"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_with(tmp_path_factory.mktemp("home"), symbols=("BTCUSDT", "ETHUSDT"))


def total(found, name: str) -> int:
    return sum(each.counts[name] for each in found.symbols)


def first(found):
    return next(each.first for each in found.symbols if each.first is not None)


@pytest.mark.parametrize("fees", ["", ", fees_in_kind: true"])
def test_a_model_trades_alike_in_both(home, fees):
    found = run_parity(basic_config(**{", price_tick: 0.01": f", price_tick: 0.01{fees}"}), home)
    assert found.is_identical, first(found).words()
    assert total(found, "bars") == 216
    assert total(found, "feature_rows") == total(found, "predictions") == total(found, "bars")
    assert total(found, "orders") > 20
    assert total(found, "stops_and_targets") > 15
    assert [each.counts for each in found.replayed] == [each.counts for each in found.symbols]


def test_every_kind_of_order_fills_alike_on_two_symbols(home):
    file = restless_config(SUPPORT, symbols="[BTCUSDT, ETHUSDT]", broker=", fees_in_kind: true")
    found = run_parity(file, home)
    assert found.is_identical, first(found).words()
    assert all(each.counts["orders"] > 80 for each in found.symbols)
    assert total(found, "stops_and_targets") > 15


def test_orders_that_the_next_open_makes_too_dear_are_refused_by_both(home):
    file = restless_config(SUPPORT, params="{share: 0.9992, restless: 14}")
    found = run_parity(file, home)
    assert found.is_identical, first(found).words()
    assert total(found, "refusals") > 10


def test_a_gap_inside_the_range_and_missing_columns_make_no_difference(tmp_path):
    gapped = home_with(tmp_path, keep=lambda c: ~np.isin(np.arange(len(c)), [2_850, 2_851, 2_852, 2_900]), columns=())
    found = run_parity(restless_config(SUPPORT), gapped)
    assert found.is_identical, first(found).words()
    assert found.symbols[0].counts["bars"] == 212


def test_without_tick_and_lot_both_count_in_hundred_millionths(home):
    file = restless_config(SUPPORT, when=SHORT)
    broker = file.config.broker.model_copy(update={"price_tick": None, "lot_step": None})
    found = run_parity(replace(file, config=file.config.model_copy(update={"broker": broker})), home)
    assert found.is_identical, first(found).words()
    assert total(found, "fills") > 20


def test_an_exchange_that_slips_more_differs_in_its_fills(home, monkeypatch):
    honest = parity_run.embedded_server

    def dearer(file, *arguments, **options):
        broker = file.config.broker.model_copy(update={"slippage": 0.0005})
        return honest(replace(file, config=file.config.model_copy(update={"broker": broker})), *arguments, **options)

    monkeypatch.setattr(parity_run, "embedded_server", dearer)
    found = run_parity(basic_config(when=SHORT), home)
    assert not found.is_identical
    said = first(found)
    assert said.kind == "fill"
    assert said.what == "fills[0].price"
    assert said.right > said.left  # the first fill is a purchase
    assert all(each.is_identical for each in found.replayed)  # the live side itself is in order


def test_a_revised_candle_differs_in_the_data(home, monkeypatch):
    honest, bar = parity_run.embedded_server, 2_800

    def other(file, candles, *arguments, **options):
        changed = {"BTCUSDT": revised(candles["BTCUSDT"], bar, factor=1.001)}
        return honest(file, changed, *arguments, **options)

    monkeypatch.setattr(parity_run, "embedded_server", other)
    found = run_parity(basic_config(when=SHORT), home)
    said = first(found)
    assert (said.kind, said.what) == ("data", "candle.close")
    assert said.right == pytest.approx(said.left * 1.001)
    assert found.symbols[0].differing["feature"] > 1


def test_another_warm_up_differs_in_the_features(home, monkeypatch):
    honest = parity_run.embedded_venue

    def other(server, series, **options):
        warm, first_ms = series["BTCUSDT"]
        return honest(server, {"BTCUSDT": (revised(warm, len(warm) - 3), first_ms)}, **options)

    monkeypatch.setattr(parity_run, "embedded_venue", other)
    said = first(run_parity(basic_config(when=SHORT), home))
    assert said.kind == "feature"
    assert said.what.endswith((".fingerprint", ".features"))


def test_another_model_differs_as_a_model(tmp_path, monkeypatch):
    own = home_with(tmp_path)
    honest = parity_run.choose_all

    def newer(*arguments, **options):
        register(own.models, trees=5)
        return honest(*arguments, **options)

    monkeypatch.setattr(parity_run, "choose_all", newer)
    said = first(run_parity(basic_config(when=SHORT), own))
    assert said.kind == "model"
    assert said.left != said.right


def test_a_strategy_that_does_not_decide_by_its_bars_differs_in_a_decision(home):
    file = restless_config(SUPPORT, when=SHORT)
    config = file.config.model_copy(update={"strategy": "restless_strategy:Untold"})
    said = first(run_parity(replace(file, config=config), home))
    assert said.kind == "decision"
    assert said.what.startswith("orders")


def test_a_strategy_that_fails_is_one_message(home):
    with pytest.raises(BotError, match="the strategy failed in the backtest: RuntimeError: it was told to fail"):
        run_parity(restless_config(SUPPORT, params="{fails_at: 2700}"), home)


def test_candles_off_the_grid_are_refused(tmp_path):
    own = home_with(tmp_path)
    store = CandleStore(own.candles)
    candles = store.read("BTCUSDT", "1h", "local").candles
    times = candles.open_ms.copy()
    times[2_800] += 60_000
    parts = {"open_ms": times, **candles.columns}
    store.write(Candles.from_columns("1h", parts, candles.asked), "ETHUSDT", "local")
    with pytest.raises(ConfigError, match="ETHUSDT open off the grid of 1h"):
        run_parity(restless_config(SUPPORT, symbols="[ETHUSDT]"), own)
