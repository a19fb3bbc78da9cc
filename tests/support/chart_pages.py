"""A page for one chart in a real browser, under the content policy of the dashboard."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bot.service

CHARTS = Path(bot.service.__file__).parent / "dashboard" / "charts"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Charts</title><link rel="icon" href="data:,">
<link rel="stylesheet" href="/charts/charts.css">{style}</head><body><div id="chart"></div></body></html>"""
STYLE = """:root { --up: #00ff00; --down: #ff0000; --band: #0000ff; --accent: #ff00ff; --warn: #ff8800; --ink: #000000;
--muted: #777777; --line: #dddddd; --panel: #ffffff; } body { margin: 0; } #chart { width: 800px; }"""


class _Files(http.server.BaseHTTPRequestHandler):
    """The charts' folder and two pages: with colours of their own, and with none."""

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2]
        kinds = {".js": "text/javascript", ".css": "text/css"}
        if self.path.startswith("/charts/") and (CHARTS / name).is_file():
            body, kind = (CHARTS / name).read_bytes(), kinds[Path(name).suffix]
        elif self.path == "/style.css":
            body, kind = STYLE.encode(), "text/css"
        else:
            link = '<link rel="stylesheet" href="/style.css">' if self.path == "/" else ""
            body, kind = PAGE.format(style=link).encode(), "text/html"
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Security-Policy", POLICY)
        self.send_header("Cache-Control", "max-age=3600")  # the pages of one context read the files once
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@contextmanager
def served() -> Iterator[str]:
    """Serve the charts on loopback; yield the address."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass
class Drawing:
    """A page with one chart, and what went wrong on it."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)

    def draw(self, module: str, function: str, data: dict[str, Any]) -> None:
        """Draw a chart into the page; ``chart`` and ``ranges`` are then known there."""
        self.page.evaluate(
            """async ([module, name, text]) => {
                const data = JSON.parse(text);
                const made = await import(`/charts/${module}.js`);
                window.ranges = [];
                const element = document.querySelector("#chart");
                window.chart = made[name](element, {...data, onRange: (from, to) => window.ranges.push([from, to])});
            }""",
            [module, function, json.dumps(data)],  # in one piece, as large data in parts takes seconds
        )
        self.settle()

    def update(self, data: dict[str, Any]) -> None:
        self.page.evaluate("text => chart.update(JSON.parse(text))", json.dumps(data))
        self.settle()

    def settle(self) -> None:
        """Wait until what was asked for is drawn."""
        self.page.evaluate(
            "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done())))"
        )

    def view(self) -> tuple[float, float]:
        return tuple(self.page.evaluate("chart.view()"))

    def text(self, selector: str = ".chart-readout") -> str:
        return self.page.locator(selector).first.inner_text().replace("\n", " ")

    def values(self, selector: str, *names: str) -> list[list[str]]:
        """Return attributes of every element that a selector finds."""
        return self.page.evaluate(
            "([s, names]) => [...document.querySelectorAll(s)].map(e => names.map(n => e.getAttribute(n)))",
            [selector, names],
        )

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def pixels(self, colour: str) -> dict[int, list[int]]:
        """Return by column of the canvas the rows whose pixels have a colour, named by a test on r, g, b and a."""
        found = self.page.evaluate(
            """test => {
                const canvas = document.querySelector("canvas");
                const {width, height} = canvas;
                const data = canvas.getContext("2d").getImageData(0, 0, width, height).data;
                const found = {}, holds = TESTS[test];
                for (let x = 0; x < width; x += 1) for (let y = 0; y < height; y += 1) {
                    const i = (y * width + x) * 4;
                    if (holds(data[i], data[i + 1], data[i + 2], data[i + 3])) (found[x] ??= []).push(y);
                }
                return JSON.stringify(found);
            }""".replace("TESTS", COLOURS),
            colour,
        )
        return {int(x): rows for x, rows in json.loads(found).items()}


_PROBES = "readback operations"  # a hint about reading pixels, which the tests alone do

COLOURS = """({
    up: (r, g, b, a) => g === 255 && r === 0 && b === 0 && a === 255,
    down: (r, g, b, a) => r === 255 && g === 0 && b === 0 && a === 255,
    volume: (r, g, b, a) => g === 255 && r < 5 && b < 5 && a > 100 && a < 130,
    band: (r, g, b, a) => b === 255 && r === 0 && g === 0 && a === 255,
    lighter: (r, g, b, a) => b > 250 && r < 5 && g < 5 && a > 100 && a < 160,
    accent: (r, g, b, a) => r > 110 && b > 200 && g < 60 && a > 100,
    warn: (r, g, b, a) => r > 240 && g > 120 && g < 150 && b < 20 && a > 200,
    any: (r, g, b, a) => a > 0,
})"""


@contextmanager
def blank(browser: Any, **options: Any) -> Iterator[Any]:
    """Yield a page that shows nothing, in a context of its own."""
    context = browser.new_context(viewport={"width": 1000, "height": 800}, **options)
    yield context.new_page()
    context.close()


@contextmanager
def opened(page: Any, address: str) -> Iterator[Drawing]:
    """Load a page for one chart anew; nothing may be complained of, and no other host be asked."""
    drawing = Drawing(page)
    heard = {
        "console": lambda said: _PROBES in said.text or drawing.complaints.append(f"{said.type}: {said.text}"),
        "pageerror": lambda error: drawing.complaints.append(f"error: {error}"),
        "request": lambda request: drawing.addresses.append(request.url),
    }
    for event, hear in heard.items():
        page.on(event, hear)
    page.mouse.move(999, 799)  # beside the chart, wherever the test before has left it
    page.goto(address)
    yield drawing
    drawing.settle()  # what it has to complain of is told by now
    for event, hear in heard.items():
        page.remove_listener(event, hear)
    assert drawing.complaints == []
    assert {url.split("/")[2] for url in drawing.addresses if not url.startswith("data:")} == {address.split("/")[2]}
