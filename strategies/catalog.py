"""The names of strategies that a config may use."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import backtrader as bt

from strategies.buy_and_hold import BuyAndHold
from strategies.errors import StrategyError, UnknownStrategy
from strategies.ml_basic import MLBasic
from strategies.ml_enhanced import MLEnhanced
from strategies.ml_predictive import MLPredictive
from strategies.ml_strategy import MLStrategy
from strategies.parameters import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["STRATEGIES", "check_params", "find_strategy"]

STRATEGIES: dict[str, type[bt.Strategy]] = {
    "BuyAndHold": BuyAndHold,
    "MLBasic": MLBasic,
    "MLEnhanced": MLEnhanced,
    "MLPredictive": MLPredictive,
}


def find_strategy(name: str, folders: Sequence[str] = ()) -> type[bt.Strategy]:
    """Return the strategy of that name, or the class that ``module:Class`` names.

    Parameters
    ----------
    name
        A name of ``STRATEGIES``, or ``module:Class`` of the user's own.
    folders
        Where modules are looked for besides the installed ones, after these.

    Raises
    ------
    UnknownStrategy
        When no such strategy is known, or the module or class cannot be imported.
    """
    if name in STRATEGIES:
        return STRATEGIES[name]
    module_name, colon, class_name = name.partition(":")
    if not colon:
        try:
            check_name("strategy", name, STRATEGIES)
        except StrategyError as error:
            raise UnknownStrategy(f"{error}; one of your own is written module:Class") from None
    sys.path += [folder for folder in folders if folder not in sys.path]
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UnknownStrategy(f"strategy {name!r}: the module {module_name!r} cannot be imported: {error}") from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, bt.Strategy)):
        raise UnknownStrategy(f"strategy {name!r}: {module_name} has no bt.Strategy named {class_name!r}")
    return found


def check_params(strategy: type[bt.Strategy], params: Mapping[str, Any]) -> None:
    """Raise ``StrategyError`` naming the first parameter that the strategy does not accept."""
    if issubclass(strategy, MLStrategy):
        strategy.check_params(params)
        return
    for name in params:
        check_name(f"parameter of {strategy.__name__}", name, strategy.params._getkeys())  # noqa: SLF001
