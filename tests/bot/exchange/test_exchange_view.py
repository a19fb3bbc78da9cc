"""What ``bot exchange serve`` draws on a terminal of 80 columns: every line fits, and the most important is there."""

from __future__ import annotations

import io
import logging
import sys
from decimal import Decimal

import pytest
import rich.console
from real_time_market import real_time_exchange

from bot.broker.fees import FeeSchedule
from bot.cli.exchange_view import ExchangeView
from bot.exchange.orders import OrderRequest

NAMES = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "AVAXUSDT", "LINKUSDT")
CLIENT_ID = "x" * 36


@pytest.fixture
def screen(monkeypatch):
    """A terminal of 80 columns and 24 lines in the place of stderr, which remembers what was drawn."""
    made = []
    plain = rich.console.Console

    def console(**_options):
        made.append(plain(record=True, width=80, height=24, file=io.StringIO(), force_terminal=True))
        return made[-1]

    monkeypatch.setattr(rich.console, "Console", console)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    return made


def drawn(screen) -> list[str]:
    return screen[0].export_text(clear=False).splitlines()


def bought(venue, *names: str, client_id: str = CLIENT_ID) -> None:
    for name in names:
        venue.exchange.place(
            OrderRequest(symbol=name, side="BUY", kind="MARKET", quantity=Decimal("0.01234"), client_id=client_id)
        )


def test_every_line_fits(screen):
    venue = real_time_exchange(NAMES, fees=FeeSchedule(0.00137)).venue
    with ExchangeView(venue, quiet=False) as view:
        view.start()
        bought(venue, *NAMES)
        venue.faults.counts["status"] = 3
        logging.getLogger("bot.exchange").warning("no such endpoint here: %s", " ".join(["GET /api/v3/nothing"] * 5))
        view.update()
        lines = drawn(screen)
    assert max(map(len, lines)) <= 80
    assert sum("buy 0.01234" in line for line in lines) == 2 * len(NAMES)  # new, and traded
    (state,) = [line for line in lines if line.startswith("market ")]
    assert "BTCUSDT" in state
    assert "0 open" in state
    assert " USDT" in state
    assert state.endswith("…  3 faults")
    assert "".join(lines).count("/api/v3/nothing") == 5  # a warning is wrapped, never cut


def test_a_line_without_a_limit_tells_more():
    venue = real_time_exchange(NAMES).venue
    view = ExchangeView(venue, quiet=True)
    assert [view.status().count(name) for name in NAMES] == [1, 1, 1, 0, 0]
    for width in range(60, 140):
        assert len(view.status(width)) <= width
    assert view.status(60).startswith(view.status()[: len("market 2026-01-01T00:00:00Z")])
    assert view.status(140) == view.status()


def test_the_id_of_an_order_is_told_where_there_is_room(screen):
    venue = real_time_exchange().venue
    with ExchangeView(venue, quiet=False) as view:
        view.start()
        bought(venue, "BTCUSDT", client_id="short")
        bought(venue, "BTCUSDT", client_id=CLIENT_ID)
    lines = [line for line in drawn(screen) if "buy 0.01234" in line]
    assert [line.endswith("  short") for line in lines] == [True, True, False, False]
    assert not any(CLIENT_ID in line for line in lines)
