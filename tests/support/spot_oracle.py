"""A strategy on a spot account, written out by hand: no Backtrader, nothing of the project but the numbers.

One bar after the other: what was ordered at the last close is filled at this open, the stop and the target that rest are
judged, the account is valued at the close, the limits of risk are asked, and the strategy decides.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from fractions import Fraction

HOUR_MS = 3_600_000
DAY_MS = 86_400_000


@dataclass
class Setup:
    cash: float = 10_000.0
    taker: float = 0.001
    in_kind: bool = False
    slippage: float = 0.0
    tick: str | None = "0.01"
    lot: str | None = "0.00001"
    min_notional: float | None = None
    enter: float = 0.55
    exit: float = 0.45
    needed_edge: float | None = None
    max_position: float = 1.0
    max_daily_loss: float | None = None
    max_drawdown: float | None = None
    max_losing_streak: int | None = None
    cooldown_bars: int = 0
    stop_loss: float | None = None
    take_profit: float | None = None
    headroom: float = 0.05
    on_no_model: str = "hold"
    trade_from_bar: int = 0

    @property
    def round_trip_cost(self) -> float:
        return 2 * (self.taker + self.slippage)


@dataclass
class Outcome:
    fills: list[tuple] = field(default_factory=list)  # bar, side, size, price, fee, asset, reason
    refused: list[tuple] = field(default_factory=list)  # bar, side
    cash: list[float] = field(default_factory=list)
    value: list[float] = field(default_factory=list)


def to_tick(price: float, tick: str | None, mode) -> float:
    if tick is None:
        return price
    step = Decimal(tick)
    near = {ROUND_CEILING: "-0.000000001", ROUND_FLOOR: "0.000000001", ROUND_HALF_UP: "0"}[mode]  # as for lots
    return float((Decimal(str(price)) / step + Decimal(near)).to_integral_value(mode) * step)


def to_lot(size: float, lot: str | None) -> float:
    if lot is None:
        return size
    step = Decimal(lot)
    # a billionth of a lot is what float sums lose
    return float((Decimal(str(size)) / step + Decimal("0.000000001")).to_integral_value(ROUND_FLOOR) * step)


class BasicRule:
    """What MLBasic decides at each bar; ``p_up`` holds None where there is no prediction."""

    def __init__(self, p_up, setup: Setup, edge=None):
        self.p_up, self.s, self.edge = p_up, setup, edge

    def leaves(self, bar: int) -> bool:
        p = self.p_up[bar]
        return self.s.on_no_model == "close" if p is None else p <= self.s.exit

    def enters(self, bar: int) -> bool:
        return self.p_up[bar] is not None and self.p_up[bar] >= self.s.enter

    def permits(self, bar: int) -> bool:
        needed = self.s.needed_edge
        return needed is None or (self.edge[bar] is not None and self.edge[bar] > needed)


def simulate(bars, p_up, setup: Setup, *, first_ms: int = 0, step_ms: int = HOUR_MS, edge=None, rule=None) -> Outcome:
    """Run through ``bars`` (rows of open, high, low, close) with MLBasic over ``p_up``, or with another rule."""
    out = Outcome()
    rule = rule or BasicRule(p_up, setup, edge)
    s = setup
    cash, held, dust = s.cash, 0.0, 0.0
    paid = received = 0.0  # quote that went into and came out of the current trade, fees included
    stop = target = None
    ordered = None  # ("buy" | "sell", size)
    day, day_start, peak, last_value = None, s.cash, s.cash, s.cash
    halted, streak, paused_day, exit_bar = False, 0, None, -(10**9)

    def sell(bar, size, price, reason):
        nonlocal cash, held, dust, received, stop, target, streak, paused_day, exit_bar
        fee = charged(size, price, s.taker)
        cash += size * price - fee
        out.fills.append((bar, "sell", size, price, fee, "quote", reason))
        lot = float(s.lot) if s.lot else 0.0
        rest = round(held - size, 8) if lot else held - size
        received += size * price - fee
        if rest < max(lot * (1 - 1e-9), held * 1e-12):
            if rest > held * 1e-12:
                dust = rest  # still owned: it counts at the price of the sale
                received += rest * price
            held = 0.0
        else:
            held = rest
        stop = target = None
        if held == 0.0:
            streak = streak + 1 if received < paid - 1e-12 * last_value else 0
            exit_bar = bar
            if s.max_losing_streak is not None and streak >= s.max_losing_streak:
                paused_day, streak = (first_ms + bar * step_ms) // DAY_MS, 0

    for bar, (open_, high, low, close) in enumerate(bars):
        # 1. the order of the last close, at this open
        if ordered is not None:
            side, size = ordered
            ordered = None
            if side == "buy":
                price = to_tick(open_ * (1 + s.slippage), s.tick, ROUND_CEILING)
                fee = charged(size, 1.0 if s.in_kind else price, s.taker)
                need = size * price + (0.0 if s.in_kind else fee)
                if need > cash * (1 + 1e-12):
                    out.refused.append((bar, "buy"))
                else:
                    cash = cash - need if need < cash else 0.0
                    got = size - (fee if s.in_kind else 0.0) + dust
                    paid, received, dust = need + dust * price, 0.0, 0.0
                    held = round(held + got, 8) if s.lot else held + got
                    out.fills.append((bar, "buy", size, price, fee, "base" if s.in_kind else "quote", "entry"))
                    guard = to_lot(held, s.lot)
                    if s.stop_loss is not None:
                        at = to_tick(price * (1 - s.stop_loss), s.tick, ROUND_HALF_UP)
                        stop = at if _acceptable(guard, at, s) else None
                    if s.take_profit is not None:
                        at = to_tick(price * (1 + s.take_profit), s.tick, ROUND_HALF_UP)
                        target = at if _acceptable(guard, at, s) else None
            else:
                sell(bar, size, to_tick(open_ * (1 - s.slippage), s.tick, ROUND_FLOOR), "exit")
        # 2. what rests: the open comes first, then the worst case
        if held:
            size = to_lot(held, s.lot)
            if stop is not None and open_ <= stop:
                sell(bar, size, to_tick(open_ * (1 - s.slippage), s.tick, ROUND_FLOOR), "stop")
            elif target is not None and open_ >= target:
                sell(bar, size, max(target, to_tick(open_, s.tick, ROUND_FLOOR)), "target")
            elif stop is not None and low <= stop:
                sell(bar, size, to_tick(stop * (1 - s.slippage), s.tick, ROUND_FLOOR), "stop")
            elif target is not None and high >= target:
                sell(bar, size, target, "target")
        # 3. the close
        value = cash + (held * close if held else 0.0) + (dust * close if dust else 0.0)
        if held and dust:
            raise AssertionError("dust is part of what is held")
        out.cash.append(cash)
        out.value.append(value)
        today = (first_ms + bar * step_ms) // DAY_MS
        if today != day:
            day, day_start = today, last_value
        last_value = value
        peak = max(peak, value)
        too_deep = s.max_drawdown is not None and value <= peak * (1 - s.max_drawdown)
        halted = halted or too_deep
        bad_day = s.max_daily_loss is not None and value <= day_start * (1 - s.max_daily_loss)
        # 4. the decision
        if bar < s.trade_from_bar:
            continue
        if held:
            if too_deep or bad_day or rule.leaves(bar):
                size = to_lot(held, s.lot)
                if size <= 0:
                    continue
                if not _acceptable(size, close, s):
                    out.refused.append((bar, "sell"))
                    continue
                ordered = ("sell", size)
                stop = target = None
            continue
        if not rule.enters(bar):
            continue
        if halted or bad_day or paused_day == today or bar - exit_bar < s.cooldown_bars:
            continue
        if not rule.permits(bar):
            continue
        budget = min(s.max_position * value, cash)
        if budget <= 0:
            continue
        size = to_lot(budget / (close * (1 + s.round_trip_cost / 2 + s.headroom)), s.lot)
        worst = to_tick(close * (1 + s.slippage), s.tick, ROUND_CEILING)
        need = size * worst + (0.0 if s.in_kind else charged(size, worst, s.taker))
        if not _acceptable(size, close, s) or need > cash * (1 + 1e-12):
            out.refused.append((bar, "buy"))
            continue
        ordered = ("buy", size)
    return out


def charged(size: float, price: float, taker: float) -> float:
    """Return a fee as exchanges count it: the exact product, rounded to the nearest hundred-millionth, halves up."""
    exact = Fraction(str(size)) * Fraction(str(price)) * Fraction(str(taker)) * 10**8
    return int(exact + Fraction(1, 2)) / 10**8


def _acceptable(size: float, price: float, s: Setup) -> bool:
    if size <= 0:
        return False
    return s.min_notional is None or Decimal(str(size)) * Decimal(str(price)) >= Decimal(str(s.min_notional))
