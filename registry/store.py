"""The registry: bundles by symbol, type, timeframe and version; registration, promotion, rollback, quarantine, archive.

Readers take no lock. A write takes the lock of its SYMBOL/TYPE folder, heals what an earlier crash left there, and is
complete the moment its row is in the ledger. `registry/shelf.py` says what readers see in between.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from registry.catalogue import ModelCatalogue, require_zone
from registry.durable import TEMPORARY, make_folders, remove_leftover, writing
from registry.errors import InvalidBundle, RegistryError
from registry.ledger import append_row
from registry.listing import model_of
from registry.manifest import MANIFEST_NAME, Manifest, sha256
from registry.model import OpenRunner, StrategyModel, check_metadata, parse_json_object
from registry.names import ModelKey, normalise_symbol, normalise_type
from registry.promotion import VersionState, refuse_archive, rollback_target
from registry.repair import Repair, examine, repair
from registry.selection import choose, not_found

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from registry.reading import Reading
    from registry.shelf import Shelf

__all__ = ["PredictionModelRegistry"]


class PredictionModelRegistry(ModelCatalogue):
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
        super().__init__(root, open_runner)
        self.lock_timeout = lock_timeout

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
        require_zone(at)
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
            with shelf.writer(self.lock_timeout) as reading:
                version = shelf.free_version(at, key.timeframe, reading.standing)
                try:
                    shelf.stage(staged, {**files, MANIFEST_NAME: manifest})
                    row = append_row(
                        shelf.ledger_path,
                        reading.ledger,
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
            A registered version, or an unshared beginning of one; an archived or quarantined one is taken out again.
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
        with self._writer(key, at, "promote") as (shelf, reading):
            state = choose(shelf, reading.standing, key, version)
            if state.status == "champion":
                return model_of(shelf, state, self.open_runner)
            return self._crown(shelf, reading, state, "promote", at=at, reason=reason, evidence=evidence)

    def rollback(
        self,
        key: ModelKey,
        *,
        at: datetime,
        reason: str,
        version: str | None = None,
        evidence: Mapping[str, Any] | None = None,
    ) -> StrategyModel:
        """Make an earlier champion champion again.

        Parameters
        ----------
        key
            The model.
        at, reason, evidence
            For the ledger.
        version
            A version that was champion before, or an unshared beginning of one; when it is champion nothing changes.
            None for the last champion before the present one that is not quarantined: a second rollback returns to the
            first, and after a withdrawal the version comes back that was withdrawn.

        Raises
        ------
        TransitionRefused
            When there is no such version, or the named one was never champion or is quarantined.
        InvalidBundle
            When the bundle to return to is damaged.
        """
        with self._writer(key, at, "roll back") as (shelf, reading):
            named = None if version is None else choose(shelf, reading.standing, key, version)
            if named is not None and named.status == "champion":
                return model_of(shelf, named, self.open_runner)
            state = rollback_target(reading.standing, key.timeframe, named.version if named else None)
            return self._crown(shelf, reading, state, "rollback", at=at, reason=reason, evidence=evidence)

    def withdraw(
        self, key: ModelKey, *, at: datetime, reason: str, evidence: Mapping[str, Any] | None = None
    ) -> StrategyModel | None:
        """Leave the model without a champion; the one that it had is superseded, and a rollback returns to it.

        Returns
        -------
        StrategyModel or None
            The version that was champion; None when there was none and nothing was done.
        """
        with self._writer(key, at, "withdraw") as (shelf, reading):
            version = reading.standing.champions.get(key.timeframe)
            if version is None:
                return None
            state = reading.standing.versions[version]
            return self._decide(shelf, reading, state, "withdraw", at=at, reason=reason, evidence=evidence)

    def quarantine(
        self, key: ModelKey, version: str, *, at: datetime, reason: str, evidence: Mapping[str, Any] | None = None
    ) -> StrategyModel:
        """Take a version out of use; when it was the champion there is none afterwards; twice changes nothing.

        ``@newest`` and rollbacks pass it over until it is restored or promoted. It need not be sound.

        Raises
        ------
        ModelNotFound
            When there is no such version.
        RegistryBusy, RegistryUnwritable
            When another writer does not finish, or the disk refuses.
        """
        with self._writer(key, at, "quarantine") as (shelf, reading):
            state = choose(shelf, reading.standing, key, version)
            if state.status == "quarantined":
                return model_of(shelf, state, self.open_runner)
            return self._decide(shelf, reading, state, "quarantine", at=at, reason=reason, evidence=evidence)

    def restore(self, key: ModelKey, version: str, *, at: datetime, reason: str) -> StrategyModel:
        """Take a version out of the archive or of quarantine: a candidate, or superseded where it was champion before.

        A version that is in neither stays as it is.
        """
        with self._writer(key, at, "restore") as (shelf, reading):
            state = choose(shelf, reading.standing, key, version)
            if state.status not in ("archived", "quarantined"):
                return model_of(shelf, state, self.open_runner)
            return self._decide(shelf, reading, state, "restore", at=at, reason=reason)

    def archive(self, key: ModelKey, version: str, *, at: datetime, reason: str) -> StrategyModel:
        """Mark a version as archived: ``@newest`` passes it over, nothing is deleted; twice changes nothing.

        Raises
        ------
        TransitionRefused
            For the champion and for the version that a rollback returns to.
        """
        with self._writer(key, at, "archive") as (shelf, reading):
            state = choose(shelf, reading.standing, key, version)
            refuse_archive(reading.standing, state)
            if state.status == "archived":
                return model_of(shelf, state, self.open_runner)
            return self._decide(shelf, reading, state, "archive", at=at, reason=reason)

    # ------------------------------------------------------------------ repairing

    def examine(self, symbol: str, model_type: str, *, at: datetime) -> Repair | None:
        """Return what `repair` would do to the ledger of a model, without doing it; None when it is sound.

        Raises
        ------
        ModelNotFound
            When there is no such folder.
        InvalidLedger
            When it cannot be repaired: it is another model's, or a newer program wrote it.
        """
        require_zone(at)
        return examine(self._existing(symbol, model_type), at)

    def repair(self, symbol: str, model_type: str, *, at: datetime, expected: str | None = None) -> Repair | None:
        """Replace a damaged ledger by one that keeps what can be trusted; None when it is sound and nothing was done.

        Parameters
        ----------
        symbol, model_type
            Any accepted spelling.
        at
            When, with a time zone.
        expected
            Digest of the damaged file that a person agreed to; None for whatever is there.

        Raises
        ------
        ModelNotFound, InvalidLedger
            As `examine` does.
        RegistryBusy, RegistryUnwritable
            When another writer does not finish, the file is not the expected one any more, or the disk refuses.
        """
        require_zone(at)
        shelf = self._existing(symbol, model_type)
        with writing(f"{shelf.name}: cannot repair"):
            return repair(shelf, at, self.lock_timeout, expected)

    # ------------------------------------------------------------------ inside

    def _crown(
        self,
        shelf: Shelf,
        reading: Reading,
        state: VersionState,
        action: str,
        *,
        at: datetime,
        reason: str,
        evidence: Mapping[str, Any] | None,
    ) -> StrategyModel:
        model_of(shelf, state, self.open_runner).verify()
        return self._decide(shelf, reading, state, action, at=at, reason=reason, evidence=evidence)

    def _decide(
        self,
        shelf: Shelf,
        reading: Reading,
        state: VersionState,
        action: str,
        *,
        at: datetime,
        reason: str,
        evidence: Mapping[str, Any] | None = None,
    ) -> StrategyModel:
        """Append a row, make the links follow, and return the version as it stands afterwards."""
        append_row(
            shelf.ledger_path,
            reading.ledger,
            at=at,
            action=action,
            timeframe=state.timeframe,
            version=state.version,
            manifest=state.digest,
            reason=reason,
            evidence=evidence,
        )
        standing = shelf.standing()
        shelf.project(standing)
        return model_of(shelf, standing.versions[state.version], self.open_runner)

    @contextmanager
    def _writer(self, key: ModelKey, at: datetime, verb: str) -> Iterator[tuple[Shelf, Reading]]:
        require_zone(at)
        shelf = self._shelf(key)
        if not shelf.folder.is_dir():
            raise not_found(shelf, key.timeframe, self._all())
        with writing(f"{key}: cannot {verb}"), shelf.writer(self.lock_timeout) as reading:
            self._require_known(shelf, reading.standing, key.timeframe)
            yield shelf, reading

    def _existing(self, symbol: str, model_type: str) -> Shelf:
        shelf = self._named(normalise_symbol(symbol), normalise_type(model_type))
        if not shelf.folder.is_dir():
            raise not_found(shelf, None, self._all())
        return shelf

    def _discard(self, shelf: Shelf, staged: str, version: str) -> None:
        """Remove a staged bundle unless its row reached the ledger: then the next writer finishes it."""
        try:
            if version not in shelf.standing().versions:
                remove_leftover(shelf.folder / staged)
        except (OSError, RegistryError):
            return  # the error that brought us here is the one to tell; the next writer cleans up
