"""The decision journal: one row a bar that says what was known, what was decided by which gates, and what was ordered.

A recorder is an analyzer: it looks on after the strategy has decided, and a run without one pays nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
import numpy as np

from bot.decision_rows import DecisionRow, PlacedOrder, RecordedPrediction
from bot.errors import UsageError
from indicators.forecast import MLForecast
from indicators.history import HistoryRows
from indicators.lines import all_candles, bar_step_ms, bar_timeframe, newest_candles, open_ms
from indicators.prediction import MLPrediction
from ml.predictions import PREDICTION_COLUMNS, Status
from strategies.ml_strategy import MLStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.assembly import Assembly
    from ml.candles import Candles

__all__ = ["DecisionRecorder", "DecisionRow", "PlacedOrder", "RecordedPrediction", "record_decisions"]

_PATH_LINES = ("highest", "lowest", "peak_return", "peak_step", "peak_confidence", "trusted_steps")
_NO_VALUES = (float("nan"),) * len(PREDICTION_COLUMNS)


def record_decisions(assembly: Assembly, sink: Callable[[DecisionRow], None], *, only_ms: int | None = None) -> None:
    """Let a run that is not started yet hand its rows to ``sink``: those of all bars that may trade, or of one.

    Parameters
    ----------
    assembly
        What will be run.
    sink
        Takes each row as soon as its bar is decided.
    only_ms
        Open time of the only bar that is recorded; None for all.
    """
    assembly.cerebro.addanalyzer(
        DecisionRecorder,
        sink=sink,
        symbol=assembly.symbol,
        models={bound.role: bound.engine for bound in assembly.models},
        trade_from_ms=assembly.trade_from_ms,
        only_ms=only_ms,
    )


class DecisionRecorder(bt.Analyzer):
    """Hand one ``DecisionRow`` a bar to ``sink``, after the strategy has decided.

    Predictions are read from the strategy's own lines; a role that no line shows is asked of its engine. Over a feed that is
    loaded completely the evidence of all bars is computed in one batch; over one whose bars come one by one, bar by bar, but
    for those that the feed knew when it started (``data.history``, where it has that).

    Params
    ------
    sink : callable
        Takes a row.
    symbol : str
        As rows name it.
    models : mapping
        Engines by role, in the order of the rows. Of an engine whose model changes with time (``engine_at``) a row names the
        version that was in force at its bar.
    trade_from_ms : int or None
        Open time of the first bar that has a row; None for all.
    only_ms : int or None
        Open time of the only bar that has a row; None for all.
    """

    params: ClassVar[Any] = (
        ("sink", None),
        ("symbol", ""),
        ("models", None),
        ("trade_from_ms", None),
        ("only_ms", None),
    )

    def start(self) -> None:
        """Find the lines of every role, and what can be computed in one batch."""
        if not callable(self.p.sink):
            raise UsageError(f"DecisionRecorder needs sink=..., a function that takes a row; got {self.p.sink!r}")
        data = self.strategy.data
        self._feed, self._timeframe, self._step = data, bar_timeframe(data), bar_step_ms(data)
        self._broker = self.strategy.broker
        one_bar, loaded = self.p.only_ms is not None, bool(data.buflen()) and not data.islive()
        self._roles = [
            _Role(role, engine, self.strategy, self._timeframe, loaded=loaded and not one_bar, replayed=not one_bar)
            for role, engine in (self.p.models or {}).items()
        ]
        self._candle = {name: getattr(data.lines, name) for name in ("open", "high", "low", "close", "volume")}
        self._bars = self._orders = self._fills = self._refusals = 0

    def next(self) -> None:
        """Write the row of the newest bar, once."""
        if len(self._feed) == self._bars:
            return
        self._bars = len(self._feed)
        orders, self._orders = _new(self._broker, "orders", self._orders)
        fills, self._fills = _new(self._broker, "fills", self._fills)
        refusals, self._refusals = _new(self._broker, "rejections", self._refusals)
        for role in self._roles:
            role.advance()
        moment, first, only = open_ms(self._feed, self._step), self.p.trade_from_ms, self.p.only_ms
        if (first is not None and moment < first) or (only is not None and moment != only):
            return
        broker = self._broker
        told = self.strategy.decision() if isinstance(self.strategy, MLStrategy) else None
        self.p.sink(
            DecisionRow(
                symbol=self.p.symbol,
                timeframe=self._timeframe,
                open_ms=moment,
                candle={name: float(line[0]) for name, line in self._candle.items()},
                predictions={role.name: role.said(moment) for role in self._roles},
                decision=told,
                orders=tuple(self._placed(order) for order in orders),
                fills=tuple(fills),
                refusals=tuple(refusals),
                position=float(broker.getposition(self._feed).size),
                cash=float(broker.getcash()),
                value=float(broker.getvalue()),
            )
        )

    def _placed(self, order: Any) -> PlacedOrder:
        """Return an order as the journal keeps it."""
        number, told = getattr(self._broker, "order_number", None), order.info
        return PlacedOrder(
            number=int(order.ref if number is None else number(order)),
            side="buy" if order.isbuy() else "sell",
            kind=order.getordername().lower(),
            size=abs(float(order.created.size)),
            price=None if order.p.price is None else float(order.p.price),
            limit=None if order.p.pricelimit is None else float(order.p.pricelimit),
            stop_loss=told.get("stop_loss"),
            take_profit=told.get("take_profit"),
            refused=str(told.get("rejection") or ""),
        )


class _Role:
    """What is read of one role: its lines, and the batch of what they do not show."""

    def __init__(self, name: str, engine: Any, strategy: Any, timeframe: str, *, loaded: bool, replayed: bool) -> None:
        shown = [each for each in strategy.getindicators() if getattr(each.p, "model", None) is engine]
        self.name, self._engine, self._feed, self._timeframe = name, engine, strategy.data, timeframe
        self._single = next((each for each in shown if isinstance(each, MLPrediction)), None)
        self._path = next((each for each in shown if isinstance(each, MLForecast)), None)
        lines = None if self._single is None else self._single.lines
        self._values = [] if lines is None else [getattr(lines, name) for name in PREDICTION_COLUMNS]
        self._loaded = loaded
        self._batch: Any = None
        self._row: list[Any] | None = None
        self._history = HistoryRows(self._feed, timeframe, self._rows) if replayed and not loaded else None

    def advance(self) -> None:
        """Take the bar's row of the history that is replayed: it must see every bar."""
        self._row = None if self._history is None else self._history.current()

    def said(self, moment: int) -> RecordedPrediction:
        """Return what the model said of the newest bar, which opened at ``moment``."""
        row = self._row
        if self._loaded:
            if self._batch is None:
                self._batch = self._rows(all_candles(self._feed, self._timeframe))
            row = self._batch[len(self._feed) - 1].tolist()
        if row is None:
            row = self._newest(moment)
        values, status = (tuple(row[2:-1]), row[-1]) if len(row) > 2 else (_NO_VALUES, self._shown_status())
        if self._single is not None:
            values = tuple(float(line[0]) for line in self._values)
        bundle = self._engine.engine_at(moment) if hasattr(self._engine, "engine_at") else self._engine
        model = getattr(bundle, "model", None)
        return RecordedPrediction(
            model=bundle.name,
            version=None if model is None else model.version_id,
            digest=bundle.digest,
            status=Status(int(status)).label,
            values=values,
            fingerprint=row[0],
            features=row[1],
            path=None if self._path is None else _path(self._path),
        )

    def _is_shown(self) -> bool:
        return self._single is not None or self._path is not None

    def _shown_status(self) -> float:
        shown: Any = self._path if self._single is None else self._single
        return float(shown.lines.status[0])

    def _rows(self, candles: Candles) -> Any:
        """Return what no line shows of every bar: both digests, and the prediction where the role has no lines."""
        digests = np.array(self._engine.evidence_batch(candles), dtype=object).reshape(len(candles), 2)
        if self._is_shown():
            return digests
        batch = self._engine.predict_batch(candles)
        return np.column_stack([digests, batch.values.astype(object), batch.status.astype(object)])

    def _newest(self, moment: int) -> list[Any]:
        """Return the same of the newest bar, from the very candles that its lines were computed from."""
        candles = None if self._single is None else self._single.read
        if candles is None or int(candles.open_ms[-1]) != moment:
            candles = newest_candles(self._feed, self._timeframe, max(1, self._engine.window_bars))
        digests = self._engine.evidence(candles)
        if self._is_shown():
            return list(digests)
        values, status = self._engine.predict_newest(candles)
        return [*digests, *values, status]


def _new(broker: Any, name: str, seen: int) -> tuple[list[Any], int]:
    """Return what was added to one of the broker's lists since ``seen``, and how long the list is now."""
    rows = getattr(broker, name, ())
    return list(rows[seen:]) if len(rows) > seen else [], len(rows)


def _path(indicator: Any) -> dict[str, float]:
    """Return what a forecast's lines say of the newest bar."""
    steps = {f"return_{step}": f"return_{place}" for place, step in enumerate(indicator._steps, start=1)}  # noqa: SLF001
    names = {**steps, **{name: name for name in _PATH_LINES}}
    return {name: float(getattr(indicator.lines, line)[0]) for name, line in names.items()}
