"""The model confidence set: which models may be the best one, as far as their losses on the same bars can tell.

Models are dropped one after another, worst first, as long as the hypothesis that all that are left are equally good is
rejected. The best model is in the set with a probability of 90 %; with few bars the set is large, as it should be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import NotEnoughBars

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["ConfidenceSet", "confidence_set", "stationary_bootstrap"]

_LEAST_ROWS = 30
_CHUNK = 2_000_000  # indices drawn at a time


@dataclass(frozen=True, slots=True)
class ConfidenceSet:
    """The outcome.

    Attributes
    ----------
    kept
        Names of the set, smallest mean loss first.
    p_values
        Of every model: the set at any other level holds those with at least that value.
    mean_losses
        Of every model.
    order
        Every name, smallest mean loss first.
    rows
        Bars that were compared.
    level
        Level of the set, 0.1 for 90 %.
    """

    kept: tuple[str, ...]
    p_values: Mapping[str, float]
    mean_losses: Mapping[str, float]
    order: tuple[str, ...]
    rows: int
    level: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "kept": list(self.kept),
            "p_values": dict(self.p_values),
            "mean_losses": dict(self.mean_losses),
            "order": list(self.order),
            "rows": self.rows,
            "level": self.level,
        }


def confidence_set(
    losses: Floats,
    names: Sequence[str],
    *,
    level: float = 0.1,
    horizon: int = 1,
    draws: int = 1_000,
    seed: int = 0,
) -> ConfidenceSet:
    """Return the model confidence set by the statistic T_max.

    With ``d_i`` the loss of model i less the mean loss of the models left, ``T_max = max_i mean(d_i) / se(mean(d_i))``; its
    law under equality, and the standard errors, come from a stationary bootstrap of the bars, whose mean block is
    ``max(horizon, n^(1/3))``. The model with the largest t-value goes, the later one of equals: put the incumbent first.
    Source: Hansen, Lunde and Nason 2011, The model confidence set, Econometrica 79(2).

    Parameters
    ----------
    losses : float64 array, shape (n, models)
        In time order, every model on the same bars; lower is better.
    names
        One a model.
    level
        Share of sets that may miss the best model.
    horizon
        Bars over which neighbouring labels overlap.
    draws, seed
        Of the bootstrap.

    Raises
    ------
    ValueError
        When names are repeated or do not fit, a loss is not finite, or the level is not in (0, 1).
    NotEnoughBars
        With fewer than 30 bars.
    """
    rows, models = losses.shape
    if len(names) != models or len(set(names)) != models or not models:
        raise ValueError(f"expected {models} different names, one for each column of losses, got {list(names)}")
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, got {level}")
    if not np.isfinite(losses).all():
        row, column = np.argwhere(~np.isfinite(losses))[0].tolist()
        raise ValueError(f"the loss of {names[column]} in row {row} is not finite")
    if rows < _LEAST_ROWS:
        raise NotEnoughBars(f"{rows} bars are common to the models, at least {_LEAST_ROWS} are needed to compare them")
    means = losses.mean(axis=0)
    shifts = _drawn_means(losses - means, max(float(horizon), rows ** (1 / 3)), draws, seed)
    p_values: dict[str, float] = {}
    left = list(range(models))
    highest = 0.0
    while len(left) > 1:
        t, drawn = _t_values(means[left], shifts[:, left])
        # the mean of a drawn sample that is as far out as the real one speaks for equality
        highest = max(highest, float(np.mean(drawn.max(axis=1) >= t.max())))
        worst = len(left) - 1 - int(np.argmax(t[::-1]))
        p_values[names[left.pop(worst)]] = highest
    p_values[names[left[0]]] = 1.0
    order = tuple(names[i] for i in np.argsort(means, kind="stable").tolist())
    return ConfidenceSet(
        kept=tuple(name for name in order if p_values[name] >= level),
        p_values={name: p_values[name] for name in order},
        mean_losses={name: float(means[list(names).index(name)]) for name in order},
        order=order,
        rows=rows,
        level=level,
    )


def _t_values(means: Floats, shifts: Floats) -> tuple[Floats, Floats]:
    """Return the t-value of each model left, and those of the draws, shape (draws, models); 0 where nothing differs."""
    above = means - means.mean()
    drawn = shifts - shifts.mean(axis=1, keepdims=True)
    error = np.sqrt((drawn * drawn).mean(axis=0))
    differs = error > 1e-14 * max(1e-300, float(np.abs(means).max()))
    scale = np.where(differs, error, 1.0)
    return np.where(differs, above / scale, 0.0), np.where(differs, drawn / scale, 0.0)


def _drawn_means(centred: Floats, block: float, draws: int, seed: int) -> Floats:
    """Return the mean of each centred column in each bootstrap sample, shape (draws, models)."""
    rows = len(centred)
    generator = np.random.default_rng(seed)
    means = np.empty((draws, centred.shape[1]))
    step = max(1, _CHUNK // rows)
    for start in range(0, draws, step):
        count = min(step, draws - start)
        drawn = stationary_bootstrap(rows, block, count, generator)
        cells = drawn + np.arange(count)[:, None] * rows
        weights = np.bincount(cells.ravel(), minlength=count * rows).reshape(count, rows)
        means[start : start + count] = weights @ centred / rows
    return means


def stationary_bootstrap(rows: int, block: float, draws: int, generator: np.random.Generator) -> Integers:
    """Return the rows of bootstrap samples, int64 (draws, rows): blocks of geometric length in a circle.

    Source: Politis and Romano 1994, The stationary bootstrap, JASA 89.

    Parameters
    ----------
    rows
        Of the sample and of each draw.
    block
        Mean length of a block, at least 1.
    draws
        Samples.
    generator
        Source of the randomness.
    """
    begins = generator.random((draws, rows)) < 1.0 / block
    begins[:, 0] = True
    place = np.arange(rows)
    first = np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    start = np.take_along_axis(generator.integers(0, rows, (draws, rows)), first, axis=1)
    drawn: Integers = (start + place - first) % rows
    return drawn
