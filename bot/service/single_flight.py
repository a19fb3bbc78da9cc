"""The same work at the same time, once: who comes second waits for the first and gets what it got."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ["SingleFlight"]

T = TypeVar("T")


class SingleFlight:
    """Runs work under a name; of those who ask for one name at the same time, one thread works.

    Nothing is remembered: who asks after the work has ended starts it anew, so the work itself looks first whether it has
    just been done.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._flights: dict[Hashable, Future[Any]] = {}

    def run(self, name: Hashable, work: Callable[[], T]) -> T:
        """Return what the work returns, done here or by the thread that is at it; an error is raised to all of them."""
        with self._guard:
            flight = self._flights.get(name)
            is_first = flight is None
            if flight is None:
                flight = self._flights[name] = Future()
        if is_first:
            try:
                flight.set_result(work())
            except BaseException as error:  # noqa: BLE001 - it is raised below, and to everybody who waits
                flight.set_exception(error)
            finally:
                with self._guard:
                    del self._flights[name]
        result: T = flight.result()
        return result
