"""The registry for readers: which bundles there are, which is in use, who was in use when. No method takes a lock."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from registry.errors import InvalidBundle
from registry.inspection import Finding, inspect_registry, leftovers
from registry.listing import listed, model_of
from registry.model import OpenRunner, StrategyModel
from registry.names import ModelKey, normalise_symbol, normalise_type, timeframe_ms
from registry.reigns import Reign, reign_at, reigns_of
from registry.selection import by_prefix, choose, not_found
from registry.shelf import Shelf, find_shelves

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from registry.ledger import LedgerRow
    from registry.promotion import Standing

__all__ = ["ModelCatalogue", "require_zone"]


class ModelCatalogue:
    """Everything below one folder, as readers see it.

    An object remembers what it has verified of each ledger and reads on from there (`registry/reading.py`).

    Parameters
    ----------
    root
        The registry's folder; it need not exist.
    open_runner
        Turns a bundle into something that predicts (``ml.bundles.open_runner``); without it bundles are data only.
    """

    def __init__(self, root: Path | str, open_runner: OpenRunner | None = None) -> None:
        self.root = Path(root)
        self.open_runner = open_runner
        self._shelves: dict[tuple[str, str], Shelf] = {}

    def list_bundles(
        self, symbol: str | None = None, model_type: str | None = None, timeframe: str | None = None
    ) -> list[StrategyModel]:
        """Return every bundle, sound or broken, by symbol, timeframe and type, oldest registration first.

        Parameters
        ----------
        symbol, model_type, timeframe
            Keep only these; any accepted spelling.

        Returns
        -------
        list of StrategyModel
            Names, sizes and the manifest are checked, contents are not (`validate` does that); what is wrong stands
            in ``problem``. Folders that the ledger does not know are listed too, as broken.
        """
        wanted_symbol = None if symbol is None else normalise_symbol(symbol)
        wanted_type = None if model_type is None else normalise_type(model_type)
        models = []
        for shelf in self._all():
            if wanted_symbol in (None, shelf.symbol) and wanted_type in (None, shelf.model_type):
                models += [model for model in listed(shelf, self.open_runner) if timeframe in (None, model.timeframe)]
        return sorted(models, key=lambda model: (model.symbol, timeframe_ms(model.timeframe), model.model_type))

    def select_bundle(
        self, *, symbol: str, model_type: str, timeframe: str, version: str | None = None
    ) -> StrategyModel:
        """Return one bundle, every byte of it verified.

        Parameters
        ----------
        symbol, model_type, timeframe
            Any accepted spelling.
        version
            None or ``latest``: the champion. ``newest``: the last registered version that is neither archived nor
            quarantined, promoted or not. Else a version, or the beginning of one that no other version shares.

        Raises
        ------
        ModelNotFound
            When there is no such model or version; the message names the nearest ones.
        NoChampion
            When the champion is asked for and no version is promoted.
        InvalidBundle
            When the bundle is damaged, or ``latest-TIMEFRAME`` points nowhere.
        """
        key = ModelKey.of(symbol, model_type, timeframe)
        shelf = self._shelf(key)
        standing = shelf.standing()
        self._require_known(shelf, standing, key.timeframe)
        state = choose(shelf, standing, key, version)
        model = model_of(shelf, state, self.open_runner)
        model.verify()
        return model

    def champion(self, key: ModelKey) -> StrategyModel | None:
        """Return the champion, verified, or None when there is none (or no such model).

        Raises
        ------
        InvalidBundle
            When there is a champion and it is damaged.
        """
        shelf = self._shelf(key)
        standing = shelf.standing()
        version = standing.champions.get(key.timeframe)
        if version is None:
            return None
        model = model_of(shelf, standing.versions[version], self.open_runner)
        model.verify()
        return model

    def champion_version(self, key: ModelKey) -> str | None:
        """Return the version of the champion without opening it; None when there is none."""
        return self._shelf(key).standing().champions.get(key.timeframe)

    def history(self, key: ModelKey) -> tuple[LedgerRow, ...]:
        """Return the verified rows of the ledger for this key, oldest first; empty for a model that was never registered.

        Repairs, which are of the whole ledger, are among them.
        """
        return tuple(row for row in self._shelf(key).reader.rows() if row.timeframe in (key.timeframe, ""))

    def reigns(self, key: ModelKey) -> tuple[Reign, ...]:
        """Return who was champion from when, in the order of the ledger; empty when there never was one."""
        return reigns_of(self._shelf(key).reader.rows(), key.timeframe)

    def champion_at(self, key: ModelKey, at: datetime) -> StrategyModel | None:
        """Return the version that was champion at a past moment, verified, with its present status.

        Parameters
        ----------
        key
            The model.
        at
            The moment, with a time zone; a row of that very moment counts.

        Returns
        -------
        StrategyModel or None
            None when there was no champion then (or no such model).

        Raises
        ------
        InvalidBundle
            When that bundle is damaged.
        """
        require_zone(at)
        reign = reign_at(self.reigns(key), at)
        if reign is None or reign.version is None:
            return None
        shelf = self._shelf(key)
        model = model_of(shelf, shelf.standing().versions[reign.version], self.open_runner)
        model.verify()
        return model

    def timeframes(self, *, symbol: str, model_type: str) -> list[str]:
        """Return the timeframes that a model has versions of; raises ModelNotFound when it has none."""
        shelf = self._named(normalise_symbol(symbol), normalise_type(model_type))
        standing = shelf.standing()
        self._require_known(shelf, standing)
        return list(dict.fromkeys(state.timeframe for state in shelf.visible(standing)))

    def find_version(
        self, *, symbol: str, model_type: str, text: str, timeframe: str | None = None
    ) -> tuple[ModelKey, str]:
        """Return key and version of the one version whose name is `text` or begins so.

        Parameters
        ----------
        symbol, model_type
            Any accepted spelling.
        text
            A version or its beginning, such as ``2026-11-20``.
        timeframe
            Look among versions of this timeframe only.

        Raises
        ------
        ModelNotFound
            When no version begins so, or several do; the message lists them.
        """
        shelf = self._named(normalise_symbol(symbol), normalise_type(model_type))
        standing = shelf.standing()
        self._require_known(shelf, standing, timeframe)
        everything = shelf.visible(standing)
        states = [state for state in everything if timeframe in (None, state.timeframe)]
        state = by_prefix(states, text, shelf.name, everything)
        return ModelKey(shelf.symbol, shelf.model_type, state.timeframe), state.version

    def validate(self, progress: Callable[[float, str], None] | None = None, *, run: bool = True) -> list[Finding]:
        """Check every byte of every bundle, the ledgers and the links; with ``open_runner`` open every bundle too.

        Parameters
        ----------
        progress
            Called with the fraction done and what is checked now.
        run
            Open the bundles where the registry can.

        Returns
        -------
        list of Finding
            Everything that is wrong; empty when the registry is sound. What a crash leaves and the next writer
            heals is no finding (`leftovers` lists it).
        """
        opener = self.open_runner if run else None
        return inspect_registry(self.root, find_shelves(self.root), opener, progress or (lambda _fraction, _text: None))

    def leftovers(self) -> list[Finding]:
        """Return the harmless traces of interrupted writes, which the next writer of that model removes."""
        return leftovers(find_shelves(self.root))

    # ------------------------------------------------------------------ inside

    def _shelf(self, key: ModelKey) -> Shelf:
        return self._named(key.symbol, key.model_type)

    def _named(self, symbol: str, model_type: str) -> Shelf:
        name = (symbol, model_type)
        if name not in self._shelves:
            self._shelves[name] = Shelf(self.root, symbol, model_type)
        return self._shelves[name]

    def _all(self) -> list[Shelf]:
        return [self._named(shelf.symbol, shelf.model_type) for shelf in find_shelves(self.root)]

    def _require_known(self, shelf: Shelf, standing: Standing, timeframe: str | None = None) -> None:
        states = standing.versions.values()
        if any(timeframe in (None, state.timeframe) and not shelf.is_pending(state) for state in states):
            return
        strays = [name for name in shelf.version_folders() if name not in standing.versions]
        if strays and not standing.versions:
            raise InvalidBundle(f"{shelf.ledger_path} is missing or empty: nothing vouches for {', '.join(strays[:3])}")
        raise not_found(shelf, timeframe, self._all())


def require_zone(at: datetime) -> None:
    """Refuse a time without a zone; raises ValueError."""
    if at.utcoffset() is None:
        raise ValueError(f"{at!r} has no time zone: the registry names and orders by UTC")
