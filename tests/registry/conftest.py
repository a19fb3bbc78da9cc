"""A registry in a temporary folder and small bundles for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from registry.names import ModelKey
from registry.store import PredictionModelRegistry

Files = Callable[..., dict[str, bytes]]


@pytest.fixture
def at() -> datetime:
    """Noon of some day."""
    return datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def key() -> ModelKey:
    """The model of most tests."""
    return ModelKey("BTCUSDT", "basic", "1h")


@pytest.fixture
def registry(tmp_path: Path) -> PredictionModelRegistry:
    """A registry that does not exist on disk yet."""
    return PredictionModelRegistry(tmp_path / "models")


@pytest.fixture
def files() -> Files:
    """Make the files of a bundle; its tag stands in every one of them."""

    def make(tag: str = "a", **metadata: object) -> dict[str, bytes]:
        return {
            "metadata.json": json.dumps({"schema_version": 1, "tag": tag, **metadata}).encode(),
            "metrics.json": json.dumps({"out_of_sample": {"n": 2000}, "tag": tag}).encode(),
            "feature_schema.json": json.dumps({"names": ["rsi_14"], "tag": tag}).encode(),
            "calibration.json": json.dumps({"slope": 1.0, "tag": tag}).encode(),
            "model.txt": f"tree {tag}\n".encode() * 3,
        }

    return make
