"""Lines over time, calibration and sparks, in a real browser under the page's own content policy."""

from __future__ import annotations

import itertools
import math
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from chart_pages import Drawing

HOUR = 3_600_000
START = 1_705_276_800_000  # 2024-01-15 00:00 UTC


def axis(drawing: Drawing) -> Any:
    """Return the map from values to pixels that the labels of an SVG chart state."""
    marks = drawing.page.evaluate(
        """[...document.querySelectorAll(".chart-values text")].map(t => [t.textContent, Number(t.getAttribute("y"))])"""
    )
    read = [
        (float(text.strip("%").replace(",", "").replace("−", "-")) / (100 if "%" in text else 1), y)
        for text, y in marks
    ]
    (v0, y0), (v1, y1) = read[0], read[-1]
    return lambda value: y0 + (value - v0) / (v1 - v0) * (y1 - y0)


def corners(d: str) -> list[tuple[float, float]]:
    """Return the points of a path."""
    return [(float(x), float(y)) for x, y in re.findall(r"(-?[\d.]+),(-?[\d.]+)", d)]


ROLLING = [[START + i * HOUR, 0.5 + 0.01 * i] for i in range(10)]
BAND = [[x, y - 0.02, y + 0.03] for x, y in ROLLING]


def test_a_band_has_the_right_corners(drawing):
    series = [{"name": "model", "points": ROLLING, "band": BAND}]
    drawing.draw(
        "lines", "lineChart", {"series": series, "yFormat": "percent", "baselines": [{"name": "coin", "y": 0.5}]}
    )
    y_of = axis(drawing)

    line = corners(drawing.values(".chart-series[d*='L']:not(.chart-legend *)", "d")[0][0])
    polygon = corners(drawing.values(".chart-series-band", "d")[0][0])

    xs = [x for x, _ in line]
    assert [b - a for a, b in itertools.pairwise(xs)] == pytest.approx([(xs[-1] - xs[0]) / 9] * 9, abs=0.02)
    assert xs[-1] - xs[0] > 700
    assert [y for _, y in line] == pytest.approx([y_of(y) for _, y in ROLLING], abs=1)
    assert [x for x, _ in polygon] == xs + xs[::-1]
    expected = [y_of(high) for *_, high in BAND] + [y_of(low) for _, low, _ in reversed(BAND)]
    assert [y for _, y in polygon] == pytest.approx(expected, abs=1.5)
    assert float(drawing.values(".chart-baseline", "y1")[0][0]) == pytest.approx(y_of(0.5), abs=1)


def test_a_gap_stays_open_and_times_may_be_text(drawing):
    points = [
        [datetime.fromtimestamp(x / 1000, UTC).isoformat(), None if i in (4, 5) else y]
        for i, (x, y) in enumerate(ROLLING)
    ]
    drawing.draw("lines", "lineChart", {"series": [{"name": "model", "points": points}]})
    (d,) = drawing.values(".chart-plot .chart-series", "d")[0]
    assert d.count("M") == 2
    assert [len(corners(part)) for part in d.split("M")[1:]] == [4, 4]


def test_the_legend_hides_lines_by_keyboard(drawing):
    high = [[x, y + 10] for x, y in ROLLING]
    series = [{"name": "model", "points": ROLLING}, {"name": "buy and hold", "points": high, "style": "muted dashed"}]
    drawing.draw("lines", "lineChart", {"series": series})
    flat = corners(drawing.values(".chart-plot .chart-series", "d")[0][0])
    drawing.press("Tab", "Tab")
    assert drawing.page.evaluate("document.activeElement.textContent") == "buy and hold"
    drawing.press("Space")
    assert drawing.values(".chart-legend button", "aria-pressed") == [["true"], ["false"]]
    (alone,) = drawing.values(".chart-plot .chart-series", "d")
    assert corners(alone[0])[0][1] - corners(alone[0])[-1][1] > 5 * (flat[0][1] - flat[-1][1])
    drawing.update({"series": series})
    assert drawing.page.evaluate("document.activeElement.textContent") == "buy and hold"
    assert len(drawing.values(".chart-plot .chart-series", "d")) == 1
    drawing.press("Shift+Tab", "Enter")
    assert "Every line is hidden" in drawing.page.text_content("svg .chart-empty")
    drawing.press("Enter")
    assert len(drawing.values(".chart-plot .chart-series", "d")) == 1


def test_lines_are_read_out_by_pointer_and_keyboard(drawing):
    series = [{"name": "model", "points": ROLLING, "band": BAND}]
    drawing.draw("lines", "lineChart", {"series": series, "yFormat": "percent", "label": "Rolling accuracy"})
    assert drawing.text() == "2024-01-15 09:00 UTC model 59.0% (57.0% to 62.0%)"
    box = drawing.page.locator(".chart-plot").bounding_box()
    line = corners(drawing.values(".chart-plot .chart-series", "d")[0][0])
    drawing.page.mouse.move(box["x"] + line[3][0] + 5, box["y"] + 50)
    assert "03:00 UTC model 53.0% (51.0% to 56.0%)" in drawing.text()
    mark = drawing.values(".chart-mark .chart-dot", "cx", "cy")
    assert [float(at) for at in mark[0]] == pytest.approx(line[3], abs=0.01)
    drawing.page.mouse.move(10, 790)
    assert "09:00 UTC" in drawing.text()
    drawing.page.locator(".chart-plot svg").focus()
    drawing.press("Home", "ArrowRight")
    assert "01:00 UTC model 51.0%" in drawing.text()
    drawing.press("Escape")
    assert "09:00 UTC" in drawing.text()
    label = drawing.values(".chart-plot svg", "role", "aria-label")[0]
    assert label == ["img", "Rolling accuracy. Last: model 59.0%."]


def test_long_lines_are_thinned_without_losing_a_peak(drawing):
    points = [[START + i * 60_000, math.sin(i / 5_000)] for i in range(100_000)]
    points[54_321][1], points[77_777][1] = 3.0, -2.5
    drawing.draw("lines", "lineChart", {"series": [{"name": "equity", "points": points}]})
    y_of = axis(drawing)
    line = corners(drawing.values(".chart-plot .chart-series", "d")[0][0])
    assert 700 < len(line) <= 4 * 800
    assert min(y for _, y in line) == pytest.approx(y_of(3.0), abs=1)
    assert max(y for _, y in line) == pytest.approx(y_of(-2.5), abs=1)
    assert all(b[0] >= a[0] for a, b in itertools.pairwise(line))


@pytest.mark.parametrize(
    ("points", "band"),
    [
        ([], []),
        ([[START, 0.5]], [[START, 0.4, 0.6]]),
        ([[START + i, 7.0] for i in range(5)], []),
        ([[START, None], [START + 1, None]], [[START, None, None]]),
        ([[START + i, 1e-8 * (1 + i)] for i in range(5)], []),
        ([[START + i * HOUR, 1e6 + i] for i in range(5)], []),
        ([[None, 1], ["no time", 2], [START, 0.0]], []),
        ([[START + 2, 1], [START, 2], [START + 1, 3]], []),
    ],
    ids=["none", "one", "flat", "only gaps", "tiny", "huge", "no times", "out of order"],
)
@pytest.mark.parametrize("form", ["price", "number", "percent"])
def test_odd_lines_draw_something_sensible(drawing, points, band, form):
    drawing.draw("lines", "lineChart", {"series": [{"name": "x", "points": points, "band": band}], "yFormat": form})
    drawn = drawing.page.inner_html("#chart")
    assert not re.search(r"NaN|Infinity|undefined|null", drawn)
    if any(isinstance(x, int) and y is not None for x, y in points):
        path = drawing.values(".chart-plot .chart-series", "d")[0][0]
        assert all(0 <= x <= 800 and 0 <= y <= 240 for x, y in corners(path))
        assert path
        labels = drawing.page.evaluate("[...document.querySelectorAll('.chart-values text')].map(t => t.textContent)")
        assert len(set(labels)) == len(labels) >= 2
    else:
        assert "Nothing to draw yet" in drawn
    drawing.update({"series": [{"name": "x", "points": ROLLING}]})
    assert drawing.values(".chart-plot .chart-series", "d")[0][0].count(",") == 10


def test_calibration_places_dots_intervals_and_the_diagonal(drawing):
    bins = [
        {"stated": 0.52, "came_true": 0.52, "low": 0.49, "high": 0.55, "n": 400},
        {"stated": 0.58, "came_true": 0.55, "low": 0.50, "high": 0.60, "n": 100},
        {"stated": 0.65, "came_true": 0.56, "low": None, "high": None, "n": 200},
    ]
    drawing.draw("calibration", "calibrationChart", {"bins": bins, "label": "Calibration"})
    y_of = axis(drawing)
    dots = [[float(n) for n in dot] for dot in drawing.values(".chart-dot", "cx", "cy", "r")]
    assert [y for _, y, _ in dots] == pytest.approx([y_of(b["came_true"]) for b in bins], abs=1)
    assert dots[1][2] ** 2 / dots[0][2] ** 2 == pytest.approx(100 / 400)
    assert dots[2][2] ** 2 / dots[0][2] ** 2 == pytest.approx(200 / 400)

    (x1, y1, x2, y2) = (float(n) for n in drawing.values(".chart-diagonal", "x1", "y1", "x2", "y2")[0])
    on = y1 + (dots[0][0] - x1) / (x2 - x1) * (y2 - y1)
    assert on == pytest.approx(dots[0][1], abs=0.01)  # what came true as often as stated lies on it
    assert (dots[1][0] - dots[0][0]) / (dots[2][0] - dots[0][0]) == pytest.approx(0.06 / 0.13)

    intervals = [[float(n) for n in line] for line in drawing.values(".chart-interval", "x1", "y1", "y2")]
    assert [x for x, *_ in intervals] == [dots[0][0], dots[1][0]]
    assert [y for _, *ys in intervals for y in ys] == pytest.approx([y_of(v) for v in (0.49, 0.55, 0.50, 0.60)], abs=1)

    assert "In 2 of 2 groups" in drawing.text()
    assert "700 cases" in drawing.text()
    drawing.page.locator(".chart-plot svg").focus()
    drawing.press("ArrowRight", "ArrowRight")
    assert drawing.text() == "stated 58.0%: came true 55.0% (50.0% to 60.0%), 100 cases"
    box = drawing.page.locator(".chart-plot").bounding_box()
    drawing.page.mouse.move(box["x"] + dots[0][0] + 3, box["y"] + dots[0][1])
    assert "stated 52.0%" in drawing.text()


@pytest.mark.parametrize(
    "bins",
    [
        [],
        [{"stated": 0.5, "came_true": None, "low": None, "high": None, "n": 0}],
        [{"stated": 0.5, "came_true": 0.5, "n": 1}],
        [
            {"stated": 0.0, "came_true": 0.0, "low": 0.0, "high": 0.2, "n": 3},
            {"stated": 1.0, "came_true": 1.0, "low": 0.8, "high": 1.0, "n": 3},
        ],
        [{"stated": 0.99, "came_true": 1.0, "low": 0.98, "high": 1.0, "n": 0}],
    ],
)
def test_odd_calibrations_draw_something_sensible(drawing, bins):
    drawing.draw("calibration", "calibrationChart", {"bins": bins})
    drawn = drawing.page.inner_html("#chart")
    assert not re.search(r"NaN|Infinity|undefined|null", drawn)
    known = [b for b in bins if b["came_true"] is not None]
    assert len(drawing.values(".chart-dot", "cx")) == len(known)
    assert ("No predictions have come due" in drawn) == (not known)
    labels = drawing.page.evaluate(
        "[...document.querySelectorAll('.chart-values text')].map(t => parseFloat(t.textContent))"
    )
    assert all(0 <= label <= 100 for label in labels)


@pytest.mark.parametrize(
    ("points", "dots", "words"),
    [
        ([1, 2, None, 5, 3], 1, "equity: from 1 to 3, between 1 and 5."),
        ([[START, 7], [START + HOUR, 7]], 1, "equity: from 7 to 7, between 7 and 7."),
        ([4], 1, "equity: 4."),
        ([], 0, "equity: no values."),
        ([None], 0, "equity: no values."),
    ],
)
def test_sparks(drawing, points, dots, words):
    drawing.draw("spark", "spark", {"points": points, "label": "equity"})
    assert drawing.values("#chart svg", "role", "aria-label") == [["img", words]]
    assert len(drawing.values(".chart-dot", "cx")) == dots
    for (d,) in drawing.values(".chart-series", "d"):
        assert len(corners(d)) == len([p for p in points if p is not None])
        assert all(0 <= x <= 800 and 0 <= y <= 24 for x, y in corners(d))
