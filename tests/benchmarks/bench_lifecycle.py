"""Error rates of the judge of recipes, end to end: false champions, power, falls, false alarms, replacements, rollbacks.

Bars of 1h, horizon 1, a cycle each 12 bars; the streams are simulated, the decisions are those of the pipeline's judge.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from drift_simulations import share_interval
from lifecycle_runs import (
    BARS,
    challenge,
    first_champion,
    healthy_reign,
    no_skill_year,
    over,
    refits,
    vanishing_edge,
)

__all__ = ["measure"]

SEED = 50_000


def measure() -> list[dict[str, Any]]:
    """Return what was asked of each figure beside what was measured; about ten minutes on two idle cores."""
    return [*speed(), *no_skill(), *power(), *falls(), *false_alarms(), *replacements(), *rollbacks()]


def _row(what: str, asked: str, measured: str, *, ok: bool) -> dict[str, Any]:
    return {"what": what, "asked": asked, "measured": measured, "ok": ok}


def speed() -> list[dict[str, Any]]:
    """Return the processor time of a year of cycles with five recipes."""
    started = time.process_time()
    no_skill_year(("walk", SEED))
    took = time.process_time() - started
    return [_row("a year of 730 cycles of five recipes, judged", "below 1 s", f"{took:.2f} s", ok=took < 1)]


def no_skill(runs: int = 200) -> list[dict[str, Any]]:
    """Return how often a market without anything to know has a champion within a year, and what the rule of the F1 does."""
    rows = []
    names = {
        "walk": "a random walk",
        "shuffled": "shuffled labels",
        "rising": "a market that rises in 52 % of its bars",
    }
    for kind, name in names.items():
        found = over(no_skill_year, [(kind, SEED + run) for run in range(runs)])
        promoted, by_f1 = sum(one.promoted for one in found), sum(one.by_f1 for one in found)
        rows.append(
            _row(
                f"a champion within a year, five recipes without skill, {name}, {runs} runs",
                "reported" if kind == "rising" else "at most 5 %",
                f"{share_interval(promoted, runs)}; by the rule 'keep if the F1 is better' one that claims to beat "
                f"'always up' in {share_interval(by_f1, runs)}, with an F1 of {np.mean([one.f1 for one in found]):.2f}",
                ok=kind == "rising" or promoted / runs <= 0.05,
            )
        )
    return rows


def power(runs: int = 200) -> list[dict[str, Any]]:
    """Return how soon a model of 54 % is the champion, alone and beside four without skill."""
    rows = []
    for candidates in (1, 5):
        times = over(first_champion, [(0.54, candidates, SEED + run) for run in range(runs)])
        share = float(np.mean(np.array(times) <= 3_500))
        rows.append(
            _row(
                f"54 % is the champion within 3,500 evaluations, {candidates} recipe(s) tried, {runs} runs",
                "at least 95 %" if candidates == 1 else "reported",
                f"{share_interval(round(share * runs), runs)}; half within {np.median(times):,.0f}",
                ok=candidates > 1 or share >= 0.95,
            )
        )
    return rows


def falls(runs: int = 200) -> list[dict[str, Any]]:
    """Return whether an edge that disappears is out of service within the bound, and who serves then."""
    rows = []
    cases = (
        # before, after, record, healthy, second, bound, asked
        (0.55, 0.50, 8_760, 2_004, "none", 1_700, True),
        (0.55, 0.50, 8_760, 2_004, "healthy", 1_700, True),
        (0.55, 0.50, 8_760, 2_004, "falls", 1_700, True),
        (0.54, 0.50, 8_760, 2_004, "none", 2_500, True),
        (0.55, 0.45, 8_760, 2_004, "none", 500, True),
        (0.55, 0.50, 0, 5_004, "none", 1_700, True),
        (0.55, 0.50, 0, 2_496, "none", 2_500, True),
        (0.55, 0.50, 2_004, 12, "none", 2_500, False),
    )
    for before, after, record, healthy, second, bound, asked in cases:
        found = over(
            _Vanishing((bound,)), [(before, after, record, healthy, second, SEED + run) for run in range(runs)]
        )
        had = [one for one in found if one.before == "r0"]
        out = sum(one.delay <= bound for one in had)
        fallbacks = sum(one.after[0] == "r1" for one in had)
        falls_too = f"; r1 serves then in {share_interval(fallbacks, len(had))}" if second != "none" else ""
        rows.append(
            _row(
                f"{before:.0%} falls to {after:.0%} after a record of {record:,} and {healthy:,} bars more (second recipe: "
                f"{second}): out of service within {bound:,}, {len(had)} runs that had it as champion",
                "at least 95 %" if asked else "reported",
                share_interval(out, len(had)) + falls_too,
                ok=not asked or out / len(had) >= 0.95,
            )
        )
    return rows


class _Vanishing:
    """`vanishing_edge` with its bounds, for a pool of processes."""

    def __init__(self, bounds: tuple[int, ...]) -> None:
        self.bounds = bounds

    def __call__(self, arguments: tuple[float, float, int, int, str, int]) -> Any:
        return vanishing_edge(arguments, self.bounds)


def false_alarms(runs: int = 100) -> list[dict[str, Any]]:
    """Return the false alarms a year of a model whose hit rate stays, from its promotion on."""
    rows = []
    for rate, record in ((0.55, 0), (0.55, 8_760), (0.53, 8_760)):
        found = over(healthy_reign, [(rate, record, 3, SEED + run) for run in range(runs)])
        alarms, years = sum(one[0] for one in found), sum(one[1] for one in found) / BARS
        rows.append(
            _row(
                f"false alarms a year of service at {rate:.0%}, record of {record:,} bars, {years:,.0f} years",
                "at most 1",
                f"{alarms / years:.2f} +- {math.sqrt(alarms) / years:.2f}",
                ok=alarms <= years,
            )
        )
    return rows


def replacements(runs: int = 200) -> list[dict[str, Any]]:
    """Return how soon a better recipe replaces the champion, and how often one that is as good does."""
    rows = []
    for weak, strong in ((0.53, 0.56), (0.53, 0.55)):
        times = _known(over(challenge, [(weak, strong, SEED + run) for run in range(runs // 4)]))
        slow = float(np.sort(times)[math.ceil(0.95 * len(times)) - 1])
        rows.append(
            _row(
                f"{strong:.0%} replaces a champion of {weak:.0%}, {len(times)} runs",
                "reported",
                f"half within {np.median(times):,.0f} bars, 95 % within {slow:,.0f}",
                ok=True,
            )
        )
    times = _known(over(challenge, [(0.54, 0.54, SEED + run) for run in range(runs)]))
    wrong = sum(one <= BARS for one in times)
    rows.append(
        _row(
            f"a recipe as good as the champion replaces it within a year, {len(times)} runs",
            "at most 5 %",
            share_interval(wrong, len(times)),
            ok=wrong / len(times) <= 0.05,
        )
    )
    return rows


def _known(times: list[float]) -> list[float]:
    return [one for one in times if not math.isnan(one)]


def rollbacks(runs: int = 100) -> list[dict[str, Any]]:
    """Return whether refits that are worse go back to the version before, once; and how often equal ones do."""
    found = [one for one in over(refits, [(0.5, SEED + run) for run in range(runs)]) if one.before is not None]
    back = [one for one in found if one.kind == "rollback"]
    most = max(one.rollbacks for one in found)
    caught = sum(one.kind != "none" for one in found)
    equal = over(refits, [(0.55, SEED + run) for run in range(runs)])
    wrong = sum(one.rollbacks > 0 for one in equal)
    return [
        _row(
            f"refits fall from 55 % to 50 %: rolled back, or quarantined before that, within half a year, {len(found)} runs "
            "that had a champion",
            "at least 95 %, at most one rollback each",
            f"{share_interval(caught, len(found))}; {len(back)} rolled back, half within "
            f"{np.median([one.delay for one in back]) if back else math.nan:,.0f} bars; at most {most} rollback(s)",
            ok=caught / len(found) >= 0.95 and most <= 1,
        ),
        _row(
            f"refits as good as before, that know other things: rolled back within nine months, {runs} runs",
            "at most 5 %",
            share_interval(wrong, runs),
            ok=wrong / runs <= 0.05,
        ),
    ]
