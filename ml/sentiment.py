"""Joining a side series, such as an index of fear and greed, to candles by the time of its publication."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.candles import Candles

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["DEFAULT_MAX_AGE_MS", "join_sentiment", "published_at"]

DEFAULT_MAX_AGE_MS = 7 * 86_400_000
"""A value older than this says nothing of the present."""


def published_at(moments_ms: Integers, published_ms: Integers, values: Floats, max_age_ms: int) -> Floats:
    """Return the newest value that was published at or before each moment, never a later one.

    Parameters
    ----------
    moments_ms : int64 array, shape (n,)
        Milliseconds UTC, in any order.
    published_ms : int64 array, shape (m,)
        When each value became known, strictly increasing.
    values : float64 array, shape (m,)
        The series.
    max_age_ms
        A value that is older than this at the moment counts as missing.

    Returns
    -------
    float64 array, shape (n,)
        NaN where nothing was published yet, or the newest value is too old.
    """
    if published_ms.shape != values.shape:
        raise ValueError(f"{len(values)} values for {len(published_ms)} times of publication")
    if (np.diff(published_ms) <= 0).any():
        raise ValueError("the times of publication are not strictly increasing")
    found = np.full(len(moments_ms), np.nan)
    place = np.searchsorted(published_ms, moments_ms, side="right") - 1
    known = np.flatnonzero(place >= 0)
    fresh = known[moments_ms[known] - published_ms[place[known]] <= max_age_ms]
    found[fresh] = values[place[fresh]]
    return found


def join_sentiment(
    candles: Candles, published_ms: Integers, values: Floats, max_age_ms: int = DEFAULT_MAX_AGE_MS
) -> Candles:
    """Return the candles with the column ``sentiment``: what was known of the series at each candle's close.

    The value is part of the candle from here on: features, cache keys, self-tests and feeds need no other rule.

    Parameters
    ----------
    candles
        Closed candles of any timeframe.
    published_ms, values, max_age_ms
        As `published_at` takes them; values lie between 0 and 100.
    """
    closes = candles.open_ms + candles.step_ms
    return replace(candles, sentiment=published_at(closes, published_ms, values, max_age_ms))
