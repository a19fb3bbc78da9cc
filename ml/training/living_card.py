"""The model card of today: a bundle never changes, so what happened since is told beside it.

``README.md`` and ``metadata.json`` of a bundle say what was known when it was made. Its status is the ledger's, what it and
its successors said since is in the record of the recipe, and what a bot did with it in its journal: here they are put
together, for ``bot models show`` and the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.candles import format_ms
from ml.features.blocks import index_start_ms
from ml.record import OutOfSample, RiskRecord, VolatilityRecord
from ml.tasks.catalogue import TASKS
from ml.tasks.words import percent
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.model import StrategyModel

    AnyRecord = OutOfSample | RiskRecord | VolatilityRecord

__all__ = ["card_now", "rows_since"]

_VERDICT = "\n## Verdict\n"
_LIVE = ("accuracy", "last_updated", "trades_evaluated")


def rows_since(record: AnyRecord, model: StrategyModel) -> AnyRecord:
    """Return the rows of bars that closed after the training of a version: what it and its successors said."""
    closes = record.open_ms + timeframe_ms(model.timeframe)
    return record.rows(closes > int(model.metadata["trained_until_ms"]))


def card_now(
    model: StrategyModel,
    record: AnyRecord | None = None,
    live: Mapping[str, Any] | None = None,
    *,
    status: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """Return the card and the metadata of a version as of now.

    Parameters
    ----------
    model
        A registered version.
    record
        Prequential record of its recipe; only rows of bars that closed after its training are read. None where there is none.
    live
        What bots did with it: ``accuracy`` (share of directions that were right, or None), ``last_updated`` (ISO 8601 or
        None) and ``trades_evaluated``. None puts what the record says in their place, a prediction counting as a trade.
    status
        In place of the status in the ledger, such as ``flagged for retraining``.

    Returns
    -------
    card : str
        Markdown: ``README.md`` with a section on what happened since.
    metadata : dict
        ``metadata.json`` with ``type``, ``version``, ``status`` and ``live_performance`` filled in.

    Raises
    ------
    InvalidBundle
        When a file of the bundle is missing or was changed.
    """
    since = None if record is None else rows_since(record, model)
    figures = None if since is None or not since.counted.any() else TASKS[model.metadata["task"]].evaluate(since)
    shown = _of_record(model, since, figures) if live is None else {name: live.get(name) for name in _LIVE}
    shown["trades_evaluated"] = int(shown["trades_evaluated"] or 0)
    state = model.status if status is None else status
    document = {
        **model.metadata,
        "type": model.model_type,
        "version": model.version_id,
        "status": state,
        "live_performance": shown,
    }
    card = model.read("README.md").decode()
    section = "\n".join(_section(model, state, figures, None if live is None else shown))
    before, verdict, after = card.partition(_VERDICT)
    return (f"{before}\n{section}\n{verdict}{after}" if verdict else f"{card}\n{section}\n"), document


def _of_record(model: StrategyModel, since: AnyRecord | None, figures: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the live performance that the record shows: predictions whose outcome is known."""
    if since is None or figures is None:
        return {"accuracy": None, "last_updated": None, "trades_evaluated": 0}
    newest = since.k[since.counted][-1:] + int(model.metadata["horizon"])
    schema = str(model.feature_schema.get("index", "calendar"))
    known_ms = int(index_start_ms(newest, model.timeframe, schema)[0]) + timeframe_ms(model.timeframe)
    return {
        "accuracy": figures.get("direction_accuracy"),
        "last_updated": format_ms(known_ms),
        "trades_evaluated": int(figures["n"]),
    }


def _section(
    model: StrategyModel, state: str, figures: Mapping[str, Any] | None, live: Mapping[str, Any] | None
) -> list[str]:
    """Return the lines on what happened since the training."""
    promoted = "" if model.promoted_at is None else f", promoted {model.promoted_at.strftime('%Y-%m-%dT%H:%M:%SZ')}"
    lines = ["## Now", "", f"Version {model.version_id}: {state}{promoted}.", ""]
    if figures is None:
        lines.append("No bar after its training has been scored yet.")
    else:
        lines += [
            f"On the {figures['n']:,} scored bars after its training, by it and the versions that followed:",
            "",
            "| what | measured | beside |",
            "|---|---|---|",
            *(f"| {a} | {b} | {c} |" for a, b, c in TASKS[model.metadata["task"]].headline(figures)),
        ]
    if live is not None:
        count = live["trades_evaluated"]
        right = "" if live["accuracy"] is None else f", {percent(float(live['accuracy']))} of them right"
        until = "" if live["last_updated"] is None else f", until {live['last_updated']}"
        lines += ["", f"In live trading: {count:,} evaluated{right}{until}."]
    return lines
