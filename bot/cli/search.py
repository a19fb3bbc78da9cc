"""``bot train search``: better parameters for a family of models, and what it cost to look for them."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption, TimeframeOption
from bot.cli.output import Report, progress
from bot.cli.train_settings import FAMILIES, model_parameters
from bot.home import Home
from bot.training_settings import words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.searches import KeptTrials
    from ml.training.search import SearchResult
    from ml.training.search_scores import Scoring, Trial
    from ml.training.trainer import Prepared

__all__ = ["search"]


def search(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT or BTC/USDT.")],
    trials: Annotated[int, typer.Option("--trials", help="How many sets of parameters to try.")] = 40,
    model_type: Annotated[str, typer.Option("--type", help=f"Family of models: {', '.join(FAMILIES)}.")] = "basic",
    architecture: Annotated[
        str | None, typer.Option("--model", help="Model of the family, such as gbm or lstm [default: the first].")
    ] = None,
    timeframe: TimeframeOption = "1h",
    start_date: Annotated[str | None, typer.Option("--start-date", help="First day, or moment, UTC.")] = None,
    end_date: Annotated[str | None, typer.Option("--end-date", help="Last day, all of it, or moment, UTC.")] = None,
    horizon: Annotated[int | None, typer.Option("--horizon", help="Bars ahead [default: the family's].")] = None,
    features: Annotated[
        list[str] | None, typer.Option("--features", help="Names or groups, with commas or repeated [default: all].")
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", help="Parameters that are kept fixed: key=value.")
    ] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.0, help="Seconds after which no further trial is begun.")
    ] = None,
    sentiment: Annotated[
        str | None, typer.Option("--sentiment", help="Name of the series of sentiment [default: the only one].")
    ] = None,
    exchange: ExchangeOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, data and earlier trials, same search.")] = 0,
    threads: Annotated[int, typer.Option("--threads", help="Cores for fitting.")] = 1,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Try parameters on the walk-forward folds, show the winner the last fold, and say what so many looks cost.

    Nothing is trained for use or registered: the command that does so is printed. Trials are kept and counted for good.
    """
    from bot.training import TrainingRequest, prepare_training
    from ml.training.search import check_search
    from ml.training.search import search as run
    from ml.training.search_scores import SCORED_TASKS, Trial
    from ml.training.settings import TrainingSettings

    request = TrainingRequest(
        symbol=symbol,
        model_type=model_type,
        timeframe=timeframe,
        architecture=architecture,
        start=start_date,
        end=end_date,
        horizon=horizon,
        features=features or (),
        exchange=exchange,
        sentiment=sentiment,
        seed=seed,
        threads=threads,
        plots=False,
        robustness=False,
    )
    key, family = request.key, request.family
    check_search(family.task, trials, TrainingSettings().folds)
    fixed, _ = model_parameters(family, params or [], {})
    place = Home.resolve(home)
    asked = {
        "start_date": start_date,
        "end_date": end_date,
        "horizon": horizon,
        "exchange": exchange,
        "sentiment": sentiment,
        "features": None if features is None else ",".join(words(features)),
    }
    with progress("Reading candles"):
        prepared = prepare_training(place, replace(request, parameters=fixed)).prepared
    store = _store(place, prepared)
    kept = store.read()
    report = Report(as_json=as_json)
    if kept.counted:
        report.line(
            f"{kept.counted} earlier trials of {key} ({family.architecture}) count, {len(kept.same)} of them on these bars"
        )
    with progress("Searching") as update:
        result = run(
            prepared,
            trials=trials,
            seed=seed,
            timeout=timeout,
            known=[Trial.from_dict(each) for each in kept.same],
            counted_before=kept.counted,
            on_trial=lambda trial: store.keep(trial.to_dict()),
            progress=update,
        )
    if result.exam is not None:
        store.keep_exam()
    command = _command(prepared, asked, fixed, result.best)
    scoring = SCORED_TASKS[family.task]
    sentences = _sentences(result, kept, scoring)
    report.table("Best trials", (f"gain a bar, {scoring.unit}", "bars", "parameters"), _best_cells(result))
    for sentence in sentences:
        report.line(sentence)
    report.line(f"Train the best: {command}")
    report.document(_document(prepared, result, kept, command, sentences))
    if result.interrupted:
        raise typer.Exit(1)


def _store(place: Home, prepared: Prepared) -> Any:
    """Return the store of trials on exactly these bars, features and fixed parameters."""
    from bot.searches import TrialStore

    settings, predictor = prepared.settings, prepared.predictor
    comparable = {
        "candles": prepared.candles.digest,
        "first_ms": settings.first_ms,
        "features": prepared.schema.fingerprint,
        "horizon": settings.horizon,
        "folds": settings.folds,
        "embargo": settings.embargo,
        "parameters": {name: str(value) for name, value in sorted(settings.parameters.items())},
    }
    data = hashlib.sha256(json.dumps(comparable, sort_keys=True).encode()).hexdigest()
    return TrialStore(place.root / "searches", prepared.key, predictor.architecture, data)


def _best_cells(result: SearchResult) -> list[tuple[str, str, str]]:
    """Return the best five trials of this run, and the best of all."""
    ranked = sorted({id(trial): trial for trial in (result.best, *result.trials)}.values(), key=lambda t: -t.gain)
    return [(f"{1000 * trial.gain:+.3f}", f"{trial.count:,}", _words(trial.params)) for trial in ranked[:5]]


def _sentences(result: SearchResult, kept: KeptTrials, scoring: Scoring) -> list[str]:
    """Return in plain words what was found and what the looking cost."""
    cost, count = result.cost, result.cost["trials"]
    looks, best = (f"{count} looks", f"The best of {count} trials") if count > 1 else ("1 look", "The only trial")
    lines = []
    if result.interrupted:
        lines.append(f"Interrupted: {len(result.trials)} trials were finished and are kept; the exam was not sat.")
    if result.failed:
        lines.append(f"{len(result.failed)} of the trials could not be fitted: {result.failed[-1]}")
    lines.append(
        f"{best} looked like {1000 * cost['looked']:+.3f} {scoring.unit} saved a bar against {scoring.against}; "
        f"the best of as many worthless ones would show {1000 * cost['luck']:+.3f}: after paying for {looks} "
        f"{1000 * cost['after']:+.3f} remain."
    )
    if result.defaults is not None:
        lines.append(f"The defaults, as one of the trials, showed {1000 * result.defaults.gain:+.3f}.")
    if result.exam is not None:
        winner, usual, gap = (result.exam[name] for name in ("best", "defaults", "difference"))
        times = "once" if kept.exams == 1 else f"{kept.exams} times"
        again = f" (earlier searches looked at it {times}: it is no longer unseen)" if kept.exams else ""
        lines.append(
            f"On the last fold, which no trial saw{again}, the best saved {_span_words(winner)}, the defaults "
            f"{_span_words(usual)}; the difference is {_span_words(gap)}, n = {winner['n']:,}."
        )
    if cost["deflated_sharpe"] is not None and math.isfinite(cost["deflated_sharpe"]):
        lines.append(
            f"Its bets, before costs: Sharpe ratio of a bet {cost['sharpe']['ratio']:+.4f}, above 0 with probability "
            f"{cost['probabilistic_sharpe']:.3f} for a single look, above the luck of {looks} with "
            f"{cost['deflated_sharpe']:.3f} (0.95 is the usual threshold)."
        )
    if cost["overfitting_probability"] is not None and math.isfinite(cost["overfitting_probability"]):
        lines.append(
            f"Probability that the choice is overfitted: {cost['overfitting_probability']:.2f} (below 0.1 is good, 0.5 is a "
            "coin toss among the trials)."
        )
    return lines


def _span_words(figures: Mapping[str, float]) -> str:
    return f"{1000 * figures['gain']:+.3f} ({1000 * figures['low']:+.3f} to {1000 * figures['high']:+.3f})"


def _command(prepared: Prepared, asked: Mapping[str, Any], fixed: Mapping[str, Any], best: Trial) -> str:
    """Return the command that trains the best parameters on the same bars."""
    settings, predictor = prepared.settings, prepared.predictor
    parts = ["bot", "train", "model", prepared.key.symbol, "--type", prepared.key.model_type]
    parts += ["--model", predictor.architecture] if settings.architecture else []
    parts += ["--timeframe", prepared.key.timeframe]
    for name, value in asked.items():
        parts += [f"--{name.replace('_', '-')}", str(value)] if value is not None else []
    parts += ["--params", _words({**fixed, **best.params}).replace(" ", "")]
    return shlex.join(parts)


def _words(params: Mapping[str, Any]) -> str:
    """Return ``a=1, b=0.03``; numbers read back to the same bits."""
    return ", ".join(
        f"{name}={value!r}" if isinstance(value, float) else f"{name}={value}" for name, value in params.items()
    )


def _document(
    prepared: Prepared, result: SearchResult, kept: KeptTrials, command: str, sentences: list[str]
) -> dict[str, Any]:
    key = prepared.key
    return {
        "key": str(key),
        "symbol": key.symbol,
        "model_type": key.model_type,
        "architecture": prepared.predictor.architecture,
        "timeframe": key.timeframe,
        "horizon": prepared.settings.horizon,
        "interrupted": result.interrupted,
        "earlier_trials": kept.counted,
        "earlier_exams": kept.exams,
        "best": result.best.to_dict(),
        "defaults": None if result.defaults is None else result.defaults.to_dict(),
        "exam": result.exam,
        "cost": result.cost,
        "failed": list(result.failed),
        "trials": [trial.to_dict() for trial in result.trials],
        "words": sentences,
        "command": command,
    }
