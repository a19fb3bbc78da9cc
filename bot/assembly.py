"""The one place that turns a config into a Cerebro, for a backtest and for live trading alike.

It resolves every role to a predictor, reads the candles and the symbol's rules, checks the strategy's parameters, and joins
feed, broker and strategy. What is wrong in the config's names is an error that points into the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.broker.spot import SpotBroker
from bot.errors import ConfigError, SeriesNotFound, UsageError
from bot.market.side_series import attach_for
from bot.market.store import CandleStore, StoredSeries
from bot.roles import check_roles, check_states
from ml.candles import format_ms
from ml.engines import open_bundle, open_engine
from registry.errors import ModelNotFound, NoChampion, RegistryError
from registry.store import PredictionModelRegistry
from strategies.catalog import check_params, find_strategy
from strategies.errors import StrategyError, UnknownStrategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.config.loader import ConfigFile
    from bot.config.schema import StrategyConfig
    from bot.home import Home
    from ml.cache import PredictionCache
    from ml.candles import Candles
    from ml.engine import PredictionEngine
    from registry.model import StrategyModel
    from registry.names import ModelReference

__all__ = ["Assembly", "BoundModel", "assemble_backtest", "bind_models", "exchange_rules", "read_series"]

_LEAST_HISTORY = 2_048  # bars before the start: what the slowest feature needs on the bars of the data


@dataclass(frozen=True)
class BoundModel:
    """A role of the strategy and what plays it.

    Attributes
    ----------
    role
        As the config names it.
    reference
        What the config asked for, with the feed's symbol filled in.
    model
        The bundle; None where there is no champion.
    engine
        What the strategy gets.
    """

    role: str
    reference: ModelReference
    model: StrategyModel | None
    engine: PredictionEngine


@dataclass(frozen=True)
class Assembly:
    """Everything that one run of one symbol consists of.

    Attributes
    ----------
    config, symbol
        The strategy's config, and which of its symbols this is.
    series
        The candles that are fed, those before the first bar that may trade included, and where they came from.
    trade_from_ms
        Open time of the first bar that may trade.
    models
        By role, in the order of the strategy's ``roles``, then in the config's; the first is the one that is scored.
    rules
        What the exchange asks of orders: the config's values over those stored beside the candles.
    strategy
        The class; its parameters are in ``cerebro``.
    cerebro, broker
        Ready to run.
    """

    config: StrategyConfig
    symbol: str
    series: StoredSeries
    trade_from_ms: int
    models: tuple[BoundModel, ...]
    rules: ExchangeRules
    strategy: type[Any]
    cerebro: FastCerebro
    broker: SpotBroker

    @property
    def candles(self) -> Candles:
        """All bars of the feed."""
        return self.series.candles

    @property
    def first_row(self) -> int:
        """Position of the first bar that may trade."""
        return int(np.searchsorted(self.candles.open_ms, self.trade_from_ms))

    @property
    def trained_until_ms(self) -> int | None:
        """Close of the last candle that the training of any bound model saw; None without a model."""
        ends = [bound.engine.trained_until_ms for bound in self.models]
        return max((end for end in ends if end is not None), default=None)


def assemble_backtest(
    file: ConfigFile,
    symbol: str,
    home: Home,
    cache: PredictionCache | Callable[[], PredictionCache] | None = None,
) -> Assembly:
    """Build everything that a backtest of one of the config's symbols needs.

    Parameters
    ----------
    file
        The config.
    symbol
        One of ``config.symbols``.
    home
        Where candles and models are.
    cache
        Where predictions are kept, or what opens it once the config proves sound; None to compute them all.

    Raises
    ------
    ConfigError
        When a strategy, parameter, symbol or model of the config does not exist; it points at the place.
    NoChampion
        When a role asks for the champion and no version was promoted; the message names the ways on.
    """
    config = file.config
    strategy, params = _strategy(file)
    check_roles(file, strategy, params)
    _check_series(file, symbol, home)
    order = list(getattr(strategy, "roles", ()))
    models = bind_models(file, symbol, home, None if callable(cache) else cache)
    models = tuple(sorted(models, key=lambda bound: order.index(bound.role) if bound.role in order else len(order)))
    check_states(file, strategy, models)
    whole = attach_for(read_series(file, symbol, home), [bound.engine for bound in models], home.candles)
    history = _history(file, strategy, params, models)
    series, trade_from_ms = _cut(file, whole, history)
    if callable(cache):
        opened = cache()
        models = tuple(replace(bound, engine=open_engine(bound.model, cache=opened)) for bound in models)
    rules = exchange_rules(config, series.rules)
    broker = SpotBroker(
        rules=rules,
        fees=FeeSchedule(config.broker.commission, in_kind=config.broker.fees_in_kind),
        slippage=config.broker.slippage,
        trade_from_ms=trade_from_ms,
    )
    broker.setcash(config.broker.cash)
    cerebro = FastCerebro()
    cerebro.setbroker(broker)
    feed = CandleFeed(candles=series.candles)  # type: ignore[call-arg]  # Backtrader's metaclass takes the params
    cerebro.adddata(feed, name=symbol)
    given = {
        "models": {bound.role: bound.engine for bound in models},
        "risk": config.risk.model_dump(exclude={"on_no_model"}),
        "on_no_model": config.risk.on_no_model,
        "round_trip_cost": config.broker.round_trip_cost,
        "trade_from_ms": trade_from_ms,
    }
    accepted = set(strategy.params._getkeys())  # noqa: SLF001 - Backtrader's name for them
    cerebro.addstrategy(strategy, **{name: value for name, value in given.items() if name in accepted}, **params)
    return Assembly(
        config=config,
        symbol=symbol,
        series=series,
        trade_from_ms=trade_from_ms,
        models=models,
        rules=rules,
        strategy=strategy,
        cerebro=cerebro,
        broker=broker,
    )


def bind_models(
    file: ConfigFile,
    symbol: str,
    home: Home,
    cache: PredictionCache | None = None,
    *,
    require_champion: bool = True,
) -> tuple[BoundModel, ...]:
    """Resolve every role of the config for the feed of one symbol.

    Parameters
    ----------
    require_champion
        False for live trading: a known model without a champion is then a role that answers ``no_model``.

    Raises
    ------
    ConfigError
        When a model is not registered.
    NoChampion
        When there is no champion and one is required.
    InvalidBundle, BrokenModel
        When the bundle is damaged.
    """
    registry = PredictionModelRegistry(home.models, open_bundle)
    bound = []
    for role, wanted in file.config.models.items():
        reference = wanted.reference(symbol)
        model: StrategyModel | None = None
        try:
            model = registry.select_bundle(
                symbol=reference.symbol,
                model_type=reference.model_type,
                timeframe=file.config.timeframe,
                version=reference.selector,
            )
        except NoChampion as error:
            if require_champion:
                raise NoChampion(_without_champion(file, role, error)) from None
        except ModelNotFound as error:
            raise file.error(("models", role), str(error)) from None
        except RegistryError as error:
            raise type(error)(f"{file.error(('models', role), str(error))}") from error
        bound.append(BoundModel(role, reference, model, open_engine(model, cache=cache)))
    return tuple(bound)


def read_series(file: ConfigFile, symbol: str, home: Home) -> StoredSeries:
    """Return the whole series that the config names: from the store, or from the built-in market.

    Raises
    ------
    ConfigError
        When the store holds no such series, or holds it from several sources.
    DataError
        When the stored file is damaged.
    """
    config = file.config
    synth = config.data.synth
    if synth is not None:
        from bot.market.synth import SYNTH_RULES, synthetic_origin
        from ml.synthetic import synthetic_candles

        candles = synthetic_candles(
            synth.bars, edge=synth.edge, path_drift=synth.path_drift, seed=synth.seed, timeframe=config.timeframe
        )
        origin = synthetic_origin(synth.edge, synth.path_drift, synth.seed)
        return StoredSeries(candles, symbol, "synth", candles.digest, SYNTH_RULES, origin=origin)
    return CandleStore(home.candles).read(symbol, config.timeframe, _check_series(file, symbol, home))


def _check_series(file: ConfigFile, symbol: str, home: Home) -> str | None:
    """Raise ``ConfigError`` where the store does not hold the series: an unknown symbol is told before its model."""
    config = file.config
    if config.data.synth is None:
        try:
            CandleStore(home.candles).find(symbol, config.timeframe, config.data.exchange)
        except SeriesNotFound as error:
            raise file.error(("symbols", config.symbols.index(symbol)), str(error)) from None
        except UsageError as error:
            raise file.error(("data",), str(error)) from None
    return config.data.exchange


def exchange_rules(config: StrategyConfig, stored: ExchangeRules | None) -> ExchangeRules:
    """Return the rules of orders: the config's where it has them, else those stored beside the candles."""
    known = {} if stored is None else stored.to_dict()
    return ExchangeRules.from_dict({**known, **config.broker.rules})


def _strategy(file: ConfigFile) -> tuple[type[Any], dict[str, Any]]:
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


def _history(
    file: ConfigFile, strategy: type[Any], params: dict[str, Any], models: tuple[BoundModel, ...]
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
    return max([_LEAST_HISTORY, int(told or 0), *(bound.engine.window_bars for bound in models)])


def _cut(file: ConfigFile, series: StoredSeries, history: int | None) -> tuple[StoredSeries, int]:
    """Return the series from before the first bar that may trade to the end, and that bar's open time.

    The feed begins half as early again as the longest window reaches: a window of weekdays spans more days than bars.
    """
    data, candles = file.config.data, series.candles
    first, last = (int(candles.open_ms[0]), int(candles.open_ms[-1])) if len(candles) else (0, -1)
    start = first if data.start_ms is None else data.start_ms
    if data.start_ms is not None and (len(candles) == 0 or start > last):
        raise file.error(("data", "start"), f"no candles from {data.start} on: {_extent(series)}")
    if data.end_ms is not None and data.end_ms <= max(start, first):
        raise file.error(("data", "end"), f"no candles before {data.end}: {_extent(series)}")
    everything = data.start_ms is None or history is None
    warm_ms = None if everything or history is None else start - (history + history // 2) * candles.step_ms
    part = candles.between(warm_ms, data.end_ms)
    rows = int((part.open_ms >= start).sum())
    if rows < 2:
        raise file.error(("data",), f"{rows} bars between start and end, at least 2 are needed: {_extent(series)}")
    cut = StoredSeries(
        part,
        series.symbol,
        series.exchange,
        part.digest,
        series.rules,
        series.maker_fee,
        series.taker_fee,
        series.origin,
    )
    return cut, int(part.open_ms[np.searchsorted(part.open_ms, start)])


def _extent(series: StoredSeries) -> str:
    candles = series.candles
    if len(candles) == 0:
        return f"{series.symbol} {candles.timeframe} from {series.exchange} is empty"
    first, last = format_ms(int(candles.open_ms[0])), format_ms(int(candles.open_ms[-1]))
    return f"{series.symbol} {candles.timeframe} from {series.exchange} runs from {first} to {last}"


def _without_champion(file: ConfigFile, role: str, error: NoChampion) -> str:
    wanted = file.config.models[role].model
    newest = f"{wanted.partition('@')[0]}@newest"
    found = file.error(("models", role), str(error))
    return (
        f"{found}\nThree ways on: write {newest!r} to run the version that was not promoted (marked so in the report); "
        "train on more bars; or try the built-in market, where there is something to find (bot data synth, then "
        "bot train model SYNTH)"
    )
