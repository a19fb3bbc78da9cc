"""The server itself: whether it can do its work, which versions it is made of, and what it counts."""

from __future__ import annotations

import os
import platform
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any, Protocol

from bot.service.views.plain import iso, without_paths
from bot.version import code_version
from registry.errors import RegistryError
from registry.shelf import find_shelves

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
    from pathlib import Path

    from prometheus_client import Metric

    from bot.home import Home

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Scope, Receive, Send], Awaitable[None]]

__all__ = ["Measured", "Metrics", "health", "version"]

_LIBRARIES = (
    *("backtrader", "ccxt", "fastapi", "lightgbm", "numba", "numpy", "onnxruntime", "pandas", "prometheus-client"),
    *("pyarrow", "pydantic", "scipy", "starlette", "uvicorn", "tensorflow", "xgboost-cpu"),
)
_DATABASES = ("state.db", "pipeline.db", "predictions.db")
_PATIENCE_S = 1.0
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_NO_ROUTE = "none"
_GONE = 499  # nobody waits for the answer any more


def health(home: Home) -> dict[str, Any]:
    """Return whether a home can be served, and each thing that is wrong, in words; it never raises.

    Returns
    -------
    dict
        ``ok``, ``problems`` and ``time``.
    """
    problems = [without_paths(each, home) for check in (_folder, _databases, _registry) for each in _asked(check, home)]
    return {"ok": not problems, "problems": problems, "time": iso(datetime.now(UTC).replace(microsecond=0))}


@cache  # what runs does not change when something else is installed
def version() -> Mapping[str, Any]:
    """Return the versions of the program, of Python and of the libraries that are installed."""
    libraries = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version_of(name)
        except PackageNotFoundError:
            continue
    return {
        "program": "mlbot",
        "version": code_version(),
        "python": platform.python_version(),
        "system": platform.system(),
        "machine": platform.machine(),
        "libraries": libraries,
    }


# ---------------------------------------------------------------- health


def _asked(check: Callable[[Home], Iterator[str]], home: Home) -> list[str]:
    problems = []
    try:
        for each in check(home):
            problems.append(each)  # noqa: PERF402 - what was found before an error stays
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what is wrong
        problems.append(f"{check.__name__.strip('_')}: {type(error).__name__}: {error}")
    return problems


def _folder(home: Home) -> Iterator[str]:
    place = home.root
    while not os.path.lexists(place) and place != place.parent:
        place = place.parent  # a home that is not there yet is made in the nearest folder that is
    if not place.is_dir():
        yield f"{place} is not a folder"
    elif not os.access(place, os.W_OK | os.X_OK):
        yield f"{place} cannot be written: make the folder writable, or choose another --home"


def _databases(home: Home) -> Iterator[str]:
    for name in _DATABASES:
        path = home.root / name
        if not path.exists():
            continue
        try:
            _look(path)
        except sqlite3.Error as error:
            yield f"{path} cannot be read: {error}"


def _look(path: Path) -> None:
    uri = f"{path.absolute().as_uri()}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S)) as opened:
        opened.execute("SELECT count(*) FROM sqlite_master").fetchone()


def _registry(home: Home) -> Iterator[str]:
    """Yield ledgers that cannot be read, champions that are gone, and links that say something else than the ledger."""
    for shelf in find_shelves(home.models):
        try:
            standing = shelf.standing()
        except RegistryError as error:
            yield f"{shelf.name}: {error}"
            continue
        for timeframe, champion in standing.champions.items():
            if champion is not None and not (shelf.folder / champion).is_dir():
                yield f"{shelf.name}: the champion of {timeframe}, {champion}, is gone from the disk"
        for link, wanted in standing.links().items():
            target = shelf.link_target(link)
            if target != wanted:
                yield f"{shelf.name}: the link {link} points to {target}, the ledger says {wanted}"


# ---------------------------------------------------------------- metrics


class Counted(Protocol):
    """What knows how many jobs there are."""

    def counts(self) -> Mapping[Any, int]:
        """Return how many jobs are in each status."""
        ...


class Remembering(Protocol):
    """What computes predictions, and remembers them."""

    @property
    def computed(self) -> int:
        """Predictions that were computed."""
        ...

    @property
    def remembered(self) -> int:
        """Predictions that were known already."""
        ...


class Metrics:
    """What a server counts, in a registry of its own: two servers of one process count apart."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector

        self._registry = CollectorRegistry()
        self._began = time.monotonic()
        ProcessCollector(registry=self._registry)
        names = ("route", "method", "status")
        self._requests = Counter("mlbot_http_requests", "Requests that were answered.", names, registry=self._registry)
        self._seconds = Histogram(
            "mlbot_http_request_seconds",
            "Time to the first byte of an answer.",
            names[:2],
            buckets=_BUCKETS,
            registry=self._registry,
        )

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request.

        Parameters
        ----------
        route
            Its template, such as ``/api/jobs/{job_id}``: never the address itself, of which there is no end.
        method
            As sent; what is none of HTTP's is counted as ``other``.
        status
            Of the answer.
        seconds
            Until its first byte.
        """
        known = method if method in _METHODS else "other"
        self._requests.labels(route, known, str(status)).inc()
        self._seconds.labels(route, known).observe(seconds)

    def text(self, jobs: Counted, predictions: Remembering) -> str:
        """Return everything in Prometheus' text format, version 0.0.4.

        Parameters
        ----------
        jobs
            Whose jobs are counted by status, now.
        predictions
            Whose predictions are counted.
        """
        from prometheus_client import generate_latest

        return generate_latest(_Families(self._families(jobs, predictions))).decode()

    def _families(self, jobs: Counted, predictions: Remembering) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        for family in self._registry.collect():
            family.samples = [each for each in family.samples if not each.name.endswith("_created")]
            yield family
        yield GaugeMetricFamily(
            "mlbot_uptime_seconds", "Time since the server began.", value=time.monotonic() - self._began
        )
        by_status = GaugeMetricFamily("mlbot_jobs", "Jobs that are known.", labels=["status"])
        for status, count in jobs.counts().items():
            by_status.add_metric([str(status)], count)
        yield by_status
        told = CounterMetricFamily("mlbot_predictions", "Predictions that were asked for.", labels=["source"])
        told.add_metric(["computed"], predictions.computed)
        told.add_metric(["remembered"], predictions.remembered)
        yield told


class _Families:
    """What `generate_latest` asks for families."""

    def __init__(self, families: Iterator[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Return them."""
        return self._families


class Measured:
    """An ASGI middleware that counts every request and the time to its first byte; the outermost of a server.

    Parameters
    ----------
    app
        What answers.
    metrics
        Where to.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, and count it once its answer begins, or never does."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        is_told = False

        def tell(status: int) -> None:
            nonlocal is_told
            if not is_told:
                is_told = True
                route = getattr(scope.get("route"), "path", _NO_ROUTE)
                self._metrics.request(str(route), str(scope["method"]), status, time.perf_counter() - began)

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                tell(int(message["status"]))
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception:
            tell(500)
            raise
        finally:
            tell(_GONE)
