"""Predictions: one entry a step, each with a probability, a band, and whether it may be trusted."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bot.service.schemas.common import Answer, Request, SymbolText, Time, TimeframeText, TypeText

__all__ = ["Forecast", "ForecastModel", "ForecastStep", "GenerateRequest", "PredictionStarted", "StoredPrediction"]


class ForecastStep(Answer):
    """What is predicted for the end of one later candle; what the family does not say is null."""

    step: int = Field(description="Candles ahead.", examples=[1])
    minutes_ahead: float = Field(description="Minutes ahead, as the timeframe has them.", examples=[60])
    timestamp: Time
    predicted_open: float | None = None
    predicted_high: float | None = None
    predicted_low: float | None = None
    predicted_close: float | None = Field(default=None, examples=[42_165.0])
    predicted_return: float | None = Field(
        default=None, description="Of the close, as a fraction.", examples=[0.000345]
    )
    confidence: float | None = Field(
        default=None, ge=0, le=1, description="Calibrated probability that the direction is right; 0.5 is no opinion."
    )
    low: float | None = Field(default=None, description="Lower end of the band that holds 9 of 10 outcomes.")
    high: float | None = Field(default=None, description="Upper end of the band.")
    trusted: bool = Field(description="Whether the record of the model supports this step.")


class ForecastModel(Answer):
    """The model behind a prediction."""

    name: str = Field(examples=["BTC_USDT_1m_300steps_multi_ohlc"])
    type: str = Field(examples=["multi_ohlc"])
    version: str = Field(examples=["2024-01-15T080000Z_1m_v1"])
    digest: str = Field(description="sha256 of the manifest of its bundle.")
    trained_at: Time
    trained_until: Time | None = None
    n_steps_ahead: int = Field(examples=[300])
    age_seconds: int | None = None


class Forecast(Answer):
    """What a model says of the newest closed candle."""

    timestamp: Time = Field(description="Close of the newest closed candle.")
    current_price: float = Field(description="Its close.", examples=[42_150.5])
    symbol: str = Field(examples=["BTC_USDT"])
    timeframe: str = Field(examples=["1m"])
    status: str = Field(
        description="ok, or why nothing is predicted: warming, no_model, expired, out_of_distribution, error.",
        examples=["ok"],
    )
    age_seconds: int = Field(description="Since the close of that candle.")
    trusted_steps: int = Field(description="Steps whose direction beat a coin on unseen bars.", examples=[12])
    predictions: list[ForecastStep]
    model_info: ForecastModel
    retraining: bool = Field(default=False, description="Whether a newer model is being trained.")
    job_id: str | None = Field(default=None, description="The job that trains it.")


class GenerateRequest(Request):
    """A prediction to make in the background."""

    symbol: SymbolText
    timeframe: TimeframeText
    type: TypeText | None = None
    auto_train: bool = Field(default=True, description="Train a model first where there is none.")


class PredictionStarted(Answer):
    """The receipt of a prediction that is made in the background."""

    status: Literal["running"] = "running"
    prediction_id: str = Field(examples=["6d1f3a52-0f0c-4a54-9f0e-1f5c9a3b7c11"])
    message: str


class StoredPrediction(Answer):
    """A prediction that was asked for, or stored."""

    id: str
    symbol: str
    timeframe: str
    status: Literal["running", "completed", "failed", "cancelled"]
    created_at: Time
    result: dict[str, Any] | None = Field(default=None, description="A forecast, once it is completed.")
    error: str | None = None
