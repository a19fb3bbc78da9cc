"""Group time: UTC clock and calendar of the candle's open."""

from __future__ import annotations

from functools import partial

from ml.features.families import Family, single

__all__ = ["FAMILIES"]

_DAY_MS = 86_400_000
family = partial(Family, group="time")

FAMILIES = (
    *(
        family(name, "clock", name, formula, single(), default=(0,) if chosen else (), below_ms=below)
        for name, formula, chosen, below in (
            ("hour", "UTC hour of the open, 0 to 23", False, _DAY_MS),
            ("day_of_week", "0 Monday to 6 Sunday", False, 7 * _DAY_MS),
            ("day_of_month", "1 to 31", True, 7 * _DAY_MS),
            ("month", "1 to 12", False, 2**62),
            ("quarter", "1 to 4", False, 2**62),
            ("hour_sin", "sine of the time of day, by the minute", True, _DAY_MS),
            ("hour_cos", "cosine of the time of day, by the minute", True, _DAY_MS),
            ("day_of_week_sin", "sine of the day in the week", True, 7 * _DAY_MS),
            ("day_of_week_cos", "cosine of the day in the week", True, 7 * _DAY_MS),
            ("month_sin", "sine of the month in the year", False, 2**62),
            ("month_cos", "cosine of the month in the year", False, 2**62),
        )
    ),
)
