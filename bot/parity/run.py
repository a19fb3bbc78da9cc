"""Run a config twice, in the backtest and through the local exchange with the real ccxt client, and compare."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.assembly import assemble_backtest
from bot.decisions import record_decisions
from bot.errors import BotError, ConfigError
from bot.live.opening import choose_all, open_run
from bot.live.runner import LiveRun
from bot.live.venue import embedded_server, embedded_venue
from bot.parity.compare import Comparison, compare_rows
from bot.parity.recorded import decision_rows
from bot.parity.replay import replay_run
from bot.series import exchange_rules, read_series
from bot.state import StateDatabase
from bot.wall_clock import wall_ms
from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from bot.assembly import Assembly
    from bot.config.loader import ConfigFile
    from bot.decision_rows import DecisionRow
    from bot.exchange.server import ExchangeServer
    from bot.home import Home

__all__ = ["ParityRun", "run_parity", "with_finest_rules"]

_FINEST = 1e-8  # what an exchange counts in where it states no tick or lot
_QUOTE_UNIT = Decimal("1e-8")


@dataclass(frozen=True)
class ParityRun:
    """What was compared.

    Attributes
    ----------
    symbols : tuple of Comparison
    account : tuple of (asset, ledger, exchange)
        What the books and the exchange hold at the end, as texts, where they differ by more than 1e-8 a fill.
    replayed : tuple of Comparison
        The live side's rows against those that a restart would decide, from what it wrote down alone.
    bars_per_second : float
        Of the live side.
    requests : int
        That the local exchange answered.
    """

    symbols: tuple[Comparison, ...]
    account: tuple[tuple[str, str, str], ...]
    replayed: tuple[Comparison, ...]
    bars_per_second: float
    requests: int

    @property
    def is_identical(self) -> bool:
        """Whether nothing differs."""
        return all(each.is_identical for each in (*self.symbols, *self.replayed)) and not self.account

    @property
    def orders(self) -> int:
        """How many orders were placed."""
        return sum(each.counts["orders"] for each in self.symbols)


def run_parity(
    file: ConfigFile, home: Home, progress: Callable[[float, str], None] = lambda _fraction, _text: None
) -> ParityRun:
    """Run both sides and compare them; nothing is left behind.

    Raises
    ------
    ConfigError, NoChampion
        As ``assemble_backtest``.
    BotError
        When the strategy fails, or the live side does.
    """
    progress(0.0, "Reading candles and models")
    file = _patient(_after_the_first_candle(file, home))
    backtests: dict[str, Assembly] = {}
    rows: dict[str, list[dict[str, Any]]] = {}
    for symbol in file.config.symbols:
        assembly = assemble_backtest(with_finest_rules(file, home, [symbol]), symbol, home)
        kept = rows[symbol] = []
        record_decisions(assembly, lambda row, kept=kept: kept.append(_as_json(row)))  # type: ignore[misc]
        _check_grid(file, assembly)
        backtests[symbol] = assembly
    for number, assembly in enumerate(backtests.values()):
        progress(0.05 + 0.2 * number / len(backtests), f"Backtest of {assembly.symbol}")
        _run(assembly)
    candles = {symbol: assembly.candles for symbol, assembly in backtests.items()}
    rules = {symbol: assembly.rules for symbol, assembly in backtests.items()}
    series = {
        symbol: (assembly.candles.slice(0, assembly.first_row), assembly.trade_from_ms)
        for symbol, assembly in backtests.items()
    }
    start_ms = min(assembly.trade_from_ms for assembly in backtests.values())
    last_ms = max(int(each.open_ms[-1]) for each in candles.values())
    server = embedded_server(file, candles, rules, start_ms)
    with server, tempfile.TemporaryDirectory(prefix="bot-parity-") as folder:
        with StateDatabase(Path(folder) / "state.db") as state:
            venue = embedded_venue(server, series, lockstep=True)
            choices = choose_all(file, home, past=True)
            opened = open_run(file, home, state, venue, choices=choices, now_ms=wall_ms)
            live = LiveRun(file, home, state, venue, opened, last_bar_ms=last_ms)
            live.prepare()
            began = time.perf_counter()
            live.start()
            _wait(live, start_ms, last_ms, progress)
            seconds = time.perf_counter() - began
            venue.gateway.close()
            compared = tuple(
                compare_rows(symbol, rows[symbol], decision_rows(state, live.run.run_id, symbol)) for symbol in candles
            )
            progress(0.95, "Replay of what the live side wrote down")
            replayed = replay_run(state, live.run, home, folder=Path(file.path).resolve().parent).symbols
        account = _account(live, server)
        requests = int(server.requests[-1]["number"])
    bars = sum(len(kept) for kept in rows.values())
    return ParityRun(compared, account, replayed, bars / seconds, requests)


def with_finest_rules(file: ConfigFile, home: Home, symbols: Sequence[str] = ()) -> ConfigFile:
    """Return the config with a tick and a lot of 1e-8 where neither it nor the store states one: both sides then count so.

    Parameters
    ----------
    symbols
        Which of the config's are looked at; all by default.
    """
    broker = file.config.broker
    names = symbols or file.config.symbols
    known = [exchange_rules(file.config, read_series(file, symbol, home).rules) for symbol in names]
    missing = {
        name: _FINEST for name in ("price_tick", "lot_step") if all(getattr(each, name) is None for each in known)
    }
    if not missing:
        return file
    config = file.config.model_copy(update={"broker": broker.model_copy(update=missing)})
    return replace(file, config=config)


def _after_the_first_candle(file: ConfigFile, home: Home) -> ConfigFile:
    """Return a config without a start with that of the second candle: a market opens when there is one to look at."""
    if file.config.data.start is not None:
        return file
    seconds = [read_series(file, symbol, home).candles.open_ms[1:2] for symbol in file.config.symbols]
    if not all(len(each) for each in seconds):
        return file
    start = format_ms(max(int(each[0]) for each in seconds))
    data = file.config.data.model_copy(update={"start": start})
    return replace(file, config=file.config.model_copy(update={"data": data}))


def _patient(file: ConfigFile) -> ConfigFile:
    """Return the config without a limit of errors an hour: in lockstep an hour of ours is a year of the market."""
    live = file.config.live.model_copy(update={"max_errors": sys.maxsize})
    return replace(file, config=file.config.model_copy(update={"live": live}))


def _check_grid(file: ConfigFile, assembly: Assembly) -> None:
    candles = assembly.candles
    if candles.off_grid[assembly.first_row :].any():
        raise ConfigError(
            f"{file.path}: candles of {assembly.symbol} open off the grid of {candles.timeframe} between start and end; an "
            "exchange has none of these: choose another start"
        )


def _run(assembly: Assembly) -> None:
    try:
        assembly.cerebro.run()
    except Exception as error:
        if hasattr(error, "exit_code"):
            raise
        raise BotError(f"the strategy failed in the backtest: {type(error).__name__}: {error}") from error


def _wait(live: LiveRun, start_ms: int, last_ms: int, progress: Callable[[float, str], None]) -> None:
    """Wait for the live side, with a progress bar; raises what it failed of."""
    symbol = next(iter(live.assemblies))
    while not live.join(0.2):
        done = max(0, live.store.released_ms(symbol) - start_ms) / max(1, last_ms - start_ms)
        progress(0.25 + 0.7 * done, "Live, through the local exchange")
    live.wait()


def _as_json(row: DecisionRow) -> dict[str, Any]:
    """Return a row as the live side's comes back from its journal: plain numbers, texts and lists."""
    found: dict[str, Any] = json.loads(json.dumps(row.to_dict()))
    return found


def _account(live: LiveRun, server: ExchangeServer) -> tuple[tuple[str, str, str], ...]:
    """Return where the exchange holds something else than the books, after the last order that the books know."""
    found = []
    fills = sum(len(assembly.broker.fills) for assembly in live.assemblies.values())
    pending = any(live.journal.unbooked(order) for order in live.journal.orders)
    if pending:  # an order of the last bar is filled at the exchange, and will be in the books with the next bar
        return ()
    balances = server.call(server.exchange.balances)
    markets = live.venue.gateway.markets
    quote = next(iter(markets.values())).quote
    held = {quote: sum(assembly.broker.getcash() for assembly in live.assemblies.values())}
    for symbol, assembly in live.assemblies.items():
        data = assembly.cerebro.datas[0]
        held[markets[symbol].base] = assembly.broker.getposition(data).size + assembly.broker.dust.get(data, 0.0)
    for asset, amount in held.items():
        free, locked = balances[asset]
        if abs(free + locked - Decimal(repr(amount))) > _QUOTE_UNIT * max(1, fills):
            found.append((asset, repr(amount), str(free + locked)))
    return tuple(found)
