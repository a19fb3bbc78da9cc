"""What the ledger's rows add up to: the status of every version, the champions and where a rollback goes.

A version's life::

    register -> candidate -> champion <-> superseded      promote, rollback; withdraw: no champion follows
                    |           |             |
                    |           v             v
                    +-----> quarantined   archived        quarantine at any time; archive where nothing needs it
                              restore or promote: out of either again

The champion and the version that a rollback returns to are never archived: the one is in use, the other has to be there.
Anything may be quarantined, the champion too: then its timeframe has no champion until one is promoted.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from registry.errors import InvalidLedger, TransitionRefused

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from registry.ledger import LedgerRow

__all__ = ["Standing", "Status", "VersionState", "advance", "refuse_archive", "replay", "rollback_target"]

Status = Literal["candidate", "champion", "superseded", "archived", "quarantined"]


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
        candidate, champion, superseded, archived or quarantined.
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
        Where a rollback goes: the last champion before the present one that is neither archived nor quarantined.
    latest
        The version that was promoted last, of any timeframe, while it is champion or was succeeded.
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

    def link_names(self) -> set[str]:
        """Return the names of all links that the folder may hold."""
        frames = self.timeframes
        return {"latest", *(f"latest-{frame}" for frame in frames), *(f"previous-{frame}" for frame in frames)}


def replay(rows: Sequence[LedgerRow], place: str) -> Standing:
    """Add up the rows of a whole ledger.

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
    return advance(Standing(), rows, place)


def advance(standing: Standing, rows: Sequence[LedgerRow], place: str) -> Standing:
    """Return the standing after some more rows; the one that is given stays as it is.

    Parameters
    ----------
    standing
        What all rows before add up to.
    rows, place
        As in `replay`, which is this from the beginning.
    """
    versions, champions, latest = dict(standing.versions), dict(standing.champions), standing.latest
    for row in rows:
        if row.action == "repair":
            continue
        state = versions.get(row.version)
        if row.action == "register":
            if state is not None:
                raise InvalidLedger(f"{place}:{row.sequence}: {row.version} is registered twice")
            versions[row.version] = VersionState(row.version, row.timeframe, row.manifest, "candidate", row)
            continue
        if state is None or state.digest != row.manifest:
            known = "was not registered" if state is None else "was registered with another manifest"
            raise InvalidLedger(f"{place}:{row.sequence}: {row.action} of {row.version}, which {known}")
        before = champions.get(row.timeframe)
        if row.action in ("promote", "rollback"):
            if before is not None and before != row.version:
                versions[before] = replace(versions[before], status="superseded")
            champions[row.timeframe] = latest = row.version
            versions[row.version] = replace(state, status="champion", promoted=row)
            continue
        if row.action == "withdraw" and before != row.version:
            raise InvalidLedger(f"{place}:{row.sequence}: withdraw of {row.version}, which was not the champion")
        versions[row.version] = replace(state, status=_status_after(row.action, state))
        if row.action in ("quarantine", "withdraw"):
            if before == row.version:
                del champions[row.timeframe]
            latest = None if latest == row.version else latest
    touched = {row.timeframe for row in rows}
    predecessors = {frame: version for frame, version in standing.predecessors.items() if frame not in touched}
    for frame in touched:
        version = _last_crowned(versions.values(), frame, "superseded")
        if version is not None:
            predecessors[frame] = version
    return Standing(versions, champions, predecessors, latest)


def _status_after(action: str, state: VersionState) -> Status:
    if action == "archive":
        return "archived"
    if action == "quarantine":
        return "quarantined"
    if action == "restore" and state.status not in ("archived", "quarantined"):
        return state.status
    return "candidate" if state.promoted is None else "superseded"


def _last_crowned(states: Iterable[VersionState], timeframe: str, status: Status) -> str | None:
    """Return the version of that status that became champion last; None when none of them ever was."""
    crowned = [
        (state.promoted.sequence, state.version)
        for state in states
        if state.status == status and state.timeframe == timeframe and state.promoted is not None
    ]
    return max(crowned)[1] if crowned else None


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


def rollback_target(standing: Standing, timeframe: str, version: str | None = None) -> VersionState:
    """Return the version that a rollback makes champion again.

    Parameters
    ----------
    standing, timeframe
        What the ledger adds up to, and where to look.
    version
        One that was champion before; None for the last of them before the present champion. Archived ones come after all
        others, quarantined ones never.

    Raises
    ------
    TransitionRefused
        When there is none, or the named one was never champion or is quarantined.
    """
    if version is not None:
        state = standing.versions[version]
        if state.promoted is None:
            raise TransitionRefused(f"{version} was never champion: there is nothing to roll back to; promote it")
        if state.status == "quarantined":
            raise TransitionRefused(f"{version} is quarantined: restore or promote it if it is to be used again")
        return state
    found = standing.predecessors.get(timeframe) or _last_crowned(standing.versions.values(), timeframe, "archived")
    if found is None:
        raise TransitionRefused(f"nothing to roll back to: no other version of {timeframe} was promoted before")
    return standing.versions[found]
