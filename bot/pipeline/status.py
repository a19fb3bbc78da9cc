"""The operator's view: recipes, cycles, who serves, who challenges, drift and age, as one document and as tables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from ml.candles import format_ms
from ml.lifecycle.wealth import e_value
from registry.errors import RegistryError

if TYPE_CHECKING:
    from bot.pipeline.cycle import Pipeline
    from bot.pipeline.judging import Bench
    from ml.recipes import Recipe
    from registry.names import ModelKey

__all__ = ["status_document", "status_tables"]

_HOUR_MS = 3_600_000

Table = tuple[str, tuple[str, ...], list[tuple[Any, ...]]]


def status_document(pipeline: Pipeline, now_ms: int) -> dict[str, Any]:
    """Return what a person wants to know of a pipeline; nothing is changed or scored."""
    cycles = pipeline.store.cycles(1)
    last = cycles[0] if cycles else None
    keys: dict[ModelKey, list[Recipe]] = {}
    for recipe in pipeline.recipes:
        keys.setdefault(recipe.key, []).append(recipe)
    notes = []
    if last is None:
        notes.append("No cycle was run yet: 'bot pipeline run' does the first.")
    elif last.status == "running":
        notes.append(
            f"The cycle of {format_ms(last.moment_ms)} is running, or was cut short: the next run finishes it."
        )
    models = []
    for key, recipes in keys.items():
        bench = pipeline.bench(key)
        bench.tenure.look()
        models.append(_model(pipeline, bench, recipes, now_ms))
        notes += [f"{stream}: {text}" for stream, text in bench.damaged.items()]
    return {
        "now": format_ms(now_ms),
        "last_cycle": None
        if last is None
        else {
            "moment": format_ms(last.moment_ms),
            "status": last.status,
            "ended": None if last.ended_ms is None else format_ms(last.ended_ms),
            "problems": list(last.summary.get("problems", ())),
        },
        "models": models,
        "findings": [
            {"at": format_ms(each.at_ms), "key": each.model_key, "kind": each.kind, "text": each.text}
            for each in pipeline.store.findings(most=30)
            if each.kind != "refit"
        ],
        "notes": notes,
    }


def status_tables(document: dict[str, Any]) -> list[Table]:
    """Return the document as tables: title, columns and rows."""
    cycle = document["last_cycle"]
    title = "Recipes" if cycle is None else f"Recipes (last cycle {cycle['moment']}: {cycle['status']})"
    recipes = [_recipe_row(model, each) for model in document["models"] for each in model["recipes"]]
    champions = [_champion_row(model) for model in document["models"]]
    tables: list[Table] = [
        (title, ("recipe", "model", "newest version", "due", "evaluations", "hits", "evidence", "role"), recipes),
        ("Champions", ("model", "version", "recipe", "age", "drift", "notes"), champions),
    ]
    findings = [(each["at"], each["key"], each["kind"], each["text"]) for each in document["findings"][:10]]
    if findings:
        tables.append(("Noticed and decided last", ("at", "model", "what", "why"), findings))
    return tables


def _recipe_row(model: dict[str, Any], each: dict[str, Any]) -> tuple[Any, ...]:
    return (
        each["recipe"],
        model["key"],
        each["version"] or "none yet",
        each["next"],
        f"{each['evaluations']:,}",
        _percent(each["hit_rate"]),
        f"{_evidence(each['evidence'])} of {_evidence(each['evidence_needed'])}",
        each["role"],
    )


def _champion_row(model: dict[str, Any]) -> tuple[Any, ...]:
    champion, why = model["champion"], "; ".join(model["why"])
    if champion is None:
        return model["key"], "none", "", "", "", why
    return model["key"], champion["version"], champion["recipe"], _age(champion["age_hours"]), champion["drift"], why


def _model(pipeline: Pipeline, bench: Bench, recipes: list[Recipe], now_ms: int) -> dict[str, Any]:
    champion, watch = bench.tenure.facts.champion, bench.tenure.drift
    serving = None
    why = []
    if champion is not None and watch is not None:
        serving = {
            "version": champion.version,
            "recipe": champion.stream,
            "serves_since": format_ms(champion.crowned_ms),
            "age_hours": _age_hours(bench, champion.version, now_ms),
            "drift": f"{watch.state} ({watch.n:,} evaluations)",
            "statistic": watch.statistic,
            "level": None if math.isnan(watch.level) else watch.level,
        }
    else:
        why.append("nobody serves")
    rows = [_recipe(pipeline, bench, recipe, now_ms) for recipe in recipes]
    if champion is not None and champion.stream not in {row["stream"] for row in rows}:
        why.append(f"{champion.stream} is none of the recipes any more: it serves until another is shown better")
    why += _ledger_says(pipeline, bench)
    why += [f"{row['recipe']}: {row['lacks']}" for row in rows if champion is None and row["lacks"]]
    return {"key": str(bench.key), "champion": serving, "recipes": rows, "why": why}


def _ledger_says(pipeline: Pipeline, bench: Bench) -> list[str]:
    """Return what the ledger says of the champion, where it is something else than the last cycle left."""
    champion = bench.tenure.facts.champion
    try:
        version = pipeline.registry.champion_version(bench.key)
    except RegistryError as error:
        return [" ".join(str(error).split())]
    if version == (None if champion is None else champion.version):
        return []
    return [f"the ledger has {version or 'nobody'} for champion since: the next cycle takes it over"]


def _recipe(pipeline: Pipeline, bench: Bench, recipe: Recipe, now_ms: int) -> dict[str, Any]:
    stream = pipeline.store.stream_for(recipe)
    build = None if stream is None else pipeline.store.newest_build(stream)
    versions = [] if stream is None else pipeline.store.versions(stream)
    claim = None if stream is None else bench.tenure.claim(stream)
    duel = None if stream is None else bench.tenure.duels().get(stream)
    champion = bench.tenure.facts.champion
    due_ms = versions[-1][1] + recipe.every_ms if versions else now_ms
    role = "candidate"
    if champion is not None and champion.stream == stream:
        role = "champion"
    elif duel is not None and duel.n:
        role = f"challenger, {duel.gain:+.5f} over {duel.n:,}"
    return {
        "recipe": recipe.name,
        "stream": stream,
        "version": None if build is None else build.version,
        "next": "now" if due_ms <= now_ms else format_ms(due_ms),
        "evaluations": 0 if claim is None else claim.n,
        "hit_rate": None if claim is None or math.isnan(claim.hit_rate) else claim.hit_rate,
        "evidence": 1.0 if claim is None else e_value(claim.log_e),
        "evidence_needed": math.exp(bench.tenure.needed),
        "lacks": _lacks(bench, stream, now_ms),
        "role": role,
        "shadow": None if duel is None else duel.to_dict(),
    }


def _lacks(bench: Bench, stream: str | None, now_ms: int) -> str:
    """Return what keeps a recipe from being the first champion, in words."""
    claim = None if stream is None else bench.tenure.claim(stream)
    if stream is None or claim is None:
        return "no version yet"
    return "; ".join([*claim.lacks, *bench.tenure.doubts(stream, now_ms)])


def _age_hours(bench: Bench, version: str, now_ms: int) -> float | None:
    """Return how long ago the training of a version ended, in hours; None where its bundle cannot be read."""
    try:
        return (now_ms - int(bench.open(version).metadata["trained_until_ms"])) / _HOUR_MS
    except RegistryError:
        return None


def _age(hours: float | None) -> str:
    if hours is None:
        return "unknown"
    return f"{hours:.0f} h" if hours < 96 else f"{hours / 24:,.0f} d"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f} %"


def _evidence(value: float) -> str:
    return f"{value:,.0f}" if 10 <= value < 1e6 else f"{value:.2g}"
