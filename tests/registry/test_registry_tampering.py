"""A real bundle, damaged hundreds of times: refused each time, and nothing in it is ever executed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("tampering.py")


def test_tampering_is_refused_and_nothing_is_executed(tmp_path):
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(tmp_path), "400", "1"],
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["mutations"] == 400
    assert result["accepted"] == []
    assert result["sound_loads"] == 4
    assert result["executed"] == {}
    assert result["pickle_ran"] is False
    assert not {"model.txt", "golden.json", "calibration.json", "feature_schema.json"} & set(
        result["unread_by_the_runner"]
    )
