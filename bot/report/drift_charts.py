"""The charts of the drift report."""

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
from bot.report.scales import Axis
from bot.report.words import percent
from ml.intervals import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["distribution_chart", "rolling_chart", "rolling_shares", "rolling_window", "statistic_chart"]

_LEAST_WINDOW, _MOST_WINDOW = 50, 500
_DRAWN = 450  # places at which a rolling figure is drawn
_DECADES = 4.0  # shown below the alarm level; smaller statistics lie on the bottom


def statistic_chart(open_ms: Integers, statistic: Floats, level: float, fall: int | None) -> Chart:
    """Draw a sequential statistic against its alarm level and a tenth of it, on a logarithmic scale.

    Parameters
    ----------
    open_ms : int64 array, shape (n,)
        Bars that were evaluated, n at least 2.
    statistic : float64 array, shape (n,)
        After each of them.
    level
        Where the alarm is raised.
    fall
        Row of the likeliest moment of a fall; None where none is seen.
    """
    bottom = max(level / 10**_DECADES, min(level / 100, 0.5 * float(statistic.min())))
    shown = np.clip(statistic, bottom, 1e3 * level)
    axis = Axis(bottom, max(2.5 * level, 1.6 * float(shown.max())), log=True)
    alarm, warning = (float(height) for height in heights_of(np.array([level, level / 10]), axis))
    parts = [
        f'<rect class="zone" x="0" y="0" width="{SIDE}" height="{alarm:.1f}"/>',
        *grid_lines(axis),
        f'<path class="level" d="M0 {alarm:.1f}H{SIDE}"/>',
        f'<path class="level warning" d="M0 {warning:.1f}H{SIDE}"/>',
        line_of(shown, axis, "price statistic"),
    ]
    inside = [
        Label(1, f"alarm at {level:,.0f}", "mark-text", alarm / 10),
        Label(1, "warning", "mark-text", warning / 10),
    ]
    count = len(shown)
    if fall is not None:
        place = float(places_of(np.array([fall]), count)[0])
        parts.append(f'<path class="fell" d="M{place:.1f} 0V{SIDE}"/>')
        side = "left" if place > 0.7 * SIDE else ""
        inside.append(Label(place / 10, "likeliest start of the fall", f"mark-text low {side}".strip(), 100))
    above = np.flatnonzero(statistic >= level)
    if len(above):
        first = above[:1]
        x, y = places_of(first, count)[0], heights_of(shown[first], axis)[0]
        parts.append(f'<path class="alarm-dot" d="M{x:.1f} {y:.1f}h0"/>')
    return Chart(
        "".join(parts),
        left_labels(axis, _whole),
        time_labels(open_ms),
        "Statistic of the drift test against its alarm level",
        280,
        inside,
    )


def rolling_window(count: int) -> int:
    """Return how many evaluations a rolling figure of a series holds: a third, from 50 to 500."""
    return min(count, max(_LEAST_WINDOW, min(_MOST_WINDOW, count // 3)))


def rolling_shares(values: Floats, window: int) -> tuple[Integers, Floats]:
    """Return rows, spread evenly, and the mean of the ``window`` values up to each of them."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    last = len(values) - 1
    rows = np.unique(np.linspace(window - 1, last, min(_DRAWN, last - window + 2)).astype(np.int64))
    return rows, (total[rows + 1] - total[rows + 1 - window]) / window


def rolling_chart(
    open_ms: Integers, came_true: Flags, stated: Floats, reference: float | None, window: int, overlap: int = 1
) -> Chart:
    """Draw the share that came true with its 95 % Wilson band, beside what was stated and what the model is held to.

    Parameters
    ----------
    open_ms, came_true, stated : arrays, shape (n,)
        Evaluations, n at least ``window``.
    reference
        Share that a healthy model reaches at least; None where there is none.
    window
        Evaluations that a point looks back on.
    overlap
        Evaluations that are worth one, where labels overlap.
    """
    rows, share = rolling_shares(came_true.astype(np.float64), window)
    _, said = rolling_shares(stated, window)
    bands = [wilson(float(hit) * window / overlap, window / overlap) for hit in share]
    low, high = np.array(bands).T
    level = np.array([reference] if reference is not None else [])
    axis = Axis.around(low, high, said, level, margin=0.08)
    count = len(came_true)
    x = places_of(rows, count)
    band = points_of(x, heights_of(high, axis)) + "L" + points_of(x[::-1], heights_of(low[::-1], axis))
    parts = [
        *grid_lines(axis),
        f'<path class="band" d="M{band}Z"/>',
        f'<path class="line hold" d="M{points_of(x, heights_of(said, axis))}"/>',
        f'<path class="line equity" d="M{points_of(x, heights_of(share, axis))}"/>',
    ]
    inside = []
    if reference is not None:
        height = float(heights_of(level, axis)[0])
        parts.append(f'<path class="level warning" d="M0 {height:.1f}H{SIDE}"/>')
        inside.append(Label(1, f"held to {percent(reference)}", "mark-text", height / 10))
    left = left_labels(axis, lambda value: percent(value, digits(axis)))
    return Chart("".join(parts), left, time_labels(open_ms), "Share of forecasts that came true", 260, inside)


def distribution_chart(edges: Sequence[float], before: Sequence[float], now: Sequence[float]) -> Chart:
    """Draw the share of predictions in each bin, before and now, side by side; ``edges`` part the bins."""
    axis = Axis(0.0, max(0.05, 1.12 * max(*before, *now)))
    width = SIDE / len(before)
    parts = grid_lines(axis)
    for shares, kind, start in ((before, "before", 0.12), (now, "now", 0.5)):
        for number, top in enumerate(heights_of(np.array(shares), axis).tolist()):
            parts.append(
                f'<rect class="{kind}" x="{(number + start) * width:.1f}" y="{top:.1f}" width="{0.38 * width:.1f}" '
                f'height="{SIDE - top:.1f}"/>'
            )
    decimals = 1 if len(edges) > 1 and edges[-1] - edges[0] < 0.08 else 0
    every = max(1, len(edges) // 4)
    bottom = [
        Label(100 * (number + 1) / len(before), percent(edge, decimals))
        for number, edge in enumerate(edges)
        if number % every == 0
    ]
    return Chart("".join(parts), left_labels(axis, lambda value: percent(value, 0)), bottom, "Predictions", 260)


def _whole(value: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"
