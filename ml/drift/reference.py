"""The reference of a bundle: what its features looked like in training, and what it said out of sample.

``drift_reference.json`` is plain JSON of a few numbers a feature. The same rows give the same bytes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.drift.distribution import ReferenceDistribution, reference_distribution
from ml.errors import BrokenModel
from ml.features.catalogue import feature
from ml.record import DIRECTION_TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ml.publishing import Publisher

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]

__all__ = [
    "CLOCK",
    "EMPTY",
    "LEVEL",
    "REFERENCE_FILE",
    "DriftReference",
    "drift_reference",
    "published_column",
    "read_reference",
    "recorded_signal",
    "reference_bytes",
    "signal_parts",
    "stated_signal",
]

REFERENCE_FILE = "drift_reference.json"

LEVEL = "price or volume level"
"""Why a feature is not judged: it is in units of price or volume, which drift for ever."""

CLOCK = "clock"
"""Why a feature is not judged: it is a function of time alone."""

EMPTY = "no value in training"
"""Why a feature is not judged: it never had a value."""

_SCHEMA_VERSION = 1
_MOST_ROWS = 65_536  # of training: seven years of hours, six weeks of minutes; more rows would only cost time
_PUBLISHED = {"direction": "p_up", "price": "p_up", "risk": "risk", "volatility": "volatility"}
_RECORDED = {"direction": "p_up", "price": "p_up", "risk": "p_adverse", "volatility": "forecast"}


@dataclass(frozen=True, slots=True)
class DriftReference:
    """What the monitors compare with.

    Attributes
    ----------
    features
        Distribution of each feature that is judged, in the order of the schema.
    not_judged
        The other features, and why: `LEVEL`, `CLOCK` or `EMPTY`.
    signal
        Of what is stated: ``value``, and for directions ``up`` (1.0 where a rise was the likelier) and ``size``
        (``|p - 0.5|``). Empty where nothing was stated.
    rows
        Training rows.
    """

    features: Mapping[str, ReferenceDistribution]
    not_judged: Mapping[str, str]
    signal: Mapping[str, ReferenceDistribution]
    rows: int


def drift_reference(
    rows: Rows, names: Sequence[str], signal: Floats | None, *, task: str = "direction"
) -> dict[str, Any]:
    """Return the content of ``drift_reference.json``.

    Parameters
    ----------
    rows : float32 array, shape (m, F)
        Feature rows that the model learnt from, in time order; the last 65,536 count.
    names
        The F features, in the order of the columns.
    signal : float64 array, shape (r,), or None
        What was stated out of sample, in time order: the probability of a rise, or of an adverse move, or the forecast of
        volatility, as the bundle's own calibration states it (`stated_signal`); NaN where nothing was.
    task
        The model's task: directions are also watched for their side and their size.

    Raises
    ------
    ValueError
        When rows and names do not fit.
    """
    if rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(f"{len(names)} names do not fit rows of the shape {rows.shape}")
    rows = rows[-_MOST_ROWS:]
    features: dict[str, Any] = {}
    not_judged: dict[str, str] = {}
    for column, name in enumerate(names):
        spec = feature(name)
        if spec.group == "time" or not spec.scale_free:
            not_judged[name] = CLOCK if spec.group == "time" else LEVEL
            continue
        found = reference_distribution(np.ascontiguousarray(rows[:, column]))
        if found is None:
            not_judged[name] = EMPTY
        else:
            features[name] = found.to_dict()
    parts = {} if signal is None else signal_parts(signal[-_MOST_ROWS:], task)
    stated = {part: reference_distribution(values) for part, values in parts.items()}
    return {
        "schema_version": _SCHEMA_VERSION,
        "rows": len(rows),
        "features": features,
        "not_judged": not_judged,
        "signal": {part: found.to_dict() for part, found in stated.items() if found is not None},
    }


def signal_parts(signal: Floats, task: str) -> dict[str, Floats]:
    """Return what is watched of a signal: its value, and of a direction the side and the size too; each float64 (n,)."""
    parts = {"value": signal}
    if task in DIRECTION_TASKS:
        up = np.where(np.isfinite(signal), (signal >= 0.5).astype(np.float64), np.nan)
        parts |= {"up": up, "size": np.abs(signal - 0.5)}
    return parts


def published_column(task: str) -> str:
    """Return the column of a prediction that is watched, one of ``PREDICTION_COLUMNS``; a risk is stated in hundredths."""
    return _PUBLISHED[task]


def stated_signal(publisher: Publisher, task: str, raw: Floats, sigma: Floats, close: Floats) -> Floats:
    """Return what a bundle publishes for raw scores, float64 (n,): `drift_reference` takes it as the signal.

    Out-of-sample scores are put through the calibration of the bundle, not through that of their fold: the folds'
    calibrations come from fewer rows, and a difference to them would be no drift.
    """
    from ml.predictions import PREDICTION_COLUMNS

    name = published_column(task)
    signal: Floats = publisher.publish(raw, sigma, close)[:, PREDICTION_COLUMNS.index(name)]
    return signal / 100.0 if name == "risk" else signal


def recorded_signal(record: Any, task: str) -> Floats:
    """Return what a record says was stated, float64 (n,), NaN where nothing was: the newest of it is what is compared."""
    signal: Floats = getattr(record, _RECORDED[task])
    return signal


def reference_bytes(document: Mapping[str, Any]) -> bytes:
    """Return the file: compact JSON, one feature a line."""
    lines = [
        f"{json.dumps(key)}:{{\n"
        + ",\n".join(f"{json.dumps(name)}:{_compact(part)}" for name, part in value.items())
        + "\n}"
        if isinstance(value, dict) and value
        else f"{json.dumps(key)}:{_compact(value)}"
        for key, value in document.items()
    ]
    return ("{" + ",\n".join(lines) + "}\n").encode()


def read_reference(content: bytes) -> DriftReference:
    """Read ``drift_reference.json``.

    Raises
    ------
    BrokenModel
        When it is not JSON of that form, or of another version.
    """
    try:
        data = json.loads(content)
        version = data["schema_version"]
        if version != _SCHEMA_VERSION:
            raise BrokenModel(f"{REFERENCE_FILE} has schema version {version!r}, this program reads {_SCHEMA_VERSION}")
        return DriftReference(
            features={name: ReferenceDistribution.from_dict(part) for name, part in data["features"].items()},
            not_judged={str(name): str(why) for name, why in data["not_judged"].items()},
            signal={name: ReferenceDistribution.from_dict(part) for name, part in data["signal"].items()},
            rows=int(data["rows"]),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenModel(f"{REFERENCE_FILE} cannot be read: {error!r}") from None


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
