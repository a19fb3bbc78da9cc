"""Live runs in lockstep against a local exchange of this process, written into the state database of a home."""

from __future__ import annotations

import time
from dataclasses import replace

from backtest_runs import config_text
from small_models import register, synthetic_candles

from bot.assembly import assemble_backtest
from bot.config.loader import ConfigFile, parse_config
from bot.home import Home
from bot.live.opening import choose_all, open_run
from bot.live.runner import LiveRun
from bot.live.venue import embedded_server, embedded_venue
from bot.market.store import CandleStore
from bot.state import StateDatabase
from ml.candles import Candles

STARTS = ", start: 2018-04-27"  # of `home_with`: 216 bars before the end
SHORT = f"{STARTS}, end: 2018-04-29"  # 72 bars
RISK = "{stop_loss: 0.004, take_profit: 0.006, cooldown_bars: 1}"


def home_with(folder, *, bars: int = 3_000, symbols=("BTCUSDT",), keep=None, columns=None) -> Home:
    """Fill a home with synthetic candles and a small model that was trained on them.

    Parameters
    ----------
    keep
        Tells of each row whether it stays, for gaps.
    columns
        Names of the optional columns that stay; None for all.
    """
    home = Home(folder)
    for number, symbol in enumerate(symbols):
        candles = synthetic_candles(bars, edge=0.2, seed=3 + number)
        if keep is not None:
            kept = keep(candles)
            parts = {name: column[kept] for name, column in candles.columns.items()}
            candles = Candles.from_columns(
                candles.timeframe, {"open_ms": candles.open_ms[kept], **parts}, candles.asked
            )
        if columns is not None:
            parts = {
                name: column
                for name, column in candles.columns.items()
                if name in {"open", "high", "low", "close", *columns}
            }
            candles = Candles.from_columns(candles.timeframe, {"open_ms": candles.open_ms, **parts}, candles.asked)
        CandleStore(home.candles).write(candles, symbol, "local")
    register(home.models)
    return home


def basic_config(path: str = "run.yaml", when: str = STARTS, **changes: str) -> ConfigFile:
    """Return a config of MLBasic over that home that trades often, with stops and targets."""
    changes = {"{stop_loss: 0.05}": RISK, **changes}
    return parse_config(config_text(when=when, **changes), path)


def restless_config(
    support, *, params: str = "{}", symbols: str = "[BTCUSDT]", broker: str = "", when: str = STARTS
) -> ConfigFile:
    """Return a config of the strategy that does everything; ``support`` is the folder of its module."""
    text = (
        f"name: restless\nstrategy: restless_strategy:Restless\nparams: {params}\nsymbols: {symbols}\ntimeframe: 1h\n"
        f"data: {{exchange: local{when}}}\n"
        f"broker: {{cash: 10000, commission: 0.0005, slippage: 0.0002, lot_step: 0.00001, price_tick: 0.01{broker}}}\n"
    )
    return parse_config(text, str(support / "restless.yaml"))


def record_run(file: ConfigFile, home: Home, *, bars: int | None = None, slippage: float | None = None) -> str:
    """Let a bot run in lockstep, and return the id of its run.

    Parameters
    ----------
    bars
        How many bars it trades; None for all.
    slippage
        Of the exchange, where it differs from the config's.
    """
    sides = {symbol: assemble_backtest(file, symbol, home) for symbol in file.config.symbols}
    candles = {symbol: side.candles for symbol, side in sides.items()}
    series = {symbol: (side.candles.slice(0, side.first_row), side.trade_from_ms) for symbol, side in sides.items()}
    rules = {symbol: side.rules for symbol, side in sides.items()}
    first = next(iter(sides.values()))
    last_row = len(first.candles) - 1 if bars is None else first.first_row + bars - 1
    terms = file
    if slippage is not None:
        broker = file.config.broker.model_copy(update={"slippage": slippage})
        terms = replace(file, config=file.config.model_copy(update={"broker": broker}))
    with (
        embedded_server(terms, candles, rules, first.trade_from_ms) as exchange,
        StateDatabase(home.state_db) as state,
    ):
        venue = embedded_venue(exchange, series, lockstep=True)
        opened = open_run(file, home, state, venue, choices=choose_all(file, home), now_ms=_now_ms)
        run = LiveRun(file, home, state, venue, opened, last_bar_ms=int(first.candles.open_ms[last_row]))
        run.prepare()
        run.start()
        run.wait()
        venue.gateway.close()
        return opened.run.run_id


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
