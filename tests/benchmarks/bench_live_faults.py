"""Live trading under faults and kill -9: double fills, lost orders, and logs that differ from the run without."""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "support"), str(_HERE)]  # also those of the processes that it starts

if TYPE_CHECKING:
    from live_proofs import Proof

__all__ = ["measure"]

FAULTS, KILLS = 2_000, 500
_AT_ONCE = 6  # runs; most of their time is waiting
_MOST_RUNS = 240


def measure() -> list[dict[str, Any]]:
    """Return what went wrong in runs with at least so many faults, kills, and both together."""
    faults = _run(_faults, lambda proof: proof.faults.total() >= FAULTS)
    kills = _run(_kills, lambda proof: proof.kills.total() >= KILLS)
    both = _run(_both, lambda proof: proof.kills.total() >= 200 and proof.faults.total() >= 500)
    exchange = _run(_exchange, lambda proof: proof.kills.total() >= 50)
    running = _run(_running, lambda proof: proof.orders >= 500)
    return [
        *_rows("random faults", faults, f">= {FAULTS:,} faults", faults.faults.total() >= FAULTS),
        *_rows("kill -9 of the bot", kills, f">= {KILLS} kills", kills.kills.total() >= KILLS),
        *_rows("faults and kills together", both, ">= 200 kills, >= 500 faults", both.faults.total() >= 500),
        *_rows("kill -9 of the exchange", exchange, ">= 50 kills", exchange.kills.total() >= 50),
        *_rows("a market that does not wait", running, ">= 500 orders", running.orders >= 500),
    ]


def _rows(name: str, proof: Proof, asked: str, is_enough: bool) -> list[dict[str, Any]]:
    wrong = len(proof.broken)
    faults = f"{proof.faults.total():,} faults of {len(proof.faults)} kinds"
    kills = f"{proof.kills.total():,} kills at {len(proof.kills)} steps"
    filled = f"{proof.orders:,} orders filled, {proof.protective:,} of them stops or targets"
    first = (proof.differences + proof.broken)[:1]
    return [
        {"what": name, "asked": asked, "measured": f"{faults}, {kills}; {filled}", "ok": is_enough},
        {
            "what": f"{name}: double, lost or unexplained orders",
            "asked": "0",
            "measured": str(wrong),
            "ok": not wrong,
        },
        {
            "what": f"{name}: logs that differ",
            "asked": "0",
            "measured": f"{len(proof.differences)} {' '.join(first)[:200]}".strip(),
            "ok": not proof.differences,
        },
        {"what": f"{name}: by kind", "asked": "-", "measured": _listed(proof), "ok": True},
    ]


def _listed(proof: Proof) -> str:
    return ", ".join(f"{name} {count}" for name, count in (proof.faults + proof.kills).most_common())


def _run(prove_one: Callable[[int], Proof], is_enough: Callable[[Proof], bool]) -> Proof:
    """Add up runs of one seed after the other until there are enough of what is counted."""
    from live_proofs import Proof

    total = Proof()
    with ProcessPoolExecutor(_AT_ONCE, get_context("spawn")) as pool:
        for first in range(0, _MOST_RUNS, _AT_ONCE):
            for proof in pool.map(prove_one, range(first, first + _AT_ONCE)):
                total += proof
            if is_enough(total):
                break
    return total


def _faults(seed: int) -> Proof:
    from live_proofs import prove

    return prove(seed, bars=100, rate=0.03)


def _kills(seed: int) -> Proof:
    return _with_nursery(partial(_prove, seed, bars=160, kills=60))


def _both(seed: int) -> Proof:
    return _with_nursery(partial(_prove, seed, bars=100, rate=0.015, kills=25))


def _exchange(seed: int) -> Proof:
    from live_proofs import prove_exchange_kills

    return _with_nursery(partial(prove_exchange_kills, seed, bars=160))


def _running(seed: int) -> Proof:
    from live_proofs import prove_in_real_time

    if seed % 2:
        return prove_in_real_time(seed, bars=120, rate=0.01, streams=True)
    return _with_nursery(partial(prove_in_real_time, seed, bars=120, speed=300.0, rate=0.005, kills=12))


def _prove(seed: int, **terms: Any) -> Proof:
    from live_proofs import prove

    return prove(seed, **terms)


def _with_nursery(prove_one: Callable[..., Proof]) -> Proof:
    from live_kills import Nursery

    with Nursery() as nursery:
        return prove_one(nursery=nursery)
