"""Candles: the one form in which market data enters features, models and backtests.

A candle is named by its open time in int64 milliseconds UTC. Only closed candles exist here. Arrays are one-dimensional,
C-contiguous, of equal length n, in strictly increasing time, and read-only.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import InvalidCandles
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["GAPPED_COLUMNS", "OPTIONAL_COLUMNS", "PRICE_COLUMNS", "Candles", "format_ms"]

PRICE_COLUMNS = ("open", "high", "low", "close")
OPTIONAL_COLUMNS = ("volume", "quote_volume", "trades", "taker_buy_base", "taker_buy_quote", "sentiment")
GAPPED_COLUMNS = ("sentiment",)  # may hold NaN: at those closes no value was known

_WEEK_MS = 604_800_000
_MONDAY_MS = 345_600_000  # 1970-01-05, the first Monday: weeks are counted from Mondays


def format_ms(milliseconds: int) -> str:
    """Return ``2024-01-31T09:00:00Z`` (with milliseconds where there are any)."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    rest = milliseconds % 1000
    return moment.isoformat()[:19] + (f".{rest:03d}Z" if rest else "Z")


@dataclass(frozen=True, eq=False)
class Candles:
    """Closed candles of one series.

    Attributes
    ----------
    timeframe : str
        Length of a candle, such as ``1h``.
    open_ms : int64 array, shape (n,)
        Open times, milliseconds UTC, strictly increasing.
    open, high, low, close : float64 arrays, shape (n,)
        Prices in the quote currency; finite, positive, low <= open, close <= high.
    volume, quote_volume, trades, taker_buy_base, taker_buy_quote : float64 arrays or None
        Finite and not negative; None where the source has no such column.
    sentiment : float64 array or None
        Newest value of a side series that was published by the candle's close, 0 to 100 (see ``ml.sentiment``); NaN where
        there was none. None where no such series was joined.
    asked : tuple of (start_ms, end_ms)
        Half-open intervals of time that the source was asked for, sorted and disjoint. A missing candle inside one is
        a fact of the market; outside nothing is known. Default: from the first candle's open to the last one's close.
    """

    timeframe: str
    open_ms: Integers
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats | None = None
    quote_volume: Floats | None = None
    trades: Floats | None = None
    taker_buy_base: Floats | None = None
    taker_buy_quote: Floats | None = None
    sentiment: Floats | None = None
    asked: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        """Convert, check and freeze the arrays."""
        step = timeframe_ms(self.timeframe)
        times = _frozen(self.open_ms, np.int64)
        object.__setattr__(self, "open_ms", times)
        for name in (*PRICE_COLUMNS, *OPTIONAL_COLUMNS):
            column = getattr(self, name)
            if column is None and name in OPTIONAL_COLUMNS:
                continue
            column = _frozen(column, np.float64)
            if column.shape != times.shape:
                raise InvalidCandles(f"column {name} has {len(column)} values for {len(times)} candles")
            object.__setattr__(self, name, column)
        self._check_values()
        if not self.asked and len(times):
            object.__setattr__(self, "asked", ((int(times[0]), int(times[-1]) + step),))

    @classmethod
    def from_columns(
        cls, timeframe: str, columns: Mapping[str, Any], asked: tuple[tuple[int, int], ...] = ()
    ) -> Candles:
        """Build candles from a mapping of column name to array; unknown columns are ignored."""
        known = {name: columns[name] for name in ("open_ms", *PRICE_COLUMNS, *OPTIONAL_COLUMNS) if name in columns}
        return cls(timeframe=timeframe, asked=asked, **known)

    @classmethod
    def from_frame(cls, frame: Any, timeframe: str) -> Candles:
        """Build candles from a pandas frame with a UTC index of open times, or a column open_ms or timestamp (ms).

        Naive times are taken as UTC.
        """
        import pandas as pd

        columns = {str(name).lower(): frame[name].to_numpy() for name in frame.columns}
        if "open_ms" not in columns:
            times = columns.pop("timestamp", None)
            index = pd.DatetimeIndex(frame.index if times is None else pd.to_datetime(times, unit="ms", utc=True))
            index = index.tz_localize("UTC") if index.tz is None else index.tz_convert("UTC")
            columns["open_ms"] = index.as_unit("ms").asi8
        missing = [name for name in PRICE_COLUMNS if name not in columns]
        if missing:
            raise InvalidCandles(f"the frame has no column {', '.join(missing)}")
        return cls.from_columns(timeframe, columns)

    def __len__(self) -> int:
        """Return the number of candles."""
        return len(self.open_ms)

    @property
    def step_ms(self) -> int:
        """Length of a candle in milliseconds."""
        return timeframe_ms(self.timeframe)

    @cached_property
    def index(self) -> Integers:
        """Absolute index of each candle, ``k = open_ms // step_ms`` (weeks are counted from Mondays)."""
        index: Integers = _frozen((self.open_ms - self._origin_ms) // self.step_ms, np.int64)
        return index

    @cached_property
    def off_grid(self) -> Flags:
        """Candles that do not open on a multiple of the timeframe: kept in windows, never labelled, scored or traded."""
        flags: Flags = _frozen((self.open_ms - self._origin_ms) % self.step_ms != 0, np.bool_)
        return flags

    @property
    def _origin_ms(self) -> int:
        return _MONDAY_MS if self.step_ms % _WEEK_MS == 0 else 0

    @property
    def columns(self) -> dict[str, Floats]:
        """Prices and those optional columns that are there, by name."""
        found = {name: getattr(self, name) for name in (*PRICE_COLUMNS, *OPTIONAL_COLUMNS)}
        return {name: column for name, column in found.items() if column is not None}

    @cached_property
    def digest(self) -> str:
        """SHA-256 (hex) of the timeframe, the column names, every value and the intervals that were asked.

        Equal digests mean equal inputs of features and backtests, wherever the candles came from.
        """
        columns = self.columns
        head = {"timeframe": self.timeframe, "columns": list(columns), "bars": len(self), "asked": self.asked}
        state = hashlib.sha256(json.dumps(head, separators=(",", ":")).encode())
        state.update(np.ascontiguousarray(self.open_ms, dtype="<i8").data)
        for column in columns.values():
            state.update(np.ascontiguousarray(column, dtype="<f8").data)
        return state.hexdigest()

    def slice(self, start: int, stop: int) -> Candles:
        """Return candles ``start:stop`` by position; what was asked is cut where candles were cut off."""
        parts: dict[str, Any] = {name: column[start:stop] for name, column in self.columns.items()}
        times = self.open_ms[start:stop]
        asked = self.asked
        if 0 < len(times) < len(self):
            first = int(times[0]) if times[0] != self.open_ms[0] else asked[0][0]
            end = int(times[-1]) + self.step_ms if times[-1] != self.open_ms[-1] else asked[-1][1]
            asked = tuple((max(a, first), min(b, end)) for a, b in asked if a < end and b > first)
        return replace(self, open_ms=times, **parts, asked=asked)

    def between(self, start_ms: int | None, end_ms: int | None) -> Candles:
        """Return the candles that open in ``[start_ms, end_ms)``; None leaves that side open.

        What was asked is cut at the same times: that a candle is missing at the start stays known.
        """
        if start_ms is None and end_ms is None:
            return self
        first = 0 if start_ms is None else int(np.searchsorted(self.open_ms, start_ms))
        last = len(self) if end_ms is None else int(np.searchsorted(self.open_ms, end_ms))
        parts: dict[str, Any] = {name: column[first : max(first, last)] for name, column in self.columns.items()}
        cut = (
            (a if start_ms is None else max(a, start_ms), b if end_ms is None else min(b, end_ms))
            for a, b in self.asked
        )
        return replace(
            self, open_ms=self.open_ms[first : max(first, last)], **parts, asked=tuple((a, b) for a, b in cut if a < b)
        )

    def _check_values(self) -> None:
        times = self.open_ms
        if len(times) == 0:
            return
        steps = np.diff(times)
        if (steps <= 0).any():
            row = int(np.argmax(steps <= 0)) + 1
            what = "appears twice" if steps[row - 1] == 0 else "is out of order"
            raise InvalidCandles(f"row {row} ({format_ms(int(times[row]))}): the candle {what}")
        repeated = np.diff(self.index) == 0
        if repeated.any():
            row = int(np.argmax(repeated)) + 1
            raise InvalidCandles(
                f"row {row} ({format_ms(int(times[row]))}): a second candle in the same {self.timeframe} interval"
            )
        for name, column in self.columns.items():
            bad = np.isinf(column) if name in GAPPED_COLUMNS else ~np.isfinite(column)
            bad |= column <= 0 if name in PRICE_COLUMNS else column < 0
            if bad.any():
                self._refuse(bad, f"{name} is {{}}, which is not a finite positive number", column)
        inside = (self.low <= np.minimum(self.open, self.close)) & (self.high >= np.maximum(self.open, self.close))
        if not inside.all():
            row = int(np.argmin(inside))
            raise InvalidCandles(
                f"row {row} ({format_ms(int(times[row]))}): open {self.open[row]} and close {self.close[row]} "
                f"are not between low {self.low[row]} and high {self.high[row]}"
            )

    def _refuse(self, bad: Flags, text: str, column: Floats) -> None:
        row = int(np.argmax(bad))
        raise InvalidCandles(f"row {row} ({format_ms(int(self.open_ms[row]))}): {text.format(column[row])}")


def _frozen(values: Any, dtype: Any) -> Any:
    """Return a contiguous read-only array; the caller's own array stays writable."""
    array = np.ascontiguousarray(values, dtype=dtype)
    if array.ndim != 1:
        raise InvalidCandles(f"expected one-dimensional columns, got shape {array.shape}")
    if array.flags.writeable:
        array = array.view() if array is not values else array.copy()
        array.flags.writeable = False
    return array
