"""What predictions like this one earned out of sample, as a line."""

from __future__ import annotations

from typing import Any, ClassVar

import backtrader as bt

from indicators.lines import fill_line, line_values

__all__ = ["HoldingEdge"]


class HoldingEdge(bt.Indicator):
    """Lower bound of the mean gross return per holding period, for predictions as sure as the current one.

    The model's out-of-sample record is replayed once, long or flat, with the given ``enter`` and ``exit``; holdings are
    sorted into bins by the probability at their entry.

    Lines:
      - ``lower_bound``: one-sided 95 % lower bound of the mean gross return of a holding in the bin of the current
        ``p_up``, a fraction; NaN where there is no prediction or no record

    Params:
      - ``model``: the engine of the prediction
      - ``enter``, ``exit``: probabilities that open and close a holding
    """

    lines: ClassVar[Any] = ("lower_bound",)
    params: ClassVar[Any] = (("model", None), ("enter", 0.55), ("exit", 0.45))
    plotinfo: ClassVar[Any] = {"subplot": True, "plotyhlines": [0.0]}

    def _plotlabel(self) -> list[Any]:
        return [self.p.enter, self.p.exit]

    def __init__(self) -> None:
        super().__init__()
        self._edges = self.p.model.holding_edges(self.p.enter, self.p.exit)

    def next(self) -> None:
        """Look up the bin of the newest prediction."""
        self.lines.lower_bound[0] = float(self._edges.at(self.data.lines.p_up[0]))

    def oncestart(self, start: int, end: int) -> None:
        """Leave the first bar to ``once``."""

    def once(self, start: int, end: int) -> None:  # noqa: ARG002 - the whole line is one batch
        """Look up every bar at once."""
        fill_line(self.lines.lower_bound, self._edges.at(line_values(self.data.lines.p_up)))
