"""``bot data``: candles in, and what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.home import Home

if TYPE_CHECKING:
    from bot.market.store import MergeReport

__all__ = ["app"]

app = typer.Typer(help="Candles: import, download, simulate, list and check them.", no_args_is_help=True)


@app.command("synth")
def synth(
    symbol: Annotated[str, typer.Option("--symbol", help="Name to store it under.")] = "SYNTH",
    bars: Annotated[int, typer.Option("--bars", help="How many candles.")] = 17_520,
    edge: Annotated[
        float, typer.Option("--edge", help="Planted edge: the next bar rises with 0.5 + edge; 0 is a martingale.")
    ] = 0.06,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same candles.")] = 0,
    timeframe: Annotated[str, typer.Option("--timeframe", help="Length of a candle: 1m, 5m, 1h, 1d.")] = "1h",
    exchange: Annotated[str, typer.Option("--exchange", help="Source name to store it under.")] = "synth",
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a market with a planted edge and store it; replaces an earlier one of that name."""
    from bot.market.store import CandleStore
    from bot.market.synth import store_synthetic

    store = CandleStore(Home.resolve(home).candles)
    done = store_synthetic(store, symbol, bars=bars, edge=edge, seed=seed, timeframe=timeframe, exchange=exchange)
    report = Report(as_json=as_json)
    report.line(f"{done.header.symbol} {timeframe} from {done.header.exchange}: {_extent(done)}")
    planted = f"a planted edge of {edge:g}: any skill found in it was put there" if edge else "no edge: a martingale"
    report.line(f"This is the built-in market with {planted}.")
    report.document({**_document(done), "edge": edge, "seed": seed})


def _extent(done: MergeReport) -> str:
    from ml.candles import format_ms

    header = done.header
    return f"{header.bars} bars, {format_ms(header.first_ms)} to {format_ms(header.last_ms)}"


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
