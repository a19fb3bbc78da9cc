"""``bot train``: from stored candles to a registered model."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption, TimeframeOption
from bot.cli.output import Report, progress
from bot.errors import UsageError
from bot.home import Home
from registry.names import ModelKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bot.market.store import StoredSeries
    from ml.candles import Candles
    from ml.training.trainer import Prepared, TrainingResult
    from registry.model import StrategyModel

__all__ = ["app"]

app = typer.Typer(help="Train models.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Train models: they are validated on bars that they have not seen, registered, and promoted if that proves something."""


@app.command("model")
def model(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT or BTC/USDT.")],
    model_type: Annotated[str, typer.Option("--type", help="Family of models: basic.")] = "basic",
    timeframe: TimeframeOption = "1h",
    start_date: Annotated[str | None, typer.Option("--start-date", help="First day, or moment, UTC.")] = None,
    end_date: Annotated[str | None, typer.Option("--end-date", help="Last day, all of it, or moment, UTC.")] = None,
    horizon: Annotated[
        int | None, typer.Option("--horizon", help="Bars ahead [default: 1; 5 for candles below 5m].")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option("--features", help="Names or groups, with commas or repeated [default: all].")
    ] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", help="Parameters of the model: key=value, repeated or with commas.")
    ] = None,
    exchange: ExchangeOption = None,
    seed: Annotated[int, typer.Option("--seed", help="Same seed and data, same model.")] = 0,
    threads: Annotated[int, typer.Option("--threads", help="Cores for fitting.")] = 1,
    skip_plots: Annotated[bool, typer.Option("--skip-plots", help="Draw no diagnostics.")] = False,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Register only, whatever the gate says.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train, validate and register a model; promote it if it beats every baseline on bars that it has not seen.

    Exit code 0 whether it was promoted or not: the verdict and its reason are printed.
    """
    from bot.market.store import CandleStore
    from bot.version import code_version
    from ml.predictors.catalogue import predictor_class
    from ml.training.settings import TrainingSettings, default_horizon
    from ml.training.trainer import prepare, train_prepared

    key = ModelKey.of(symbol, model_type, timeframe)
    predictor_class(key.model_type)
    place = Home.resolve(home)
    report = Report(as_json=as_json)
    parameters = _parameters(params or [])
    with progress("Reading candles") as update:
        series = CandleStore(place.candles).read(key.symbol, key.timeframe, exchange)
        first_ms, candles = _span(series.candles, start_date, end_date)
        update(0.02, "features and labels")
        settings = TrainingSettings(
            horizon=default_horizon(key.timeframe) if horizon is None else horizon,
            features=_features(features or [], candles),
            parameters=parameters,
            seed=seed,
            threads=threads,
            plots=not skip_plots,
            exchange=series.exchange,
            first_ms=first_ms,
        )
        prepared = prepare(candles, key, settings)
    _print_plan(report, series, prepared)
    at = datetime.now(UTC)
    with progress("Training") as update:
        result = train_prepared(prepared, at=at, code_version=code_version(), progress=update)
    bundle, replaced = _register(place, key, result, promote=not no_promote)
    promoted = result.gate.promoted and not no_promote
    _print_result(report, result, bundle, promoted=promoted, replaced=replaced, held_back=no_promote)
    report.document(
        {
            "key": str(key),
            "symbol": key.symbol,
            "model_type": key.model_type,
            "timeframe": key.timeframe,
            "version": bundle.version_id,
            "promoted": promoted,
            "reason": _reason(result, held_back=no_promote),
            "replaced": replaced,
            "gate": result.gate.to_dict(),
            "plan": result.plan.to_dict(),
            "metrics": result.metrics,
            "path": str(bundle.path),
            "digest": bundle.digest,
        }
    )


def _span(candles: Candles, start: str | None, end: str | None) -> tuple[int | None, Candles]:
    """Return the first bar to learn from and the candles up to the end; an end given as a date includes that day.

    Candles before the start stay: they warm the features of the first bars.
    """
    from bot.market.times import parse_moment

    first = None if start is None else parse_moment(start)
    last = None if end is None else parse_moment(end, whole_day=True)
    if first is not None and last is not None and first >= last:
        raise UsageError(f"--start-date {start} is not before --end-date {end}")
    return first, candles.between(None, last)


def _words(values: Sequence[str]) -> list[str]:
    """Split at commas and spaces."""
    return [word for value in values for word in value.replace(",", " ").split()]


def _features(values: Sequence[str], candles: Candles) -> tuple[str, ...] | None:
    """Return the features of names and groups, or None for the default ones."""
    from ml.features.catalogue import select_names

    words = _words(values)
    return tuple(select_names(words, candles.timeframe, candles.columns)) if words else None


def _parameters(values: Sequence[str]) -> dict[str, Any]:
    """Return parameters from ``key=value`` words."""
    found: dict[str, Any] = {}
    for word in _words(values):
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--params {word!r}: expected key=value, such as num_leaves=15")
        if name in found:
            raise UsageError(f"--params {name} is given twice")
        found[name] = value
    return found


def _register(home: Home, key: ModelKey, result: TrainingResult, *, promote: bool) -> tuple[StrategyModel, str | None]:
    """Register the bundle, promote it where the gate allows, and return it with the version that it replaced."""
    from ml.bundles import open_runner
    from registry.store import PredictionModelRegistry

    registry = PredictionModelRegistry(home.models, open_runner=open_runner)
    moment = datetime.now(UTC)
    bundle = registry.register(key, result.files, at=moment)
    if not (promote and result.gate.promoted):
        return bundle, None
    before = registry.champion(key)
    bundle = registry.promote(
        key, bundle.version_id, at=moment, reason=result.gate.reason, evidence={"gate": result.gate.to_dict()}
    )
    return bundle, None if before is None else before.version_id


def _print_plan(report: Report, series: StoredSeries, prepared: Prepared) -> None:
    from ml.candles import format_ms

    times, step_ms = prepared.dataset.open_ms, prepared.candles.step_ms
    report.line(
        f"{prepared.key} on {series.exchange}, {format_ms(int(times[0]))} to "
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
    from ml.training.card import headline

    report.table(
        "On bars that the model had not seen",
        ("what", "measured", "beside"),
        headline(result.metrics["out_of_sample"]),
    )
    report.line()
    report.line(_sentence(_reason(result, held_back=held_back)))
    report.line(f"Registered as {bundle.version_id} in {bundle.path}")
    if promoted:
        report.line(f"It is the champion now{f' in place of {replaced}' if replaced else ''}.")
    else:
        report.line(f"It was not promoted: use it as {bundle.symbol}/{bundle.model_type}@newest.")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
