"""The home folder: where the program keeps everything that it writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Home"]


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one home folder; nothing is created until something is written."""

    root: Path

    @classmethod
    def resolve(cls, option: Path | None = None) -> Home:
        """Return the home given by ``--home``, else by ``$BOT_HOME``, else ``./var``."""
        return cls((option or Path(os.environ.get("BOT_HOME") or "var")).expanduser().absolute())

    @property
    def candles(self) -> Path:
        """Parquet files of candles."""
        return self.root / "candles"

    @property
    def models(self) -> Path:
        """The model registry."""
        return self.root / "models"

    @property
    def predictions_db(self) -> Path:
        """The prediction cache; may be deleted at any time."""
        return self.root / "predictions.db"

    @property
    def state_db(self) -> Path:
        """Orders, decisions, validations: precious."""
        return self.root / "state.db"

    @property
    def runs(self) -> Path:
        """One folder a backtest or live run."""
        return self.root / "runs"
