"""How the store waits: for candles, for certainty about orders, for the end."""

from __future__ import annotations

from dataclasses import dataclass, field

from bot.live.desk import DeskSettings

__all__ = ["StoreSettings"]


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """How the store waits.

    Attributes
    ----------
    poll_s : float
        Pause between two questions for the next candle once it is due.
    follows_wall : bool
        Whether candles close by this computer's clock (corrected by the exchange's): then nothing is asked before one is due.
    gap_s : float
        How long a missing candle is asked for again before its absence counts as a fact of the market.
    silence_s : float
        After how long without a bar that is due the connection counts as broken.
    sync_s : float
        How often open orders are looked at between two bars; 0 for only at each bar.
    stop_s : float
        How long, once asked to stop, to see through what was decided before; the next start looks up what is left.
    desk : DeskSettings
        How long to wait for certainty about orders.
    trades : bool
        False where orders are simulated: the exchange is never asked for them.
    """

    poll_s: float = 0.5
    follows_wall: bool = True
    gap_s: float = 60.0
    silence_s: float = 120.0
    sync_s: float = 5.0
    stop_s: float = 5.0
    desk: DeskSettings = field(default_factory=DeskSettings)
    trades: bool = True
