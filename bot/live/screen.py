"""The screen of a live bot as lines of styled pieces: pure, so that it can be printed, drawn and tested alike."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from bot.live.wording import (
    clean,
    moment,
    order_text,
    position_text,
    prediction_text,
    price,
    signed_percent,
    size,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bot.live.status import LiveStatus, SymbolStatus

    Piece = tuple[str, str]
    Line = list[Piece]

__all__ = ["screen_lines"]

# styles that stay readable on a light and on a dark ground: weight, and the two colours that both have
_PLAIN, _BOLD, _DIM, _GOOD, _BAD, _ALARM = "", "bold", "dim", "green", "red", "bold red"
_LABEL = 12  # columns of "prediction  "
_EVENTS = 3  # lines that events get at least
_REASON = 24  # columns that decisions get at least, in the table of many symbols
_SILENT_MS = 10_000
_HEALTHY = {"live", "connected"}  # what a bot says of a connection that works


def screen_lines(status: LiveStatus, width: int, height: int, now_ms: int | None = None) -> list[Line]:
    """Return what a person should see, fitted into a terminal.

    Parameters
    ----------
    status
        The bot's last words.
    width, height
        Columns and rows to fill; a line is cut with an ellipsis where one thing is wider.
    now_ms
        The wall clock, to say how long the bot has been silent; None where nobody waits for it.

    Returns
    -------
    list of lists of (text, style)
        At most ``height`` lines; styles are names that rich knows.
    """
    head = _head(status, width, now_ms)
    details = [line for symbol in status.symbols for line in [[], *_symbol(symbol, width)]]
    if len(head) + len(details) + _EVENTS + 2 > height and len(status.symbols) > 1:
        details = [[], *_table(status.symbols, width, max(1, height - len(head) - _EVENTS - 4))]
    lines = head + details
    room = height - len(lines) - 2
    if status.events and room > 0:
        lines += [[], [("last events", _BOLD)]]
        shown = status.events[-room:]
        lines += [[(f"{moment(at)[-8:]}  ", _DIM), (clean(text), _PLAIN)] for at, text in reversed(shown)]
    return [_cut(line, width) for line in lines[:height]]


def _head(status: LiveStatus, width: int, now_ms: int | None) -> list[Line]:
    mode = {"paper": "PAPER", "dry": "DRY RUN", "real": "REAL MONEY"}[status.mode]
    state = {"running": _GOOD, "paused": _ALARM, "failed": _ALARM}.get(status.state, _BOLD)
    names = [(status.bot, _BOLD), (mode, _ALARM if status.mode == "real" else _BOLD), (status.exchange, _PLAIN)]
    lines = _flow(
        [
            *([each] for each in [*names, (status.timeframe, _PLAIN)]),
            [(status.state, state), (f" (started {moment(status.started_ms)[:-3]})", _DIM)],
        ],
        width,
    )
    market = "no candle yet" if status.market_ms is None else f"{moment(status.market_ms)} UTC"
    facts = [[("market ", _DIM), (market, _BOLD)], [(f"{status.bars:,} bar{'s' * (status.bars != 1)}", _PLAIN)]]
    facts.append([(clean(status.connection), _GOOD if status.connection in _HEALTHY else _BAD)])
    if status.errors:
        facts.append([(f"{status.errors:,} error{'s' * (status.errors != 1)}", _BAD)])
    silent = 0 if now_ms is None or status.has_ended else now_ms - status.heartbeat_ms
    if silent > _SILENT_MS:
        facts.append([(f"silent for {silent // 1000:,} s", _ALARM)])
    lines += _flow(facts, width)
    total = status.value / status.initial_value - 1 if status.initial_value else 0.0
    lines += _flow(
        [
            [("value ", _DIM), (price(status.value), _BOLD)],
            [("total ", _DIM), _gain(total)],
            [("today ", _DIM), _gain(status.day_return)],
            [("drawdown ", _DIM), (f"{100 * status.drawdown:.2f} %", _PLAIN)],
            [("cash ", _DIM), (price(status.cash), _PLAIN)],
        ],
        width,
    )
    if status.protections:
        text = f"NO NEW ENTRIES: {'; '.join(clean(each) for each in status.protections)}"
        lines += [[(part, _ALARM)] for part in _wrapped(text, width)]
    return lines


def _symbol(symbol: SymbolStatus, width: int) -> list[Line]:
    """Return one symbol in full: a title and a line, or a few, for each thing."""
    title = [(symbol.symbol, _BOLD), (f"  {price(symbol.close)}", _BOLD)]
    if symbol.open_ms is not None:
        title.append((f"  candle of {moment(symbol.open_ms)}", _DIM))
    lines = [title]
    for said in symbol.predictions:
        style = {"up": _GOOD, "down": _BAD}.get(said.direction or "", _PLAIN) if said.status == "ok" else _DIM
        who = f"{clean(said.model)} {said.version or 'no version'}"
        lines += _row(said.role, [[(prediction_text(said), style)], [(said.status, _DIM)], [(who, _DIM)]], width)
    if not symbol.predictions:
        lines += _row("prediction", [[("no model", _DIM)]], width)
    held = [[(position_text(symbol), _BOLD if symbol.position else _PLAIN)]]
    gain = _open_gain(symbol)
    if gain is not None:
        held.append([_gain(gain)])
    for name, level in (("stop", symbol.stop), ("target", symbol.target)):
        if level is not None:
            away = f" ({signed_percent(level / symbol.close - 1)})" if symbol.close else ""
            held.append([(f"{name} ", _DIM), (f"{price(level)}{away}", _PLAIN)])
    if symbol.value is not None:
        held.append([("value ", _DIM), (price(symbol.value), _PLAIN)])
    if symbol.cash is not None:
        held.append([("cash ", _DIM), (price(symbol.cash), _PLAIN)])
    lines += _row("position", held, width)
    orders = [[(order_text(order), _PLAIN)] for order in symbol.open_orders]
    lines += _row("orders", orders or [[("none", _DIM)]], width)
    decision = f"{clean(symbol.action) or 'none'}: {clean(symbol.reason)}".removesuffix(": ")
    rows = _wrapped(decision, width - _LABEL)
    lines += [[(f"{'decision' if not i else '':<{_LABEL}}", _DIM), (row, _PLAIN)] for i, row in enumerate(rows)]
    return lines


def _table(symbols: Sequence[SymbolStatus], width: int, rows: int) -> list[Line]:
    """Return many symbols, one line each; the decision takes what is left of the width."""
    head = ["symbol", "close", "prediction", "position", "gain", "stop", "decision"]
    cells, styles = [], []
    for symbol in symbols[:rows]:
        said = symbol.predictions[0] if symbol.predictions else None
        gain = _open_gain(symbol)
        cells.append(
            [
                symbol.symbol,
                price(symbol.close),
                "no model" if said is None else prediction_text(said),
                size(symbol.position) if symbol.position else "flat",
                "-" if gain is None else signed_percent(gain),
                price(symbol.stop),
                f"{clean(symbol.action) or 'none'}: {clean(symbol.reason)}".removesuffix(": "),
            ]
        )
        styles.append([_BOLD, *[_PLAIN] * 3, _PLAIN if gain is None else _gain(gain)[1], _PLAIN, _PLAIN])
    widths = [max(len(row[i]) for row in [head, *cells]) for i in range(len(head))]
    while sum(widths[:-1]) + 2 * (len(widths) - 1) + _REASON > width and len(widths) > 4:  # the reason needs room
        del head[-2], widths[-2]
        for row in [*cells, *styles]:
            del row[-2]
    widths[-1] = 0  # nothing stands to the right of the decision
    sides = [">" if name in {"close", "position", "gain", "stop"} else "<" for name in head]
    lines: list[Line] = []
    for row, style in zip([head, *cells], [[_DIM] * len(head), *styles], strict=True):
        lines.append([(f"{cell:{side}{w}}  ", s) for cell, side, w, s in zip(row, sides, widths, style, strict=True)])
    if len(symbols) > rows:
        lines.append([(f"and {len(symbols) - rows} more", _DIM)])
    return lines


def _row(label: str, parts: list[Line], width: int) -> list[Line]:
    """Return labelled parts, flowing on under themselves."""
    flowed = _flow(parts, width - _LABEL)
    return [
        [(f"{clean(label)[: _LABEL - 1] if not i else '':<{_LABEL}}", _DIM), *line] for i, line in enumerate(flowed)
    ]


def _flow(parts: Iterable[Line], width: int) -> list[Line]:
    """Put parts beside each other, and go on in the next line where the width ends."""
    lines: list[Line] = [[]]
    used = 0
    for part in parts:
        needed = sum(len(text) for text, _ in part)
        if lines[-1] and used + 3 + needed > width:
            lines.append([])
            used = 0
        if lines[-1]:
            lines[-1].append(("   ", _PLAIN))
            used += 3
        lines[-1].extend(part)
        used += needed
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, max(20, width), max_lines=3, placeholder=" …") or [""]


def _cut(line: Line, width: int) -> Line:
    """Return the line no wider than the terminal, its end an ellipsis where something was cut off."""
    while line and not line[-1][0].strip():
        line = line[:-1]
    if line:
        line = [*line[:-1], (line[-1][0].rstrip(), line[-1][1])]
    if sum(len(text) for text, _ in line) <= width:
        return line
    kept: Line = []
    room = width - 1
    for text, style in line:
        kept.append((text[:room], style))
        room -= len(text[:room])
    return [*[each for each in kept if each[0]], ("…", _DIM)]


def _open_gain(symbol: SymbolStatus) -> float | None:
    if not symbol.position or not symbol.entry_price or symbol.close is None:
        return None
    return symbol.close / symbol.entry_price - 1


def _gain(fraction: float) -> Piece:
    shown = round(fraction, 4)
    return signed_percent(fraction), _GOOD if shown > 0 else _BAD if shown < 0 else _PLAIN
