"""Values of the journal as rows: decimals as text, so that they come back to the last digit."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.live.journal_tables import JOURNAL_STEPS
from bot.live.orders import Execution, Guard, Ticket
from ml.candles import Candles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bot.live.facts import OrderRow
    from bot.state import StateDatabase

__all__ = [
    "RunRow",
    "SeriesRow",
    "begin_run",
    "decision_digest",
    "end_run",
    "execution_values",
    "order_values",
    "pack_bar",
    "read_execution_row",
    "read_order_row",
    "read_run_row",
    "read_series",
    "set_baseline",
]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run of a bot: from its first bar to the last before its config was changed.

    Attributes
    ----------
    run_id, bot : str
    started_ms : int
    ended_ms : int or None
        When it was closed for good; None while it may be continued.
    mode, exchange : str
        ``paper`` or ``real``, and where.
    inputs : dict
        What decides a run: config, models, rules, code; plain data.
    cash : dict
        Quote currency of each symbol's ledger at the start, by symbol.
    baseline : dict
        What the account held at the start, by asset, as text.
    """

    run_id: str
    bot: str
    started_ms: int
    ended_ms: int | None
    mode: str
    exchange: str
    inputs: dict[str, Any]
    cash: dict[str, float]
    baseline: dict[str, str]


@dataclass(frozen=True, slots=True)
class SeriesRow:
    """The candles of a run's symbol.

    Attributes
    ----------
    warm : Candles
        Those before the first bar that may trade.
    bars : Candles
        Those that were delivered since.
    late : tuple of bool
        For each of ``bars``, whether a newer one was known already.
    trade_from_ms : int
        Open time of the first bar that may trade.
    """

    warm: Candles
    bars: Candles
    late: tuple[bool, ...]
    trade_from_ms: int

    @property
    def history(self) -> Candles:
        """All of them."""
        columns = {"open_ms": np.concatenate([self.warm.open_ms, self.bars.open_ms])}
        for name, column in self.warm.columns.items():
            columns[name] = np.concatenate([column, self.bars.columns[name]])
        asked = self.warm.asked
        if len(self.bars) and asked:
            end = int(self.bars.open_ms[-1]) + self.bars.step_ms
            asked = (*asked[:-1], (asked[-1][0], max(asked[-1][1], end)))
        return Candles.from_columns(self.warm.timeframe, columns, asked)


def begin_run(state: StateDatabase, run: RunRow, series: Mapping[str, tuple[Candles, int]]) -> None:
    """Write a run with its warm-up candles and first bars that may trade, by symbol, in one transaction."""
    state.apply("journal", JOURNAL_STEPS)
    with state.transaction():
        state.execute(
            "INSERT INTO live_runs (run_id, bot, started_ms, mode, exchange, inputs, cash, baseline) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.run_id,
                run.bot,
                run.started_ms,
                run.mode,
                run.exchange,
                json.dumps(run.inputs, sort_keys=True),
                json.dumps(run.cash),
                json.dumps(run.baseline),
            ),
        )
        for symbol, (warm, trade_from_ms) in series.items():
            names = list(warm.columns)
            table = np.column_stack([warm.open_ms.astype(np.float64), *warm.columns.values()])
            state.execute(
                "INSERT INTO live_series (run_id, symbol, timeframe, columns, trade_from_ms, asked, warm) "
                "VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    run.run_id,
                    symbol,
                    warm.timeframe,
                    json.dumps(names),
                    trade_from_ms,
                    json.dumps(warm.asked),
                    table.astype("<f8").tobytes(),
                ),
            )


def end_run(state: StateDatabase, run_id: str, now_ms: int) -> None:
    """Close a run for good: the bot's next start begins another."""
    state.execute("UPDATE live_runs SET ended_ms = ? WHERE run_id = ?", (now_ms, run_id))


def set_baseline(state: StateDatabase, run_id: str, baseline: Mapping[str, str]) -> None:
    """Take what the account holds beside the run's own trades as given from now on, by asset."""
    state.execute("UPDATE live_runs SET baseline = ? WHERE run_id = ?", (json.dumps(dict(baseline)), run_id))


def read_series(state: StateDatabase, run_id: str, symbol: str) -> SeriesRow:
    """Return the candles of a run's symbol."""
    row = state.rows("SELECT * FROM live_series WHERE run_id = ? AND symbol = ?", (run_id, symbol))[0]
    names, timeframe = json.loads(row["columns"]), str(row["timeframe"])
    asked = tuple((int(start), int(end)) for start, end in json.loads(row["asked"]))
    width = len(names) + 1
    found = state.rows(
        "SELECT open_ms, content, late FROM live_bars WHERE run_id = ? AND symbol = ? ORDER BY open_ms",
        (run_id, symbol),
    )
    bars = np.frombuffer(b"".join(bar["content"] for bar in found), dtype="<f8").reshape(-1, width)
    warm = np.frombuffer(row["warm"], dtype="<f8").reshape(-1, width)
    return SeriesRow(
        warm=_candles(timeframe, names, warm, asked),
        bars=_candles(timeframe, names, bars, ()),
        late=tuple(bool(bar["late"]) for bar in found),
        trade_from_ms=int(row["trade_from_ms"]),
    )


def pack_bar(open_ms: int, values: Sequence[float]) -> bytes:
    """Return a bar as the journal keeps it: open time and the series' columns, little-endian doubles."""
    return struct.pack(f"<{len(values) + 1}d", float(open_ms), *values)


def order_values(run_id: str, row: OrderRow) -> tuple[Any, ...]:
    """Return an order as a row of ``live_orders``."""
    ticket = row.ticket
    guard = ticket.guard
    return (
        ticket.client_id,
        run_id,
        ticket.symbol,
        ticket.bar_ms,
        ticket.side,
        ticket.kind,
        ticket.role,
        str(ticket.size),
        None if ticket.price is None else str(ticket.price),
        None if ticket.stop_price is None else str(ticket.stop_price),
        ticket.pair,
        ticket.parent,
        None if guard is None else json.dumps([guard.stop_loss, guard.take_profit, guard.held]),
        row.state,
        row.reason,
        int(row.is_cash_short),
        row.sent_ms,
    )


def decision_digest(document: str) -> bytes:
    """Return 8 bytes that tell whether a replay decides as the journal says."""
    return hashlib.blake2b(document.encode(), digest_size=8).digest()


def execution_values(run_id: str, symbol: str, trade: Execution) -> tuple[Any, ...]:
    """Return a trade as a row of ``live_executions``."""
    amounts = (str(trade.size), str(trade.price), str(trade.fee))
    return (run_id, symbol, trade.trade_id, trade.client_id, *amounts, trade.fee_asset, trade.at_ms)


def read_order_row(row: Any) -> Ticket:
    """Return the order of a row of ``live_orders``."""
    return Ticket(
        client_id=str(row["client_id"]),
        symbol=str(row["symbol"]),
        bar_ms=int(row["bar_ms"]),
        side=row["side"],
        kind=row["kind"],
        role=row["role"],
        size=Decimal(row["size"]),
        price=None if row["price"] is None else Decimal(row["price"]),
        stop_price=None if row["stop_price"] is None else Decimal(row["stop_price"]),
        pair=row["pair"],
        parent=row["parent"],
        guard=None if row["guard"] is None else Guard(*json.loads(row["guard"])),
    )


def read_execution_row(row: Any) -> Execution:
    """Return the trade of a row of ``live_executions``."""
    return Execution(
        client_id=str(row["client_id"]),
        trade_id=str(row["trade_id"]),
        size=Decimal(row["size"]),
        price=Decimal(row["price"]),
        fee=Decimal(row["fee"]),
        fee_asset=str(row["fee_asset"]),
        at_ms=int(row["at_ms"]),
    )


def read_run_row(row: Any) -> RunRow:
    """Return the run of a row of ``live_runs``."""
    return RunRow(
        run_id=str(row["run_id"]),
        bot=str(row["bot"]),
        started_ms=int(row["started_ms"]),
        ended_ms=row["ended_ms"],
        mode=str(row["mode"]),
        exchange=str(row["exchange"]),
        inputs=json.loads(row["inputs"]),
        cash=json.loads(row["cash"]),
        baseline=json.loads(row["baseline"]),
    )


def _candles(timeframe: str, names: Sequence[str], table: Any, asked: tuple[tuple[int, int], ...]) -> Candles:
    columns = {name: table[:, place] for place, name in enumerate(names, 1)}
    return Candles.from_columns(timeframe, {"open_ms": table[:, 0].astype(np.int64), **columns}, asked)
