"""The report of a run: one HTML file that needs nothing else, for screens light and dark, wide and narrow."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.report.charts import calibration_chart, drawdown_chart, equity_chart, price_chart, waterfall_chart
from bot.report.months import monthly_returns
from bot.report.templates import render
from bot.report.words import (
    beside,
    lead,
    market_words,
    reached_rows,
    round_trip,
    sample_words,
    tiles,
    verdicts,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bot.backtest.run import BacktestRun

__all__ = ["report_page"]

_READ_OUT = 700  # places of the crosshair
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def report_page(run: BacktestRun, document: Mapping[str, Any]) -> str:
    """Return the page; equal run ids give equal bytes.

    Parameters
    ----------
    run
        What happened.
    document
        Content of ``result.json``; its blocks ``engine`` and ``cache`` are not read.
    """
    split, cash = run.out_of_sample_row, float(document["initial_cash"])
    return render(
        "page.html",
        doc=document,
        data=json.dumps(_read_out(run, cash), separators=(",", ":")),
        lead=lead(document),
        tiles=tiles(document),
        warnings=[*sample_words(document), *market_words(document)],
        verdicts=verdicts(document),
        beside=beside(document),
        round_trip=round_trip(document),
        reached=reached_rows(document),
        equity=equity_chart(run.curves, cash, split),
        price=price_chart(run.curves, run.trades, split),
        drawdown=drawdown_chart(run.curves, split),
        calibration=calibration_chart(run.figures["out_of_sample"]["reliability"]),
        waterfall=waterfall_chart(run.costs),
        months=_MONTHS,
        years=monthly_returns(run.curves, split),
        trades=run.trades,
    )


def _read_out(run: BacktestRun, cash: float) -> dict[str, list[Any]]:
    """Return the figures that the crosshair shows, at evenly spread bars."""
    curves = run.curves
    rows = np.unique(np.linspace(0, len(curves) - 1, min(_READ_OUT, len(curves))).astype(np.int64))
    hold = cash * curves.close[rows] / curves.close[0]
    return {
        "at": [round(float(place), 5) for place in rows / max(len(curves) - 1, 1)],
        "time": (curves.open_ms[rows] // 60_000).tolist(),
        "price": [_short(value) for value in curves.close[rows]],
        "equity": [_short(value) for value in curves.equity[rows]],
        "hold": [_short(value) for value in hold],
        "fall": [round(100 * float(value), 2) for value in curves.drawdown[rows]],
        "held": [round(100 * float(value)) for value in curves.exposure[rows]],
    }


def _short(value: float) -> float:
    return float(f"{value:.6g}")
