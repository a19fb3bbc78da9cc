from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from registry.errors import (
    InvalidBundle,
    InvalidName,
    ModelNotFound,
    NoChampion,
    RegistryBusy,
    RegistryError,
    RegistryUnwritable,
    TransitionRefused,
)
from registry.locks import exclusive
from registry.manifest import MANIFEST_NAME, sha256
from registry.names import ModelKey
from registry.store import PredictionModelRegistry


def select(registry, version=None, symbol="BTCUSDT", model_type="basic", timeframe="1h"):
    return registry.select_bundle(symbol=symbol, model_type=model_type, timeframe=timeframe, version=version)


@pytest.fixture
def two(registry, key, files, at):
    """Two versions; the first is champion."""
    a, b = (registry.register(key, files(tag), at=at + timedelta(hours=i)) for i, tag in enumerate("ab"))
    registry.promote(key, a.version_id, at=at, reason="gate", evidence={"gain": 0.1})
    return a.version_id, b.version_id


# ---------------------------------------------------------------- registration


def test_a_registered_bundle_lies_where_the_layout_says(registry, key, files, at):
    model = registry.register(key, files(), at=at)
    folder = registry.root / "BTCUSDT" / "basic" / "2026-11-20T120000Z_1h_v1"
    assert model.path == folder
    assert sorted(path.name for path in folder.iterdir()) == sorted([*files(), MANIFEST_NAME])
    assert {name: (folder / name).read_bytes() for name in files()} == files()
    assert model.digest == sha256((folder / MANIFEST_NAME).read_bytes())
    assert (model.status, model.promoted, model.promoted_at) == ("candidate", False, None)
    assert str(model) == "BTCUSDT/basic@2026-11-20T120000Z_1h_v1"
    assert (model.symbol, model.model_type, model.timeframe) == ("BTCUSDT", "basic", "1h")
    assert model.registered_at == at
    assert sorted(path.name for path in folder.parent.iterdir()) == [".lock", folder.name, "ledger.jsonl"]


def test_a_bundle_does_not_take_the_callers_data_by_reference(registry, key, files, at):
    given = files()
    registry.register(key, given, at=at)
    given["model.txt"] = b"other"
    assert select(registry, "newest").read("model.txt") == files()["model.txt"]


def test_versions_of_the_same_second_are_numbered(registry, key, files, at):
    names = [registry.register(key, files(), at=at).version_id for _ in range(3)]
    names.append(registry.register(ModelKey("BTCUSDT", "basic", "4h"), files(), at=at).version_id)
    assert [name.partition("Z_")[2] for name in names] == ["1h_v1", "1h_v2", "1h_v3", "4h_v1"]


def test_a_time_zone_is_needed_and_converted(registry, key, files, at):
    with pytest.raises(ValueError, match="no time zone"):
        registry.register(key, files(), at=datetime(2026, 11, 20))
    assert not registry.root.exists()
    tokyo = at.astimezone(timezone(timedelta(hours=9)))
    assert registry.register(key, files(), at=tokyo).version_id == "2026-11-20T120000Z_1h_v1"
    with pytest.raises(ValueError, match="no time zone"):
        registry.promote(key, "2026", at=datetime(2026, 11, 20), reason="")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"metadata.json": None}, "metadata.json is missing"),
        ({"metadata.json": b"{"}, "'metadata.json' is not JSON"),
        ({"metadata.json": b"[]"}, "not a JSON object"),
        ({"metadata.json": b"{}"}, "schema_version None, this program reads 1"),
        ({"metadata.json": b'{"schema_version": 9}'}, "schema_version 9"),
        (
            {"metadata.json": b'{"schema_version": 1, "symbol": "ETHUSDT"}'},
            "says symbol 'ETHUSDT', the bundle is of 'BTCUSDT'",
        ),
        ({"metadata.json": b'{"schema_version": 1, "timeframe": "4h"}'}, "says timeframe '4h'"),
        ({"metadata.json": b'{"schema_version": 1, "model_type": "x"}'}, "says model_type 'x'"),
        ({"model.pkl": b""}, "'model.pkl' is not allowed"),
        ({"../x.txt": b""}, "not a file name"),
        ({"plots/x.png": b""}, "not a file name"),
        ({"manifest.json": b"{}"}, "written by the registry"),
    ],
)
def test_a_bundle_that_breaks_the_rules_is_not_registered(registry, key, files, at, change, message):
    given = {name: data for name, data in (files() | change).items() if data is not None}
    with pytest.raises(InvalidBundle, match=message):
        registry.register(key, given, at=at)
    assert not registry.root.exists()


def test_a_name_that_a_stray_folder_has_is_not_taken(registry, key, files, at):
    registry.register(key, files(), at=at)
    (registry.root / "BTCUSDT/basic/2026-11-20T120000Z_1h_v2").mkdir()
    assert registry.register(key, files(), at=at).version_id.endswith("_v3")


# ---------------------------------------------------------------- promotion


def test_a_promotion_moves_the_links(registry, key, files, at, two):
    a, b = two
    folder = registry.root / "BTCUSDT" / "basic"
    assert str((folder / "latest-1h").readlink()) == str((folder / "latest").readlink()) == a
    assert not (folder / "previous-1h").exists()
    model = registry.promote(key, b, at=at, reason="better")
    assert (model.status, model.promoted, model.promoted_at) == ("champion", True, at)
    assert str((folder / "latest-1h").readlink()) == str((folder / "latest").readlink()) == b
    assert str((folder / "previous-1h").readlink()) == a
    assert {each.version_id: each.status for each in registry.list_bundles()} == {a: "superseded", b: "champion"}
    assert select(registry, a).promoted  # it was


def test_the_champions_of_timeframes_are_independent(registry, key, files, at, two):
    a, _ = two
    other = ModelKey("BTCUSDT", "basic", "4h")
    c = registry.register(other, files("c"), at=at)
    with pytest.raises(NoChampion):
        select(registry, timeframe="4h")
    registry.promote(other, c.version_id, at=at, reason="")
    assert select(registry).version_id == a
    assert select(registry, timeframe="4h").version_id == c.version_id
    assert str((registry.root / "BTCUSDT/basic/latest").readlink()) == c.version_id  # of any timeframe, for people
    assert registry.timeframes(symbol="btc/usdt", model_type="price") == ["1h", "4h"]


def test_promoting_the_champion_again_changes_nothing(registry, key, at, two):
    before = registry.history(key)
    assert registry.promote(key, two[0], at=at, reason="again").status == "champion"
    assert registry.history(key) == before


def test_a_rollback_swaps_and_a_second_one_swaps_back(registry, key, at, two):
    a, b = two
    registry.promote(key, b, at=at, reason="")
    for champion, previous in ((a, b), (b, a), (a, b)):
        assert registry.rollback(key, at=at, reason="worse").version_id == champion
        assert select(registry).version_id == champion
        assert registry.champion_version(key) == champion
        assert str((registry.root / "BTCUSDT/basic/previous-1h").readlink()) == previous
    assert [row.action for row in registry.history(key)][-3:] == ["rollback"] * 3


def test_a_rollback_needs_a_predecessor(registry, key, at, two):
    with pytest.raises(TransitionRefused, match="nothing to roll back to: no other version of 1h was promoted"):
        registry.rollback(key, at=at, reason="")
    assert select(registry).version_id == two[0]


def test_the_ledger_remembers_reason_and_evidence(registry, key, at, two):
    rows = registry.history(key)
    assert [(row.action, row.version, row.reason) for row in rows] == [
        ("register", two[0], ""),
        ("register", two[1], ""),
        ("promote", two[0], "gate"),
    ]
    assert rows[2].evidence == {"gain": 0.1}
    assert rows[2].at == at
    assert registry.history(ModelKey("BTCUSDT", "basic", "4h")) == ()
    assert registry.history(ModelKey("ETHUSDT", "basic", "4h")) == ()


@pytest.mark.parametrize("action", ["promote", "rollback"])
def test_a_damaged_bundle_does_not_become_champion(registry, key, at, two, action):
    a, b = two
    if action == "rollback":
        registry.promote(key, b, at=at, reason="")
    champion, damaged = (a, b) if action == "promote" else (b, a)
    path = registry.root / "BTCUSDT/basic" / damaged / "model.txt"
    path.write_bytes(path.read_bytes()[::-1])
    act = {
        "promote": lambda: registry.promote(key, damaged, at=at, reason=""),
        "rollback": lambda: registry.rollback(key, at=at, reason=""),
    }
    with pytest.raises(InvalidBundle, match=r"'model.txt' was changed"):
        act[action]()
    assert select(registry).version_id == champion


# ---------------------------------------------------------------- archive


def test_an_archived_version_stays_and_newest_passes_it_over(registry, key, at, two):
    a, b = two
    assert select(registry, "newest").version_id == b
    assert registry.archive(key, b, at=at, reason="old").status == "archived"
    assert select(registry, "newest").version_id == a
    assert select(registry, b).status == "archived"
    count = len(registry.history(key))
    registry.archive(key, b, at=at, reason="again")
    assert len(registry.history(key)) == count
    assert registry.promote(key, b, at=at, reason="taken out again").status == "champion"


def test_champion_and_predecessor_are_not_archived(registry, key, at, two):
    a, b = two
    registry.promote(key, b, at=at, reason="")
    with pytest.raises(TransitionRefused, match="is the champion of 1h: promote another version first"):
        registry.archive(key, b, at=at, reason="")
    with pytest.raises(TransitionRefused, match="a rollback of 1h returns to"):
        registry.archive(key, a, at=at, reason="")


def test_when_all_are_archived_newest_says_so(registry, key, files, at):
    only = registry.register(key, files(), at=at).version_id
    registry.archive(key, only, at=at, reason="")
    with pytest.raises(ModelNotFound, match="are archived; name one"):
        select(registry, "newest")


def test_a_damaged_bundle_can_be_archived(registry, key, at, two):
    (registry.root / "BTCUSDT/basic" / two[1] / "model.txt").unlink()
    assert registry.archive(key, two[1], at=at, reason="broken").status == "archived"


# ---------------------------------------------------------------- selection


def test_selection_accepts_every_spelling(registry, two):
    a, b = two
    assert select(registry, symbol="btc/usdt", model_type="price").version_id == a
    assert select(registry, "latest").version_id == a
    assert select(registry, "newest").version_id == b
    assert select(registry, b).version_id == b
    assert select(registry, b[:13]).version_id == b


def test_a_selected_path_is_a_real_folder(registry, two):
    model = select(registry)
    assert not model.path.is_symlink()
    assert model.path.name == two[0]


def test_a_model_without_a_champion_names_the_ways_on(registry, key, files, at):
    registry.register(key, files(), at=at)
    with pytest.raises(NoChampion) as error:
        select(registry)
    assert "BTCUSDT/basic@newest" in str(error.value)
    assert "bot models promote BTCUSDT basic 2026-11-20T120000Z_1h_v1" in str(error.value)
    assert error.value.exit_code == 2
    assert registry.champion(key) is None
    assert select(registry, "newest").status == "candidate"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"symbol": "BTCUSD"}, "no model BTCUSD/1h/basic in .*did you mean 'BTCUSDT'"),
        ({"symbol": "XYZ"}, "known symbols: BTCUSDT"),
        ({"model_type": "basik"}, "did you mean 'basic'"),
        ({"model_type": "zebra"}, "BTCUSDT has type basic"),
        ({"timeframe": "4h"}, "BTCUSDT/basic has timeframe 1h"),
        ({"timeframe": "4h"}, "train it with 'bot train model BTCUSDT --type basic --timeframe 4h'"),
    ],
)
def test_an_unknown_model_names_the_nearest(registry, two, names, message):
    with pytest.raises(ModelNotFound, match=message) as error:
        select(registry, **names)
    assert error.value.exit_code == 2


def test_an_unknown_version_names_what_there_is(registry, two, key, files, at):
    a, b = two
    with pytest.raises(ModelNotFound, match=f"no version '1999'; it has {a}, {b}"):
        select(registry, "1999")
    with pytest.raises(ModelNotFound, match=f"did you mean '{a}'"):
        select(registry, a.replace("2026", "2025"))
    with pytest.raises(ModelNotFound, match=f"'2026' is the beginning of 2 versions: {a}, {b}"):
        select(registry, "2026")
    with pytest.raises(ModelNotFound, match="no version ''"):
        select(registry, "")
    for path in ("../basic/" + a, "latest-1h", ".", "/"):
        with pytest.raises(ModelNotFound):
            select(registry, path)
    c = registry.register(ModelKey("BTCUSDT", "basic", "4h"), files(), at=at).version_id
    with pytest.raises(ModelNotFound, match=f"{c} is a version of timeframe 4h"):
        select(registry, c)


def test_an_exact_name_wins_over_a_beginning(registry, key, files, at):
    names = [registry.register(key, files(), at=at).version_id for _ in range(11)]
    assert select(registry, names[0]).version_id == names[0]  # ..._v1 also begins ..._v10
    assert registry.find_version(symbol="BTCUSDT", model_type="basic", text=names[0]) == (key, names[0])


def test_find_version_looks_in_every_timeframe(registry, two, files, at):
    other = ModelKey("BTCUSDT", "basic", "4h")
    c = registry.register(other, files(), at=at + timedelta(days=1)).version_id
    assert registry.find_version(symbol="btc-usdt", model_type="price", text="2026-11-21") == (other, c)
    with pytest.raises(ModelNotFound, match=r"did you mean|it has"):
        registry.find_version(symbol="BTCUSDT", model_type="basic", text="2026-11-22", timeframe="1h")
    with pytest.raises(ModelNotFound, match="no model ETHUSDT/basic"):
        registry.find_version(symbol="ETHUSDT", model_type="basic", text="2026")
    with pytest.raises(ModelNotFound, match="no model ETHUSDT/basic"):
        registry.timeframes(symbol="ETHUSDT", model_type="basic")


def test_an_empty_registry_says_how_to_train(registry):
    assert registry.list_bundles() == []
    assert registry.validate() == []
    assert registry.leftovers() == []
    with pytest.raises(ModelNotFound, match="the registry is empty; train it with 'bot train model BTCUSDT"):
        select(registry)


def test_names_that_are_none_are_refused(registry):
    with pytest.raises(InvalidName):
        select(registry, timeframe="hour")
    with pytest.raises(InvalidName):
        select(registry, symbol="../../etc")
    with pytest.raises(InvalidName):
        registry.list_bundles(symbol="a b")


def test_writing_to_an_unknown_model_creates_nothing(registry, key, at):
    for action in (
        lambda: registry.promote(key, "2026", at=at, reason=""),
        lambda: registry.rollback(key, at=at, reason=""),
        lambda: registry.archive(key, "2026", at=at, reason=""),
    ):
        with pytest.raises(ModelNotFound):
            action()
    assert not registry.root.exists()


def test_a_champion_link_that_points_nowhere_is_refused_and_mended(registry, key, files, at, two):
    link = registry.root / "BTCUSDT/basic/latest-1h"
    link.unlink()
    link.symlink_to("2020-01-01T000000Z_1h_v1")
    with pytest.raises(
        InvalidBundle, match="latest-1h points to '2020-01-01T000000Z_1h_v1', which does not exist"
    ) as error:
        select(registry)
    assert error.value.exit_code == 3
    registry.register(key, files(), at=at)  # any write mends the links
    assert select(registry).version_id == two[0]


def test_a_champion_whose_folder_is_gone_is_refused(registry, key, two):
    (registry.root / "BTCUSDT/basic" / two[0]).rename(registry.root / "gone")
    for version in (None, two[0]):
        with pytest.raises(InvalidBundle, match="does not exist"):
            select(registry, version)
    with pytest.raises(InvalidBundle, match="does not exist"):
        registry.champion(key)


def test_the_ledger_answers_while_a_link_lags_behind(registry, key, at, two):
    """As after a crash between the row and the swap."""
    a, b = two
    registry.promote(key, b, at=at, reason="")
    link = registry.root / "BTCUSDT/basic/latest-1h"
    link.unlink()
    link.symlink_to(a)
    assert select(registry).version_id == registry.champion(key).version_id == b
    link.unlink()
    assert select(registry).version_id == b
    assert registry.validate() != []  # nothing of ours removes a link
    link.symlink_to(a)
    assert registry.validate() == []
    assert [finding.problem for finding in registry.leftovers()] == [f"does not point to {b} yet"]
    registry.promote(key, b, at=at, reason="")  # changes nothing but the link
    assert str(link.readlink()) == b


def test_a_bundle_without_a_ledger_is_not_trusted(registry, key, two):
    (registry.root / "BTCUSDT/basic/ledger.jsonl").unlink()
    with pytest.raises(InvalidBundle, match=r"ledger.jsonl is missing or empty: nothing vouches for"):
        select(registry)
    assert [model.problem for model in registry.list_bundles()] == ["the ledger does not know this folder"] * 2


# ---------------------------------------------------------------- listing


def test_the_list_is_grouped_by_symbol_timeframe_and_type(registry, files, at):
    for name in (
        "ETHUSDT/basic/1h",
        "BTCUSDT/basic/1d",
        "BTCUSDT/basic/5m",
        "BTCUSDT/sentiment/5m",
        "BTCUSDT/basic/5m",
    ):
        symbol, model_type, timeframe = name.split("/")
        registry.register(ModelKey(symbol, model_type, timeframe), files(), at=at)
    assert [f"{model.key}" for model in registry.list_bundles()] == [
        "BTCUSDT/5m/basic",
        "BTCUSDT/5m/basic",
        "BTCUSDT/5m/sentiment",
        "BTCUSDT/1d/basic",
        "ETHUSDT/1h/basic",
    ]
    assert len(registry.list_bundles(symbol="btc/usdt", model_type="price", timeframe="5m")) == 2
    assert len(registry.list_bundles(model_type="sentiment")) == 1
    assert registry.list_bundles(timeframe="1w") == []


def test_broken_bundles_are_listed_as_broken(registry, key, files, at, two):
    (registry.root / "BTCUSDT/basic" / two[1] / "model.txt").unlink()
    third = registry.register(key, files("c") | {"metrics.json": b"not json"}, at=at).version_id
    stray = registry.root / "BTCUSDT/basic/2020-01-01T000000Z_4h_v1"
    stray.mkdir()
    problems = {model.version_id: model.problem for model in registry.list_bundles()}
    assert problems[two[0]] is None
    assert "'model.txt' is missing" in problems[two[1]]
    assert "'metrics.json' is not JSON" in problems[third]
    assert problems[stray.name] == "the ledger does not know this folder"


def test_a_damaged_ledger_stops_its_model_only(registry, key, files, at, two):
    other = ModelKey("ETHUSDT", "basic", "1h")
    registry.promote(other, registry.register(other, files(), at=at).version_id, at=at, reason="")
    ledger = registry.root / "BTCUSDT/basic/ledger.jsonl"
    ledger.write_bytes(ledger.read_bytes().replace(b"promote", b"archive"))
    with pytest.raises(InvalidBundle, match=r"ledger.jsonl:3: this row was damaged"):
        select(registry)
    for write in (
        lambda: registry.register(key, files(), at=at),
        lambda: registry.promote(key, two[1], at=at, reason=""),
    ):
        with pytest.raises(InvalidBundle, match="restore the ledger from a backup"):
            write()
    assert select(registry, symbol="ETHUSDT").promoted
    assert {model.symbol for model in registry.list_bundles() if model.problem} == {"BTCUSDT"}
    with pytest.raises(ModelNotFound):  # the error looks at every ledger for its suggestions
        select(registry, symbol="XRPUSDT")


# ---------------------------------------------------------------- trouble


def test_a_busy_registry_says_so(registry, key, files, at, two):
    impatient = PredictionModelRegistry(registry.root, lock_timeout=0.05)
    with exclusive(registry.root / "BTCUSDT/basic", 0):
        for write in (
            lambda: impatient.register(key, files(), at=at),
            lambda: impatient.promote(key, two[1], at=at, reason=""),
            lambda: impatient.rollback(key, at=at, reason=""),
            lambda: impatient.archive(key, two[1], at=at, reason=""),
        ):
            with pytest.raises(RegistryBusy, match="try again"):
                write()
        impatient.register(ModelKey("ETHUSDT", "basic", "1h"), files(), at=at)  # another folder, another lock
        assert select(impatient).version_id == two[0]  # readers take no lock
    assert len(registry.list_bundles(symbol="BTCUSDT")) == 2


def test_a_file_in_place_of_the_registry_is_one_clear_error(tmp_path, key, files, at):
    (tmp_path / "models").write_bytes(b"")
    registry = PredictionModelRegistry(tmp_path / "models")
    with pytest.raises(RegistryUnwritable, match="BTCUSDT/1h/basic: cannot register: "):
        registry.register(key, files(), at=at)
    assert registry.list_bundles() == []
    assert [finding.problem for finding in registry.validate()] == ["is not a folder"]


def test_a_directory_in_place_of_a_link_is_reported(registry, key, at, two):
    link = registry.root / "BTCUSDT/basic/latest-1h"
    link.unlink()
    link.mkdir()
    assert select(registry).version_id == two[0]
    assert [finding.problem for finding in registry.validate()] == ["is not a symbolic link"]
    with pytest.raises(RegistryUnwritable, match="cannot promote: Is a directory"):
        registry.promote(key, two[1], at=at, reason="")


def test_leftovers_of_a_crash_are_removed_by_the_next_writer(registry, key, files, at, two):
    folder = registry.root / "BTCUSDT/basic"
    (folder / ".tmp-1234").mkdir()
    (folder / ".tmp-1234/model.txt").write_bytes(b"half")
    (folder / ".tmp-5678").symlink_to("nowhere")
    assert registry.validate() == []
    assert len(registry.leftovers()) == 2
    assert len(registry.list_bundles()) == 2
    registry.register(key, files(), at=at)
    assert registry.leftovers() == []
    assert not list(folder.glob(".tmp-*"))


def test_a_registration_one_rename_short_of_its_end(registry, key, files, at, two):
    folder = registry.root / "BTCUSDT/basic"
    row = registry.history(key)[1]
    (folder / row.version).rename(folder / row.staged)
    assert [model.version_id for model in registry.list_bundles()] == [two[0]]
    assert select(registry, "newest").version_id == two[0]
    with pytest.raises(ModelNotFound):
        select(registry, row.version)
    assert registry.validate() == []
    registry.archive(key, row.version, at=at, reason="the writer finishes it first")
    assert select(registry, row.version).status == "archived"


def test_a_staged_bundle_that_was_damaged_is_kept_as_evidence(registry, key, files, at, two):
    folder = registry.root / "BTCUSDT/basic"
    row = registry.history(key)[1]
    (folder / row.version).rename(folder / row.staged)
    (folder / row.staged / MANIFEST_NAME).write_bytes(b"{}")
    registry.register(key, files(), at=at)
    assert (folder / row.staged).is_dir()
    assert [finding.place for finding in registry.validate()] == [f"BTCUSDT/basic@{row.version}"]


def test_errors_of_the_registry_have_exit_codes():
    for error in (InvalidName, ModelNotFound, NoChampion, TransitionRefused):
        assert error.exit_code == 2
    assert InvalidBundle.exit_code == 3
    assert RegistryError.exit_code == RegistryBusy.exit_code == RegistryUnwritable.exit_code == 1


def test_metadata_is_what_was_given(registry, key, files, at):
    registry.register(key, files("x", symbol="BTCUSDT", model_type="basic", timeframe="1h"), at=at)
    assert select(registry, "newest").metadata == json.loads(
        files("x", symbol="BTCUSDT", model_type="basic", timeframe="1h")["metadata.json"]
    )
