"""The judgement of an ensemble: pooled block after block by what was known, beside its best member and the plain mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.ensembles.kinds import KINDS, DirectionKind
from ml.intervals import mean_interval, wilson
from ml.predictions import PREDICTION_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ml.ensembles.kinds import Frozen
    from ml.ensembles.pooling import Pool
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

    record: Any
    pool: Pool
    calibration: Frozen
    learnt: Flags


def judge(rows: CommonRows, method: str, *, horizon: int, given: Sequence[float] | None = None) -> Judged:
    """Pool the rows prequentially: each block by numbers of rows whose outcome was known before its first bar closed.

    Blocks end after every 500th scored bar, so neither later rows nor their number change anything of earlier ones.

    Parameters
    ----------
    rows
        Of ``common_rows``.
    method, given
        See ``ml.ensembles.pooling.fit_pool``.
    horizon
        Bars ahead, of all members.
    """
    kind, count = KINDS[rows.kind], len(rows)
    passed: Integers = np.cumsum(rows.scored, dtype=np.int64) - rows.scored
    block = np.asarray(passed // BLOCK_ROWS, dtype=np.int64)
    pooled, centres, learnt = np.empty((count, 4)), np.zeros(count), np.zeros(count, dtype=np.bool_)
    published = np.full((count, len(PREDICTION_COLUMNS)), np.nan)
    for number in range(int(block[-1]) + 1 if count else 0):
        first, end = (int(place) for place in np.searchsorted(block, [number, number + 1]))
        past = np.flatnonzero(rows.scored[:first] & (rows.k[:first] + horizon <= rows.k[first]))
        part, centre = slice(first, end), kind.centre(rows, first)
        pool = kind.fit_pool(method, rows, past, centres, given)
        pooled[part] = kind.pool(pool, rows.answers(part), centre, horizon)
        centres[part], learnt[part] = centre, pool.learnt
        if number:
            past = past[learnt[past] == pool.learnt]
            frozen = kind.fit(pooled, rows, past, centre, horizon=horizon, learnt=pool.learnt)
            published[part] = kind.publish(frozen, pooled[part], np.ones(end - first))
    scored = np.flatnonzero(rows.scored)
    pool = kind.fit_pool(method, rows, scored, centres, given)
    alike = scored[learnt[scored] == pool.learnt]
    frozen = kind.fit(pooled, rows, alike, kind.centre(rows, count - 1), horizon=horizon, learnt=pool.learnt)
    record = kind.record(
        open_ms=rows.open_ms,
        k=rows.k,
        fold=np.minimum(block, np.iinfo(np.int16).max).astype(np.int16),
        raw_score=np.ascontiguousarray(pooled[:, 0]),
        close=rows.close,
        sigma=rows.sigma,
        scored=rows.scored,
        **{kind.outcome: rows.outcome},
        **rows.baselines,
        **kind.said(published),
    )
    return Judged(record, pool, frozen, learnt)


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
        ``kind``, ``n``, ``members``, ``equal_weights`` and ``ensemble`` (loss on all counted bars and on the second half; for
        a direction the hit rate with its interval, F1 and the share without an opinion),
        ``best_member``, ``versus_best`` and ``versus_equal`` (mean log-loss saved a bar in nats, interval, whether the
        one-sided 95 % lower bound is above 0), ``pairs`` (disagreement, correlation of errors and of log odds).
    """
    kind = KINDS[rows.kind]
    own_stated, plain_stated = getattr(judged.record, kind.stated), getattr(plain.record, kind.stated)
    kept = judged.record.counted & np.isfinite(plain_stated)
    counted = np.flatnonzero(kept if first_ms is None else kept & (rows.open_ms >= first_ms))
    outcome, half = rows.outcome[counted], len(counted) // 2
    losses = [kind.losses(rows.stated[counted, j], outcome) for j in range(len(rows.names))]
    own, equal = kind.losses(own_stated[counted], outcome), kind.losses(plain_stated[counted], outcome)
    best = int(np.argmin([float(loss[:half].mean()) for loss in losses])) if half else 0
    return {
        "kind": kind.name,
        "n": len(counted),
        "second_half": len(counted) - half,
        "members": [
            {"name": name, **_figures(rows.stated[counted, j], losses[j], rows, counted), "best": j == best}
            for j, name in enumerate(rows.names)
        ],
        "ensemble": _figures(own_stated[counted], own, rows, counted),
        "equal_weights": _figures(plain_stated[counted], equal, rows, counted),
        "best_member": rows.names[best],
        "versus_best": _difference(losses[best][half:] - own[half:]),
        "versus_equal": _difference(equal - own),
        "pairs": _pairs(rows, counted),
    }


def _figures(stated: Floats, losses: Floats, rows: CommonRows, counted: Integers) -> dict[str, float | int | None]:
    half, count = len(counted) // 2, len(counted)
    found: dict[str, float | int | None] = {
        "loss": float(losses.mean()) if count else None,
        "loss_second_half": float(losses[half:].mean()) if count else None,
    }
    if rows.kind != DirectionKind.name:
        return found
    rose, said = rows.outcome[counted] > 0, stated >= 0.5
    hits, total = int((said == rose).sum()), int(said.sum()) + int(rose.sum())
    low, high = wilson(hits, count)
    return {
        **found,
        "accuracy": hits / count if count else None,
        "accuracy_low": low,
        "accuracy_high": high,
        "f1": 2 * int((said & rose).sum()) / total if total else None,
        "no_opinion": float(np.mean(stated == 0.5)) if count else None,
    }


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
    """Return how alike each two members are: a member whose scores correlate above 0.95 with another's adds nothing."""
    kind, count = KINDS[rows.kind], len(rows.names)
    opinions = [kind.opinions(rows.stated[counted, j], rows, counted) for j in range(count)]
    found = []
    for i in range(count):
        for j in range(i + 1, count):
            (error, votes, score), (other, against, scores) = opinions[i], opinions[j]
            apart = None if votes is None or against is None or not len(counted) else float(np.mean(votes != against))
            found.append(
                {
                    "members": [rows.names[i], rows.names[j]],
                    "disagreement": apart,
                    "error_correlation": _correlation(error, other),
                    "score_correlation": _correlation(score, scores),
                }
            )
    return found


def _correlation(a: Floats, b: Floats) -> float | None:
    """Return Pearson's correlation; None where one of the two does not vary."""
    if len(a) < 2 or a.std() == 0 or b.std() == 0:
        return None
    return float(np.mean((a - a.mean()) * (b - b.mean())) / (a.std() * b.std()))
