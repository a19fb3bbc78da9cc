"""Making an ensemble: members that belong together become one bundle, with its judgement beside them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ml.ensembles.bundle import ENSEMBLE_FILE, PinnedMember, golden_document
from ml.ensembles.documents import ensemble_card, ensemble_metadata
from ml.ensembles.judging import Judged, compare, judge
from ml.ensembles.kinds import Kind, kind_of
from ml.ensembles.pooling import STACKING_ROWS, check_method
from ml.ensembles.rows import CommonRows, common_rows
from ml.errors import InvalidParameter
from ml.record import RECORD_FILE
from ml.tasks.catalogue import TASKS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from ml.training.gate import GateDecision
    from ml.training.plan import TrainingPlan
    from registry.model import StrategyModel
    from registry.names import ModelKey

    Progress = Callable[[float, str], None]

__all__ = ["EnsemblePredictor", "EnsembleResult", "judge_members"]


@dataclass(frozen=True, eq=False)
class EnsembleResult:
    """What the making of an ensemble came to.

    Attributes
    ----------
    files
        Every file of the bundle but the manifest, by name.
    gate
        Whether it beats every baseline, and its best member on bars that did not choose that member; and why.
    comparison
        Of ``ml.ensembles.judging.compare``: beside its members and the plain mean.
    metrics, metadata
        Content of the files of these names.
    record
        The out-of-sample record.
    """

    files: dict[str, bytes]
    gate: GateDecision
    comparison: dict[str, Any]
    metrics: dict[str, Any]
    metadata: dict[str, Any]
    record: Any


def _silent(_fraction: float, _text: str) -> None:
    """Report progress to nobody."""


class EnsemblePredictor:
    """Several registered models that answer as one.

    Parameters
    ----------
    members
        Two or more versions of the registry of one symbol, one timeframe, one horizon and one kind: all state the
        probability of a rise, or all a risk, or all a volatility.
    weights
        For ``weighted_avg``: one number of at least 0 for each member, normalised to sum to 1. None fits them.
    method
        ``weighted_avg`` (mean of the log odds; of the logarithm for volatilities), ``voting`` (majority; who has no opinion
        abstains) or ``stacking`` (logistic regression on out-of-sample log odds). Volatilities are averaged only.

    Raises
    ------
    InvalidParameter
        When members, weights or method do not belong together; the message names the member.
    """

    type_name: ClassVar[str] = "ensemble"

    def __init__(
        self, members: Sequence[StrategyModel], weights: Sequence[float] | None = None, method: str = "weighted_avg"
    ) -> None:
        self.method = check_method(method)
        self.kind = _check_members(members)
        if method not in self.kind.methods:
            raise InvalidParameter(
                f"the method {method} has no meaning for a {self.kind.name}: expected {' or '.join(self.kind.methods)}"
            )
        self.members = tuple(members)
        self.weights = _check_weights(weights, len(members), method)

    @property
    def key(self) -> ModelKey:
        """Key under which the ensemble is registered: SYMBOL/TIMEFRAME/ensemble."""
        first = self.members[0].key
        return type(first)(first.symbol, self.type_name, first.timeframe)

    @property
    def horizon(self) -> int:
        """Bars ahead that every member speaks of."""
        return int(self.members[0].metadata["horizon"])

    def build(
        self, *, at: datetime, code_version: str, name: str | None = None, progress: Progress = _silent
    ) -> EnsembleResult:
        """Judge the ensemble on the common out-of-sample rows, fit what serves, and return the files of its bundle.

        Parameters
        ----------
        at
            The moment of making, with a time zone.
        code_version
            Version of this program, for the record.
        name
            What its maker calls it, such as ``ensemble_001``.
        progress
            Told the share that is done, and with what.

        Raises
        ------
        NotEnoughBars, InvalidParameter
            When the members have no bars in common, or saw different candles.
        BrokenModel
            When a member's record cannot be read.
        """
        from ml.training.documents import json_bytes
        from ml.training.gate import decide

        progress(0.0, "records of the members")
        rows, judged, plain = judge_members(self.members, self.method, self.weights, progress=progress)
        progress(0.7, "comparison")
        comparison = compare(rows, judged, plain)
        task = TASKS[self.kind.name]
        figures = task.evaluate(judged.record)
        plan = _plan(rows, judged, self.horizon)
        gate = _verdict(decide(figures, plan, task.words), comparison)
        metrics: dict[str, Any] = {
            "schema_version": 1,
            "out_of_sample": figures,
            "gate": gate.to_dict(),
            "plan": plan.to_dict(),
            "comparison": comparison,
        }
        pins = [PinnedMember.of(member) for member in self.members]
        document = ensemble_metadata(
            self.key, self.members, pins, self.kind, judged, figures, name=name, at=at, code_version=code_version
        )
        golden = golden_document(rows.answers(slice(None)), rows.close, self.kind, judged.pool, judged.calibration)
        files = {
            ENSEMBLE_FILE: json_bytes(
                {
                    "schema_version": 1,
                    "name": name,
                    "members": [pin.to_dict() for pin in pins],
                    "given_weights": None if self.weights is None else list(self.weights),
                    "pool": judged.pool.to_dict(),
                }
            ),
            "metadata.json": json_bytes(document),
            "metrics.json": json_bytes(metrics),
            "calibration.json": json_bytes(judged.calibration.to_dict()),
            "feature_schema.json": json_bytes(_schema(self.members)),
            "golden.json": json_bytes(golden),
            RECORD_FILE: judged.record.to_parquet(),
            "README.md": ensemble_card(document, metrics, gate, judged).encode(),
        }
        progress(1.0, "done")
        return EnsembleResult(files, gate, comparison, metrics, document, judged.record)

    def note(self, judged_rows: int) -> str | None:
        """Return what the maker should know of the method on this many rows; None where all is as asked."""
        if self.method == "stacking" and judged_rows < STACKING_ROWS:
            return (
                f"stacking needs {STACKING_ROWS:,} scored bars in common, there are {judged_rows:,}: "
                "equal weights are used instead"
            )
        return None


def judge_members(
    members: Sequence[StrategyModel],
    method: str,
    weights: Sequence[float] | None = None,
    *,
    progress: Progress = _silent,
) -> tuple[CommonRows, Judged, Judged]:
    """Return the common rows of some members, their ensemble judged on them, and the mean with equal weights.

    Raises
    ------
    NotEnoughBars, InvalidParameter, BrokenModel
        See ``EnsemblePredictor.build``.
    """
    kind = kind_of(str(members[0].metadata.get("task", "direction")), str(members[0]))
    records = [kind.record.from_parquet(member.read(RECORD_FILE)) for member in members]
    rows = common_rows([str(member) for member in members], records, kind)
    horizon = int(members[0].metadata["horizon"])
    progress(0.1, "pooling block after block")
    judged = judge(rows, method, horizon=horizon, given=weights)
    progress(0.5, "the mean with equal weights")
    plain = judge(rows, "weighted_avg", horizon=horizon, given=(1.0,) * len(members))
    return rows, judged, plain


def _check_members(members: Sequence[StrategyModel]) -> Kind:
    if len(members) < 2:
        raise InvalidParameter(f"an ensemble has at least two members, got {len(members)}")
    first = members[0]
    seen: set[str] = set()
    kinds = []
    for member in members:
        if member.model_type == EnsemblePredictor.type_name:
            raise InvalidParameter(f"{member} is an ensemble itself: name its members instead")
        kinds.append(kind_of(str(member.metadata.get("task", "direction")), str(member)))
        if str(member) in seen:
            raise InvalidParameter(f"{member} is named twice: an ensemble needs different members")
        seen.add(str(member))
        for what, mine, others in (
            ("symbol", member.symbol, first.symbol),
            ("timeframe", member.timeframe, first.timeframe),
            ("kind", kinds[-1].name, kinds[0].name),
            ("horizon", member.metadata.get("horizon"), first.metadata.get("horizon")),
            ("adverse_atr", *(each.metadata.get("hyperparams", {}).get("adverse_atr") for each in (member, first))),
        ):
            if mine != others:
                unit = " bars" if what == "horizon" else ""
                raise InvalidParameter(
                    f"{first} has the {what} {others}{unit}, {member} {mine}{unit}: members of an ensemble share it"
                )
    return kinds[0]


def _schema(members: Sequence[StrategyModel]) -> dict[str, Any]:
    """Return how the members count time; the features are theirs."""
    indices = [str(member.feature_schema.get("index", "calendar")) for member in members]
    return {"schema_version": 1, "timeframe": members[0].timeframe, "index": indices[0], "features": []}


def _check_weights(weights: Sequence[float] | None, members: int, method: str) -> tuple[float, ...] | None:
    if weights is None:
        return None
    if method != "weighted_avg":
        raise InvalidParameter(f"weights belong to the method weighted_avg, not to {method}")
    if len(weights) != members:
        raise InvalidParameter(f"{len(weights)} weights for {members} members: give one for each, in their order")
    if not all(math.isfinite(w) and w >= 0 for w in weights) or not math.fsum(weights) > 0:
        raise InvalidParameter(
            f"weights are {', '.join(f'{w:g}' for w in weights)}: expected numbers of at least 0, not all 0"
        )
    total = math.fsum(weights)
    return tuple(float(w) / total for w in weights)


def _verdict(gate: GateDecision, comparison: Mapping[str, Any]) -> GateDecision:
    """Return the verdict with one more test: an ensemble that does no better than its best member is not needed."""
    from ml.training.gate import BaselineTest, GateDecision

    found, best = comparison["versus_best"], comparison["best_member"]
    error = (found["mean"] - found["lower_95"]) / 1.6448536269514722
    test = BaselineTest("best_member", found["mean"], error, found["lower_95"], found["better"])
    reason, promoted = gate.reason, gate.promoted and found["better"]
    if promoted:
        reason += f"; and it beats its best member {best} on bars that did not choose that member"
    elif gate.promoted:
        reason = (
            f"refused: it beats the baselines, but not its best member {best} by more than chance explains "
            f"({1000 * found['mean']:+.3f} thousandths of the loss a bar, at least {1000 * found['lower_95']:+.3f}, "
            f"n = {found['n']:,}): "
            "use that member"
        )
    return GateDecision(promoted, gate.n, gate.required, (*gate.tests, test), reason)


def _plan(rows: CommonRows, judged: Judged, horizon: int) -> TrainingPlan:
    """Return what the common rows allowed, in the form that the gate's advice reads."""
    from ml.training.plan import TrainingPlan

    record = judged.record
    ties = int((rows.outcome == 0).sum()) if rows.kind == "direction" else 0
    return TrainingPlan(
        bars=len(record),
        usable=len(record),
        warming=0,
        labelled=int(np.isfinite(rows.outcome).sum()) - ties,
        ties=ties,
        scored=int(record.counted.sum()),
        horizon=horizon,
        folds=max(2, int(record.fold.max()) + 1),
    )
