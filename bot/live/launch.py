"""From a config to a run that may start: the lock of the account, its venue, the journal, and everything explained."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.errors import DataError, ExchangeError, SeriesNotFound, UsageError
from bot.live.account_lock import account_lock, bot_lock
from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.checks import Check, account_checks, market_checks, require
from bot.live.client import KEY_VARIABLES, Keys, check_exchange
from bot.live.following import note_followers
from bot.live.journal_rows import set_baseline
from bot.live.opening import choose_all, open_run, plan_run
from bot.live.reconcile import accepted_baseline, account_problems
from bot.live.runner import LiveRun
from bot.live.venue import attached_venue, embedded_server, embedded_venue, real_venue
from bot.market.series_file import read_header
from bot.market.store import CandleStore
from bot.state import StateDatabase
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bot.assembly import Choice
    from bot.broker.rules import ExchangeRules
    from bot.config.loader import ConfigFile
    from bot.home import Home
    from bot.live.opening import RunPlan
    from bot.live.venue import Venue

__all__ = ["Launched", "account_of", "check_clock", "launched", "open_markets", "stored_rules", "venue_for"]

_SPEED = 60.0
_CLOCK_LIMIT_MS = 1_000
_CLOCK_STOP_MS = 30_000


@dataclass(frozen=True)
class Launched:
    """A run that is ready to start, and the state that it is written to."""

    run: LiveRun
    state: StateDatabase


@contextmanager
def launched(
    file: ConfigFile,
    home: Home,
    *,
    speed: float | None = None,
    new_run: bool = False,
    accept_account: bool = False,
    on_alert: Callable[[str, str], None] = lambda _kind, _text: None,
    tell: Callable[[str], None] = lambda _text: None,
) -> Iterator[Launched]:
    """Open everything that a live run needs, and close it at the end of the block.

    Parameters
    ----------
    speed
        Of an exchange inside this process.
    new_run
        Close the earlier run and begin another.
    accept_account
        Go on though the account holds what the journal does not explain: that is what it holds from now on.
    on_alert, tell
        Take alerts, and lines for a person.

    Raises
    ------
    UsageError
        When the config, the account or the mode do not allow a start; the message says what to do.
    ExchangeError
        When the exchange does not answer: a bot that cannot ask what became of its orders does not start.
    """
    with ExitStack() as stack:
        choices = choose_all(file, home)
        state = stack.enter_context(StateDatabase(home.state_db))
        name = file.config.name
        stack.enter_context(bot_lock(home.root, name))
        venue = stack.enter_context(venue_for(file, home, choices, state, speed=speed, new_run=new_run))
        stack.callback(venue.gateway.close)
        account = account_of(venue)
        if account is not None:
            stack.enter_context(account_lock(venue.exchange, account, name))
        with _told(venue.exchange):
            warnings = require(file, [check_clock(venue)])
            open_markets(file, venue)
            warnings += require(file, market_checks(file, venue, stored_rules(file, home)))
            plan = plan_run(file, state, venue.mode, venue.exchange, new_run=new_run)
            warnings += require(file, account_checks(file, venue, None if plan.continues else plan.cash))
            for text in warnings:
                tell(f"warning: {text}")
            opened = open_run(file, home, state, venue, choices=choices, now_ms=wall_ms, new_run=new_run)
            for note in opened.notes:
                tell(note)
            note_followers(state, file)
            run = LiveRun(file, home, state, venue, opened, on_alert=on_alert)
            run.prepare()
            if venue.trades:
                _explain(run, state, accept_account=accept_account)
        yield Launched(run, state)


@contextmanager
def _told(exchange: str) -> Iterator[None]:
    """Say in an error of ours that the exchange refuses, or does not answer."""
    try:
        yield
    except AccessDenied as error:
        raise UsageError(
            f"{exchange} refuses the keys: {error}. Check {' and '.join(KEY_VARIABLES)}, what the key may do, and from which "
            "addresses"
        ) from error
    except (NoAnswer, Refused) as error:
        raise ExchangeError(f"{exchange} does not answer: {error}; a bot does not start blindly") from error


def account_of(venue: Venue) -> str | None:
    """Return what tells the account of a venue from others, for its lock; None for one that is the bot's alone."""
    if venue.keys is None or venue.lives_here:
        return None
    return f"{venue.keys.key}|{venue.endpoint or ''}"


def open_markets(file: ConfigFile, venue: Venue) -> None:
    """Have the venue read its markets; raises ``ConfigError`` for a symbol that it does not have."""
    try:
        venue.gateway.open(file.config.symbols)
    except UsageError as error:
        raise file.error(("symbols",), str(error)) from None


def stored_rules(file: ConfigFile, home: Home) -> dict[str, ExchangeRules | None]:
    """Return the rules that are stored beside the candles of each symbol, where these were downloaded."""
    store, found = CandleStore(home.candles), {}
    for symbol in file.config.symbols if file.config.data.synth is None else ():
        try:
            path = store.find(symbol, file.config.timeframe, file.config.data.exchange)
            found[symbol] = read_header(path).rules
        except (SeriesNotFound, UsageError, DataError):  # trading needs no stored candles
            found[symbol] = None
    return found


@contextmanager
def venue_for(
    file: ConfigFile,
    home: Home,
    choices: dict[str, Choice],
    state: StateDatabase | None,
    *,
    speed: float | None = None,
    new_run: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Venue]:
    """Give the account that a config trades: a real one, that of ``bot exchange serve``, or one inside this process.

    Parameters
    ----------
    state
        Knows the earlier run; None to look only: an exchange inside this process is then a new one that leaves no trace.
    """
    live = file.config.live
    if live.exchange != "sim":
        if speed is not None:
            raise UsageError("--speed is for the exchange inside this process: real candles come when they come")
        try:
            check_exchange(live.exchange)
        except UsageError as error:
            raise file.error(("live", "exchange"), str(error)) from None
        yield real_venue(file, environment)
        return
    from bot.exchange.announcement import Announcement

    found = Announcement.read(home.root)
    if found is not None:
        if speed is not None:
            raise UsageError(
                f"a local exchange runs at {found.url} and has its own speed: stop it, or leave --speed out"
            )
        _check_announced(file, found)
        yield attached_venue(found.url, Keys(found.key, found.secret), file.config.timeframe, found.clock)
        return
    with ExitStack() as stack:
        plan = None if state is None else plan_run(file, state, "paper", "sim", new_run=new_run)
        yield _embedded(file, home, choices, stack, plan, speed=_SPEED if speed is None else speed)


def _embedded(
    file: ConfigFile, home: Home, choices: dict[str, Choice], stack: ExitStack, plan: RunPlan | None, *, speed: float
) -> Venue:
    """Start a local exchange over the candles of the config; it goes on where it was stopped while the run does."""
    from bot.exchange.clocks import Accelerated
    from bot.exchange.persistence import StateFile
    from bot.market.side_series import attach_for
    from bot.parity.run import with_finest_rules
    from bot.series import cut_series, exchange_rules, read_series

    file = with_finest_rules(file, home)
    candles, rules, series = {}, {}, {}
    for symbol, choice in choices.items():
        engines = [bound.engine for bound in choice.models]
        stored = attach_for(read_series(file, symbol, home), engines, home.candles)
        cut, first_ms = cut_series(file, stored, choice.history)
        candles[symbol], rules[symbol] = cut.candles, exchange_rules(file.config, cut.rules)
        series[symbol] = (cut.candles.between(None, first_ms), first_ms)
    start_ms = min(first_ms for _, first_ms in series.values())
    if plan is None:
        server = embedded_server(file, candles, rules, start_ms)
    else:
        cash = sum((Decimal(repr(amount)) for amount in plan.cash.values()), Decimal(0))
        memory = StateFile(home.root / "live" / f"{file.config.name}.exchange.db", fresh=not plan.continues)
        try:
            server = embedded_server(file, candles, rules, start_ms, Accelerated(speed), cash=cash, state=memory)
        except BaseException:
            memory.close()
            raise
    stack.enter_context(server)
    return embedded_venue(server, series, lockstep=plan is None)


def _check_announced(file: ConfigFile, found: Any) -> None:
    config = file.config
    if found.timeframe != config.timeframe:
        raise file.error(("timeframe",), f"the local exchange at {found.url} has candles of {found.timeframe}")
    missing = [symbol for symbol in config.symbols if not any(wire.startswith(symbol) for wire in found.symbols)]
    if missing:
        raise file.error(
            ("symbols",),
            f"the local exchange at {found.url} trades {', '.join(found.symbols)}, not {', '.join(missing)}",
        )


def check_clock(venue: Venue) -> Check:
    """Compare this computer's clock with the exchange's, and let requests be signed by the latter."""
    difference = venue.gateway.set_clock()
    words = f"this computer's clock is {_difference(difference)} {venue.exchange}"
    if abs(difference) > _CLOCK_STOP_MS:
        return Check("clock", "fail", words, "set it (timedatectl set-ntp true), then start again")
    if abs(difference) > _CLOCK_LIMIT_MS:
        return Check("clock", "warn", words, "requests are signed with the exchange's; have it set (timedatectl)")
    return Check("clock", "ok", words)


def _difference(milliseconds: int) -> str:
    amount = abs(milliseconds)
    if not amount:
        return "that of"
    length = f"{amount / 1000:.0f} s" if amount > 10_000 else f"{amount} ms"
    return f"{length} {'ahead of' if milliseconds > 0 else 'behind'}"


def _explain(run: LiveRun, state: StateDatabase, *, accept_account: bool) -> None:
    """Compare the account with the journal, and refuse to start while anything is unexplained.

    Raises
    ------
    UsageError
        With everything that nobody of ours has done.
    """
    baseline = {asset: Decimal(amount) for asset, amount in run.run.baseline.items()}
    problems = account_problems(run.venue.gateway, run.journal, baseline)
    if problems and not accept_account:
        raise UsageError(
            f"{run.venue.exchange}: {'; '.join(problems)}. Somebody else has traded here: the bot does not start. "
            "Undo it, or take the account as it is: bot live CONFIG --accept-account"
        )
    if problems:
        accepted = accepted_baseline(run.venue.gateway, run.journal, baseline)
        set_baseline(state, run.run.run_id, accepted)
        run.journal.event("accepted", "; ".join(problems), run.now_ms())
