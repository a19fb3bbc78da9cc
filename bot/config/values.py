"""Values that every kind of config is made of: their spellings are read into one canonical form."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from bot.errors import UsageError
from registry.errors import InvalidName
from registry.names import normalise_symbol, timeframe_ms

__all__ = ["Length", "Listed", "Part", "Symbol", "Timeframe", "duration_ms"]


class Part(BaseModel):
    """A part of a config: frozen, strictly typed, without keys that nobody knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def _timeframe(value: str) -> str:
    try:
        timeframe_ms(value)
    except InvalidName as error:
        raise ValueError(str(error)) from None
    return value


def _symbol(value: str) -> str:
    try:
        return normalise_symbol(value)
    except InvalidName as error:
        raise ValueError(str(error)) from None


def _listed(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def duration_ms(value: Any) -> int:
    """Return the milliseconds of ``12h`` or ``7d``; more than none.

    Raises
    ------
    ValueError
        When it is anything else; the message says what was expected.
    """
    from bot.market.times import parse_duration

    expected = "a length of time such as 12h or 7d"
    if not isinstance(value, str):
        raise ValueError(f"expected {expected}, got {value}")
    try:
        found = parse_duration(value)
    except UsageError:
        raise ValueError(f"{value!r} is not {expected}") from None
    if not found:
        raise ValueError(f"expected {expected}, got {value}")
    return found


def _length(value: Any) -> Any:
    duration_ms(value)
    return value


Timeframe = Annotated[str, AfterValidator(_timeframe)]
"""``1m``, ``1h``, ``1d``, ..."""

Symbol = Annotated[str, AfterValidator(_symbol)]
"""``BTCUSDT`` for each of its spellings."""

Listed = BeforeValidator(_listed)
"""Takes a list of YAML for a tuple."""

Length = Annotated[str, BeforeValidator(_length)]
"""``12h``, as it was written; `duration_ms` reads it."""
