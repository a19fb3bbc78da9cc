"""A model's forecast paths as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
import numpy as np

from indicators.errors import IndicatorError
from indicators.history import HistoryRows
from indicators.lines import all_candles, bar_timeframe, fill_line, newest_candles

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]

__all__ = ["MOST_STEPS", "MLForecast"]

MOST_STEPS = 8
"""Steps that can be chosen at once: Backtrader wants to know the lines of a class beforehand."""

_RETURNS = tuple(f"return_{place}" for place in range(1, MOST_STEPS + 1))
_OTHERS = ("highest", "lowest", "peak_return", "peak_step", "peak_confidence")


class MLForecast(bt.Indicator):
    """What a model of paths says from each bar on: returns at steps of your choice, and how high and low the path goes.

    In a backtest the paths of all bars are computed in one batch; bar by bar, as in live trading, each path is computed from
    the newest candles that the model's features need. Both give the same bits. The bars that a live feed knew when it started
    (its ``history``) are one batch too.

    Formula:
      - the model's own; a path is a function of the bundle and a bounded slice of closed candles

    Lines:
      - ``return_1``, ``return_2``, ``return_3``, ``return_4``, ``return_5``, ``return_6``, ``return_7``, ``return_8``:
        predicted log return up to the first, second, ... chosen step; NaN beyond the last
      - ``highest``, ``lowest``: log return to the highest high and the lowest low of the whole path
      - ``peak_return``, ``peak_step``, ``peak_confidence``: log return to the highest predicted close among the trusted
        steps, the step at which it stands, and the calibrated probability that its direction is right; NaN, 0 and NaN
        where no step is trusted
      - ``trusted_steps``: how many steps beat persistence and drift out of sample; no order may rest on the path beyond. A
        property of the model, the same at every bar that it answers, 0 without one
      - ``status``: 0 ok, 1 warming, 2 no model, 3 expired, 4 out of distribution, 5 error; never NaN

    Absence:
      - every line but ``trusted_steps`` and ``status`` is NaN where the status is not 0
      - the minimum period is 1: a bar without enough history says ``warming``

    Params:
      - ``model``: the engine that forecasts, as the program binds it to a role of the config
      - ``steps``: up to eight steps of the path, in any order; None for 1, 5, 20 and 60, as far as the path goes
    """

    lines: ClassVar[Any] = (*_RETURNS, *_OTHERS, "trusted_steps", "status")
    params: ClassVar[Any] = (("model", None), ("steps", None))
    plotinfo: ClassVar[Any] = {"subplot": True, "plotyhlines": [0.0]}
    plotlines: ClassVar[Any] = {
        name: {"_plotskip": True} for name in (*_RETURNS[4:], *_OTHERS[2:], "trusted_steps", "status")
    }

    def _plotlabel(self) -> list[Any]:
        return [getattr(self.p.model, "name", "no model"), *self._steps]

    def __init__(self) -> None:
        super().__init__()
        model = self.p.model
        self._absent = getattr(model, "timeframe", "") is None  # an engine without a model
        if not (self._absent or hasattr(model, "summaries")):
            known = getattr(model, "name", repr(model))
            raise IndicatorError(
                f"MLForecast needs model=..., an engine of a model of paths (autoregressive, multi_ohlc); got {known}"
            )
        self._timeframe_of_bars = bar_timeframe(self.data)
        if not self._absent and model.timeframe != self._timeframe_of_bars:
            raise IndicatorError(
                f"the model {model.name} predicts bars of {model.timeframe}, the data has bars of {self._timeframe_of_bars}"
            )
        self._steps = self._chosen()
        self._outputs = [getattr(self.lines, name) for name in (*_RETURNS, *_OTHERS, "trusted_steps", "status")]
        self._history = HistoryRows(self.data, self._timeframe_of_bars, self._rows)

    def _chosen(self) -> tuple[int, ...]:
        model, steps = self.p.model, self.p.steps
        if steps is None:
            longest = 60 if self._absent else model.steps
            return tuple(step for step in (1, 5, 20, 60) if step <= longest)
        chosen = (steps,) if isinstance(steps, int) else tuple(steps)
        if not 1 <= len(chosen) <= MOST_STEPS:
            raise IndicatorError(f"MLForecast takes one to {MOST_STEPS} steps, got {len(chosen)}")
        if self._absent:
            return chosen
        try:
            found: tuple[int, ...] = model.check_steps(chosen)
        except ValueError as error:
            raise IndicatorError(f"MLForecast: {error}") from error
        return found

    def qbuffer(self, savemem: int = 0) -> None:
        """Keep as many bars of the data as one path needs when memory is saved."""
        super().qbuffer(savemem)
        self.data.minbuffer(max(1, self.p.model.window_bars))

    def next(self) -> None:
        """Forecast from the newest bar."""
        row = self._history.current()
        if row is None:
            row = self._newest(newest_candles(self.data, self._timeframe_of_bars, max(1, self.p.model.window_bars)))
        for line, value in zip(self._outputs, row, strict=True):
            line[0] = value

    def oncestart(self, start: int, end: int) -> None:
        """Leave the first bar to ``once``."""

    def once(self, start: int, end: int) -> None:  # noqa: ARG002 - the whole line is one batch
        """Forecast from every bar at once."""
        rows = self._rows(all_candles(self.data, self._timeframe_of_bars))
        for number, line in enumerate(self._outputs):
            fill_line(line, rows[:, number])

    def _newest(self, candles: Candles) -> list[float]:
        """Return the lines of the last bar."""
        nothing = float("nan")
        if self._absent:
            _, status = self.p.model.predict_newest(candles)
            return [nothing] * (MOST_STEPS + len(_OTHERS)) + [0.0, float(status)]
        found = self.p.model.newest_summary(candles, self._steps)
        values, used = found.values[0].tolist(), len(self._steps)
        unused = [nothing] * (MOST_STEPS - used)
        return [*values[:used], *unused, *values[used:], float(found.trusted_steps), float(found.status[0])]

    def _rows(self, candles: Candles) -> Floats:
        """Return the lines of every bar, float64 (n, 15)."""
        model, used = self.p.model, len(self._steps)
        rows = np.full((len(candles), len(self._outputs)), np.nan)
        if self._absent:
            rows[:, -2], rows[:, -1] = 0.0, model.predict_batch(candles).status
            return rows
        found = model.summaries(candles, self._steps)
        rows[:, :used], rows[:, MOST_STEPS:-2] = found.values[:, :used], found.values[:, used:]
        by_bar = getattr(model, "trusted_steps_at", None)  # of an engine whose model changes with time
        rows[:, -2] = found.trusted_steps if by_bar is None else by_bar(candles.open_ms)
        rows[:, -1] = found.status
        return rows
