"""Kernel of the clock: UTC time of a candle's open, by integer arithmetic."""

from __future__ import annotations

import math

from numba import njit

__all__ = ["clock"]


@njit(cache=True, error_model="numpy")
def clock(open_ms, blocks, periods, rows, out, base):
    """Write the time of the open (see ``table``): hour 0-23, Monday 0 to Sunday 6, day 1-31, month 1-12, quarter.

    Sines and cosines turn once a day (by the minute), a week (by the day) and a year (by the month). The date comes from the
    day number by Hinnant's civil_from_days (Euclidean division, exact).
    """
    r = rows[0]
    turn = 2.0 * math.pi
    dated = r[2] >= 0 or r[3] >= 0 or r[4] >= 0 or r[9] >= 0 or r[10] >= 0
    for q in range(blocks.shape[0]):
        for i in range(blocks[q, 2], blocks[q, 3]):
            j = i - base
            minute = open_ms[i] // 60_000
            day = minute // 1440
            minute -= 1440 * day
            weekday = (day + 3) % 7
            if r[0] >= 0:
                out[r[0], j] = minute // 60
            if r[1] >= 0:
                out[r[1], j] = weekday
            if r[5] >= 0:
                out[r[5], j] = math.sin(turn * minute / 1440.0)
            if r[6] >= 0:
                out[r[6], j] = math.cos(turn * minute / 1440.0)
            if r[7] >= 0:
                out[r[7], j] = math.sin(turn * weekday / 7.0)
            if r[8] >= 0:
                out[r[8], j] = math.cos(turn * weekday / 7.0)
            if dated:
                z = day + 719_468
                era = z // 146_097
                of_era = z - era * 146_097
                year = (of_era - of_era // 1460 + of_era // 36_524 - of_era // 146_096) // 365
                of_year = of_era - (365 * year + year // 4 - year // 100)
                shifted = (5 * of_year + 2) // 153
                month = shifted + 3 if shifted < 10 else shifted - 9
                if r[2] >= 0:
                    out[r[2], j] = of_year - (153 * shifted + 2) // 5 + 1
                if r[3] >= 0:
                    out[r[3], j] = month
                if r[4] >= 0:
                    out[r[4], j] = (month - 1) // 3 + 1
                if r[9] >= 0:
                    out[r[9], j] = math.sin(turn * (month - 1) / 12.0)
                if r[10] >= 0:
                    out[r[10], j] = math.cos(turn * (month - 1) / 12.0)
