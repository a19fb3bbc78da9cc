"""The task ``price``: the return to the horizon as a distribution, judged as a direction and as a forecast of the return."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.evaluation import evaluate_record
from ml.intervals import mean_interval
from ml.price_publisher import fit_price
from ml.tasks.direction import DirectionTask
from ml.tasks.words import percent
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.baselines import Baselines
    from ml.publishing import Publisher
    from ml.record import OutOfSample

    Floats = npt.NDArray[np.float64]

__all__ = ["PriceTask", "return_figures"]

_HOUR_MS = 3_600_000


class PriceTask(DirectionTask):
    """The log return at the horizon, published as a price with its band.

    Baselines, record and gate are those of the direction: a forecast that does not know the sign is worth nothing. Skill
    against persistence (a price that stays where it is) stands beside it.
    """

    name: ClassVar[str] = "price"

    def default_horizon(self, timeframe: str) -> int:
        """Return the bars of one hour, at least 1."""
        return max(1, _HOUR_MS // timeframe_ms(timeframe))

    def fit_publisher(self, past: Mapping[str, Floats], baselines: Baselines, *, horizon: int) -> Publisher:
        """Fit the conformal distribution; see ``ml.price_publisher.fit_price``."""
        return fit_price(past["raw_score"], past["forward_return"], past["sigma"], horizon=horizon)

    def evaluate(self, record: OutOfSample) -> dict[str, Any]:
        """Return the figures of ``evaluate_record`` and those of ``return_figures``."""
        return {**evaluate_record(record), **return_figures(record)}

    def question(self, document: Mapping[str, Any]) -> str:
        """Return the question that the model answers."""
        unit = "bar" if document["horizon"] == 1 else "bars"
        return (
            f"It answers: where will the close {document['horizon']} {unit} of {document['timeframe']} ahead be, "
            "within which band, and how sure may one be of the direction?"
        )

    def headline(self, figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
        """Return the rows of the direction, and how the forecast of the return compares with none."""
        return [
            *super().headline(figures),
            (
                "squared return explained (R2)",
                f"{percent(figures['r2_os'], 2)} (error {percent(figures['rmse'], 3)})",
                (
                    f"a price that stays where it is has an error of {percent(figures['rmse_zero'], 3)}; the difference is "
                    f"{'more' if figures['squared_error_saved_lower_95'] > 0 else 'no more'} than chance explains"
                ),
            ),
        ]


def return_figures(record: OutOfSample) -> dict[str, Any]:
    """Return what the forecast of the return and of the price is worth against persistence, on the counted rows.

    ``squared_error_saved`` is the mean of ``r^2 - (r - forecast)^2`` in units of the mean ``r^2``, with its one-sided 95 %
    lower bound; ``r2_price`` is the R2 of the price level, near 1 for any forecast, beside ``r2_price_persistence``, that of
    the last close: never ranked, never gated on.
    """
    counted = record.counted
    realised, expected, close = record.forward_return[counted], record.expected_return[counted], record.close[counted]
    square = float(np.mean(realised**2)) if len(realised) else math.nan
    saved = mean_interval((realised**2 - (realised - expected) ** 2) / square if square > 0 else np.empty(0))
    actual = close * np.exp(realised)
    return {
        "squared_error_saved": saved.mean,
        "squared_error_saved_lower_95": saved.lower_one_sided,
        "r2_price": _r2(actual, close * np.exp(expected)),
        "r2_price_persistence": _r2(actual, close),
    }


def _r2(actual: Floats, forecast: Floats) -> float:
    spread = float(np.sum((actual - actual.mean()) ** 2)) if len(actual) else 0.0
    return 1 - float(np.sum((actual - forecast) ** 2)) / spread if spread > 0 else math.nan
