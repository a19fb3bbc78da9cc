from __future__ import annotations

import shutil
from datetime import timedelta

import pytest

from registry.inspection import Finding
from registry.names import ModelKey
from registry.store import PredictionModelRegistry


@pytest.fixture
def filled(registry, key, files, at):
    """Three versions, the second is champion after the first; and a second model."""
    names = [registry.register(key, files(tag), at=at + timedelta(hours=i)).version_id for i, tag in enumerate("abc")]
    for name in names[:2]:
        registry.promote(key, name, at=at, reason="gate")
    other = ModelKey("ETHUSDT", "basic", "4h")
    registry.promote(other, registry.register(other, files("e"), at=at).version_id, at=at, reason="gate")
    return names


def problems(registry):
    return [str(finding) for finding in registry.validate()]


def test_a_sound_registry_has_no_findings(registry, filled):
    seen = []
    assert registry.validate(lambda fraction, text: seen.append((fraction, text))) == []
    assert seen[-1] == (1.0, "ETHUSDT/basic")
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert registry.leftovers() == []


def test_every_fault_is_a_finding_with_its_place(registry, filled):
    folder = registry.root / "BTCUSDT/basic"
    a, b, c = (folder / name for name in filled)
    (a / "model.txt").write_bytes(b"x" * (a / "model.txt").stat().st_size)
    (b / "extra.txt").write_bytes(b"")
    (c / "metrics.json").unlink()
    (folder / "notes.txt").write_bytes(b"")
    shutil.copytree(a, folder / "2020-01-01T000000Z_1h_v1")
    (registry.root / "readme").write_bytes(b"")
    (registry.root / "btcusdt").mkdir()
    (registry.root / "btcusdt" / "basic").mkdir()
    assert problems(registry) == [
        f"{registry.root}/btcusdt/basic: is not a TYPE folder with a canonical name",
        f"{registry.root}/readme: is not a SYMBOL folder",
        f"BTCUSDT/basic@{a.name}: {a}: 'model.txt' was changed: its digest is not the one in manifest.json",
        f"BTCUSDT/basic@{b.name}: {b}: 'extra.txt' is not named by manifest.json",
        f"BTCUSDT/basic@{c.name}: {c}: 'metrics.json' is missing",
        "BTCUSDT/basic@2020-01-01T000000Z_1h_v1: the ledger does not know this folder",
        f"{folder}/notes.txt: is no bundle, link or ledger of ours",
    ]


def test_a_folder_that_is_gone_is_a_finding(registry, filled):
    shutil.rmtree(registry.root / "BTCUSDT/basic" / filled[1])
    found = problems(registry)
    assert any("does not exist" in each and filled[1] in each for each in found)
    assert any(f"latest-1h: points to '{filled[1]}', which does not exist" in each for each in found)


def test_links_that_were_moved_by_hand_are_findings(registry, filled):
    a, _, c = filled
    folder = registry.root / "BTCUSDT/basic"
    (folder / "latest-1h").unlink()
    (folder / "latest-1h").symlink_to(c)
    (folder / "previous-1h").unlink()
    assert problems(registry) == [
        f"{folder}/latest-1h: points to '{c}', the ledger says '{filled[1]}'",
    ]  # the first promotion had no previous: without the link the folder looks as a crash may leave it
    (folder / "latest-1h").unlink()
    (folder / "latest-1h").symlink_to("/etc")
    assert any("points to '/etc'" in each for each in problems(registry))
    (folder / "latest-4h").symlink_to(a)
    assert any("latest-4h: is no bundle" in each for each in problems(registry))


def test_an_edited_ledger_is_a_finding(registry, filled):
    ledger = registry.root / "BTCUSDT/basic/ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:3] + lines[4:]))
    assert any(
        "ledger.jsonl:4: a row before this one was changed, removed or inserted" in each for each in problems(registry)
    )


@pytest.mark.parametrize("removed", [1, 2, 3])
def test_rows_cut_from_the_end_are_found_by_what_they_left(registry, key, filled, files, at, removed):
    """A chain cannot know that rows are missing at its end; folders and links do."""
    registry.register(key, files("d"), at=at + timedelta(days=1))
    ledger = registry.root / "BTCUSDT/basic/ledger.jsonl"
    lines = ledger.read_bytes().splitlines(keepends=True)
    ledger.write_bytes(b"".join(lines[:-removed]))
    assert problems(registry) != []


def test_every_bundle_is_opened_where_the_registry_can(registry, filled):
    opened = []

    def open_runner(model):
        opened.append(str(model))
        if model.symbol == "ETHUSDT":
            raise ZeroDivisionError
        return object()

    running = PredictionModelRegistry(registry.root, open_runner)
    assert [finding.problem for finding in running.validate()] == ["ZeroDivisionError"]
    assert len(opened) == 4
    assert running.validate(run=False) == []
    assert len(opened) == 4


def test_hidden_files_of_other_programs_are_left_alone(registry, filled):
    for place in (registry.root, registry.root / "BTCUSDT", registry.root / "BTCUSDT/basic"):
        (place / ".DS_Store").write_bytes(b"")
    assert problems(registry) == []


def test_an_unfinished_ledger_line_is_no_finding(registry, filled):
    ledger = registry.root / "BTCUSDT/basic/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes() + b'{"action":"prom')
    assert problems(registry) == []
    assert [str(each) for each in registry.leftovers()] == [f"{ledger}: ends in an unfinished line"]


def test_a_finding_reads_as_one_line():
    assert str(Finding("here", "is wrong")) == "here: is wrong"


def test_a_registry_survives_a_copy(registry, filled, tmp_path):
    shutil.copytree(registry.root, tmp_path / "copy", symlinks=True)
    copy = PredictionModelRegistry(tmp_path / "copy")
    assert copy.validate() == []
    assert str((copy.root / "BTCUSDT/basic/latest-1h").readlink()) == filled[1]
    assert copy.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h").version_id == filled[1]
