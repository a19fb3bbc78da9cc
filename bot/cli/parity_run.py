"""What ``bot parity --run`` prints: the verdict of the replay, slippage order by order, and the backtest beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bot.cli.parity import print_comparisons
from ml.candles import format_ms

if TYPE_CHECKING:
    from bot.cli.output import Report
    from bot.parity.check import RunCheck
    from bot.parity.slippage import OrderOutcome

__all__ = ["print_run_check"]

_MOST_ORDERS = 20


def print_run_check(report: Report, check: RunCheck) -> None:
    """Print what was found of a recorded run."""
    replay = check.replay
    run = replay.run
    verdict = "every recorded decision came again" if replay.is_identical else "NOT identical"
    title = (
        f"{run.bot}, run {run.run_id[:8]} ({run.mode} on {run.exchange}, begun {format_ms(run.started_ms)}): {verdict}"
    )
    print_comparisons(report, title, replay.symbols)
    for note in replay.notes:
        report.line(f"note: {note}")
    if replay.unwritten:
        report.line(
            f"note: {replay.unwritten} bars at the end have no written decision: the bot was stopped before it was written"
        )
    _print_slippage(report, check)
    for symbol, beside in check.backtests.items():
        report.line(
            f"{symbol}, plain backtest over these bars: {beside.both:,} orders in both, {beside.missed:,} in the backtest "
            f"only, {beside.added:,} live only; value {_number(beside.backtest_value)}, live {_number(beside.live_value)}"
        )
        if beside.comparison.first is not None:
            report.line(
                f"  first difference from it (legitimate where the exchange filled otherwise): "
                f"{beside.comparison.first.words()}"
            )


def _print_slippage(report: Report, check: RunCheck) -> None:
    found = check.slippage
    worst = sorted(found.traded, key=lambda order: -(order.beyond or 0.0))[:_MOST_ORDERS]
    if worst:
        of = f", the worst {len(worst)} of {len(found.traded):,}" if len(worst) < len(found.traded) else ""
        report.table(
            f"slippage by order, worse is positive{of}",
            [
                "decided",
                "symbol",
                "order",
                "executed",
                "price",
                "market",
                "backtest",
                "slippage bp",
                "beyond backtest bp",
            ],
            [_cells(order) for order in worst],
        )
    sums = found.to_dict()
    if found.traded:
        report.line(
            f"slippage in total: {sums['slippage_quote']:,.8g} quote currency, {_number(sums['slippage_bp'])} bp of what was "
            f"traded (worst order {_number(sums['worst_slippage_bp'])} bp); beyond the backtest's: "
            f"{sums['beyond_quote']:,.8g}, {_number(sums['beyond_bp'])} bp (worst {_number(sums['worst_beyond_bp'])} bp)"
        )
    if sums["late"] or sums["partly_traded"] or sums["by_command"]:
        report.line(
            f"orders filled late: {sums['late']}, in part only: {sums['partly_traded']}, placed by command: "
            f"{sums['by_command']}"
        )
    for reason, count in sums["not_traded"].items():
        report.line(f"not traded: {count} orders, {reason}")


def _cells(order: OrderOutcome) -> list[str]:
    plain = order.to_dict()
    return [
        format_ms(order.decided_ms),
        order.symbol,
        f"{order.side} {order.role} ({order.kind})",
        f"{order.executed:.10g}",
        f"{order.price:,.10g}",
        f"{order.reference:,.10g}",
        f"{order.expected:,.10g}",
        f"{plain['slippage_bp']:+.3f}",
        f"{plain['beyond_bp']:+.3f}",
    ]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.4f}"
