"""What a run means, in words that a newcomer understands: used by the command's output and by the report."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "beside",
    "edge_words",
    "headline",
    "lead",
    "limit_words",
    "market_words",
    "money",
    "number",
    "percent",
    "points",
    "promotion_words",
    "reached_rows",
    "refusal_words",
    "round_trip",
    "sample_words",
    "strategy_words",
    "tiles",
    "verdicts",
]

_PLANTED = re.compile(r"planted edge ([0-9.e-]+)")
_DRIFT = re.compile(r"planted path drift ([0-9.e-]+)")
_DASH = "–"
_BASELINES = {
    "direction": "a coin, the usual direction and the last sign",
    "price": "a coin, the usual direction and the last sign",
    "risk": "the usual share of adverse moves, the last outcome and the volatility rule",
    "volatility": "the two usual forecasts of volatility",
    "path": "a price that stands still and one that drifts",
}
"""What a model of each task must beat to be promoted."""


def percent(value: Any, digits: int = 1, *, signed: bool = False) -> str:
    """Return a fraction as ``12.3 %``, a dash where it is undefined."""
    if not _defined(value):
        return _DASH
    text = f"{100 * value:{'+' if signed else ''},.{digits}f} %"
    zero = f"{0:.{digits}f} %"
    return zero if text in {f"-{zero}", f"+{zero}"} else text.replace("-", "−")


def points(value: Any) -> str:
    """Return a fraction in basis points, ``30.0 bp``; one is a hundredth of a percent."""
    return (
        f"{10_000 * value + 0.0:,.1f} bp".replace("-0.0 bp", "0.0 bp").replace("-", "−") if _defined(value) else _DASH
    )


def number(value: Any, digits: int = 2) -> str:
    """Return a number with thousands separators, a dash where it is undefined."""
    if not _defined(value):
        return _DASH
    text = f"{value:,.{digits}f}"
    return f"{0:.{digits}f}" if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def money(value: Any) -> str:
    """Return an amount of the quote currency without decimals from 1,000 on."""
    return number(value, 0 if _defined(value) and abs(value) >= 1000 else 2)


def headline(document: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    """Return title, column names and rows of the table that the command prints: out of sample, beside the baselines."""
    out = document["out_of_sample"]
    span = f"{document['first'][:10]} to {document['last'][:10]}"
    title = (
        f"{document['name']}, {document['symbol']} {document['timeframe']}, {span}: {out['bars']:,} bars out of sample"
    )
    rows = [
        ["return after costs", percent(out["total_return"], signed=True), _beside_hold(out, "buy_and_hold_return")],
        ["deepest fall", percent(out["max_drawdown"]), _beside_hold(out, "buy_and_hold_max_drawdown")],
        ["Sharpe, Sortino (a year)", f"{number(out['sharpe'])}, {number(out['sortino'])}", ""],
        ["trades, won", f"{out['trades']:,}, {percent(out['win_rate'])}", f"in the market {percent(out['exposure'])}"],
        ["fees paid", money(out["fees_paid"]), f"of {money(document['initial_cash'])} at the start"],
    ]
    if out["n"]:
        interval = (
            f"{percent(out['direction_accuracy_low'])} to {percent(out['direction_accuracy_high'])}, n {out['n']:,}"
        )
        majority, last_sign = percent(out["majority_baseline"]), percent(out["last_sign_baseline"])
        baselines = f"always the usual direction {majority}, the last sign {last_sign}"
        rows += [
            ["direction right", f"{percent(out['direction_accuracy'])} ({interval})", baselines],
            ["log-loss skill", percent(out["log_loss_skill"], 2), "above 0 is better than the base rate"],
            [
                "earned per bet",
                points(out["gross_return_per_bet"]),
                f"before costs; a round trip costs {points(round_trip(document))}",
            ],
            [
                "calibration error",
                percent(out["calibration_error"]),
                f"0 is perfect; at most {percent(out['calibration_error_upper'])} with 95 % confidence",
            ],
        ]
    return title, ["out of sample", "this run", "beside it"], rows


def lead(document: Mapping[str, Any]) -> str:
    """Return the one sentence that says how it went, out of sample."""
    out = document["out_of_sample"]
    if out["bars"] < 2 or not _defined(out["total_return"]):
        return "There is nothing out of sample to report."
    days = (out["last_ms"] - out["first_ms"]) / 86_400_000
    span = f"{days:,.0f} days" if days >= 2 else f"{out['bars']:,} bars"
    gain, hold = out["total_return"], out["buy_and_hold_return"]
    if out["trades"] == 0 and abs(gain) < 1e-12:
        return (
            f"In {span} out of sample the strategy opened nothing; buying and holding would have made {_change(hold)}."
        )
    verb = "earned" if gain >= 0 else "lost"
    return (
        f"In {span} out of sample the strategy {verb} {percent(abs(gain))} after costs; "
        f"buying and holding would have made {_change(hold)}."
    )


def tiles(document: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return the large figures: name, value, what stands beside it, and ``good``, ``bad`` or nothing."""
    out = document["out_of_sample"]
    gain = out["total_return"]
    mood = "" if not _defined(gain) or abs(gain) < 1e-12 else ("good" if gain > 0 else "bad")
    traded = _defined(out["sharpe"])
    won = f"{percent(out['win_rate'], 0)} won, profit factor {number(out['profit_factor'])}"
    found = [
        ("Return after costs", percent(gain, signed=True), _beside_hold(out, "buy_and_hold_return"), mood),
        ("Deepest fall", percent(out["max_drawdown"]), _beside_hold(out, "buy_and_hold_max_drawdown"), ""),
        (
            "Sharpe ratio",
            number(out["sharpe"]),
            f"Sortino {number(out['sortino'])}, a year" if traded else "nothing held",
            "",
        ),
        ("Closed trades", f"{out['trades']:,}", won if out["trades"] else "none", ""),
    ]
    if out["n"]:
        best = max(value for value in (out["majority_baseline"], out["last_sign_baseline"]) if _defined(value))
        surely = out["direction_accuracy_low"] > best
        found += [
            (
                "Direction right",
                percent(out["direction_accuracy"]),
                f"best simple rule {percent(best)}",
                "good" if surely else "",
            ),
            (
                "Earned per bet",
                points(out["gross_return_per_bet"]),
                f"of {_bars(document['model']['horizon'])}; a round trip costs {points(round_trip(document))}",
                "",
            ),
        ]
    return found


def beside(document: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Return the rows of the table that puts out of sample, in sample and all bars side by side."""
    blocks = [document["out_of_sample"], document["in_sample"], document["all"]]
    rows: list[tuple[str, Callable[[Mapping[str, Any]], str]]] = [
        ("Bars", lambda block: f"{block['bars']:,}"),
        ("Return after costs", lambda block: percent(block["total_return"], signed=True)),
        ("Buy and hold, without costs", lambda block: percent(block["buy_and_hold_return"], signed=True)),
        ("Sharpe ratio (a year)", lambda block: number(block["sharpe"])),
        ("Sortino ratio (a year)", lambda block: number(block["sortino"])),
        ("Deepest fall", lambda block: percent(block["max_drawdown"])),
        ("Closed trades", lambda block: f"{block['trades']:,}"),
        ("Trades won", lambda block: percent(block["win_rate"])),
        ("Profit factor", lambda block: number(block["profit_factor"])),
        ("Fees paid", lambda block: money(block["fees_paid"])),
        ("Share of the account in the market", lambda block: percent(block["exposure"])),
    ]
    if document["model"] is not None:
        rows += [
            ("Predictions scored", lambda block: f"{block['n']:,}"),
            ("Direction right", _accuracy),
            ("Always the usual direction", lambda block: percent(block["majority_baseline"])),
            ("The last sign, kept or reversed", lambda block: percent(block["last_sign_baseline"])),
            ("Log-loss skill against the base rate", lambda block: percent(block["log_loss_skill"], 2, signed=True)),
            ("Calibration error", lambda block: percent(block["calibration_error"], 2)),
            ("Earned per bet, before costs", _per_bet),
            ("Break-even cost of a round trip", lambda block: points(block["break_even_cost"])),
        ]
    return [(name, [_DASH if block is None else shown(block) for block in blocks]) for name, shown in rows]


def _accuracy(block: Mapping[str, Any]) -> str:
    low, high = percent(block["direction_accuracy_low"]), percent(block["direction_accuracy_high"])
    return f"{percent(block['direction_accuracy'])} ({low} to {high})" if block["n"] else _DASH


def _per_bet(block: Mapping[str, Any]) -> str:
    low, high = points(block["gross_return_per_bet_low"]), points(block["gross_return_per_bet_high"])
    return f"{points(block['gross_return_per_bet'])} ({low} to {high})" if block["n"] else _DASH


def _bars(count: int) -> str:
    return "1 bar" if count == 1 else f"{count} bars"


def _change(value: float) -> str:
    return f"a gain of {percent(value)}" if value >= 0 else f"a loss of {percent(-value)}"


def round_trip(document: Mapping[str, Any]) -> float:
    """Return the fraction that buying and selling once costs."""
    broker = document["config"]["broker"]
    return 2.0 * (float(broker["commission"]) + float(broker["slippage"]))


def verdicts(document: Mapping[str, Any]) -> list[str]:
    """Return the sentences that must stand at the top of every report, the most important first."""
    lines = [*sample_words(document)]
    model = document["model"]
    if model is not None and model["version"] is None:
        lines.append("There is no champion for this model: every bar has status no_model and nothing was opened.")
    lines += champion_words(document)
    lines += promotion_words(document)
    lines += market_words(document)
    lines += strategy_words(document)
    lines += edge_words(document)
    lines += limit_words(document)
    lines += refusal_words(document)
    return lines


def champion_words(document: Mapping[str, Any]) -> list[str]:
    """Say which models changed during the run."""
    lines = []
    for role, model in document["models"].items():
        spans = model.get("versions", [])
        count = len({span["version"] for span in spans} - {None})
        if not count:
            continue
        absent = sum(span["bars"] for span in spans if span["version"] is None)
        text = f"The role {role} was played at each bar by the version that was champion when it closed"
        told = "one version" if count == 1 else f"{count} versions"
        lines.append(f"{text}: {told}" + (f", and none for {absent:,} bars." if absent else "."))
    return lines


def promotion_words(document: Mapping[str, Any]) -> list[str]:
    """Say which of the models were not promoted, and what is not established of them."""
    lines = []
    for role, model in document["models"].items():
        if model["version"] is None or model["promoted"]:
            continue
        which = model["version"] if role == next(iter(document["models"])) else f"{model['version']} ({role})"
        beaten = _BASELINES.get(model["task"], _BASELINES["direction"])
        lines.append(
            f"The model {which} was NOT promoted: that it beats {beaten} is not established. Take this run as an experiment."
        )
    return lines


def refusal_words(document: Mapping[str, Any]) -> list[str]:
    """Say that orders were refused: a run that lacks them is not the strategy that was written."""
    refused = document["orders_refused"]
    if not refused:
        return []
    what = "One order was" if refused == 1 else f"{refused:,} orders were"
    text = (
        f"{what} refused; orders.csv says why. Where the open was too far above the close for the cash, our strategies "
        "need a larger params.headroom."
    )
    return [text]


def limit_words(document: Mapping[str, Any]) -> list[str]:
    """Say that the account was stopped for good, where it was."""
    blocked = document["decisions"].get("blocked_by_max_drawdown", 0)
    limit = document["config"]["risk"]["max_drawdown"]
    if not blocked or limit is None:
        return []
    text = (
        f"The account fell by the limit max_drawdown of {percent(limit, 0)}, which closes it for good: at {blocked:,} bars "
        "after that the strategy wanted to open a position and could not."
    )
    return [text]


def sample_words(document: Mapping[str, Any]) -> list[str]:
    """Say what of the run is evidence."""
    seen, bars = document["in_sample_bars"], document["bars"]
    if seen == 0:
        return []
    if any("versions" in model for model in document["models"].values()):
        text = (
            f"{seen:,} of {bars:,} bars stand apart and are in none of the headline's figures: the version that was champion "
            "at the last of them had seen it in its training."
        )
        return [text]
    ends = [model["trained_until"] for model in document["models"].values() if model["version"] is not None]
    until = max(ends)[:16].replace("T", " ")
    if seen >= bars:
        text = (
            f"All {bars:,} bars were in the model's training data (until {until} UTC): nothing here is evidence. "
            "Train up to an earlier day (--end-date), or backtest a later time."
        )
    else:
        text = (
            f"{seen:,} of {bars:,} bars lie before {until} UTC, the end of the model's training data: they stand apart "
            "and are in none of the headline's figures."
        )
    return [text]


def market_words(document: Mapping[str, Any]) -> list[str]:
    """Say what the built-in market is, where it was used."""
    origin = document["data"]["origin"] or ""
    planted, drift = _PLANTED.search(origin), _DRIFT.search(origin)
    if not planted:
        return []
    found = [f"edge of {planted[1]}"] if float(planted[1]) else []
    found += [f"lasting drift of {drift[1]}"] if drift else []
    if not found:
        return ["The candles are the built-in market without an edge: whatever was earned here is luck."]
    text = (
        f"The candles are the built-in market with a PLANTED {' and a '.join(found)}: the profit was put there to be found. "
        "Real markets are not so kind."
    )
    return [text]


def strategy_words(document: Mapping[str, Any]) -> list[str]:
    """Return what the strategy itself has to say of the run: how many bars reached its thresholds, in sample or not."""
    notes = document["strategy"].get("notes")
    lines = [str(note) for note in notes] if isinstance(notes, list) else []
    known = document["in_sample_bars"]
    if lines and known:
        lines.append(f"The strategy counts all bars that may trade, the {known:,} in sample among them.")
    return lines


def reached_rows(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Return the rows of the table of thresholds: what was asked, how many bars reached it, and their share."""
    rows = document["strategy"].get("reached")
    if not isinstance(rows, list):
        return []
    return [
        (
            str(row["what"]),
            f"{row['bars']:,} of {row['of']:,}",
            percent(row["bars"] / row["of"], 2) if row["of"] else _DASH,
        )
        for row in rows
        if isinstance(row, dict) and {"what", "bars", "of"} <= row.keys()
    ]


def edge_words(document: Mapping[str, Any]) -> list[str]:
    """Say what ``min_edge`` needed, what was there, and what follows."""
    edge = document["min_edge"]
    if edge is None:
        return []
    record = edge["record"]
    bars = document["out_of_sample"]["bars"]
    wanting, reaching = edge["bars_wanting_in"], edge["bars_reaching"]
    enter = record["enter"]
    if not record["holdings"]:
        earned = "the model's record holds no position like these, so it shows nothing"
    else:
        earned = (
            f"in its own out-of-sample record the model earned {points(record['mean'])} per holding on average "
            f"(at least {points(record['lower'])} with 95 % confidence, {record['holdings']:,} holdings)"
        )
    counted = (
        f"a rise had a probability of {100 * enter:.4g} % or more at {wanting:,} of {bars:,} bars; {reaching:,} of them "
        "reached what is needed"
    )
    line = f"min_edge: a position needs more than {points(edge['needed'])}; {earned}; {counted}."
    idle = document["out_of_sample"]["trades"] == 0
    if wanting == 0 and idle:
        line += " So nothing was opened: no prediction was that sure, whatever the costs."
    elif reaching == 0 and idle:
        line += (
            " So nothing was opened: these predictions do not pay for their costs (min_edge: none trades all the same)."
        )
    return [line]


def _beside_hold(figures: Mapping[str, Any], name: str) -> str:
    return f"buy and hold {percent(figures[name], signed=name.endswith('return'))}"


def _defined(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)
