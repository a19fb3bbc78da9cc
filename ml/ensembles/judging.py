"""The judgement of an ensemble: pooled block after block by what was known, beside its best member and the plain mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.ensembles.pooling import Pool, fit_pool
from ml.ensembles.publishing import PoolCalibration, fit_pool_calibration
from ml.evaluation import Forecasts, log_loss
from ml.intervals import mean_interval, wilson
from ml.record import OutOfSample

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ml.ensembles.rows import CommonRows

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = ["BLOCK_ROWS", "Judged", "compare", "judge"]

BLOCK_ROWS = 500
"""Scored bars of a block: combination and calibration are fitted anew at the start of each."""


@dataclass(frozen=True, eq=False)
class Judged:
    """An ensemble on the common rows of its members.

    Attributes
    ----------
    record
        What it would have said; ``fold`` is the block, the first of which has no calibration.
    pool, calibration
        Fitted on all of the rows: what serves.
    learnt : bool array, shape (n,)
        Rows whose combination was learnt by stacking.
    """

    record: OutOfSample
    pool: Pool
    calibration: PoolCalibration
    learnt: Flags


def judge(rows: CommonRows, method: str, *, horizon: int, given: Sequence[float] | None = None) -> Judged:
    """Pool the rows prequentially: each block by numbers of rows whose outcome was known before its first bar closed.

    Blocks end after every 500th scored bar, so neither later rows nor their number change anything of earlier ones.

    Parameters
    ----------
    rows
        Of ``common_rows``.
    method, given
        See ``fit_pool``.
    horizon
        Bars ahead, of all members.
    """
    count = len(rows)
    passed: Integers = np.cumsum(rows.scored, dtype=np.int64) - rows.scored
    block = np.asarray(passed // BLOCK_ROWS, dtype=np.int64)
    pooled, learnt = np.empty((count, 4)), np.zeros(count, dtype=np.bool_)
    values = {name: np.full(count, np.nan) for name in ("p_up", "expected_return", "low", "high")}
    for number in range(int(block[-1]) + 1 if count else 0):
        first, end = (int(place) for place in np.searchsorted(block, [number, number + 1]))
        past = np.flatnonzero(rows.scored[:first] & (rows.k[:first] + horizon <= rows.k[first]))
        pool = fit_pool(method, rows.p_up[past], rows.rose[past], given)
        part = slice(first, end)
        pooled[part] = pool.pool(rows.p_up[part], rows.expected[part], rows.low[part], rows.high[part])
        learnt[part] = pool.learnt
        if number == 0:
            continue
        calibration = _calibrate(rows, pooled, past[learnt[past] == pool.learnt], horizon, learnt=pool.learnt)
        said = calibration.publish(pooled[part], np.ones(end - first))
        values["p_up"][part] = said[:, 4]
        values["expected_return"][part] = said[:, 1]
        values["low"][part], values["high"][part] = np.log(said[:, 5]), np.log(said[:, 6])
    scored = np.flatnonzero(rows.scored)
    pool = fit_pool(method, rows.p_up[scored], rows.rose[scored], given)
    calibration = _calibrate(rows, pooled, scored[learnt[scored] == pool.learnt], horizon, learnt=pool.learnt)
    record = OutOfSample(
        open_ms=rows.open_ms,
        k=rows.k,
        fold=np.minimum(block, np.iinfo(np.int16).max).astype(np.int16),
        raw_score=np.ascontiguousarray(pooled[:, 0]),
        forward_return=rows.returns,
        train_base_rate=rows.base_rate,
        last_sign_p=rows.last_sign_p,
        close=rows.close,
        sigma=rows.sigma,
        scored=rows.scored,
        **values,
    )
    return Judged(record, pool, calibration, learnt)


def _calibrate(rows: CommonRows, pooled: Floats, past: Integers, horizon: int, *, learnt: bool) -> PoolCalibration:
    return fit_pool_calibration(pooled[past], rows.returns[past], rows.sigma[past], horizon=horizon, trusted=learnt)


def compare(rows: CommonRows, judged: Judged, plain: Judged, *, first_ms: int | None = None) -> dict[str, Any]:
    """Return the ensemble beside its members and beside the plain mean, all on the same scored bars.

    The best member is the one with the lowest log-loss on the first half of the bars; it is met on the second half only.

    Parameters
    ----------
    rows, judged
        What ``judge`` was given and returned.
    plain
        The mean with equal weights on the same rows.
    first_ms
        Count only bars that open at this moment or later; None counts all.

    Returns
    -------
    dict
        ``n``, ``members`` and ``ensemble`` (log-loss, hit rate with interval, on all counted bars and on the second half),
        ``best_member``, ``versus_best`` and ``versus_equal`` (mean log-loss saved a bar in nats, interval, whether the
        one-sided 95 % lower bound is above 0), ``pairs`` (disagreement, correlation of errors and of log odds).
    """
    kept = judged.record.counted & np.isfinite(plain.record.p_up)
    counted = np.flatnonzero(kept if first_ms is None else kept & (rows.open_ms >= first_ms))
    rose, half = rows.rose[counted], len(counted) // 2
    losses = [log_loss(rows.p_up[counted, j], rose) for j in range(len(rows.names))]
    own, equal = log_loss(judged.record.p_up[counted], rose), log_loss(plain.record.p_up[counted], rose)
    best = int(np.argmin([float(loss[:half].mean()) for loss in losses])) if half else 0
    return {
        "n": len(counted),
        "second_half": len(counted) - half,
        "members": [
            {"name": name, **_figures(rows.p_up[counted, j], rows, counted, half), "best": j == best}
            for j, name in enumerate(rows.names)
        ],
        "ensemble": _figures(judged.record.p_up[counted], rows, counted, half),
        "equal_weights": _figures(plain.record.p_up[counted], rows, counted, half),
        "best_member": rows.names[best],
        "versus_best": _difference(losses[best][half:] - own[half:]),
        "versus_equal": _difference(equal - own),
        "pairs": _pairs(rows, counted),
    }


def _figures(p_up: Floats, rows: CommonRows, counted: Integers, half: int) -> dict[str, float | int | None]:
    rose = rows.rose[counted]
    forecasts = Forecasts(p_up, rows.returns[counted], rows.base_rate[counted], rows.last_sign_p[counted])
    losses = log_loss(p_up, rose)
    hits = int(forecasts.hits.sum())
    low, high = wilson(hits, len(counted))
    return {
        "log_loss": float(losses.mean()) if len(losses) else None,
        "log_loss_second_half": float(losses[half:].mean()) if len(losses[half:]) else None,
        "accuracy": hits / len(counted) if len(counted) else None,
        "accuracy_low": low,
        "accuracy_high": high,
        "f1": _f1(forecasts),
        "no_opinion": float(np.mean(p_up == 0.5)) if len(counted) else None,
    }


def _f1(forecasts: Forecasts) -> float | None:
    said, rose = forecasts.p_up >= 0.5, forecasts.rose
    total = int(said.sum()) + int(rose.sum())
    return 2 * int((said & rose).sum()) / total if total else None


def _difference(saved: Floats) -> dict[str, float | bool | int]:
    interval = mean_interval(saved)
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "lower_95": interval.lower_one_sided,
        "n": interval.count,
        "better": bool(interval.lower_one_sided > 0),
    }


def _pairs(rows: CommonRows, counted: Integers) -> list[dict[str, Any]]:
    """Return how alike each two members are: a member whose log odds correlate above 0.95 with another's adds nothing."""
    p_up, rose = rows.p_up[counted], rows.rose[counted]
    said = p_up >= 0.5
    odds = np.clip(p_up, 1e-6, 1 - 1e-6)
    odds = np.log(odds / (1 - odds))
    found = []
    for i in range(len(rows.names)):
        for j in range(i + 1, len(rows.names)):
            wrong = [(said[:, m] != rose).astype(np.float64) for m in (i, j)]
            found.append(
                {
                    "members": [rows.names[i], rows.names[j]],
                    "disagreement": float(np.mean(said[:, i] != said[:, j])) if len(said) else None,
                    "error_correlation": _correlation(*wrong),
                    "score_correlation": _correlation(odds[:, i], odds[:, j]),
                }
            )
    return found


def _correlation(a: Floats, b: Floats) -> float | None:
    """Return Pearson's correlation; None where one of the two does not vary."""
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))
