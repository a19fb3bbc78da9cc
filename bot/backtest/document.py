"""``result.json``: everything that a run was made of and what came out, as plain data."""

from __future__ import annotations

import hashlib
import inspect
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bot.version import code_version
from ml.candles import format_ms
from ml.predictions import Status
from ml.schedule import ScheduledEngine

if TYPE_CHECKING:
    from bot.assembly import Assembly, BoundModel
    from bot.backtest.run import BacktestRun

__all__ = ["model_versions", "result_document", "run_id"]

_TABLES = ("reliability",)  # long tables that are drawn, not compared


def run_id(assembly: Assembly) -> str:
    """Return the SHA-256 (hex) of what decides a run: config, symbol, candles, rules, bundles, code and seeds.

    Equal ids give equal bytes in every file of the run, but for the blocks ``engine`` and ``cache`` of ``result.json``.
    """
    canonical = json.dumps(_inputs(assembly), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def result_document(run: BacktestRun) -> dict[str, Any]:
    """Return the content of ``result.json``; figures that are undefined are NaN here and null in the file."""
    assembly = run.assembly
    inputs = _inputs(assembly)
    curves, candles = run.curves, assembly.candles
    engines = [bound.engine for bound in assembly.models]
    figures = {name: _without_tables(block) for name, block in run.figures.items()}
    bars = len(curves)
    return {
        "run_id": run_id(assembly),
        "name": assembly.config.name,
        "config": inputs["config"],
        "symbol": assembly.symbol,
        "timeframe": assembly.config.timeframe,
        "bars": bars,
        "first": format_ms(int(curves.open_ms[0])),
        "last": format_ms(int(curves.open_ms[-1])),
        "engine": {"bars_per_second": len(candles) / run.seconds, "seconds": run.seconds},
        "cache": {
            "hits": sum(engine.cache_hits for engine in engines),
            "misses": sum(engine.cache_misses for engine in engines),
        },
        "model": inputs["models"][0] if inputs["models"] else None,
        "models": {model["role"]: model for model in inputs["models"]},
        "in_sample_bars": run.out_of_sample_row,
        "out_of_sample": figures["out_of_sample"],
        "all": figures["all"],
        "in_sample": figures["in_sample"] if run.out_of_sample_row else None,
        "initial_cash": float(assembly.config.broker.cash),
        "final_value": run.final_value,
        "costs": dict(run.costs),
        "min_edge": None if run.edge is None else dict(run.edge),
        "decisions": dict(run.decisions),
        "strategy": dict(run.summary),
        "predictions": {role: _statuses(batch.status.tolist()) for role, batch in run.predictions.items()},
        "orders_refused": len(run.rejections),
        "data": {
            **inputs["data"],
            "fed_bars": len(candles),
            "warmup_bars": assembly.first_row,
            "fed_from": format_ms(int(candles.open_ms[0])),
        },
        "rules": inputs["rules"],
        "seeds": inputs["seeds"],
        "code_version": inputs["code_version"],
        "strategy_code": inputs["strategy_code"],
    }


def _inputs(assembly: Assembly) -> dict[str, Any]:
    """Return what decides a run; ``run_id`` is its digest."""
    series, config = assembly.series, assembly.config
    synth = config.data.synth
    return {
        "config": config.to_dict(),
        "symbol": assembly.symbol,
        "data": {"exchange": series.exchange, "origin": series.origin, "digest": series.digest},
        "rules": assembly.rules.to_dict(),
        "models": [_model(bound, assembly) for bound in assembly.models],
        "seeds": {
            "market": None if synth is None else synth.seed,
            "models": {
                bound.role: bound.model.metadata.get("training", {}).get("seed")
                for bound in assembly.models
                if bound.model is not None
            },
        },
        "code_version": code_version(),
        "strategy_code": _strategy_code(assembly),
    }


def _strategy_code(assembly: Assembly) -> str | None:
    """Return the SHA-256 (hex) of the file of a strategy of the user's own; None for one of ours (see ``code_version``)."""
    if ":" not in assembly.config.strategy:
        return None
    try:
        source = inspect.getsourcefile(assembly.strategy)
        return None if source is None else hashlib.sha256(Path(source).read_bytes()).hexdigest()
    except (OSError, TypeError):
        return None


def _model(bound: BoundModel, assembly: Assembly) -> dict[str, Any]:
    """Return what plays a role; its version is None where there is no champion.

    Of ``@as-of`` it is the last champion of the run, and ``versions`` has them all.
    """
    model = bound.model
    versions = {"versions": model_versions(bound, assembly)} if isinstance(bound.engine, ScheduledEngine) else {}
    if model is None:
        return {"role": bound.role, "reference": str(bound.reference), "version": None, "promoted": False, **versions}
    trained_until = int(model.metadata["trained_until_ms"])
    return {
        "role": bound.role,
        "reference": str(bound.reference),
        "key": str(model.key),
        "symbol": model.symbol,
        "type": model.model_type,
        "task": str(model.metadata.get("task", "direction")),
        "version": model.version_id,
        "digest": model.digest,
        "status": str(model.status),
        "promoted": model.promoted,
        "horizon": bound.engine.horizon,
        "trained_until": format_ms(trained_until),
        "trained_until_ms": trained_until,
        **versions,
    }


def model_versions(bound: BoundModel, assembly: Assembly) -> list[dict[str, Any]]:
    """Return which version answered from which bar on, of a role whose model changes with time; bars that may trade only.

    Each has ``from`` (the first bar's open time), ``bars``, ``version`` and ``digest`` (None without a model), and
    ``trained_until``.
    """
    times = assembly.candles.open_ms[assembly.first_row :]
    schedule: Any = bound.engine
    found = []
    for engine, lo, hi in schedule.parts(times):
        model = engine.model
        until = engine.trained_until_ms
        found.append(
            {
                "from": format_ms(int(times[lo])),
                "bars": hi - lo,
                "version": None if model is None else model.version_id,
                "digest": engine.digest,
                "trained_until": None if until is None else format_ms(until),
            }
        )
    return found


def _statuses(codes: list[int]) -> dict[str, int]:
    """Return how many bars have which status, those that occur."""
    return {status.label: codes.count(status) for status in Status if status in codes}


def _without_tables(block: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name not in _TABLES}
