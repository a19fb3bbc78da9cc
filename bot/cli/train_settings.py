"""From the options of ``bot train model`` to the settings of a training run."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bot.market.sentiment import SentimentSeries
    from bot.market.store import StoredSeries
    from ml.candles import Candles
    from ml.predictors.contract import Predictor

__all__ = ["FAMILIES", "chosen_features", "joined_sentiment", "model_parameters", "span", "with_sentiment", "words"]

FAMILIES = (
    *("basic", "sentiment", "direction", "price_nn", "momentum"),
    *("risk", "volatility", "autoregressive", "multi_ohlc"),
)
"""What ``--type`` takes, spelt out so that ``--help`` need not load the models; a test holds it against the catalogue."""


def span(candles: Candles, start: str | None, end: str | None) -> tuple[int | None, Candles]:
    """Return the first bar to learn from and the candles up to the end; an end given as a date includes that day.

    Candles before the start stay: they warm the features of the first bars.
    """
    from bot.market.times import parse_moment

    first = None if start is None else parse_moment(start)
    last = None if end is None else parse_moment(end, whole_day=True)
    if first is not None and last is not None and first >= last:
        raise UsageError(f"--start-date {start} is not before --end-date {end}")
    return first, candles.between(None, last)


def words(values: Sequence[str]) -> list[str]:
    """Split at commas and spaces."""
    return [word for value in values for word in value.replace(",", " ").split()]


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


def model_parameters(
    family: type[Predictor], values: Sequence[str], options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters of ``--params`` and of the options that networks have, and a note on each that is not used.

    Parameters
    ----------
    family
        What is trained; an option counts where the family has a parameter of its name.
    values
        ``key=value`` words.
    options
        ``epochs``, ``batch_size``, ...; None where not given.

    Raises
    ------
    UsageError
        When a word is not of that form, or a parameter is given twice.
    """
    found: dict[str, Any] = {}
    for word in words(values):
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--params {word!r}: expected key=value, such as num_leaves=15")
        if name in found:
            raise UsageError(f"--params {name} is given twice")
        found[name] = value
    known = family().parameters
    notes = []
    for name, value in options.items():
        if value is None:
            continue
        option = "--disable-mixed-precision" if name == "mixed_precision" else f"--{name.replace('_', '-')}"
        if name not in known:
            notes.append(f"{option} has no meaning for {family.type_name} ({family.architecture}) and is not used")
        elif name in found:
            raise UsageError(f"{option} and --params {name} are the same parameter: give one of them")
        else:
            found[name] = value
    return found, notes
