"""The search of a family's parameters, which counts its trials and tells what they cost.

Every trial is judged on the walk-forward folds but the last one. That fold is the exam: only the winner and the defaults see
it, once the search is over.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.calibration import MINIMUM_ROWS
from ml.dataset import purged_walk_forward
from ml.deflation import (
    deflated_sharpe,
    effective_trials,
    expected_maximum,
    mean_correlation,
    overfitting_probability,
    probabilistic_sharpe,
)
from ml.errors import InvalidParameter, MissingLibrary, NotEnoughBars, TrainingFailed
from ml.intervals import mean_interval
from ml.training.search_scores import SCORED_TASKS, Trial, gains_of, score_trial
from ml.training.search_space import Dimension, search_space
from ml.training.walk_forward import walk_forward

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy.typing as npt

    from ml.dataset import Fold
    from ml.training.trainer import Prepared

    Floats = npt.NDArray[np.float64]
    Progress = Callable[[float, str], None]

__all__ = ["LEAST_BARS", "SearchResult", "check_search", "deflate", "search"]

LEAST_BARS = MINIMUM_ROWS
"""Fewest scored bars before the last fold that judges: with fewer no trial has an opinion, and all are alike."""

_STARTUP = 8


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search came to.

    Attributes
    ----------
    trials
        Finished trials of this run, in order.
    best
        The one with the largest gain, earlier trials on the same data included.
    defaults
        The trial of the family's defaults; None where it was not finished.
    exam
        What winner and defaults showed on the fold that no trial saw; None where the search was interrupted.
    cost
        Of `deflate`.
    interrupted
        Ctrl-C ended it.
    failed
        Trials that could not be fitted, and why the last one could not.
    """

    trials: tuple[Trial, ...]
    best: Trial
    defaults: Trial | None
    exam: dict[str, Any] | None
    cost: dict[str, Any]
    interrupted: bool = False
    failed: tuple[str, ...] = field(default=())


def _silent(_fraction: float, _text: str) -> None:
    """Report progress to nobody."""


def _forget(_trial: Trial) -> None:
    """Keep no record of a trial."""


def check_search(task: str, trials: int, folds: int) -> None:
    """Refuse a search that makes no sense, or lacks its library, before any candle is read.

    Raises
    ------
    InvalidParameter
        When there is no trial to make, the task has no score, or no fold is left to judge trials on.
    MissingLibrary
        When optuna is not installed.
    """
    if trials < 1:
        raise InvalidParameter(
            f"--trials is {trials}: a search makes at least 1 trial (the defaults are always the first)"
        )
    if task not in SCORED_TASKS:
        raise InvalidParameter(
            f"models of the kind {task} cannot be searched: expected one of {', '.join(SCORED_TASKS)}"
        )
    if folds < 3:
        raise InvalidParameter(
            f"a search needs at least 3 folds (one calibrates, one judges, one is the exam), got {folds}"
        )
    _optuna()


def search(
    prepared: Prepared,
    *,
    trials: int,
    seed: int = 0,
    timeout: float | None = None,
    known: Sequence[Trial] = (),
    counted_before: int = 0,
    on_trial: Callable[[Trial], None] = _forget,
    progress: Progress = _silent,
    clock: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """Try parameters, choose the best, examine it, and say what choosing among so many cost.

    Parameters
    ----------
    prepared
        Of ``ml.training.trainer.prepare``; the parameters of its settings are kept fixed.
    trials
        How many to make now.
    seed
        Of the sampler (a tree-structured Parzen estimator); the models have the seed of the settings.
    timeout
        Seconds after which no further trial is begun; at least one is made.
    known
        Earlier trials on the same data: the sampler learns from them.
    counted_before
        Trials ever made of this series and family, on whatever data; at least ``len(known)``.
    on_trial
        Told each finished trial at once.
    progress
        Told the share that is done, and with what.
    clock
        Seconds.

    Raises
    ------
    InvalidParameter, MissingLibrary
        See `check_search`.
    NotEnoughBars
        When fewer than `LEAST_BARS` bars can be scored before the last fold that judges.
    TrainingFailed
        When no trial at all could be fitted.
    KeyboardInterrupt
        When Ctrl-C came before any trial was finished.
    """
    settings, family = prepared.settings, type(prepared.predictor)
    check_search(prepared.predictor.task, trials, settings.folds)
    space = search_space(family, settings.parameters)
    folds = purged_walk_forward(prepared.dataset, folds=settings.folds, embargo=settings.embargo)
    scored = int(sum(prepared.dataset.scored[fold.test].sum() for fold in folds[:-2]))
    if scored < LEAST_BARS:
        raise NotEnoughBars(
            f"only {scored} bars can be scored before the last fold that judges, a search needs {LEAST_BARS} to calibrate "
            "its trials: get more candles with `bot data download` or `bot data import`, or start earlier with --start-date"
        )
    study = _Study(space, seed=seed + len(known), known=known)
    usual = _usual(prepared, space)
    if usual not in [trial.params for trial in known]:
        study.suggest_first(usual)
    started, made, failed, interrupted = clock(), [], [], False
    try:
        for number in range(trials):
            if number and timeout is not None and clock() - started >= timeout:
                break
            progress(number / (trials + 1), f"trial {number + 1} of {trials}")
            params, began = study.ask(), clock()
            try:
                record = _walk(prepared, folds[:-1], params)
            except (TrainingFailed, InvalidParameter) as error:
                failed.append(str(error))
                study.fail()
                continue
            trial = score_trial(record, prepared.predictor.task, params, clock() - began)
            if not np.isfinite(trial.gain):
                failed.append("no bar could be scored")
                study.fail()
                continue
            study.tell(trial.gain)
            made.append(trial)
            on_trial(trial)
    except KeyboardInterrupt:
        if not made:
            raise
        interrupted = True
    everything = [*known, *made]
    if not everything:
        raise TrainingFailed(
            f"none of {len(failed)} trials could be fitted: {failed[-1] if failed else 'no time was left'}"
        )
    best = max(everything, key=lambda trial: trial.gain)
    defaults = next((trial for trial in everything if trial.params == usual), None)
    exam = None
    try:
        if not interrupted:
            progress(trials / (trials + 1), "the exam")
            exam = _examine(prepared, folds, best.params, usual)
    except KeyboardInterrupt:
        interrupted = True
    cost = deflate(everything, max(counted_before, len(known)) + len(made))
    progress(1.0, "done")
    return SearchResult(tuple(made), best, defaults, exam, cost, interrupted, tuple(failed))


def deflate(trials: Sequence[Trial], counted: int) -> dict[str, Any]:
    """Return what the best of some trials is worth after paying for all that were made.

    Parameters
    ----------
    trials
        Finished trials on the same bars.
    counted
        Trials ever made of this series and family.

    Returns
    -------
    dict
        ``trials`` (counted), ``effective_trials`` (by the mean correlation of their scores; for information: the variance
        between correlated trials is small already, so luck is priced with all of them), ``looked`` (gain of the best),
        ``luck`` (what the best of so many worthless ones would show), ``after`` (their difference), ``sharpe``,
        ``probabilistic_sharpe``, ``deflated_sharpe`` (None without bets) and ``overfitting_probability`` (None below two
        trials).
    """
    best = max(trials, key=lambda trial: trial.gain)
    number = max(counted, len(trials))
    gains = np.array([trial.gain for trial in trials])
    blocks = np.array([trial.blocks for trial in trials]).T
    luck = expected_maximum(float(gains.var(ddof=1)), number) if len(gains) > 1 else 0.0
    ratios = np.array([trial.sharpe.ratio for trial in trials if trial.sharpe is not None])
    ratios = ratios[np.isfinite(ratios)]
    variance = float(ratios.var(ddof=1)) if len(ratios) > 1 else 0.0
    sharpe = best.sharpe
    return {
        "trials": number,
        "on_these_bars": len(trials),
        "effective_trials": effective_trials(number, mean_correlation(blocks)),
        "looked": best.gain,
        "luck": luck,
        "after": best.gain - luck,
        "sharpe": None if sharpe is None else sharpe.to_dict(),
        "probabilistic_sharpe": None if sharpe is None else probabilistic_sharpe(sharpe),
        "sharpe_of_luck": None if sharpe is None else expected_maximum(variance, number),
        "deflated_sharpe": None if sharpe is None else deflated_sharpe(sharpe, variance, number),
        "overfitting_probability": overfitting_probability(blocks) if len(trials) > 1 else None,
    }


def _walk(prepared: Prepared, folds: list[Fold], params: Mapping[str, Any]) -> Any:
    settings = prepared.settings
    predictor = type(prepared.predictor)({**settings.parameters, **params})
    return walk_forward(
        prepared.dataset, folds, predictor, seed=settings.seed, threads=settings.threads, progress=_silent
    )


def _examine(
    prepared: Prepared, folds: list[Fold], best: Mapping[str, Any], usual: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the gain of winner and defaults on the last fold, and the difference with its interval."""
    task, last = prepared.predictor.task, len(folds) - 1
    gains: dict[str, Floats] = {}
    for name, params in (("best", best), ("defaults", usual)):
        if name == "defaults" and params == best:
            gains[name] = gains["best"]
            continue
        record = _walk(prepared, folds, params)
        inside = record.fold[record.counted] == last
        gains[name] = gains_of(record, task)[inside]
    count = min(len(part) for part in gains.values())
    named = {**gains, "difference": gains["best"][-count:] - gains["defaults"][-count:] if count else np.empty(0)}
    found: dict[str, Any] = {}
    for name, values in named.items():
        interval = mean_interval(values)
        found[name] = {
            "gain": interval.mean,
            "low": interval.low,
            "high": interval.high,
            "lower_95": interval.lower_one_sided,
            "n": interval.count,
        }
    return found


def _usual(prepared: Prepared, space: Mapping[str, Dimension]) -> dict[str, Any]:
    """Return the defaults of what is searched; every range holds its own."""
    known = prepared.predictor.parameters
    return {name: int(known[name]) if dimension.whole else known[name] for name, dimension in space.items()}


class _Study:
    """An optuna study in memory that is asked and told; earlier trials are in it from the start."""

    def __init__(self, space: Mapping[str, Dimension], *, seed: int, known: Sequence[Trial]) -> None:
        optuna = _optuna()
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        kinds = optuna.distributions
        self._ranges = dict(space)
        self._space = {name: _distribution(kinds, dimension) for name, dimension in space.items()}
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTUP)
        self._failed = optuna.trial.TrialState.FAIL
        self._study = optuna.create_study(direction="maximize", sampler=sampler)
        for trial in known:
            if set(trial.params) == set(self._space) and all(
                dimension.holds(trial.params[name]) for name, dimension in space.items()
            ):
                self._study.add_trial(
                    optuna.trial.create_trial(params=trial.params, distributions=self._space, value=trial.gain)
                )

    def suggest_first(self, params: Mapping[str, Any]) -> None:
        """Try these parameters before any other."""
        self._study.enqueue_trial(dict(params))

    def ask(self) -> dict[str, Any]:
        """Return parameters to try."""
        self._open = self._study.ask(self._space)
        return {name: _short(value, self._ranges[name]) for name, value in self._open.params.items()}

    def tell(self, gain: float) -> None:
        """Say what they showed."""
        self._study.tell(self._open, gain)

    def fail(self) -> None:
        """Say that they could not be tried."""
        self._study.tell(self._open, state=self._failed)


def _short(value: Any, dimension: Dimension) -> Any:
    """Return a number of four digits, which a person can read and type; it stays inside the range."""
    if not isinstance(value, float):
        return value
    return min(max(float(f"{value:.4g}"), dimension.low), dimension.high)


def _distribution(kinds: Any, dimension: Dimension) -> Any:
    if dimension.choices:
        return kinds.CategoricalDistribution(dimension.choices)
    if dimension.whole:
        return kinds.IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _optuna() -> Any:
    try:
        return import_module("optuna")
    except ImportError as error:
        raise MissingLibrary(
            f"the search of parameters uses optuna, which cannot be imported ({error}): "
            "install it with pip install 'mlbot[train]'"
        ) from error
