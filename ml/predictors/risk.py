"""The type ``risk``: a random forest on the question whether an adverse move comes, served by the tree kernel.

Fitted by scikit-learn, then written as a LightGBM text model and proven on rows. The forest itself is not kept: it could
only be kept as a pickle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.predictors.exported_trees import MODEL_FILE, FittedExport, gain_shares
from ml.predictors.libraries import load
from ml.predictors.parameters import ParameterTable, Range
from ml.predictors.training_rows import check_bounded, check_classes, check_known, check_varied

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Integers = npt.NDArray[np.int64]

__all__ = ["PARAMETERS", "RiskScorer"]

PARAMETERS = ParameterTable(
    numbers={
        "adverse_atr": Range(1.0, 0, 20, above=True),
        "n_estimators": Range(100, 1, 1_000, whole=True),
        "max_depth": Range(10, 1, 32, whole=True),
        "max_leaf_nodes": Range(200, 2, 2_000, whole=True),
        "min_samples_leaf": Range(50, 1, 1_000_000, whole=True),
        "max_features": Range(0.1, 0, 1, above=True),
        "sample_rows": Range(5_000, 10, 10_000_000, whole=True),
    },
    aliases={"min_data_in_leaf": "min_samples_leaf", "feature_fraction": "max_features", "max_samples": "sample_rows"},
)
"""``adverse_atr`` is the size of an adverse move in average true ranges; the others are scikit-learn's.

At most 200 leaves a tree keep the text below 5 MB whatever the length of the data; each tree is grown on at most
``sample_rows`` rows, drawn with replacement, which bounds the time and costs no skill on labels that overlap anyway.
"""


class RiskScorer:
    """A random forest of two classes: an adverse move within the horizon, or none.

    The score is the forest's mean probability minus the share of adverse moves in its training rows.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see `PARAMETERS`.
    """

    type_name: ClassVar[str] = "risk"
    architecture: ClassVar[str] = "forest"
    task: ClassVar[str] = "risk"
    title: ClassVar[str] = "Random forest on adverse moves"
    description: ClassVar[str] = (
        "One random forest on price, volume and time features; it states 0 to 100, a hundred times the calibrated "
        "probability that the price falls by more than a number of average true ranges."
    )
    library: ClassVar[str] = "scikit-learn"

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters, _ = PARAMETERS.resolve(overrides)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedExport:
        """Fit the forest on the rows at ``positions``, export it and prove the export.

        Parameters
        ----------
        dataset
            Features and labels: ``target`` is 1.0 for an adverse move and 0.0 for none.
        positions : int64 array
            Labelled rows to learn from, in time order.
        seed
            Seeds the rows and features that a tree sees.
        threads
            Cores for scikit-learn; the trees are the same for any number.

        Raises
        ------
        TrainingFailed
            When no row is given, a label is missing, all labels are of one class, no feature varies, or the export differs.
        MissingLibrary
            When scikit-learn is not installed.
        """
        from ml.training.tree_export import forest_trees, lightgbm_text, proof_rows, prove

        rows, target = np.ascontiguousarray(dataset.rows[positions]), dataset.target[positions]
        check_known(target)
        happened = target > 0.5
        check_classes(
            happened, dataset.horizon, words=("an adverse move", "no adverse move"), purpose="a model of risk"
        )
        check_varied(rows)
        check_bounded(rows, "scikit-learn")
        settings = dict(self._parameters)
        del settings["adverse_atr"]
        drawn = min(settings.pop("sample_rows"), len(rows))
        # a column without any value has no border to split at
        known = np.isfinite(rows).any(axis=0)
        ensemble = load("sklearn.ensemble")
        forest = ensemble.RandomForestClassifier(**settings, max_samples=drawn, random_state=seed, n_jobs=threads)
        forest.fit(np.where(known, rows, np.float32(0.0)), happened)
        base = float(np.mean(happened))
        trees = forest_trees(forest, base)
        fitted = FittedExport.of(
            {MODEL_FILE: lightgbm_text(trees, dataset.names, "regression")},
            gain_shares(np.asarray(forest.feature_importances_, dtype=np.float64), dataset.names),
        )
        sample = proof_rows(rows, trees)
        said = forest.predict_proba(np.where(known, sample, np.float32(0.0)))[:, 1]
        prove(said, base + fitted.scores(sample), "scikit-learn")
        return fitted

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``risk``, 0 to 100."""
        return {"risk": values["risk"]}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedExport:
        """Read ``model.txt``."""
        return FittedExport.of(files)
