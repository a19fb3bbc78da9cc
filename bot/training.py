"""Training as one flow, for the command and for jobs: candles of the store, a model, the registry."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bot.errors import BotError, UsageError
from bot.training_settings import chosen_features, joined_sentiment, span, with_sentiment
from registry.names import ModelKey

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence
    from datetime import datetime

    from bot.home import Home
    from bot.market.store import StoredSeries
    from ml.candles import Candles
    from ml.predictors.contract import Predictor
    from ml.training.trainer import Prepared, TrainingResult
    from registry.model import StrategyModel
    from registry.store import PredictionModelRegistry

    Progress = Callable[[float, str], None]

__all__ = [
    "TrainingRequest",
    "TrainingRun",
    "bars_needed",
    "prepare_training",
    "promote_where_allowed",
    "register",
    "searched_trials",
    "tell_bots",
    "usual_features",
]

_log = logging.getLogger(__name__)

_LEAST_ROWS = 200  # that the first model of a path learns from
_LEAST_PIECE = 40  # bars of one piece of the walk forward


def _silent(_fraction: float, _text: str) -> None:
    """Report progress to nobody."""


@dataclass(frozen=True)
class TrainingRequest:
    """What is to be trained, in the words of whoever asks.

    Attributes
    ----------
    symbol, model_type, timeframe
        Any accepted spelling.
    architecture
        Model of the type; None for its default.
    start, end
        First and last day or moment to learn from, UTC; an end given as a date includes that day. None leaves that side open.
    days
        Instead of a start: so many days back from the newest candle.
    least_bars
        With days: at least so many of the newest candles, where so many are stored.
    horizon
        Bars ahead; None for what the family speaks of.
    features
        Names and groups; none for the default ones.
    parameters
        Of the model, where they differ from its defaults.
    exchange
        Source of the candles; None for the only one that holds the series.
    sentiment
        Name of the series of sentiment to join; None for the only one, where the model needs any.
    searched_trials
        See ``TrainingSettings``.
    seed, threads, plots, robustness
        See ``TrainingSettings``.
    """

    symbol: str
    model_type: str = "basic"
    timeframe: str = "1h"
    architecture: str | None = None
    start: str | None = None
    end: str | None = None
    days: float | None = None
    least_bars: int = 0
    horizon: int | None = None
    features: Sequence[str] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    exchange: str | None = None
    sentiment: str | None = None
    searched_trials: int = 0
    seed: int = 0
    threads: int = 1
    plots: bool = True
    robustness: bool = True

    def __post_init__(self) -> None:
        """Refuse a span of time that makes no sense."""
        if self.days is not None and not 0 < self.days <= 36_500:
            raise UsageError(f"{self.days:g} days of history: expected a number above 0 and at most 36,500")
        if self.days is not None and self.start is not None:
            raise UsageError(f"days ({self.days:g}) and start ({self.start}) both say where to begin: give one of them")

    @property
    def key(self) -> ModelKey:
        """What the model is to predict; raises InvalidName."""
        return ModelKey.of(self.symbol, self.model_type, self.timeframe)

    @property
    def family(self) -> type[Predictor]:
        """The family of models; raises UnknownPredictor."""
        from ml.predictors.catalogue import predictor_class

        return predictor_class(self.key.model_type, self.architecture)


@dataclass(frozen=True, eq=False)
class TrainingRun:
    """Everything that is known before fitting: the series as it is stored, and what of it is learnt from."""

    series: StoredSeries
    prepared: Prepared

    @property
    def key(self) -> ModelKey:
        """What the model is to predict."""
        return self.prepared.key

    def fit(self, at: datetime, progress: Progress = _silent) -> TrainingResult:
        """Train, validate and calibrate; nothing is written.

        Parameters
        ----------
        at
            The moment of training, with a time zone.
        progress
            Told the share that is done, and with what.

        Raises
        ------
        MLError
            When the data does not admit a model, or a library is missing.
        """
        from bot.version import code_version
        from ml.training.trainer import train_prepared

        return train_prepared(self.prepared, at=at, code_version=code_version(), progress=progress)


def prepare_training(home: Home, request: TrainingRequest, progress: Progress = _silent) -> TrainingRun:
    """Read the candles, check the request, compute features and labels.

    Raises
    ------
    SeriesNotFound, UsageError, DataError
        When the store has no such series, several, or a damaged one; when features or times make no sense.
    MLError
        See ``ml.training.trainer.prepare``.
    """
    from bot.market.store import CandleStore
    from ml.training.settings import TrainingSettings, default_horizon
    from ml.training.trainer import prepare

    key, family = request.key, request.family
    series = CandleStore(home.candles).read(key.symbol, key.timeframe, request.exchange)
    joined = joined_sentiment(family, request.features, request.sentiment, home.candles)
    series = with_sentiment(series, joined)
    first_ms, candles = span(series.candles, request)
    progress(0.02, "features and labels")
    settings = TrainingSettings(
        horizon=default_horizon(key.timeframe, family.task) if request.horizon is None else request.horizon,
        features=chosen_features(request.features, candles),
        parameters=request.parameters,
        seed=request.seed,
        threads=request.threads,
        plots=request.plots,
        exchange=series.exchange,
        sentiment=None if joined is None else joined.name,
        architecture=request.architecture,
        robustness=request.robustness,
        searched_trials=request.searched_trials,
        first_ms=first_ms,
    )
    return TrainingRun(series, prepare(candles, key, settings))


def bars_needed(request: TrainingRequest, candles: Candles) -> int:
    """Return about how many candles without gaps a training takes, those that only warm its features up included.

    Parameters
    ----------
    request
        Its family, parameters and features decide.
    candles
        Of the series; their columns decide which features there are by default.
    """
    from ml.dataset import VOLATILITY_FEATURE
    from ml.features.schema import FeatureSchema
    from ml.training.plan import minimum_bars
    from ml.training.settings import TrainingSettings

    timeframe, pieces = candles.timeframe, TrainingSettings().folds + 1
    predictor: Any = request.family(request.parameters)
    parameters = predictor.parameters
    rows = pieces * (_LEAST_ROWS + parameters["n_steps_ahead"] if predictor.task == "path" else _LEAST_PIECE)
    names = chosen_features(request.features, candles) or usual_features(predictor, timeframe, candles.columns)
    schema = FeatureSchema.of(dict.fromkeys((*names, VOLATILITY_FEATURE)), timeframe)
    needed: int = max(minimum_bars(timeframe), rows + schema.window_bars)
    return needed


def usual_features(predictor: Any, timeframe: str, columns: Collection[str]) -> tuple[str, ...]:
    """Return the features that a model learns from where none are chosen, of candles with these columns."""
    from ml.features.catalogue import default_names
    from ml.training.path_trainer import path_feature_names

    if predictor.task == "path":
        return path_feature_names(predictor.path_kind, timeframe, tuple(predictor.parameters["lookback_periods"]))
    return default_names(timeframe, columns)


def searched_trials(home: Home, request: TrainingRequest) -> int:
    """Return how many trials searches have made of this series and family, on whatever data."""
    from bot.searches import TrialStore

    return TrialStore(home.root / "searches", request.key, request.family.architecture, "").read().counted


def register(
    home: Home, key: ModelKey, result: TrainingResult, *, at: datetime, promote: bool
) -> tuple[StrategyModel, str | None]:
    """Register the bundle and, where that is wanted, do as `promote_where_allowed` does.

    Returns
    -------
    StrategyModel, str or None
        The version as it stands afterwards, and the champion that it replaced.
    """
    from bot.model_selection import runnable_registry

    registry = runnable_registry(home.models)
    bundle = registry.register(key, result.files, at=at)
    return promote_where_allowed(home, registry, bundle, result.gate.to_dict(), at=at) if promote else (bundle, None)


def promote_where_allowed(
    home: Home, registry: PredictionModelRegistry, bundle: StrategyModel, gate: Mapping[str, Any], *, at: datetime
) -> tuple[StrategyModel, str | None]:
    """Promote a version whose gate allows it, and tell the running bots that follow its model.

    Returns
    -------
    StrategyModel, str or None
        The version as it stands afterwards, and the champion that it replaced.
    """
    if not gate["promoted"]:
        return bundle, None
    before = registry.champion_version(bundle.key)
    bundle = registry.promote(bundle.key, bundle.version_id, at=at, reason=gate["reason"], evidence={"gate": gate})
    if bundle.version_id != before:
        tell_bots(home, bundle, gate["reason"])
    return bundle, before


def tell_bots(home: Home, champion: StrategyModel, reason: str) -> None:
    """Tell the running bots that follow a model who its champion is; where they cannot be told, the log says so."""
    from bot.live.following import tell_home

    try:
        tell_home(home, champion.key, champion.version_id, reason)
    except BotError as error:  # the training is done and the ledger is right: a bot looks by itself when it starts
        _log.warning("%s is the champion, and running bots were not told of it: %s", champion, error)
