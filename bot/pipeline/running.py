"""Putting a pipeline together for a home: settings, recipes, stores, builder, alerts, and the bots that follow."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bot.errors import UsageError
from bot.pipeline.building import build_here, build_on_dask
from bot.pipeline.cycle import Pipeline
from bot.pipeline.lock import pipeline_lock
from bot.pipeline.market import Market
from bot.pipeline.recipes import load_recipes
from bot.pipeline.records import Records
from bot.pipeline.settings import PipelineSettings, load_settings
from bot.pipeline.store import PipelineStore
from bot.wall_clock import wall_ms
from ml.lifecycle.tenure import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bot.home import Home
    from ml.recipes import Recipe
    from registry.names import ModelKey

__all__ = ["find_settings", "open_pipeline", "read_recipes", "rules_of"]

_PLACES = (Path("pipeline.yaml"), Path("configs/pipeline.yaml"))


def find_settings(path: Path | None) -> PipelineSettings:
    """Return the settings of a file: of the one given, else of ``pipeline.yaml`` here or in ``configs``, else the defaults.

    Raises
    ------
    ConfigError
        When the file is wrong, or one that was named is missing.
    """
    found = path or next((place for place in _PLACES if place.is_file()), None)
    return PipelineSettings() if found is None else load_settings(found)


def read_recipes(settings: PipelineSettings, sources: Sequence[Path]) -> tuple[Recipe, ...]:
    """Return the recipes of some files and folders; those of the settings where none is named.

    Raises
    ------
    ConfigError
        With file:line:column for everything that is wrong.
    UsageError
        When there is no folder of recipes.
    """
    if not sources and not settings.recipes.exists():
        raise UsageError(
            f"no recipes: the folder {settings.recipes} does not exist; name one with --recipes, or begin with 'bot init'"
        )
    return load_recipes(list(sources) or settings.recipes, every_ms=settings.every_ms)


def rules_of(settings: PipelineSettings) -> Rules:
    """Return the rules of judgement that the settings ask for."""
    return Rules(
        ranking_ms=settings.window_of_ranking_ms, keep=settings.keep, naive_drift=settings.drift.rule == "naive"
    )


@contextmanager
def open_pipeline(
    home: Home,
    settings_path: Path | None,
    recipes: Sequence[Path],
    *,
    workers: int | None = None,
    dask: str | None = None,
    fetch: bool | None = None,
    promote: bool | None = None,
    reading: bool = False,
    need_recipes: bool = True,
    progress: Callable[[float, str], None] = lambda _share, _text: None,
) -> Iterator[Pipeline]:
    """Yield the pipeline of a home, and hold its lock meanwhile unless it is only read.

    Parameters
    ----------
    home
        Of candles, models and the pipeline's database.
    settings_path, recipes
        As `find_settings` and `read_recipes`.
    workers, dask, fetch, promote
        In place of what the settings say.
    reading
        Nothing is written: no lock, no alerts.
    need_recipes
        Without it a home that has no folder of recipes will do: its champions were made by hand.
    progress
        Told the share that is done, and with what.

    Raises
    ------
    BotError
        When another cycle runs.
    ConfigError, UsageError, StorageError
        As their parts.
    """
    from bot.market.exchanges import connect
    from bot.market.store import CandleStore
    from bot.version import code_version
    from ml.bundles import open_runner
    from registry.store import PredictionModelRegistry

    if workers is not None and workers < 1:
        raise UsageError(f"--workers {workers}: at least one process builds")
    settings = find_settings(settings_path)
    found = read_recipes(settings, recipes) if need_recipes or settings.recipes.exists() else ()
    count = workers or settings.worker_count(len(os.sched_getaffinity(0)))
    builder = partial(build_here, workers=count) if dask is None else partial(build_on_dask, address=dask)
    with ExitStack() as stack:
        if not reading:
            stack.enter_context(pipeline_lock(home.root))
        store = stack.enter_context(PipelineStore(home.pipeline_db))
        tell = _teller(stack, silent=reading or not settings.alerts)
        yield Pipeline(
            found,
            PredictionModelRegistry(home.models, open_runner=open_runner),
            store,
            Records(store.state),
            Market(CandleStore(home.candles), connect, wall_ms),
            builder,
            code_version=code_version(),
            rules=rules_of(settings),
            fetch=settings.fetch if fetch is None else fetch,
            promote=settings.promote == "evidence" if promote is None else promote,
            tell=tell,
            follow=_follower(home) if settings.follow and not reading else _nobody,
            progress=progress,
            clock=wall_ms,
        )


def _teller(stack: ExitStack, *, silent: bool) -> Callable[[str, str], None]:
    from bot.alerts import Alerts

    if silent:
        return lambda _kind, _text: None
    alerts = Alerts.from_environment(("lifecycle", "errors"), name="pipeline")
    stack.callback(alerts.close)
    return alerts.send


def _follower(home: Home) -> Callable[[ModelKey, str | None, str], None]:
    """Return what tells the running bots of a home that a champion has changed."""

    def follow(key: ModelKey, version: str | None, reason: str) -> None:
        from bot.live.following import tell_home

        tell_home(home, key, version, reason)

    return follow


def _nobody(_key: ModelKey, _version: str | None, _reason: str) -> None:
    """Tell no bot."""
