"""One SYMBOL/TYPE folder on disk: its ledger, its bundles, its links, and how a writer heals what a crash left.

The ledger is the truth and the links are its projection. A row that is complete in the ledger has happened: readers
take the champion from the ledger, never from a link, so between the row and the swap of the link (or after a crash
there) every reader gives the same answer, the new one. The next writer repeats the swap. A registration whose row is
written but whose folder still has its temporary name is not visible to readers yet; the next writer finishes it.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from registry.durable import TEMPORARY, remove_leftover, swap_link, sync_folder, write_new
from registry.errors import InvalidBundle, InvalidName
from registry.ledger import LEDGER_NAME, Ledger, read_ledger
from registry.locks import exclusive
from registry.manifest import MANIFEST_NAME, read_manifest
from registry.names import ModelKey, VersionName, parse_version
from registry.promotion import Standing, VersionState
from registry.reading import LedgerReader, Reading

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime

__all__ = ["Shelf", "find_shelves", "is_version"]


@dataclass(frozen=True, slots=True)
class Shelf:
    """The folder of one symbol and type.

    Attributes
    ----------
    root
        The registry's folder.
    symbol, model_type
        Canonical names.
    folder, ledger_path
        Where the bundles are, and the ledger's file.
    reader
        Reads the ledger; a shelf that is kept reads only what was appended since it read last.
    """

    root: Path
    symbol: str
    model_type: str
    folder: Path = field(init=False, repr=False, compare=False)
    ledger_path: Path = field(init=False, repr=False, compare=False)
    reader: LedgerReader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make the paths and the reader of the ledger."""
        folder = self.root / self.symbol / self.model_type
        object.__setattr__(self, "folder", folder)
        object.__setattr__(self, "ledger_path", folder / LEDGER_NAME)
        object.__setattr__(self, "reader", LedgerReader(self.ledger_path, self.name))

    @property
    def name(self) -> str:
        """``SYMBOL/TYPE``."""
        return f"{self.symbol}/{self.model_type}"

    def ledger(self) -> Ledger:
        """Read the whole ledger and believe nothing from before; raises InvalidLedger when it was damaged or edited."""
        return read_ledger(self.ledger_path, self.name)

    def standing(self) -> Standing:
        """Return what the ledger adds up to, pending registrations included; raises InvalidLedger likewise."""
        return self.reader.read().standing

    def is_pending(self, state: VersionState) -> bool:
        """Tell whether a crash (or a writer at this moment) left a registration one rename short of its end."""
        folder = self.folder / state.version
        staged = state.registered.staged
        # the folder is asked for twice: a writer may rename it between the first two questions
        return not folder.exists() and bool(staged) and (self.folder / staged).is_dir() and not folder.exists()

    def visible(self, standing: Standing, timeframe: str | None = None) -> list[VersionState]:
        """Return the versions that readers see: every registered one but those that are pending."""
        return [
            state
            for state in standing.versions.values()
            if timeframe in (None, state.timeframe) and not self.is_pending(state)
        ]

    def version_folders(self) -> list[str]:
        """Return the names of folders that are spelled as versions, sorted."""
        try:
            names = sorted(entry.name for entry in os.scandir(self.folder) if not entry.is_symlink())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return [name for name in names if is_version(name)]

    def free_version(self, at: datetime, timeframe: str, standing: Standing) -> str:
        """Return the first version name of that second and timeframe which no bundle has."""
        taken = {*standing.versions, *self.version_folders()}
        number = 1
        while str(name := VersionName(at, timeframe, number)) in taken:
            number += 1
        return str(name)

    @contextmanager
    def writer(self, timeout: float) -> Iterator[Reading]:
        """Hold the lock of an existing folder, healed: yields the ledger and its standing.

        Raises
        ------
        RegistryBusy
            When another writer holds it for longer than `timeout` seconds.
        InvalidLedger
            When the ledger cannot be trusted; nothing is written then.
        OSError
            When the disk refuses.
        """
        with exclusive(self.folder, timeout):
            reading = self.reader.read()
            self.heal(reading.standing)
            yield reading
            self.reader.remember()

    def stage(self, name: str, files: Mapping[str, bytes]) -> None:
        """Write a bundle's files into a temporary folder and flush them, the manifest last.

        Parameters
        ----------
        name
            Name of the temporary folder.
        files
            Contents by name, manifest included.
        """
        folder = self.folder / name
        os.mkdir(folder)  # noqa: PTH102 - crashes are tested at the calls of os
        for file in sorted(files, key=lambda each: (each == MANIFEST_NAME, each)):
            write_new(folder / file, files[file])
        sync_folder(folder)
        sync_folder(self.folder)

    def publish(self, staged: str, version: str) -> None:
        """Give a staged bundle its name, in one atomic and flushed rename."""
        os.rename(self.folder / staged, self.folder / version)  # noqa: PTH104 - as above
        sync_folder(self.folder)

    def project(self, standing: Standing) -> None:
        """Make the links say what the ledger says, each in one atomic step: removals, then ``previous``, then ``latest``."""
        wanted = standing.links()
        changed = False
        for link in sorted(standing.link_names() - wanted.keys()):
            if self.link_target(link) is not None:
                os.unlink(self.folder / link)  # noqa: PTH108 - as above
                changed = True
        for link in sorted(wanted, key=lambda each: (not each.startswith("previous"), each)):
            if self.link_target(link) != wanted[link]:
                swap_link(self.folder / link, wanted[link])
                changed = True
        if changed:
            sync_folder(self.folder)

    def link_target(self, link: str) -> str | None:
        """Return where a link points, as it is written; None when it is no link."""
        try:
            return os.readlink(f"{self.folder}/{link}")  # noqa: PTH115 - a Path would normalise it
        except OSError:
            return None

    def check_link(self, timeframe: str) -> None:
        """Refuse a ``latest-TIMEFRAME`` that points nowhere; a reader's answer comes from the ledger all the same.

        Raises
        ------
        InvalidBundle
            Saying where the link points and how to mend it.
        """
        link = f"latest-{timeframe}"
        target = self.link_target(link)
        if target is not None and not (self.folder / target).exists():
            raise InvalidBundle(
                f"{self.folder / link} points to {target!r}, which does not exist: choose a version of "
                f"'bot models list' and run 'bot models promote {self.symbol} {self.model_type} VERSION'"
            )

    def heal(self, standing: Standing) -> None:
        """Finish what a crash interrupted and remove what it left; the lock is held."""
        left = {path.name: path for path in sorted(self.folder.glob(f"{TEMPORARY}*"))}
        for state in standing.versions.values() if left else ():  # a pending registration is among what is left
            staged = state.registered.staged
            if staged in left and self.is_pending(state):
                del left[staged]
                try:
                    read_manifest(self.folder / staged, state.digest)
                except InvalidBundle:
                    continue  # damaged after it was written: evidence for `validate`, in nobody's way
                self.publish(staged, state.version)
        for path in left.values():
            remove_leftover(path)
        self.project(standing)


def is_version(name: str) -> bool:
    """Tell whether a folder's name is spelled as a version."""
    try:
        parse_version(name)
    except InvalidName:
        return False
    return True


def find_shelves(root: Path) -> list[Shelf]:
    """Return the SYMBOL/TYPE folders below a registry whose names are canonical, sorted; none when it does not exist."""
    shelves = []
    for folder in sorted(root.glob("*/*")):
        try:
            key = ModelKey.of(folder.parent.name, folder.name, "1h")
        except InvalidName:
            continue
        shelf = Shelf(root, key.symbol, key.model_type)
        if shelf.folder == folder and folder.is_dir():
            shelves.append(shelf)
    return shelves
