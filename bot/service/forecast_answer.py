"""What the service answers of a prediction: the document of ``bot predict``, told step by step.

The steps are encoded once, when they are made: that takes longer than all the rest of an answer, and bytes take a tenth of
the memory of what they stand for.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.model_rows import gate_verdict
from bot.prediction_document import age_seconds
from bot.service.answers import model_answer
from ml.paths.forecast import minutes_between

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.model import StrategyModel

__all__ = ["Forecast", "RememberedForecast"]


@dataclass(frozen=True, slots=True)
class Forecast:
    """An answer as of the moment of asking; the caller's own.

    Attributes
    ----------
    key : str
        Names bundle and candles: equal keys mean equal documents, but for their ages.
    head : dict
        Everything but the steps, plain JSON.
    steps : bytes
        The steps, as JSON.
    """

    key: str
    head: dict[str, Any]
    steps: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The whole answer; its steps are ``predictions``."""
        return {**self.head, "predictions": json.loads(self.steps)}

    def json(self, **more: Any) -> bytes:
        """Return the document as JSON, with further fields."""
        return b"".join((_json({**self.head, **more})[:-1], b',"predictions":', self.steps, b"}"))


@dataclass(frozen=True, eq=False)
class RememberedForecast:
    """What a model said of one bar: everything but the ages, which depend on when it is told.

    Attributes
    ----------
    head : dict
        As it is answered, without the steps; both ``age_seconds`` are None.
    steps : bytes
        The steps, as JSON.
    closed_ms, trained_ms : int
        When the bar closed, and when the model was made, milliseconds UTC.
    """

    head: dict[str, Any]
    steps: bytes
    closed_ms: int
    trained_ms: int

    @classmethod
    def of(cls, said: Mapping[str, Any], model: StrategyModel) -> RememberedForecast:
        """Build it from what ``bot.prediction_document`` returned; a number that is not there is None, never NaN."""
        row = model_answer(model)
        is_path = "predictions" in said
        closed_ms = _ms(said["bar"]["close_time"])
        steps = said["predictions"] if is_path else [_single_step(said, model, closed_ms)]
        status = said["status"] if steps or said["status"] != "ok" else "error"  # a path that broke off has no steps
        if status != "ok":
            steps = []
        single_trusted = said["horizon"] if _is_trusted(model) else 0
        head = {
            "timestamp": said["bar"]["close_time"],
            "current_price": said["bar"]["close"],
            "symbol": row["symbol"],
            "timeframe": said["timeframe"],
            "exchange": said["exchange"],
            "status": status,
            "age_seconds": None,
            "in_sample": said["in_sample"],
            "horizon": said["horizon"],
            "direction": said["direction"] if status == "ok" else None,
            "confidence": _number(said["confidence"]) if status == "ok" else None,
            "trusted_steps": said.get("trusted_steps", single_trusted),
            "model_info": {
                "name": row["name"],
                "type": row["type"],
                "trained_at": row["trained_at"],
                "n_steps_ahead": row["n_steps_ahead"],
                "version": model.version_id,
                "digest": model.digest,
                "age_seconds": None,
                "trained_until": said["model"]["trained_until"],
            },
        }
        try:
            encoded = _json(steps)
        except ValueError:  # some step has a number that is none
            encoded = _json([_plain(step) for step in steps])
        return cls(head, encoded, closed_ms, _ms(row["trained_at"]))

    def told(self, key: str, now_ms: int) -> Forecast:
        """Return the answer with the ages of this moment."""
        now = datetime.fromtimestamp(now_ms / 1000, UTC)
        model = {**self.head["model_info"], "age_seconds": age_seconds(self.trained_ms, now)}
        head = {**self.head, "age_seconds": age_seconds(self.closed_ms, now), "model_info": model}
        return Forecast(key, head, self.steps)


def _single_step(said: Mapping[str, Any], model: StrategyModel, closed_ms: int) -> dict[str, Any]:
    """Return the one step of a model that speaks of its horizon alone."""
    log_return = _number(said["expected_return"])
    step = {
        "step": said["horizon"],
        "minutes_ahead": minutes_between(closed_ms, _ms(said["predicts_until"])),
        "timestamp": said["predicts_until"],
        "predicted_open": None,
        "predicted_high": None,
        "predicted_low": None,
        "predicted_close": _number(said["price"]),
        "predicted_return": None if log_return is None else math.expm1(log_return),
        "predicted_log_return": log_return,
        "confidence": _number(said["confidence"]),
        "low": _number(said["low"]),
        "high": _number(said["high"]),
        "trusted": _is_trusted(model),
    }
    return step | {name: said[name] for name in ("risk", "predicted_volatility") if _number(said[name]) is not None}


def _is_trusted(model: StrategyModel) -> bool:
    """Return whether the record of a model of single predictions passed the gate."""
    return gate_verdict(model)[0] is True


def _plain(step: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _number(value) if isinstance(value, float) else value for name, value in step.items()}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _ms(moment: str) -> int:
    return round(datetime.fromisoformat(moment).timestamp() * 1000)


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
