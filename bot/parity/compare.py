"""Two runs of the same bars, compared bit for bit: candles, features, predictions, decisions, fills and the account."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ml.candles import format_ms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["CLASSES", "Comparison", "Divergence", "compare_rows"]

CLASSES = ("data", "feature", "model", "decision", "fill", "account")
"""What a difference is about, in the order in which one follows from another."""

_IGNORED = {"timeframe", "symbol"}


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
    backtest, live : object
        Both sides.
    """

    symbol: str
    open_ms: int
    kind: str
    what: str
    backtest: Any
    live: Any

    def words(self) -> str:
        """Return it as one line."""
        return (
            f"{self.symbol} {format_ms(self.open_ms)}: {self.kind} differs in {self.what}: backtest {self.backtest!r}, "
            f"live {self.live!r}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "symbol": self.symbol,
            "time": format_ms(self.open_ms),
            "open_ms": self.open_ms,
            "class": self.kind,
            "what": self.what,
            "backtest": self.backtest,
            "live": self.live,
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


def compare_rows(symbol: str, backtest: Sequence[Mapping[str, Any]], live: Sequence[Mapping[str, Any]]) -> Comparison:
    """Compare the rows of two decision journals, as ``DecisionRow.to_dict`` gives them.

    Parameters
    ----------
    symbol
        Whose they are.
    backtest, live
        In order of time. Floats are compared by ``==``: equal numbers, to the last bit.
    """
    result = Comparison(symbol, _counts(backtest))
    ours = {int(row["open_ms"]): row for row in live}
    theirs = {int(row["open_ms"]): row for row in backtest}
    for open_ms in sorted(ours.keys() | theirs.keys()):
        one, other = theirs.get(open_ms), ours.get(open_ms)
        if one is None or other is None:
            _note(result, Divergence(symbol, open_ms, "data", "the bar", one is not None, other is not None))
            continue
        seen: set[str] = set()
        for what, left, right in _differences(one, other, ""):
            kind = _class(what)
            if kind not in seen:
                seen.add(kind)
                _note(result, Divergence(symbol, open_ms, kind, what, left, right))
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
    return [] if left == right and type(left) is type(right) else [(path, left, right)]


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


def _counts(rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
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
