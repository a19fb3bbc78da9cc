"""A home with a minute market, a model that trades it, and a bot that runs through the local exchange."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bot.config.loader import ConfigFile, parse_config
from bot.home import Home
from bot.live.opening import choose_all, open_run
from bot.live.runner import LiveRun
from bot.live.venue import embedded_server, embedded_venue
from bot.market.store import CandleStore
from bot.market.synth import store_synthetic
from bot.series import cut_series, exchange_rules, read_series
from bot.state import StateDatabase
from ml.engines import open_bundle
from ml.training.settings import TrainingSettings
from ml.training.trainer import train
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

TEXT = """
name: {name}
strategy: MLBasic
params: {{enter: 0.53, exit: 0.47, min_edge: none}}
symbols: [SYNTH]
timeframe: 1m
data: {{exchange: synth, start: {start}, end: {end}}}
models: {{prediction: "{{symbol}}/basic@newest"}}
broker: {{cash: 10000, commission: 0.0001, slippage: 0.0001}}
risk: {{max_position: 0.9, stop_loss: 0.004, take_profit: 0.006}}
"""


def build_home(root: Path, bars: int, *, trained_on: int = 12_000, features: Any = None) -> Home:
    """Store a minute market with a planted edge and register a basic model of its first bars."""
    from datetime import UTC, datetime

    home = Home(root)
    store_synthetic(CandleStore(home.candles), "SYNTH", bars=bars, edge=0.06, seed=5, timeframe="1m")
    candles = CandleStore(home.candles).read("SYNTH", "1m", "synth").candles
    settings = TrainingSettings(folds=3, plots=False, **({} if features is None else {"features": features}))
    key = ModelKey("SYNTH", "basic", "1m")
    at = datetime(2026, 1, 2, tzinfo=UTC)
    files = train(candles.slice(0, trained_on), key, settings, at=at, code_version="test").files
    PredictionModelRegistry(home.models, open_bundle).register(key, files, at=at)
    return home


def config(start: str, end: str, name: str = "live-market") -> ConfigFile:
    """Return the config of the bot."""
    return parse_config(TEXT.format(name=name, start=start, end=end), "live.yaml")


@contextmanager
def lockstep_bot(file: ConfigFile, home: Home, state_path: Path, *, last_row: int | None = None, **options: Any):
    """Give a bot that is ready to start on a local exchange in lockstep; it stops after a row of the traded bars."""
    choices = choose_all(file, home)
    symbol = file.config.symbols[0]
    stored = read_series(file, symbol, home)
    cut, first_ms = cut_series(file, stored, choices[symbol].history)
    series = {symbol: (cut.candles.between(None, first_ms), first_ms)}
    rules = {symbol: exchange_rules(file.config, cut.rules)}
    traded = cut.candles.between(first_ms, None)
    last_ms = int(traded.open_ms[-1 if last_row is None else last_row])
    server = embedded_server(
        file, {symbol: cut.candles}, rules, options.pop("start_ms", first_ms), options.pop("clock", None)
    )
    with server, StateDatabase(state_path) as state:
        venue = embedded_venue(server, series, lockstep=options.pop("lockstep", True))
        opened = open_run(file, home, state, venue, choices=choices, now_ms=lambda: time.time_ns() // 1_000_000)
        run = LiveRun(file, home, state, venue, opened, last_bar_ms=last_ms, **options)
        try:
            yield run, server, state
        finally:
            venue.gateway.close()
