"""MLEnhanced and MLPredictive through configs, the small model and the report: roles, history, words."""

from __future__ import annotations

import json
from html import unescape

import path_models
import pytest
from backtest_runs import small_home

from bot.assembly import assemble_backtest
from bot.backtest.document import result_document
from bot.backtest.run import run_backtest
from bot.config.loader import parse_config
from bot.errors import ConfigError
from bot.home import Home
from bot.market.store import CandleStore
from bot.report.page import report_page
from bot.report.words import market_words, promotion_words, reached_rows, strategy_words, verdicts

TEXT = """\
name: run
strategy: {strategy}
params: {params}
symbols: [BTCUSDT]
timeframe: 1h
data: {{exchange: local, start: 2018-03-01}}
models: {models}
broker: {{cash: 10000, commission: 0.0001, slippage: 0.0, lot_step: 0.00001, price_tick: 0.01}}
"""
ENHANCED = {
    "strategy": "MLEnhanced",
    "params": "{rsi_timeframe: 3h, oversold: 45, overbought: 55, max_risk: null, min_edge: none}",
    "models": '{direction: "{symbol}/basic@newest"}',
}
PREDICTIVE = {
    "strategy": "MLPredictive",
    "params": "{min_predicted_return: cost, confidence_threshold: 0.52}",
    "models": '{prediction: "{symbol}/basic@newest"}',
}


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return small_home(tmp_path_factory.mktemp("home"))


def assembled(home, choices, **changes):
    return assemble_backtest(parse_config(TEXT.format(**{**choices, **changes}), "run.yaml"), "BTCUSDT", home)


@pytest.mark.parametrize("choices", [ENHANCED, PREDICTIVE], ids=["MLEnhanced", "MLPredictive"])
def test_it_trades_and_the_report_says_what_was_reached(home, choices):
    run = run_backtest(assembled(home, choices))
    document = json.loads(json.dumps(result_document(run)))
    assert len(run.fills) > 10
    rows = document["strategy"]["reached"]
    assert all(0 <= row["bars"] <= row["of"] <= document["bars"] for row in rows)
    assert any(row["bars"] for row in rows)
    (note,) = document["strategy"]["notes"]
    assert note in verdicts(document)
    page = unescape(report_page(run, document))
    assert "How many bars reached what it asks for" in page
    for what, bars, share in reached_rows(document):
        assert f"<th>{what}</th><td>{bars}</td><td>{share}" in page.replace("\N{NO-BREAK SPACE}", " ")


def test_counts_that_hold_bars_in_sample_say_so(home):
    document = result_document(run_backtest(assembled(home, PREDICTIVE)))
    (note,) = document["strategy"]["notes"]
    assert strategy_words({**document, "in_sample_bars": 0}) == [note]
    assert strategy_words({**document, "in_sample_bars": 1_200}) == [
        note,
        "The strategy counts all bars that may trade, the 1,200 in sample among them.",
    ]
    assert strategy_words({**document, "strategy": {}, "in_sample_bars": 1_200}) == []


def test_a_strategy_without_thresholds_shows_none(home):
    run = run_backtest(assembled(home, {"strategy": "BuyAndHold", "params": "{}", "models": "{}"}))
    document = result_document(run)
    assert document["strategy"] == {}
    assert reached_rows(document) == []
    assert "reached what it asks for" not in report_page(run, document)


def test_a_summary_that_is_no_plain_data_is_left_out(home, tmp_path):
    (tmp_path / "a_strategy_with_a_summary.py").write_text(
        "from strategies import BuyAndHold\n"
        "class Told(BuyAndHold):\n"
        "    def summary(self):\n"
        "        return {**super().summary(), 'odd': object(), 'even': 2, 'reached': ['nonsense', {'what': 'x'}]}\n"
    )
    text = TEXT.format(strategy="a_strategy_with_a_summary:Told", params="{}", models="{}")
    run = run_backtest(assemble_backtest(parse_config(text, str(tmp_path / "run.yaml")), "BTCUSDT", home))
    document = result_document(run)
    assert document["strategy"] == {"even": 2, "reached": ["nonsense", {"what": "x"}]}
    assert document["decisions"] == {"entries": 1}
    assert "reached what it asks for" not in report_page(run, document)


def test_min_edge_of_the_direction_model_is_shown(home):
    params = "{oversold: 45, overbought: 55, max_risk: null, min_edge: 0.9}"
    run = run_backtest(assembled(home, ENHANCED, params=params))
    assert run.edge["needed"] == 0.9
    assert run.edge["bars_reaching"] == 0 < run.edge["bars_wanting_in"]
    assert run.edge["record"]["exit"] == 0.5  # any DOWN that could close, with the default of min_confidence
    assert run.fills == ()


def test_the_feed_begins_early_enough_for_the_rsi(home):
    short = assembled(home, ENHANCED, params="{max_risk: null}")
    assert short.first_row == 59 * 24  # all there is before March: less than the least history
    needed = short.strategy.history_bars("1h", {"rsi_timeframe": "12h"})
    assert needed == 12 * 258
    from bot.strategy_choice import history_bars

    file = parse_config(TEXT.format(**ENHANCED), "run.yaml")
    engines = [bound.engine for bound in short.models]
    assert history_bars(file, short.strategy, {"rsi_timeframe": "12h"}, engines) == needed
    assert history_bars(file, short.strategy, {}, engines) == 2048


@pytest.mark.parametrize(
    ("choices", "changes", "message"),
    [
        (
            ENHANCED,
            {"models": '{direction: "{symbol}/basic@newest"}', "params": "{}"},
            (
                r"run\.yaml:7:9: MLEnhanced needs a model for the role 'risk': add 'risk: \"\{symbol\}/risk@latest\"' to "
                "models; train one with: bot train model BTCUSDT --type risk --timeframe 1h"
            ),
        ),
        (
            PREDICTIVE,
            {"models": "{}"},
            (
                r"MLPredictive needs a model for the role 'forecast' or 'prediction': add .*autoregressive@latest.* or "
                r".*basic@latest.* to models; train one with: bot train model BTCUSDT --type autoregressive"
            ),
        ),
        (
            PREDICTIVE,
            {"models": '{predicton: "{symbol}/basic@newest"}'},
            "'predicton' is no role of MLPredictive; did you mean 'prediction'",
        ),
        (
            ENHANCED,
            {"models": '{direction: "{symbol}/basic@newest", risk: "{symbol}/basic@newest"}'},
            (
                r"run\.yaml:7:\d+: MLEnhanced reads the risk of the role 'risk', but BTCUSDT/basic@newest says price, .*; "
                r"bind a model that says it, such as \{symbol\}/risk@latest"
            ),
        ),
        (
            ENHANCED,
            {"params": "{rsi_timeframe: 90m, max_risk: null}"},
            r"run\.yaml:3:25: rsi_timeframe is '90m': expected a whole multiple of the bars' 1h",
        ),
        (
            ENHANCED,
            {"params": "{rsi_period: 5000, max_risk: null}"},
            r"run\.yaml:3:22: rsi_period is 5000: expected a whole number from 2 to 1000",
        ),
        (ENHANCED, {"params": "{oversold: 71, max_risk: null}"}, r"run\.yaml:3:20: oversold is 71: expected less than"),
        (
            PREDICTIVE,
            {"params": "{min_predicted_return: cost, exit_return: 0.001}"},
            r"run\.yaml:3:\d+: exit_return is 0\.001: expected at most min_predicted_return, which is 0\.0002",
        ),
        (
            PREDICTIVE,
            {"params": "{min_predicted_retrn: 0.002}"},
            r"run\.yaml:3:10: unknown parameter of MLPredictive 'min_predicted_retrn'; did you mean 'min_predicted_return'",
        ),
    ],
)
def test_what_is_wrong_with_roles_and_parameters_is_told_at_its_place(home, choices, changes, message):
    with pytest.raises(ConfigError, match=message):
        assembled(home, choices, **changes)


def test_the_first_role_of_the_strategy_is_scored_whatever_the_order_of_the_config(home):
    models = '{other: "{symbol}/basic@newest", direction: "{symbol}/basic@newest"}'
    run = run_backtest(assembled(home, ENHANCED, models=models))
    assert [bound.role for bound in run.assembly.models] == ["direction", "other"]
    document = result_document(run)
    assert document["model"]["role"] == "direction"
    assert document["out_of_sample"]["n"] > 100


def test_every_model_that_was_not_promoted_is_named_with_what_it_did_not_beat(home):
    models = '{direction: "{symbol}/basic@newest", other: "{symbol}/basic@newest"}'
    run = run_backtest(assembled(home, ENHANCED, models=models))
    document = result_document(run)
    chip = f"other: BTCUSDT/basic {document['model']['version']}, not promoted"
    assert chip in report_page(run, document).replace("\N{NO-BREAK SPACE}", " ")
    first, second = promotion_words(document)
    version = document["model"]["version"]
    assert first.startswith(f"The model {version} was NOT promoted: that it beats a coin,")
    assert second.startswith(f"The model {version} (other) was NOT promoted")
    document["models"]["other"]["task"] = "risk"
    assert "the usual share of adverse moves" in promotion_words(document)[1]
    document["models"]["direction"]["promoted"] = True
    assert promotion_words(document) == [promotion_words(document)[-1]]


@pytest.fixture(scope="module")
def path_home(tmp_path_factory) -> Home:
    """A home with a market whose drift lasts, and a model of its paths."""
    home = Home(tmp_path_factory.mktemp("paths"))
    CandleStore(home.candles).write(path_models.drifting(), path_models.path_key("autoregressive").symbol, "local")
    path_models.register_path(home.models)
    return home


PATHS = {
    "strategy": "MLPredictive",
    "params": "{min_predicted_return: 0.001, confidence_threshold: 0.5, exit_return: -0.01, exit_confidence: 0.3}",
    "models": '{forecast: "{symbol}/autoregressive@newest"}',
}


def path_assembly(home, **changes):
    symbol = path_models.path_key("autoregressive").symbol
    text = TEXT.format(**{**PATHS, **changes}).replace("[BTCUSDT]", f"[{symbol}]")
    return assemble_backtest(parse_config(text, "run.yaml"), symbol, home)


def test_over_a_model_of_paths_it_trades_within_the_trusted_steps(path_home):
    run = run_backtest(path_assembly(path_home))
    engine = run.assembly.models[0].engine
    assert engine.trusted_steps > 0
    closed = [trade for trade in run.trades if trade.is_closed]
    assert len(closed) > 5
    document = json.loads(json.dumps(result_document(run)))
    assert document["model"]["task"] == "path"
    assert document["strategy"]["untrusted_bars"] == 0
    assert document["decisions"]["exits_by_peak"] > 0
    again = path_assembly(path_home)
    again.cerebro.run(runonce=False)
    assert tuple(again.broker.fills) == run.fills
    if not document["decisions"].get("kept_until_a_new_peak"):
        longest = max((trade.exit_ms - trade.entry_ms) // 3_600_000 for trade in closed)
        assert longest <= engine.trusted_steps


def test_roles_of_paths_and_of_single_predictions_are_told_apart(home, path_home):
    with pytest.raises(ConfigError, match="reads the path of the role 'forecast', but BTCUSDT/basic@newest says price"):
        assembled(home, PREDICTIVE, models='{forecast: "{symbol}/basic@newest"}')
    run = run_backtest(path_assembly(path_home, models='{prediction: "{symbol}/autoregressive@newest"}'))
    assert len(run.fills) > 5


@pytest.mark.parametrize(
    ("origin", "words"),
    [
        ("built-in market, planted edge 0, planted path drift 0.2, seed 7", "a PLANTED lasting drift of 0.2"),
        (
            "built-in market, planted edge 0.06, planted path drift 0.2, seed 7",
            "edge of 0.06 and a lasting drift of 0.2",
        ),
        ("built-in market, planted edge 0, seed 7", "without an edge"),
    ],
)
def test_words_for_what_was_planted(origin, words):
    (text,) = market_words({"data": {"origin": origin}})
    assert words in text
