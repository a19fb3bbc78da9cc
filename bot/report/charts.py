"""The charts of the report as SVG that stretches with the page; texts stand beside it as HTML and keep their size.

Coordinates are thousandths of the width and of the height. Lines keep their thickness (``vector-effect``), and a dot is a
line of no length with round ends, which stays round however the chart is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.report.scales import Axis, thin, time_ticks
from bot.report.words import money, percent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from bot.backtest.rebuild import Curves, RoundTrip

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Chart", "calibration_chart", "drawdown_chart", "equity_chart", "price_chart", "waterfall_chart"]

_SIDE = 1000
_LOG_FROM = 4.0  # highest over lowest value from which equal factors are drawn equally high
_MOST_MARKED = 250


@dataclass(frozen=True)
class Label:
    """A text beside or inside a chart: its place as a percentage, and a class for its looks."""

    at: float
    text: str
    kind: str = ""
    top: float = 0.0


@dataclass(frozen=True)
class Chart:
    """Markup of a drawing and the texts around it.

    Attributes
    ----------
    svg
        Content of the ``svg`` element.
    left, bottom
        Labels of the axes: percentages from the top and from the left.
    inside
        Labels in the drawing: percentages from the left and from the top.
    height
        In pixels.
    name
        What it shows, for readers that do not see it.
    """

    svg: str
    left: Sequence[Label]
    bottom: Sequence[Label]
    name: str
    height: int = 260
    inside: Sequence[Label] = field(default=())


def equity_chart(curves: Curves, cash: float, split: int) -> Chart:
    """Draw the account's value against the same money bought and held; what is in sample is shaded."""
    hold = cash * curves.close / curves.close[0]
    both = np.concatenate((curves.equity, hold))
    axis = Axis.around(both, log=_wide(both))
    parts = [
        _shade(split, len(curves)),
        *_grid(axis),
        _line(hold, axis, "hold"),
        _line(curves.equity, axis, "equity"),
    ]
    return Chart(
        "".join(parts), _left(axis, money), _times(curves.open_ms), "Value of the account against buy and hold", 300
    )


def drawdown_chart(curves: Curves, split: int) -> Chart:
    """Draw how far the account is below its highest value."""
    axis = Axis(min(float(curves.drawdown.min()) * 1.08, -1e-4), 0.0)
    rows = thin(curves.drawdown)
    x, y = _x(rows, len(curves)), _y(curves.drawdown[rows], axis)
    area = f'<path class="area" d="M{x[0]:.1f} 0L{_points(x, y)}L{x[-1]:.1f} 0Z"/>'
    parts = [_shade(split, len(curves)), *_grid(axis), area, _line(curves.drawdown, axis, "fall")]
    left = _left(axis, lambda value: percent(value, 0 if axis.low < -0.05 else 1))
    return Chart("".join(parts), left, _times(curves.open_ms), "Fall below the highest value so far", 150)


def price_chart(curves: Curves, trades: Sequence[RoundTrip], split: int) -> Chart:
    """Draw the price, every trade from entry to exit, and a ribbon where something is held."""
    count = len(curves)
    axis = Axis.around(curves.close, log=_wide(curves.close))
    parts = [_shade(split, count), *_grid(axis), _line(curves.close, axis, "price")]
    for kind, wanted in (("win", True), ("loss", False)):
        chosen = [trade for trade in trades if (trade.profit > 0) == wanted]
        parts.append(_trades(chosen, curves, axis, kind))
    if len(trades) <= _MOST_MARKED:
        entries = [(trade.entry_ms, trade.entry_price) for trade in trades]
        exits = [(trade.exit_ms, trade.exit_price) for trade in trades if trade.exit_ms is not None]
        parts += [
            _dots(exits, curves, axis, "exit"),
            _dots(exits, curves, axis, "hole"),
            _dots(entries, curves, axis, "entry"),
        ]
    parts.append(_ribbon(curves))
    return Chart("".join(parts), _left(axis, money), _times(curves.open_ms), "Price with the trades", 320)


def calibration_chart(table: Sequence[Mapping[str, float]]) -> Chart | None:
    """Draw how often predictions of each confidence came true, with 95 % intervals; None without predictions."""
    if not table:
        return None
    stated = np.array([row["stated"] for row in table])
    low = np.array([row["observed_low"] for row in table])
    high = np.array([row["observed_high"] for row in table])
    across = Axis.around(stated, margin=0.12, floor=0.5)
    axis = Axis.around(low, high, stated, margin=0.08, floor=0.5)
    x, shown = (1 - across.share(stated)) * _SIDE, _y(np.array([row["observed"] for row in table]), axis)
    ends = np.array([max(across.low, axis.low), min(across.high, axis.high)])
    diagonal = _points((1 - across.share(ends)) * _SIDE, _y(ends, axis))
    bars = "".join(
        f"M{place:.1f} {bottom:.1f}V{top:.1f}"
        for place, bottom, top in zip(x, _y(low, axis), _y(high, axis), strict=True)
    )
    dots = "".join(f"M{place:.1f} {height:.1f}h0" for place, height in zip(x, shown, strict=True))
    svg = [
        *_grid(axis),
        f'<path class="ideal" d="M{diagonal}"/>',
        f'<path class="whisker" d="{bars}"/>',
        f'<path class="dot" d="{dots}"/>',
    ]
    bottom = [
        Label(100 * float(1 - across.share(np.array([tick]))[0]), percent(tick, _digits(across)))
        for tick in across.ticks(5)
    ]
    return Chart("".join(svg), _left(axis, lambda value: percent(value, _digits(axis))), bottom, "Calibration", 260)


def waterfall_chart(costs: Mapping[str, float]) -> Chart:
    """Draw how the profit before costs becomes the profit: fees and slippage hang between them."""
    gross, net = costs["gross"], costs["net"]
    after_fees = gross - costs["fees"]
    steps = (
        ("before costs", 0.0, gross, "gain" if gross >= 0 else "lost"),
        ("fees", gross, after_fees, "cost"),
        ("slippage", after_fees, net, "cost"),
        ("what is left", 0.0, net, "gain" if net >= 0 else "lost"),
    )
    axis = Axis.around(np.array([0.0, gross, after_fees, net]), margin=0.16)
    zero = float(_y(np.array([0.0]), axis)[0])
    parts, inside, bottom = [f'<path class="zero" d="M0 {zero:.1f}H{_SIDE}"/>'], [], []
    for place, (name, start, end, kind) in enumerate(steps):
        from_, to = (float(value) for value in _y(np.array([start, end]), axis))
        left, middle = place * 250 + 45, place * 25 + 12.5
        parts.append(
            f'<rect class="{kind}" x="{left}" y="{min(from_, to):.1f}" width="160" height="{max(abs(to - from_), 2):.1f}"/>'
        )
        if place < 3:
            parts.append(f'<path class="bridge" d="M{left + 160} {to:.1f}H{left + 250}"/>')
        amount = end if place in {0, 3} else end - start
        below = max(from_, to) > 900 or min(from_, to) < 60
        top = min(from_, to) if not below or amount > 0 else max(from_, to)
        inside.append(
            Label(
                middle,
                money(amount),
                f"amount {'under' if top == max(from_, to) != min(from_, to) else 'over'}",
                top / 10,
            )
        )
        bottom.append(Label(middle, name))
    return Chart("".join(parts), [], bottom, "From profit before costs to what is left", 240, inside)


def _wide(values: Floats) -> bool:
    low = float(values.min())
    return low > 0 and float(values.max()) / low > _LOG_FROM


def _digits(axis: Axis) -> int:
    return 0 if axis.high - axis.low > 0.06 else 1


def _x(rows: Integers, count: int) -> Floats:
    return np.asarray(rows * (_SIDE / max(count - 1, 1)), dtype=np.float64)


def _y(values: Floats, axis: Axis) -> Floats:
    return axis.share(values) * _SIDE


def _points(x: Floats, y: Floats) -> str:
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def _line(values: Floats, axis: Axis, kind: str) -> str:
    rows = thin(values)
    return f'<path class="line {kind}" d="M{_points(_x(rows, len(values)), _y(values[rows], axis))}"/>'


def _grid(axis: Axis) -> list[str]:
    heights = _y(np.array(axis.ticks()), axis)
    return [f'<path class="grid" d="M0 {height:.1f}H{_SIDE}"/>' for height in heights]


def _left(axis: Axis, shown: Callable[[Any], str]) -> list[Label]:
    ticks = axis.ticks()
    return [
        Label(100 * float(place), shown(tick)) for tick, place in zip(ticks, axis.share(np.array(ticks)), strict=True)
    ]


def _times(open_ms: Integers) -> list[Label]:
    count = max(len(open_ms) - 1, 1)
    return [Label(100 * row / count, text) for row, text in time_ticks(open_ms)]


def _shade(split: int, count: int) -> str:
    """Return the veil over what is in sample."""
    if split == 0:
        return ""
    width = min(_SIDE, split * _SIDE / max(count - 1, 1))
    return f'<rect class="seen" x="0" y="0" width="{width:.1f}" height="{_SIDE}"/>'


def _rows(times: Sequence[int], curves: Curves) -> Integers:
    return np.searchsorted(curves.open_ms, np.array(times, dtype=np.int64))


def _trades(trades: Sequence[RoundTrip], curves: Curves, axis: Axis, kind: str) -> str:
    """Return the trades as lines from entry to exit, one path for all of them."""
    closed = [trade for trade in trades if trade.exit_ms is not None and trade.exit_price is not None]
    if not closed:
        return ""
    count = len(curves)
    x0 = _x(_rows([trade.entry_ms for trade in closed], curves), count)
    x1 = _x(_rows([trade.exit_ms or 0 for trade in closed], curves), count)
    y0 = _y(np.array([trade.entry_price for trade in closed]), axis)
    y1 = _y(np.array([trade.exit_price or 0.0 for trade in closed]), axis)
    moves = (f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in zip(x0, y0, x1, y1, strict=True))
    return f'<path class="trade {kind}" d="{"".join(moves)}"/>'


def _dots(places: Sequence[tuple[int, float | None]], curves: Curves, axis: Axis, kind: str) -> str:
    if not places:
        return ""
    x = _x(_rows([when for when, _ in places], curves), len(curves))
    y = _y(np.array([price or 0.0 for _, price in places]), axis)
    return f'<path class="mark {kind}" d="{"".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))}"/>'


def _ribbon(curves: Curves, columns: int = 1000) -> str:
    """Return the stretches in which something is held, along the bottom."""
    count = len(curves)
    edges = np.linspace(0, count, min(columns, count) + 1).astype(np.int64)
    held = np.add.reduceat(curves.exposure, edges[:-1]) / np.diff(edges) > 0.4
    change = np.flatnonzero(np.diff(np.concatenate(([False], held, [False])).astype(np.int8)))
    x = edges[np.minimum(change, len(edges) - 1)] * (_SIDE / count)
    boxes = (f"M{a:.1f} 980H{b:.1f}V1000H{a:.1f}Z" for a, b in zip(x[::2], x[1::2], strict=True))
    return f'<path class="ribbon" d="{"".join(boxes)}"/>'
