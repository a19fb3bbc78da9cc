"""Scales and the chart of candles, in a real browser under the page's own content policy."""

from __future__ import annotations

import itertools
import math
import re
import statistics
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from chart_pages import Drawing, blank, opened

HOUR = 3_600_000
START = 1_705_276_800_000  # 2024-01-15 00:00 UTC


@pytest.fixture
def plain_drawing(chromium, address) -> Iterator[Drawing]:
    """A page that defines no colours."""
    with blank(chromium, color_scheme="light") as page, opened(page, address + "/plain") as drawing:
        yield drawing


@pytest.fixture
def sharp_drawing(chromium, address) -> Iterator[Drawing]:
    """A telephone: two device pixels a pixel, and fingers."""
    with blank(chromium, device_scale_factor=2, has_touch=True) as page, opened(page, address + "/") as drawing:
        yield drawing


def candles(count: int, *, price: float = 100.0, start: int = START) -> list[list[float]]:
    """Return candles that rise and fall by turns."""
    rows = []
    for i in range(count):
        open_, close = price * (1 + 0.05 * math.sin(i / 9)), price * (1 + 0.05 * math.sin((i + 1) / 9))
        rows.append([start + i * HOUR, open_, max(open_, close) * 1.01, min(open_, close) * 0.99, close, 10 + i % 7])
    return rows


def steps(count: int, origin_ms: int, price: float, *, trusted: int) -> list[dict[str, Any]]:
    """Return a forecast that rises, as the service answers it."""
    return [
        {
            "step": i,
            "timestamp": datetime.fromtimestamp((origin_ms + i * HOUR) / 1000, UTC).isoformat(),
            "predicted_close": price * (1 + 0.01 * i),
            "low": price * (1 - 0.02 * i),
            "high": price * (1 + 0.03 * i),
            "confidence": 0.55,
            "trusted": i <= trusted,
        }
        for i in range(1, count + 1)
    ]


# Scales


def scale(drawing: Drawing, call: str) -> Any:
    return drawing.page.evaluate(f"import('/charts/scale.js').then(scale => scale.{call})")


def test_linear_scales(drawing):
    for d0, d1, r0, r1, value in (
        (0, 10, 0, 100, 3),
        (1e-8, 3e-8, 300, 20, 1.7e-8),
        (-5, 1e6, 0, 1, 0),
        (7, 7, 0, 50, 7),
    ):
        expected = (r0 + r1) / 2 if d0 == d1 else r0 + (value - d0) / (d1 - d0) * (r1 - r0)
        assert scale(drawing, f"linearScale([{d0}, {d1}], [{r0}, {r1}])({value})") == pytest.approx(expected, rel=1e-12)
        if d0 != d1:
            back = scale(drawing, f"linearScale([{d0}, {d1}], [{r0}, {r1}]).invert({expected})")
            assert back == pytest.approx(value, rel=1e-9, abs=1e-12 * abs(d1))


@pytest.mark.parametrize("low", [-3.0, 0.0, 1.23e-8, 0.4999, 42_000.0, 999_999.5])
def test_ticks_are_round_and_about_as_many_as_asked(drawing, low):
    for span, count in itertools.product((1e-9, 3.3e-8, 0.017, 1.0, 7.7, 123.0, 45_678.9), (2, 5, 10)):
        if span < abs(low) * 1e-9:
            continue  # below what a double tells apart
        found = scale(drawing, f"niceTicks({low!r}, {low + span!r}, {count})")
        step = Decimal(repr(found["step"]))
        lead = step.scaleb(-step.adjusted())
        assert float(lead) in {1.0, 2.0, 2.5, 5.0}
        assert count / 2.5 - 1 <= len(found["ticks"]) <= count + 1
        assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found["ticks"])
        for tick in found["ticks"]:
            times = Decimal(repr(tick)) / step
            assert abs(times - round(times)) < Decimal("1e-9") * max(1, abs(times))


@pytest.mark.parametrize("hours", [0.05, 1, 5, 30, 24 * 4, 24 * 20, 24 * 45, 24 * 400, 24 * 365 * 9])
def test_times_stand_on_the_calendar(drawing, hours):
    start = START + 12_345_678
    found = scale(drawing, f"timeTicks({start}, {start + hours * HOUR}, 6)")
    assert 3 <= len(found["ticks"]) <= 9
    for tick in found["ticks"]:
        at = datetime.fromtimestamp(tick["ms"] / 1000, UTC)
        midnight = at == at.replace(hour=0, minute=0, second=0)
        if found["step"] >= 28 * 24 * HOUR:
            assert midnight
            assert at.day == 1
            assert tick["label"] == (str(at.year) if at.month == 1 else f"{at:%b}")
        elif midnight:
            assert tick["label"] == f"{at.day} {at:%b}"
            assert found["step"] < 7 * 24 * HOUR or at.weekday() == 0
        else:
            assert tick["label"] == f"{at:%H:%M}" + (f":{at:%S}" if found["step"] < 60_000 else "")
    gaps = {b["ms"] - a["ms"] for a, b in itertools.pairwise(found["ticks"])}
    assert len(gaps) == 1 or found["step"] >= 28 * 24 * HOUR


@pytest.mark.parametrize("value", [1.234567e-8, 0.00042, 0.9999999, 12.5, 4_215.678, 1_234_567.891, -3.25, 0])
def test_prices_are_told_as_exactly_as_the_reader_compares(drawing, value):
    for span in (abs(value) * 0.01, abs(value), abs(value) * 100):
        text = scale(drawing, f"priceText({value!r}, {span!r})")
        assert "e" not in text
        assert abs(float(text.replace(",", "").replace("−", "-")) - value) <= max(span, abs(value) * 0.1) / 900


def test_numbers_are_told_plainly(drawing):
    told = {
        "priceText(42150.5, 100)": "42,150.5",
        "fixedText(1234567.891, 2)": f"{1234567.891:,.2f}",
        "fixedText(-0.004, 2)": "0.00",
        "fixedText(-12, 0)": "−12",
        "percentText(0.534)": "53.4%",
        "percentText(null)": "–",
        "priceText(NaN)": "–",
        "numberText(1234567)": "1.235M",
        "numberText(9999.6)": "10k",
        "numberText(0.00012346)": "0.0001235",
        "numberText(1200)": "1,200",
        "timeText('2024-01-15T08:00:00Z')": "2024-01-15 08:00 UTC",
        "timeText(null)": "–",
    }
    for call, expected in told.items():
        assert scale(drawing, call) == expected, call


# Candles


def ends(rows: list[int]) -> tuple[int, int]:
    """Return where a stretch of pixels begins and where it ends, as edges."""
    return min(rows), max(rows) + 1


@pytest.mark.parametrize("unit", [1e-8, 0.03, 1.0, 1e4])
@pytest.mark.parametrize("rising", [True, False])
def test_a_body_spans_open_to_close(drawing, unit, rising):
    open_, close = (100, 110) if rising else (110, 100)
    row = [START, open_ * unit, 120 * unit, 90 * unit, close * unit, None]
    drawing.draw("candles", "candleChart", {"rows": [row], "timeframeMs": HOUR})

    found = drawing.pixels("up" if rising else "down")

    left, right = min(found), max(found)
    wick = found[(left + right) // 2]
    top, bottom = ends(wick)
    a_price = (bottom - top) / 30
    body_top, body_bottom = ends(found[left])
    assert bottom - top > 200
    assert body_top == pytest.approx(top + 10 * a_price, abs=1)
    assert body_bottom == pytest.approx(top + 20 * a_price, abs=1)
    assert len(found[left]) == body_bottom - body_top
    assert not drawing.pixels("down" if rising else "up")


def test_volume_stands_below(drawing):
    rows = [
        [START + i * HOUR, 100, 101, 99, 100 + 0.5 * (i % 2), volume] for i, volume in enumerate((10, 20, None, 40))
    ]
    drawing.draw("candles", "candleChart", {"rows": rows, "timeframeMs": HOUR})
    found = drawing.pixels("volume")
    heights = [len(found.get(x, ())) for x in range(800)]
    bars = [max(part) for on, part in itertools.groupby(heights, key=lambda n: n > 0) if on]
    assert len(bars) == 3
    assert bars[0] / bars[2] == pytest.approx(10 / 40, abs=0.03)
    assert bars[1] / bars[2] == pytest.approx(20 / 40, abs=0.03)


def test_the_forecast_its_band_and_where_trust_ends(drawing):
    rows = [[START + i * HOUR, 100, 101, 99, 100.0, None] for i in range(10)]
    end = START + 10 * HOUR
    drawing.draw(
        "candles", "candleChart", {"rows": rows, "timeframeMs": HOUR, "forecast": steps(6, end, 100.0, trusted=2)}
    )

    up, band, lighter, accent, warn = (drawing.pixels(name) for name in ("up", "band", "lighter", "accent", "warn"))

    wicks = [x for x, found in up.items() if len(found) == max(map(len, up.values()))]
    slot = (wicks[-1] - wicks[0]) / 9
    top, bottom = ends(up[wicks[0]])
    a_price = (bottom - top) / 2
    origin_x, origin_y = wicks[-1] + 0.5 + slot / 2, (top + bottom) / 2

    for k, pixels in ((1, band), (2, band), (4, lighter), (5, lighter)):
        x = round(origin_x + k * slot) - 2  # a little before the step, where no line of the trust mark runs
        share = (x + 0.5 - origin_x) / slot
        high, low = ends(pixels[x])
        assert high == pytest.approx(origin_y - 3 * share * a_price, abs=2)
        assert low == pytest.approx(origin_y + 2 * share * a_price, abs=2)
    line = origin_y - 1.5 * a_price
    assert statistics.mean(accent[round(origin_x + 1.5 * slot)]) == pytest.approx(line, abs=1.5)

    assert max(band) == pytest.approx(origin_x + 2 * slot, abs=2)
    assert max(lighter) == pytest.approx(origin_x + 6 * slot, abs=2)
    mark = [x for x, found in warn.items() if len(found) > 50]
    assert mark == [pytest.approx(origin_x + 2 * slot, abs=1.5)]
    solid = range(round(origin_x) + 2, round(origin_x + 2 * slot) - 2)
    dashed = range(round(origin_x + 2 * slot) + 3, round(origin_x + 6 * slot) - 2)
    assert all(x in accent for x in solid)
    assert 0.3 < sum(x in accent for x in dashed) / len(dashed) < 0.8


def test_a_single_step_is_a_bar_with_caps(drawing):
    end = START + 10 * HOUR
    step = steps(6, end, 100.0, trusted=0)[-1:]
    drawing.draw(
        "candles", "candleChart", {"rows": candles(10), "timeframeMs": HOUR, "forecast": step, "trustedSteps": 0}
    )
    assert not drawing.pixels("band")
    assert not drawing.pixels("lighter")
    tall = [x for x, found in drawing.pixels("accent").items() if len(found) > 60]
    assert 1 <= len(tall) <= 2
    assert "0 of 1 steps are trusted" in drawing.values("canvas", "aria-label")[0][0]


def test_the_crosshair_reads_a_candle_and_a_step(drawing):
    rows = candles(20)
    drawing.draw(
        "candles",
        "candleChart",
        {"rows": rows, "timeframeMs": HOUR, "forecast": steps(5, START + 20 * HOUR, 100.0, trusted=2)},
    )
    up_or_down = sorted({*drawing.pixels("up"), *drawing.pixels("down")})
    first, last = up_or_down[0], up_or_down[-1]
    slot = (last - first) / 19.7

    drawing.page.mouse.move(first + 2.4 * slot, 200)
    drawing.settle()
    assert "2024-01-15 02:00 UTC" in drawing.text()
    for price in rows[2][1:5]:
        assert re.search(rf"\b{price:.2f}\b", drawing.text())

    drawing.page.mouse.move(last + 3 * slot, 200)
    drawing.settle()
    words = drawing.text()
    assert "2024-01-15 23:00 UTC, step 3" in words
    assert "forecast 103.0" in words
    assert f"({103 / rows[-1][4] - 1:.2%})".replace("-", "−") in words
    assert "94.0" in words
    assert "109.0" in words
    assert "55.0%" in words
    assert "not trusted" in words

    drawing.page.mouse.move(900, 700)
    drawing.settle()
    assert "2024-01-15 19:00 UTC" in drawing.text()


def test_what_is_drawn_is_told_in_words(drawing):
    rows = candles(30)
    data = {
        "rows": rows,
        "timeframeMs": HOUR,
        "forecast": steps(7, START + 30 * HOUR, 100.0, trusted=2),
        "label": "BTC/USDT 1h",
    }
    drawing.draw("candles", "candleChart", data)
    role, label = drawing.values("canvas", "role", "aria-label")[0]
    assert role == "img"
    assert label.startswith("BTC/USDT 1h: candles from 2024-01-15 00:00 UTC to 2024-01-16 05:00 UTC")
    assert "2 of 7 steps are trusted" in label
    tables = drawing.page.evaluate(
        """[...document.querySelectorAll("table")].map(
            table => [...table.tBodies[0].rows].map(row => [...row.cells].map(cell => cell.textContent))
        )"""
    )
    assert [row[0] for row in tables[0]] == [f"2024-01-16 0{hour}:00 UTC" for hour in range(1, 6)]
    assert [row[0] for row in tables[1]] == ["1", "2", "3", "4", "5"]
    assert [row[6] for row in tables[1]] == ["yes", "yes", "no", "no", "no"]
    assert drawing.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_the_keyboard_moves_and_zooms(drawing):
    rows = candles(1_000)
    drawing.draw("candles", "candleChart", {"rows": rows, "timeframeMs": HOUR})
    from_, to = drawing.view()
    assert to >= rows[-1][0] + HOUR
    assert (to - from_) / HOUR == pytest.approx(122, abs=4)
    drawing.press("Tab")
    assert drawing.page.evaluate("document.activeElement.tagName") == "CANVAS"

    drawing.press("ArrowLeft")
    left, right = drawing.view()
    assert (from_ - left) == pytest.approx(to - right)
    assert 5 * HOUR < from_ - left < 40 * HOUR
    drawing.press("ArrowRight")
    assert drawing.view() == pytest.approx((from_, to))

    drawing.press("+", "+")
    near = drawing.view()
    assert near[1] - near[0] == pytest.approx((to - from_) / 1.3**2, rel=0.01)
    drawing.press("-", "-", "-")
    assert drawing.view()[1] - drawing.view()[0] == pytest.approx((to - from_) * 1.3, rel=0.01)

    drawing.press("Home")
    assert START - 10 * HOUR < drawing.view()[0] <= START
    drawing.press("End")
    assert rows[-1][0] + HOUR <= drawing.view()[1] < rows[-1][0] + 10 * HOUR
    drawing.press(*["-"] * 20)
    far = drawing.view()
    assert far[0] <= START
    assert far[1] >= rows[-1][0] + HOUR
    assert far[1] - far[0] < 1_000 * HOUR * 1.1
    drawing.press(*["+"] * 40)
    assert drawing.view()[1] - drawing.view()[0] == pytest.approx(8 * HOUR)

    drawing.press("End", "Shift+ArrowLeft")
    last = drawing.text()
    drawing.press("Shift+ArrowLeft")
    before = drawing.text()
    told = [datetime.strptime(text[:16], "%Y-%m-%d %H:%M") for text in (before, last)]
    assert told[1] - told[0] == timedelta(hours=1)
    assert drawing.values(".chart-readout", "aria-live") == [["polite"]]


def test_the_page_is_told_of_a_new_range_once_it_is_quiet(drawing):
    drawing.draw("candles", "candleChart", {"rows": candles(1_000), "timeframeMs": HOUR})
    drawing.page.wait_for_timeout(400)
    assert drawing.page.evaluate("ranges") == []
    drawing.press("Tab", "ArrowLeft", "ArrowLeft", "-", "ArrowLeft")
    drawing.page.wait_for_timeout(500)
    (found,) = drawing.page.evaluate("ranges")
    assert found == [math.floor(drawing.view()[0]), math.ceil(drawing.view()[1])]

    drawing.press("ArrowLeft")
    drawing.page.evaluate("chart.destroy()")
    drawing.page.wait_for_timeout(400)
    assert len(drawing.page.evaluate("ranges")) == 1
    assert drawing.page.evaluate("document.querySelector('#chart').children.length") == 0


def test_the_mouse_drags_and_the_wheel_zooms_where_it_stands(drawing):
    rows = candles(1_000)
    drawing.draw("candles", "candleChart", {"rows": rows, "timeframeMs": HOUR})
    drawing.page.mouse.move(300, 200)
    drawing.settle()
    under = drawing.text()[:16]

    drawing.page.mouse.wheel(0, -300)
    drawing.settle()
    drawing.page.mouse.move(301, 200)
    drawing.settle()
    assert drawing.text()[:16] == under

    from_, to = drawing.view()
    drawing.page.mouse.down()
    drawing.page.mouse.move(501, 200, steps=5)
    drawing.page.mouse.up()
    drawing.page.mouse.move(500, 200)
    drawing.settle()
    assert drawing.text()[:16] == under
    assert drawing.view()[0] < from_
    assert drawing.view()[1] - drawing.view()[0] == pytest.approx(to - from_)

    before = drawing.view()
    drawing.page.mouse.wheel(120, 0)
    drawing.settle()
    assert drawing.view()[0] > before[0]
    assert drawing.view()[1] - drawing.view()[0] == pytest.approx(to - from_)


def test_two_fingers_zoom_on_a_sharp_screen(sharp_drawing):
    drawing = sharp_drawing
    drawing.draw("candles", "candleChart", {"rows": candles(1_000), "timeframeMs": HOUR})
    size = drawing.page.evaluate(
        "(() => { const c = document.querySelector('canvas'); return [c.width, c.clientWidth] })()"
    )
    assert size == [1600, 800]
    before = drawing.view()
    session = drawing.page.context.new_cdp_session(drawing.page)
    for kind, spread in (("touchStart", 50), ("touchMove", 75), ("touchMove", 100), ("touchEnd", None)):
        points = (
            [] if spread is None else [{"x": 400 - spread, "y": 200, "id": 0}, {"x": 400 + spread, "y": 200, "id": 1}]
        )
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    drawing.settle()
    after = drawing.view()
    assert (after[1] - after[0]) == pytest.approx((before[1] - before[0]) / 2, rel=0.03)


def test_new_data_keeps_a_chosen_view(drawing):
    rows = candles(600)
    drawing.draw("candles", "candleChart", {"rows": rows[:500], "timeframeMs": HOUR})
    drawing.update({"forecast": steps(300, rows[499][0] + HOUR, 100.0, trusted=1)})
    from_, to = drawing.view()  # nobody chose: the whole forecast is in it, and more candles than steps
    assert to >= rows[499][0] + 301 * HOUR
    assert from_ <= rows[499][0] - 300 * HOUR

    drawing.update({"forecast": []})
    drawing.press("Tab", "ArrowLeft", "ArrowLeft")
    chosen = drawing.view()
    drawing.update({"rows": rows[100:510]})
    assert drawing.view() == chosen
    drawing.press("End")
    end = drawing.view()
    drawing.update({"rows": rows[100:520]})
    assert drawing.view()[1] - end[1] == pytest.approx(10 * HOUR)
    drawing.update({"rows": candles(50, start=START + 90_000 * HOUR)})
    assert drawing.view()[1] > START + 90_000 * HOUR


def test_limits_let_the_view_leave_what_is_loaded(drawing):
    rows = candles(200)
    limits = [START - 1_000 * HOUR, START + 200 * HOUR]
    drawing.draw("candles", "candleChart", {"rows": rows, "timeframeMs": HOUR, "limits": limits})
    drawing.press("Tab", "Home")
    assert drawing.view()[0] < START - 1_000 * HOUR
    groups = [[START + (i * 4 - 1_000) * HOUR, 100, 104, 96, 102, 5] for i in range(100)]
    drawing.update({"rows": groups, "group": 4})
    assert "up to 4 candles" in drawing.text()
    assert drawing.pixels("up")


def test_20000_candles_scroll_smoothly(drawing, record_property):
    drawing.draw(
        "candles", "candleChart", {"rows": candles(20_000), "timeframeMs": HOUR, "view": [START, START + 20_000 * HOUR]}
    )
    found = drawing.page.evaluate(
        """async () => {
            const canvas = document.querySelector("canvas");
            const frame = () => new Promise(requestAnimationFrame);
            const work = [], between = [];
            let before = await frame();
            for (let i = 0; i < 60; i += 1) {
                const started = new Promise(done => requestAnimationFrame(() => done(performance.now())));
                const wheel = i % 2 ? {deltaX: 60} : {deltaY: i < 30 ? -20 : 20};
                canvas.dispatchEvent(new WheelEvent("wheel", {...wheel, clientX: 400, clientY: 200, cancelable: true}));
                const drawn = new Promise(done => requestAnimationFrame(() => {
                    canvas.getContext("2d").getImageData(0, 0, 1, 1);  // what was asked of the canvas is painted by now
                    done(performance.now());
                }));
                work.push(-(await started) + (await drawn));
                const now = await frame();
                between.push((now - before) / 2);
                before = now;
            }
            return [work, between];
        }"""
    )
    work, between = (statistics.median(each) for each in found)
    record_property("draw_ms", work)
    print(f"draw {work:.1f} ms, frame {between:.1f} ms")
    assert work <= 60
    assert between <= 60


def test_colours_follow_the_theme(plain_drawing):
    drawing = plain_drawing
    row = [START, 100, 120, 90, 110, None]
    drawing.draw("candles", "candleChart", {"rows": [row], "timeframeMs": HOUR})
    shades = [drawing.page.evaluate(SHADES)]
    drawing.page.evaluate("document.documentElement.dataset.theme = 'dark'")
    drawing.settle()
    shades.append(drawing.page.evaluate(SHADES))
    drawing.page.evaluate("document.documentElement.dataset.theme = 'light'")
    drawing.page.emulate_media(color_scheme="dark")
    drawing.settle()
    shades.append(drawing.page.evaluate(SHADES))
    drawing.page.evaluate("delete document.documentElement.dataset.theme")
    drawing.settle()
    shades.append(drawing.page.evaluate(SHADES))
    light, dark = [0x1F, 0x8A, 0x5B], [0x4C, 0xC3, 0x8A]
    assert shades == [light, dark, light, dark]


SHADES = """(() => {  // the most frequent colour with more green than red and blue
    const canvas = document.querySelector("canvas");
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const counts = new Map();
    for (let i = 0; i < data.length; i += 4) {
        const [r, g, b, a] = data.subarray(i, i + 4);
        if (a === 255 && g > r + 40 && g > b + 20) counts.set(`${r},${g},${b}`, (counts.get(`${r},${g},${b}`) ?? 0) + 1);
    }
    return [...counts].sort((a, b) => b[1] - a[1])[0][0].split(",").map(Number);
})()"""


def test_the_size_follows_the_element(drawing):
    drawing.draw("candles", "candleChart", {"rows": candles(50), "timeframeMs": HOUR})
    for width in (500, 333):
        drawing.page.evaluate("width => { document.querySelector('#chart').style.width = `${width}px` }", width)
        drawing.settle()
        assert drawing.page.evaluate("document.querySelector('canvas').width") == width
        assert max(drawing.pixels("any")) > width - 60


FLAT = [[START + i * HOUR, 5, 5, 5, 5, 0] for i in range(30)]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], None),
        ([[START, 1, 2, 0.5, 1.5, 3]], "1.5"),
        (FLAT, "5.000"),
        ([*candles(5), [START + 5 * HOUR, None, None, None, None, None], *candles(5, start=START + 9 * HOUR)], "UTC"),
        ([[START, None, None, None, None, None]], None),
        (candles(40, price=1e-8), "0.0000000"),
        (candles(40, price=1e6), "00"),
        ([[START, 0, 0, 0, 0, None]], "0"),
    ],
    ids=["none", "one", "flat", "gaps", "only a gap", "tiny", "huge", "zero"],
)
def test_odd_candles_draw_something_sensible(drawing, rows, expected):
    for more in ({}, {"forecast": [{"step": 1, "timestamp": START + 40 * HOUR, "predicted_close": None}]}):
        drawing.draw("candles", "candleChart", {"rows": rows, "timeframeMs": HOUR, **more})
        assert drawing.pixels("any")
        words = drawing.text() + str(drawing.values("canvas", "aria-label")) + drawing.page.inner_text("#chart")
        assert not re.search(r"NaN|Infinity|undefined|null", words)
        assert (expected or "") in drawing.text()
        drawing.press("Tab", "+", "ArrowLeft", "Home", "End", "-", "Shift+ArrowLeft", "Escape")
        drawing.page.mouse.move(300, 200)
        drawing.page.mouse.wheel(0, 50)
        drawing.settle()
        assert all(math.isfinite(ms) for ms in drawing.view())


def test_the_policy_of_the_test_page_bites(chromium, address):
    with chromium.new_context() as context:
        page = context.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(address)
        page.evaluate("document.querySelector('#chart').innerHTML = '<p style=\"color: red\">x</p>'")
        page.evaluate("() => new Promise(done => setTimeout(done, 50))")
        assert any("Content Security Policy" in text for text in said)
