"""Quarantine, withdrawal, restoring, and where a rollback goes after them."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from registry.errors import ModelNotFound, NoChampion, TransitionRefused
from registry.ledger import read_ledger
from registry.names import ModelKey
from registry.promotion import replay


@pytest.fixture
def three(registry, key, files, at):
    """Three versions that were champion one after the other; the last one is."""
    names = [registry.register(key, files(tag), at=at + timedelta(hours=i)).version_id for i, tag in enumerate("abc")]
    for name in names:
        registry.promote(key, name, at=at, reason="")
    return names


def statuses(registry):
    return [model.status for model in registry.list_bundles()]


def links(registry):
    folder = registry.root / "BTCUSDT/basic"
    return {path.name: str(path.readlink()) for path in folder.iterdir() if path.is_symlink()}


def test_a_quarantined_champion_leaves_none(registry, key, at, three):
    a, b, c = three
    done = registry.quarantine(key, c, at=at, reason="drift", evidence={"statistic": 9001.5})
    assert (done.version_id, done.status, done.promoted) == (c, "quarantined", True)
    assert registry.champion(key) is None
    assert statuses(registry) == ["superseded", "superseded", "quarantined"]
    assert links(registry) == {"previous-1h": b}
    row = registry.history(key)[-1]
    assert (row.action, row.reason, row.evidence) == ("quarantine", "drift", {"statistic": 9001.5})
    with pytest.raises(NoChampion, match=f"the last champion, {c}, is quarantined .newest: {b}.") as error:
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h")
    assert f"bot models promote BTCUSDT basic {b}" in str(error.value)
    assert registry.validate() == registry.leftovers() == []


def test_quarantine_leaves_other_timeframes_alone(registry, key, files, at, three):
    other = ModelKey("BTCUSDT", "basic", "4h")
    d = registry.register(other, files("d"), at=at).version_id
    registry.promote(other, d, at=at, reason="")
    registry.quarantine(key, three[2], at=at, reason="")
    assert links(registry) == {"previous-1h": three[1], "latest-4h": d, "latest": d}  # `latest` is of any timeframe
    registry.quarantine(other, d, at=at, reason="")
    assert links(registry) == {"previous-1h": three[1]}


def test_a_candidate_or_predecessor_is_quarantined_beside_the_champion(registry, key, files, at, three):
    a, b, c = three
    candidate = registry.register(key, files("d"), at=at + timedelta(days=1)).version_id
    for version in (candidate, b):
        registry.quarantine(key, version, at=at, reason="")
    assert registry.champion_version(key) == c
    assert links(registry) == {"latest-1h": c, "latest": c, "previous-1h": a}
    assert (
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest").version_id == c
    )
    assert registry.rollback(key, at=at, reason="").version_id == a


def test_a_damaged_version_can_be_quarantined(registry, key, at, three):
    (registry.root / "BTCUSDT/basic" / three[2] / "model.txt").unlink()
    assert registry.quarantine(key, three[2], at=at, reason="damaged").status == "quarantined"


def test_twice_changes_nothing(registry, key, at, three):
    registry.quarantine(key, three[2], at=at, reason="")
    registry.archive(key, three[0], at=at, reason="")
    before = registry.history(key)
    registry.quarantine(key, three[2], at=at, reason="again")
    assert registry.withdraw(key, at=at, reason="there is none") is None
    registry.restore(key, three[1], at=at, reason="it is in neither")
    assert registry.history(key) == before


def test_after_a_quarantine_a_rollback_goes_to_the_last_healthy_champion(registry, key, at, three):
    a, b, c = three
    registry.quarantine(key, c, at=at, reason="")
    registry.quarantine(key, b, at=at, reason="")
    done = registry.rollback(key, at=at, reason="fallback", evidence={"healthy": True})
    assert (done.version_id, done.status) == (a, "champion")
    assert registry.history(key)[-1].evidence == {"healthy": True}
    with pytest.raises(TransitionRefused, match="nothing to roll back to"):
        registry.rollback(key, at=at, reason="")


def test_after_a_withdrawal_a_rollback_brings_it_back(registry, key, at, three):
    a, b, c = three
    done = registry.withdraw(key, at=at, reason="no skill left", evidence={"gain": -0.1})
    assert (done.version_id, done.status) == (c, "superseded")
    assert registry.champion_version(key) is None
    assert links(registry) == {"previous-1h": c}
    with pytest.raises(NoChampion, match=f"the last champion, {c}, was withdrawn"):
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h")
    with pytest.raises(TransitionRefused, match="a rollback of 1h returns to"):
        registry.archive(key, c, at=at, reason="")
    assert registry.rollback(key, at=at, reason="").version_id == c
    assert registry.rollback(key, at=at, reason="").version_id == b


def test_an_archived_champion_is_the_last_resort_of_a_rollback(registry, key, at, three):
    a, b, c = three
    registry.archive(key, a, at=at, reason="")
    registry.quarantine(key, b, at=at, reason="")
    assert "previous-1h" not in links(registry)
    assert registry.rollback(key, at=at, reason="").version_id == a


def test_a_rollback_goes_where_it_is_told(registry, key, files, at, three):
    a, b, c = three
    assert registry.rollback(key, version=a, at=at, reason="").version_id == a
    assert links(registry)["previous-1h"] == c
    count = len(registry.history(key))
    assert registry.rollback(key, version=a, at=at, reason="again").status == "champion"
    assert len(registry.history(key)) == count
    never = registry.register(key, files("d"), at=at + timedelta(days=1)).version_id
    with pytest.raises(TransitionRefused, match=f"{never} was never champion"):
        registry.rollback(key, version=never, at=at, reason="")
    registry.quarantine(key, b, at=at, reason="")
    with pytest.raises(TransitionRefused, match=f"{b} is quarantined: restore or promote it"):
        registry.rollback(key, version=b, at=at, reason="")
    with pytest.raises(ModelNotFound, match="no version '1999'"):
        registry.rollback(key, version="1999", at=at, reason="")
    assert registry.champion_version(key) == a


def test_restoring_takes_out_of_quarantine_and_archive(registry, key, files, at, three):
    a, b, c = three
    candidate = registry.register(key, files("d"), at=at + timedelta(days=1)).version_id
    for put_aside in (registry.quarantine, registry.archive):
        put_aside(key, candidate, at=at, reason="")
        put_aside(key, a, at=at, reason="")
        assert registry.restore(key, candidate, at=at, reason="well").status == "candidate"
        assert registry.restore(key, a, at=at, reason="well").status == "superseded"
    registry.quarantine(key, c, at=at, reason="")
    assert registry.restore(key, c, at=at, reason="").status == "superseded"
    assert registry.champion_version(key) is None  # it has to be promoted
    assert links(registry)["previous-1h"] == c


def test_a_promotion_takes_out_of_quarantine(registry, key, at, three):
    registry.quarantine(key, three[2], at=at, reason="")
    assert registry.promote(key, three[2], at=at, reason="by hand").status == "champion"
    assert links(registry) == {"latest-1h": three[2], "latest": three[2], "previous-1h": three[1]}


def test_when_all_are_put_aside_newest_says_so(registry, key, files, at):
    a, b = (registry.register(key, files(tag), at=at).version_id for tag in "ab")
    registry.archive(key, a, at=at, reason="")
    registry.quarantine(key, b, at=at, reason="")
    with pytest.raises(ModelNotFound, match="are archived or quarantined; name one"):
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")


def test_a_row_says_the_oldest_format_that_knows_its_action(registry, key, at, three):
    """So that an older program reads on until the first row which it would misread."""
    registry.quarantine(key, three[2], at=at, reason="")
    registry.restore(key, three[2], at=at, reason="")
    path = registry.root / "BTCUSDT/basic/ledger.jsonl"
    versions = [json.loads(line)["schema_version"] for line in path.read_bytes().splitlines()]
    assert versions == [1, 1, 1, 1, 1, 1, 2, 2]


def test_a_withdrawal_of_another_than_the_champion_is_a_contradiction(registry, key, at, three):
    registry.withdraw(key, at=at, reason="")
    path = registry.root / "BTCUSDT/basic/ledger.jsonl"
    rows = read_ledger(path, "BTCUSDT/basic").rows
    assert replay(rows, "x").champions == {}
    with pytest.raises(Exception, match=f"withdraw of {three[2]}, which was not the champion"):
        replay((*rows, rows[-1]), "x")


def test_a_link_of_a_champion_that_is_none_any_more_is_healed(registry, key, at, three):
    """As after a crash between the row and the removal of the links."""
    registry.quarantine(key, three[2], at=at, reason="")
    folder = registry.root / "BTCUSDT/basic"
    for name in ("latest-1h", "latest"):
        (folder / name).symlink_to(three[2])
    assert registry.champion(key) is None
    assert registry.validate() == []
    registry.archive(key, three[0], at=at, reason="")
    assert links(registry) == {"previous-1h": three[1]}
    (folder / "latest-1h").symlink_to(three[2])
    assert "the ledger says 'no version'" in str(registry.validate()[0])  # no crash leaves this
