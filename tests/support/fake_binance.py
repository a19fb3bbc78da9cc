"""A loopback server that speaks Binance's public REST protocol: time, exchangeInfo and klines, with faults to order."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import numpy as np

from ml.candles import Candles

FILTERS = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.01", "maxPrice": "1000000.00", "tickSize": "0.01000000"},
    {"filterType": "LOT_SIZE", "minQty": "0.00002", "maxQty": "9000.00", "stepSize": "0.00001000"},
    {"filterType": "NOTIONAL", "minNotional": "5.00000000", "applyMinToMarket": True, "maxNotional": "9000000.00"},
]


def market(base: str, quote: str = "USDT", status: str = "TRADING") -> dict:
    """Return one symbol of exchangeInfo."""
    return {
        "symbol": base + quote,
        "status": status,
        "baseAsset": base,
        "baseAssetPrecision": 8,
        "quoteAsset": quote,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "orderTypes": ["LIMIT", "MARKET"],
        "isSpotTradingAllowed": True,
        "isMarginTradingAllowed": False,
        "permissions": [],
        "permissionSets": [["SPOT"]],
        "filters": FILTERS,
    }


class FakeBinance:
    """What the server answers; tests change it while it runs.

    ``faults`` maps the number of a klines request (from 1) to a function of its true reply that returns
    ``(status, body)``, or that raises what the client should meet in its place.
    """

    def __init__(self, candles: Candles, now_ms: int, page: int = 1000) -> None:
        self.candles = candles
        self.now_ms = now_ms
        self.page = page
        self.markets = [market("BTC"), market("ETH"), market("LUNA", status="BREAK")]
        self.faults: dict[int, Callable[[list], tuple[int, str]]] = {}
        self.other_faults: dict[str, list[tuple[int, str]]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.klines = 0
        self.url = ""

    def answer(self, target: str) -> tuple[int, str]:
        parts = urlsplit(target)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        name = parts.path.rsplit("/", 1)[-1]
        self.requests.append((parts.path, query))
        if self.other_faults.get(name):
            return self.other_faults[name].pop(0)
        if parts.path == "/api/v3/time":
            return 200, json.dumps({"serverTime": self.now_ms})
        if parts.path == "/api/v3/exchangeInfo":
            return 200, json.dumps({"timezone": "UTC", "serverTime": self.now_ms, "symbols": self.markets})
        if parts.path == "/api/v3/klines":
            self.klines += 1
            rows = self.rows(query)
            fault = self.faults.get(self.klines)
            return fault(rows) if fault else (200, json.dumps(rows))
        return 404, "not here"

    def rows(self, query: dict[str, str]) -> list:
        c = self.candles
        limit = min(int(query.get("limit", "500")), self.page)
        first, last = int(query.get("startTime", "0")), min(int(query.get("endTime", self.now_ms)), self.now_ms)
        begin = int(np.searchsorted(c.open_ms, first))
        end = min(int(np.searchsorted(c.open_ms, last, side="right")), begin + limit)
        return [self._row(i) for i in range(begin, end)]

    def _row(self, i: int) -> list:
        c = self.candles
        time = int(c.open_ms[i])
        return [
            time,
            *(f"{getattr(c, name)[i]:.8f}" for name in ("open", "high", "low", "close", "volume")),
            time + c.step_ms - 1,
            f"{c.quote_volume[i]:.8f}",
            int(c.trades[i]),
            f"{c.taker_buy_base[i]:.8f}",
            f"{c.taker_buy_quote[i]:.8f}",
            "0",
        ]


@contextmanager
def serving(fake: FakeBinance):
    """Serve on a free port of the loopback; sets ``fake.url``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = fake.answer(self.path)
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_args: object) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
