"""Predictions of the service: engines stay open, candles stay in memory, and the same question is computed once.

What a model says is a function of its bundle and of the candles (`ml.engine`), so an answer is remembered under a name that
both make: a new candle, a revised one or another champion is another name, and nothing remembered can be stale.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bot.market.side_series import attach_for
from bot.market.store import CandleStore
from bot.prediction_document import prediction_document
from bot.service.candle_memory import CandleMemory
from bot.service.forecast_answer import RememberedForecast
from bot.service.single_flight import SingleFlight
from bot.service.usability import Usability, answers, refused_lately
from bot.service.versions import DEFAULT_TYPE, Versions
from bot.wall_clock import wall_ms
from ml.engines import open_engine
from ml.predictors.catalogue import predictor_names
from registry.errors import ModelNotFound
from registry.names import ModelKey

if TYPE_CHECKING:
    from collections.abc import Callable

    from bot.home import Home
    from bot.market.store import StoredSeries
    from bot.service.forecast_answer import Forecast
    from ml.cache import PredictionCache
    from ml.engine import PredictionEngine
    from registry.model import StrategyModel
    from registry.promotion import VersionState

__all__ = ["Forecaster", "forecast_document"]

_MOST_REMEMBERED = 256
_MOST_BYTES = 8 << 20  # of the steps of all that is remembered


@dataclass(frozen=True, eq=False)
class _Opened:
    """A version that is open; the lock is held while its engine works, which is not for two threads at once."""

    model: StrategyModel
    engine: PredictionEngine
    lock: threading.Lock
    cache: PredictionCache | None


class Forecaster:
    """Answers what registered models say of the newest stored candles; for use by many threads.

    Parameters
    ----------
    home
        The home folder; nothing is written to it but the cache.
    cache
        Where engines keep predictions; None for nowhere.
    candles
        Candles of the home that are in memory; its own unless given.
    engines
        Versions that stay open, the least recently used go.
    clock
        Returns the time that ages are counted to, milliseconds UTC.

    Attributes
    ----------
    answered, computed : int
        Answers that were given, and how many of them a model had to be asked for.
    """

    def __init__(
        self,
        home: Home,
        cache: PredictionCache | None,
        *,
        candles: CandleMemory | None = None,
        engines: int = 8,
        clock: Callable[[], int] = wall_ms,
    ) -> None:
        self._home = home
        self._versions = Versions(home.models)
        self._cache = cache
        self._most_engines = engines
        self._clock = clock
        self._candles = CandleMemory(CandleStore(home.candles)) if candles is None else candles
        self._once = SingleFlight()
        self._guard = threading.Lock()
        self._engines: OrderedDict[tuple[ModelKey, str, str], _Opened] = OrderedDict()
        self._answers: OrderedDict[str, RememberedForecast] = OrderedDict()
        self._newest: dict[tuple[str, str], str] = {}
        self.answered = 0
        self.computed = 0

    @property
    def remembered(self) -> int:
        """Answers that were at hand, or computed for somebody else at that moment."""
        return self.answered - self.computed

    def forecast(
        self,
        symbol: str,
        timeframe: str,
        model_type: str | None = None,
        version: str = "latest",
        exchange: str | None = None,
    ) -> Forecast:
        """Return what a model says of the newest closed candle.

        Parameters
        ----------
        symbol, timeframe
            Any accepted spelling.
        model_type
            Family of the model. By default the first of multi_ohlc, autoregressive, basic and then the others by name that
            has a champion.
        version
            ``latest`` (the champion), ``newest`` (promoted or not), a version or its beginning.
        exchange
            Source of the candles; None for the only one that holds the series.

        Raises
        ------
        InvalidName, UsageError
            When a name is none, or several exchanges hold the series and none was named.
        ModelNotFound, NoChampion, SeriesNotFound
            When there is no such model, champion or series; the message has the nearest names.
        NotEnoughBars, MissingColumns, SchemaMismatch
            When the series has no candle, or is not what the model reads.
        InvalidBundle, BrokenModel, DataError, StorageError
            When bundle or candles are damaged or cannot be read.
        """
        opened = self._opened(*self._versions.choose(symbol, timeframe, model_type, version))
        series = self._series(opened.model.key, exchange, opened.engine)
        name = _name(opened.model, series)
        found = self._recall(name)
        if found is None:
            found = self._once.run(name, lambda: self._recall(name) or self._compute(opened, series, name))
        with self._guard:
            self.answered += 1
        return found.told(name, self._clock())

    def usable(
        self,
        symbol: str,
        timeframe: str,
        model_type: str | None = None,
        exchange: str | None = None,
        *,
        most_bars: int | None = None,
    ) -> Usability:
        """Return whether there is a champion that answers, and whether training is called for where there is none.

        Parameters
        ----------
        symbol, timeframe, model_type, exchange
            As of `forecast`.
        most_bars
            A champion whose training ended more than so many candles ago is too old; None where its age does not matter.

        Raises
        ------
        InvalidName, UsageError, SeriesNotFound, InvalidBundle, BrokenModel, DataError, StorageError
            As `forecast` does.
        """
        champion = None
        try:
            key, state = self._versions.choose(symbol, timeframe, model_type)
        except ModelNotFound as error:
            key = ModelKey.of(symbol, model_type or DEFAULT_TYPE, timeframe)
            answerable, reason = False, str(error)
        else:
            opened = self._opened(key, state)
            champion, engine = opened.model, opened.engine
            answerable, reason = answers(engine, self._series(key, exchange, engine).candles, most_bars)
        futile = self._futile(key, exchange) if reason else ""
        return Usability(
            usable=not reason or bool(futile),
            answerable=answerable,
            model_type=key.model_type,
            reason="; ".join(part for part in (reason, futile) if part),
            champion=champion,
        )

    def _futile(self, key: ModelKey, exchange: str | None) -> str:
        """Return why training would not help; empty where it may."""
        if key.model_type not in predictor_names():
            return f"{key.model_type!r} is no type that is trained"
        last = self._versions.last(key)
        if last is None or last.promoted:
            return ""
        return refused_lately(last, self._series(key, exchange, None).candles)

    def _opened(self, key: ModelKey, state: VersionState) -> _Opened:
        name = (key, state.version, state.digest)
        return self._engine(name) or self._once.run(name, lambda: self._engine(name) or self._open(name))

    def _engine(self, name: tuple[ModelKey, str, str]) -> _Opened | None:
        with self._guard:
            if name in self._engines:
                self._engines.move_to_end(name)
            return self._engines.get(name)

    def _open(self, name: tuple[ModelKey, str, str]) -> _Opened:
        key, version, _ = name
        model = self._versions.read(key, version)
        cache = copy(self._cache)  # its own connection, which is closed when a thread is done with it
        opened = _Opened(model, open_engine(model, cache=cache), threading.Lock(), cache)
        with self._guard:
            self._engines[name] = opened
            while len(self._engines) > self._most_engines:
                self._engines.popitem(last=False)
        return opened

    def _series(self, key: ModelKey, exchange: str | None, engine: PredictionEngine | None) -> StoredSeries:
        bars = 1 if engine is None else engine.window_bars
        series = self._candles.read(key.symbol, key.timeframe, exchange, bars)
        return series if engine is None else attach_for(series, [engine], self._home.candles)

    def _recall(self, name: str) -> RememberedForecast | None:
        with self._guard:
            found = self._answers.get(name)
            if found is not None:
                self._answers.move_to_end(name)
            return found

    def _compute(self, opened: _Opened, series: StoredSeries, name: str) -> RememberedForecast:
        now = datetime.fromtimestamp(self._clock() / 1000, UTC)
        with opened.lock:
            try:
                said = prediction_document(opened.engine, opened.model, series, now)
            finally:
                if opened.cache is not None:  # its connection is this thread's, which may not come again
                    opened.cache.close()
        found = RememberedForecast.of(said, opened.model)
        with self._guard:
            self.computed += 1
            if found.head["status"] != "error":  # which the next attempt may not meet
                self._remember((str(opened.model), series.exchange), name, found)
        return found

    def _remember(self, of: tuple[str, str], name: str, found: RememberedForecast) -> None:
        """Keep an answer in place of the one that the same model gave of an earlier candle, which nobody asks for again."""
        self._answers.pop(self._newest.get(of, ""), None)
        self._newest[of], self._answers[name] = name, found
        while len(self._answers) > _MOST_REMEMBERED or self._bytes() > _MOST_BYTES:
            gone, _ = self._answers.popitem(last=False)
            self._newest = {model: kept for model, kept in self._newest.items() if kept != gone}

    def _bytes(self) -> int:
        return sum(len(answer.steps) for answer in self._answers.values())


def forecast_document(
    home: Home,
    *,
    symbol: str,
    timeframe: str,
    model_type: str | None = None,
    version: str = "latest",
    exchange: str | None = None,
) -> dict[str, Any]:
    """Return the document of one prediction; parameters and errors are those of ``Forecaster.forecast``."""
    return Forecaster(home, None).forecast(symbol, timeframe, model_type, version, exchange).document


def _name(model: StrategyModel, series: StoredSeries) -> str:
    """Return what names an answer: the version, its content, the source and content of the candles."""
    newest = int(series.candles.open_ms[-1]) if len(series.candles) else None
    parts = (model, model.digest, series.exchange, series.digest, newest)
    return hashlib.sha256("|".join(map(str, parts)).encode()).hexdigest()
