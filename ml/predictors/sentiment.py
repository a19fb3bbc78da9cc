"""The type ``sentiment``: the model of ``basic`` with a side series, such as an index of fear and greed, among its inputs."""

from __future__ import annotations

from typing import ClassVar

from ml.predictors.basic import BasicPredictor

__all__ = ["SentimentPredictor"]


class SentimentPredictor(BasicPredictor):
    """Gradient boosting on the sign of the return ``horizon`` bars ahead, with the features of the group ``sentiment``.

    The candles hold the column ``sentiment`` where a series was joined to them by the time of its publication (see
    ``ml.sentiment``); without it `ml.training.trainer.prepare` raises ``MissingColumns``.

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

    def required_features(self, horizon: int) -> tuple[str, ...]:  # noqa: ARG002 - a family may ask for other lags
        """Return the group of features that joins those that were chosen."""
        return ("sentiment",)
