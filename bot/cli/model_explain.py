"""``bot models explain``: what a model looks at, and what moved its answer for one bar."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption
from bot.cli.output import Report
from bot.errors import DataError, StorageError, UsageError
from bot.home import Home
from bot.model_selection import runnable_registry, select_model
from registry.errors import suggestion

if TYPE_CHECKING:
    from bot.market.store import StoredSeries
    from ml.candles import Candles
    from ml.training.explain import Contributions
    from registry.model import StrategyModel

__all__ = ["explain"]

_WITHOUT_TREES = {
    "ensemble": "it combines other models: explain its members (`bot models show` names them)",
}


def explain(
    symbol: Annotated[str, typer.Argument(metavar="SYMBOL", help="Such as BTCUSDT or BTC/USDT.")],
    model_type: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the model, such as basic.")],
    version: Annotated[
        str | None, typer.Option("--version", help="latest, newest or a version [default: the champion, else newest].")
    ] = None,
    timeframe: Annotated[
        str | None, typer.Option("--timeframe", help="Needed only where the model has several timeframes.")
    ] = None,
    time: Annotated[
        str | None, typer.Option("--time", help="Open time of the bar to explain, UTC [default: the newest].")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", help="Of models of candles: open, high, low or close [default: close].")
    ] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="How many features to show.")] = 20,
    png: Annotated[
        Path | None, typer.Option("--png", help="Draw the importance into this file (20 features at most).")
    ] = None,
    exchange: ExchangeOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show which features the trees of a model use most, and what each added to the score of one bar.

    The shares of the gain are of all training bars. The contributions of one bar sum to its raw score (Tree SHAP); they say
    what the model did, not what moves the market.
    """
    from ml.training.explain import contributions, gain_importance

    place = Home.resolve(home)
    model = select_model(runnable_registry(place.models), symbol, model_type, timeframe, version)
    text = model.read(_trees(model, part))
    shares = gain_importance(text)
    series, candles = _candles(place, model, exchange, time)
    row = _row(model, candles)
    report = Report(as_json=as_json)
    ranked = sorted(shares.items(), key=lambda item: (-item[1], item[0]))
    report.table(
        f"{model}: share of the gain", ("feature", "share"),
        [[name, f"{100 * share:.2f} %"] for name, share in ranked[:top]],
    )  # fmt: skip
    document: dict[str, Any] = {"model": str(model), "part": part, "importance": dict(ranked), "png": None}
    if png is not None:
        _draw(png, dict(ranked[:top]), str(model))
        report.line(f"Drawn into {png}")
        document["png"] = str(png)
    report.line()
    found = contributions(text, row)
    values = dict(zip(shares, row.tolist(), strict=True))
    document["bar"] = _bar(report, series, candles, found, values, top)
    report.document(document)


def _trees(model: StrategyModel, part: str | None) -> str:
    """Return the name of the bundle's file of trees."""
    from ml.training.explain import TREE_FILES, tree_file

    names = set(model.manifest.files)
    name = tree_file(names, part)
    if name is not None:
        return name
    held = [each.removesuffix(".txt") for each in TREE_FILES if each in names and each != "model.txt"]
    if part is not None and (held or "model.txt" in names):
        choice = f"; it has {', '.join(held)}" if held else ": it is one model"
        raise UsageError(f"{model} has no part {part!r}{suggestion(part, held)}{choice}")
    why = _WITHOUT_TREES.get(
        model.model_type, "its kind of model (a network or a kernel machine) has no splits to count"
    )
    raise UsageError(f"{model} has no trees to explain: {why}")


def _candles(place: Home, model: StrategyModel, exchange: str | None, time: str | None) -> tuple[StoredSeries, Candles]:
    """Return the stored series and its candles up to the bar to explain."""
    import numpy as np

    from bot.market.side_series import attach_for
    from bot.market.store import CandleStore
    from bot.market.times import parse_moment
    from ml.candles import format_ms
    from ml.engines import open_engine

    series = CandleStore(place.candles).read(model.symbol, model.timeframe, exchange)
    series = attach_for(series, [open_engine(model)], place.candles)
    candles = series.candles
    if not len(candles):
        raise DataError(f"{model.symbol} {model.timeframe} from {series.exchange} holds no candle")
    if time is None:
        return series, candles
    wanted = parse_moment(time)
    place_of = int(np.searchsorted(candles.open_ms, wanted))
    if place_of == len(candles) or candles.open_ms[place_of] != wanted:
        near = candles.open_ms[min(place_of, len(candles) - 1)]
        raise UsageError(
            f"no bar of {model.symbol} {model.timeframe} from {series.exchange} opens at {format_ms(wanted)}; the nearest is "
            f"{format_ms(int(near))}"
        )
    return series, candles.slice(0, place_of + 1)


def _row(model: StrategyModel, candles: Candles) -> Any:
    from ml.candles import format_ms
    from ml.features.pipeline import FeaturePipeline

    matrix = FeaturePipeline(model.runner.schema).latest(candles)
    if not matrix.valid[0] or candles.off_grid[-1]:
        raise UsageError(
            f"the bar of {format_ms(int(candles.open_ms[-1]))} has no features: there is not enough history before it, or it "
            "is off the grid of its timeframe; choose a later one with --time"
        )
    return matrix.rows[0]


def _bar(
    report: Report,
    series: StoredSeries,
    candles: Candles,
    found: Contributions,
    values: dict[str, float],
    top: int,
) -> dict[str, Any]:
    """Print what moved the score of the last bar, and return it as JSON."""
    from ml.candles import format_ms

    opened = format_ms(int(candles.open_ms[-1]))
    title = f"{series.symbol} {series.timeframe}, bar of {opened}: what moved the score"
    rows = [[name, f"{values[name]:.5g}", f"{share:+.5f}"] for name, share in found.largest(top)]
    rest = found.score - found.base - sum(share for _, share in found.largest(top))
    if len(found.values) > top:
        rows.append([f"{len(found.values) - top} others", "", f"{rest:+.5f}"])
    rows += [["mean score of the training bars", "", f"{found.base:+.5f}"], ["raw score", "", f"{found.score:+.5f}"]]
    report.table(title, ("feature", "value", "added"), rows)
    return {
        "open_time": opened,
        "open_ms": int(candles.open_ms[-1]),
        "score": found.score,
        "base": found.base,
        "contributions": dict(found.values),
        "values": values,
    }


def _draw(png: Path, shares: dict[str, float], title: str) -> None:
    """Write a bar chart of at most 20 features."""
    from ml.training.plots import importance_plot

    content = importance_plot(shares, title=title)
    try:
        png.write_bytes(content)
    except OSError as error:
        raise StorageError(f"cannot write {png}: {error.strerror or error}") from error
