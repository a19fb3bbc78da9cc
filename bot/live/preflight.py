"""Everything that live trading needs, looked at without trading: ``bot live CONFIG --check``.

The same checks stand at the start of ``bot live`` itself (``bot.live.launch``), which stops at the first that fails; here
each is reported. Nothing is ordered and nothing is written, except that the state database is made ready.
"""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from decimal import Decimal
from typing import TYPE_CHECKING

from bot.alerts import ENVIRONMENT, Alerts
from bot.errors import BotError, UsageError
from bot.live.account_lock import account_lock, bot_lock
from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.checks import Check, account_checks, market_checks, model_checks, newest_candles
from bot.live.journal import Journal
from bot.live.kill_switch import KillSwitch
from bot.live.launch import account_of, check_clock, open_markets, stored_rules, venue_for
from bot.live.opening import choose_all, plan_run
from bot.live.reconcile import account_problems, fresh_trades
from bot.state import StateDatabase
from ml.errors import MLError
from registry.errors import RegistryError
from strategies.errors import StrategyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bot.assembly import Choice
    from bot.config.loader import ConfigFile
    from bot.home import Home
    from bot.live.opening import RunPlan
    from bot.live.venue import Venue

__all__ = ["preflight"]

_OURS = (BotError, MLError, RegistryError, StrategyError)
_NAME = "a pre-flight"
_MEGABYTE = 1 << 20
_SCARCE, _TOO_LITTLE = 1024 * _MEGABYTE, 64 * _MEGABYTE


def preflight(file: ConfigFile, home: Home, environment: Mapping[str, str] | None = None) -> list[Check]:
    """Look at everything that trading a config needs.

    Parameters
    ----------
    file, home
        Config and home folder.
    environment
        Where keys and addresses of alerts are read from; by default this process's.
    """
    found = os.environ if environment is None else environment
    checks = [_kill_switch(home), _disk(home.root), _alerts(found)]
    with ExitStack() as stack:
        choices = _strategy(file, home, checks)
        state = _state(home, checks, stack)
        checks.append(_lock_check(bot_lock(home.root, file.config.name), "runs this bot"))
        if choices is not None:
            checks += _venue(file, home, choices, state, found)
    return checks


def _kill_switch(home: Home) -> Check:
    kill = KillSwitch(home.root).read()
    if not kill.is_on:
        return Check("kill switch", "ok", "off")
    what = "closes what is held, and opens nothing" if kill.closes else "opens nothing"
    return Check("kill switch", "warn", f"on, so the bot {what} ({kill.reason})", "delete the file to trade again")


def _disk(root: Path) -> Check:
    there = next(folder for folder in (root, *root.parents) if folder.is_dir())
    try:
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check("disk", "fail", f"{there}: {error.strerror or error}")
    words = f"{free // _MEGABYTE:,} MB free at {there}"
    if not os.access(there, os.W_OK | os.X_OK):
        return Check("disk", "fail", f"{there} cannot be written", "choose another --home, or change its permissions")
    if free < _TOO_LITTLE:
        return Check("disk", "fail", words, "make room: a bot that cannot write its journal sends no order")
    if free < _SCARCE:
        return Check("disk", "warn", words, "make room: a bot that cannot write its journal stops")
    return Check("disk", "ok", words)


def _alerts(environment: Mapping[str, str]) -> Check:
    try:
        alerts = Alerts.from_environment((), environment=environment)
    except BotError as error:
        return Check("alerts", "fail", str(error))
    count = len(environment.get(ENVIRONMENT, "").split())
    alerts.close()
    if not count:
        return Check("alerts", "ok", f"nobody is told; {ENVIRONMENT} takes addresses")
    return Check("alerts", "ok", f"{count} address(es)")


def _strategy(file: ConfigFile, home: Home, checks: list[Check]) -> dict[str, Choice] | None:
    try:
        choices = choose_all(file, home)
    except _OURS as error:
        checks.append(Check("strategy and models", "fail", str(error)))
        return None
    checks.append(Check("strategy", "ok", f"{file.config.strategy} on {', '.join(file.config.symbols)}"))
    return choices


def _state(home: Home, checks: list[Check], stack: ExitStack) -> StateDatabase | None:
    try:
        state = stack.enter_context(StateDatabase(home.state_db))
        problems = state.problems()
    except BotError as error:
        checks.append(Check("state database", "fail", str(error)))
        return None
    if problems:
        words = f"{home.state_db} is damaged: {problems[0]}"
        checks.append(Check("state database", "fail", words, "restore a copy, or move it away and begin anew"))
        return None
    checks.append(Check("state database", "ok", f"{home.state_db} is sound"))
    return state


def _lock_check(lock: AbstractContextManager[None], does: str) -> Check:
    try:
        with lock:
            return Check("lock", "ok", f"no other process {does}")
    except BotError as error:
        return Check("lock", "fail", str(error))


def _venue(
    file: ConfigFile,
    home: Home,
    choices: dict[str, Choice],
    state: StateDatabase | None,
    environment: Mapping[str, str],
) -> Iterable[Check]:
    checks: list[Check] = []
    with ExitStack() as stack:
        try:
            venue = stack.enter_context(venue_for(file, home, choices, None, environment=environment))
        except _OURS as error:
            return [Check("exchange", "fail", str(error))]
        stack.callback(venue.gateway.close)
        checks.append(Check("exchange", "ok", f"{venue.exchange}, {venue.mode}"))
        account = account_of(venue)
        if account is not None:
            checks.append(_lock_check(account_lock(venue.exchange, account, _NAME), "trades this account"))
        for part in _parts(file, home, choices, state, venue):
            if not _asked(venue.exchange, checks, part):
                break
    return checks


def _parts(
    file: ConfigFile,
    home: Home,
    choices: dict[str, Choice],
    state: StateDatabase | None,
    venue: Venue,
) -> Iterator[Callable[[], list[Check]]]:
    """Yield questions to the exchange; each needs the answers to those before."""
    yield lambda: [check_clock(venue)]
    yield lambda: _listed(file, venue)
    market: list[Check] = []

    def look_at_market() -> list[Check]:
        market.extend(market_checks(file, venue, stored_rules(file, home)))
        return market

    yield look_at_market
    if any(check.level == "fail" and check.name.endswith(("market", "candles")) for check in market):
        return
    yield lambda: _history(file, venue, choices)
    plans: list[RunPlan] = []

    def plan() -> list[Check]:
        if state is not None:
            plans.append(plan_run(file, state, venue.mode, venue.exchange))
        return [_plan_check(plans[0])] if plans else []

    yield plan
    going_on = plans[0].earlier if plans and plans[0].continues else None
    cash = plans[0].cash if plans else dict.fromkeys(file.config.symbols, file.config.broker.cash)
    if venue.lives_here:  # an exchange inside this process is made for the run, with what the run has
        return
    yield lambda: account_checks(file, venue, None if going_on is not None else cash)
    if venue.trades and state is not None and going_on is not None:
        journal = Journal(state, going_on)
        yield lambda: _explained(venue, journal)


def _asked(exchange: str, checks: list[Check], question: Callable[[], list[Check]]) -> bool:
    """Add the answers of an exchange; tell whether it answered."""
    try:
        checks += question()
    except AccessDenied as error:
        words = f"{exchange} refuses the keys: {error}"
        checks.append(Check("keys", "fail", words, "check them, what they may do, and from which addresses"))
    except (NoAnswer, Refused) as error:
        checks.append(Check("exchange", "fail", f"{exchange} does not answer: {error}", "try again"))
    except UsageError as error:
        checks.append(Check("config", "fail", str(error)))
    except _OURS as error:
        checks.append(Check("exchange", "fail", str(error)))
    else:
        return True
    return False


def _listed(file: ConfigFile, venue: Venue) -> list[Check]:
    open_markets(file, venue)
    return []


def _history(file: ConfigFile, venue: Venue, choices: dict[str, Choice]) -> list[Check]:
    """Ask for the candles that warm the features, and look at the models by the time of the market."""
    found, market_ms = [], 0
    for symbol, choice in choices.items():
        warm, first_ms = venue.warm_up(symbol, choice)
        market_ms = max(market_ms, first_ms)
        needed = (choice.history or 0) if choice.models else 0
        words = f"{len(warm):,} candles of {file.config.timeframe} to warm up with, {needed:,} are needed"
        name = f"{symbol} warm-up"
        if len(warm) < needed:
            found.append(Check(name, "warn", words, "predictions are missing until there are enough"))
        else:
            found.append(Check(name, "ok", words))
    if not venue.lives_here:
        symbol = next(iter(choices))
        market_ms = int(newest_candles(venue.gateway, symbol, file.config.timeframe).open_ms[-1])
    return [*found, *model_checks(choices, file.config.timeframe, market_ms)]


def _plan_check(plan: RunPlan) -> Check:
    if plan.earlier is None:
        return Check("run", "ok", f"a new one, with {sum(plan.cash.values()):,.2f} in cash")
    run = plan.earlier.run_id[:8]
    if plan.continues:
        return Check("run", "ok", f"{run} goes on")
    words = f"{run} is closed, as its config has changed; the next begins with {sum(plan.cash.values()):,.2f} in cash"
    return Check("run", "warn", words)


def _explained(venue: Venue, journal: Journal) -> list[Check]:
    """Compare the account with the journal, and with what became of our orders since."""
    baseline = {asset: Decimal(amount) for asset, amount in journal.run.baseline.items()}
    fresh = fresh_trades(venue.gateway, journal)
    problems = account_problems(venue.gateway, journal, baseline, fresh)
    if not problems:
        return [Check("account", "ok", "the journal explains everything that it holds")]
    advice = "somebody else has traded here; undo it, or start with --accept-account"
    return [Check("account", "fail", "; ".join(problems), advice)]
