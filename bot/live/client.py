"""The ccxt client of an account: which exchange, which addresses, which keys."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from bot.live.plain_http import PlainSession, is_on_this_machine
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["KEY_VARIABLES", "Keys", "check_exchange", "keys_from_environment", "stream_client", "trading_client"]

KEY_VARIABLES = ("BOT_API_KEY", "BOT_API_SECRET")
"""Where keys are read from; they stand nowhere else."""

_TRADABLE = ("binance", "binanceus")
_PATHS = {"public": "api/v3", "private": "api/v3", "sapi": "sapi/v1"}


@dataclass(frozen=True, slots=True)
class Keys:
    """Access to an account; neither part is ever printed."""

    key: str = field(repr=False)
    secret: str = field(repr=False)


def keys_from_environment(environment: Mapping[str, str] | None = None) -> Keys:
    """Return the keys of the environment.

    Raises
    ------
    UsageError
        When one of them is missing or empty; the message names the variable.
    """
    found = os.environ if environment is None else environment
    missing = [name for name in KEY_VARIABLES if not found.get(name, "").strip()]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set: keys are read from the environment "
            "(see .env.example), never from a config"
        )
    values = [found[name].strip() for name in KEY_VARIABLES]
    for name, value in zip(KEY_VARIABLES, values, strict=True):
        if not (value.isascii() and value.isprintable()) or " " in value:
            raise UsageError(f"{name} holds letters that no key has: was it copied whole, and without quotes?")
    return Keys(*values)


def trading_client(
    exchange: str,
    keys: Keys | None,
    *,
    endpoint: str | None = None,
    timeout_ms: int = 10_000,
    recv_window_ms: int = 5_000,
) -> Any:
    """Return the ccxt client that an account is traded with; nothing is asked yet.

    Parameters
    ----------
    exchange
        ``binance`` or ``binanceus``: what is known of lost replies and of client order ids holds for these.
    keys
        Access to the account; None for public data only.
    endpoint
        Base address of a server that speaks Binance's protocol, asked instead of the exchange's own.
    timeout_ms
        How long to wait for an answer.
    recv_window_ms
        For how long after its time stamp the exchange may take a signed request.

    Raises
    ------
    UsageError
        For an exchange that cannot be traded with here.
    """
    import ccxt

    check_exchange(exchange)
    client = getattr(ccxt, exchange)(_config(ccxt, exchange, keys, endpoint, timeout_ms, recv_window_ms))
    if endpoint is not None and is_on_this_machine(endpoint):
        client.session.close()
        client.session = PlainSession()
    return client


def stream_client(exchange: str, keys: Keys | None, *, endpoint: str | None = None, recv_window_ms: int = 5_000) -> Any:
    """Return the client of the exchange's websocket streams, for the same account; see ``trading_client``."""
    import ccxt.pro

    check_exchange(exchange)
    config = _config(ccxt.pro, exchange, keys, endpoint, 10_000, recv_window_ms)
    return getattr(ccxt.pro, exchange)(config)


def check_exchange(exchange: str) -> None:
    """Raise ``UsageError`` for an exchange that cannot be traded with here; the message names the nearest that can."""
    if exchange not in _TRADABLE:
        near = suggestion(exchange, _TRADABLE)
        raise UsageError(
            f"{exchange} cannot be traded with: what becomes of an order whose reply is lost is known here for "
            f"{' and '.join(_TRADABLE)} only{near}"
        )


def _config(
    library: Any, exchange: str, keys: Keys | None, endpoint: str | None, timeout_ms: int, recv_window_ms: int
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "timeout": timeout_ms,
        "enableRateLimit": endpoint is None,
        "options": {
            "defaultType": "spot",
            "fetchMarkets": {"types": ["spot"]},  # otherwise every futures market is asked for too
            "fetchCurrencies": False,
            "fetchMargins": False,
            "adjustForTimeDifference": False,  # we do it ourselves, when the exchange complains
            "recvWindow": recv_window_ms,
            "maxRetriesOnFailure": 0,  # ccxt would send a lost order again, and Binance would fill it twice
        },
    }
    if keys is not None:
        config |= {"apiKey": keys.key, "secret": keys.secret}
    if endpoint is not None:
        plain = getattr(library, exchange)()
        config["urls"] = {"api": _addresses(plain.urls["api"], endpoint.rstrip("/"))}
        # ccxt tells Binance's spot errors by the host name, which is another one here
        config["exceptions"] = {"exact": dict(plain.exceptions["spot"]["exact"])}
    return config


def _addresses(known: Mapping[str, Any], base: str) -> dict[str, Any]:
    """Return every address replaced: a forgotten one would still ask the real exchange, and with the keys."""
    replaced: dict[str, Any] = {name: f"{base}/{_PATHS.get(name, f'blocked/{name}')}" for name in known if name != "ws"}
    if "ws" in known:
        stream = "ws" + base.removeprefix("http")
        replaced["ws"] = {
            name: {
                inner: f"{stream}/ws-api/v3" if inner == "spot" else f"{stream}/blocked/{inner}" for inner in address
            }
            if isinstance(address, dict)
            else f"{stream}/stream/ws"
            if name in {"spot", "margin"}
            else f"{stream}/blocked/{name}"
            for name, address in known["ws"].items()
        }
    return replaced
