"""From a config to a run that may start: the lock of the account, its venue, the journal, and everything explained."""

from __future__ import annotations

import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.errors import ExchangeError, UsageError
from bot.live.account_lock import account_lock
from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.client import Keys
from bot.live.opening import choose_all, open_run
from bot.live.reconcile import expected_balances, unexplained
from bot.live.runner import LiveRun
from bot.live.venue import attached_venue, embedded_server, embedded_venue, real_venue
from bot.state import StateDatabase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bot.assembly import Choice
    from bot.config.loader import ConfigFile
    from bot.home import Home
    from bot.live.venue import Venue

__all__ = ["Launched", "launched", "venue_for"]

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
        venue = stack.enter_context(venue_for(file, home, choices, speed=speed, new_run=new_run))
        stack.callback(venue.gateway.close)
        account = venue.keys.key if venue.keys is not None and venue.mode == "real" else str(home.root)
        name = file.config.name
        stack.enter_context(account_lock(venue.exchange, f"{account}|{venue.endpoint or ''}", name))
        stack.enter_context(account_lock("bot", f"{home.root}|{name}", name))
        try:
            _check_clock(venue, tell)
            opened = open_run(
                file, home, state, venue, choices=choices, now_ms=lambda: time.time_ns() // 1_000_000, new_run=new_run
            )
            for note in opened.notes:
                tell(note)
            run = LiveRun(file, home, state, venue, opened, on_alert=on_alert)
            run.prepare()
            if venue.trades:
                _explain(run, state, accept_account=accept_account)
        except (NoAnswer, Refused) as error:
            if isinstance(error, AccessDenied):
                raise UsageError(f"{venue.exchange} refuses the keys: {error}") from error
            raise ExchangeError(f"{venue.exchange} does not answer: {error}; a bot does not start blindly") from error
        yield Launched(run, state)


@contextmanager
def venue_for(
    file: ConfigFile, home: Home, choices: dict[str, Choice], *, speed: float | None = None, new_run: bool = False
) -> Iterator[Venue]:
    """Give the account that a config trades: a real one, that of ``bot exchange serve``, or one inside this process."""
    config = file.config
    if config.live.exchange != "sim":
        if speed is not None:
            raise UsageError("--speed is for the exchange inside this process: real candles come when they come")
        yield real_venue(file)
        return
    from bot.exchange.announcement import Announcement

    found = Announcement.read(home.root)
    if found is not None:
        if speed is not None:
            raise UsageError(
                f"a local exchange runs at {found.url} and has its own speed: stop it, or leave --speed out"
            )
        _check_announced(file, found)
        yield attached_venue(found.url, Keys(found.key, found.secret), config.timeframe, found.clock)
        return
    with ExitStack() as stack:
        yield _embedded(file, home, choices, stack, speed=_SPEED if speed is None else speed, new_run=new_run)


def _embedded(
    file: ConfigFile, home: Home, choices: dict[str, Choice], stack: ExitStack, *, speed: float, new_run: bool
) -> Venue:
    """Start a local exchange over the candles of the config, which goes on where it was stopped."""
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
    memory = StateFile(home.root / "live" / f"{file.config.name}.exchange.db", fresh=new_run)
    try:
        server = embedded_server(file, candles, rules, start_ms, Accelerated(speed), state=memory)
    except BaseException:
        memory.close()
        raise
    stack.enter_context(server)
    return embedded_venue(server, series, lockstep=False)


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


def _check_clock(venue: Venue, tell: Callable[[str], None]) -> None:
    """Compare this computer's clock with the exchange's, and refuse to start when they are far apart."""
    difference = venue.gateway.set_clock()
    if abs(difference) > _CLOCK_STOP_MS:
        raise UsageError(
            f"this computer's clock is {abs(difference) / 1000:.0f} s {'ahead of' if difference > 0 else 'behind'} "
            f"{venue.exchange}'s: set it (timedatectl set-ntp true), then start again"
        )
    if abs(difference) > _CLOCK_LIMIT_MS:
        tell(
            f"this computer's clock is {difference} ms off {venue.exchange}'s; requests are signed with the exchange's"
        )


def _explain(run: LiveRun, state: StateDatabase, *, accept_account: bool) -> None:
    """Compare the account with the journal, and refuse to start while anything is unexplained.

    Raises
    ------
    UsageError
        With everything that nobody of ours has done.
    """
    gateway, journal = run.venue.gateway, run.journal
    markets = gateway.markets
    traded = [
        (markets[symbol].base, markets[symbol].quote, side, trade)
        for symbol in markets
        for side, trade in journal.traded(symbol)
    ]
    baseline = {asset: Decimal(amount) for asset, amount in run.run.baseline.items()}
    held, _, _ = gateway.account()
    foreign = [
        report.client_id
        for symbol in markets
        for report in gateway.open_orders(symbol)
        if journal.order(report.client_id) is None
    ]
    expected = expected_balances(baseline, traded)
    problems = unexplained({asset: expected[asset] for asset in baseline}, held, len(traded), foreign)
    if problems and not accept_account:
        raise UsageError(
            f"{run.venue.exchange}: {'; '.join(problems)}. Somebody else has traded here: the bot does not start. "
            "Undo it, or take the account as it is: bot live CONFIG --accept-account"
        )
    if problems:
        from bot.live.journal_rows import set_baseline

        shifted = {asset: str(baseline[asset] + held.get(asset, Decimal(0)) - expected[asset]) for asset in baseline}
        set_baseline(state, run.run.run_id, shifted)
        journal.event("accepted", "; ".join(problems), run.now_ms())
