"""Trees of other libraries, written as a LightGBM text model: one tree kernel serves them all.

XGBoost sends a float32 ``x`` left when ``x < t``; that is ``x <= t'`` with ``t'`` the float32 next below ``t``. scikit-learn
sends it left when ``x <= t`` with a double ``t``, as LightGBM does. In both a node has a side for missing values, which
LightGBM's text has too (missing type NaN and the flag "default left"). Sums are of doubles here and of float32 in XGBoost,
so margins differ in their last digits, never by a leaf; `prove` measures that at training.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import TrainingFailed

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.float32]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]

__all__ = [
    "TOLERANCE",
    "TreeNodes",
    "forest_trees",
    "lightgbm_text",
    "proof_rows",
    "prove",
    "xgboost_trees",
]

TOLERANCE = 1e-6
"""Largest difference of a probability between a library and its export: less than any leaf that is missed would make."""

_MISSING_IS_NAN = 2 << 2
_DEFAULT_LEFT = 2
_ZERO = np.float32(1e-35)  # LightGBM takes values up to this for zero; no feature comes so close to it
_PROOF_ROWS = 1_000
_PROOF_THRESHOLDS = 500


@dataclass(frozen=True, eq=False)
class TreeNodes:
    """One tree of m nodes; node 0 is the root.

    Attributes
    ----------
    feature, left, right : int64 arrays, shape (m,)
        Column of a split and its children; ``left`` is -1 at a leaf.
    threshold : float64 array, shape (m,)
        Values up to the threshold, itself included, go left.
    default_left : bool array, shape (m,)
        Whether NaN goes left.
    value : float64 array, shape (m,)
        What a leaf adds to the score.
    gain : float64 array, shape (m,)
        What the split gained, 0 at leaves.
    count : int64 array, shape (m,)
        Training rows that came by, or what stands for them; only contributions read it.
    """

    feature: Integers
    left: Integers
    right: Integers
    threshold: Floats
    default_left: Flags
    value: Floats
    gain: Floats
    count: Integers

    @classmethod
    def leaf(cls, value: float) -> TreeNodes:
        """Return a tree that adds a constant."""
        none, zero = np.array([-1]), np.zeros(1)
        return cls(none, none, none, zero, np.zeros(1, dtype=np.bool_), np.array([value]), zero, np.ones(1, np.int64))


def xgboost_trees(model: bytes) -> list[TreeNodes]:
    """Return the trees of ``Booster.save_raw("json")``, before them one of a single leaf with the base margin.

    Parameters
    ----------
    model : bytes
        JSON of a binary logistic booster: its base score is a probability, the sum of the trees is a log odds.

    Raises
    ------
    TrainingFailed
        When the booster is of another objective or has categorical splits or leaves of several values.
    """
    learner = json.loads(model)["learner"]
    objective = learner["objective"]["name"]
    if objective != "binary:logistic":
        raise TrainingFailed(
            f"an XGBoost model of the objective {objective} cannot be exported: expected binary:logistic"
        )
    base = float(np.float32(learner["learner_model_param"]["base_score"].strip("[]")))
    trees = [TreeNodes.leaf(math.log(base / (1.0 - base)))]
    for tree in learner["gradient_booster"]["model"]["trees"]:
        left = np.array(tree["left_children"], dtype=np.int64)
        if any(tree["split_type"]) or int(tree["tree_param"]["size_leaf_vector"]) > 1:
            raise TrainingFailed("an XGBoost model with categorical splits or several outputs cannot be exported")
        condition = np.array(tree["split_conditions"], dtype=np.float32)
        leaf = left < 0
        trees.append(
            TreeNodes(
                feature=np.array(tree["split_indices"], dtype=np.int64),
                left=left,
                right=np.array(tree["right_children"], dtype=np.int64),
                threshold=np.nextafter(condition, np.float32(-np.inf)).astype(np.float64),
                default_left=np.array(tree["default_left"], dtype=np.bool_),
                value=np.where(leaf, condition.astype(np.float64), 0.0),
                gain=np.where(leaf, 0.0, np.array(tree["loss_changes"], dtype=np.float64)),
                # the second derivative of a row is about 1/4
                count=np.maximum(1, np.rint(4.0 * np.array(tree["sum_hessian"], dtype=np.float64))).astype(np.int64),
            )
        )
    return trees


def forest_trees(forest: Any, base: float) -> list[TreeNodes]:
    """Return the trees of a scikit-learn forest of two classes; they add up to its mean probability minus ``base``.

    Parameters
    ----------
    forest
        A fitted ``RandomForestClassifier`` whose classes are 0 and 1.
    base
        Probability that the score is measured from.
    """
    count = len(forest.estimators_)
    trees = []
    for estimator in forest.estimators_:
        tree = estimator.tree_
        left = np.asarray(tree.children_left, dtype=np.int64)
        leaf = left < 0
        share = tree.value[:, 0, 1] / tree.value[:, 0, :].sum(axis=1)
        weight = np.asarray(tree.weighted_n_node_samples, dtype=np.float64)
        impurity = weight * np.asarray(tree.impurity)
        gain = np.zeros(len(left))
        gain[~leaf] = impurity[~leaf] - impurity[left[~leaf]] - impurity[np.asarray(tree.children_right)[~leaf]]
        trees.append(
            TreeNodes(
                feature=np.asarray(tree.feature, dtype=np.int64),
                left=left,
                right=np.asarray(tree.children_right, dtype=np.int64),
                threshold=np.asarray(tree.threshold, dtype=np.float64),
                default_left=np.asarray(tree.missing_go_to_left).astype(np.bool_),
                value=np.where(leaf, (share - base) / count, 0.0),
                gain=np.maximum(gain, 0.0),
                count=np.rint(weight).astype(np.int64),
            )
        )
    return trees


def lightgbm_text(trees: Sequence[TreeNodes], names: Sequence[str], objective: str) -> bytes:
    """Return the text of a model that `ml.lightgbm_text` and ``lightgbm.Booster`` read with the same bits.

    Parameters
    ----------
    trees
        Added in this order.
    names
        The features, in column order.
    objective
        As LightGBM writes it, such as ``binary sigmoid:1``; raw scores do not depend on it.
    """
    blocks = [f"Tree={number}\n{_block(tree)}\n\n" for number, tree in enumerate(trees)]
    header = {
        "version": "v4",
        "num_class": 1,
        "num_tree_per_iteration": 1,
        "label_index": 0,
        "max_feature_idx": len(names) - 1,
        "objective": objective,
        "feature_names": " ".join(names),
        "feature_infos": " ".join(["[-inf:inf]"] * len(names)),
        "tree_sizes": " ".join(str(len(block)) for block in blocks),
    }
    lines = "".join(f"{key}={value}\n" for key, value in header.items())
    return f"tree\n{lines}\n{''.join(blocks)}end of trees\n\nparameters:\n\nend of parameters\n".encode()


def _block(tree: TreeNodes) -> str:
    """Return the lines of one tree; splits and leaves are numbered in the order of a walk by levels."""
    order = [0]
    for node in order:
        if tree.left[node] >= 0:
            order += [int(tree.left[node]), int(tree.right[node])]
    reached = np.array(order)
    leaf = tree.left[reached] < 0
    code = np.zeros(len(tree.left), dtype=np.int64)
    code[reached[leaf]] = ~np.arange(int(leaf.sum()))
    code[reached[~leaf]] = np.arange(int((~leaf).sum()))
    splits, leaves = reached[~leaf], reached[leaf]
    if len(splits) == 0:
        return f"num_leaves=1\nnum_cat=0\nleaf_value={_floats(tree.value[leaves])}\nis_linear=0\nshrinkage=1\n"
    mean = _means(tree, order)
    decision = _MISSING_IS_NAN + _DEFAULT_LEFT * tree.default_left[splits].astype(np.int64)
    lines = {
        "num_leaves": len(leaves),
        "num_cat": 0,
        "split_feature": _whole(tree.feature[splits]),
        "split_gain": " ".join(f"{gain:.6g}" for gain in tree.gain[splits].tolist()),
        "threshold": _floats(tree.threshold[splits]),
        "decision_type": _whole(decision),
        "left_child": _whole(code[tree.left[splits]]),
        "right_child": _whole(code[tree.right[splits]]),
        "leaf_value": _floats(tree.value[leaves]),
        "leaf_weight": _whole(tree.count[leaves]),
        "leaf_count": _whole(tree.count[leaves]),
        "internal_value": " ".join(f"{value:.6g}" for value in mean[splits].tolist()),
        "internal_weight": _whole(tree.count[splits]),
        "internal_count": _whole(tree.count[splits]),
        "is_linear": 0,
        "shrinkage": 1,
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def _means(tree: TreeNodes, order: list[int]) -> Floats:
    """Return the mean value below each node, weighted by the rows that came by."""
    mean = tree.value.copy()
    for node in reversed(order):
        if tree.left[node] >= 0:
            sides = [int(tree.left[node]), int(tree.right[node])]
            mean[node] = np.average(mean[sides], weights=np.maximum(tree.count[sides], 1))
    return mean


def _floats(values: Floats) -> str:
    return " ".join(map(repr, values.tolist()))


def _whole(values: Integers) -> str:
    return " ".join(map(str, values.tolist()))


def proof_rows(rows: Rows, trees: Sequence[TreeNodes], *, seed: int = 0) -> Rows:
    """Return rows that would show a mistake: some of the training, some with NaN, some at, below and above a threshold.

    Parameters
    ----------
    rows : float32 array, shape (n, F)
        Training rows, n at least 1.

    Returns
    -------
    float32 array, shape (m, F)
        At most 3,500 rows.
    """
    generator = np.random.default_rng(seed)
    plain = rows[generator.integers(0, len(rows), _PROOF_ROWS)]
    plain[np.abs(plain) <= _ZERO] = 0.0
    holes = plain.copy()
    holes[generator.random(holes.shape) < 0.2] = np.nan
    features = np.concatenate([tree.feature[tree.left >= 0] for tree in trees])
    thresholds = np.concatenate([tree.threshold[tree.left >= 0] for tree in trees]).astype(np.float32)
    features, thresholds = features[np.isfinite(thresholds)], thresholds[np.isfinite(thresholds)]
    if len(features) == 0:
        return np.concatenate([plain, holes])
    chosen = generator.integers(0, len(features), _PROOF_THRESHOLDS)
    parts = []
    for values in (
        thresholds[chosen],
        np.nextafter(thresholds[chosen], np.float32(-np.inf)),
        np.nextafter(thresholds[chosen], np.float32(np.inf)),
    ):
        part = plain[np.arange(_PROOF_THRESHOLDS) % len(plain)].copy()
        part[np.arange(_PROOF_THRESHOLDS), features[chosen]] = np.where(np.abs(values) <= _ZERO, 0.0, values)
        parts.append(part)
    return np.concatenate([plain, holes, *parts])


def prove(original: Floats, exported: Floats, library: str) -> float:
    """Return the largest difference of a probability between a library and its export.

    Parameters
    ----------
    original, exported : float64 arrays, shape (n,)
        Probabilities of the same rows.
    library
        Named in the message.

    Raises
    ------
    TrainingFailed
        When a row differs by more than `TOLERANCE`, or is not finite.
    """
    difference = np.abs(original - exported)
    if len(difference) and not float(np.max(difference)) <= TOLERANCE:
        worst = int(np.argmax(np.where(np.isfinite(difference), difference, np.inf)))
        raise TrainingFailed(
            f"the exported trees are not those of {library}: of {len(difference):,} rows "
            f"{int((~(difference <= TOLERANCE)).sum()):,} differ by more than {TOLERANCE:g}, the worst gives "
            f"{original[worst]!r} there and {exported[worst]!r} here; nothing was registered"
        )
    return float(np.max(difference)) if len(difference) else 0.0
