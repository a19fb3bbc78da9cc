"""The type ``direction``: XGBoost on the sign of the next return, served by the tree kernel.

Fitted by XGBoost, then written as a LightGBM text model and proven on rows; XGBoost's own JSON is kept beside it for an
audit and is on no load path.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.errors import BrokenModel
from ml.predictors.exported_trees import MODEL_FILE, FittedExport, gain_shares
from ml.predictors.libraries import load
from ml.predictors.parameters import ParameterTable, Range
from ml.predictors.training_rows import check_bounded, check_classes, check_known, check_varied

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from ml.dataset import Dataset

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]

__all__ = ["AUDIT_FILE", "PARAMETERS", "DirectionPredictor"]

AUDIT_FILE = "model.xgboost.json"

PARAMETERS = ParameterTable(
    numbers={
        "n_estimators": Range(100, 1, 10_000, whole=True),
        "max_depth": Range(3, 1, 16, whole=True),
        "learning_rate": Range(0.03, 0, 1, above=True),
        "max_bin": Range(64, 2, 256, whole=True),
        "min_child_weight": Range(50.0, 0, 1e6),
        "colsample_bytree": Range(0.3, 0, 1, above=True),
        "subsample": Range(1.0, 0, 1, above=True),
        "gamma": Range(0.0, 0, 1e6),
        "reg_alpha": Range(0.0, 0, 1e6),
        "reg_lambda": Range(10.0, 0, 1e6),
    },
    choices={"objective": ("binary:logistic",)},
    aliases={
        "num_boost_round": "n_estimators",
        "num_iterations": "n_estimators",
        "eta": "learning_rate",
        "feature_fraction": "colsample_bytree",
        "bagging_fraction": "subsample",
        "min_split_loss": "gamma",
        "min_gain_to_split": "gamma",
        "alpha": "reg_alpha",
        "lambda_l1": "reg_alpha",
        "lambda": "reg_lambda",
        "lambda_l2": "reg_lambda",
    },
)
"""Slower and shallower than ``max_depth`` 6 and ``learning_rate`` 0.1, which fit the noise of returns; both are accepted.

``min_child_weight`` counts second derivatives, of which a row has about a quarter: 50 are 200 rows.
"""


class DirectionPredictor:
    """XGBoost on the sign of the return ``horizon`` bars ahead.

    Parameters
    ----------
    overrides
        Parameters that differ from the defaults; see `PARAMETERS`.
    """

    type_name: ClassVar[str] = "direction"
    architecture: ClassVar[str] = "xgboost"
    task: ClassVar[str] = "direction"
    title: ClassVar[str] = "XGBoost on the direction of the next return"
    description: ClassVar[str] = "One XGBoost model of small trees; it says UP or DOWN, and with which probability."
    library: ClassVar[str] = "xgboost-cpu"

    def __init__(self, overrides: Mapping[str, Any] | None = None) -> None:
        self._parameters, _ = PARAMETERS.resolve(overrides)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Every parameter with its value."""
        return dict(self._parameters)

    def fit(self, dataset: Dataset, positions: Integers, *, seed: int, threads: int) -> FittedExport:
        """Fit the trees on the rows at ``positions``, export them and prove the export.

        Parameters
        ----------
        dataset
            Features and labels.
        positions : int64 array
            Labelled rows to learn from, in time order.
        seed
            Seeds the sampling of features and rows.
        threads
            Cores for XGBoost.

        Raises
        ------
        TrainingFailed
            When no row is given, a label is missing, all labels are of one class, no feature varies, or the export differs.
        MissingLibrary
            When XGBoost is not installed.
        """
        from ml.training.tree_export import lightgbm_text, proof_rows, prove, xgboost_trees

        rows, returns = np.ascontiguousarray(dataset.rows[positions]), dataset.target[positions]
        check_known(returns)
        check_classes(returns > 0, dataset.horizon, words=("a rise", "a fall"), purpose="a model of direction")
        check_varied(rows)
        check_bounded(rows, "XGBoost")
        xgboost = load("xgboost")
        settings = dict(self._parameters)
        rounds = settings.pop("n_estimators")
        settings |= {"tree_method": "hist", "seed": seed, "nthread": threads, "verbosity": 0}
        names = list(dataset.names)
        table = xgboost.QuantileDMatrix(
            rows,
            label=(returns > 0).astype(np.float32),
            feature_names=names,
            max_bin=settings["max_bin"],
            nthread=threads,
        )
        booster = xgboost.train(settings, table, num_boost_round=rounds)
        audit = bytes(booster.save_raw("json"))
        trees = xgboost_trees(audit)
        gain = booster.get_score(importance_type="total_gain")
        fitted = FittedExport.of(
            {MODEL_FILE: lightgbm_text(trees, names, "binary sigmoid:1"), AUDIT_FILE: audit},
            gain_shares(np.array([gain.get(name, 0.0) for name in names]), dataset.names),
        )
        sample = proof_rows(rows, trees)
        said = booster.predict(xgboost.DMatrix(sample, feature_names=names, nthread=threads))
        prove(said.astype(np.float64), 1.0 / (1.0 + np.exp(-fitted.scores(sample))), "XGBoost")
        return fitted

    @classmethod
    def answer(cls, values: Mapping[str, float], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return ``direction``, UP or DOWN."""
        return {"direction": "UP" if values["direction"] > 0 else "DOWN"}

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> FittedExport:
        """Read ``model.txt``; the XGBoost model beside it must be there and be JSON, and is not used."""
        if AUDIT_FILE not in files:
            raise BrokenModel(f"{AUDIT_FILE} is missing")
        try:
            json.loads(files[AUDIT_FILE])
        except ValueError as error:
            raise BrokenModel(f"{AUDIT_FILE} is not JSON: {error}") from error
        return FittedExport.of(files)
