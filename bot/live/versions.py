"""The versions that answer the roles of a run: written down before they count, and taken again at a restart.

A row of the journal says which version answers a role from which bar on; ``SYMBOL/TYPE@none`` says that none does.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from ml.engine import PredictionEngine
from ml.engines import open_bundle, open_engine
from ml.schedule import ScheduledEngine, schedule_engines
from registry.names import NO_MODEL, ModelReference, parse_reference
from registry.store import PredictionModelRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.assembly import BoundModel, Choice
    from bot.home import Home
    from bot.live.journal_rows import RunRow
    from bot.state import StateDatabase
    from ml.cache import PredictionCache
    from registry.model import StrategyModel

__all__ = [
    "next_bar_ms",
    "note_first_models",
    "open_version",
    "pinned_choices",
    "put_in_force",
    "scheduled_choices",
]

_BY_HAND = "none was deployed"


def scheduled_choices(choices: dict[str, Choice], timeframe: str) -> dict[str, Choice]:
    """Return the choices with engines that another version may take over from."""
    return {
        symbol: replace(
            choice,
            models=tuple(
                bound
                if isinstance(bound.engine, ScheduledEngine)
                else _scheduled(choice, bound, [(None, bound.engine)], timeframe)
                for bound in choice.models
            ),
        )
        for symbol, choice in choices.items()
    }


def note_first_models(state: StateDatabase, run: RunRow, choices: dict[str, Choice]) -> None:
    """Write down which versions a run begins with; a role without one has no row."""
    for symbol, choice in choices.items():
        for bound in choice.models:
            engines = bound.engine.engines if isinstance(bound.engine, ScheduledEngine) else ((None, bound.engine),)
            for start, engine in engines:
                if start is not None or engine.model is not None:
                    _note(state, run.run_id, symbol, bound, start or 0, engine.model)


def put_in_force(
    state: StateDatabase, run_id: str, symbol: str, bound: BoundModel, from_ms: int, engine: PredictionEngine
) -> None:
    """Let a version, or none, answer a role from a bar on; it is on the disk before it counts.

    Of two between the same two bars the second holds.

    Raises
    ------
    InvalidParameter, SchemaMismatch
        When it cannot take over; see ``ScheduledEngine.deploy``. Nothing has changed then.
    StorageError
        When it cannot be written; nothing has changed.
    """
    schedule: Any = bound.engine
    schedule.check(from_ms, engine)
    _note(state, run_id, symbol, bound, from_ms, engine.model)
    schedule.deploy(from_ms, engine)


def pinned_choices(
    state: StateDatabase,
    home: Home,
    run: RunRow,
    choices: dict[str, Choice],
    cache: PredictionCache | None,
) -> dict[str, Choice]:
    """Return the choices with the versions that the run has used, whatever was promoted since.

    Raises
    ------
    UsageError
        When a version is another bundle than the run used.
    RegistryError, MLError
        When a version cannot be opened.
    """
    registry = PredictionModelRegistry(home.models, open_bundle)
    timeframe = str(run.inputs["config"]["timeframe"])
    found = {}
    for symbol, choice in choices.items():
        models = []
        for bound in choice.models:
            rows = state.rows(
                "SELECT from_ms, version, digest FROM live_models WHERE run_id = ? AND symbol = ? AND role = ? "
                "ORDER BY from_ms",
                (run.run_id, symbol, bound.role),
            )
            engines: list[tuple[int | None, PredictionEngine]] = []
            for row in rows:
                model = open_version(registry, str(row["version"]), file_timeframe=timeframe)
                if model is not None and model.digest != row["digest"]:
                    raise UsageError(f"{row['version']} is not the bundle that the run used: its digest has changed")
                engine = open_engine(model, cache=cache, expires_after_ms=bound.max_age_ms)
                engines.append((int(row["from_ms"]) or None, engine))
            newest = engines[-1][1].model if engines else None
            pinned = replace(bound, model=newest, absence="" if newest else _BY_HAND if engines else bound.absence)
            columns = _columns(state, run.run_id, symbol)
            models.append(_scheduled(choice, pinned, engines or [(None, open_engine(None))], timeframe, columns))
        found[symbol] = replace(choice, models=tuple(models))
    return found


def open_version(registry: PredictionModelRegistry, reference: str, *, file_timeframe: str) -> StrategyModel | None:
    """Return a version by its full name, ``SYMBOL/TYPE@VERSION``; None for ``SYMBOL/TYPE@none``."""
    wanted = parse_reference(reference)
    if wanted.selector == NO_MODEL:
        return None
    return registry.select_bundle(
        symbol=wanted.symbol, model_type=wanted.model_type, timeframe=file_timeframe, version=wanted.selector
    )


def next_bar_ms(state: StateDatabase, run_id: str, symbol: str) -> int:
    """Return the earliest open time of the bar after those that a run has recorded, milliseconds UTC."""
    rows = state.rows("SELECT max(open_ms) FROM live_bars WHERE run_id = ? AND symbol = ?", (run_id, symbol))
    if rows[0][0] is not None:
        return int(rows[0][0]) + 1
    first = state.rows("SELECT trade_from_ms FROM live_series WHERE run_id = ? AND symbol = ?", (run_id, symbol))
    return int(first[0][0])


def _scheduled(
    choice: Choice,
    bound: BoundModel,
    engines: list[tuple[int | None, PredictionEngine]],
    timeframe: str,
    columns: Sequence[str] | None = None,
) -> BoundModel:
    """Return a role whose versions change; one that reads paths is known as such before it has a model."""
    paths = getattr(choice.strategy, "reads", {}).get(bound.role) == "path"
    schedule = schedule_engines(engines, timeframe=timeframe if paths else None, paths=paths or None, columns=columns)
    return replace(bound, engine=schedule)


def _columns(state: StateDatabase, run_id: str, symbol: str) -> tuple[str, ...]:
    """Return the names of the values that each recorded bar of a run has."""
    rows = state.rows("SELECT columns FROM live_series WHERE run_id = ? AND symbol = ?", (run_id, symbol))
    return tuple(json.loads(rows[0]["columns"]))


def _note(
    state: StateDatabase, run_id: str, symbol: str, bound: BoundModel, from_ms: int, model: StrategyModel | None
) -> None:
    """Write down which version answers a role from a bar on; 0 for from the beginning."""
    none = ModelReference(bound.reference.symbol, bound.reference.model_type, NO_MODEL)
    version, digest = (str(none), "") if model is None else (str(model), model.digest)
    state.execute(
        "INSERT OR REPLACE INTO live_models (run_id, symbol, role, from_ms, version, digest) VALUES (?, ?, ?, ?, ?, ?)",
        (run_id, symbol, bound.role, from_ms, version, digest),
    )
