"""The beginning of a live run: a new one, or the one that was interrupted, with everything that decides it written down."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.assembly import Choice, choose
from bot.errors import UsageError
from bot.exchange.opening import quote_of
from bot.live.answers import NoAnswer
from bot.live.following import catch_up
from bot.live.journal import Journal
from bot.live.journal_rows import RunRow, begin_run, end_run
from bot.live.versions import note_first_models, pinned_choices, scheduled_choices
from bot.market.side_series import attach_to
from bot.version import code_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.config.loader import ConfigFile
    from bot.home import Home
    from bot.live.venue import Venue
    from bot.state import StateDatabase
    from ml.cache import PredictionCache

__all__ = [
    "OpenedRun",
    "RunPlan",
    "choose_all",
    "held_by",
    "open_run",
    "plan_run",
    "run_differences",
]

_FREE = {"live": ("alerts", "max_errors", "max_data_age", "endpoint")}
"""Parts of a config that decide nothing that a replay could differ in."""


@dataclass(frozen=True)
class OpenedRun:
    """A run that can be continued.

    Attributes
    ----------
    run : RunRow
    journal : Journal
    choices : dict of Choice
        By symbol; the engines answer each bar with the version that was, or is, in force at it.
    is_new : bool
        Whether it has just begun.
    notes : tuple of str
        What a person should know of how it was opened.
    """

    run: RunRow
    journal: Journal
    choices: dict[str, Choice]
    is_new: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RunPlan:
    """What the next start does.

    Attributes
    ----------
    earlier : RunRow or None
        The bot's run that is not closed.
    continues : bool
        Whether that one goes on; else it is closed, and another begins.
    cash : dict
        Quote currency of each symbol's books when the run begins, or when it began.
    """

    earlier: RunRow | None
    continues: bool
    cash: dict[str, float]


def open_run(
    file: ConfigFile,
    home: Home,
    state: StateDatabase,
    venue: Venue,
    *,
    choices: dict[str, Choice],
    now_ms: Callable[[], int],
    cache: PredictionCache | None = None,
    new_run: bool = False,
) -> OpenedRun:
    """Continue the bot's run, or begin one.

    A run belongs to one config. When that has changed, the run is closed and another begins with what its books hold in cash,
    but only while nothing is held and no order is open.

    Parameters
    ----------
    choices
        What ``choose_all`` found.
    new_run
        Close the earlier run, though its config has not changed.

    Raises
    ------
    UsageError
        When the config has changed and something is held; the message names what has changed.
    ExchangeError, NoAnswer
        When the exchange does not answer.
    """
    if any(symbol not in venue.gateway.markets for symbol in file.config.symbols):
        venue.gateway.open(file.config.symbols)
    notes: list[str] = []
    plan = plan_run(file, state, venue.mode, venue.exchange, new_run=new_run)
    found = plan.earlier
    if found is not None and plan.continues:
        journal = Journal(state, found)
        pinned = pinned_choices(state, home, found, choices, cache)
        notes += catch_up(file, home, state, found.run_id, pinned, choices)
        return OpenedRun(found, journal, pinned, False, tuple(notes))
    run, series = _new(file, home, venue, choices, plan.cash, now_ms())
    with state.transaction():  # the cash of the earlier run is not lost between the two
        if found is not None:
            end_run(state, found.run_id, run.started_ms)
            notes.append("the earlier run is closed; this one begins with its cash")
        begin_run(state, run, series)
        note_first_models(state, run, choices)
    scheduled = scheduled_choices(choices, file.config.timeframe)
    return OpenedRun(run, Journal(state, run), scheduled, True, tuple(notes))


def plan_run(file: ConfigFile, state: StateDatabase, mode: str, exchange: str, *, new_run: bool = False) -> RunPlan:
    """Return what ``open_run`` will do on this exchange; nothing is changed.

    A run begins with the cash that the one before ended with, but play money never becomes real.

    Raises
    ------
    UsageError
        When another run must begin and the earlier one still holds something.
    """
    config = file.config
    found = Journal.newest_run(state, config.name)
    cash = {symbol: float(config.broker.cash) for symbol in config.symbols}
    if found is None or found.ended_ms is not None:
        return RunPlan(None, False, cash)
    if (found.mode, found.exchange) != (mode, exchange):
        changed = [f"it traded {found.mode} on {found.exchange}, now {mode} on {exchange}"]
        _cash_after(state, found, changed, cash)
        return RunPlan(found, False, cash)
    changed = run_differences(found.inputs["config"], config.to_dict())
    if not changed and not new_run:
        return RunPlan(found, True, found.cash)
    return RunPlan(found, False, _cash_after(state, found, changed, cash))


def choose_all(
    file: ConfigFile, home: Home, cache: PredictionCache | None = None, *, past: bool = False
) -> dict[str, Choice]:
    """Return the strategy and models of every symbol of a config; a known model without a champion is no error.

    Parameters
    ----------
    past
        Whether the bars are those of a backtest: ``@as-of`` is then the champion of each bar, not that of now.

    Raises
    ------
    ConfigError
        When the config's names do not resolve.
    """
    return {symbol: choose(file, symbol, home, cache, require_champion=past) for symbol in file.config.symbols}


def run_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what differs between two configs, as ``params.enter: 0.55 became 0.6``; what decides nothing is left out."""
    found = []
    old, new = dict(_flat(before)), dict(_flat(now))
    for name in sorted(old.keys() | new.keys()):
        part, _, rest = name.partition(".")
        if rest.partition(".")[0] in _FREE.get(part, ()) or (part == "models" and name.endswith(".follow")):
            continue
        if old.get(name) != new.get(name):
            found.append(f"{name}: {old.get(name)} became {new.get(name)}")
    return found


def _flat(values: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(values, dict):
        return [pair for name, value in values.items() for pair in _flat(value, f"{prefix}.{name}" if prefix else name)]
    return [(prefix, values)]


def _cash_after(state: StateDatabase, run: RunRow, changed: list[str], cash: dict[str, float]) -> dict[str, float]:
    """Return what the books of a run that is to be closed hold in cash, by symbol; it must hold nothing else."""
    journal = Journal(state, run)
    held = {symbol: held_by(journal, symbol) for symbol in run.cash}
    open_orders = [row.ticket.client_id for row in journal.undone()]
    lots = {symbol: Decimal(rules["lot_step"] or 0) for symbol, rules in run.inputs["rules"].items()}
    still = [f"{amount} {symbol}" for symbol, amount in held.items() if amount > 0 and amount >= lots[symbol]]
    if still or open_orders:
        what = "; ".join(changed) or "a new run was asked for"
        raise UsageError(
            f"the run {run.run_id[:8]} of {run.bot} still holds {' and '.join(still) or 'open orders'}, and {what}. Its "
            "stops rest on the exchange. Put the config back and go on, or close the position first "
            "(bot live-control close-all)"
        )
    ended = {symbol: run.cash[symbol] + _earned(journal, symbol) for symbol in run.cash}
    return {symbol: ended.get(symbol, start) for symbol, start in cash.items()}


def held_by(journal: Journal, symbol: str) -> Decimal:
    """Return what the executions of a run leave of a symbol's base currency."""
    return journal.held(symbol)


def _earned(journal: Journal, symbol: str) -> float:
    total = 0.0
    for side, trade in journal.traded(symbol):
        worth = float(trade.size) * float(trade.price)
        is_quote = symbol.endswith(trade.fee_asset) or trade.fee_asset == quote_of(symbol)
        total += (-worth if side == "buy" else worth) - (float(trade.fee) if is_quote else 0.0)
    return total


def _new(
    file: ConfigFile, home: Home, venue: Venue, choices: dict[str, Choice], cash: dict[str, float], now_ms: int
) -> tuple[RunRow, dict[str, Any]]:
    config = file.config
    series = {}
    for symbol, choice in choices.items():
        warm, first_ms = venue.warm_up(symbol, choice)
        series[symbol] = attach_to(warm, [bound.engine for bound in choice.models], home.candles), first_ms
    baseline: dict[str, str] = {}
    if venue.trades:
        try:
            held, _, _ = venue.gateway.account()
        except NoAnswer as error:
            raise UsageError(f"{venue.exchange} does not tell what the account holds: {error}") from error
        markets = venue.gateway.markets.values()
        assets = {asset for market in markets for asset in (market.base, market.quote)}
        baseline = {asset: str(held.get(asset, Decimal(0))) for asset in sorted(assets)}
    inputs = {
        "config": config.to_dict(),
        "rules": {symbol: market.rules.to_dict() for symbol, market in venue.gateway.markets.items()},
        "models": {
            symbol: {bound.role: None if bound.model is None else bound.model.digest for bound in choice.models}
            for symbol, choice in choices.items()
        },
        "candles": {symbol: warm.digest for symbol, (warm, _) in series.items()},
        "first": {symbol: first for symbol, (_, first) in series.items()},
        "code_version": code_version(),
    }
    text = json.dumps({"bot": config.name, "started_ms": now_ms, **inputs}, sort_keys=True)
    run_id = hashlib.sha256(text.encode()).hexdigest()
    run = RunRow(run_id, config.name, now_ms, None, venue.mode, venue.exchange, inputs, cash, baseline)
    return run, series
