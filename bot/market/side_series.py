"""Which series stand beside the candles of a model, read only where a model asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bot.market.store import StoredSeries
    from ml.engine import PredictionEngine

__all__ = ["SENTIMENT", "attach_for", "features_need_sentiment"]

SENTIMENT = "sentiment"
"""Name of the candles' column, of the group of its features, and begin of their names."""


def attach_for(series: StoredSeries, engines: Iterable[PredictionEngine], root: Path) -> StoredSeries:
    """Return the series with the side series that the models read, each as its bundle names it; often the series itself.

    Parameters
    ----------
    series
        Candles as the store holds them.
    engines
        Of the models, ensembles among them.
    root
        The folder of candles.

    Raises
    ------
    SeriesNotFound
        When a model needs a series that was not imported; the message names the command.
    UsageError
        When two models read different series: a candle has one column.
    DataError, StorageError
        When the file of the series is damaged or cannot be read.
    """
    wanted = {
        name: str(engine.model)
        for outer in engines
        for engine in getattr(outer, "members", (outer,))
        if SENTIMENT in getattr(engine, "columns", ())
        for name in [_recorded(engine)]
    }
    if not wanted:
        return series
    if len(wanted) > 1:
        words = " and ".join(
            f"{model} reads {name or 'the usual one'}" for name, model in sorted(wanted.items(), key=str)
        )
        raise UsageError(f"the models of one run read different series of sentiment: {words}")
    from bot.market.sentiment import SentimentStore

    return SentimentStore(root).attach(series, next(iter(wanted)))


def features_need_sentiment(names: Sequence[str]) -> bool:
    """Return whether names of features or groups ask for the column, whatever else they ask for."""
    return any(word == SENTIMENT or word.startswith(f"{SENTIMENT}_") for word in names)


def _recorded(engine: Any) -> str | None:
    """Return the name of the series that the model was trained with, as its metadata has it."""
    data = engine.model.metadata.get("data") if engine.model is not None else None
    name = data.get(SENTIMENT) if isinstance(data, dict) else None
    return name if isinstance(name, str) else None
