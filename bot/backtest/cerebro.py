"""The loop of a backtest: Cerebro with one flat loop where that gives the same results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import backtrader as bt
from backtrader.lineiterator import LineIterator

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FastCerebro"]


class FastCerebro(bt.Cerebro):
    """Run preloaded bars in one flat loop: same orders, fills, cash, values and notifications as ``bt.Cerebro``.

    Backtrader moves every line by a chain of calls, fills the ``tick_`` attributes of the feed and notifies cash and
    value at each bar. Here the pointers of all lines are set in one loop, and what nobody listens to is not sent.
    Analyzers run as ever. Several feeds, observers, writers, timers, cheat-on-open, a broker that is not a
    ``BackBroker``, and strategies that override Backtrader's own machinery take Cerebro's loop.

    The standard observers are off unless ``stdstats=True``: they cost more than the rest of a run, and what they
    draw is rebuilt from fills and closes afterwards.
    """

    params: ClassVar[Any] = (("stdstats", False),)

    def _runonce(self, runstrats: list[Any]) -> None:
        """Run the bars of preloaded feeds whose indicators are computed in one go."""
        if not self._can_be_flat(runstrats):
            super()._runonce(runstrats)
            return
        for strategy in runstrats:
            strategy._once()  # noqa: SLF001 - this is Cerebro's side of the protocol
            strategy.reset()
        moved = _lines_to_move(self.datas[0], runstrats)
        if moved is None:
            self._run_stepwise(runstrats)
        else:
            self._run_flat(runstrats, moved)

    def _can_be_flat(self, strategies: list[Any]) -> bool:
        return (
            len(self.datas) == 1
            and not (self._timers or self._timerscheat or self.runwriters or self.p.cheat_on_open)
            and isinstance(self._broker, bt.brokers.BackBroker)
            and all(_is_plain(strategy) for strategy in strategies)
        )

    def _run_flat(self, strategies: list[Any], moved: list[Any]) -> None:
        """Walk through the bars: pointers, broker, notifications, strategies."""
        data, broker = self.datas[0], self._broker
        data._tick_nullify()  # noqa: SLF001 - a broker then reads the bar itself, not what an earlier run left
        times, count = data.lines.datetime.array, data.buflen()
        broker_next, notifications = broker.next, broker.notifs
        steps = [_stepper(strategy) for strategy in strategies]
        for index in range(count):
            length = index + 1
            for line in moved:
                line._idx = index  # noqa: SLF001 - set directly: the property and its call are half of a bar's cost
                line.lencount = length
            broker_next()
            if notifications:
                self._deliver()
            if self._event_stop:
                return
            moment = times[index]
            for step in steps:
                step(length, moment)
                if self._event_stop:
                    return

    def _run_stepwise(self, strategies: list[Any]) -> None:
        """Cerebro's own loop for one feed, for indicators that tick with something else than the feed."""
        data = self.datas[0]
        while data.advance_peek() != float("inf"):
            data.advance()
            self._brokernotify()
            if self._event_stop:
                return
            for strategy in strategies:
                strategy._oncepost(data.lines.datetime[0])  # noqa: SLF001 - as Cerebro does
                if self._event_stop:
                    return

    def _deliver(self) -> None:
        """Hand the broker's notifications to the strategies that own the orders."""
        while (order := self._broker.get_notification()) is not None:
            owner = order.owner if order.owner is not None else self.runningstrats[0]
            owner._addnotification(order, quicknotify=self.p.quicknotify)  # noqa: SLF001 - as Cerebro does


def _is_plain(strategy: Any) -> bool:
    """Tell whether the strategy leaves Backtrader's own step alone and has no observers."""
    kind = type(strategy)
    return (
        kind._oncepost is bt.Strategy._oncepost  # noqa: SLF001 - a strategy of the user's may override these
        and kind._notify is bt.Strategy._notify  # noqa: SLF001
        and kind.clear is bt.Strategy.clear
        and kind._next_analyzers is bt.Strategy._next_analyzers  # noqa: SLF001
        and not strategy._lineiterators[LineIterator.ObsType]  # noqa: SLF001
        and not any(line.bindings for line in strategy.lines)
        and not strategy._oldsync  # noqa: SLF001
    )


def _lines_to_move(data: Any, strategies: list[Any]) -> list[Any] | None:
    """Return the lines whose pointers move with the feed, or None where an indicator follows another clock."""
    moved = list(data.lines)
    moving = {id(line) for line in moved}
    for strategy in strategies:
        for indicator in strategy._lineiterators[LineIterator.IndType]:  # noqa: SLF001
            if id(indicator._clock.lines[0]) not in moving:  # noqa: SLF001
                return None
            moved.extend(indicator.lines)
            moving.update(id(line) for line in indicator.lines)
    return moved


def _stepper(strategy: Any) -> Callable[[int, float], None]:
    """Return the function that runs one bar of a strategy, as ``Strategy._oncepost`` does."""
    clock = strategy.lines.datetime
    others = [line for line in strategy.lines if line is not clock]
    append, period = clock.array.append, strategy._minperiods[0]  # noqa: SLF001
    analysed = bool(len(strategy.analyzers) or strategy._slave_analyzers)  # noqa: SLF001
    kind = type(strategy)
    listens = (
        analysed
        or kind.notify_cashvalue is not bt.Strategy.notify_cashvalue
        or kind.notify_fund is not bt.Strategy.notify_fund
    )
    notify, clear, analyse = strategy._notify, strategy.clear, strategy._next_analyzers  # noqa: SLF001

    def step(length: int, moment: float) -> None:
        append(moment)
        clock._idx = length - 1  # noqa: SLF001
        clock.lencount = length
        for line in others:
            line.forward()
        if listens or strategy._orderspending or strategy._tradespending:  # noqa: SLF001
            notify()
        if length > period:
            strategy.next()
        elif length == period:
            strategy.nextstart()
        else:
            strategy.prenext()
        if analysed:
            analyse(period - length, once=True)
        if strategy._orderspending or strategy._tradespending:  # noqa: SLF001
            clear()

    return step
