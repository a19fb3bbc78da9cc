"""The JSON documents of a bundle: what was trained, on what, how, and what it showed."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ml.candles import format_ms
from ml.tasks.catalogue import WORDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ml.candles import Candles
    from ml.features.schema import FeatureSchema
    from ml.predictors.contract import Predictor
    from ml.training.plan import TrainingPlan
    from ml.training.settings import TrainingSettings
    from registry.names import ModelKey

__all__ = ["json_bytes", "metadata", "recipe", "recipe_digest"]

SCHEMA_VERSION = 1


@cache
def _version(distribution: str) -> str:
    """Return the version of a distribution, or of the one with processors of other kinds: xgboost for xgboost-cpu."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return version(distribution.removesuffix("-cpu"))


def json_bytes(document: Any) -> bytes:
    """Return a JSON file; what is not finite is null, and every float reads back to the same bits."""
    return (json.dumps(_plain(document), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def recipe(key: ModelKey, predictor: Predictor, schema: FeatureSchema, settings: TrainingSettings) -> dict[str, Any]:
    """Return what makes two trainings comparable: everything but the data and the day."""
    return {
        "model_type": key.model_type,
        "architecture": predictor.architecture,
        "timeframe": key.timeframe,
        "horizon": settings.horizon,
        "parameters": dict(predictor.parameters),
        "features": schema.fingerprint,
        "folds": settings.folds,
        "embargo": settings.embargo,
        "seed": settings.seed,
        "threads": settings.threads,
    }


def recipe_digest(document: Mapping[str, Any]) -> str:
    """Return the sha256 of the canonical JSON of a recipe."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def metadata(
    key: ModelKey,
    candles: Candles,
    schema: FeatureSchema,
    predictor: Predictor,
    settings: TrainingSettings,
    plan: TrainingPlan,
    metrics: Mapping[str, Any],
    *,
    trained_from_ms: int,
    trained_until_ms: int,
    at: datetime,
    code_version: str,
    of_recipe: Mapping[str, Any] | None = None,
    refits: int | None = None,
) -> dict[str, Any]:
    """Return ``metadata.json``.

    ``trained_until_ms`` is the close time of the last candle that a label used: every bar that closes later is out of
    sample for this model. Version and status are not in here: the registry gives the one and its ledger holds the other.

    A version of a recipe says so in ``recipe_name``, ``recipe_stream`` (its record), ``expires_after_ms`` (null is never)
    and ``refit``.

    Parameters
    ----------
    of_recipe
        ``name`` and ``expires_after_ms`` of the recipe; None for a model that was trained by hand.
    refits
        Versions whose later bars the record holds; None where the record is a walk forward of this training.
    """
    document = recipe(key, predictor, schema, settings)
    libraries = {name: _version(name) for name in (predictor.library, "numpy", "numba")}
    created = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    learnt = candles.between(settings.first_ms, None)
    first, last = int(learnt.open_ms[0]), int(learnt.open_ms[-1])
    return {
        "schema_version": SCHEMA_VERSION,
        "symbol": key.symbol,
        "model_type": key.model_type,
        "timeframe": key.timeframe,
        "horizon": settings.horizon,
        "name": f"{key.symbol} {key.timeframe} {key.model_type}",
        "architecture": predictor.architecture,
        "task": predictor.task,
        "title": predictor.title,
        "description": predictor.description,
        "created_at": created,
        "created_ts": int(at.timestamp() * 1000),
        "trained_from_ms": trained_from_ms,
        "trained_until_ms": trained_until_ms,
        "trained_from": format_ms(trained_from_ms),
        "trained_until": format_ms(trained_until_ms),
        "data": {
            "exchange": settings.exchange,
            **({} if settings.sentiment is None else {"sentiment": settings.sentiment}),
            "start": format_ms(first),
            "end": format_ms(last + candles.step_ms),
            "start_ms": first,
            "end_ms": last + candles.step_ms,
            "bars": len(learnt),
            "warm_up_bars": len(candles) - len(learnt),
            "columns": list(candles.columns),
            "digest": candles.digest,
        },
        "recipe": document,
        "recipe_digest": recipe_digest(document),
        "libraries": {**libraries, "python": platform.python_version()},
        "dependencies": {**libraries, "python": platform.python_version()},
        "code_version": code_version,
        **_of_recipe(of_recipe, refits),
        "hyperparams": dict(predictor.parameters),
        "features": list(schema.names),
        "feature_count": len(schema.names),
        "training": {
            "symbols": [key.symbol],
            "data_points": plan.labelled,
            "train_ratio": 1.0,
            "validation": _validation(settings, refits),
            "validation_ratio": settings.folds / (settings.folds + 1) if refits is None else None,
            "seed": settings.seed,
            "threads": settings.threads,
            **({"searched_trials": settings.searched_trials} if settings.searched_trials else {}),
            "plan": plan.to_dict(),
        },
        "performance": {
            **WORDS[predictor.task].performance(metrics),
            "backtest_window": [
                None if metrics[name] is None else format_ms(metrics[name]) for name in ("first_ms", "last_ms")
            ],
        },
        "live_performance": {"accuracy": None, "last_updated": None, "trades_evaluated": 0},
    }


def _of_recipe(recipe: Mapping[str, Any] | None, refits: int | None) -> dict[str, Any]:
    """Return what a version of a recipe says of it."""
    if recipe is None:
        return {}
    return {
        "recipe_name": recipe["name"],
        "recipe_stream": recipe.get("stream"),
        "expires_after_ms": recipe.get("expires_after_ms"),
        "refit": refits is not None,
    }


def _validation(settings: TrainingSettings, refits: int | None) -> str:
    """Return in words where the figures come from."""
    if refits is None:
        return f"purged walk forward, {settings.folds} folds"
    return f"prequential record of the recipe, {refits:,} refit{'' if refits == 1 else 's'}"
