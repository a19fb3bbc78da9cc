"""The home folder: where the program keeps everything that it writes."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from bot.errors import UsageError

__all__ = ["Home"]


@dataclass(frozen=True, slots=True)
class Home:
    """Paths below one home folder; nothing is created until something is written."""

    root: Path

    @classmethod
    def resolve(cls, option: Path | None = None) -> Home:
        """Return the home given by ``--home``, else by ``$BOT_HOME``, else ``./var``.

        Raises
        ------
        UsageError
            When it is there and not a folder, or names a user that this machine does not know.
        """
        given = option or Path(os.environ.get("BOT_HOME") or "var")
        try:
            root = given.expanduser().absolute()
        except RuntimeError:
            raise UsageError(f"the home folder {given}: there is no such user's home") from None
        for path in (root, root / "candles", root / "models", root / "runs"):
            if os.path.lexists(path) and not path.is_dir():
                raise UsageError(f"{path} is not a folder: the home is a folder of candles, models and runs")
        return cls(root)

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
    def pipeline_db(self) -> Path:
        """Cycles, prequential records and findings of the pipeline: precious."""
        return self.root / "pipeline.db"

    @property
    def runs(self) -> Path:
        """One folder a backtest or live run."""
        return self.root / "runs"
