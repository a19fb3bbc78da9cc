"""Fits of networks in tests: each has the collector go over all that TensorFlow has loaded, so that is kept out of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

from ml.predictors.tensorflow_setup import prepare_tensorflow


@contextmanager
def tensorflow_uncollected() -> Iterator[None]:
    """Load TensorFlow as a fit does, and keep the collector off what there is then for the length of the block."""
    prepare_tensorflow(seed=0, threads=1, device="cpu", mixed_precision="auto")
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
