"""Coverage of 90 % bands on real candles, out of sample: fitted on earlier bars, frozen, applied to later ones.

Five folds, each banded by what came before it, around a price that stays where it is: the width is judged, not the forecast.
Steps 2 to 60 are all judged; the figure shown is the one furthest from 90 %. Paths of k bars that overlap are not
independent: the standard error of a step counts one path in k.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ml.candles import Candles
from ml.conformal import LONG_VOLATILITY, PathBands
from ml.dataset import VOLATILITY_FEATURE
from ml.features.blocks import block_index
from ml.features.pipeline import FeaturePipeline
from ml.features.schema import FeatureSchema
from ml.price_publisher import fit_price

__all__ = ["measure"]

STEPS = 300
FOLDS = 5
LATER = (100, 150, 200, 250, 300)
_DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
_SERIES = {
    "BTC 1h": ("binance_spot_BTCUSDT_1h_2018_2024.csv.gz", "1h"),
    "ETH 1h": ("binance_spot_ETHUSDT_1h_2018_2024.csv.gz", "1h"),
    "EURUSD 1h": ("fx_EURUSD_1h_2017_2024_novol.csv.gz", "1h"),
    "BTC 1m": ("binance_spot_BTCUSDT_1m_2024Q1.csv.gz", "1m"),
}


def measure() -> list[dict[str, Any]]:
    """Return the coverage of path bands and of the published band of a price; no rows where the data is absent."""
    if not _DATA.is_dir():
        return []
    rows: list[dict[str, Any]] = []
    for name, (file, timeframe) in _SERIES.items():
        candles = Candles.from_frame(pd.read_csv(_DATA / file), timeframe)
        rows += [*paths(name, candles), published(name, candles)]
    return rows


def _known(candles: Candles) -> tuple[Any, Any, Any, Any]:
    """Return the absolute indices, closes, and both volatilities of the bars with features."""
    schema = FeatureSchema.for_candles(candles, (VOLATILITY_FEATURE, LONG_VOLATILITY))
    matrix = FeaturePipeline(schema).compute(candles)
    bars = np.flatnonzero(matrix.valid & ~candles.off_grid)
    columns = [matrix.rows[bars, place].astype(np.float64) for place in range(2)]
    return block_index(candles, schema.index)[bars], candles.close[bars], *columns


def _forward(k: Any, close: Any, steps: int) -> Any:
    """Return the log return over 1 to ``steps`` indices from each bar, NaN where no bar has that index."""
    out = np.full((len(k), steps), np.nan, dtype=np.float64)
    logs = np.log(close)
    for step in range(1, steps + 1):
        place = np.minimum(np.searchsorted(k, k + step), len(k) - 1)
        found = k[place] == k + step
        out[found, step - 1] = logs[place[found]] - logs[found]
    return out


def paths(name: str, candles: Candles) -> list[dict[str, Any]]:
    """Return the coverage at step 1, over steps 2 to 60, and at later steps."""
    k, close, now, long = _known(candles)
    returns = _forward(k, close, STEPS)
    cuts = [len(k) * place // (FOLDS + 1) for place in range(1, FOLDS + 2)]
    inside = np.full(returns.shape, np.nan, dtype=np.float32)
    for first, last in pairwise(cuts):
        past = np.flatnonzero(k + STEPS <= k[first])[::4]
        bands = PathBands.fit(returns[past], now[past], long[past])
        low, high = bands.apply(np.ones((last - first, STEPS)), now[first:last], long[first:last])
        actual = np.exp(returns[first:last])
        inside[first:last] = np.where(np.isfinite(actual), (low <= actual) & (actual <= high), np.nan)
    later = np.arange(len(k)) >= cuts[0]
    third = np.searchsorted(np.quantile(now[later], [1 / 3, 2 / 3]), now)
    groups = [later, *(later & (third == place) for place in range(3))]
    cover = np.array([np.nanmean(inside[group], axis=0) for group in groups], dtype=np.float64)
    counts = np.array([np.isfinite(inside[group]).sum(axis=0) for group in groups])
    worst = int(np.abs(cover[0, 1:60] - 0.9).argmax()) + 1
    rows = [
        _row(f"{name}: step 1", "90 +- 2 %, thirds 85 to 95 %", cover[:, 0], counts[0, 0], 0.02, (0.85, 0.95)),
        {
            "what": f"{name}: steps 2 to 60, the furthest from 90 % (step {worst + 1}) and the extremes of all thirds",
            "asked": "90 +- 3 %, thirds 82 to 96 %",
            "measured": f"{100 * cover[0, worst]:.1f} %, thirds {_range(cover[1:, 1:60])}, n = {counts[0, worst]:,}",
            "ok": bool(
                abs(cover[0, worst] - 0.9) <= 0.03 and cover[1:, 1:60].min() >= 0.82 and cover[1:, 1:60].max() <= 0.96
            ),
        },
    ]
    for step in LATER:
        errors = np.sqrt(0.09 / (counts[:, step - 1] / step))
        distance = (cover[:, step - 1] - 0.9) / errors
        rows.append({
            "what": f"{name}: step {step}",
            "asked": "within two standard errors of 90 %, and each third",
            "measured": f"{_words(cover[:, step - 1])}; standard errors {errors[0]:.3f} and {errors[1]:.3f} in a third; "
            f"n = {counts[0, step - 1]:,}, {counts[0, step - 1] // step:,} of them independent",
            "ok": bool(np.abs(distance).max() <= 2),
        })  # fmt: skip
    return rows


def published(name: str, candles: Candles) -> dict[str, Any]:
    """Return the coverage of the band that a bundle of kind ``price`` publishes, horizon 1, without a forecast."""
    k, close, now, _ = _known(candles)
    returns = _forward(k, close, 1)[:, 0]
    cuts = [len(k) * place // (FOLDS + 1) for place in range(1, FOLDS + 2)]
    inside = np.full(len(k), np.nan)
    for first, last in pairwise(cuts):
        past = np.flatnonzero((k + 1 <= k[first]) & np.isfinite(returns))
        publisher = fit_price(np.zeros(len(past)), returns[past], now[past], horizon=1)
        values = publisher.publish(np.zeros(last - first), now[first:last], np.ones(last - first))
        actual = np.exp(returns[first:last])
        inside[first:last] = np.where(np.isfinite(actual), (values[:, 5] <= actual) & (actual <= values[:, 6]), np.nan)
    known = np.isfinite(inside)
    third = np.searchsorted(np.quantile(now[known], [1 / 3, 2 / 3]), now)
    cover = np.array([inside[known].mean(), *(inside[known & (third == place)].mean() for place in range(3))])
    what = f"{name}: the band that kind price publishes, horizon 1"
    return _row(what, "90 +- 2 %, thirds 85 to 95 %", cover, int(known.sum()), 0.02, (0.85, 0.95))


def _row(what: str, asked: str, cover: Any, count: int, distance: float, thirds: tuple[float, float]) -> dict[str, Any]:
    good = abs(cover[0] - 0.9) <= distance and thirds[0] <= cover[1:].min() and cover[1:].max() <= thirds[1]
    return {
        "what": what,
        "asked": asked,
        "measured": f"{_words(cover)}; n = {count:,}, standard error {math.sqrt(0.09 / count):.4f}",
        "ok": bool(good),
    }


def _words(cover: Any) -> str:
    return f"{100 * cover[0]:.1f} %, thirds {' / '.join(f'{100 * share:.1f}' for share in cover[1:])} %"


def _range(cover: Any) -> str:
    return f"{100 * cover.min():.1f} to {100 * cover.max():.1f} %"
