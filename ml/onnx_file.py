"""What an ONNX file holds, read from its bytes alone: operators, external data, metadata.

ONNX Runtime says none of this before it opens a model, and opening one that refers to other files would read them. The few
fields that matter are read here from the protocol-buffer wire format (onnx.proto3 of the ONNX project, numbers of its
messages ``ModelProto``, ``GraphProto``, ``NodeProto``, ``AttributeProto``, ``TensorProto``, ``FunctionProto``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ml.errors import BrokenModel

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OnnxFile", "read_onnx"]

_EXTERNAL = 1
_DEEPEST = 32


@dataclass
class OnnxFile:
    """What was found.

    Attributes
    ----------
    operators
        Types of all nodes, those of subgraphs and functions included.
    external
        Names of tensors whose data stands in another file.
    metadata
        ``metadata_props``.
    nodes, graphs
        How many nodes and top-level graphs there are.
    """

    operators: set[str] = field(default_factory=set)
    external: list[str] = field(default_factory=list)
    metadata: dict[str, str] = field(default_factory=dict)
    nodes: int = 0
    graphs: int = 0


def read_onnx(data: bytes) -> OnnxFile:
    """Read a model.

    Raises
    ------
    BrokenModel
        When the bytes are not a complete ``ModelProto`` with a graph.
    """
    found = OnnxFile()
    for number, value in _fields(memoryview(data)):
        if number == 7:
            found.graphs += 1
            _graph(_message(value), found, 0)
        elif number == 14:
            key, text = _pair(_message(value))
            found.metadata[key] = text
        elif number == 25:
            for inner, content in _fields(_message(value)):
                if inner == 7:
                    _node(_message(content), found, 0)
    if found.graphs != 1 or not found.nodes:
        raise BrokenModel("not an ONNX model: it holds no graph")
    return found


def _graph(data: memoryview, found: OnnxFile, depth: int) -> None:
    if depth > _DEEPEST:
        raise BrokenModel("not an ONNX model that can be run: its graphs are nested too deeply")
    for number, value in _fields(data):
        if number == 1:
            _node(_message(value), found, depth)
        elif number == 5:
            _tensor(_message(value), found)
        elif number == 15:  # a sparse tensor: values and indices
            for inner, content in _fields(_message(value)):
                if inner in {1, 2}:
                    _tensor(_message(content), found)


def _node(data: memoryview, found: OnnxFile, depth: int) -> None:
    found.nodes += 1
    for number, value in _fields(data):
        if number == 4:
            found.operators.add(_text(_message(value)))
        elif number == 5:
            for inner, content in _fields(_message(value)):
                if inner in {5, 10}:
                    _tensor(_message(content), found)
                elif inner in {6, 11}:
                    _graph(_message(content), found, depth + 1)


def _tensor(data: memoryview, found: OnnxFile) -> None:
    name, external = "", False
    for number, value in _fields(data):
        if number == 8:
            name = _text(_message(value))
        elif number == 13 or (number == 14 and value == _EXTERNAL):
            external = True
    if external:
        found.external.append(name)


def _pair(data: memoryview) -> tuple[str, str]:
    texts = {number: _text(_message(value)) for number, value in _fields(data) if number in {1, 2}}
    return texts.get(1, ""), texts.get(2, "")


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | int]]:
    """Yield (number, content) of each field: bytes, or the number of a varint (fixed widths are passed over)."""
    at, end = 0, len(data)
    while at < end:
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise BrokenModel("not an ONNX model: its bytes are damaged")
        if number == 0 or size > end - at:
            raise BrokenModel("not a complete ONNX model: it is damaged, or was cut off")
        if kind == 2:
            yield number, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
    raise BrokenModel("not a complete ONNX model: it is damaged, or was cut off")


def _message(value: memoryview | int) -> memoryview:
    if isinstance(value, int):
        raise BrokenModel("not an ONNX model: its bytes are damaged")
    return value


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        raise BrokenModel("not an ONNX model: its bytes are damaged") from None
