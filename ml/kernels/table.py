"""The table of feature kernels: where each lives, which columns it reads, what it writes.

Importing this module does not import numba: a kernel is loaded when it is first needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DERIVED", "KERNELS", "Kernel"]

_OHLC = ("open", "high", "low", "close")
_HLC = ("high", "low", "close")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One kernel.

    Attributes
    ----------
    name, module
        Name of the function and of its module in this package.
    inputs
        Arrays that it takes, in order: columns of the candles, ``open_ms``, and logarithms derived from columns.
    outputs
        Names of what it can write; the order of the second axis of its ``rows``.
    """

    name: str
    module: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the candles that its inputs come from (``open_ms``, which every series has, left out)."""
        found = (column for name in self.inputs for column in DERIVED.get(name, (name,)) if column != "open_ms")
        return tuple(dict.fromkeys(found))

    def load(self) -> Callable[..., None]:
        """Return the compiled function (compiled, or read from numba's cache, at its first call)."""
        function: Callable[..., Any] = getattr(import_module(f"ml.kernels.{self.module}"), self.name)
        return function


DERIVED = {
    "log_return": ("close",),
    "log_range": ("high", "low"),
    "log_body": ("open", "close"),
    "log_pair": ("high", "low"),
}

_TABLE = (
    Kernel(
        "shapes",
        "candle",
        _OHLC,
        (
            "close",
            "range",
            "range_pct",
            "body",
            "body_pct",
            "body_share",
            "upper_share",
            "lower_share",
            "location",
            "gap",
            "true_range_pct",
        ),
    ),
    Kernel(
        "patterns",
        "candle",
        _OHLC,
        (
            "bullish",
            "bearish",
            "doji",
            "hammer",
            "shooting_star",
            "bullish_engulfing",
            "bearish_engulfing",
            "inside",
            "outside",
            "streak",
        ),
    ),
    Kernel("lags", "candle", ("close",), ("change", "log_change", "acceleration")),
    Kernel("averages", "smoothers", ("close",), ("level", "distance", "slope", "triple_slope")),
    Kernel(
        "oscillators",
        "smoothers",
        ("close", "log_return"),
        ("line", "signal", "histogram", "line_pct", "signal_pct", "histogram_pct", "ewma_volatility"),
    ),
    Kernel("strength", "smoothers", ("close",), ("rsi",)),
    Kernel("directional", "smoothers", _HLC, ("atr", "atr_pct", "true_range_ratio", "plus_di", "minus_di", "adx")),
    Kernel(
        "levels",
        "windows",
        ("close",),
        ("mean", "distance", "zscore", "upper", "lower", "position", "width", "trend", "trend_fit"),
    ),
    Kernel(
        "returns",
        "returns",
        ("log_return",),
        (
            "volatility",
            "zscore",
            "skew",
            "kurtosis",
            "up_ratio",
            "downside_ratio",
            "efficiency",
            "autocorrelation",
            "roll_spread",
        ),
    ),
    Kernel("commodity_channel", "windows", _HLC, ("cci",)),
    Kernel(
        "extremes",
        "extremes",
        _HLC,
        (
            "max",
            "min",
            "max_distance",
            "min_distance",
            "position",
            "stochastic",
            "stochastic_d",
            "resistance_distance",
            "support_distance",
            "breakout",
        ),
    ),
    Kernel(
        "ranges", "extremes", ("log_range", "log_body", "log_pair"), ("parkinson", "garman_klass", "corwin_schultz")
    ),
    Kernel(
        "clock",
        "calendar",
        ("open_ms",),
        (
            "hour",
            "day_of_week",
            "day_of_month",
            "month",
            "quarter",
            "hour_sin",
            "hour_cos",
            "day_of_week_sin",
            "day_of_week_cos",
            "month_sin",
            "month_cos",
        ),
    ),
    Kernel(
        "volumes",
        "volume",
        ("close", "volume"),
        ("mean", "ratio", "zscore", "on_balance", "trend", "spike", "dry_up"),
    ),
    Kernel(
        "money",
        "volume",
        (*_HLC, "volume", "log_return"),
        ("chaikin", "money_flow", "vwap_distance", "amihud", "amihud_ratio"),
    ),
    Kernel(
        "flow",
        "volume",
        ("volume", "taker_buy_base", "log_return"),
        ("imbalance", "volume_imbalance", "toxicity", "kyle_lambda", "correlation"),
    ),
    Kernel("trade_counts", "volume", ("volume", "trades"), ("size", "size_ratio", "intensity")),
    Kernel("session", "turnover", ("open_ms", *_HLC, "volume"), ("vwap", "vwap_distance")),
    Kernel("quotes", "turnover", ("close", "volume", "quote_volume"), ("vwap_distance",)),
    Kernel(
        "premium",
        "turnover",
        ("volume", "quote_volume", "taker_buy_base", "taker_buy_quote"),
        ("taker_premium",),
    ),
    Kernel("mood", "sentiment", ("open_ms", "sentiment"), ("level", "change", "distance", "fear", "greed")),
)

KERNELS: dict[str, Kernel] = {kernel.name: kernel for kernel in _TABLE}
