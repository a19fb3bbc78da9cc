"""The candles and the rules of orders that a config names, and the part of them that a run is fed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bot.broker.rules import ExchangeRules
from bot.errors import SeriesNotFound, UsageError
from bot.market.store import CandleStore, StoredSeries
from ml.candles import format_ms

if TYPE_CHECKING:
    from bot.config.loader import ConfigFile
    from bot.config.schema import StrategyConfig
    from bot.home import Home

__all__ = ["check_series", "cut_series", "exchange_rules", "read_series"]


def read_series(file: ConfigFile, symbol: str, home: Home) -> StoredSeries:
    """Return the whole series that the config names: from the store, or from the built-in market.

    Raises
    ------
    ConfigError
        When the store holds no such series, or holds it from several sources.
    DataError
        When the stored file is damaged.
    """
    config = file.config
    synth = config.data.synth
    if synth is not None:
        from bot.market.synth import SYNTH_RULES, synthetic_origin
        from ml.synthetic import synthetic_candles

        candles = synthetic_candles(
            synth.bars, edge=synth.edge, path_drift=synth.path_drift, seed=synth.seed, timeframe=config.timeframe
        )
        origin = synthetic_origin(synth.edge, synth.path_drift, synth.seed)
        return StoredSeries(candles, symbol, "synth", candles.digest, SYNTH_RULES, origin=origin)
    return CandleStore(home.candles).read(symbol, config.timeframe, check_series(file, symbol, home))


def check_series(file: ConfigFile, symbol: str, home: Home) -> str | None:
    """Raise ``ConfigError`` where the store does not hold the series: an unknown symbol is told before its model."""
    config = file.config
    if config.data.synth is None:
        try:
            CandleStore(home.candles).find(symbol, config.timeframe, config.data.exchange)
        except SeriesNotFound as error:
            raise file.error(("symbols", config.symbols.index(symbol)), str(error)) from None
        except UsageError as error:
            raise file.error(("data",), str(error)) from None
    return config.data.exchange


def exchange_rules(config: StrategyConfig, stored: ExchangeRules | None) -> ExchangeRules:
    """Return the rules of orders: the config's where it has them, else those stored beside the candles."""
    known = {} if stored is None else stored.to_dict()
    return ExchangeRules.from_dict({**known, **config.broker.rules})


def cut_series(file: ConfigFile, series: StoredSeries, history: int | None) -> tuple[StoredSeries, int]:
    """Return the series from before the first bar that may trade to the end, and that bar's open time.

    The feed begins half as early again as the longest window reaches: a window of weekdays spans more days than bars.
    """
    data, candles = file.config.data, series.candles
    first, last = (int(candles.open_ms[0]), int(candles.open_ms[-1])) if len(candles) else (0, -1)
    start = first if data.start_ms is None else data.start_ms
    if data.start_ms is not None and (len(candles) == 0 or start > last):
        raise file.error(("data", "start"), f"no candles from {data.start} on: {_extent(series)}")
    if data.end_ms is not None and data.end_ms <= max(start, first):
        raise file.error(("data", "end"), f"no candles before {data.end}: {_extent(series)}")
    everything = data.start_ms is None or history is None
    warm_ms = None if everything or history is None else start - (history + history // 2) * candles.step_ms
    part = candles.between(warm_ms, data.end_ms)
    rows = int((part.open_ms >= start).sum())
    if rows < 2:
        raise file.error(("data",), f"{rows} bars between start and end, at least 2 are needed: {_extent(series)}")
    cut = StoredSeries(
        part,
        series.symbol,
        series.exchange,
        part.digest,
        series.rules,
        series.maker_fee,
        series.taker_fee,
        series.origin,
    )
    return cut, int(part.open_ms[np.searchsorted(part.open_ms, start)])


def _extent(series: StoredSeries) -> str:
    candles = series.candles
    if len(candles) == 0:
        return f"{series.symbol} {candles.timeframe} from {series.exchange} is empty"
    first, last = format_ms(int(candles.open_ms[0])), format_ms(int(candles.open_ms[-1]))
    return f"{series.symbol} {candles.timeframe} from {series.exchange} runs from {first} to {last}"
