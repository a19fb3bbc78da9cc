"""The rows that members of an ensemble have in common: what each said of bars that it had not seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ml.errors import InvalidParameter, NotEnoughBars
from ml.record import OutOfSample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

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
    p_up, expected, low, high : float64 arrays, shape (n, K)
        What each said: probability of a rise, log return, ends of the 90 % band of the log return.
    returns, close, sigma : float64 arrays, shape (n,)
        Log return at the horizon, close, volatility of one bar.
    base_rate, last_sign_p : float64 arrays, shape (n,)
        What the baselines said, averaged over the members' training rows.
    scored : bool array, shape (n,)
        Labelled, no tie, label intervals do not overlap.
    """

    names: tuple[str, ...]
    open_ms: Integers
    k: Integers
    p_up: Floats
    expected: Floats
    low: Floats
    high: Floats
    returns: Floats
    close: Floats
    sigma: Floats
    base_rate: Floats
    last_sign_p: Floats
    scored: Flags

    def __len__(self) -> int:
        """Return the number of bars."""
        return len(self.k)

    @property
    def rose(self) -> Flags:
        """Whether the price rose."""
        flags: Flags = self.returns > 0
        return flags


def common_rows(names: Sequence[str], records: Sequence[OutOfSample]) -> CommonRows:
    """Join records by open time and keep the bars that every member answered.

    Raises
    ------
    NotEnoughBars
        When the members have no such bar in common.
    InvalidParameter
        When two members saw different candles at the same time.
    """
    answered = [record.open_ms[np.isfinite(record.p_up)] for record in records]
    shared = answered[0]
    for other in answered[1:]:
        shared = np.intersect1d(shared, other, assume_unique=True)
    if len(shared) == 0:
        raise NotEnoughBars(
            f"{' and '.join(names)} have no bar in common that neither had seen: train them on the same candles"
        )
    places = [np.searchsorted(record.open_ms, shared) for record in records]
    first, at = records[0], places[0]
    returns = first.forward_return[at]
    for name, record, place in zip(names[1:], records[1:], places[1:], strict=True):
        theirs = record.forward_return[place]
        both = np.isfinite(returns) & np.isfinite(theirs)
        differs = (both & (returns != theirs)) | (first.close[at] != record.close[place])
        if differs.any():
            from ml.candles import format_ms

            moment = format_ms(int(shared[np.argmax(differs)]))
            raise InvalidParameter(
                f"{names[0]} and {name} were trained on different candles (the bar of {moment} differs): "
                "train both on the same series"
            )
        returns = np.where(np.isfinite(returns), returns, theirs)

    def table(column: str) -> Floats:
        parts = [getattr(record, column)[place] for record, place in zip(records, places, strict=True)]
        return np.ascontiguousarray(np.column_stack(parts))

    return CommonRows(
        names=tuple(names),
        open_ms=shared,
        k=first.k[at],
        p_up=table("p_up"),
        expected=table("expected_return"),
        low=table("low"),
        high=table("high"),
        returns=returns,
        close=first.close[at],
        sigma=first.sigma[at],
        base_rate=table("train_base_rate").mean(axis=1),
        last_sign_p=table("last_sign_p").mean(axis=1),
        scored=np.logical_and.reduce([record.scored[place] for record, place in zip(records, places, strict=True)]),
    )
