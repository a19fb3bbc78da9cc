"""kill -9 at every moment of a registration, promotion, rollback, archive and of healing itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("crashing.py")


@pytest.mark.parametrize(
    ("scenario", "least"),
    [
        ("first", 90),
        ("register", 60),
        ("promote", 40),
        ("rollback", 40),
        ("archive", 12),
        ("quarantine", 20),
        ("withdraw", 20),
        ("restore", 12),
        ("checkpoint", 40),
        ("heal", 90),
        ("repair", 40),
        ("rewind", 40),
    ],
)
def test_a_killed_writer_leaves_a_valid_registry(tmp_path, scenario, least):
    """At every point readers see the state before or the state after, whole, and the next writer succeeds."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), scenario],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["faults"] == []
    assert result["points"] >= least
    assert result["seen"]["before"] > 0
    assert result["seen"]["after"] > 0
