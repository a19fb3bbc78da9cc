"""Networks and other ONNX graphs, run so that no bit of a score depends on the rows beside it.

Measured for dense, convolutional, recurrent and attention networks: with one thread and prepacked weights a row has the same
bits in every batch of two and more, and a row on its own differs because another routine multiplies it. So a lone row is run
twice in a batch of two. Dynamically quantised graphs scale a batch by its largest value and are refused. Sums over an axis
(ReduceSum) round by the place in memory where a row begins: graphs that hold them may fail the self-test of loading.
"""

from __future__ import annotations

import json
import os
import platform
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel
from ml.onnx_file import read_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]

__all__ = ["FEATURES_KEY", "SEQUENCE_KEY", "OnnxRunner"]

FEATURES_KEY = "mlbot.features"
"""Entry of the model's metadata: the names of its features in order, a JSON list."""
SEQUENCE_KEY = "mlbot.sequence"
"""Entry of the model's metadata: how many rows a score reads."""

_DYNAMIC = {
    *("DynamicQuantizeLinear", "DynamicQuantizeMatMul", "DynamicQuantizeLSTM"),
    *("MatMulInteger", "MatMulIntegerToFloat", "ConvInteger"),
}
_RANDOM = {"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"}
_LONGEST = 10_000
_MOST_WINDOWS = 256  # of one call: as fast as thousands, and intermediate results stay small
_BATCH_FLOATS = 1 << 20
_TESTED = 33  # windows of the self-test: vector registers and their remainders


class OnnxRunner:
    """A graph with one float32 input, (n, F) or (n, sequence, F), whose first output holds one score a row.

    Immutable. A copy in another process opens the model there, when it is first used.

    Parameters
    ----------
    data
        Content of the file. Its metadata names the features and the sequence (`FEATURES_KEY`, `SEQUENCE_KEY`).

    Raises
    ------
    BrokenModel
        When the file is damaged, refers to other files, is dynamically quantised or random, has other inputs or outputs, or
        scores a window differently alone and among others.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._names, self._sequence = _read(data)
        self._session: Any = None
        self._input = ""
        self._output = ""
        self._open()
        self._test()

    @classmethod
    def from_bytes(cls, data: bytes) -> OnnxRunner:
        """Read ``model.onnx``; see the class for what may be raised."""
        return cls(data)

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy in another process needs: the bytes, not the session."""
        return {"data": self._data, "names": self._names, "sequence": self._sequence}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Restore the bytes; the session is opened at the first use."""
        self._data, self._names, self._sequence = state["data"], state["names"], state["sequence"]
        self._session = None
        self._input = self._output = ""

    @property
    def runtime(self) -> str:
        """Version of ONNX Runtime and the instruction set that its routines are chosen by."""
        return f"onnxruntime {_onnxruntime().__version__} {_instruction_set()}"

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return self._names

    @property
    def sequence(self) -> int:
        """Rows that one score reads."""
        return self._sequence

    def scores(self, rows: Rows) -> Floats:
        """Return raw scores.

        Parameters
        ----------
        rows : float32 array, shape (n + sequence - 1, F)
            Feature rows in time order; NaN is a missing value, which the graph itself must deal with.

        Returns
        -------
        float64 array, shape (n,)
            One score for each complete window.

        Raises
        ------
        ValueError
            When the array is not float32 or has another number of columns.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self._names) or rows.dtype != np.float32:
            expected = f"float32 rows of {len(self._names)} features"
            raise ValueError(f"expected {expected}, got {rows.dtype} of shape {rows.shape}")
        length = self._sequence
        count = max(0, len(rows) - length + 1)
        out = np.empty(count)
        at_once = min(_MOST_WINDOWS, max(2, _BATCH_FLOATS // (length * rows.shape[1])))
        for lo in range(0, count, at_once):
            hi = min(lo + at_once, count)
            windows = rows[lo:hi]
            if length > 1:
                windows = np.lib.stride_tricks.sliding_window_view(rows[lo : hi + length - 1], length, axis=0)
                windows = windows.transpose(0, 2, 1)
            out[lo:hi] = self._run(windows)
        return out

    def _run(self, windows: Rows) -> Floats:
        """Score at least one window."""
        count = len(windows)
        batch = np.ascontiguousarray(windows if count > 1 else np.concatenate((windows, windows)))
        if self._session is None:
            self._open()
        result = np.asarray(self._session.run([self._output], {self._input: batch})[0])
        if result.size != len(batch):
            raise BrokenModel(f"the graph returns an array of shape {result.shape} for {len(batch)} rows")
        return result.reshape(-1)[:count].astype(np.float64)

    def _open(self) -> None:
        """Open a session, and check what goes in and out."""
        runtime = _onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
        options.log_severity_level = 4  # errors are raised; warnings about optimised graphs help nobody
        try:
            session = runtime.InferenceSession(self._data, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001 - its errors share no root of their own
            raise BrokenModel(f"ONNX Runtime cannot open it: {_one_line(error)}") from None
        inputs, outputs = session.get_inputs(), session.get_outputs()
        wanted = (self._sequence, len(self._names)) if self._sequence > 1 else (len(self._names),)
        shape = tuple(inputs[0].shape) if len(inputs) == 1 else ()
        fits = len(shape) == 1 + len(wanted) and not isinstance(shape[0], int)
        fits = fits and all(isinstance(b, int) and a == b for a, b in zip(wanted, shape[1:], strict=True))
        if not fits or inputs[0].type != "tensor(float)":
            told = ", ".join(f"{each.name}: {each.type} {each.shape}" for each in inputs)
            size = ", ".join(str(number) for number in wanted)
            raise BrokenModel(f"its input must be one float32 array (rows, {size}), found {told or 'none'}")
        if outputs[0].type not in {"tensor(float)", "tensor(double)"}:
            raise BrokenModel(f"its first output must be an array of floats, found {outputs[0].type}")
        self._session, self._input, self._output = session, inputs[0].name, outputs[0].name

    def _test(self) -> None:
        """Score windows alone, together and in another order; the bits must be the same."""
        shape = (_TESTED + self._sequence - 1, len(self._names))
        rows = np.sin(np.arange(1, 1 + shape[0] * shape[1], dtype=np.float64) * 1.7).astype(np.float32).reshape(shape)
        try:
            together = self.scores(rows)
            alone = np.array([self.scores(rows[i : i + self._sequence])[0] for i in range(_TESTED)])
            pair = self.scores(rows[2 : 3 + self._sequence])
        except BrokenModel:
            raise
        except Exception as error:  # noqa: BLE001 - as above
            raise BrokenModel(f"ONNX Runtime cannot run it: {_one_line(error)}") from None
        if together.tobytes() != alone.tobytes() or pair.tobytes() != together[2:4].tobytes():
            raise BrokenModel(
                "it scores a row differently alone and among others, so no backtest could be repeated live"
            )


def _read(data: bytes) -> tuple[tuple[str, ...], int]:
    """Return the names of the features and the sequence, after refusing what must not be opened."""
    found = read_onnx(data)
    if found.external:
        raise BrokenModel(
            f"its tensor {found.external[0]!r} stands in another file: save the model with its data inside "
            "(onnx.save with save_as_external_data=False)"
        )
    if found.operators & _DYNAMIC:
        raise BrokenModel(
            f"it is dynamically quantised ({', '.join(sorted(found.operators & _DYNAMIC))}): a score would depend on the "
            "other rows of the batch; export it in float32"
        )
    if found.operators & _RANDOM:
        raise BrokenModel(f"it draws random numbers ({', '.join(sorted(found.operators & _RANDOM))})")
    try:
        names = json.loads(found.metadata[FEATURES_KEY])
        sequence = int(found.metadata.get(SEQUENCE_KEY, "1"))
    except KeyError:
        raise BrokenModel(f"its metadata lacks {FEATURES_KEY}, the names of its features") from None
    except ValueError:
        raise BrokenModel(f"its metadata {FEATURES_KEY} or {SEQUENCE_KEY} cannot be read") from None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise BrokenModel(f"its metadata {FEATURES_KEY} is not a list of names")
    if not 1 <= sequence <= _LONGEST:
        raise BrokenModel(f"its metadata {SEQUENCE_KEY} is {sequence}, expected 1 to {_LONGEST}")
    return tuple(names), sequence


@cache
def _onnxruntime() -> Any:
    """Return the module, with its telemetry switched off before it is loaded."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    return onnxruntime


@cache
def _instruction_set() -> str:
    """Return the name of the widest vector instructions: ONNX Runtime chooses its routines by them."""
    machine = platform.machine() or "unknown"
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return f"{machine} {platform.processor()}".strip()
    flags: set[str] = set()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:
            flags = set(value.split())
            break
    for label, needed in (
        ("avx512", {"avx512f", "avx512bw", "avx512dq", "avx512vl"}),
        ("avx2", {"avx2", "fma"}),
        ("avx", {"avx"}),
        ("sve", {"sve"}),
        ("asimd", {"asimd"}),
    ):
        if needed <= flags:
            return f"{machine} {label}"
    return machine


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
