"""The model card: ``README.md`` of a bundle, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.tasks.catalogue import PATH, WORDS
from ml.training.robustness import robustness_lines

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.tasks.contract import Task
    from ml.tasks.path import PathWords
    from ml.training.gate import GateDecision

__all__ = ["headline", "model_card"]


def headline(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows (what, measured, beside) of the figures that matter, in words; figures without a task are a direction's."""
    return WORDS[figures.get("task", "direction")].headline(figures)


def model_card(
    document: Mapping[str, Any], metrics: Mapping[str, Any], gate: GateDecision, task: Task | PathWords | None = None
) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    document
        Content of ``metadata.json``.
    metrics
        Content of ``metrics.json``.
    gate
        The verdict.
    task
        What was learnt; that of the metadata unless given.
    """
    task = WORDS[document["task"]] if task is None else task
    figures, baselines = metrics["out_of_sample"], metrics["baselines"]
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
        f"| against | gain a bar, {task.unit} | one-sided 95 % lower bound | |",
        "|---|---|---|---|",
    ]
    for test in gate.tests:
        passed = "passed" if test.passed else "failed"
        lines.append(
            f"| {test.baseline.replace('_', ' ')} | {test.mean_gain:+.5f} | {test.lower_bound:+.5f} | {passed} |"
        )
    lines += [
        "",
        "## Measured on bars that it had not seen",
        "",
        (
            "Walk forward: every figure comes from models of the past asked about later bars; "
            f"{'paths overlap, and the intervals say so' if task.name == PATH else 'label intervals do not overlap'}."
        ),
        "",
        "| what | measured | beside |",
        "|---|---|---|",
    ]
    lines += [f"| {what} | {measured} | {beside} |" for what, measured, beside in task.headline(figures)]
    lines += task.tables(figures)
    lines += robustness_lines(metrics.get("robustness", {}))
    data = document["data"]
    source = f" from {data['exchange']}" if data["exchange"] else ""
    lines += [
        "",
        "## Made from",
        "",
        f"- {data['bars']:,} bars of {document['timeframe']}{source}, {data['start']} to {data['end']}",
        f"- labels until {document['trained_until']}: what closes later is out of sample",
        (
            f"- {document['feature_count']} features, {document['training']['data_points']:,} labelled bars, "
            f"{task.training_words(baselines)}"
        ),
        f"- made {document['created_at']} by version {document['code_version']}, seed {document['training']['seed']}",
        *_of_recipe(document),
        *_searched(document["training"].get("searched_trials", 0)),
        "",
        "## Limits",
        "",
        task.limits(document),
        "",
    ]
    return "\n".join(lines)


def _of_recipe(document: Mapping[str, Any]) -> list[str]:
    """Return whose version it is, and what that means for the figures; nothing for a model that was trained by hand."""
    name = document.get("recipe_name")
    if name is None:
        return []
    if not document["refit"]:
        return [f"- first version of the recipe {name}"]
    return [
        (
            f"- refit of the recipe {name} ({document['training']['validation']}): the figures above are of all its "
            "versions, each asked about bars after its training"
        )
    ]


def _searched(trials: int) -> list[str]:
    """Return what it means for the figures that a search chose the parameters; nothing where there was none."""
    if not trials:
        return []
    return [
        (
            f"- parameters given after a search of {trials:,} trials on this series: the figures above count the bars that "
            "chose them too, and flatter; what the search printed of its last fold does not"
        )
    ]
