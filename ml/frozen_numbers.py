"""Reading the frozen numbers of ``calibration.json`` back into the dataclass that wrote them."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

from ml.errors import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["read_frozen"]


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
