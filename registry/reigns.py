"""Who was champion from when to when, told from the rows of a ledger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from registry.ledger import LedgerRow

__all__ = ["Reign", "reign_at", "reigns_of"]


@dataclass(frozen=True, slots=True)
class Reign:
    """A time with one champion, or with none.

    Attributes
    ----------
    from_at
        Its first moment, UTC; the next reign's is its end.
    version
        The champion; None for a time without one.
    row
        The row that began it: why.
    """

    from_at: datetime
    version: str | None
    row: LedgerRow


def reigns_of(rows: Iterable[LedgerRow], timeframe: str) -> tuple[Reign, ...]:
    """Return the reigns of one timeframe in the order of the ledger.

    The first is that of the first champion: before it there was none. Two reigns in a row never have the same version.
    Their times are those of the rows: of a clock that was set back they are not in order.
    """
    reigns: list[Reign] = []
    champion: str | None = None
    for row in rows:
        if row.timeframe != timeframe:
            continue
        after = champion
        if row.action in ("promote", "rollback"):
            after = row.version
        elif row.action in ("quarantine", "withdraw") and row.version == champion:
            after = None
        if after != champion:
            reigns.append(Reign(row.at, after, row))
            champion = after
    return tuple(reigns)


def reign_at(reigns: Sequence[Reign], at: datetime) -> Reign | None:
    """Return the reign of a moment: the last in the order of the ledger that had begun; None before the first."""
    return next((reign for reign in reversed(reigns) if reign.from_at <= at), None)
