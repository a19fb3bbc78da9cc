"""What a model says of the newest candle of a series as one plain document, for the command and for the service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from datetime import datetime

    from bot.market.store import StoredSeries
    from ml.candles import Candles
    from ml.engine import PredictionEngine
    from ml.paths.engine import PathEngine
    from ml.predictions import Prediction
    from registry.model import StrategyModel

__all__ = ["age_seconds", "prediction_document"]


def prediction_document(
    engine: PredictionEngine, model: StrategyModel, series: StoredSeries, now: datetime
) -> dict[str, Any]:
    """Return what a model says of the newest candle; numbers of a bar without a prediction are NaN.

    A model of paths adds ``current_price``, ``n_steps_ahead``, ``trusted_steps`` and ``predictions``, one mapping a step.

    Parameters
    ----------
    engine
        Of the model.
    model
        The version.
    series
        Closed candles, with the side series that the model reads; the last ``engine.window_bars`` suffice.
    now
        The time that the age of the bar is counted to, with a time zone.

    Raises
    ------
    NotEnoughBars, SchemaMismatch, MissingColumns
        See ``PredictionEngine.predict``.
    """
    from ml.engines import PATH_TASK

    candles = series.candles
    document = _document(engine.predict(candles), engine, model, series, now)
    if model.metadata.get("task") == PATH_TASK:
        document |= _path(cast("PathEngine", engine), candles)
    return document


def age_seconds(closes_ms: int, now: datetime) -> int:
    """Return the whole seconds since a candle closed."""
    return round(now.timestamp() - closes_ms / 1000)


def _document(
    found: Prediction, engine: PredictionEngine, model: StrategyModel, series: StoredSeries, now: datetime
) -> dict[str, Any]:
    from ml.candles import format_ms

    candles = series.candles
    closes_ms = found.open_ms + candles.step_ms
    outcome_ms = engine.outcome_ms(candles)
    trained = engine.trained_until_ms
    return {
        "symbol": model.symbol,
        "timeframe": model.timeframe,
        "exchange": series.exchange,
        "bar": {
            "open_time": format_ms(found.open_ms),
            "close_time": format_ms(closes_ms),
            "open_ms": found.open_ms,
            "close": float(candles.close[-1]),
            "age_seconds": age_seconds(closes_ms, now),
        },
        "model": {
            "key": str(model.key),
            "name": found.model_name,
            "version": model.version_id,
            "digest": model.digest,
            "status": model.status,
            "promoted": model.promoted,
            "trained_until": None if trained is None else format_ms(trained),
        },
        "in_sample": trained is not None and outcome_ms <= trained,
        "horizon": engine.horizon,
        "predicts_until": format_ms(outcome_ms),
        "status": found.status.label,
        "direction": {1.0: "UP", -1.0: "DOWN"}.get(found.direction),
        "confidence": found.confidence,
        "p_up": found.p_up,
        "expected_return": found.expected_return,
        "price": found.price,
        "low": found.low,
        "high": found.high,
        "risk": found.risk,
        "predicted_volatility": found.volatility,
        **_answer(found, engine, model, candles),
    }


def _answer(found: Prediction, engine: PredictionEngine, model: StrategyModel, candles: Candles) -> dict[str, Any]:
    """Return what the family says under names of its own; without a prediction, nothing."""
    from ml.predictions import PREDICTION_COLUMNS
    from ml.predictors.catalogue import predictor_class, predictor_names

    if found.status != 0 or model.model_type not in predictor_names():
        return {}
    values = {name: getattr(found, name) for name in PREDICTION_COLUMNS}
    context = {**model.metadata, "features": engine.newest_features(candles)}
    return predictor_class(model.model_type, model.metadata.get("architecture")).answer(values, context)


def _path(engine: PathEngine, candles: Candles) -> dict[str, Any]:
    path = engine.path(candles)
    return {
        "current_price": path.close,
        "n_steps_ahead": engine.steps,
        "trusted_steps": path.trusted_steps,
        "predictions": path.steps(),
    }
