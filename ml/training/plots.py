"""Diagnostics of a model as PNG files, drawn without a display and without a global state."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.evaluation import bet_returns, counted_forecasts
from ml.tasks.catalogue import TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ml.record import OutOfSample

__all__ = ["calibration_plot", "canvas", "diagnostics", "equity_plot", "importance_plot", "png", "volatility_plot"]

_INK, _ACCENT, _SOFT = "#26323f", "#1f6fb4", "#b9c4cf"
_TOP = 20


def diagnostics(
    record: Any, figures: Mapping[str, Any], importance: Mapping[str, float], *, title: str, task: str = "direction"
) -> dict[str, bytes]:
    """Return the task's own pictures and, where the model can tell, ``feature_importance.png``."""
    files = TASKS[task].plots(record, figures, title=title)
    if any(share > 0 for share in importance.values()):
        files["feature_importance.png"] = importance_plot(importance, title=title)
    return files


def calibration_plot(
    figures: Mapping[str, Any], *, title: str, least: float = 0.5, what: str = "stated confidence"
) -> bytes:
    """Draw what was stated, from ``least`` on, against what came true, with 95 % bars."""
    figure, axes = canvas(f"{title}: does the {what} come true?", what, "came true")
    table = figures["reliability"]
    stated = np.array([row["stated"] for row in table])
    observed = np.array([row["observed"] for row in table])
    low = np.array([row["observed_low"] for row in table])
    high = np.array([row["observed_high"] for row in table])
    top = max(least + 0.1, float(np.max(np.append(stated, high))) + 0.02) if len(table) else least + 0.1
    axes.plot([least, top], [least, top], color=_SOFT, linewidth=1.5, label="stated = came true")
    if len(table):
        bars = np.abs(np.stack([observed - low, high - observed]))
        axes.errorbar(stated, observed, yerr=bars, fmt="o", color=_ACCENT, capsize=3, label="tenths of the forecasts")
    axes.legend(frameon=False, loc="upper left")
    return png(figure)


def volatility_plot(figures: Mapping[str, Any], *, title: str) -> bytes:
    """Draw the forecast volatility against the realised one, by fifths of the forecast."""
    figure, axes = canvas(f"{title}: forecast and realised volatility", "forecast, %", "realised, %")
    table = figures["by_forecast"]
    stated = 100 * np.array([row["stated"] for row in table])
    realised = 100 * np.array([row["realised"] for row in table])
    top = 1.05 * float(np.max(np.append(stated, realised))) if len(table) else 1.0
    axes.plot([0, top], [0, top], color=_SOFT, linewidth=1.5, label="forecast = realised")
    axes.plot(stated, realised, "o-", color=_ACCENT, label="fifths of the forecasts")
    axes.legend(frameon=False, loc="upper left")
    return png(figure)


def equity_plot(record: OutOfSample, *, title: str) -> bytes:
    """Draw the summed return of a bet on every forecast, before costs, beside holding."""
    from matplotlib import dates

    figure, axes = canvas(f"{title}: a bet on every unseen bar, BEFORE costs", "", "summed return, %")
    counted = record.counted
    times = record.open_ms[counted].astype("datetime64[ms]")
    forecasts = counted_forecasts(record)
    axes.plot(times, 100 * np.cumsum(bet_returns(forecasts)), color=_ACCENT, label="the signal, gross")
    axes.plot(times, 100 * np.cumsum(np.expm1(forecasts.returns)), color=_SOFT, label="always up, gross")
    axes.axhline(0, color=_INK, linewidth=0.6)
    locator: Any = dates.AutoDateLocator()  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    axes.legend(frameon=False, loc="upper left")
    return png(figure)


def importance_plot(importance: Mapping[str, float], *, title: str) -> bytes:
    """Draw the 20 features that contributed most."""
    figure, axes = canvas(f"{title}: what the model looked at", "share of the gain, %", "")
    ranked = sorted(importance.items(), key=lambda item: (-item[1], item[0]))[:_TOP]
    names = [name for name, _ in ranked][::-1]
    shares = [100 * share for _, share in ranked][::-1]
    axes.barh(names, shares, color=_ACCENT)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", labelsize=8)
    return png(figure)


def canvas(title: str, x_label: str, y_label: str) -> tuple[Any, Any]:
    """Return an empty figure and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    return figure, axes


def png(figure: Any) -> bytes:
    """Return a figure as a PNG file without a date."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
