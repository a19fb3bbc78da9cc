"""What a feature is, and how many candles its formula needs."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from ml.kernels.table import KERNELS
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Family", "FeatureSpec", "day", "days", "single", "smoother", "smoother_candles", "wilder", "window"]

_DAY_MS = 86_400_000
_RESIDUE = 1e-4  # what may remain of the seed of a smoother
_PERIOD_LIMIT = 1000

Need = tuple[int, int]  # candles needed, and the longest finite window among them


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature of the catalogue.

    Attributes
    ----------
    name, group
        What it is called, and the group it belongs to.
    formula
        One line.
    kernel, output, period
        What computes it: kernel, name of its output, window length or smoothing period (0 where there is none).
    columns
        Candle columns that it needs.
    scale_free
        Unchanged when every price is multiplied by a constant, and comparable between years and symbols.
    default
        In the default set of a schema, where columns and timeframe allow it.
    """

    name: str
    group: str
    formula: str
    kernel: str
    output: str
    period: int
    columns: tuple[str, ...]
    scale_free: bool
    default: bool
    needs: Callable[[int, int], Need]
    below_ms: int

    def candles(self, timeframe: str) -> int:
        """Return how many candles a slice must hold, the bar's own included, before the feature is trusted."""
        return self.needs(self.period, timeframe_ms(timeframe))[0]

    def window(self, timeframe: str) -> int:
        """Return the length of its finite window in candles, 0 for smoothers."""
        return self.needs(self.period, timeframe_ms(timeframe))[1]

    @property
    def of_a_day(self) -> bool:
        """Whether it sums since 00:00 UTC: then its candles are those of a day, however short."""
        return self.needs is day

    def output_index(self) -> int:
        """Return the place of its output among those of its kernel."""
        return KERNELS[self.kernel].outputs.index(self.output)


@dataclass(frozen=True)
class Family:
    """Features that differ in their period only.

    Attributes
    ----------
    template
        Name with ``{n}`` where the period stands; without it the family has one member.
    kernel, output, formula, group
        As in ``FeatureSpec``; ``{n}`` in the formula is the period.
    needs
        Function of (period, milliseconds of a candle) to (candles needed, finite window).
    periods
        Members that the catalogue lists; any other period from ``least`` to 1000 may be named too.
    default
        Periods in the default set of a schema.
    scale_free
        See ``FeatureSpec``.
    below_ms
        In the default set only where a candle is shorter than this.
    least
        Smallest period for which the formula is defined.
    """

    template: str
    kernel: str
    output: str
    formula: str
    needs: Callable[[int, int], Need]
    periods: tuple[int, ...] = (0,)
    default: tuple[int, ...] = ()
    scale_free: bool = True
    below_ms: int = 2**62
    least: int = 1
    group: str = field(kw_only=True)

    def member(self, period: int) -> FeatureSpec:
        """Return the feature of one period."""
        return FeatureSpec(
            name=self.template.format(n=period),
            group=self.group,
            formula=self.formula.format(n=period),
            kernel=self.kernel,
            output=self.output,
            period=period,
            columns=KERNELS[self.kernel].columns,
            scale_free=self.scale_free,
            default=period in self.default,
            needs=self.needs,
            below_ms=self.below_ms,
        )

    def match(self, name: str) -> FeatureSpec | None:
        """Return the member of that name, if it is one: ``rsi_9`` is of the family ``rsi_{n}``."""
        found = self._pattern.fullmatch(name)
        if not found or "{n}" not in self.template:
            return None
        period = int(found[1])
        return self.member(period) if self.least <= period <= _PERIOD_LIMIT else None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        return re.compile(re.escape(self.template).replace(r"\{n\}", "([1-9][0-9]{0,3})"))


def smoother_candles(*alphas: float) -> int:
    """Return after how many candles at most 1e-4 of the seed remains in a chain of exponential smoothers.

    One smoother needs ceil(ln 1e-4 / ln(1 - alpha)); of a smoother of a smoother the weights are convolved, which needs
    fewer than the sum of both.
    """
    if len(alphas) == 1:
        return math.ceil(math.log(_RESIDUE) / math.log1p(-alphas[0]))
    states = [0.0] * len(alphas)
    count = 0
    while 1.0 - states[-1] > _RESIDUE:
        value = 1.0
        for place, alpha in enumerate(alphas):
            states[place] += alpha * (value - states[place])
            value = states[place]
        count += 1
    return count


def window(extra: int = 0, times: int = 1) -> Callable[[int, int], Need]:
    """Return the need of ``times * n + extra`` candles, n the period."""

    def need(period: int, step_ms: int) -> Need:  # noqa: ARG001
        candles = times * period + extra
        return max(candles, 1), candles

    return need


def single(candles: int = 1) -> Callable[[int, int], Need]:
    """Return the need of a fixed number of candles."""

    def need(period: int, step_ms: int) -> Need:  # noqa: ARG001
        return candles, candles

    return need


def smoother(chain: int = 1, extra: int = 0, fixed: tuple[float, ...] = ()) -> Callable[[int, int], Need]:
    """Return the need of ``chain`` exponential averages of one another, alpha 2 / (n + 1), or of ``fixed`` alphas."""

    def need(period: int, step_ms: int) -> Need:  # noqa: ARG001
        alphas = fixed or (2.0 / (period + 1.0),) * chain
        return smoother_candles(*alphas) + extra, 0

    return need


def wilder(chain: int = 1, extra: int = 0) -> Callable[[int, int], Need]:
    """Return the need of ``chain`` of Wilder's averages of one another, alpha 1 / n."""

    def need(period: int, step_ms: int) -> Need:  # noqa: ARG001
        return smoother_candles(*((1.0 / period,) * chain)) + extra, 0

    return need


def day(period: int, step_ms: int) -> Need:  # noqa: ARG001
    """Return the need of a whole UTC day of candles."""
    candles = max(1, -(-_DAY_MS // step_ms))
    return candles, 0


def days(less: int = 0) -> Callable[[int, int], Need]:
    """Return the need of a look ``n - less`` days back in time, n the period, and of the candle itself."""

    def need(period: int, step_ms: int) -> Need:
        return -(-max(0, period - less) * _DAY_MS // step_ms) + 1, 0

    return need
