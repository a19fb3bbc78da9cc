"""What the ledger's rows add up to: the status of every version, the champions and their predecessors.

A version's life::

    register -> candidate -> champion <-> superseded
                    |            (promote, rollback)
                    +-> archived <- superseded
                        archived -> champion   (promote: an archived version may be taken out again)

The champion and its predecessor are never archived: the one is in use, the other is where a rollback goes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from registry.errors import InvalidLedger, TransitionRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.ledger import LedgerRow

__all__ = ["Standing", "Status", "VersionState", "refuse_archive", "replay", "rollback_target"]

Status = Literal["candidate", "champion", "superseded", "archived"]


@dataclass(frozen=True, slots=True)
class VersionState:
    """What the ledger says about one version.

    Attributes
    ----------
    version, timeframe
        Its name.
    digest
        SHA-256 of its manifest.
    status
        candidate, champion, superseded or archived.
    registered
        The row that registered it.
    promoted
        The last row that made it champion; None when it never was.
    """

    version: str
    timeframe: str
    digest: str
    status: Status
    registered: LedgerRow
    promoted: LedgerRow | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """The state of one SYMBOL/TYPE folder after the last row of its ledger.

    Attributes
    ----------
    versions
        State of each version, in the order of registration.
    champions
        The champion of each timeframe that has one.
    predecessors
        The champion before it, where there was one.
    latest
        The version that was promoted last, of any timeframe.
    """

    versions: dict[str, VersionState] = field(default_factory=dict)
    champions: dict[str, str] = field(default_factory=dict)
    predecessors: dict[str, str] = field(default_factory=dict)
    latest: str | None = None

    def of(self, timeframe: str) -> list[VersionState]:
        """Return the versions of one timeframe, in the order of registration."""
        return [state for state in self.versions.values() if state.timeframe == timeframe]

    @property
    def timeframes(self) -> list[str]:
        """Timeframes that have versions, in the order of their first registration."""
        return list(dict.fromkeys(state.timeframe for state in self.versions.values()))

    def links(self) -> dict[str, str]:
        """Return the links that the folder should hold: name -> version."""
        links = {f"latest-{timeframe}": version for timeframe, version in self.champions.items()}
        links |= {f"previous-{timeframe}": version for timeframe, version in self.predecessors.items()}
        if self.latest is not None:
            links["latest"] = self.latest
        return links


def replay(rows: Sequence[LedgerRow], place: str) -> Standing:
    """Add up the rows of a ledger.

    Parameters
    ----------
    rows
        Verified rows in order.
    place
        The ledger's path, for messages.

    Raises
    ------
    InvalidLedger
        When a row contradicts those before it: registers a version twice, promotes one that is not registered.
    """
    versions: dict[str, VersionState] = {}
    champions: dict[str, str] = {}
    predecessors: dict[str, str] = {}
    latest: str | None = None
    for row in rows:
        state = versions.get(row.version)
        if row.action == "register":
            if state is not None:
                raise InvalidLedger(f"{place}:{row.sequence}: {row.version} is registered twice")
            versions[row.version] = VersionState(row.version, row.timeframe, row.manifest, "candidate", row)
            continue
        if state is None or state.digest != row.manifest:
            known = "was not registered" if state is None else "was registered with another manifest"
            raise InvalidLedger(f"{place}:{row.sequence}: {row.action} of {row.version}, which {known}")
        if row.action == "archive":
            versions[row.version] = replace(state, status="archived")
            continue
        before = champions.get(row.timeframe)
        if before is not None and before != row.version:
            versions[before] = replace(versions[before], status="superseded")
            predecessors[row.timeframe] = before
        champions[row.timeframe] = latest = row.version
        versions[row.version] = replace(state, status="champion", promoted=row)
    return Standing(versions, champions, predecessors, latest)


def refuse_archive(standing: Standing, state: VersionState) -> None:
    """Refuse to archive a version that is in use or is where a rollback goes.

    Raises
    ------
    TransitionRefused
        Saying which of the two it is, and what to do first.
    """
    if standing.champions.get(state.timeframe) == state.version:
        raise TransitionRefused(f"{state.version} is the champion of {state.timeframe}: promote another version first")
    if standing.predecessors.get(state.timeframe) == state.version:
        raise TransitionRefused(
            f"{state.version} is the version that a rollback of {state.timeframe} returns to: it cannot be archived"
        )


def rollback_target(standing: Standing, timeframe: str) -> VersionState:
    """Return the version that a rollback makes champion again: the champion before the present one.

    Raises
    ------
    TransitionRefused
        When no second version was ever promoted.
    """
    version = standing.predecessors.get(timeframe)
    if version is None:
        raise TransitionRefused(f"nothing to roll back to: no other version of {timeframe} was promoted before")
    return standing.versions[version]
