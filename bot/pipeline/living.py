"""A version as of now: its card and metadata with what its recipe's record and the bots say of it since."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.pipeline.live_record import live_record
from bot.pipeline.records import Records
from bot.pipeline.store import PipelineStore
from ml.training.living_card import card_now

if TYPE_CHECKING:
    from bot.home import Home
    from registry.model import StrategyModel

__all__ = ["living_card"]


def living_card(home: Home, model: StrategyModel) -> tuple[str, dict[str, Any]]:
    """Return the card (Markdown) and ``metadata.json`` of a version as of now; no card where the bundle has none.

    The bundle is immutable: what came after it is read from the pipeline's database and the bots' journal, where they are.

    Raises
    ------
    StorageError, DataError
        When a database cannot be read, or the record is damaged.
    InvalidBundle
        When the bundle is.
    """
    metadata = model.metadata
    if not _can_be_told_anew(model):
        return "", metadata
    if not home.pipeline_db.exists():
        return card_now(model)
    task = str(metadata.get("task", "direction"))
    with PipelineStore(home.pipeline_db) as store:
        stream = store.stream_of(model.version_id, str(model.key))
        records = Records(store.state)
        if stream is None or records.last_ms(stream) is None:
            return card_now(model)
        record = records.read(stream, task)
        rows = records.evaluations(stream, task, int(metadata["horizon"]))
        own = records.said_by(stream, model.version_id, record)
        flagged = store.facts(str(model.key)).restarts.get(stream)
        newest = store.newest_build(stream)
    came_true = dict(zip(rows.open_ms.tolist(), rows.came_true.tolist(), strict=True))
    live = live_record(home.state_db, model.key, model.version_id, task, own, came_true)
    needs = flagged is not None and newest is not None and newest.version == model.version_id
    status = "flagged for retraining" if needs and model.status != "quarantined" else None
    return card_now(model, record, live.to_dict() if live.evaluated else None, status=status)


def _can_be_told_anew(model: StrategyModel) -> bool:
    """Tell whether a version has a card of single predictions: ensembles and paths have cards of their own."""
    from ml.tasks.catalogue import TASKS

    metadata = model.metadata
    has_card = "README.md" in model.manifest.files and "horizon" in metadata
    return has_card and "members" not in metadata and metadata.get("task") in TASKS
