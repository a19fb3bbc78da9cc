"""Registered models: every version with its skill beside its baselines, and the card of one."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, UsageError
from bot.model_rows import gate_verdict, headline, history_document
from bot.model_selection import open_registry, select_model
from bot.service.answers import model_answer
from bot.service.views.plain import iso, plain, without_paths
from registry.errors import RegistryError
from registry.listing import model_of
from registry.model import StrategyModel
from registry.names import ModelKey, normalise_symbol, normalise_type, parse_version, timeframe_ms
from registry.shelf import find_shelves

if TYPE_CHECKING:
    from pathlib import Path

    from bot.home import Home
    from registry.shelf import Shelf

__all__ = ["model", "models"]

_REMEMBERED = 4_096
_NOT_KNOWN = "the ledger does not know this folder"


def models(
    home: Home,
    symbol: str | None = None,
    model_type: str | None = None,
    timeframe: str | None = None,
    most: int = 500,
    *,
    now: datetime | None = None,
) -> list[dict[str, Any]]:
    """Return the versions of a home, newest first.

    Figures are read only of the versions that are returned; a champion is never left out.

    Parameters
    ----------
    home
        Whose registry.
    symbol, model_type, timeframe
        Keep only these; any accepted spelling.
    most
        How many, at least 1.
    now
        For ages; the time of this computer by default.

    Returns
    -------
    list of dict
        The fields of `bot.service.answers.model_answer`, with ``status``, ``champion``, ``promoted``, ``promoted_at``,
        ``quarantined``, ``registered_at``, ``trained_until``, ``age_seconds``, ``task``, ``skill`` (the figures of
        ``bot models list --json``, null where the task has others), ``headline`` (what, measured, beside it: in words, of any
        task) and ``broken``: null, or what is wrong with the bundle.

    Raises
    ------
    InvalidName, UsageError
        For names and numbers that are none.
    """
    if most < 1:
        raise UsageError(f"most is {most}: expected 1 or more")
    if timeframe is not None:
        timeframe_ms(timeframe)
    found = _registered(
        home.models,
        None if symbol is None else normalise_symbol(symbol),
        None if model_type is None else normalise_type(model_type),
        timeframe,
    )
    found.sort(key=_newest)
    champions = [each for each in found[most:] if each.status == "champion"]
    kept = [*found[: max(0, most - len(champions))], *champions][: max(most, len(champions))]
    moment = now or datetime.now(UTC)
    return [_row(each, moment, home) for each in sorted(kept, key=_newest)]


def model(
    home: Home,
    symbol: str,
    model_type: str,
    version: str | None = None,
    timeframe: str | None = None,
    *,
    now: datetime | None = None,
) -> dict[str, Any]:
    """Return the card of one version.

    Parameters
    ----------
    home
        Whose registry.
    symbol, model_type, version, timeframe
        Any accepted spelling; ``version`` may be ``latest``, ``newest``, a version or the beginning of one, or None for the
        champion, else the newest.
    now
        For its age.

    Returns
    -------
    dict
        A row of `models` with ``gate``, ``metrics``, ``metadata`` as of now, ``card`` (Markdown), ``files`` with their
        digests, ``history`` (rows of the ledger, oldest first) and ``notes``: what could not be read of what came after
        training.

    Raises
    ------
    ModelNotFound, NoChampion, UsageError, InvalidName
        When the names lead to none, or to several.
    InvalidBundle
        When the bundle is damaged.
    """
    registry = open_registry(home.models)
    found = select_model(registry, symbol, model_type, timeframe, version)
    card, metadata, notes = _as_of_now(home, found)
    allowed, reason = gate_verdict(found)
    document: dict[str, Any] = plain(
        {
            **_row(found, now or datetime.now(UTC), home),
            "gate": {"promoted": allowed, "reason": reason},
            "metrics": found.metrics,
            "metadata": metadata,
            "card": card,
            "files": {
                name: {"sha256": each.sha256, "bytes": each.bytes} for name, each in found.manifest.files.items()
            },
            "history": [
                {**history_document(row), "time": iso(row.at)}
                for row in registry.history(found.key)
                if row.version == found.version_id
            ],
            "notes": notes,
        },
        home,
    )
    return document


def _registered(root: Path, symbol: str | None, model_type: str | None, timeframe: str | None) -> list[StrategyModel]:
    """Return the versions as the ledgers name them, without a look into their folders; strays are broken."""
    found = []
    for shelf in find_shelves(root):
        if symbol in (None, shelf.symbol) and model_type in (None, shelf.model_type):
            found += [each for each in _of_shelf(shelf) if timeframe in (None, each.timeframe)]
    return found


def _of_shelf(shelf: Shelf) -> list[StrategyModel]:
    try:
        standing = shelf.standing()
    except RegistryError as error:
        return [_stray(shelf, name, str(error)) for name in shelf.version_folders()]
    known = [model_of(shelf, state, None) for state in shelf.visible(standing)]
    strays = [name for name in shelf.version_folders() if name not in standing.versions]
    return known + [_stray(shelf, name, _NOT_KNOWN) for name in strays]


def _stray(shelf: Shelf, name: str, problem: str) -> StrategyModel:
    key = ModelKey(shelf.symbol, shelf.model_type, parse_version(name).timeframe)
    return StrategyModel(key, name, shelf.folder / name, "", "candidate", problem=problem)


def _newest(each: StrategyModel) -> tuple[float, str, str, str]:
    return -each.registered_at.timestamp(), each.symbol, each.model_type, each.version_id


def _row(found: StrategyModel, now: datetime, home: Home) -> dict[str, Any]:
    problem = found.problem
    figures: dict[str, Any] = {}
    if problem is None:
        try:
            found.check_names()
            figures = _figures(found.path, found.key, found.version_id, found.digest)
        except (RegistryError, OSError) as error:
            problem = str(error)
    if problem is not None:
        figures = _told(replace(found, problem=problem))
    return {
        **figures,
        "status": found.status,
        "champion": found.status == "champion",
        "promoted": found.promoted,
        "promoted_at": None if found.promoted_at is None else iso(found.promoted_at),
        "quarantined": found.status == "quarantined",
        "registered_at": iso(found.registered_at),
        "age_seconds": int((now - found.registered_at).total_seconds()),
        "broken": None if problem is None else without_paths(problem, home),
    }


@lru_cache(maxsize=_REMEMBERED)
def _figures(path: Path, key: ModelKey, version: str, digest: str) -> dict[str, Any]:
    """Return what a bundle says of itself; it never changes, and the digest in the question names it."""
    told: dict[str, Any] = plain(_told(StrategyModel(key, version, path, digest, "candidate")))
    return told


def _told(bundle: StrategyModel) -> dict[str, Any]:
    metadata = {} if bundle.problem else bundle.metadata
    return {
        **model_answer(bundle),
        "task": metadata.get("task"),
        "trained_until": metadata.get("trained_until"),
        "skill": headline(bundle),
        "headline": [] if bundle.problem else _in_words(bundle),
    }


def _in_words(bundle: StrategyModel) -> list[dict[str, str]]:
    """Return the figures that stand first as the card has them, each with what it must be held against."""
    from ml.tasks.catalogue import WORDS

    words = WORDS.get(str(bundle.metadata.get("task", "direction")))
    figures = bundle.metrics.get("out_of_sample")
    if words is None or not isinstance(figures, dict):
        return []
    try:
        rows = words.headline(figures)
    except (KeyError, TypeError, ValueError):  # of another version of the program, or by another trainer
        return []
    return [{"what": what, "measured": measured, "beside": beside} for what, measured, beside in rows]


def _as_of_now(home: Home, found: StrategyModel) -> tuple[str, dict[str, Any], list[str]]:
    """Return card and metadata with what came after training; a damaged record leaves those of the bundle, and a note."""
    from bot.pipeline.living import living_card

    notes = []
    try:
        card, metadata = living_card(home, found)
    except BotError as error:
        card, metadata = "", found.metadata
        notes.append(str(error))
    if not card and "README.md" in found.manifest.files:
        card = found.read("README.md").decode("utf-8", errors="replace")
    return card, metadata, notes
