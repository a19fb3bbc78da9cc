"""What the path kernel is asked to compute: a schema and forests as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.kernels.table import KERNELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from ml.features.schema import FeatureSchema
    from ml.lightgbm_text import FlatTrees

    Integers = npt.NDArray[np.int64]

__all__ = ["FeaturePlan", "join_forests", "plan_features"]

_MARGIN = 16  # candles beyond the longest window: the one before, three of a mean, eleven of a streak


@dataclass(frozen=True, eq=False)
class FeaturePlan:
    """The features of a schema, as the path kernel takes them.

    Attributes
    ----------
    arrays
        Periods, rows and bounds of all kernels; see ``ml.kernels.path_state``.
    order
        int64, shape (F,): the output that each feature of the schema takes.
    outputs
        Number of different outputs.
    reach
        How many candles back any window looks, and a few more.
    """

    arrays: tuple[Integers, Integers, Integers]
    order: Integers
    outputs: int
    reach: int


def plan_features(schema: FeatureSchema) -> FeaturePlan:
    """Return the plan of a schema, whose features a path may carry (``ml.paths.features.check_path_names``)."""
    from ml.kernels.path_state import KERNEL_ORDER, OUTPUTS

    specs = schema.features
    places: dict[tuple[str, int, str], int] = {}
    for spec in specs:
        places.setdefault((spec.kernel, spec.period, spec.output), len(places))
    keys: list[tuple[str, int]] = []
    bounds = [0]
    for name in KERNEL_ORDER:
        keys += sorted({(name, period) for owner, period, _ in places if owner == name})
        bounds.append(len(keys))
    rows = np.full((len(keys), OUTPUTS), -1, dtype=np.int64)
    for (name, period, output), row in places.items():
        rows[keys.index((name, period)), KERNELS[name].outputs.index(output)] = row
    periods = np.array([period for _, period in keys], dtype=np.int64)
    order = np.array([places[spec.kernel, spec.period, spec.output] for spec in specs], dtype=np.int64)
    reach = max(spec.window(schema.timeframe) for spec in specs) + _MARGIN
    return FeaturePlan((periods, rows, np.array(bounds, dtype=np.int64)), order, len(places), reach)


def join_forests(forests: Sequence[FlatTrees]) -> tuple[Any, ...]:
    """Return several forests as one set of arrays.

    Returns
    -------
    tuple
        The arrays of ``FlatTrees``, one forest after the other (``always`` as one flag a forest), then where the (feature,
        variant) pairs and the trees of each forest begin: int64, shape (forests + 1,).
    """
    names = (
        "source",
        "variant",
        "always",
        "feature",
        "column",
        "threshold",
        "child",
        "value",
        "root",
        "depth",
        "shallow",
    )
    parts = [dict(zip(names, forest.arrays, strict=True)) for forest in forests]
    nodes = np.cumsum([0, *(len(part["child"]) for part in parts)])
    for part, start in zip(parts, nodes, strict=False):
        part["child"] = part["child"] + np.int32(start)
        part["root"] = part["root"] + np.int32(start)
    joined = [
        np.array([part[name] for part in parts], dtype=np.bool_)
        if name == "always"
        else np.concatenate([part[name] for part in parts])
        for name in names
    ]
    pairs = np.cumsum([0, *(len(part["source"]) for part in parts)]).astype(np.int64)
    trees = np.cumsum([0, *(len(part["root"]) for part in parts)]).astype(np.int64)
    return (*joined, pairs, trees)
