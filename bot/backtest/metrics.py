"""The figures of a run: what the account did, and how good the predictions were, each beside its baseline.

Returns are measured from the close of a segment's first bar: that is where its first decision is made, and what is held
during that bar was decided before. An undefined figure is NaN here and null in ``result.json``.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from bot.backtest.rebuild import Curves, RoundTrip, fee_in_quote
from ml.baselines import Baselines, fit_baselines
from ml.evaluation import Forecasts, evaluate
from ml.labels import decided, forward_returns, past_returns

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from bot.broker.records import Fill
    from ml.candles import Candles
    from ml.predictions import PredictionBatch

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]
    Integers = npt.NDArray[np.int64]

__all__ = [
    "PREDICTION_FIGURES",
    "account_figures",
    "bars_per_year",
    "joined_forecasts",
    "max_drawdown",
    "prediction_figures",
    "score_forecasts",
    "sharpe_ratio",
    "sortino_ratio",
    "training_baselines",
]

PREDICTION_FIGURES = (
    "direction_accuracy",
    "direction_accuracy_low",
    "direction_accuracy_high",
    "majority_baseline",
    "last_sign_baseline",
    "log_loss_skill",
    "calibration_error",
    "calibration_error_upper",
    "gross_return_per_bet",
    "gross_return_per_bet_low",
    "gross_return_per_bet_high",
    "break_even_cost",
    "mean_confidence",
)
"""Figures of the predictions in ``result.json``; ``n`` stands beside them."""

_YEAR_MS = 365.25 * 86_400_000


def bars_per_year(open_ms: Integers, step_ms: int) -> float:
    """Return how many bars a year of this series has, measured: 8,766 for hours around the clock, fewer with weekends.

    Parameters
    ----------
    open_ms : int64 array, shape (n,)
        Open times, milliseconds UTC.
    step_ms : int
        Length of a bar in milliseconds.
    """
    if len(open_ms) == 0:
        return math.nan
    return len(open_ms) * _YEAR_MS / float(open_ms[-1] - open_ms[0] + step_ms)


def sharpe_ratio(returns: Floats, per_year: float) -> float:
    """Return the annualised Sharpe ratio ``mean / sd * sqrt(per_year)`` against a risk-free return of 0 (sd with n - 1).

    NaN below two returns, and where they do not vary. Source: Sharpe 1994, Journal of Portfolio Management 21.

    Parameters
    ----------
    returns : float64 array, shape (n,)
        Simple returns of each bar.
    per_year : float
        Bars of a year.
    """
    if len(returns) < 2:
        return math.nan
    deviation = float(returns.std(ddof=1))
    return float(returns.mean()) / deviation * math.sqrt(per_year) if deviation > 0 else math.nan


def sortino_ratio(returns: Floats, per_year: float) -> float:
    """Return the annualised Sortino ratio ``mean / sqrt(mean(min(r, 0)^2)) * sqrt(per_year)`` against a target of 0.

    NaN below two returns, and where none is negative. Source: Sortino and Price 1994, Journal of Investing 3.
    """
    if len(returns) < 2:
        return math.nan
    downside = math.sqrt(float((np.minimum(returns, 0.0) ** 2).mean()))
    return float(returns.mean()) / downside * math.sqrt(per_year) if downside > 0 else math.nan


def max_drawdown(equity: Floats) -> float:
    """Return the deepest fall from an earlier peak as a fraction, 0 or negative; NaN without bars."""
    if len(equity) == 0:
        return math.nan
    return float((equity / np.maximum.accumulate(equity)).min()) - 1.0


def account_figures(
    curves: Curves, rows: slice, trades: Sequence[RoundTrip], fills: Sequence[Fill], step_ms: int
) -> dict[str, Any]:
    """Return what the account did in the bars ``rows`` of a run.

    A trade belongs to the segment in which it was opened, a fee to that in which it was paid. ``win_rate`` and
    ``profit_factor`` are of closed trades after fees; ``exposure`` is the mean share of the equity in the market;
    ``buy_and_hold_return`` is that of the closes, without costs.
    """
    equity, close, times = curves.equity[rows], curves.close[rows], curves.open_ms[rows]
    first, last = (int(times[0]), int(times[-1])) if len(times) else (0, -1)
    closed = [trade for trade in trades if trade.is_closed and first <= trade.entry_ms <= last]
    profits = np.array([trade.profit for trade in closed])
    won, lost = float(profits[profits > 0].sum()), -float(profits[profits < 0].sum())
    returns = equity[1:] / equity[:-1] - 1.0
    yearly = bars_per_year(times, step_ms)
    return {
        "bars": len(times),
        "first_ms": first if len(times) else None,
        "last_ms": last if len(times) else None,
        "total_return": float(equity[-1] / equity[0]) - 1.0 if len(equity) else math.nan,
        "buy_and_hold_return": float(close[-1] / close[0]) - 1.0 if len(close) else math.nan,
        "sharpe": sharpe_ratio(returns, yearly),
        "sortino": sortino_ratio(returns, yearly),
        "max_drawdown": max_drawdown(equity),
        "buy_and_hold_max_drawdown": max_drawdown(close),
        "trades": len(closed),
        "win_rate": float((profits > 0).mean()) if closed else math.nan,
        "profit_factor": won / lost if lost > 0 else math.nan,
        "fees_paid": sum(fee_in_quote(fill) for fill in fills if first <= fill.bar_open_ms <= last),
        "exposure": float(curves.exposure[rows].mean()) if len(times) else math.nan,
        "bars_per_year": yearly,
    }


def training_baselines(
    candles: Candles, horizon: int, trained_until_ms: int | None, index: Integers | None = None
) -> Baselines:
    """Return the baselines fitted on the labels of these candles that were known when the model was trained.

    For bundles that do not keep their own; those of a model that does are in ``metrics.json``.
    """
    until = -(2**62) if trained_until_ms is None else trained_until_ms
    known = candles.open_ms + (horizon + 1) * candles.step_ms <= until
    return fit_baselines(forward_returns(candles, horizon, index)[known], past_returns(candles, horizon, index)[known])


def score_forecasts(
    candles: Candles,
    batch: PredictionBatch,
    horizon: int,
    rows: slice,
    baselines: Baselines,
    index: Integers | None = None,
) -> Forecasts:
    """Return the predictions of the bars ``rows`` that can be scored, with what came true and what the baselines said.

    Scored are predictions with status ok whose label exists and is no tie, on bars with ``k % horizon == 0``: their label
    intervals do not overlap, and intervals of figures are honest.

    Parameters
    ----------
    candles : Candles
        All bars of the run, those before it trades too.
    batch : PredictionBatch
        One prediction a candle.
    horizon : int
        Bars ahead.
    rows : slice
        The segment.
    baselines : Baselines
        What the training rows said without any feature.
    index : int64 array, shape (n,), optional
        Absolute index of each candle; default ``candles.index``.
    """
    k = candles.index if index is None else index
    forward, past = forward_returns(candles, horizon, index), past_returns(candles, horizon, index)
    scored = np.zeros(len(candles), dtype=bool)
    scored[rows] = True
    scored &= (batch.status == 0) & decided(forward) & (k % horizon == 0)
    scored &= np.isfinite(batch.column("p_up"))  # a model of risk or volatility says nothing of direction
    return Forecasts(
        p_up=batch.column("p_up")[scored],
        returns=forward[scored],
        base_rate=np.full(int(scored.sum()), baselines.base_rate),
        last_sign_p=baselines.last_sign_probability(past[scored]),
    )


def joined_forecasts(parts: Sequence[Forecasts]) -> Forecasts:
    """Return forecasts that follow each other in time as one."""
    if len(parts) == 1:
        return parts[0]
    names = [field.name for field in fields(Forecasts)]
    return Forecasts(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def prediction_figures(forecasts: Forecasts | None) -> dict[str, Any]:
    """Return the figures of a segment's predictions and their ``reliability`` table; NaN throughout without a model."""
    if forecasts is None or len(forecasts.p_up) == 0:
        return {**dict.fromkeys(PREDICTION_FIGURES, math.nan), "n": 0, "reliability": []}
    figures = evaluate(forecasts)
    return {name: figures[name] for name in (*PREDICTION_FIGURES, "n", "reliability")}
