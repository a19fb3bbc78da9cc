"""From the words of a command to a registered version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.errors import UsageError
from registry.names import ModelKey, normalise_symbol, normalise_type, parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    from registry.model import StrategyModel
    from registry.store import PredictionModelRegistry

__all__ = ["find_key", "open_registry", "runnable_registry", "select_model", "select_reference"]


def open_registry(root: Path) -> PredictionModelRegistry:
    """Return the registry for reading figures and for decisions."""
    from registry.store import PredictionModelRegistry

    return PredictionModelRegistry(root)


def runnable_registry(root: Path) -> PredictionModelRegistry:
    """Return the registry whose versions can be run."""
    from ml.engines import open_bundle
    from registry.store import PredictionModelRegistry

    return PredictionModelRegistry(root, open_bundle)


def find_key(registry: PredictionModelRegistry, symbol: str, model_type: str, timeframe: str | None) -> ModelKey:
    """Return the key; the timeframe may be left out where there is only one.

    Raises
    ------
    UsageError
        When there are several timeframes and none is named.
    ModelNotFound
        When there is no such model.
    """
    frames = registry.timeframes(symbol=symbol, model_type=model_type)
    if timeframe is None and len(frames) > 1:
        name = f"{normalise_symbol(symbol)}/{normalise_type(model_type)}"
        raise UsageError(f"{name} has timeframes {', '.join(frames)}: choose one with --timeframe")
    return ModelKey.of(symbol, model_type, timeframe or frames[0])


def select_model(
    registry: PredictionModelRegistry, symbol: str, model_type: str, timeframe: str | None, version: str | None
) -> StrategyModel:
    """Return a version: ``latest``, ``newest``, the begin of its name, or None for the champion, else the newest.

    Raises
    ------
    UsageError, ModelNotFound, NoChampion
        When the words name none, or several.
    """
    if version in (None, "latest", "newest"):
        key = find_key(registry, symbol, model_type, timeframe)
        if version is None and registry.champion_version(key) is None:
            version = "newest"
    else:
        key, version = registry.find_version(
            symbol=symbol, model_type=model_type, text=str(version), timeframe=timeframe
        )
    return registry.select_bundle(
        symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=version
    )


def select_reference(registry: PredictionModelRegistry, text: str, timeframe: str | None) -> StrategyModel:
    """Return the version that ``SYMBOL/TYPE@SELECTOR`` names; without a selector the champion, else the newest."""
    reference = parse_reference(text)
    selector = reference.selector if "@" in text else None
    return select_model(registry, reference.symbol, reference.model_type, timeframe, selector)
