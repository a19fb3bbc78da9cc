"""Read YAML for any kind of config; every error names file, line and column.

PyYAML only builds the tree of nodes (with their places). Scalars are read by the rules of YAML 1.2, because those of 1.1
surprise: ``no`` is a text here and not False, ``1e-3`` a number and not a text, ``2024-01-31`` and ``12:30`` are texts.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from bot.config.messages import describe
from bot.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["Document", "Finding", "Kind", "Location", "Place", "parse_document", "place_of", "read_document"]

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[str | int, ...]
Place = tuple[int, int]
Finding = tuple[Location, str, bool]
"""Where, what, and whether the key (not its value) is what to look at."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NULL = {"", "~", "null", "Null", "NULL"}
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_SECRET = re.compile(r"(api_?key|secret|passw|passphrase|private_?key|token|credential|mnemonic)", re.IGNORECASE)
_LARGEST_FILE = 1_000_000
_MOST_NODES = 20_000
_MOST_ERRORS = 10


@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is.

    Attributes
    ----------
    name, keys
        What its errors call it, and which keys they show.
    optional
        Whether it may be empty, for want of a key that must be there.
    """

    name: str
    keys: str
    optional: bool = False


@dataclass(frozen=True)
class Document:
    """The values of a file and where each of them stands.

    Attributes
    ----------
    path
        As errors name it.
    values
        Plain data: dict, list, str, int, float, bool or None.
    places
        Line and column (from 1) of each key and of each value, by location.
    """

    path: str
    values: dict[str, Any]
    places: Mapping[Location, tuple[Place, Place]]

    def validated(self, model: type[Model]) -> Model:
        """Return the values as an instance of a pydantic model.

        Raises
        ------
        ConfigError
            With file:line:column for everything that is wrong, one line each (at most ten).
        """
        try:
            return model.model_validate(self.values)
        except ValidationError as error:
            found = [describe(dict(detail), model) for detail in error.errors(include_url=False)]
            raise self.error(found) from None

    def error(self, found: Iterable[Finding]) -> ConfigError:
        """Return one line for each finding, in the order of the file."""
        placed = sorted((place_of(self.places, where, key=key), message) for where, message, key in found)
        lines = [f"{self.path}:{line}:{column}: {message}" for (line, column), message in placed]
        more = len(lines) - _MOST_ERRORS
        return ConfigError("\n".join([*lines[:_MOST_ERRORS], *([f"... and {more} more"] if more > 0 else [])]))


def read_document(path: Path, kind: Kind) -> Document:
    """Read a file; errors as `parse_document`, and for a file that cannot be read."""
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ConfigError(f"{path}: larger than a megabyte; that is no {kind.name}")
        content = path.read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file{_near_file(path)}") from None
    except IsADirectoryError:
        raise ConfigError(f"{path}: is a folder; expected a YAML file") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ConfigError(f"{path}:{line}:1: not UTF-8 text") from None
    return parse_document(text, str(path), kind)


def parse_document(text: str, path: str, kind: Kind) -> Document:
    """Return the values of a text; ``path`` is what errors call it.

    Raises
    ------
    ConfigError
        With file:line:column, one line for each error (at most ten).
    """
    reader = _Reader(path)
    node = _compose(text, path)
    if node is None and kind.optional:
        return Document(path, {}, {})
    if node is None:
        raise ConfigError(f"{path}:1:1: the file is empty; `bot init` writes a commented example")
    values = reader.read(node, ())
    if reader.errors:
        raise ConfigError("\n".join(reader.errors[:_MOST_ERRORS]))
    if not isinstance(values, dict):
        raise ConfigError(
            f"{path}:{node.start_mark.line + 1}:{node.start_mark.column + 1}: expected keys and values "
            f"({kind.keys}), got {'a list' if isinstance(values, list) else 'a single value'}"
        )
    return Document(path, values, reader.places)


def place_of(places: Mapping[Location, tuple[Place, Place]], location: Location, *, key: bool) -> Place:
    """Return line and column of the longest known part of a location."""
    exact = location in places
    while location and location not in places:
        location = location[:-1]
    return places[location][0 if key and exact else 1] if location else (1, 1)


def _compose(text: str, path: str) -> yaml.Node | None:
    """Return the root node, None of an empty file; the syntax errors of YAML become ours."""
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else path
        raise ConfigError(f"{where}: not valid YAML: {_syntax(error, text)}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise ConfigError(f"{path}:{line}:1: a character that YAML does not allow (code {error.character})") from None
    except RecursionError:
        raise ConfigError(f"{path}:1:1: nested too deeply") from None
    return node


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    mark = error.problem_mark
    lines = text.splitlines()
    if mark is not None and mark.line < len(lines) and "\t" in lines[mark.line][: mark.column + 1]:
        return "a tab; indent with spaces"
    parts = [part for part in (error.problem, error.context) if part]
    return ", ".join(parts) or "cannot be parsed"


class _Reader:
    """Turn nodes into plain data, remembering the place of each."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.places: dict[Location, tuple[Place, Place]] = {}
        self.errors: list[str] = []
        self._nodes = 0

    def read(self, node: yaml.Node, location: Location) -> Any:
        """Return the value of a node: dict, list, str, int, float, bool or None."""
        self._nodes += 1
        if self._nodes > _MOST_NODES or len(location) > 50:
            raise ConfigError(f"{self.path}:{node.start_mark.line + 1}:1: too many values, or an alias inside itself")
        place = (node.start_mark.line + 1, node.start_mark.column + 1)
        self.places.setdefault(location, (place, place))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, location)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*location, position)) for position, item in enumerate(node.value)]
        if node.tag != "tag:yaml.org,2002:str":
            self._refuse(place, f"the tag {node.tag!r} is not allowed in a config")
            return None
        return _scalar(node.value) if getattr(node, "style", None) is None else node.value

    def _mapping(self, node: yaml.MappingNode, location: Location) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self._refuse(place, "a key must be a word")
                continue
            if _SECRET.search(key):
                self._refuse(
                    place, f"{key!r} does not belong in a config: keys are read from the environment (see .env.example)"
                )
                continue
            here = (*location, key)
            if key in result:
                first = self.places[here][0]
                self._refuse(place, f"the key {key!r} is there twice, first in line {first[0]}")
                continue
            value_place = (value_node.start_mark.line + 1, value_node.start_mark.column + 1)
            self.places[here] = (place, value_place)
            result[key] = self.read(value_node, here)
        return result

    def _refuse(self, place: Place, message: str) -> None:
        self.errors.append(f"{self.path}:{place[0]}:{place[1]}: {message}")


def _scalar(text: str) -> str | int | float | bool | None:
    """Read a plain (unquoted) scalar by the core schema of YAML 1.2."""
    if text in _NULL:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text) and len(text) < 20:
        return int(text)
    if _NUMBER.fullmatch(text):
        return float(text)
    return text


def _near_file(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f" (the folder {folder} does not exist)"
    names = [item.name for item in folder.iterdir() if item.suffix in {".yaml", ".yml"}]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.5)
    return f"; did you mean {folder / near[0]}?" if near else ""
