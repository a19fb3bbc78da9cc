"""Which features may be carried along a path of predicted candles, and which are by default.

A feature may be carried when :mod:`ml.kernels.path_step` can advance it candle by candle with the bits of the batch kernel. A
path of closes predicts nothing but closes, so its features read closes and the clock; a path of candles reads highs and lows
too. Nothing reads volume: no volume is predicted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ml.errors import InvalidParameter
from ml.features.catalogue import feature, feature_names
from ml.kernels.table import KERNELS
from registry.errors import suggestion
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ml.features.families import FeatureSpec

__all__ = [
    "KINDS",
    "OHLC_FEATURES",
    "PATH_FEATURES",
    "REQUIRED",
    "check_path_names",
    "default_path_names",
    "path_features",
]

KINDS = ("close", "ohlc")
REQUIRED = "ewma_volatility"  # the unit of the moves that a path model predicts

_DAY_MS = 86_400_000
_DAILY_PERIOD_LIMIT = 50

# Outputs of the kernels that read closes and the clock only; those of the other kernels that read highs and lows.
_OF_CLOSES: dict[str, tuple[str, ...]] = {
    **{
        name: KERNELS[name].outputs
        for name in ("lags", "averages", "oscillators", "strength", "levels", "returns", "clock")
    },
    "shapes": ("close",),
    "patterns": ("streak",),
}
_OF_CANDLES: dict[str, tuple[str, ...]] = {
    **{name: KERNELS[name].outputs for name in ("directional", "commodity_channel", "extremes", "shapes", "patterns")},
    "ranges": ("parkinson", "garman_klass"),
}

_DEFAULT_CLOSES = (
    *(f"return_{n}" for n in (1, 2, 3, 5, 8, 13, 21, 34)),
    "acceleration_5",
    *(f"ema_{n}_distance" for n in (5, 10, 20, 50, 100)),
    *(f"ema_{n}_slope" for n in (10, 20)),
    *(f"rsi_{n}" for n in (7, 14, 21)),
    "macd_pct",
    "macd_signal_pct",
    "macd_histogram_pct",
    "ewma_volatility",
    *(f"sma_{n}_distance" for n in (5, 20, 50)),
    *(f"zscore_{n}" for n in (10, 20, 50)),
    "bollinger_20_width",
    *(f"trend_{n}" for n in (20, 50)),
    "trend_fit_20",
    *(f"volatility_{n}" for n in (5, 10, 20, 50)),
    "return_zscore_20",
    "skew_20",
    *(f"up_ratio_{n}" for n in (10, 20)),
    "downside_ratio_20",
    *(f"efficiency_ratio_{n}" for n in (10, 20)),
    "candle_streak",
    "hour_sin",
    "hour_cos",
    "day_of_week_sin",
    "day_of_week_cos",
)
_DEFAULT_CANDLES = (
    "hl_range_pct",
    "oc_range_pct",
    "body_to_range",
    "upper_wick_to_range",
    "lower_wick_to_range",
    "close_location",
    "gap_pct",
    "atr_14_pct",
    "true_range_ratio_14",
    "stochastic_14",
    *(f"min_{n}_distance" for n in (5, 20)),
    *(f"max_{n}_distance" for n in (5, 20)),
    "channel_position_20",
    "parkinson_20",
    "garman_klass_20",
)


def _outputs(kind: str) -> dict[str, tuple[str, ...]]:
    if kind not in KINDS:
        raise InvalidParameter(f"{kind!r} is no kind of path: expected {' or '.join(KINDS)}")
    return _OF_CLOSES if kind == "close" else {**_OF_CLOSES, **_OF_CANDLES}


def _carried(spec: FeatureSpec, kind: str) -> bool:
    return spec.output in _outputs(kind).get(spec.kernel, ())


def path_features(kind: str) -> tuple[str, ...]:
    """Return the listed features that a path may carry; where a name holds a period, any other may stand there.

    Parameters
    ----------
    kind
        ``close`` for paths of closes, ``ohlc`` for paths of candles.

    Raises
    ------
    InvalidParameter
        For another kind.
    """
    return tuple(name for name in feature_names() if _carried(feature(name), kind))


PATH_FEATURES = path_features("close")
OHLC_FEATURES = path_features("ohlc")


def check_path_names(names: Iterable[str], kind: str) -> None:
    """Raise where a path of this kind cannot carry a feature, or has no ``ewma_volatility``.

    Raises
    ------
    UnknownFeature
        When a name is not in the catalogue.
    InvalidParameter
        When a feature is not one that a path carries, or the required one is missing; the message lists what there is.
    """
    names = tuple(names)
    for name in names:
        if not _carried(feature(name), kind):
            known = path_features(kind)
            what = "closes" if kind == "close" else "candles"
            raise InvalidParameter(
                f"the feature {name} cannot be carried along a path of predicted {what}{suggestion(name, known)}; "
                f"expected some of {', '.join(known)}"
            )
    if REQUIRED not in names:
        raise InvalidParameter(f"a path needs the feature {REQUIRED}: it is the unit of the predicted moves")


def default_path_names(kind: str, timeframe: str) -> tuple[str, ...]:
    """Return the features that a path model takes by default, in order.

    Parameters
    ----------
    kind
        ``close`` or ``ohlc``.
    timeframe
        Of the candles. Those of a day or longer take periods up to 50 and no time of day, as ``default_names`` has it.
    """
    names = _DEFAULT_CLOSES if kind == "close" else (*_DEFAULT_CLOSES, *_DEFAULT_CANDLES)
    _outputs(kind)
    step = timeframe_ms(timeframe)
    found = []
    for name in names:
        spec = feature(name)
        if step < spec.below_ms and (step < _DAY_MS or spec.period <= _DAILY_PERIOD_LIMIT):
            found.append(name)
    return tuple(found)
