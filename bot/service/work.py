"""What jobs do: train a model, or make a prediction and train first where there is no model.

Both may be run again after they were killed at any moment. A job's models carry its id in their metadata, so a second run
finds what the first has registered, and only finishes it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from bot.model_selection import runnable_registry
from bot.service.answers import model_answer
from bot.training import (
    TrainingRequest,
    bars_needed,
    prepare_training,
    promote_where_allowed,
    register,
    searched_trials,
    tell_bots,
)
from bot.wall_clock import wall_ms
from ml.errors import NotEnoughBars, TrainingFailed
from registry.errors import InvalidBundle, ModelNotFound, NoChampion
from registry.names import ModelKey, parse_version, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.home import Home
    from bot.service.jobs.records import Job
    from registry.model import StrategyModel
    from registry.store import PredictionModelRegistry

    Tell = Callable[[float, str], None]

__all__ = ["DEFAULT_BARS", "DEFAULT_DAYS", "check_training", "generate", "normalised", "train", "training_request"]

_TYPE = "multi_ohlc"
DEFAULT_DAYS = 30.0
DEFAULT_BARS = 10_000  # where no days are named: a month of hours is too little for anything
_CHECKED_BARS = 50_000
_MOST_DAYS = 36_500.0
_DAY_MS = 86_400_000


def normalised(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the same request of a training in canonical names, every default spelt out: equal ones are the same job.

    Raises
    ------
    InvalidName, UsageError
        When a name is not one, or symbol or timeframe is missing.
    """
    missing = next((name for name in ("symbol", "timeframe") if not request.get(name)), None)
    if missing is not None:
        raise UsageError(f"a training needs a {missing}, such as {'BTC_USDT' if missing == 'symbol' else '1h'}")
    key = ModelKey.of(str(request["symbol"]), str(request.get("type") or _TYPE), str(request["timeframe"]))
    features, params = request.get("features") or (), request.get("params") or {}
    if not isinstance(params, Mapping):
        raise UsageError(f"params is {params!r}: expected names with their values")
    days = {"days_history": request["days_history"]} if "days_history" in request else {}
    return {
        "symbol": key.symbol,
        "timeframe": key.timeframe,
        "type": key.model_type,
        "architecture": request.get("architecture"),
        "n_steps_ahead": request.get("n_steps_ahead"),
        **days,
        "features": [features] if isinstance(features, str) else [str(name) for name in features],
        "params": dict(params),
        "exchange": request.get("exchange"),
        "seed": _whole("seed", request.get("seed") or 0),
        "promote": request.get("promote", True),
    }


def training_request(request: Mapping[str, Any]) -> TrainingRequest:
    """Return what a job is asked to train.

    ``days_history`` null is all there is; left out it is 30 days, or 10,000 candles where that is more. ``n_steps_ahead`` is
    the length of a path, of other families the horizon.

    Raises
    ------
    InvalidName, UnknownPredictor, UsageError
        When a name or a number makes no sense.
    """
    plain = normalised(request)
    given = "days_history" in plain
    wanted = TrainingRequest(
        symbol=plain["symbol"],
        model_type=plain["type"],
        architecture=plain["architecture"],
        timeframe=plain["timeframe"],
        days=_days(plain["days_history"]) if given else DEFAULT_DAYS,
        least_bars=0 if given else DEFAULT_BARS,
        features=plain["features"],
        parameters=plain["params"],
        exchange=plain["exchange"],
        seed=plain["seed"],
        plots=False,
        robustness=False,
    )
    if plain["n_steps_ahead"] is None:
        return wanted
    steps = _whole("n_steps_ahead", plain["n_steps_ahead"])
    if wanted.family.task != "path":
        return replace(wanted, horizon=steps)
    if "n_steps_ahead" in wanted.parameters:
        raise UsageError("n_steps_ahead stands in the request and in its params: give it once")
    return replace(wanted, parameters={**wanted.parameters, "n_steps_ahead": steps})


def check_training(home: Home, request: Mapping[str, Any]) -> None:
    """Refuse what can be refused before a job is made: names, parameters, features, and too few candles.

    Features and labels are really computed, of the newest 50,000 candles at most. Not checked: whether a library that the
    family needs is installed, and what only fitting shows, such as labels of one kind in a fold.

    Raises
    ------
    SeriesNotFound, InvalidName, UnknownPredictor, InvalidParameter, UnknownFeature, UsageError
        When a name or a value is wrong.
    NotEnoughBars
        With how many candles there are and how many it takes.
    TrainingFailed
        When no candle has a label.
    """
    wanted = training_request(request)
    most = min(_MOST_DAYS, _CHECKED_BARS * timeframe_ms(wanted.timeframe) / _DAY_MS)
    try:
        prepare_training(home, replace(wanted, days=most if wanted.days is None else min(most, wanted.days)))
    except (NotEnoughBars, TrainingFailed) as refused:
        error: Exception = refused
        if wanted.days is None or wanted.days > most:  # what the newest candles lack, older ones may have
            try:
                prepare_training(home, wanted)
            except (NotEnoughBars, TrainingFailed) as again:
                error = again
            else:
                return
        raise _with_counts(home, wanted, error) from None


def train(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Train and register a model, promote it where its gate allows it, tell the bots that follow, and return its row.

    Parameters
    ----------
    home
        Where candles and models are.
    job
        ``request`` has symbol and timeframe, and may have type, n_steps_ahead, days_history, params, features, exchange, seed
        and promote; ``created_ms`` names the version.
    tell
        Told the share that is done, and with what.

    Returns
    -------
    dict
        ``bot.service.answers.model_answer`` with ``promoted`` and ``reason``.
    """
    wanted, registry = training_request(job.request), runnable_registry(home.models)
    earlier = _made_before(registry, wanted.key, job)
    bundle = _made_now(home, wanted, job, tell) if earlier is None else earlier
    promote = bool(job.request.get("promote", True))
    gate: dict[str, Any] = bundle.metrics["gate"]
    if promote and bundle.status == "candidate" and not bundle.promoted:  # else somebody has decided about it already
        tell(0.99, "promotion")
        bundle, _ = promote_where_allowed(home, registry, bundle, gate, at=_moment(wall_ms()))
    elif earlier is not None and bundle.status == "champion":  # it may have been cut off before the bots were told
        tell_bots(home, bundle, gate["reason"])
    held_back = gate["promoted"] and not promote
    reason = f"not promoted, as the request says; the gate says: {gate['reason']}" if held_back else gate["reason"]
    return {**model_answer(bundle), "promoted": bundle.promoted, "reason": reason}


def generate(home: Home, job: Job, tell: Tell) -> dict[str, Any]:
    """Return the prediction for the newest candle; train a model first where none is usable and ``auto_train`` is true.

    Raises
    ------
    NoChampion
        When the model that was trained is not to be trusted; the message has the reason of its gate.
    ModelNotFound
        When there is no model and none is to be trained.
    """
    from bot.service.forecasts import Forecaster
    from bot.service.retraining import training_for

    request = job.request
    names = (request["symbol"], request["timeframe"], request.get("type"))
    version, exchange = str(request.get("version") or "latest"), request.get("exchange")
    forecaster = Forecaster(home, None)
    if request.get("auto_train", True) and version == "latest":
        state = forecaster.usable(*names, exchange)
        training = replace(job, request=training_for(state, request))
        if (
            not state.usable
            or _made_before(runnable_registry(home.models), training_request(training.request).key, training)
            is not None
        ):
            made = train(home, training, lambda fraction, text: tell(0.95 * fraction, text))
            if not made["promoted"]:
                raise NoChampion(
                    f"{made['name']} was trained as {made['version']} and is not the champion: {made['reason']}; what it "
                    "says all the same is the prediction of version newest"
                )
    tell(0.95, "prediction")
    return forecaster.forecast(*names, version, exchange).document


def _made_now(home: Home, wanted: TrainingRequest, job: Job, tell: Tell) -> StrategyModel:
    """Train and register, named by the job's moment and marked with its id."""
    from ml.training.documents import json_bytes

    tell(0.0, "candles")
    searched = searched_trials(home, wanted) if job.request.get("params") else 0
    run = prepare_training(home, replace(wanted, searched_trials=searched), tell)
    at = _moment(job.created_ms)
    result = run.fit(at, lambda fraction, text: tell(min(fraction, 0.98), text))
    files = {**result.files, "metadata.json": json_bytes({**result.metadata, "job": job.id})}
    bundle, _ = register(home, wanted.key, replace(result, files=files), at=at, promote=False)
    return bundle


def _made_before(registry: PredictionModelRegistry, key: ModelKey, job: Job) -> StrategyModel | None:
    """Return what an earlier run of the job has registered."""
    second = _moment(job.created_ms).replace(microsecond=0)
    for row in registry.history(key):
        if row.action != "register" or parse_version(row.version).at != second:
            continue
        try:
            bundle = _selected(registry, key, row.version)
            if bundle.metadata.get("job") == job.id:
                return bundle
        except (InvalidBundle, ModelNotFound):  # damaged since: `bot models validate` tells, and it is made anew
            continue
    return None


def _selected(registry: PredictionModelRegistry, key: ModelKey, version: str) -> StrategyModel:
    """Return a registered version, verified; one whose registration was cut short before its last step is finished first."""
    names = {"symbol": key.symbol, "model_type": key.model_type, "timeframe": key.timeframe, "version": version}
    try:
        return registry.select_bundle(**names)
    except ModelNotFound:
        registry.restore(key, version, at=_moment(wall_ms()), reason="registration finished")  # any writer finishes it
        return registry.select_bundle(**names)


def _with_counts(home: Home, wanted: TrainingRequest, error: Exception) -> Exception:
    """Return the error in numbers of candles where their number explains it, else as it is."""
    from bot.market.store import CandleStore
    from bot.training_settings import span

    candles = CandleStore(home.candles).read(wanted.symbol, wanted.timeframe, wanted.exchange).candles
    first_ms, _ = span(candles, wanted)
    got, needed = len(candles.between(first_ms, None)), bars_needed(wanted, candles)
    if got >= needed:
        return error
    days = -(-needed * candles.step_ms // _DAY_MS)
    more = (
        f"{len(candles):,} are stored: ask for more days_history"
        if len(candles) >= needed
        else f"only {len(candles):,} are stored: get more with `bot data download` or `bot data import`"
    )
    shorter = ", or lower n_steps_ahead" if wanted.family.task == "path" else ""
    return NotEnoughBars(
        f"Insufficient data for training (got {got} rows): {wanted.key} takes about {needed:,} candles of "
        f"{wanted.timeframe}, {days:,} days; {more}{shorter}"
    )


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _whole(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UsageError(f"{name} is {value!r}: expected a whole number")
    return value


def _days(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UsageError(f"days_history is {value!r}: expected a number of days, or null for all")
    return float(value)
