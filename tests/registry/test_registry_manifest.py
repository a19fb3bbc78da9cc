from __future__ import annotations

import hashlib
import json
import os

import pytest

from registry.errors import InvalidBundle
from registry.manifest import (
    ALLOWED_SUFFIXES,
    Manifest,
    check_file_name,
    read_manifest,
    read_regular_file,
)


@pytest.mark.parametrize(
    "name", [f"model{suffix}" for suffix in ALLOWED_SUFFIXES] + ["oos_predictions.parquet", "_a-1.txt"]
)
def test_formats_that_cannot_run_code_are_allowed(name):
    check_file_name(name, "here")


@pytest.mark.parametrize(
    "name",
    [
        "model.pkl",
        "model.joblib",
        "model.h5",
        "model.keras",
        "model.pt",
        "run.py",
        "lib.so",
        "model.txt.pkl",
        "MODEL.TXT",
        "model",
    ],
)
def test_other_formats_are_refused(name):
    with pytest.raises(InvalidBundle, match=r"not allowed in a bundle: expected one of .txt .json"):
        check_file_name(name, "here")


@pytest.mark.parametrize(
    "name",
    [
        "/etc/x.txt",
        "../x.txt",
        "a/b.txt",
        "a\\b.txt",
        "..txt",
        ".hidden.txt",
        "",
        ".",
        "x..txt",
        "a\x00.txt",
        "a.txt\n",
        "a" * 200 + ".txt",
    ],
)
def test_paths_are_refused(name):
    with pytest.raises(InvalidBundle, match=r"not a file name|not allowed"):
        check_file_name(name, "here")


def test_the_manifest_holds_the_digests_that_hashlib_computes():
    manifest = Manifest.of({"b.txt": b"two", "a.txt": b"one"}, "here")
    document = json.loads(manifest.to_bytes())
    assert document["schema_version"] == 1
    assert list(document["files"]) == ["a.txt", "b.txt"]
    assert document["files"]["a.txt"] == {"sha256": hashlib.sha256(b"one").hexdigest(), "bytes": 3}
    assert Manifest.from_bytes(manifest.to_bytes(), "here") == manifest


def test_a_caller_does_not_write_the_manifest():
    with pytest.raises(InvalidBundle, match="written by the registry"):
        Manifest.of({"manifest.json": b"{}"}, "here")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "schema_version None"),
        (b"{}", "schema_version None, this program reads 1"),
        (b'{"schema_version": 2, "files": {}}', "schema_version 2, this program reads 1"),
        (b'{"schema_version": "1", "files": {}}', "schema_version '1'"),
        (b'{"schema_version": 1}', "lists no files"),
        (b'{"schema_version": 1, "files": []}', "lists no files"),
        (b'{"schema_version": 1, "files": {"../x.txt": {}}}', "not a file name"),
        (b'{"schema_version": 1, "files": {"x.pkl": {}}}', "not allowed"),
        (b'{"schema_version": 1, "files": {"x.txt": {}}}', "expected sha256 and bytes"),
        (b'{"schema_version": 1, "files": {"x.txt": 3}}', "expected sha256 and bytes"),
        (b'{"schema_version": 1, "files": {"x.txt": {"sha256": "00", "bytes": 1}}}', "64 hexadecimal digits"),
        (
            json.dumps({"schema_version": 1, "files": {"x.txt": {"sha256": "0" * 64, "bytes": -1}}}).encode(),
            "not a size",
        ),
        (
            json.dumps({"schema_version": 1, "files": {"x.txt": {"sha256": "0" * 64, "bytes": True}}}).encode(),
            "not a size",
        ),
    ],
)
def test_a_manifest_of_another_form_is_refused(data, message):
    with pytest.raises(InvalidBundle, match=message):
        Manifest.from_bytes(data, "here")


@pytest.fixture
def folder(tmp_path):
    for name, data in {"a.txt": b"one", "b.txt": b"two"}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


@pytest.fixture
def manifest():
    return Manifest.of({"a.txt": b"one", "b.txt": b"two"}, "here")


def test_a_sound_folder_passes(folder, manifest):
    manifest.check_names(folder)
    assert manifest.read(folder, "a.txt") == b"one"


def test_a_file_that_is_not_named_is_refused(folder, manifest):
    (folder / "extra.txt").write_bytes(b"")
    with pytest.raises(InvalidBundle, match=r"'extra.txt' is not named by manifest.json"):
        manifest.check_names(folder)
    with pytest.raises(InvalidBundle, match=r"has no 'extra.txt'; it has a.txt, b.txt"):
        manifest.read(folder, "extra.txt")


def test_a_missing_file_is_refused(folder, manifest):
    (folder / "b.txt").unlink()
    with pytest.raises(InvalidBundle, match=r"'b.txt' is missing"):
        manifest.check_names(folder)
    with pytest.raises(InvalidBundle, match=r"'b.txt' is missing"):
        manifest.read(folder, "b.txt")


def test_a_changed_file_is_refused(folder, manifest):
    (folder / "b.txt").write_bytes(b"TWO")
    manifest.check_names(folder)  # names and sizes only
    with pytest.raises(InvalidBundle, match=r"'b.txt' was changed"):
        manifest.read(folder, "b.txt")
    (folder / "b.txt").write_bytes(b"three")
    with pytest.raises(InvalidBundle, match=r"5 bytes, manifest.json says 3"):
        manifest.check_names(folder)
    with pytest.raises(InvalidBundle, match=r"'b.txt' was changed"):
        manifest.read(folder, "b.txt")


def test_links_folders_and_pipes_are_refused(folder, manifest, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside") / "a.txt"
    outside.write_bytes(b"one")
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(outside)
    with pytest.raises(InvalidBundle, match="symbolic link"):
        manifest.check_names(folder)
    with pytest.raises(InvalidBundle, match="symbolic link"):
        manifest.read(folder, "a.txt")
    (folder / "a.txt").unlink()
    (folder / "a.txt").mkdir()
    with pytest.raises(InvalidBundle, match="not a file"):
        manifest.check_names(folder)
    with pytest.raises(InvalidBundle, match="not a file"):
        manifest.read(folder, "a.txt")
    (folder / "a.txt").rmdir()
    os.mkfifo(folder / "a.txt")  # opening one to read would wait for a writer
    with pytest.raises(InvalidBundle, match="not a file"):
        manifest.read(folder, "a.txt")


def test_a_bundle_folder_that_is_a_link_is_refused(folder, manifest, tmp_path_factory):
    link = tmp_path_factory.mktemp("links") / "bundle"
    link.symlink_to(folder)
    with pytest.raises(InvalidBundle, match="is a symbolic link, not a bundle"):
        manifest.read(link, "a.txt")
    with pytest.raises(InvalidBundle, match="does not exist"):
        read_regular_file(folder / "nowhere", "a.txt")


def test_a_file_that_may_not_be_read_is_named(folder, manifest):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (folder / "a.txt").chmod(0)
    with pytest.raises(InvalidBundle, match="cannot be read: Permission denied"):
        manifest.read(folder, "a.txt")


def test_the_manifest_is_checked_against_the_ledgers_digest(folder, manifest):
    (folder / "manifest.json").write_bytes(manifest.to_bytes())
    digest = hashlib.sha256(manifest.to_bytes()).hexdigest()
    assert read_manifest(folder, digest) == manifest
    with pytest.raises(InvalidBundle, match="digest is not the one in the ledger"):
        read_manifest(folder, "0" * 64)
    (folder / "manifest.json").unlink()
    with pytest.raises(InvalidBundle, match=r"'manifest.json' is missing"):
        read_manifest(folder, digest)
