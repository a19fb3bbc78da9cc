"""Live bots: what each said last, what it decided and by which gates, and what is new since somebody looked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from bot.decision_words import action_words, gate_cells, prediction_words, reason_words
from bot.errors import StorageError, UsageError
from bot.live.control import Control, known_bots
from bot.live.kill_switch import KillSwitch
from bot.live.last_words import bot_document
from bot.service.answers import pair_text
from bot.service.views.plain import not_here, plain, without_paths
from bot.service.views.reading import reading
from bot.wall_clock import wall_ms
from ml.candles import format_ms
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.home import Home
    from bot.service.views.reading import StateReader

__all__ = ["bot", "bots", "changes", "decisions"]

Token = dict[str, tuple[Any, ...]]
"""What a look at the bots remembers, by name: as long as it is equal nothing is new."""

_EQUITY_POINTS = 500
_NEWEST_ORDERS = 50
_STATUS, _DECISIONS, _ORDERS = "live_status", "live_decisions", "live_orders"
_FIGURES = (
    *("run_id", "mode", "exchange", "timeframe", "state", "connection", "bars", "cash", "value", "initial_value"),
    *("drawdown", "day_return", "errors", "protections"),
)
_ORDER = (
    *("client_id", "exchange_id", "side", "kind", "role", "size", "price", "stop_price", "state", "reason", "bar_ms"),
    *("sent_ms", "ended_ms"),
)


def bots(home: Home) -> list[dict[str, Any]]:
    """Return every bot that runs or ran in a home, by name; none where no bot ever ran, and nothing is made there.

    Returns
    -------
    list of dict
        ``name``, ``running``, ``silent_seconds``, ``waiting_commands``, ``kill_switch``, ``started_at``, ``market_at`` (close
        of the newest candle), ``heard_at``, mode, state, account and ``protections`` of the last words, and ``symbols`` with
        position, stop, target and the last decision. A bot whose words cannot be read has a ``problem``.

    Raises
    ------
    StorageError
        When the state database cannot be read.
    """
    with reading(home.state_db) as state:
        return [] if state is None else [_row(state, home, name) for name in _known(state)]


def bot(home: Home, name: str) -> dict[str, Any]:
    """Return one bot: the row of `bots`, with predictions, resting orders, events, equity and the last decision a symbol.

    Returns
    -------
    dict
        A row of `bots`; each of its ``symbols`` has ``predictions``, ``open_orders`` and ``decision`` (as `decisions`; null
        before the first); ``events`` (oldest first), ``equity`` (value of the books at the newest bars, at most 500) and
        ``orders`` (the newest 50 of the run, newest first, sizes and prices as text of decimals).

    Raises
    ------
    NotHere
        When no bot of that name ran in this home.
    StorageError
        When the state database or the bot's words cannot be read.
    """
    with reading(home.state_db) as state:
        known = [] if state is None else _known(state)
        if state is None or name not in known:
            raise not_here("bot", name, known)
        told = bot_document(Control(state, name, wall_ms), wall_ms())
        row = _told(told)
        run_id = told["status"]["run_id"]
        for symbol, shown in zip(told["status"]["symbols"], row["symbols"], strict=True):
            newest = _journal(state, run_id, symbol["symbol"], 1)
            shown |= {
                "predictions": symbol["predictions"],
                "open_orders": symbol["open_orders"],
                "decision": newest[0] if newest else None,
            }
        row |= {
            "events": [{"at": format_ms(at), "text": text} for at, text in told["status"]["events"]],
            "equity": _equity(state, run_id, [each["symbol"] for each in told["status"]["symbols"]]),
            "orders": _orders(state, run_id),
        }
    found: dict[str, Any] = plain(row, home, times=True)
    return found


def decisions(home: Home, name: str, most: int = 200) -> list[dict[str, Any]]:
    """Return what a bot's newest run decided, newest bar first.

    Parameters
    ----------
    home, name
        Which bot.
    most
        How many rows, at least 1; a bar of several symbols has one each.

    Returns
    -------
    list of dict
        Rows of the decision journal, as ``bot why --json`` gives them: candle, predictions, decision with every gate, orders,
        fills, refusals and account; times in ISO 8601, and ``words`` beside codes.

    Raises
    ------
    NotHere, StorageError
        As `bot`.
    """
    if most < 1:
        raise UsageError(f"most is {most}: expected 1 or more")
    with reading(home.state_db) as state:
        known = [] if state is None else _known(state)
        if state is None or name not in known:
            raise not_here("bot", name, known)
        words = bot_document(Control(state, name, wall_ms), wall_ms())["status"]
        found = [row for each in words["symbols"] for row in _journal(state, words["run_id"], each["symbol"], most)]
    found.sort(key=lambda row: -int(row["open_ms"]))
    rows: list[dict[str, Any]] = plain(found[:most], home, times=True)
    return rows


def changes(home: Home, since: Token | None) -> tuple[Token, list[dict[str, Any]]]:
    """Return what to remember, and the rows of `bots` that are new since; cheap enough to be asked each second.

    A bot is new where it said something, its process began or ended, a command waits or was done, or the kill switch was
    turned.

    Parameters
    ----------
    home
        Whose bots.
    since
        What an earlier call returned; None for everything.
    """
    with reading(home.state_db) as state:
        token = {} if state is None else _look(state, home)
        before = since or {}
        new = [name for name, seen in token.items() if before.get(name) != seen]
        return token, [] if state is None else [_row(state, home, name) for name in new]


def _known(state: StateReader) -> list[str]:
    return known_bots(state) if state.has(_STATUS) else []


def _look(state: StateReader, home: Home) -> Token:
    if not state.has(_STATUS):
        return {}
    switch = KillSwitch(home.root).read()
    commands = state.rows("SELECT bot, count(*) FROM commands WHERE done_ms IS NULL GROUP BY bot")
    waiting = {str(row[0]): int(row[1]) for row in commands}
    rows = state.rows("SELECT bot, heartbeat_ms, state, pid, length(document) FROM live_status ORDER BY bot")
    return {
        str(name): (*seen, waiting.get(name, 0), switch.is_on, Control(state, str(name), wall_ms).is_running())
        for name, *seen in rows
    }


def _row(state: StateReader, home: Home, name: str) -> dict[str, Any]:
    control = Control(state, name, wall_ms)
    try:
        told = bot_document(control, wall_ms())
    except StorageError as error:  # of another version of the program
        return {"name": name, "running": control.is_running(), "problem": without_paths(str(error), home)}
    row: dict[str, Any] = plain(_told(told), home, times=True)
    return row


def _told(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the row of a bot's document."""
    status = document["status"]
    return {
        "name": document["bot"],
        "running": document["running"],
        "silent_seconds": document["silent_seconds"],
        "waiting_commands": document["waiting_commands"],
        "kill_switch": document["kill_switch"],
        "started_ms": status["started_ms"],
        "market_ms": status["market_ms"],
        "heard_ms": status["heartbeat_ms"],
        **{name: status[name] for name in _FIGURES},
        "symbols": [
            {
                "symbol": pair_text(each["symbol"]),
                "bar_ms": each["open_ms"],
                **{
                    name: each[name]
                    for name in (
                        "close",
                        "position",
                        "entry_price",
                        "stop",
                        "target",
                        "cash",
                        "value",
                        "action",
                        "reason",
                    )
                },
            }
            for each in status["symbols"]
        ],
        "problem": None,
    }


def _journal(state: StateReader, run_id: str, symbol: str, most: int) -> list[dict[str, Any]]:
    """Return the newest rows of the decision journal, newest first, with words beside codes."""
    if not state.has(_DECISIONS):
        return []
    found = state.rows(
        "SELECT document FROM live_decisions WHERE run_id = ? AND symbol = ? ORDER BY open_ms DESC LIMIT ?",
        (run_id, symbol, most),
    )
    try:
        return [_in_words(json.loads(row["document"])) for row in found]
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(
            f"{state.path}: the journal of {run_id} has a row that this program cannot read: {error!r}"
        ) from None


def _in_words(row: dict[str, Any]) -> dict[str, Any]:
    opened = int(row["open_ms"])
    predictions = {role: {**said, "words": prediction_words(said)} for role, said in row["predictions"].items()}
    decision = row["decision"]
    if decision is not None:
        gates = []
        for gate in decision["gates"]:
            verdict, words, figures = gate_cells(gate)
            gates.append({**gate, "verdict": verdict, "words": words, "figures": figures})
        action, reason = str(decision["action"]), str(decision["reason"])
        decision = {
            **decision,
            "action_words": action_words(action),
            "reason_words": reason_words(action, reason),
            "gates": gates,
        }
    closed_ms = opened + timeframe_ms(row["timeframe"])
    return {
        **row,
        "symbol": pair_text(row["symbol"]),
        "closed_ms": closed_ms,
        "predictions": predictions,
        "decision": decision,
    }


def _equity(state: StateReader, run_id: str, symbols: list[str]) -> list[dict[str, Any]]:
    """Return the value of all books after each of the newest bars that every symbol has decided."""
    if not state.has(_DECISIONS):
        return []
    values: dict[int, list[float]] = {}
    for symbol in symbols:
        found = state.rows(
            "SELECT open_ms, json_extract(document, '$.value') AS value FROM live_decisions "
            "WHERE run_id = ? AND symbol = ? ORDER BY open_ms DESC LIMIT ?",
            (run_id, symbol, _EQUITY_POINTS),
        )
        for row in found:
            if row["value"] is not None:
                values.setdefault(int(row["open_ms"]), []).append(float(row["value"]))
    whole = {at: sum(parts) for at, parts in values.items() if len(parts) == len(symbols)}
    return [{"bar_ms": at, "value": whole[at]} for at in sorted(whole)]


def _orders(state: StateReader, run_id: str) -> list[dict[str, Any]]:
    if not state.has(_ORDERS):
        return []
    found = state.rows(
        f"SELECT symbol, {', '.join(_ORDER)} FROM live_orders WHERE run_id = ? ORDER BY rowid DESC LIMIT ?",  # noqa: S608 - our own names
        (run_id, _NEWEST_ORDERS),
    )
    return [{**dict(row), "symbol": pair_text(row["symbol"])} for row in found]
