"""Robustness: what is left of a model's skill under noise, a delay, shuffled labels, and in calm and wild markets.

One model is fitted anew on the first third of the usable bars and asked about what follows: the first half of that calibrates
it, the second half judges it, as it is, with noise on every feature, and with features that come one bar late. A second one
learns labels that were shuffled in blocks: whatever skill it shows was not learnt from the market, and a model whose pipeline
can do that is refused. The record of the walk forward is told apart by thirds of volatility.

Skill above what honest models of markets show is a red flag: it starts the battery even where it was to be left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import TrainingFailed
from ml.record import OutOfSample
from ml.regimes import regime_report
from ml.tasks.catalogue import TASKS
from ml.tasks.words import percent
from ml.training.plan import MINIMUM_SCORED
from ml.training.walk_forward import score_positions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset, Fold
    from ml.predictors.contract import FittedPredictor, Predictor
    from ml.publishing import Publisher
    from ml.tasks.contract import Task
    from ml.training.gate import GateDecision

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Progress = Callable[[float, str], None]

__all__ = [
    "FEWEST_TEST_BARS",
    "MOST_BARS",
    "NOISE_LEVELS",
    "SHUFFLES",
    "TABLE_COLUMNS",
    "by_volatility",
    "one_bar_late",
    "p_value",
    "passes",
    "red_flag",
    "refused_by_shuffle",
    "robustness",
    "robustness_lines",
    "robustness_table",
    "shuffle_order",
    "shuffle_verdict",
    "shuffled",
    "with_noise",
]

NOISE_LEVELS = (0.1, 0.3)
"""Standard deviations of a feature that are added to it as noise."""

TABLE_COLUMNS = ("situation", "bars", "direction right", "gain over the best baseline", "90 % band held")
"""Headings of ``robustness_table``."""

SHUFFLES = 3
_MOST_ACCURATE = 0.58
_MOST_SKILL = 0.02
MOST_BARS = 12_000
_LONGEST_SEQUENCE = 1_000
FEWEST_TEST_BARS = 200
_FEWEST_BLOCKS = 20
_FIGURES = (
    *("n", "direction_accuracy", "direction_accuracy_low", "direction_accuracy_high", "log_loss"),
    *("interval_coverage", "interval_coverage_low", "interval_coverage_high", "r2_os", "qlike"),
)


def red_flag(figures: Mapping[str, Any]) -> str | None:
    """Return why figures are too good to be taken on trust, or None.

    Accuracy above 58 % or a log-loss skill above 0.02 is more than a model of directions has shown on liquid markets. It may
    be honest (prices of thin markets bounce between bid and ask), and it may be a leak. Figures that are not of a direction
    raise no flag: adverse moves and volatility come in clusters, and are predicted better than that.
    """
    if "direction_accuracy" not in figures:
        return None
    accuracy, skill = figures["direction_accuracy"], figures["log_loss_skill"]
    if accuracy > _MOST_ACCURATE:
        return f"right on {100 * accuracy:.1f} % of the bars: above {100 * _MOST_ACCURATE:.0f} % look for a leak first"
    if skill > _MOST_SKILL:
        return f"saves {100 * skill:.2f} % of the base rate's log-loss: above {100 * _MOST_SKILL:.0f} % look for a leak first"
    return None


def robustness(
    dataset: Dataset,
    folds: list[Fold],
    predictor: Predictor,
    record: Any,
    *,
    seed: int,
    threads: int,
    progress: Progress,
) -> dict[str, Any]:
    """Return the battery for ``metrics.json``; two fits on a third of the data, two more where shuffled labels show skill.

    Parameters
    ----------
    dataset, folds, predictor
        Of the training run; the second fold's training rows are learnt from.
    record
        The out-of-sample record of the walk forward.
    seed, threads
        Passed to the predictor; noise and shuffles are seeded by ``seed``, ``seed + 1``, ...
    progress
        Told the share that is done.

    Returns
    -------
    dict
        ``as_it_is``, ``noise`` (by level), ``one_bar_late``: figures of the judged bars, ``gain`` by baseline among them;
        ``shuffled_labels`` with ``runs``, ``p_value`` and ``promoted``; ``by_volatility``; ``regime_calibration`` (see
        ``ml.regimes.regime_report``); ``train_rows``, ``judged_rows``.
    """
    task = TASKS[predictor.task]
    fold = folds[min(1, len(folds) - 1)]
    bars = np.concatenate([other.test for other in folds if other.number >= fold.number])[:MOST_BARS]
    result: dict[str, Any] = {"by_volatility": by_volatility(record, task)}
    if isinstance(record, OutOfSample):
        result["regime_calibration"] = regime_report(dataset, folds, record)
    if len(bars) < FEWEST_TEST_BARS:
        return result | {"skipped": f"{len(bars)} bars after the first third are too few to be judged on"}
    half = len(bars) // 2
    progress(0.0, "robustness: noise and delay")
    trial = _Trial(dataset, fold.train, bars[:half], bars[half:], predictor, task)
    fitted = predictor.fit(dataset, fold.train, seed=seed, threads=threads)
    result |= {"train_rows": len(fold.train), "judged_rows": len(bars) - half, "seed": seed}
    sights = {"as_it_is": dataset, "one_bar_late": one_bar_late(dataset, trial.judged)}
    sights |= {
        f"{level:g}": with_noise(dataset, fold.train, trial.judged, level, seed + place)
        for place, level in enumerate(NOISE_LEVELS)
    }
    figures = trial.judge(fitted, sights)
    result |= {name: figures.pop(name) for name in ("as_it_is", "one_bar_late")}
    result["noise"] = figures
    result["shuffled_labels"] = _shuffles(trial, seed=seed, threads=threads, progress=progress)
    progress(1.0, "robustness: done")
    return result


def _shuffles(trial: _Trial, *, seed: int, threads: int, progress: Progress) -> dict[str, Any]:
    """Refit on shuffled labels; where chance gave skill once, two other shuffles decide by majority."""
    runs: list[dict[str, Any]] = []
    for number in range(SHUFFLES):
        progress(0.4 + 0.2 * number, f"robustness: shuffled labels, {number + 1}")
        labels = shuffled(trial.dataset, np.flatnonzero(trial.dataset.labelled), seed=seed + number)
        other = replace(trial, dataset=labels)
        try:
            fitted = trial.predictor.fit(labels, trial.train, seed=seed + number, threads=threads)
        except TrainingFailed as error:  # such as one class only among the labels that came to lie in the first third
            return {"runs": runs, "p_value": math.nan, "promoted": False, "skipped": str(error)}
        figures = other.judge(fitted, {"shuffled": labels})["shuffled"]
        runs.append({**figures, "seed": seed + number, "p_value": p_value(figures), "promoted": passes(figures)})
        if number == 0 and not runs[0]["promoted"]:
            break
    return shuffle_verdict(runs)


def shuffle_verdict(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Return runs on shuffled labels with their common p-value (Bonferroni's) and what most of them say."""
    promoted = sum(run["promoted"] for run in runs) > len(runs) / 2
    return {"runs": runs, "p_value": min(1.0, min(run["p_value"] for run in runs) * len(runs)), "promoted": promoted}


def shuffled(dataset: Dataset, positions: Integers, *, seed: int) -> Dataset:
    """Return the dataset with the labels at ``positions`` in another order.

    They change places in blocks of the square root of their number, at least ten horizons long: labels keep their company,
    and with it their share of rises, their runs and their storms, but not their bar.

    Parameters
    ----------
    dataset
        Features and labels.
    positions : int64 array
        Labelled bars in time order.
    seed
        Of the order.
    """
    order = shuffle_order(len(positions), dataset.horizon, seed)
    returns = dataset.returns.copy()
    returns[positions] = dataset.returns[positions[order]]
    outcome = None
    if dataset.outcome is not None:
        outcome = dataset.outcome.copy()
        outcome[positions] = dataset.outcome[positions[order]]
    return replace(dataset, returns=returns, outcome=outcome)


def shuffle_order(count: int, horizon: int, seed: int) -> Integers:
    """Return the order in which ``shuffled`` takes ``count`` labels: blocks change places, what is within them does not."""
    length = min(max(10 * horizon, math.isqrt(count)), max(1, count // _FEWEST_BLOCKS))
    blocks = np.array_split(np.arange(count), max(1, count // length))
    order: Integers = np.concatenate([blocks[place] for place in np.random.default_rng(seed).permutation(len(blocks))])
    return order


@dataclass(frozen=True, eq=False)
class _Trial:
    """Bars to learn from, to calibrate on and to judge; ``dataset`` holds the labels that count."""

    dataset: Dataset
    train: Integers
    calibrate: Integers
    judged: Integers
    predictor: Predictor
    task: Task

    def publisher(self, fitted: FittedPredictor, baselines: Any) -> Publisher:
        """Return what the calibrating bars say of the scores."""
        past = self._columns(fitted, self.dataset, self.calibrate, baselines)
        known = past["scored"] & (past["k"] + self.dataset.horizon <= self.dataset.k[self.judged[0]])
        columns = {name: column[known] for name, column in past.items()}
        return self.task.fit_publisher(columns, baselines, horizon=self.dataset.horizon)

    def judge(self, fitted: FittedPredictor, sights: Mapping[str, Dataset]) -> dict[str, dict[str, Any]]:
        """Return the figures of the judged bars, for each sight that the model has of their features."""
        baselines = self.task.fit_baselines(self.dataset, self.train)
        publisher = self.publisher(fitted, baselines)
        figures = {}
        for name, seen in sights.items():
            part = self._columns(fitted, seen, self.judged, baselines)
            record = self.task.record(part | self.task.stated(part, publisher))
            figures[name] = _chosen(self.task.evaluate(record))
        return figures

    def _columns(self, fitted: FittedPredictor, seen: Dataset, bars: Integers, baselines: Any) -> dict[str, Any]:
        raw = score_positions(fitted, seen, bars)
        return {
            "open_ms": self.dataset.open_ms[bars],
            "k": self.dataset.k[bars],
            "fold": np.zeros(len(bars), dtype=np.int16),
            "raw_score": raw,
            **self.task.outcomes(self.dataset, bars, baselines),
            "close": self.dataset.close[bars],
            "sigma": self.dataset.sigma[bars],
            "scored": self.dataset.scored[bars] & seen.usable[bars] & np.isfinite(raw),
        }


def with_noise(dataset: Dataset, train: Integers, bars: Integers, level: float, seed: int) -> Dataset:
    """Return the dataset with normal noise of ``level`` standard deviations (of the training rows) on every feature."""
    known = dataset.rows[train]
    spread = np.zeros(known.shape[1])
    for place, column in enumerate(known.T):
        seen = column[np.isfinite(column)].astype(np.float64)
        spread[place] = seen.std() if len(seen) else 0.0
    first, last = _around(bars)
    rows = dataset.rows.copy()
    noise = np.random.default_rng(seed).standard_normal(rows[first:last].shape, dtype=np.float32)
    rows[first:last] += noise * (level * spread).astype(np.float32)
    return replace(dataset, rows=rows)


def one_bar_late(dataset: Dataset, bars: Integers) -> Dataset:
    """Return the dataset with the features of the bar before in each row."""
    first, last = _around(bars)
    first = max(first, 1)
    rows, usable = dataset.rows.copy(), dataset.usable.copy()
    rows[first:last] = dataset.rows[first - 1 : last - 1]
    usable[first:last] &= dataset.usable[first - 1 : last - 1]
    return replace(dataset, rows=rows, usable=usable)


def _around(bars: Integers) -> tuple[int, int]:
    """Return the rows that models of the bars may look at."""
    return max(0, int(bars[0]) - _LONGEST_SEQUENCE), int(bars[-1]) + 1


def by_volatility(record: Any, task: Task) -> list[dict[str, Any]]:
    """Return figures of the counted bars of a record by thirds of the volatility at the bar, calm ones first.

    Each row holds ``from`` and ``to`` of the volatility, and figures with their intervals; empty below 30 bars.
    """
    counted = np.flatnonzero(record.counted & np.isfinite(record.sigma))
    if len(counted) < 30:
        return []
    table = []
    for part in np.array_split(counted[np.argsort(record.sigma[counted], kind="stable")], 3):
        rows = np.sort(part)
        third = task.record({field.name: getattr(record, field.name)[rows] for field in fields(record)})
        sigma = record.sigma[rows]
        table.append({"from": float(sigma.min()), "to": float(sigma.max()), **_chosen(task.evaluate(third))})
    return table


def _chosen(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return the figures that the battery compares."""
    return {name: figures[name] for name in _FIGURES if name in figures} | {"gain": figures["gain"]}


def passes(figures: Mapping[str, Any]) -> bool:
    """Return what the gate would say."""
    return figures["n"] >= MINIMUM_SCORED and all(gain["lower_95"] > 0 for gain in figures["gain"].values())


def p_value(figures: Mapping[str, Any]) -> float:
    """Return the largest one-sided p-value of the gains over the baselines: small only where each one is beaten."""
    values = []
    for gain in figures["gain"].values():
        error = gain["standard_error"]
        values.append(0.5 * math.erfc(gain["mean"] / error / math.sqrt(2)) if error > 0 else 1.0)
    return max(values)


def refused_by_shuffle(gate: GateDecision, result: Mapping[str, Any]) -> GateDecision:
    """Return the verdict, refused where models that learnt shuffled labels would have been promoted."""
    shuffles = result.get("shuffled_labels")
    if not shuffles or not shuffles["promoted"]:
        return gate
    reason = (
        "refused: a model that was taught shuffled labels shows skill as well, so the skill does not come from the market: "
        "look for a feature that knows the future, or for rows that are in training and test alike"
    )
    return replace(gate, promoted=False, reason=reason)


def robustness_table(result: Mapping[str, Any]) -> list[tuple[str, str, str, str, str]]:
    """Return rows of ``TABLE_COLUMNS`` in words, for screen and model card."""
    situations: list[tuple[str, Any]] = [("as it is", result.get("as_it_is"))]
    situations += [
        (f"noise of {level} deviations on every feature", row) for level, row in result.get("noise", {}).items()
    ]
    situations += [("features one bar late", result.get("one_bar_late"))]
    situations += [
        (f"taught shuffled labels (p = {row['p_value']:.2f})", row)
        for row in result.get("shuffled_labels", {}).get("runs", [])
    ]
    names = ("calm third of the record", "middle third", "wild third")
    situations += list(zip(names, result.get("by_volatility", []), strict=False))
    return [(name, *_words(row)) for name, row in situations if row is not None]


def robustness_lines(result: Mapping[str, Any]) -> list[str]:
    """Return the section of a model card as lines of Markdown; empty where nothing was measured."""
    rows = robustness_table(result)
    if not rows:
        return []
    lines = ["", "## Robustness", ""]
    if result.get("red_flag"):
        lines += [f"Red flag: {result['red_flag']}.", ""]
    if "as_it_is" in result:
        lines += [
            (
                f"Fitted anew on {result['train_rows']:,} early bars, judged on {result['judged_rows']:,} later ones; "
                "shuffled labels must show no gain."
            ),
            "",
        ]
    lines += [f"| {' | '.join(TABLE_COLUMNS)} |", "|---|---|---|---|---|"]
    return lines + [f"| {' | '.join(row)} |" for row in rows]


def _words(row: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """Return bars, accuracy, gain and coverage, a dash where the task has no such figure."""
    least = min(row["gain"].values(), key=itemgetter("mean"))
    gain = f"{least['mean']:+.5f} (at least {least['lower_95']:+.5f})" if math.isfinite(least["mean"]) else "-"
    shares = (
        f"{percent(row[name])} ({percent(row[f'{name}_low'])} to {percent(row[f'{name}_high'])})"
        if name in row
        else "-"
        for name in ("direction_accuracy", "interval_coverage")
    )
    right, held = shares
    return f"{row['n']:,}", right, gain, held
