"""What differs between ensembles of directions, risks and volatilities: what members say, how it is pooled and published."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ml.ensembles.pooling import METHODS, Pool, fit_pool
from ml.ensembles.publishing import PoolCalibration, fit_pool_calibration
from ml.errors import BrokenModel, InvalidParameter
from ml.evaluation import log_loss
from ml.record import OutOfSample, RiskRecord, VolatilityRecord
from ml.risk_publisher import RiskPublisher, fit_risk
from ml.tasks.catalogue import TASKS
from ml.tasks.risk_figures import RISK_BASELINES
from ml.tasks.volatility_figures import VOLATILITY_BASELINES, qlike
from ml.volatility_publisher import VolatilityPublisher, fit_volatility

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from ml.ensembles.rows import CommonRows

    Floats = npt.NDArray[np.float64]
    Integers = npt.NDArray[np.int64]
    Flags = npt.NDArray[np.bool_]
    Answers = tuple[Floats, Floats, Floats, Floats]

__all__ = ["KINDS", "DirectionKind", "Frozen", "Kind", "RiskKind", "kind_of", "read_frozen_numbers"]

_SMALLEST = 1e-6

Frozen = PoolCalibration | RiskPublisher | VolatilityPublisher
"""The published numbers of an ensemble, ``calibration.json``."""


class Kind(Protocol):
    """One kind of question that an ensemble answers.

    Attributes
    ----------
    name
        The task whose words and figures are used.
    tasks
        Tasks of members.
    methods
        Of `ml.ensembles.pooling.METHODS`, those that make sense.
    record
        Class of the members' and the ensemble's out-of-sample record.
    stated, outcome
        Columns of the record: what was said, and what came of it.
    baselines
        Columns of the record that hold what the baselines said.
    columns
        Positions in ``PREDICTION_COLUMNS`` of what a member says, its log return and the ends of its band.
    """

    name: ClassVar[str]
    tasks: ClassVar[tuple[str, ...]]
    methods: ClassVar[tuple[str, ...]]
    record: ClassVar[type[Any]]
    stated: ClassVar[str]
    outcome: ClassVar[str]
    baselines: ClassVar[tuple[str, ...]]
    columns: ClassVar[tuple[int, ...]]

    def centre(self, rows: CommonRows, position: int) -> float:
        """Return the log odds of no opinion at a position of the rows."""
        ...

    def fit_pool(
        self, method: str, rows: CommonRows, past: Integers, centres: Floats, given: Sequence[float] | None
    ) -> Pool:
        """Fit the combination on the rows at ``past``; ``centres`` holds the centre that each row was pooled with."""
        ...

    def pool(self, pool: Pool, answers: Answers, centre: float, horizon: int) -> Floats:
        """Return what was pooled, float64 (n, 4), of what members said, log returns and ends of bands, each (n, K)."""
        ...

    def fit(
        self, pooled: Floats, rows: CommonRows, past: Integers, centre: float, *, horizon: int, learnt: bool
    ) -> Frozen:
        """Fit the published numbers on the rows at ``past``, which were pooled as ``pooled`` says."""
        ...

    def publish(self, frozen: Any, pooled: Floats, close: Floats) -> Floats:
        """Return the published numbers of n bars, float64 (n, 9)."""
        ...

    def frozen_centre(self, frozen: Any) -> float:
        """Return the centre that goes with published numbers."""
        ...

    def said(self, published: Floats) -> dict[str, Floats]:
        """Return the columns of the record that hold what was published for closes of 1."""
        ...

    def losses(self, stated: Floats, outcome: Floats) -> Floats:
        """Return the loss of each statement, float64 (n,)."""
        ...

    def opinions(self, stated: Floats, rows: CommonRows, counted: Integers) -> tuple[Floats, Flags | None, Floats]:
        """Return errors, votes (None without any) and scores of one member on the counted rows."""
        ...


class DirectionKind:
    """Probabilities of a rise, with returns and bands."""

    name: ClassVar[str] = "direction"
    tasks: ClassVar[tuple[str, ...]] = ("direction", "price")
    methods: ClassVar[tuple[str, ...]] = METHODS
    record: ClassVar[type[Any]] = OutOfSample
    stated: ClassVar[str] = "p_up"
    outcome: ClassVar[str] = "forward_return"
    baselines: ClassVar[tuple[str, ...]] = ("train_base_rate", "last_sign_p")
    columns: ClassVar[tuple[int, ...]] = (4, 1, 5, 6)

    def centre(self, rows: CommonRows, position: int) -> float:
        """Return 0: even odds."""
        return 0.0

    def fit_pool(
        self, method: str, rows: CommonRows, past: Integers, centres: Floats, given: Sequence[float] | None
    ) -> Pool:
        """Fit on rises and falls."""
        return fit_pool(method, rows.stated[past], rows.outcome[past] > 0, given)

    def pool(self, pool: Pool, answers: Answers, centre: float, horizon: int) -> Floats:
        """Return score, log return, middle and half width of the band."""
        return pool.pool(*answers)

    def fit(
        self, pooled: Floats, rows: CommonRows, past: Integers, centre: float, *, horizon: int, learnt: bool
    ) -> PoolCalibration:
        """Fit slope, return scale and band; see ``fit_pool_calibration``."""
        return fit_pool_calibration(pooled[past], rows.outcome[past], rows.sigma[past], horizon=horizon, trusted=learnt)

    def publish(self, frozen: PoolCalibration, pooled: Floats, close: Floats) -> Floats:
        """Return the published numbers."""
        return frozen.publish(pooled, close)

    def frozen_centre(self, frozen: PoolCalibration) -> float:
        """Return 0."""
        return 0.0

    def said(self, published: Floats) -> dict[str, Floats]:
        """Return probability, log return and band."""
        return {
            "p_up": published[:, 4],
            "expected_return": published[:, 1],
            "low": np.log(published[:, 5]),
            "high": np.log(published[:, 6]),
        }

    def losses(self, stated: Floats, outcome: Floats) -> Floats:
        """Return the log-loss."""
        return log_loss(stated, outcome > 0)

    def opinions(self, stated: Floats, rows: CommonRows, counted: Integers) -> tuple[Floats, Flags | None, Floats]:
        """Return whether it was wrong, whether it said a rise, and its log odds."""
        votes: Flags = stated >= 0.5
        return (votes != (rows.outcome[counted] > 0)).astype(np.float64), votes, _log_odds(stated)


class RiskKind:
    """Probabilities of an adverse move: no opinion is the share of adverse moves, not one half."""

    name: ClassVar[str] = "risk"
    tasks: ClassVar[tuple[str, ...]] = ("risk",)
    methods: ClassVar[tuple[str, ...]] = METHODS
    record: ClassVar[type[Any]] = RiskRecord
    stated: ClassVar[str] = "p_adverse"
    outcome: ClassVar[str] = "outcome"
    baselines: ClassVar[tuple[str, ...]] = tuple(RISK_BASELINES.values())
    columns: ClassVar[tuple[int, ...]] = (7,)

    def centre(self, rows: CommonRows, position: int) -> float:
        """Return the log odds of the members' mean training base rate at that bar."""
        base = float(rows.baselines["train_base_rate"][position])
        return math.log(base / (1.0 - base))

    def fit_pool(
        self, method: str, rows: CommonRows, past: Integers, centres: Floats, given: Sequence[float] | None
    ) -> Pool:
        """Fit on adverse moves."""
        return fit_pool(method, rows.stated[past], rows.outcome[past] > 0.5, given, centres[past])

    def pool(self, pool: Pool, answers: Answers, centre: float, horizon: int) -> Floats:
        """Return the score in the first column; a risk has no return and no band."""
        return pool.pool(*answers, centre)

    def fit(
        self, pooled: Floats, rows: CommonRows, past: Integers, centre: float, *, horizon: int, learnt: bool
    ) -> RiskPublisher:
        """Fit the slope about the base rate; see ``ml.risk_publisher.fit_risk``."""
        base = 1.0 / (1.0 + math.exp(-centre))
        found = fit_risk(
            np.ascontiguousarray(pooled[past, 0]),
            rows.outcome[past] > 0.5,
            rows.baselines["train_base_rate"][past],
            base,
            horizon=horizon,
        )
        if learnt and found.score_scale == 0.0:  # a log odds that was fitted itself stands as it is
            return RiskPublisher(base, 1.0, 0.0, horizon, found.rows)
        return found

    def publish(self, frozen: RiskPublisher, pooled: Floats, close: Floats) -> Floats:
        """Return confidence and risk."""
        return frozen.publish(pooled[:, 0], np.zeros(len(pooled)), close)

    def frozen_centre(self, frozen: RiskPublisher) -> float:
        """Return the log odds of the frozen base rate."""
        return math.log(frozen.base_rate / (1.0 - frozen.base_rate))

    def said(self, published: Floats) -> dict[str, Floats]:
        """Return the probability of an adverse move."""
        return {"p_adverse": published[:, 7] / 100.0}

    def losses(self, stated: Floats, outcome: Floats) -> Floats:
        """Return the log-loss."""
        return log_loss(stated, outcome > 0.5)

    def opinions(self, stated: Floats, rows: CommonRows, counted: Integers) -> tuple[Floats, Flags | None, Floats]:
        """Return the error of the probability, whether it was above the base rate, and its log odds."""
        return stated - rows.outcome[counted], stated > rows.baselines["train_base_rate"][counted], _log_odds(stated)


class VolatilityKind:
    """Volatilities: their logarithms are averaged, and one offset rights the variance."""

    name: ClassVar[str] = "volatility"
    tasks: ClassVar[tuple[str, ...]] = ("volatility",)
    methods: ClassVar[tuple[str, ...]] = ("weighted_avg",)
    record: ClassVar[type[Any]] = VolatilityRecord
    stated: ClassVar[str] = "forecast"
    outcome: ClassVar[str] = "realised"
    baselines: ClassVar[tuple[str, ...]] = VOLATILITY_BASELINES
    columns: ClassVar[tuple[int, ...]] = (8,)

    def centre(self, rows: CommonRows, position: int) -> float:
        """Return 0: a volatility has no opinion to be without."""
        return 0.0

    def fit_pool(
        self, method: str, rows: CommonRows, past: Integers, centres: Floats, given: Sequence[float] | None
    ) -> Pool:
        """Weigh by half the negative QLIKE, which is a Gaussian log-likelihood but for a constant."""
        score = -0.5 * qlike(rows.outcome[past][:, None], rows.stated[past])
        return fit_pool(method, rows.stated[past], rows.outcome[past] > 0, given, log_scores=score)

    def pool(self, pool: Pool, answers: Answers, centre: float, horizon: int) -> Floats:
        """Return the geometric mean as the volatility of one bar, in the first column."""
        from ml.kernels.ensembles import pool_volatilities

        forecasts = np.ascontiguousarray(answers[0], dtype=np.float64)
        found = np.empty(len(forecasts))
        pool_volatilities(forecasts, np.array(pool.weights), math.sqrt(horizon), found)
        out = np.zeros((len(found), 4))
        out[:, 0] = found
        return out

    def fit(
        self, pooled: Floats, rows: CommonRows, past: Integers, centre: float, *, horizon: int, learnt: bool
    ) -> VolatilityPublisher:
        """Fit the offset, and count how often a forecast comes close; see ``ml.volatility_publisher.fit_volatility``."""
        sigma = np.ascontiguousarray(pooled[past, 0])
        return fit_volatility(np.zeros(len(past)), rows.outcome[past], sigma, horizon=horizon)

    def publish(self, frozen: VolatilityPublisher, pooled: Floats, close: Floats) -> Floats:
        """Return confidence and volatility."""
        return frozen.publish(np.zeros(len(pooled)), np.ascontiguousarray(pooled[:, 0]), close)

    def frozen_centre(self, frozen: VolatilityPublisher) -> float:
        """Return 0."""
        return 0.0

    def said(self, published: Floats) -> dict[str, Floats]:
        """Return forecast and confidence."""
        return {"forecast": published[:, 8], "confidence": published[:, 3]}

    def losses(self, stated: Floats, outcome: Floats) -> Floats:
        """Return QLIKE."""
        return qlike(outcome, stated)

    def opinions(self, stated: Floats, rows: CommonRows, counted: Integers) -> tuple[Floats, Flags | None, Floats]:
        """Return the error of the logarithm, no vote, and the logarithm."""
        return np.log(rows.outcome[counted] / stated), None, np.log(stated)


KINDS: dict[str, Kind] = {kind.name: kind for kind in (DirectionKind(), RiskKind(), VolatilityKind())}
"""Every kind, by the name of its task."""

_FROZEN: dict[str, Any] = {
    PoolCalibration.kind: ("direction", PoolCalibration),
    RiskPublisher.kind: ("risk", RiskPublisher),
    VolatilityPublisher.kind: ("volatility", VolatilityPublisher),
}


def kind_of(task: str, place: str) -> Kind:
    """Return the kind that models of a task can be members of.

    Raises
    ------
    InvalidParameter
        When there is none, such as for whole paths.
    """
    for kind in KINDS.values():
        if task in kind.tasks:
            return kind
    known = ", ".join(name for kind in KINDS.values() for name in kind.tasks)
    title = TASKS[task].name if task in TASKS else task
    raise InvalidParameter(
        f"{place} answers a question of the kind {title}: an ensemble is made of models of the kinds {known}"
    )


def read_frozen_numbers(data: Mapping[str, Any]) -> tuple[Kind, Frozen]:
    """Read ``calibration.json`` of an ensemble, and say of which kind it is.

    Raises
    ------
    BrokenModel
        When it is of no kind of an ensemble, or not of its form.
    """
    found = _FROZEN.get(str(data.get("kind")))
    if found is None:
        raise BrokenModel(f"calibration.json is of the kind {data.get('kind')!r}, which is none of an ensemble")
    name, reader = found
    frozen: Frozen = reader.from_dict(data)
    return KINDS[name], frozen


def _log_odds(stated: Floats) -> Floats:
    bounded = np.clip(stated, _SMALLEST, 1.0 - _SMALLEST)
    odds: Floats = np.log(bounded / (1.0 - bounded))
    return odds
