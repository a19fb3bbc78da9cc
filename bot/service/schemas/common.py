"""Shapes that all routes share: spellings of names in requests, times, problems."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = [
    "WHOLE",
    "Answer",
    "ExchangeQuery",
    "ExchangeText",
    "Problem",
    "Request",
    "SymbolQuery",
    "SymbolText",
    "Time",
    "TimeframeQuery",
    "TimeframeText",
    "TypeQuery",
    "TypeText",
    "VersionText",
    "errors",
]


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(_whole)
"""For whole numbers in a body: JSON does not tell 7.0 from 7. It stands last, or the document would lose their bounds."""

# patterns are documented only: what breaks them is refused by registry.names, in words
SymbolText = Annotated[
    str,
    Field(
        min_length=2,
        max_length=32,
        description="BTC_USDT, BTC/USDT, BTC-USDT or BTCUSDT.",
        examples=["BTC_USDT"],
        json_schema_extra={"pattern": "^[/_-]*[A-Za-z0-9][A-Za-z0-9./_-]*$"},
    ),
]
TimeframeText = Annotated[
    str,
    Field(
        min_length=2,
        max_length=8,
        description="Length of a candle: 1m, 5m, 1h, 1d.",
        examples=["1h"],
        json_schema_extra={"pattern": "^[1-9][0-9]{0,2}[smhdw]$"},
    ),
]
TypeText = Annotated[
    str,
    Field(
        min_length=2,
        max_length=40,
        description="Family of models.",
        examples=["multi_ohlc", "basic"],
        json_schema_extra={"pattern": "^[A-Za-z][A-Za-z0-9_-]{0,31}$"},
    ),
]
VersionText = Annotated[
    str,
    Field(
        min_length=2,
        max_length=80,
        description="latest (the champion), newest (promoted or not) or a version.",
        examples=["latest"],
    ),
]
Time = Annotated[str, Field(description="ISO 8601, UTC.", examples=["2024-01-15T10:30:00Z"])]

SymbolQuery = Annotated[SymbolText, Query()]
TimeframeQuery = Annotated[TimeframeText, Query()]
TypeQuery = Annotated[TypeText | None, Query(description="Family of models.", examples=["basic"])]
ExchangeText = Annotated[
    str,
    Field(
        min_length=2,
        max_length=32,
        description="Source of the candles; by default the only one that holds the series.",
        examples=["binance"],
        json_schema_extra={"pattern": "^[A-Za-z0-9][A-Za-z0-9_-]*$"},
    ),
]
ExchangeQuery = Annotated[ExchangeText | None, Query()]


class Answer(BaseModel):
    """An answer: every field is stated, and what is not known is null."""

    model_config = ConfigDict(extra="allow")


class Request(BaseModel):
    """A request: an unknown field is an error, and so is a value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Problem(BaseModel):
    """What went wrong, after RFC 9457."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Not Found",
                    "status": 404,
                    "detail": "the store has no BTC_USDT 5m; it has BTCUSDT 1h of binance",
                }
            ]
        },
    )

    type: str
    title: str
    status: int
    detail: str | None = None
    instance: str | None = None


_WORDS = {
    400: "The request cannot be read.",
    401: "No token, or a wrong one.",
    403: "The token may only read.",
    404: "There is no such thing.",
    409: "It cannot be done now.",
    413: "The body is too large.",
    421: "The Host header is not this server's.",
    422: "The request makes no sense: a name, a number or a field.",
    429: "Too many requests.",
    503: "The home folder cannot be read or written now, or too many jobs wait.",
}
_ALWAYS = (401, 413, 421, 422, 429, 503)


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the documented errors of a route: what any request may meet, and the given ones."""
    return {
        status: {
            "model": Problem,
            "description": _WORDS[status],
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({*_ALWAYS, *statuses})
    }
