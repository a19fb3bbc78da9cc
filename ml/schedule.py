"""Models that change between two bars: one engine that answers each bar with the version that was in force at it.

A bar belongs to the version whose reign its open time lies in, whenever it is computed: as it closes, in the batch of a
restart, or years later. So a version that is deployed later never changes what was said of an earlier bar.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.candles import PRICE_COLUMNS, Candles, format_ms
from ml.engine import PredictionEngine
from ml.errors import InvalidParameter, SchemaMismatch
from ml.predictions import PREDICTION_COLUMNS, Prediction, PredictionBatch
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from ml.edges import HoldingEdges

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Row = tuple[float, ...]

__all__ = ["ScheduledEngine", "schedule_engines"]

_ALWAYS = np.iinfo(np.int64).min


class ScheduledEngine(PredictionEngine):
    """Predicts each bar with the engine in force at it.

    What is told of one model (name, digest, bundle) is that of the newest version. Engines may be of single models, ensembles
    or paths; one without a model answers NO_MODEL as long as it is in force.

    Parameters
    ----------
    engines
        Pairs of the open time of the first bar that an engine answers, milliseconds UTC, and the engine; in order. The
        first time may be None: from the beginning. Before a first time bars have no model.
    timeframe
        Length of the bars, where no engine has a model yet; it is checked when one is deployed.
    columns
        Names of the values of the candles that will come, where they are known; else the first candles tell, and an engine
        that is deployed before may read what those before it read.

    Raises
    ------
    InvalidParameter
        When there is no engine, or the times are not in order.
    SchemaMismatch
        When an engine cannot take over from those before it; see `deploy`.
    """

    _fixed_horizon = True  # a reader of single predictions may rely on it

    def __init__(
        self,
        engines: Sequence[tuple[int | None, PredictionEngine]],
        *,
        timeframe: str | None = None,
        columns: Sequence[str] | None = None,
    ) -> None:
        super().__init__(None)
        if not engines:
            raise InvalidParameter("a schedule needs at least one engine")
        self._starts: list[int] = []
        self._engines: list[PredictionEngine] = []
        self._bars_timeframe = timeframe
        self._held = None if columns is None else ("open_ms", *columns)  # what the candles have, once it is known
        self._answered_ms = _ALWAYS
        if engines[0][0] is not None:
            self._add(_ALWAYS, PredictionEngine(None))
        for place, (from_ms, engine) in enumerate(engines):
            if from_ms is None and place:
                raise InvalidParameter("only the first engine of a schedule may answer from the beginning")
            start = _ALWAYS if from_ms is None else from_ms
            # candles that are not known yet may have what any of the engines reads
            self._refuse(start, engine, known_columns=columns is not None)
            self._add(start, engine)

    @property
    def engines(self) -> tuple[tuple[int | None, PredictionEngine], ...]:
        """The engines with the open times of their first bars; None for the beginning."""
        starts = (None if start == _ALWAYS else start for start in self._starts)
        return tuple(zip(starts, self._engines, strict=True))

    @property
    def members(self) -> tuple[PredictionEngine, ...]:
        """Engines of single bundles, those of ensembles among them."""
        return tuple(member for engine in self._engines for member in _members(engine))

    @property
    def timeframe(self) -> str | None:
        """Length of the bars; None as long as it is unknown."""
        return next((engine.timeframe for engine in self._known()), self._bars_timeframe)

    @property
    def horizon(self) -> int:
        """Bars ahead that a prediction of the newest model speaks of; 0 without one."""
        return next((engine.horizon for engine in reversed([*self._known()])), 0)

    @property
    def states(self) -> tuple[str, ...]:
        """Columns of a prediction that every model speaks of; empty without one."""
        return next((engine.states for engine in self._known()), ())  # each later one states them too

    @property
    def window_bars(self) -> int:
        """Candles, the newest included, that always suffice for the newest bar, whichever engine answers it."""
        return max(engine.window_bars for engine in self._engines)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the candles that some model reads."""
        return tuple(dict.fromkeys(name for member in self.members for name in member.columns))

    @property
    def cache_hits(self) -> int:
        """Answers that came from the cache."""
        return sum(engine.cache_hits for engine in set(self._engines))

    @property
    def cache_misses(self) -> int:
        """Answers that the cache was asked for and did not hold."""
        return sum(engine.cache_misses for engine in set(self._engines))

    @property
    def cache_problem(self) -> str | None:
        """Why an engine left the cache aside; None while all use it."""
        return next((engine.cache_problem for engine in self._engines if engine.cache_problem), None)

    @property
    def trained_until_ms(self) -> int | None:
        """Close time of the last candle that the training of any model saw; None without one."""
        ends = (engine.trained_until_ms for engine in self._engines)
        return max((end for end in ends if end is not None), default=None)

    def deploy(self, from_ms: int, engine: PredictionEngine) -> None:
        """Let another engine answer from a later bar on.

        Parameters
        ----------
        from_ms
            Open time of the first bar that it answers, milliseconds UTC.
        engine
            Of the same timeframe and horizon. It must state what the engines before it state, and read no column that the
            candles lack. One without a model takes over from any: bars have no model then.

        Raises
        ------
        InvalidParameter
            When the bar was answered already, or another engine begins later.
        SchemaMismatch
            When the engine cannot take over; the message names every difference.
        """
        self.check(from_ms, engine)
        self._add(from_ms, engine)

    def check(self, from_ms: int, engine: PredictionEngine) -> None:
        """Raise what `deploy` would raise, and change nothing: for who writes it down before it counts."""
        if from_ms <= self._answered_ms:
            raise InvalidParameter(
                f"{engine.name} cannot answer from {format_ms(from_ms)}: the bars up to {format_ms(self._answered_ms)} are "
                "answered already; deploy it from the bar after"
            )
        self._refuse(from_ms, engine)

    def engine_at(self, open_ms: int) -> PredictionEngine:
        """Return the engine in force at the bar of an open time."""
        return self._engines[bisect_right(self._starts, open_ms) - 1]

    def parts(self, open_ms: Integers) -> Iterator[tuple[PredictionEngine, int, int]]:
        """Yield the engines in force at some increasing open times, each with the positions of its bars."""
        borders = np.searchsorted(open_ms, np.array([*self._starts[1:], np.iinfo(np.int64).max])).tolist()
        lo = 0
        for engine, hi in zip(self._engines, borders, strict=True):
            if hi > lo:
                yield engine, lo, hi
            lo = max(lo, hi)

    def outcome_ms(self, candles: Candles) -> int:
        """Return when the candle closes that the prediction of the last bar speaks of; see ``PredictionEngine``."""
        return self._newest(candles).outcome_ms(candles)

    def predict(self, candles: Candles | Any, timeframe: str | None = None) -> Prediction:
        """Predict the newest bar; see ``PredictionEngine.predict``."""
        if not isinstance(candles, Candles):
            length = timeframe or self.timeframe
            if length is None:
                raise SchemaMismatch("without a model the timeframe of a frame is unknown: pass timeframe=")
            candles = Candles.from_frame(candles, length)
        return self._answering(candles).predict(candles)

    def predict_newest(self, candles: Candles) -> tuple[Row, int]:
        """Predict the last bar with the bits that `predict_batch` gives it; see ``PredictionEngine.predict_newest``."""
        return self._answering(candles).predict_newest(candles)

    def predict_batch(self, candles: Candles) -> PredictionBatch:
        """Predict every bar; see ``PredictionEngine.predict_batch``."""
        values = np.full((len(candles), len(PREDICTION_COLUMNS)), np.nan)
        status = np.empty(len(candles), dtype=np.int8)
        for engine, lo, hi, part in self._shares(candles):
            found = engine.predict_batch(part)
            values[lo:hi], status[lo:hi] = found.values[lo - hi :], found.status[lo - hi :]
        return PredictionBatch(values, status)

    def evidence(self, candles: Candles) -> tuple[str, str]:
        """Return what the last bar's prediction rests on; see ``PredictionEngine.evidence``."""
        return self._newest(candles).evidence(candles)

    def evidence_batch(self, candles: Candles) -> list[tuple[str, str]]:
        """Return what the prediction of each bar rests on; see ``PredictionEngine.evidence_batch``."""
        return [row for engine, lo, hi, part in self._shares(candles) for row in engine.evidence_batch(part)[lo - hi :]]

    def newest_features(self, candles: Candles) -> dict[str, float]:
        """Return the features of the last bar by name, for whoever explains a prediction."""
        return self._newest(candles).newest_features(candles)

    def holding_edges(self, enter: float, exit: float) -> HoldingEdges:  # noqa: A002 - the config's word
        """Return what the newest bundle's record earned per holding; `edge_bounds` goes by the bar."""
        return self._engines[-1].holding_edges(enter, exit)

    def edge_bounds(
        self,
        open_ms: Integers,
        p_up: Floats,
        enter: float,
        exit: float,  # noqa: A002 - the config's word
    ) -> Floats:
        """Return what ``HoldingEdges.at`` gives in the record of the engine in force at each bar.

        Parameters
        ----------
        open_ms : int64 array, shape (n,)
            Open times of the bars, increasing.
        p_up : float64 array, shape (n,)
            Probabilities of a rise.
        enter, exit
            As ``holding_edges``.

        Returns
        -------
        float64 array, shape (n,)
            Lower bounds of the mean gross return of a holding, fractions; NaN where nothing is known.
        """
        bounds = np.full(len(open_ms), np.nan)
        for engine, lo, hi in self.parts(open_ms):
            bounds[lo:hi] = engine.holding_edges(enter, exit).at(p_up[lo:hi])
        return bounds

    def unseen_from(self, open_ms: Integers) -> int:
        """Return the position from which on no bar was seen by the version that answers it; see ``PredictionEngine``.

        A version that takes over later than the first is asked at the close of a bar: what came before that close it may
        know, so the bar at whose close its training ended is none that it saw.
        """
        unseen = 0
        for engine, lo, hi in self.parts(open_ms):
            until = engine.trained_until_ms
            if until is None:
                continue
            took_over = bisect_right(self._starts, int(open_ms[lo])) > 1
            step = timeframe_ms(str(self.timeframe)) if took_over else 0
            seen = lo + int(np.searchsorted(open_ms[lo:hi], until - step))
            unseen = seen if seen > lo else unseen
        return unseen

    def _add(self, from_ms: int, engine: PredictionEngine) -> None:
        self._starts.append(from_ms)
        self._engines.append(engine)
        self.model = engine.model

    def _refuse(self, from_ms: int, engine: PredictionEngine, *, known_columns: bool = True) -> None:
        """Raise when an engine cannot be added to the end."""
        if self._starts and from_ms < self._starts[-1]:
            raise InvalidParameter(
                f"{engine.name} cannot answer from {format_ms(from_ms)}: {self._engines[-1].name} answers from "
                f"{format_ms(self._starts[-1])}, and engines come in order"
            )
        if engine.model is not None:
            differences = [*self._differences(engine), *(self._lacks(engine) if known_columns else ())]
            if differences:
                before = next((known.name for known in reversed([*self._known()])), "no model")
                raise SchemaMismatch(f"{engine.name} cannot take over from {before}: it {', '.join(differences)}")

    def _differences(self, engine: PredictionEngine) -> Iterator[str]:
        """Say what keeps an engine from answering later bars."""
        if self.timeframe not in {None, engine.timeframe}:
            yield f"reads candles of {engine.timeframe}, not {self.timeframe}"
        if self._fixed_horizon and self.horizon not in {0, engine.horizon}:
            yield f"predicts {engine.horizon} bars ahead, not {self.horizon}"
        missing = [name for name in self.states if name not in engine.states]
        if missing:
            yield f"does not state {' and '.join(missing)}"

    def _lacks(self, engine: PredictionEngine) -> Iterator[str]:
        """Say which columns an engine reads that the candles lack; as long as these are unknown, that no engine reads."""
        held = (*PRICE_COLUMNS, *(self._held if self._held is not None else self.columns))
        wanted = [name for member in _members(engine) for name in member.columns]
        lacking = [name for name in dict.fromkeys(wanted) if name not in held]
        if lacking and (self._held is not None or any(self._known())):
            yield f"reads {' and '.join(lacking)}, which the candles lack"

    def _known(self) -> Iterator[PredictionEngine]:
        """Return the engines that have a model."""
        return (engine for engine in self._engines if engine.model is not None)

    def _newest(self, candles: Candles) -> PredictionEngine:
        """Return the engine in force at the last of some candles; the newest where there is none."""
        return self.engine_at(int(candles.open_ms[-1])) if len(candles) else self._engines[-1]

    def _answering(self, candles: Candles) -> PredictionEngine:
        """Return the engine for the last candle, and remember that this bar is answered."""
        self._note(candles)
        return self._newest(candles)

    def _note(self, candles: Candles) -> None:
        """Remember up to where bars are answered, and which candles are fed."""
        if len(candles):
            self._answered_ms = max(self._answered_ms, int(candles.open_ms[-1]))
            if self._held is None:
                self._bars_timeframe = candles.timeframe
                self._held = ("open_ms", *candles.columns)

    def _shares(self, candles: Candles) -> Iterator[tuple[PredictionEngine, int, int, Candles]]:
        """Return each engine with the positions of its bars and candles that end with them and suffice."""
        self._note(candles)
        for engine, lo, hi in self.parts(candles.open_ms):
            first = max(0, lo + 1 - max(1, engine.window_bars))
            yield engine, lo, hi, candles.slice(first, hi) if hi - first < len(candles) else candles


def schedule_engines(
    engines: Sequence[tuple[int | None, PredictionEngine]],
    *,
    timeframe: str | None = None,
    columns: Sequence[str] | None = None,
    paths: bool | None = None,
    fixed_horizon: bool = False,
) -> ScheduledEngine:
    """Return the schedule that has the face of its engines.

    Parameters
    ----------
    engines, timeframe, columns
        As ``ScheduledEngine``.
    paths
        Whether models of paths are meant; told by the engines unless given, which those without a model cannot.
    fixed_horizon
        Whether single predictions of models of paths are read, as ``ScheduledPathEngine``.

    Raises
    ------
    InvalidParameter, SchemaMismatch
        As ``ScheduledEngine``.
    """
    if any(hasattr(engine, "summaries") for _, engine in engines) if paths is None else paths:
        from ml.paths.schedule import ScheduledPathEngine

        return ScheduledPathEngine(engines, timeframe=timeframe, columns=columns, fixed_horizon=fixed_horizon)
    return ScheduledEngine(engines, timeframe=timeframe, columns=columns)


def _members(engine: PredictionEngine) -> tuple[PredictionEngine, ...]:
    """Return the engines of single bundles that an engine consists of."""
    found: tuple[PredictionEngine, ...] = getattr(engine, "members", (engine,))
    return found
