"""What a live run recorded, lived through again without any exchange: every decision must come out as it is written.

The bars, executions, refusals and models of the journal go through the same books and the same strategy. Nothing is sent and
nothing is written.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bot.assembly import choose, join
from bot.backtest.feed import CandleFeed
from bot.broker.fees import FeeSchedule
from bot.broker.rules import ExchangeRules
from bot.broker.spot import SpotBroker
from bot.decisions import record_decisions
from bot.errors import BotError, DataError
from bot.live.assembling import assemble_recorded
from bot.live.feed import CCXTFeed, Notice
from bot.live.journal import Journal
from bot.live.journal_rows import read_series
from bot.live.ledger import ReplayDiffers
from bot.live.orders import bot_tag
from bot.live.versions import pinned_choices
from bot.market.store import StoredSeries
from bot.parity.compare import Comparison, Divergence, compare_rows
from bot.parity.recorded import decision_rows, recorded_symbols

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from bot.assembly import Assembly, Choice
    from bot.config.loader import ConfigFile
    from bot.home import Home
    from bot.live.journal_rows import RunRow
    from bot.live.orders import Ticket
    from bot.state import StateDatabase
    from ml.candles import Candles

__all__ = ["Replay", "ReplayStore", "backtest_again", "recorded_config", "replay_run"]

_NO_TRADING = "dry"


@dataclass(frozen=True)
class Replay:
    """What came of a run when it was lived through again.

    Attributes
    ----------
    run : RunRow
    file : ConfigFile
        The config that the run had.
    choices : dict of Choice
        By symbol, with the models that the run used.
    journal : Journal
    symbols : tuple of Comparison
        The recorded rows against the replayed ones.
    unwritten : int
        Bars at the end whose decisions were not written when the bot was killed.
    notes : tuple of str
        What a person should know of it, such as that the code is another by now.
    """

    run: RunRow
    file: ConfigFile
    choices: dict[str, Choice]
    journal: Journal
    symbols: tuple[Comparison, ...]
    unwritten: int
    notes: tuple[str, ...]

    @property
    def is_identical(self) -> bool:
        """Whether every recorded row came again."""
        return all(each.is_identical for each in self.symbols)


class ReplayStore:
    """Stands for the store of a live run: it has the journal and no exchange, and the bars end with those recorded.

    Parameters
    ----------
    journal
        Of the run.
    markets
        By symbol, with ``base`` and ``quote``.
    """

    def __init__(self, journal: Journal, markets: Mapping[str, Any]) -> None:
        self.journal = journal
        self._markets = markets
        self._feeds: dict[str, CCXTFeed] = {}

    def getdata(self, **params: Any) -> CCXTFeed:
        """Return a feed of the recorded bars."""
        feed = CCXTFeed(store=self, **params)  # type: ignore[call-arg]  # Backtrader takes the params
        self._feeds[str(feed.p.symbol)] = feed
        return feed

    def market(self, symbol: str) -> Any:
        """Return the assets of a symbol."""
        return self._markets[symbol]

    def ready(self, symbol: str) -> None:
        """End the feed: there are no more bars."""
        self._feeds[symbol].deliver(Notice(None, "the end of what was recorded"))

    def forbids(self, ticket: Ticket) -> str:  # noqa: ARG002 - as the store has it
        """Forbid nothing: what was forbidden stands in the journal."""
        return ""

    gate = forbids

    def place(self, ticket: Ticket, withdrawn: Sequence[str] = ()) -> None:
        """Send nothing."""

    def place_guard(self, tickets: Sequence[Ticket], known_bar_ms: int) -> None:
        """Send nothing."""

    def withdraw(self, orders: Sequence[str], symbol: str) -> None:
        """Cancel nothing."""

    def tell_fill(self, ticket: Ticket, trades: Sequence[Any]) -> None:
        """Tell nobody."""


def replay_run(
    state: StateDatabase,
    run: RunRow,
    home: Home,
    *,
    folder: Path | None = None,
    progress: Callable[[float, str], None] = lambda _fraction, _text: None,
) -> Replay:
    """Live through a run again, and compare what it decides with what it recorded.

    Parameters
    ----------
    state
        A copy of the state database (``copied_state``): dry runs write what they simulate.
    run
        Which run.
    home
        Where the models are.
    folder
        Where a strategy of the user's own is looked for, besides the current one.

    Raises
    ------
    UsageError, ConfigError
        When a model, or the strategy, of the run is not there any more, or is another.
    BotError
        When the strategy fails.
    """
    progress(0.0, "Reading the journal and the models")
    file = recorded_config(run, home, folder)
    notes = _differences(run)
    journal = Journal(state, run)
    symbols = recorded_symbols(state, run)
    found = {
        symbol: choose(_with_versions(file, state, run, symbol), symbol, home, require_champion=False)
        for symbol in symbols
    }
    choices = pinned_choices(state, home, run, found, None)
    store = ReplayStore(journal, {symbol: _assets(symbol, run, journal) for symbol in symbols})
    compared, unwritten = [], 0
    for number, symbol in enumerate(symbols):
        progress(0.1 + 0.9 * number / len(symbols), f"Replay of {symbol}")
        recorded = decision_rows(state, run.run_id, symbol)
        rules = ExchangeRules.from_dict(run.inputs["rules"][symbol])
        assembly = assemble_recorded(
            file, state, run, store, symbol, choices[symbol], rules,
            tag=bot_tag(run.bot, run.run_id), trades=run.mode != _NO_TRADING,
        )  # fmt: skip
        replayed, stopped = _live_again(assembly)
        last_ms = recorded[-1]["open_ms"] if recorded else 0
        unwritten = max(unwritten, sum(row["open_ms"] > last_ms for row in replayed))
        rows = [row for row in replayed if row["open_ms"] <= last_ms]
        known = recorded if stopped is None else [row for row in recorded if row["open_ms"] < stopped.open_ms]
        result = compare_rows(symbol, known, rows, sides=("recorded", "replayed"))
        if stopped is not None and result.first is None:
            result.first, result.differing = stopped, {**result.differing, stopped.kind: 1}
        compared.append(result)
    return Replay(run, file, choices, journal, tuple(compared), unwritten, tuple(notes))


def backtest_again(replay: Replay, state: StateDatabase, symbol: str) -> tuple[list[dict[str, Any]], Candles]:
    """Run the plain backtest over the bars that a run recorded; return its rows, and all bars.

    It begins with the same cash, and its models change where those of the run did.
    """
    run, file = replay.run, replay.file
    series = read_series(state, run.run_id, symbol)
    rules = ExchangeRules.from_dict(run.inputs["rules"][symbol])
    settings = file.config.broker
    broker = SpotBroker(
        rules=rules,
        fees=FeeSchedule(settings.commission, in_kind=settings.fees_in_kind),
        slippage=settings.slippage,
        trade_from_ms=series.trade_from_ms,
    )
    broker.setcash(run.cash[symbol])
    history = series.history
    stored = StoredSeries(history, symbol, run.exchange, history.digest, rules)
    feed = CandleFeed(candles=history)  # type: ignore[call-arg]  # Backtrader takes the params
    assembly = join(replay.choices[symbol], file, symbol, stored, series.trade_from_ms, feed, broker, rules)
    rows, _ = _live_again(assembly)
    return rows, history


def recorded_config(run: RunRow, home: Home, folder: Path | None = None) -> ConfigFile:
    """Return the config of a run.

    Raises
    ------
    DataError
        When it is none that this program knows.
    """
    from pydantic import ValidationError

    from bot.config.loader import ConfigFile
    from bot.config.schema import StrategyConfig

    path = (folder or home.root) / f"{run.bot}.yaml"
    try:
        return ConfigFile(str(path), StrategyConfig.model_validate(run.inputs["config"]), {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(
            f"the config of the run {run.run_id[:8]} is not one of this program's: {place}: {first['msg']}"
        ) from None


def _with_versions(file: ConfigFile, state: StateDatabase, run: RunRow, symbol: str) -> ConfigFile:
    """Return the config with the versions that the run began with: what was promoted since is of no interest."""
    from dataclasses import replace

    models = dict(file.config.models)
    for row in state.rows(
        "SELECT role, version FROM live_models WHERE run_id = ? AND symbol = ? ORDER BY from_ms DESC",
        (run.run_id, symbol),
    ):
        models[str(row["role"])] = models[str(row["role"])].model_copy(
            update={"model": str(row["version"]), "shared": True}
        )
    return replace(file, config=file.config.model_copy(update={"models": models}))


def _differences(run: RunRow) -> list[str]:
    from bot.version import code_version

    then, now = run.inputs.get("code_version"), code_version()
    return [] if then == now else [f"the code is another: {then} then, {now} now"]


def _assets(symbol: str, run: RunRow, journal: Journal) -> Any:
    """Return base and quote of a symbol: by the assets that the run knew, else by its name."""
    from bot.exchange.opening import pair_of, quote_of

    names = {*run.baseline, *(trade.fee_asset for _, trade in journal.traded(symbol))}
    for base in names:
        for quote in names:
            if base != quote and symbol in {base + quote, base}:
                return SimpleNamespace(base=base, quote=quote)
    base, quote = pair_of(symbol, quote_of(symbol))
    return SimpleNamespace(base=base, quote=quote)


def _live_again(assembly: Assembly) -> tuple[list[dict[str, Any]], Divergence | None]:
    """Return the rows that a replay decides, and where it could not go on because it wants other orders."""
    found: list[dict[str, Any]] = []
    record_decisions(assembly, lambda row: found.append(json.loads(json.dumps(row.to_dict()))))
    stopped = None
    try:
        assembly.cerebro.run()
    except ReplayDiffers as error:
        data, broker = assembly.cerebro.datas[0], assembly.broker
        moment = broker.bar_open_ms(data)
        stopped = Divergence(
            assembly.symbol,
            moment,
            "decision",
            "orders",
            "as the journal has them",
            str(error),
            ("recorded", "replayed"),
        )
    except Exception as error:
        if hasattr(error, "exit_code"):
            raise
        raise BotError(f"the strategy failed in the replay: {type(error).__name__}: {error}") from error
    return found, stopped
