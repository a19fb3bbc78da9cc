"""What the operator does to a running bot, by commands and by the kill switch, and the look at the account now and then."""

from __future__ import annotations

import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from bot.errors import BotError
from bot.live.dry import DryRunBroker
from bot.live.following import Turn, first_bar_ms, next_turn
from bot.live.inquiry import Stopped
from bot.live.kill_switch import KillSwitch
from bot.live.opening import held_by
from bot.live.reconcile import account_problems
from bot.live.versions import open_version, put_in_force
from ml.engines import open_bundle, open_engine
from registry.names import timeframe_ms
from registry.store import PredictionModelRegistry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bot.binding import BoundModel
    from bot.live.control import Command, Control
    from bot.live.runner import LiveRun
    from bot.state import StateDatabase

__all__ = ["Operator"]

_AUDIT_S = 60.0
_STOPPED = "the bot was stopped before the exchange had answered; its next start looks up what was sent"
_ANSWER_S = 120.0  # until whoever sent a command is told that it takes longer


class Operator:
    """Carries out commands, one after the other.

    Parameters
    ----------
    run
        The bot.
    state
        Where deployed versions are written down.

    ``unfinished`` names the commands that the end of the run has cut off.
    """

    def __init__(self, run: LiveRun, state: StateDatabase) -> None:
        self._run, self._state = run, state
        self._switch = KillSwitch(run.home.root)
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="operator")
        self._ended: Future[None] = Future()
        self.unfinished: list[str] = []
        self._killed = False
        self._audited = time.monotonic()
        self._doubts: list[str] = []

    def close(self) -> None:
        """Answer the commands that are not finished: with the run ends what they wait for."""
        if not self._ended.done():
            self._ended.set_result(None)
        self._worker.shutdown()

    def pause(self, reason: str) -> None:
        """Forbid entries until ``resume``; this survives a restart."""
        self._run.gates.pause(reason)
        self._run.journal.event("pause", reason, self._run.now_ms())
        self._run.on_alert("protections", f"paused: {reason}")

    def resume(self) -> None:
        """Allow entries again."""
        self._run.gates.resume()
        self._run.journal.event("resume", "", self._run.now_ms())

    def close_all(self, reason: str) -> str:
        """Pause, cancel every order and sell what is held, at once; returns what was done."""
        self.pause(reason)
        asked = [self._ask_close(symbol) for symbol in self._run.assemblies]
        return "; ".join(self._answer_of(future) for future in asked)

    def _answer_of(self, future: Future[str]) -> str:
        """Return what a future tells once it does; raises ``Stopped`` where the run ends before."""
        either: list[Future[Any]] = [future, self._ended]
        done, _ = wait(either, _ANSWER_S, FIRST_COMPLETED)
        if future in done:
            return future.result()
        if not done:
            raise BotError(f"the exchange has not answered within {_ANSWER_S:g} s; it is asked again until it does")
        raise Stopped

    def _ask_close(self, symbol: str) -> Future[str]:
        broker = self._run.assemblies[symbol].broker
        if isinstance(broker, DryRunBroker):
            return broker.ask_close()
        return self._run.store.call(partial(self._close_out, symbol))

    def _close_out(self, symbol: str) -> str:
        held = partial(held_by, self._run.journal, symbol)
        return self._run.store.desk.close_out(symbol, held, self._run.store.released_ms(symbol), self._run.tag)

    def deploy(self, role: str, versions: dict[str, str]) -> str:
        """Let other versions, or none, answer a role from the next bar on; returns what was done."""
        registry = PredictionModelRegistry(self._run.home.models, open_bundle)
        config = self._run.file.config
        limit = config.models[role].expires_after_ms
        turns = {}
        for symbol, text in versions.items():
            model = open_version(registry, text, file_timeframe=config.timeframe)
            turns[symbol] = Turn(open_engine(model, expires_after_ms=limit), None, "" if model else "by command")
        return self._take_over(role, turns)

    def follow(self, role: str, symbols: Iterable[str], reason: str = "") -> str:
        """Let the champion of now answer a role from the next bar on, if it does not yet; returns what was done."""
        home, timeframe = self._run.home, self._run.file.config.timeframe
        try:
            found = {symbol: next_turn(home, timeframe, self._bound(symbol, role)) for symbol in symbols}
            turns = {symbol: turn for symbol, turn in found.items() if turn is not None}
            if not turns:
                return f"{role}: the champion answers already"
            answer = self._take_over(role, turns)
        except Exception as error:  # whoever sent it does not wait for an answer
            self._run.on_event("errors", None, f"{role} does not follow the champion: {error}")
            raise
        self._run.on_event("lifecycle", None, f"{answer}: {reason}" if reason else answer)
        return answer

    def look_for_champions(self) -> None:
        """Let every role that follows the champion look for it, in the operator's own thread; for the start of a run.

        A champion that was promoted while the bot started was told to nobody.
        """
        for role, wanted in self._run.file.config.models.items():
            if wanted.follows:
                self._worker.submit(self.follow, role, list(self._run.assemblies))

    def _take_over(self, role: str, turns: dict[str, Turn]) -> str:
        config, settings = self._run.file.config, self._run.venue.settings

        def take_over() -> str:
            done = []
            for symbol, turn in turns.items():
                bound = self._bound(symbol, role)
                from_ms = first_bar_ms(
                    turn, self._next_ms(symbol), config.timeframe, follows_wall=settings.follows_wall
                )
                put_in_force(self._state, self._run.run.run_id, symbol, bound, from_ms, turn.engine)
                self._run.board.absences[symbol, role] = turn.absence
                done.append(turn.words(symbol, role))
            return "; ".join(done)

        answer = self._answer_of(self._run.store.call(take_over))
        self._run.journal.event("deploy-model", answer, self._run.now_ms())
        return answer

    def _bound(self, symbol: str, role: str) -> BoundModel:
        return next(each for each in self._run.assemblies[symbol].models if each.role == role)

    def _next_ms(self, symbol: str) -> int:
        """Return the open time of the next bar that is released."""
        return self._run.store.released_ms(symbol) + timeframe_ms(self._run.file.config.timeframe)

    def obey(self, control: Control, command: Command) -> None:
        """Carry out a command in the operator's own thread, so that the bot goes on telling its state, and answer it."""
        self._run.board.event(f"command: {command.verb}")
        self._worker.submit(self._answer, control, command)

    def _answer(self, control: Control, command: Command) -> None:
        try:
            if self._ended.done():
                raise Stopped
            answer = self._carry_out(command)
        except Stopped:
            self.unfinished.append(command.verb)
            control.finish(command, ok=False, answer=_STOPPED)
            return
        except Exception as error:  # noqa: BLE001 - whoever sent it is told
            control.finish(command, ok=False, answer=str(error) or type(error).__name__)
            return
        control.finish(command, ok=True, answer=answer)

    def _carry_out(self, command: Command) -> str:
        if command.verb == "pause":
            self.pause("by command")
            return "paused: no position is opened; open ones keep their stops"
        if command.verb == "resume":
            self.resume()
            still = self._run.gates.protections()
            return "resumed" + (f"; still in force: {'; '.join(still)}" if still else "")
        if command.verb == "close-all":
            return self.close_all("closed by command")
        if command.verb == "deploy-model":
            role, versions = str(command.arguments["role"]), dict(command.arguments["versions"])
            if command.arguments.get("follow"):
                return self.follow(role, versions, str(command.arguments.get("reason", "")))
            return self.deploy(role, versions)
        self._run.stop("by command")
        return "stopping; resting stops stay on the exchange"

    def look_around(self) -> None:
        """Look at the kill switch, and once a minute at the account; called several times a second."""
        kill = self._switch.read()
        if kill.is_on and kill.closes and not self._killed:
            self._worker.submit(self._kill, kill.reason)
        self._killed = kill.is_on and kill.closes
        settings = self._run.venue.settings
        if self._run.venue.trades and settings.sync_s and time.monotonic() - self._audited >= _AUDIT_S:
            self._audited = time.monotonic()
            self._run.store.call(self._audit)

    def _kill(self, reason: str) -> None:
        try:
            self._run.board.event(self.close_all(f"kill switch: {reason}"))
        except Stopped:
            self.unfinished.append("closing by the kill switch")
        except Exception as error:  # noqa: BLE001 - nobody waits for an answer: it is told as loudly as can be
            self._run.on_event("errors", None, f"the kill switch could not close everything: {error}")

    def _audit(self) -> None:
        for symbol in self._run.assemblies:
            self._run.store.desk.sync(symbol)
        baseline = {asset: Decimal(amount) for asset, amount in self._run.run.baseline.items()}
        problems = account_problems(self._run.venue.gateway, self._run.journal, baseline)
        certain = problems if problems == self._doubts else []  # an order may have been filled while we asked
        self._doubts = problems
        if certain and self._run.gates.explain("account", f"{'; '.join(certain)}: nobody of ours did that"):
            self._run.on_event("errors", None, f"the account changed by another hand: {'; '.join(certain)}")
        elif not problems:
            self._run.gates.explain("account", "")
