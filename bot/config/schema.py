"""What a strategy config may say: frozen, strictly typed values with their ranges.

The loader (``bot.config.loader``) reads YAML into these; this module knows nothing of files. Names of strategies and
their parameters, symbols and models are checked where they are resolved, in ``bot.assembly``.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from bot.config.values import Listed, Part, Symbol, Timeframe
from registry.errors import InvalidName
from registry.names import AS_OF, ModelReference, parse_reference, timeframe_ms

__all__ = [
    "BrokerSettings",
    "DataSettings",
    "LiveSettings",
    "ModelRole",
    "RiskSettings",
    "StrategyConfig",
    "SynthSettings",
]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_ROLE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DAY = timedelta(days=1)


def _canonical_time(value: Any) -> str:
    """Return ``2024-01-31`` for a date, ``2024-01-31T09:00:00Z`` for a moment."""
    if not isinstance(value, str):
        raise ValueError("expected a date such as 2024-01-31, or a UTC time such as 2024-01-31T09:00")
    text = value.strip()
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        moment + _DAY  # the day after the last one that the calendar knows cannot be an end
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a date such as 2024-01-31 or a UTC time such as 2024-01-31T09:00") from None
    return text if _DATE.fullmatch(text) else moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _milliseconds(text: str) -> int:
    moment = datetime.fromisoformat(text)
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return int(moment.timestamp()) * 1000


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"{value!r} is not a name: expected up to 64 letters, digits, dots, dashes and underscores")
    return value


def _length(value: str) -> str:
    try:
        timeframe_ms(value)
    except InvalidName:
        raise ValueError(
            f"{value!r} is not a length of time: expected a count and s, m, h, d or w, such as 90d"
        ) from None
    return value


def _role(value: Any) -> Any:
    return {"model": value} if isinstance(value, str) else value


def _template(value: str) -> str:
    unknown = [found for found in _PLACEHOLDER.findall(value) if found != "symbol"]
    if unknown:
        raise ValueError(f"{{{unknown[0]}}} is not known here: the only placeholder is {{symbol}}")
    try:
        parse_reference(value.replace("{symbol}", "X"))
    except InvalidName as error:
        raise ValueError(str(error).replace("'X/", "'{symbol}/")) from None
    return value


def _data(value: Any) -> Any:
    return {"synth": {}} if value == "synth" else value


Moment = Annotated[str, BeforeValidator(_canonical_time)]
Fraction = Annotated[float, Field(gt=0, lt=1, allow_inf_nan=False)]
Rule = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _between(field: str, message: str) -> PydanticCustomError:
    """Return an error that is found on a whole part, but points at one of its fields."""
    return PydanticCustomError("between_fields", "{text}", {"field": field, "text": message})


class SynthSettings(Part):
    """The built-in market, made when it is read: how many bars, the size of the planted edge and path drift, the seed.

    Defaults are those of ``bot data synth``: equal numbers are the same candles.
    """

    bars: Annotated[int, Field(ge=100, le=5_000_000)] = 17_520
    edge: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    path_drift: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0


class DataSettings(Part):
    """Which candles, and from when to when.

    ``start`` is the first bar that may trade; the feed begins earlier, to warm the features. ``end`` given as a date includes
    that whole UTC day; given as a moment it is exclusive.
    """

    exchange: Annotated[str, Field(min_length=1)] | None = None
    start: Moment | None = None
    end: Moment | None = None
    synth: SynthSettings | None = None

    @model_validator(mode="after")
    def _ordered(self) -> DataSettings:
        if self.start_ms is not None and self.end_ms is not None and self.start_ms >= self.end_ms:
            raise _between("start", f"{self.start} is not before the end, {self.end}")
        if self.synth is not None and self.exchange is not None:
            raise _between("exchange", "candles come from the store or are made here (synth), not both")
        return self

    @property
    def start_ms(self) -> int | None:
        """Open time of the first bar that may trade, milliseconds UTC; None for as soon as features are warm."""
        return None if self.start is None else _milliseconds(self.start)

    @property
    def end_ms(self) -> int | None:
        """First open time that is left out, milliseconds UTC; None for no end."""
        if self.end is None:
            return None
        whole_day = 86_400_000 if _DATE.fullmatch(self.end) else 0
        return _milliseconds(self.end) + whole_day


class ModelRole(Part):
    """What a role of the strategy is played by: ``SYMBOL/TYPE@latest``, ``@as-of``, ``@newest`` or ``@VERSION``.

    ``{symbol}`` in the text stands for the feed's symbol. ``shared: true`` allows one literal symbol for several feeds. A bar
    that closes later than ``max_age`` (such as 90d) after the end of its training has the status ``expired``; without it the
    bundle's own expiry holds. With ``follow`` a live bot takes a newly promoted champion between two bars; it is meant by
    ``@as-of``, which a backtest answers at each bar with the version that was champion when the bar closed.
    """

    model: Annotated[str, AfterValidator(_template)]
    shared: bool = False
    max_age: Annotated[str, AfterValidator(_length)] | None = None
    follow: bool | None = None

    @model_validator(mode="after")
    def _followable(self) -> ModelRole:
        if self.follow and not self.reference("X").names_champion:
            raise _between(
                "follow", f"{self.model!r} is one version for ever: only @latest and @as-of can follow the champion"
            )
        return self

    @property
    def follows(self) -> bool:
        """Whether a live bot takes a newly promoted champion by itself."""
        return self.reference("X").selector == AS_OF if self.follow is None else self.follow

    @property
    def expires_after_ms(self) -> int | None:
        """``max_age`` in milliseconds; None for what the bundle says."""
        return None if self.max_age is None else timeframe_ms(self.max_age)

    @property
    def is_template(self) -> bool:
        """Whether the model follows the feed's symbol."""
        return "{symbol}" in self.model

    def reference(self, symbol: str) -> ModelReference:
        """Return the reference for the feed of ``symbol`` (canonical spelling)."""
        return parse_reference(self.model.replace("{symbol}", symbol))


class BrokerSettings(Part):
    """Cash, costs and exchange rules; a rule that is not given is that stored beside the symbol's candles, 0 is none.

    ``commission`` is the fraction of every fill that the exchange takes, ``slippage`` the fraction by which a market order
    fills worse than the open.
    """

    cash: Annotated[float, Field(gt=0, le=1e12, allow_inf_nan=False)] = 10_000.0
    commission: Annotated[float, Field(ge=0, lt=0.1)] = 0.001
    slippage: Annotated[float, Field(ge=0, lt=0.1)] = 0.0005
    fees_in_kind: bool = False
    price_tick: Rule | None = None
    lot_step: Rule | None = None
    min_qty: Rule | None = None
    min_notional: Rule | None = None

    @property
    def rules(self) -> dict[str, float]:
        """The exchange rules that the config sets, by name."""
        names = ("price_tick", "lot_step", "min_qty", "min_notional")
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def round_trip_cost(self) -> float:
        """Fraction of the notional that buying and selling cost: twice commission plus slippage."""
        return 2.0 * (self.commission + self.slippage)


class RiskSettings(Part):
    """Limits of a strategy; null switches one off."""

    max_position: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_daily_loss: Fraction | None = None
    max_drawdown: Fraction | None = None
    max_losing_streak: Annotated[int, Field(ge=1)] | None = None
    cooldown_bars: Annotated[int, Field(ge=0)] = 0
    stop_loss: Fraction | None = None
    take_profit: Annotated[float, Field(gt=0, le=10)] | None = None
    on_no_model: Literal["hold", "close"] = "hold"


class LiveSettings(Part):
    """Where ``bot live`` trades, and what keeps it from trading; a backtest only checks the spelling.

    ``exchange`` is ``sim`` for the local exchange, or a name that ccxt knows; ``mode: real`` trades there with money.
    ``endpoint`` is the address of a server that speaks Binance's protocol, asked instead of the exchange's own. No position
    is opened on a candle that is older than ``max_data_age`` (in candles), nor after ``max_errors`` errors within an hour.
    ``alerts`` names what is told to the addresses in ``BOT_ALERTS``.
    """

    exchange: Annotated[str, Field(min_length=1)] = "sim"
    mode: Literal["paper", "real"] = "paper"
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+(/.*)?$")] | None = None
    max_data_age: Annotated[float, Field(gt=0, le=1)] = 0.5
    max_errors: Annotated[int, Field(ge=1)] = 20
    alerts: Annotated[tuple[Literal["fills", "protections", "disconnects", "errors", "lifecycle"], ...], Listed] = (
        "fills",
        "protections",
        "disconnects",
        "errors",
        "lifecycle",
    )


class StrategyConfig(Part):
    """One strategy with its data, models, broker and limits: the same file runs in a backtest and live."""

    name: Annotated[str, AfterValidator(_name)]
    strategy: Annotated[str, Field(min_length=1)]
    params: dict[str, Any] = Field(default_factory=dict)
    symbols: Annotated[tuple[Symbol, ...], Listed, Field(min_length=1)]
    timeframe: Timeframe
    data: Annotated[DataSettings, BeforeValidator(_data)] = Field(default_factory=DataSettings)
    models: dict[str, Annotated[ModelRole, BeforeValidator(_role)]] = Field(default_factory=dict)
    broker: BrokerSettings = Field(default_factory=BrokerSettings)
    risk: RiskSettings = Field(default_factory=RiskSettings)
    live: LiveSettings = Field(default_factory=LiveSettings)

    def problems(self) -> list[tuple[tuple[str | int, ...], str]]:
        """Return what is wrong between several fields, each with the place of the field to change."""
        found: list[tuple[tuple[str | int, ...], str]] = []
        for position, symbol in enumerate(self.symbols):
            if symbol in self.symbols[:position]:
                found.append((("symbols", position), f"{symbol} is listed twice"))
        for role, binding in self.models.items():
            if not _ROLE.fullmatch(role):
                found.append(
                    (("models", role), f"{role!r} is not a role: expected lower-case letters, as in prediction")
                )
            if len(self.symbols) > 1 and not binding.is_template and not binding.shared:
                message = (
                    f"{binding.model!r} names one symbol, but the config trades {len(self.symbols)}: write "
                    f"'{{symbol}}/...', or {{model: {binding.model}, shared: true}} to use it for all"
                )
                found.append((("models", role), message))
        return found

    def to_dict(self) -> dict[str, Any]:
        """Return plain data with every default filled in, as ``result.json`` keeps it."""
        return self.model_dump(mode="json")
