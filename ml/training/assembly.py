"""The files of a bundle, from what a training run found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.drift.reference import REFERENCE_FILE, drift_reference, reference_bytes, stated_signal
from ml.record import RECORD_FILE
from ml.training.card import model_card
from ml.training.documents import json_bytes, metadata

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from ml.predictors.contract import FittedPredictor
    from ml.publishing import Publisher
    from ml.training.gate import GateDecision
    from ml.training.plan import TrainingPlan
    from ml.training.trainer import Prepared

__all__ = ["Assembled", "assemble"]

Assembled = tuple[dict[str, bytes], dict[str, Any], dict[str, Any]]
"""Every file but the manifest by name, the content of ``metrics.json`` and that of ``metadata.json``."""


def assemble(
    prepared: Prepared,
    fitted: FittedPredictor,
    record: Any,
    baselines: Any,
    publisher: Publisher,
    figures: dict[str, Any],
    gate: GateDecision,
    battery: dict[str, Any],
    *,
    plan: TrainingPlan,
    at: datetime,
    code_version: str,
    interrupted: bool = False,
    recipe: Mapping[str, Any] | None = None,
    refits: int | None = None,
) -> Assembled:
    """Write the files of a model that was fitted on every labelled bar of ``prepared``.

    Parameters
    ----------
    prepared
        Candles, settings, dataset.
    fitted
        The model.
    record
        Out-of-sample record that every figure comes from.
    baselines, publisher, figures, gate
        What the task fitted and measured, and the verdict.
    battery
        Of ``ml.training.robustness``, or why it was left out.
    plan
        What the data allowed.
    at, code_version
        The moment of training and the program's version.
    interrupted
        Whether Ctrl-C cut the training short.
    recipe, refits
        See ``ml.training.documents.metadata``.
    """
    dataset, settings = prepared.dataset, prepared.settings
    labelled = np.flatnonzero(dataset.labelled)
    metrics: dict[str, Any] = {
        "schema_version": 1,
        "out_of_sample": figures,
        "robustness": battery,
        "baselines": baselines.to_dict(),
        "gate": gate.to_dict(),
        "plan": plan.to_dict(),
        "importance": fitted.importance(),
    }
    last = int(np.searchsorted(dataset.k, dataset.k[labelled[-1]] + settings.horizon))
    document = metadata(
        prepared.key,
        prepared.candles,
        prepared.schema,
        prepared.predictor,
        settings,
        plan,
        figures,
        trained_from_ms=int(dataset.open_ms[labelled[0]]),
        trained_until_ms=int(dataset.open_ms[last]) + prepared.candles.step_ms,
        at=at,
        code_version=code_version,
        of_recipe=recipe,
        refits=refits,
    )
    if interrupted:
        document["training"]["interrupted"] = True
    model = fitted.to_files()
    files = {
        **model,
        "metadata.json": json_bytes(document),
        "feature_schema.json": json_bytes(prepared.schema.to_dict()),
        "metrics.json": json_bytes(metrics),
        "calibration.json": json_bytes(publisher.to_dict()),
        RECORD_FILE: record.to_parquet(),
        "README.md": model_card(document, metrics, gate).encode(),
        "golden.json": _golden(prepared, model, publisher),
        REFERENCE_FILE: _reference(prepared, record, publisher),
    }
    return files, metrics, document


def _golden(prepared: Prepared, model: Mapping[str, bytes], publisher: Publisher) -> bytes:
    """Return ``golden.json``: windows, rows and outputs that loading the bundle re-runs."""
    from ml.bundles import build_golden

    return build_golden(prepared.candles, prepared.schema, model, publisher)


def _reference(prepared: Prepared, record: Any, publisher: Publisher) -> bytes:
    """Return ``drift_reference.json``: what the model learnt from, and what this bundle states on the bars of the record."""
    dataset, task = prepared.dataset, prepared.predictor.task
    signal = stated_signal(publisher, task, record.raw_score, record.sigma, record.close)
    return reference_bytes(drift_reference(dataset.rows[dataset.labelled], dataset.names, signal, task=task))
