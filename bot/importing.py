"""Folders of models from other programs: what they hold, read as text and JSON; nothing in them is ever executed."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.errors import ImportRefused, UsageError
from bot.market.times import parse_moment
from registry.errors import RegistryError
from registry.names import normalise_symbol, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["ForeignFolder", "read_folder"]

_NAME = re.compile(r"([A-Za-z0-9]+)_([A-Za-z0-9]+)_([1-9][0-9]{0,2}[smhdw])_([1-9][0-9]{0,4})steps(_multi_ohlc)?")
_TEXTS = ("autoregressive_model.txt", "model.txt")
_PARTS = ("open", "high", "low", "close")
_DOCUMENTS = ("config.json", "metadata.json")
_MOST_BYTES = 256 << 20

_PICKLED = {
    **dict.fromkeys((".pkl", ".pickle", ".joblib", ".dill"), "is a pickle, and loading one runs code"),
    **dict.fromkeys((".pt", ".pth", ".ckpt"), "holds a pickle, and loading one runs code"),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "is a Keras file, and loading one can run code"),
    **dict.fromkeys((".npy", ".npz"), "can hold pickled objects"),
}
_HOW = (
    "export the model where it was trained: a LightGBM booster with booster.save_model('model.txt'), a network as "
    "model.onnx, its settings as JSON in config.json"
)


@dataclass(frozen=True)
class ForeignFolder:
    """What a folder says of its model.

    Attributes
    ----------
    path : Path
        The folder.
    models : mapping of str to bytes
        ``model.txt`` or ``model.onnx``; of four models of candles ``open``, ``high``, ``low`` and ``close``.
    document : mapping
        Content of ``config.json`` or ``metadata.json``; empty where there is neither.
    features : tuple of str
        Features as ``feature_schema.json`` or the document names them; empty where neither does.
    symbol, timeframe : str or None
        From the document, else from the folder's name.
    steps : int or None
        Length of the path that the folder's name or the document says: how often a model of the next bar is iterated.
    horizon : int or None
        Bars ahead that one prediction speaks of, where the document says so.
    trained_until_ms : int or None
        When training ended, milliseconds UTC.
    notes : tuple of str
        What was not read, and why.
    """

    path: Path
    models: Mapping[str, bytes]
    document: Mapping[str, Any] = field(default_factory=dict)
    features: tuple[str, ...] = ()
    symbol: str | None = None
    timeframe: str | None = None
    steps: int | None = None
    horizon: int | None = None
    trained_until_ms: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """``multi_ohlc`` for four models of candles, ``onnx`` or ``lightgbm``."""
        if set(self.models) == set(_PARTS):
            return "multi_ohlc"
        return "onnx" if "model.onnx" in self.models else "lightgbm"


def read_folder(path: Path) -> ForeignFolder:
    """Read a folder: LightGBM text and ``config.json`` as one flat folder, or ``model.onnx`` with ``metadata.json``.

    Raises
    ------
    UsageError
        When there is no such folder.
    ImportRefused
        When it holds no model that can be read without running code, its documents cannot be read, or two places of it
        contradict each other.
    """
    if path.is_file() and path.name in {*_TEXTS, "model.onnx"}:
        path = path.parent
    if path.is_file():
        raise ImportRefused(_why_not(path, [path]))
    if not path.is_dir():
        raise UsageError(f"there is no folder {path}: expected one with model.txt or model.onnx and config.json")
    models = _models(path)
    unsafe = sorted(file for depth in ("*", "*/*") for file in path.glob(depth) if file.suffix.lower() in _PICKLED)
    if not models:
        raise ImportRefused(_why_not(path, unsafe))
    notes = [f"{file.relative_to(path)} {_PICKLED[file.suffix.lower()]}: it was not read" for file in unsafe]
    document = _document(path)
    pickled = next((file.name for file in unsafe if file.stem in {"config", "metadata"}), None)
    if not document and pickled is not None:
        raise ImportRefused(
            f"{path.name}: its settings are in {pickled}, a pickle, and loading one runs code: it is not opened, and nothing "
            "was imported; write symbol, timeframe, trained_at and feature_names as JSON into config.json where it was made"
        )
    symbol, timeframe, steps = _identity(path, document)
    return ForeignFolder(
        path=path,
        models=models,
        document=document,
        features=_features(path, document),
        symbol=symbol,
        timeframe=timeframe,
        steps=steps,
        horizon=_whole(path, document, "horizon"),
        trained_until_ms=_trained_until(path, document),
        notes=tuple(notes),
    )


def _models(path: Path) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    if (path / "model.onnx").is_file():
        found["model.onnx"] = _bytes(path / "model.onnx")
    for name in _TEXTS:
        if (path / name).is_file():
            found["model.txt"] = _bytes(path / name)
            break
    if len(found) > 1:
        raise ImportRefused(f"{path.name} holds both model.onnx and {name}: keep the one that is to be imported")
    if found:
        return found
    parts = {part: file for part in _PARTS for text in _TEXTS if (file := path / part / text).is_file()}
    if parts and len(parts) < len(_PARTS):
        raise ImportRefused(f"{path.name} has no model in {' and '.join(part for part in _PARTS if part not in parts)}")
    return {part: _bytes(file) for part, file in parts.items()}


def _bytes(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise ImportRefused(f"{file} is larger than {_MOST_BYTES >> 20} MB: no model of ours is")
        return file.read_bytes()
    except OSError as error:
        raise ImportRefused(f"cannot read {file}: {error.strerror or error}") from error


def _document(path: Path) -> dict[str, Any]:
    for name in _DOCUMENTS:
        file = path / name
        if file.is_file():
            return _json(file)
    return {}


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(_bytes(file))
    except (ValueError, RecursionError) as error:
        raise ImportRefused(f"{file.parent.name}/{file.name} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise ImportRefused(f"{file.parent.name}/{file.name} is not a JSON object")
    return content


def _features(path: Path, document: Mapping[str, Any]) -> tuple[str, ...]:
    listed = document.get("feature_names", document.get("features"))
    schema = path / "feature_schema.json"
    if schema.is_file():
        content = _json(schema)
        listed = content.get("features", content.get("feature_names"))
    if listed is None:
        return ()
    names = (
        [each.get("name") if isinstance(each, dict) else each for each in listed] if isinstance(listed, list) else []
    )
    if not names or not all(isinstance(name, str) for name in names):
        raise ImportRefused(f"{path.name}: its list of features is not a list of names")
    return tuple(str(name) for name in names)


def _identity(path: Path, document: Mapping[str, Any]) -> tuple[str | None, str | None, int | None]:
    """Return symbol, timeframe and steps of the document and of the folder's name, which must agree."""
    named = _NAME.fullmatch(path.name)
    told: dict[str, Any] = {"symbol": document.get("symbol"), "timeframe": document.get("timeframe")}
    told["steps"] = _whole(path, document, "n_steps_ahead")
    by_name = {"symbol": named[1] + named[2], "timeframe": named[3], "steps": int(named[4])} if named else {}
    try:
        for each in (told, by_name):
            if each.get("symbol") is not None:
                each["symbol"] = normalise_symbol(str(each["symbol"]))
            if each.get("timeframe") is not None:
                timeframe_ms(str(each["timeframe"]))
    except RegistryError as error:
        raise ImportRefused(f"{path.name}: {error}") from error
    for name, value in by_name.items():
        if told[name] is None:
            told[name] = value
        elif told[name] != value:
            raise ImportRefused(f"{path.name}: its name says {name} {value}, its config says {told[name]}")
    return told["symbol"], told["timeframe"], told["steps"]


def _whole(path: Path, document: Mapping[str, Any], name: str) -> int | None:
    value = document.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 1):
        return value
    raise ImportRefused(f"{path.name}: {name} is {value!r}, expected a whole number of bars")


def _trained_until(path: Path, document: Mapping[str, Any]) -> int | None:
    for name in ("trained_until_ms", "trained_until", "trained_at", "created_at"):
        value = document.get(name)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return int(value if value > 1e11 else value * 1000)  # seconds until the year 5138
        if isinstance(value, str) and value.strip():
            try:
                return parse_moment(value, whole_day=True)
            except UsageError as error:
                raise ImportRefused(f"{path.name}: {name}: {error}") from error
    return None


def _why_not(path: Path, unsafe: list[Path]) -> str:
    for file in unsafe:
        if file.suffix.lower() in _PICKLED:
            return f"{file.name} {_PICKLED[file.suffix.lower()]}: it is not opened, and nothing was imported; {_HOW}"
    return f"{path.name} holds no model that can be read: expected {', '.join(_TEXTS)} or model.onnx; {_HOW}"
