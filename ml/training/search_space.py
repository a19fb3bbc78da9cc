"""What a search of parameters tries: sensible ranges by the parameter's name, for every family that has it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ml.errors import InvalidParameter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.predictors.contract import Predictor

__all__ = ["Dimension", "search_space"]


@dataclass(frozen=True, slots=True)
class Dimension:
    """Values of one parameter that are worth trying.

    Attributes
    ----------
    low, high
        Ends of the range; both are tried.
    whole
        Whole numbers only.
    log
        Even steps of the logarithm.
    choices
        In place of a range.
    """

    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    log: bool = False
    choices: tuple[Any, ...] = ()

    def holds(self, value: Any) -> bool:
        """Return whether the value could be tried."""
        if self.choices:
            return value in self.choices
        return isinstance(value, (int, float)) and not isinstance(value, bool) and self.low <= value <= self.high


_TREES: dict[str, Dimension] = {
    "num_boost_round": Dimension(30, 400, whole=True, log=True),
    "learning_rate": Dimension(0.005, 0.2, log=True),
    "num_leaves": Dimension(4, 63, whole=True, log=True),
    "min_data_in_leaf": Dimension(20, 1_000, whole=True, log=True),
    "feature_fraction": Dimension(0.1, 1.0),
    "bagging_fraction": Dimension(0.4, 1.0),
    "lambda_l2": Dimension(0.1, 100.0, log=True),
    "max_depth": Dimension(2, 10, whole=True),
    "min_child_weight": Dimension(1.0, 300.0, log=True),
    "gamma": Dimension(0.0, 5.0),
    "subsample": Dimension(0.4, 1.0),
    "colsample_bytree": Dimension(0.1, 1.0),
    "reg_lambda": Dimension(0.1, 100.0, log=True),
    "n_estimators": Dimension(50, 500, whole=True, log=True),
    "min_samples_leaf": Dimension(10, 500, whole=True, log=True),
    "max_features": Dimension(0.05, 1.0, log=True),
}
_MACHINES: dict[str, Dimension] = {
    "C": Dimension(0.001, 100.0, log=True),
    "gamma": Dimension(1e-4, 1.0, log=True),
}
_NETWORKS: dict[str, Dimension] = {
    "learning_rate": Dimension(1e-4, 1e-2, log=True),
    "dropout": Dimension(0.0, 0.5),
    "weight_decay": Dimension(1e-6, 1e-2, log=True),
    "units": Dimension(8, 128, whole=True, log=True),
}
_LIBRARIES = {"scikit-learn:svm": _MACHINES}


def search_space(family: type[Predictor], fixed: Mapping[str, Any]) -> dict[str, Dimension]:
    """Return what is tried for a family: its own ``search_space``, or the known ranges of the parameters that it has.

    Parameters
    ----------
    family
        A class of the catalogue.
    fixed
        Parameters that the user has set: they are not tried.

    Raises
    ------
    InvalidParameter
        When nothing is left to try.
    """
    own = getattr(family, "search_space", None)
    table: Mapping[str, Dimension]
    if callable(own):
        table = own()
    elif getattr(family, "network", False):
        table = _NETWORKS
    else:
        table = _LIBRARIES.get(f"{family.library}:{family.architecture}", _TREES)
    known = family(fixed).parameters
    usual = family().parameters
    free = (name for name in table if name in known and name not in fixed and known[name] == usual.get(name))
    space = {name: found for name in free if (found := _around(table[name], known[name])) is not None}
    if not space:
        raise InvalidParameter(
            f"{family.type_name} ({family.architecture}) has no parameter left to search"
            f"{'; ' + ', '.join(fixed) + ' are set by --params' if fixed else ''}"
        )
    return space


def _around(dimension: Dimension, default: Any) -> Dimension | None:
    """Return the range widened to hold the default; None where the default is a word or stands for something else (-1)."""
    if dimension.holds(default):
        return dimension
    if dimension.choices or isinstance(default, bool) or not isinstance(default, (int, float)):
        return None
    if default < 0 or (dimension.log and default == 0):
        return None
    return replace(dimension, low=min(dimension.low, default), high=max(dimension.high, default))
