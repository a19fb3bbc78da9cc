"""A bot's status as tests show it: complete by default, changed by name."""

from __future__ import annotations

from dataclasses import replace

from bot.live.status import LiveStatus, OpenOrder, RolePrediction, SymbolStatus

MORNING_MS = 1_795_165_200_000  # 2026-11-20 09:00 UTC


def symbol_status(symbol="BTCUSDT", **change):
    """Return a symbol that holds a position with stop and target."""
    whole = SymbolStatus(
        symbol=symbol,
        open_ms=MORNING_MS - 3_600_000,
        close=64_123.45,
        predictions=(
            RolePrediction("prediction", f"{symbol}/basic@latest", "2026-11-20T060000Z_1h_v1", "up", 0.5731, "ok"),
        ),
        position=0.01234,
        entry_price=63_900.1,
        stop=61_983.09,
        target=67_095.1,
        open_orders=(
            OpenOrder("sell", 0.01234, 61_983.09, "stop", "mlbot-1795165200000-2-s"),
            OpenOrder("sell", 0.01234, 67_095.1, "target", "mlbot-1795165200000-3-t"),
        ),
        cash=None,
        value=None,
        action="hold",
        reason="p_up 0.573 is above the exit of 0.45: the position stays",
    )
    return replace(whole, **change)


def live_status(**change):
    """Return a running bot with one symbol."""
    whole = LiveStatus(
        bot="ml-basic-btc",
        run_id="20261120T085900Z_ml-basic-btc_1a2b3c4d",
        mode="paper",
        exchange="sim",
        timeframe="1h",
        state="running",
        connection="connected",
        started_ms=MORNING_MS - 7_200_000,
        market_ms=MORNING_MS,
        heartbeat_ms=MORNING_MS + 1_500,
        bars=42,
        cash=9_210.37,
        value=10_001.65,
        initial_value=10_000.0,
        drawdown=0.0123,
        day_return=-0.0031,
        errors=0,
        symbols=(symbol_status(),),
        events=((MORNING_MS, "bought 0.01234 BTCUSDT at 63900.1"), (MORNING_MS + 1_000, "stop and target rest")),
    )
    return replace(whole, **change)
