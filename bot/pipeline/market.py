"""The candles of recipes: brought up to date where they came from an exchange, and cut at a moment."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from bot.errors import BotError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.market.store import CandleStore, StoredSeries
    from ml.recipes import Recipe
    from registry.model import StrategyModel

__all__ = ["CandlesOf", "Market", "until"]

_DOWNLOADED = "download from "


class CandlesOf(Protocol):
    """Where a cycle has its candles from."""

    def fetch(self, symbol: str, timeframe: str, exchange: str | None, now_ms: int) -> str:
        """Bring a series up to date; returns what was done, in words."""
        ...

    def read(self, recipe: Recipe) -> StoredSeries:
        """Return the series of a recipe, with the side series that it reads."""
        ...

    def read_for(self, model: StrategyModel) -> StoredSeries:
        """Return the series that a model was trained on, as it is now."""
        ...


@dataclass(frozen=True)
class Market:
    """The candle store, and the exchanges that its series were downloaded from.

    Attributes
    ----------
    store
        Candles on the disk.
    connect
        Returns a ccxt client of an exchange.
    now_ms
        This computer's clock.
    """

    store: CandleStore
    connect: Callable[[str], object]
    now_ms: Callable[[], int]

    def fetch(self, symbol: str, timeframe: str, exchange: str | None, now_ms: int) -> str:
        """Ask the exchange for the candles since the last stored one; a series that was imported or made up stays as it is.

        Raises
        ------
        ExchangeError, DataError, StorageError
            As ``bot.market.download.Download.run``.
        SeriesNotFound
            When there is no such series.
        """
        from bot.market.download import Download
        from bot.market.exchanges import ExchangeSource
        from bot.market.series_file import read_header
        from registry.names import timeframe_ms

        header = read_header(self.store.find(symbol, timeframe, exchange))
        if not (header.origin or "").startswith(_DOWNLOADED):
            return f"{symbol} {timeframe} from {header.exchange} is not fetched: it was not downloaded"
        step_ms = timeframe_ms(timeframe)
        if header.last_ms + 2 * step_ms > now_ms:
            return f"{symbol} {timeframe} from {header.exchange} is up to date"
        source = ExchangeSource(self.connect(header.exchange), symbol, timeframe, self.now_ms)
        done = Download(source, self.store).run(header.last_ms + step_ms, None, lambda _share, _text: None)
        return f"{symbol} {timeframe} from {header.exchange}: {done.added:,} candles added"

    def read(self, recipe: Recipe) -> StoredSeries:
        """Return the stored series, sentiment joined where the recipe reads it."""
        from bot.market.sentiment import SentimentStore

        series = self.store.read(recipe.symbol, recipe.timeframe, recipe.exchange)
        if not recipe.reads_sentiment:
            return series
        sentiment = SentimentStore(self.store.root).read(recipe.sentiment)
        return replace(series, candles=sentiment.join(series.candles))

    def read_for(self, model: StrategyModel) -> StoredSeries:
        """Return the stored series that a model was trained on, sentiment joined where it reads it."""
        from bot.market.side_series import attach_for
        from ml.engine import PredictionEngine

        series = self.store.read(model.symbol, model.timeframe, model.metadata.get("data", {}).get("exchange"))
        return attach_for(series, [PredictionEngine(model)], self.store.root)


def until(series: StoredSeries, now_ms: int) -> StoredSeries:
    """Return a series with the candles that have closed by a moment.

    Raises
    ------
    BotError
        When none has.
    """
    candles = series.candles
    cut = candles.between(None, now_ms - candles.step_ms + 1)
    if not len(cut):
        raise BotError(
            f"{series.symbol} {candles.timeframe} from {series.exchange} has no candle that has closed by then"
        )
    return series if len(cut) == len(candles) else replace(series, candles=cut)
