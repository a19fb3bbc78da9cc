"""``bot ensemble``: several registered models that answer as one, judged on bars that none of them had seen."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption, TimeframeOption
from bot.cli.output import Report, progress
from bot.errors import UsageError
from bot.home import Home
from bot.model_rows import model_row
from bot.model_selection import runnable_registry
from registry.errors import ModelNotFound
from registry.names import ModelKey, parse_reference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from registry.model import StrategyModel
    from registry.store import PredictionModelRegistry

__all__ = ["app"]

app = typer.Typer(help="Ensembles: make them of registered models, test and activate them.", no_args_is_help=True)

_TYPE = "ensemble"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PAIR = ("members", "disagree", "correlation of errors", "of log odds")

SymbolArgument = Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTCUSDT or BTC/USDT.")]
NameOption = Annotated[str | None, typer.Option("--name", help="The newest ensemble of that name.")]


@app.command("create")
def create(
    symbol: SymbolArgument,
    members: Annotated[
        list[str],
        typer.Option("--members", help="Models, with commas or repeated: basic@latest,direction@newest,TYPE@VERSION."),
    ],
    timeframe: TimeframeOption = "1h",
    method: Annotated[str, typer.Option("--method", help="weighted_avg, voting or stacking.")] = "weighted_avg",
    weights: Annotated[
        str | None, typer.Option("--weights", help="For weighted_avg, such as 0.5,0.3,0.2 [default: fitted].")
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="What to call it, such as ensemble_001.")] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an ensemble of registered models, judge it on the bars that no member had seen, and register it.

    It is not promoted: ``bot ensemble activate`` does that, if it beats its best member.
    """
    from bot.version import code_version
    from ml.ensembles.documents import comparison_columns, comparison_rows, pair_rows
    from ml.ensembles.pooling import check_method
    from ml.ensembles.predictor import EnsemblePredictor

    check_method(method)
    _check_name(name)
    given = None if weights is None else _numbers(weights)
    registry = runnable_registry(Home.resolve(home).models)
    chosen = [_member(registry, symbol, timeframe, word) for word in _words(members)]
    predictor = EnsemblePredictor(chosen, given, method)
    at = datetime.now(UTC)
    with progress("Judging") as update:
        result = predictor.build(at=at, code_version=code_version(), name=name, progress=update)
        bundle = registry.register(predictor.key, result.files, at=at)
    pool = result.metadata["hyperparams"]
    notes = [note for note in (predictor.note(int(result.record.scored.sum())),) if note]
    notes += [
        f"{member} is {member.status}: it is used because it was named"
        for member in chosen
        if member.status in {"archived", "quarantined"}
    ]
    report = Report(as_json=as_json)
    report.table(
        f"{predictor.key} on {result.comparison['n']:,} common bars",
        comparison_columns(result.comparison),
        comparison_rows(result.comparison),
    )
    report.line("* is the best member of the first half of the bars.")
    report.table("how alike", _PAIR, pair_rows(result.comparison))
    for member, weight in zip(chosen, pool["weights"], strict=True):
        report.line(f"  weight {weight:.3f}  {member}")
    for note in notes:
        report.line(f"Note: {note}.")
    _print_verdict(report, result.comparison, result.gate.reason)
    command = f"bot ensemble activate {bundle.symbol} --timeframe {bundle.timeframe}"
    report.line(f"Registered as {bundle.version_id} in {bundle.path}")
    report.line(f"Use it as {bundle.symbol}/{_TYPE}@newest, or make it the champion: {command}")
    report.document(
        {
            "key": str(predictor.key),
            "symbol": bundle.symbol,
            "timeframe": bundle.timeframe,
            "model_type": _TYPE,
            "version": bundle.version_id,
            "name": name,
            "method": method,
            "weights": pool["weights"],
            "intercept": pool["intercept"],
            "members": result.metadata["members"],
            "notes": notes,
            "gate": result.gate.to_dict(),
            "better": result.gate.promoted,
            "reason": result.gate.reason,
            "comparison": result.comparison,
            "path": str(bundle.path),
            "digest": bundle.digest,
        }
    )


@app.command("test")
def retest(
    symbol: SymbolArgument,
    timeframe: TimeframeOption = "1h",
    version: Annotated[
        str | None, typer.Option("--version", help="latest, newest or a version [default: the champion, else newest].")
    ] = None,
    name: NameOption = None,
    days_back: Annotated[
        int | None, typer.Option("--days-back", min=1, help="Only the last days of the common bars [default: all].")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Judge a registered ensemble anew beside its members and their plain mean, on the same bars; exit code 0."""
    from ml.ensembles.bundle import open_ensemble
    from ml.ensembles.documents import comparison_columns, comparison_rows, pair_rows
    from ml.ensembles.judging import compare
    from ml.ensembles.predictor import judge_members

    registry = runnable_registry(Home.resolve(home).models)
    model = _ensemble(registry, symbol, timeframe, version, name, default="champion")
    opened = open_ensemble(model)
    given = opened.pool.weights if _document(model)["given_weights"] is not None else None
    with progress("Judging") as update:
        rows, judged, plain = judge_members(opened.members, opened.pool.method, given, progress=update)
        first_ms = None if days_back is None else int(rows.open_ms[-1]) - days_back * 86_400_000
        comparison = compare(rows, judged, plain, first_ms=first_ms)
    report = Report(as_json=as_json)
    report.table(
        f"{model} on {comparison['n']:,} common bars", comparison_columns(comparison), comparison_rows(comparison)
    )
    report.line("* is the best member of the first half of the bars.")
    report.table("how alike", _PAIR, pair_rows(comparison))
    _print_verdict(report, comparison, None)
    report.document(
        {
            "key": str(model.key),
            "version": model.version_id,
            "name": _document(model).get("name"),
            "method": opened.pool.method,
            "weights": list(opened.pool.weights),
            "days_back": days_back,
            "comparison": comparison,
            "better": comparison["versus_best"]["better"],
        }
    )


@app.command("activate")
def activate(
    symbol: SymbolArgument,
    timeframe: TimeframeOption = "1h",
    version: Annotated[str, typer.Option("--version", help="newest or a version.")] = "newest",
    name: NameOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also where it is no better than its best member.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is written into the ledger.")] = "by hand",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make an ensemble the champion of its type, if it beats the baselines and its best member; else it needs --force."""
    from bot.promotion import GateRefused, promote_by_hand
    from ml.ensembles.bundle import open_ensemble

    place = Home.resolve(home)
    registry = runnable_registry(place.models)
    model = _ensemble(registry, symbol, timeframe, version, name, default="newest")
    open_ensemble(model)  # a champion whose members are gone would answer nothing
    try:
        done = promote_by_hand(
            place, registry, model, at=datetime.now(UTC), reason=reason, force=force, figures=_versus(model)
        )
    except GateRefused as refused:
        raise UsageError(
            f"{model} is not activated: {refused.verdict}. To activate it all the same: "
            f"bot ensemble activate {model.symbol} --timeframe {model.timeframe} --version {model.version_id} --force"
        ) from None
    champion, before = done.champion, done.before
    report = Report(as_json=as_json)
    if not done.changed:
        report.line(f"{champion} is the champion already; nothing was changed.")
    else:
        report.line(f"{champion} is now the champion of {champion.timeframe}{f', after {before}' if before else ''}.")
        if done.against_gate:
            report.line(f"WARNING: activated against the verdict, which said: {done.against_gate}")
    report.document(
        {
            **model_row(champion, datetime.now(UTC)),
            "previous": before,
            "changed": done.changed,
            "forced": bool(done.against_gate),
        }
    )


def _member(registry: PredictionModelRegistry, symbol: str, timeframe: str, word: str) -> StrategyModel:
    """Return the version that one word of ``--members`` names."""
    wanted = parse_reference(word if "/" in word else f"{symbol}/{word}")
    return registry.select_bundle(
        symbol=wanted.symbol, model_type=wanted.model_type, timeframe=timeframe, version=wanted.selector
    )


def _ensemble(
    registry: PredictionModelRegistry,
    symbol: str,
    timeframe: str,
    version: str | None,
    name: str | None,
    *,
    default: str,
) -> StrategyModel:
    """Return the ensemble of that version or name; the champion, else the newest, where neither is given."""
    key = ModelKey.of(symbol, _TYPE, timeframe)
    names = {"symbol": key.symbol, "model_type": _TYPE, "timeframe": key.timeframe}
    if name is None:
        if version is None:
            version = "latest" if default == "champion" and registry.champion_version(key) else "newest"
        return registry.select_bundle(**names, version=version)
    aside = {"archived", "quarantined"}
    sound = [model for model in registry.list_bundles(**names) if not model.problem and model.status not in aside]
    called = [model for model in sound if _document(model).get("name") == name]
    if not called:
        names_given = (_document(model).get("name") for model in sound)
        known = ", ".join(dict.fromkeys(each for each in names_given if each is not None)) or "none"
        raise ModelNotFound(f"{key}: no ensemble is called {name!r} (known: {known})")
    return registry.select_bundle(**names, version=called[-1].version_id)


def _check_name(name: str | None) -> None:
    """Refuse a name that could not be typed again, or would break a table."""
    if name is not None and _NAME.fullmatch(name) is None:
        raise UsageError(
            f"--name {name[:80]!r}: expected at most 64 letters, digits, dots, dashes and underscores, such as ensemble_001"
        )


def _document(model: StrategyModel) -> dict[str, Any]:
    from ml.ensembles.bundle import ENSEMBLE_FILE
    from registry.model import parse_json_object

    return parse_json_object(model.read(ENSEMBLE_FILE), ENSEMBLE_FILE, str(model))


def _versus(model: StrategyModel) -> dict[str, Any]:
    comparison = model.metrics.get("comparison")
    found = comparison if isinstance(comparison, dict) else {}
    return {name: found.get(name) for name in ("best_member", "versus_best", "versus_equal")}


def _print_verdict(report: Report, comparison: Mapping[str, Any], reason: str | None) -> None:
    from ml.ensembles.documents import versus_words

    for against in ("versus_best", "versus_equal"):
        report.line(f"{versus_words(comparison, against)}.")
    if reason:
        report.line(f"{reason[0].upper()}{reason[1:]}.")


def _words(values: list[str]) -> list[str]:
    words = [word for value in values for word in value.replace(",", " ").split()]
    if not words:
        raise UsageError("--members names no model: expected such as basic@latest,direction@latest")
    return words


def _numbers(text: str) -> list[float]:
    words = text.replace(",", " ").split()
    try:
        return [float(word) for word in words]
    except ValueError:
        raise UsageError(f"--weights {text!r}: expected numbers such as 0.5,0.3,0.2") from None
