"""Figures and facts of a live bot in words: for the screen, the log and the commands alike."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bot.live.status import LiveStatus, OpenOrder, RolePrediction, SymbolStatus

__all__ = [
    "bar_line",
    "clean",
    "moment",
    "order_text",
    "position_text",
    "prediction_text",
    "price",
    "signed_percent",
    "size",
    "stamp",
]


def clean(text: str) -> str:
    """Return the text as one line without control characters: an exchange's words may hold both."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def moment(at_ms: int) -> str:
    """Return ``2026-11-20 09:00:00``, UTC."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def stamp(at_ms: int) -> str:
    """Return ``2026-11-20T09:00:00Z``, as logs write it."""
    return datetime.fromtimestamp(at_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def price(value: float | None) -> str:
    """Return a price or an amount of the quote currency: two decimals from 100 on, at most eight below."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if abs(value) >= 100 else size(value)


def size(value: float) -> str:
    """Return an amount of a coin without needless zeros; at most eight decimals."""
    text = f"{value:.8f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text


def signed_percent(fraction: float) -> str:
    """Return ``+0.35 %``."""
    return f"{100 * fraction:+.2f} %"


def prediction_text(prediction: RolePrediction) -> str:
    """Return ``up 57.3 %``, or why there is none."""
    detail = clean(prediction.detail)
    if prediction.status == "no_model" and detail:
        return f"no model ({detail})"
    if prediction.status != "ok":
        return f"none ({prediction.status.replace('_', ' ')})"
    parts = [prediction.direction or ""]
    if prediction.confidence is not None:
        parts.append(f"{100 * prediction.confidence:.1f} %")
    parts.append(detail)
    return " ".join(part for part in parts if part) or "ok"


def position_text(symbol: SymbolStatus) -> str:
    """Return ``0.01234 at 63,900.10``, or ``flat``."""
    if not symbol.position:
        return "flat"
    return f"{size(symbol.position)} at {price(symbol.entry_price)}"


def order_text(order: OpenOrder) -> str:
    """Return ``sell 0.01234 stop 61,983.09``."""
    where = "" if order.price is None else f" {price(order.price)}"
    return f"{order.side} {size(order.size)} {clean(order.kind)}{where}"


def bar_line(status: LiveStatus, symbol: SymbolStatus) -> str:
    """Return the essentials of a symbol's newest bar as one line of a log; its time is the bar's close."""
    said = ", ".join(f"{each.role} {prediction_text(each)}" for each in symbol.predictions) or "no model"
    held = position_text(symbol)
    if symbol.stop is not None:
        held += f", stop {price(symbol.stop)}"
    if symbol.target is not None:
        held += f", target {price(symbol.target)}"
    parts = [
        f"{symbol.symbol} close {price(symbol.close)}",
        said,
        held,
        f"{clean(symbol.action) or 'none'}: {clean(symbol.reason)}".removesuffix(": "),
        f"value {price(status.value)}, today {signed_percent(status.day_return)}, drawdown {100 * status.drawdown:.2f} %",
    ]
    return f"{stamp(status.market_ms or status.heartbeat_ms)} {' | '.join(parts)}"
