"""One symbol of a live run, put together from the journal: for the bot itself, and for whoever replays what it recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.assembly import join
from bot.broker.fees import FeeSchedule
from bot.live.broker import CCXTBroker
from bot.live.dry import DryRunBroker
from bot.live.journal_rows import read_series
from bot.market.store import StoredSeries

if TYPE_CHECKING:
    from bot.assembly import Assembly, Choice
    from bot.broker.rules import ExchangeRules
    from bot.config.loader import ConfigFile
    from bot.live.journal_rows import RunRow
    from bot.state import StateDatabase

__all__ = ["assemble_recorded"]


def assemble_recorded(
    file: ConfigFile,
    state: StateDatabase,
    run: RunRow,
    store: Any,
    symbol: str,
    choice: Choice,
    rules: ExchangeRules,
    *,
    tag: str,
    trades: bool,
) -> Assembly:
    """Join the bars that a run has recorded, its books and its strategy.

    Parameters
    ----------
    file, state, run
        Config, state database and row of the run.
    store
        ``CCXTStore``, or what stands for it: it gives the feed, takes orders, and holds the journal.
    symbol, choice, rules
        Which one, its strategy and models, and what the exchange asks of orders.
    tag
        What the client ids of the run begin with.
    trades
        False where the bars fill the orders, not an exchange.
    """
    broker_settings = file.config.broker
    series = read_series(state, run.run_id, symbol)
    history = series.history
    feed = store.getdata(candles=history, symbol=symbol, late=series.late, facts=store.journal.all_facts(symbol))
    kind = CCXTBroker if trades else DryRunBroker
    broker = kind(
        store=store,
        rules=rules,
        fees=FeeSchedule(broker_settings.commission, in_kind=broker_settings.fees_in_kind),
        slippage=broker_settings.slippage,
        trade_from_ms=series.trade_from_ms,
        tag=tag,
    )
    broker.setcash(run.cash[symbol])
    stored = StoredSeries(history, symbol, run.exchange, history.digest, rules)
    return join(choice, file, symbol, stored, series.trade_from_ms, feed, broker, rules)
