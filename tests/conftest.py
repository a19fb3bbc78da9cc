"""Fixtures of the whole suite."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent / "support"))  # helpers that several test modules import

_SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real candles; the test is skipped where it is absent."""
    if not _SHARED_DATA.is_dir():
        pytest.skip("real candles are not there: ../shared/data is missing")
    return _SHARED_DATA
