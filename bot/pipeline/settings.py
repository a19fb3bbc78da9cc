"""What the cycle is told to do, in ``pipeline.yaml``: everything has a default."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from bot.config.document import Kind, parse_document, read_document
from bot.config.values import Length, Part, duration_ms

__all__ = ["DriftSettings", "PipelineSettings", "load_settings", "parse_settings"]

_KIND = Kind("settings of the pipeline", "recipes: ..., every: ...", optional=True)


def _path(value: Any) -> Path:
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"expected a folder such as recipes/, got {value!r}")
    return Path(value).expanduser()


class DriftSettings(Part):
    """When a champion is quarantined.

    ``rule: sr`` is the Shiryaev-Roberts test, which on a healthy model raises at most one false alarm a year on average;
    ``naive`` is the fall of five points within 24 hours, which raises two hundred.
    """

    rule: Literal["sr", "naive"] = "sr"


class PipelineSettings(Part):
    """Settings of the cycle.

    ``recipes`` is the folder of recipes, relative to the file of the settings. ``every`` is the time between two cycles, and
    between two refits of a recipe that does not say. ``workers`` processes build at once: half the cores where it is not
    given. Of each model at most ``keep`` versions stay after ranking on the last ``window_of_ranking``; the others are
    archived. ``fetch`` asks the exchanges for new candles first. ``promote: none`` trains and judges, and leaves the champion
    as it is; a champion that drifts is quarantined all the same. ``follow`` tells running bots of a new champion, ``alerts``
    the addresses in ``BOT_ALERTS``.
    """

    recipes: Annotated[Path, BeforeValidator(_path)] = Path("recipes")
    every: Length = "12h"
    workers: Annotated[int, Field(ge=1, le=1_024)] | None = None
    keep: Annotated[int, Field(ge=1, le=100)] = 5
    window_of_ranking: Length = "90d"
    fetch: bool = True
    drift: DriftSettings = Field(default_factory=DriftSettings)
    promote: Literal["evidence", "none"] = "evidence"
    follow: bool = True
    alerts: bool = True

    @property
    def every_ms(self) -> int:
        """``every`` in milliseconds."""
        return duration_ms(self.every)

    @property
    def window_of_ranking_ms(self) -> int:
        """``window_of_ranking`` in milliseconds."""
        return duration_ms(self.window_of_ranking)

    def worker_count(self, cores: int) -> int:
        """Return how many processes may build at once on so many cores: trading keeps the other half."""
        return max(1, cores // 2) if self.workers is None else self.workers


def load_settings(path: Path) -> PipelineSettings:
    """Read a file of settings; its ``recipes`` are below its own folder.

    Raises
    ------
    ConfigError
        With file:line:column for everything that is wrong, one line each (at most ten).
    """
    settings = read_document(path, _KIND).validated(PipelineSettings)
    return settings.model_copy(update={"recipes": path.parent / settings.recipes})


def parse_settings(text: str, path: str = "pipeline.yaml") -> PipelineSettings:
    """Check the text of settings; ``path`` is what errors call it. Raises as `load_settings`."""
    return parse_document(text, path, _KIND).validated(PipelineSettings)
