"""A recipe: what is trained again and again; a version of a model is one fit of it.

Skill is measured of recipes, not of versions: no single refit lives long enough to be judged. What a recipe *is* is therefore
a digest of everything that decides what is learnt; its name, its rhythm and its expiry are free to change.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from ml.candles import OPTIONAL_COLUMNS, PRICE_COLUMNS
from ml.errors import InvalidParameter, InvalidRecipe, UnknownFeature, UnknownPredictor
from ml.features.catalogue import GROUPS, feature, select_names
from ml.predictors.catalogue import predictor_class
from ml.tasks.catalogue import PATH
from ml.training.documents import recipe_digest
from ml.training.plan import minimum_bars
from ml.training.settings import TrainingSettings
from registry.errors import InvalidName
from registry.names import ModelKey, normalise_symbol, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ml.predictors.contract import Predictor

__all__ = ["DEFAULT_EVERY_MS", "Recipe", "normalise_features"]

DEFAULT_EVERY_MS = 12 * 3_600_000
"""A refit each half day."""

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))
_COLUMNS = frozenset((*PRICE_COLUMNS, *OPTIONAL_COLUMNS))
_SENTIMENT = "sentiment"

Problem = tuple[tuple[str | int, ...], str]


def normalise_features(names: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return names and groups as a recipe keeps them: split at commas and spaces, each once; None for the default ones.

    The order stays: it is that of the columns, and decides what is learnt. Groups are not spelt out, so a recipe follows the
    catalogue.
    """
    parts = [part for text in names for part in text.replace(",", " ").split()]
    found = tuple(dict.fromkeys("default" if part == "all" else part for part in parts))
    return None if found == ("default",) else found


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is learnt, from what and how often.

    Attributes
    ----------
    name
        Lower-case letters, digits, ``-`` and ``_``, at most 64: for people and for the store.
    symbol, model_type, timeframe
        Canonical names.
    horizon
        Bars ahead that the model speaks of.
    exchange
        Source of the candles; None for the only one that the store has.
    architecture
        Model of the type, such as ``lstm``; None for the type's default.
    features
        Names and groups as `normalise_features` returns them, or None for the default ones.
    parameters
        Of the predictor, where they differ from its defaults; names may be aliases, numbers may be text.
    sentiment
        Series of sentiment to join; None for the usual one, where the features read any.
    window_ms
        Length of the time to learn from, milliseconds up to the newest candle; None for all there is.
    every_ms
        Time between two refits.
    expires_after_ms
        Age at which a version does not answer any more; None for never.
    folds, seed, threads
        As in ``ml.training.settings.TrainingSettings``.

    Raises
    ------
    InvalidRecipe
        With everything that is wrong.
    """

    name: str
    symbol: str
    model_type: str
    timeframe: str
    horizon: int
    exchange: str | None = None
    architecture: str | None = None
    features: tuple[str, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    sentiment: str | None = None
    window_ms: int | None = None
    every_ms: int = DEFAULT_EVERY_MS
    expires_after_ms: int | None = None
    folds: int = 5
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        """Copy what could be changed from outside, and refuse what makes no sense."""
        object.__setattr__(self, "parameters", dict(self.parameters))
        problems = tuple(_problems(self))
        if problems:
            raise InvalidRecipe(*problems)

    @property
    def key(self) -> ModelKey:
        """Symbol, type and timeframe: whose champion its versions may become."""
        return ModelKey(self.symbol, self.model_type, self.timeframe)

    @property
    def family(self) -> type[Predictor]:
        """The predictor's class."""
        return predictor_class(self.model_type, self.architecture)

    @property
    def task(self) -> str:
        """Name of the task, such as ``direction``."""
        return self.family.task

    @property
    def reads_sentiment(self) -> bool:
        """Whether a series of sentiment must be joined to the candles."""
        named = (*(self.features or ()), *_required_features(self.family, self.horizon))
        return any(_reads_sentiment(name) for name in named)

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of what decides what is learnt: everything but the name, the rhythm and the expiry.

        The architecture and every parameter are spelt out: a default that is written down is the same recipe, and one that
        changes in the code is another.
        """
        return recipe_digest(
            {
                "symbol": self.symbol,
                "model_type": self.model_type,
                "architecture": self.family.architecture,
                "timeframe": self.timeframe,
                "horizon": self.horizon,
                "exchange": self.exchange,
                "features": None if self.features is None else list(self.features),
                "parameters": dict(self.family(self.parameters).parameters),
                "sentiment": self.sentiment,
                "window_ms": self.window_ms,
                "folds": self.folds,
                "seed": self.seed,
                "threads": self.threads,
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """Return every field as plain data."""
        return asdict(self) | {"features": None if self.features is None else list(self.features)}

    def settings(self, first_ms: int | None, exchange: str, searched_trials: int = 0) -> TrainingSettings:
        """Return what the trainer is asked to do.

        Neither plots nor the battery of robustness: nobody looks at the pictures of a refit, and the pipeline promotes by the
        bars that came after it. Figures that are too good start the battery all the same.

        Parameters
        ----------
        first_ms
            Open time of the first bar to learn from; None for the first of all.
        exchange
            Where the candles came from.
        searched_trials
            How many sets of parameters were tried before these.
        """
        return TrainingSettings(
            horizon=self.horizon,
            features=self.features,
            parameters=dict(self.parameters),
            folds=self.folds,
            seed=self.seed,
            threads=self.threads,
            plots=False,
            exchange=exchange,
            sentiment=self.sentiment,
            architecture=self.architecture,
            robustness=False,
            searched_trials=searched_trials,
            first_ms=first_ms,
        )


def _problems(recipe: Recipe) -> Iterator[Problem]:
    """Yield everything that is wrong; what cannot be judged because of an earlier fault is left out."""
    if not _NAME.fullmatch(recipe.name):
        words = "expected up to 64 lower-case letters, digits, dashes and underscores, such as btc-basic-1h"
        yield ("name",), f"{recipe.name!r} is not a name for a recipe: {words}"
    try:
        if normalise_symbol(recipe.symbol) != recipe.symbol:
            yield ("symbol",), f"{recipe.symbol!r} is not canonical: use normalise_symbol first"
    except InvalidName as error:
        yield ("symbol",), str(error)
    yield from _number_problems(recipe)
    try:
        step_ms = timeframe_ms(recipe.timeframe)
    except InvalidName as error:
        yield ("timeframe",), str(error)
        return
    yield from _length_problems(recipe, step_ms)
    where = "model_type"
    try:
        predictor_class(recipe.model_type)
        where = "architecture"
        family = recipe.family
    except UnknownPredictor as error:
        yield (where,), str(error)
        return
    if family.task == PATH:
        words = "such models are not refitted by recipes yet: use `bot train model`"
        yield ("model_type",), f"{recipe.model_type} forecasts whole paths of candles, and {words}"
        return
    yield from _parameter_problems(recipe, family)
    yield from _feature_problems(recipe, family)


def _number_problems(recipe: Recipe) -> Iterator[Problem]:
    for name in ("horizon", "folds", "seed", "threads"):
        try:
            TrainingSettings(**{name: getattr(recipe, name)})
        except InvalidParameter as error:
            words = f"seed is {recipe.seed}, expected 0 to {2**31 - 1}" if name == "seed" else str(error)
            yield (name,), words


def _length_problems(recipe: Recipe, step_ms: int) -> Iterator[Problem]:
    least = minimum_bars(recipe.timeframe)
    if recipe.window_ms is not None and recipe.window_ms < least * step_ms:
        held = max(0, recipe.window_ms // step_ms)
        words = f"training asks for at least {least:,}"
        yield (
            ("window_ms",),
            f"a window of {_length(recipe.window_ms)} holds {held:,} bars of {recipe.timeframe}: {words}",
        )
    if recipe.every_ms < step_ms:
        words = f"there is nothing new before a bar of {recipe.timeframe} has closed"
        yield ("every_ms",), f"a refit every {_length(recipe.every_ms)} is too often: {words}"
    if recipe.expires_after_ms is not None and recipe.expires_after_ms < recipe.every_ms:
        words = f"before its next refit, which comes every {_length(recipe.every_ms)}"
        yield ("expires_after_ms",), f"a version would expire after {_length(recipe.expires_after_ms)}, {words}"


def _parameter_problems(recipe: Recipe, family: type[Predictor]) -> Iterator[Problem]:
    good: dict[str, Any] = {}
    for name, value in recipe.parameters.items():
        try:
            family({**good, name: value})
        except InvalidParameter as error:
            yield ("parameters", name), str(error)
        else:
            good[name] = value


def _feature_problems(recipe: Recipe, family: type[Predictor]) -> Iterator[Problem]:
    known = True
    for position, name in enumerate(recipe.features or ()):
        try:
            # beside the default ones, since a group alone may be empty for this timeframe
            select_names((name, "default"), recipe.timeframe, _COLUMNS)
        except UnknownFeature as error:
            known = False
            yield ("features", position), str(error)
    if recipe.features == ():
        yield ("features",), "no feature is named: expected names or groups such as rsi_14 or price, or default"
    try:
        _required_features(family, recipe.horizon)
    except InvalidParameter as error:
        yield ("horizon",), str(error)
        return
    if known and recipe.sentiment is not None and not recipe.reads_sentiment:
        words = f"is not read by {recipe.model_type}: add sentiment to its features"
        yield ("sentiment",), f"the series {recipe.sentiment!r} {words}"


def _required_features(family: type[Predictor], horizon: int) -> tuple[str, ...]:
    """Return the names and groups that the family asks for beyond those that are chosen."""
    hook = getattr(family(), "required_features", None)
    return () if hook is None else tuple(hook(horizon))


def _reads_sentiment(name: str) -> bool:
    """Return whether a name of a feature or group stands for the side series."""
    if name in GROUPS or name == "default":
        return name == _SENTIMENT
    return _SENTIMENT in feature(name).columns


def _length(milliseconds: int) -> str:
    """Return a length of time as a person would write it, such as 7d."""
    for unit, size in _UNITS:
        if milliseconds % size == 0 and milliseconds >= size:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms"
