"""The catalogue of features: every name, its group, its formula, the kernel that computes it.

Groups: price, technical, rolling, pattern, time, microstructure, and sentiment, whose features read a side series (an index
of fear and greed, say) that was joined to the candles by the time of its publication. They are in no default set.

Plain levels (``ema_10``, ``close``, ``vwap``, ``volume_sma_20``) are in units of price or volume: they are there to be drawn
and traded on. Models take the scale-free ones; those that say the same to a tree as another feature (``log_return_1`` beside
``return_1``) are not in the default set either.

Where a name holds a period, any other period may stand there: ``rsi_9`` is as good a name as ``rsi_14``.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ml.errors import MissingColumns, UnknownFeature
from ml.features.families import FeatureSpec
from ml.features.groups import clock, microstructure, pattern, price, rolling, sentiment, technical
from registry.errors import suggestion
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

__all__ = [
    "GROUPS",
    "default_names",
    "describe",
    "feature",
    "feature_names",
    "groups",
    "missing_columns",
    "select_names",
]

GROUPS = {
    "price": "returns, momentum and the shape of the newest candles",
    "technical": "indicators of trend, strength, volatility and volume",
    "rolling": "moving means, deviations, extremes and moments of returns",
    "pattern": "candlestick and volume patterns, support and resistance",
    "time": "UTC clock and calendar of the candle's open",
    "microstructure": "order flow, spreads, impact and trade sizes",
    "sentiment": "a side series of sentiment: level, change, extremes",
}

# Without these columns the name of a group is refused: what would remain of it is not what was asked for.
_ESSENTIAL = {"microstructure": ("volume", "trades", "taker_buy_base")}
_SENTIMENT = "sentiment"
_FAMILIES = tuple(
    family
    for module in (price, technical, rolling, pattern, clock, microstructure, sentiment)
    for family in module.FAMILIES
)
_DAY_MS = 86_400_000
_DAILY_PERIOD_LIMIT = 50
_DEFAULT_CANDLES_OF_A_DAY = 512
_MOST_CANDLES_OF_DAYS = 1024


@cache
def _listed() -> dict[str, FeatureSpec]:
    members = (family.member(period) for family in _FAMILIES for period in family.periods)
    return {spec.name: spec for spec in members}


def feature_names(group: str | None = None) -> tuple[str, ...]:
    """Return the listed names, of one group or of all."""
    return tuple(spec.name for spec in _listed().values() if group is None or spec.group == group)


def groups() -> dict[str, tuple[str, ...]]:
    """Return the listed names by group."""
    return {group: feature_names(group) for group in GROUPS}


def feature(name: str) -> FeatureSpec:
    """Return what a name stands for.

    Raises
    ------
    UnknownFeature
        With the nearest known name, when it is neither listed nor a listed one with another period.
    """
    spec = _listed().get(name) or next((found for family in _FAMILIES if (found := family.match(name))), None)
    if spec is None:
        raise UnknownFeature(f"there is no feature {name!r}{suggestion(name, _listed())}")
    return spec


def describe(name: str) -> dict[str, Any]:
    """Return group, formula, columns, candles needed (of 1h) and properties of a feature, as plain data."""
    spec = feature(name)
    return {
        "name": spec.name,
        "group": spec.group,
        "formula": spec.formula,
        "columns": list(spec.columns),
        "candles": spec.candles("1h"),
        "scale_free": spec.scale_free,
        "default": spec.default,
    }


def default_names(timeframe: str, columns: Collection[str]) -> tuple[str, ...]:
    """Return the default features of a timeframe and of the columns that are there.

    Scale-free ones only. Candles of a day or longer take periods up to 50 and no time of day; sums since 00:00 UTC are left
    out where a day holds more than 512 candles, because they would set the length of the slice.
    """
    step = timeframe_ms(timeframe)
    held = set(columns)
    return tuple(
        spec.name
        for spec in _listed().values()
        if spec.default
        and held.issuperset(spec.columns)
        and step < spec.below_ms
        and (step < _DAY_MS or spec.period <= _DAILY_PERIOD_LIMIT)
        and (not spec.of_a_day or spec.candles(timeframe) <= _DEFAULT_CANDLES_OF_A_DAY)
    )


def select_names(chosen: Iterable[str], timeframe: str, columns: Collection[str]) -> tuple[str, ...]:
    """Return the features that a person named: names, groups and ``default``, in order, each once.

    Parameters
    ----------
    chosen
        As given to ``--features``: ``["technical", "return_1", "rsi_9"]``. A group stands for its default features, as far
        as the columns allow.
    timeframe, columns
        Of the candles.

    Raises
    ------
    UnknownFeature
        A name is neither a feature nor a group.
    MissingColumns
        A feature, or what makes out a group, needs columns that are not there.
    """
    names: dict[str, None] = {}
    defaults = default_names(timeframe, columns)
    for name in (part.strip() for text in chosen for part in text.split(",")):
        if name in {"default", "all"}:
            names.update(dict.fromkeys(defaults))
        elif name == _SENTIMENT:
            names.update(dict.fromkeys(_of_days(timeframe)))
        elif name in GROUPS:
            lacking = [column for column in _ESSENTIAL.get(name, ()) if column not in columns]
            if lacking:
                raise MissingColumns(
                    f"the feature group {name} needs the column {', '.join(lacking)}, which these candles do not have: "
                    "leave the group out, or import candles that have it"
                )
            names.update(dict.fromkeys(each for each in defaults if feature(each).group == name))
        elif name:
            known = (*_listed(), *GROUPS, "default")
            try:
                names[feature(name).name] = None
            except UnknownFeature:
                raise UnknownFeature(f"there is no feature or group {name!r}{suggestion(name, known)}") from None
    if not names:
        raise UnknownFeature("no feature is named: expected names or groups such as rsi_14, price or default")
    missing_columns(names, columns)
    return tuple(names)


def missing_columns(names: Iterable[str], columns: Collection[str]) -> None:
    """Raise ``MissingColumns`` with the first feature that needs a column which is not there."""
    for name in names:
        spec = feature(name)
        for column in spec.columns:
            if column not in columns:
                if column == _SENTIMENT:
                    raise MissingColumns(
                        f"the feature {name} needs a series of sentiment, and none is joined to these candles: "
                        "import one with `bot data import FILE --kind sentiment`"
                    )
                raise MissingColumns(
                    f"the feature {name} (group {spec.group}) needs the column {column}, which these candles do not have: "
                    "leave the feature out, or import candles that have it"
                )


def _of_days(timeframe: str) -> tuple[str, ...]:
    """Return the features of sentiment that fit a timeframe: not less than a candle, not more than 1,024 of them."""
    step = timeframe_ms(timeframe)
    specs = (feature(name) for name in feature_names(_SENTIMENT))
    return tuple(
        spec.name
        for spec in specs
        if spec.candles(timeframe) <= _MOST_CANDLES_OF_DAYS and (not spec.period or spec.period * _DAY_MS >= step)
    )
