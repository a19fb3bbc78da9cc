"""Forecasts as bytes: the steps of one are encoded once, which takes longer than all the rest of an answer."""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["EncodedForecasts"]

_MOST_BYTES = 8 << 20
_STEPS = "predictions"


class EncodedForecasts:
    """Encodes documents of forecasts; may be used by many threads.

    Parameters
    ----------
    most_bytes
        Of encoded steps that are kept, the least recently used go.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._guard = threading.Lock()
        self._kept: OrderedDict[str, bytes] = OrderedDict()
        self._bytes = 0

    def encode(self, key: str, document: Mapping[str, Any]) -> bytes:
        """Return a document as JSON.

        Parameters
        ----------
        key
            Names its steps: under equal keys stand equal ones.
        document
            With its steps as ``predictions``.
        """
        head = _json({name: value for name, value in document.items() if name != _STEPS})
        return b"".join((head[:-1], b',"predictions":', self._steps(key, document[_STEPS]), b"}"))

    def _steps(self, key: str, steps: Any) -> bytes:
        with self._guard:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = _json(steps)
        with self._guard:
            if key not in self._kept:
                self._kept[key] = made
                self._bytes += len(made)
            while self._bytes > self._most_bytes:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
