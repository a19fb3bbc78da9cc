"""What must be remembered of a model key to judge its recipes: who serves, since when, and against what it is watched.

Statistics are not remembered: they follow from these facts and the records, so they can be computed again by anybody.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Literal

from ml.errors import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Champion", "Decision", "Facts", "Held", "version_stream"]

Kind = Literal["promote", "refit", "replace", "quarantine", "fallback", "rollback"]
_SCHEMA_VERSION = 1


def version_stream(version: str) -> str:
    """Return the name of the record of one version that is scored by itself, in contrast to that of a recipe."""
    return f"@{version}"


@dataclass(frozen=True, slots=True)
class Champion:
    """Who serves.

    Attributes
    ----------
    stream
        Whose record speaks of it: a recipe's, or that of one version (``@VERSION``).
    version
        The version in force.
    crowned_ms
        Open time of the first bar of its reign, milliseconds UTC.
    since_ms
        Open time of the first bar that the drift test counts: later than the reign's where the reference was renewed.
    reference
        Hit rate that it is held to: a lower bound, from the record before ``since_ms``; None where there was none, and of a
        task whose record is no hits.
    reference_rows, reference_hits
        What that was measured on.
    statistics
        Where the drift test stood at ``since_ms``, one tuple a phase; None where it began anew.
    """

    stream: str
    version: str
    crowned_ms: int
    since_ms: int
    reference: float | None
    reference_rows: int
    reference_hits: int
    statistics: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """The champion before, kept beside to see whether the new one is worse.

    Attributes
    ----------
    stream, version
        As in `Champion`.
    since_ms
        Open time of the first bar on which both are compared.
    """

    stream: str
    version: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Decision:
    """One change that the record calls for.

    Attributes
    ----------
    kind
        ``promote`` (the first champion), ``refit``, ``replace``, ``quarantine``, ``fallback`` or ``rollback``.
    stream, version
        Whom it concerns: for ``quarantine`` the champion that leaves, otherwise the one that comes.
    reason
        In words.
    evidence
        Figures behind it; plain data.
    """

    kind: Kind
    stream: str
    version: str
    reason: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that is remembered of one model key; a value, changed by ``replace``.

    Attributes
    ----------
    enrolled
        Open time from which each recipe's record is fresh, by stream; their number is the number of trials.
    restarts
        Open time from which a stream must earn its place anew, for those that lost it.
    champion, held
        Who serves, and whom it replaced; None where nobody does or did.
    """

    enrolled: Mapping[str, int] = field(default_factory=dict)
    restarts: Mapping[str, int] = field(default_factory=dict)
    champion: Champion | None = None
    held: Held | None = None

    @property
    def trials(self) -> int:
        """Recipes of this key that were ever tried, at least 1."""
        return max(1, len(self.enrolled))

    def enroll(self, stream: str, fresh_ms: int) -> Facts:
        """Return the facts with another recipe under trial; one that is known stays as it is."""
        return self if stream in self.enrolled else replace(self, enrolled={**self.enrolled, stream: fresh_ms})

    def restart(self, streams: tuple[str, ...], at_ms: int) -> Facts:
        """Return the facts with some streams sent back to the start."""
        return replace(self, restarts={**self.restarts, **dict.fromkeys(streams, at_ms)})

    def counted_from(self, stream: str) -> int | None:
        """Return the open time from which a stream's record counts for its place; None for all of it."""
        return self.restarts.get(stream)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every number back to the same bits."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "enrolled": dict(self.enrolled),
            "restarts": dict(self.restarts),
            "champion": None if self.champion is None else asdict(self.champion),
            "held": None if self.held is None else asdict(self.held),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Facts:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a part is missing.
        """
        if data.get("schema_version") != _SCHEMA_VERSION:
            raise BrokenModel(
                f"the facts have schema_version {data.get('schema_version')!r}, this program reads {_SCHEMA_VERSION}"
            )
        try:
            champion, held = data["champion"], data["held"]
            return cls(
                enrolled={str(name): int(value) for name, value in data["enrolled"].items()},
                restarts={str(name): int(value) for name, value in data["restarts"].items()},
                champion=None if champion is None else _champion(champion),
                held=None if held is None else Held(**{each.name: held[each.name] for each in fields(Held)}),
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise BrokenModel(f"the facts of a model key cannot be read: {type(error).__name__}: {error}") from None


def _champion(data: Mapping[str, Any]) -> Champion:
    """Return what was written; JSON knows no tuples."""
    read = Champion(**{each.name: data[each.name] for each in fields(Champion)})
    if read.statistics is None:
        return read
    return replace(read, statistics=tuple(tuple(float(value) for value in phase) for phase in read.statistics))
