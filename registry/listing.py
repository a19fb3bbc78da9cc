"""The bundles of one folder as `StrategyModel` values, sound or broken."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.model import OpenRunner, StrategyModel
from registry.names import ModelKey, parse_version
from registry.promotion import Standing, VersionState

if TYPE_CHECKING:
    from registry.shelf import Shelf

__all__ = ["listed", "model_of"]


def model_of(
    shelf: Shelf, state: VersionState, open_runner: OpenRunner | None, problem: str | None = None
) -> StrategyModel:
    """Return the value that stands for one registered version."""
    return StrategyModel(
        key=ModelKey(shelf.symbol, shelf.model_type, state.timeframe),
        version_id=state.version,
        path=shelf.folder / state.version,
        digest=state.digest,
        status=state.status,
        promoted_at=state.promoted.at if state.promoted else None,
        problem=problem,
        open_runner=open_runner,
    )


def listed(shelf: Shelf, open_runner: OpenRunner | None) -> list[StrategyModel]:
    """Return every version of a folder in the order of registration, then the folders that its ledger does not know.

    Names, sizes, manifest, metadata and metrics are read; what is wrong stands in ``problem``.
    """
    try:
        standing = shelf.standing()
        stray = "the ledger does not know this folder"
    except RegistryError as error:
        standing, stray = Standing(), str(error)
    models = []
    for state in shelf.visible(standing):
        model = model_of(shelf, state, open_runner)
        try:
            model.check_names()
            _ = model.metadata, model.metrics
        except (RegistryError, OSError) as error:
            model = model_of(shelf, state, open_runner, str(error))
        models.append(model)
    unknown = [name for name in shelf.version_folders() if name not in standing.versions]
    return models + [_unregistered(shelf, name, stray) for name in unknown]


def _unregistered(shelf: Shelf, name: str, problem: str) -> StrategyModel:
    return StrategyModel(
        key=ModelKey(shelf.symbol, shelf.model_type, parse_version(name).timeframe),
        version_id=name,
        path=shelf.folder / name,
        digest="",
        status="candidate",
        problem=problem,
    )
