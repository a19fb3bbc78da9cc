"""What the families of paths share: their parameters, and trees that are fitted to one number of the next candle."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import InvalidParameter
from ml.predictors.basic import boost, lightgbm_settings
from ml.predictors.parameters import resolve_parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.predictors.basic import FittedTrees

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]

__all__ = ["LOOKBACK_PERIODS", "MOST_STEPS", "fit_trees", "resolve_path_parameters"]

LOOKBACK_PERIODS = (5, 10, 20, 50)
MOST_STEPS = 1_000
_STEPS = 300
_LONGEST_LOOKBACK = 200
_VALIDATION = 0.2  # share of the newest training rows that early stopping looks at


def resolve_path_parameters(overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return every parameter of a model of paths with its value.

    Beside those of ``ml.predictors.parameters`` there are ``n_steps_ahead`` (default 300), ``lookback_periods`` (which
    periods the default features take; default 5, 10, 20, 50) and ``early_stopping_rounds`` (0: off). The objective is
    regression: a path is made of returns.

    Raises
    ------
    InvalidParameter
        When a name is unknown or given twice, or a value is of another type or out of range.
    """
    given = dict(overrides or {})
    own = {
        "n_steps_ahead": _whole("n_steps_ahead", given.pop("n_steps_ahead", _STEPS), 1, MOST_STEPS),
        "lookback_periods": _periods(given.pop("lookback_periods", LOOKBACK_PERIODS)),
        "early_stopping_rounds": _whole("early_stopping_rounds", given.pop("early_stopping_rounds", 0), 0, 10_000),
    }
    try:
        values = resolve_parameters({"objective": "regression", **given})
    except InvalidParameter as error:
        if "is not a parameter" not in str(error):
            raise
        raise InvalidParameter(f"{str(error).removesuffix(')')}, {', '.join(own)})") from None
    if values["objective"] != "regression":
        raise InvalidParameter(f"objective is {values['objective']!r}: a model of paths learns returns, by regression")
    return {**values, **own}


def fit_trees(
    rows: Rows, target: Floats, names: tuple[str, ...], parameters: Mapping[str, Any], *, seed: int, threads: int
) -> FittedTrees:
    """Fit LightGBM by least squares; the same rows, seed and parameters give the same trees for any number of threads.

    With ``early_stopping_rounds`` the number of trees is chosen on the newest fifth of the rows, by a model of the others,
    and all rows are then fitted with that many.

    Parameters
    ----------
    rows : float32 array, shape (n, F)
        In time order.
    target : float64 array, shape (n,)
        Finite.
    """
    chosen = {name: value for name, value in parameters.items() if name not in _NOT_OF_LIGHTGBM}
    patience = parameters["early_stopping_rounds"]
    cut = int(len(rows) * (1 - _VALIDATION))
    if patience and 1 < cut < len(rows) - 1:
        settings = {**lightgbm_settings(chosen, seed=seed, threads=threads), "metric": "l2"}
        chosen["num_boost_round"] = _best_rounds(rows, target, cut, settings, chosen["num_boost_round"], patience)
    return boost(rows, target, names, chosen, seed=seed, threads=threads)


_NOT_OF_LIGHTGBM = ("n_steps_ahead", "lookback_periods", "early_stopping_rounds")


def _best_rounds(rows: Rows, target: Floats, cut: int, settings: Mapping[str, Any], rounds: int, patience: int) -> int:
    """Return how many trees do best on the rows from ``cut`` on; the row before it is left out, its label ends there."""
    import lightgbm

    past = lightgbm.Dataset(rows[: cut - 1], label=target[: cut - 1], params=dict(settings))
    later = lightgbm.Dataset(rows[cut:], label=target[cut:], reference=past, params=dict(settings))
    stop = lightgbm.early_stopping(patience, verbose=False)
    booster = lightgbm.train(dict(settings), past, num_boost_round=rounds, valid_sets=[later], callbacks=[stop])
    return max(1, booster.best_iteration)


def _whole(name: str, value: Any, low: int, high: int) -> int:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or number != int(number):
        raise InvalidParameter(f"{name} is {value!r}, expected a whole number")
    if not low <= number <= high:
        raise InvalidParameter(f"{name} is {value!r}, expected a whole number from {low:,} to {high:,}")
    return int(number)


def _periods(value: Any) -> list[int]:
    """Return the periods in increasing order, each once; text may hold them with commas or blanks between."""
    parts = value.replace(",", " ").split() if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        parts = [parts]
    if not parts:
        raise InvalidParameter("lookback_periods is empty: expected periods such as 5, 10, 20, 50")
    return sorted({_whole("lookback_periods", part, 2, _LONGEST_LOOKBACK) for part in parts})
