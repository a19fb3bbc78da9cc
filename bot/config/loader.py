"""Read a strategy config from YAML; every error names file, line and column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bot.config.document import Document, Kind, parse_document, place_of, read_document
from bot.config.schema import StrategyConfig
from bot.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bot.config.document import Location, Place

__all__ = ["ConfigFile", "load_config", "parse_config"]

_KIND = Kind("strategy config", "name: ..., strategy: ...")


@dataclass(frozen=True)
class ConfigFile:
    """A config and where each of its values stands.

    Attributes
    ----------
    path
        As errors name it.
    config
        The validated values.
    places
        Line and column (from 1) of each key and of each value, by location.
    """

    path: str
    config: StrategyConfig
    places: Mapping[Location, tuple[Place, Place]]

    def error(self, location: Location, message: str, *, key: bool = False) -> ConfigError:
        """Return an error that points at a value of the file (or its key), or at the nearest thing around it."""
        line, column = place_of(self.places, location, key=key)
        return ConfigError(f"{self.path}:{line}:{column}: {message}")


def load_config(path: Path) -> ConfigFile:
    """Read and check a config file.

    Raises
    ------
    ConfigError
        With file:line:column for everything that is wrong, one line each (at most ten).
    """
    return _checked(read_document(path, _KIND))


def parse_config(text: str, path: str = "config") -> ConfigFile:
    """Check the text of a config; ``path`` is what errors call it. Raises as `load_config`."""
    return _checked(parse_document(text, path, _KIND))


def _checked(document: Document) -> ConfigFile:
    config = document.validated(StrategyConfig)
    problems = [(location, message, False) for location, message in config.problems()]
    if problems:
        raise document.error(problems)
    return ConfigFile(document.path, config, document.places)
