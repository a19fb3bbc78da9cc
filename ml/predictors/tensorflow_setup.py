"""TensorFlow, loaded when a network is trained: quiet, repeatable, on the processor unless a GPU is asked for and there."""

from __future__ import annotations

import os
import sys
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ml.errors import InvalidParameter
from ml.predictors.libraries import load

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["prepare_tensorflow"]


def prepare_tensorflow(*, seed: int, threads: int, device: str, mixed_precision: str) -> tuple[Any, Any]:
    """Return the modules ``tensorflow`` and ``keras``, set up for one fit.

    Operations are deterministic and every generator is seeded: on one machine with the same versions and threads the
    same data gives the same weights to the bit (tested); another processor rounds differently.

    Parameters
    ----------
    seed
        Seeds Python, numpy, TensorFlow and Keras.
    threads
        Cores; TensorFlow takes the number of the first fit in a process and keeps it.
    device
        ``auto``, ``cpu`` or ``gpu``.
    mixed_precision
        ``auto`` and ``on`` compute in float16 on a GPU; on a processor that is slower and never done.

    Raises
    ------
    MissingLibrary
        When TensorFlow is not installed.
    InvalidParameter
        When a GPU, or mixed precision, is asked for and no GPU is found.
    """
    with _quiet():
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # one way to round on every processor
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries below it, about each other
            tensorflow = load("tensorflow")
            keras = load("keras")
        tensorflow.get_logger().setLevel("ERROR")
        found = [] if device == "cpu" else tensorflow.config.list_physical_devices("GPU")
    if device == "gpu" and not found:
        raise InvalidParameter("device is 'gpu', but TensorFlow finds none here: leave it out, or say device=cpu")
    if mixed_precision == "on" and not found:
        raise InvalidParameter(
            "mixed_precision is on, but TensorFlow finds no GPU here, and on a processor it is slower: leave it out"
        )
    try:
        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(1)
        if device == "cpu":
            tensorflow.config.set_visible_devices([], "GPU")
    except RuntimeError:
        pass  # TensorFlow runs already in this process and keeps what it began with
    tensorflow.config.experimental.enable_op_determinism()
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    policy = "mixed_float16" if found and mixed_precision != "off" else "float32"
    keras.mixed_precision.set_global_policy(policy)
    return tensorflow, keras


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the notices of TensorFlow's native libraries off the terminal: they are written before any level can be set."""
    if "tensorflow" in sys.modules:
        yield
        return
    try:
        kept = os.dup(2)
    except OSError:  # no standard error at all
        yield
        return
    silent = os.open(os.devnull, os.O_WRONLY)
    try:
        sys.stderr.flush()
        os.dup2(silent, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(silent)
