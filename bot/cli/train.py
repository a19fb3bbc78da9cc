"""``bot train``: from stored candles to a registered model."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption, TimeframeOption
from bot.cli.output import Report, progress
from bot.cli.search import search
from bot.cli.train_settings import FAMILIES, model_parameters
from bot.home import Home

if TYPE_CHECKING:
    from bot.training import TrainingRun
    from ml.training.trainer import Prepared, TrainingResult
    from registry.model import StrategyModel

__all__ = ["app"]

app = typer.Typer(help="Train models.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train models: they are validated on bars that they have not seen, registered, and promoted if that proves something."""


app.command("search")(search)


@app.command("model")
def model(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT or BTC/USDT.")],
    model_type: Annotated[str, typer.Option("--type", help=f"Family of models: {', '.join(FAMILIES)}.")] = "basic",
    architecture: Annotated[
        str | None,
        typer.Option("--model", help="Model of the family: gbm, lstm or tcn for basic [default: the first]."),
    ] = None,
    timeframe: TimeframeOption = "1h",
    start_date: Annotated[str | None, typer.Option("--start-date", help="First day, or moment, UTC.")] = None,
    end_date: Annotated[str | None, typer.Option("--end-date", help="Last day, all of it, or moment, UTC.")] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", help="Bars ahead [default: the family's; for basic 1, and 5 below 5m].")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option("--features", help="Names or groups, with commas or repeated [default: all].")
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", help="Parameters of the model: key=value, repeated or with commas.")
    ] = None,
    exchange: ExchangeOption = None,
    sentiment: Annotated[
        str | None, typer.Option("--sentiment", help="Which series of sentiment to join [default: fear_and_greed].")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed and data, same model.")] = 0,
    threads: Annotated[int, typer.Option("--threads", help="Cores for fitting.")] = 1,
    epochs: Annotated[int | None, typer.Option("--epochs", help="Networks: most epochs [default: 300].")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", help="Networks: rows a step [default: 32].")] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option("--sequence-length", help="Networks of sequences: bars that one score reads [default: 120]."),
    ] = None,
    disable_mixed_precision: Annotated[
        bool, typer.Option("--disable-mixed-precision", help="Networks: float32 even where a GPU is found.")
    ] = False,
    skip_onnx: Annotated[
        bool, typer.Option("--skip-onnx", help="Networks: train and judge only; without ONNX nothing is registered.")
    ] = False,
    skip_robustness: Annotated[
        bool, typer.Option("--skip-robustness", help="Leave out noise, shift, shuffled labels and regimes.")
    ] = False,
    skip_plots: Annotated[bool, typer.Option("--skip-plots", help="Draw no diagnostics.")] = False,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Register only, whatever the gate says.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train, validate and register a model; promote it if it beats every baseline on bars that it has not seen.

    Exit code 0 whether it was promoted or not: the verdict and its reason are printed.
    """
    from bot.training import TrainingRequest, prepare_training, register, searched_trials

    request = TrainingRequest(
        symbol=symbol,
        model_type=model_type,
        timeframe=timeframe,
        architecture=architecture,
        start=start_date,
        end=end_date,
        horizon=horizon,
        features=features or (),
        exchange=exchange,
        sentiment=sentiment,
        seed=seed,
        threads=threads,
        plots=not skip_plots,
        robustness=not skip_robustness,
    )
    key, family = request.key, request.family
    options = {"epochs": epochs, "batch_size": batch_size, "sequence_length": sequence_length}
    options["mixed_precision"] = False if disable_mixed_precision else None
    parameters, notes = model_parameters(family, params or [], options)
    if horizon is not None and family.task == "path":
        notes.append(
            f"--horizon has no meaning for {key.model_type}: --params n_steps_ahead=N sets how long its paths are"
        )
    place = Home.resolve(home)
    searched = searched_trials(place, request) if params else 0
    if searched:
        notes.append(
            f"{searched:,} trials were made of {key} before: where a search chose these parameters, the figures count the "
            "bars that chose them too, and flatter; what it printed of its last fold does not"
        )
    report = Report(as_json=as_json)
    for note in notes:
        report.line(f"note: {note}")
    with progress("Reading candles") as update:
        run = prepare_training(place, replace(request, parameters=parameters, searched_trials=searched), update)
    _print_plan(report, run)
    with progress("Training") as update:
        result = run.fit(datetime.now(UTC), update)
    if skip_onnx and "model.onnx" in result.files:
        _print_figures(report, result)
        report.line(f"{_sentence(result.gate.reason)} Nothing is registered because of --skip-onnx.")
        report.document(
            _document(run.prepared, result, None, promoted=False, replaced=None, held_back=False, notes=notes)
        )
        return
    bundle, replaced = register(place, key, result, at=datetime.now(UTC), promote=not no_promote)
    promoted = result.gate.promoted and not no_promote
    _print_result(report, result, bundle, promoted=promoted, replaced=replaced, held_back=no_promote)
    report.document(
        _document(run.prepared, result, bundle, promoted=promoted, replaced=replaced, held_back=no_promote, notes=notes)
    )


def _document(
    prepared: Prepared,
    result: TrainingResult,
    bundle: StrategyModel | None,
    *,
    promoted: bool,
    replaced: str | None,
    held_back: bool,
    notes: list[str],
) -> dict[str, Any]:
    """Return the JSON document; version, path and digest are null where nothing was registered."""
    key = prepared.key
    return {
        "key": str(key),
        "symbol": key.symbol,
        "model_type": key.model_type,
        "architecture": prepared.predictor.architecture,
        "timeframe": key.timeframe,
        "version": None if bundle is None else bundle.version_id,
        "promoted": promoted,
        "reason": _reason(result, held_back=held_back),
        "replaced": replaced,
        "gate": result.gate.to_dict(),
        "plan": result.plan.to_dict(),
        "metrics": result.metrics,
        "path": None if bundle is None else str(bundle.path),
        "digest": None if bundle is None else bundle.digest,
        "notes": notes,
    }


def _print_plan(report: Report, run: TrainingRun) -> None:
    from ml.candles import format_ms

    prepared = run.prepared
    times, step_ms = prepared.dataset.open_ms, prepared.candles.step_ms
    report.line(
        f"{prepared.key} on {run.series.exchange}, {format_ms(int(times[0]))} to "
        f"{format_ms(int(times[-1]) + step_ms)}, {len(prepared.schema.names)} features"
    )
    for line in prepared.plan.lines():
        report.line(f"  {line}")
    report.line()


def _reason(result: TrainingResult, *, held_back: bool) -> str:
    """Return the gate's words, or that promotion was not wanted."""
    if held_back and result.gate.promoted:
        return f"not promoted because of --no-promote; the gate says: {result.gate.reason}"
    return result.gate.reason


def _print_result(
    report: Report,
    result: TrainingResult,
    bundle: StrategyModel,
    *,
    promoted: bool,
    replaced: str | None,
    held_back: bool,
) -> None:
    _print_figures(report, result)
    report.line(_sentence(_reason(result, held_back=held_back)))
    report.line(f"Registered as {bundle.version_id} in {bundle.path}")
    if promoted:
        report.line(f"It is the champion now{f' in place of {replaced}' if replaced else ''}.")
    else:
        report.line(f"It was not promoted: use it as {bundle.symbol}/{bundle.model_type}@newest.")


def _print_figures(report: Report, result: TrainingResult) -> None:
    from ml.training.card import headline

    report.table(
        "On bars that the model had not seen",
        ("what", "measured", "beside"),
        headline(result.metrics["out_of_sample"]),
    )
    report.line()
    battery = result.metrics.get("robustness", {})
    if battery.get("red_flag"):
        from ml.training.robustness import TABLE_COLUMNS, robustness_table

        report.line(f"Red flag: {battery['red_flag']}.")
        report.table("Robustness", TABLE_COLUMNS, robustness_table(battery))
        report.line()


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
