"""Several processes at once: writers wait for each other, readers wait for nobody and never see a mixture."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("working.py")


@pytest.fixture
def start(registry):
    """Start a process; none outlives the test."""
    with ExitStack() as stack:

        def run(role, count):
            command = [sys.executable, str(PROGRAM), str(registry.root), role, str(count)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            return process

        yield run


def finish(process):
    out, error = process.communicate(timeout=250)
    assert process.returncode == 0, error
    return json.loads(out)


def test_processes_that_register_at_once_lose_nothing(registry, key, start):
    writers = [start("register", 12) for _ in range(3)]
    names = [name for writer in writers for name in finish(writer)]
    assert sorted(names) == sorted({f"2026-11-20T120000Z_1h_v{i}" for i in range(1, 37)})
    assert {row.version for row in registry.history(key)} == set(names)
    assert len(registry.list_bundles()) == 36
    assert registry.validate() == []
    assert registry.leftovers() == []


def swap_under_readers(registry, start, key, at, swaps):
    finish(start("register", 3))
    registry.promote(key, "2026-11-20T120000Z_1h_v1", at=at, reason="")
    readers = [start("read", 0) for _ in range(2)]
    writers = [start("promote", swaps // 2) for _ in range(2)]
    try:
        for writer in writers:
            finish(writer)
    finally:
        (registry.root / ".stop").write_bytes(b"")
    seen = [finish(reader) for reader in readers]
    assert {(each["mixed"], each["missing"]) for each in seen} == {(0, 0)}
    assert registry.validate() == []
    assert registry.leftovers() == []
    rows = [row for row in registry.history(key) if row.action == "promote"]
    assert len(rows) > swaps / 3  # a turn that promotes the champion again adds no row
    return seen


def test_readers_never_see_a_mixed_bundle(registry, start, key, at):
    seen = swap_under_readers(registry, start, key, at, 400)
    assert all(each["reads"] > 20 for each in seen)
    assert all(each["swaps"] > 10 for each in seen)


@pytest.mark.slow
def test_readers_never_see_a_mixed_bundle_in_a_thousand_swaps(registry, start, key, at):
    seen = swap_under_readers(registry, start, key, at, 1200)
    assert all(each["swaps"] > 100 for each in seen)
