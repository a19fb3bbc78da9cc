"""The type ``sentiment``: the models of ``basic`` with a side series, such as an index of fear and greed, among their inputs.

The candles hold the column ``sentiment`` where a series was joined to them by the time of its publication (see
``ml.sentiment``); without it `ml.training.trainer.prepare` raises ``MissingColumns``.
"""

from __future__ import annotations

from typing import ClassVar

from ml.predictors.basic import BasicPredictor
from ml.predictors.sequence_network import ConvolutionPredictor, RecurrentPredictor

__all__ = ["SentimentConvolution", "SentimentPredictor", "SentimentRecurrent"]


class _WithSentiment:
    """Asks for the features of the group ``sentiment`` beside those that were chosen."""

    def required_features(self, horizon: int) -> tuple[str, ...]:  # noqa: ARG002 - other families ask for their lag
        """Return the group of features that joins those that were chosen."""
        return ("sentiment",)


class SentimentPredictor(_WithSentiment, BasicPredictor):
    """Gradient boosting on the sign of the return ``horizon`` bars ahead, with the features of the group ``sentiment``.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see ``ml.predictors.parameters``.
    """

    type_name: ClassVar[str] = "sentiment"
    title: ClassVar[str] = "Gradient boosting on the direction of the next return, with sentiment"
    description: ClassVar[str] = (
        "One LightGBM model of small trees on price, volume and time features and on a daily series of sentiment, joined at "
        "its publication; it states the probability of a rise."
    )


class SentimentRecurrent(_WithSentiment, RecurrentPredictor):
    """The LSTM of ``basic`` with the features of the group ``sentiment``."""

    type_name: ClassVar[str] = "sentiment"
    title: ClassVar[str] = "LSTM network on the direction of the next return, with sentiment"
    description: ClassVar[str] = (
        "One small LSTM that reads a window of feature rows, a daily series of sentiment among them; it states the "
        "probability of a rise."
    )


class SentimentConvolution(_WithSentiment, ConvolutionPredictor):
    """The convolutions of ``basic`` with the features of the group ``sentiment``."""

    type_name: ClassVar[str] = "sentiment"
    title: ClassVar[str] = "Convolutional network on the direction of the next return, with sentiment"
    description: ClassVar[str] = (
        "A few dilated causal convolutions that read a window of feature rows, a daily series of sentiment among them; they "
        "state the probability of a rise."
    )
