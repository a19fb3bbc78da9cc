"""A ledger with a broken chain: refused everywhere, and repaired without believing what cannot be believed."""

from __future__ import annotations

import hashlib
import json
import shutil
from datetime import timedelta

import pytest

from registry.errors import InvalidBundle, InvalidLedger, LedgerTooNew, ModelNotFound, NoChampion, RegistryBusy
from registry.ledger import read_ledger
from registry.locks import exclusive
from registry.names import ModelKey
from registry.store import PredictionModelRegistry


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch):
    monkeypatch.setattr("registry.ledger._PAUSE", 0)


@pytest.fixture
def folder(registry):
    return registry.root / "BTCUSDT" / "basic"


@pytest.fixture
def path(folder):
    return folder / "ledger.jsonl"


@pytest.fixture
def four(registry, key, files, at):
    """Rows 1 to 8: register a, b, promote a, b; register c, d; promote c; quarantine a."""
    a, b = (registry.register(key, files(tag), at=at + timedelta(hours=i)).version_id for i, tag in enumerate("ab"))
    for version in (a, b):
        registry.promote(key, version, at=at, reason="gate")
    c, d = (registry.register(key, files(tag), at=at + timedelta(hours=i)).version_id for i, tag in enumerate("cd", 2))
    registry.promote(key, c, at=at, reason="better")
    registry.quarantine(key, a, at=at, reason="drift")
    return a, b, c, d


def damage(path, *numbers):
    """Change one letter of some rows; returns the damaged bytes."""
    lines = path.read_bytes().splitlines(keepends=True)
    for number in numbers:
        lines[number - 1] = lines[number - 1].replace(b'"reason":"', b'"reason":"X')
    path.write_bytes(b"".join(lines))
    return path.read_bytes()


def status(registry):
    return {model.version_id: model.status for model in registry.list_bundles() if not model.problem}


def links(folder):
    return {each.name: str(each.readlink()) for each in folder.iterdir() if each.is_symlink()}


def mend(registry, at, **keywords):
    return registry.repair("btc/usdt", "price", at=at + timedelta(days=30), **keywords)


def test_until_it_is_repaired_nothing_is_done_and_every_error_says_how(registry, key, files, at, four, path):
    damaged = damage(path, 4)
    for act in (
        lambda: registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h"),
        lambda: registry.champion(key),
        lambda: registry.champion_at(key, at),
        lambda: registry.history(key),
        lambda: registry.reigns(key),
        lambda: registry.register(key, files(), at=at),
        lambda: registry.promote(key, four[3], at=at, reason=""),
        lambda: registry.rollback(key, at=at, reason=""),
        lambda: registry.withdraw(key, at=at, reason=""),
        lambda: registry.quarantine(key, four[3], at=at, reason=""),
        lambda: registry.restore(key, four[3], at=at, reason=""),
        lambda: registry.archive(key, four[3], at=at, reason=""),
    ):
        with pytest.raises(InvalidLedger, match=r"ledger.jsonl:4: .*run 'bot models repair BTCUSDT basic'"):
            act()
    assert all("bot models repair BTCUSDT basic" in model.problem for model in registry.list_bundles())
    assert ["bot models repair BTCUSDT basic" in each.problem for each in registry.validate()] == [True]
    assert path.read_bytes() == damaged


def test_a_plan_changes_nothing_and_is_what_is_done(registry, at, four, path, folder):
    damaged = damage(path, 4)
    before = sorted(each.name for each in folder.iterdir())
    planned = registry.examine("BTCUSDT", "basic", at=at + timedelta(days=30))
    assert path.read_bytes() == damaged
    assert sorted(each.name for each in folder.iterdir()) == before
    assert mend(registry, at, expected=planned.digest) == planned


def test_what_stays_what_comes_back_and_what_is_gone(registry, key, files, at, four, path, folder):
    a, b, c, d = four
    sound = path.read_bytes().splitlines(keepends=True)
    damaged = damage(path, 4)
    done = mend(registry, at)
    assert (done.model, done.kept, done.lost, done.unreadable) == ("BTCUSDT/basic", 3, 5, 1)
    assert done.fault.startswith(f"{path}: row 4: this row was damaged")
    assert done.digest == hashlib.sha256(damaged).hexdigest()
    assert done.adopted == (c, d)
    assert done.set_aside == {a: "quarantined"}  # so it says in row 8: it was champion of the kept rows, and is no more
    assert (done.champions, done.withdrawn, done.left_out) == ({}, {}, {})
    assert (folder / done.saved_as).read_bytes() == damaged
    assert done.saved_as.startswith("ledger.damaged-2026-12-20T120000Z-")
    assert path.read_bytes().startswith(b"".join(sound[:3]))
    assert status(registry) == {a: "quarantined", b: "candidate", c: "candidate", d: "candidate"}
    assert links(folder) == {}
    assert registry.validate() == registry.leftovers() == []
    rows = registry.history(key)
    assert [row.action for row in rows[3:]] == ["repair", "register", "register", "quarantine"]
    assert rows[3].evidence["damaged_sha256"] == done.digest
    assert (rows[3].evidence["rows_kept"], rows[3].evidence["lines_lost"], rows[3].evidence["lines_unreadable"]) == (
        3,
        5,
        1,
    )
    assert [each["version"] for each in rows[3].evidence["lost_decisions"]] == [c, a]
    assert mend(registry, at) is None  # sound now
    assert registry.promote(key, c, at=at, reason="again").status == "champion"
    assert registry.register(key, files("e"), at=at + timedelta(days=9)).status == "candidate"


def test_a_champion_of_whom_everything_speaks_stays(registry, key, files, at, path, folder):
    a = registry.register(key, files("a"), at=at).version_id
    registry.promote(key, a, at=at, reason="gate")
    b = registry.register(key, files("b"), at=at).version_id
    c = registry.register(key, files("c"), at=at).version_id
    damage(path, 3)
    done = mend(registry, at)
    assert (done.champions, done.withdrawn) == ({"1h": a}, {})
    assert done.adopted == (c,)
    assert done.left_out == {b: "no intact row registered it"}
    assert registry.champion(key).version_id == a
    assert links(folder) == {"latest-1h": a, "latest": a}
    assert [finding.place for finding in registry.validate()] == [f"BTCUSDT/basic@{b}"]


def test_a_champion_against_whom_a_lost_row_speaks_is_withdrawn(registry, key, at, four, path, folder):
    a, b, c, d = four
    damage(path, 5)  # the registration of c; the promotion of c is intact and lost
    done = mend(registry, at)
    assert done.withdrawn == {b: f"after the damage the lost rows speak of {c}"}
    assert done.champions == {}
    assert done.adopted == (d,)
    with pytest.raises(NoChampion):
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h")
    assert links(folder) == {"previous-1h": b}
    assert registry.history(key)[-1].action == "withdraw"
    assert registry.reigns(key)[-1].version is None
    assert registry.rollback(key, at=at, reason="I know it is sound").version_id == b


def test_a_champion_against_whom_only_the_link_speaks_is_withdrawn(registry, key, at, four, path, folder):
    a, b, c, d = four
    damage(path, 7, 8)  # the promotion of c cannot be read: only latest-1h tells of it
    done = mend(registry, at)
    assert done.withdrawn == {b: f"after the damage the link points to {c}"}
    assert status(registry)[a] == "superseded"  # its quarantine cannot be read
    assert registry.validate() == []


def test_a_link_that_lags_behind_is_not_enough(registry, key, at, four, path, folder):
    """The promotion of c was written and its link not swapped yet; the row before it is damaged."""
    _, b, c, _ = four
    (folder / "latest-1h").unlink()
    (folder / "latest-1h").symlink_to(b)
    damage(path, 6)
    assert mend(registry, at).withdrawn == {b: f"after the damage the lost rows speak of {c}"}
    assert registry.champion(key) is None


def test_a_quarantine_that_cannot_be_read_shows_in_the_missing_link(registry, key, at, four, path, folder):
    _, _, c, _ = four
    registry.quarantine(key, c, at=at, reason="drift")
    damage(path, 9)
    done = mend(registry, at)
    assert done.withdrawn == {c: "after the damage the link points to no champion"}
    assert registry.champion(key) is None


def test_a_removed_row_is_a_broken_chain(registry, key, at, four, path):
    a, b, c, d = four
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3] + lines[4:]))
    done = mend(registry, at)
    assert (done.kept, done.lost, done.unreadable) == (3, 4, 0)
    assert done.adopted == (c, d)
    assert status(registry)[c] == "candidate"


def test_what_was_archived_or_promoted_in_lost_rows(registry, key, files, at, four, path):
    a, b, c, d = four
    registry.archive(key, d, at=at, reason="not in the kept set")
    registry.promote(key, a, at=at, reason="taken out of quarantine")
    damage(path, 3)  # the first promotion
    done = mend(registry, at)
    assert done.set_aside == {d: "archived"}
    assert status(registry) == {a: "candidate", b: "candidate", c: "candidate", d: "archived"}


def test_a_bundle_that_is_not_what_its_row_says_is_not_adopted(registry, key, at, four, path, folder):
    a, b, c, d = four
    damage(path, 4)
    (folder / c / "manifest.json").write_bytes(b"{}")
    shutil.rmtree(folder / d)
    done = mend(registry, at)
    assert done.adopted == ()
    assert done.left_out == {c: "no intact row registered it"}
    assert registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version=b).problem is None


def test_a_registration_that_a_crash_left_half_done_is_adopted(registry, key, at, four, path, folder):
    *_, d = four
    row = next(row for row in registry.history(key) if row.version == d and row.action == "register")
    (folder / d).rename(folder / row.staged)
    damage(path, 4)
    assert d in mend(registry, at).adopted
    assert (folder / d / "model.txt").is_file()
    assert registry.validate() == registry.leftovers() == []


def test_a_ledger_whose_first_row_is_damaged(registry, key, at, four, path):
    a, b, c, d = four
    damage(path, 1)
    done = mend(registry, at)
    assert done.kept == 0
    assert done.left_out == {a: "no intact row registered it"}
    assert done.adopted == (b, c, d)
    assert done.champions == {}


def test_rubbish_in_place_of_a_ledger(registry, key, at, four, path):
    path.write_bytes(b"\x00\xff\n" * 50)
    done = mend(registry, at)
    assert (done.kept, done.lost, done.unreadable, done.adopted) == (0, 50, 50, ())
    assert set(done.left_out) == set(four)
    with pytest.raises(InvalidBundle):
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h")
    assert len(read_ledger(path, "BTCUSDT/basic").rows) == 1


def test_rows_that_contradict_each_other_are_damage_too(registry, key, at, four, path):
    """Sealed and chained by somebody who knew how, but promoting what was never registered."""
    lines = path.read_bytes().splitlines(keepends=True)
    document = json.loads(lines[3])
    del document["sha256"]
    document["version"] = "2030-01-01T000000Z_1h_v1"
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    forged = body[:-1] + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    path.write_bytes(b"".join([*lines[:3], forged]))
    with pytest.raises(InvalidLedger):
        registry.champion(key)
    done = mend(registry, at)
    assert (done.kept, done.lost, done.unreadable) == (3, 1, 0)
    assert "was not registered" in done.fault
    assert "2030-01-01T000000Z_1h_v1" in next(iter(done.withdrawn.values()))


def test_a_newer_programs_ledger_is_not_repaired(registry, key, at, four, path):
    lines = path.read_bytes().splitlines(keepends=True)
    document = json.loads(lines[-1]) | {"schema_version": 3}
    del document["sha256"]
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    new = body[:-1] + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    for text in ([*lines[:-1], new], [lines[0], b"rubbish\n", new]):
        path.write_bytes(b"".join(text))
        with pytest.raises(LedgerTooNew, match="update it"):
            mend(registry, at)
        assert path.read_bytes() == b"".join(text)


def test_another_models_ledger_is_not_mixed_in(registry, key, files, at, four, path):
    other = ModelKey("ETHUSDT", "basic", "1h")
    registry.register(other, files("e"), at=at)
    text = (registry.root / "ETHUSDT/basic/ledger.jsonl").read_bytes()
    path.write_bytes(text)
    with pytest.raises(InvalidLedger, match="is the ledger of another model: put that of BTCUSDT/basic in its place"):
        mend(registry, at)
    assert path.read_bytes() == text


def test_a_sound_ledger_is_left_alone(registry, key, at, four, path):
    before = path.read_bytes()
    assert registry.examine("BTCUSDT", "basic", at=at) is None
    assert mend(registry, at) is None
    path.write_bytes(before + b'{"action":"promo')  # a crash is no damage
    assert mend(registry, at) is None
    path.write_bytes(before[:-1])
    assert mend(registry, at) is None
    with pytest.raises(ModelNotFound):
        registry.repair("XRPUSDT", "basic", at=at)


def test_only_what_was_agreed_to_is_done(registry, at, four, path):
    damaged = damage(path, 4)
    with pytest.raises(RegistryBusy, match="was changed in the meantime: look again"):
        mend(registry, at, expected="0" * 64)
    impatient = PredictionModelRegistry(registry.root, lock_timeout=0.01)
    with exclusive(path.parent, 0), pytest.raises(RegistryBusy):
        mend(impatient, at)
    assert path.read_bytes() == damaged


def test_a_second_damage_is_saved_beside_the_first(registry, key, at, four, path, folder):
    damage(path, 4)
    first = mend(registry, at)
    registry.promote(key, four[2], at=at, reason="")
    damage(path, len(path.read_bytes().splitlines()))
    second = mend(registry, at)
    assert first.saved_as != second.saved_as
    assert len(list(folder.glob("ledger.damaged-*"))) == 2
    assert registry.validate() == []


def test_an_old_reader_object_sees_the_repaired_ledger(registry, key, at, four, path):
    reader = PredictionModelRegistry(registry.root)
    assert reader.champion_version(key) == four[2]
    damage(path, 4)
    with pytest.raises(InvalidLedger):
        reader.champion_version(key)
    mend(registry, at)
    assert reader.champion_version(key) is None
    assert reader.reigns(key) == registry.reigns(key)


def test_every_single_row_may_be_the_damaged_one(registry, key, at, four, path, tmp_path):
    """Whichever row it is: readable afterwards, nothing quarantined is in use, champions are no guess."""
    for number in range(1, 9):
        for kind in ("change", "remove", "repeat"):
            root = tmp_path / f"{kind}{number}"
            shutil.copytree(registry.root, root, symlinks=True)
            copy = root / "BTCUSDT/basic/ledger.jsonl"
            lines = copy.read_bytes().splitlines(keepends=True)
            if kind == "change":
                damage(copy, number)
            else:
                lines[number - 1 : number] = [] if kind == "remove" else [lines[number - 1]] * 2
                copy.write_bytes(b"".join(lines))
            mended = PredictionModelRegistry(root)
            done = mended.repair("BTCUSDT", "basic", at=at)
            if kind == "remove" and number == 8:
                assert done is None  # the end is gone, and every row before is what it was
                continue
            assert done.kept == number - (kind != "repeat")
            assert mended.champion_version(key) in (None, four[2])
            assert set(status(mended)) | set(done.left_out) == set(four)
            assert all("does not know this folder" in finding.problem for finding in mended.validate())
            assert copy.with_name(done.saved_as).exists()
