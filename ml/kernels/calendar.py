"""Kernel of the clock: UTC time of a candle's open, by integer arithmetic."""

from __future__ import annotations

import math

import numpy as np
from numba import njit

__all__ = ["clock"]

_DAY_MS = 86_400_000

# Frozen into the kernel when it is compiled: a row of sines, a row of cosines.
_DAY = np.array([[turn(2.0 * math.pi * k / 1440.0) for k in range(1440)] for turn in (math.sin, math.cos)])
_WEEK = np.array([[turn(2.0 * math.pi * k / 7.0) for k in range(7)] for turn in (math.sin, math.cos)])
_YEAR = np.array([[turn(2.0 * math.pi * k / 12.0) for k in range(12)] for turn in (math.sin, math.cos)])


@njit(cache=True, error_model="numpy")
def clock(open_ms, blocks, periods, rows, out, base):  # noqa: ARG001
    """Write the time of the open (see ``table``): hour 0-23, Monday 0 to Sunday 6, day 1-31, month 1-12, quarter.

    Sines and cosines turn once a day (by the minute), a week (by the day) and a year (by the month). The date comes from the
    day number by Hinnant's civil_from_days (Euclidean division, exact).
    """
    r = rows[0]
    for q in range(blocks.shape[0]):
        known = open_ms[blocks[q, 2]] // _DAY_MS - 1
        weekday = 0
        date = 0
        month = 0
        for i in range(blocks[q, 2], blocks[q, 3]):
            j = i - base
            minute = open_ms[i] // 60_000
            day = minute // 1440
            minute -= 1440 * day
            if day != known:
                known = day
                weekday = (day + 3) % 7
                z = day + 719_468
                era = z // 146_097
                of_era = z - era * 146_097
                year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
                of_year = of_era - (365 * year + year // 4 - year // 100)
                shifted = (5 * of_year + 2) // 153
                month = shifted + 3 if shifted < 10 else shifted - 9
                date = of_year - (153 * shifted + 2) // 5 + 1
            if r[0] >= 0:
                out[r[0], j] = minute // 60
            if r[1] >= 0:
                out[r[1], j] = weekday
            if r[2] >= 0:
                out[r[2], j] = date
            if r[3] >= 0:
                out[r[3], j] = month
            if r[4] >= 0:
                out[r[4], j] = (month - 1) // 3 + 1
            if r[5] >= 0:
                out[r[5], j] = _DAY[0, minute]
            if r[6] >= 0:
                out[r[6], j] = _DAY[1, minute]
            if r[7] >= 0:
                out[r[7], j] = _WEEK[0, weekday]
            if r[8] >= 0:
                out[r[8], j] = _WEEK[1, weekday]
            if r[9] >= 0:
                out[r[9], j] = _YEAR[0, month - 1]
            if r[10] >= 0:
                out[r[10], j] = _YEAR[1, month - 1]
