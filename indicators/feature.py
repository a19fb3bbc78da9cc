"""Any feature of the catalogue as a line, on the bars of the data or on a higher timeframe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
import numpy as np

from indicators.errors import IndicatorError
from indicators.history import HistoryRows
from indicators.lines import all_candles, bar_timeframe, fill_line, newest_candles
from ml.aggregation import aggregate
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.fingerprints import most_candles
from registry.errors import InvalidName
from registry.names import timeframe_ms

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]

__all__ = ["Feature", "feature_window"]


def feature_window(
    name: str, base: str, timeframe: str | None = None, *, candles_per_index: float = 1.0, index: str = "calendar"
) -> int:
    """Return how many bars of a feed always suffice for the newest value of a feature.

    Parameters
    ----------
    name : str
        Name of the feature.
    base : str
        Timeframe of the feed's bars.
    timeframe : str, optional
        That of the feature; default ``base``.
    candles_per_index, index
        As the parameters of ``Feature``.

    Raises
    ------
    IndicatorError
        When ``timeframe`` is not one, or no whole multiple of ``base``.
    UnknownFeature
        When there is no such feature.
    """
    try:
        ratio, rest = divmod(timeframe_ms(timeframe or base), timeframe_ms(base))
    except InvalidName as error:
        raise IndicatorError(f"Feature {name}: {error}") from None
    if rest or not ratio:
        raise IndicatorError(f"Feature {name}: {timeframe} is not a whole multiple of the data's {base}")
    schema = FeatureSchema.of([name], timeframe or base, candles_per_index=candles_per_index, index=index)
    # one candle more than a slice holds, so that it is known from its very start; a higher one may be cut in two
    return most_candles(schema) + 1 if ratio == 1 else (most_candles(schema) + 2) * ratio


class Feature(bt.Indicator):
    """A feature that models use, computed as they see it: from a bounded slice of closed candles.

    It is what to use in a strategy instead of Backtrader's recursive indicators, whose values depend on where the feed
    begins. On a higher timeframe the candles are built from the bars of the data, and a value appears at the close of the
    bar that completes its candle.

    Formula:
      - that of the catalogue, which the name belongs to (``rsi_14``, ``macd_signal``, ``taker_imbalance_20``, ...)

    Lines:
      - ``value``: the feature, rounded to single precision as models see it; NaN until there is enough history, and where
        the feature is undefined

    Params:
      - ``name``: name of the feature; any period may stand where the name holds one
      - ``timeframe``: such as ``4h``, a whole multiple of the data's; None for the data's own
      - ``candles_per_index``: how densely the market's candles lie in time: 1 for a market that never closes, about 0.7 for
        hours of foreign exchange. A value below 1 lengthens the slices
      - ``index``: ``calendar``, or ``weekdays`` for daily bars without weekends
    """

    lines: ClassVar[Any] = ("value",)
    params: ClassVar[Any] = (("name", None), ("timeframe", None), ("candles_per_index", 1.0), ("index", "calendar"))
    plotinfo: ClassVar[Any] = {"subplot": True}

    def _plotlabel(self) -> list[Any]:
        return [self.p.name, *([] if self.p.timeframe is None else [self.p.timeframe])]

    def __init__(self) -> None:
        super().__init__()
        if not isinstance(self.p.name, str):
            raise IndicatorError(f"Feature needs name=..., such as rsi_14; got {self.p.name!r}")
        self._base = bar_timeframe(self.data)
        self._timeframe = self.p.timeframe or self._base
        self._window = feature_window(
            self.p.name,
            self._base,
            self._timeframe,
            candles_per_index=self.p.candles_per_index,
            index=self.p.index,
        )
        schema = FeatureSchema.of(
            [self.p.name], self._timeframe, candles_per_index=self.p.candles_per_index, index=self.p.index
        )
        self._pipeline = FeaturePipeline(schema)
        self._history = HistoryRows(self.data, self._base, self._rows)

    def qbuffer(self, savemem: int = 0) -> None:
        """Keep as many bars of the data as one value needs when memory is saved."""
        super().qbuffer(savemem)
        self.data.minbuffer(self._window)

    def next(self) -> None:
        """Compute the newest value."""
        row = self._history.current()
        if row is not None:
            self.lines.value[0] = row[0]
            return
        found = self._pipeline.latest(self._candles(newest_candles(self.data, self._base, self._window)))
        self.lines.value[0] = float(found.rows[0, 0]) if len(found) else float("nan")

    def oncestart(self, start: int, end: int) -> None:
        """Leave the first bar to ``once``."""

    def once(self, start: int, end: int) -> None:  # noqa: ARG002 - the whole line is one batch
        """Compute every value at once."""
        fill_line(self.lines.value, self._rows(all_candles(self.data, self._base))[:, 0])

    def _rows(self, base: Candles) -> Floats:
        """Return the value at every bar of the data, float64 (n, 1)."""
        candles = self._candles(base)
        values = self._pipeline.compute(candles).rows.astype(np.float64)
        if candles is base:
            return values
        ends = candles.open_ms + candles.step_ms
        newest = np.searchsorted(ends, base.open_ms + base.step_ms, side="right")
        return np.concatenate([[[np.nan]], values])[newest]

    def _candles(self, base: Candles) -> Candles:
        """Return the candles of the feature's timeframe that are closed."""
        return base if self._timeframe == self._base else aggregate(base, self._timeframe)
