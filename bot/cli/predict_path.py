"""What ``bot predict`` shows of a path: a few of its steps, and how far they may be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bot.cli.output import Report

__all__ = ["print_path"]

_SHOWN = (1, 2, 5, 10, 30, 60, 120, 300)


def print_path(report: Report, document: dict[str, Any]) -> None:
    """Print the steps that a person looks at, and how far they may be trusted."""
    steps = document["predictions"]
    if not steps:
        return
    trusted = document["trusted_steps"]
    wanted = sorted({*(step for step in _SHOWN if step <= len(steps)), *([trusted] if trusted else []), len(steps)})
    rows = [
        (
            f"{step['step']}{'' if step['trusted'] else ' *'}",
            step["timestamp"],
            f"{step['predicted_close']:,.8g}",
            f"{100 * step['predicted_return']:+.3f} %",
            f"{100 * step['confidence']:.1f} %",
            f"{step['low']:,.8g} to {step['high']:,.8g}",
        )
        for step in (steps[number - 1] for number in wanted)
    ]
    report.table("The path", ("step", "closes", "close", "return", "confidence", "in 9 of 10 cases"), rows)
    words = f"the first {trusted}" if trusted > 1 else "the first" if trusted else "none"
    report.line(f"  trusted     {words} of {len(steps)} steps; no order may rest on those marked *")
