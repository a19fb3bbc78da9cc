"""``bot models compare``: versions side by side, and two models on the same bars."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.model_figures import flatten, percent, short
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.errors import UsageError
from bot.home import Home
from bot.model_rows import headline, model_row
from bot.model_selection import open_registry, select_reference
from ml.errors import MLError
from registry.errors import NoChampion, RegistryError
from registry.names import ModelKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ml.comparison import Comparison
    from registry.model import StrategyModel
    from registry.store import PredictionModelRegistry

__all__ = ["compare"]


def compare(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="A B | SYMBOL TIMEFRAME TYPE [VERSION]...",
            help="Two models such as BTCUSDT/basic@latest; or versions of one model [default: the last ones].",
        ),
    ],
    last: Annotated[int, typer.Option("--last", min=1, help="How many versions, without VERSION.")] = 4,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", help="Of A and B, where one has several timeframes.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print stored out-of-sample figures side by side; of two models, also the difference on the same bars.

    `bot models compare BTCUSDT/basic@latest BTCUSDT/sentiment@newest` joins both records bar by bar and says which one is
    better, or that they are statistically tied.
    """
    registry = open_registry(Home.resolve(home).models)
    report = Report(as_json=as_json)
    if len(words) == 2:
        pair = [select_reference(registry, word, timeframe) for word in words]
        report.document({"comparison": _pair(report, pair), "models": [_row(model) for model in pair]})
        return
    if len(words) < 2:
        raise UsageError("compare needs two models such as BTCUSDT/basic@latest, or SYMBOL TIMEFRAME TYPE [VERSION]...")
    if any("/" in word and "@" in word for word in words):
        raise UsageError(f"compare takes two models such as BTCUSDT/basic@latest, got {len(words)}")
    key = ModelKey.of(words[0], words[2], words[1])
    chosen = _versions(registry, key, words[3:], last)
    windows = _side_by_side(report, key, chosen)
    document = {
        "symbol": key.symbol,
        "model_type": key.model_type,
        "timeframe": key.timeframe,
        "same_bars": windows <= 1,
    }
    if len(chosen) == 2 and len(words) > 3:
        report.line()
        try:
            document["comparison"] = _pair(report, chosen)
        except (UsageError, MLError, RegistryError) as error:  # the figures stand, whatever the records hold
            report.line(f"Not compared bar by bar: {error}.")
            document["comparison"] = None
    report.document({**document, "versions": [_row(model) for model in chosen]})


def _versions(
    registry: PredictionModelRegistry, key: ModelKey, versions: Sequence[str], last: int
) -> list[StrategyModel]:
    names = {"symbol": key.symbol, "model_type": key.model_type, "timeframe": key.timeframe}
    if versions:
        return [registry.select_bundle(**names, version=version) for version in versions]
    with suppress(NoChampion):  # says that the model exists; a missing one or a damaged champion is an error
        registry.select_bundle(**names)
    aside = {"archived", "quarantined"}
    kept = [model for model in registry.list_bundles(**names) if model.status not in aside or model.problem]
    return [model for i, model in enumerate(kept) if model.status == "champion" or i >= len(kept) - last]


def _side_by_side(report: Report, key: ModelKey, chosen: list[StrategyModel]) -> int:
    """Print the figures of versions, and return on how many different windows of bars they were tested."""
    figures = [{} if model.problem else _comparable(model) for model in chosen]
    lines = list(dict.fromkeys(name for each in figures for name in each))
    columns = ["figure", *(f"{model.version_id}{' *' if model.status == 'champion' else ''}" for model in chosen)]
    report.table(str(key), columns, [[name, *(short(each.get(name)) for each in figures)] for name in lines])
    report.line("Every figure is out of sample; * is the champion.")
    windows = {_tested_on(model, each) for model, each in zip(chosen, figures, strict=True) if each}
    if len(windows) > 1:
        report.line("These versions were tested on different bars: a difference may be the market's, not the model's.")
    for model in chosen:
        if model.problem:
            report.line(f"broken: {model}: {model.problem}")
    return len(windows)


def _pair(report: Report, pair: list[StrategyModel]) -> dict[str, Any]:
    """Compare two versions on the rows that both records count, and print what came of it."""
    from ml.candles import format_ms
    from ml.comparison import compare_records

    a, b = pair
    _check_comparable(a, b)
    found = compare_records(_record(a), _record(b))
    names = _short_names(a, b)
    title = f"The same {found.rows:,} bars, {format_ms(found.first_ms)} to {format_ms(found.last_ms)}"
    report.table(title, ("figure", *names, "difference", "95 % interval"), _rows(found))
    verdict = found.verdict(*names)
    report.line(f"{verdict[0].upper()}{verdict[1:]}." if verdict[0].islower() else f"{verdict}.")
    report.line(
        "This speaks of these two versions, not of their types: another seed of training moves the loss as well."
    )
    return {"a": str(a), "b": str(b), **found.to_dict(), "verdict": verdict}


def _check_comparable(a: StrategyModel, b: StrategyModel) -> None:
    """Refuse pairs that have no question in common.

    Raises
    ------
    UsageError
        When symbols, timeframes, horizons or tasks differ, a bundle is damaged, or both are the same version.
    """
    from ml.comparison import FAMILIES_OF_TASKS

    for model in (a, b):
        if model.problem:
            raise UsageError(f"{model} is broken: {model.problem}")
    if a.path == b.path:
        raise UsageError(f"both are {a}: name two versions")
    task_a, task_b = (str(model.metadata.get("task", "direction")) for model in (a, b))
    differences = [
        f"{name} ({left} and {right})"
        for name, left, right in (
            ("symbol", a.symbol, b.symbol),
            ("timeframe", a.timeframe, b.timeframe),
            ("horizon in bars", a.metadata.get("horizon"), b.metadata.get("horizon")),
            ("task", FAMILIES_OF_TASKS.get(task_a, task_a), FAMILIES_OF_TASKS.get(task_b, task_b)),
        )
        if left != right
    ]
    if differences:
        raise UsageError(
            f"{a} and {b} differ in {' and '.join(differences)}: there is no bar of which both said the same thing; "
            "compare models that were trained alike"
        )


def _record(model: StrategyModel) -> Any:
    from ml.comparison import read_record, record_file

    task = str(model.metadata.get("task", "direction"))
    if record_file(task) not in model.manifest.files:
        raise UsageError(f"{model} has no out-of-sample record: it cannot be compared bar by bar")
    return read_record(task, model.read(record_file(task)))


def _rows(found: Comparison) -> list[list[str]]:
    gain = found.gain
    rows = [
        [
            f"loss saved by the first, {found.unit}",
            f"{found.loss_a:.5f}",
            f"{found.loss_b:.5f}",
            f"{gain.mean:+.5f}",
            f"{gain.low:+.5f} to {gain.high:+.5f}",
        ]
    ]
    if found.accuracy_gain is not None:
        hits = found.accuracy_gain
        interval = f"{100 * hits.low:+.2f} to {100 * hits.high:+.2f} %"
        rows.append(
            ["right", percent(found.accuracy_a, 2), percent(found.accuracy_b, 2), f"{100 * hits.mean:+.2f} %", interval]
        )
        rows.append(["both right or both wrong", percent(found.agreement), "", "", ""])
    return rows


def _short_names(a: StrategyModel, b: StrategyModel) -> tuple[str, str]:
    if a.model_type != b.model_type:
        return a.model_type, b.model_type
    return a.version_id, b.version_id


def _row(model: StrategyModel) -> dict[str, Any]:
    return {**model_row(model, datetime.now(UTC)), "metrics": None if model.problem else model.metrics}


def _comparable(model: StrategyModel) -> dict[str, Any]:
    """Return the figures of one version, those that matter most first."""
    figures = model.metrics.get("out_of_sample")
    flat = flatten(figures if isinstance(figures, dict) else model.metrics)
    first = {name: flat[name] for name in headline(model) if name in flat}
    return first | flat


def _tested_on(model: StrategyModel, figures: dict[str, Any]) -> tuple[Any, ...]:
    """Return what identifies the bars of a test: the window and the candles."""
    data = model.metadata.get("data")
    return figures.get("first_ms"), figures.get("last_ms"), data.get("digest") if isinstance(data, dict) else None
