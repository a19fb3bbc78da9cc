"""Publishers: the frozen numbers of ``calibration.json`` that turn raw scores into what a bundle says.

Each kind of task has one: a probability of direction, a risk, a volatility. A bundle names its kind; everything that serves
predictions goes through the same three members.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from ml.calibration import Calibration
from ml.errors import BrokenModel
from ml.price_publisher import PricePublisher
from ml.risk_publisher import RiskPublisher
from ml.volatility_publisher import VolatilityPublisher
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["PUBLISHERS", "Publisher", "read_publisher"]


@runtime_checkable
class Publisher(Protocol):
    """What serving needs of a calibration."""

    @property
    def horizon(self) -> int:
        """Bars ahead that a prediction speaks of."""
        ...

    @property
    def states(self) -> tuple[str, ...]:
        """Columns of ``PREDICTION_COLUMNS`` that are filled in; the others are NaN. ``confidence`` is among them."""
        ...

    def publish(self, raw: Floats, sigma: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9), in the order of ``PREDICTION_COLUMNS``.

        n bars at once and one by one give the same bits. A bar with an input that is not finite is NaN throughout.

        Parameters
        ----------
        raw : float64 array, shape (n,)
            Scores of the model.
        sigma : float64 array, shape (n,)
            Volatility of one bar's log return (the feature ``ewma_volatility``).
        close : float64 array, shape (n,)
            Closes in the quote currency.
        """
        ...

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with ``schema_version`` and ``kind``."""
        ...


PUBLISHERS: dict[str, Callable[[Mapping[str, Any]], Publisher]] = {
    Calibration.kind: Calibration.from_dict,
    PricePublisher.kind: PricePublisher.from_dict,
    RiskPublisher.kind: RiskPublisher.from_dict,
    VolatilityPublisher.kind: VolatilityPublisher.from_dict,
}
"""What reads each kind of ``calibration.json``."""


def read_publisher(data: Mapping[str, Any]) -> Publisher:
    """Read ``calibration.json``; a document without a kind speaks of direction.

    Raises
    ------
    BrokenModel
        When the kind is unknown, or the document is not of its form.
    """
    kind = data.get("kind", Calibration.kind)
    if kind not in PUBLISHERS:
        known = ", ".join(PUBLISHERS)
        raise BrokenModel(
            f"calibration.json is of the kind {kind!r}{suggestion(str(kind), PUBLISHERS)} (known: {known})"
        )
    return PUBLISHERS[kind](data)
