"""The pipeline as a home's database has it: recipes, who serves, and where the drift tests stand."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, UsageError
from bot.service.answers import pair_text
from bot.service.views.outcomes import accuracy
from bot.service.views.plain import plain
from bot.wall_clock import wall_ms
from ml.candles import format_ms
from ml.errors import MLError
from registry.errors import RegistryError
from registry.shelf import find_shelves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bot.home import Home
    from bot.pipeline.cycle import Pipeline
    from bot.pipeline.judging import Bench
    from ml.recipes import Recipe

    Identity = tuple[tuple[str, int, int, int], ...]

__all__ = ["accuracy", "drift", "pipeline"]

_FRESH_MS = 15_000  # ages and what is due move on with the clock
_NO_CYCLE = "No cycle was run yet: 'bot pipeline run' does the first."
_ONCE_ENROLLED = "The files of the recipes are not here: shown are all recipes that this home ever built."
_READ = 2_000  # newest findings that are looked through
_OF_DRIFT = ("quarantine", "fallback", "rollback")


def pipeline(home: Home, settings: Path | None = None) -> dict[str, Any]:
    """Return what ``bot pipeline status --json`` shows; nothing is enrolled, scored or decided.

    Parameters
    ----------
    home
        Of the pipeline; one without a ``pipeline.db`` is not given one.
    settings
        Of the pipeline; by default those that the command would find. Where their recipes are not there, the recipes that the
        home has built stand for them.

    Returns
    -------
    dict
        ``now``, ``last_cycle``, ``models`` (champion, recipes with their evidence, ``why``), ``findings`` and ``notes``.

    Raises
    ------
    ConfigError, StorageError
        When settings or recipes are wrong, or the database cannot be read.
    """
    with _ONE_LOOK:
        found: dict[str, Any] = plain(_status(home, settings, _identity(home), wall_ms() // _FRESH_MS), home)
    return found


def drift(home: Home, most: int = 30, settings: Path | None = None) -> dict[str, Any]:
    """Return where the drift test of every champion stands, and what it led to last; nothing is scored or decided.

    Parameters
    ----------
    home, settings
        As for `pipeline`.
    most
        Findings, at least 1.

    Returns
    -------
    dict
        ``models``: for each key with a champion its ``version``, ``recipe``, ``state`` (``calm``, ``warning``, ``alarm`` or
        ``no reference``), ``statistic`` and ``threshold``, ``evaluations``, ``hits``, ``hit_rate``, ``since``, ``reference``,
        ``fall``, ``words`` of an alarm and ``calibration`` of the last evaluations. ``findings``: quarantines, fallbacks and
        rollbacks, newest first. ``notes``: what could not be looked at, and why.

    Raises
    ------
    ConfigError, StorageError
        As `pipeline`.
    """
    if most < 1:
        raise UsageError(f"most is {most}: expected 1 or more")
    with _ONE_LOOK:
        document = _drift(home, settings, _identity(home), wall_ms() // _FRESH_MS)
        found: dict[str, Any] = plain(document | {"findings": document["findings"][:most]}, home)
    return found


# ---------------------------------------------------------------- inside


_ONE_LOOK = threading.Lock()
"""A look reads every row of the records: who asks meanwhile waits, and finds it remembered."""


@lru_cache(maxsize=4)
def _status(home: Home, settings: Path | None, _files: Identity, _period: int) -> dict[str, Any]:
    """Return the document of `pipeline`, remembered as long as the files are the same and for so long at most."""
    from bot.pipeline.status import status_document

    now_ms = wall_ms()
    with _opened(home, settings) as (opened, notes):
        if opened is None:
            return {"now": format_ms(now_ms), "last_cycle": None, "models": [], "findings": [], "notes": notes}
        document = status_document(opened, now_ms)
    document["models"] = [{**_names(each["key"]), **each} for each in document["models"]]
    document["findings"] = [{**_names(each["key"]), **each} for each in document["findings"]]
    document["notes"] = [*document["notes"], *notes]
    return document


@lru_cache(maxsize=4)
def _drift(home: Home, settings: Path | None, _files: Identity, _period: int) -> dict[str, Any]:
    """Return the document of `drift` with every finding that is shown at most, remembered likewise."""
    models: list[dict[str, Any]] = []
    with _opened(home, settings) as (opened, notes):
        if opened is None:
            return {"models": models, "findings": [], "notes": notes}
        for key in opened.store.model_keys():
            try:
                told = _watched(opened.bench(key))
            except (BotError, MLError, RegistryError) as error:
                notes.append(f"{key}: {error}")
            else:
                models += [] if told is None else [told]
        rows = [each for each in opened.store.findings(most=_READ) if each.kind in _OF_DRIFT]
    findings = [
        {**_names(each.model_key), "at": format_ms(each.at_ms), "kind": each.kind, "text": each.text} for each in rows
    ]
    return {"models": models, "findings": findings, "notes": notes}


def _identity(home: Home) -> Identity:
    """Return what tells whether anything was written since: name, i-node, size and time of every file that is read."""
    paths = [home.pipeline_db, home.pipeline_db.with_name(f"{home.pipeline_db.name}-wal")]
    paths += [shelf.ledger_path for shelf in find_shelves(home.models)]
    found = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        if status.st_size:  # an empty log of writes comes and goes with every reader
            found.append((str(path), status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(found)


@contextmanager
def _opened(home: Home, settings: Path | None) -> Iterator[tuple[Pipeline | None, list[str]]]:
    """Open a home's pipeline to look at it, with notes for a person; None where it has no database."""
    if not home.pipeline_db.exists():
        yield None, [_NO_CYCLE]
        return

    from bot.pipeline.running import open_pipeline

    notes: list[str] = []
    with open_pipeline(home, settings, [], reading=True, need_recipes=False) as opened:
        if not opened.recipes:
            opened.recipes = _once_enrolled(opened)
            notes += [_ONCE_ENROLLED] if opened.recipes else []
        yield opened, notes


def _once_enrolled(opened: Pipeline) -> tuple[Recipe, ...]:
    from ml.errors import InvalidRecipe
    from ml.recipes import Recipe

    found = []
    for document in opened.store.known_recipes().values():
        features = document["features"]
        try:
            found.append(Recipe(**{**document, "features": None if features is None else tuple(features)}))
        except (InvalidRecipe, TypeError):  # of another version of the program
            continue
    return tuple(found)


def _names(key: str) -> dict[str, str]:
    """Return the parts of ``SYMBOL/TIMEFRAME/TYPE``."""
    symbol, timeframe, model_type = key.split("/")
    return {"symbol": pair_text(symbol), "timeframe": timeframe, "type": model_type}


def _watched(bench: Bench) -> dict[str, Any] | None:
    """Return where the test of a key's champion stands; None without one."""
    from ml.drift.calibration import calibration_gap

    bench.tenure.look()
    champion, watch = bench.tenure.facts.champion, bench.tenure.drift
    if champion is None or watch is None:
        return None
    told = watch.to_dict()
    alarm = watch.alarm()
    thinned = bench.rows(champion.stream)[1].phase(0)
    return {
        **_names(str(bench.key)),
        "version": champion.version,
        "recipe": champion.stream,
        **told,
        "state": told["state"] if alarm is None else "alarm",
        "words": None if alarm is None else alarm[0],
        "hit_rate": told["hits"] / told["evaluations"] if told["evaluations"] else None,
        "calibration": calibration_gap(thinned.stated, thinned.came_true).to_dict(),
    }
