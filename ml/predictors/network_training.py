"""Training of small networks: frozen scaling, windows gathered batch by batch, early stopping, Ctrl-C that keeps the best.

Every network is fitted in the same way. The rows are scaled by numbers of the training rows. The last part of the training
bars, behind a purge of the horizon, tells when to stop. An epoch reads at most ``windows_per_epoch`` windows, drawn in an
order that the seed gives and that visits every window before any a second time: a default training of years of hourly
candles ends in minutes. Windows are gathered inside each step, so memory does not grow with the length of a window.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import NotEnoughBars, TrainingFailed
from ml.predictors.libraries import load
from ml.predictors.tensorflow_setup import prepare_tensorflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Progress = Callable[[float, str], None]

__all__ = ["LIMIT", "Scaling", "Trained", "fit_scaling", "train_network"]

LIMIT = 5.0
"""Scaled features are cut at so many spreads."""

_SCALED_ROWS = 20_000  # rows that center and spread are measured on, evenly chosen
_CHECKED = 2_048  # windows of the validation part that are evaluated after each epoch, evenly chosen
_LEAST_CHECKED = 20


@dataclass(frozen=True, eq=False)
class Scaling:
    """Center and spread of each feature, float64 (F,): mean and deviation between the 1 % and 99 % quantiles.

    The spread of a feature that does not vary is 0, which makes it 0 throughout.
    """

    center: Floats
    spread: Floats

    def apply(self, rows: Rows) -> Rows:
        """Return scaled rows as float32, in the order of operations of ``Graph.scaled``."""
        factor = np.divide(1.0, self.spread, out=np.zeros(len(self.spread)), where=self.spread > 0)
        with np.errstate(invalid="ignore", over="ignore"):
            value = (rows - self.center.astype(np.float32)) * factor.astype(np.float32)
        scaled: Rows = np.clip(np.where(np.isnan(value), np.float32(0), value), np.float32(-LIMIT), np.float32(LIMIT))
        return scaled


def fit_scaling(rows: Rows) -> Scaling:
    """Measure center and spread on rows (n, F); NaN and infinities are left out."""
    chosen = rows[np.linspace(0, len(rows) - 1, min(len(rows), _SCALED_ROWS)).astype(np.int64)].astype(np.float64)
    center, spread = np.zeros(rows.shape[1]), np.zeros(rows.shape[1])
    for j, column in enumerate(chosen.T):
        seen = column[np.isfinite(column)]
        if not len(seen) or seen.min() == seen.max():
            center[j] = seen[0] if len(seen) else 0.0
            continue
        cut = np.clip(seen, *np.quantile(seen, (0.01, 0.99)))
        if cut.min() == cut.max():  # all but a few values are the same
            cut = seen
        center[j], spread[j] = cut.mean(), cut.std()
    return Scaling(center, spread)


@dataclass(frozen=True, eq=False)
class Trained:
    """What a fit made.

    Attributes
    ----------
    weights
        The best weights by layer name, each a list of float32 arrays.
    scaling
        Of the rows.
    epochs
        Epochs that were run.
    loss
        The smallest loss on the validation part (on the training windows, where there is none).
    interrupted
        Whether Ctrl-C ended it.
    build
        Makes the untrained Keras model.
    """

    weights: dict[str, list[Rows]]
    scaling: Scaling
    epochs: int
    loss: float
    interrupted: bool
    build: Callable[[], Any] = field(repr=False)

    def scores(self, rows: Rows, precision: str) -> Floats:
        """Return what Keras says with every operation in ``float32`` or ``float64``, as float64 (n,).

        Parameters
        ----------
        rows : float32 array, shape (n, sequence, F), or (n, F)
            Before scaling.
        precision
            That of the training may be lower.
        """
        keras = load("keras")
        kept = keras.config.floatx(), keras.config.dtype_policy()
        keras.config.set_floatx(precision)
        keras.config.set_dtype_policy(precision)
        try:
            model = self.build()
            model.set_weights([array for layer in self.weights.values() for array in layer])
            found = model(self.scaling.apply(rows).astype(precision), training=False)
        finally:
            keras.config.set_floatx(kept[0])
            keras.config.set_dtype_policy(kept[1])
        return np.asarray(found, dtype=np.float64)[:, 0]


def train_network(
    dataset: Dataset,
    positions: Integers,
    target: Floats,
    *,
    build: Callable[[Any, int], Any],
    loss: str,
    sequence: int,
    parameters: Mapping[str, Any],
    seed: int,
    threads: int,
    progress: Progress | None = None,
) -> Trained:
    """Fit a network to the targets of some bars.

    Parameters
    ----------
    dataset
        Features.
    positions : int64 array, shape (m,)
        Bars to learn from, in time order.
    target : float64 array, shape (m,)
        What is learnt at each of them.
    build
        Given Keras and the number of features, returns a model with one output.
    loss
        ``logistic`` (targets 0 and 1) or ``huber``.
    sequence
        Rows of a window.
    parameters
        Of ``ml.predictors.network_parameters``.
    seed, threads
        See ``prepare_tensorflow``.
    progress
        Told the share of epochs that are done.

    Raises
    ------
    NotEnoughBars
        When no bar has a whole window before it.
    TrainingFailed
        When the loss is not finite.
    MissingLibrary, InvalidParameter
        As ``prepare_tensorflow``.
    """
    windows = dataset.windows(sequence)
    kept = windows.complete[positions]
    if not kept.any():
        raise NotEnoughBars(
            f"a sequence of {sequence} rows is longer than the data: none of {len(positions)} training bars has so many bars "
            "with features before it; use a shorter --sequence-length, or more bars"
        )
    positions, labels = positions[kept], target[kept].astype(np.float32)
    tensorflow, keras = prepare_tensorflow(
        seed=seed, threads=threads, device=parameters["device"], mixed_precision=parameters["mixed_precision"]
    )
    rows = dataset.rows[windows.grid[: windows.rank[positions[-1]] + 1]]
    ends = windows.rank[positions]
    scaling = fit_scaling(rows[_read(ends, sequence, len(rows))])
    learnt, checked = _split(dataset, positions, parameters["validation_split"])
    model = build(keras, rows.shape[1])
    step, measure = _steps(tensorflow, keras, model, scaling.apply(rows), labels, ends, loss, sequence, parameters)

    batch, order = int(parameters["batch_size"]), _order(learnt, int(parameters["windows_per_epoch"]), seed)
    best, best_loss, best_epoch, done, interrupted = model.get_weights(), np.inf, 0, 0, False
    try:
        for epoch in range(1, int(parameters["epochs"]) + 1):
            chosen = next(order)
            losses = [float(step(chosen[lo : lo + batch])) for lo in range(0, len(chosen), batch)]
            done = epoch
            found = float(measure(checked)) if len(checked) else float(np.mean(losses))
            if not np.isfinite(found):
                raise TrainingFailed(f"the loss of epoch {epoch} is {found}: lower the learning rate")
            if found < best_loss:
                best, best_loss, best_epoch = model.get_weights(), found, epoch
            if progress is not None:
                progress(epoch / parameters["epochs"], f"epoch {epoch}, loss {found:.4f}")
            if len(checked) and epoch - best_epoch >= parameters["patience"]:
                break
    except KeyboardInterrupt:
        interrupted = True
        if best_epoch == 0:
            best = model.get_weights()
    model.set_weights(best)
    weights = {layer.name: [np.asarray(w, dtype=np.float32) for w in layer.get_weights()] for layer in model.layers}
    return Trained(weights, scaling, done, best_loss, interrupted, partial(build, keras, rows.shape[1]))


def _read(ends: Integers, sequence: int, count: int) -> npt.NDArray[np.bool_]:
    """Return which of ``count`` rows stand in a window that ends at one of ``ends``."""
    edges = np.zeros(count + 1, dtype=np.int64)
    np.add.at(edges, ends - sequence + 1, 1)
    np.add.at(edges, ends + 1, -1)
    inside: npt.NDArray[np.bool_] = np.cumsum(edges[:-1]) > 0
    return inside


def _split(dataset: Dataset, positions: Integers, share: float) -> tuple[Integers, Integers]:
    """Return the places of the windows to learn from, and of those that say when to stop (perhaps none)."""
    count = len(positions)
    first = count - int(count * share)
    if count - first < _LEAST_CHECKED:
        return np.arange(count, dtype=np.int64), np.empty(0, dtype=np.int64)
    k = dataset.k[positions]
    learnt = np.flatnonzero(k + dataset.horizon < k[first])
    checked = np.arange(first, count)
    if len(learnt) == 0:
        return np.arange(count, dtype=np.int64), np.empty(0, dtype=np.int64)
    thinned = checked[np.linspace(0, len(checked) - 1, min(len(checked), _CHECKED)).astype(np.int64)]
    return learnt.astype(np.int64), thinned.astype(np.int64)


def _order(places: Integers, most: int, seed: int) -> Iterator[Integers]:
    """Yield the windows of each epoch: pieces of one shuffled pass after another."""
    generator = np.random.default_rng(seed)
    size = min(most, len(places))
    queue = np.empty(0, dtype=np.int64)
    while True:
        if len(queue) < size:
            queue = np.concatenate((queue, generator.permutation(places)))
        yield queue[:size]
        queue = queue[size:]


def _steps(
    tensorflow: Any,
    keras: Any,
    model: Any,
    rows: Rows,
    labels: Rows,
    ends: Integers,
    loss: str,
    sequence: int,
    parameters: Mapping[str, Any],
) -> tuple[Callable[[Integers], Any], Callable[[Integers], Any]]:
    """Return one step of learning, and the loss of some windows."""
    optimizer = keras.optimizers.AdamW(
        learning_rate=parameters["learning_rate"], weight_decay=parameters["weight_decay"], clipnorm=1.0
    )
    optimizer.build(model.trainable_variables)
    table, truth, last = tensorflow.constant(rows), tensorflow.constant(labels), tensorflow.constant(ends)
    offsets = tensorflow.range(1 - sequence, 1, dtype=tensorflow.int64)

    def loss_of(chosen: Any, *, training: bool) -> Any:
        at = tensorflow.gather(last, chosen)
        found = tensorflow.gather(table, at if sequence == 1 else at[:, None] + offsets)
        score = tensorflow.cast(model(found, training=training)[:, 0], tensorflow.float32)
        wanted = tensorflow.gather(truth, chosen)
        if loss == "logistic":
            each = tensorflow.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=score)
        else:
            miss = tensorflow.abs(wanted - score)
            each = tensorflow.where(miss <= 1.0, 0.5 * miss * miss, miss - 0.5)
        return tensorflow.reduce_mean(each)

    signature = [tensorflow.TensorSpec((None,), tensorflow.int64)]

    @tensorflow.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def step(chosen: Any) -> Any:
        with tensorflow.GradientTape() as tape:
            value = loss_of(chosen, training=True)
        optimizer.apply(tape.gradient(value, model.trainable_variables), model.trainable_variables)
        return value

    @tensorflow.function(input_signature=signature)  # type: ignore[untyped-decorator]
    def measure(chosen: Any) -> Any:
        return loss_of(chosen, training=False)

    return step, measure
