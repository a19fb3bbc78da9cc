"""HTTP to a server on this machine, in place of the session that ccxt brings along.

Between two programs on one computer there is no proxy, no certificate, no cookie and no redirect; ``requests`` looks for
all of them at every request, which takes longer than the local exchange needs to answer. What goes over the wire, and what
every failure is called, is the same. Other hosts are asked through ``requests``.
"""

from __future__ import annotations

import http.client
import select
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["PlainReply", "PlainSession", "is_on_this_machine"]

_NAMES = ("localhost", "127.0.0.1", "::1")
_ALWAYS = {"Accept": "*/*", "Accept-Encoding": "identity"}  # what is not packed need not be unpacked


def is_on_this_machine(address: str) -> bool:
    """Tell whether an address is plain HTTP to this very computer."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in _NAMES


class PlainReply:
    """What ccxt reads of a reply.

    Attributes
    ----------
    status_code, reason : int, str
        Of HTTP.
    headers : mapping
        Names are found in any case.
    content : bytes
    encoding : str
        Of the text; ccxt sets it.
    """

    __slots__ = ("content", "encoding", "headers", "reason", "status_code", "url")

    def __init__(self, url: str, reply: http.client.HTTPResponse, content: bytes) -> None:
        self.url, self.content, self.encoding = url, content, "utf-8"
        self.status_code, self.reason, self.headers = reply.status, reply.reason, reply.headers

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(self.encoding, "replace")

    def raise_for_status(self) -> None:
        """Raise ``requests.HTTPError`` for a status that tells of an error."""
        if self.status_code >= 400:
            from requests.exceptions import HTTPError

            raise HTTPError(f"{self.status_code} {self.reason}")


class PlainSession:
    """One connection that is kept open, as much of ``requests.Session`` as ccxt uses.

    A request is sent once: on a connection that the other side has closed meanwhile it opens another before it sends, never
    after.
    """

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self._lock = threading.Lock()
        self._connection: http.client.HTTPConnection | None = None

    def request(
        self,
        method: str,
        url: str,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_others: Any,
    ) -> PlainReply:
        """Send a request and return the reply; what has no meaning on one machine (proxies, certificates) is not looked at.

        Raises
        ------
        requests.exceptions.Timeout
            When no reply came in time.
        requests.exceptions.ConnectionError
            When there is no connection, or it broke.
        """
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        with self._lock:
            try:
                connection = self._open(parts.hostname or "", parts.port or 80, timeout)
                connection.request(method, target, data, {**(headers or {}), **_ALWAYS})
                reply = connection.getresponse()
                return PlainReply(url, reply, reply.read())
            except BaseException as error:  # half a reply may still be on its way
                self._drop()
                if isinstance(error, (OSError, http.client.HTTPException)):
                    raise _as_known(error) from error
                raise

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _open(self, host: str, port: int, timeout: float | None) -> http.client.HTTPConnection:
        known = self._connection
        if known is not None and ((known.host, known.port) != (host, port) or _is_over(known)):
            self._drop()
            known = None
        if known is None:
            known = self._connection = http.client.HTTPConnection(host, port, timeout=timeout)
            known.connect()
        elif known.timeout != timeout:
            known.timeout = timeout
            known.sock.settimeout(timeout)
        return known

    def _drop(self) -> None:
        known, self._connection = self._connection, None
        if known is not None:
            known.close()


def _is_over(connection: http.client.HTTPConnection) -> bool:
    """Tell whether the other side has closed a connection that waits for its next request: nothing may come on it now."""
    socket = connection.sock
    if socket is None:  # the reply said that it is the last
        return True
    poll = select.poll()
    poll.register(socket, select.POLLIN)
    return bool(poll.poll(0))


def _as_known(error: OSError | http.client.HTTPException) -> Exception:
    """Return the error of ``requests`` that ccxt knows."""
    from requests import exceptions

    kind = exceptions.Timeout if isinstance(error, TimeoutError) else exceptions.ConnectionError
    return kind(f"{type(error).__name__}: {error}")
