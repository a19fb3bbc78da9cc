"""The built-in market in the store: candles that need no source, with terms like a spot exchange's."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from bot.broker.rules import ExchangeRules
from bot.errors import UsageError
from bot.market.series_file import MarketTerms

if TYPE_CHECKING:
    from bot.market.store import CandleStore, MergeReport

__all__ = ["SYNTH_RULES", "store_synthetic", "synthetic_origin"]

SYNTH_RULES = ExchangeRules(
    price_tick=Decimal("0.01"), lot_step=Decimal("0.00001"), min_qty=Decimal("0.00001"), min_notional=Decimal(5)
)
_FEE = Decimal("0.001")


def synthetic_origin(edge: float, path_drift: float, seed: int) -> str:
    """Return what is written beside such candles as their source."""
    drift = f", planted path drift {path_drift:g}" if path_drift else ""
    return f"built-in market, planted edge {edge:g}{drift}, seed {seed}"


def store_synthetic(
    store: CandleStore,
    symbol: str = "SYNTH",
    *,
    bars: int = 17_520,
    edge: float = 0.06,
    path_drift: float = 0.0,
    seed: int = 0,
    timeframe: str = "1h",
    exchange: str = "synth",
) -> MergeReport:
    """Simulate a series and store it in place of any earlier one: another seed is another market.

    Raises
    ------
    UsageError
        When bars, edge, path drift or seed are out of range.
    """
    from ml.synthetic import synthetic_candles

    try:
        candles = synthetic_candles(bars, edge=edge, path_drift=path_drift, seed=seed, timeframe=timeframe)
    except ValueError as error:
        raise UsageError(str(error)) from None
    origin = synthetic_origin(edge, path_drift, seed)
    return store.write(candles, symbol, exchange, MarketTerms(SYNTH_RULES, _FEE, _FEE, origin))
