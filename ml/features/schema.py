"""The schema of features: which ones, in which order, over which slices; written into every bundle."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import MLError, SchemaMismatch
from ml.features.blocks import INDEX_KINDS, density
from ml.features.catalogue import default_names, feature, missing_columns, select_names
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from ml.candles import Candles
    from ml.features.families import FeatureSpec

__all__ = ["SCHEMA_VERSION", "FeatureSchema"]

SCHEMA_VERSION = 1
_LEAST_ANCHOR_BARS = 64
_DAY_MS = 86_400_000


@dataclass(frozen=True)
class FeatureSchema:
    """Names, order and slices of the features of a model.

    Attributes
    ----------
    names
        Features in the order of the columns of a row; no name twice.
    timeframe
        Of the candles that they are computed from.
    anchor_bars
        L: time is cut into blocks of so many indices; a power of two.
    index
        How indices are counted: ``calendar``, or ``weekdays`` for daily series without weekend bars.
    min_candles
        How many candles a slice must hold, up to and including a bar, before the bar has features.
    dtype
        Of the rows: float32.
    """

    names: tuple[str, ...]
    timeframe: str
    anchor_bars: int
    index: str = "calendar"
    min_candles: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        """Check the values; ``min_candles`` 0 stands for what the features need."""
        step = timeframe_ms(self.timeframe)
        if not self.names:
            raise SchemaMismatch("a feature schema needs at least one feature")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise SchemaMismatch(f"the feature {twice} stands twice in the schema")
        if self.anchor_bars < _LEAST_ANCHOR_BARS or self.anchor_bars & (self.anchor_bars - 1):
            raise SchemaMismatch(f"anchor_bars is {self.anchor_bars}: expected a power of two of at least 64")
        if self.index not in INDEX_KINDS or (self.index == "weekdays" and step != _DAY_MS):
            raise SchemaMismatch(f"index {self.index!r} does not fit candles of {self.timeframe}")
        if self.dtype != "float32":
            raise SchemaMismatch(f"rows of {self.dtype!r} are not known: expected float32")
        need = max(spec.candles(self.timeframe) for spec in self.features)
        if self.min_candles not in {0, need}:
            raise SchemaMismatch(f"min_candles is {self.min_candles}, but these features need {need}")
        object.__setattr__(self, "min_candles", need)

    @classmethod
    def of(
        cls, names: Iterable[str], timeframe: str, *, candles_per_index: float = 1.0, index: str = "calendar"
    ) -> FeatureSchema:
        """Return the schema of some features, with the slices that they need.

        Parameters
        ----------
        names
            Features, in order.
        timeframe
            Of the candles.
        candles_per_index
            rho: 1 for a market that never closes, about 0.7 for hours of foreign exchange, 0.2 for hours of a stock.
        index
            ``calendar`` or ``weekdays``.
        """
        names = tuple(names)
        specs = [feature(name) for name in names]
        need = max((spec.candles(timeframe) for spec in specs), default=1)
        need = max(need, 2 * max((spec.window(timeframe) for spec in specs), default=1))
        anchor_bars = _LEAST_ANCHOR_BARS
        while anchor_bars * candles_per_index < need:
            anchor_bars *= 2
        return cls(names, timeframe, anchor_bars, index)

    @classmethod
    def for_candles(cls, candles: Candles, names: Iterable[str] | None = None) -> FeatureSchema:
        """Return the schema for a series: its density and calendar are measured on the candles.

        Parameters
        ----------
        candles
            A series long enough to show its sessions.
        names
            Names of features and groups; None for the default features of the timeframe and of the columns that are there.

        Raises
        ------
        UnknownFeature, MissingColumns
            As ``select_names``.
        """
        columns = candles.columns
        chosen = default_names(candles.timeframe, columns) if names is None else None
        chosen = select_names(names or (), candles.timeframe, columns) if chosen is None else chosen
        index = "weekdays" if _keeps_weekends_free(candles) else "calendar"
        return cls.of(chosen, candles.timeframe, candles_per_index=density(candles, index), index=index)

    @property
    def features(self) -> tuple[FeatureSpec, ...]:
        """What each name stands for."""
        return tuple(feature(name) for name in self.names)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns of the candles that the features need, besides the open time."""
        return tuple(dict.fromkeys(column for spec in self.features for column in spec.columns))

    @property
    def window_bars(self) -> int:
        """How many indices back a row may look: the newest bar needs candles of so many, at most."""
        return 2 * self.anchor_bars

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of the canonical JSON of everything that decides the rows."""
        text = json.dumps(self._content(), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Return the schema as plain data, with its fingerprint."""
        return {**self._content(), "fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> FeatureSchema:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        SchemaMismatch
            When the version is unknown, a value is missing or of another type, a feature or its parameters are not those of
            this code, or the fingerprint is not that of the content.
        """
        version = data.get("schema_version")
        if version != SCHEMA_VERSION:
            raise SchemaMismatch(f"feature schema version {version!r} is not known: expected {SCHEMA_VERSION}")
        try:
            listed = data["features"]
            schema = cls(
                names=tuple(str(each["name"]) for each in listed),
                timeframe=str(data["timeframe"]),
                anchor_bars=int(data["anchor_bars"]),
                index=str(data["index"]),
                min_candles=int(data["min_candles"]),
                dtype=str(data["dtype"]),
            )
        except KeyError as error:
            raise SchemaMismatch(f"the feature schema has no {error.args[0]!r}") from error
        except (TypeError, AttributeError) as error:
            raise SchemaMismatch(f"the feature schema cannot be read: {error}") from error
        except SchemaMismatch:
            raise
        except (MLError, ValueError) as error:
            raise SchemaMismatch(f"the feature schema does not fit this version of the program: {error}") from error
        for there, here in zip(listed, schema._content()["features"], strict=True):
            for key, value in here.items():
                if there.get(key) != value:
                    raise SchemaMismatch(
                        f"the feature {here['name']} has {key} {there.get(key)!r} in the schema and {value!r} in this program"
                    )
        if data.get("fingerprint") != schema.fingerprint:
            raise SchemaMismatch("the fingerprint of the feature schema does not fit its content")
        return schema

    def require_same(self, other: FeatureSchema) -> None:
        """Raise ``SchemaMismatch`` with the first difference to another schema."""
        for key in ("timeframe", "index", "anchor_bars", "dtype"):
            mine, theirs = getattr(self, key), getattr(other, key)
            if mine != theirs:
                raise SchemaMismatch(f"the feature schemas differ in {key}: {mine} here, {theirs} there")
        for place, (mine, theirs) in enumerate(zip(self.names, other.names, strict=False)):
            if mine != theirs:
                raise SchemaMismatch(f"feature {place + 1} is {mine} here and {theirs} there")
        if len(self.names) != len(other.names):
            longer, where = (self, "here") if len(self.names) > len(other.names) else (other, "there")
            extra = longer.names[min(len(self.names), len(other.names))]
            raise SchemaMismatch(
                f"there are {len(self.names)} features here and {len(other.names)} there: {extra} stands only {where}"
            )

    def require_columns(self, candles: Candles) -> None:
        """Raise ``SchemaMismatch`` or ``MissingColumns`` where candles do not fit the schema."""
        if candles.timeframe != self.timeframe:
            raise SchemaMismatch(f"the features are of {self.timeframe} candles, these are of {candles.timeframe}")
        held = candles.columns
        if not all(column in held for column in self.columns):
            missing_columns(self.names, held)

    def _content(self) -> dict[str, Any]:
        return {
            "schema_version": SCHEMA_VERSION,
            "timeframe": self.timeframe,
            "anchor_bars": self.anchor_bars,
            "index": self.index,
            "min_candles": self.min_candles,
            "dtype": self.dtype,
            "columns": list(self.columns),
            "features": [
                {
                    "name": spec.name,
                    "group": spec.group,
                    "kernel": spec.kernel,
                    "output": spec.output,
                    "period": spec.period,
                }
                for spec in self.features
            ],
        }


def _keeps_weekends_free(candles: Candles) -> bool:
    """Whether this is a daily series without a bar on a Saturday or Sunday (and long enough to show it)."""
    if candles.step_ms != _DAY_MS or len(candles) < 2:
        return False
    weekday = (candles.open_ms // _DAY_MS + 3) % 7
    spans_a_weekend = candles.open_ms[-1] - candles.open_ms[0] >= 7 * _DAY_MS
    return bool(spans_a_weekend and not np.any(weekday >= 5))
