"""The one place that turns a config into a Cerebro, for a backtest and for live trading alike.

It resolves every role to a predictor, reads the candles and the symbol's rules, checks the strategy's parameters, and joins
feed, broker and strategy. What is wrong in the config's names is an error that points into the file.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.backtest.cerebro import FastCerebro
from bot.backtest.feed import CandleFeed
from bot.binding import BoundModel, bind_models, settle_model
from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.broker.spot import SpotBroker
from bot.market.side_series import attach_for
from bot.market.store import StoredSeries
from bot.roles import check_roles, check_states
from bot.series import check_series, cut_series, exchange_rules, read_series
from bot.strategy_choice import choose_strategy, history_bars

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.config.loader import ConfigFile
    from bot.config.schema import StrategyConfig
    from bot.home import Home
    from ml.cache import PredictionCache
    from ml.candles import Candles

__all__ = ["Assembly", "BoundModel", "Choice", "assemble_backtest", "bind_models", "choose", "join"]


@dataclass(frozen=True)
class Choice:
    """What a config chooses for one of its symbols.

    Attributes
    ----------
    strategy
        The class.
    params
        Its parameters, checked.
    models
        By role, in the order of the strategy's ``roles``, then in the config's; the first is the one that is scored.
    history
        How many bars before the first that may trade must be fed; None for all that there are.
    """

    strategy: type[Any]
    params: dict[str, Any]
    models: tuple[BoundModel, ...]
    history: int | None


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
    def out_of_sample_row(self) -> int:
        """Position of the first bar from which on none was seen by the training of a model that answers it.

        It is 0 where none was seen, also without a model, and the number of bars where the last one was.
        """
        times = self.candles.open_ms
        return max((bound.engine.unseen_from(times) for bound in self.models), default=0)


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
    choice = choose(file, symbol, home)
    engines = [bound.engine for bound in choice.models]
    whole = attach_for(read_series(file, symbol, home), engines, home.candles)
    series, trade_from_ms = cut_series(file, whole, choice.history)
    opened = cache() if callable(cache) else cache
    choice = replace(choice, models=tuple(settle_model(bound, series.candles, opened) for bound in choice.models))
    rules = exchange_rules(config, series.rules)
    broker = SpotBroker(
        rules=rules,
        fees=FeeSchedule(config.broker.commission, in_kind=config.broker.fees_in_kind),
        slippage=config.broker.slippage,
        trade_from_ms=trade_from_ms,
    )
    broker.setcash(config.broker.cash)
    feed = CandleFeed(candles=series.candles)  # type: ignore[call-arg]  # Backtrader's metaclass takes the params
    return join(choice, file, symbol, series, trade_from_ms, feed, broker, rules)


def choose(
    file: ConfigFile,
    symbol: str,
    home: Home,
    cache: PredictionCache | None = None,
    *,
    require_champion: bool = True,
) -> Choice:
    """Find the strategy that a config names and the models of its roles, and check that they fit each other.

    Raises
    ------
    ConfigError, NoChampion
        As ``assemble_backtest``, but candles are not read yet.
    """
    strategy, params = choose_strategy(file)
    check_roles(file, strategy, params)
    if require_champion:  # a backtest: its candles come from the store
        check_series(file, symbol, home)
    order = list(getattr(strategy, "roles", ()))
    models = bind_models(file, symbol, home, cache, require_champion=require_champion)
    models = tuple(sorted(models, key=lambda bound: order.index(bound.role) if bound.role in order else len(order)))
    check_states(file, strategy, models)
    history = history_bars(file, strategy, params, [bound.engine for bound in models])
    return Choice(strategy, params, models, history)


def join(
    choice: Choice,
    file: ConfigFile,
    symbol: str,
    series: StoredSeries,
    trade_from_ms: int,
    feed: Any,
    broker: Any,
    rules: ExchangeRules,
) -> Assembly:
    """Join strategy, feed and broker in one Cerebro; a backtest and live trading differ in the last two alone.

    Parameters
    ----------
    choice
        What ``choose`` found.
    file, symbol
        The config, and which of its symbols this is.
    series
        The candles that the feed begins with.
    trade_from_ms
        Open time of the first bar that may trade.
    feed, broker
        For Backtrader.
    rules
        What the exchange asks of orders.
    """
    config, strategy = file.config, choice.strategy
    cerebro = FastCerebro()
    cerebro.setbroker(broker)
    cerebro.adddata(feed, name=symbol)
    given = {
        "models": {bound.role: bound.engine for bound in choice.models},
        "risk": config.risk.model_dump(exclude={"on_no_model"}),
        "on_no_model": config.risk.on_no_model,
        "round_trip_cost": config.broker.round_trip_cost,
        "trade_from_ms": trade_from_ms,
    }
    accepted = set(strategy.params._getkeys())  # noqa: SLF001 - Backtrader's name for them
    known = {name: value for name, value in given.items() if name in accepted}
    cerebro.addstrategy(strategy, **known, **choice.params)
    return Assembly(
        config=config,
        symbol=symbol,
        series=series,
        trade_from_ms=trade_from_ms,
        models=choice.models,
        rules=rules,
        strategy=strategy,
        cerebro=cerebro,
        broker=broker,
    )
