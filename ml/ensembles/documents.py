"""The documents of an ensemble's bundle: what it is made of, and its card for a person."""

from __future__ import annotations

import math
import platform
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from ml.candles import format_ms
from ml.tasks.catalogue import TASKS
from ml.training.documents import recipe_digest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from ml.ensembles.bundle import PinnedMember
    from ml.ensembles.judging import Judged
    from ml.ensembles.kinds import Kind
    from ml.training.gate import GateDecision
    from registry.model import StrategyModel
    from registry.names import ModelKey

__all__ = ["comparison_columns", "comparison_rows", "ensemble_card", "ensemble_metadata", "pair_rows", "versus_words"]

_TITLES = {
    "weighted_avg": "Weighted mean of what several models say",
    "voting": "Majority vote of several models",
    "stacking": "Combination of several models that was learnt from their out-of-sample answers",
}
_DESCRIPTION = "Its members are pinned by version and digest; what they say together is calibrated anew."


def ensemble_metadata(
    key: ModelKey,
    members: Sequence[StrategyModel],
    pins: Sequence[PinnedMember],
    kind: Kind,
    judged: Judged,
    figures: Mapping[str, Any],
    *,
    name: str | None,
    at: datetime,
    code_version: str,
) -> dict[str, Any]:
    """Return ``metadata.json`` of an ensemble; training ends with that of its last member."""
    record, pool = judged.record, judged.pool
    horizon = judged.calibration.horizon
    asked = {name: value for name, value in members[0].metadata.get("hyperparams", {}).items() if name == "adverse_atr"}
    last = max(members, key=lambda member: int(member.metadata["trained_until_ms"])).metadata
    starts = [int(member.metadata["trained_from_ms"]) for member in members]
    features = list(dict.fromkeys(feature for member in members for feature in member.metadata.get("features", ())))
    recipe = {
        "model_type": key.model_type,
        "timeframe": key.timeframe,
        "horizon": horizon,
        "method": pool.method,
        "members": [pin.to_dict() for pin in pins],
    }
    libraries = {**{each: version(each) for each in ("numpy", "numba")}, "python": platform.python_version()}
    return {
        "schema_version": 1,
        "symbol": key.symbol,
        "model_type": key.model_type,
        "timeframe": key.timeframe,
        "horizon": horizon,
        "name": name or f"{key.symbol} {key.timeframe} {key.model_type}",
        "architecture": pool.method,
        "task": kind.name,
        "title": _TITLES[pool.method],
        "description": _DESCRIPTION,
        "created_at": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "created_ts": int(at.timestamp() * 1000),
        "trained_from_ms": min(starts),
        "trained_until_ms": int(last["trained_until_ms"]),
        "trained_from": format_ms(min(starts)),
        "trained_until": last["trained_until"],
        "data": {
            "exchange": last.get("data", {}).get("exchange"),
            "start": format_ms(int(record.open_ms[0])),
            "end": format_ms(int(record.open_ms[-1])),
            "start_ms": int(record.open_ms[0]),
            "end_ms": int(record.open_ms[-1]),
            "bars": len(record),
            "digest": last.get("data", {}).get("digest"),
        },
        "recipe": recipe,
        "recipe_digest": recipe_digest(recipe),
        "libraries": libraries,
        "dependencies": libraries,
        "code_version": code_version,
        "hyperparams": {"method": pool.method, "weights": list(pool.weights), "intercept": pool.intercept, **asked},
        "features": features,
        "feature_count": len(features),
        "members": [pin.to_dict() for pin in pins],
        "training": {
            "symbols": [key.symbol],
            "data_points": int(record.scored.sum()),
            "validation": "prequential: each block of 500 scored bars by numbers of earlier ones",
        },
        "performance": {
            **TASKS[kind.name].performance(figures),
            "backtest_window": [None if figures[n] is None else format_ms(figures[n]) for n in ("first_ms", "last_ms")],
        },
        "live_performance": {"accuracy": None, "last_updated": None, "trades_evaluated": 0},
    }


def comparison_columns(comparison: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the titles of ``comparison_rows``."""
    loss = "QLIKE" if comparison["kind"] == "volatility" else "log-loss"
    further = ("right", "95 % interval", "no opinion") if comparison["kind"] == "direction" else ()
    return ("who", loss, "second half", *further)


def comparison_rows(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return rows (who, loss, second half; for a direction: right, 95 % interval, no opinion), the ensemble last."""
    named = [(f"{each['name']}{' *' if each['best'] else ''}", each) for each in comparison["members"]]
    named += [("equal weights", comparison["equal_weights"]), ("ensemble", comparison["ensemble"])]
    rows = []
    for name, each in named:
        row: tuple[str, ...] = (name, _number(each["loss"]), _number(each["loss_second_half"]))
        if "accuracy" in each:
            interval = f"{_percent(each['accuracy_low'])} to {_percent(each['accuracy_high'])}"
            row = (*row, _percent(each["accuracy"]), interval, _percent(each["no_opinion"]))
        rows.append(row)
    return rows


def pair_rows(comparison: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return rows (two members, disagreement, correlation of errors, correlation of log odds)."""
    return [
        (
            " and ".join(pair["members"]),
            _percent(pair["disagreement"]),
            _number(pair["error_correlation"], 2),
            _number(pair["score_correlation"], 2),
        )
        for pair in comparison["pairs"]
    ]


def versus_words(comparison: Mapping[str, Any], against: str) -> str:
    """Return in a sentence how the ensemble did against ``versus_best`` or ``versus_equal``."""
    found = comparison[against]
    if against == "versus_best":
        other = f"its best member {comparison['best_member']} (chosen on the first half of the bars, met on the second)"
    else:
        other = "the plain mean of its members"
    if not found["n"]:
        return f"Against {other}: no bars to compare on"
    unit = "thousandths of QLIKE" if comparison["kind"] == "volatility" else "millinats of log-loss"
    verdict = "better than chance explains" if found["better"] else "no more than chance explains"
    verdict = "worse than chance explains" if found["high"] < 0 else verdict
    return (
        f"Against {other}: {1000 * found['mean']:+.3f} {unit} saved a bar "
        f"({1000 * found['low']:+.3f} to {1000 * found['high']:+.3f}, n = {found['n']:,}): {verdict}"
    )


def ensemble_card(document: Mapping[str, Any], metrics: Mapping[str, Any], gate: GateDecision, judged: Judged) -> str:
    """Return the card as Markdown."""
    task, figures, comparison = TASKS[document["task"]], metrics["out_of_sample"], metrics["comparison"]
    pool = judged.pool
    weights = zip(document["members"], pool.weights, strict=True)
    lines = [
        f"# {document['name']}",
        "",
        f"{document['title']}. {document['description']}",
        "",
        task.question(document),
        "",
        "## Verdict",
        "",
        f"{gate.reason[0].upper()}{gate.reason[1:]}.",
        "",
        f"{versus_words(comparison, 'versus_best')}.",
        "",
        f"{versus_words(comparison, 'versus_equal')}.",
        "",
        "## Members",
        "",
        "| member | weight | manifest |",
        "|---|---|---|",
        *(
            f"| {each['symbol']}/{each['model_type']}@{each['version']} | {weight:.3f} | {each['digest'][:16]} |"
            for each, weight in weights
        ),
        "",
        f"Method: {pool.method}{'' if pool.method != 'stacking' or pool.learnt else ' (too few rows: equal weights)'}.",
        "",
        f"| {' | '.join(comparison_columns(comparison))} |",
        "|---" * len(comparison_columns(comparison)) + "|",
        *(f"| {' | '.join(row)} |" for row in comparison_rows(comparison)),
        "",
        "The star marks the best member of the first half. How alike the members are:",
        "",
        "| members | disagree | correlation of errors | of log odds |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in pair_rows(comparison)),
        "",
        "## Measured on bars that no member had seen",
        "",
        "| what | measured | beside |",
        "|---|---|---|",
        *(f"| {what} | {measured} | {beside} |" for what, measured, beside in task.headline(figures)),
        *task.tables(figures),
        "",
        "## Limits",
        "",
        f"{task.limits(document)} It can be used only while its members are in the registry, unchanged.",
        "",
    ]
    return "\n".join(lines)


def _number(value: float | None, digits: int = 5) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def _percent(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"
