"""A reader that remembers reads what one without memory reads, and little more than what is new."""

from __future__ import annotations

import json
import os

import pytest

from registry import ledger as ledger_module
from registry import reading
from registry.errors import InvalidLedger
from registry.ledger import append_row, read_ledger
from registry.promotion import replay
from registry.reading import LedgerReader
from registry.store import PredictionModelRegistry

MODEL = "BTCUSDT/basic"
VERSIONS = [f"2026-11-20T120000Z_1h_v{number}" for number in (1, 2, 3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


@pytest.fixture
def reader(path):
    return LedgerReader(path, MODEL)


@pytest.fixture
def add(path, at):
    def append(action="register", number=1, reason="why"):
        return append_row(
            path,
            read_ledger(path, MODEL),
            at=at,
            action=action,
            timeframe="1h",
            version=VERSIONS[number - 1],
            manifest="0" * 64,
            reason=reason,
        )

    return append


@pytest.fixture
def verified(monkeypatch):
    """Count the rows that are verified."""
    counted = []
    real = ledger_module.verified_row

    def verify(line, *rest):
        counted.append(line)
        return real(line, *rest)

    monkeypatch.setattr(ledger_module, "verified_row", verify)
    return counted


def same(reader, path):
    """Compare with a reading of the whole file by nobody who remembers."""
    whole = read_ledger(path, MODEL)
    found = reader.read()
    assert found.standing == replay(whole.rows, "x")
    assert (found.ledger.count, found.ledger.size, found.ledger.last_digest) == (
        len(whole.rows),
        whole.size,
        whole.last_digest,
    )
    assert (found.ledger.unfinished, found.ledger.unterminated) == (whole.unfinished, whole.unterminated)
    assert reader.rows() == whole.rows
    return found


def test_each_row_is_verified_once(path, reader, add, verified):
    for number in (1, 2, 3):
        add(number=number)
    for turn in range(20):
        add("promote", number=turn % 3 + 1)
        mine = len(verified)
        assert reader.read().standing.champions == {"1h": VERSIONS[turn % 3]}
        assert len(verified) - mine == (4 if turn == 0 else 1)
    mine = len(verified)
    reader.read()
    assert len(verified) == mine
    same(reader, path)


def test_a_registry_verifies_what_it_appended_and_nothing_else(registry, key, files, at, verified):
    names = [registry.register(key, files(tag), at=at).version_id for tag in "abc"]
    for turn in range(30):
        before = len(verified)
        registry.promote(key, names[turn % 3], at=at, reason="")
        assert len(verified) - before <= 2
    other = PredictionModelRegistry(registry.root)
    assert other.champion_version(key) == names[29 % 3]
    before = len(verified)
    assert other.champion(key).version_id == names[29 % 3]
    assert len(verified) == before


def test_tails_of_every_kind(path, reader, add):
    same(reader, path)
    for number in (1, 2):
        add(number=number)
        same(reader, path)
    sound = path.read_bytes()
    for tail in (b'{"act', b"", b"\0\0", b'{"action":"promote"'):
        path.write_bytes(sound + tail)
        same(reader, path)
    path.write_bytes(sound[:-1])  # only the newline is missing
    assert same(reader, path).ledger.unterminated
    add("promote", number=2)
    assert same(reader, path).standing.champions == {"1h": VERSIONS[1]}


def test_a_file_that_was_replaced_is_read_again(path, reader, add, tmp_path):
    for number in (1, 2):
        add(number=number)
    add("promote", number=1)
    same(reader, path)
    copy = tmp_path / "copy"
    copy.write_bytes(path.read_bytes())
    copy.replace(path)
    same(reader, path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2]))  # shorter: somebody put an old backup there
    assert same(reader, path).standing.champions == {}
    path.unlink()
    assert same(reader, path).ledger.count == 0
    add(number=3)
    assert list(same(reader, path).standing.versions) == [VERSIONS[2]]


def test_an_edit_in_place_is_found(path, reader, add):
    for number in (1, 2):
        add(number=number, reason="good")
    reader.read()
    data = path.read_bytes()
    stamp = path.stat().st_mtime_ns
    with path.open("r+b") as stream:  # same file, same size
        stream.seek(data.index(b"good"))
        stream.write(b"evil")
    os.utime(path, ns=(stamp + 10_000_000, stamp + 10_000_000))
    with pytest.raises(InvalidLedger, match=r"ledger.jsonl:1: this row was damaged"):
        reader.read()
    path.write_bytes(data)
    same(reader, path)


def test_an_edit_of_the_last_row_is_found_when_more_follow(path, reader, add):
    for number in (1, 2):
        add(number=number, reason="good")
    reader.read()
    data = path.read_bytes()
    add(number=3)
    path.write_bytes(b"evil".join(data.rpartition(b"good")[::2]) + path.read_bytes()[len(data) :])
    with pytest.raises(InvalidLedger, match=r"ledger.jsonl:2: this row was damaged"):
        reader.read()


def test_rows_that_contradict_what_is_known_are_refused(path, reader, add):
    add()
    reader.read()
    add()
    for _ in range(2):
        with pytest.raises(InvalidLedger, match="registered twice"):
            reader.read()


# ---------------------------------------------------------------- checkpoints


@pytest.fixture
def long(registry, key, files, at, monkeypatch):
    """A ledger of 3 + 17 rows with a checkpoint every 10."""
    monkeypatch.setattr(reading, "INTERVAL", 10)
    names = [registry.register(key, files(tag), at=at).version_id for tag in "abc"]
    for turn in range(17):
        registry.promote(key, names[turn % 3], at=at, reason="", evidence={"turn": turn, "x": 0.1})
    registry.quarantine(key, names[2], at=at, reason="")
    return names


def test_a_new_reader_begins_at_the_checkpoint(registry, key, long, verified):
    fresh = PredictionModelRegistry(registry.root)
    assert fresh.champion_version(key) == long[16 % 3]
    assert 0 < len(verified) <= 10
    assert [model.status for model in fresh.list_bundles()] == ["superseded", "champion", "quarantined"]
    assert fresh.validate() == fresh.leftovers() == []
    assert fresh.history(key) == registry.history(key)
    assert len(fresh.history(key)) == 21


def test_every_state_goes_through_a_checkpoint(registry, key, files, at, long, monkeypatch):
    monkeypatch.setattr(reading, "INTERVAL", 1)
    registry.archive(key, registry.register(key, files("d"), at=at).version_id, at=at, reason="")
    registry.withdraw(key, at=at, reason="")
    registry.archive(key, long[0], at=at, reason="")
    registry.restore(key, long[0], at=at, reason="the writer remembers the row before")
    shelf = PredictionModelRegistry(registry.root)._shelf(key)
    found = shelf.reader.checkpoint()
    assert found.standing == replay(shelf.ledger().rows[: found.position.count], "x")
    assert {state.status for state in found.standing.versions.values()} == {"superseded", "archived", "quarantined"}


@pytest.mark.parametrize("damage", ["flip", "empty", "other json", "gone", "other model", "newer"])
def test_a_checkpoint_that_cannot_be_used_is_passed_over(registry, key, long, verified, damage):
    path = registry.root / "BTCUSDT/basic/.checkpoint.json"
    data = path.read_bytes()
    _, _, body = data.partition(b"\n")
    document = json.loads(body)
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "flip": data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
                "empty": b"",
                "other json": sealed([]),
                "other model": sealed(document | {"model": "ETHUSDT/basic"}),
                "newer": sealed(document | {"schema_version": 2}),
            }[damage]
        )
    assert PredictionModelRegistry(registry.root).champion_version(key) == long[16 % 3]
    assert len(verified) == 21


def sealed(document):
    body = json.dumps(document).encode()
    return ledger_module.sha256(body).encode() + b"\n" + body


def test_a_checkpoint_hides_no_damage_of_the_ledger(registry, key, long):
    path = registry.root / "BTCUSDT/basic/ledger.jsonl"
    data = bytearray(path.read_bytes())
    for position in range(10, len(data), len(data) // 40):
        changed = data.copy()
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InvalidLedger):
            PredictionModelRegistry(registry.root).champion_version(key)


def test_a_forged_checkpoint_is_a_finding(registry, key, long):
    """Whoever can write here can write the ledger too; but it shows."""
    path = registry.root / "BTCUSDT/basic/.checkpoint.json"
    document = json.loads(path.read_bytes().partition(b"\n")[2])
    path.write_bytes(sealed(document | {"champions": {"1h": long[2]}}))
    findings = [finding for finding in registry.validate() if "checkpoint" in finding.place]
    assert [finding.problem for finding in findings] == ["does not say what the ledger says: delete it"]


def test_a_checkpoint_of_rows_that_are_gone_is_not_believed(registry, key, long):
    path = registry.root / "BTCUSDT/basic/ledger.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:5]))
    assert PredictionModelRegistry(registry.root).champion_version(key) == long[1]


def test_a_disk_that_refuses_a_checkpoint_stops_no_promotion(registry, key, at, long, monkeypatch):
    path = registry.root / "BTCUSDT/basic/.checkpoint.json"
    path.unlink()
    monkeypatch.setattr(reading, "INTERVAL", 1)
    path.mkdir()
    assert registry.promote(key, long[2], at=at, reason="").status == "champion"
    assert registry.promote(key, long[0], at=at, reason="").status == "champion"
    path.rmdir()
    registry.promote(key, long[1], at=at, reason="")
    assert registry.validate() == registry.leftovers() == []
