"""From the words of a training request to candles and features."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bot.market.sentiment import SentimentSeries
    from bot.market.store import StoredSeries
    from bot.training import TrainingRequest
    from ml.candles import Candles
    from ml.predictors.contract import Predictor

__all__ = ["chosen_features", "joined_sentiment", "span", "with_sentiment", "words"]

_DAY_MS = 86_400_000


def words(values: Sequence[str]) -> list[str]:
    """Split at commas and spaces."""
    return [word for value in values for word in value.replace(",", " ").split()]


def span(candles: Candles, request: TrainingRequest) -> tuple[int | None, Candles]:
    """Return the first bar to learn from and the candles up to the end; an end given as a date includes that day.

    Candles before the start stay: they warm the features of the first bars.
    """
    from bot.market.times import parse_moment

    first = None if request.start is None else parse_moment(request.start)
    last = None if request.end is None else parse_moment(request.end, whole_day=True)
    if first is not None and last is not None and first >= last:
        raise UsageError(f"--start-date {request.start} is not before --end-date {request.end}")
    candles = candles.between(None, last)
    if request.days is not None and len(candles):
        first = int(candles.open_ms[-1]) + candles.step_ms - round(request.days * _DAY_MS)
        first = min(first, int(candles.open_ms[-min(max(request.least_bars, 1), len(candles))]))
    return first, candles


def chosen_features(values: Sequence[str], candles: Candles) -> tuple[str, ...] | None:
    """Return the features of names and groups, or None for the default ones.

    Raises
    ------
    UsageError
        When the option was given without a name.
    """
    from ml.features.catalogue import select_names

    named = words(values)
    empty = next((value for value in values if not words([value])), None)
    if empty is not None:
        raise UsageError(
            f"--features {empty!r} names no feature: give names or groups, or leave it out for the default"
        )
    return tuple(select_names(named, candles.timeframe, candles.columns)) if named else None


def joined_sentiment(
    family: type[Predictor], features: Sequence[str], name: str | None, root: Path
) -> SentimentSeries | None:
    """Return the series of sentiment that the family or the features ask for, None where nothing does.

    Raises
    ------
    UsageError
        When a series is named that nothing reads, or none is named and there are several.
    SeriesNotFound
        When there is none; the message names the command that imports one.
    """
    from bot.market.sentiment import SentimentStore
    from bot.market.side_series import features_need_sentiment

    required = getattr(family(), "required_features", None)
    if features_need_sentiment([*words(features), *(() if required is None else required(1))]):
        return SentimentStore(root).read(name)
    if name is not None:
        raise UsageError(f"--sentiment {name} is not read by {family.type_name}: add sentiment to --features")
    return None


def with_sentiment(stored: StoredSeries, sentiment: SentimentSeries | None) -> StoredSeries:
    """Return the stored candles with what was known of the sentiment at each close; as they are without a series.

    Raises
    ------
    UsageError
        When no candle has a value: the model would read nothing under that name.
    """
    from ml.candles import format_ms

    if sentiment is None:
        return stored
    candles = sentiment.join(stored.candles)
    if len(candles) and (candles.sentiment is None or not (candles.sentiment >= 0).any()):
        known = sentiment.published_ms
        raise UsageError(
            f"no candle of {stored.symbol} {candles.timeframe} has a value of {sentiment.name}: its values became known from "
            f"{format_ms(int(known[0]))} to {format_ms(int(known[-1]))}, the candles are of "
            f"{format_ms(int(candles.open_ms[0]))} to {format_ms(int(candles.open_ms[-1]))}"
        )
    return replace(stored, candles=candles)
