"""Whether a prediction needs a new model first: the rule behind ``auto_train``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.service.jobs.records import content_key
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.service.context import Service
    from bot.service.usability import Usability
    from registry.model import StrategyModel

__all__ = ["Wanted", "needed_training", "training_for"]

_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A training that is needed.

    Attributes
    ----------
    request
        Of the job.
    answerable
        Whether an older model answers until then.
    """

    request: dict[str, Any]
    answerable: bool


def needed_training(
    service: Service, symbol: str, timeframe: str, model_type: str | None, exchange: str | None, *, force: bool
) -> Wanted | None:
    """Return the training that a request for a prediction calls for; None where the champion is usable.

    One that waits or runs already was checked when it was asked for, and is not checked again.

    Raises
    ------
    NotEnoughBars, SeriesNotFound
        When a model is needed and cannot be trained.
    """
    from bot.service.work import check_training

    state = service.forecaster.usable(symbol, timeframe, model_type, exchange)
    if state.usable and not force:
        return None
    request = training_for(state, {"symbol": symbol, "timeframe": timeframe, "exchange": exchange})
    if service.jobs.store.unfinished(content_key("train", request)) is None:
        check_training(service.home, request)
    return Wanted(request, state.answerable)


def training_for(state: Usability, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request of a training in place of a champion: the same kind of model, on no shorter a history.

    Parameters
    ----------
    state
        What there is; without a champion the training is the usual one of its type.
    asked
        Symbol, timeframe, and what else the caller decides.
    """
    from bot.service.work import normalised

    kind = {} if state.champion is None else _kind_of(state.champion)
    return normalised(kind | dict(asked) | {"type": state.model_type})


def _kind_of(champion: StrategyModel) -> dict[str, Any]:
    """Return how a version was trained, as far as that differs from what a training takes by itself."""
    from bot.service.work import DEFAULT_BARS, DEFAULT_DAYS
    from bot.training import usual_features
    from ml.dataset import VOLATILITY_FEATURE
    from ml.predictors.catalogue import predictor_class, predictor_names

    document = champion.metadata
    if champion.model_type not in predictor_names() or "recipe" not in document:
        return {}  # an ensemble is put together, not trained
    data, parameters = document["data"], document["recipe"]["parameters"]
    predictor: Any = predictor_class(champion.model_type, document.get("architecture"))(parameters)
    usual = {name: _plain(value) for name, value in type(predictor)({}).parameters.items()}
    found: dict[str, Any] = {
        "n_steps_ahead": document["n_steps_ahead"] if predictor.task == "path" else document["horizon"],
        "params": {
            name: value for name, value in parameters.items() if name != "n_steps_ahead" and usual.get(name) != value
        },
    }
    if type(predictor) is not predictor_class(champion.model_type, None):
        found["architecture"] = document["architecture"]
    days = data["bars"] * timeframe_ms(champion.timeframe) / _DAY_MS
    if data["bars"] > DEFAULT_BARS and days > DEFAULT_DAYS:
        found["days_history"] = days
    chosen = {*document["features"], VOLATILITY_FEATURE}
    if chosen != {*usual_features(predictor, champion.timeframe, data["columns"]), VOLATILITY_FEATURE}:
        found["features"] = document["features"]
    return found


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
