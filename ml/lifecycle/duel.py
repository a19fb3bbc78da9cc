"""Two streams on the same bars: whether one is shown to lose less than the other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml.lifecycle.evaluations import on_common_bars
from ml.lifecycle.paired_test import PairedTest
from ml.lifecycle.phases import Phased, phases_counted
from ml.lifecycle.wealth import e_value

if TYPE_CHECKING:
    from ml.lifecycle.candidacy import Candidacy

__all__ = ["Duel"]


class Duel:
    """A challenger against an incumbent, on the bars from one on that both spoke of.

    Parameters
    ----------
    timeframe
        Length of the bars.
    from_ms
        Open time of the first bar that counts.
    """

    def __init__(self, timeframe: str, from_ms: int) -> None:
        self._timeframe = timeframe
        self._next_ms = from_ms
        self._test: Phased[PairedTest] | None = None

    def look(self, challenger: Candidacy, incumbent: Candidacy) -> None:
        """Take what is new and known of both; a bar that one of them lacks, though it has later ones, does not count."""
        ends = challenger.last_ms, incumbent.last_ms
        if ends[0] is None or ends[1] is None or (last := min(ends[0], ends[1])) < self._next_ms:
            return
        theirs, mine = challenger.later(self._next_ms), incumbent.later(self._next_ms)
        self._next_ms = last + 1
        if theirs is None or mine is None:
            return
        theirs, mine = on_common_bars(theirs.before(last + 1), mine.before(last + 1))
        if not len(mine):
            return
        if self._test is None:
            phases = phases_counted(self._timeframe, mine.horizon)
            self._test = Phased.of(PairedTest.in_unit(mine.unit), mine.horizon, phases)
        self._test = self._test.update(mine.k, mine.loss - theirs.loss)

    @property
    def n(self) -> int:
        """Evaluations that were compared."""
        return 0 if self._test is None else self._test.n

    @property
    def log_e(self) -> float:
        """Natural logarithm of the evidence that the challenger loses less."""
        return 0.0 if self._test is None else self._test.value

    @property
    def gain(self) -> float:
        """Mean loss that the challenger saves an evaluation; NaN before the first."""
        if self._test is None or not self.n:
            return math.nan
        return sum(test.total for test in self._test.tests) / self.n

    def words(self, incumbent: str, challenger: str) -> str:
        """Return the state of the duel for a person."""
        if not self.n:
            return f"{challenger} and {incumbent} have no evaluation in common yet"
        return (
            f"over {self.n:,} evaluations {challenger} saves {self.gain:+.5f} against {incumbent} each "
            f"(evidence {e_value(self.log_e):.3g})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        gain = self.gain
        return {
            "evaluations": self.n,
            "gain": None if math.isnan(gain) else gain,
            "evidence": e_value(self.log_e),
        }
