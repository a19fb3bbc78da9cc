"""The families of models, by the name that ``--type`` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.errors import UnknownPredictor
from ml.predictors.basic import BasicPredictor
from registry.errors import suggestion

if TYPE_CHECKING:
    from ml.predictors.contract import Predictor

__all__ = ["PREDICTORS", "predictor_class", "predictor_names"]

PREDICTORS: dict[str, type[Predictor]] = {
    BasicPredictor.type_name: BasicPredictor,
}


def predictor_names() -> tuple[str, ...]:
    """Return the names of every family, in the order of the catalogue."""
    return tuple(PREDICTORS)


def predictor_class(name: str) -> type[Predictor]:
    """Return the family of that name.

    Raises
    ------
    UnknownPredictor
        With the known names and the nearest one.
    """
    found = PREDICTORS.get(name)
    if found is None:
        known = ", ".join(PREDICTORS)
        raise UnknownPredictor(f"{name!r} is not a model type{suggestion(name, PREDICTORS)} (known: {known})")
    return found
