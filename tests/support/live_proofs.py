"""Runs of the busy strategy under faults and kills, and what must hold after each."""

from __future__ import annotations

import random
import socket
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from live_bench import Bench, Life, broken_rules, differences, folder_in_memory
from live_kills import Nursery

from bot.exchange.clocks import Accelerated
from bot.exchange.faults import Fault, FaultPlan
from bot.exchange.server import ExchangeServer, unlimited

__all__ = ["Proof", "bench_of", "order_every_fault", "prove", "prove_exchange_kills", "prove_in_real_time"]

KLINES = r"/api/v3/klines"
REPLIES = (
    "reset_before",
    "reset_after",
    "cut_json",
    "html",
    "empty_object",
    "empty_list",
    "duplicate_reply",
)


@dataclass
class Proof:
    """What happened in a run, and what was wrong with it.

    Attributes
    ----------
    faults, kills : Counter
        By kind, and by the step at which a life ended.
    orders, protective : int
        Orders that were filled, and how many of them were stops or targets.
    differences, broken : list of str
        Against the log without faults, and of the rules that must always hold.
    """

    faults: Counter = field(default_factory=Counter)
    kills: Counter = field(default_factory=Counter)
    orders: int = 0
    protective: int = 0
    differences: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def __iadd__(self, other: Proof) -> Proof:
        self.faults += other.faults
        self.kills += other.kills
        self.orders += other.orders
        self.protective += other.protective
        self.differences += other.differences
        self.broken += other.broken
        return self


def bench_of(seed: int, bars: int) -> Bench:
    """Return a bench by its seed: fees of both kinds, partial fills, guarded limit entries, two symbols."""
    return Bench(
        seed=seed,
        bars=bars,
        in_kind=seed % 2 == 1,
        wild=seed % 4 == 2,
        partial=(0.3, 0.3) if seed % 4 == 3 else (),
        symbols=("BTCUSDT", "ETHUSDT") if seed % 5 == 4 else ("BTCUSDT",),
    )


def order_every_fault(plan: FaultPlan, rate: float) -> None:
    """Order random faults of every kind after which a run must be the same as without."""
    plan.add_random(REPLIES, rate)
    plan.add_random(("delay_before", "delay_after"), rate / 2, delay=0.45)
    plan.add_random(("late_acceptance",), rate, delay=0.2)
    for status, retry_after in ((429, 1), (418, 1), (500, None), (502, None), (503, None)):
        plan.add_random(("status",), rate / (8 if retry_after else 2), status=status, retry_after=retry_after)
    for code in (-1000, -1001, -1006, -1007, -1008, -1021):
        plan.add_random(("error_before",), rate / 3, code=code)
    plan.add_random(("error_before",), rate / 8, code=-1015)
    for code in (-1000, -1001, -1006, -1007):
        plan.add_random(("error_after",), rate / 3, code=code)
    plan.add_random(("hide_candle", "late_candle"), rate, path=KLINES)
    for variant in ("future", "unaligned", "nan", "high_below_low"):
        plan.add_random(("broken_candle",), rate / 2, variant=variant, path=KLINES)
    for skew_ms in (3000, -3000, 0, -700, 400):
        plan.add_random(("clock_skew",), rate / 6, value=skew_ms)


def prove(seed: int, *, bars: int = 80, rate: float = 0.0, kills: int = 0, nursery: Nursery | None = None) -> Proof:
    """Trade a bench under faults and kills and compare it with the run without."""
    bench = bench_of(seed, bars)
    expected = bench.backtest() if bench.is_exact else bench.without_faults()
    proof = Proof()
    with ExchangeServer(bench.exchange(), seed=seed) as server, folder_in_memory() as folder:
        if rate:
            order_every_fault(server.faults, rate)
        if kills:
            before = Counter(nursery.killed_at)
            logs = nursery.lives(bench, server.url, folder, seed=seed, kills=kills)
            proof.kills = nursery.killed_at - before
        else:
            logs = Life(bench, server.url, folder, on_bar=_revisions(server, seed) if rate else None).run()
        proof.faults = Counter(server.faults.counts)
        _judge(proof, bench, server.exchange, folder, expected, logs, server.strays)
    return proof


def prove_exchange_kills(seed: int, *, bars: int = 80, nursery: Nursery) -> Proof:
    """Trade a bench against an exchange that is killed and restarted all the time."""
    bench = bench_of(seed, bars)
    expected = bench.backtest() if bench.is_exact else bench.without_faults()
    chance = random.Random(seed)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    proof = Proof()
    over = threading.Event()
    with folder_in_memory() as folder:

        def serve() -> None:
            while not over.is_set():
                nursery.live(bench, "", folder, port=port, kill_after=chance.uniform(0.05, 0.5))

        thread = threading.Thread(target=serve)
        before = Counter(nursery.killed_at)
        thread.start()
        try:
            logs = Life(bench, f"http://127.0.0.1:{port}", folder).run()
        finally:
            over.set()
            thread.join()
        proof.kills = Counter({"exchange": (nursery.killed_at - before).total()})
        _judge(proof, bench, bench.exchange_again(folder), folder, expected, logs, [])
    return proof


def prove_in_real_time(
    seed: int,
    *,
    bars: int = 60,
    speed: float = 600.0,
    rate: float = 0.0,
    kills: int = 0,
    nursery: Nursery | None = None,
    streams: bool = False,
) -> Proof:
    """Trade on a market that does not wait: a replay of the journal must have the same log, and all books must agree."""
    bench = bench_of(seed, bars)
    proof = Proof()
    settings = {"poll_s": 0.5 if streams else 0.02, "gap_s": 3.0, "sync_s": 0.05, "stop_s": 3.0}
    server = ExchangeServer(bench.exchange(), clock=Accelerated(speed), limits=unlimited(), seed=seed)
    with server, folder_in_memory() as folder:
        if rate:
            order_every_fault(server.faults, rate)
        if streams:
            server.faults.add_random(("drop_ws", "silence_ws"), 0.02, delay=0.5)
        if kills:
            before = Counter(nursery.killed_at)
            logs = nursery.lives(bench, server.url, folder, seed=seed, kills=kills, settings=settings)
            proof.kills = nursery.killed_at - before
        else:
            life = Life(bench, server.url, folder, settings=settings, streams=streams)
            logs = life.run()
            if streams and not life.watch.news:
                proof.broken.append(f"seed {seed}: the streams told nothing: {life.watch.problem}")
        server.faults.clear()
        proof.faults = Counter(server.faults.counts)
        kept = proof.broken
        again = Life(bench, server.url, folder, settings=settings).run()
        _judge(proof, bench, server.exchange, folder, logs, again, server.strays)
        proof.broken += kept
    return proof


def _revisions(server: ExchangeServer, seed: int) -> Any:
    """Return what lets the exchange revise a tenth of the bars after they were used."""
    chance = random.Random(seed)

    def on_bar(symbol: str, open_ms: int) -> None:
        if chance.random() < 0.1:
            server.faults.add(Fault("revise_candle", path=KLINES, symbol=symbol, open_ms=open_ms))

    return on_bar


def _judge(proof: Proof, bench: Bench, exchange: Any, folder: Any, expected: Any, logs: Any, strays: Any) -> None:
    name = f"seed {bench.seed}: "
    proof.differences = [name + text for text in differences(expected, logs)]
    proof.broken = [name + text for text in broken_rules(bench, exchange, folder, logs, strays)]
    done = [row for rows in logs.values() for row in rows if row[1] == "order" and row[2] == "Completed"]
    proof.orders, proof.protective = len(done), sum(row[9] is not None for row in done)
