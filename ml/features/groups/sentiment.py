"""Group sentiment: level, change and extremes of a side series that stands beside the candles, such as fear and greed.

None is in the default set: the candles hold the column only where such a series was joined to them.
"""

from __future__ import annotations

from functools import partial

from ml.features.families import Family, days, single

__all__ = ["FAMILIES"]

family = partial(Family, group="sentiment")

FAMILIES = (
    family("sentiment_level", "mood", "level", "(sentiment - 50) / 50: -1 fear, 1 greed", single()),
    family(
        "sentiment_change_{n}",
        "mood",
        "change",
        "(sentiment - sentiment {n} days before) / 50",
        days(),
        periods=(1, 7, 30),
    ),
    family(
        "sentiment_distance_{n}",
        "mood",
        "distance",
        "(sentiment - mean of the values 0 to {n} - 1 days before) / 50",
        days(1),
        periods=(7, 30),
        least=2,
    ),
    family("sentiment_fear", "mood", "fear", "1 where sentiment <= 25, extreme fear, else 0", single()),
    family("sentiment_greed", "mood", "greed", "1 where sentiment > 75, extreme greed, else 0", single()),
)
