"""A dry run that is killed again and again: its books are what its journal says, and one life follows from the other."""

from __future__ import annotations

import random
import time
from decimal import Decimal
from pathlib import Path

import pytest
from real_time_market import CONFIG, LiveBot, real_time_exchange, write_config

from bot.live.journal import Journal
from bot.state import StateDatabase

SUPPORT = Path(__file__).resolve().parents[1] / "support"
RESTLESS = "{restless: 14, reach: 0.00005, stop_loss: 0.0002, take_profit: 0.0003}"


@pytest.mark.slow
def test_kills_at_random_moments(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(SUPPORT))
    home, draw = tmp_path / "var", random.Random(5)
    with real_time_exchange() as server:
        changes = {"BuyAndHold": f"restless_strategy:Restless\nparams: {RESTLESS}", "mode: real": "mode: paper"}
        config = write_config(tmp_path, CONFIG, URL=server.url, **changes)
        for life in range(7):
            with LiveBot(config, home) as bot:
                bot.wait_for(lambda status: status.state == "running", f"life {life}", 30)
                time.sleep(draw.uniform(0.5, 3.0))
                if life < 6:
                    bot.process.kill()
                    bot.process.wait()
                else:
                    assert bot.stop() == 0
            assert "decides otherwise" not in bot.output
    said = bot.status()
    quote, base = Decimal(10_000), Decimal(0)
    with StateDatabase(home / "state.db") as state:
        run = Journal.newest_run(state, "trial")
        traded = Journal(state, run).traded("BTCUSDT")
        assert state.rows("SELECT count(*) FROM live_runs")[0][0] == 1
    for side, trade in traded:
        sign = 1 if side == "buy" else -1
        base += sign * trade.size
        quote -= sign * trade.size * trade.price + trade.fee
    assert len(traded) > 3
    assert said.cash == pytest.approx(float(quote), abs=1e-6)
    assert said.symbols[0].position == pytest.approx(float(base), abs=1e-9)
