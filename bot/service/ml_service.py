"""The service as a Python object: train, list, predict and keep predictions, without a server.

from bot.service.ml_service import get_ml_service

ml_service = get_ml_service()
model = ml_service.train_model(symbol="BTC/USDT", timeframe="1m", n_steps_ahead=300, days_history=30)
predictions = ml_service.get_predictions(symbol="BTC/USDT", timeframe="1m")
"""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from bot.errors import UsageError
from bot.home import Home
from bot.service.views.plain import NotHere
from bot.wall_clock import wall_ms
from registry.names import normalise_symbol, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.service.forecasts import Forecaster
    from bot.state import StateDatabase

__all__ = ["KEPT_PREDICTIONS", "MOST_BYTES", "MLService", "get_ml_service"]

KEPT_PREDICTIONS = 2_000
"""So many of the newest predictions are kept: one a minute for a day. They share their file with the bots' orders."""

MOST_BYTES = 1_048_576
"""Longest JSON document of a prediction that is kept."""

_LOG = logging.getLogger(__name__)
_LONGEST_USER = 200
_FIGURES = ("train_r2", "val_r2", "train_rmse", "val_rmse")
_PREDICTIONS = """
    CREATE TABLE service_predictions (
        id TEXT PRIMARY KEY NOT NULL, symbol TEXT NOT NULL, timeframe TEXT NOT NULL, user TEXT NOT NULL,
        created INTEGER NOT NULL, document TEXT NOT NULL CHECK (json_valid(document))
    )
"""
_STEPS = {"create_tables": (_PREDICTIONS,)}


def get_ml_service(home: Path | str | None = None) -> MLService:
    """Return a service over a home folder: the given one, else ``$BOT_HOME``, else ``./var``; each call makes a new one."""
    return MLService(Home.resolve(None if home is None else Path(home)))


class MLService:
    """Models and predictions of one home.

    Parameters
    ----------
    home
        The home folder.
    """

    def __init__(self, home: Home) -> None:
        self.home = home

    def train_model(
        self,
        symbol: str,
        timeframe: str,
        n_steps_ahead: int | None = 300,
        days_history: float | None = 30,
        **options: Any,
    ) -> dict[str, Any] | None:
        """Train, register and, where its gate allows it, promote a model, in this process.

        Parameters
        ----------
        symbol, timeframe
            Any accepted spelling.
        n_steps_ahead
            Candles ahead: the length of a path, of other families the horizon; None for what the family takes.
        days_history
            Days of the newest candles to learn from; None for all.
        **options
            ``type`` (multi_ohlc), ``params``, ``features``, ``exchange``, ``seed`` and ``promote``.

        Returns
        -------
        dict or None
            The row of `list_models` with ``promoted`` and ``reason``; None where the candles admit no model, which is logged.

        Raises
        ------
        SeriesNotFound, InvalidName, UnknownPredictor, InvalidParameter, UnknownFeature, UsageError
            When a name or a value is wrong.
        NotEnoughBars
            When there are too few candles; the message says how many it takes.
        """
        from bot.service.jobs.records import Job, JobStatus, content_key
        from bot.service.work import check_training, train
        from ml.errors import NotEnoughBars, TrainingFailed

        known = ("type", "params", "features", "exchange", "seed", "promote")
        unknown = next((name for name in options if name not in known), None)
        if unknown is not None:
            from registry.errors import suggestion

            raise UsageError(f"train_model has no option {unknown!r}{suggestion(unknown, known)}")
        request = {
            "symbol": symbol,
            "timeframe": timeframe,
            "n_steps_ahead": n_steps_ahead,
            "days_history": days_history,
        }
        request |= options
        now_ms = wall_ms()
        job = Job(
            id=str(uuid4()),
            kind="train",
            key=content_key("train", request),
            request=request,
            owner="python",
            status=JobStatus.RUNNING,
            created_ms=now_ms,
            started_ms=now_ms,
            ended_ms=None,
            progress=0.0,
            message="",
            attempts=1,
            result=None,
            error=None,
        )
        try:
            return _with_figures(train(self.home, job, lambda _fraction, _text: None))
        except (NotEnoughBars, TrainingFailed) as error:
            with suppress(TrainingFailed):
                check_training(self.home, request)  # which says it in numbers of candles where these explain it
            if isinstance(error, NotEnoughBars):
                raise
            _LOG.warning("%s %s: no model was registered: %s", symbol, timeframe, error)
            return None

    def list_models(
        self, symbol: str | None = None, timeframe: str | None = None, model_type: str | None = None
    ) -> list[dict[str, Any]]:
        """Return the sound models, by symbol, timeframe and type, oldest first; any of the three may be named.

        A figure of ``performance`` that a family does not measure is NaN.
        """
        from bot.service.answers import model_answer
        from registry.store import PredictionModelRegistry

        found = PredictionModelRegistry(self.home.models).list_bundles(symbol, model_type, timeframe)
        return [_with_figures(model_answer(model)) for model in found if model.problem is None]

    def get_predictions(
        self,
        symbol: str,
        timeframe: str,
        model_type: str | None = None,
        version: str = "latest",
        exchange: str | None = None,
    ) -> dict[str, Any] | None:
        """Return what a model says of the newest candle; None where there is no such model, or no champion.

        Parameters and errors are those of ``bot.service.forecasts.Forecaster.forecast``.
        """
        from registry.errors import ModelNotFound

        try:
            return self._forecaster.forecast(symbol, timeframe, model_type, version, exchange).document
        except ModelNotFound as error:
            _LOG.warning("%s %s: no prediction: %s", symbol, timeframe, error)
            return None

    def save_prediction_result(
        self, symbol: str, timeframe: str, prediction_data: Mapping[str, Any], user_id: str
    ) -> str:
        """Keep a prediction in the state database and return its id; of all that were kept the newest 2,000 stay.

        Parameters
        ----------
        symbol, timeframe
            Any accepted spelling.
        prediction_data
            What `get_predictions` returned, or any plain data of at most 1 MB.
        user_id
            Whose it is, 1 to 200 characters.

        Raises
        ------
        InvalidName, UsageError
            When a name is none, or the data is not plain or too long.
        StorageError
            When it cannot be written.
        """
        name, length = normalise_symbol(symbol), timeframe.strip()
        timeframe_ms(length)
        if not isinstance(user_id, str) or not 1 <= len(user_id) <= _LONGEST_USER:
            raise UsageError(f"user_id is {user_id!r:.80}: expected a text of 1 to {_LONGEST_USER} characters")
        if not isinstance(prediction_data, dict) or not prediction_data:
            raise UsageError(
                f"prediction_data is a {type(prediction_data).__name__}: expected what get_predictions returns"
            )
        text = _json(prediction_data)
        number = str(uuid4())
        with self._state() as state, state.transaction():
            (row,) = state.rows(
                "INSERT INTO service_predictions (id, symbol, timeframe, user, created, document) VALUES (?, ?, ?, ?, ?, ?) "
                "RETURNING rowid",
                (number, name, length, user_id, wall_ms(), text),
            )
            # only the oldest ever go, so row numbers have no gaps: this counts nothing and reads only what it deletes
            state.execute("DELETE FROM service_predictions WHERE rowid <= ?", (row["rowid"] - KEPT_PREDICTIONS,))
        return number

    def prediction_result(self, prediction_id: str) -> dict[str, Any]:
        """Return a kept prediction: ``id``, ``symbol``, ``timeframe``, ``status``, ``created_at``, ``user_id``, ``result``.

        Raises
        ------
        NotHere
            When there is none of that id, or no longer.
        StorageError
            When the state database cannot be read.
        """
        from bot.service.answers import pair_text
        from ml.candles import format_ms

        rows: list[sqlite3.Row] = []
        if self.home.state_db.is_file():  # asking makes no file
            with self._state() as state:
                rows = state.rows("SELECT * FROM service_predictions WHERE id = ?", (prediction_id,))
        if not rows:
            raise NotHere(f"no prediction {prediction_id[:80]!r} in this home")
        row = rows[0]
        return {
            "id": row["id"],
            "symbol": pair_text(row["symbol"]),
            "timeframe": row["timeframe"],
            "status": "completed",
            "created_at": format_ms(row["created"]),
            "user_id": row["user"],
            "result": json.loads(row["document"]),
        }

    @cached_property
    def _forecaster(self) -> Forecaster:
        from bot.service.forecasts import Forecaster

        return Forecaster(self.home, None)

    def _state(self) -> StateDatabase:
        from bot.state import StateDatabase

        state = StateDatabase(self.home.state_db)
        try:
            state.apply("predictions", _STEPS)
        except BaseException:
            state.close()
            raise
        return state


def _json(document: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"prediction_data is no plain data: {error}") from None
    if len(text) > MOST_BYTES:  # ASCII: a character is a byte
        raise UsageError(f"prediction_data takes {len(text):,} bytes: at most {MOST_BYTES:,} are kept")
    return text


def _with_figures(row: dict[str, Any]) -> dict[str, Any]:
    """Return the row for a program that prints figures: one that was not measured is NaN, which prints as such."""
    figures = row["performance"]
    measured = {name: float("nan") if figures.get(name) is None else figures[name] for name in _FIGURES}
    return {**row, "performance": {**figures, **measured}}
