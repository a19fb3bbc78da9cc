"""Tokens on the disk: made once, shown once, refused as soon as they are revoked."""

from __future__ import annotations

import hashlib
import hmac
import json
import multiprocessing
import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from bot.errors import StorageError, UsageError
from bot.service.access import Identity, Scope, TokenRow, TokenStore
from registry.locks import acquire, release

FOLDER = "service"


@pytest.fixture
def store(tmp_path):
    return TokenStore(tmp_path / "home" / FOLDER, now_ms=lambda: 1_700_000_000_000)


def digests(store):
    return [entry["sha256"] for entry in json.loads(store.path.read_text())["tokens"]]


def rewrite(store, change):
    """Change the document of a store with one token as by hand."""
    document = json.loads(store.path.read_text())
    change(document)
    store.path.write_text(json.dumps(document))


def test_the_first_token_may_write_and_is_made_once(store):
    raw = store.first()

    assert raw is not None
    assert raw.startswith("mlbot_")
    assert len(raw) == 6 + 43
    assert store.identify(raw) == Identity("owner", Scope.WRITE)
    assert store.first() is None
    assert TokenStore(store.path.parent).first() is None
    assert store.list() == (TokenRow("owner", Scope.WRITE, 1_700_000_000_000),)


@pytest.mark.parametrize(
    ("names", "name"),
    [(("reader",), "owner"), (("reader", "owner"), "owner-2"), (("owner", "owner-2", "owner-4"), "owner-3")],
)
def test_where_no_token_may_write_the_owner_gets_one_whatever_else_there_is(store, names, name):
    readers = [store.create(each, Scope.READ) for each in names]

    raw = store.first()

    assert store.identify(raw) == Identity(name, Scope.WRITE)
    assert [store.identify(reader) for reader in readers] == [Identity(each, Scope.READ) for each in names]
    assert [row.name for row in store.list()] == [*names, name]
    assert store.first() is None

    store.revoke(names[0])
    assert store.first() is None
    with pytest.raises(UsageError, match=f"'{name}' is the last token that may write"):
        store.revoke(name)


def test_a_writer_of_any_name_is_enough(store):
    store.create("mine", Scope.WRITE)

    assert store.first() is None
    assert [row.name for row in store.list()] == ["mine"]


def test_the_disk_holds_digests_only_and_is_closed_to_others(store):
    raws = [store.first(), store.create("reader", Scope.READ)]
    held = store.path.read_text()

    assert digests(store) == [hashlib.sha256(raw.encode()).hexdigest() for raw in raws]
    assert not any(raw in held or raw.removeprefix("mlbot_") in held for raw in raws)
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert {path.name for path in store.path.parent.iterdir()} == {"tokens.json", ".lock"}


def test_a_folder_that_is_there_is_closed_and_leftovers_go(store):
    store.path.parent.mkdir(parents=True)
    store.path.parent.chmod(0o755)
    (store.path.parent / ".tmp-tokens-0123").write_text("cut off")
    (store.path.parent / "jobs").mkdir()

    store.first()

    assert stat.S_IMODE(store.path.parent.stat().st_mode) == 0o700
    assert {path.name for path in store.path.parent.iterdir()} == {"tokens.json", ".lock", "jobs"}


def test_tokens_are_random_and_differ(store):
    raws = [store.create(f"t{number}", Scope.READ) for number in range(20)]

    assert len(set(raws)) == 20
    assert all(re.fullmatch(r"mlbot_[A-Za-z0-9_-]{43}", raw) for raw in raws)
    assert [store.identify(raw).name for raw in raws] == [f"t{number}" for number in range(20)]


def test_write_includes_read():
    assert [(scope, needed) for scope in Scope for needed in Scope if not scope.allows(needed)] == [
        (Scope.READ, Scope.WRITE)
    ]
    assert Identity("a", Scope.WRITE).may_write
    assert not Identity("a", Scope.READ).may_write


@pytest.mark.parametrize("raw", ["", "mlbot_", "mlbot_" + "A" * 43, "é\udcff", "x" * 100_000])
def test_a_wrong_token_is_nobody(store, raw):
    store.first()

    assert store.identify(raw) is None


def test_part_of_a_token_or_its_digest_is_nobody(store):
    raw = store.first()

    assert store.identify(raw[:-1]) is None
    assert store.identify(raw + "A") is None
    assert store.identify(digests(store)[0]) is None


def test_without_a_file_nobody_is_known(store):
    assert store.identify("mlbot_" + "A" * 43) is None
    assert store.list() == ()
    assert not store.path.parent.exists()


@pytest.mark.parametrize("which", [0, 2, 4, None])
def test_every_digest_is_compared_whichever_is_right(store, monkeypatch, which):
    raws = [store.first(), *(store.create(f"t{number}", Scope.READ) for number in range(4))]
    compared = []
    real = hmac.compare_digest

    def counted(a, b):
        compared.append(a)
        return real(a, b)

    monkeypatch.setattr(hmac, "compare_digest", counted)
    found = store.identify("mlbot_wrong" if which is None else raws[which])

    assert (found is None) == (which is None)
    assert compared == digests(store)


def test_a_change_of_another_process_is_seen_at_once(store):
    owner = store.first()
    code = (
        "import sys; from pathlib import Path; from bot.service.access import Scope, TokenStore\n"
        "store = TokenStore(Path(sys.argv[1])); print(store.create('reader', Scope.READ))\n"
    )
    command = [sys.executable, "-c", code, str(store.path.parent)]
    reader = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert store.identify(reader) == Identity("reader", Scope.READ)

    TokenStore(store.path.parent).revoke("reader")

    assert store.identify(reader) is None
    assert store.identify(owner) is not None
    store.path.unlink()
    assert store.identify(owner) is None


def test_the_file_is_read_again_only_where_it_changed(store, monkeypatch):
    raw = store.first()
    store.identify(raw)
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *given, **named: opened.append(given[0]) or real(*given, **named))

    for _ in range(5):
        store.identify(raw)
    assert opened == []

    os.utime(store.path, ns=(1, 1))
    store.identify(raw)
    assert opened == [store.path]


def make_first(folder, start, results):
    start.wait()
    results.put(TokenStore(Path(folder)).first())


def test_of_processes_that_start_at_once_one_makes_the_first_token(tmp_path):
    context = multiprocessing.get_context("spawn")
    start, results = context.Event(), context.Queue()
    processes = [context.Process(target=make_first, args=(str(tmp_path / FOLDER), start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    made = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
        process.close()
    results.close()
    results.join_thread()

    (raw,) = [raw for raw in made if raw is not None]
    store = TokenStore(tmp_path / FOLDER)
    assert store.identify(raw) == Identity("owner", Scope.WRITE)
    assert len(store.list()) == 1


def test_who_waited_while_another_made_the_first_token_makes_none(store, monkeypatch):
    other = []

    def late(path, seconds):
        monkeypatch.undo()
        other.append(TokenStore(store.path.parent).first())
        return acquire(path, seconds)

    monkeypatch.setattr("bot.service.access.acquire", late)

    assert store.first() is None
    assert store.identify(other[0]) == Identity("owner", Scope.WRITE)


@pytest.mark.parametrize("name", ["", "Owner", "a" * 33, "a b", "a\n", "../x", "ä", "a_b"])
def test_names_are_short_and_plain(store, name):
    with pytest.raises(UsageError, match="expected 1 to 32 of a-z, 0-9 and -"):
        store.create(name, Scope.READ)
    assert not store.path.exists()


def test_a_name_is_given_once(store):
    store.first()
    before = store.path.read_bytes()

    with pytest.raises(UsageError, match="there is a token 'owner' already"):
        store.create("owner", Scope.READ)
    assert store.path.read_bytes() == before


def test_what_is_not_there_is_not_revoked(store):
    with pytest.raises(UsageError, match="there is no token 'x': there are none yet"):
        store.revoke("x")
    store.first()
    with pytest.raises(UsageError, match=r"there is no token 'ovner'; did you mean 'owner'\? \(there are: owner\)"):
        store.revoke("ovner")


def test_the_last_token_that_may_write_stays(store):
    owner = store.first()
    store.create("reader", Scope.READ)
    with pytest.raises(UsageError, match="'owner' is the last token that may write"):
        store.revoke("owner")
    assert store.identify(owner) is not None

    store.create("second", Scope.WRITE)
    store.revoke("owner")
    assert [row.name for row in store.list()] == ["reader", "second"]
    store.revoke("reader")
    with pytest.raises(UsageError, match="the last token"):
        store.revoke("second")


def test_a_reader_goes_where_no_token_may_write_and_the_owner_comes_after_it(store):
    for name in ("phone", "tablet"):
        store.create(name, Scope.READ)
    store.revoke("phone")
    store.revoke("tablet")
    assert store.list() == ()
    with pytest.raises(UsageError, match="there is no token 'phone': there are none yet"):
        store.revoke("phone")

    assert store.identify(store.first()) == Identity("owner", Scope.WRITE)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(schema_version=2), "expected schema_version 1"),
        (lambda d: d.pop("tokens"), "'tokens' is missing"),
        (lambda d: d.update(tokens=7), "not iterable"),
        (lambda d: d.update(tokens=["x"]), "indices"),
        (lambda d: d["tokens"][0].pop("sha256"), "'sha256' is missing"),
        (lambda d: d["tokens"][0].update(sha256="0" * 63), "sha256 of owner is no digest"),
        (lambda d: d["tokens"][0].update(sha256=None), "sha256 of owner is no digest"),
        (lambda d: d["tokens"][0].update(name="A B"), "a name is none"),
        (lambda d: d["tokens"][0].update(scope="admin"), "'admin' is not a valid Scope"),
        (lambda d: d["tokens"][0].update(created_ms=True), "created_ms of owner is no whole number"),
        (lambda d: d["tokens"].append(d["tokens"][0]), "a token stands in it twice"),
        (lambda d: d["tokens"].append(d["tokens"][0] | {"name": "other"}), "a token stands in it twice"),
        (lambda d: d["tokens"].append(d["tokens"][0] | {"sha256": "0" * 64}), "a token stands in it twice"),
        (lambda d: d.update(note="x" * (1 << 20)), "it is too large"),
    ],
)
def test_a_file_that_is_not_ours_is_refused(store, change, reason):
    raw = store.first()
    rewrite(store, change)
    before = store.path.read_bytes()

    for call in (lambda: store.identify(raw), store.first, store.list, lambda: store.create("new", Scope.WRITE)):
        with pytest.raises(StorageError, match=f"is no token file of this program .*{reason}") as caught:
            call()
        assert "\n" not in str(caught.value)
        assert str(store.path) in str(caught.value)
    assert store.path.read_bytes() == before


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe\xfd", b"null", b"[" * 200_000], ids=range(6))
def test_what_is_no_document_is_refused(store, text):
    store.first()
    store.path.write_bytes(text)

    with pytest.raises(StorageError, match="is no token file of this program"):
        TokenStore(store.path.parent).list()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_file_that_others_may_read_is_refused_with_what_mends_it(store, mode):
    raw = store.first()
    assert store.identify(raw) is not None
    store.path.chmod(mode)

    with pytest.raises(StorageError, match=rf"may be read by others \(mode {mode:o}\): chmod 600 '") as caught:
        store.identify(raw)

    subprocess.run(["/bin/sh", "-c", str(caught.value).partition("): ")[2]], check=True)
    assert store.identify(raw) is not None


def test_what_is_no_file_is_refused_and_never_waited_for(store):
    store.path.parent.mkdir(parents=True)
    os.mkfifo(store.path, 0o600)
    with pytest.raises(StorageError, match="is not a file"):
        store.first()
    store.path.unlink()
    store.path.mkdir(mode=0o700)
    with pytest.raises(StorageError, match="is not a file"):
        store.first()


def test_a_home_that_cannot_be_made_is_said(tmp_path):
    (tmp_path / "home").write_text("a file")
    store = TokenStore(tmp_path / "home" / FOLDER)

    with pytest.raises(StorageError, match="cannot be read: Not a directory"):
        store.first()
    # even root makes no folder there
    with pytest.raises(StorageError, match=r"tokens\.json cannot be written: "):
        TokenStore(Path("/proc/home/service")).first()


def test_a_folder_that_may_not_be_written_is_said():
    """As a user without rights, since root may write everything."""
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from bot.errors import StorageError\n"
        "from bot.service.access import Scope, TokenStore\n"
        "if os.geteuid() == 0:\n"
        "    os.seteuid(65534)\n"
        "store = TokenStore(Path(sys.argv[1]))\n"
        "store.first(), store.create('second', Scope.WRITE)\n"
        "store.path.parent.chmod(0o500)\n"
        "for change in (lambda: store.create('reader', Scope.READ), lambda: store.revoke('owner')):\n"
        "    try:\n"
        "        change()\n"
        "    except StorageError as error:\n"
        "        print(error)\n"
        "print(store.first(), len(store.list()), sorted(path.name for path in store.path.parent.iterdir()))\n"
    )
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        Path(name).chmod(0o777)
        folder = Path(name) / FOLDER
        done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=False)
        folder.chmod(0o700)

    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines == [
        f"{folder}/tokens.json cannot be written: Permission denied",
        f"{folder}/tokens.json cannot be written: Permission denied",
        "None 2 ['.lock', 'tokens.json']",
    ]


def test_while_another_process_changes_the_tokens_nobody_else_does(store, monkeypatch):
    store.first()
    monkeypatch.setattr("bot.service.access._LOCK_S", 0.05)
    held = acquire(store.path.parent / ".lock", 1)
    try:
        with pytest.raises(StorageError, match="another process changes the tokens: try again"):
            store.create("reader", Scope.READ)
        assert len(store.list()) == 1
    finally:
        release(held)
    store.create("reader", Scope.READ)
    assert len(store.list()) == 2


def test_nothing_that_is_printed_holds_a_token_or_a_digest(store):
    raw = store.first()
    store.identify(raw)
    (digest,) = digests(store)

    for shown in (repr(store), repr(store.list()), repr(store.identify(raw)), repr(store._read())):
        assert raw not in shown
        assert digest not in shown
