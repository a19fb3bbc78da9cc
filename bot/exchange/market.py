"""One symbol of the exchange: its two assets, its rules, and how the exchange describes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, Literal

from bot.broker.rules import ExchangeRules
from bot.errors import BrokerError
from bot.exchange.orders import ORDER_KINDS

__all__ = ["MAX_ALGO_ORDERS", "MAX_ORDERS", "Market", "MarketStatus", "decimal_text"]

MarketStatus = Literal["TRADING", "BREAK", "HALT"]

MAX_ORDERS = 200
MAX_ALGO_ORDERS = 5  # stops and targets that wait for their trigger

_UNIT = Decimal("1e-8")  # the finest tick and lot of the wire
_MAX_PRICE = Decimal(10) ** 9
_MAX_QUANTITY = Decimal(10) ** 12
_MAX_NOTIONAL = Decimal(10) ** 12


def decimal_text(number: Decimal) -> str:
    """Return a number as the exchange writes it: eight decimals, no exponent."""
    return format(number, ".8f")


@dataclass(frozen=True, slots=True)
class Market:
    """A symbol that is traded.

    Attributes
    ----------
    symbol, base, quote : str
        Such as ``BTCUSDT``, ``BTC`` and ``USDT``.
    rules : ExchangeRules
        Tick and lot that are missing become 1e-8, which is as fine as the wire writes numbers.
    """

    symbol: str
    base: str
    quote: str
    rules: ExchangeRules

    def __post_init__(self) -> None:
        """Fill in tick and lot; refuse what the wire cannot say."""
        if not (self.symbol and self.base and self.quote) or self.base == self.quote:
            raise BrokerError(
                f"market {self.symbol!r} of {self.base!r} and {self.quote!r}: expected a symbol and its two different "
                "assets, such as BTCUSDT of BTC and USDT"
            )
        tick, lot = self.rules.price_tick or _UNIT, self.rules.lot_step or _UNIT
        for name, step in (("price_tick", tick), ("lot_step", lot)):
            if step % _UNIT:
                raise BrokerError(f"{name} of {self.symbol} is {step}: expected a multiple of 0.00000001")
        object.__setattr__(self, "rules", replace(self.rules, price_tick=tick, lot_step=lot))

    @property
    def tick(self) -> Decimal:
        """Prices are multiples of it."""
        return self.rules.price_tick or _UNIT

    @property
    def lot(self) -> Decimal:
        """Sizes are multiples of it."""
        return self.rules.lot_step or _UNIT

    @property
    def min_quantity(self) -> Decimal:
        """Smallest size of an order."""
        return self.rules.min_qty or self.lot

    @property
    def min_notional(self) -> Decimal:
        """Smallest size times price of an order; 0 for any."""
        return self.rules.min_notional or Decimal(0)

    def keeps_price(self, price: Decimal) -> bool:
        """Tell whether PRICE_FILTER lets a price pass."""
        return self.tick <= price <= _MAX_PRICE and not price % self.tick

    def keeps_quantity(self, quantity: Decimal) -> bool:
        """Tell whether LOT_SIZE lets a size pass; MARKET_LOT_SIZE has the same bounds and no step."""
        return self.min_quantity <= quantity <= _MAX_QUANTITY and not quantity % self.lot

    def keeps_notional(self, notional: Decimal) -> bool:
        """Tell whether NOTIONAL lets size times price pass."""
        return self.min_notional <= notional <= _MAX_NOTIONAL

    def filters(self) -> list[dict[str, Any]]:
        """Return the rules as ``exchangeInfo`` lists them."""
        return [
            {
                "filterType": "PRICE_FILTER",
                "minPrice": decimal_text(self.tick),
                "maxPrice": decimal_text(_MAX_PRICE),
                "tickSize": decimal_text(self.tick),
            },
            {
                "filterType": "LOT_SIZE",
                "minQty": decimal_text(self.min_quantity),
                "maxQty": decimal_text(_MAX_QUANTITY),
                "stepSize": decimal_text(self.lot),
            },
            {
                "filterType": "MARKET_LOT_SIZE",
                "minQty": decimal_text(Decimal(0)),
                "maxQty": decimal_text(_MAX_QUANTITY),
                "stepSize": decimal_text(Decimal(0)),
            },
            {
                "filterType": "NOTIONAL",
                "minNotional": decimal_text(self.min_notional),
                "applyMinToMarket": True,
                "maxNotional": decimal_text(_MAX_NOTIONAL),
                "applyMaxToMarket": True,
                "avgPriceMins": 5,
            },
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": MAX_ORDERS},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "maxNumAlgoOrders": MAX_ALGO_ORDERS},
        ]

    def info(self, status: MarketStatus) -> dict[str, Any]:
        """Return the entry of this symbol in ``exchangeInfo``."""
        return {
            "symbol": self.symbol,
            "status": status,
            "baseAsset": self.base,
            "baseAssetPrecision": 8,
            "quoteAsset": self.quote,
            "quotePrecision": 8,
            "quoteAssetPrecision": 8,
            "baseCommissionPrecision": 8,
            "quoteCommissionPrecision": 8,
            "orderTypes": list(ORDER_KINDS),
            "icebergAllowed": False,
            "ocoAllowed": True,
            "otoAllowed": False,
            "quoteOrderQtyMarketAllowed": True,
            "allowTrailingStop": False,
            "cancelReplaceAllowed": True,
            "amendAllowed": False,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "filters": self.filters(),
            "permissions": [],
            "permissionSets": [["SPOT"]],
            "defaultSelfTradePreventionMode": "EXPIRE_MAKER",
            "allowedSelfTradePreventionModes": ["EXPIRE_MAKER"],
        }
