"""A row of the decision journal in words, for a person. Rows are plain data, as ``DecisionRow.to_dict`` gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.candles import format_ms
from ml.predictions import Status
from registry.names import timeframe_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["action_words", "gate_cells", "prediction_words", "reason_words", "row_lines"]

_ACTIONS = {
    "enter": "ordered to buy",
    "leave": "ordered to sell",
    "hold": "kept the position",
    "wait": "stayed out",
}
_REFUSED = "refused_by_broker"
_REASONS = {
    "signal": "every gate agreed",
    "no_entry_signal": "no signal to open",
    "no_exit_signal": "no signal to close",
    "order_pending": "an order was open already, and there is one at a time",
    "no_prediction": "there was no prediction; on_no_model is hold",
    "no_model": "there was no prediction; on_no_model is close",
    "before_start": "the bar comes before the first that may trade",
    "minimum_period": "an indicator of the strategy had not enough bars yet",
    "kept_until_a_new_peak": "the peak was due, but the forecast would have opened anew: kept until its new peak",
    "overbought": "the RSI was overbought, and the model said a fall",
    "down": "the model said a fall, surely enough to close whatever the RSI",
    "path": "the forecast expected too little from here on",
    "confidence": "a rise had become too improbable",
    "peak": "the peak of the forecast at the entry was reached",
    "max_drawdown": "the drawdown reached its limit",
    "max_daily_loss": "the loss of the day reached its limit",
    "blocked_by_no_prediction": "there was no prediction",
    "blocked_by_min_edge": "the model's record did not earn enough with predictions like this one",
    "blocked_by_cash": "there was no money to spend",
    "blocked_by_lot": "what is held is less than one lot can sell",
    "blocked_by_max_drawdown": "the drawdown had reached its limit, which ends trading for good",
    "blocked_by_max_daily_loss": "the loss of the day had reached its limit",
    "blocked_by_max_losing_streak": "too many trades in a row had lost: paused until the next UTC day",
    "blocked_by_cooldown_bars": "the last exit was too short ago",
    "blocked_by_direction": "the model did not confirm the RSI",
    "blocked_by_risk": "the risk score was too high",
    "blocked_by_no_trusted_step": "no step of the path may be trusted",
    "blocked_by_predicted_return": "the predicted return was too small",
    "blocked_by_confidence": "a rise was not probable enough",
}
_SIGNAL_TO_CLOSE = "the model's signal to close"
_GATES = {
    "status": "prediction",
    "risk_status": "prediction of the risk",
    "p_up": "probability of a rise",
    "p_down": "probability of a fall, RSI overbought",
    "p_down_alone": "probability of a fall",
    "predicted_return": "predicted return",
    "trusted_step": "step of the peak",
    "bars_to_peak": "bars to the peak",
    "rsi": "RSI",
    "risk": "risk score",
    "drawdown": "drawdown",
    "daily_loss": "loss of the day",
    "losing_streak": "losing trades in a row",
    "bars_since_exit": "bars since the last exit",
    "edge": "record of such predictions, lower bound",
    "budget": "money to spend",
    "sellable": "what whole lots can sell",
    "times_held": "times held before",
}
_SHARES = {"p_up", "p_down", "p_down_alone", "predicted_return", "drawdown", "daily_loss", "edge"}
_LABEL = 12


def action_words(action: str) -> str:
    """Return what was done at the close, in the past tense."""
    return _ACTIONS.get(action, action)


def reason_words(action: str, reason: str) -> str:
    """Return why, in plain words; a code that is not ours is written with spaces."""
    code, _, text = reason.partition(": ")
    if code == _REFUSED:
        return f"the broker refused the order{f': {text}' if text else ''}"
    if (action, reason) == ("leave", "signal"):
        return _SIGNAL_TO_CLOSE
    return _REASONS.get(reason, reason.replace("_", " "))


def gate_cells(gate: Mapping[str, Any]) -> tuple[str, str, str]:
    """Return the verdict (``ok``, ``no``, or ``-`` where nobody asked), what was looked at, and value against threshold."""
    name, passed = str(gate["name"]), gate["passed"]
    mark = "-" if passed is None else "ok" if passed else "no"
    words = _GATES.get(name, name.replace("_", " "))
    if name.endswith("status"):
        code = gate["value"]
        return mark, words, "none" if code is None else Status(int(code)).label.replace("_", " ")
    value, threshold = gate["value"], gate["threshold"]
    texts: list[str] = []
    for digits in (6, 10, 13, 17):  # as many as it takes to tell them apart
        texts = [_figure(name, number, digits) for number in (value, threshold)]
        if texts[0] != texts[1] or value == threshold:
            break
    return mark, words, f"{texts[0]} {gate['rule']} {texts[1]}"


def prediction_words(said: Mapping[str, Any]) -> str:
    """Return what a model said of a bar, or why it said nothing."""
    if said["status"] != "ok":
        return f"none ({str(said['status']).replace('_', ' ')})"
    values, path = said["values"], said.get("path") or {}
    parts = []
    if values["direction"] is not None:
        parts.append("up" if values["direction"] > 0 else "down")
    if values["confidence"] is not None:
        parts.append(f"confidence {_share(values['confidence'])}")
    if values["p_up"] is not None:
        parts.append(f"probability of a rise {_share(values['p_up'])}")
    if values["expected_return"] is not None:
        parts.append(f"expected return {100 * values['expected_return']:+.3f} %")
    if values["price"] is not None:
        parts.append(f"price {_number(values['price'])}")
    if values["low"] is not None and values["high"] is not None:
        parts.append(f"in 9 of 10 cases {_number(values['low'])} to {_number(values['high'])}")
    if values["risk"] is not None:
        parts.append(f"risk {values['risk']:.1f} of 100")
    if values["volatility"] is not None:
        parts.append(f"volatility {100 * values['volatility']:.3f} %")
    if path.get("peak_return") is not None:
        parts.append(
            f"peak of the path {100 * path['peak_return']:+.3f} % after {path['peak_step']:.0f} bars, confidence "
            f"{_share(path['peak_confidence'])}"
        )
    elif path:
        parts.append("no step of the path is trusted")
    return ", ".join(parts) or "ok"


def row_lines(row: Mapping[str, Any]) -> list[str]:
    """Return a row as lines: candle, predictions, decision, gates, orders and account."""
    candle, opened = row["candle"], int(row["open_ms"])
    closed = format_ms(opened + timeframe_ms(row["timeframe"]))
    figures = ", ".join(f"{name} {_number(candle[name])}" for name in ("open", "high", "low", "close", "volume"))
    lines = [f"{row['symbol']} {row['timeframe']}, bar of {format_ms(opened)}, decided at its close {closed}"]
    lines.append(_line("candle", figures))
    for role, said in row["predictions"].items():
        lines.append(_line(role, prediction_words(said)))
        lines.append(_line("", f"by {said['model']}{'' if not said['digest'] else ', digest ' + said['digest'][:16]}"))
        if said["fingerprint"]:
            lines.append(_line("", f"from candles {said['fingerprint'][:16]}, features {said['features'][:16]}"))
    if row.get("in_sample"):
        lines.append(_line("", "in sample: a model or its labels saw this bar in training, so it is no forecast"))
    lines += _decision(row["decision"])
    lines += _orders(row)
    lines.append(
        _line("account", f"{_number(row['position'])} held, cash {_number(row['cash'])}, value {_number(row['value'])}")
    )
    return lines


def _decision(decision: Mapping[str, Any] | None) -> list[str]:
    if decision is None:
        return [_line("decision", "a strategy of your own does not tell: a subclass of MLStrategy does")]
    action, reason = decision["action"], decision["reason"]
    refused = reason.startswith(_REFUSED)
    done = {"enter": "wanted to buy", "leave": "wanted to sell"}[action] if refused else action_words(action)
    lines = [_line("decision", f"{done}: {reason_words(action, reason)} ({reason.partition(': ')[0]})")]
    cells = [gate_cells(gate) for gate in decision["gates"]]
    width = max((len(words) for _, words, _ in cells), default=0)
    title = "to open" if action in {"enter", "wait"} else "to stay"
    for number, (mark, words, figures) in enumerate(cells):
        lines.append(_line(title if not number else "", f"{mark:<3}{words:<{width}}  {figures}"))
    return lines


def _orders(row: Mapping[str, Any]) -> list[str]:
    """Return what was ordered at this close, and what was filled or refused since the close before."""
    lines = []
    for order in row["orders"]:
        parts = [f"#{order['number']} {order['side']} {_number(order['size'])} at {_at(order)}"]
        parts += [f"{word} {_share(order[name])}" for name, word in _GUARDS.items() if order[name] is not None]
        parts += [f"refused: {order['refused']}"] if order["refused"] else []
        lines.append(_line("ordered", ", ".join(parts)))
    lines = lines or [_line("ordered", "nothing")]
    for fill in row["fills"]:
        asset = "" if fill["fee_asset"] == "quote" else f" {fill['fee_asset']}"
        text = (
            f"#{fill['order_ref']} {fill['side']} {_number(fill['size'])} at {_number(fill['price'])}, fee "
            f"{_number(fill['fee'])}{asset} ({fill['reason']})"
        )
        lines.append(_line("filled", f"{text}, in this bar"))
    told = {order["number"] for order in row["orders"] if order["refused"]}
    for refusal in row["refusals"]:
        if refusal["order_ref"] not in told:
            size = _number(refusal["size"])
            text = f"#{refusal['order_ref']} {refusal['side']} {size}, in this bar: {refusal['reason']}"
            lines.append(_line("refused", text))
    return lines


_GUARDS = {"stop_loss": "stop below by", "take_profit": "target above by"}


def _at(order: Mapping[str, Any]) -> str:
    """Return the kind of an order with its prices."""
    if order["kind"] == "market":
        return "the next open"
    prices = [_number(price) for price in (order["price"], order["limit"]) if price is not None]
    return " ".join([order["kind"], *prices])


def _line(label: str, text: str) -> str:
    return f"  {label:<{_LABEL}}{text}".rstrip()


def _figure(name: str, value: float | None, digits: int) -> str:
    """Return a number of a gate, shares in percent."""
    if value is None:
        return "none"
    if digits > 15:
        return f"{100 * value!r} %" if name in _SHARES else repr(value)
    return f"{100 * value:.{digits}g} %" if name in _SHARES else f"{value:,.{max(digits, 10)}g}"


def _share(value: float) -> str:
    return f"{100 * value:.4g} %"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:,.10g}"
