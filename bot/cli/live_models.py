"""``bot live-control list-models``, ``deploy-model`` and ``train``: the models of a running bot."""

from __future__ import annotations

import io
import json
from contextlib import nullcontext, redirect_stdout
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.live_bots import (
    BotOption,
    QueueOption,
    WaitOption,
    choose,
    open_state,
    require_running,
    tell,
)
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.errors import BotError, UsageError
from bot.home import Home
from bot.live.last_words import last_words
from bot.model_selection import open_registry, select_reference
from registry.errors import suggestion
from registry.names import AS_OF, NO_MODEL, ModelReference, normalise_symbol, parse_reference

if TYPE_CHECKING:
    from pathlib import Path

    from bot.live.status import LiveStatus

__all__ = ["deploy_model", "list_models", "train"]

RoleArgument = Annotated[str, typer.Argument(metavar="ROLE", help="Role of the strategy, such as prediction.")]


def list_models(bot: BotOption = None, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """List the models of the bot's symbols.

    Every version of its timeframe; ``*`` marks the champion.
    """
    from bot.cli import models
    from bot.model_rows import model_row

    with open_state(home) as state:
        words = last_words(choose(state, bot))
    bound = [parse_reference(said.model).symbol for each in words.symbols for said in each.predictions]
    symbols = list(dict.fromkeys([*(each.symbol for each in words.symbols), *bound]))
    if not as_json:
        for symbol in symbols:
            models.list_models(symbol, None, words.timeframe, home)
        return
    root = Home.resolve(home).models
    registry, now = open_registry(root), datetime.now(UTC)
    rows = [model_row(model, now) for each in symbols for model in registry.list_bundles(each, None, words.timeframe)]
    Report(as_json=True).document({"bot": words.bot, "root": str(root), "models": rows})


def deploy_model(
    role: RoleArgument,
    reference: Annotated[
        str,
        typer.Argument(
            metavar="REFERENCE", help="SYMBOL/TYPE@latest, @newest or @VERSION, {symbol} for each; or none."
        ),
    ],
    bot: BotOption = None,
    wait: WaitOption = 30.0,
    queue: QueueOption = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give a role of the bot another model.

    It takes effect between two bars, never inside one. ``none`` takes the model away: nothing is opened from the next bar on,
    and open positions keep their stops (or are closed, by ``risk: {on_no_model: close}``).
    """
    report = Report(as_json=as_json)
    with open_state(home) as state:
        control = choose(state, bot)
        versions = _versions(last_words(control), role, reference, Home.resolve(home))
        arguments = {"role": role, "model": reference, "versions": versions}
        outcome = tell(control, "deploy-model", arguments, wait=wait, queue=queue)
    for symbol, version in versions.items():
        report.line(f"{symbol} {role}: {version}")
    report.line(f"{outcome['bot']}: {outcome['answer']}")
    report.document(outcome)


def train(
    role: RoleArgument,
    symbol: Annotated[
        str | None, typer.Option("--symbol", help="Which of the bot's symbols [default: its only one].")
    ] = None,
    start_date: Annotated[str | None, typer.Option("--start-date", help="First day, or moment, UTC.")] = None,
    end_date: Annotated[str | None, typer.Option("--end-date", help="Last day, all of it, or moment, UTC.")] = None,
    params: Annotated[
        list[str] | None, typer.Option("--params", help="Parameters of the model: key=value, repeated or with commas.")
    ] = None,
    features: Annotated[
        list[str] | None, typer.Option("--features", help="Names or groups, with commas or repeated [default: all].")
    ] = None,
    no_promote: Annotated[bool, typer.Option("--no-promote", help="Register only, whatever the gate says.")] = False,
    deploy: Annotated[bool, typer.Option("--deploy", help="Then give it to the bot, promoted or not.")] = False,
    bot: BotOption = None,
    wait: WaitOption = 30.0,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Train the model of a role anew.

    As ``bot train model`` does; the bot trades on meanwhile.
    """
    from bot.cli import train as training

    with open_state(home) as state:
        control = choose(state, bot)
        words = last_words(control)
        if deploy:  # before the work, not after it
            require_running(control, may_queue=False)
    feed = _one_symbol(words, symbol)
    model = _bound_model(words, role, feed)
    before = _newest(home, model, words.timeframe)
    printed = io.StringIO()
    with redirect_stdout(printed) if as_json else nullcontext():  # its document becomes a part of ours
        training.model(
            model.symbol,
            model.model_type,
            timeframe=words.timeframe,
            start_date=start_date,
            end_date=end_date,
            params=params,
            features=features,
            no_promote=no_promote,
            home=home,
            as_json=as_json,
        )
    report = Report(as_json=as_json)
    outcome: dict[str, Any] | None = None
    if deploy:
        made = _newest(home, model, words.timeframe)
        if made is None or made == before:
            raise BotError("the training registered no version, so there is nothing to deploy")
        reference = f"{model.symbol}/{model.model_type}@{made}"
        arguments = {"role": role, "model": reference, "versions": {feed: reference}}
        try:
            with open_state(home) as state:
                outcome = tell(choose(state, words.bot), "deploy-model", arguments, wait=wait)
        except BotError as error:
            raise BotError(f"{reference} is registered, but not deployed: {error}") from None
        report.line(f"{outcome['bot']}: {outcome['answer']}")
    if as_json:
        report.document(json.loads(printed.getvalue()) | {"bot": words.bot, "role": role, "deployed": outcome})


def _versions(words: LiveStatus, role: str, text: str, home: Home) -> dict[str, str]:
    """Return which version the reference names for each symbol that it is meant for, checked against the registry."""
    registry = open_registry(home.models)
    found = {}
    if text.strip() == NO_MODEL:
        for symbol in [each.symbol for each in words.symbols]:
            played = _bound_model(words, role, symbol)
            found[symbol] = str(ModelReference(played.symbol, played.model_type, NO_MODEL))
        return found
    for symbol in _meant(words, role, text):
        reference = text.replace("{symbol}", symbol)
        wanted = parse_reference(reference)
        selector = wanted.selector
        if selector == NO_MODEL:
            found[symbol] = str(wanted)
            continue
        if selector == AS_OF:  # now is now
            reference = str(ModelReference(wanted.symbol, wanted.model_type, "latest"))
        if selector == "newest" and words.mode == "real":
            raise UsageError(f"{words.bot} trades real money and takes no @newest: name a version, or promote it first")
        model = select_reference(registry, reference, words.timeframe)
        found[symbol] = f"{model.symbol}/{model.model_type}@{model.version_id}"
    return found


def _meant(words: LiveStatus, role: str, text: str) -> list[str]:
    """Return the symbols whose role the reference shall play."""
    symbols = [each.symbol for each in words.symbols]
    for symbol in symbols:
        _bound_model(words, role, symbol)
    if "{symbol}" in text:
        return symbols
    named = parse_reference(text).symbol
    meant = [symbol for symbol in symbols if named in {symbol, _bound_model(words, role, symbol).symbol}]
    if meant:
        return meant
    raise UsageError(
        f"{text!r} is a model of {named}, but {words.bot} trades {', '.join(symbols)}: "
        "name a model of one of them, or write {symbol}/TYPE@... for each"
    )


def _bound_model(words: LiveStatus, role: str, symbol: str) -> ModelReference:
    """Return what plays a role for a symbol."""
    said = {each.role: each.model for one in words.symbols if one.symbol == symbol for each in one.predictions}
    if role not in said:
        known = f"; it has {', '.join(said)}" if said else ": its strategy reads no models"
        raise UsageError(f"{words.bot} has no role {role!r}{suggestion(role, list(said))}{known}")
    return parse_reference(said[role])


def _one_symbol(words: LiveStatus, symbol: str | None) -> str:
    symbols = [each.symbol for each in words.symbols]
    if symbol is None and len(symbols) != 1:
        raise UsageError(f"{words.bot} trades {', '.join(symbols) or 'nothing yet'}: choose one with --symbol")
    chosen = symbols[0] if symbol is None else normalise_symbol(symbol)
    if chosen not in symbols:
        raise UsageError(f"{words.bot} does not trade {chosen}; it trades {', '.join(symbols)}")
    return chosen


def _newest(home: Path | None, model: ModelReference, timeframe: str) -> str | None:
    """Return the version that was registered last."""
    found = open_registry(Home.resolve(home).models).list_bundles(model.symbol, model.model_type, timeframe)
    return max(found, key=lambda each: each.registered_at).version_id if found else None
