"""Bands around paths: fitted on the record, and judged on it by folds that the bands had not seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.conformal import MISCOVERAGE, PathBands
from ml.intervals import hac_standard_error

if TYPE_CHECKING:
    import numpy.typing as npt

    from ml.paths.record import PathRecord

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["band_coverage", "fit_bands"]

_JUDGED = (1, 2, 5, 10, 20, 60, 120, 300)


def fit_bands(record: PathRecord, known: Flags | None = None, until_k: int | None = None) -> PathBands:
    """Fit the bands of every step on paths of the record.

    Parameters
    ----------
    record
        Paths from starts that the model had not seen.
    known : bool array, shape (m,), optional
        Paths to use; all unless given.
    until_k
        Only outcomes up to this index are known; all unless given.
    """
    rows = np.ones(len(record), dtype=np.bool_) if known is None else known
    residuals = record.outcomes()[rows] - record.forecasts()[rows]
    if until_k is not None:
        residuals[record.k[rows][:, None] + np.arange(1, record.steps + 1) > until_k] = np.nan
    return PathBands.fit(residuals, record.sigma[rows], _long(record, rows))


def _long(record: PathRecord, rows: Flags) -> Floats | None:
    """Return the long-run volatilities, or None where the features hold none."""
    long = record.long_sigma[rows]
    return long if np.isfinite(long).any() else None


def band_coverage(record: PathRecord) -> list[dict[str, float]]:
    """Return how often the 90 % bands held, each fold judged by bands of the folds before it.

    Returns
    -------
    list of dict
        For some steps: ``step``, ``n``, ``coverage`` with its standard error (overlap counted in), and ``calm``, ``usual``
        and ``wild``, the coverage in thirds of the volatility at the start; NaN where nothing is known.
    """
    folds = np.unique(record.fold)
    inside = np.full((len(record), record.steps), np.nan)
    outcome, forecast = record.outcomes(), record.forecasts()
    for fold in folds[1:]:
        here = record.fold == fold
        bands = fit_bands(record, record.fold < fold, int(record.k[here].min()))
        low, high = bands.apply(np.exp(forecast[here]), record.sigma[here], _long(record, here))
        price = np.exp(outcome[here])
        inside[here] = np.where(np.isfinite(price) & np.isfinite(low), (low <= price) & (price <= high), np.nan)
    found = []
    for step in (step for step in _JUDGED if step <= record.steps):
        held = inside[:, step - 1]
        known = np.isfinite(held)
        lag = int(np.ceil(1.5 * step / record.spacing)) if record.spacing > 0 else 0
        found.append(
            {
                "step": step,
                "n": int(known.sum()),
                "asked": 1.0 - MISCOVERAGE,
                "coverage": float(held[known].mean()) if known.any() else float("nan"),
                "standard_error": hac_standard_error(held[known], lag),
                **_by_third(held[known], record.sigma[known]),
            }
        )
    return found


def _by_third(held: Floats, sigma: Floats) -> dict[str, float]:
    """Return the coverage in thirds of the volatility."""
    if len(held) < 3:
        return dict.fromkeys(("calm", "usual", "wild"), float("nan"))
    third = np.searchsorted(np.quantile(sigma, (1 / 3, 2 / 3)), sigma)
    return {name: float(held[third == place].mean()) for place, name in enumerate(("calm", "usual", "wild"))}
