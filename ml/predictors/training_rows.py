"""Checks of the rows that a model is to be fitted on, before any library sees them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ml.errors import TrainingFailed

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Flags = npt.NDArray[np.bool_]

__all__ = ["check_bounded", "check_classes", "check_known", "check_next_returns", "check_varied"]


def check_known(target: Floats) -> None:
    """Refuse no rows at all, and rows without a label.

    Raises
    ------
    TrainingFailed
        With the count.
    """
    if len(target) == 0:
        raise TrainingFailed("no bar has both features and a label to learn from: shorten --horizon, or take more bars")
    if not np.isfinite(target).all():
        raise TrainingFailed(f"{int((~np.isfinite(target)).sum())} of {len(target)} training rows have no label")


def check_classes(positive: Flags, horizon: int, *, words: tuple[str, str], purpose: str) -> None:
    """Refuse labels of one class only.

    Parameters
    ----------
    positive : bool array, shape (n,)
        The class of each row.
    words
        Names of a label that is positive, and of one that is not.
    purpose
        What needs both, such as ``a model of direction``.

    Raises
    ------
    TrainingFailed
        With what to change.
    """
    count = int(positive.sum())
    if count in {0, len(positive)}:
        raise TrainingFailed(
            f"every one of the {len(positive)} training labels is {words[0] if count else words[1]}: {purpose} needs both; "
            f"train on a longer stretch, or on another horizon than {horizon}"
        )


def check_next_returns(returns: Floats) -> None:
    """Refuse next returns (n,) that are all of one sign: nothing could be learnt of how a path goes on.

    Raises
    ------
    TrainingFailed
        With what they all are.
    """
    known = returns[np.isfinite(returns)]
    for word, count in (("0", known == 0), ("above 0", known > 0), ("below 0", known < 0)):
        if len(known) and count.all():
            raise TrainingFailed(
                f"every one of the {len(known)} next returns to learn from is {word}: a model of paths needs rises and "
                "falls; train on a longer stretch, or look at the candles with `bot data check`"
            )


def check_bounded(rows: Rows, library: str) -> None:
    """Refuse rows (n, F) with an infinite feature, which a library cannot take.

    Raises
    ------
    TrainingFailed
        With the count.
    """
    count = int(np.isinf(rows).any(axis=1).sum())
    if count:
        raise TrainingFailed(
            f"{count} of {len(rows)} training rows hold an infinite feature, which {library} does not take: look at the "
            "candles with `bot data check`"
        )


def check_varied(rows: Rows) -> None:
    """Refuse rows (n, F) of which no column varies.

    Raises
    ------
    TrainingFailed
        With what to look at.
    """
    for column in rows.T:
        seen = column[~np.isnan(column)]
        if len(seen) and seen.min() != seen.max():
            return
    raise TrainingFailed(
        f"none of the {rows.shape[1]} features varies over the {len(rows)} training rows (all constant or NaN): "
        "choose other features with --features, or check the candles with `bot data check`"
    )
