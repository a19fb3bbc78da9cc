"""A disk that is full, read-only or failing: one clear error, and nothing half-written."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from datetime import timedelta

import pytest

from registry.errors import RegistryUnwritable
from registry.store import PredictionModelRegistry

CALLS = ("open", "write", "fsync", "mkdir", "rename", "replace", "symlink")


class Failing:
    """Makes one call of `os` fail, the n-th of all that are counted."""

    def __init__(self, monkeypatch, point, code, *, calls=CALLS, partial=False):
        self.count, self.point, self.code, self.partial, self.failed = 0, point, code, partial, False
        for name in calls:
            monkeypatch.setattr(os, name, self.wrapped(name, getattr(os, name)))

    def wrapped(self, name, real):
        def call(*arguments, **keywords):
            if name == "open" and not arguments[1] & os.O_CREAT:  # reading is not what fails here
                return real(*arguments, **keywords)
            self.count += 1
            if self.count == self.point:
                self.failed = True
                if self.partial and name == "write":
                    real(arguments[0], arguments[1][: len(arguments[1]) // 2])
                raise OSError(self.code, os.strerror(self.code), "some file")
            return real(*arguments, **keywords)

        return call


def snapshot(registry):
    return [(model.version_id, model.status, model.metadata["tag"], model.problem) for model in registry.list_bundles()]


@pytest.fixture
def ready(registry, key, files, at):
    for tag in "ab":
        registry.register(key, files(tag), at=at)
    registry.promote(key, "2026-11-20T120000Z_1h_v1", at=at, reason="")
    return registry


ACTIONS = {
    "register": lambda registry, key, files, at: registry.register(key, files("c"), at=at + timedelta(hours=1)),
    "promote": lambda registry, key, files, at: registry.promote(key, "2026-11-20T120000Z_1h_v2", at=at, reason="x"),
    "archive": lambda registry, key, files, at: registry.archive(key, "2026-11-20T120000Z_1h_v2", at=at, reason="x"),
}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("action", ACTIONS)
def test_a_call_that_fails_leaves_nothing_half_written(tmp_path, ready, key, files, at, action, code):
    before = snapshot(ready)
    point, committed = 0, False
    while True:
        point += 1
        with pytest.MonkeyPatch.context() as patch:
            failing = Failing(patch, point, code, partial=True)
            try:
                ACTIONS[action](ready, key, files, at)
            except RegistryUnwritable as error:
                message = str(error)
            else:
                assert not failing.failed, "an error was swallowed"
                break
        assert "BTCUSDT/1h/basic: cannot " in message
        assert os.strerror(code) in message
        assert "some file" in message
        assert ready.validate() == []
        now = snapshot(ready)
        if now != before:  # the row was written: the operation has happened, only a link or a flush is missing
            committed = True
            if action == "promote":
                ready.rollback(key, at=at, reason="again")
            before = snapshot(ready)
        elif action != "register":
            assert not list((ready.root / "BTCUSDT/basic").glob(".tmp-*"))
    assert point > 4
    assert committed is (action != "archive")
    assert ready.validate() == []
    assert ready.leftovers() == []


def test_a_full_disk_during_registration_leaves_no_files(registry, key, files, at, monkeypatch):
    """The disk stays full: cleaning up has to work without writing."""
    real = os.write
    written = 0

    def write(descriptor, data):
        nonlocal written
        room = 150 - written
        if room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written += (done := real(descriptor, bytes(data)[:room]))
        return done

    monkeypatch.setattr(os, "write", write)
    for _ in range(2):
        with pytest.raises(RegistryUnwritable, match="cannot register: No space left on device"):
            registry.register(key, files(), at=at)
        assert [path.name for path in (registry.root / "BTCUSDT/basic").iterdir()] == [".lock"]
    monkeypatch.undo()
    assert registry.list_bundles() == registry.validate() == registry.leftovers() == []
    assert registry.register(key, files(), at=at).version_id.endswith("_v1")


@pytest.mark.parametrize("room", [0, 1, 100, 400, 500])
def test_a_ledger_that_finds_no_room_is_as_it_was(ready, key, at, monkeypatch, room):
    path = ready.root / "BTCUSDT/basic/ledger.jsonl"
    before = path.read_bytes()
    real = os.write
    left = [room]

    def write(descriptor, data):
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, bytes(data)[: left.pop()])

    monkeypatch.setattr(os, "write", write)
    with pytest.raises(RegistryUnwritable, match="No space left"):
        ready.promote(key, "2026-11-20T120000Z_1h_v2", at=at, reason="y" * 1000)
    monkeypatch.undo()
    assert path.read_bytes() == before
    assert ready.champion_version(key) == "2026-11-20T120000Z_1h_v1"


def test_when_even_cutting_the_ledger_fails_the_next_writer_heals_it(ready, key, files, at, monkeypatch):
    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "ftruncate", fail)
    real = os.write
    monkeypatch.setattr(
        os, "write", lambda d, data: real(d, bytes(data)[:60]) if bytes(data)[:9] == b'{"action"' else fail()
    )
    with pytest.raises(RegistryUnwritable, match="Input/output error"):
        ready.archive(key, "2026-11-20T120000Z_1h_v2", at=at, reason="")
    monkeypatch.undo()
    assert ready.validate() == []
    assert [str(each).rpartition(": ")[2] for each in ready.leftovers()] == ["ends in an unfinished line"]
    ready.archive(key, "2026-11-20T120000Z_1h_v2", at=at, reason="")
    assert ready.leftovers() == []


def test_a_registration_whose_row_cannot_be_taken_back_is_finished_later(ready, key, files, at, monkeypatch):
    """fsync and the cut both fail after the whole row was written: then the row counts, and so does the bundle."""

    def fail(*_arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    real, ledger = os.fsync, ready.root / "BTCUSDT/basic/ledger.jsonl"
    size = ledger.stat().st_size
    monkeypatch.setattr(os, "ftruncate", fail)
    monkeypatch.setattr(os, "fsync", lambda d: real(d) if ledger.stat().st_size == size else fail())
    with pytest.raises(RegistryUnwritable):
        ready.register(key, files("c"), at=at)
    monkeypatch.undo()
    assert ready.validate() == []
    assert len(ready.list_bundles()) == 2
    ready.archive(key, "2026-11-20T120000Z_1h_v3", at=at, reason="")
    assert len(ready.list_bundles()) == 3
    assert ready.validate() == ready.leftovers() == []


PROGRAM = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from registry.errors import RegistryUnwritable
from registry.names import ModelKey
from registry.store import PredictionModelRegistry
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
files = {"metadata.json": b'{"schema_version": 1}', "model.txt": b"x" * 5000}
try:
    PredictionModelRegistry(Path(sys.argv[1])).register(
        ModelKey("BTCUSDT", "basic", "1h"), files, at=datetime(2026, 11, 20, tzinfo=UTC))
except RegistryUnwritable as error:
    sys.exit(f"refused: {error}")
"""


def test_a_limit_of_the_kernel_is_one_clear_error(tmp_path):
    """A real partial write: the kernel takes 4,000 bytes of 5,000 and refuses the rest."""
    root = tmp_path / "models"
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(root)], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "refused: BTCUSDT/1h/basic: cannot register: File too large"
    registry = PredictionModelRegistry(root)
    assert registry.list_bundles() == registry.validate() == registry.leftovers() == []


def test_a_folder_that_may_not_be_written(ready, key, files, at):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    folder = ready.root / "BTCUSDT/basic"
    folder.chmod(0o555)
    try:
        with pytest.raises(RegistryUnwritable, match="Permission denied"):
            ready.register(key, files("c"), at=at)
        assert ready.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h").promoted
        assert ready.validate() == []
    finally:
        folder.chmod(0o755)
