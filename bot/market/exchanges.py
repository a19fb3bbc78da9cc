"""Candles and terms of an exchange through ccxt: connecting, finding a market, asking for one page.

ccxt gives rubbish rather than an error for many broken replies; every page is checked in `bot.market.pages`.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from bot.broker.rules import ExchangeRules
from bot.errors import ExchangeError, UsageError
from bot.market.pages import KLINE_PAGE, OHLCV_PAGE, NoAnswer
from bot.market.series_file import MarketTerms
from registry.errors import InvalidName, suggestion
from registry.names import normalise_symbol, timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ExchangeSource", "connect"]

# These answer klines with trade count and taker volume, which ccxt's own candles lack, and jump to the next candle there is.
_KLINE_EXCHANGES = frozenset({"binance", "binanceus"})
_PAGE_BARS = 500
_BROKEN = (TypeError, KeyError, IndexError, AttributeError, ValueError)  # ccxt, when it parses a broken reply


def connect(exchange: str, *, url: str | None = None, rate_limit: bool = True, timeout_ms: int = 20_000) -> Any:
    """Return a ccxt client for public data.

    Parameters
    ----------
    exchange
        A ccxt id such as binance or kraken.
    url
        Base address of a server that speaks Binance's protocol, asked instead of the exchange's own; only for binance.
    rate_limit
        Whether requests keep the exchange's distance.
    timeout_ms
        How long to wait for an answer.

    Raises
    ------
    UsageError
        For an exchange that ccxt does not know or that gives no candles.
    """
    import ccxt

    name = exchange.strip().lower()
    if name not in ccxt.exchanges:
        near = suggestion(name, ccxt.exchanges)
        raise UsageError(f"ccxt knows no exchange {exchange!r}{near or '; there are ' + ', '.join(ccxt.exchanges[:8])}")
    config: dict[str, Any] = {"enableRateLimit": rate_limit, "timeout": timeout_ms}
    if name in _KLINE_EXCHANGES:  # otherwise every futures market is asked for too
        config["options"] = {"defaultType": "spot", "fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}
    if url is not None:
        if name != "binance":
            raise UsageError("--url names a server that speaks Binance's protocol: it goes with --exchange binance")
        config["urls"] = {"api": _urls(ccxt.binance().urls["api"], url.rstrip("/"))}
        # ccxt tells Binance's spot errors by the host name, which is another one here
        config["exceptions"] = {"exact": dict(ccxt.binance().exceptions["spot"]["exact"])}
    client = getattr(ccxt, name)(config)
    if not client.has.get("fetchOHLCV"):
        raise UsageError(f"{name} gives no candles through ccxt: choose another exchange")
    return client


def _urls(addresses: dict[str, Any], base: str) -> dict[str, Any]:
    """Return every address replaced: a forgotten one would still ask the real exchange."""
    api = f"{base}/api/v3"
    return {name: api if name in {"public", "private"} else f"{base}/blocked/{name}" for name in addresses}


class ExchangeSource:
    """Candles of one symbol and timeframe at one exchange.

    Parameters
    ----------
    client
        A ccxt client, its markets not loaded yet.
    symbol
        Any accepted spelling.
    timeframe
        Length of a candle.
    local_ms
        The clock of this computer, milliseconds UTC: used where the exchange does not tell its own.

    Call `open` before anything else.
    """

    def __init__(self, client: Any, symbol: str, timeframe: str, local_ms: Callable[[], int]) -> None:
        self._client = client
        self._local_ms = local_ms
        self._market: dict[str, Any] = {}
        self.exchange = str(client.id)
        self.symbol = normalise_symbol(symbol)
        self.timeframe = timeframe
        self.step_ms = timeframe_ms(timeframe)
        self.layout = KLINE_PAGE if self.exchange in _KLINE_EXCHANGES else OHLCV_PAGE
        self.page_bars = _PAGE_BARS

    @property
    def jumps_gaps(self) -> bool:
        """Whether the exchange answers with the next candles there are, however far after the time that was asked."""
        return self.exchange in _KLINE_EXCHANGES

    def open(self) -> None:
        """Load the markets and find the symbol.

        Raises
        ------
        UsageError
            For a symbol or timeframe that the exchange does not have; the message names the nearest.
        ExchangeError, NoAnswer
            When the exchange refuses, or does not answer properly.
        """
        frames = self._client.timeframes or {}
        if self.timeframe not in frames:
            names = [name for name in frames if name[-1:] != "M"]
            raise UsageError(f"{self.exchange} has no candles of {self.timeframe}; it has {', '.join(names)}")
        markets = self._ask(self._client.load_markets)
        if not isinstance(markets, dict) or not markets:
            raise NoAnswer("the list of markets is empty")
        found = _spot_markets(markets)
        if self.symbol not in found:
            near = suggestion(self.symbol, found) or f"; it has {len(found)}, such as {', '.join(list(found)[:5])}"
            raise UsageError(f"{self.exchange} has no spot market {self.symbol}{near}")
        self._market = found[self.symbol]
        limits = (self._client.features or {}).get("spot") or (self._client.features or {}).get("default") or {}
        self.page_bars = int((limits.get("fetchOHLCV") or {}).get("limit") or _PAGE_BARS)

    def now_ms(self) -> int:
        """Return the exchange's time, milliseconds UTC."""
        if not self._client.has.get("fetchTime"):
            return self._local_ms()
        now = self._ask(self._client.fetch_time)
        if not isinstance(now, int) or now <= 0:
            raise NoAnswer(f"the exchange's time is {now!r}")
        return now

    def page(self, since_ms: int, end_ms: int) -> Any:
        """Return one raw reply: candles that open from ``since_ms`` on; unchecked."""
        if self.layout is KLINE_PAGE:
            params = {
                "symbol": self._market["id"],
                "interval": self._client.timeframes[self.timeframe],
                "startTime": since_ms,
                "endTime": end_ms - 1,
                "limit": self.page_bars,
            }
            return self._ask(lambda: self._client.public_get_klines(params))
        symbol = self._market["symbol"]
        return self._ask(lambda: self._client.fetch_ohlcv(symbol, self.timeframe, since_ms, self.page_bars))

    def terms(self) -> MarketTerms:
        """Return tick, lot, smallest sizes and fees, as far as the exchange says."""
        precision, limits = self._market.get("precision") or {}, self._market.get("limits") or {}
        rules = ExchangeRules(
            price_tick=self._unit(precision.get("price")),
            lot_step=self._unit(precision.get("amount")),
            min_qty=_positive((limits.get("amount") or {}).get("min")),
            min_notional=_positive((limits.get("cost") or {}).get("min")),
        )
        maker, taker = self._market.get("maker"), self._market.get("taker")
        return MarketTerms(
            rules=rules,
            maker_fee=None if maker is None else Decimal(str(maker)),
            taker_fee=None if taker is None else Decimal(str(taker)),
            origin=f"download from {self.exchange}",
        )

    def _unit(self, precision: Any) -> Decimal | None:
        """Return a tick from ccxt's precision: itself a tick, or a number of decimals."""
        import ccxt

        value = _positive(precision)
        if self._client.precisionMode == ccxt.TICK_SIZE:
            return value
        if self._client.precisionMode == ccxt.DECIMAL_PLACES and precision is not None:
            return Decimal(1).scaleb(-int(precision))
        return None

    def _ask(self, request: Callable[[], Any]) -> Any:
        """Send one request; ccxt's errors become ours."""
        import ccxt

        try:
            return request()
        except ccxt.OperationFailed as error:  # no answer, overload, rate limit: the root of NetworkError
            headers = self._client.last_response_headers or {}
            wait = str(headers.get("Retry-After", ""))
            raise NoAnswer(_reason(error), float(wait) if wait.isdigit() else 0.0) from error
        except ccxt.BaseError as error:
            raise ExchangeError(f"{self.exchange} refused: {_reason(error)}") from error
        except _BROKEN as error:
            raise NoAnswer(f"the reply could not be read ({type(error).__name__}: {error})") from error


def _spot_markets(markets: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return spot markets by our spelling; one that trades wins over one that does not."""
    found: dict[str, dict[str, Any]] = {}
    for market in markets.values():
        if not market.get("spot"):
            continue
        try:
            name = normalise_symbol(f"{market['base']}{market['quote']}")
        except (InvalidName, KeyError):
            continue
        if name not in found or market.get("active"):
            found[name] = market
    return found


def _positive(value: Any) -> Decimal | None:
    number = None if value is None else Decimal(str(value))
    return number if number is not None and number.is_finite() and number > 0 else None


def _reason(error: Exception) -> str:
    """Return the first line of an error, cut to a length that fits a message."""
    return (str(error).strip().split("\n", maxsplit=1)[0] or type(error).__name__)[:200]
