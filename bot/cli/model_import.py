"""``bot models import``: a model that another program trained, judged on the user's own candles before it is registered."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.errors import ImportRefused, UsageError
from bot.home import Home
from registry.names import ModelKey, normalise_symbol

if TYPE_CHECKING:
    from bot.importing import ForeignFolder
    from ml.training.importing import ForeignModel
    from ml.training.trainer import TrainingResult

__all__ = ["import_model"]


def import_model(
    path: Annotated[
        Path, typer.Argument(metavar="PATH", help="Folder with model.txt or model.onnx, and JSON beside it.")
    ],
    symbol: Annotated[str | None, typer.Option("--symbol", help="Symbol [default: what the folder says].")] = None,
    model_type: Annotated[str, typer.Option("--type", help="Type to register it as: one of direction.")] = "basic",
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", help="Length of a candle [default: what the folder says].")
    ] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", help="Bars ahead [default: what the folder says, else 1].")
    ] = None,
    trained_until: Annotated[
        str | None, typer.Option("--trained-until", help="Day or moment, UTC, where the folder does not say it.")
    ] = None,
    exchange: ExchangeOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a foreign model without running code, judge it on candles after its training, and register it, not promoted.

    LightGBM text and ONNX are read; pickles never are. Its features must all be in our catalogue: only then can they be
    computed on other candles. It cannot be refitted, so nothing before the end of its training counts.
    """
    from bot.importing import read_folder
    from bot.market.sentiment import SentimentStore
    from bot.market.side_series import features_need_sentiment
    from bot.market.store import CandleStore
    from bot.version import code_version
    from ml.training.importing import validate_foreign
    from ml.training.settings import TrainingSettings

    place = Home.resolve(home)
    folder = read_folder(path)
    key = _key(folder, symbol, model_type, timeframe)
    model = _readable(folder, key)
    ended = _trained_until(folder, trained_until)
    with progress("Reading candles") as update:
        series = CandleStore(place.candles).read(key.symbol, key.timeframe, exchange)
        joined = SentimentStore(place.candles).read() if features_need_sentiment(model.names) else None
        candles = series.candles if joined is None else joined.join(series.candles)
        update(0.1, "features and labels")
    settings = TrainingSettings(
        horizon=next((each for each in (horizon, folder.horizon) if each is not None), 1),
        exchange=series.exchange,
        sentiment=None if joined is None else joined.name,
        first_ms=ended,
        plots=True,
        robustness=False,
    )
    origin = {"folder": folder.path.name, "kind": folder.kind, "config": dict(folder.document), "steps": folder.steps}
    moment = datetime.now(UTC)
    with progress("Judging") as update:
        result = validate_foreign(
            model, candles, key, settings,
            trained_until_ms=ended, origin=origin, at=moment, code_version=code_version(), progress=update,
        )  # fmt: skip
    _register(Report(as_json=as_json), place, key, folder, result, moment)


def _key(folder: ForeignFolder, symbol: str | None, model_type: str, timeframe: str | None) -> ModelKey:
    """Return what to register it as; options must not contradict the folder."""
    from ml.predictors.catalogue import predictor_class

    family = predictor_class(model_type)
    if family.task != "direction":
        raise UsageError(
            f"a model of {model_type} cannot be imported, only one of direction, such as basic: train it with "
            f"`bot train model {symbol or folder.symbol or 'SYMBOL'} --type {model_type}`"
        )
    for option, given, said in (
        ("--symbol", None if symbol is None else normalise_symbol(symbol), folder.symbol),
        ("--timeframe", timeframe, folder.timeframe),
    ):
        if given is None and said is None:
            raise UsageError(f"{folder.path.name} does not say it: give {option}")
        if given is not None and said is not None and given != said:
            raise UsageError(f"{option} {given}, but {folder.path.name} is of {said}")
    return ModelKey.of(symbol or str(folder.symbol), model_type, timeframe or str(folder.timeframe))


def _readable(folder: ForeignFolder, key: ModelKey) -> ForeignModel:
    """Return the model where it can be run here; else say what is in the way, and what to do."""
    from ml.errors import BrokenModel
    from ml.lightgbm_text import parse_lightgbm
    from ml.training.importing import read_lightgbm, read_onnx_model, unknown_features

    try:
        if folder.kind == "multi_ohlc":
            counts = [len(parse_lightgbm(text).feature_names) for text in folder.models.values()]
            raise ImportRefused(
                f"{folder.path.name} holds four models of {counts[0]} features each for the prices of the next candle: a "
                "level of the price cannot be judged or calibrated, so they cannot be taken over; "
                + _retrain(key, "multi_ohlc", folder.steps)
            )
        if folder.kind == "onnx":
            if not folder.features:
                raise ImportRefused(f"{folder.path.name} does not name its features: add feature_schema.json")
            model = read_onnx_model(folder.models["model.onnx"], folder.features, _sequence(folder))
        else:
            model = read_lightgbm(folder.models["model.txt"])
    except BrokenModel as error:
        raise ImportRefused(f"{folder.path.name}: {error}") from error
    twice = next((name for name in model.names if model.names.count(name) > 1), None)
    if twice is not None:
        raise ImportRefused(f"{folder.path.name} names the feature {twice} twice: each column must be another feature")
    missing = unknown_features(model.names)
    if missing:
        shown = ", ".join(missing[:8]) + (f" and {len(missing) - 8} more" if len(missing) > 8 else "")
        kind = str(folder.document.get("predictor_type", key.model_type))
        raise ImportRefused(
            f"{folder.path.name} reads {len(missing)} features that are not in our catalogue and cannot be computed here: "
            f"{shown}; nothing was imported; {_retrain(key, kind, folder.steps)}"
        )
    return model


def _retrain(key: ModelKey, kind: str, steps: int | None) -> str:
    from ml.predictors.catalogue import predictor_names

    kind = kind if kind in predictor_names() else key.model_type
    path = f" --params n_steps_ahead={steps}" if steps and kind in {"autoregressive", "multi_ohlc"} else ""
    return f"train it on your candles: bot train model {key.symbol} --type {kind} --timeframe {key.timeframe}{path}"


def _sequence(folder: ForeignFolder) -> int:
    value = folder.document.get("sequence_length", folder.document.get("sequence", 1))
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ImportRefused(f"{folder.path.name}: sequence_length is {value!r}, expected a whole number of rows")
    return value


def _trained_until(folder: ForeignFolder, option: str | None) -> int:
    from bot.market.times import parse_moment

    stated = None if option is None else parse_moment(option, whole_day=True)
    if stated is None and folder.trained_until_ms is None:
        raise ImportRefused(
            f"{folder.path.name} does not say when its training ended, so no bar is known to be unseen: add trained_at to "
            "config.json, or state it with --trained-until"
        )
    return max(moment for moment in (stated, folder.trained_until_ms) if moment is not None)


def _register(
    report: Report, place: Home, key: ModelKey, folder: ForeignFolder, result: TrainingResult, moment: datetime
) -> None:
    from bot.model_selection import runnable_registry
    from ml.training.card import headline

    bundle = runnable_registry(place.models).register(key, result.files, at=moment)
    report.table(
        f"{folder.path.name} on bars after its training", ("what", "measured", "beside"),
        headline(result.metrics["out_of_sample"]),
    )  # fmt: skip
    for note in folder.notes:
        report.line(f"note: {note}")
    report.line()
    report.line(f"The gate says: {result.gate.reason}.")
    report.line(f"Registered as {bundle.version_id} in {bundle.path}, not promoted.")
    report.line(f"To use it: bot models promote {key.symbol} {key.model_type} {bundle.version_id}")
    report.document(
        {
            "key": str(key),
            "version": bundle.version_id,
            "path": str(bundle.path),
            "digest": bundle.digest,
            "promoted": False,
            "gate": result.gate.to_dict(),
            "plan": result.plan.to_dict(),
            "metrics": result.metrics,
            "origin": result.metadata["origin"],
            "notes": list(folder.notes),
        }
    )
