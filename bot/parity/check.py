"""The whole check of a recorded live run: its replay, its slippage, and what the backtest would have done on its bars."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.broker.rules import ExchangeRules
from bot.parity.compare import compare_rows, count_rows
from bot.parity.recorded import copied_state, decision_rows, find_live_run
from bot.parity.replay import backtest_again, replay_run
from bot.parity.slippage import OrderOutcome, Slippage, order_outcomes
from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from bot.home import Home
    from bot.parity.compare import Comparison
    from bot.parity.replay import Replay

__all__ = ["AgainstBacktest", "RunCheck", "check_run"]

_SIDES = ("backtest", "live")


@dataclass(frozen=True)
class AgainstBacktest:
    """A live run of one symbol beside the plain backtest over the bars that it saw.

    Attributes
    ----------
    comparison : Comparison
        Row by row; differences are legitimate where an exchange filled otherwise, or not.
    both, missed, added : int
        Orders by bar, side and kind: placed in both, in the backtest only, live only.
    backtest_value, live_value : float or None
        Worth of the account after the last bar that was recorded; None without a row.
    """

    comparison: Comparison
    both: int
    missed: int
    added: int
    backtest_value: float | None
    live_value: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        first = self.comparison.first
        return {
            "orders_in_both": self.both,
            "orders_missed": self.missed,
            "orders_added": self.added,
            "backtest_value": self.backtest_value,
            "live_value": self.live_value,
            "differing_bars": self.comparison.differing,
            "first": None if first is None else first.to_dict(),
        }


@dataclass(frozen=True)
class RunCheck:
    """What was found of a run.

    Attributes
    ----------
    replay : Replay
        Decides the verdict: every recorded row must come again.
    slippage : Slippage
        Of all symbols.
    backtests : dict of AgainstBacktest
        By symbol.
    """

    replay: Replay
    slippage: Slippage
    backtests: dict[str, AgainstBacktest]

    @property
    def orders(self) -> int:
        """How many orders the run placed."""
        return sum(each.counts["orders"] for each in self.replay.symbols)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        run = self.replay.run
        return {
            "name": run.bot,
            "run_id": run.run_id,
            "mode": run.mode,
            "exchange": run.exchange,
            "started": format_ms(run.started_ms),
            "identical": self.replay.is_identical,
            "orders": self.orders,
            "bars_without_a_written_decision": self.replay.unwritten,
            "notes": list(self.replay.notes),
            "symbols": {
                each.symbol: {**each.to_dict(), "backtest": self.backtests[each.symbol].to_dict()}
                for each in self.replay.symbols
            },
            "slippage": self.slippage.to_dict(),
            "order_outcomes": [order.to_dict() for order in self.slippage.orders],
        }


def check_run(
    home: Home,
    text: str,
    *,
    folder: Path | None = None,
    progress: Callable[[float, str], None] = lambda _fraction, _text: None,
) -> RunCheck:
    """Check a recorded live run; nothing is changed, and no exchange is asked.

    Parameters
    ----------
    home
        Whose state database and models.
    text
        Name of the bot, for its newest run, or the beginning of a run id.
    folder
        Where a strategy of the user's own is looked for.

    Raises
    ------
    UsageError, ConfigError, BotError
        As ``find_live_run`` and ``replay_run``.
    """
    with copied_state(home) as state:
        run = find_live_run(state, text)
        replay = replay_run(state, run, home, folder=folder, progress=lambda part, words: progress(part / 2, words))
        outcomes: list[OrderOutcome] = []
        backtests = {}
        for number, each in enumerate(replay.symbols):
            symbol = each.symbol
            progress(0.5 + 0.5 * number / len(replay.symbols), f"Backtest of {symbol} over the recorded bars")
            rows, bars = backtest_again(replay, state, symbol)
            recorded = decision_rows(state, run.run_id, symbol)
            backtests[symbol] = _against(symbol, rows, recorded)
            rules = ExchangeRules.from_dict(run.inputs["rules"][symbol])
            outcomes += order_outcomes(replay.journal, symbol, bars, rules, replay.file.config.broker.slippage)
    outcomes.sort(key=lambda order: (order.decided_ms, order.client_id))
    return RunCheck(replay, Slippage(tuple(outcomes)), backtests)


def _against(symbol: str, backtest: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]) -> AgainstBacktest:
    last_ms = live[-1]["open_ms"] if live else -1
    backtest = [row for row in backtest if row["open_ms"] <= last_ms]
    ours, theirs = _placed(backtest), _placed(live)
    values = [None if not rows else float(rows[-1]["value"]) for rows in (backtest, live)]
    comparison = compare_rows(symbol, backtest, live, _SIDES)
    comparison.counts = count_rows(live)
    return AgainstBacktest(comparison, len(ours & theirs), len(ours - theirs), len(theirs - ours), *values)


def _placed(rows: Sequence[Mapping[str, Any]]) -> set[tuple[int, str, str, int]]:
    """Return the orders that were not refused at once, by bar, side, kind and their place among those alike."""
    found = set()
    for row in rows:
        alike: Counter[tuple[str, str]] = Counter()
        for order in row["orders"]:
            if not order["refused"]:
                key = (str(order["side"]), str(order["kind"]))
                found.add((int(row["open_ms"]), *key, alike[key]))
                alike[key] += 1
    return found
