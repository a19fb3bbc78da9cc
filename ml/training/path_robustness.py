"""Robustness of a model of paths: its forecast of the next close under noise, a delay, shuffled labels, and by volatility.

The first step is what every later one is built on, and the only one with a forecast for each bar. The situations, their
seeds and their order are those of ``ml.training.robustness``, and so is the form of the result.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.intervals import mean_interval, wilson
from ml.training.robustness import (
    FEWEST_TEST_BARS,
    MOST_BARS,
    NOISE_LEVELS,
    SHUFFLES,
    one_bar_late,
    p_value,
    passes,
    shuffle_order,
    shuffle_verdict,
    with_noise,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from ml.dataset import Dataset, Fold
    from ml.paths.dataset import PathDataset
    from ml.predictors.contract import FittedPredictor, Predictor

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = ["path_robustness", "shuffled_candles"]


def path_robustness(
    dataset: PathDataset,
    folds: list[Fold],
    predictor: Predictor,
    *,
    seed: int,
    threads: int,
    progress: Callable[[float, str], None],
) -> dict[str, Any]:
    """Return the battery for ``metrics.json``; two fits on a third of the data, two more where shuffled labels show skill.

    A model is fitted on the training rows of the second fold; half of the bars after them tell how much of its forecasts
    comes true (``shrink``), the other half judges. ``gain`` is the squared error saved a bar, in units of the bar's variance,
    against no change and against the drift of the training rows. Parameters and keys are those of
    ``ml.training.robustness.robustness``; ``by_volatility`` splits the judged bars.
    """
    fold = folds[min(1, len(folds) - 1)]
    bars = np.concatenate([other.test for other in folds if other.number >= fold.number])[:MOST_BARS]
    if len(bars) < FEWEST_TEST_BARS:
        return {"skipped": f"{len(bars)} bars after the first third are too few to be judged on"}
    half = len(bars) // 2
    calibrate, judged = bars[:half], bars[half:]
    progress(0.0, "robustness: noise and delay")
    fitted = predictor.fit(dataset, fold.train, seed=seed, threads=threads)
    judge = _Judge(dataset, fold.train, calibrate, judged)
    shrink = judge.shrink(fitted)
    moves = shrink * judge.scores(fitted, dataset, judged)
    noise = {
        f"{level:g}": judge.figures(
            shrink * judge.scores(fitted, with_noise(dataset, fold.train, judged, level, seed + place), judged)
        )
        for place, level in enumerate(NOISE_LEVELS)
    }
    late = judge.figures(shrink * judge.scores(fitted, one_bar_late(dataset, judged), judged))
    progress(0.5, "robustness: shuffled labels")
    runs: list[dict[str, Any]] = []
    for number in range(SHUFFLES):  # where chance gave skill once, two other shuffles decide by majority
        labels = shuffled_candles(dataset, np.flatnonzero(dataset.labelled), seed=seed + number)
        taught = predictor.fit(labels, fold.train, seed=seed + number, threads=threads)
        other = _Judge(labels, fold.train, calibrate, judged)
        run = other.figures(other.shrink(taught) * other.scores(taught, labels, judged))
        runs.append({**run, "seed": seed + number, "p_value": p_value(run), "promoted": passes(run)})
        if not runs[0]["promoted"]:
            break
    progress(1.0, "robustness: done")
    return {
        "train_rows": len(fold.train),
        "judged_rows": len(judged),
        "seed": seed,
        "as_it_is": judge.figures(moves),
        "noise": noise,
        "one_bar_late": late,
        "shuffled_labels": shuffle_verdict(runs),
        "by_volatility": judge.by_volatility(moves),
    }


def shuffled_candles(dataset: PathDataset, positions: Integers, *, seed: int) -> PathDataset:
    """Return the dataset with the next candles of ``positions`` in another order, as ``robustness.shuffled`` has labels."""
    order = positions[shuffle_order(len(positions), dataset.horizon, seed)]
    returns, candles = dataset.returns.copy(), dataset.next_candle.copy()
    returns[positions], candles[positions] = dataset.returns[order], dataset.next_candle[order]
    return replace(dataset, returns=returns, next_candle=candles)


class _Judge:
    """Forecasts of the next close against what came, both in units of the bar's volatility."""

    def __init__(self, dataset: PathDataset, train: Integers, calibrate: Integers, judged: Integers) -> None:
        self._target = dataset.scaled("close")
        self._sigma = dataset.sigma[judged]
        self._drift = float(np.mean(self._target[train]))
        self._calibrate, self._judged, self._dataset = calibrate, judged, dataset

    def scores(self, fitted: FittedPredictor, seen: Dataset, bars: Integers) -> Floats:
        """Return what the forest of closes says of some bars."""
        return fitted.scores(np.ascontiguousarray(seen.rows[bars]))

    def shrink(self, fitted: FittedPredictor) -> float:
        """Return how much of a forecast came true, in [0, 1]; see ``ml.paths.skill.fit_shrink``."""
        score, target = self.scores(fitted, self._dataset, self._calibrate), self._target[self._calibrate]
        known = np.isfinite(score) & np.isfinite(target)
        square = float(np.sum(score[known] ** 2))
        slope = float(np.sum(score[known] * target[known])) / square if square > 0 else 0.0
        return min(1.0, max(0.0, slope))

    def figures(self, moves: Floats, chosen: Flags | None = None) -> dict[str, Any]:
        """Return the figures of the judged bars, or of some of them."""
        target = self._target[self._judged]
        known = np.isfinite(moves) & np.isfinite(target) & (True if chosen is None else chosen)
        said, came = moves[known], target[known]
        error = (came - said) ** 2
        gain = {}
        for name, baseline in (("no_change", came**2), ("drift", (came - self._drift) ** 2)):
            interval = mean_interval(baseline - error)
            gain[name] = {
                "mean": interval.mean,
                "standard_error": interval.standard_error,
                "lower_95": interval.lower_one_sided,
            }
        decided = (said != 0) & (came != 0)
        hits, count = int(np.sum((said > 0) == (came > 0), where=decided)), int(decided.sum())
        low, high = wilson(hits, count)
        return {
            "n": len(came),
            "direction_accuracy": hits / count if count else float("nan"),
            "direction_accuracy_low": low,
            "direction_accuracy_high": high,
            "gain": gain,
        }

    def by_volatility(self, moves: Floats) -> list[dict[str, Any]]:
        """Return the figures by thirds of the volatility at the bar, calm ones first."""
        table = []
        for part in np.array_split(np.argsort(self._sigma, kind="stable"), 3):
            chosen = np.zeros(len(moves), dtype=np.bool_)
            chosen[part] = True
            sigma = self._sigma[part]
            table.append({"from": float(sigma.min()), "to": float(sigma.max()), **self.figures(moves, chosen)})
        return table
