"""How many rows lie in the same bin as the row some lags before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numba import njit

if TYPE_CHECKING:
    import numpy.typing as npt

    Codes = npt.NDArray[np.int8]
    Integers = npt.NDArray[np.int64]

__all__ = ["agreements"]


@njit(cache=True)
def agreements(codes: Codes, first: int, out: Integers) -> None:
    """Write the number of rows that equal the one ``first``, ``first + 1``, ... rows before them.

    Parameters
    ----------
    codes : int8 array, shape (n,)
        Bins in time order.
    first
        The first lag, at least 1.
    out : int64 array, shape (lags,)
        Written.
    """
    count = len(codes)
    for place in range(len(out)):
        lag = first + place
        equal = 0
        for row in range(count - lag):
            equal += codes[row + lag] == codes[row]
        out[place] = equal
