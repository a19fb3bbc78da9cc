"""Faults on order: what goes wrong between a client and an exchange, at a chosen request or at random ones.

Three families. *Replies*: one request is cut off, delayed, refused or answered with rubbish, before or after the exchange
took it. *Candles*: a row of the klines replies is missing, late, revised or impossible. *Events*: the websocket drops or
falls silent, a market halts or vanishes, the clock is off.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["CANDLE_KINDS", "EVENT_KINDS", "REPLY_KINDS", "Fault", "FaultPlan"]

REPLY_KINDS = (
    "reset_before",  # the connection dies, the exchange never saw the request
    "reset_after",  # the exchange took it, the connection dies before the answer
    "delay_before",  # silence, then the exchange takes it and answers
    "delay_after",  # the exchange takes it, silence, then the answer
    "late_acceptance",  # the connection dies now, the request reaches the matching engine later
    "status",  # an HTTP status without the exchange's own error: 429, 418, 500, 502, 503
    "error_before",  # an error code, the request was not taken
    "error_after",  # an error code, though the request was taken
    "cut_json",
    "html",
    "empty_object",
    "empty_list",
    "duplicate_reply",  # the rows of a list, or the fills of an order, come twice
)
CANDLE_KINDS = ("hide_candle", "late_candle", "revise_candle", "broken_candle")
EVENT_KINDS = ("drop_ws", "silence_ws", "halt", "delist", "clock_skew")
_KINDS = (*REPLY_KINDS, *CANDLE_KINDS, *EVENT_KINDS)
_BROKEN = ("future", "unaligned", "nan", "high_below_low")

_MESSAGES = {
    -1000: ("An unknown error occurred while processing the request.", 503),
    -1001: ("Internal error; unable to process your request. Please try again.", 500),
    -1003: ("Too many requests queued.", 429),
    -1006: ("An unexpected response was received from the message bus. Execution status unknown.", 500),
    -1007: ("Timeout waiting for response from backend server. Send status unknown; execution status unknown.", 408),
    -1008: ("Server is currently overloaded with other requests. Please try again in a few minutes.", 503),
    -1015: ("Too many new orders.", 429),
    -1021: ("Timestamp for this request is outside of the recvWindow.", 400),
    -2015: ("Invalid API-key, IP, or permissions for action.", 401),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of fault, and which requests meet it.

    Attributes
    ----------
    kind : str
        One of `REPLY_KINDS`, `CANDLE_KINDS` and `EVENT_KINDS`.
    path : str
        Regular expression that the whole path must match.
    method : str
        HTTP method; empty for any.
    count : int or None
        How many requests meet it; None until it is taken away.
    skip : int
        Matching requests that pass before.
    rate : float
        Chance that a matching request meets it, in (0, 1].
    delay : float
        Seconds, for the delays, late acceptance and the silence of websockets.
    status : int or None
        HTTP status, for ``status`` and the errors.
    code, message : int, str
        Of ``error_before`` and ``error_after``; an empty message is the exchange's own for this code.
    retry_after : int or None
        Header ``Retry-After`` in seconds.
    symbol : str
        Of candles and markets; empty for any candle.
    open_ms : int or None
        Open time of the candle; None for the newest closed one of each reply.
    variant : str
        Of a broken candle: ``future``, ``unaligned``, ``nan``, ``high_below_low``.
    factor : float
        A revised candle's close, high and volume are multiplied by it.
    value : int
        Milliseconds that the clock is off.
    """

    kind: str
    path: str = r"/api/v3/.*"
    method: str = ""
    count: int | None = 1
    skip: int = 0
    rate: float = 1.0
    delay: float = 1.0
    status: int | None = None
    code: int = -1007
    message: str = ""
    retry_after: int | None = None
    symbol: str = ""
    open_ms: int | None = None
    variant: str = "high_below_low"
    factor: float = 1.001
    value: int = 0

    def __post_init__(self) -> None:
        """Refuse what could never happen."""
        if self.kind not in _KINDS:
            raise UsageError(f"unknown fault {self.kind!r}{suggestion(self.kind, _KINDS)}; known: {', '.join(_KINDS)}")
        try:
            re.compile(self.path)
        except re.error as error:
            raise UsageError(f"the path {self.path!r} of a fault is no regular expression: {error}") from None
        if not 0.0 < self.rate <= 1.0:
            raise UsageError(f"rate is {self.rate}: expected a chance above 0 and up to 1")
        if (self.count is not None and self.count < 1) or self.skip < 0 or self.delay < 0:
            raise UsageError("a fault needs a count of at least 1 (or null), a skip and a delay of at least 0")
        if self.variant not in _BROKEN:
            raise UsageError(f"unknown variant {self.variant!r}{suggestion(self.variant, _BROKEN)}")
        if self.kind in {"halt", "delist"} and not self.symbol:
            raise UsageError(f"the fault {self.kind} needs a symbol")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fault:
        """Build a fault from JSON.

        Raises
        ------
        UsageError
            For an unknown name or a value of a wrong type.
        """
        known = {field.name: str(field.type) for field in fields(cls)}
        for name, value in values.items():
            if name not in known:
                raise UsageError(f"unknown property {name!r} of a fault{suggestion(name, known)}")
            if not _fits(value, known[name]):
                raise UsageError(f"{name} of a fault is {value!r}: expected {known[name]}")
        if "kind" not in values:
            raise UsageError(f"a fault needs a kind: {', '.join(_KINDS)}")
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return the fault as JSON holds it."""
        return asdict(self)

    def error(self) -> tuple[int, str, int]:
        """Return code, message and HTTP status of an error fault."""
        message, status = _MESSAGES.get(self.code, ("", 400))
        return self.code, self.message or message, self.status or status


def _fits(value: Any, wanted: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "str": (str,),
        "int": (int,),
        "float": (int, float),
        "int | None": (int, type(None)),
    }
    return isinstance(value, kinds[wanted]) and not isinstance(value, bool)


class _Planned:
    """A fault that was ordered, with what is left of it."""

    __slots__ = ("fault", "left", "number", "path", "skip")

    def __init__(self, number: int, fault: Fault) -> None:
        self.number = number
        self.fault = fault
        self.path = re.compile(fault.path)
        self.left = fault.count
        self.skip = fault.skip


class FaultPlan:
    """Faults that were ordered, met by requests in the order in which these arrive.

    Parameters
    ----------
    seed : int
        Of the draws of random faults: equal seeds and equal requests meet equal faults.

    Attributes
    ----------
    counts : Counter
        Faults that happened, by kind.
    """

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self._planned: list[_Planned] = []
        self._next = 1
        self.counts: Counter[str] = Counter()

    def add(self, *faults: Fault) -> list[int]:
        """Order faults and return their numbers."""
        numbers = []
        for fault in faults:
            self._planned = [
                *self._planned,
                _Planned(self._next, fault),
            ]  # whole at any moment: other threads order too
            numbers.append(self._next)
            self._next += 1
        return numbers

    def add_random(self, kinds: Iterable[str], rate: float, **properties: Any) -> list[int]:
        """Order a fault of each kind, met by a request with the chance ``rate`` until it is taken away."""
        return self.add(*(replace(Fault(kind, rate=rate, count=None), **properties) for kind in kinds))

    def remove(self, number: int) -> bool:
        """Take back a fault; returns whether it was there."""
        kept = [planned for planned in self._planned if planned.number != number]
        found = len(kept) < len(self._planned)
        self._planned = kept
        return found

    def clear(self) -> None:
        """Take back every fault that did not happen yet."""
        self._planned = []

    def __bool__(self) -> bool:
        """Return whether anything is ordered."""
        return bool(self._planned)

    def listed(self) -> list[dict[str, Any]]:
        """Return the faults that may still happen, as JSON holds them."""
        return [{"id": item.number, "left": item.left, **item.fault.to_dict()} for item in self._planned]

    def take(self, method: str, path: str) -> Fault | None:
        """Return the fault that this request meets: the first of replies or events that is due."""
        for planned in self._planned:
            if planned.fault.kind in CANDLE_KINDS or not self._due(planned, method, path):
                continue
            self._use(planned)
            return planned.fault
        return None

    def take_candles(self, method: str, path: str, symbol: str) -> list[Fault]:
        """Return the faults of candles that a klines request meets."""
        found = []
        for planned in self._planned:
            fault = planned.fault
            if fault.kind not in CANDLE_KINDS or fault.symbol not in {"", symbol}:
                continue
            if self._due(planned, method, path):
                found.append(fault)
        return found

    def used(self, fault: Fault) -> None:
        """Count a fault of candles that changed a reply."""
        for planned in self._planned:
            if planned.fault is fault:
                self._use(planned)
                return

    def _due(self, planned: _Planned, method: str, path: str) -> bool:
        fault = planned.fault
        if (fault.method and fault.method != method) or not planned.path.fullmatch(path):
            return False
        if planned.skip > 0:
            planned.skip -= 1
            return False
        return fault.rate >= 1.0 or self._random.random() < fault.rate

    def _use(self, planned: _Planned) -> None:
        self.counts[planned.fault.kind] += 1
        if planned.left is not None:
            planned.left -= 1
            if planned.left <= 0:
                self.remove(planned.number)
