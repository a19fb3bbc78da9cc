"""Whether a model answers, and whether training another is called for: the rule behind ``auto_train``.

Training again on the candles that a model was just trained on, and refused, gives the same verdict: it is not called for
before there are a tenth more of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ml.candles import format_ms
from ml.expiry import first_expired

if TYPE_CHECKING:
    from ml.candles import Candles
    from ml.engine import PredictionEngine
    from registry.model import StrategyModel

__all__ = ["Usability", "answers", "refused_lately"]

_NEWS = 0.1  # share of new candles, of those that the refused model learnt from


@dataclass(frozen=True, slots=True)
class Usability:
    """What stands between a request and a prediction.

    Attributes
    ----------
    usable : bool
        False where a model should be trained first.
    answerable : bool
        Whether the champion answers for the newest candle meanwhile.
    model_type : str
        Of the champion; of what should be trained, where there is none.
    reason : str
        Why a model should be trained, or why not even that would help; empty where the champion answers.
    champion : StrategyModel or None
        What answers, or did until it expired.
    """

    usable: bool
    answerable: bool
    model_type: str
    reason: str
    champion: StrategyModel | None = None


def answers(engine: PredictionEngine, candles: Candles, most_bars: int | None = None) -> tuple[bool, str]:
    """Return whether a champion answers for the newest candle, and why there should be another; empty where not.

    Parameters
    ----------
    engine
        Of the champion.
    candles
        The newest stored ones.
    most_bars
        A training that ended more than so many candles ago is too old; None where its age does not matter.
    """
    members = getattr(engine, "members", (engine,))
    if any(first_expired(candles, each.trained_until_ms, each.expires_after_ms) < len(candles) for each in members):
        return False, f"{engine.name} has expired"
    until = engine.trained_until_ms
    if most_bars is None or until is None or not len(candles):
        return True, ""
    bars = (_newest_close(candles) - until) // candles.step_ms
    if bars <= most_bars:
        return True, ""
    return True, f"{engine.name} was trained until {format_ms(until)}, {bars:,} candles ago (at most {most_bars:,})"


def refused_lately(model: StrategyModel, candles: Candles) -> str:
    """Return that a version which was not promoted has learnt from nearly these candles; empty where it has not."""
    data = model.metadata.get("data") or {}
    end_ms, bars = data.get("end_ms"), data.get("bars")
    if not isinstance(end_ms, int) or not isinstance(bars, int) or not len(candles):
        return ""
    if _newest_close(candles) - end_ms >= _NEWS * bars * candles.step_ms:
        return ""
    return f"{model} was trained on candles until {format_ms(end_ms)} and was not promoted"


def _newest_close(candles: Candles) -> int:
    return int(candles.open_ms[-1]) + candles.step_ms
