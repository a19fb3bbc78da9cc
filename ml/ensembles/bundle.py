"""Opening an ensemble: its pinned members must be there, to the byte, and pooling must still give the stored bits."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.ensembles.kinds import RiskKind, read_frozen_numbers
from ml.ensembles.pooling import Pool
from ml.errors import BrokenModel
from registry.errors import InvalidBundle, RegistryError
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.ensembles.kinds import Frozen, Kind
    from registry.model import StrategyModel

    Floats = npt.NDArray[np.float64]
    Answers = tuple[Floats, Floats, Floats, Floats]

__all__ = ["ENSEMBLE_FILE", "OpenEnsemble", "PinnedMember", "golden_document", "open_ensemble", "publish_answers"]

ENSEMBLE_FILE = "ensemble.json"
_VERSION = 1
_GOLDEN = ("stated", "expected_return", "low", "high")
_GOLDEN_ROWS = 16


@dataclass(frozen=True, slots=True)
class PinnedMember:
    """A member as ``ensemble.json`` names it: key, version and digest of the manifest."""

    key: ModelKey
    version: str
    digest: str

    def __str__(self) -> str:
        """Return ``SYMBOL/TYPE@VERSION``."""
        return f"{self.key.symbol}/{self.key.model_type}@{self.version}"

    def to_dict(self) -> dict[str, str]:
        """Return plain data."""
        return {
            "symbol": self.key.symbol,
            "model_type": self.key.model_type,
            "timeframe": self.key.timeframe,
            "version": self.version,
            "digest": self.digest,
        }

    @classmethod
    def of(cls, model: StrategyModel) -> PinnedMember:
        """Return the pin of a registered version."""
        return cls(model.key, model.version_id, model.digest)


@dataclass(frozen=True, eq=False)
class OpenEnsemble:
    """An ensemble that may be run.

    Attributes
    ----------
    members
        The registered versions, each verified, in the order of the weights.
    kind
        What they are asked.
    pool, calibration
        How their answers become one.
    """

    members: tuple[StrategyModel, ...]
    kind: Kind
    pool: Pool
    calibration: Frozen

    @property
    def horizon(self) -> int:
        """Bars ahead that a prediction speaks of."""
        return self.calibration.horizon

    @property
    def states(self) -> tuple[str, ...]:
        """Columns of a prediction that the ensemble speaks of."""
        return self.calibration.states

    def publish(self, answers: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9).

        Parameters
        ----------
        answers : float64 array, shape (K, n, 9)
            What each member published, in the order of ``PREDICTION_COLUMNS``.
        close : float64 array, shape (n,)
            Closes in the quote currency.
        """
        from ml.kernels.ensembles import log_returns

        stated = np.ascontiguousarray(answers[:, :, self.kind.columns[0]].T)
        others = [np.ascontiguousarray(answers[:, :, column].T) for column in self.kind.columns[1:]]
        for prices in others[1:]:
            log_returns(prices, close, prices)
        if self.kind.name == RiskKind.name:
            stated = stated / 100.0
        expected, low, high = others or [np.zeros_like(stated)] * 3
        return self.pooled((stated, expected, low, high), close)

    def pooled(self, answers: Answers, close: Floats) -> Floats:
        """Return the published numbers of statements, log returns and ends of bands, each float64 (n, K)."""
        return publish_answers(self.kind, self.pool, self.calibration, answers, close)


def open_ensemble(model: StrategyModel) -> OpenEnsemble:
    """Open an ensemble of the registry and its members, and re-run the self-test of the pooling.

    Raises
    ------
    BrokenModel
        When a member is not registered any more, is damaged or has another digest than the one that is pinned; when the
        files do not belong together; when pooling gives other bits than at the making.
    InvalidBundle
        When a file of the ensemble itself is missing or was changed.
    """
    document = _document(model, ENSEMBLE_FILE)
    if document.get("schema_version") != _VERSION:
        found = document.get("schema_version")
        raise BrokenModel(f"{model}: {ENSEMBLE_FILE} has schema version {found!r}, this program reads {_VERSION}")
    try:
        pins = [_pin(entry) for entry in document["members"]]
        pool = Pool.from_dict(document["pool"])
        kind, calibration = read_frozen_numbers(_document(model, "calibration.json"))
    except (KeyError, TypeError, ValueError, RegistryError) as error:
        if isinstance(error, InvalidBundle):
            raise
        raise BrokenModel(f"{model}: {ENSEMBLE_FILE} cannot be read: {type(error).__name__}: {error}") from None
    except BrokenModel as error:
        raise BrokenModel(f"{model}: {error}") from None
    if len(pins) != len(pool.weights):
        raise BrokenModel(f"{model}: {len(pins)} members and {len(pool.weights)} weights do not belong together")
    registry = PredictionModelRegistry(model.path.parents[2])
    members = tuple(_member(registry, pin, model) for pin in pins)
    for member in members:
        if member.metadata.get("horizon") != calibration.horizon:
            raise BrokenModel(f"{model}: its member {member} speaks of another horizon than {calibration.horizon} bars")
    opened = OpenEnsemble(members, kind, pool, calibration)
    _check_golden(_document(model, "golden.json"), opened, str(model))
    return opened


def publish_answers(kind: Kind, pool: Pool, frozen: Frozen, answers: Answers, close: Floats) -> Floats:
    """Return the published numbers, float64 (n, 9), of what members said of n bars."""
    pooled = kind.pool(pool, answers, kind.frozen_centre(frozen), frozen.horizon)
    return kind.publish(frozen, pooled, close)


def golden_document(answers: Answers, close: Floats, kind: Kind, pool: Pool, frozen: Frozen) -> dict[str, Any]:
    """Return ``golden.json`` of an ensemble: the newest answers of its members and what became of them.

    Parameters
    ----------
    answers
        Statements, log returns and ends of bands, each float64 (n, K).
    close : float64 array, shape (n,)
        Closes in the quote currency.
    """
    stated, expected, low, high = (np.ascontiguousarray(table[-_GOLDEN_ROWS:]) for table in answers)
    inputs = dict(zip(_GOLDEN, (stated, expected, low, high), strict=True))
    closes = np.ascontiguousarray(close[-_GOLDEN_ROWS:])
    published = publish_answers(kind, pool, frozen, (stated, expected, low, high), closes)
    return {
        "schema_version": _VERSION,
        "inputs": {name: _plain(table) for name, table in inputs.items()},
        "close": closes.tolist(),
        "predictions": _plain(published),
    }


def _check_golden(document: dict[str, Any], opened: OpenEnsemble, place: str) -> None:
    """Pool the stored answers all at once and one by one; both must give the stored bits."""
    try:
        inputs = [_table(document["inputs"][name]) for name in _GOLDEN]
        close = np.array(document["close"], dtype=np.float64)
        expected = _table(document["predictions"])
        shape = (len(close), len(opened.members))
        if document["schema_version"] != _VERSION or len(close) == 0 or any(t.shape != shape for t in inputs):
            raise ValueError("its tables are of another form")
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenModel(f"{place}: golden.json is damaged: {type(error).__name__}: {error}") from None
    parts = [slice(0, len(close)), *(slice(i, i + 1) for i in range(len(close)))]
    for part in parts:
        stated, returned, low, high = (table[part] for table in inputs)
        found = opened.pooled((stated, returned, low, high), close[part])
        if not np.array_equal(found, expected[part], equal_nan=True):
            raise BrokenModel(f"{place}: the self-test failed: pooling its members' answers gives other numbers here")


def _member(registry: PredictionModelRegistry, pin: PinnedMember, model: StrategyModel) -> StrategyModel:
    remake = "make the ensemble anew with bot ensemble create"
    try:
        member = registry.select_bundle(
            symbol=pin.key.symbol, model_type=pin.key.model_type, timeframe=pin.key.timeframe, version=pin.version
        )
    except RegistryError as error:
        raise BrokenModel(
            f"{model}: its member {pin} cannot be used: {error}; restore that version, or {remake}"
        ) from error
    if member.version_id != pin.version or member.digest != pin.digest:
        raise BrokenModel(
            f"{model}: its member {pin} has the digest {member.digest[:16]}, {pin.digest[:16]} was pinned: it is not the "
            f"model that the ensemble was judged with; restore that version, or {remake}"
        )
    return member


def _pin(entry: Mapping[str, Any]) -> PinnedMember:
    key = ModelKey(str(entry["symbol"]), str(entry["model_type"]), str(entry["timeframe"]))
    return PinnedMember(key, str(entry["version"]), str(entry["digest"]))


def _document(model: StrategyModel, name: str) -> dict[str, Any]:
    try:
        document = json.loads(model.read(name))
    except ValueError as error:
        raise BrokenModel(f"{model}: {name} is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise BrokenModel(f"{model}: {name} is not a JSON object")
    return document


def _plain(table: Floats) -> list[list[float | None]]:
    return [[value if np.isfinite(value) else None for value in row] for row in table.tolist()]


def _table(rows: Any) -> Floats:
    return np.array([[np.nan if value is None else float(value) for value in row] for row in rows], dtype=np.float64)
