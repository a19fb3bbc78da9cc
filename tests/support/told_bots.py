"""A bot that runs and follows the champion of a model, as its rows in the state database say, and what it was told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backtest_runs import config_text
from live_statuses import live_status

from bot.config.loader import parse_config
from bot.live.control import Control
from bot.live.following import note_followers
from bot.state import StateDatabase
from bot.wall_clock import wall_ms

if TYPE_CHECKING:
    from bot.home import Home

_LONG_MS = 3_600_000  # its last word is fresh however long a training takes


def follow(home: Home, symbol: str, model_type: str = "basic", bot: str = "run") -> None:
    """Let a bot run in this process that follows the champion of a model of 1h."""
    role = f'{{model: "{{symbol}}/{model_type}@latest", follow: true}}'
    changes = {"name: run": f"name: {bot}", "[BTCUSDT]": f"[{symbol}]", '"{symbol}/basic@newest"': role}
    with StateDatabase(home.state_db) as state:
        note_followers(state, parse_config(config_text(**changes), f"{bot}.yaml"))
        Control(state, bot, wall_ms).publish(live_status(bot=bot, heartbeat_ms=wall_ms() + _LONG_MS))


def told(home: Home, bot: str = "run") -> list[dict[str, Any]]:
    """Return the arguments of the commands that wait for the bot, oldest first."""
    with StateDatabase(home.state_db) as state:
        return [command.arguments for command in Control(state, bot, wall_ms).pending()]


def new_champion(version: str, symbol: str, model_type: str, reason: str) -> dict[str, Any]:
    """Return what such a bot is told of a new champion."""
    reference = f"{symbol}/{model_type}@{version}"
    return {
        "role": "prediction",
        "model": reference,
        "versions": {symbol: reference},
        "follow": True,
        "reason": reason,
    }
