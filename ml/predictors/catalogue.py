"""The families of models, by the name that ``--type`` takes, and their architectures, by the name that ``--model`` takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.errors import UnknownPredictor
from ml.predictors.autoregressive import AutoregressivePricePredictor
from ml.predictors.basic import BasicPredictor
from ml.predictors.direction import DirectionPredictor
from ml.predictors.momentum import MomentumClassifier
from ml.predictors.multi_ohlc import MultiOHLCPredictor
from ml.predictors.price_nn import PricePredictor
from ml.predictors.risk import RiskScorer
from ml.predictors.sentiment import SentimentConvolution, SentimentPredictor, SentimentRecurrent
from ml.predictors.sequence_network import ConvolutionPredictor, RecurrentPredictor
from ml.predictors.volatility import VolatilityRegressor
from registry.errors import suggestion

if TYPE_CHECKING:
    from ml.predictors.contract import Predictor

__all__ = ["PREDICTORS", "architectures", "predictor_class", "predictor_names"]

PREDICTORS: tuple[type[Predictor], ...] = (
    BasicPredictor,
    RecurrentPredictor,
    ConvolutionPredictor,
    DirectionPredictor,
    RiskScorer,
    VolatilityRegressor,
    AutoregressivePricePredictor,
    MultiOHLCPredictor,
    PricePredictor,
    MomentumClassifier,
    SentimentPredictor,
    SentimentRecurrent,
    SentimentConvolution,
)
"""Every family and architecture; the first of a type is its default."""


def predictor_names() -> tuple[str, ...]:
    """Return the names of every type, in the order of the catalogue."""
    return tuple(dict.fromkeys(family.type_name for family in PREDICTORS))


def architectures(name: str) -> dict[str, type[Predictor]]:
    """Return the architectures of a type, the default first.

    Raises
    ------
    UnknownPredictor
        With the known types and the nearest one.
    """
    found = {family.architecture: family for family in PREDICTORS if family.type_name == name}
    if name == "ensemble":
        raise UnknownPredictor("an ensemble is made of registered models, not trained: see bot ensemble create --help")
    if not found:
        known = predictor_names()
        raise UnknownPredictor(f"{name!r} is not a model type{suggestion(name, known)} (known: {', '.join(known)})")
    return found


def predictor_class(name: str, architecture: str | None = None) -> type[Predictor]:
    """Return the family of that type, in its default architecture or in the one that is named.

    Raises
    ------
    UnknownPredictor
        With the known names and the nearest one.
    """
    found = architectures(name)
    if architecture is None:
        return next(iter(found.values()))
    if architecture not in found:
        raise UnknownPredictor(
            f"{architecture!r} is no model of the type {name}{suggestion(architecture, found)} (known: {', '.join(found)})"
        )
    return found[architecture]
