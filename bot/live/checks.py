"""What must hold before a bot trades somewhere: its market, the account, the models; for pre-flight and start.

A check looks and says; nothing is changed and nothing is ordered by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

from bot.broker.lots import floor_size, refusal
from bot.errors import UsageError
from bot.live.answers import AccessDenied, NoAnswer, Refused
from ml.candles import format_ms
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bot.assembly import BoundModel, Choice
    from bot.broker.rules import ExchangeRules
    from bot.config.loader import ConfigFile
    from bot.live.gateway import Gateway, SpotMarket
    from bot.live.venue import Venue
    from ml.candles import Candles

__all__ = ["Check", "account_checks", "market_checks", "model_checks", "newest_candles", "require"]

Level = Literal["ok", "warn", "fail"]

_SPARE = 1.05  # a smallest order is meant to stay large enough while the price moves
_OLD_BARS = 5_000


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : str
        What, in a few words.
    level : str
        ``ok``, ``warn`` (worth knowing) or ``fail`` (the bot does not start).
    words : str
        What was found.
    advice : str
        What to do about it; empty where there is nothing to do.
    where : tuple
        The place in the config that it is about; empty where it is about none.
    """

    name: str
    level: Level
    words: str
    advice: str = ""
    where: tuple[str | int, ...] = ()

    @property
    def text(self) -> str:
        """Words and advice in one sentence."""
        return f"{self.words}: {self.advice}" if self.advice else self.words


def require(file: ConfigFile, checks: Iterable[Check]) -> list[str]:
    """Return the warnings in words.

    Raises
    ------
    UsageError
        When a check failed; with everything that failed, a line each.
    """
    found = list(checks)
    failed = [
        str(file.error(check.where, check.text)) if check.where else check.text
        for check in found
        if check.level == "fail"
    ]
    if failed:
        raise UsageError("\n".join(failed))
    return [check.text for check in found if check.level == "warn"]


# ---- the market


def market_checks(file: ConfigFile, venue: Venue, stored: Mapping[str, ExchangeRules | None]) -> list[Check]:
    """Look at the symbols as the exchange lists them: do they trade, in candles of this length, by the config's rules.

    Parameters
    ----------
    venue
        Its gateway knows the markets already.
    stored
        Rules beside the candles of each symbol; None where there are none.

    Raises
    ------
    NoAnswer, Refused
        When the exchange does not tell.
    """
    found = []
    for number, symbol in enumerate(file.config.symbols):
        market = venue.gateway.markets[symbol]
        if market.is_trading:
            found.append(Check(f"{symbol} market", "ok", f"{market.wire} trades on {venue.exchange}"))
        else:
            words = f"{market.wire} does not trade on {venue.exchange} now: it is halted or delisted"
            advice = "wait until it trades again, or take it out of the config"
            found.append(Check(f"{symbol} market", "fail", words, advice, ("symbols", number)))
        found.append(_timeframe_check(file, venue, symbol))
        found += _rule_checks(file, venue, market, stored.get(symbol))
    return found


def _timeframe_check(file: ConfigFile, venue: Venue, symbol: str) -> Check:
    timeframe = file.config.timeframe
    name, where = f"{symbol} candles", ("timeframe",)
    if not venue.gateway.has_timeframe(timeframe):
        return Check(name, "fail", f"{venue.exchange} has no candles of {timeframe}", "choose another timeframe", where)
    try:
        candles = newest_candles(venue.gateway, symbol, timeframe)
    except Refused as error:
        if error.wait_s is not None or isinstance(error, AccessDenied):
            raise
        words = f"{venue.exchange} gives no candles of {timeframe} ({error})"
        return Check(name, "fail", words, "choose another timeframe", where)
    if len(candles) < 2:
        return Check(name, "fail", f"{venue.exchange} has no closed candle of {timeframe} yet", where=where)
    return Check(name, "ok", f"{timeframe}, the newest closed one opened at {format_ms(int(candles.open_ms[-2]))}")


def _rule_checks(file: ConfigFile, venue: Venue, market: SpotMarket, stored: ExchangeRules | None) -> list[Check]:
    """Compare the rules that a backtest goes by with those of the exchange."""
    given = file.config.broker.rules
    beside = {} if stored is None else {name: value for name, value in stored.to_dict().items() if value is not None}
    real = market.rules.to_dict()
    differing = []
    for name, value in {**beside, **given}.items():
        ours, theirs = (f"{Decimal(str(each or 0)).normalize():f}" for each in (value, real[name]))
        if ours != theirs:
            source = "the config says" if name in given else "beside the stored candles stands"
            where: tuple[str | int, ...] = ("broker", name) if name in given else ("broker",)
            words = f"{name} of {market.wire} is {theirs} on {venue.exchange}, {source} {ours}"
            cure = theirs if name in given else f"broker.{name}: {theirs}"
            advice = f"write {cure}, so that the backtest trades by the same rules"
            level: Level = "fail" if venue.mode == "real" else "warn"
            differing.append(Check(f"{market.symbol} rules", level, words, advice, where))
    if differing:
        return differing
    shown = ", ".join(f"{name} {value}" for name, value in real.items() if value is not None)
    return [Check(f"{market.symbol} rules", "ok", shown or "the exchange states none")]


def newest_candles(gateway: Gateway, symbol: str, timeframe: str) -> Candles:
    """Return the newest closed candle and the one that is forming."""
    return gateway.candles(symbol, timeframe, limit=2)


# ---- the account


def account_checks(file: ConfigFile, venue: Venue, cash: Mapping[str, float] | None) -> list[Check]:
    """Look at the account: may the keys trade, is there as much as the books begin with, is the smallest order affordable.

    Parameters
    ----------
    cash
        What the books of each symbol begin with, quote currency; None when an earlier run goes on.

    Raises
    ------
    AccessDenied
        When the keys are wrong.
    NoAnswer, Refused
        When the exchange does not tell.
    """
    gateway = venue.gateway
    prices = {
        symbol: float(newest_candles(gateway, symbol, file.config.timeframe).open[-1]) for symbol in file.config.symbols
    }
    found = [] if cash is None else _smallest_order_checks(file, venue, cash, prices)
    if not venue.trades:
        return found
    held, may_trade, _ = gateway.account()
    if cash is not None:
        found += _balance_checks(file, venue, cash, held)
    found += _key_checks(venue, may_trade=may_trade)
    if not any(check.level == "fail" for check in found):
        found += [_rehearsal(venue, symbol, price) for symbol, price in prices.items()]
    return [*found, *_fee_checks(file, venue)]


def _smallest_order_checks(
    file: ConfigFile, venue: Venue, cash: Mapping[str, float], prices: Mapping[str, float]
) -> list[Check]:
    found = []
    for symbol, price in prices.items():
        rules = venue.gateway.markets[symbol].rules
        most = cash[symbol] * file.config.risk.max_position
        name, size = f"{symbol} order size", floor_size(most / price, rules)
        why = refusal(size, price, rules)
        if why:
            words = f"{most:,.2f} is too little for an order of {symbol} at {price:,.8g}: {why}"
            found.append(Check(name, "fail", words, "more cash, or a larger max_position", ("broker", "cash")))
        else:
            smallest = _smallest(price, rules) * price
            found.append(Check(name, "ok", f"the smallest is about {smallest:,.2f}, the largest {most:,.2f}"))
    return found


def _balance_checks(
    file: ConfigFile, venue: Venue, cash: Mapping[str, float], held: Mapping[str, Decimal]
) -> list[Check]:
    found = []
    markets = venue.gateway.markets
    needed: dict[str, Decimal] = {}
    for symbol, amount in cash.items():
        quote = markets[symbol].quote
        needed[quote] = needed.get(quote, Decimal(0)) + Decimal(repr(amount))
    for asset, wanted in needed.items():
        there = held.get(asset, Decimal(0))
        words = f"the account holds {there:,.2f} {asset}, the books begin with {wanted:,.2f}"
        if there < wanted:
            advice = f"pay in, or write a smaller broker.cash ({len(cash)} symbol(s) begin with it each)"
            found.append(Check(f"{asset} balance", "fail", words, advice, ("broker", "cash")))
        else:
            found.append(Check(f"{asset} balance", "ok", words))
    for symbol in file.config.symbols:
        base = markets[symbol].base
        if held.get(base):
            words = f"the account holds {held[base].normalize():f} {base} already: the bot leaves that alone"
            found.append(Check(f"{base} balance", "ok", words))
    return found


def _key_checks(venue: Venue, *, may_trade: bool) -> list[Check]:
    if not may_trade:
        words = f"the account on {venue.exchange} may not trade"
        return [Check("permissions", "fail", words, "allow spot trading for the key, or use another")]
    try:
        trades, withdraws = venue.gateway.key_rights()
    except (NoAnswer, Refused):
        return [Check("permissions", "ok", f"{venue.exchange} does not say what a key may do")]
    if not trades:
        words = f"the key is read-only: {venue.exchange} does not let it trade"
        return [Check("permissions", "fail", words, "allow spot trading for it, or use another")]
    if withdraws:
        words = "the key may withdraw, which a bot never needs"
        return [Check("permissions", "warn", words, "take that right from it")]
    return [Check("permissions", "ok", "the key may trade, and may not withdraw")]


def _rehearsal(venue: Venue, symbol: str, price: float) -> Check:
    """Have the exchange judge the smallest order: what a key may do is certain only when it is tried."""
    name, size = f"{symbol} test order", _smallest(price, venue.gateway.markets[symbol].rules)
    try:
        venue.gateway.rehearse(symbol, size)
    except AccessDenied as error:
        words = f"the key may not trade on {venue.exchange} ({error})"
        return Check(name, "fail", words, "allow spot trading for it, check its list of addresses, or use another")
    except Refused as error:
        if error.wait_s is not None:  # too many requests: it has judged nothing
            raise
        if not error.is_cash_short:  # an account that is all in coins may trade all the same
            return Check(name, "fail", f"{venue.exchange} would refuse an order of {size:.8g} {symbol}: {error}")
    return Check(name, "ok", f"{venue.exchange} would take an order of {size:.8g} {symbol}; none was placed")


def _fee_checks(file: ConfigFile, venue: Venue) -> list[Check]:
    found: dict[tuple[Level, str], Check] = {}
    broker = file.config.broker
    for symbol in file.config.symbols:
        try:
            rate, discount_asset = venue.gateway.taker_fee(symbol)
        except (NoAnswer, Refused):
            return [Check("fees", "ok", f"{venue.exchange} does not say what the account pays")]
        name, where = "fees", ("broker", "commission")
        if discount_asset:
            words = f"fees are paid in {discount_asset}, which the books do not hold: they count none"
            check = Check(name, "warn", words, f"switch off the payment of fees in {discount_asset}")
        elif rate != Decimal(repr(broker.commission)):
            words = f"{symbol} is charged {rate.normalize():f}, the config says {broker.commission:g}"
            check = Check(name, "warn", words, f"write commission: {rate.normalize():f}", where)
        else:
            check = Check(name, "ok", f"{rate.normalize():f} of each trade, as the config says")
        found[check.level, check.words] = check
    return list(found.values())


def _smallest(price: float, rules: ExchangeRules) -> float:
    """Return the size of the smallest order that stays allowed while the price falls a little."""
    lot = float(rules.lot_step or 0)
    wanted = max(float(rules.min_qty or 0), _SPARE * float(rules.min_notional or 0) / price, lot)
    size = floor_size(wanted, rules)
    return size if size >= wanted else floor_size(wanted + lot, rules)


# ---- the models


def model_checks(choices: Mapping[str, Choice], timeframe: str, market_ms: int) -> list[Check]:
    """Look at what plays each role: which version, how old, is it expired, has it seen the market that is to come.

    Parameters
    ----------
    market_ms
        Open time of the candle that is forming, milliseconds UTC.
    """
    return [
        _model_check(symbol, bound, timeframe, market_ms)
        for symbol, choice in choices.items()
        for bound in choice.models
    ]


def _model_check(symbol: str, bound: BoundModel, timeframe: str, market_ms: int) -> Check:
    name, model = f"{symbol} {bound.role}", bound.model
    where = ("models", bound.role)
    if model is None:
        words = f"{bound.reference} has no champion of {timeframe}: no position is opened (status no_model)"
        return Check(name, "warn", words, "promote a version (bot models promote), or train one that passes", where)
    words, age = f"{model} ({model.status})", ""
    trained = bound.engine.trained_until_ms
    if trained is not None:
        bars = (market_ms - trained) // timeframe_ms(timeframe)
        if bars < 0:
            words = f"{model} was trained until {format_ms(trained)}: the market to come is in its training data"
            return Check(name, "warn", words, "what it earns here proves nothing", where)
        age = f", trained until {format_ms(trained)}, {bars:,} bars ago"
        limit: Any = bound.engine.expires_after_ms
        if limit is not None and market_ms - trained > limit:
            words = f"{model} is expired{age}: no position is opened (status expired)"
            return Check(name, "warn", words, "train it anew, and deploy it", where)
        if bars > _OLD_BARS:
            return Check(name, "warn", f"{words}{age}", "train it anew (bot train model)", where)
    return Check(name, "ok", f"{words}{age}")
