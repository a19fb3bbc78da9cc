"""What charts are drawn from: SVG that stretches with the page, and texts beside it as HTML, which keep their size.

Coordinates are thousandths of the width and of the height. Lines keep their thickness (``vector-effect``), and a dot is a
line of no length with round ends, which stays round however the chart is stretched.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.report.scales import Axis, thin, time_ticks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = [
    "SIDE",
    "Chart",
    "Label",
    "digits",
    "grid_lines",
    "heights_of",
    "left_labels",
    "line_of",
    "places_of",
    "points_of",
    "time_labels",
]

SIDE = 1000
"""Width and height of a drawing in its own units."""


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


def digits(axis: Axis) -> int:
    """Return the decimals that percentages on an axis need."""
    return 0 if axis.high - axis.low > 0.06 else 1


def places_of(rows: Integers, count: int) -> Floats:
    """Return how far across rows of a series of ``count`` lie, in thousandths of the width."""
    return np.asarray(rows * (SIDE / max(count - 1, 1)), dtype=np.float64)


def heights_of(values: Floats, axis: Axis) -> Floats:
    """Return how far down values lie, in thousandths of the height."""
    return axis.share(values) * SIDE


def points_of(x: Floats, y: Floats) -> str:
    """Return the points of a path."""
    return "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(x.tolist(), y.tolist(), strict=True))


def line_of(values: Floats, axis: Axis, kind: str) -> str:
    """Return a line through a series, thinned to what a screen shows; ``kind`` is its class."""
    rows = thin(values)
    return f'<path class="line {kind}" d="M{points_of(places_of(rows, len(values)), heights_of(values[rows], axis))}"/>'


def grid_lines(axis: Axis) -> list[str]:
    """Return a line across at every tick."""
    heights = heights_of(np.array(axis.ticks()), axis)
    return [f'<path class="grid" d="M0 {height:.1f}H{SIDE}"/>' for height in heights]


def left_labels(axis: Axis, shown: Callable[[Any], str]) -> list[Label]:
    """Return the labels of the ticks, in the words of ``shown``."""
    ticks = axis.ticks()
    return [
        Label(100 * float(place), shown(tick)) for tick, place in zip(ticks, axis.share(np.array(ticks)), strict=True)
    ]


def time_labels(open_ms: Integers) -> list[Label]:
    """Return the labels of round times under a series of bars."""
    count = max(len(open_ms) - 1, 1)
    return [Label(100 * row / count, text) for row, text in time_ticks(open_ms)]
