"""Pictures of a model of paths: skill by step with its interval, and how often the bands held."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ml.training.plots import canvas, importance_plot, png

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["path_diagnostics"]


def path_diagnostics(figures: Mapping[str, Any], importance: Mapping[str, float], *, title: str) -> dict[str, bytes]:
    """Return ``skill_by_step.png``, ``band_coverage.png`` and, where the model can tell, ``feature_importance.png``."""
    files = {"skill_by_step.png": _skill(figures, title), "band_coverage.png": _coverage(figures, title)}
    if any(share > 0 for share in importance.values()):
        files["feature_importance.png"] = importance_plot(importance, title=title)
    return files


def _skill(figures: Mapping[str, Any], title: str) -> bytes:
    """Draw the gain on no change by step; trusted steps stand apart."""
    table, trusted = figures["by_step"], figures["trusted_steps"]
    figure, axes = canvas(
        f"{title}: {trusted} of {figures['n_steps_ahead']} steps are trusted", "step", "gain, sigma^2"
    )
    step = np.array(table["step"])
    low, high = np.array(table["gain_persistence_low"]), np.array(table["gain_persistence_high"])
    axes.fill_between(step, low, high, alpha=0.2, linewidth=0, label="95 % interval")
    axes.plot(step, table["gain_persistence"], label="squared error saved against no change")
    axes.axhline(0, color="black", linewidth=0.6)
    if trusted:
        axes.axvline(trusted, color="black", linestyle=":", label="last trusted step")
    axes.legend(frameon=False, loc="upper left")
    return png(figure)


def _coverage(figures: Mapping[str, Any], title: str) -> bytes:
    """Draw how often the bands held, overall and by volatility."""
    rows = figures["bands"]
    figure, axes = canvas(f"{title}: how often the 90 % band held", "step", "share of paths inside, %")
    step = [row["step"] for row in rows]
    error = [2 * 100 * row["standard_error"] for row in rows]
    axes.errorbar(
        step, [100 * row["coverage"] for row in rows], yerr=error, capsize=3, label="all, two standard errors"
    )
    for name in ("calm", "usual", "wild"):
        axes.plot(step, [100 * row[name] for row in rows], marker=".", linewidth=0.8, label=name)
    axes.axhline(90, color="black", linewidth=0.6)
    if step:
        axes.set_xscale("log")
        axes.set_xticks(step, [str(each) for each in step])
    axes.legend(frameon=False, loc="lower left")
    return png(figure)
