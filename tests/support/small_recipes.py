"""A home with a planted market, small recipes in YAML and the real pipeline over both, where time goes by as told."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bot.home import Home
from bot.market.series_file import MarketTerms
from bot.market.store import CandleStore
from bot.pipeline.building import Built, Failed, Job, build
from bot.pipeline.cycle import Pipeline
from bot.pipeline.outcomes import CycleReport
from bot.pipeline.running import open_pipeline
from ml.candles import Candles
from ml.synthetic import START_MS, synthetic_candles
from registry.names import ModelKey

HOUR = 3_600_000
KEY = ModelKey("BTCUSDT", "basic", "1h")
SMALL: dict[str, Any] = {
    "symbol": "BTC/USDT",
    "type": "basic",
    "timeframe": "1h",
    "horizon": 1,
    "every": "12h",
    "features": ["rsi_14", "taker_imbalance_20", "volatility_20"],
    "params": {"num_boost_round": 10, "num_leaves": 4, "learning_rate": 0.3, "min_data_in_leaf": 50},
    "folds": 2,
}


@functools.cache
def planted(
    bars: int,
    seed: int = 3,
    edge: float = 0.2,
    dies: int | None = None,
    path_drift: float = 0.0,
) -> Candles:
    """Return hourly candles with an edge; from the bar ``dies`` on it is as large and points the other way."""
    candles = synthetic_candles(bars, edge=edge, seed=seed, path_drift=path_drift)
    if dies is None:
        return candles
    volume, taker = candles.columns["volume"], candles.columns["taker_buy_base"].copy()
    taker[dies:] = volume[dies:] - taker[dies:]
    return replace(candles, **(candles.columns | {"taker_buy_base": taker}))


def moment(bars: int) -> int:
    """Return the moment at which so many candles have closed."""
    return START_MS + bars * HOUR


def one_by_one(jobs: Sequence[Job]) -> Iterator[Built | Failed]:
    """Do jobs in this process."""
    for job in jobs:
        yield build(job)


@dataclass
class Works:
    """A home below a folder, its recipes and settings."""

    root: Path
    seed: int = 3
    edge: float = 0.2
    dies: int | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    path_drift: float = 0.0

    def __post_init__(self) -> None:
        self.home = Home(self.root / "home")
        self.recipes = self.root / "recipes"
        self.recipes.mkdir(parents=True, exist_ok=True)
        self.settings_path = self.root / "pipeline.yaml"
        self.settings_path.write_text(yaml.safe_dump({"recipes": "recipes/", "alerts": False} | self.settings))

    def candles(self, bars: int) -> Candles:
        """Return the market as it is after so many bars."""
        return planted(10_000, self.seed, self.edge, self.dies, self.path_drift).slice(0, bars)

    def store(self, candles: Candles | int, symbol: str = "BTCUSDT", **terms: Any) -> None:
        """Put candles, or so many of the market, into the home's store in place of what is there."""
        series = self.candles(candles) if isinstance(candles, int) else candles
        CandleStore(self.home.candles).write(series, symbol, terms.pop("exchange", "synth"), MarketTerms(**terms))

    def recipe(self, name: str, **changes: Any) -> Path:
        """Write a small recipe; what is None is left out."""
        path = self.recipes / f"{name}.yaml"
        document = {key: value for key, value in (SMALL | changes).items() if value is not None}
        path.write_text(yaml.safe_dump(document))
        return path

    @contextmanager
    def pipeline(
        self, *, builder: Any = one_by_one, now_ms: int = 0, follow: Any = None, **options: Any
    ) -> Iterator[Pipeline]:
        """Yield the pipeline as the command opens it; without a builder that of the command builds.

        Its clock stands at a moment of the market, before all others unless told; ``follow`` is told of decisions.
        """
        with open_pipeline(self.home, self.settings_path, [], **options) as pipeline:
            pipeline._code_version = "test"
            pipeline._clock = lambda: now_ms
            if follow is not None:
                pipeline._follow = follow
            if builder is not None:
                pipeline._builder = builder
            yield pipeline

    def cycle(self, bars: int, *, force: bool = False, stored: bool = True, **options: Any) -> CycleReport:
        """Let the market go on to so many bars and do a cycle then."""
        if stored:
            self.store(bars)
        with self.pipeline(**options) as pipeline:
            return pipeline.run(moment(bars), force=force)


def rows_of(pipeline: Pipeline, stream: str, task: str = "direction") -> dict[str, list[Any]]:
    """Return a record as columns of plain numbers; NaN is None, so that equal records are equal."""
    columns = pipeline.records.read(stream, task).columns()
    return {
        name: [None if isinstance(value, float) and np.isnan(value) else value for value in column.tolist()]
        for name, column in columns.items()
    }
