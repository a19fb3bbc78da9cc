"""The proof that what was backtested is what trades: every strategy over real candles, through HTTP and the ccxt client."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SUPPORT = ROOT / "tests" / "support"
sys.path.insert(0, str(SUPPORT))

from bot.config.loader import parse_config  # noqa: E402
from bot.home import Home  # noqa: E402
from bot.parity.run import ParityRun, run_parity  # noqa: E402

__all__ = ["CASES", "measure"]

DATA = ROOT.parent / "shared" / "data"
ORDERS, PROTECTIVE, SPEED = 200, 20, 200.0

_HOURS = "timeframe: 1h\ndata: {exchange: binance, start: 2024-01-01, end: 2024-12-30}"
_GAP = "timeframe: 1h\ndata: {exchange: binance, start: 2023-03-01, end: 2024-02-28}"  # an outage at 2023-03-24 13:00
_MINUTES = 'timeframe: 1m\ndata: {exchange: binance, start: 2024-03-01, end: "2024-03-07T22:40"}'
_SPEND = "cash: 10000, min_notional: 5, lot_step: 0.00001, price_tick: 0.01"
_DEAR = f"broker: {{{_SPEND}, commission: 0.001, slippage: 0.0005}}"
_DEAR_IN_KIND = f"broker: {{{_SPEND}, commission: 0.001, slippage: 0.0005, fees_in_kind: true}}"
_CHEAP = f"broker: {{{_SPEND}, commission: 0.0001, slippage: 0.0001}}"
_CHEAP_IN_KIND = f"broker: {{{_SPEND}, commission: 0.0001, slippage: 0.0001, fees_in_kind: true}}"
_WIDE = "risk: {stop_loss: 0.008, take_profit: 0.012}"
_CAREFUL = "risk: {stop_loss: 0.008, take_profit: 0.012, cooldown_bars: 2, max_losing_streak: 3, max_daily_loss: 0.05}"
_NARROW = "risk: {stop_loss: 0.001, take_profit: 0.0015}"
_BASIC = (
    "strategy: MLBasic\nparams: {enter: 0.51, exit: 0.495, min_edge: none}\n"
    "models: {prediction: '{symbol}/basic@newest'}"
)
_ENHANCED = (
    "strategy: MLEnhanced\nparams: {rsi_timeframe: RSI, oversold: 50, overbought: 55, max_risk: 100, min_edge: none, "
    "min_confidence: 0.5, down_confidence: 0.52}\n"
    "models: {direction: '{symbol}/direction@newest', risk: '{symbol}/risk@newest'}"
)
_PREDICTIVE = (
    "strategy: MLPredictive\nparams: {min_predicted_return: 0.0, confidence_threshold: 0.5, exit_return: -0.001, "
    "exit_confidence: 0.5, max_holding: 3}\nmodels: {prediction: '{symbol}/basic@newest'}"
)
_PATHS = _PREDICTIVE.replace("prediction: '{symbol}/basic@newest'", "forecast: '{symbol}/autoregressive@newest'")
_RESTLESS = "strategy: restless_strategy:Restless"
_RESTLESS_MINUTES = f"{_RESTLESS}\nparams: {{reach: 0.0004, stop_loss: 0.001, take_profit: 0.0015, share: 0.9}}"
_HOLD = "strategy: BuyAndHold"
_BTC, _BOTH = "symbols: [BTC/USDT]", "symbols: [BTC/USDT, ETH/USDT]"

CASES: dict[str, tuple[str, ...]] = {
    "MLBasic, 1h": (_BASIC, _BTC, _HOURS, _DEAR, _WIDE),
    "MLBasic, 1h, two symbols, fees in kind, all limits": (_BASIC, _BOTH, _HOURS, _DEAR_IN_KIND, _CAREFUL),
    "MLEnhanced, 1h": (_ENHANCED.replace("RSI", "2h"), _BTC, _HOURS, _DEAR, _WIDE),
    "MLPredictive, 1h": (_PREDICTIVE, _BTC, _HOURS, _DEAR_IN_KIND, _WIDE),
    "restless, 1h, over an outage": (_RESTLESS, _BTC, _GAP, _DEAR),
    "restless, 1h, two symbols, fees in kind": (_RESTLESS, _BOTH, _HOURS, _DEAR_IN_KIND),
    "MLBasic, 1m": (_BASIC, _BTC, _MINUTES, _CHEAP, _NARROW),
    "MLEnhanced, 1m": (_ENHANCED.replace("RSI", "5m"), _BTC, _MINUTES, _CHEAP_IN_KIND, _NARROW),
    "MLPredictive, 1m": (_PREDICTIVE, _BTC, _MINUTES, _CHEAP, _NARROW),
    "restless, 1m, fees in kind": (_RESTLESS_MINUTES, _BTC, _MINUTES, _CHEAP_IN_KIND),
    "BuyAndHold, 1h (it orders once)": (_HOLD, _BTC, _HOURS, _DEAR),
    "BuyAndHold, 1m (it orders once)": (_HOLD, _BTC, _MINUTES, _CHEAP),
    "MLPredictive over paths, 1h (orders where steps are trusted)": (_PATHS, _BTC, _HOURS, _DEAR, _WIDE),
    "MLBasic with sentiment, 1h": (_BASIC.replace("basic@", "sentiment@"), _BTC, _HOURS, _DEAR, _WIDE),
}
"""Parts of a config by name; what need not order 200 times says so in its name."""

_FILES = {
    ("BTCUSDT", "1h"): "binance_spot_BTCUSDT_1h_2018_2024.csv.gz",
    ("ETHUSDT", "1h"): "binance_spot_ETHUSDT_1h_2018_2024.csv.gz",
    ("BTCUSDT", "1m"): "binance_spot_BTCUSDT_1m_2024Q1.csv.gz",
}
_SENTIMENT = "crypto_fear_greed_daily_2018_2024.csv"
_MODELS = (
    ("BTCUSDT", "1h", "basic", "direction", "risk", "autoregressive", "sentiment"),
    ("ETHUSDT", "1h", "basic"),
    ("BTCUSDT", "1m", "basic", "direction", "risk"),
)
_SPANS = {"1h": ("2021-07-01", "2023-12-31"), "1m": ("2024-01-10", "2024-02-29")}


def measure() -> list[dict[str, Any]]:
    """Return a row for each case, with what it compared; for one alone with ``PARITY_CASE="MLBasic, 1h"``."""
    only = os.environ.get("PARITY_CASE")
    cases = {name: parts for name, parts in CASES.items() if only in (None, name)}
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(os.environ.get("PARITY_HOME") or folder))
        if not home.models.exists():
            _fill(home)
        return [_case(name, parts, home) for name, parts in cases.items()]


def _fill(home: Home) -> None:
    """Import the candles and train the models, with the commands that a user has."""
    for (symbol, timeframe), name in _FILES.items():
        _bot(
            home,
            "data",
            "import",
            str(DATA / name),
            "--symbol",
            symbol,
            "--timeframe",
            timeframe,
            "--exchange",
            "binance",
        )
    _bot(home, "data", "import", str(DATA / _SENTIMENT), "--kind", "sentiment")
    for symbol, timeframe, *types in _MODELS:
        start, end = _SPANS[timeframe]
        span = ("--timeframe", timeframe, "--start-date", start, "--end-date", end, "--exchange", "binance")
        for kind in types:
            _bot(
                home,
                "train",
                "model",
                symbol,
                "--type",
                kind,
                *span,
                "--skip-robustness",
                "--skip-plots",
                "--no-promote",
            )


def _bot(home: Home, *arguments: str) -> None:
    environment = {**os.environ, "BOT_HOME": str(home.root)}
    subprocess.run([sys.executable, "-m", "bot", *arguments], check=True, capture_output=True, env=environment)


def _case(name: str, parts: tuple[str, ...], home: Home) -> dict[str, Any]:
    text = "\n".join(("name: parity", *parts, ""))
    started = time.perf_counter()
    found = run_parity(parse_config(text, str(SUPPORT / "parity.yaml")), home)
    return _row(name, found, time.perf_counter() - started)


def _row(name: str, found: ParityRun, seconds: float) -> dict[str, Any]:
    counts = {key: sum(each.counts[key] for each in found.symbols) for key in found.symbols[0].counts}
    must_trade, has_model = "(" not in name, counts["predictions"] > 0
    enough = (
        min(each.counts["orders"] for each in found.symbols) >= ORDERS and counts["stops_and_targets"] >= PROTECTIVE
    )
    trades = f", >= {ORDERS} orders a symbol, >= {PROTECTIVE} of the fills stops or targets" if must_trade else ""
    speed = f", >= {SPEED:.0f} bars/s" if has_model else ""  # the restless one sends an order every other bar
    differing = {each.symbol: each.differing for each in (*found.symbols, *found.replayed) if each.differing}
    said = (
        f"{counts['bars']:,} bars, {counts['feature_rows']:,} feature rows, {counts['predictions']:,} predictions, "
        f"{counts['decisions']:,} decisions, {counts['orders']:,} orders, {counts['fills']:,} fills, "
        f"{counts['stops_and_targets']:,} of them stops or targets, {counts['refusals']:,} refusals; differing: "
        f"{differing or 0}; {found.requests:,} requests, {found.bars_per_second:,.0f} bars/s, {seconds:.0f} s in all"
    )
    return {
        "what": f"bot parity, {name}",
        "asked": f"0 differing bars, live and after a replay of the journal{trades}{speed}",
        "measured": said,
        "ok": found.is_identical and (enough or not must_trade) and (found.bars_per_second >= SPEED or not has_model),
    }
