"""Run an assembly and measure it: the loop, the curves behind it, and what was out of sample."""

from __future__ import annotations

import json
import time
import traceback
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.backtest.metrics import (
    account_figures,
    joined_forecasts,
    prediction_figures,
    score_forecasts,
    training_baselines,
)
from bot.backtest.rebuild import Curves, RoundTrip, rebuild_curves, rebuild_trades, slippage_paid
from bot.errors import BotError
from indicators.lines import line_values
from indicators.prediction import MLPrediction
from ml.baselines import Baselines
from ml.features.blocks import block_index
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch
from ml.schedule import ScheduledEngine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import numpy.typing as npt

    from bot.assembly import Assembly, BoundModel
    from bot.broker.records import Fill, Rejection
    from ml.candles import Candles
    from ml.engine import PredictionEngine
    from ml.evaluation import Forecasts

    Integers = npt.NDArray[np.int64]

__all__ = ["BacktestRun", "run_backtest"]


@dataclass(frozen=True, eq=False)
class BacktestRun:
    """What happened. Rows are those of the bars that may trade, n of them; the bars that warm the features are left out.

    Attributes
    ----------
    assembly
        What was run.
    curves : Curves
        The account at each close.
    predictions : dict
        One batch of n predictions a role, in the config's order.
    trades, fills, rejections
        In time order; orders refused before the first bar that may trade are left out.
    out_of_sample_row : int
        First row from which on no bar was seen by the training of the version that answers it; n where there is none.
    figures : dict
        ``out_of_sample``, ``in_sample`` and ``all``: the figures of each, NaN where undefined.
    forecasts : Forecasts or None
        What was scored out of sample, of the first role.
    decisions : dict
        How often the strategy decided what.
    summary : dict
        What else a strategy of ours tells of the run: ``reached`` and ``notes`` (see ``MLStrategy.summary``), and more.
    edge : dict or None
        What ``min_edge`` needed and what the model's record has; None where the strategy does not ask.
    costs : dict
        Profit before costs, fees, slippage and profit, quote currency, of all bars.
    final_value : float
        The broker's own value after the last bar.
    seconds : float
        What the loop took.
    """

    assembly: Assembly
    curves: Curves
    predictions: Mapping[str, PredictionBatch]
    trades: tuple[RoundTrip, ...]
    fills: tuple[Fill, ...]
    rejections: tuple[Rejection, ...]
    out_of_sample_row: int
    figures: Mapping[str, dict[str, Any]]
    forecasts: Forecasts | None
    decisions: Mapping[str, int]
    summary: Mapping[str, Any]
    edge: Mapping[str, Any] | None
    costs: Mapping[str, float]
    final_value: float
    seconds: float

    @property
    def main_model(self) -> BoundModel | None:
        """The model of the first role: that whose predictions are scored."""
        return self.assembly.models[0] if self.assembly.models else None


def run_backtest(
    assembly: Assembly, progress: Callable[[float, str], None] = lambda _fraction, _text: None
) -> BacktestRun:
    """Run and measure; nothing is written.

    Raises
    ------
    BotError
        When the strategy itself fails; the message names its file and line.
    """
    progress(0.1, "Running the bars")
    began = time.perf_counter()
    strategy = _run(assembly)
    seconds = time.perf_counter() - began
    progress(0.6, "Measuring")
    broker, candles, first = assembly.broker, assembly.candles, assembly.first_row
    traded = candles.slice(first, len(candles))
    cash = float(assembly.config.broker.cash)
    lot = float(assembly.rules.lot_step or 0)
    curves = rebuild_curves(traded, broker.fills, cash, lot)
    trades = rebuild_trades(traded, broker.fills, cash, lot)
    out_row = max(0, assembly.out_of_sample_row - first)
    predicted = {bound.role: _predictions(strategy, bound, assembly) for bound in assembly.models}
    segments = {
        "out_of_sample": slice(out_row, len(traded)),
        "in_sample": slice(0, out_row),
        "all": slice(0, len(traded)),
    }
    score = _scorer(assembly, predicted)
    figures: dict[str, dict[str, Any]] = {}
    scored: dict[str, Forecasts | None] = {}
    for name, rows in segments.items():
        forecasts = score(slice(first + rows.start, first + rows.stop))
        account = account_figures(curves, rows, trades, broker.fills, candles.step_ms)
        scored[name] = forecasts
        figures[name] = {**account, **prediction_figures(forecasts)}
    fees = float(figures["all"]["fees_paid"])
    summary = _summary(strategy)
    slipped = slippage_paid(broker.fills, assembly.config.broker.slippage)
    net = float(curves.equity[-1]) - cash
    return BacktestRun(
        assembly=assembly,
        curves=curves,
        predictions={role: _from_row(batch, first) for role, batch in predicted.items()},
        trades=tuple(trades),
        fills=tuple(broker.fills),
        rejections=tuple(broker.rejections),
        out_of_sample_row=out_row,
        figures=figures,
        forecasts=scored["out_of_sample"],
        decisions=summary.pop("counts", {}),
        summary=summary,
        edge=_edge(strategy, assembly, predicted, first + out_row),
        costs={"gross": net + fees + slipped, "fees": fees, "slippage": slipped, "net": net},
        final_value=float(broker.getvalue()),
        seconds=seconds,
    )


def _run(assembly: Assembly) -> Any:
    """Run Cerebro and return the strategy; a failure of the strategy's own code becomes one message."""
    try:
        return assembly.cerebro.run()[0]
    except Exception as error:
        if hasattr(error, "exit_code"):  # one of our errors: its message says what to do
            raise
        frame = traceback.extract_tb(error.__traceback__)[-1]
        raise BotError(
            f"the strategy {assembly.config.strategy} failed at {frame.filename}:{frame.lineno}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _predictions(strategy: Any, bound: BoundModel, assembly: Assembly) -> PredictionBatch:
    """Return what the role's lines held during the run; predicted now where no line shows this model."""
    for indicator in strategy.getindicators():
        if isinstance(indicator, MLPrediction) and indicator.p.model is bound.engine:
            columns = [line_values(getattr(indicator.lines, name)) for name in PREDICTION_COLUMNS]
            if len(columns[0]) == len(assembly.candles):
                status = line_values(indicator.lines.status).astype(np.int8)
                return PredictionBatch(np.stack(columns, axis=1), status)
    return bound.engine.predict_batch(assembly.candles)


def _from_row(batch: PredictionBatch, first: int) -> PredictionBatch:
    return PredictionBatch(batch.values[first:], batch.status[first:])


def _scorer(assembly: Assembly, predicted: Mapping[str, PredictionBatch]) -> Callable[[slice], Forecasts | None]:
    """Return what scores the first role's predictions in some rows of the feed; None for each without a model."""
    bound = assembly.models[0] if assembly.models else None
    if bound is None or bound.model is None:
        return lambda _rows: None
    candles, batch = assembly.candles, predicted[bound.role]
    parts = [
        (lo, hi, engine.horizon, *_baselines(engine, candles))
        for engine, lo, hi in _parts(bound.engine, candles)
        if engine.model is not None
    ]
    if not parts:
        return lambda _rows: None

    def score(rows: slice) -> Forecasts | None:
        """Score each version's bars against the baselines of its own training."""
        inside = [part for part in parts if max(rows.start, part[0]) < min(rows.stop, part[1])]
        return joined_forecasts(
            [
                score_forecasts(
                    candles, batch, horizon, slice(max(rows.start, lo), min(rows.stop, hi)), baselines, index
                )
                for lo, hi, horizon, baselines, index in inside or parts[:1]
            ]
        )

    return score


def _parts(engine: PredictionEngine, candles: Candles) -> Iterable[tuple[PredictionEngine, int, int]]:
    """Return the versions that answer some candles, with the positions of their bars."""
    return engine.parts(candles.open_ms) if isinstance(engine, ScheduledEngine) else [(engine, 0, len(candles))]


def _baselines(engine: PredictionEngine, candles: Candles) -> tuple[Baselines, Integers]:
    """Return what the training rows of a version said without any feature, and how it counts bars."""
    model: Any = engine.model
    index = block_index(candles, str(model.feature_schema.get("index", "calendar")))
    kept = model.metrics.get("baselines")
    if isinstance(kept, dict) and all(field.name in kept for field in fields(Baselines)):
        return Baselines(**{field.name: kept[field.name] for field in fields(Baselines)}), index
    return training_baselines(candles, engine.horizon, engine.trained_until_ms, index), index


def _summary(strategy: Any) -> dict[str, Any]:
    """Return what a strategy tells of the run as plain data; what JSON cannot hold is left out."""
    summary = getattr(strategy, "summary", None)
    found = summary() if callable(summary) else {}
    return {name: value for name, value in found.items() if _is_plain(value)} if isinstance(found, dict) else {}


def _is_plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


def _edge(
    strategy: Any, assembly: Assembly, predicted: Mapping[str, PredictionBatch], out_row: int
) -> dict[str, Any] | None:
    """Return what ``min_edge`` needed, what the record of the model has, and how many bars out of sample reached it."""
    rule = getattr(strategy, "edge_rule", None)
    bound = next((each for each in assembly.models if rule is not None and each.engine is rule.model), None)
    if rule is None or rule.needed is None or bound is None:
        return None
    edges = bound.engine.holding_edges(rule.enter, rule.exit)
    p_up, times = predicted[bound.role].column("p_up")[out_row:], assembly.candles.open_ms[out_row:]
    wanting = p_up >= rule.enter
    bounds = edges.at(p_up)
    if isinstance(bound.engine, ScheduledEngine):
        bounds = bound.engine.edge_bounds(times, p_up, rule.enter, rule.exit)
    reaching = wanting & (bounds > rule.needed)
    return {
        "needed": float(rule.needed),
        "bars_wanting_in": int(wanting.sum()),
        "bars_reaching": int(reaching.sum()),
        "record": edges.to_dict(),
    }
