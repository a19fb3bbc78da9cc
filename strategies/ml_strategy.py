"""The base of our strategies: one order at a time, limits of risk, sizes, and a count of every decision."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
import numpy as np

from indicators.lines import bar_step_ms, close_numbers
from strategies.decision import Decision, Gate, ask, not_asked, until_the_first_failure
from strategies.errors import StrategyError
from strategies.parameters import check_choice, check_fraction, check_name
from strategies.risk import RiskRules, RiskState
from strategies.sizing import entry_size

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MLStrategy"]

_DAY_MS = 86_400_000
_ROUNDING = 5e-7  # of a day: more than a float day loses, less than any bar


class MLStrategy(bt.Strategy):
    """A long or flat strategy on the first data feed that decides at closes and keeps to limits of risk.

    A subclass says when it wants in and out (``wants_entry``, ``wants_exit``); this class places one order at a time,
    sizes it, asks for the resting stop and target, and counts why it did nothing.

    Params:
      - ``models``: predictors by role, as the program binds them; opaque to a strategy
      - ``risk``: ``RiskRules``, or a mapping of their names
      - ``round_trip_cost``: fraction that buying and selling once costs, fees and slippage of both sides
      - ``trade_from_ms``: open time of the first bar that may trade, milliseconds UTC; None for any
      - ``on_no_model``: ``hold`` or ``close`` an open position while there is no prediction; its stops rest either way
      - ``headroom``: fraction of cash kept back, so that a slightly higher open does not make an order too large

    Attributes
    ----------
    roles : tuple of str
        Roles that the class reads with ``model``, the most important first; see ``needed_roles``.
    usual_types : dict of str
        The type of model that usually plays a role, for messages; ``basic`` where a role is not named.
    reads : dict of str
        By role, a column of a prediction that its model must state, or ``path``; the program refuses one that does not.
    counts : Counter
        How often what was decided: ``entries``, ``exits_by_signal``, ``blocked_by_min_edge``, ...
    reason : str
        Why the newest close led to what it did, as ``Decision`` names it; see ``decision``.
    bars : int
        Bars so far on which it might trade.
    """

    roles: ClassVar[tuple[str, ...]] = ()
    usual_types: ClassVar[Mapping[str, str]] = {}
    reads: ClassVar[Mapping[str, str]] = {}
    params: ClassVar[Any] = (
        ("models", None),
        ("risk", None),
        ("round_trip_cost", 0.0),
        ("trade_from_ms", None),
        ("on_no_model", "hold"),
        ("headroom", 0.002),
    )

    def __init__(self) -> None:
        super().__init__()
        self.check_params(self.p._getkwargs())  # noqa: SLF001 - Backtrader's name for them
        self.rules = RiskRules.of(self.p.risk)
        self.counts: Counter[str] = Counter()
        self.bars = 0
        self.reason = "minimum_period"
        self._order: Any = None
        self._ordered = "", -1  # what the last order was for, and at which bar it was placed
        self._protection = {"stop_loss": self.rules.stop_loss, "take_profit": self.rules.take_profit}

    @classmethod
    def check_params(cls, params: Mapping[str, Any]) -> None:
        """Raise ``StrategyError`` naming the first parameter that is unknown, of a wrong type or out of range.

        Parameters
        ----------
        params : mapping
            Parameters by name; those that are missing have their defaults.
        """
        known = cls.params._getkwargsdefault()  # noqa: SLF001 - Backtrader's name for them
        for name in params:
            check_name(f"parameter of {cls.__name__}", name, known)
        values = {**known, **params}
        cls.check_values(values)

    @classmethod
    def check_values(cls, values: Mapping[str, Any]) -> None:
        """Raise ``StrategyError`` for values out of range; every parameter is there. Subclasses extend this."""
        check_choice("on_no_model", values["on_no_model"], ("hold", "close"))
        check_fraction("headroom", values["headroom"], low=0.0, high=0.5)
        check_fraction("round_trip_cost", values["round_trip_cost"], low=0.0, high=0.5)
        RiskRules.of(values["risk"])

    @classmethod
    def needed_roles(cls, params: Mapping[str, Any]) -> tuple[tuple[str, ...], ...]:  # noqa: ARG003 - for subclasses
        """Return the roles that a config must bind, as groups of which one role suffices.

        Parameters
        ----------
        params : mapping
            Parameters by name; those that are missing have their defaults.

        Returns
        -------
        tuple of tuples of str
            By default each of ``roles`` on its own.
        """
        return tuple((role,) for role in cls.roles)

    def model(self, role: str) -> Any:
        """Return the predictor bound to a role.

        Raises
        ------
        StrategyError
            When the config binds none.
        """
        models = self.p.models or {}
        if role not in models:
            raise StrategyError(
                f"{type(self).__name__} needs a model for the role {role!r}; models has {sorted(models)}"
            )
        return models[role]

    def start(self) -> None:
        """Look up once what every bar needs."""
        step = bar_step_ms(self.data)
        self._step_days = step / _DAY_MS
        self._clock = self.data.lines.datetime
        self._close = self.data.lines.close
        self._position = self.broker.getposition(self.data)
        self._value = self.broker.getvalue
        self._first_close = -1.0
        if self.p.trade_from_ms is not None:
            self._first_close = float(close_numbers(np.array([self.p.trade_from_ms], dtype=np.int64), step)[0])
        self.risk = RiskState(self.rules, self._value())

    def next(self) -> None:
        """Decide at the close of a bar."""
        moment = self._clock[0]
        must_close = self.risk.observe(self._value(), int(moment - self._step_days + _ROUNDING))
        if moment < self._first_close:
            self.reason = "before_start"
            return
        self.bars += 1
        self.observe_bar()
        if self._order is not None:
            self.reason = "order_pending"
        elif self._position.size > 0.0:
            self.reason = "no_exit_signal"
            reason = must_close or self.wants_exit()
            if reason:
                self._leave(reason)
        else:
            self.reason = "no_entry_signal"
            if self.wants_entry():
                self._enter()

    def observe_bar(self) -> None:
        """Take note of a bar that may trade, whatever is held or ordered. Subclasses may override this."""

    def wants_entry(self) -> bool:
        """Tell whether to open at this close; count why not, and set ``reason`` where it was blocked."""
        raise NotImplementedError(f"{type(self).__name__} must say when it wants in")

    def wants_exit(self) -> str:
        """Return why to close at this close; empty to stay."""
        raise NotImplementedError(f"{type(self).__name__} must say when it wants out")

    def permits_entry(self) -> bool:
        """Tell whether what else must be asked before opening agrees; count why not, and set ``reason``.

        Subclasses may override this.
        """
        return True

    def decision(self) -> Decision:
        """Return what the newest close led to, and every gate that was asked, with its value; to be called after ``next``.

        It is computed here and now: a run in which nobody asks pays nothing for it.
        """
        if not self.bars:
            return Decision("wait", self.reason)
        action, at = self._ordered
        if at != self.bars:
            action = "hold" if self._position.size > 0.0 else "wait"
        opening = action in {"enter", "wait"}
        gates = until_the_first_failure(self._entry_gates(action) if opening else self._stay_gates())
        if self.reason == "order_pending":
            gates = not_asked(gates)
        elif action == "leave" or self.reason == "blocked_by_lot":
            gates = (*gates, ask("sellable", self._sellable(), ">", 0.0, passed=action == "leave"))
        return Decision(action, self.reason, gates)

    def signal_gates(self) -> list[Gate]:
        """Return what ``wants_entry`` asks, in its order. Subclasses override this."""
        return []

    def permit_gates(self) -> list[Gate]:
        """Return what ``permits_entry`` asks, in its order. Subclasses may override this."""
        return []

    def stay_gates(self) -> list[Gate]:
        """Return what ``wants_exit`` asks, in its order, as conditions of staying. Subclasses override this."""
        return []

    def without_prediction(self) -> str:
        """Return why a position closes that has no prediction: ``no_model``, or empty where it is held."""
        if self.p.on_no_model == "close":
            return "no_model"
        self.reason = "no_prediction"
        return ""

    def stay_status(self, status: float) -> Gate:
        """Return the gate of a prediction's status while something is held: it decides where its absence closes."""
        return ask("status", status, "==", 0.0, decides=self.p.on_no_model == "close")

    def notify_order(self, order: Any) -> None:
        """Free the way for the next order once this one is done."""
        if self._order is None or order.ref != self._order.ref or order.alive():
            return
        self._order = None
        if order.status in {order.Margin, order.Rejected}:
            self.counts["refused_by_broker"] += 1

    def notify_trade(self, trade: Any) -> None:
        """Tell the limits of risk about a closed trade."""
        if trade.isclosed:
            day = int(self._clock[0] - self._step_days + _ROUNDING)
            self.risk.closed(trade.pnlcomm, len(self.data), day)

    def summary(self) -> dict[str, Any]:
        """Return what a report says of the decisions.

        Returns
        -------
        dict
            ``counts`` by name, and what a subclass adds; plain data, None for what is undefined. A subclass may add
            ``reached``: rows of ``what`` (words), ``bars`` (how many bars that may trade reached it) and ``of`` (of how
            many), which the report shows as a table; and ``notes``: sentences for the head of the report.
        """
        return {"counts": dict(sorted(self.counts.items()))}

    def _enter(self) -> None:
        blocked = self.risk.blocks(len(self.data))
        if blocked:
            self.reason = f"blocked_by_{blocked}"
            self.counts[self.reason] += 1
            return
        if not self.permits_entry():
            return
        size = entry_size(
            self.rules.max_position,
            self._value(),
            self.broker.getcash(),
            self._close[0],
            self.p.round_trip_cost / 2.0,
            self.p.headroom,
        )
        if size <= 0.0:
            self.counts["blocked_by_cash"] += 1
            self.reason = "blocked_by_cash"
            return
        self.counts["entries"] += 1
        self._send("enter", "signal", self.buy(size=size, **self._protection))

    def _leave(self, reason: str) -> None:
        size = self._sellable()
        if size <= 0.0:
            self.counts["blocked_by_lot"] += 1
            self.reason = "blocked_by_lot"
            return
        self.counts[f"exits_by_{reason}"] += 1
        self._send("leave", reason, self.sell(size=size))

    def _sellable(self) -> float:
        """Return how much of the position whole lots can sell, base currency."""
        sellable = getattr(self.broker, "sellable", None)
        return float(self._position.size if sellable is None else sellable(self.data))

    def _send(self, action: str, reason: str, order: Any) -> None:
        self._ordered, self.reason = (action, self.bars), reason
        self._order = order if order is not None and order.alive() else None
        if self._order is None:
            self.counts["refused_by_broker"] += 1
            text = None if order is None else order.info.get("rejection")
            self.reason = f"refused_by_broker: {text}" if text else "refused_by_broker"

    def _entry_gates(self, action: str) -> list[Gate]:
        """Return every gate of opening."""
        budget = min(self.rules.max_position * self._value(), self.broker.getcash())
        paid = True if action == "enter" else None  # an order that was filled at once has spent the budget
        return [
            *self.signal_gates(),
            *self.risk.entry_gates(len(self.data)),
            *self.permit_gates(),
            ask("budget", budget, ">", 0.0, passed=paid),
        ]

    def _stay_gates(self) -> list[Gate]:
        """Return every gate of staying."""
        return [*self.risk.stay_gates(), *self.stay_gates()]
