"""Alerts by webhook, Telegram, mail and whatever else apprise speaks, without ever holding trading up.

Addresses come from the environment variable ``BOT_ALERTS`` and hold secrets: no log, error or ``repr`` shows one. One thread
sends; a burst becomes one message a kind. What a full queue lost and what could not be delivered is told in the next message.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Sender = Callable[[str, str, str], bool]

__all__ = ["ENVIRONMENT", "KINDS", "Alerts"]

ENVIRONMENT = "BOT_ALERTS"
KINDS = ("fills", "protections", "disconnects", "errors", "lifecycle")
_TYPES = {"errors": "failure", "protections": "warning", "disconnects": "warning"}

MOST_WAITING = 500
"""Lines that wait at most; the oldest go first."""

GATHER_SECONDS = 1.0
"""How long the first line of a burst waits for the others."""

SPACING_SECONDS = 10.0
"""Time between two messages of one kind."""

_MOST_LINES = 20  # of one message
_MOST_KEPT = 5  # messages that could not be delivered
_LINE = 300  # letters of one line


@dataclass(frozen=True, slots=True)
class _Line:
    kind: str
    text: str
    at: float


class Alerts:
    """Send lines to people.

    Parameters
    ----------
    urls
        Addresses as apprise writes them: ``json://host/path``, ``tgram://token/chat``, ``mailto://...``; without any
        nobody is told.
    kinds
        Which of `KINDS` are sent; others are ignored.
    name
        Stands in every title: the name of the bot.
    sender
        Takes kind, title and text in place of apprise, and returns whether they arrived.
    gather, spacing
        Seconds, see `GATHER_SECONDS` and `SPACING_SECONDS`.

    Raises
    ------
    UsageError
        For an unknown kind, or an address that is none; the message names its position and scheme only.
    """

    def __init__(
        self,
        urls: Sequence[str],
        kinds: Iterable[str] = KINDS,
        *,
        name: str = "bot",
        sender: Sender | None = None,
        gather: float = GATHER_SECONDS,
        spacing: float = SPACING_SECONDS,
    ) -> None:
        self.kinds = tuple(kinds)
        for kind in self.kinds:
            if kind not in KINDS:
                raise UsageError(f"there are no alerts of the kind {kind!r}{suggestion(kind, list(KINDS))}")
        self._name = name
        self._gather, self._spacing = gather, spacing
        self._senders = [sender] if sender else _apprise_senders(urls)
        self._waiting: deque[_Line] = deque()
        self._wake = threading.Condition()
        self._ends = False
        self._lost: list[deque[str]] = [deque(maxlen=_MOST_KEPT) for _ in self._senders]  # since the last success
        self.sent = self.failed = self.dropped = 0
        self._untold = 0
        self._thread: threading.Thread | None = None
        if self._senders:
            self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
            self._thread.start()

    @classmethod
    def from_environment(
        cls, kinds: Iterable[str] = KINDS, *, name: str = "bot", environment: Mapping[str, str] = os.environ
    ) -> Alerts:
        """Return alerts to the addresses in ``BOT_ALERTS``, separated by spaces; without it they tell nobody."""
        return cls(environment.get(ENVIRONMENT, "").split(), kinds, name=name)

    def __repr__(self) -> str:
        return (
            f"Alerts({len(self._senders)} address(es), {self.sent} sent, {self.failed} failed, {self.dropped} dropped)"
        )

    @property
    def is_on(self) -> bool:
        """Whether anybody is told."""
        return self._thread is not None

    def send(self, kind: str, text: str) -> None:
        """Leave one line to be sent; returns at once and never raises for what the network does.

        Parameters
        ----------
        kind
            One of `KINDS`.
        text
            What happened, for a person.
        """
        if kind not in KINDS:
            raise UsageError(f"there are no alerts of the kind {kind!r}{suggestion(kind, list(KINDS))}")
        if self._thread is None or kind not in self.kinds:
            return
        with self._wake:
            if self._ends:
                return
            self._waiting.append(_Line(kind, _short(text), time.time()))
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self.dropped += 1
                self._untold += 1
            self._wake.notify()

    def close(self, timeout: float = 10.0) -> bool:
        """Send what waits, and return whether all of it was tried within this time; nothing is taken any more.

        Parameters
        ----------
        timeout
            Seconds.
        """
        if self._thread is None:
            return True
        with self._wake:
            self._ends = True
            self._wake.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _work(self) -> None:
        """Send message after message until the end and an empty queue."""
        allowed: dict[str, float] = {}
        while True:
            with self._wake:
                while not self._waiting and not self._ends:
                    self._wake.wait()
                if not self._ends:
                    self._wake.wait_for(lambda: self._ends, self._gather)
                if not self._waiting:
                    return
                now = time.monotonic()
                free = {line.kind for line in self._waiting if self._ends or allowed.get(line.kind, 0.0) <= now}
                if not free:
                    soonest = min(allowed[line.kind] for line in self._waiting)
                    self._wake.wait_for(lambda: self._ends, soonest - now)
                    continue
                taken = [line for line in self._waiting if line.kind in free]
                self._waiting = deque(line for line in self._waiting if line.kind not in free)
                dropped, self._untold = self._untold, 0
            for kind in dict.fromkeys(line.kind for line in taken):
                self._deliver(kind, [line for line in taken if line.kind == kind], dropped)
                allowed[kind] = time.monotonic() + self._spacing
                dropped = 0

    def _deliver(self, kind: str, lines: list[_Line], dropped: int) -> None:
        title = f"{self._name}: {kind}" + (f" ({len(lines)})" if len(lines) > 1 else "")
        body = _body(lines)
        if dropped:
            body = f"({dropped} older alert(s) were dropped: too many at once)\n{body}"
        for sender, lost in zip(self._senders, self._lost, strict=True):
            text = "\n".join(["(not delivered before:)", *lost, "(now:)", body]) if lost else body
            try:
                arrived = sender(kind, title, text)
            except Exception:  # noqa: BLE001 - a library's fault must not end the alerts, and its words may hold the address
                arrived = False
            if arrived:
                self.sent += 1
                lost.clear()
            else:
                self.failed += 1
                lost.append(body)


def _body(lines: list[_Line]) -> str:
    """Return the lines with their times; the same words only once, with their count."""
    first: dict[str, float] = {}
    counts = Counter(line.text for line in lines)
    for line in lines:
        first.setdefault(line.text, line.at)
    rows = [
        f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} {text}" + (f" (x{counts[text]})" if counts[text] > 1 else "")
        for text, at in first.items()
    ]
    if len(rows) > _MOST_LINES:
        left = sum(counts[text] for text in list(first)[: len(rows) - _MOST_LINES])
        rows = [f"({left} earlier lines are left out)", *rows[-_MOST_LINES:]]
    return "\n".join(rows)


def _short(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= _LINE else f"{words[: _LINE - 1]}…"


def _apprise_senders(urls: Sequence[str]) -> list[Sender]:
    """Return one sender an address, so that one that hangs or fails is known from the others."""
    if not urls:
        return []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # its plugins, loaded at the first address, import imghdr
        import apprise

        _keep_secrets()
        asset = apprise.AppriseAsset(app_id="mlbot", app_desc="mlbot", async_mode=False)
        senders = []
        for position, url in enumerate(urls, 1):
            try:
                service = apprise.Apprise.instantiate(url, asset=asset, suppress_exceptions=True)
            except Exception:  # noqa: BLE001 - its words may hold the address
                service = None
            if service is None:
                raise UsageError(_wrong_address(position, url, _schemes(apprise)))
            senders.append(_sender(apprise, asset, service))
    return senders


def _schemes(apprise: Any) -> list[str]:
    return [str(each) for each in apprise.NotificationManager().schemas()]


def _sender(apprise: Any, asset: Any, service: Any) -> Sender:
    target = apprise.Apprise(asset=asset)
    target.add(service)

    def send(kind: str, title: str, text: str) -> bool:
        return bool(
            target.notify(
                body=text,
                title=title,
                notify_type=_TYPES.get(kind, "info"),
                body_format=apprise.NotifyFormat.TEXT,
            )
        )

    return send


def _wrong_address(position: int, url: str, schemes: list[str]) -> str:
    scheme, separator, _ = url.partition("://")
    place = f"{ENVIRONMENT}: address {position}"
    if separator and scheme.lower() in schemes:
        return f"{place} ({scheme.lower()}://...) is not complete: see the documentation of apprise for what it needs"
    return (
        f"{place} does not begin with a scheme that apprise knows, such as json://, tgram:// or mailto://; "
        "addresses are separated by spaces"
    )


def _keep_secrets() -> None:
    """Silence the logs of the libraries that send: they write addresses, and these hold secrets."""
    for name in ("apprise", "urllib3.connectionpool"):
        logger = logging.getLogger(name)
        if _drop not in logger.filters:
            logger.addFilter(_drop)


def _drop(_record: logging.LogRecord) -> bool:
    return False
