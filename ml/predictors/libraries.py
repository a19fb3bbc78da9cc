"""Libraries that only training needs: loaded when called, with a message that helps where one is missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from ml.errors import MissingLibrary

__all__ = ["load"]

_DISTRIBUTIONS = {"sklearn": "scikit-learn", "keras": "tensorflow", "xgboost": "xgboost-cpu"}


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
            f"this model is trained with {_DISTRIBUTIONS.get(top, top)}, which cannot be imported ({error}): "
            "install it with pip install 'mlbot[train]'"
        ) from error
