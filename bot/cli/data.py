"""``bot data``: candles in, and what is there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption, TimeframeOption
from bot.cli.output import Report, progress
from bot.errors import UsageError
from bot.home import Home
from bot.wall_clock import wall_ms
from registry.errors import suggestion

if TYPE_CHECKING:
    from bot.market.store import CandleStore, MergeReport

__all__ = ["app"]

_SHOWN = 5  # examples of each kind on the screen; --json has all

app = typer.Typer(help="Candles: import, download, simulate, list and check them.", no_args_is_help=True)


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV (plain, .gz, .zip), Parquet or Feather.")],
    symbol: Annotated[str | None, typer.Option("--symbol", help="Of candles: such as BTCUSDT or BTC/USDT.")] = None,
    timeframe: Annotated[str | None, typer.Option("--timeframe", help="Of candles: 1m, 5m, 1h, 1d.")] = None,
    exchange: Annotated[str, typer.Option("--exchange", help="Source name to store it under.")] = "local",
    kind: Annotated[str, typer.Option("--kind", help="candles, or sentiment: a time and a value a row.")] = "candles",
    name: Annotated[
        str | None, typer.Option("--name", help="Of sentiment: what to call it [default: fear_and_greed].")
    ] = None,
    column: Annotated[
        list[str] | None, typer.Option("--column", help="Of sentiment: value=NAME or time=NAME in the file.")
    ] = None,
    scale: Annotated[
        tuple[float, float], typer.Option("--scale", help="Of sentiment: values of extreme fear and extreme greed.")
    ] = (0.0, 100.0),
    publication_delay: Annotated[
        str | None,
        typer.Option(
            "--publication-delay", help="Of sentiment: how long after its time a value is known [default: 0s]."
        ),
    ] = None,
    max_age: Annotated[
        str | None, typer.Option("--max-age", help="Of sentiment: after this a value says nothing [default: 7d].")
    ] = None,
    sort: Annotated[bool, typer.Option("--sort", help="Put rows in order of time.")] = False,
    drop_duplicates: Annotated[
        bool, typer.Option("--drop-duplicates", help="Leave out rows that repeat another in every value.")
    ] = False,
    widen_ranges: Annotated[
        bool, typer.Option("--widen-ranges", help="Move low and high where they do not hold open and close.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace the stored series instead of merging.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Read a file of candles or of sentiment, judge it, and merge it into the store."""
    if kind == "sentiment":
        from bot.cli.data_sentiment import import_sentiment

        if symbol is not None or timeframe is not None or widen_ranges:
            raise UsageError("a series of sentiment has no --symbol, --timeframe or --widen-ranges: it has a --name")
        import_sentiment(
            Report(as_json=as_json),
            Home.resolve(home).candles,
            file,
            wall_ms(),
            name=name,
            columns=column or [],
            scale=scale,
            delay=publication_delay,
            max_age=max_age,
            sort=sort,
            drop_duplicates=drop_duplicates,
            replace=replace,
        )
        return
    if kind != "candles":
        raise UsageError(f"--kind {kind!r}: expected candles or sentiment{suggestion(kind, ('candles', 'sentiment'))}")
    if symbol is None or timeframe is None:
        lacking = "--symbol" if symbol is None else "--timeframe"
        raise UsageError(f"candles need {lacking}: bot data import {file.name} --symbol BTCUSDT --timeframe 1h")
    if name or column or publication_delay or max_age or scale != (0.0, 100.0):
        raise UsageError("--name, --column, --scale, --publication-delay and --max-age are for --kind sentiment")

    from bot.market.importer import read_candles
    from bot.market.quality import find_gaps
    from bot.market.series_file import MarketTerms

    store = _store(home)
    store.path(symbol, timeframe, exchange)  # names are judged before a long read
    found = read_candles(
        file, timeframe, wall_ms(), sort=sort, drop_duplicates=drop_duplicates, widen_ranges=widen_ranges
    )
    write = store.write if replace else store.merge
    done = write(found.candles, symbol, exchange, MarketTerms(origin=f"file {file.name}"))
    gaps = [gap for gap in find_gaps(found.candles.open_ms, found.candles.step_ms) if not gap.closed]
    off_grid = int(found.candles.off_grid.sum())

    report = Report(as_json=as_json)
    _tell(report, done)
    for note in found.notes:
        report.line(f"note: {note}")
    if gaps or off_grid:
        missing = sum(gap.missing for gap in gaps)
        report.line(
            f"note: {len(gaps)} gaps ({missing} bars missing), {off_grid} bars off the grid; `bot data check` lists them"
        )
    report.document(
        {
            **_document(done),
            "file": str(file),
            "rows": len(found.candles),
            "gaps": len(gaps),
            "missing_bars": sum(gap.missing for gap in gaps),
            "off_grid": off_grid,
            "notes": list(found.notes),
        }
    )


@app.command("download")
def download(
    symbol: Annotated[str, typer.Argument(help="Such as BTC/USDT or BTCUSDT.")],
    exchange: Annotated[str, typer.Option("--exchange", help="A name of ccxt, such as binance or kraken.")],
    timeframe: TimeframeOption,
    start: Annotated[str, typer.Option("--start", help="First day or time, UTC, such as 2023-01-01.")],
    end: Annotated[str | None, typer.Option("--end", help="Last day, included, or time [default: now].")] = None,
    refresh: Annotated[bool, typer.Option("--refresh", help="Ask again for what is stored.")] = False,
    url: Annotated[
        str | None, typer.Option("--url", help="A server that speaks Binance's protocol, in place of Binance.")
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch closed candles from an exchange; goes on where the store ends, and keeps what it has when interrupted."""
    from bot.market.download import Download
    from bot.market.exchanges import ExchangeSource, connect
    from bot.market.store import MergeReport
    from bot.market.times import parse_moment
    from ml.candles import format_ms

    start_ms = parse_moment(start)
    end_ms = None if end is None else parse_moment(end, whole_day=True)
    source = ExchangeSource(connect(exchange, url=url), symbol, timeframe, wall_ms)
    job = Download(source, _store(home))
    try:
        with progress(f"Downloading {source.symbol} {timeframe}") as update:
            done = job.run(start_ms, end_ms, update, refresh=refresh)
    except KeyboardInterrupt:
        print(f"interrupted{job.kept}", file=sys.stderr)
        raise
    report = Report(as_json=as_json)
    if done.header is None:
        report.line(f"{source.exchange} has no candles of {source.symbol} {timeframe} in that time")
        report.document({"symbol": source.symbol, "exchange": source.exchange, "timeframe": timeframe, "bars": 0})
        return
    written = MergeReport(done.added, done.unchanged, done.header, done.revised)
    _tell(report, written)
    if not done.requests:
        report.line(f"nothing was asked: all of it until {format_ms(done.until_ms)} is stored already")
    report.document({**_document(written), "fetched": done.fetched, "requests": done.requests})


@app.command("synth")
def synth(
    symbol: Annotated[str, typer.Option("--symbol", help="Name to store it under.")] = "SYNTH",
    bars: Annotated[int, typer.Option("--bars", help="How many candles.")] = 17_520,
    edge: Annotated[
        float, typer.Option("--edge", help="Planted edge: the next bar rises with 0.5 + edge; 0 is a martingale.")
    ] = 0.06,
    path_drift: Annotated[
        float,
        typer.Option("--path-drift", help="Planted drift that lasts, for paths of prices, such as 0.2; 0 is none."),
    ] = 0.0,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same candles.")] = 0,
    timeframe: Annotated[str, typer.Option("--timeframe", help="Length of a candle: 1m, 5m, 1h, 1d.")] = "1h",
    exchange: Annotated[str, typer.Option("--exchange", help="Source name to store it under.")] = "synth",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a market with a planted edge and store it; replaces an earlier one of that name."""
    from bot.market.synth import store_synthetic

    done = store_synthetic(
        _store(home),
        symbol,
        bars=bars,
        edge=edge,
        path_drift=path_drift,
        seed=seed,
        timeframe=timeframe,
        exchange=exchange,
    )
    report = Report(as_json=as_json)
    _tell(report, done)
    planted = " and ".join(
        f"a planted {what} of {size:g}" for what, size in (("edge", edge), ("path drift", path_drift)) if size
    )
    said = f"{planted}: any skill found in it was put there" if planted else "no edge: a martingale"
    report.line(f"This is the built-in market with {said}.")
    report.document({**_document(done), "edge": edge, "path_drift": path_drift, "seed": seed})


@app.command("list")
def list_series(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Show every series in the store."""
    from bot.cli.data_sentiment import list_sentiment
    from bot.market.listing import describe_series

    store = _store(home)
    report = Report(as_json=as_json)
    rows = [describe_series(series) for series in store.list()]
    columns = ("symbol", "timeframe", "exchange", "bars", "first", "last", "features_from")
    if rows:
        report.table(f"Candles under {store.root}", columns, [[row[column] for column in columns] for row in rows])
    else:
        report.line(f"No candles under {store.root} yet: `bot data synth`, `bot data import` or `bot data download`.")
    for row in rows:
        if row["problem"]:
            report.line(f"problem: {row['problem']}")
    sentiment = list_sentiment(report, store.root)
    report.document({"root": str(store.root), "series": rows, "sentiment": sentiment})


@app.command("check")
def check(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT or BTC/USDT.")],
    timeframe: TimeframeOption,
    exchange: ExchangeOption = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit 3 for gaps, off-grid bars and jumps too.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Look for faults in a stored series; exits 3 when there are any.

    Faults are what no market makes: duplicates, disorder, prices outside low and high, changed bytes. Gaps, off-grid bars,
    jumps and bars without volume happen in real markets: they are reported, and count only with --strict.
    """
    from bot.market.checking import check_series

    found = check_series(_store(home).find(symbol, timeframe, exchange))
    report = Report(as_json=as_json)
    report.line(f"{found.symbol} {timeframe} from {found.exchange}: {found.extent}")
    for line in found.lines(_SHOWN):
        report.line(line)
    bad = bool(found.faults) or (strict and found.remarkable)
    report.line("faults: " + ", ".join(found.faults) if found.faults else "no faults")
    report.document({**found.document(), "strict": strict, "ok": not bad})
    if bad:
        raise typer.Exit(3)


def _store(home: Path | None) -> CandleStore:
    from bot.market.store import CandleStore

    return CandleStore(Home.resolve(home).candles)


def _tell(report: Report, done: MergeReport) -> None:
    """Print what a write did."""
    from ml.candles import format_ms

    header = done.header
    span = f"{header.bars} bars, {format_ms(header.first_ms)} to {format_ms(header.last_ms)}"
    report.line(f"{header.symbol} {header.timeframe} from {header.exchange}: {span}")
    report.line(f"{done.added} added, {done.unchanged} unchanged, {len(done.revised)} revised")
    if done.revised:
        more = f" and {len(done.revised) - _SHOWN} more" if len(done.revised) > _SHOWN else ""
        report.line(f"revised (the newer values won): {', '.join(map(format_ms, done.revised[:_SHOWN]))}{more}")


def _document(done: MergeReport) -> dict[str, Any]:
    from ml.candles import format_ms

    header = done.header
    return {
        "symbol": header.symbol,
        "exchange": header.exchange,
        "timeframe": header.timeframe,
        "bars": header.bars,
        "first": format_ms(header.first_ms),
        "last": format_ms(header.last_ms),
        "added": done.added,
        "unchanged": done.unchanged,
        "revised": [format_ms(time) for time in done.revised],
        "columns": list(header.columns),
        "digest": header.digest,
    }
