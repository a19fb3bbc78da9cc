"""Read recipes from YAML, one file each; every error names file, line and column."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from bot.config.document import Kind, read_document
from bot.config.values import Length, Listed, Part, Symbol, Timeframe, duration_ms
from bot.errors import ConfigError, UsageError
from ml.errors import InvalidRecipe, UnknownPredictor
from ml.predictors.catalogue import predictor_class
from ml.predictors.libraries import missing
from ml.recipes import DEFAULT_EVERY_MS, Recipe, normalise_features
from ml.tasks.catalogue import PATH
from ml.training.settings import default_horizon
from registry.errors import InvalidName
from registry.names import normalise_type, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bot.config.document import Document, Finding, Location

__all__ = ["RecipeSettings", "load_recipes", "missing_library"]

_KIND = Kind("recipe", "symbol: ..., type: ..., timeframe: ...")
_SUFFIXES = (".yaml", ".yml")
_KEYS = {
    "model_type": "type",
    "architecture": "model",
    "parameters": "params",
    "window_ms": "window",
    "every_ms": "every",
    "expires_after_ms": "expires_after",
}
"""What the fields of a recipe are called in YAML, where it is something else."""


def _type(value: str) -> str:
    try:
        return normalise_type(value)
    except InvalidName as error:
        raise ValueError(str(error)) from None


def _series(value: str) -> str:
    from bot.market.sentiment import sentiment_name

    try:
        return sentiment_name(value)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _features(value: Any) -> Any:
    if isinstance(value, str):
        return (value,)
    if isinstance(value, list):
        return tuple(value)
    raise ValueError(f"expected names or groups such as [price, rsi_14], or default, got {value}")


def _window(value: Any) -> int | None:
    return _length_or(value, "all")


def _expiry(value: Any) -> int | None:
    return _length_or(value, "never")


def _length_or(value: Any, word: str) -> int | None:
    """Return milliseconds, None for a word."""
    if value is None or value == word:
        return None
    try:
        return duration_ms(value)
    except ValueError as error:
        raise ValueError(f"{error}, or {word}") from None


class RecipeSettings(Part):
    """What a file says; ``symbols`` makes one recipe of each, its name followed by the symbol.

    ``window`` is how much of the newest past is learnt from, ``all`` for everything. A version that is older than
    ``expires_after`` does not answer. ``every`` is the time between two refits: without it that of the pipeline's settings.
    """

    name: str | None = None
    symbol: Symbol | None = None
    symbols: Annotated[tuple[Symbol, ...], Listed, Field(min_length=1)] | None = None
    type: Annotated[str, AfterValidator(_type)]
    model: str | None = None
    timeframe: Timeframe
    exchange: Annotated[str, Field(min_length=1)] | None = None
    horizon: int | None = None
    window: Annotated[int | None, BeforeValidator(_window)] = None
    every: Length | None = None
    features: Annotated[tuple[str, ...], BeforeValidator(_features)] = ("default",)
    params: dict[str, Any] = Field(default_factory=dict)
    sentiment: Annotated[str, AfterValidator(_series)] | None = None
    expires_after: Annotated[int | None, BeforeValidator(_expiry)] = None
    folds: int = 5
    seed: int = 0
    threads: int = 1


def load_recipes(source: Path | Iterable[Path], *, every_ms: int = DEFAULT_EVERY_MS) -> tuple[Recipe, ...]:
    """Return the recipes of a folder, or of files and folders, in the order of their names.

    Parameters
    ----------
    source
        A folder's ``*.yaml`` and ``*.yml`` are its recipes.
    every_ms
        Time between two refits of a recipe that does not say, but at least one candle.

    Raises
    ------
    ConfigError
        With file:line:column for everything that is wrong, or for two recipes of one name or of one content.
    """
    problems: list[str] = []
    found: list[tuple[Path, Document, Recipe]] = []
    for path in _files([source] if isinstance(source, Path) else list(source)):
        try:
            document = read_document(path, _KIND)
            found += [(path, document, recipe) for recipe in _of_document(document, path, every_ms)]
        except ConfigError as error:
            problems.append(str(error))
    names: dict[str, Path] = {}
    digests: dict[str, tuple[Path, str]] = {}
    horizons: dict[str, tuple[int, str]] = {}
    for path, document, recipe in found:
        first = names.setdefault(recipe.name, path)
        like, other = digests.setdefault(recipe.digest, (path, recipe.name))
        if first is not path:
            words = f"the name {recipe.name!r} is that of {first} too: give each recipe a name of its own"
            problems.append(str(document.error([(("name",), words, False)])))
        elif other != recipe.name:
            words = (
                f"{recipe.name!r} learns the same as {other!r} of {like}: a recipe is what it learns, whatever its name, "
                "every and expires_after; drop one of them, or change the seed"
            )
            problems.append(str(document.error([((), words, False)])))
        horizon, other = horizons.setdefault(str(recipe.key), (recipe.horizon, recipe.name))
        if horizon != recipe.horizon:
            words = (
                f"{recipe.name!r} looks {recipe.horizon} bars ahead and {other!r} {horizon}, but both are recipes of "
                f"{recipe.key}, which has one champion: they answer different questions and cannot be compared"
            )
            problems.append(str(document.error([(("horizon",), words, False)])))
    if problems:
        raise ConfigError("\n".join(problems))
    return tuple(recipe for _, _, recipe in found)


def missing_library(recipe: Recipe) -> str | None:
    """Return what keeps a recipe from being built here and how to get it; None where nothing does.

    A recipe loads without the library that fits it: the others must go on.
    """
    return missing(recipe.family.library)


def _files(sources: Iterable[Path]) -> list[Path]:
    """Return the files of recipes, each once."""
    files: list[Path] = []
    for source in sources:
        if source.is_dir():
            visible = (path for path in source.iterdir() if not path.name.startswith("."))
            inside = sorted((path for path in visible if path.suffix in _SUFFIXES), key=lambda path: path.stem)
            if not inside:
                raise ConfigError(f"{source}: no recipe in this folder: expected files such as btc-basic-1h.yaml")
            files += inside
        elif not source.exists() and source.suffix not in _SUFFIXES:
            raise ConfigError(f"{source}: no such folder of recipes{_near_folder(source)}")
        else:
            files.append(source)
    return list(dict.fromkeys(files))


def _near_folder(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (the folder {path.parent} does not exist)"
    names = [item.name for item in path.parent.iterdir() if item.is_dir()]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {path.parent / near[0]}?" if near else ""


def _of_document(document: Document, path: Path, every_ms: int) -> list[Recipe]:
    """Return the recipes of a document; raises `ConfigError` with everything that is wrong."""
    told = document.validated(RecipeSettings)
    symbols = told.symbols if told.symbol is None else (told.symbol,)
    if symbols is None:
        raise document.error([((), "symbol is missing: which market is learnt?", False)])
    findings: list[Finding] = []
    if told.symbol is not None and told.symbols is not None:
        findings.append((("symbols",), "give symbol or symbols, not both", True))
    findings += [
        (("symbols", place), f"{symbol} is listed twice", False)
        for place, symbol in enumerate(symbols)
        if symbol in symbols[:place]
    ]
    horizon = told.horizon if told.horizon is not None else _usual_horizon(told)
    recipes: list[Recipe] = []
    for symbol in symbols:
        name = told.name or path.stem
        try:
            recipe = Recipe(
                name=name if told.symbols is None else f"{name}-{symbol.lower().replace('.', '_')}",
                symbol=symbol,
                model_type=told.type,
                timeframe=told.timeframe,
                horizon=horizon,
                exchange=None if told.exchange is None else told.exchange.strip().lower(),
                architecture=told.model,
                features=normalise_features(told.features),
                parameters=told.params,
                sentiment=told.sentiment,
                window_ms=told.window,
                every_ms=max(every_ms, timeframe_ms(told.timeframe)) if told.every is None else duration_ms(told.every),
                expires_after_ms=told.expires_after,
                folds=told.folds,
                seed=told.seed,
                threads=told.threads,
            )
        except InvalidRecipe as error:
            findings += [_finding(told, where, words) for where, words in error.problems]
            break  # what is wrong is wrong for every symbol
        recipes.append(recipe)
    if findings:
        raise document.error(findings)
    return recipes


def _usual_horizon(told: RecipeSettings) -> int:
    """Return the default horizon of the family's task; 1 where the family is unknown, which is said elsewhere."""
    try:
        task = predictor_class(told.type, told.model).task
    except UnknownPredictor:
        return 1
    return 1 if task == PATH else default_horizon(told.timeframe, task)


def _finding(told: RecipeSettings, where: tuple[str | int, ...], words: str) -> Finding:
    """Return a problem of a recipe's field with the place in the file that it is about."""
    field, inside = where[0], where[1:]
    location: Location = (_KEYS.get(str(field), field), *inside)
    if field == "name" and told.name is None:
        return (), f"{words}; rename the file, or say name: in it", False
    if field == "symbol" and told.symbol is None:
        location = ("symbols",)
    if field == "features" and inside:
        name = (normalise_features(told.features) or ())[int(inside[0])]
        place = next(place for place, text in enumerate(told.features) if name in text.replace(",", " ").split())
        location = ("features", place)  # one text where it is not a list: then that of the text is the nearest
    is_key = field == "parameters" and inside[0] not in predictor_class(told.type, told.model)().parameters
    return location, words, is_key
