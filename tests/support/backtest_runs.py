"""A home with candles and a small model, and runs over it."""

from __future__ import annotations

from pathlib import Path

import small_models

from bot.assembly import assemble_backtest
from bot.backtest.run import BacktestRun, run_backtest
from bot.config.loader import ConfigFile, parse_config
from bot.home import Home
from bot.market.store import CandleStore
from ml.cache import PredictionCache

CONFIG = """\
name: run
strategy: MLBasic
params: {{enter: 0.52, exit: 0.48, min_edge: {edge}}}
symbols: [BTCUSDT]
timeframe: 1h
data: {{exchange: local{when}}}
models: {{prediction: "{{symbol}}/basic@{version}"}}
broker: {{cash: 10000, commission: 0.0005, slippage: 0.0002, lot_step: 0.00001, price_tick: 0.01}}
risk: {{stop_loss: 0.05}}
"""


def config_text(edge: str = "none", when: str = "", version: str = "newest", **changes: str) -> str:
    """Return a config of MLBasic over the small model, with some of its texts replaced."""
    text = CONFIG.format(edge=edge, when=when, version=version)
    for old, new in changes.items():
        if old not in text:
            raise ValueError(f"{old!r} is not in the config")
        text = text.replace(old, new)
    return text


def config(path: str = "run.yaml", **choices: str) -> ConfigFile:
    """Return that config, read."""
    return parse_config(config_text(**choices), path)


def small_home(folder: Path) -> Home:
    """Fill a home: candles of 4,000 bars, and a model that was trained on the first 3,000 of them, not promoted."""
    home = Home(folder)
    candles = small_models.synthetic_candles(4_000, edge=0.2, seed=3)
    CandleStore(home.candles).write(candles, "BTCUSDT", "local")
    small_models.register(home.models)
    return home


def small_run(home: Home, cache: PredictionCache | None = None, **choices: str) -> BacktestRun:
    """Run that config."""
    return run_backtest(assemble_backtest(config(**choices), "BTCUSDT", home, cache))
