"""What trees look at: the gain of each feature over all bars, and what each feature added to the score of one bar."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel
from ml.lightgbm_text import parse_lightgbm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = ["TREE_FILES", "Contributions", "contributions", "gain_importance", "tree_file"]

TREE_FILES = ("model.txt", "close.txt", "open.txt", "high.txt", "low.txt")
"""Files of bundles that hold trees as LightGBM text; of several the first is explained unless another is named."""

_ROUNDING = 1e-6


@dataclass(frozen=True)
class Contributions:
    """The raw score of one bar, taken apart.

    Attributes
    ----------
    base : float
        Mean score over the bars that the trees were fitted on.
    values : mapping of str to float
        What each feature added to it or took from it; base and values sum to the score.
    score : float
        Raw score of the bar, before calibration: log odds for a direction.
    """

    base: float
    values: Mapping[str, float]
    score: float

    def largest(self, count: int) -> list[tuple[str, float]]:
        """Return the features that moved the score most, the largest first."""
        return sorted(self.values.items(), key=lambda item: (-abs(item[1]), item[0]))[:count]


def tree_file(names: Mapping[str, Any] | set[str], wanted: str | None = None) -> str | None:
    """Return the file of trees to explain among the names of a bundle's files, None where there is none."""
    if wanted is not None:
        return f"{wanted}.txt" if f"{wanted}.txt" in names and f"{wanted}.txt" in TREE_FILES else None
    return next((name for name in TREE_FILES if name in names), None)


def gain_importance(text: bytes) -> dict[str, float]:
    """Return each feature's share of the total gain of all splits, in the order of the columns.

    Raises
    ------
    BrokenModel
        When the text is no LightGBM model.
    """
    booster = _booster(text)
    gain = np.asarray(booster.feature_importance("gain"), dtype=np.float64)
    total = float(gain.sum())
    shares = gain / total if total > 0 else np.zeros_like(gain)
    return dict(zip(booster.feature_name(), shares.tolist(), strict=True))


def contributions(text: bytes, row: Rows) -> Contributions:
    """Return what each feature added to the score of one bar.

    Tree SHAP as LightGBM computes it (``pred_contrib``; Lundberg et al. 2018, arXiv 1802.03888): the average marginal effect
    of a feature over all orders in which features may become known.

    Parameters
    ----------
    text
        LightGBM text model.
    row : float32 array, shape (F,)
        The bar's features; NaN is a missing value.

    Raises
    ------
    BrokenModel
        When the text is no LightGBM model, or its trees do not count the rows of their leaves, without which there is no mean
        to explain from.
    ValueError
        When the row has another number of features.
    """
    booster = _booster(text)
    names = booster.feature_name()
    if row.shape != (len(names),):
        raise ValueError(f"expected a row of {len(names)} features, got shape {row.shape}")
    rows = np.ascontiguousarray(row, dtype=np.float32)[None, :]
    score = float(booster.predict(rows, raw_score=True, num_threads=1)[0])
    parts = np.asarray(booster.predict(rows, pred_contrib=True, num_threads=1), dtype=np.float64)[0]
    total = math.fsum(parts.tolist())
    if not abs(total - score) <= _ROUNDING * max(1.0, abs(score)):
        raise BrokenModel(
            f"the contributions sum to {total:.6g} and the score is {score:.6g}: these trees do not count the rows of their "
            "leaves, so a prediction cannot be taken apart"
        )
    return Contributions(float(parts[-1]), dict(zip(names, parts[:-1].tolist(), strict=True)), score)


def _booster(text: bytes) -> Any:
    """Open a model that our own parser has found whole.

    LightGBM jumps from tree to tree by the sizes that the header states, and a wrong one ends the process: without that line
    it reads them one after the other.
    """
    import lightgbm

    parse_lightgbm(text)
    lines = [line for line in text.decode().splitlines() if not line.startswith("tree_sizes=")]
    try:
        return lightgbm.Booster(model_str="\n".join(lines) + "\n")
    except (lightgbm.basic.LightGBMError, ValueError) as error:
        raise BrokenModel(f"not a LightGBM model: {error}") from error
