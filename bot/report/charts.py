"""The charts of the report of a backtest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bot.report.drawing import (
    SIDE,
    Chart,
    Label,
    digits,
    grid_lines,
    heights_of,
    left_labels,
    line_of,
    places_of,
    points_of,
    time_labels,
)
from bot.report.scales import Axis, thin
from bot.report.words import money, percent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from bot.backtest.rebuild import Curves, RoundTrip

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["Chart", "calibration_chart", "drawdown_chart", "equity_chart", "price_chart", "waterfall_chart"]

_LOG_FROM = 4.0  # highest over lowest value from which equal factors are drawn equally high
_MOST_MARKED = 250


def equity_chart(curves: Curves, cash: float, split: int) -> Chart:
    """Draw the account's value against the same money bought and held; what is in sample is shaded."""
    hold = cash * curves.close / curves.close[0]
    both = np.concatenate((curves.equity, hold))
    axis = Axis.around(both, log=_wide(both))
    parts = [
        _shade(split, len(curves)),
        *grid_lines(axis),
        line_of(hold, axis, "hold"),
        line_of(curves.equity, axis, "equity"),
    ]
    return Chart(
        "".join(parts),
        left_labels(axis, money),
        time_labels(curves.open_ms),
        "Value of the account against buy and hold",
        300,
    )


def drawdown_chart(curves: Curves, split: int) -> Chart:
    """Draw how far the account is below its highest value."""
    axis = Axis(min(float(curves.drawdown.min()) * 1.08, -1e-4), 0.0)
    rows = thin(curves.drawdown)
    x, y = places_of(rows, len(curves)), heights_of(curves.drawdown[rows], axis)
    area = f'<path class="area" d="M{x[0]:.1f} 0L{points_of(x, y)}L{x[-1]:.1f} 0Z"/>'
    parts = [_shade(split, len(curves)), *grid_lines(axis), area, line_of(curves.drawdown, axis, "fall")]
    left = left_labels(axis, lambda value: percent(value, 0 if axis.low < -0.05 else 1))
    return Chart("".join(parts), left, time_labels(curves.open_ms), "Fall below the highest value so far", 150)


def price_chart(curves: Curves, trades: Sequence[RoundTrip], split: int) -> Chart:
    """Draw the price, every trade from entry to exit, and a ribbon where something is held."""
    count = len(curves)
    axis = Axis.around(curves.close, log=_wide(curves.close))
    parts = [_shade(split, count), *grid_lines(axis), line_of(curves.close, axis, "price")]
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
    return Chart("".join(parts), left_labels(axis, money), time_labels(curves.open_ms), "Price with the trades", 320)


def calibration_chart(table: Sequence[Mapping[str, float]]) -> Chart | None:
    """Draw how often predictions of each confidence came true, with 95 % intervals; None without predictions."""
    if not table:
        return None
    stated = np.array([row["stated"] for row in table])
    low = np.array([row["observed_low"] for row in table])
    high = np.array([row["observed_high"] for row in table])
    across = Axis.around(stated, margin=0.12, floor=0.5)
    axis = Axis.around(low, high, stated, margin=0.08, floor=0.5)
    x, shown = (1 - across.share(stated)) * SIDE, heights_of(np.array([row["observed"] for row in table]), axis)
    ends = np.array([max(across.low, axis.low), min(across.high, axis.high)])
    diagonal = points_of((1 - across.share(ends)) * SIDE, heights_of(ends, axis))
    bars = "".join(
        f"M{place:.1f} {bottom:.1f}V{top:.1f}"
        for place, bottom, top in zip(x, heights_of(low, axis), heights_of(high, axis), strict=True)
    )
    dots = "".join(f"M{place:.1f} {height:.1f}h0" for place, height in zip(x, shown, strict=True))
    svg = [
        *grid_lines(axis),
        f'<path class="ideal" d="M{diagonal}"/>',
        f'<path class="whisker" d="{bars}"/>',
        f'<path class="dot" d="{dots}"/>',
    ]
    bottom = [
        Label(100 * float(1 - across.share(np.array([tick]))[0]), percent(tick, digits(across)))
        for tick in across.ticks(5)
    ]
    return Chart(
        "".join(svg), left_labels(axis, lambda value: percent(value, digits(axis))), bottom, "Calibration", 260
    )


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
    zero = float(heights_of(np.array([0.0]), axis)[0])
    parts, inside, bottom = [f'<path class="zero" d="M0 {zero:.1f}H{SIDE}"/>'], [], []
    for place, (name, start, end, kind) in enumerate(steps):
        from_, to = (float(value) for value in heights_of(np.array([start, end]), axis))
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


def _shade(split: int, count: int) -> str:
    """Return the veil over what is in sample."""
    if split == 0:
        return ""
    width = min(SIDE, split * SIDE / max(count - 1, 1))
    return f'<rect class="seen" x="0" y="0" width="{width:.1f}" height="{SIDE}"/>'


def _rows(times: Sequence[int], curves: Curves) -> Integers:
    return np.searchsorted(curves.open_ms, np.array(times, dtype=np.int64))


def _trades(trades: Sequence[RoundTrip], curves: Curves, axis: Axis, kind: str) -> str:
    """Return the trades as lines from entry to exit, one path for all of them."""
    closed = [trade for trade in trades if trade.exit_ms is not None and trade.exit_price is not None]
    if not closed:
        return ""
    count = len(curves)
    x0 = places_of(_rows([trade.entry_ms for trade in closed], curves), count)
    x1 = places_of(_rows([trade.exit_ms or 0 for trade in closed], curves), count)
    y0 = heights_of(np.array([trade.entry_price for trade in closed]), axis)
    y1 = heights_of(np.array([trade.exit_price or 0.0 for trade in closed]), axis)
    moves = (f"M{a:.1f} {b:.1f}L{c:.1f} {d:.1f}" for a, b, c, d in zip(x0, y0, x1, y1, strict=True))
    return f'<path class="trade {kind}" d="{"".join(moves)}"/>'


def _dots(places: Sequence[tuple[int, float | None]], curves: Curves, axis: Axis, kind: str) -> str:
    if not places:
        return ""
    x = places_of(_rows([when for when, _ in places], curves), len(curves))
    y = heights_of(np.array([price or 0.0 for _, price in places]), axis)
    return f'<path class="mark {kind}" d="{"".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(x, y, strict=True))}"/>'


def _ribbon(curves: Curves, columns: int = 1000) -> str:
    """Return the stretches in which something is held, along the bottom."""
    count = len(curves)
    edges = np.linspace(0, count, min(columns, count) + 1).astype(np.int64)
    held = np.add.reduceat(curves.exposure, edges[:-1]) / np.diff(edges) > 0.4
    change = np.flatnonzero(np.diff(np.concatenate(([False], held, [False])).astype(np.int8)))
    x = edges[np.minimum(change, len(edges) - 1)] * (SIDE / count)
    boxes = (f"M{a:.1f} 980H{b:.1f}V1000H{a:.1f}Z" for a, b in zip(x[::2], x[1::2], strict=True))
    return f'<path class="ribbon" d="{"".join(boxes)}"/>'
