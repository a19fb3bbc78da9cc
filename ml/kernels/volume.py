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


# A sum is taken afresh where less than this share of its largest term remains, a variance where less of the mean's square.
SPIKED = 1e-6
CANCELLED = 1e-7


@njit(cache=True, error_model="numpy")
def _start(blocks, q, longest):
    """Return the first candle whose terms a block needs: the longest window before the restart before the first row."""
    return max(blocks[q, 0], max(blocks[q, 1], blocks[q, 2] - max(64, 4 * longest)) - longest)


@njit(cache=True, error_model="numpy")
def _moving_sum(x, start, n, lead, blocks, q, sums):
    """Write into ``sums[i - keep]`` the sum of the n terms up to candle i; ``x[i - start]`` is the term of candle i.

    NaN until n candles are there, not counting the first ``lead`` of the slice, whose terms are undefined. Taken afresh
    every 4 n candles (at least 64) from the begin of the block and after a term that dwarfed the rest has left.
    """
    have = blocks[q, 0] + lead + n - 1
    keep = blocks[q, 2]
    end = blocks[q, 3]
    step = max(64, 4 * n)
    for i in range(keep, min(end, have)):
        sums[i - keep] = math.nan
    for lo in range(blocks[q, 1], end, step):
        hi = min(lo + step, end)
        if hi <= keep:
            continue
        full = max(lo, have)
        total = 0.0
        peak = math.inf  # the sum at ``full`` is always fresh
        for i in range(full, hi):
            k = i - start
            if i > full:
                total += x[k] - x[k - n]
                peak = max(peak, abs(x[k]))
            if abs(total) < SPIKED * peak:
                total = 0.0
                peak = 0.0
                for m in range(k - n + 1, k + 1):
                    total += x[m]
                    peak = max(peak, abs(x[m]))
            if i >= keep:
                sums[i - keep] = total


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
        total = np.empty(end - keep)
        squares = np.empty(end - keep)
        balance = np.empty(end - keep)
        recent = np.empty(end - keep)
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
            for i in range(keep, end):
                j = i - base
                k = i - keep
                v = volume[i]
                mean = total[k] / n
                ratio = v / mean if mean > 0.0 else math.nan
                if r[0] >= 0:
                    out[r[0], j] = mean
                if r[1] >= 0:
                    out[r[1], j] = ratio
                if r[2] >= 0:
                    variance = squares[k] / n - mean * mean
                    if variance < CANCELLED * mean * mean:
                        shift = 0.0
                        variance = 0.0
                        for m in range(i - n + 1, i):
                            shift += volume[m] - v
                            variance += (volume[m] - v) * (volume[m] - v)
                        variance = variance / n - shift * shift / n / n
                    out[r[2], j] = (v - mean) / math.sqrt(variance) if variance > 0.0 else math.nan
                if r[3] >= 0:
                    value = balance[k] / total[k] if total[k] > 0.0 else math.nan
                    out[r[3], j] = min(1.0, max(-1.0, value)) if not math.isnan(value) else math.nan
                if r[4] >= 0:
                    out[r[4], j] = recent[k] / part / mean - 1.0 if mean > 0.0 else math.nan
                if r[5] >= 0:
                    out[r[5], j] = ratio if math.isnan(ratio) else (1.0 if ratio > 2.0 else 0.0)
                if r[6] >= 0:
                    out[r[6], j] = ratio if math.isnan(ratio) else (1.0 if ratio < 0.5 else 0.0)


@njit(cache=True, error_model="numpy")
def money(high, low, close, volume, blocks, periods, rows, out, base):
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
                impact[k] = abs(math.log(close[i] / close[i - 1])) / (close[i] * v) if v > 0.0 else 0.0
        a = np.empty(end - keep)
        b = np.empty(end - keep)
        c = np.empty(end - keep)
        d = np.empty(end - keep)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            if r[0] >= 0 or r[2] >= 0:
                _moving_sum(plain, start, n, 0, blocks, q, a)
            if r[0] >= 0:
                _moving_sum(located, start, n, 0, blocks, q, b)
                for i in range(keep, end):
                    k = i - keep
                    out[r[0], i - base] = b[k] / a[k] if a[k] > 0.0 else math.nan
            if r[2] >= 0:
                _moving_sum(paid, start, n, 0, blocks, q, b)
                for i in range(keep, end):
                    k = i - keep
                    vwap = b[k] / a[k] + reference if a[k] > 0.0 else math.nan
                    out[r[2], i - base] = (close[i] - vwap) / vwap
            if r[1] >= 0:
                _moving_sum(rising, start, n, 1, blocks, q, a)
                _moving_sum(falling, start, n, 1, blocks, q, b)
                for i in range(keep, end):
                    k = i - keep
                    both = a[k] + b[k]
                    out[r[1], i - base] = 100.0 * a[k] / both if both > 0.0 else math.nan
            if r[3] >= 0 or r[4] >= 0:
                _moving_sum(impact, start, n, 1, blocks, q, a)
                _moving_sum(traded, start, n, 1, blocks, q, b)
                if r[3] >= 0:
                    for i in range(keep, end):
                        k = i - keep
                        out[r[3], i - base] = a[k] / b[k] if b[k] > 0.0 else math.nan
                if r[4] >= 0:
                    part = max(1, n // 4)
                    _moving_sum(impact, start, part, 1, blocks, q, c)
                    _moving_sum(traded, start, part, 1, blocks, q, d)
                    for i in range(keep, end):
                        k = i - keep
                        value = math.nan
                        if a[k] > 0.0 and d[k] > 0.0:
                            value = c[k] / d[k] / (a[k] / b[k]) - 1.0
                        out[r[4], i - base] = value


@njit(cache=True, error_model="numpy")
def flow(close, volume, taker_buy_base, blocks, periods, rows, out, base):
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
        for k in range(size):
            i = start + k
            v = volume[i]
            s = 2.0 * taker_buy_base[i] - v
            change = math.log(close[i] / close[i - 1]) if i > first else 0.0
            plain[k] = v
            share[k] = s / v if v > 0.0 else 0.0
            traded[k] = 1.0 if v > 0.0 else 0.0
            signed[k] = s
            hurry[k] = abs(s)
            x[k] = change
            xx[k] = change * change
            xs[k] = change * s
            ss[k] = s * s
        rest = end - keep
        a = np.empty(rest)
        b = np.empty(rest)
        sum_x = np.empty(rest)
        sum_s = np.empty(rest)
        sum_xx = np.empty(rest)
        sum_xs = np.empty(rest)
        sum_ss = np.empty(rest)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            if r[0] >= 0:
                _moving_sum(share, start, n, 0, blocks, q, a)
                _moving_sum(traded, start, n, 0, blocks, q, b)
                for k in range(rest):
                    out[r[0], keep + k - base] = a[k] / b[k] if b[k] > 0.0 else math.nan
            if r[1] >= 0 or r[2] >= 0:
                _moving_sum(plain, start, n, 0, blocks, q, b)
            if r[1] >= 0:
                _moving_sum(signed, start, n, 0, blocks, q, a)
                for k in range(rest):
                    out[r[1], keep + k - base] = a[k] / b[k] if b[k] > 0.0 else math.nan
            if r[2] >= 0:
                _moving_sum(hurry, start, n, 0, blocks, q, a)
                for k in range(rest):
                    out[r[2], keep + k - base] = a[k] / b[k] if b[k] > 0.0 else math.nan
            if r[3] >= 0 or r[4] >= 0:
                _moving_sum(x, start, n, 1, blocks, q, sum_x)
                _moving_sum(signed, start, n, 1, blocks, q, sum_s)
                _moving_sum(xs, start, n, 1, blocks, q, sum_xs)
                _moving_sum(ss, start, n, 1, blocks, q, sum_ss)
                _moving_sum(xx, start, n, 1, blocks, q, sum_xx)
                _moving_sum(plain, start, n, 1, blocks, q, a)
                for k in range(rest):
                    covariance = sum_xs[k] - sum_x[k] * sum_s[k] / n
                    var_s = sum_ss[k] - sum_s[k] * sum_s[k] / n
                    var_x = sum_xx[k] - sum_x[k] * sum_x[k] / n
                    known = var_s > CANCELLED * sum_ss[k]
                    if r[3] >= 0:
                        out[r[3], keep + k - base] = covariance / var_s * (a[k] / n) if known else math.nan
                    if r[4] >= 0:
                        value = math.nan
                        if known and var_x > CANCELLED * sum_xx[k]:
                            value = min(1.0, max(-1.0, covariance / math.sqrt(var_s) / math.sqrt(var_x)))
                        out[r[4], keep + k - base] = value


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
        rest = blocks[q, 3] - keep
        start = _start(blocks, q, longest)
        a = np.empty(rest)
        b = np.empty(rest)
        for p in range(periods.shape[0]):
            n = periods[p]
            r = rows[p]
            _moving_sum(volume[start:], start, n, 0, blocks, q, a)
            _moving_sum(trades[start:], start, n, 0, blocks, q, b)
            for k in range(rest):
                i = keep + k
                size = a[k] / b[k] if b[k] > 0.0 else math.nan
                if r[0] >= 0:
                    out[r[0], i - base] = size
                if r[1] >= 0:
                    value = math.nan
                    if trades[i] > 0.0 and size > 0.0:
                        value = volume[i] / trades[i] / size
                    out[r[1], i - base] = value
                if r[2] >= 0:
                    out[r[2], i - base] = trades[i] / (b[k] / n) if b[k] > 0.0 else math.nan
