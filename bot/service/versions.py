"""Which version answers a request; the usual case, the champion, reads a line of a ledger and no bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.model_selection import runnable_registry
from ml.engines import open_bundle
from registry.listing import model_of
from registry.names import ModelKey, normalise_symbol, normalise_type, timeframe_ms
from registry.selection import choose
from registry.shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registry.model import StrategyModel
    from registry.promotion import Standing, VersionState

__all__ = ["DEFAULT_TYPE", "Versions"]

DEFAULT_TYPE = "multi_ohlc"
"""What is meant, and trained, where a request names no type and the registry knows none."""

_FIRST_TYPES = (DEFAULT_TYPE, "autoregressive", "basic")


class Versions:
    """Chooses among registered versions; may be used by many threads.

    Parameters
    ----------
    root
        The registry's folder; it need not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._shelves: dict[tuple[str, str], Shelf] = {}

    def choose(
        self, symbol: str, timeframe: str, model_type: str | None = None, version: str = "latest"
    ) -> tuple[ModelKey, VersionState]:
        """Return the version that a request means; its bundle is not read.

        Parameters
        ----------
        symbol, timeframe
            Any accepted spelling.
        model_type
            None for the first of multi_ohlc, autoregressive, basic and then the others by name that has a champion, or the
            version that is named.
        version
            ``latest``, ``newest``, a version or its beginning.

        Raises
        ------
        InvalidName, ModelNotFound, NoChampion, InvalidBundle
            See ``PredictionModelRegistry.select_bundle``.
        """
        name, length = normalise_symbol(symbol), timeframe.strip()
        timeframe_ms(length)
        kind = self._type(name, length, version) if model_type is None else normalise_type(model_type)
        key = ModelKey(name, kind, length)
        shelf = self._shelf(name, kind)
        if shelf is not None:
            standing = shelf.standing()
            champion = standing.versions.get(standing.champions.get(length, ""))
            if version == "latest" and champion is not None and not shelf.is_pending(champion):
                return key, champion
            if not all(shelf.is_pending(state) for state in standing.of(length)):
                return key, choose(shelf, standing, key, version)
        model = self.read(key, version)  # what is not there, the registry says in its own words
        shelf = self._shelf(name, kind) or Shelf(self._root, name, kind)
        return key, shelf.standing().versions[model.version_id]

    def read(self, key: ModelKey, version: str) -> StrategyModel:
        """Return a version, every byte of it verified; errors are those of `choose`."""
        return runnable_registry(self._root).select_bundle(
            symbol=key.symbol, model_type=key.model_type, timeframe=key.timeframe, version=version
        )

    def last(self, key: ModelKey) -> StrategyModel | None:
        """Return the version that was registered last, whatever became of it; None where there is none."""
        shelf = self._shelf(key.symbol, key.model_type)
        states = [] if shelf is None else shelf.visible(shelf.standing(), key.timeframe)
        return model_of(shelf, states[-1], open_bundle) if shelf is not None and states else None

    def _type(self, symbol: str, timeframe: str, version: str) -> str:
        """Return the first type that has what is asked for; where none has, one whose absence is worth telling."""
        found = known = ""
        for kind, standing in self._standings(symbol):
            names = [state.version for state in standing.of(timeframe)]
            if version in {"latest", "newest"}:
                if timeframe in standing.champions:
                    return kind
            elif any(name.startswith(version) for name in names):
                return kind
            found = found or (kind if names else "")
            known = known or (kind if standing.versions else "")
        return found or known or DEFAULT_TYPE

    def _standings(self, symbol: str) -> Iterator[tuple[str, Standing]]:
        folder = self._root / symbol
        there = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
        first = [kind for kind in _FIRST_TYPES if kind in there]
        for kind in (*first, *(other for other in there if other not in first)):
            shelf = self._shelf(symbol, kind)
            if shelf is not None:
                yield kind, shelf.standing()

    def _shelf(self, symbol: str, model_type: str) -> Shelf | None:
        """Return the folder of a model, kept since it reads its ledger on from where it was; None where there is none."""
        found = self._shelves.get((symbol, model_type))
        if found is None:
            shelf = Shelf(self._root, symbol, model_type)
            if not shelf.ledger_path.is_file():
                return None
            found = self._shelves.setdefault((symbol, model_type), shelf)
        return found
