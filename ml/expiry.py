"""When a model is too old to answer: a matter of the bar's time and of the end of its training, never of now."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from registry.errors import InvalidBundle

if TYPE_CHECKING:
    from ml.candles import Candles
    from registry.model import StrategyModel

__all__ = ["expiry_of", "first_expired"]


def expiry_of(model: StrategyModel | None, stated_ms: int | None = None) -> int | None:
    """Return how long after the end of its training a version may answer, milliseconds; None for ever.

    Parameters
    ----------
    model
        The version, or None.
    stated_ms
        What the config says; it holds over what the bundle says of itself (``expires_after_ms`` of its metadata).

    Raises
    ------
    InvalidBundle
        When what the bundle says is no length of time.
    """
    if stated_ms is not None or model is None:
        return stated_ms
    own = model.metadata.get("expires_after_ms")
    if own is not None and (isinstance(own, bool) or not isinstance(own, int) or own < 0):
        raise InvalidBundle(f"{model}: metadata.json has expires_after_ms {own!r}: expected milliseconds, or null")
    return own


def first_expired(candles: Candles, trained_until_ms: int | None, expires_after_ms: int | None) -> int:
    """Return the position of the first bar that closes too long after training; their number where none does."""
    if expires_after_ms is None or trained_until_ms is None:
        return len(candles)
    last_open = trained_until_ms + expires_after_ms - candles.step_ms
    return int(np.searchsorted(candles.open_ms, last_open, side="right"))
