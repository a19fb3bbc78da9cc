"""Reading the frozen numbers of a bundle, those of publishers and baselines, back into the dataclass that wrote them."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from ml.errors import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_baselines", "read_frozen"]

_Numbers = TypeVar("_Numbers")


def read_frozen(cls: type[Any], data: Mapping[str, Any], version: int) -> Any:
    """Return an instance of a dataclass whose fields are all ``int`` or ``float``.

    Parameters
    ----------
    cls
        The dataclass; it checks the values on construction.
    data
        A JSON object with ``schema_version`` and every field.
    version
        The schema version that this program reads.

    Raises
    ------
    BrokenModel
        When the version is unknown, or a number is missing, of another type or out of range.
    """
    found = data.get("schema_version")
    if found != version:
        raise BrokenModel(f"calibration.json has schema version {found!r}, this program reads {version}")
    values: dict[str, Any] = {}
    for field in fields(cls):
        value = data.get(field.name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise BrokenModel(f"calibration.json: {field.name} is {value!r}, expected a number")
        if field.type == "int" and not float(value).is_integer():  # nor is NaN, which JSON of Python may hold
            raise BrokenModel(f"calibration.json: {field.name} is {value!r}, expected a whole number")
        values[field.name] = int(value) if field.type == "int" else float(value)
    return cls(**values)


def read_baselines(cls: type[_Numbers], data: Mapping[str, Any]) -> _Numbers:
    """Return an instance of a dataclass of baselines, from the ``baselines`` of ``metrics.json``.

    Parameters
    ----------
    cls
        The dataclass; its fields are ``int``, ``float``, ``bool`` or ``tuple[float, ...]``.
    data
        A JSON object with every field; what else it holds is for people. A float that is null was NaN.

    Raises
    ------
    BrokenModel
        When a field is missing or of another type.
    """
    values: dict[str, Any] = {}
    for field in fields(cls):  # type: ignore[arg-type]  # a dataclass
        if field.name not in data:
            raise BrokenModel(f"metrics.json: the baselines lack {field.name}")
        values[field.name] = _of_type(str(field.type), field.name, data[field.name])
    return cls(**values)


def _of_type(kind: str, name: str, value: Any) -> Any:
    if kind == "bool" and isinstance(value, bool):
        return value
    if kind == "tuple[float, ...]" and isinstance(value, (list, tuple)):
        return tuple(_of_type("float", name, item) for item in value)
    if kind == "float" and value is None:
        return math.nan
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind == "float" and number:
        return float(value)
    if kind == "int" and number and float(value).is_integer():
        return int(value)
    raise BrokenModel(f"metrics.json: {name} of the baselines is {value!r}, expected {kind}")
