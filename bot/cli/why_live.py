"""``bot why`` of a live run: the bar as it was written down, its orders with their executions, and what happened then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bot.cli.why import moment_ms, shown_moment
from bot.decision_words import row_lines
from bot.errors import UsageError
from bot.parity.recorded import bar_orders, copied_state, events_near, find_live_run, recorded_symbols
from ml.candles import format_ms
from registry.errors import suggestion
from registry.names import normalise_symbol, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.cli.output import Report
    from bot.home import Home
    from bot.live.journal_rows import RunRow
    from bot.state import StateDatabase

__all__ = ["find_live_bar", "print_live_bar"]


def print_live_bar(
    report: Report, text: str, time: str, symbol: str | None, home: Home, no_backtest: UsageError
) -> None:
    """Print one bar of a live run.

    Parameters
    ----------
    text, time, symbol
        As the command has them.
    home
        Whose state database.
    no_backtest
        Why it is no run of a backtest; raised where it is no live run either.
    """
    if not home.state_db.exists():
        raise no_backtest
    with copied_state(home) as state:
        try:
            run = find_live_run(state, text)
        except UsageError as error:
            raise UsageError(f"{no_backtest}; and {error}") from None
        row = find_live_bar(state, run, time, symbol)
    report.document({"run": run.run_id, "bot": run.bot, "mode": run.mode, "exchange": run.exchange, **row})
    report.line(f"Run {run.run_id[:8]} of {run.bot}, {run.mode} on {run.exchange}, begun {format_ms(run.started_ms)}")
    for line in (*row_lines(row), *_order_lines(row), *_event_lines(row)):
        report.line(line)


def find_live_bar(state: StateDatabase, run: RunRow, time: str, symbol: str | None) -> dict[str, Any]:
    """Return the row of the decision journal of one bar, with ``live_orders`` and ``events``, as plain data.

    Parameters
    ----------
    state, run
        The state database, and which run.
    time
        A moment inside the bar: ISO (UTC unless it says otherwise), or milliseconds UTC.
    symbol
        Which one; None for the only one.

    Raises
    ------
    UsageError
        When the time is none, or no decision of its bar was written; the message says what there is.
    """
    name = _symbol(recorded_symbols(state, run), symbol)
    moment, step = moment_ms(time), timeframe_ms(run.inputs["config"]["timeframe"])
    own = (run.run_id, name)
    found = state.rows(
        "SELECT open_ms, document FROM live_decisions WHERE run_id = ? AND symbol = ? AND open_ms <= ? AND open_ms > ? "
        "ORDER BY open_ms DESC LIMIT 1",
        (*own, moment, moment - step),
    )
    if not found:
        raise UsageError(_nothing(state, run, name, moment, step))
    open_ms = int(found[0]["open_ms"])
    row: dict[str, Any] = json.loads(found[0]["document"])
    late = state.rows(
        "SELECT late, delivered_ms FROM live_bars WHERE run_id = ? AND symbol = ? AND open_ms = ?", (*own, open_ms)
    )
    return {
        **row,
        "is_late": bool(late and late[0]["late"]),
        "delivered_ms": int(late[0]["delivered_ms"]) if late else None,
        "live_orders": bar_orders(state, run.run_id, name, open_ms),
        "events": events_near(state, run.run_id, name, open_ms, step),
    }


def _symbol(known: list[str], wanted: str | None) -> str:
    if wanted is None:
        if len(known) == 1:
            return known[0]
        raise UsageError(f"the run trades {', '.join(known)}: which one? --symbol {known[0] if known else '...'}")
    name = normalise_symbol(wanted)
    if name not in known:
        raise UsageError(f"the run does not trade {name}{suggestion(name, known) or '; it trades ' + ', '.join(known)}")
    return name


def _nothing(state: StateDatabase, run: RunRow, symbol: str, moment: int, step: int) -> str:
    """Return why there is no row."""
    own = (run.run_id, symbol)
    span = state.rows("SELECT min(open_ms), max(open_ms) FROM live_decisions WHERE run_id = ? AND symbol = ?", own)[0]
    if span[0] is None:
        return f"the run {run.run_id[:8]} of {run.bot} has decided nothing yet"
    if not int(span[0]) <= moment < int(span[1]) + step:
        first, last = format_ms(int(span[0])), format_ms(int(span[1]))
        return f"{shown_moment(moment)} is outside what the run has written: its bars open from {first} to {last}"
    return f"there is no candle of {shown_moment(moment)}: the exchange had none"


def _order_lines(row: Mapping[str, Any]) -> list[str]:
    """Return the orders of the bar as the exchange knew them."""
    lines = []
    if row["is_late"]:
        lines.append(_line("late", "a newer bar had closed already when this one came: nothing could be ordered"))
    for order in row["live_orders"]:
        when = (
            "" if order["decided_ms"] == row["open_ms"] else f", decided at the bar of {format_ms(order['decided_ms'])}"
        )
        prices = [f"{word} {order[name]}" for name, word in (("stop_price", "stop"), ("price", "limit")) if order[name]]
        what = " ".join([order["side"], order["size"], *(prices or ["at the market"])])
        reason = f" ({order['reason']})" if order["reason"] else ""
        lines.append(_line(order["role"], f"{order['client_id']}: {what}, {order['state']}{reason}{when}"))
        lines += [
            _line("", f"trade {trade['trade_id']}: {trade['size']} at {trade['price']}, fee {trade['fee']} "
                  f"{trade['fee_asset']}, {format_ms(int(trade['at_ms']))}")
            for trade in order["executions"]
        ]  # fmt: skip
    return lines


def _event_lines(row: Mapping[str, Any]) -> list[str]:
    return [
        _line("event", f"{format_ms(int(e['at_ms']))} {e['kind']}: {e['text']}".rstrip(": ")) for e in row["events"]
    ]


def _line(label: str, text: str) -> str:
    return f"  {label:<12}{text}".rstrip()
