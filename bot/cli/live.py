"""``bot live``: trade a config, on paper unless told otherwise."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli.backtest import light_start
from bot.cli.options import HomeOption, JsonOption
from bot.cli.output import Report
from bot.home import Home

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bot.config.loader import ConfigFile
    from bot.live.runner import LiveRun
    from bot.live.status import LiveStatus

__all__ = ["live"]

_ALERTS_S = 3.0  # for the last alerts: whoever stops a bot waits for its end
_SAME_S = 0.5  # supervisors that signal the process and its group send everything twice


def live(
    config: Annotated[Path, typer.Argument(help="YAML file of the strategy.")],
    check: Annotated[
        bool, typer.Option("--check", help="Look at everything that trading needs, and do not trade.")
    ] = False,
    real_money: Annotated[
        bool, typer.Option("--real-money", help="With `mode: real` and keys in the environment: trade with money.")
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option("--speed", help="Of the exchange inside this process: market seconds a second [60].", min=0.001),
    ] = None,
    new_run: Annotated[
        bool, typer.Option("--new-run", help="Close the earlier run, which must hold nothing, and begin another.")
    ] = False,
    accept_account: Annotated[
        bool, typer.Option("--accept-account", help="Go on though the account holds what the journal does not explain.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Trade a strategy as its backtest does, until it is stopped; a restart goes on where it was.

    Paper is the default: the local exchange (`exchange: sim`), or the public candles of a real one with simulated fills.
    """
    from bot.config.loader import load_config

    file = load_config(config)
    _check_mode(file, real_money=real_money, is_check=check)
    where = Home.resolve(home)
    report = Report(as_json=as_json)
    with light_start(file):
        if check:
            from bot.cli.live_check import print_checks

            print_checks(file, where, report)
            return
        status = _trade(file, where, report, speed=speed, new_run=new_run, accept_account=accept_account)
    report.document(status.to_dict())
    report.line(
        f"{status.bot} stopped after {status.bars:,} bars: value {status.value:,.2f} of {status.initial_value:,.2f} at the "
        f"start; run {status.run_id[:8]}"
    )


def _check_mode(file: ConfigFile, *, real_money: bool, is_check: bool) -> None:
    settings = file.config.live
    if settings.mode == "real" and settings.exchange == "sim":
        raise file.error(
            ("live", "mode"), "mode real needs a real exchange; sim is the local one, which trades on paper"
        )
    if settings.mode == "real" and not (real_money or is_check):
        raise file.error(
            ("live", "mode"), "mode real trades with money: say so on the command line, too: bot live ... --real-money"
        )
    if real_money and settings.mode != "real":
        raise file.error(("live", "mode"), f"--real-money goes with mode: real; this config says {settings.mode}")
    if settings.mode == "real" and any("@newest" in role.model for role in file.config.models.values()):
        raise file.error(
            ("models",), "@newest is for research: mode real trades promoted models (@latest) or a fixed version"
        )


def _trade(
    file: ConfigFile, where: Home, report: Report, *, speed: float | None, new_run: bool, accept_account: bool
) -> LiveStatus:
    """Open everything, trade until the end, and return the last status."""
    from bot.alerts import Alerts
    from bot.live.control import Control
    from bot.live.launch import launched
    from bot.live.view import LiveView

    last: list[LiveStatus] = []
    alerts = Alerts.from_environment(file.config.live.alerts, name=file.config.name)
    with ExitStack() as stack:
        stack.callback(alerts.close, _ALERTS_S)
        started = stack.enter_context(
            launched(
                file,
                where,
                speed=speed,
                new_run=new_run,
                accept_account=accept_account,
                on_alert=alerts.send,
                tell=report.line,
            )
        )
        run = started.run
        stack.enter_context(_stopped_by_signals(run))
        view = stack.enter_context(LiveView(as_json=report.as_json))

        def show(status: LiveStatus) -> None:
            last[:] = [status]
            view.update(status)

        run.start()
        alerts.send("lifecycle", f"{file.config.name} trades {run.venue.mode} on {run.venue.exchange}")
        try:
            run.watch(Control(started.state, file.config.name, run.now_ms), show)
        except Exception as error:
            alerts.send("errors", f"{file.config.name} has stopped: {error}")
            raise
        finally:
            if run.left_open:
                print(f"left open: {run.left_open}", file=sys.stderr)
        left = f"; left open: {run.left_open}" if run.left_open else ""
        alerts.send("lifecycle", f"{file.config.name} was stopped; resting stops stay on the exchange{left}")
    return last[0]


@contextmanager
def _stopped_by_signals(run: LiveRun) -> Iterator[None]:
    """End the run in order at Ctrl-C or SIGTERM; a second one, a moment later, ends it at once."""
    before: dict[int, Any] = {}
    asked_at: list[float] = []

    def end(number: int, _frame: Any) -> None:
        if not asked_at:
            asked_at.append(time.monotonic())
            run.stop(signal.Signals(number).name)
            print("stopping: what was ordered is seen through; again to stop at once", file=sys.stderr)
        elif time.monotonic() - asked_at[0] > _SAME_S:
            for each, handler in before.items():
                signal.signal(each, handler)
            signal.raise_signal(number)

    for wanted in (signal.SIGINT, signal.SIGTERM):
        before[wanted] = signal.signal(wanted, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
