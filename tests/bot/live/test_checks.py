"""Checks of a venue: what each answer of an exchange means for a start."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.broker.lots import refusal
from bot.broker.rules import ExchangeRules
from bot.config.loader import parse_config
from bot.errors import UsageError
from bot.live.answers import AccessDenied, NoAnswer, Refused
from bot.live.checks import Check, account_checks, market_checks, require
from ml.candles import Candles

FILE = parse_config(
    """\
name: trial
strategy: BuyAndHold
symbols: [BTCUSDT]
timeframe: 1h
broker: {cash: 1000, commission: 0.001, lot_step: 0.001}
live: {exchange: binance, mode: real}
""",
    "trial.yaml",
)
CASH = {"BTCUSDT": 1000.0}
RULES = ExchangeRules.from_dict({"price_tick": "0.01", "lot_step": "0.001", "min_notional": 5})


class Exchange:
    """Answers as it is told; what is an error is raised."""

    def __init__(self, **answers):
        market = SimpleNamespace(
            symbol="BTCUSDT", wire="BTCUSDT", base="BTC", quote="USDT", rules=RULES, is_trading=True
        )
        self.markets = {"BTCUSDT": market}
        self.answers = {
            "candles": two_candles(),
            "account": ({"USDT": Decimal(1000)}, True, True),
            "key_rights": (True, False),
            "rehearse": None,
            "taker_fee": (Decimal("0.001"), ""),
        } | answers
        self.rehearsed = []

    def __getattr__(self, name):
        def answer(*arguments, **_):
            if name == "rehearse":
                self.rehearsed.append(arguments)
            said = self.answers[name]
            if isinstance(said, Exception):
                raise said
            return said

        return answer

    def has_timeframe(self, _timeframe):
        return True


def two_candles(price=100.0):
    prices = {name: np.full(2, price) for name in ("open", "high", "low", "close")}
    return Candles.from_columns("1h", {"open_ms": np.array([0, 3_600_000]), **prices, "volume": np.ones(2)})


def venue(exchange, *, trades=True):
    return SimpleNamespace(gateway=exchange, exchange="binance", mode="real" if trades else "dry", trades=trades)


def account(cash=CASH, trades=True, **answers):
    exchange = Exchange(**answers)
    return {check.name: check for check in account_checks(FILE, venue(exchange, trades=trades), cash)}, exchange


def test_an_account_in_order():
    found, exchange = account()
    assert {check.level for check in found.values()} == {"ok"}
    assert exchange.rehearsed == [("BTCUSDT", 0.053)]  # 5 / 100, a twentieth more, in whole lots
    assert require(FILE, found.values()) == []


@pytest.mark.parametrize(
    ("answers", "name", "level", "words"),
    [
        ({"key_rights": (True, True)}, "permissions", "warn", "may withdraw, which a bot never needs"),
        ({"key_rights": (False, False)}, "permissions", "fail", "the key is read-only"),
        ({"key_rights": NoAnswer("404")}, "permissions", "ok", "does not say what a key may do"),
        ({"key_rights": AccessDenied("no such path")}, "permissions", "ok", "does not say what a key may do"),
        ({"account": ({"USDT": Decimal(1000)}, False, True)}, "permissions", "fail", "may not trade"),
        ({"account": ({"USDT": Decimal("999.99")}, True, True)}, "USDT balance", "fail", "holds 999.99 USDT"),
        ({"account": ({"USDT": Decimal(2000), "BTC": Decimal(3)}, True, True)}, "BTC balance", "ok", "3 BTC already"),
        ({"rehearse": AccessDenied("-2015")}, "BTCUSDT test order", "fail", "the key may not trade on binance (-2015)"),
        ({"rehearse": Refused("Filter failure: LOT_SIZE")}, "BTCUSDT test order", "fail", "Filter failure: LOT_SIZE"),
        ({"rehearse": Refused("no balance", is_cash_short=True)}, "BTCUSDT test order", "ok", "would take"),
        ({"taker_fee": (Decimal("0.001"), "BNB")}, "fees", "warn", "fees are paid in BNB"),
        ({"taker_fee": (Decimal("0.00075"), "")}, "fees", "warn", "is charged 0.00075, the config says 0.001"),
        ({"taker_fee": Refused("-1000")}, "fees", "ok", "does not say what the account pays"),
    ],
)
def test_what_an_account_may_lack(answers, name, level, words):
    found, exchange = account(**answers)
    assert found[name].level == level
    assert words in found[name].words
    if level == "fail":
        with pytest.raises(UsageError):
            require(FILE, found.values())
        if name != "BTCUSDT test order":
            assert exchange.rehearsed == []


def test_an_exchange_that_did_not_judge_is_no_proof():
    with pytest.raises(Refused):
        account(rehearse=Refused("too many requests", wait_s=3.0))
    with pytest.raises(AccessDenied):
        account(account=AccessDenied("wrong"))


def test_a_run_that_goes_on_need_not_hold_what_it_began_with():
    found, exchange = account(None, account=({"USDT": Decimal(1), "BTC": Decimal(9)}, True, True))
    assert {check.level for check in found.values()} == {"ok"}
    assert "USDT balance" not in found
    assert len(exchange.rehearsed) == 1


def test_a_dry_run_asks_nothing_of_an_account():
    found, exchange = account(trades=False, account=AssertionError("asked"), key_rights=AssertionError("asked"))
    assert list(found) == ["BTCUSDT order size"]
    assert exchange.rehearsed == []


def test_the_rules_beside_the_candles_must_be_those_of_the_exchange_too():
    stored = ExchangeRules.from_dict({"price_tick": "0.1", "lot_step": "0.5", "min_qty": "0"})

    def rules(trades, stored):
        found = market_checks(FILE, venue(Exchange(), trades=trades), {"BTCUSDT": stored})
        return [check for check in found if check.name == "BTCUSDT rules"]

    (found,) = rules(True, stored)  # the lot of the config stands before the stored one
    assert found.level == "fail"
    assert found.words == "price_tick of BTCUSDT is 0.01 on binance, beside the stored candles stands 0.1"
    assert found.advice.startswith("write broker.price_tick: 0.01")
    (found,) = rules(False, stored)
    assert found.level == "warn"
    (found,) = rules(True, None)
    assert found.level == "ok"


def test_failures_come_together_with_their_places_and_warnings_apart():
    checks = [
        Check("a", "ok", "fine"),
        Check("b", "fail", "too little", "more", ("broker", "cash")),
        Check("c", "warn", "odd", "look"),
        Check("d", "fail", "closed"),
    ]
    with pytest.raises(UsageError) as error:
        require(FILE, checks)
    assert str(error.value) == "trial.yaml:5:16: too little: more\nclosed"
    assert require(FILE, [checks[0], checks[2]]) == ["odd: look"]


@given(
    price=st.floats(0.0001, 1e6),
    lot=st.sampled_from(["0.00001", "0.001", "0.1", "1", "10"]),
    notional=st.sampled_from([None, "1", "5", "10.5"]),
    least=st.sampled_from([None, "0.001", "0.3", "7"]),
)
def test_the_smallest_order_is_one_that_would_be_taken(price, lot, notional, least):
    rules = ExchangeRules.from_dict({"lot_step": lot, "min_notional": notional, "min_qty": least})
    exchange = Exchange(candles=two_candles(price))
    exchange.markets["BTCUSDT"].rules = rules
    account_checks(FILE, venue(exchange), None)
    ((_, size),) = exchange.rehearsed
    assert refusal(size, price, rules) == ""
    assert refusal(size, price * 0.97, rules) == ""
    wanted = max(float(lot), float(least or 0), float(notional or 0) / price * 1.05)
    assert size < wanted + 1.001 * float(lot)
