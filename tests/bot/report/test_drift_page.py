"""The drift report: one file that needs nothing else, and says in words and pictures what the monitors found."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from drift_documents import HOUR, drift_document

from bot.report.drift_charts import distribution_chart, rolling_chart, rolling_shares, rolling_window, statistic_chart
from bot.report.drift_page import drift_page
from ml.intervals import wilson

VOID = {"meta", "br", "path", "rect"}


class Balanced(HTMLParser):
    """Check that tags close in order, and collect what the page would fetch and say."""

    def __init__(self):
        super().__init__()
        self.open, self.fetched, self.text = [], [], []

    def handle_starttag(self, tag, attrs):
        self.fetched += [value for name, value in attrs if name in {"src", "href"}]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] not in {"style", "script"}:
            self.text.append(data)


def text_of(page: str) -> str:
    """Return what a reader sees; the page must be well formed and fetch nothing."""
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.fetched == []
    assert "http" not in page
    assert "url(" not in page
    return " ".join(" ".join(parser.text).replace("\N{NO-BREAK SPACE}", " ").split())


@pytest.fixture(scope="module")
def fallen():
    return drift_document(healthy=3_000, fallen=900, seed=3, shift=2.5)


@pytest.fixture(scope="module")
def calm():
    return drift_document(healthy=2_000, seed=4)


def test_a_fall_is_told_in_words_figures_and_pictures(fallen):
    page = drift_page(fallen)
    text = text_of(page)
    assert fallen["state"] == "alarm"
    assert fallen["words"] in text
    for part in ("calibration", "features", "predictions", "naive"):
        assert fallen[part]["words"] in text
    for title in (
        "Has it lost its skill?",
        "How often it was right",
        "Is it as good as its word?",
        "Does it say what it used to say?",
        "Features beside training",
    ):
        assert title in text
    assert 'class="alarm-dot"' in page
    assert "likeliest start of the fall" in text
    assert "Held to 54.3 %: the lower bound of the 4,818 of 8,760" in text
    assert 'class="bad">Drift<' in page
    assert len(page) < 250_000
    assert "prefers-color-scheme: dark" in page
    assert "nan" not in text.lower().replace("finance", "")


def test_calm_is_not_dressed_up_as_an_alarm(calm):
    page = drift_page(calm)
    assert 'class="ok">No drift<' in page
    assert "alarm-dot" not in re.sub(r"<style>.*?</style>", "", page, flags=re.DOTALL)
    assert "likeliest start" not in page
    assert 'class="shifted"' not in page


def test_equal_documents_give_equal_bytes_also_through_json(fallen):
    assert drift_page(json.loads(json.dumps(fallen, allow_nan=False))) == drift_page(fallen)


def test_features_stand_in_the_order_of_their_index_over_threshold(fallen):
    page = drift_page(fallen)
    names = re.findall(r"<th>([a-z0-9_]+)</th><td><span", page)
    judged = [row for row in fallen["features"]["features"] if row["judged"]]
    assert names == [row["name"] for row in judged]
    assert page.count("not judged</td>") == len(fallen["features"]["features"]) - len(judged)
    assert page.count('<tr class="shifted">') == len(fallen["features"]["shifted"])
    bars = [float(width) for width in re.findall(r'<b style="width:([0-9.]+)%"', page)]
    assert bars == sorted(bars, reverse=True)
    assert all((bar > 50) == row["shifted"] for bar, row in zip(bars, judged, strict=True))


@pytest.mark.parametrize("part", ["performance", "calibration", "features", "predictions", "naive"])
def test_any_part_may_be_missing(fallen, part):
    assert fallen["words"] in text_of(drift_page({**fallen, part: None}))


def test_without_a_champion_there_is_still_a_page(fallen):
    nothing = dict.fromkeys(("performance", "calibration", "features", "predictions", "naive"))
    nobody = dict.fromkeys(("version", "recipe", "since", "until"))
    text = text_of(drift_page({**fallen, **nothing, **nobody, "state": "no champion", "words": "Nobody serves."}))
    assert "no champion" in text
    assert "Nobody serves." in text
    assert "Has it lost its skill?" not in text


def test_a_bundle_without_a_reference_and_few_rows_say_so(fallen):
    bare = {
        "status": "no reference", "rows": 900, "judged": 0, "shifted": [], "features": [], "not_judged": {},
        "words": "This bundle has no drift reference.",
    }  # fmt: skip
    few = {"status": "too few rows", "rows": 7, "parts": {}, "edges": [], "before": [], "now": [], "words": "Too few."}
    text = text_of(drift_page({**fallen, "features": bare, "predictions": few}))
    assert "This bundle has no drift reference." in text
    assert "Features shifted – no reference" in text
    assert "Predictions – too few rows" in text


@pytest.mark.parametrize("count", [0, 1, 2, 60])
def test_the_first_evaluations_can_be_drawn(fallen, count):
    performance = dict(fallen["performance"], fall=None)
    for column in ("open_ms", "came_true", "stated", "statistic"):
        performance[column] = performance[column][:count]
    text = text_of(drift_page({**fallen, "state": "calm", "performance": performance}))
    assert ("Has it lost its skill?" in text) == (count >= 2)
    assert ("How often it was right" in text) == (count == 60)


def test_tasks_without_a_reference_rate_and_an_action(fallen):
    performance = dict(fallen["performance"], reference=None, reference_rows=0, reference_hits=0, overlap=24)
    document = {**fallen, "task": "risk", "horizon": 24, "performance": performance, "action": "It is quarantined."}
    document["calibration"] = {**fallen["calibration"], "overconfidence": {"statistic": 12.3, "level": 365.0}}
    text = text_of(drift_page(document))
    assert "How often it came true" in text
    assert "Held to" not in text
    assert "It is quarantined." in text
    assert "Test of over-confidence: 12, alarm at 365." in text
    assert "24 bars ahead" in text


def test_a_name_cannot_break_the_page(fallen):
    page = drift_page({**fallen, "recipe": "<script>alert(1)</script>", "words": "a < b & c"})
    assert "<script>" not in page
    assert "a &lt; b &amp; c" in page


def test_documents_that_make_no_sense_are_refused(fallen):
    with pytest.raises(ValueError, match="'fine' is unknown"):
        drift_page({**fallen, "state": "fine"})
    performance = dict(fallen["performance"], stated=[0.5])
    with pytest.raises(ValueError, match="differ in length"):
        drift_page({**fallen, "performance": performance})


def test_the_rolling_share_is_the_mean_of_the_window():
    values = np.random.default_rng(0).random(2_000)
    rows, shares = rolling_shares(values, 500)
    assert (rows[0], rows[-1]) == (499, 1_999)
    for row, share in zip(rows[::50], shares[::50], strict=True):
        assert share == pytest.approx(values[row - 499 : row + 1].mean(), rel=1e-9)
    assert [rolling_window(count) for count in (20, 90, 900, 9_000)] == [20, 50, 300, 500]


def test_the_band_is_the_wilson_interval_and_wider_where_labels_overlap():
    open_ms = HOUR * np.arange(400)
    came_true = np.arange(400) % 2 == 0
    stated = np.full(400, 0.5)

    def spread(overlap):
        chart = rolling_chart(open_ms, came_true, stated, None, 200, overlap)
        low, high = wilson(100 / overlap, 200 / overlap)
        return chart, high - low

    plain, narrow = spread(1)
    wide_chart, wide = spread(8)
    assert wide > 2.5 * narrow
    assert plain.svg != wide_chart.svg
    # equal shares all along: the band is a rectangle between the two bounds, whose distance fills the axis but for margins
    numbers = [
        float(y) for _, y in re.findall(r"([0-9.]+) ([0-9.]+)", re.search(r'class="band" d="M([^"]*)Z', plain.svg)[1])
    ]
    assert (max(numbers) - min(numbers)) / 1000 == pytest.approx(1 / 1.16, rel=0.02)


def test_the_alarm_level_has_its_place_on_the_logarithmic_scale():
    open_ms = HOUR * np.arange(100)
    statistic = np.geomspace(1.0, 1_000.0, 100)
    chart = statistic_chart(open_ms, statistic, 100.0, None)
    alarm, warning = (label.top for label in chart.inside[:2])
    tick = {label.text: label.at for label in chart.left}
    assert alarm == pytest.approx(tick["100"], abs=0.1)
    assert warning == pytest.approx(tick["10"], abs=0.1)
    dot = float(re.search(r'alarm-dot" d="M([0-9.]+) ', chart.svg)[1])
    first = int(np.argmax(statistic >= 100.0))
    assert dot == pytest.approx(1000 * first / 99, abs=0.1)
    flat = statistic_chart(open_ms, np.zeros(100), 100.0, 5)
    assert "alarm-dot" not in flat.svg
    assert np.isfinite([label.at for label in flat.left]).all()


def test_bars_of_the_distribution_are_as_high_as_their_shares():
    chart = distribution_chart([0.4, 0.6], [0.2, 0.5, 0.3], [0.1, 0.1, 0.8])
    heights = [float(height) for height in re.findall(r'height="([0-9.]+)"', chart.svg)]
    assert np.array(heights) / heights[-1] == pytest.approx(np.array([0.2, 0.5, 0.3, 0.1, 0.1, 0.8]) / 0.8, abs=0.002)
