"""A model's predictions as lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
import numpy as np

from indicators.errors import IndicatorError
from indicators.history import HistoryRows
from indicators.lines import all_candles, bar_timeframe, fill_line, newest_candles
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]

__all__ = ["MLPrediction"]


class MLPrediction(bt.Indicator):
    """What a model says of each bar.

    In a backtest all bars are predicted in one batch; bar by bar, as in live trading, each prediction is computed from the
    newest candles that the model's features need. Both give the same bits. The bars that a live feed knew when it started
    (its ``history``) are one batch too.

    Formula:
      - the model's own; a prediction is a function of the bundle and a bounded slice of closed candles

    Lines:
      - ``price``: median forecast of the close at the horizon, quote currency
      - ``expected_return``: its log return
      - ``direction``: +1 or -1
      - ``confidence``: calibrated probability in [0.5, 1] that what is said is right
      - ``p_up``: calibrated probability of a rise
      - ``low``, ``high``: 90 % band of the price
      - ``risk``: 100 times the calibrated probability of an adverse move
      - ``volatility``: standard deviation of the log return over the horizon
      - ``status``: 0 ok, 1 warming, 2 no model, 3 expired, 4 out of distribution, 5 error; never NaN

    Absence:
      - every line but ``status`` is NaN where the status is not 0, and where the model does not speak of it
      - the minimum period is 1: the first trade must not depend on where the feed starts, so a bar without enough
        history says ``warming``

    Params:
      - ``model``: the engine that predicts, as the program binds it to a role of the config

    ``read`` holds the candles that the newest prediction was computed from, where it was computed bar by bar.
    """

    lines: ClassVar[Any] = (*PREDICTION_COLUMNS, "status")
    params: ClassVar[Any] = (("model", None),)
    plotinfo: ClassVar[Any] = {"subplot": True, "plotyhlines": [0.5]}
    plotlines: ClassVar[Any] = {
        name: {"_plotskip": True} for name in (*PREDICTION_COLUMNS, "status") if name not in {"p_up", "confidence"}
    }

    def _plotlabel(self) -> list[Any]:
        return [getattr(self.p.model, "name", "no model")]

    def __init__(self) -> None:
        super().__init__()
        model = self.p.model
        if not hasattr(model, "predict_newest"):
            raise IndicatorError(f"MLPrediction needs model=..., an engine that predicts; got {model!r}")
        self._timeframe_of_bars = bar_timeframe(self.data)
        if model.timeframe is not None and model.timeframe != self._timeframe_of_bars:
            raise IndicatorError(
                f"the model {model.name} predicts bars of {model.timeframe}, the data has bars of {self._timeframe_of_bars}"
            )
        self._outputs = [getattr(self.lines, name) for name in (*PREDICTION_COLUMNS, "status")]
        self.read: Candles | None = None
        self._history = HistoryRows(self.data, self._timeframe_of_bars, self._rows)

    def qbuffer(self, savemem: int = 0) -> None:
        """Keep as many bars of the data as one prediction needs when memory is saved."""
        super().qbuffer(savemem)
        self.data.minbuffer(max(1, self.p.model.window_bars))

    def next(self) -> None:
        """Predict the newest bar."""
        row = self._history.current()
        if row is None:
            model = self.p.model
            self.read = newest_candles(self.data, self._timeframe_of_bars, max(1, model.window_bars))
            values, status = model.predict_newest(self.read)
            row = [*values, float(status)]
        for line, value in zip(self._outputs, row, strict=True):
            line[0] = value

    def oncestart(self, start: int, end: int) -> None:
        """Leave the first bar to ``once``."""

    def once(self, start: int, end: int) -> None:  # noqa: ARG002 - the whole line is one batch
        """Predict every bar at once."""
        rows = self._rows(all_candles(self.data, self._timeframe_of_bars))
        for number, line in enumerate(self._outputs):
            fill_line(line, rows[:, number])

    def _rows(self, candles: Candles) -> Floats:
        """Return the lines of every bar, float64 (n, 10)."""
        batch = self.p.model.predict_batch(candles)
        return np.column_stack([batch.values, batch.status])
