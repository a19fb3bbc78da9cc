"""The gate: whether a model may be promoted, and why in words that a newcomer understands.

Promoted means: on bars that it had not seen, its probabilities lost less than those of every baseline by more than chance
explains. It says nothing about profit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from ml.evaluation import BASELINES
from ml.training.plan import MINIMUM_SCORED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.training.plan import TrainingPlan

__all__ = ["BaselineTest", "GateDecision", "decide"]

_WORDS = {
    "coin": "a coin toss (0.5 for every bar)",
    "base_rate": "always stating the share of rises in the training data",
    "last_sign": "the rule of the last sign",
}
_MOST_BARS = 10_000_000


@dataclass(frozen=True, slots=True)
class BaselineTest:
    """Gain over one baseline: mean log-loss saved a bar, in nats, and its one-sided 95 % lower bound."""

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
        One for each of ``coin``, ``base_rate``, ``last_sign``.
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


def decide(metrics: Mapping[str, Any], plan: TrainingPlan) -> GateDecision:
    """Decide on the figures of ``evaluate_record``.

    Parameters
    ----------
    metrics
        Figures of the scored bars; ``n``, ``gain`` and the hit rate are read.
    plan
        Translates scored bars into candles, for the advice.
    """
    tests = tuple(
        BaselineTest(
            baseline=name,
            mean_gain=metrics["gain"][name]["mean"],
            standard_error=metrics["gain"][name]["standard_error"],
            lower_bound=metrics["gain"][name]["lower_95"],
            passed=metrics["gain"][name]["lower_95"] > 0,
        )
        for name in BASELINES
    )
    count = int(metrics["n"])
    promoted = count >= MINIMUM_SCORED and all(test.passed for test in tests)
    reason = _reason(metrics, tests, count, plan, promoted=promoted)
    return GateDecision(promoted, count, MINIMUM_SCORED, tests, reason)


def _reason(
    metrics: Mapping[str, Any], tests: tuple[BaselineTest, ...], count: int, plan: TrainingPlan, *, promoted: bool
) -> str:
    if count < MINIMUM_SCORED:
        more = max(1, plan.bars_for(MINIMUM_SCORED) - plan.bars)
        return (
            f"refused: only {count:,} bars could be scored on data that the model had not seen, and fewer than "
            f"{MINIMUM_SCORED:,} prove nothing; it needs about {more:,} more bars"
        )
    rate = (
        f"right on {100 * metrics['direction_accuracy']:.1f} % of {count:,} bars that it had not seen "
        f"({100 * metrics['direction_accuracy_low']:.1f} to {100 * metrics['direction_accuracy_high']:.1f} %)"
    )
    if promoted:
        return (
            f"promoted: {rate}; its probabilities beat a coin, the share of rises and the last-sign rule by more than chance "
            "explains. This is a statement about probability, not about profit"
        )
    failed = [test for test in tests if not test.passed]
    names = _joined([_WORDS[test.baseline] for test in failed])
    return f"refused: {rate}; measured against {names}, that could be chance; {_advice(failed, plan)}"


def _advice(failed: list[BaselineTest], plan: TrainingPlan) -> str:
    """Return how many bars it would take if the measured gain is the true one, or what to try where there is none."""
    beaten_by = [_WORDS[test.baseline] for test in failed if not test.mean_gain > 0]
    if beaten_by:
        return (
            f"it did no better here than {_joined(beaten_by)}, so nothing says that a few more bars would help: "
            "try years instead of days, a longer timeframe or another horizon"
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
