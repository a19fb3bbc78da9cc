"""Turn what pydantic found into words: what was expected, what stood there, the nearest valid name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["describe"]

Location = tuple[str | int, ...]

_EXPECTED = {
    "bool_type": "true or false",
    "float_type": "a number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "string_type": "a text",
    "tuple_type": "a list such as [BTC/USDT]",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def describe(detail: Mapping[str, Any], root: type[BaseModel]) -> tuple[Location, str, bool]:
    """Return location, message and whether the key (not its value) is what to look at.

    Parameters
    ----------
    detail
        One entry of ``ValidationError.errors()``.
    root
        The model that was validated; its field names are the valid keys.
    """
    location: Location = tuple(detail["loc"])
    kind, value = str(detail["type"]), detail.get("input")
    name = ".".join(str(part) for part in location)
    context: Mapping[str, Any] = detail.get("ctx") or {}
    if kind == "extra_forbidden":
        known = _keys(root, location[:-1])
        inside = ".".join(str(part) for part in location[:-1])
        options = suggestion(str(location[-1]), known) or f"; known are {', '.join(known)}"
        return location, f"unknown key {location[-1]!r}{f' in {inside}' if inside else ''}{options}", True
    if kind == "missing":
        return location[:-1], f"{name} is missing", False
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return location, f"{name}: expected {words} {_number(context[key])}, got {_shown(value)}", False
    if kind == "literal_error":
        expected = str(context["expected"])
        choices = [choice.strip("' ") for choice in expected.replace(" or ", ",").split(",")]
        near = suggestion(value, choices) if isinstance(value, str) else ""
        return location, f"{name}: expected {expected}, got {_shown(value)}{near}", False
    if kind == "between_fields":
        return (*location, str(context["field"])), f"{name}.{context['field']}: {context['text']}", False
    if kind == "value_error":
        text = str(context.get("error") or detail["msg"])
        return location, f"{name}: {text}" if name else text, False
    if kind in {"too_short", "string_too_short"}:
        return location, f"{name}: is empty", False
    expected_type = _EXPECTED.get(kind)
    if expected_type:
        return location, f"{name}: expected {expected_type}, got {_shown(value)}", False
    return location, f"{name}: {detail['msg']}, got {_shown(value)}", False


def _keys(root: type[BaseModel], location: Location) -> list[str]:
    """Return the valid keys of the mapping at a location."""
    model: type[BaseModel] = root
    for part in location:
        field = model.model_fields.get(str(part))
        if field is None:
            continue  # a key of a free mapping, such as a role: its value has the model found before
        found = _model_in(field.annotation)
        if found is None:
            return []
        model = found
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the first pydantic model inside a type such as ``X | None`` or ``dict[str, X]``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in (*getattr(annotation, "__args__", ()), getattr(annotation, "__origin__", None)):
        if part is not None and part is not annotation:
            found = _model_in(part)
            if found is not None:
                return found
    return None


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _shown(value: Any) -> str:
    """Return a value as a config would write it, shortened."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "keys and values"
    if isinstance(value, (list, tuple)):
        return "a list"
    if isinstance(value, str):
        text = value if len(value) <= 60 else f"{value[:57]}..."
        return f"the text {text!r}"
    return str(value)
