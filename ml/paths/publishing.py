"""The frozen numbers of a model of paths: what turns predicted closes into published returns, confidences and bands."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.conformal import PathBands, read_numbers
from ml.errors import BrokenModel
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["PATH_KINDS", "PathPublisher"]

PATH_KINDS = ("close", "ohlc")
_SCHEMA_VERSION = 1
_STATED = PREDICTION_COLUMNS[:7]


@dataclass(frozen=True, eq=False)
class PathPublisher:
    """What a bundle of paths publishes with; written to ``calibration.json``.

    Attributes
    ----------
    path_kind
        ``close`` for paths of closes, ``ohlc`` for paths of candles.
    trusted_steps
        Steps that beat persistence and drift out of sample; 0 is legal. Beyond them a forecast is shown, with confidence 0.5.
    shrink
        Factor of the score of each forest.
    slopes, scales : float64 arrays, shape (trusted_steps,)
        ``p_up = sigmoid(a c tanh(s / c))`` of each trusted step, s the predicted return in units of the volatility at the
        start; as ``ml.calibration`` has it.
    bands
        Of every step.
    long_feature
        Feature that holds the long-run volatility; None where a frozen level stands in.
    """

    path_kind: str
    trusted_steps: int
    shrink: tuple[float, ...]
    slopes: Floats
    scales: Floats
    bands: PathBands
    long_feature: str | None = None

    kind: ClassVar[str] = "path"

    def __post_init__(self) -> None:
        """Refuse numbers that no path could be published with."""
        if self.path_kind not in PATH_KINDS:
            raise BrokenModel(f"{self.path_kind!r} is no kind of path: expected {' or '.join(PATH_KINDS)}")
        if len(self.shrink) != (1 if self.path_kind == "close" else 4):
            raise BrokenModel(f"a path of kind {self.path_kind} does not have {len(self.shrink)} factors of its scores")
        if not all(0.0 <= factor <= 1.0 for factor in self.shrink):
            raise BrokenModel(f"factors of scores lie between 0 and 1, got {self.shrink}")
        if not 0 <= self.trusted_steps <= self.bands.steps:
            raise BrokenModel(f"{self.trusted_steps} trusted steps of {self.bands.steps} make no sense")
        for name in ("slopes", "scales"):
            values = getattr(self, name)
            if values.shape != (self.trusted_steps,) or not np.isfinite(values).all() or (values < 0).any():
                raise BrokenModel(f"{name} must be {self.trusted_steps} finite numbers that are not negative")
            values.flags.writeable = False

    @property
    def steps(self) -> int:
        """Steps ahead that a path has."""
        return self.bands.steps

    @property
    def horizon(self) -> int:
        """Bars ahead that a single prediction speaks of: the last trusted step, or 1 where none is trusted."""
        return max(1, self.trusted_steps)

    @property
    def states(self) -> tuple[str, ...]:
        """Columns that single predictions fill in."""
        return _STATED

    def probabilities(self, returns: Floats, sigma: Floats, steps: Integers | int) -> Floats:
        """Return the probability of a rise up to a step, float64 (n,): 0.5 beyond the trusted steps, NaN where unknown.

        Parameters
        ----------
        returns, sigma : float64 arrays, shape (n,)
            Predicted log return up to the step, and volatility of a bar's log return at the start.
        steps : int64 array, shape (n,), or int
            The step of each row, from 1 on.
        """
        from ml.kernels.path_summary import rise_probabilities

        out = np.empty(len(returns))
        every = np.full(len(returns), steps, dtype=np.int64) if isinstance(steps, int) else steps
        returns, sigma = (np.ascontiguousarray(column, dtype=np.float64) for column in (returns, sigma))
        rise_probabilities(returns, sigma, every, self.slopes, self.scales, out)
        return out

    def publish(self, raw: Floats, sigma: Floats, close: Floats, long: Floats | None = None) -> Floats:
        """Return the single predictions of n bars, float64 (n, 9), in the order of ``PREDICTION_COLUMNS``.

        n bars at once and one by one give the same bits. A bar with an input that is not finite is NaN throughout.

        Parameters
        ----------
        raw : float64 array, shape (n,)
            Predicted log return up to ``horizon``.
        sigma, close : float64 arrays, shape (n,)
            Volatility of one bar's log return, and close in the quote currency.
        long : float64 array, shape (n,), optional
            Long-run volatility, where ``long_feature`` names one.
        """
        from ml.kernels.path_summary import publish_paths

        raw = np.ascontiguousarray(raw, dtype=np.float64)
        out = np.empty((len(raw), len(PREDICTION_COLUMNS)))
        low, high = self._of_horizon.apply(np.ones((len(raw), 1)), sigma, long)
        p_up = self.probabilities(raw, sigma, self.horizon)
        publish_paths(raw, p_up, np.ascontiguousarray(close), low[:, 0], high[:, 0], out)
        return out

    @cached_property
    def _of_horizon(self) -> PathBands:
        """Return the bands of the one step that single predictions speak of."""
        bands, here = self.bands, slice(self.horizon - 1, self.horizon)
        a, b, low, high = (np.array(getattr(bands, name)[here]) for name in ("a", "b", "low", "high"))
        return PathBands(a, b, low, high, bands.long_level, bands.rows)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; JSON reads every float back to the same bits."""
        return {
            "schema_version": _SCHEMA_VERSION,
            "kind": self.kind,
            "path_kind": self.path_kind,
            "steps": self.steps,
            "trusted_steps": self.trusted_steps,
            "shrink": list(self.shrink),
            "slopes": self.slopes.tolist(),
            "scales": self.scales.tolist(),
            "long_feature": self.long_feature,
            "bands": self.bands.to_dict(),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PathPublisher:
        """Read what ``to_dict`` wrote.

        Raises
        ------
        BrokenModel
            When the version is unknown, or a number is missing, of another type or out of range.
        """
        version = data.get("schema_version")
        if version != _SCHEMA_VERSION or data.get("kind") != cls.kind:
            raise BrokenModel(
                f"calibration.json is of kind {data.get('kind')!r} and schema version {version!r}, expected {cls.kind!r} "
                f"and {_SCHEMA_VERSION}"
            )
        trusted, bands, long = data.get("trusted_steps"), data.get("bands"), data.get("long_feature")
        if type(trusted) is not int or not isinstance(bands, dict) or not (long is None or isinstance(long, str)):
            raise BrokenModel("calibration.json: trusted_steps, bands or long_feature cannot be read")
        return cls(
            path_kind=str(data.get("path_kind")),
            trusted_steps=trusted,
            shrink=tuple(read_numbers(data, "shrink").tolist()),
            slopes=read_numbers(data, "slopes"),
            scales=read_numbers(data, "scales"),
            bands=PathBands.from_dict(bands),
            long_feature=long,
        )
