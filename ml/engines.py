"""From a registered version to what predicts with it: one place that knows which bundle needs which engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.bundles import open_runner
from ml.engine import PredictionEngine

if TYPE_CHECKING:
    from ml.cache import PredictionCache
    from registry.model import StrategyModel

__all__ = ["ENSEMBLE_TYPE", "PATH_TASK", "open_bundle", "open_engine"]

ENSEMBLE_TYPE = "ensemble"
"""Type of bundles that consist of other bundles."""

PATH_TASK = "path"
"""Task of bundles that forecast whole paths."""


def open_bundle(model: StrategyModel) -> Any:
    """Open a bundle of any type and re-run its self-test; what registries are made with.

    Parameters
    ----------
    model
        A version of the registry.

    Raises
    ------
    BrokenModel, SchemaMismatch, InvalidBundle
        When a part of it (for an ensemble: a member) is missing, damaged or gives other bits.
    """
    if model.model_type == ENSEMBLE_TYPE:
        from ml.ensembles.bundle import open_ensemble

        return open_ensemble(model)
    if model.metadata.get("task") == PATH_TASK:
        from ml.paths.bundle import open_path_runner

        return open_path_runner(model)
    return open_runner(model)


def open_engine(
    model: StrategyModel | None, *, cache: PredictionCache | None = None, expires_after_ms: int | None = None
) -> PredictionEngine:
    """Return the engine of a version, whatever its type.

    Parameters
    ----------
    model
        A version of the registry, or None: then every bar has status NO_MODEL.
    cache
        Where predictions are kept.
    expires_after_ms
        See ``PredictionEngine``.

    Raises
    ------
    BrokenModel, SchemaMismatch, InvalidBundle
        See ``open_bundle``.
    """
    if model is not None and model.model_type == ENSEMBLE_TYPE:
        from ml.ensembles.engine import EnsembleEngine

        return EnsembleEngine(model, cache=cache, expires_after_ms=expires_after_ms)
    if model is not None and model.metadata.get("task") == PATH_TASK:
        from ml.paths.engine import PathEngine

        return PathEngine(model, cache=cache, expires_after_ms=expires_after_ms)
    return PredictionEngine(model, cache=cache, expires_after_ms=expires_after_ms)
