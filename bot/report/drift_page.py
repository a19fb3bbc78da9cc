"""The drift report: one HTML file that says whether a champion is still what it was promoted for, and how sure that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import numpy as np

from bot.report.charts import calibration_chart
from bot.report.drift_charts import distribution_chart, rolling_chart, rolling_window, statistic_chart
from bot.report.templates import render
from bot.report.words import number, percent
from ml.calibration import reliability
from ml.record import DIRECTION_TASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.report.drawing import Chart

    Tile = tuple[str, str, str, str]

__all__ = ["DriftDocument", "Performance", "drift_page"]

_STATES = {
    "calm": ("ok", "No drift"),
    "warning": ("warn", "Warning"),
    "alarm": ("bad", "Drift"),
    "no reference": ("warn", "No reference"),
    "no champion": ("warn", "No champion"),
}
_MOST_FEATURES = 15


class Performance(TypedDict):
    """The evaluations since the champion serves, in time order, and what the drift test made of them.

    Attributes
    ----------
    open_ms, came_true, stated, statistic
        A number for each evaluation that counts: open time of the bar, whether it came true, the probability that was stated
        of it, and the statistic after it.
    level
        Statistic at which the alarm is raised: the evaluations of a year.
    overlap
        Phases that count: so many evaluations are worth one.
    reference
        Hit rate that the champion is held to; None for tasks that are not held to one.
    reference_rows, reference_hits
        Evaluations before it served, and those of them that were right.
    fall
        ``ml.lifecycle.drift_test.Fall.to_dict()``; None where none is seen.
    """

    open_ms: list[int]
    came_true: list[bool]
    stated: list[float]
    statistic: list[float]
    level: float
    overlap: int
    reference: float | None
    reference_rows: int
    reference_hits: int
    fall: Mapping[str, Any] | None


class DriftDocument(TypedDict):
    """What the page is drawn from; plain data, so that it may be printed as JSON.

    Attributes
    ----------
    symbol, model_type, timeframe, task, horizon
        The model key, and what its models forecast how many bars ahead.
    version, recipe
        The champion and its recipe; None where there is none.
    since, until
        UTC times in ISO form: the first bar that counts, and the close of the last; None where nothing was evaluated.
    state
        ``calm``, ``warning``, ``alarm``, ``no reference`` or ``no champion``.
    words
        What fell, from what to what, over how many bars, how sure: one or two sentences, which lead the page.
    action
        What was or will be done, in a sentence; may be left out.
    performance
        None where nothing was evaluated yet.
    calibration
        ``CalibrationGap.to_dict()``, with ``overconfidence``, a mapping of ``statistic`` and ``level``, where that is tested.
    features, predictions, naive
        ``to_dict()`` of ``FeatureDrift``, ``PredictionDrift`` and ``NaiveFigure``; None where not looked at.
    """

    symbol: str
    model_type: str
    timeframe: str
    task: str
    horizon: int
    version: str | None
    recipe: str | None
    since: str | None
    until: str | None
    state: str
    words: str
    action: NotRequired[str]
    performance: Performance | None
    calibration: Mapping[str, Any] | None
    features: Mapping[str, Any] | None
    predictions: Mapping[str, Any] | None
    naive: Mapping[str, Any] | None


def drift_page(document: DriftDocument) -> str:
    """Return the page; equal documents give equal bytes.

    Raises
    ------
    ValueError
        When the state is unknown, or the columns of ``performance`` differ in length.
    """
    if document["state"] not in _STATES:
        raise ValueError(f"the state {document['state']!r} is unknown: expected one of {', '.join(_STATES)}")
    performance = document["performance"]
    statistic = rolling = calibration = None
    window = 0
    if performance is not None:
        statistic, rolling, calibration, window = _pictures(performance, document["state"] in {"warning", "alarm"})
    predictions = document["predictions"]
    features = document["features"]
    rows = [] if features is None else [_feature(row) for row in features["features"]]
    return render(
        "drift.html",
        doc=document,
        mood=_STATES[document["state"]],
        directional=document["task"] in DIRECTION_TASKS,
        tiles=_tiles(document),
        statistic=statistic,
        rolling=rolling,
        window=window,
        calibration=calibration,
        predictions=None
        if predictions is None or len(predictions["now"]) < 2
        else distribution_chart(predictions["edges"], predictions["before"], predictions["now"]),
        first=rows[:_MOST_FEATURES],
        rest=rows[_MOST_FEATURES:],
        not_judged=_grouped({} if features is None else features["not_judged"]),
        points=_points(document),
    )


def _pictures(performance: Performance, suspected: bool) -> tuple[Chart | None, Chart | None, Chart | None, int]:
    """Return the charts of the evaluations, as far as there are enough, and the window of the rolling one."""
    columns = ("open_ms", "came_true", "stated", "statistic")
    lengths = {name: len(performance[name]) for name in columns}  # type: ignore[literal-required]
    if len(set(lengths.values())) > 1:
        raise ValueError(f"the columns of the evaluations differ in length: {lengths}")
    open_ms = np.array(performance["open_ms"], dtype=np.int64)
    if len(open_ms) < 2:
        return None, None, None, 0
    came_true = np.array(performance["came_true"], dtype=np.bool_)
    stated = np.array(performance["stated"], dtype=np.float64)
    fall = performance["fall"]
    window = rolling_window(len(open_ms))
    return (
        statistic_chart(
            open_ms,
            np.array(performance["statistic"], dtype=np.float64),
            performance["level"],
            fall["since"] if fall is not None and suspected else None,
        ),
        rolling_chart(open_ms, came_true, stated, performance["reference"], window, performance["overlap"])
        if len(open_ms) > window
        else None,
        calibration_chart(reliability(stated, came_true)),
        window,
    )


def _tiles(document: DriftDocument) -> list[Tile]:
    """Return the large figures: name, value, what stands beside it, and ``good``, ``bad`` or nothing."""
    found: list[Tile] = []
    performance, calibration, naive = document["performance"], document["calibration"], document["naive"]
    if performance is not None and performance["open_ms"]:
        count = len(performance["open_ms"])
        share = sum(performance["came_true"]) / count
        name = "Right since it serves" if document["task"] in DIRECTION_TASKS else "Came true"
        before = performance["reference_rows"]
        beside = (
            f"{percent(performance['reference_hits'] / before)} of {before:,} before" if before else "no record before"
        )
        found.append((name, percent(share), f"of {count:,}; {beside}", ""))
        last, level = performance["statistic"][-1], performance["level"]
        found.append(
            (
                "Drift statistic",
                _large(last),
                f"alarm at {level:,.0f}, warning at {level / 10:,.0f}",
                "bad" if document["state"] == "alarm" else "",
            ),
        )
    if calibration is not None and calibration["z"] is not None:
        found.append(
            (
                "Calibration",
                f"{number(calibration['z'], 1)} σ",
                f"of {calibration['n']:,}; alarm beyond 3.3",
                "bad" if calibration["alarm"] else "",
            ),
        )
    for name, part in (("Features shifted", document["features"]), ("Predictions", document["predictions"])):
        if part is not None:
            found.append(_shift_tile(name, part))
    if naive is not None and naive["n"]:
        found.append(
            ("Last 24 hours", percent(naive["accuracy"]), f"of {naive['n']:,}; p {number(naive['p_value'], 2)}", "")
        )
    return found


def _shift_tile(name: str, part: Mapping[str, Any]) -> Tile:
    if part["status"] in {"no reference", "too few rows"}:
        return name, "–", part["status"], ""
    mood = "" if part["status"] == "calm" else "bad"
    if "judged" in part:
        return name, f"{len(part['shifted'])} of {part['judged']}", f"{part['status']}, {part['rows']:,} rows", mood
    return name, part["status"], f"{part['rows']:,} predictions", mood


def _feature(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the table of features: the figures as texts, and the length of its bar in percent."""
    judged = row["judged"] and row["psi"] is not None and row["threshold"] is not None
    ratio = row["psi"] / row["threshold"] if judged else 0.0
    return {
        "name": row["name"],
        "shifted": row["shifted"],
        "lacking": row["lacking"],
        "bar": round(100 * ratio / (1.0 + ratio), 1),  # half full at the threshold, never quite full
        "psi": number(row["psi"], 3),
        "threshold": number(row["threshold"], 3),
        "before": _plain(row["mean_before"]),
        "now": _plain(row["mean"]),
        "moved": number(row["wasserstein"], 2),
        "worth": _plain(row["effective_rows"], 0),
        "judged": judged,
    }


def _grouped(not_judged: Mapping[str, str]) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for name, why in not_judged.items():
        groups.setdefault(why, []).append(name)
    return groups


def _points(document: DriftDocument) -> list[str]:
    """Return what each monitor says, in sentences."""
    parts = ("calibration", "predictions", "features", "naive")
    return [part["words"] for name in parts if (part := document[name]) is not None]  # type: ignore[literal-required]


def _large(value: float) -> str:
    return f"{value:,.0f}" if value < 1e6 else f"{value:.1e}"


def _plain(value: float | None, decimals: int | None = None) -> str:
    """Return a number of any size with three significant digits."""
    if value is None:
        return "–"
    text = f"{value:,.{decimals}f}" if decimals is not None else f"{value:.3g}"
    return text.replace("-", "−")
