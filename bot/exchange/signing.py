"""Who asks, and when: API keys, signatures and time windows, checked as the real exchange checks them.

The signature is over the bytes that were sent, not over what they mean: ``+`` and ``%20`` are different requests.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.exchange.refusals import Refusal, illegal_characters, mandatory_parameter

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["ApiKey", "Deadline", "KeyRing", "sign"]

_DEFAULT_WINDOW_MS = 5_000
_LONGEST_WINDOW_MS = 60_000
_AHEAD_MS = 1_000
_SIGNATURE = re.compile(r"(?:^|&)signature=[^&]*")
_INTEGER = re.compile(r"[0-9]{1,20}")
_WINDOW = re.compile(r"[0-9]{1,20}(?:\.[0-9]{1,3})?")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key of the local exchange; it opens no account of the real one.

    Attributes
    ----------
    key, secret : str
        What the client sends, and what it signs with.
    can_trade : bool
        False for a read-only key.
    """

    key: str
    secret: str
    can_trade: bool = True


@dataclass(frozen=True, slots=True)
class Deadline:
    """Until when a signed request may reach the matching engine, by the exchange's wall time.

    Attributes
    ----------
    timestamp_ms : int
        When the client says that it signed.
    window_ms : float
        How long after that the request is good.
    """

    timestamp_ms: int
    window_ms: float

    def check(self, now_ms: int) -> None:
        """Refuse a request from the future or one that took too long.

        Raises
        ------
        Refusal
            -1021.
        """
        if self.timestamp_ms >= now_ms + _AHEAD_MS:
            raise Refusal(-1021, f"Timestamp for this request was {_AHEAD_MS}ms ahead of the server's time.")
        if now_ms - self.timestamp_ms > self.window_ms:
            raise Refusal(-1021, "Timestamp for this request is outside of the recvWindow.")


def sign(secret: str, payload: str) -> str:
    """Return the HMAC-SHA256 of the payload in hexadecimal."""
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()


class KeyRing:
    """The keys that the exchange knows.

    Parameters
    ----------
    keys : iterable of ApiKey
        At least one.
    """

    def __init__(self, keys: Iterable[ApiKey]) -> None:
        self._keys = {key.key: key for key in keys}

    def known(self, key: str | None) -> ApiKey:
        """Return the key of a request's header.

        Raises
        ------
        Refusal
            -2014 without one, -2015 for one that the exchange does not know.
        """
        if not key:
            raise Refusal(-2014, "API-key format invalid.", 401)
        found = self._keys.get(key)
        if found is None:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return found

    def check(
        self,
        key: str | None,
        query: str,
        body: str,
        parameters: Mapping[str, str],
        now_ms: int,
        *,
        trades: bool = False,
    ) -> Deadline:
        """Check a signed request in the order of the real exchange: key, signature, time; then the key's permission.

        Parameters
        ----------
        key : str or None
            Header ``X-MBX-APIKEY``.
        query, body : str
            The request as it was sent, still encoded.
        parameters : mapping
            The same, decoded.
        now_ms : int
            The exchange's wall time.
        trades : bool
            Whether the request needs the permission to trade.

        Returns
        -------
        Deadline
            To check once more just before the matching engine.

        Raises
        ------
        Refusal
            -2014, -2015, -1102, -1022, -1021, -1131.
        """
        owner = self.known(key)
        given = parameters.get("signature")
        if not given:
            raise mandatory_parameter("signature")
        payload = _unsigned(query) + _unsigned(body)
        return self._judge(owner, payload, given, parameters, now_ms, trades=trades)

    def check_socket(self, parameters: Mapping[str, str], now_ms: int, *, trades: bool = False) -> Deadline:
        """Check a signed message of the websocket API: its parameters in alphabetical order are what is signed.

        Raises
        ------
        Refusal
            As `check`.
        """
        owner = self.known(parameters.get("apiKey"))
        given = parameters.get("signature")
        if not given:
            raise mandatory_parameter("signature")
        payload = "&".join(f"{name}={parameters[name]}" for name in sorted(parameters) if name != "signature")
        return self._judge(owner, payload, given, parameters, now_ms, trades=trades)

    def _judge(
        self, owner: ApiKey, payload: str, given: str, parameters: Mapping[str, str], now_ms: int, *, trades: bool
    ) -> Deadline:
        if not hmac.compare_digest(sign(owner.secret, payload).encode(), given.lower().encode()):
            raise Refusal(-1022, "Signature for this request is not valid.")
        deadline = _deadline(parameters)
        deadline.check(now_ms)
        if trades and not owner.can_trade:
            raise Refusal(-2015, "Invalid API-key, IP, or permissions for action.", 401)
        return deadline


def _unsigned(part: str) -> str:
    return _SIGNATURE.sub("", part).removeprefix("&") if "signature=" in part else part


def _deadline(parameters: Mapping[str, str]) -> Deadline:
    timestamp = parameters.get("timestamp", "")
    if not _INTEGER.fullmatch(timestamp):
        raise mandatory_parameter("timestamp")
    window = parameters.get("recvWindow", str(_DEFAULT_WINDOW_MS))
    if not _WINDOW.fullmatch(window):
        raise illegal_characters("recvWindow", r"^([0-9]{1,20})(\.[0-9]{1,3})?$")
    if float(window) > _LONGEST_WINDOW_MS:
        raise Refusal(-1131, f"recvWindow must be less than {_LONGEST_WINDOW_MS}.")
    # Since 2024 the exchange takes microseconds as well; they are told apart by their size.
    moment = int(timestamp)
    return Deadline(moment // 1000 if moment > 10**14 else moment, float(window))
