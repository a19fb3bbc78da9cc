"""Random LightGBM forests: trained ones, and texts written by hand that LightGBM itself reads."""

from __future__ import annotations

import lightgbm
import numpy as np

SPECIAL = np.array(
    [
        np.nan, 0.0, -0.0, np.inf, -np.inf, 1e-35, -1e-35, 1.1e-35, -1.1e-35, 9e-36, -9e-36, 1e-40, -1e-40, 1e-45, -1e-45,
        3.4028235e38, -3.4028235e38, 1.0, -1.0, 0.5, 0.1, -0.1, 1e-30, -1e-30, 2.0**24, 2.0**24 + 2,
    ],
    dtype=np.float32,
)  # fmt: skip
THRESHOLDS = [
    0.0, -0.0, 1.0000000180025095e-35, -1.0000000180025095e-35, 1e-35, -1e-35, 1e-36, -1e-36, 1e-300, -1e-300, 0.1, -0.1,
    1e300, -1e300, 3.4028234663852886e38, 3.5e38, -3.5e38, 0.5, 0.49999999999, 0.50000000001, 1e-40, 16777217.0,
    float("inf"), float("-inf"),
]  # fmt: skip


def trained(seed: int, *, features: int = 6, trees: int = 12, rows: int = 600, **settings: object) -> lightgbm.Booster:
    """Train a small booster on data with NaN, zeros and large values."""
    rng = np.random.default_rng(seed)
    x = hard_rows(rng, rows, features)
    target = np.nan_to_num(x[:, 0], posinf=2, neginf=-2).clip(-3, 3) + rng.normal(size=rows)
    binary = settings.get("objective", "binary") == "binary"
    parameters = {
        "objective": "binary", "num_leaves": 7, "min_data_in_leaf": 5, "verbosity": -1, "seed": seed, "num_threads": 1,
        "deterministic": True, "force_row_wise": True,
    } | settings  # fmt: skip
    data = lightgbm.Dataset(x, (target > 0).astype(float) if binary else target, params=parameters)
    return lightgbm.train(parameters, data, trees)


def hard_rows(rng: np.random.Generator, rows: int, features: int) -> np.ndarray:
    """Return float32 rows of ordinary numbers with special values sprinkled in; some columns have no NaN."""
    x = rng.normal(size=(rows, features)).astype(np.float32)
    special = rng.random((rows, features)) < rng.choice([0.0, 0.02, 0.4], size=features)
    x[special] = rng.choice(SPECIAL, size=int(special.sum()))
    if features > 1:
        x[:, 1] = np.where(np.isnan(x[:, 1]), 0.25, x[:, 1])
    return x


def written(seed: int, *, features: int = 4, trees: int = 11, leaves: int = 9) -> str:
    """Write the text of a random forest: every missing type, default side and awkward threshold; some trees are one leaf."""
    rng = np.random.default_rng(seed)
    blocks = []
    for number in range(trees):
        count = int(rng.integers(1, leaves + 1))
        blocks.append(f"Tree={number}\n" + _tree(rng, count, features) + "\n\n")
    sizes = " ".join(str(len(block)) for block in blocks)
    names = " ".join(f"f{i}" for i in range(features))
    header = (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\n"
        f"max_feature_idx={features - 1}\nobjective=regression\nfeature_names={names}\n"
        f"feature_infos={' '.join(['[-1:1]'] * features)}\ntree_sizes={sizes}\n\n"
    )
    return header + "".join(blocks) + "end of trees\n\nparameters:\n\nend of parameters\n"


def _tree(rng: np.random.Generator, leaves: int, features: int) -> str:
    left, right = [], []
    for split in range(leaves - 1):  # split a random leaf, as LightGBM grows its trees: the leaf keeps its number
        new = split + 1
        leaf = int(rng.integers(0, new))
        for children in (left, right):
            for i, child in enumerate(children):
                if child == ~leaf:
                    children[i] = split
        left.append(~leaf)
        right.append(~new)
    values = [float(v) for v in rng.choice([-1.5, 0.1, 1e-9, 3.0, 1 / 3], size=leaves) * rng.random(leaves)]
    splits = leaves - 1
    lines = {
        "num_leaves": leaves,
        "num_cat": 0,
        "split_feature": _join(rng.integers(0, features, splits)),
        "split_gain": _join(["1"] * splits),
        "threshold": _join(repr(float(t)) for t in rng.choice(THRESHOLDS, splits)),
        "decision_type": _join(rng.choice([0, 2, 4, 6, 8, 10], splits)),
        "left_child": _join(left),
        "right_child": _join(right),
        "leaf_value": _join(map(repr, values)),
        "leaf_weight": _join(["1"] * leaves),
        "leaf_count": _join(["1"] * leaves),
        "internal_value": _join(["0"] * splits),
        "internal_weight": _join(["1"] * splits),
        "internal_count": _join(["2"] * splits),
        "is_linear": 0,
        "shrinkage": 1,
    }
    if leaves == 1:
        lines = {key: lines[key] for key in ("num_leaves", "num_cat", "leaf_value", "is_linear", "shrinkage")}
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def _join(values: object) -> str:
    return " ".join(str(value) for value in values)
