"""A run measured: curves rebuilt from fills equal what an observer of every bar saw; training ends where it says."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import backtrader as bt
import numpy as np
import pytest
import small_models
from backtest_runs import config, small_home
from spot_oracle import Setup
from trading_runs import candles_of, place, random_bars, run_basic, run_script

from bot.assembly import assemble_backtest
from bot.backtest.document import result_document, run_id
from bot.backtest.rebuild import rebuild_curves, rebuild_trades, slippage_paid
from bot.backtest.run import run_backtest
from bot.config.loader import parse_config
from bot.errors import BotError, ConfigError
from bot.home import Home
from bot.market.store import CandleStore
from ml.bundles import open_runner
from registry.errors import NoChampion
from registry.store import PredictionModelRegistry


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return small_home(tmp_path_factory.mktemp("home"))


@pytest.mark.parametrize(
    "in_kind, lot, slippage, stop, target, seed",
    [
        *itertools.product((False, True), (None, "0.001"), (0.0, 0.001), (None, 0.02), (None, 0.03), (1,)),
        (True, "0.1", 0.001, 0.01, 0.01, 2),
        (True, "1", 0.0, None, None, 3),
    ],
)
def test_rebuilt_curves_have_the_bits_of_the_brokers_own_values(in_kind, lot, slippage, stop, target, seed):
    bars = random_bars(400, seed, volatility=0.01)
    p_up = np.random.default_rng(seed).uniform(0.4, 0.6, len(bars))
    setup = Setup(in_kind=in_kind, lot=lot, slippage=slippage, stop_loss=stop, take_profit=target)
    broker, _strategy, watch = run_basic(bars, p_up, setup)
    assert len(broker.fills) > 20
    curves = rebuild_curves(candles_of(bars), broker.fills, setup.cash, float(lot or 0))
    assert curves.cash.tolist() == watch.cash
    assert curves.equity.tolist() == watch.value
    assert curves.equity[-1] == broker.getvalue()


def test_trades_agree_with_backtraders_own():
    bars = random_bars(600, 5, volatility=0.01)
    p_up = np.random.default_rng(5).uniform(0.4, 0.6, len(bars))
    broker, strategy, _watch = run_basic(bars, p_up, Setup(lot=None, stop_loss=0.02))
    mine = [trade for trade in rebuild_trades(candles_of(bars), broker.fills, 10_000.0) if trade.is_closed]
    theirs = [trade for trades in strategy._trades.values() for trade in trades[0] if trade.isclosed]
    assert len(mine) == len(theirs) > 20
    assert [trade.profit for trade in mine] == pytest.approx([trade.pnlcomm for trade in theirs])
    assert [trade.fees for trade in mine] == pytest.approx([trade.commission for trade in theirs])


def test_slippage_is_what_fills_were_worse_than_the_open():
    bars = random_bars(300, 6, volatility=0.01)
    p_up = np.random.default_rng(6).uniform(0.4, 0.6, len(bars))
    broker, *_ = run_basic(bars, p_up, Setup(tick=None, lot=None, slippage=0.002))
    opens = candles_of(bars).open
    rows = [(fill.bar_open_ms - candles_of(bars).open_ms[0]) // 3_600_000 for fill in broker.fills]
    expected = sum(abs(fill.price - opens[row]) * fill.size for fill, row in zip(broker.fills, rows, strict=True))
    assert slippage_paid(broker.fills, 0.002) == pytest.approx(expected)
    assert slippage_paid(broker.fills, 0.0) == 0.0


def test_limit_orders_pay_no_slippage():
    bars = [(100, 101, 99, 100), (100, 101, 95, 97), (97, 106, 96, 105), (105, 106, 104, 105)]
    script = {
        0: place("in", "buy", size=1, price=98.0, exectype=bt.Order.Limit),
        1: place("out", "sell", size=1, price=104.0, exectype=bt.Order.Limit),
    }
    broker, _ = run_script(bars, script, Setup(taker=0.0, tick=None, lot=None, slippage=0.01))
    assert [(fill.price, fill.slipped) for fill in broker.fills] == [(98.0, False), (104.0, False)]
    assert slippage_paid(broker.fills, 0.01) == 0.0


def test_bars_that_training_saw_are_apart(home):
    run = run_backtest(assemble_backtest(config(), "BTCUSDT", home))
    document = result_document(run)
    trained_until = run.main_model.engine.trained_until_ms
    times = run.curves.open_ms
    assert trained_until == small_models.market().open_ms[-1] + 3_600_000
    assert run.out_of_sample_row == 3_000 == int((times < trained_until).sum()) == document["in_sample_bars"]
    assert (document["out_of_sample"]["bars"], document["in_sample"]["bars"], document["all"]["bars"]) == (
        1000,
        3000,
        4000,
    )
    out = document["out_of_sample"]
    equity, close = run.curves.equity[3_000:], run.curves.close[3_000:]
    assert out["total_return"] == equity[-1] / equity[0] - 1
    assert out["buy_and_hold_return"] == close[-1] / close[0] - 1
    assert out["first_ms"] == trained_until
    assert 0.55 < out["direction_accuracy"] < 0.8  # the planted 70 %, on bars that it never saw
    assert out["n"] == 999
    assert document["final_value"] == run.curves.equity[-1] == run.assembly.broker.getvalue()
    assert document["model"]["promoted"] is False
    assert document["costs"]["gross"] - document["costs"]["fees"] - document["costs"]["slippage"] == pytest.approx(
        document["costs"]["net"]
    )
    assert document["costs"]["net"] == pytest.approx(document["final_value"] - 10_000)
    assert set(document["predictions"]["prediction"]) == {"ok", "warming"}


def test_nothing_trades_before_the_start_and_the_features_are_warm(home):
    start = ", start: 2018-05-10"
    run = run_backtest(assemble_backtest(config(when=start), "BTCUSDT", home))
    first = int(datetime(2018, 5, 10, tzinfo=UTC).timestamp() * 1000)
    assert run.curves.open_ms[0] == first
    assert run.assembly.first_row > 0
    assert run.predictions["prediction"].status[0] == 0
    assert min(fill.bar_open_ms for fill in run.fills) >= first
    whole = run_backtest(assemble_backtest(config(), "BTCUSDT", home))
    late = whole.predictions["prediction"].values[-len(run.curves) :]
    assert np.array_equal(run.predictions["prediction"].values, late, equal_nan=True)


def test_figures_do_not_depend_on_how_much_history_is_fed(home, monkeypatch):
    import bot.strategy_choice

    when = ", start: 2018-05-10"
    brief = run_backtest(assemble_backtest(config(when=when), "BTCUSDT", home))
    monkeypatch.setattr(bot.strategy_choice, "_LEAST_HISTORY", 100_000)
    long = run_backtest(assemble_backtest(config(when=when), "BTCUSDT", home))
    assert len(long.assembly.candles) > len(brief.assembly.candles)
    assert long.figures == brief.figures


def test_an_end_given_as_a_date_includes_its_day(home):
    run = run_backtest(assemble_backtest(config(when=", start: 2018-03-01, end: 2018-03-02"), "BTCUSDT", home))
    assert len(run.curves) == 48


def test_the_run_id_names_everything_that_decides_a_run(home):
    def identity(file):
        return run_id(assemble_backtest(file, "BTCUSDT", home))

    base = identity(config())
    assert base == identity(config(path="elsewhere.yaml"))
    assert base != identity(config(edge="cost"))
    assert base != identity(config(when=", start: 2018-03-01"))
    assert base != identity(config(**{"slippage: 0.0002": "slippage: 0.0003"}))


def test_min_edge_says_what_was_needed_and_what_was_there(home):
    run = run_backtest(assemble_backtest(config(edge="0.5"), "BTCUSDT", home))
    assert run.edge["needed"] == 0.5
    assert run.edge["bars_reaching"] == 0 < run.edge["bars_wanting_in"]
    assert run.edge["record"]["holdings"] > 0
    assert run.fills == ()
    assert run.decisions["blocked_by_min_edge"] > 0
    free = run_backtest(assemble_backtest(config(edge="none"), "BTCUSDT", home))
    assert free.edge is None


def test_buy_and_hold_without_models(home):
    text = "name: hold\nstrategy: BuyAndHold\nsymbols: [BTCUSDT]\ntimeframe: 1h\nbroker: {commission: 0, slippage: 0}\n"
    run = run_backtest(assemble_backtest(parse_config(text), "BTCUSDT", home))
    document = result_document(run)
    assert document["model"] is None
    assert document["in_sample_bars"] == 0
    assert document["out_of_sample"]["n"] == 0
    assert document["out_of_sample"]["exposure"] > 0.98
    assert run.trades[0].reason == "open"


def test_the_built_in_market_needs_no_store(tmp_path):
    text = "name: hold\nstrategy: BuyAndHold\nsymbols: [SYNTH]\ntimeframe: 1h\ndata: {synth: {bars: 500, seed: 4}}\n"
    run = run_backtest(assemble_backtest(parse_config(text), "SYNTH", Home(tmp_path)))
    document = result_document(run)
    assert document["bars"] == 500
    assert document["seeds"]["market"] == 4
    assert "planted edge 0.06" in document["data"]["origin"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "changes, place, words",
    [
        ({"strategy: MLBasic": "strategy: MLBasik"}, "run.yaml:2:11", "did you mean 'MLBasic'"),
        ({"strategy: MLBasic": "strategy: nowhere.to_be:Found"}, "run.yaml:2:11", "cannot be imported"),
        ({"enter: 0.52": "entre: 0.52"}, "run.yaml:3:10", "did you mean 'enter'"),
        ({"enter: 0.52": "enter: much"}, "run.yaml:3:17", "expected a number"),
        ({"enter: 0.52": "enter: 1.5"}, "run.yaml:3:17", "enter is 1.5"),
        ({"enter: 0.52": "trade_from_ms: 5"}, "run.yaml:3:10", "set by the program"),
        ({"symbols: [BTCUSDT]": "symbols: [BTCUSD]"}, "run.yaml", "did you mean 'BTCUSDT'"),
        ({"/basic@": "/basik@"}, "run.yaml:7:22", "did you mean 'basic'"),
        ({"exchange: local": "exchange: kraken"}, "run.yaml:4:11", "from kraken"),
        ({"exchange: local": "exchange: local, start: 2030-01-01"}, "run.yaml:6:32", "no candles from 2030-01-01 on"),
        ({"exchange: local": "exchange: local, end: 2017-01-01"}, "run.yaml:6:30", "no candles before 2017-01-01"),
        ({"timeframe: 1h": "timeframe: 5m"}, "run.yaml:4:11", "BTCUSDT is there in 1h"),
    ],
)
def test_a_name_that_does_not_exist_is_an_error_in_the_config(home, changes, place, words):
    file = config(**changes)
    with pytest.raises(ConfigError) as caught:
        assemble_backtest(file, file.config.symbols[0], home)
    assert place in str(caught.value)
    assert words in str(caught.value)


def test_a_version_that_does_not_exist_and_a_model_without_champion(home):
    with pytest.raises(ConfigError, match=r"run.yaml:7:22: .*no version"):
        assemble_backtest(config(version="2020-01-01T000000Z_1h_v1"), "BTCUSDT", home)
    with pytest.raises(NoChampion, match=r"run.yaml:7:22: (?s:.*)\{symbol\}/basic@newest") as caught:
        assemble_backtest(config(version="latest"), "BTCUSDT", home)
    assert caught.value.exit_code == 2


def test_a_strategy_that_fails_is_one_message(home, tmp_path, monkeypatch):
    (tmp_path / "broken_strategy_of_a_user.py").write_text(
        "import backtrader as bt\nclass Broken(bt.Strategy):\n    def next(self):\n        1 / 0\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    text = "name: x\nstrategy: broken_strategy_of_a_user:Broken\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
    with pytest.raises(BotError, match=r"failed at .*broken_strategy_of_a_user.py:4: ZeroDivisionError"):
        run_backtest(assemble_backtest(parse_config(text), "BTCUSDT", home))


def test_the_code_of_a_users_strategy_is_in_the_run_id(home, tmp_path):
    text = "name: x\nstrategy: idle_strategy_of_a_user:Idle\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
    found = []
    for body in ("pass", "self.seen = True"):
        source = f"import backtrader as bt\nclass Idle(bt.Strategy):\n    def next(self):\n        {body}\n"
        (tmp_path / "idle_strategy_of_a_user.py").write_text(source)
        run = run_backtest(assemble_backtest(parse_config(text, str(tmp_path / "x.yaml")), "BTCUSDT", home))
        document = result_document(run)
        assert document["decisions"] == {}
        assert document["min_edge"] is None
        found.append(document["run_id"])
    assert found[0] != found[1]


def test_a_users_strategy_gets_all_history_or_what_it_asks_for(home, tmp_path):
    text = "name: x\nstrategy: {}\nsymbols: [BTCUSDT]\ntimeframe: 1h\ndata: {{start: 2018-06-01}}\n"
    (tmp_path / "two_strategies_of_a_user.py").write_text(
        "import backtrader as bt\n"
        "from indicators import Feature\n"
        "class Slow(bt.Strategy):\n"
        "    def __init__(self):\n"
        "        self.rsi = Feature(self.data, name='rsi_14', timeframe='2h')\n"
        "        self.seen = []\n"
        "    def next(self):\n"
        "        self.seen.append(self.rsi[0])\n"
        "class Brief(bt.Strategy):\n"
        "    history_bars = 100\n"
    )
    path = str(tmp_path / "x.yaml")
    slow = assemble_backtest(parse_config(text.format("two_strategies_of_a_user:Slow"), path), "BTCUSDT", home)
    assert slow.first_row == int((slow.trade_from_ms - 1_514_764_800_000) // 3_600_000)
    seen = slow.cerebro.run()[0].seen
    assert np.isfinite(seen[slow.first_row :]).all()
    brief = assemble_backtest(parse_config(text.format("two_strategies_of_a_user:Brief"), path), "BTCUSDT", home)
    assert brief.first_row == 3_072  # what features need at least, and half as much again
    ours = assemble_backtest(config(when=", start: 2018-06-01"), "BTCUSDT", home)
    assert ours.first_row <= 3_072


def test_a_role_that_a_strategy_needs_and_does_not_get(home):
    file = config(**{'models: {prediction: "{symbol}/basic@newest"}\n': ""})
    with pytest.raises(Exception, match="needs a model for the role 'prediction'") as caught:
        run_backtest(assemble_backtest(file, "BTCUSDT", home))
    assert caught.value.exit_code == 2


def test_stored_rules_hold_unless_the_config_says_otherwise(tmp_path):
    from bot.market.synth import store_synthetic

    home = Home(tmp_path)
    store_synthetic(CandleStore(home.candles), bars=300, seed=1)
    base = "name: hold\nstrategy: BuyAndHold\nsymbols: [SYNTH]\ntimeframe: 1h\n"
    stored = assemble_backtest(parse_config(base), "SYNTH", home).rules
    assert str(stored.lot_step) == "0.00001"
    mixed = assemble_backtest(parse_config(base + "broker: {lot_step: 0.1, price_tick: 0}\n"), "SYNTH", home).rules
    assert (str(mixed.lot_step), mixed.price_tick, mixed.min_notional) == ("0.1", None, stored.min_notional)


def test_the_champion_is_bound_when_there_is_one(home, tmp_path):
    other = Home(tmp_path)
    CandleStore(other.candles).write(small_models.market(), "BTCUSDT", "local")
    model = small_models.register(other.models)
    registry = PredictionModelRegistry(other.models, open_runner)
    registry.promote(model.key, model.version_id, at=small_models.AT, reason="test")
    assembly = assemble_backtest(config(version="latest"), "BTCUSDT", other)
    assert assembly.models[0].model.version_id == model.version_id
    assert assembly.models[0].model.promoted
