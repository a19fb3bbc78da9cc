"""Names of models and of what they predict: symbols, timeframes, types, versions, references.

Every spelling that a person may use is turned into one canonical form here, at the edge; inside the project only
canonical forms travel.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache

from registry.errors import InvalidName

__all__ = [
    "AS_OF",
    "NO_MODEL",
    "ModelKey",
    "ModelReference",
    "VersionName",
    "normalise_symbol",
    "normalise_type",
    "parse_reference",
    "parse_version",
    "timeframe_ms",
]

AS_OF = "as-of"
"""Selector of whichever version was champion when a bar closed."""

NO_MODEL = "none"
"""Selector of no version at all: a role that answers nothing."""

_SYMBOL = re.compile(r"[A-Z0-9][A-Z0-9.]{0,31}")
_TYPE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_TIMEFRAME = re.compile(r"([1-9][0-9]{0,2})([smhdw])")
_VERSION = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{6}Z)_([1-9][0-9]{0,2}[smhdw])_v([1-9][0-9]{0,5})")
_STAMP = "%Y-%m-%dT%H%M%SZ"
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_TYPE_ALIASES = {"price": "basic"}


def normalise_symbol(text: str) -> str:
    """Return ``BTCUSDT`` for BTCUSDT, BTC/USDT, BTC_USDT and BTC-USDT (any case).

    Raises
    ------
    InvalidName
        When what remains is not 1 to 32 letters, digits or dots.
    """
    symbol = re.sub(r"[/_-]", "", text.strip()).upper()
    if not _SYMBOL.fullmatch(symbol):
        raise InvalidName(f"{text!r} is not a symbol: expected letters and digits such as BTCUSDT or BTC/USDT")
    return symbol


def normalise_type(text: str) -> str:
    """Return the canonical model type; ``price`` is an alias of ``basic``."""
    name = text.strip().lower().replace("-", "_")
    if not _TYPE.fullmatch(name):
        raise InvalidName(f"{text!r} is not a model type: expected lower-case letters such as basic")
    return _TYPE_ALIASES.get(name, name)


def timeframe_ms(timeframe: str) -> int:
    """Return the length of ``1m``, ``4h``, ``1d``, ``1w`` in milliseconds.

    Raises
    ------
    InvalidName
        When the text is not a count and one of the units s, m, h, d, w.
    """
    match = _TIMEFRAME.fullmatch(timeframe)
    if not match:
        raise InvalidName(f"{timeframe!r} is not a timeframe: expected a count and s, m, h, d or w, such as 1m, 1h, 1d")
    return int(match[1]) * _UNIT_MS[match[2]]


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What a model predicts: one champion exists for each key.

    Attributes
    ----------
    symbol, model_type, timeframe
        Canonical names, checked on construction.
    """

    symbol: str
    model_type: str
    timeframe: str

    def __post_init__(self) -> None:
        """Refuse names that are not canonical."""
        if normalise_symbol(self.symbol) != self.symbol:
            raise InvalidName(f"{self.symbol!r} is not canonical: use normalise_symbol first")
        if normalise_type(self.model_type) != self.model_type:
            raise InvalidName(f"{self.model_type!r} is not canonical: use normalise_type first")
        timeframe_ms(self.timeframe)

    @classmethod
    def of(cls, symbol: str, model_type: str, timeframe: str) -> ModelKey:
        """Build a key from any accepted spelling."""
        return cls(normalise_symbol(symbol), normalise_type(model_type), timeframe.strip())

    def __str__(self) -> str:
        """Return ``SYMBOL/TIMEFRAME/TYPE``."""
        return f"{self.symbol}/{self.timeframe}/{self.model_type}"


@dataclass(frozen=True, slots=True)
class ModelReference:
    """``SYMBOL/TYPE@SELECTOR`` as a config writes it.

    The selector is ``latest`` (the champion), ``newest``, ``as-of`` (at each bar the champion of that moment), ``none``, or a
    version id or its beginning.
    """

    symbol: str
    model_type: str
    selector: str

    @property
    def names_champion(self) -> bool:
        """Whether it means the champion, so that another version may come to play it."""
        return self.selector in {"latest", AS_OF}

    def key(self, timeframe: str) -> ModelKey:
        """Return the key of the model on candles of a timeframe."""
        return ModelKey.of(self.symbol, self.model_type, timeframe)

    def __str__(self) -> str:
        """Return the canonical spelling."""
        return f"{self.symbol}/{self.model_type}@{self.selector}"


def parse_reference(text: str) -> ModelReference:
    """Parse ``BTC/USDT/basic@latest`` or ``BTCUSDT/basic`` (the selector defaults to latest)."""
    path, _, selector = text.strip().partition("@")
    symbol, slash, model_type = path.rpartition("/")
    if not slash or not symbol:
        raise InvalidName(f"{text!r} is not a model: expected SYMBOL/TYPE@latest, @as-of, @newest or @VERSION")
    selector = selector.strip() or "latest"
    if selector != AS_OF and re.sub("[_-]", "", selector).lower() == "asof":
        raise InvalidName(f"{text!r} is not a model: did you mean @{AS_OF}?")
    return ModelReference(normalise_symbol(symbol), normalise_type(model_type), selector)


@dataclass(frozen=True, slots=True)
class VersionName:
    """``2026-11-20T120000Z_1h_v1``: when a bundle was registered, its timeframe and its number in that second.

    Attributes
    ----------
    at
        Time of registration, UTC, whole seconds.
    timeframe
        Canonical timeframe.
    number
        1 for the first bundle of that second and timeframe, then 2, 3, ...
    """

    at: datetime
    timeframe: str
    number: int

    def __str__(self) -> str:
        """Return the name of the bundle's folder."""
        return f"{self.at.astimezone(UTC).strftime(_STAMP)}_{self.timeframe}_v{self.number}"


@lru_cache(maxsize=4096)
def parse_version(text: str) -> VersionName:
    """Parse the name of a bundle's folder.

    Raises
    ------
    InvalidName
        When the text is not ``YYYY-MM-DDTHHMMSSZ_TIMEFRAME_vN``.
    """
    match = _VERSION.fullmatch(text)
    if not match:
        raise InvalidName(f"{text!r} is not a version: expected one such as 2026-11-20T120000Z_1h_v1")
    try:
        at = datetime.strptime(match[1], _STAMP).replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidName(f"{text!r} is not a version: {error}") from None
    return VersionName(at, match[2], int(match[3]))
