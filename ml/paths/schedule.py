"""Models of paths that change between two bars; see ``ml.schedule``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import InvalidParameter
from ml.paths.forecast import PathSummaries
from ml.predictions import Status
from ml.schedule import ScheduledEngine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from ml.candles import Candles
    from ml.engine import PredictionEngine

    Integers = npt.NDArray[np.int64]

__all__ = ["ScheduledPathEngine"]


class ScheduledPathEngine(ScheduledEngine):
    """Forecasts the path from each bar with the engine in force at it.

    Only engines of models of paths, and engines without a model, may stand in it.

    Parameters
    ----------
    engines, timeframe, columns
        As ``ScheduledEngine``.
    fixed_horizon
        Whether the last trusted step, of which single predictions speak, must be that of every model: for a reader of single
        predictions. Who reads paths is told the trusted steps of each bar.

    Raises
    ------
    InvalidParameter, SchemaMismatch
        As ``ScheduledEngine``.
    """

    def __init__(
        self,
        engines: Sequence[tuple[int | None, PredictionEngine]],
        *,
        timeframe: str | None = None,
        columns: Sequence[str] | None = None,
        fixed_horizon: bool = False,
    ) -> None:
        self._asked: tuple[int, ...] = ()  # steps that readers chose: every later model must have them
        self._fixed_horizon = fixed_horizon
        super().__init__(engines, timeframe=timeframe, columns=columns)

    @property
    def steps(self) -> int:
        """Steps ahead that every path has; 0 without a model."""
        return min((int(_paths(engine).steps) for engine in self._known()), default=0)

    @property
    def trusted_steps(self) -> int:
        """Trusted steps of the newest model; 0 without one. `trusted_steps_at` goes by the bar."""
        return self._trusted(self._engines[-1])

    def trusted_steps_at(self, open_ms: Integers) -> Integers:
        """Return the trusted steps of the engine in force at each bar.

        Parameters
        ----------
        open_ms : int64 array, shape (n,)
            Open times, increasing.

        Returns
        -------
        int64 array, shape (n,)
        """
        trusted = np.zeros(len(open_ms), dtype=np.int64)
        for engine, lo, hi in self.parts(open_ms):
            trusted[lo:hi] = self._trusted(engine)
        return trusted

    def check_steps(self, steps: Sequence[int]) -> tuple[int, ...]:
        """Return the steps as a tuple; raise ``InvalidParameter`` where one is not a step of every path.

        Engines that are deployed later must have them too.
        """
        chosen = tuple(steps)
        for engine in self._known():
            _paths(engine).check_steps(chosen)
        self._asked = tuple(sorted({*self._asked, *chosen}))
        return chosen

    def summaries(self, candles: Candles, steps: Sequence[int], threads: int | None = None) -> PathSummaries:
        """Return what strategies read of the path of every bar; see ``PathEngine.summaries``.

        The field ``trusted_steps`` is that of the newest model: `trusted_steps_at` has those of each bar.
        """
        chosen = self.check_steps(steps)
        found = PathSummaries.absent(len(candles), chosen, Status.NO_MODEL, self.trusted_steps)
        for engine, lo, hi, part in self._shares(candles):
            if engine.model is not None:
                share = _paths(engine).summaries(part, chosen, threads)
                found.values[lo:hi], found.status[lo:hi] = share.values[lo - hi :], share.status[lo - hi :]
        return found

    def newest_summary(self, candles: Candles, steps: Sequence[int]) -> PathSummaries:
        """Return the last bar's row with the bits that `summaries` gives it, and the trusted steps of its own model."""
        engine = self._answering(candles)
        if engine.model is None:
            return PathSummaries.absent(1, self.check_steps(steps), Status.NO_MODEL)
        found: PathSummaries = _paths(engine).newest_summary(candles, steps)
        return found

    def _trusted(self, engine: PredictionEngine) -> int:
        return 0 if engine.model is None else int(_paths(engine).trusted_steps)

    def _differences(self, engine: PredictionEngine) -> Iterator[str]:
        """Say what keeps an engine from answering later bars."""
        if not hasattr(engine, "summaries"):
            yield "forecasts no path"
            return
        yield from super()._differences(engine)
        try:
            if self._asked:
                _paths(engine).check_steps(self._asked)
        except InvalidParameter:
            yield f"forecasts {_paths(engine).steps} steps, and step {self._asked[-1]} is read"


def _paths(engine: PredictionEngine) -> Any:
    """Return the engine as one of paths: what has a model and forecasts none was refused."""
    return engine
