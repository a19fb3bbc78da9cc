"""Two runs of the same bars, compared bit for bit: candles, features, predictions, decisions, fills and the account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CLASSES", "Comparison", "Divergence", "compare_rows", "count_rows"]

CLASSES = ("data", "feature", "model", "fill", "decision", "account")
"""What a difference is about, in the order in which one follows from another: fills are booked before the close decides."""

_IGNORED = {"timeframe", "symbol", "refusals"}
_SIDES = ("backtest", "live")
_SHORT_AT_THE_FILL = ("not enough cash at the fill", "the exchange refused: ")
"""How both sides say that the next open had become too dear for an order: the one by its books, the other by its account."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first difference between two runs.

    Attributes
    ----------
    symbol : str
    open_ms : int
        Open time of its bar, milliseconds UTC.
    kind : str
        One of `CLASSES`.
    what : str
        Which value, such as ``predictions.prediction.values.p_up``.
    left, right : object
        Both sides; None where one has nothing.
    sides : tuple of 2 str
        What the sides are.
    """

    symbol: str
    open_ms: int
    kind: str
    what: str
    left: Any
    right: Any
    sides: tuple[str, str] = _SIDES

    def words(self) -> str:
        """Return it as one line."""
        return (
            f"{self.symbol} {format_ms(self.open_ms)}: {self.kind} differs in {self.what}: "
            f"{self.sides[0]} {self.left!r}, {self.sides[1]} {self.right!r}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "symbol": self.symbol,
            "time": format_ms(self.open_ms),
            "open_ms": self.open_ms,
            "class": self.kind,
            "what": self.what,
            self.sides[0]: self.left,
            self.sides[1]: self.right,
        }


@dataclass(slots=True)
class Comparison:
    """What was compared of one symbol, and what differed.

    Attributes
    ----------
    symbol : str
    counts : dict
        Bars, predictions, feature rows, decisions, orders, fills, stops and targets, refusals.
    differing : dict
        How many bars differ, by class.
    first : Divergence or None
    """

    symbol: str
    counts: dict[str, int]
    differing: dict[str, int] = field(default_factory=dict)
    first: Divergence | None = None

    @property
    def is_identical(self) -> bool:
        """Whether nothing differs."""
        return self.first is None

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "identical": self.is_identical,
            "counts": self.counts,
            "differing_bars": self.differing,
            "first": None if self.first is None else self.first.to_dict(),
        }


def compare_rows(
    symbol: str,
    left: Sequence[Mapping[str, Any]],
    right: Sequence[Mapping[str, Any]],
    sides: tuple[str, str] = _SIDES,
) -> Comparison:
    """Compare the rows of two decision journals, as ``DecisionRow.to_dict`` gives them.

    Parameters
    ----------
    symbol
        Whose they are.
    left, right
        In order of time. Floats are compared by ``==``: equal numbers, to the last bit.
    sides
        What they are, for the messages.
    """
    result = Comparison(symbol, count_rows(left))
    ours = {int(row["open_ms"]): row for row in left}
    theirs = {int(row["open_ms"]): row for row in right}
    for open_ms in sorted(ours.keys() | theirs.keys()):
        one, other = ours.get(open_ms), theirs.get(open_ms)
        if one is None or other is None:
            mine, yours = (None if row is None else "a bar" for row in (one, other))
            _note(result, Divergence(symbol, open_ms, "data", "what there is", mine, yours, sides))
            continue
        seen: set[str] = set()
        for what, mine, yours in [*_differences(one, other, ""), *_refusals(one, other)]:
            kind = _class(what)
            if kind not in seen:
                seen.add(kind)
                _note(result, Divergence(symbol, open_ms, kind, what, mine, yours, sides))
    return result


def _note(result: Comparison, found: Divergence) -> None:
    result.differing[found.kind] = result.differing.get(found.kind, 0) + 1
    first = result.first
    earlier = first is None or (found.open_ms, CLASSES.index(found.kind)) < (first.open_ms, CLASSES.index(first.kind))
    if earlier:
        result.first = found


def _differences(left: Any, right: Any, path: str) -> list[tuple[str, Any, Any]]:
    if isinstance(left, dict) and isinstance(right, dict):
        names = [*left, *(name for name in right if name not in left)]
        return [
            found
            for name in names
            if name not in _IGNORED
            for found in _differences(left.get(name), right.get(name), f"{path}.{name}" if path else name)
        ]
    if isinstance(left, list) and isinstance(right, list):
        if len(left) != len(right):
            return [(f"{path} (how many)", left, right)]
        pairs = enumerate(zip(left, right, strict=True))
        return [found for place, (one, other) in pairs for found in _differences(one, other, f"{path}[{place}]")]
    same = left == right and isinstance(left, bool) == isinstance(right, bool)
    return [] if same else [(path, left, right)]


def _refusals(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Compare what was refused between two closes; what is refused at a close stands with its orders."""
    one, other = _late_refusals(left), _late_refusals(right)
    if len(one) == len(other):
        one = [
            {**mine, "reason": yours["reason"]} if _say_the_same(mine["reason"], yours["reason"]) else mine
            for mine, yours in zip(one, other, strict=True)
        ]
    return _differences(one, other, "refusals")


def _late_refusals(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    told = {order["number"] for order in row["orders"] if order["refused"]}
    return [refusal for refusal in row["refusals"] if refusal["order_ref"] not in told]


def _say_the_same(left: str, right: str) -> bool:
    """Tell whether both say that there was too little cash at the fill."""
    ours, theirs = _SHORT_AT_THE_FILL
    return any(
        one.startswith(ours) and other.startswith(theirs) and "insufficient balance" in other
        for one, other in ((left, right), (right, left))
    )


def _class(what: str) -> str:
    """Return what a difference is about."""
    head, _, rest = what.partition(".")
    if head in {"candle", "open_ms"}:
        return "data"
    if head.startswith("predictions"):
        return "feature" if rest.endswith((".fingerprint", ".features")) else "model"
    if head.startswith(("decision", "orders")):
        return "decision"
    if head.startswith(("fills", "refusals")):
        return "fill"
    return "account"


def count_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Return how much of what the rows hold: what a proof compared."""
    predictions = [said for row in rows for said in row["predictions"].values()]
    fills = [fill for row in rows for fill in row["fills"]]
    return {
        "bars": len(rows),
        "feature_rows": sum(bool(said["features"]) for said in predictions),
        "predictions": sum(said["status"] == "ok" for said in predictions),
        "decisions": sum(row["decision"] is not None for row in rows),
        "orders": sum(not order["refused"] for row in rows for order in row["orders"]),
        "fills": len(fills),
        "stops_and_targets": sum(fill["reason"] in {"stop", "target"} for fill in fills),
        "refusals": sum(len(row["refusals"]) for row in rows),
    }
