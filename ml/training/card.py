"""The model card: ``README.md`` of a bundle, for a person."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.training.gate import GateDecision

__all__ = ["headline", "model_card"]


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else "undefined"


def _basis_points(value: float) -> str:
    return f"{10_000 * value:+.2f} bp" if math.isfinite(value) else "undefined"


def headline(figures: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return rows (what, measured, beside) of the figures that matter, in words."""
    gains = figures["gain"]
    return [
        (
            "direction right",
            (
                f"{_percent(figures['direction_accuracy'])} ({_percent(figures['direction_accuracy_low'])} to "
                f"{_percent(figures['direction_accuracy_high'])}), n = {figures['n']:,}"
            ),
            (
                f"always the majority {_percent(figures['majority_baseline'])}, "
                f"last-sign rule {_percent(figures['last_sign_baseline'])}"
            ),
        ),
        (
            "log-loss saved (skill)",
            f"{_percent(gains['coin']['skill'], 2)} of a coin's",
            (
                f"{_percent(gains['base_rate']['skill'], 2)} of the share of rises', "
                f"{_percent(gains['last_sign']['skill'], 2)} of the last-sign rule's"
            ),
        ),
        (
            "stated confidence",
            f"{_percent(figures['mean_confidence'])} on average",
            (
                f"came true {_percent(figures['direction_accuracy'])}; calibration error "
                f"{_percent(figures['calibration_error'])} (at most {_percent(figures['calibration_error_upper'])})"
            ),
        ),
        (
            "gross return per bet",
            (
                f"{_basis_points(figures['gross_return_per_bet'])} "
                f"({_basis_points(figures['gross_return_per_bet_low'])} to "
                f"{_basis_points(figures['gross_return_per_bet_high'])})"
            ),
            f"a round trip that costs more than {_basis_points(figures['break_even_cost']).lstrip('+')} loses money",
        ),
        (
            "90 % price band",
            f"held {_percent(figures['interval_coverage'])}",
            f"{_percent(figures['interval_coverage_low'])} to {_percent(figures['interval_coverage_high'])}",
        ),
    ]


def model_card(document: Mapping[str, Any], metrics: Mapping[str, Any], gate: GateDecision) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    document
        Content of ``metadata.json``.
    metrics
        Content of ``metrics.json``.
    gate
        The verdict.
    """
    figures, baselines = metrics["out_of_sample"], metrics["baselines"]
    unit = "bar" if document["horizon"] == 1 else "bars"
    lines = [
        f"# {document['name']}",
        "",
        f"{document['title']}. {document['description']}",
        "",
        (
            f"It answers: will the close {document['horizon']} {unit} of {document['timeframe']} ahead be higher, "
            "and how sure may one be?"
        ),
        "",
        "## Verdict",
        "",
        f"{gate.reason[0].upper()}{gate.reason[1:]}.",
        "",
        "| against | gain a bar, nats | one-sided 95 % lower bound | |",
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
        "Walk forward: every figure comes from models of the past asked about later bars; label intervals do not overlap.",
        "",
        "| what | measured | beside |",
        "|---|---|---|",
    ]
    lines += [f"| {what} | {measured} | {beside} |" for what, measured, beside in headline(figures)]
    lines += ["", "Accuracy by size of the move (a model may be right on small moves and wrong on large ones):", ""]
    lines += ["| absolute return | right | n |", "|---|---|---|"]
    lines += [
        f"| {_percent(row['from'], 3)} to {_percent(row['to'], 3)} | {_percent(row['accuracy'])} | {row['n']:,} |"
        for row in figures["by_outcome_size"]
    ]
    lines += ["", "Gross return per bet (before any cost) above a stated confidence:", ""]
    lines += ["| confidence | share of bars | right | gross return per bet |", "|---|---|---|---|"]
    lines += [
        f"| {row['at_least']:.2f} | {_percent(row['share'])} | {_percent(row['accuracy'])} "
        f"| {_basis_points(row['gross_return_per_bet'])} ({_basis_points(row['gross_return_per_bet_low'])} to "
        f"{_basis_points(row['gross_return_per_bet_high'])}) |"
        for row in figures["by_confidence"]
    ]
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
            f"{_percent(baselines['base_rate'])} of them rises; last-sign rule: {baselines['last_sign']}"
        ),
        f"- made {document['created_at']} by version {document['code_version']}, seed {document['training']['seed']}",
        "",
        "## Limits",
        "",
        (
            "One series, one market regime after another: the past may not repeat. Promotion speaks of probability, not of "
            "profit; compare the gross return per bet with the costs that you pay."
        ),
        "",
    ]
    return "\n".join(lines)
