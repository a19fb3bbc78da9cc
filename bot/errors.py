"""Errors of the program, and what a caller does about each.

BotError                      the root; the command fails (exit 1)
├── UsageError                an argument makes no sense (exit 2)
│   └── ConfigError           a config file is wrong; the message has file:line:column (exit 2)
├── DataError                 a file or series of candles is faulty; the message has row and time (exit 3)
├── SeriesNotFound            the store holds no such series (exit 2)
├── StorageError              a folder or file of the home cannot be read or written (exit 1)
├── ImportRefused             a model from outside cannot be taken over; nothing was registered (exit 3)
├── BrokerError               an order or rule that no spot exchange would accept (exit 1)
└── ExchangeError             an exchange refused or did not answer (exit 1)
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BotError",
    "BrokerError",
    "ConfigError",
    "DataError",
    "ExchangeError",
    "ImportRefused",
    "SeriesNotFound",
    "StorageError",
    "UsageError",
]


class BotError(Exception):
    """Root of everything that this package raises."""

    exit_code: ClassVar[int] = 1


class UsageError(BotError):
    """An argument or option makes no sense."""

    exit_code = 2


class ConfigError(UsageError):
    """A config file is wrong; the message starts with file:line:column."""


class DataError(BotError):
    """Candles from outside break a rule; the message names the file, the row and the time."""

    exit_code = 3


class SeriesNotFound(BotError, LookupError):
    """The candle store holds no such series; the message lists what it has and how to get it."""

    exit_code = 2


class StorageError(BotError):
    """A folder or file under the home cannot be read or written."""


class ImportRefused(BotError):
    """A model from outside cannot be taken over; the message says why and what to do, and nothing was registered."""

    exit_code = 3


class BrokerError(BotError):
    """An order or a rule that no spot exchange would accept."""


class ExchangeError(BotError):
    """An exchange refused a request or did not answer."""
