"""The examination of a stored series behind ``bot data check``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.market.quality import Finding, Gap, find_gaps, inspect_columns
from bot.market.series_file import read_columns
from ml.candles import Candles, format_ms
from ml.errors import InvalidCandles
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from bot.market.series_file import SeriesHeader

__all__ = ["Examination", "check_series"]

_KINDS = (
    "duplicates",
    "out_of_order",
    "ohlc_violations",
    "bad_values",
    "taker_exceeds_volume",
    "off_grid",
    "jumps",
    "zero_volume",
)


@dataclass(frozen=True)
class Examination:
    """What was found in one series.

    Attributes
    ----------
    header : SeriesHeader
        What the file says about itself.
    open_ms : int64 array, shape (n,)
        Open times.
    gaps : tuple of Gap
        Missing candles, regular closing times included.
    findings : tuple of Finding
        At most one a kind.
    intact : bool
        Whether the content has the digest that was stored with it.
    """

    header: SeriesHeader
    open_ms: npt.NDArray[np.int64]
    gaps: tuple[Gap, ...]
    findings: tuple[Finding, ...]
    intact: bool

    @property
    def symbol(self) -> str:
        """Canonical name."""
        return self.header.symbol

    @property
    def exchange(self) -> str:
        """Source of the candles."""
        return self.header.exchange

    @property
    def extent(self) -> str:
        """Number of bars, first and last, for people."""
        return f"{self.header.bars} bars, {format_ms(self.header.first_ms)} to {format_ms(self.header.last_ms)}"

    @property
    def real_gaps(self) -> tuple[Gap, ...]:
        """Gaps that are no regular closing times."""
        return tuple(gap for gap in self.gaps if not gap.closed)

    @property
    def faults(self) -> tuple[str, ...]:
        """Kinds of findings that no market makes."""
        kinds = tuple(finding.kind for finding in self.findings if finding.fault)
        return kinds if self.intact else (*kinds, "changed_content")

    @property
    def remarkable(self) -> bool:
        """Whether there is a gap, an off-grid bar or a jump (bars without volume are ordinary)."""
        return bool(self.real_gaps) or any(finding.kind in {"off_grid", "jumps"} for finding in self.findings)

    def lines(self, most: int) -> list[str]:
        """Return a line a finding for people, with at most so many examples."""
        found = []
        gaps = self.real_gaps
        if gaps:
            shown = [f"{gap.missing} after {format_ms(gap.after_ms)}" for gap in gaps[:most]]
            found.append(
                f"gaps: {len(gaps)} ({sum(gap.missing for gap in gaps)} bars missing): {_some(shown, len(gaps))}"
            )
        closed = len(self.gaps) - len(gaps)
        if closed:
            found.append(f"closing times: {closed} (weekends and nights of this market; no faults)")
        for finding in self.findings:
            shown = [format_ms(int(self.open_ms[row])) for row in finding.rows[:most]]
            found.append(f"{finding.kind}: {finding.text}: {_some(shown, len(finding.rows))}")
        if not self.intact:
            found.append("changed_content: the candles do not have the digest that was stored with them")
        return found

    def document(self) -> dict[str, Any]:
        """Return every figure and every time, for ``--json``."""
        gaps = self.real_gaps
        rows = {finding.kind: finding.rows for finding in self.findings}
        return {
            "symbol": self.symbol,
            "exchange": self.exchange,
            "timeframe": self.header.timeframe,
            "bars": self.header.bars,
            "first": format_ms(self.header.first_ms),
            "last": format_ms(self.header.last_ms),
            "gaps": len(gaps),
            "missing_bars": sum(gap.missing for gap in gaps),
            "closing_times": len(self.gaps) - len(gaps),
            **{kind: len(rows.get(kind, ())) for kind in _KINDS},
            "intact": self.intact,
            "faults": list(self.faults),
            "gap_list": [
                {"after": format_ms(gap.after_ms), "before": format_ms(gap.before_ms), "missing": gap.missing}
                for gap in gaps
            ],
            "times": {kind: [format_ms(int(self.open_ms[row])) for row in found] for kind, found in rows.items()},
        }


def check_series(path: Path) -> Examination:
    """Examine a series file without trusting it: values that no `Candles` would hold are counted, not raised.

    Raises
    ------
    DataError
        When the file cannot be read as a series at all.
    StorageError
        When it cannot be opened.
    """
    header, columns = read_columns(path)
    open_ms = np.asarray(columns["open_ms"], dtype=np.int64)
    try:
        intact = Candles.from_columns(header.timeframe, columns, header.asked).digest == header.digest
    except InvalidCandles:
        intact = False
    gaps = find_gaps(np.unique(open_ms), timeframe_ms(header.timeframe))
    return Examination(header, open_ms, tuple(gaps), tuple(inspect_columns(header.timeframe, columns)), intact)


def _some(shown: list[str], count: int) -> str:
    return ", ".join(shown) + (f" and {count - len(shown)} more" if count > len(shown) else "")
