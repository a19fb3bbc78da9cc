"""Kernels of volume, money flow, taker flow and trade counts: ratios of moving sums.

Each writes its terms once for a block and divides moving sums of them. A candle without volume adds nothing to a mean of
ratios and does not count in it.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = [
    "flow",
    "money",
    "trade_counts",
    "volumes",
]


# A sum is taken afresh where it is less than this share of the term that left, a variance where less of the mean's square.
DWARFED = 1e-4
CANCELLED = 1e-7


@njit(cache=True, error_model="numpy")
def _start(blocks, q, longest):
    """Return the first candle whose terms a block needs: the longest window before the restart before the first row."""
    return max(blocks[q, 0], max(blocks[q, 1], blocks[q, 2] - max(64, 4 * longest)) - longest)


@njit(cache=True, error_model="numpy")
def _moving_sum(x, start, n, lead, blocks, q, sums):
    """Write into ``sums[i - start]`` the sum of the n terms up to candle i; ``x[i - start]`` is the term of candle i.

    NaN until n candles are there, not counting the first ``lead`` of the slice, whose terms are undefined. Taken afresh
    every 4 n candles (at least 64) from the begin of the block, and after a term that dwarfed the rest has left.
    """
    have = blocks[q, 0] + lead + n - 1
    keep = blocks[q, 2]
    end = blocks[q, 3]
    step = max(64, 4 * n)
    for i in range(keep, min(end, have)):
        sums[i - start] = math.nan
    for lo in range(blocks[q, 1], end, step):
        hi = min(lo + step, end)
        full = max(lo, have)
        if hi <= keep or hi <= full:
            continue
        head = full - start
        total = 0.0
        for k in range(head - n + 1, head + 1):
            total += x[k]
        sums[head] = total
        size = hi - full - 1
        new = x[head + 1 : head + 1 + size]
        old = x[head + 1 - n : head + 1 - n + size]
        out = sums[head + 1 : head + 1 + size]
        for t in range(size):
            gone = old[t]
            total += new[t] - gone
            if abs(total) < DWARFED * abs(gone):
                total = 0.0
                for k in range(head + 2 + t - n, head + 2 + t):
                    total += x[k]
            out[t] = total


@njit(cache=True, error_model="numpy")
def _ratio(top, bottom, scale, shift, to):
    """Write scale * top / bottom + shift, NaN where bottom is not positive."""
    for t in range(to.shape[0]):
        to[t] = scale * top[t] / bottom[t] + shift if bottom[t] > 0.0 else math.nan


@njit(cache=True, error_model="numpy")
def _scores(volume, keep, n, total, squares, to):
    """Write (value - mean) / population deviation of the windows that end at ``keep + t``, NaN where all are equal."""
    for t in range(to.shape[0]):
        v = volume[keep + t]
        mean = total[t] / n
        variance = squares[t] / n - mean * mean
        if variance < CANCELLED * mean * mean:
            shift = 0.0
            variance = 0.0
            for m in range(keep + t - n + 1, keep + t):
                shift += volume[m] - v
                variance += (volume[m] - v) * (volume[m] - v)
            variance = variance / n - shift * shift / n / n
        to[t] = (v - mean) / math.sqrt(variance) if variance > 0.0 else math.nan


@njit(cache=True, error_model="numpy")
def volumes(close, volume, blocks, periods, rows, out, base):
    """Write volume against its last n candles (see ``table``).

    ratio: volume / mean; zscore: (volume - mean) / population deviation; on_balance: sum of volume signed by the change of
    the close over the sum of volume, -1 to 1 (Granville 1963, over a window); trend: mean of the last n // 4 candles over the
    mean of n, minus 1; spike, dry_up: 1 where volume is above twice, below half the mean.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = _start(blocks, q, longest)
        size = end - start
        plain = np.empty(size)
        square = np.empty(size)
        signed = np.empty(size)
        for k in range(size):
            i = start + k
            v = volume[i]
            change = close[i] - close[i - 1] if i > first else 0.0
            plain[k] = v
            square[k] = v * v
            signed[k] = v if change > 0.0 else (-v if change < 0.0 else 0.0)
        total = np.empty(size)
        squares = np.empty(size)
        balance = np.empty(size)
        recent = np.empty(size)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            part = max(1, n // 4)
            _moving_sum(plain, start, n, 0, blocks, q, total)
            if r[2] >= 0:
                _moving_sum(square, start, n, 0, blocks, q, squares)
            if r[3] >= 0:
                _moving_sum(signed, start, n, 1, blocks, q, balance)
            if r[4] >= 0:
                _moving_sum(plain, start, part, 0, blocks, q, recent)
            v = volume[keep:end]
            held = total[keep - start :]
            if r[0] >= 0:
                for t in range(end - keep):
                    out[r[0], keep + t - base] = held[t] / n
            if r[1] >= 0:
                _ratio(v, held, float(n), 0.0, out[r[1], keep - base : end - base])
            if r[2] >= 0:
                _scores(volume, keep, n, held, squares[keep - start :], out[r[2], keep - base : end - base])
            if r[3] >= 0:
                _ratio(balance[keep - start :], held, 1.0, 0.0, out[r[3], keep - base : end - base])
            if r[4] >= 0:
                _ratio(recent[keep - start :], held, float(n) / part, -1.0, out[r[4], keep - base : end - base])
            if r[5] >= 0:
                to = out[r[5], keep - base : end - base]
                for t in range(end - keep):
                    to[t] = (1.0 if v[t] * n > 2.0 * held[t] else 0.0) if held[t] > 0.0 else math.nan
            if r[6] >= 0:
                to = out[r[6], keep - base : end - base]
                for t in range(end - keep):
                    to[t] = (1.0 if v[t] * n < 0.5 * held[t] else 0.0) if held[t] > 0.0 else math.nan


@njit(cache=True, error_model="numpy")
def money(high, low, close, volume, log_return, blocks, periods, rows, out, base):
    """Write volume weighted by price over n candles (see ``table``).

    chaikin: sum of volume times close location over the sum of volume (Chaikin money flow; location 0 without a range);
    money_flow: 100 rising / (rising + falling) typical price times volume (MFI, Quong and Soudack 1989); vwap_distance:
    close / (sum t v / sum v) - 1, t = (h + l + c) / 3; amihud: mean |log return| / (close times volume) of the candles that
    traded (Amihud 2002); amihud_ratio: that of the last n // 4 candles over that of n, minus 1.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = _start(blocks, q, longest)
        size = end - start
        plain = np.empty(size)
        located = np.empty(size)
        rising = np.empty(size)
        falling = np.empty(size)
        paid = np.empty(size)
        impact = np.empty(size)
        traded = np.empty(size)
        reference = close[blocks[q, 1]]
        for k in range(size):
            i = start + k
            v = volume[i]
            width = high[i] - low[i]
            typical = (high[i] + low[i] + close[i]) / 3.0
            plain[k] = v
            located[k] = v * ((close[i] - low[i]) - (high[i] - close[i])) / width if width > 0.0 else 0.0
            paid[k] = v * (typical - reference)
            rising[k] = 0.0
            falling[k] = 0.0
            impact[k] = 0.0
            traded[k] = 1.0 if v > 0.0 else 0.0
            if i > first:
                before = (high[i - 1] + low[i - 1] + close[i - 1]) / 3.0
                rising[k] = typical * v if typical > before else 0.0
                falling[k] = typical * v if typical < before else 0.0
                impact[k] = abs(log_return[i]) / (close[i] * v) if v > 0.0 else 0.0
        a = np.empty(size)
        b = np.empty(size)
        c = np.empty(size)
        d = np.empty(size)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            lead = keep - start
            if r[0] >= 0 or r[2] >= 0:
                _moving_sum(plain, start, n, 0, blocks, q, a)
            if r[0] >= 0:
                _moving_sum(located, start, n, 0, blocks, q, b)
                _ratio(b[lead:], a[lead:], 1.0, 0.0, out[r[0], keep - base : end - base])
            if r[2] >= 0:
                _moving_sum(paid, start, n, 0, blocks, q, b)
                for k in range(lead, size):
                    vwap = b[k] / a[k] + reference if a[k] > 0.0 else math.nan
                    out[r[2], start + k - base] = (close[start + k] - vwap) / vwap
            if r[1] >= 0:
                _moving_sum(rising, start, n, 1, blocks, q, a)
                _moving_sum(falling, start, n, 1, blocks, q, b)
                for k in range(lead, size):
                    b[k] += a[k]
                _ratio(a[lead:], b[lead:], 100.0, 0.0, out[r[1], keep - base : end - base])
            if r[3] >= 0 or r[4] >= 0:
                _moving_sum(impact, start, n, 1, blocks, q, a)
                _moving_sum(traded, start, n, 1, blocks, q, b)
            if r[3] >= 0:
                _ratio(a[lead:], b[lead:], 1.0, 0.0, out[r[3], keep - base : end - base])
            if r[4] >= 0:
                part = max(1, n // 4)
                _moving_sum(impact, start, part, 1, blocks, q, c)
                _moving_sum(traded, start, part, 1, blocks, q, d)
                for k in range(lead, size):
                    known = a[k] > 0.0 and d[k] > 0.0
                    out[r[4], start + k - base] = c[k] * b[k] / (d[k] * a[k]) - 1.0 if known else math.nan


@njit(cache=True, error_model="numpy")
def flow(volume, taker_buy_base, log_return, blocks, periods, rows, out, base):
    """Write who was in a hurry over n candles: taker buys against taker sells (see ``table``).

    With s = 2 taker - volume: imbalance: mean of s / volume over the candles that traded; volume_imbalance: sum s / sum
    volume; toxicity: sum |s| / sum volume (VPIN with a candle as bucket, Easley, Lopez de Prado and O'Hara 2012);
    kyle_lambda: slope of the log return on s times the mean volume (Kyle 1985, as a return for one average candle of net
    buying); correlation: of log return and s.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    for q in range(blocks.shape[0]):
        first = blocks[q, 0]
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = _start(blocks, q, longest)
        size = end - start
        plain = np.empty(size)
        share = np.empty(size)
        traded = np.empty(size)
        signed = np.empty(size)
        hurry = np.empty(size)
        x = np.empty(size)
        xx = np.empty(size)
        xs = np.empty(size)
        ss = np.empty(size)
        idle = False  # whether any candle had no volume: else every candle of a window traded
        for k in range(size):
            i = start + k
            v = volume[i]
            s = 2.0 * taker_buy_base[i] - v
            change = log_return[i] if i > first else 0.0
            idle = idle or v == 0.0
            plain[k] = v
            share[k] = s / v if v > 0.0 else 0.0
            traded[k] = 1.0 if v > 0.0 else 0.0
            signed[k] = s
            hurry[k] = abs(s)
            x[k] = change
            xx[k] = change * change
            xs[k] = change * s
            ss[k] = s * s
        a = np.empty(size)
        b = np.empty(size)
        sum_x = np.empty(size)
        sum_s = np.empty(size)
        sum_xx = np.empty(size)
        sum_xs = np.empty(size)
        sum_ss = np.empty(size)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            lead = keep - start
            if r[0] >= 0:
                _moving_sum(share, start, n, 0, blocks, q, a)
                if idle:
                    _moving_sum(traded, start, n, 0, blocks, q, b)
                else:
                    for k in range(lead, size):
                        b[k] = float(n)
                _ratio(a[lead:], b[lead:], 1.0, 0.0, out[r[0], keep - base : end - base])
            if r[1] >= 0 or r[2] >= 0:
                _moving_sum(plain, start, n, 0, blocks, q, b)
            if r[1] >= 0:
                _moving_sum(signed, start, n, 0, blocks, q, a)
                _ratio(a[lead:], b[lead:], 1.0, 0.0, out[r[1], keep - base : end - base])
            if r[2] >= 0:
                _moving_sum(hurry, start, n, 0, blocks, q, a)
                _ratio(a[lead:], b[lead:], 1.0, 0.0, out[r[2], keep - base : end - base])
            if r[3] >= 0 or r[4] >= 0:
                _moving_sum(x, start, n, 1, blocks, q, sum_x)
                _moving_sum(signed, start, n, 1, blocks, q, sum_s)
                _moving_sum(xs, start, n, 1, blocks, q, sum_xs)
                _moving_sum(ss, start, n, 1, blocks, q, sum_ss)
                for k in range(lead, size):
                    b[k] = sum_ss[k] - sum_s[k] * sum_s[k] / n
                    sum_xs[k] -= sum_x[k] * sum_s[k] / n
                    if not b[k] > CANCELLED * sum_ss[k]:
                        b[k] = math.nan
            if r[3] >= 0:
                _moving_sum(plain, start, n, 1, blocks, q, a)
                for k in range(lead, size):
                    out[r[3], start + k - base] = sum_xs[k] * a[k] / (n * b[k])
            if r[4] >= 0:
                _moving_sum(xx, start, n, 1, blocks, q, sum_xx)
                for k in range(lead, size):
                    moved = sum_xx[k] - sum_x[k] * sum_x[k] / n
                    known = moved > CANCELLED * sum_xx[k]
                    value = sum_xs[k] / math.sqrt(b[k] * moved) if known else math.nan
                    out[r[4], start + k - base] = min(1.0, max(-1.0, value)) if not math.isnan(value) else math.nan


@njit(cache=True, error_model="numpy")
def trade_counts(volume, trades, blocks, periods, rows, out, base):
    """Write trade counts and sizes over n candles (see ``table``).

    size: sum of volume over the sum of trades; size_ratio: volume / trades of this candle over that; intensity: trades of
    this candle over their mean.
    """
    longest = 0
    for p in range(periods.shape[0]):
        longest = max(longest, periods[p])
    for q in range(blocks.shape[0]):
        keep = blocks[q, 2]
        end = blocks[q, 3]
        start = _start(blocks, q, longest)
        size = end - start
        a = np.empty(size)
        b = np.empty(size)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            _moving_sum(volume[start:end], start, n, 0, blocks, q, a)
            _moving_sum(trades[start:end], start, n, 0, blocks, q, b)
            lead = keep - start
            if r[0] >= 0:
                _ratio(a[lead:], b[lead:], 1.0, 0.0, out[r[0], keep - base : end - base])
            if r[1] >= 0:
                for k in range(lead, size):
                    i = start + k
                    known = trades[i] > 0.0 and a[k] > 0.0
                    out[r[1], start + k - base] = volume[i] * b[k] / (trades[i] * a[k]) if known else math.nan
            if r[2] >= 0:
                _ratio(trades[keep:end], b[lead:], float(n), 0.0, out[r[2], keep - base : end - base])
