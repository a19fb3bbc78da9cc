"""An order in the place of another: one is cancelled and one is placed, and the answer tells what became of each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.exchange.refusals import Refusal, invalid_value

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["replace"]

_REJECTED = -2010  # by the matching engine, after the cancel; every other refusal of an order comes before it
_SAFE = "STOP_ON_FAILURE"
_MODES = (_SAFE, "ALLOW_FAILURE")


def replace(
    mode: str,
    *,
    check: Callable[[], None],
    cancel: Callable[[], dict[str, Any]],
    place: Callable[[], dict[str, Any]],
) -> dict[str, Any]:
    """Cancel an order and place another.

    Parameters
    ----------
    mode : str
        ``STOP_ON_FAILURE`` places nothing when the cancel fails, ``ALLOW_FAILURE`` tries it all the same.
    check : callable
        Refuses what the new order must not be. What the matching engine would refuse (-2010) is not told before the cancel.
    cancel, place : callables
        Do it and return the document of the answer.

    Returns
    -------
    dict
        Both results and both documents.

    Raises
    ------
    Refusal
        What ``check`` raises; -2021 with status 409 when one of the two failed, -2022 with status 400 when both did or the
        second was not attempted. ``data`` has results and documents then.
    """
    if mode not in _MODES:
        raise invalid_value("cancelReplaceMode")
    try:
        check()
    except Refusal as refusal:
        if refusal.code != _REJECTED:
            raise
    cancelled, told = _attempt(cancel)
    placed, answer = ("NOT_ATTEMPTED", None) if cancelled == "FAILURE" and mode == _SAFE else _attempt(place)
    found = {
        "cancelResult": cancelled,
        "newOrderResult": placed,
        "cancelResponse": told,
        "newOrderResponse": answer,
    }
    if cancelled == placed == "SUCCESS":
        return found
    if "SUCCESS" in (cancelled, placed):
        raise Refusal(-2021, "Order cancel-replace partially failed.", 409, data=found)
    raise Refusal(-2022, "Order cancel-replace failed.", data=found)


def _attempt(action: Callable[[], dict[str, Any]]) -> tuple[str, dict[str, Any] | None]:
    try:
        return "SUCCESS", action()
    except Refusal as refusal:
        return "FAILURE", refusal.document()
