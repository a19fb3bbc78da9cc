"""Fixtures of the whole suite."""

from __future__ import annotations

from pathlib import Path

import pytest

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real candles; the test is skipped where it is absent."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("real candles are not there: ../shared/data is missing")
    return _SHARED_DATA
