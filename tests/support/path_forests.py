"""Path models of small forests: trained on the rows of a series, or written by hand."""

from __future__ import annotations

import lightgbm
import numpy as np
from forests import written

from ml.candles import Candles
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.lightgbm_text import FlatTrees, parse_lightgbm
from ml.paths.rollout import PathModel

# Short windows and fast smoothers: blocks of 256 indices (the volatility needs 150 candles).
SHORT = (
    "ewma_volatility", "return_1", "log_return_3", "acceleration_2", "ema_3_distance", "ema_4_slope", "trix_2", "rsi_3",
    "sma_7_distance", "zscore_9", "bollinger_12_width", "trend_15", "trend_fit_8", "volatility_6", "return_zscore_11",
    "skew_9", "kurtosis_13", "up_ratio_5", "downside_ratio_17", "efficiency_ratio_10", "autocorrelation_12", "roll_spread_8",
    "candle_streak", "close", "hour_sin", "day_of_week_cos", "month",
)  # fmt: skip
SHORT_OHLC = (
    *SHORT, "atr_3_pct", "true_range_ratio_4", "plus_di_3", "minus_di_3", "adx_2", "cci_9", "stochastic_7", "stochastic_5_d",
    "min_4_distance", "max_21_distance", "channel_position_11", "support_6_distance", "resistance_13_distance", "breakout_3",
    "parkinson_7", "garman_klass_12", "hl_range_pct", "body_to_range", "upper_wick_to_range", "gap_pct", "hammer",
    "inside_bar",
)  # fmt: skip


def short_names(kind: str, timeframe: str = "1h") -> tuple[str, ...]:
    """Features whose blocks are as short as they can be."""
    names = SHORT if kind == "close" else SHORT_OHLC
    return tuple(name for name in names if timeframe != "1d" or name != "hour_sin")


def blank(names: tuple[str, ...], value: float = 0.0) -> FlatTrees:
    """A forest of one tree of one leaf."""
    return parse_lightgbm(_named(_single_leaf(value), names).encode())


def strange(names: tuple[str, ...], seed: int) -> str:
    """The text of a random forest with awkward thresholds, every missing type and trees of one leaf."""
    return _named(written(seed, features=len(names), trees=21), names)


def trained(
    schema: FeatureSchema, candles: Candles, seed: int, *, trees: int = 30, leaves: int = 15
) -> lightgbm.Booster:
    """A booster fitted to the next return in units of volatility, with a feature fraction so that all columns are read."""
    matrix = FeaturePipeline(schema).compute(candles)
    sigma = matrix.rows[:, schema.names.index("ewma_volatility")].astype(float)
    moves = np.append(np.diff(np.log(candles.close)), 0.0)
    known = matrix.valid & (sigma > 0)
    target = np.clip(moves[known] / sigma[known], -5, 5)
    parameters = {
        "objective": "regression", "num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1, "seed": seed,
        "num_threads": 1, "deterministic": True, "force_row_wise": True, "feature_fraction": 0.4, "learning_rate": 0.1,
    }  # fmt: skip
    data = lightgbm.Dataset(matrix.rows[known], target, feature_name=list(schema.names), params=parameters)
    return lightgbm.train(parameters, data, trees)


def boosters(schema: FeatureSchema, candles: Candles, kind: str, **settings: int) -> list[lightgbm.Booster]:
    """One booster for closes, four for candles."""
    return [trained(schema, candles, seed, **settings) for seed in range(1 if kind == "close" else 4)]


def model_of(schema: FeatureSchema, texts: list[str], kind: str, shrink: float | tuple[float, ...] = 1.0) -> PathModel:
    """A path model of the forests in some LightGBM texts."""
    return PathModel(schema, tuple(parse_lightgbm(text.encode()) for text in texts), shrink, kind)


def _named(text: str, names: tuple[str, ...]) -> str:
    lines = text.split("\n")
    return "\n".join(
        f"feature_names={' '.join(names)}" if line.startswith("feature_names=") else line for line in lines
    ).replace("max_feature_idx=0", f"max_feature_idx={len(names) - 1}")


def _single_leaf(value: float) -> str:
    block = f"Tree=0\nnum_leaves=1\nnum_cat=0\nleaf_value={value!r}\nis_linear=0\nshrinkage=1\n\n\n"
    return (
        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=0\nobjective=regression\n"
        f"feature_names=f0\nfeature_infos=[-1:1]\ntree_sizes={len(block)}\n\n{block}end of trees\n\nparameters:\n\n"
        "end of parameters\n"
    )
