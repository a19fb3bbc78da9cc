"""Models that were trained elsewhere: read without running code, judged on bars after their training, never refitted.

A walk forward is impossible, because nothing of ours can fit such a model again. So only the bars count that open after the
time at which it says that its training ended: what a fold states is calibrated on earlier ones of them, and nothing else.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.candles import format_ms
from ml.dataset import VOLATILITY_FEATURE, build_dataset
from ml.errors import BrokenModel, NotEnoughBars, SchemaMismatch, TrainingFailed, UnknownFeature
from ml.features.catalogue import feature, missing_columns
from ml.lightgbm_text import parse_lightgbm
from ml.onnx_runner import FEATURES_KEY, SEQUENCE_KEY, OnnxRunner
from ml.predictors.catalogue import predictor_class
from ml.runners import LightGBMRunner
from ml.training.card import model_card
from ml.training.documents import json_bytes
from ml.training.plan import plan_dataset
from ml.training.trainer import Prepared, TrainingResult, train_prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.dataset import Dataset
    from ml.predictors.contract import FittedPredictor
    from ml.training.settings import TrainingSettings
    from registry.names import ModelKey

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["ForeignModel", "read_lightgbm", "read_onnx_model", "unknown_features", "validate_foreign"]

_LEAST_HELD_OUT = 1_000


@dataclass(frozen=True, eq=False)
class ForeignModel:
    """A model from outside whose file can be run here.

    Attributes
    ----------
    fitted
        Scores rows, and knows its files.
    names : tuple of str
        Its features, in the order of the columns.
    library : str
        What trained or runs it.
    probabilistic : bool
        Whether its raw score is a log odds; else it may be a return, or a price, which the scores themselves show.
    """

    fitted: FittedPredictor
    names: tuple[str, ...]
    library: str
    probabilistic: bool


def unknown_features(names: Sequence[str]) -> tuple[str, ...]:
    """Return those names that are not in our catalogue: what they stood for cannot be computed here."""
    found = []
    for name in names:
        try:
            feature(name)
        except UnknownFeature:
            found.append(name)
    return tuple(found)


def read_lightgbm(text: bytes) -> ForeignModel:
    """Read a LightGBM text model.

    The features of a bundle hold ``ewma_volatility``, which scales price bands; where the model has not got it, it is
    appended to the header as a feature that no tree reads.

    Raises
    ------
    BrokenModel
        When the text is damaged or of a kind that is not supported.
    """
    forest = parse_lightgbm(text)
    names = forest.feature_names
    if VOLATILITY_FEATURE not in names:
        text, names = _with_feature(text, VOLATILITY_FEATURE), (*names, VOLATILITY_FEATURE)
    header = text.split(b"\nTree=", 1)[0].decode()
    objective = next((line.partition("=")[2] for line in header.splitlines() if line.startswith("objective=")), "")
    fitted = _FittedText(LightGBMRunner.from_text(text), text)
    return ForeignModel(fitted, names, "lightgbm", objective.split(" ")[0] in {"binary", "cross_entropy"})


def read_onnx_model(data: bytes, names: Sequence[str], sequence: int = 1) -> ForeignModel:
    """Read an ONNX graph whose features are named beside it.

    Parameters
    ----------
    data
        Content of ``model.onnx``: one float32 input, one score a row; log odds of a rise, or a return.
    names
        Features in the order of the columns.
    sequence
        Rows that one score reads.

    Raises
    ------
    BrokenModel
        When the graph cannot be run here, or its features do not hold ``ewma_volatility``.
    """
    from ml.onnx_file import read_onnx

    if FEATURES_KEY not in read_onnx(data).metadata:
        data += _metadata_entry(FEATURES_KEY, json.dumps(list(names))) + _metadata_entry(SEQUENCE_KEY, str(sequence))
    runner = OnnxRunner.from_bytes(data)
    if VOLATILITY_FEATURE not in runner.feature_names:
        raise BrokenModel(
            f"the graph does not read {VOLATILITY_FEATURE}, which price bands are scaled by, and an input cannot be added "
            "to it: train it again with that feature among its inputs"
        )
    return ForeignModel(_FittedGraph(runner, data), runner.feature_names, "onnxruntime", probabilistic=False)


def validate_foreign(
    model: ForeignModel,
    candles: Candles,
    key: ModelKey,
    settings: TrainingSettings,
    *,
    trained_until_ms: int,
    origin: Mapping[str, Any],
    at: datetime,
    code_version: str,
    progress: Callable[[float, str], None] = lambda _fraction, _text: None,
) -> TrainingResult:
    """Judge the model on candles after its training, and return the files of a bundle; nothing is written.

    Parameters
    ----------
    model
        As it was read.
    candles
        Closed candles of the key's timeframe, those before the end of training among them to warm the features.
    key
        What to register it as.
    settings
        Horizon, folds and source; everything else has no meaning here.
    trained_until_ms
        When its training ended, as its files say or the user states.
    origin
        Where it came from, for ``metadata.json``.
    at, code_version, progress
        As ``ml.training.trainer.train`` takes them.

    Raises
    ------
    SchemaMismatch
        When a feature is not in the catalogue.
    MissingColumns
        When the candles lack a column.
    NotEnoughBars
        When fewer than 1,000 labelled bars lie after the end of training.
    TrainingFailed
        When its scores are prices or probabilities, which no direction can be calibrated from.
    """
    from ml.features.schema import FeatureSchema

    missing = unknown_features(model.names)
    if missing:
        raise SchemaMismatch(f"unknown features: {', '.join(missing)}")
    missing_columns(model.names, candles.columns)
    schema = FeatureSchema.for_candles(candles, model.names)
    dataset = build_dataset(candles, schema, settings.horizon).since(trained_until_ms)
    count = int(dataset.labelled.sum())
    if count < _LEAST_HELD_OUT:
        raise NotEnoughBars(
            f"{count} labelled bars lie after {format_ms(trained_until_ms)}, where its training ended, and "
            f"{_LEAST_HELD_OUT:,} are needed to judge a model that cannot be refitted: get newer candles with "
            "`bot data download` or `bot data import`"
        )
    _check_scores(model, dataset)
    plan = plan_dataset(dataset, candles.timeframe, folds=settings.folds, embargo=settings.embargo)
    predictor: Any = _Given(model, trained_until_ms, predictor_class(key.model_type).architecture)
    prepared = Prepared(candles, key, settings, schema, predictor, dataset, plan)
    result = train_prepared(prepared, at=at, code_version=code_version, progress=progress)
    document = {
        **result.metadata,
        "origin": {**origin, "trained_until_ms": trained_until_ms, "trained_until": format_ms(trained_until_ms)},
        "training": {
            **result.metadata["training"],
            "validation": "imported: never refitted, judged on bars after its training",
        },
    }
    files = {
        **result.files,
        "metadata.json": json_bytes(document),
        "README.md": model_card(document, result.metrics, result.gate).encode(),
    }
    return TrainingResult(files, result.gate, result.metrics, result.plan, document, result.record, result.calibration)


class _Given:
    """A family of one model that is there already: fitting it returns it."""

    type_name: ClassVar[str] = "imported"
    task: ClassVar[str] = "direction"
    title: ClassVar[str] = "Imported model of the direction of the next return"

    def __init__(self, model: ForeignModel, trained_until_ms: int, architecture: str) -> None:
        self._model = model
        self.architecture = architecture
        self.library = model.library
        self.description = (
            f"It was trained elsewhere until {format_ms(trained_until_ms)} and is not refitted: every figure is of later "
            "bars, calibrated on earlier ones of them. That its training ended then is what its files, or the user, say."
        )

    @property
    def parameters(self) -> Mapping[str, Any]:
        return {}

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedPredictor:  # noqa: ARG002
        return self._model.fitted


@dataclass(frozen=True, eq=False)
class _FittedText:
    """LightGBM text under the contract of fitted models; LightGBM itself, which trusts such files, never reads it."""

    runner: LightGBMRunner
    text: bytes

    @property
    def sequence(self) -> int:
        return 1

    def scores(self, rows: Rows) -> Floats:
        return self.runner.scores(rows)

    def to_files(self) -> dict[str, bytes]:
        return {"model.txt": self.text}

    def importance(self) -> dict[str, float]:
        """Return each feature's share of the gain of all splits, as the text states it."""
        gain = dict.fromkeys(range(len(self.runner.feature_names)), 0.0)
        features: list[str] = []
        for line in self.text.decode().splitlines():
            key, _, value = line.partition("=")
            if key == "split_feature":
                features = value.split()
            elif key == "split_gain":
                for feature_index, amount in zip(features, value.split(), strict=False):
                    gain[int(feature_index)] += float(amount)
        total = sum(gain.values())
        names = self.runner.feature_names
        return {names[place]: amount / total if total > 0 else 0.0 for place, amount in gain.items()}


@dataclass(frozen=True, eq=False)
class _FittedGraph:
    """A graph under the contract of fitted models."""

    runner: OnnxRunner
    data: bytes

    @property
    def sequence(self) -> int:
        return self.runner.sequence

    def scores(self, rows: Rows) -> Floats:
        return self.runner.scores(rows)

    def to_files(self) -> dict[str, bytes]:
        return {"model.onnx": self.data}

    def importance(self) -> dict[str, float]:
        return {}


def _check_scores(model: ForeignModel, dataset: Dataset) -> None:
    """Refuse scores that are plainly no log odds and no return."""
    from ml.training.walk_forward import score_positions

    positions = np.flatnonzero(dataset.usable)
    scores = score_positions(model.fitted, dataset, positions)
    known = np.isfinite(scores)
    scores, close = scores[known], dataset.close[positions[known]]
    if not len(scores):
        raise TrainingFailed("the model gives no finite score on any bar after its training")
    if model.probabilistic or scores.min() < 0:
        return
    if 0.2 < float(np.median(scores / close)) < 5:
        raise TrainingFailed(
            "the model predicts a price, not a return: a level of the price says nothing of skill (the last close predicts "
            "it as well), and no probability of a rise can be calibrated from it"
        )
    if scores.max() <= 1 and float(np.median(scores)) > 0.25:
        raise TrainingFailed(
            "the model's scores lie between 0 and 1: they seem to be probabilities or labels; export its raw score "
            "(log odds of a rise), or its forecast of the return"
        )


def _with_feature(text: bytes, name: str) -> bytes:
    """Append a feature to a LightGBM header that no tree reads; the trees stay byte for byte."""
    header, mark, trees = text.partition(b"\nTree=")
    lines = []
    for line in header.decode().splitlines():
        key, _, value = line.partition("=")
        if key == "max_feature_idx":
            line = f"{key}={int(value) + 1}"
        elif key == "feature_names":
            line = f"{key}={value} {name}"
        elif key == "feature_infos":
            line = f"{key}={value} none"
        elif key in {"monotone_constraints", "feature_penalty"} and value:
            line = f"{key}={value} {'0' if key == 'monotone_constraints' else '1'}"
        lines.append(line)
    return "\n".join(lines).encode() + (b"\n" if header.endswith(b"\n") else b"") + mark + trees


def _metadata_entry(key: str, value: str) -> bytes:
    """Return one entry of ``metadata_props`` (field 14 of ``ModelProto``) as bytes; appended, it joins the message."""
    parts = [b"\x0a", _varint(len(key.encode())), key.encode(), b"\x12", _varint(len(value.encode())), value.encode()]
    entry = b"".join(parts)
    return b"\x72" + _varint(len(entry)) + entry


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])
