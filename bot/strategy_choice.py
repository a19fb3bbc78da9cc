"""The strategy that a config names: its class, its parameters, and how much history it needs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.catalog import check_params, find_strategy
from strategies.errors import StrategyError, UnknownStrategy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.config.loader import ConfigFile
    from bot.errors import ConfigError
    from ml.engine import PredictionEngine

__all__ = ["choose_strategy", "history_bars"]

_LEAST_HISTORY = 2_048  # bars before the start: what the slowest feature needs on the bars of the data


def choose_strategy(file: ConfigFile) -> tuple[type[Any], dict[str, Any]]:
    """Return the strategy's class and its checked parameters."""
    config = file.config
    try:
        strategy = find_strategy(config.strategy, [str(Path(file.path).resolve().parent), str(Path.cwd())])
    except UnknownStrategy as error:
        raise file.error(("strategy",), str(error)) from None
    params = dict(config.params)
    owned = {"models", "risk", "round_trip_cost", "trade_from_ms", "on_no_model"} & set(params)
    if owned:
        name = min(owned)
        message = f"params.{name} is set by the program: it does not belong in params"
        raise file.error(("params", name), message, key=True)
    known = strategy.params._getkeys()  # noqa: SLF001 - Backtrader's name for them
    costs = {"round_trip_cost": config.broker.round_trip_cost} if "round_trip_cost" in known else {}
    try:
        check_params(strategy, {**params, **costs})
    except StrategyError as error:
        raise _of_parameter(file, params, error) from None
    return strategy, params


def _of_parameter(file: ConfigFile, params: dict[str, Any], error: StrategyError) -> ConfigError:
    """Return the error of a parameter at its place in the file."""
    unknown = str(error).startswith("unknown")
    named = next(
        (name for name in params if str(error).startswith(f"{name} is ") or (unknown and f"'{name}'" in str(error))),
        None,
    )
    return file.error(("params", named) if named else ("params",), str(error), key=unknown)


def history_bars(
    file: ConfigFile, strategy: type[Any], params: dict[str, Any], engines: Sequence[PredictionEngine]
) -> int | None:
    """Return how many bars before the start must be fed; None for all that there are.

    A strategy may say so by an attribute ``history_bars`` of its class: a number, or a method of timeframe and parameters.
    One of the user's own that does not may read features of any higher timeframe, so it gets everything.
    """
    told = getattr(strategy, "history_bars", None)
    if told is None and ":" in file.config.strategy:
        return None
    if callable(told):
        try:
            told = told(file.config.timeframe, params)
        except StrategyError as error:
            raise _of_parameter(file, params, error) from None
    return max([_LEAST_HISTORY, int(told or 0), *(engine.window_bars for engine in engines)])
