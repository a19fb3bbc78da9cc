"""The gate: whether a model may be promoted, and why in words that a newcomer understands.

Promoted means: on bars that it had not seen, its probabilities lost less than those of every baseline by more than chance
explains. It says nothing about profit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from ml.tasks.catalogue import TASKS
from ml.training.plan import MINIMUM_SCORED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.tasks.contract import GateWords
    from ml.training.plan import TrainingPlan

__all__ = ["BaselineTest", "GateDecision", "decide", "refused_by_interruption"]

_MOST_BARS = 10_000_000


@dataclass(frozen=True, slots=True)
class BaselineTest:
    """Gain over one baseline: mean loss saved a bar, in the unit of the task, and its one-sided 95 % lower bound."""

    baseline: str
    mean_gain: float
    standard_error: float
    lower_bound: float
    passed: bool


@dataclass(frozen=True, slots=True)
class GateDecision:
    """The verdict on one model.

    Attributes
    ----------
    promoted
        Whether the lower bound of the gain is above 0 against each baseline, on enough bars.
    n, required
        Bars scored, and how many it takes at least.
    tests
        One for each baseline of the task, such as ``coin``, ``base_rate``, ``last_sign``.
    reason
        In words.
    """

    promoted: bool
    n: int
    required: int
    tests: tuple[BaselineTest, ...]
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)


def decide(metrics: Mapping[str, Any], plan: TrainingPlan, words: GateWords | None = None) -> GateDecision:
    """Decide on the figures of a task's ``evaluate``.

    Parameters
    ----------
    metrics
        Figures of the scored bars; ``n``, ``gain`` and what the words name are read.
    plan
        Translates scored bars into candles, for the advice.
    words
        Baselines and sentences of the task; those of ``direction`` unless given.
    """
    words = TASKS["direction"].words if words is None else words
    tests = tuple(
        BaselineTest(
            baseline=name,
            mean_gain=metrics["gain"][name]["mean"],
            standard_error=metrics["gain"][name]["standard_error"],
            lower_bound=metrics["gain"][name]["lower_95"],
            passed=metrics["gain"][name]["lower_95"] > 0,
        )
        for name in words.baselines
    )
    count = int(metrics["n"])
    promoted = count >= MINIMUM_SCORED and all(test.passed for test in tests)
    reason = _reason(metrics, tests, count, plan, words, promoted=promoted)
    return GateDecision(promoted, count, MINIMUM_SCORED, tests, reason)


def refused_by_interruption(gate: GateDecision) -> GateDecision:
    """Return the verdict on a training that Ctrl-C cut short: whatever it measured, nothing is promoted."""
    reason = (
        "refused: interrupted: the training was stopped by Ctrl-C and kept the best state that it had reached; train it "
        "again, to its end, to have it judged"
    )
    return replace(gate, promoted=False, reason=reason)


def _reason(
    metrics: Mapping[str, Any],
    tests: tuple[BaselineTest, ...],
    count: int,
    plan: TrainingPlan,
    words: GateWords,
    *,
    promoted: bool,
) -> str:
    if count < MINIMUM_SCORED:
        more = max(1, plan.bars_for(MINIMUM_SCORED) - plan.bars)
        return (
            f"refused: only {count:,} bars could be scored on data that the model had not seen, and fewer than "
            f"{MINIMUM_SCORED:,} prove nothing; it needs about {more:,} more bars"
        )
    measured = words.measured(metrics)
    if promoted:
        return f"promoted: {measured}; {words.won}"
    failed = [test for test in tests if not test.passed]
    names = _joined([words.baselines[test.baseline] for test in failed])
    return f"refused: {measured}; measured against {names}, that could be chance; {_advice(failed, plan, words)}"


def _advice(failed: list[BaselineTest], plan: TrainingPlan, words: GateWords) -> str:
    """Return how many bars it would take if the measured gain is the true one, or what to try where there is none."""
    beaten_by = [words.baselines[test.baseline] for test in failed if not test.mean_gain > 0]
    if beaten_by:
        return (
            f"it did no better here than {_joined(beaten_by)}, so nothing says that a few more bars would help: "
            f"{words.advice}"
        )
    # one-sided 5 %, power 95 %: the mean must be two times 1.645 errors above zero
    factor = max((2 * 1.645 * test.standard_error / test.mean_gain) ** 2 for test in failed)
    more = plan.bars_for(math.ceil(plan.scored * factor)) - plan.bars if factor < _MOST_BARS else _MOST_BARS
    if more >= _MOST_BARS:
        return "the gain is so small that no amount of data that you can get would prove it"
    return f"if the gain is real and stays this large, it needs about {_rounded(max(more, 1)):,} more bars to be seen"


def _rounded(count: int) -> int:
    """Return two leading digits: an estimate should look like one."""
    scale = int(10 ** max(0, len(str(count)) - 2))
    return -(-count // scale) * scale


def _joined(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
