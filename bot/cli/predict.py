"""``bot predict``: what a registered model says of the newest stored candle."""

from __future__ import annotations

from datetime import UTC, datetime
from math import isnan
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.options import ExchangeOption, HomeOption, JsonOption, TimeframeOption
from bot.cli.output import Report
from bot.cli.predict_path import print_path
from bot.home import Home
from bot.prediction_document import prediction_document
from registry.errors import NoChampion

if TYPE_CHECKING:
    from registry.model import StrategyModel

__all__ = ["predict"]

_REASONS = {
    "warming": "there is not enough history before this bar, or it is off the grid of its timeframe",
    "out_of_distribution": "this bar is unlike anything the model was trained on",
    "error": "the model failed on this bar; the log says why",
}


def predict(
    symbol: Annotated[str, typer.Argument(help="Such as BTCUSDT or BTC/USDT.")],
    model_type: Annotated[str, typer.Option("--type", help="Type of the model, such as basic.")] = "basic",
    timeframe: TimeframeOption = "1h",
    version: Annotated[
        str, typer.Option("--version", help="latest (the champion), newest (promoted or not) or a version.")
    ] = "latest",
    exchange: ExchangeOption = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the prediction for the newest stored candle: direction, confidence, price band and the model behind it."""
    place = Home.resolve(home)
    model = _select(place, symbol, model_type, timeframe, version)

    from bot.market.side_series import attach_for
    from bot.market.store import CandleStore
    from ml.engines import open_engine

    series = CandleStore(place.candles).read(model.symbol, model.timeframe, exchange)
    engine = open_engine(model)
    series = attach_for(series, [engine], place.candles)
    document = prediction_document(engine, model, series, datetime.now(UTC))
    report = Report(as_json=as_json)
    for line in _lines(document):
        report.line(line)
    if "predictions" in document:
        print_path(report, document)
    report.document(document)


def _select(place: Home, symbol: str, model_type: str, timeframe: str, version: str) -> StrategyModel:
    from registry.store import PredictionModelRegistry

    registry = PredictionModelRegistry(place.models)
    try:
        return registry.select_bundle(symbol=symbol, model_type=model_type, timeframe=timeframe, version=version)
    except NoChampion as error:
        raise NoChampion(f"{error}; to see what the newest version says: --version newest") from error


def _lines(document: dict[str, Any]) -> list[str]:
    """Return the same for a person."""
    from bot.cli.model_figures import age_text

    bar, model = document["bar"], document["model"]
    standing = model["status"] if model["promoted"] else f"{model['status']}, never promoted"
    series = f"{document['symbol']} {document['timeframe']} from {document['exchange']}"
    lines = [
        f"{series}, bar of {bar['open_time']}, closed {age_text(bar['age_seconds'])} ago at {bar['close']:,.10g}",
        f"  model       {model['name']} ({standing}), trained until {model['trained_until']}",
        f"  digest      {model['digest'][:16]}",
        f"  status      {document['status']}",
    ]
    if document["status"] != "ok":
        return [*lines, f"  no answer   {_REASONS.get(document['status'], 'the model does not answer for this bar')}"]
    lines += _statement(document)
    if document["in_sample"]:
        lines.append("  note        the model was trained on the outcome of this bar: it is no forecast")
    return lines


def _statement(document: dict[str, Any]) -> list[str]:
    """Return what is predicted, whichever numbers the family states."""
    until, share = document["predicts_until"], f"{100 * document['confidence']:.1f} %"
    if not isnan(document["risk"]):
        verb = "meets" if document["risk"] >= 50 else "is spared"
        return [
            f"  risk        {document['risk']:.1f} of 100: the chance in percent of an adverse move by {until}",
            f"  confidence  {share} that a position {verb} it",
        ]
    if not isnan(document["predicted_volatility"]):
        return [
            f"  volatility  {100 * document['predicted_volatility']:.3f} % by {until} (standard deviation of the return)",
            f"  confidence  {share} that what comes is within a quarter of it",
        ]
    word = document["direction"].lower()
    state = [f"  state       {document['state']}"] if document.get("state") else []
    return [
        *state,
        f"  direction   {word} by {until}",
        f"  confidence  {share} that {word} is right (50 % is no opinion)",
        f"  price       {document['price']:,.8g} expected ({100 * document['expected_return']:+.3f} %)",
        f"  band        {document['low']:,.8g} to {document['high']:,.8g} in 9 of 10 cases",
    ]
