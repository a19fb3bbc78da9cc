"""The rows that members of an ensemble have in common: what each said of bars that it had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import InvalidParameter, NotEnoughBars

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ml.ensembles.kinds import Kind

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["CommonRows", "common_rows"]


@dataclass(frozen=True, eq=False)
class CommonRows:
    """Bars of which every one of K members has a calibrated out-of-sample answer, in time order.

    Attributes
    ----------
    names : tuple of str
        The members.
    open_ms, k : int64 arrays, shape (n,)
        Open time and absolute index.
    stated, expected, low, high : float64 arrays, shape (n, K)
        What each said: a probability or a volatility; log return and ends of the 90 % band of the log return (0 for a kind
        that has none).
    outcome, close, sigma : float64 arrays, shape (n,)
        What happened (log return at the horizon, adverse move or not, realised volatility), close, volatility of one bar.
    baselines : dict of float64 arrays, shape (n,)
        What the baselines said, by column of the record, averaged over the members' training rows.
    scored : bool array, shape (n,)
        With a known outcome, no tie, label intervals do not overlap.
    kind : str
        Of ``ml.ensembles.kinds.KINDS``.
    """

    names: tuple[str, ...]
    open_ms: Integers
    k: Integers
    stated: Floats
    expected: Floats
    low: Floats
    high: Floats
    outcome: Floats
    close: Floats
    sigma: Floats
    baselines: dict[str, Floats]
    scored: Flags
    kind: str = "direction"

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.k)

    def answers(self, part: slice) -> tuple[Floats, Floats, Floats, Floats]:
        """Return what was said of some rows: statements, log returns and ends of bands, each float64 (m, K)."""
        return self.stated[part], self.expected[part], self.low[part], self.high[part]


def common_rows(names: Sequence[str], records: Sequence[Any], kind: Kind) -> CommonRows:
    """Join records by open time and keep the bars that every member answered.

    Parameters
    ----------
    names, records
        The members and their out-of-sample records, of the kind's class.
    kind
        Of ``ml.ensembles.kinds``.

    Raises
    ------
    NotEnoughBars
        When the members have no such bar in common.
    InvalidParameter
        When two members saw different candles at the same time, or count time differently.
    """
    answered = [record.open_ms[np.isfinite(getattr(record, kind.stated))] for record in records]
    shared = answered[0]
    for other in answered[1:]:
        shared = np.intersect1d(shared, other, assume_unique=True)
    if len(shared) == 0:
        raise NotEnoughBars(
            f"{' and '.join(names)} have no bar in common that neither had seen: train them on the same candles"
        )
    places = [np.searchsorted(record.open_ms, shared) for record in records]
    first, at = records[0], places[0]
    outcome = getattr(first, kind.outcome)[at]
    for name, record, place in zip(names[1:], records[1:], places[1:], strict=True):
        theirs = getattr(record, kind.outcome)[place]
        both = np.isfinite(outcome) & np.isfinite(theirs)
        differs = (
            (both & (outcome != theirs)) | (first.close[at] != record.close[place]) | (first.k[at] != record.k[place])
        )
        if differs.any():
            from ml.candles import format_ms

            moment = format_ms(int(shared[np.argmax(differs)]))
            raise InvalidParameter(
                f"{names[0]} and {name} were trained on different candles (the bar of {moment} differs): "
                "train both on the same series"
            )
        outcome = np.where(np.isfinite(outcome), outcome, theirs)

    def table(column: str) -> Floats:
        parts = [getattr(record, column)[place] for record, place in zip(records, places, strict=True)]
        return np.ascontiguousarray(np.column_stack(parts))

    stated = table(kind.stated)
    banded = len(kind.columns) > 1
    nothing = np.zeros_like(stated)
    return CommonRows(
        names=tuple(names),
        open_ms=shared,
        k=first.k[at],
        stated=stated,
        expected=table("expected_return") if banded else nothing,
        low=table("low") if banded else nothing,
        high=table("high") if banded else nothing,
        outcome=outcome,
        close=first.close[at],
        sigma=first.sigma[at],
        baselines={column: table(column).mean(axis=1) for column in kind.baselines},
        scored=np.logical_and.reduce([record.scored[place] for record, place in zip(records, places, strict=True)]),
        kind=kind.name,
    )
