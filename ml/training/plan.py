"""The plan: what the data allows to be shown, said before anything is fitted."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import format_ms
from ml.dataset import build_dataset, purged_walk_forward
from ml.errors import NotEnoughBars
from ml.intervals import bars_to_see
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.features.schema import FeatureSchema

__all__ = ["MINIMUM_SCORED", "TrainingPlan", "minimum_bars", "plan", "plan_dataset"]

MINIMUM_SCORED = 1_000
"""Fewer scored bars than this are never promoted."""

_HIT_RATES = (0.53, 0.54, 0.55)


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """How much of the data can be learnt from, and how much skill could be seen in it.

    Attributes
    ----------
    bars
        Candles given.
    usable
        Bars with features, after the warm-up.
    warming
        Bars without features.
    labelled
        Usable bars with a label that is not a tie.
    ties
        Usable bars whose price stood still over the horizon.
    scored
        Bars that will be scored: out of sample, one per horizon, without the first fold, which has no calibrator.
    horizon, folds
        Of the run.
    hit_rates
        Whether the model speaks of a direction, so that its skill can be put as a hit rate.
    """

    bars: int
    usable: int
    warming: int
    labelled: int
    ties: int
    scored: int
    horizon: int
    folds: int
    hit_rates: bool = True

    @property
    def needed(self) -> dict[str, int]:
        """Scored bars that show a hit rate of 53, 54 and 55 % (one-sided 5 %, power 95 %)."""
        return {f"{rate:.2f}": bars_to_see(rate) for rate in _HIT_RATES}

    @property
    def smallest_visible(self) -> float:
        """Smallest hit rate that this many scored bars would show, NaN where none."""
        if self.scored == 0:
            return math.nan
        rates = (0.5 + step / 1000 for step in range(1, 500))
        return next((rate for rate in rates if bars_to_see(rate) <= self.scored), math.nan)

    def bars_for(self, scored: int) -> int:
        """Return how many candles of the same kind would give that many scored bars."""
        share = (
            (self.folds - 1) / (self.folds + 1) / self.horizon * (self.labelled / self.usable if self.usable else 1.0)
        )
        return math.ceil(scored / share) + self.warming

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        document = asdict(self)
        if document.pop("hit_rates"):
            document |= {"needed": self.needed, "smallest_visible": self.smallest_visible}
        return document

    def lines(self) -> list[str]:
        """Return the plan in words."""
        needed = self.needed
        ties = f"; {self.ties:,} ties are left out" if self.ties else ""
        words = [
            f"{self.bars:,} bars, {self.usable:,} of them after the warm-up ({self.warming:,} without features){ties}",
            f"{self.scored:,} bars will be scored on data that the model has not seen (horizon {self.horizon})",
        ]
        if self.hit_rates:
            words.append(
                f"to see a hit rate of 53 % it takes {needed['0.53']:,} scored bars, 54 % about {_round(needed['0.54']):,} "
                f"({needed['0.54']:,}), 55 % {needed['0.55']:,}"
            )
        visible = self.smallest_visible
        if self.scored < MINIMUM_SCORED:
            words.append(
                f"with fewer than {MINIMUM_SCORED:,} scored bars no model is promoted: that takes about "
                f"{self.bars_for(MINIMUM_SCORED):,} bars"
            )
        elif self.hit_rates and math.isfinite(visible):
            words.append(f"this data can show a hit rate of {100 * visible:.1f} % or more")
        return words


def minimum_bars(timeframe: str) -> int:
    """Return how many candles training asks for at least: 1,000 below an hour, 500 from an hour on."""
    return 1_000 if timeframe_ms(timeframe) < timeframe_ms("1h") else 500


def plan(candles: Candles, schema: FeatureSchema, horizon: int, *, folds: int = 5) -> TrainingPlan:
    """Return what these candles allow, before training.

    Raises
    ------
    NotEnoughBars
        When the candles are fewer than training asks for, or too few are left after the warm-up.
    """
    check_length(candles)
    return plan_dataset(build_dataset(candles, schema, horizon), candles.timeframe, folds=folds)


def plan_dataset(dataset: Dataset, timeframe: str, *, folds: int = 5, embargo: int = 0) -> TrainingPlan:
    """Return the plan of a dataset that is already built; errors are those of ``plan``."""
    try:
        pieces = purged_walk_forward(dataset, folds=folds, embargo=embargo)
    except NotEnoughBars as error:
        raise NotEnoughBars(
            f"Insufficient data for training (got {len(dataset)} rows): {error}. The first "
            f"{int((~dataset.usable).sum()):,} {timeframe} bars only warm the features up; {_HOW_TO_GET_MORE}"
        ) from error
    scored = np.concatenate([fold.test for fold in pieces[1:]])
    usable = int(dataset.usable.sum())
    return TrainingPlan(
        bars=len(dataset),
        usable=usable,
        warming=len(dataset) - usable,
        labelled=int(dataset.labelled.sum()),
        ties=int(dataset.ties.sum()),
        scored=int(dataset.scored[scored].sum()),
        horizon=dataset.horizon,
        folds=folds,
        hit_rates=dataset.outcome is None,
    )


def check_length(candles: Candles) -> None:
    """Refuse fewer candles than ``minimum_bars``, those that are off the grid of the timeframe not counted.

    Raises
    ------
    NotEnoughBars
        The message says how many there are, how many it takes and how to get them.
    """
    least = minimum_bars(candles.timeframe)
    if len(candles) < least:
        raise NotEnoughBars(
            f"Insufficient data for training (got {len(candles)} rows): at least {least:,} bars of {candles.timeframe} are "
            f"needed, and several thousand to show anything; {_MORE_BARS}, start earlier with --start-date, or train on a "
            "shorter timeframe"
        )
    astray = candles.off_grid
    if len(candles) - int(astray.sum()) < least:
        example = format_ms(int(candles.open_ms[np.argmax(astray)]))
        raise NotEnoughBars(
            f"Insufficient data for training (got {len(candles)} rows): {int(astray.sum()):,} of them do not open on a "
            f"multiple of {candles.timeframe} (such as that of {example}), and such bars "
            "are never learnt from or scored: import candles of a timeframe whose multiples they open on"
        )


_MORE_BARS = "get more with `bot data download` or `bot data import`"
_HOW_TO_GET_MORE = (
    f"{_MORE_BARS}, start earlier with --start-date, or choose features with a shorter memory with --features"
)


def _round(count: int) -> int:
    return round(count, -2)
