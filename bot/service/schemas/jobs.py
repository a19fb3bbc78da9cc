"""Jobs: work in the background, one process each."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bot.service.schemas.common import Answer, Time

__all__ = ["JobAnswer"]


class JobAnswer(Answer):
    """One job."""

    id: str = Field(examples=["6d1f3a52-0f0c-4a54-9f0e-1f5c9a3b7c11"])
    kind: Literal["train", "generate"]
    status: Literal["queued", "running", "completed", "failed", "cancelled"]
    created_at: Time
    started_at: Time | None = None
    ended_at: Time | None = None
    progress: float = Field(ge=0, le=1, description="Share that is done.")
    message: str = Field(description="What it is at.")
    attempts: int = Field(ge=0, description="How often it was begun.")
    request: dict[str, Any]
    result: dict[str, Any] | None = None
    error: str | None = None
