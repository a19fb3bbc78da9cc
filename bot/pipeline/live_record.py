"""What running bots were told by a model, from the journal of decisions, beside what its record says of the same bars.

A prediction is a pure function of bundle and candles, so the two are equal to the last bit; where they are not, candles,
code or a bundle were changed behind the bot's back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ml.candles import format_ms
from ml.drift.reference import published_column, recorded_signal

if TYPE_CHECKING:
    from pathlib import Path

    from registry.names import ModelKey

__all__ = ["LiveRecord", "live_record"]


@dataclass(frozen=True, slots=True)
class LiveRecord:
    """Bars that bots decided with one version.

    Attributes
    ----------
    bars
        That have a row in the record too.
    hits, evaluated
        Of those with a known outcome.
    differing
        Open times of bars where the bot was told something else than the record says.
    last_ms
        Open time of the newest bar.
    """

    bars: int = 0
    hits: int = 0
    evaluated: int = 0
    differing: tuple[int, ...] = ()
    last_ms: int | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of hits; None before the first."""
        return self.hits / self.evaluated if self.evaluated else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "bars": self.bars,
            "accuracy": self.accuracy,
            "trades_evaluated": self.evaluated,
            "last_updated": None if self.last_ms is None else format_ms(self.last_ms),
            "differing": [format_ms(each) for each in self.differing],
        }


def live_record(
    state_db: Path, key: ModelKey, version: str, task: str, record: Any, came_true: dict[int, bool]
) -> LiveRecord:
    """Compare what bots were told by a version with its rows in a record.

    Parameters
    ----------
    state_db
        The state database of the home; it need not exist.
    key, version
        The model.
    task
        Its task.
    record
        Rows of the task's record that this version said.
    came_true
        Whether what was stated came true, by open time.

    Raises
    ------
    StorageError
        When the state database cannot be read.
    """
    if not state_db.exists() or not len(record):
        return LiveRecord()
    said = dict(zip(record.open_ms.tolist(), recorded_signal(record, task).tolist(), strict=True))
    told = _told(state_db, key, version, published_column(task), int(record.open_ms[0]))
    scale = 100.0 if task == "risk" else 1.0
    both = {open_ms: value for open_ms, value in told.items() if open_ms in said}
    known = [came_true[open_ms] for open_ms in both if open_ms in came_true]
    return LiveRecord(
        bars=len(both),
        hits=sum(known),
        evaluated=len(known),
        differing=tuple(sorted(open_ms for open_ms, value in both.items() if value != said[open_ms] * scale)),
        last_ms=max(both, default=None),
    )


def _told(state_db: Path, key: ModelKey, version: str, name: str, since_ms: int) -> dict[int, float]:
    """Return what bots read from a version, by the open time of the bar."""
    from bot.live.journal_tables import JOURNAL_STEPS
    from bot.state import StateDatabase

    found: dict[int, float] = {}
    with StateDatabase(state_db) as state:
        state.apply("journal", JOURNAL_STEPS)
        rows = state.rows(
            "SELECT open_ms, document FROM live_decisions WHERE symbol = ? AND open_ms >= ? AND document LIKE ?",
            (key.symbol, since_ms, f"%{version}%"),
        )
        for row in rows:
            for said in json.loads(row["document"])["predictions"].values():
                value = said["values"][name]
                if said["model"] == f"{key.symbol}/{key.model_type}@{version}" and value is not None:
                    found[int(row["open_ms"])] = float(value)
    return found
