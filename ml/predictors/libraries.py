"""Libraries that only training needs: loaded when called, with a message that helps where one is missing."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from ml.errors import MissingLibrary

__all__ = ["load", "missing"]

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "keras": "tensorflow", "xgboost": "xgboost-cpu"}
_MODULES = {"scikit-learn": "sklearn", "xgboost-cpu": "xgboost"}
_REMEDY = "install it with pip install 'mlbot[train]'"


def load(name: str) -> Any:
    """Return a module of the ``train`` extra.

    Parameters
    ----------
    name
        As it is imported, such as ``sklearn.svm``.

    Raises
    ------
    MissingLibrary
        When it is not installed.
    """
    try:
        return import_module(name)
    except ImportError as error:
        top = name.partition(".")[0]
        raise MissingLibrary(
            f"this model is trained with {_DISTRIBUTIONS.get(top, top)}, which cannot be imported ({error}): {_REMEDY}"
        ) from error


def missing(distribution: str) -> str | None:
    """Return what is lacking and how to get it, None where it is installed.

    Nothing is imported: TensorFlow takes seconds.

    Parameters
    ----------
    distribution
        As ``Predictor.library`` names it, such as ``scikit-learn``.
    """
    if find_spec(_MODULES.get(distribution, distribution)) is not None:
        return None
    return f"this model is trained with {distribution}, which is not installed: {_REMEDY}"
