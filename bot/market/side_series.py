"""Which series stand beside the candles of a model, read only where a model asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from bot.market.store import StoredSeries
    from ml.candles import Candles
    from ml.engine import PredictionEngine

__all__ = ["SENTIMENT", "attach_for", "attach_to", "features_need_sentiment", "side_value"]

SENTIMENT = "sentiment"
"""Name of the candles' column, of the group of its features, and begin of their names."""

_NOTHING = object()


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
    name = _series_of(engines)
    if name is _NOTHING:
        return series
    from bot.market.sentiment import SentimentStore

    return SentimentStore(root).attach(series, name)


def attach_to(candles: Candles, engines: Iterable[PredictionEngine], root: Path) -> Candles:
    """Return candles that an exchange gave with the side series that the models read; errors as ``attach_for``."""
    name = _series_of(engines)
    if name is _NOTHING or candles.sentiment is not None:
        return candles
    from bot.market.sentiment import SentimentStore

    return SentimentStore(root).read(name).join(candles)


def side_value(engines: Iterable[PredictionEngine], root: Path, timeframe: str) -> Callable[[int], float] | None:
    """Return what gives the column's value at the close of a candle by its open time; None where no model reads it.

    The file is read anew when it has changed: values are published while a bot runs. Errors are those of ``attach_for``.
    """
    name = _series_of(engines)
    if name is _NOTHING:
        return None
    import numpy as np

    from bot.market.sentiment import SentimentSeries, SentimentStore
    from ml.candles import Candles

    store = SentimentStore(root)
    path = store.path(store.choose(name))
    known: list[tuple[int, SentimentSeries]] = []
    one = np.ones(1)

    def value(open_ms: int) -> float:
        changed = path.stat().st_mtime_ns
        if not known or known[0][0] != changed:
            known[:] = [(changed, store.read(name))]
        prices = {"open": one, "high": one, "low": one, "close": one}
        candle = Candles.from_columns(timeframe, {"open_ms": np.array([open_ms], dtype=np.int64), **prices})
        joined = known[0][1].join(candle).sentiment
        return float("nan") if joined is None else float(joined[0])

    return value


def _series_of(engines: Iterable[PredictionEngine]) -> Any:
    """Return the name of the series that the models read, None for the usual one, or ``_NOTHING``."""
    wanted = {
        name: str(engine.model)
        for outer in engines
        for engine in getattr(outer, "members", (outer,))
        if SENTIMENT in getattr(engine, "columns", ())
        for name in [_recorded(engine)]
    }
    if not wanted:
        return _NOTHING
    if len(wanted) > 1:
        words = " and ".join(
            f"{model} reads {name or 'the usual one'}" for name, model in sorted(wanted.items(), key=str)
        )
        raise UsageError(f"the models of one run read different series of sentiment: {words}")
    return next(iter(wanted))


def features_need_sentiment(names: Sequence[str]) -> bool:
    """Return whether names of features or groups ask for the column, whatever else they ask for."""
    return any(word == SENTIMENT or word.startswith(f"{SENTIMENT}_") for word in names)


def _recorded(engine: Any) -> str | None:
    """Return the name of the series that the model was trained with, as its metadata has it."""
    data = engine.model.metadata.get("data") if engine.model is not None else None
    name = data.get(SENTIMENT) if isinstance(data, dict) else None
    return name if isinstance(name, str) else None
