"""The registry: bundles by symbol, type, timeframe and version; registration, promotion, rollback, archive.

Readers take no lock. A write takes the lock of its SYMBOL/TYPE folder, heals what an earlier crash left there, and is
complete the moment its row is in the ledger. `registry/shelf.py` says what readers see in between.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from registry.durable import TEMPORARY, make_folders, remove_leftover, writing
from registry.errors import InvalidBundle, RegistryError
from registry.inspection import Finding, inspect_registry, leftovers
from registry.ledger import LedgerRow, append_row
from registry.listing import listed, model_of
from registry.manifest import MANIFEST_NAME, Manifest, sha256
from registry.model import OpenRunner, StrategyModel, check_metadata, parse_json_object
from registry.names import ModelKey, normalise_symbol, normalise_type, timeframe_ms
from registry.promotion import VersionState, refuse_archive, replay, rollback_target
from registry.selection import by_prefix, choose, not_found
from registry.shelf import Shelf, find_shelves

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime

    from registry.ledger import Ledger
    from registry.promotion import Standing

__all__ = ["PredictionModelRegistry"]


class PredictionModelRegistry:
    """All models below one folder.

    Parameters
    ----------
    root
        The registry's folder; it is created by the first registration.
    open_runner
        Turns a bundle into something that predicts (``ml.bundles.open_runner``); without it bundles are data only.
    lock_timeout
        Seconds that a write waits for another writer of the same SYMBOL/TYPE.
    """

    def __init__(self, root: Path | str, open_runner: OpenRunner | None = None, *, lock_timeout: float = 10.0) -> None:
        self.root = Path(root)
        self.open_runner = open_runner
        self.lock_timeout = lock_timeout

    # ------------------------------------------------------------------ reading

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
        for shelf in find_shelves(self.root):
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
            None or ``latest``: the champion. ``newest``: the last registered version that is not archived, promoted
            or not. Else a version, or the beginning of one that no other version shares.

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

    def history(self, key: ModelKey) -> list[LedgerRow]:
        """Return the rows of the ledger for this key, oldest first; empty for a model that was never registered."""
        return [row for row in self._shelf(key).ledger().rows if row.timeframe == key.timeframe]

    def timeframes(self, *, symbol: str, model_type: str) -> list[str]:
        """Return the timeframes that a model has versions of; raises ModelNotFound when it has none."""
        shelf = Shelf(self.root, normalise_symbol(symbol), normalise_type(model_type))
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
        shelf = Shelf(self.root, normalise_symbol(symbol), normalise_type(model_type))
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

    # ------------------------------------------------------------------ writing

    def register(self, key: ModelKey, files: Mapping[str, bytes], *, at: datetime) -> StrategyModel:
        """Store a new bundle as a candidate: all of it, or nothing.

        Parameters
        ----------
        key
            What the model predicts; ``metadata.json`` has to agree.
        files
            Contents by name, without the manifest.
        at
            Time of registration, with a time zone; names the version to the second.

        Raises
        ------
        InvalidBundle
            When a file name is not allowed, or ``metadata.json`` is missing, of another model or another format.
        RegistryBusy, RegistryUnwritable
            When another writer does not finish, or the disk refuses; nothing is registered then.
        """
        _require_zone(at)
        place = f"{key}: bundle to register"
        if "metadata.json" not in files:
            raise InvalidBundle(f"{place}: metadata.json is missing")
        check_metadata(parse_json_object(files["metadata.json"], "metadata.json", place), key, place)
        manifest = Manifest.of(files, place).to_bytes()
        digest = sha256(manifest)
        shelf = self._shelf(key)
        staged = f"{TEMPORARY}{uuid4().hex}"
        with writing(f"{key}: cannot register"):
            make_folders(shelf.folder)
            with shelf.writer(self.lock_timeout) as (ledger, standing):
                version = shelf.free_version(at, key.timeframe, standing)
                try:
                    shelf.stage(staged, {**files, MANIFEST_NAME: manifest})
                    row = append_row(
                        shelf.ledger_path,
                        ledger,
                        at=at,
                        action="register",
                        timeframe=key.timeframe,
                        version=version,
                        manifest=digest,
                        reason="",
                        staged=staged,
                    )
                except BaseException:
                    self._discard(shelf, staged, version)
                    raise
                shelf.publish(staged, version)
        return model_of(shelf, VersionState(version, key.timeframe, digest, "candidate", row), self.open_runner)

    def promote(
        self, key: ModelKey, version: str, *, at: datetime, reason: str, evidence: Mapping[str, Any] | None = None
    ) -> StrategyModel:
        """Make a version the champion; promoting the champion again changes nothing.

        Parameters
        ----------
        key
            The model.
        version
            A registered version, or an unshared beginning of one; an archived one is taken out again.
        at
            When, with a time zone.
        reason
            Why, for the ledger.
        evidence
            Figures behind the decision, for the ledger.

        Raises
        ------
        ModelNotFound
            When there is no such version.
        InvalidBundle
            When the bundle is damaged: it is not promoted.
        RegistryBusy, RegistryUnwritable
            When another writer does not finish, or the disk refuses.
        """
        with self._writer(key, at, "promote") as (shelf, ledger, standing):
            state = choose(shelf, standing, key, version)
            if standing.champions.get(key.timeframe) == state.version:
                return model_of(shelf, state, self.open_runner)
            return self._crown(shelf, ledger, state, "promote", at=at, reason=reason, evidence=evidence)

    def rollback(self, key: ModelKey, *, at: datetime, reason: str) -> StrategyModel:
        """Make the champion before this one champion again; a second rollback returns to the first.

        Raises
        ------
        TransitionRefused
            When no other version was promoted before.
        InvalidBundle
            When the bundle to return to is damaged.
        """
        with self._writer(key, at, "roll back") as (shelf, ledger, standing):
            state = rollback_target(standing, key.timeframe)
            return self._crown(shelf, ledger, state, "rollback", at=at, reason=reason, evidence=None)

    def archive(self, key: ModelKey, version: str, *, at: datetime, reason: str) -> StrategyModel:
        """Mark a version as archived: ``@newest`` passes it over, nothing is deleted; twice changes nothing.

        Raises
        ------
        TransitionRefused
            For the champion and for the version that a rollback returns to.
        """
        with self._writer(key, at, "archive") as (shelf, ledger, standing):
            state = choose(shelf, standing, key, version)
            refuse_archive(standing, state)
            if state.status != "archived":
                standing = _after(shelf, ledger, state, "archive", at=at, reason=reason, evidence=None)
            return model_of(shelf, standing.versions[state.version], self.open_runner)

    # ------------------------------------------------------------------ inside

    def _crown(
        self,
        shelf: Shelf,
        ledger: Ledger,
        state: VersionState,
        action: str,
        *,
        at: datetime,
        reason: str,
        evidence: Mapping[str, Any] | None,
    ) -> StrategyModel:
        model_of(shelf, state, self.open_runner).verify()
        standing = _after(shelf, ledger, state, action, at=at, reason=reason, evidence=evidence)
        shelf.project(standing)
        return model_of(shelf, standing.versions[state.version], self.open_runner)

    @contextmanager
    def _writer(self, key: ModelKey, at: datetime, verb: str) -> Iterator[tuple[Shelf, Ledger, Standing]]:
        _require_zone(at)
        shelf = self._shelf(key)
        if not shelf.folder.is_dir():
            raise not_found(shelf, key.timeframe, find_shelves(self.root))
        with writing(f"{key}: cannot {verb}"), shelf.writer(self.lock_timeout) as (ledger, standing):
            self._require_known(shelf, standing, key.timeframe)
            yield shelf, ledger, standing

    def _discard(self, shelf: Shelf, staged: str, version: str) -> None:
        """Remove a staged bundle unless its row reached the ledger: then the next writer finishes it."""
        try:
            if version not in shelf.standing().versions:
                remove_leftover(shelf.folder / staged)
        except (OSError, RegistryError):
            return  # the error that brought us here is the one to tell; the next writer cleans up

    def _shelf(self, key: ModelKey) -> Shelf:
        return Shelf(self.root, key.symbol, key.model_type)

    def _require_known(self, shelf: Shelf, standing: Standing, timeframe: str | None = None) -> None:
        if shelf.visible(standing, timeframe):
            return
        strays = [name for name in shelf.version_folders() if name not in standing.versions]
        if strays and not standing.versions:
            raise InvalidBundle(f"{shelf.ledger_path} is missing or empty: nothing vouches for {', '.join(strays[:3])}")
        raise not_found(shelf, timeframe, find_shelves(self.root))


def _after(
    shelf: Shelf,
    ledger: Ledger,
    state: VersionState,
    action: str,
    *,
    at: datetime,
    reason: str,
    evidence: Mapping[str, Any] | None,
) -> Standing:
    """Append a row and return the standing after it."""
    row = append_row(
        shelf.ledger_path,
        ledger,
        at=at,
        action=action,
        timeframe=state.timeframe,
        version=state.version,
        manifest=state.digest,
        reason=reason,
        evidence=evidence,
    )
    return replay((*ledger.rows, row), str(shelf.ledger_path))


def _require_zone(at: datetime) -> None:
    if at.utcoffset() is None:
        raise ValueError(f"{at!r} has no time zone: a registration is named by UTC")
