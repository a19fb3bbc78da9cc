"""What predictions like this one earned out of sample, as a line."""

from __future__ import annotations

from typing import Any, ClassVar

import backtrader as bt
import numpy as np

from indicators.lines import bar_step_ms, feed_of, fill_line, line_values, open_ms, open_times

__all__ = ["HoldingEdge"]


class HoldingEdge(bt.Indicator):
    """Lower bound of the mean gross return per holding period, for predictions as sure as the current one.

    The model's out-of-sample record is replayed once, long or flat, with the given ``enter`` and ``exit``; holdings are
    sorted into bins by the probability at their entry. Where the model changes with time each bar is looked up in the record
    of the one that answers it.

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
        self._bounds = getattr(self.p.model, "edge_bounds", None)  # of an engine whose model changes with time
        if self._bounds is not None:
            self._feed = feed_of(self.data)
            self._step_ms = bar_step_ms(self._feed)

    def next(self) -> None:
        """Look up the bin of the newest prediction."""
        p_up = self.data.lines.p_up[0]
        if self._bounds is None:
            self.lines.lower_bound[0] = float(self._edges.at(p_up))
            return
        time = np.array([open_ms(self._feed, self._step_ms)], dtype=np.int64)
        self.lines.lower_bound[0] = self._bounds(time, np.array([p_up]), self.p.enter, self.p.exit).item()

    def oncestart(self, start: int, end: int) -> None:
        """Leave the first bar to ``once``."""

    def once(self, start: int, end: int) -> None:  # noqa: ARG002 - the whole line is one batch
        """Look up every bar at once."""
        p_up = line_values(self.data.lines.p_up)
        if self._bounds is None:
            fill_line(self.lines.lower_bound, self._edges.at(p_up))
            return
        times = open_times(self._feed, self._step_ms)
        fill_line(self.lines.lower_bound, self._bounds(times, p_up, self.p.enter, self.p.exit))
