"""HTTP to a server on this machine, in place of the session that ccxt brings along.

Between two programs on one computer there is no proxy, no certificate, no cookie and no redirect; ``requests`` looks for
all of them at every request, which takes longer than the local exchange needs to answer. What goes over the wire, and what
every failure is called, is the same. Other hosts are asked through ``requests``.
"""

from __future__ import annotations

import select
import socket
import threading
from contextlib import suppress
from http.client import HTTPException, IncompleteRead, RemoteDisconnected
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader

__all__ = ["Headers", "PlainReply", "PlainSession", "is_on_this_machine"]

_NAMES = ("localhost", "127.0.0.1", "::1")
_ALWAYS = {"Accept": "*/*", "Accept-Encoding": "identity"}  # what is not packed need not be unpacked
_LONGEST_LINE = 65_536
_MOST_HEADERS = 100


def is_on_this_machine(address: str) -> bool:
    """Tell whether an address is plain HTTP to this very computer."""
    parts = urlsplit(address)
    return parts.scheme == "http" and parts.hostname in _NAMES


class Headers(dict[str, str]):
    """Headers of a reply; they are found by their names in any case."""

    def __setitem__(self, name: str, value: str) -> None:
        super().__setitem__(name.lower(), value)

    def __getitem__(self, name: str) -> str:
        return super().__getitem__(name.lower())

    def __contains__(self, name: object) -> bool:
        return super().__contains__(str(name).lower())

    def get(self, name: str, default: Any = None) -> Any:
        """Return a header, or what is given in its place."""
        return super().get(name.lower(), default)


class PlainReply:
    """What ccxt reads of a reply.

    Attributes
    ----------
    status_code, reason : int, str
        Of HTTP.
    headers : Headers
    content : bytes
    encoding : str
        Of the text; ccxt sets it.
    """

    __slots__ = ("content", "encoding", "headers", "reason", "status_code")

    def __init__(self, status_code: int, reason: str, headers: Headers, content: bytes) -> None:
        self.status_code, self.reason, self.headers, self.content = status_code, reason, headers, content
        self.encoding = "utf-8"

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

    A request is sent once: where the other side has closed the connection meanwhile another is opened before it is sent,
    never after.
    """

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.cookies: dict[str, str] = {}
        self._lock = threading.Lock()
        self._connection: _Connection | None = None

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
            When there is no connection, or it broke, or what came is no HTTP.
        """
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        lines = {"Host": parts.netloc, **self.headers, **(headers or {}), **_ALWAYS}
        if data is not None or method not in {"GET", "HEAD", "DELETE"}:
            lines["Content-Length"] = str(len(data or b""))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        message = f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (data or b"")
        with self._lock:
            try:
                connection = self._open(parts.hostname or "", parts.port or 80, timeout)
                reply = connection.ask(message, timeout)
            except BaseException as error:  # half a reply may still be on its way
                self._drop()
                if isinstance(error, (OSError, HTTPException)):
                    raise _as_known(error) from error
                raise
            if connection.is_last:
                self._drop()
            return reply

    def close(self) -> None:
        """Close the connection; a request that another thread waits for ends without a reply."""
        known = self._connection
        if known is not None:
            known.cut()
        with self._lock:
            self._drop()

    def _open(self, host: str, port: int, timeout: float | None) -> _Connection:
        known = self._connection
        if known is not None and (known.address != (host, port) or known.was_closed()):
            self._drop()
            known = None
        if known is None:
            known = self._connection = _Connection(host, port, timeout)
        return known

    def _drop(self) -> None:
        known, self._connection = self._connection, None
        if known is not None:
            known.close()


class _Connection:
    """A connection that carries one request after the other; ``is_last`` tells that it carries no more."""

    def __init__(self, host: str, port: int, timeout: float | None) -> None:
        self.address = (host, port)
        self.is_last = False
        self._socket = socket.create_connection(self.address, timeout)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._file = self._socket.makefile("rb")
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def cut(self) -> None:
        """End whatever another thread waits for: it reads the end of the connection."""
        with suppress(OSError):  # it is closed already
            self._socket.shutdown(socket.SHUT_RDWR)

    def was_closed(self) -> bool:
        """Tell whether the other side has closed it: between two requests nothing else may come."""
        return bool(self._poll.poll(0))

    def ask(self, message: bytes, timeout: float | None) -> PlainReply:
        """Send a request and return the reply."""
        self._socket.settimeout(timeout)
        self._socket.sendall(message)
        status = 100
        while status == 100:  # "go on" says nothing
            status, reason, version = _status_line(self._file)
            headers = _headers(self._file)
        length = headers.get("Content-Length")
        if "chunked" in headers.get("Transfer-Encoding", "").lower():
            content = _chunks(self._file)
        elif status in {204, 304}:
            content = b""
        elif length is not None:
            content = _exactly(self._file, _number(length))
        else:
            content = self._file.read()
            self.is_last = True
        self.is_last |= version != "HTTP/1.1" or headers.get("Connection", "").lower() == "close"
        return PlainReply(status, reason, headers, content)

    def close(self) -> None:
        """Close it."""
        self._file.close()
        self._socket.close()


def _line(file: BufferedReader) -> str:
    line = file.readline(_LONGEST_LINE)
    if not line:
        raise RemoteDisconnected("the other side closed the connection without a reply")
    if not line.endswith(b"\n"):
        raise IncompleteRead(line)
    return line.decode("latin-1").rstrip("\r\n")


def _status_line(file: BufferedReader) -> tuple[int, str, str]:
    version, _, rest = _line(file).partition(" ")
    number, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1."):
        raise HTTPException(f"this is no HTTP: {version[:60]!r}")
    return _number(number), reason, version


def _headers(file: BufferedReader) -> Headers:
    found = Headers()
    while line := _line(file):
        name, _, value = line.partition(":")
        found[name] = value.strip()
        if len(found) > _MOST_HEADERS:
            raise HTTPException(f"more than {_MOST_HEADERS} headers")
    return found


def _number(text: str, base: int = 10) -> int:
    try:
        number = int(text, base)
    except ValueError:
        number = -1
    if number < 0:
        raise HTTPException(f"expected a number from 0 on, got {text[:60]!r}")
    return number


def _exactly(file: BufferedReader, size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise IncompleteRead(content, size - len(content))
    return content


def _chunks(file: BufferedReader) -> bytes:
    parts = []
    while size := _number(_line(file).partition(";")[0], 16):
        parts.append(_exactly(file, size))
        _line(file)
    _headers(file)  # trailers
    return b"".join(parts)


def _as_known(error: OSError | HTTPException) -> Exception:
    """Return the error of ``requests`` that ccxt knows."""
    from requests import exceptions

    kind = exceptions.Timeout if isinstance(error, TimeoutError) else exceptions.ConnectionError
    return kind(f"{type(error).__name__}: {error}")
