"""Kernels of average prices: since midnight, of the candle itself, and what takers paid."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["premium", "quotes", "session"]


_DAY_MS = 86_400_000


@njit(cache=True, error_model="numpy")
def session(open_ms, high, low, close, volume, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write the volume weighted average of (h + l + c) / 3 since 00:00 UTC, and close / vwap - 1 (see ``table``).

    The sums start at the first candle of the day in the slice. NaN until a candle of the day has volume.
    """
    r = rows[0]
    for q in range(blocks.shape[0]):
        keep = blocks[q, 2]
        start = keep
        while start > blocks[q, 0] and open_ms[start - 1] // _DAY_MS == open_ms[keep] // _DAY_MS:
            start -= 1
        day = open_ms[start] // _DAY_MS - 1
        reference = 0.0
        paid = 0.0
        total = 0.0
        for i in range(start, blocks[q, 3]):
            if open_ms[i] // _DAY_MS != day:
                day = open_ms[i] // _DAY_MS
                reference = close[i]
                paid = 0.0
                total = 0.0
            paid += volume[i] * ((high[i] + low[i] + close[i]) / 3.0 - reference)
            total += volume[i]
            if i < keep:
                continue
            vwap = paid / total + reference if total > 0.0 else math.nan
            if r[0] >= 0:
                out[r[0], i - base] = vwap
            if r[1] >= 0:
                out[r[1], i - base] = (close[i] - vwap) / vwap


@njit(cache=True, error_model="numpy")
def quotes(close, volume, quote_volume, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write close over the candle's own average price, quote volume / volume, minus 1 (see ``table``)."""
    r = rows[0, 0]
    for q in range(blocks.shape[0]):
        for i in range(blocks[q, 2], blocks[q, 3]):
            known = volume[i] > 0.0 and quote_volume[i] > 0.0
            if r >= 0:
                out[r, i - base] = close[i] * volume[i] / quote_volume[i] - 1.0 if known else math.nan


@njit(cache=True, error_model="numpy")
def premium(volume, quote_volume, taker_buy_base, taker_buy_quote, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write the average price of taker buys over that of the whole candle, minus 1 (see ``table``)."""
    r = rows[0, 0]
    for q in range(blocks.shape[0]):
        for i in range(blocks[q, 2], blocks[q, 3]):
            value = math.nan
            if volume[i] > 0.0 and quote_volume[i] > 0.0 and taker_buy_base[i] > 0.0:
                value = taker_buy_quote[i] / taker_buy_base[i] * volume[i] / quote_volume[i] - 1.0
            if r >= 0:
                out[r, i - base] = value
