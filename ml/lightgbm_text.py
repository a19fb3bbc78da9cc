"""LightGBM's text model, read and checked, as the flat arrays that :mod:`ml.kernels.trees` walks.

The decisions follow ``Tree::NumericalDecision`` of LightGBM 4 (include/LightGBM/tree.h): a node has a missing type (none,
zero, NaN) and a default side; NaN under "none" counts as zero. Before a row reaches a tree LightGBM drops values within
1e-35 of zero, so they are zero too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import BrokenModel
from ml.kernels.trees import (
    MISSING_LEFT,
    MISSING_RIGHT,
    ONLY_MISSING_RIGHT,
    ONLY_ZERO_RIGHT,
    ZERO_LEFT,
    ZERO_RIGHT,
)

if TYPE_CHECKING:
    import numpy.typing as npt

    Block = dict[str, str]

__all__ = ["FlatTrees", "parse_lightgbm"]

_VERSIONS = ("v3", "v4")
_ZERO = float(np.float32(1e-35))  # kZeroThreshold
_CATEGORICAL = 1
_DEFAULT_LEFT = 2
_MISSING_NONE, _MISSING_ZERO, _MISSING_NAN = 0, 1, 2


@dataclass(frozen=True, eq=False)
class FlatTrees:
    """A forest as arrays; their meaning is that of the parameters of ``ml.kernels.trees.score_rows``.

    Attributes
    ----------
    feature_names : tuple of str
        Names in the order of the columns, as the text holds them.
    trees : int
        Number of trees.
    arrays : tuple
        ``source, variant, always, feature, column, threshold, child, value, root, depth, shallow``.
    """

    feature_names: tuple[str, ...]
    trees: int
    arrays: tuple[Any, ...]


def parse_lightgbm(data: bytes) -> FlatTrees:
    """Parse and flatten a model that ``Booster.model_to_string`` wrote.

    Parameters
    ----------
    data : bytes
        The text, ASCII or UTF-8.

    Returns
    -------
    FlatTrees
        Validated: every node is reached exactly once from its root, every feature exists.

    Raises
    ------
    BrokenModel
        When the text is truncated or damaged, of another version, has several outputs, categorical splits or linear trees.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BrokenModel(f"the LightGBM model is not text: byte {error.start} is not UTF-8") from error
    header, blocks = _split(text)
    names = tuple(header.get("feature_names", "").split())
    features = _integer(header, "max_feature_idx", "header") + 1
    if len(names) != features:
        raise BrokenModel(f"the LightGBM model names {len(names)} features and says that it has {features}")
    builder = _Builder(features)
    for number, block in enumerate(blocks):
        builder.add(block, f"tree {number}")
    return FlatTrees(names, len(blocks), builder.arrays())


def _split(text: str) -> tuple[Block, list[Block]]:
    """Return the header and one mapping of key to text a tree, after checking that the text is whole."""
    lines = text.splitlines()
    if not lines or lines[0].strip() != "tree":
        raise BrokenModel("this is not a LightGBM text model: its first line is not 'tree'")
    header: Block = {}
    blocks: list[Block] = []
    for line in lines[1:]:
        key, equals, value = line.partition("=")
        if key.strip() == "end of trees":
            break
        if key == "Tree" and equals:
            if value.strip() != str(len(blocks)):
                raise BrokenModel(
                    f"the LightGBM model is damaged: tree {value.strip()!r} where {len(blocks)} was expected"
                )
            blocks.append({})
        elif equals:
            (blocks[-1] if blocks else header)[key.strip()] = value.strip()
    else:
        raise BrokenModel("the LightGBM model is truncated: no line 'end of trees'")
    version = header.get("version", "")
    if version not in _VERSIONS:
        raise BrokenModel(f"the LightGBM model has version {version!r}: this program reads {' and '.join(_VERSIONS)}")
    outputs = _integer(header, "num_tree_per_iteration", "header")
    if outputs != 1:
        raise BrokenModel(f"the LightGBM model has {outputs} outputs: expected one")
    announced = len(header.get("tree_sizes", "").split())
    if announced != len(blocks):
        raise BrokenModel(f"the LightGBM model is damaged: it announces {announced} trees and holds {len(blocks)}")
    return header, blocks


class _Builder:
    """Nodes of all trees, appended tree by tree."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.pairs: dict[tuple[int, int], int] = {}
        self.parts: dict[str, list[Any]] = {name: [] for name in ("feature", "column", "threshold", "child", "value")}
        self.root: list[int] = []
        self.depth: list[int] = []
        self.shallow: list[int] = []
        self.size = 0

    def add(self, block: Block, place: str) -> None:
        """Append one tree, breadth first, so that siblings lie side by side."""
        leaves = _integer(block, "num_leaves", place)
        if leaves < 1:
            raise BrokenModel(f"{place} of the LightGBM model has {leaves} leaves")
        if _integer(block, "num_cat", place, default=0):
            raise BrokenModel(f"{place} of the LightGBM model has categorical splits, which are not supported")
        if _integer(block, "is_linear", place, default=0):
            raise BrokenModel(f"{place} of the LightGBM model is a linear tree, which is not supported")
        values = _numbers(block, "leaf_value", leaves, np.float64, place)
        feature, threshold, variant, left, right = self._splits(block, leaves - 1, place)
        nodes = 2 * leaves - 1
        base = self.size
        tree: dict[str, Any] = {
            "feature": np.zeros(nodes, np.int32),
            "column": np.zeros(nodes, np.int32),
            "threshold": np.full(nodes, np.inf, np.float32),
            "child": np.arange(base, base + nodes, dtype=np.int32),
            "value": np.zeros(nodes),
        }
        level = [(0 if leaves > 1 else ~0, 0)]  # (node of the text, node of ours); ~i is leaf i
        seen_splits, seen_leaves = set[int](), set[int]()
        used, depth, shallow = 1, 0, 0
        while level:
            below: list[tuple[int, int]] = []
            for source, node in level:
                seen, limit, name = (seen_splits, leaves - 1, source) if source >= 0 else (seen_leaves, leaves, ~source)
                if name >= limit or name in seen:
                    raise BrokenModel(f"{place} of the LightGBM model is damaged: its children do not form a tree")
                seen.add(name)
                if source < 0:
                    tree["value"][node] = values[name]
                    shallow = shallow if len(seen_leaves) > 1 else depth
                    continue
                tree["feature"][node] = feature[name]
                tree["column"][node] = self.pairs.setdefault((int(feature[name]), int(variant[name])), len(self.pairs))
                tree["threshold"][node] = threshold[name]
                tree["child"][node] = base + used
                below += [(int(left[name]), used), (int(right[name]), used + 1)]
                used += 2
            depth += bool(below)
            level = below
        if len(seen_leaves) != leaves:
            raise BrokenModel(
                f"{place} of the LightGBM model is damaged: {leaves - len(seen_leaves)} leaves are not reached"
            )
        for key, part in self.parts.items():
            part.append(tree[key])
        self.root.append(base)
        self.depth.append(depth)
        self.shallow.append(shallow)
        self.size += nodes

    def _splits(self, block: Block, count: int, place: str) -> tuple[Any, Any, Any, Any, Any]:
        """Return feature, float32 threshold, variant, left and right child of each split."""
        feature = _numbers(block, "split_feature", count, np.int64, place)
        threshold = _numbers(block, "threshold", count, np.float64, place, infinite=True)
        decision = _numbers(block, "decision_type", count, np.int64, place)
        left = _numbers(block, "left_child", count, np.int64, place)
        right = _numbers(block, "right_child", count, np.int64, place)
        if ((feature < 0) | (feature >= self.features)).any():
            raise BrokenModel(f"{place} of the LightGBM model splits on a feature that does not exist")
        if (decision & _CATEGORICAL).any():
            raise BrokenModel(f"{place} of the LightGBM model has categorical splits, which are not supported")
        missing = decision >> 2
        if ((missing < _MISSING_NONE) | (missing > _MISSING_NAN)).any():
            raise BrokenModel(f"{place} of the LightGBM model has an unknown missing type")
        default_left = (decision & _DEFAULT_LEFT) != 0
        goes_left = np.where(missing == _MISSING_NONE, threshold >= 0, default_left)  # NaN counts as zero under "none"
        is_zero = missing == _MISSING_ZERO
        variant = np.where(goes_left, MISSING_LEFT, MISSING_RIGHT)
        variant[is_zero] = np.where(default_left, ZERO_LEFT, ZERO_RIGHT)[is_zero]
        apart = np.isposinf(threshold) & ~goes_left  # all that is not missing goes left, +inf too
        variant[apart] = np.where(is_zero, ONLY_ZERO_RIGHT, ONLY_MISSING_RIGHT)[apart]
        threshold[apart] = 0.0
        return feature, _float32_below(threshold), variant, left, right

    def arrays(self) -> tuple[Any, ...]:
        """Return the arguments of the kernels, ``source`` to ``shallow``."""
        source = np.array([feature for feature, _ in self.pairs] or [0], dtype=np.int32)
        variant = np.array([kind for _, kind in self.pairs] or [MISSING_LEFT], dtype=np.int8)
        joined = {key: np.concatenate(part) if part else np.zeros(0) for key, part in self.parts.items()}
        order = ("root", self.root), ("depth", self.depth), ("shallow", self.shallow)
        trees = {key: np.array(numbers, dtype=np.int32) for key, numbers in order}
        return (
            source,
            variant,
            bool((variant >= ZERO_LEFT).any()),  # zero or an infinite threshold: rows without NaN are expanded too
            joined["feature"].astype(np.int32),
            joined["column"].astype(np.int32),
            joined["threshold"].astype(np.float32),
            joined["child"].astype(np.int32),
            joined["value"].astype(np.float64),
            trees["root"],
            trees["depth"],
            trees["shallow"],
        )


def _float32_below(threshold: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
    """Return the largest float32 not above each threshold; values that LightGBM takes for zero fall on zero's side.

    A float32 ``x`` satisfies ``x <= threshold`` exactly when it satisfies ``x <= result``, and an ``x`` within 1e-35 of
    zero goes where zero goes.
    """
    tiny = np.abs(threshold) <= _ZERO
    adjusted = np.where(tiny, np.where(threshold >= 0, _ZERO, np.nextafter(-_ZERO, -np.inf)), threshold)
    with np.errstate(over="ignore"):
        result = adjusted.astype(np.float32)
    above = result.astype(np.float64) > adjusted
    result[above] = np.nextafter(result[above], np.float32(-np.inf))
    return result


def _integer(block: Block, key: str, place: str, default: int | None = None) -> int:
    text = block.get(key)
    if text is None and default is not None:
        return default
    try:
        return int(text or "")
    except ValueError as error:
        raise BrokenModel(f"{place} of the LightGBM model is damaged: {key} is {text!r}, expected a number") from error


def _numbers(block: Block, key: str, count: int, dtype: Any, place: str, *, infinite: bool = False) -> Any:
    """Return ``count`` numbers of one line, finite unless infinities are allowed."""
    words = block.get(key, "").split()
    if len(words) != count:
        raise BrokenModel(f"{place} of the LightGBM model is damaged: {key} has {len(words)} values, expected {count}")
    try:
        numbers = np.array(
            [float(word) for word in words] if dtype is np.float64 else [int(word) for word in words], dtype
        )
    except (ValueError, OverflowError) as error:
        raise BrokenModel(
            f"{place} of the LightGBM model is damaged: {key} holds a word that is not a number"
        ) from error
    if dtype is np.float64 and (np.isnan(numbers) if infinite else ~np.isfinite(numbers)).any():
        raise BrokenModel(f"{place} of the LightGBM model is damaged: {key} holds a value that is not finite")
    return numbers
