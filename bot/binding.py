"""From the roles of a config to the models that play them: one version, the champion of each bar, or none."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ml.candles import format_ms
from ml.engine import PredictionEngine
from ml.engines import open_bundle, open_engine
from ml.errors import MLError
from ml.schedule import ScheduledEngine, schedule_engines
from registry.errors import ModelNotFound, NoChampion, RegistryError
from registry.names import AS_OF, NO_MODEL, timeframe_ms
from registry.store import PredictionModelRegistry

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.config.loader import ConfigFile
    from bot.home import Home
    from ml.cache import PredictionCache
    from ml.candles import Candles
    from registry.model import StrategyModel
    from registry.names import ModelKey, ModelReference
    from registry.reigns import Reign

__all__ = ["BoundModel", "bind_models", "settle_model", "why_absent"]

_PAST = {"quarantine": "quarantined", "withdraw": "withdrawn"}


@dataclass(frozen=True)
class BoundModel:
    """A role of the strategy and what plays it.

    Attributes
    ----------
    role
        As the config names it.
    reference
        What the config asked for, with the feed's symbol filled in.
    model
        The bundle; None where there is no champion. Of ``@as-of`` in a backtest the last one that was champion.
    engine
        What the strategy gets.
    max_age_ms
        The config's limit of the model's age, milliseconds; None for the bundle's own.
    absence
        Why there is no model, for a person; empty where there is one, or nothing is known.
    """

    role: str
    reference: ModelReference
    model: StrategyModel | None
    engine: PredictionEngine
    max_age_ms: int | None = None
    absence: str = ""


def bind_models(
    file: ConfigFile,
    symbol: str,
    home: Home,
    cache: PredictionCache | None = None,
    *,
    require_champion: bool = True,
) -> tuple[BoundModel, ...]:
    """Resolve every role of the config for the feed of one symbol.

    Parameters
    ----------
    require_champion
        False for live trading: a known model without a champion is then a role that answers ``no_model``, and ``@as-of`` is
        the champion of now.

    Raises
    ------
    ConfigError
        When a model is not registered, or two champions of the past cannot follow each other.
    NoChampion
        When there is no champion, or never was one, and one is required.
    InvalidBundle, BrokenModel
        When the bundle is damaged.
    """
    registry = PredictionModelRegistry(home.models, open_bundle)
    bound = []
    for role, wanted in file.config.models.items():
        reference, limit = wanted.reference(symbol), wanted.expires_after_ms
        if reference.selector == NO_MODEL:
            bound.append(BoundModel(role, reference, None, PredictionEngine(None), limit, "none was asked for"))
            continue
        model: StrategyModel | None = None
        absence = ""
        try:
            if reference.selector == AS_OF and require_champion:
                past = _past_champions(registry, file, role, symbol, cache)
                bound.append(BoundModel(role, reference, _newest(past), past, limit))
                continue
            model = registry.select_bundle(
                symbol=reference.symbol,
                model_type=reference.model_type,
                timeframe=file.config.timeframe,
                version="latest" if reference.names_champion else reference.selector,
            )
        except NoChampion as error:
            if require_champion:
                raise NoChampion(_without_champion(file, role, error)) from None
            absence = why_absent(registry, reference.key(file.config.timeframe))
        except ModelNotFound as error:
            raise file.error(("models", role), str(error)) from None
        except RegistryError as error:
            raise type(error)(f"{file.error(('models', role), str(error))}") from error
        engine = open_engine(model, cache=cache, expires_after_ms=limit)
        bound.append(BoundModel(role, reference, model, engine, limit, absence))
    return tuple(bound)


def settle_model(bound: BoundModel, candles: Candles, cache: PredictionCache | None) -> BoundModel:
    """Return the same role with the cache, and without the champions that none of the candles belongs to."""
    if not isinstance(bound.engine, ScheduledEngine):
        engine = open_engine(bound.model, cache=cache, expires_after_ms=bound.max_age_ms)
        return replace(bound, engine=engine)
    first, last = int(candles.open_ms[0]), int(candles.open_ms[-1])
    pairs = list(bound.engine.engines)
    ends: list[int | None] = [start for start, _ in pairs[1:]]
    kept = [
        (start, open_engine(engine.model, cache=cache, expires_after_ms=bound.max_age_ms))
        for (start, engine), end in zip(pairs, [*ends, None], strict=True)
        if (start is None or start <= last) and (end is None or end > first)
    ]
    schedule = schedule_engines(kept, paths=hasattr(bound.engine, "summaries"))
    return replace(bound, engine=schedule, model=_newest(schedule))


def why_absent(registry: PredictionModelRegistry, key: ModelKey) -> str:
    """Return why a model has no champion, such as ``quarantined: its hit rate fell``."""
    reigns = registry.reigns(key)
    if not reigns:
        return "no version was promoted"
    row = reigns[-1].row
    words = _PAST.get(row.action, row.action)
    return f"{words}: {row.reason}" if row.reason else words


def _past_champions(
    registry: PredictionModelRegistry, file: ConfigFile, role: str, symbol: str, cache: PredictionCache | None
) -> ScheduledEngine:
    """Return what answers each bar with the version that was champion when the bar closed.

    Champions of before the first bar that may trade, and of after the last, are left out: they need not be there any more.
    """
    wanted, timeframe = file.config.models[role], file.config.timeframe
    reference = wanted.reference(symbol)
    key, step = reference.key(timeframe), timeframe_ms(timeframe)
    reigns = _in_order_of_time(registry.reigns(key))
    if not reigns:
        # raises what there is to say of a model that is unknown, was never promoted, or has lost its ledger
        registry.select_bundle(symbol=key.symbol, model_type=key.model_type, timeframe=timeframe, version="latest")
    first, end = file.config.data.start_ms, file.config.data.end_ms
    opened: dict[str, PredictionEngine] = {}
    pairs: list[tuple[int | None, PredictionEngine]] = []
    for number, reign in enumerate(reigns):
        begins = _ms(reign) - step  # the bar that is forming now is its first: it closes after the promotion
        ends = _ms(reigns[number + 1]) - step if number + 1 < len(reigns) else None
        if (ends is not None and first is not None and ends <= first) or (end is not None and begins >= end):
            continue
        version = reign.version
        if version is not None and version not in opened:
            opened[version] = _open(registry, file, role, key, version, _span(reigns, number), cache)
        pairs.append((begins, opened[version] if version is not None else PredictionEngine(None)))
    try:
        return schedule_engines(pairs or [(None, PredictionEngine(None))])
    except MLError as error:
        raise file.error(("models", role), f"the champions of {key} cannot follow each other: {error}") from None


def _open(
    registry: PredictionModelRegistry,
    file: ConfigFile,
    role: str,
    key: ModelKey,
    version: str,
    span: str,
    cache: PredictionCache | None,
) -> PredictionEngine:
    """Open a champion of the past; one that is damaged, or was deleted by hand, is one message with its span."""
    try:
        model = registry.select_bundle(
            symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=version
        )
        return open_engine(model, cache=cache, expires_after_ms=file.config.models[role].expires_after_ms)
    except (RegistryError, MLError) as error:
        text = (
            f"{key.symbol}/{key.model_type}@{version} was champion {span} and cannot be opened: {error}. Put it back from a "
            "backup, or choose data.start and data.end outside of that time"
        )
        raise type(error)(f"{file.error(('models', role), text)}") from error


def _span(reigns: Sequence[Reign], number: int) -> str:
    """Return from when to when somebody was champion."""
    began = format_ms(_ms(reigns[number]))
    return f"since {began}" if number + 1 == len(reigns) else f"from {began} to {format_ms(_ms(reigns[number + 1]))}"


def _in_order_of_time(reigns: Sequence[Reign]) -> list[Reign]:
    """Return the reigns that count: at each moment the last of the ledger that had begun, though its clock was set back."""
    kept: list[Reign] = []
    for reign in reversed(reigns):
        if not kept or reign.from_at < kept[-1].from_at:
            kept.append(reign)
    return kept[::-1]


def _ms(reign: Reign) -> int:
    """Return when a reign began, milliseconds UTC, exactly."""
    moment = reign.from_at
    return int(moment.replace(microsecond=0).timestamp()) * 1000 + moment.microsecond // 1000


def _newest(schedule: ScheduledEngine) -> StrategyModel | None:
    """Return the last model of a schedule."""
    return next((engine.model for _, engine in reversed(schedule.engines) if engine.model is not None), None)


def _without_champion(file: ConfigFile, role: str, error: NoChampion) -> str:
    wanted = file.config.models[role].model
    newest = f"{wanted.partition('@')[0]}@newest"
    found = file.error(("models", role), str(error))
    return (
        f"{found}\nThree ways on: write {newest!r} to run the version that was not promoted (marked so in the report); "
        "train on more bars; or try the built-in market, where there is something to find (bot data synth, then "
        "bot train model SYNTH)"
    )
