"""Limits of risk: what a strategy may lose before it must stop, decided at the close of each bar.

Days are UTC days of the bars' open times. Numbers are plain floats: this runs at every bar.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import nan
from typing import TYPE_CHECKING, Any

from strategies.decision import Gate, ask
from strategies.parameters import check_count, check_fraction, check_name

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RiskRules", "RiskState"]

_NOISE = 1e-12  # of the account: what sums of floats leave of a trade that earned nothing


@dataclass(frozen=True, slots=True)
class RiskRules:
    """Limits; None switches one off.

    Attributes
    ----------
    max_position : float
        Largest share of the account in the market, in (0, 1].
    max_daily_loss : float or None
        Loss since the start of the UTC day, as a fraction of the value then, at which the position is closed and nothing
        is opened until the next day.
    max_drawdown : float or None
        Fall from the highest value so far, as a fraction of it, at which the position is closed for good.
    max_losing_streak : int or None
        Losing trades in a row after which nothing is opened until the next UTC day.
    cooldown_bars : int
        Bars that pass after the bar of an exit before anything is opened.
    stop_loss, take_profit : float or None
        Distance of the resting stop and target from the entry's price, as fractions of it.
    """

    max_position: float = 1.0
    max_daily_loss: float | None = None
    max_drawdown: float | None = None
    max_losing_streak: int | None = None
    cooldown_bars: int = 0
    stop_loss: float | None = None
    take_profit: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is out of range."""
        check_fraction("risk.max_position", self.max_position, low=0.0, high=1.0, low_open=True)
        for name in ("max_daily_loss", "max_drawdown", "stop_loss"):
            check_fraction(f"risk.{name}", getattr(self, name), low=0.0, high=1.0, low_open=True, optional=True)
        check_fraction("risk.take_profit", self.take_profit, low=0.0, high=100.0, low_open=True, optional=True)
        check_count("risk.max_losing_streak", self.max_losing_streak, low=1, optional=True)
        check_count("risk.cooldown_bars", self.cooldown_bars, low=0)

    @classmethod
    def of(cls, values: RiskRules | Mapping[str, Any] | None) -> RiskRules:
        """Return rules from a mapping of names, from rules, or the defaults for None.

        Raises
        ------
        StrategyError
            For an unknown name or a value out of range.
        """
        if isinstance(values, RiskRules):
            return values
        known = [field.name for field in fields(cls)]
        given = {} if values is None else dict(values)
        for name in given:
            check_name("risk parameter", name, known)
        return cls(**given)


class RiskState:
    """What the limits remember, and their verdict.

    Parameters
    ----------
    rules : RiskRules
        The limits.
    value : float
        Value of the account before the first bar, quote currency.
    """

    __slots__ = (
        "_daily_floor",
        "_drawdown_floor",
        "_exit_bar",
        "_last_value",
        "_streak_day",
        "day",
        "day_start_value",
        "deepest",
        "halted",
        "losing_streak",
        "peak",
        "rules",
    )

    def __init__(self, rules: RiskRules, value: float) -> None:
        self.rules = rules
        self.day = -1
        self.day_start_value = self.peak = self._last_value = value
        self.halted = False
        self.deepest = 0.0  # the largest drawdown that closed for good, a fraction
        self.losing_streak = 0
        self._streak_day = -1
        self._exit_bar = -(10**9)
        self._daily_floor = self._drawdown_floor = -1.0
        self._set_floors()

    def observe(self, value: float, day: int) -> str:
        """Take the value at a close and return why the position must be closed; empty when it need not.

        Parameters
        ----------
        value : float
            Value of the account at this bar's close, quote currency.
        day : int
            Number of the UTC day in which the bar opened.
        """
        if day != self.day:
            self.day, self.day_start_value = day, self._last_value
            self._set_floors()
        self._last_value = value
        if value > self.peak:
            self.peak = value
            self._set_floors()
        if value <= self._drawdown_floor:
            self.halted, self.deepest = True, max(self.deepest, _fall(value, self.peak))
            return "max_drawdown"
        return "max_daily_loss" if value <= self._daily_floor else ""

    def closed(self, profit: float, bar: int, day: int) -> None:
        """Take note of a closed trade: its profit after fees, and the number and day of the bar in which it closed."""
        self._exit_bar = bar
        lost = profit < -_NOISE * self._last_value
        self.losing_streak = self.losing_streak + 1 if lost else 0
        limit = self.rules.max_losing_streak
        if limit is not None and self.losing_streak >= limit:
            self._streak_day, self.losing_streak = day, 0

    def blocks(self, bar: int) -> str:
        """Return which limit forbids to open at this bar, after ``observe``; empty when none does."""
        if self.halted:
            return "max_drawdown"
        if self._last_value <= self._daily_floor:
            return "max_daily_loss"
        if self._streak_day == self.day:
            return "max_losing_streak"
        if bar - self._exit_bar < self.rules.cooldown_bars:
            return "cooldown_bars"
        return ""

    def entry_gates(self, bar: int) -> list[Gate]:
        """Return the limits that are on as gates of opening at this bar, in the order in which ``blocks`` asks them."""
        rules, found = self.rules, []
        if rules.max_drawdown is not None:
            fall = self.deepest if self.halted else _fall(self._last_value, self.peak)
            found.append(ask("drawdown", fall, "<", rules.max_drawdown, passed=not self.halted))
        found += self._daily_gate()
        if rules.max_losing_streak is not None:
            paused = self._streak_day == self.day
            streak = rules.max_losing_streak if paused else self.losing_streak
            found.append(ask("losing_streak", streak, "<", rules.max_losing_streak))
        if rules.cooldown_bars:
            passed = bar - self._exit_bar
            since = float(passed) if self._exit_bar >= 0 else nan
            found.append(ask("bars_since_exit", since, ">=", rules.cooldown_bars, passed=passed >= rules.cooldown_bars))
        return found

    def stay_gates(self) -> list[Gate]:
        """Return the limits that close a position as gates of staying, in the order in which ``observe`` asks them."""
        limit = self.rules.max_drawdown
        passed = self._last_value > self._drawdown_floor
        fall = _fall(self._last_value, self.peak)
        found = [] if limit is None else [ask("drawdown", fall, "<", limit, passed=passed)]
        return [*found, *self._daily_gate()]

    def _daily_gate(self) -> list[Gate]:
        limit = self.rules.max_daily_loss
        if limit is None:
            return []
        return [
            ask(
                "daily_loss",
                _fall(self._last_value, self.day_start_value),
                "<",
                limit,
                passed=self._last_value > self._daily_floor,
            )
        ]

    def _set_floors(self) -> None:
        loss, fall = self.rules.max_daily_loss, self.rules.max_drawdown
        self._daily_floor = -1.0 if loss is None else self.day_start_value * (1.0 - loss)
        self._drawdown_floor = -1.0 if fall is None else self.peak * (1.0 - fall)


def _fall(value: float, before: float) -> float:
    """Return by which fraction a value is below an earlier one; 0 of an account that never held anything."""
    return 1.0 - value / before if before > 0.0 else 0.0
