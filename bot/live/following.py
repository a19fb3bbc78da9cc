"""Roles that follow the champion: who follows which model, who tells them of a new one, and how a role takes it.

The ledger is the truth. A command only says that it has changed: the bot looks up the champion itself when it takes the
command, so one that waited for long never brings an old version back. A bot that was down looks when it starts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from bot.binding import why_absent
from bot.live.control import Control
from bot.live.versions import next_bar_ms, put_in_force
from bot.wall_clock import wall_ms
from ml.engines import open_bundle, open_engine
from ml.errors import SchemaMismatch
from registry.errors import NoChampion, RegistryError
from registry.names import NO_MODEL, ModelReference, timeframe_ms
from registry.store import PredictionModelRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bot.assembly import BoundModel, Choice
    from bot.config.loader import ConfigFile
    from bot.home import Home
    from bot.state import StateDatabase
    from ml.engine import PredictionEngine
    from registry.names import ModelKey

__all__ = [
    "Follower",
    "Turn",
    "catch_up",
    "first_bar_ms",
    "followers",
    "next_turn",
    "note_followers",
    "tell_followers",
    "tell_home",
]

_TABLE = """
    CREATE TABLE live_followers (
        bot TEXT NOT NULL, symbol TEXT NOT NULL, role TEXT NOT NULL, model TEXT NOT NULL,
        PRIMARY KEY (bot, symbol, role)
    ) WITHOUT ROWID
"""
_STEPS = {"create_tables": (_TABLE,)}
_SOME_DAY = (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Follower:
    """A role of a bot that takes every new champion: the bot's name, the symbol of its feed, the role."""

    bot: str
    symbol: str
    role: str


@dataclass(frozen=True, slots=True)
class Turn:
    """What takes over a role.

    Attributes
    ----------
    engine
        Answers from then on; without a model where there is no champion.
    promoted_ms : int or None
        When the champion was promoted, milliseconds UTC; None without one.
    absence
        Why there is no model, in words; empty where there is one.
    """

    engine: PredictionEngine
    promoted_ms: int | None
    absence: str

    def words(self, symbol: str, role: str) -> str:
        """Return what happens, as one sentence."""
        if self.engine.model is None:
            return f"{symbol}: {role} has no model from the next bar on ({self.absence})"
        return f"{symbol}: {self.engine.model} answers {role} from the next bar on"


def followers(state: StateDatabase, key: ModelKey) -> tuple[Follower, ...]:
    """Return the roles that follow the champion of a model, of bots that run or ran in this home, in order of their names.

    Raises
    ------
    StorageError
        When the state database cannot be read.
    """
    state.apply("following", _STEPS)
    rows = state.rows(
        "SELECT bot, symbol, role FROM live_followers WHERE model = ? ORDER BY bot, role, symbol", (str(key),)
    )
    return tuple(Follower(str(row["bot"]), str(row["symbol"]), str(row["role"])) for row in rows)


def tell_home(home: Home, key: ModelKey, version: str | None, reason: str) -> tuple[Follower, ...]:
    """Tell the running bots of a home; see `tell_followers`. Where no bot ever ran there is nobody to tell."""
    from bot.state import StateDatabase

    if not home.state_db.exists():
        return ()
    with StateDatabase(home.state_db) as state:
        return tell_followers(state, key, version, reason)


def note_followers(state: StateDatabase, file: ConfigFile) -> None:
    """Write down what a bot follows, in place of what it followed before; called at each start."""
    state.apply("following", _STEPS)
    config = file.config
    with state.transaction():
        state.execute("DELETE FROM live_followers WHERE bot = ?", (config.name,))
        for role, wanted in config.models.items():
            for symbol in config.symbols if wanted.follows else ():
                key = wanted.reference(symbol).key(config.timeframe)
                state.execute(
                    "INSERT INTO live_followers (bot, symbol, role, model) VALUES (?, ?, ?, ?)",
                    (config.name, symbol, role, str(key)),
                )


def tell_followers(
    state: StateDatabase,
    key: ModelKey,
    version: str | None,
    reason: str,
    *,
    clock: Callable[[], int] = wall_ms,
) -> tuple[Follower, ...]:
    """Tell the running bots that follow a model that its champion has changed; call it when the ledger says so.

    Parameters
    ----------
    state
        The state database of the home.
    key
        The model.
    version
        The new champion; None where there is none any more.
    reason
        Why, for a person.
    clock
        The wall clock, milliseconds UTC.

    Returns
    -------
    tuple of Follower
        Those that were told. Bots that are down are not: they look when they start.
    """
    roles: dict[tuple[str, str], list[Follower]] = {}
    for each in followers(state, key):
        roles.setdefault((each.bot, each.role), []).append(each)
    reference = str(ModelReference(key.symbol, key.model_type, version or NO_MODEL))
    told: list[Follower] = []
    for (bot, role), found in roles.items():
        control = Control(state, bot, clock)
        if control.is_running():
            versions = {each.symbol: reference for each in found}
            arguments = {"role": role, "model": reference, "versions": versions, "follow": True, "reason": reason}
            control.send("deploy-model", arguments)
            told += found
    return tuple(told)


def next_turn(home: Home, timeframe: str, bound: BoundModel) -> Turn | None:
    """Return what takes over a role that follows the champion; None where the champion answers it already.

    Where the champion cannot take over, what is in force stays, unless it was quarantined: then there is no model.

    Parameters
    ----------
    home
        Where the models are.
    timeframe
        Of the bars.
    bound
        The role, with its schedule.

    Raises
    ------
    SchemaMismatch
        When the champion cannot take over, and what is in force stays.
    RegistryError, MLError
        When the champion is damaged; what is in force stays.
    """
    registry = PredictionModelRegistry(home.models, open_bundle)
    key = bound.reference.key(timeframe)
    schedule: Any = bound.engine
    in_force = schedule.engines[-1][1].model
    try:
        champion = registry.select_bundle(
            symbol=key.symbol, model_type=key.model_type, timeframe=timeframe, version="latest"
        )
    except NoChampion:
        return None if in_force is None else Turn(open_engine(None), None, why_absent(registry, key))
    if in_force is not None and champion.digest == in_force.digest:
        return None
    promoted = champion.promoted_at
    engine = open_engine(champion, expires_after_ms=bound.max_age_ms)
    try:
        schedule.check(_SOME_DAY, engine)  # bars go on coming while a bundle is opened: when it begins is decided later
    except SchemaMismatch as error:
        if in_force is None or _status(registry, in_force) != "quarantined":
            raise
        return Turn(open_engine(None), None, f"{in_force.version_id} is quarantined; {error}")
    return Turn(engine, None if promoted is None else int(promoted.timestamp() * 1000), "")


def catch_up(
    file: ConfigFile,
    home: Home,
    state: StateDatabase,
    run_id: str,
    pinned: dict[str, Choice],
    now: Mapping[str, Choice],
) -> list[str]:
    """Let roles that follow the champion take that of now, before the first bar of this life; return notes for a person.

    Of roles that do not follow it says what their references mean by now.

    Parameters
    ----------
    pinned
        What the run has used; roles that changed are replaced in it.
    now
        What ``choose_all`` found.
    """
    notes = []
    for symbol, choice in pinned.items():
        from_ms = next_bar_ms(state, run_id, symbol)
        models = []
        for bound, meant in zip(choice.models, now[symbol].models, strict=True):
            if not file.config.models[bound.role].follows:
                notes += _stays(symbol, bound, meant)
                models.append(bound)
                continue
            try:
                turn = next_turn(home, file.config.timeframe, bound)
            except SchemaMismatch as error:
                notes.append(f"{symbol}: the run goes on with {bound.model}: {error}")
                turn = None
            if turn is not None:
                put_in_force(state, run_id, symbol, bound, from_ms, turn.engine)
                notes.append(turn.words(symbol, bound.role))
                bound = replace(bound, model=turn.engine.model, absence=turn.absence)
            elif bound.model is None:
                bound = replace(bound, absence=meant.absence)
            models.append(bound)
        pinned[symbol] = replace(choice, models=tuple(models))
    return notes


def first_bar_ms(turn: Turn, next_ms: int, timeframe: str, *, follows_wall: bool) -> int:
    """Return the open time from which on a version answers: of bars that closed before its promotion it says nothing.

    A market with a clock of its own knows nothing of the moment of promotion: there it is the next bar.
    """
    if turn.promoted_ms is None or not follows_wall:
        return next_ms
    return max(next_ms, turn.promoted_ms - timeframe_ms(timeframe))


def _stays(symbol: str, bound: BoundModel, meant: BoundModel) -> list[str]:
    """Say that a run goes on with what it began with, where its reference means something else by now."""
    model = meant.model
    if model is None or (bound.model is not None and bound.model.digest == model.digest):
        return []
    goes_on = "without a model" if bound.model is None else f"with {bound.model}"
    text = f"{symbol}: the run goes on {goes_on}; {model} is what {meant.reference} means now"
    return [f"{text} (bot live-control deploy-model {bound.role} {meant.reference})"]


def _status(registry: PredictionModelRegistry, model: Any) -> str:
    """Return what the ledger says of a version now."""
    try:
        found = registry.select_bundle(
            symbol=model.symbol, model_type=model.model_type, timeframe=model.timeframe, version=model.version_id
        )
    except RegistryError:
        return "damaged"
    return str(found.status)
