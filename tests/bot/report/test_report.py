"""The report: one file that needs nothing else, honest words, charts that show what happened."""

from __future__ import annotations

import itertools
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from backtest_runs import small_home, small_run

from bot.assembly import assemble_backtest
from bot.backtest.document import result_document
from bot.backtest.rebuild import Curves
from bot.backtest.run import run_backtest
from bot.config.loader import parse_config
from bot.home import Home
from bot.report.charts import calibration_chart, drawdown_chart, equity_chart, price_chart, waterfall_chart
from bot.report.months import monthly_returns
from bot.report.page import report_page
from bot.report.scales import Axis, round_ticks, thin, time_ticks
from bot.report.words import edge_words, headline, lead, market_words, money, number, percent, points, verdicts

HOUR = 3_600_000
VOID = {"meta", "link", "br", "img", "input", "hr", "path", "rect"}


class Balanced(HTMLParser):
    """Check that tags close in order, and collect what the page would fetch."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched = [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in {"src", "href"}]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Home:
    return small_home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def page(home):
    run = small_run(home)
    document = result_document(run)
    return run, document, report_page(run, document)


def run_text(text: str, home: Home):
    file = parse_config(text)
    run = run_backtest(assemble_backtest(file, file.config.symbols[0], home))
    document = result_document(run)
    return document, report_page(run, document)


def test_the_page_is_one_well_formed_file_that_fetches_nothing(page):
    _, _, html = page
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert parser.fetched == []
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html
    assert len(html) < 400_000
    assert "prefers-color-scheme: dark" in html
    assert "@media (max-width" in html
    assert "nan" not in re.sub(r"<script.*?</script>|<style.*?</style>", "", html, flags=re.DOTALL).lower()


def test_the_page_says_what_is_evidence_and_what_is_not(page):
    _, document, html = page
    assert "Model not promoted" in html
    assert "3,000 bars in sample, shown apart" in html
    assert "Only what is out of sample is evidence" in html
    assert document["model"]["version"] in html
    for name in (
        "The account",
        "Price and trades",
        "Where the money went",
        "Months",
        "Can its confidence be believed?",
    ):
        assert name in html
    assert 'class="seen"' in html


def test_times_of_the_loop_and_the_cache_are_not_in_the_page(page):
    run, document, html = page
    changed = {**document, "engine": {"bars_per_second": 1, "seconds": 9}, "cache": {"hits": 5, "misses": 5}}
    assert report_page(run, changed) == html


def test_the_read_out_is_json_of_the_curves(page):
    run, _, html = page
    data = json.loads(re.search(r'id="read-out">(.*?)</script>', html)[1])
    assert len({len(column) for column in data.values()}) == 1
    assert data["time"][0] * 60_000 == run.curves.open_ms[0]
    assert data["equity"][-1] == pytest.approx(run.curves.equity[-1], rel=1e-5)


def test_a_name_cannot_break_the_page(home):
    text = "name: hold\nstrategy: BuyAndHold\nsymbols: [BTCUSDT]\ntimeframe: 1h\n"
    document, _ = run_text(text, home)
    file = parse_config(text)
    run = run_backtest(assemble_backtest(file, "BTCUSDT", home))
    hostile = {**document, "name": "<script>alert(1)</script>"}
    assert "<script>alert" not in report_page(run, hostile)


@pytest.mark.parametrize(
    "text",
    [
        "name: a\nstrategy: BuyAndHold\nsymbols: [BTCUSDT]\ntimeframe: 1h\n",
        "name: a\nstrategy: BuyAndHold\nsymbols: [BTCUSDT]\ntimeframe: 1h\ndata: {end: 2018-01-01T02:00}\n",
        "name: a\nstrategy: BuyAndHold\nsymbols: [S]\ntimeframe: 1d\ndata: {synth: {bars: 3000}}\n",
        "name: a\nstrategy: BuyAndHold\nsymbols: [S]\ntimeframe: 1m\ndata: {synth: {bars: 200, edge: 0.0}}\n",
    ],
)
def test_any_run_can_be_drawn(home, text):
    document, html = run_text(text, home)
    parser = Balanced()
    parser.feed(html)
    assert parser.open == []
    assert lead(document) in html.replace("\N{NO-BREAK SPACE}", " ")
    assert all(isinstance(row, list) for row in headline(document)[2])


def test_a_strategy_that_opened_nothing_is_explained(home):
    run = small_run(home, edge="0.5")
    document = result_document(run)
    html = report_page(run, document).replace("\N{NO-BREAK SPACE}", " ")
    assert "the strategy opened nothing" in lead(document)
    line = edge_words(document)[0]
    assert line in [text.replace("&#39;", "'") for text in re.findall(r"<p>(.*?)</p>", html)]
    assert "needs more than 5,000.0 bp" in line
    assert "0 of them reached what is needed" in line
    assert "So nothing was opened" in line
    assert "Where the money went" not in html
    assert "too little" in html


def test_where_no_prediction_was_sure_enough_the_costs_are_not_blamed(home):
    document = result_document(small_run(home, edge="0.5"))
    edge = {**document["min_edge"], "bars_wanting_in": 0, "record": {**document["min_edge"]["record"], "enter": 0.505}}
    line = edge_words({**document, "min_edge": edge})[0]
    assert "a probability of 50.5 % or more at 0 of" in line
    assert "no prediction was that sure" in line
    assert "do not pay for their costs" not in line


def test_refused_orders_are_told(page):
    _, document, _ = page
    assert not any("refused" in line for line in verdicts({**document, "orders_refused": 0}))
    assert "One order was refused" in verdicts({**document, "orders_refused": 1})[-1]
    assert "1,234 orders were refused; orders.csv says why" in verdicts({**document, "orders_refused": 1234})[-1]


def test_words_of_special_runs(page):
    _, document, _ = page
    planted = {**document, "data": {**document["data"], "origin": "built-in market, planted edge 0.06, seed 7"}}
    assert "PLANTED edge of 0.06" in market_words(planted)[0]
    none = {**document, "data": {**document["data"], "origin": "built-in market, planted edge 0, seed 7"}}
    assert "is luck" in market_words(none)[0]
    seen = {**document, "in_sample_bars": document["bars"]}
    assert "nothing here is evidence" in verdicts(seen)[0]
    stopped = {**document, "decisions": {"blocked_by_max_drawdown": 1234}}
    stopped["config"] = {**document["config"], "risk": {**document["config"]["risk"], "max_drawdown": 0.25}}
    assert "max_drawdown of 25 %, which closes it for good: at 1,234 bars" in verdicts(stopped)[-1]
    absent = {**document, "model": {**document["model"], "version": None}, "in_sample_bars": 0}
    assert "no champion" in verdicts(absent)[0]


def test_numbers_as_words():
    assert percent(-0.1234) == "−12.3 %"
    assert percent(0.5, 0, signed=True) == "+50 %"
    assert percent(-1e-9, signed=True) == "0.0 %"
    assert percent(float("nan")) == percent(None) == "–"
    assert points(0.003) == "30.0 bp"
    assert points(-1e-9) == "0.0 bp"
    assert points(-0.003) == "−30.0 bp"
    assert number(None) == "–"
    assert money(1234.5) == "1,234"
    assert money(12.345) == "12.35"


def test_thin_keeps_every_extreme():
    values = np.random.default_rng(1).normal(size=131_040).cumsum()
    rows = thin(values)
    assert len(rows) <= 1802
    assert {0, len(values) - 1, int(values.argmin()), int(values.argmax())} <= set(rows.tolist())
    assert (np.diff(rows) > 0).all()
    edges = np.linspace(0, len(values), 901).astype(int)
    for low, high in itertools.pairwise(edges):
        inside = rows[(rows >= low) & (rows < high)]
        assert values[inside].min() == values[low:high].min()
        assert values[inside].max() == values[low:high].max()
    assert thin(values[:50]).tolist() == list(range(50))


@pytest.mark.parametrize("low, high", [(0.0, 1.0), (-3.2, 17.0), (9_950.0, 10_050.0), (1e-6, 3e-6), (0.0, 1e9)])
def test_ticks_are_round_and_inside(low, high):
    ticks = round_ticks(low, high)
    assert 2 <= len(ticks) <= 6
    assert all(low <= tick <= high for tick in ticks)
    steps = np.diff(ticks)
    assert np.allclose(steps, steps[0])


@pytest.mark.parametrize("low, high", [(1.0, 10.0), (100.0, 1e6), (0.5, 60.0), (3.0, 100.0)])
def test_logarithmic_ticks(low, high):
    axis = Axis(low, high, log=True)
    ticks = axis.ticks()
    assert 2 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick in ticks)
    assert axis.share(np.array([high, low])).tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    "step, count", [(60_000, 300), (60_000, 131_040), (HOUR, 500), (HOUR, 61_000), (24 * HOUR, 9_000), (HOUR, 2)]
)
def test_time_ticks_are_few_and_in_order(step, count):
    ticks = time_ticks(1_514_764_800_000 + step * np.arange(count))
    assert len(ticks) <= 8
    assert count < 3 or len(ticks) >= 2
    rows = [row for row, _ in ticks]
    assert rows == sorted(set(rows))
    assert time_ticks(np.array([5])) == []


def hand_made(equity: list[float], close: list[float], start: str = "2023-12-30", step: int = 24 * HOUR) -> Curves:
    first = int(np.datetime64(start, "ms").astype(np.int64))
    value, prices = np.array(equity), np.array(close)
    drawdown = value / np.maximum.accumulate(value) - 1
    zeros = np.zeros(len(value))
    return Curves(first + step * np.arange(len(value)), prices, value, zeros, value, drawdown, zeros)


def test_months_run_from_close_to_close():
    curves = hand_made([100, 110, 121, 121, 60.5], [10, 10, 20, 20, 40])
    rows = monthly_returns(curves, split=1)
    assert [row.year for row in rows] == [2023, 2024]
    december, january = rows[0].months[11], rows[1].months[0]
    assert (december.value, december.hold, december.seen) == (pytest.approx(0.1), 0.0, True)
    assert (january.value, january.hold, january.seen) == (pytest.approx(-0.45), 3.0, False)
    assert rows[0].months[0] is None
    assert rows[1].total.value == pytest.approx(-0.45)
    total = np.prod([1 + row.total.value for row in rows])
    assert total == pytest.approx(0.605)


def test_charts_of_flat_and_of_wide_accounts():
    flat = hand_made([100.0] * 10, [5.0] * 10)
    wide = hand_made(list(np.geomspace(100, 1e5, 50)), list(np.geomspace(5, 1, 50)))
    for curves in (flat, wide):
        for chart in (equity_chart(curves, 100.0, 0), drawdown_chart(curves, 3), price_chart(curves, [], len(curves))):
            assert "nan" not in chart.svg
            assert "inf" not in chart.svg
            assert all(0 <= label.at <= 100 for label in (*chart.left, *chart.bottom))
    assert 'class="seen"' not in equity_chart(flat, 100.0, 0).svg
    assert 'class="seen"' in equity_chart(flat, 100.0, 4).svg


@pytest.mark.parametrize(
    "costs",
    [
        {"gross": 100.0, "fees": 30.0, "slippage": 20.0, "net": 50.0},
        {"gross": 10.0, "fees": 30.0, "slippage": 20.0, "net": -40.0},
        {"gross": -100.0, "fees": 3.0, "slippage": 2.0, "net": -105.0},
        {"gross": 0.0, "fees": 0.0, "slippage": 0.0, "net": 0.0},
    ],
)
def test_the_waterfall_ends_at_what_is_left(costs):
    chart = waterfall_chart(costs)
    assert [label.text for label in chart.inside] == [
        money(costs["gross"]), money(-costs["fees"]), money(-costs["slippage"]), money(costs["net"]),
    ]  # fmt: skip
    assert chart.svg.count("<rect") == 4
    assert all(0 <= label.top <= 100 for label in chart.inside)


def test_calibration_without_predictions_is_not_drawn():
    assert calibration_chart([]) is None
