"""``bot why``: what was known, decided and ordered at one bar of a run, and why."""

from __future__ import annotations

import difflib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report, progress
from bot.errors import BotError, DataError, StorageError, UsageError
from bot.home import Home

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.assembly import Assembly
    from bot.config.loader import ConfigFile
    from ml.cache import PredictionCache

__all__ = ["find_row", "find_run", "moment_ms", "shown_moment", "why"]

_RESULT = "result.json"
_IDENTITY = re.compile(r"_([0-9a-f]{8})(-[0-9]+)?$")
_HEX = re.compile(r"[0-9a-f]{8}|[0-9a-f]{64}")
_MILLISECONDS = re.compile(r"-?[0-9]{11,15}")


def why(
    run: Annotated[
        str,
        typer.Argument(
            help="Folder of a backtest, its name below runs/, or the 8 digits at its end; of a live run the bot's name, "
            "for its newest, or the beginning of its id."
        ),
    ],
    time: Annotated[
        str,
        typer.Argument(help="A moment of the bar: its open time, or any other inside it. ISO, or milliseconds UTC."),
    ],
    symbol: Annotated[
        str | None, typer.Option("--symbol", help="Of a live run that trades several [default: the only one].")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Go on where candles, models or code are not those of the run any more.")
    ] = False,
) -> None:
    """Print one bar of a run: candle, predictions, every gate with its threshold, what was done, and why."""
    place = Home.resolve(home)
    report = Report(as_json=as_json)
    try:
        folder = find_run(run, place.runs)
    except UsageError as error:
        from bot.cli.why_live import print_live_bar

        print_live_bar(report, run, time, symbol, place, error)
        return
    row, differences = find_row(folder, time, place, anyway=anyway)
    report.document({"run": folder.name, "folder": str(folder), "differences": differences, **row})

    from bot.decision_words import row_lines

    report.line(f"Run {folder.name}")
    for line in row_lines(row):
        report.line(line)
    for difference in differences:
        report.line(f"  {'note':<12}not as in the run: {difference}")


def find_run(text: str, runs: Path) -> Path:
    """Return the folder of a run.

    Parameters
    ----------
    text
        The folder, its name below ``runs``, the 8 hexadecimal digits at the end of its name, or the whole run id. Runs of one
        id are equal, so the newest of them is taken.
    runs
        Where runs are kept.

    Raises
    ------
    UsageError
        When there is none; the message names the nearest.
    """
    given = Path(text).expanduser()
    folder = given.parent if given.name == _RESULT else given
    for candidate in (folder, runs / text):
        if (candidate / _RESULT).is_file():
            return candidate
    names = sorted(path.parent.name for path in runs.glob(f"*/{_RESULT}"))
    if _HEX.fullmatch(text.lower()):
        wanted = text.lower()[:8]
        same = [name for name in names if (found := _IDENTITY.search(name)) and found[1] == wanted]
        if same:
            return runs / max(same, key=lambda name: (runs / name).stat().st_mtime_ns)
    if not names:
        raise UsageError(f"no run {text!r}: there are none in {runs}; bot backtest CONFIG makes one")
    ends = {found[1]: name for name in names if (found := _IDENTITY.search(name))}
    near = difflib.get_close_matches(text, [*names, *ends], n=3, cutoff=0.5)
    listed = [ends.get(name, name) for name in near] or names[-3:]
    found_names = ", ".join(dict.fromkeys(listed))
    hint = f"did you mean {found_names}?" if near else f"the newest: {found_names}"
    raise UsageError(f"no run {text!r} in {runs}; {hint}")


def find_row(folder: Path, time: str, home: Home, *, anyway: bool = False) -> tuple[dict[str, Any], list[str]]:
    """Return the row of the decision journal of one bar, as plain data, and what is not as it was in the run.

    A backtest keeps no rows: it is run again, with the versions of the models that it had, and the bar is recorded.

    Parameters
    ----------
    folder
        Of the run.
    time
        A moment inside the bar: ISO (UTC unless it says otherwise), or milliseconds UTC.
    home
        Where candles and models are.
    anyway
        Go on where candles, models, rules or code differ from those of the run.

    Raises
    ------
    UsageError
        When the time is none, or lies outside the run or in a gap.
    BotError
        When something differs from the run and ``anyway`` is not given.
    DataError
        When ``result.json`` is damaged.
    """
    moment = moment_ms(time)
    document = _read(folder / _RESULT)
    with progress("Running again") as update:
        update(0.0, "Reading candles and models")
        assembly, differences = _assemble(document, folder, home)
        _refuse(differences, anyway=anyway)
        bar = _bar(assembly, moment)

        from bot.backtest.document import result_document
        from bot.backtest.run import run_backtest
        from bot.decisions import DecisionRow, record_decisions

        rows: list[DecisionRow] = []
        record_decisions(assembly, rows.append, only_ms=bar)
        again = result_document(run_backtest(assembly, update))
    if not differences:
        differences = _unequal(document, again)
        _refuse(differences, anyway=anyway)
    if not rows:
        raise UsageError(f"{folder.name}: the strategy was not asked at the bar of {time}")
    unseen = assembly.candles.open_ms[assembly.out_of_sample_row :]
    return {**rows[0].to_dict(), "in_sample": not len(unseen) or bar < int(unseen[0])}, differences


def _read(path: Path) -> dict[str, Any]:
    """Return the content of ``result.json``."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise DataError(f"{path}: is damaged: {error}") from None
    needed = ("config", "symbol", "data", "rules", "models", "code_version", "last", "timeframe")
    missing = [name for name in needed if not (isinstance(document, dict) and name in document)]
    if missing:
        raise DataError(f"{path}: is not the result of a backtest: it lacks {', '.join(missing)}")
    found: dict[str, Any] = document
    return found


def moment_ms(text: str) -> int:
    """Return milliseconds UTC."""
    if _MILLISECONDS.fullmatch(text.strip()):
        return int(text)

    from bot.market.times import parse_moment

    return parse_moment(text)


def _assemble(document: Mapping[str, Any], folder: Path, home: Home) -> tuple[Assembly, list[str]]:
    """Return the run as it can be built now, and what differs from what it was.

    A series that has grown since is cut where the run ended.
    """
    from bot.assembly import assemble_backtest

    found = []
    last_ms = moment_ms(document["last"])
    for end_ms in (None, last_ms):
        file = _config(document, folder, end_ms)
        assembly = assemble_backtest(file, document["symbol"], home, _cache(home))
        found.append((assembly, _differences(document, assembly)))
        if assembly.series.digest == document["data"]["digest"] or document["config"]["data"]["end"] is not None:
            return found[-1]
    return found[0]


def _config(document: Mapping[str, Any], folder: Path, last_ms: int | None) -> ConfigFile:
    """Return the config of a run, with the versions of the models that it had, ended after a bar where that is given."""
    from pydantic import ValidationError

    from bot.config.loader import ConfigFile
    from bot.config.schema import StrategyConfig
    from ml.candles import format_ms
    from registry.names import timeframe_ms

    config = json.loads(json.dumps(document["config"]))
    for role, model in document["models"].items():
        if (
            model.get("version") is not None and "versions" not in model
        ):  # the champions of the past stand in the ledger
            config["models"][role]["model"] = f"{model['symbol']}/{model['type']}@{model['version']}"
    if last_ms is not None:
        config["data"]["end"] = format_ms(last_ms + timeframe_ms(document["timeframe"]))
    path = folder / _RESULT
    try:
        return ConfigFile(str(path), StrategyConfig.model_validate(config), {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: the config in it is not one of this program's: {place}: {first['msg']}") from None


def _cache(home: Home) -> PredictionCache | None:
    """Return the prediction cache; None where it cannot be used, since it only saves time."""
    from ml.cache import PredictionCache
    from ml.errors import CacheUnavailable

    try:
        return PredictionCache(home.predictions_db) if home.predictions_db.exists() else None
    except CacheUnavailable:
        return None


def _differences(document: Mapping[str, Any], assembly: Assembly) -> list[str]:
    """Return what is not as it was in the run, one text each."""
    from bot.version import code_version

    series, data = assembly.series, document["data"]
    found = []
    if series.digest != data["digest"]:
        found.append(f"the candles (digest {data['digest'][:12]} then, {series.digest[:12]} now)")
    if assembly.rules.to_dict() != document["rules"]:
        found.append(f"the exchange's rules ({document['rules']} then, {assembly.rules.to_dict()} now)")
    for bound in assembly.models:
        recorded = document["models"].get(bound.role, {})
        if "versions" in recorded:
            from bot.backtest.document import model_versions

            if recorded["versions"] != model_versions(bound, assembly):
                found.append(f"the champions of the past of the role {bound.role}")
            continue
        then, now = recorded.get("digest"), bound.engine.digest
        if then != now:
            words = [text[:12] if text else "none" for text in (then, now)]
            found.append(f"the model of the role {bound.role} (digest {words[0]} then, {words[1]} now)")
    if document["code_version"] != code_version():
        found.append(f"the code ({document['code_version']} then, {code_version()} now)")
    return found


def _unequal(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return what came out differently, though everything that was looked at before is the same."""
    if then.get("strategy_code") != now["strategy_code"]:
        return ["the strategy's own file"]
    same = then.get("final_value") == now["final_value"] and then.get("decisions") == now["decisions"]
    return [] if same else ["what came out: the strategy does not decide by its bars alone"]


def _refuse(differences: list[str], *, anyway: bool) -> None:
    """Raise ``BotError`` where something differs."""
    if differences and not anyway:
        raise BotError(
            f"the run cannot be repeated as it was; not the same: {'; '.join(differences)}. --anyway shows the bar as it "
            "would be decided now"
        )


def _bar(assembly: Assembly, moment: int) -> int:
    """Return the open time of the bar that a moment lies in."""
    from ml.candles import format_ms

    candles = assembly.candles
    opens, step = candles.open_ms[assembly.first_row :], candles.step_ms
    first, last = int(opens[0]), int(opens[-1])
    if not first <= moment < last + step:
        raise UsageError(
            f"{shown_moment(moment)} is outside the run: its bars open from {format_ms(first)} to {format_ms(last)}"
        )
    row = int(opens.searchsorted(moment, side="right")) - 1
    if moment >= int(opens[row]) + step:
        raise UsageError(
            f"there is no candle of {shown_moment(moment)}: the one before opens at {format_ms(int(opens[row]))}, the next "
            f"at {format_ms(int(opens[row + 1]))}"
        )
    return int(opens[row])


def shown_moment(moment: int) -> str:
    """Return a moment for a message; one that the calendar does not know as its number."""
    from ml.candles import format_ms

    try:
        return format_ms(moment)
    except (ValueError, OverflowError, OSError):
        return str(moment)
