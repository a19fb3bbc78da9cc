"""Faults of candles: rows of a klines reply that are missing, late, revised or impossible. The market itself is untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.exchange.tape import number_text

if TYPE_CHECKING:
    from bot.exchange.faults import Fault, FaultPlan

__all__ = ["spoil"]

_FAR = 1_000  # candles into the future


def spoil(rows: list[list[Any]], faults: FaultPlan, path: str, symbol: str, step_ms: int, now_ms: int) -> None:
    """Change the rows of a klines reply in place, by the faults that its request meets.

    Parameters
    ----------
    rows : list of lists of 12
        As the tape shows them.
    faults : FaultPlan
        What was ordered.
    path, symbol : str
        Of the request.
    step_ms : int
        Length of a candle of the market.
    now_ms : int
        Market time: a row whose close time is earlier has closed.
    """
    for fault in faults.take_candles("GET", path, symbol):
        position = _position(rows, fault, now_ms)
        if position is not None:
            _spoil_row(rows, position, fault, step_ms)
            faults.used(fault)


def _position(rows: list[list[Any]], fault: Fault, now_ms: int) -> int | None:
    for position in range(len(rows) - 1, -1, -1):
        opens, closes = rows[position][0], rows[position][6]
        if closes < now_ms and fault.open_ms in {None, opens}:
            return position
    return None


def _spoil_row(rows: list[list[Any]], position: int, fault: Fault, step_ms: int) -> None:
    row = rows[position]
    if fault.kind == "hide_candle":
        del rows[position]
    elif fault.kind == "late_candle":  # still forming, as if its close were not known yet
        del rows[position + 1 :]
        rows[position] = [row[0], row[1], row[1], row[1], row[1], "0", row[6], "0", 0, "0", "0", "0"]
    elif fault.kind == "revise_candle":
        close = round(float(row[4]) * fault.factor, 8)
        row[4] = number_text(close)
        row[2] = number_text(max(float(row[2]), close))
        row[3] = number_text(min(float(row[3]), close))
        row[5] = number_text(round(float(row[5]) * fault.factor, 8))
    elif fault.variant == "future":
        row[0] += _FAR * step_ms
        row[6] += _FAR * step_ms
    elif fault.variant == "unaligned":
        row[0] += step_ms // 3
    elif fault.variant == "nan":
        row[4] = "NaN"
    else:
        row[2], row[3] = number_text(float(row[3]) * 0.99), number_text(float(row[2]) * 1.01)
