"""A bundle of paths that runs: schema, forests and published numbers of one version, proven by its golden self-test."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ml.bundles import read_json
from ml.dataset import VOLATILITY_FEATURE
from ml.errors import BrokenModel, InvalidParameter, SchemaMismatch
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.lightgbm_text import FlatTrees, parse_lightgbm
from ml.paths.golden import check_path_golden, path_golden_windows
from ml.paths.publishing import PathPublisher
from ml.paths.rollout import PathModel

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.candles import Candles
    from registry.model import StrategyModel

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]

__all__ = ["PATH_MODEL_FILES", "PathBundle", "build_path_golden", "open_path_files", "open_path_runner"]

PATH_MODEL_FILES = {"close": ("model.txt",), "ohlc": ("open.txt", "high.txt", "low.txt", "close.txt")}
"""The forests of each kind of path, in the order that ``PathModel`` takes them."""


class PathBundle:
    """Turns candles into paths and published numbers. Immutable, and may be copied to another process.

    Parameters
    ----------
    schema
        Features that the forests were fitted to.
    forests
        One for a path of closes, four for a path of candles.
    publisher
        The frozen numbers.
    place
        Name of the bundle in messages.

    Raises
    ------
    BrokenModel
        When forests, schema and numbers do not belong together.
    """

    def __init__(
        self, schema: FeatureSchema, forests: tuple[FlatTrees, ...], publisher: PathPublisher, place: str = "bundle"
    ) -> None:
        self.schema = schema
        self.publisher = publisher
        self.pipeline = FeaturePipeline(schema)
        try:
            self.model = PathModel(schema, forests, publisher.shrink, publisher.path_kind)
        except (InvalidParameter, SchemaMismatch) as error:
            raise BrokenModel(f"{place}: {error}") from error
        names = (VOLATILITY_FEATURE, publisher.long_feature)
        missing = [name for name in names if name is not None and name not in schema.names]
        if missing:
            raise BrokenModel(f"{place}: the feature schema lacks {missing[0]}, which scales the bands")
        self._sigma = schema.names.index(VOLATILITY_FEATURE)
        self._long = None if publisher.long_feature is None else schema.names.index(publisher.long_feature)

    @property
    def horizon(self) -> int:
        """Bars ahead that a single prediction speaks of: the last trusted step, or 1 where none is trusted."""
        return self.publisher.horizon

    @property
    def steps(self) -> int:
        """Steps ahead that a path has."""
        return self.publisher.steps

    @property
    def runtime(self) -> str:
        """Name and digest of the code that computes paths; part of cache keys."""
        return f"paths-{_code_version()}"

    def volatilities(self, rows: Rows) -> tuple[Floats, Floats | None]:
        """Return current and long-run volatility of feature rows (n, F); the latter None where a level stands in."""
        sigma = rows[:, self._sigma].astype(np.float64)
        return sigma, None if self._long is None else rows[:, self._long].astype(np.float64)

    def summarise(self, candles: Candles, positions: Integers, chosen: Integers, length: int, threads: int) -> Floats:
        """Return what a strategy reads of some paths, float64 (n, s + 4): see ``ml.kernels.path_summary.summarise``.

        Parameters
        ----------
        candles
            The real candles.
        positions : int64 array, shape (n,)
            Positions of the starting bars.
        chosen : int64 array, shape (s,)
            Steps, 1 to ``length``.
        length
            Steps of a path.
        threads
            No bit depends on them.
        """
        paths = self.model.paths(candles, positions, length, threads)
        return self.summarise_paths(paths, candles.close[positions], chosen)

    def summarise_paths(self, paths: Floats, start: Floats, chosen: Integers) -> Floats:
        """Return what `summarise` does of paths that are there already.

        Parameters
        ----------
        paths
            As ``PathModel.paths`` returns them.
        start : float64 array, shape (n,)
            Closes of the starting bars.
        chosen
            As of `summarise`.
        """
        from ml.kernels.path_summary import summarise

        if paths.ndim == 2:
            closes = highs = lows = np.ascontiguousarray(paths)
        else:
            highs, lows, closes = (np.ascontiguousarray(paths[:, :, part]) for part in (1, 2, 3))
        out = np.empty((len(paths), len(chosen) + 4))
        trusted = min(self.publisher.trusted_steps, paths.shape[1])
        summarise(closes, highs, lows, np.ascontiguousarray(start), chosen, trusted, out)
        return out

    def predictions(self, candles: Candles, positions: Integers, rows: Rows, threads: int = 1) -> Floats:
        """Return the single predictions of some bars, float64 (n, 9), in the order of ``PREDICTION_COLUMNS``.

        ``rows`` are the features of those bars, float32 (n, F).
        """
        here = np.array([self.horizon], dtype=np.int64)
        raw = np.ascontiguousarray(self.summarise(candles, positions, here, self.horizon, threads)[:, 0])
        sigma, long = self.volatilities(rows)
        return self.publisher.publish(raw, sigma, candles.close[positions], long)


def open_path_runner(model: StrategyModel) -> PathBundle:
    """Open a registered version: read it, check that its parts belong together, and re-run its golden windows.

    Raises
    ------
    BrokenModel
        When a part cannot be read, the self-test gives other bits, or the bundle holds no model of paths.
    SchemaMismatch
        When the feature schema does not fit this program's catalogue.
    InvalidBundle
        When a file is missing or was changed.
    """
    known = {name for names in PATH_MODEL_FILES.values() for name in names}
    names = known & set(model.manifest.files) | {"feature_schema.json", "calibration.json", "golden.json"}
    bundle = open_path_files({name: model.read(name) for name in sorted(names)}, str(model))
    if bundle.schema.timeframe != model.timeframe:
        raise BrokenModel(
            f"{model}: the feature schema is of {bundle.schema.timeframe}, the bundle of {model.timeframe}"
        )
    said = {"horizon": bundle.horizon, "n_steps_ahead": bundle.steps, "trusted_steps": bundle.publisher.trusted_steps}
    for name, value in said.items():
        if model.metadata.get(name, value) != value:
            raise BrokenModel(f"{model}: metadata.json has {name} {model.metadata[name]}, calibration.json {value}")
    return bundle


def open_path_files(files: Mapping[str, bytes], place: str = "bundle") -> PathBundle:
    """Open the files of a bundle that need not be registered; errors are those of `open_path_runner`."""
    try:
        schema = FeatureSchema.from_dict(read_json(files, "feature_schema.json", place))
        publisher = PathPublisher.from_dict(read_json(files, "calibration.json", place))
    except (BrokenModel, SchemaMismatch) as error:
        raise error if str(error).startswith(place) else type(error)(f"{place}: {error}") from None
    bundle = PathBundle(schema, _forests(files, publisher.path_kind, place), publisher, place)
    check_path_golden(read_json(files, "golden.json", place), bundle, place)
    return bundle


def build_path_golden(
    candles: Candles, schema: FeatureSchema, files: Mapping[str, bytes], publisher: PathPublisher
) -> bytes:
    """Return ``golden.json`` of a model of paths that was just trained.

    Raises
    ------
    NotEnoughBars
        When no candle has features.
    BrokenModel
        When the model cannot be run.
    """
    place = "the trained model"
    bundle = PathBundle(schema, _forests(files, publisher.path_kind, place), publisher, place)
    document = path_golden_windows(candles, bundle)
    return (json.dumps(document, separators=(",", ":"), allow_nan=False) + "\n").encode()


def _forests(files: Mapping[str, bytes], kind: str, place: str) -> tuple[FlatTrees, ...]:
    forests = []
    for name in PATH_MODEL_FILES[kind]:
        if name not in files:
            raise BrokenModel(f"{place}: {name} is missing")
        try:
            forests.append(parse_lightgbm(files[name]))
        except BrokenModel as error:
            raise BrokenModel(f"{place}: {name}: {error}") from error
    return tuple(forests)


@cache
def _code_version() -> str:
    """Return a digest of the code between candles and published paths, and the versions of what compiles it."""
    here = Path(__file__).parent
    root = here.parent
    files = [
        *sorted(here.glob("*.py")),
        *sorted((root / "kernels").glob("*.py")),
        *(root / name for name in ("lightgbm_text.py", "calibration.py", "conformal.py", "fingerprints.py")),
    ]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return f"{digest.hexdigest()[:16]}|numba {version('numba')}|numpy {version('numpy')}"
