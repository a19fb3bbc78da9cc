"""A bundle that runs: feature schema, model and calibration of one version, proven by its golden self-test."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.dataset import VOLATILITY_FEATURE
from ml.errors import BrokenModel, SchemaMismatch
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.golden import check_golden, golden_windows
from ml.onnx_runner import OnnxRunner
from ml.predictions import PREDICTION_COLUMNS, PredictionBatch, Status
from ml.publishing import Publisher, read_publisher
from ml.runners import LightGBMRunner, Runner
from ml.sequences import find_windows, stretches

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from ml.candles import Candles
    from registry.model import StrategyModel

__all__ = ["MODEL_FILES", "BundleRunner", "RowPredictions", "build_golden", "open_files", "open_runner", "read_json"]

MODEL_FILES: dict[str, Callable[[bytes], Runner]] = {
    "model.txt": LightGBMRunner.from_text,
    "model.onnx": OnnxRunner.from_bytes,
}
"""Model files that this program can run, and what opens each."""

_CONFIDENCE = PREDICTION_COLUMNS.index("confidence")
_PRICES = [PREDICTION_COLUMNS.index(name) for name in ("price", "low", "high")]


@dataclass(frozen=True, eq=False)
class RowPredictions(PredictionBatch):
    """Predictions of feature rows; prices are NaN where the closes were not given."""

    @property
    def price(self) -> npt.NDArray[np.float64]:
        """Median forecast of the close at the horizon, quote currency, shape (n,)."""
        return self.column("price")

    @property
    def confidence(self) -> npt.NDArray[np.float64]:
        """Calibrated probability that the direction is right, in [0.5, 1], shape (n,)."""
        return self.column("confidence")

    @property
    def direction(self) -> npt.NDArray[np.float64]:
        """+1.0 for a rise, -1.0 for a fall, shape (n,)."""
        return self.column("direction")


class BundleRunner:
    """Turns feature rows, or candles, into published predictions.

    Immutable, and may be copied to another process.

    Parameters
    ----------
    schema
        Features that the model was fitted to.
    runner
        The model.
    calibration
        Numbers that turn a raw score into what is published.
    place
        Name of the bundle in messages.

    Attributes
    ----------
    sequence : int
        Rows that one prediction reads, the bar's own included.

    Raises
    ------
    BrokenModel
        When model, schema and calibration do not belong together.
    """

    def __init__(self, schema: FeatureSchema, runner: Runner, calibration: Publisher, place: str = "bundle") -> None:
        self.schema = schema
        self.runner = runner
        self.calibration = calibration
        self.pipeline = FeaturePipeline(schema)
        if runner.feature_names != schema.names:
            raise BrokenModel(f"{place}: {_difference(runner.feature_names, schema.names)}")
        if VOLATILITY_FEATURE not in schema.names:
            raise BrokenModel(f"{place}: the feature schema lacks {VOLATILITY_FEATURE}, which scales the bands")
        self._volatility = schema.names.index(VOLATILITY_FEATURE)
        self.sequence = runner.sequence

    @property
    def runtime(self) -> str:
        """Name and version of the code that computes the scores; part of cache keys."""
        return self.runner.runtime

    @property
    def horizon(self) -> int:
        """Bars ahead that a prediction speaks of."""
        return self.calibration.horizon

    def predict(self, rows: npt.NDArray[np.float32], close: npt.NDArray[np.float64] | None = None) -> RowPredictions:
        """Predict from feature rows.

        Parameters
        ----------
        rows : float32 array, shape (n + sequence - 1, F)
            Columns in the order of the schema; one prediction for each complete window.
        close : float64 array, shape (n,), optional
            Closes of the bars in the quote currency; without them price, low and high are NaN.

        Returns
        -------
        RowPredictions
            A row has status ERROR where score or volatility are not finite.

        Raises
        ------
        ValueError
            When the rows are not float32 or have another number of columns.
        """
        score = self.runner.scores(rows)
        sigma = rows[self.sequence - 1 :, self._volatility].astype(np.float64)
        values = self.calibration.publish(score, sigma, np.ones(len(sigma)) if close is None else close)
        status = np.where(np.isnan(values[:, _CONFIDENCE]), Status.ERROR, Status.OK).astype(np.int8)
        if close is None:
            values[:, _PRICES] = np.nan
        return RowPredictions(values, status)

    def predict_candles(self, candles: Candles) -> PredictionBatch:
        """Predict every bar; those that have no features yet are WARMING."""
        matrix = self.pipeline.compute(candles)
        batch = PredictionBatch.absent(len(candles), Status.WARMING)
        if self.sequence == 1:
            bars, rows = np.flatnonzero(matrix.valid), matrix.rows[matrix.valid]
        else:
            windows = find_windows(matrix.valid, stretches(candles), self.sequence)
            bars = windows.grid[self.sequence - 1 :]
            rows = matrix.rows[windows.grid]
        found = self.predict(rows, candles.close[bars])
        done = np.ones(len(bars), dtype=np.bool_) if self.sequence == 1 else windows.complete[bars]
        batch.values[bars[done]] = found.values[done]
        batch.status[bars[done]] = found.status[done]
        return batch


def open_runner(model: StrategyModel) -> BundleRunner:
    """Open a registered version: read it, check that its parts belong together, and re-run its golden windows.

    Parameters
    ----------
    model
        A version of the registry; every byte is checked against its manifest by ``model.read``.

    Raises
    ------
    BrokenModel
        When a part cannot be read or the self-test gives other bits.
    SchemaMismatch
        When the feature schema is of an unknown version or does not fit this program's catalogue.
    InvalidBundle
        When a file is missing or was changed.
    """
    names = set(model.manifest.files)
    wanted = sorted((set(MODEL_FILES) & names) | {"feature_schema.json", "calibration.json", "golden.json"})
    runner = open_files({name: model.read(name) for name in wanted}, str(model))
    horizon = model.metadata.get("horizon", runner.horizon)
    if horizon != runner.horizon:
        raise BrokenModel(f"{model}: metadata.json has horizon {horizon}, calibration.json {runner.horizon}")
    if runner.schema.timeframe != model.timeframe:
        raise BrokenModel(
            f"{model}: the feature schema is of {runner.schema.timeframe}, the bundle of {model.timeframe}"
        )
    return runner


def open_files(files: Mapping[str, bytes], place: str = "bundle") -> BundleRunner:
    """Open the files of a bundle that need not be registered; see `open_runner` for what may be raised."""
    try:
        schema = FeatureSchema.from_dict(read_json(files, "feature_schema.json", place))
        calibration = read_publisher(read_json(files, "calibration.json", place))
    except (BrokenModel, SchemaMismatch) as error:
        raise error if str(error).startswith(place) else type(error)(f"{place}: {error}") from None
    bundle = BundleRunner(schema, _open_model(files, place), calibration, place)
    check_golden(read_json(files, "golden.json", place), bundle, place)
    return bundle


def build_golden(candles: Candles, schema: FeatureSchema, files: Mapping[str, bytes], calibration: Publisher) -> bytes:
    """Return ``golden.json`` of a model that was just trained.

    Parameters
    ----------
    candles
        Candles that the model was trained on.
    schema
        Features of the model.
    files
        The model's own files, such as ``model.txt``.
    calibration
        Its published numbers.

    Raises
    ------
    NotEnoughBars
        When no candle has features.
    BrokenModel
        When the model cannot be run.
    """
    bundle = BundleRunner(schema, _open_model(files, "the trained model"), calibration)
    document = golden_windows(candles, bundle)
    return (json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _open_model(files: Mapping[str, bytes], place: str) -> Runner:
    present = [name for name in MODEL_FILES if name in files]
    if len(present) != 1:
        found = " and ".join(present) or "none of them"
        raise BrokenModel(f"{place}: expected one model file of {', '.join(MODEL_FILES)}, found {found}")
    try:
        return MODEL_FILES[present[0]](files[present[0]])
    except BrokenModel as error:
        raise BrokenModel(f"{place}: {present[0]}: {error}") from error


def read_json(files: Mapping[str, bytes], name: str, place: str) -> dict[str, Any]:
    """Return one JSON object of a bundle; raises ``BrokenModel`` when it is missing or none."""
    if name not in files:
        raise BrokenModel(f"{place}: {name} is missing")
    try:
        document = json.loads(files[name])
    except (ValueError, RecursionError) as error:
        raise BrokenModel(f"{place}: {name} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise BrokenModel(f"{place}: {name} is not a JSON object")
    return document


def _difference(model: tuple[str, ...], schema: tuple[str, ...]) -> str:
    """Say where the columns of model and schema part."""
    if len(model) != len(schema):
        return f"the model was fitted to {len(model)} features, the schema names {len(schema)}"
    at = next(i for i, (a, b) in enumerate(zip(model, schema, strict=True)) if a != b)
    return f"feature {at} is {model[at]!r} in the model and {schema[at]!r} in the schema"
