"""Errors of the numbers, and what a caller does about each.

MLError                       the root; the command fails (exit 1)
├── InvalidCandles            market data breaks a rule; the message names the row (exit 3)
├── NotEnoughBars             too little history: fetch more, or use a shorter window (exit 2)
├── UnknownFeature            a feature name is misspelled (exit 2)
├── MissingColumns            a feature needs columns that these candles lack (exit 2)
├── SchemaMismatch            a bundle's features are not those of the data or the code (exit 3)
├── BrokenModel               a model file cannot be read or fails its self-test (exit 3)
├── UnknownPredictor          a model type is misspelled (exit 2)
├── InvalidParameter          a training parameter is unknown or out of range (exit 2)
├── InvalidRecipe             a recipe names what does not exist or contradicts itself (exit 2)
├── MissingLibrary            a library of the train extra is not installed (exit 2)
├── TrainingFailed            a model cannot be fitted to this data; the message says why (exit 1)
├── UnsupportedTask           a model that is not refitted and scored by recipes, such as one of whole paths (exit 2)
├── InvalidRecord             an out-of-sample record with a row twice, out of order or of another task (exit 3)
└── CacheUnavailable          the prediction cache cannot be opened or written (exit 3)
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BrokenModel",
    "CacheUnavailable",
    "InvalidCandles",
    "InvalidParameter",
    "InvalidRecipe",
    "InvalidRecord",
    "MLError",
    "MissingColumns",
    "MissingLibrary",
    "NotEnoughBars",
    "SchemaMismatch",
    "TrainingFailed",
    "UnknownFeature",
    "UnknownPredictor",
    "UnsupportedTask",
]


class MLError(Exception):
    """Root of everything that this package raises."""

    exit_code: ClassVar[int] = 1


class InvalidCandles(MLError, ValueError):
    """Market data that no feature may be computed from; the message names the row and the rule."""

    exit_code = 3


class NotEnoughBars(MLError, ValueError):
    """Too few bars for what was asked; the message says how many are needed."""

    exit_code = 2


class UnknownFeature(MLError, LookupError):
    """No feature of that name is in the catalogue."""

    exit_code = 2


class MissingColumns(MLError, ValueError):
    """The candles lack an optional column that a feature needs."""

    exit_code = 2


class SchemaMismatch(MLError, ValueError):
    """Feature names, order or parameters differ; the message names the difference."""

    exit_code = 3


class BrokenModel(MLError):
    """A model file cannot be parsed, or its golden self-test gives other bits."""

    exit_code = 3


class UnknownPredictor(MLError, LookupError):
    """No family of models has that name."""

    exit_code = 2


class InvalidParameter(MLError, ValueError):
    """A parameter of training is unknown, of another type or out of range."""

    exit_code = 2


class InvalidRecipe(MLError, ValueError):
    """A recipe names what does not exist, or its parts do not go together.

    Parameters
    ----------
    problems
        Where and what: the field of ``ml.recipes.Recipe``, followed by what stands in it (the name of a parameter, the number
        of a feature), and the message. At least one.
    """

    exit_code = 2

    def __init__(self, *problems: tuple[tuple[str | int, ...], str]) -> None:
        super().__init__(*problems)
        self.problems = problems

    def __str__(self) -> str:
        """Return the messages."""
        return "; ".join(message for _, message in self.problems)


class MissingLibrary(MLError, ImportError):
    """A library that only training needs is not installed; the message names the command that installs it."""

    exit_code = 2


class TrainingFailed(MLError):
    """The data does not admit a model: one class only, constant columns, no finite label."""


class UnsupportedTask(MLError, ValueError):
    """Recipes refit and score models of single predictions only; the message says what this one is."""

    exit_code = 2


class InvalidRecord(MLError, ValueError):
    """Rows of an out-of-sample record are repeated, out of order or of different tasks; the message names the time."""

    exit_code = 3


class CacheUnavailable(MLError):
    """The prediction cache is locked, read-only, full or not a database."""

    exit_code = 3
