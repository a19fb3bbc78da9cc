"""Whether a prediction needs a new model first: the rule behind ``auto_train``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bot.service.jobs.records import content_key

if TYPE_CHECKING:
    from bot.service.context import Service

__all__ = ["Wanted", "needed_training"]


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
    from bot.service.work import check_training, normalised

    state = service.forecaster.usable(symbol, timeframe, model_type, exchange)
    if state.usable and not force:
        return None
    request = normalised({"symbol": symbol, "timeframe": timeframe, "type": state.model_type, "exchange": exchange})
    if service.jobs.store.unfinished(content_key("train", request)) is None:
        check_training(service.home, request)
    return Wanted(request, state.answerable)
