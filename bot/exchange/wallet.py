"""What a ccxt client asks outside of spot trading before it trades: coins, fees, permissions, markets that are not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.exchange.documents import amount

if TYPE_CHECKING:
    from bot.exchange.matching import LocalExchange
    from bot.exchange.parameters import Parameters
    from bot.exchange.signing import ApiKey

__all__ = ["Wallet"]


class Wallet:
    """Answers about the account as a whole; there is nothing to deposit, withdraw or borrow.

    Parameters
    ----------
    exchange : LocalExchange
        Holds the balances.
    """

    def __init__(self, exchange: LocalExchange) -> None:
        self._exchange = exchange

    def coins(self, _parameters: Parameters) -> list[dict[str, Any]]:
        """List the assets."""
        return [
            {
                "coin": asset,
                "name": asset,
                "free": amount(free),
                "locked": amount(locked),
                "freeze": "0",
                "withdrawing": "0",
                "ipoing": "0",
                "ipoable": "0",
                "storage": "0",
                "depositAllEnable": False,
                "withdrawAllEnable": False,
                "isLegalMoney": False,
                "trading": True,
                "networkList": [],
            }
            for asset, (free, locked) in self._exchange.balances().items()
        ]

    def fees(self, parameters: Parameters) -> list[dict[str, Any]]:
        """List the fee of a symbol, or of all."""
        wanted = parameters.text("symbol")
        names = self._exchange.symbols if wanted is None else [self._exchange.market(wanted).symbol]
        rate = format(self._exchange.fees.taker, ".8f")
        return [{"symbol": name, "makerCommission": rate, "takerCommission": rate} for name in names]

    def restrictions(self, _parameters: Parameters, key: ApiKey) -> dict[str, Any]:
        """Tell what a key may do."""
        return {
            "ipRestrict": False,
            "createTime": 0,
            "enableReading": True,
            "enableSpotAndMarginTrading": key.can_trade,
            "enableWithdrawals": False,
            "enableInternalTransfer": False,
            "enableMargin": False,
            "enableFutures": False,
            "permitsUniversalTransfer": False,
            "enableVanillaOptions": False,
            "enableFixApiTrade": False,
            "enableFixReadOnly": False,
            "enablePortfolioMarginTrading": False,
        }

    def status(self, _parameters: Parameters) -> dict[str, Any]:
        """Tell that the exchange is open."""
        return {"status": 0, "msg": "normal"}

    def account_status(self, _parameters: Parameters) -> dict[str, Any]:
        """Tell that nothing is held against the account."""
        return {"data": "Normal"}

    def nothing(self, _parameters: Parameters) -> list[Any]:
        """List what there is none of here: pairs on margin, deposits, withdrawals, matches with oneself."""
        return []

    def no_contracts(self, _parameters: Parameters) -> dict[str, Any]:
        """List the contracts: none."""
        return {
            "timezone": "UTC",
            "serverTime": 0,
            "rateLimits": [],
            "exchangeFilters": [],
            "assets": [],
            "symbols": [],
        }
