from __future__ import annotations

import hashlib
import json
import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest

from registry.errors import InvalidLedger
from registry.ledger import append_row, read_ledger
from registry.promotion import replay

MODEL = "BTCUSDT/basic"
AT = datetime(2026, 11, 20, 12, 30, 15, 123456, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.jsonl"


def add(path, action="register", number=1, model=MODEL, **extra):
    row = {
        "at": AT,
        "timeframe": "1h",
        "version": f"2026-11-20T120000Z_1h_v{number}",
        "manifest": "0" * 64,
        "reason": "why",
    }
    return append_row(path, read_ledger(path, model), action=action, **(row | extra))


def test_rows_read_back(path):
    written = [add(path), add(path, "promote", reason="gut feeling — ünïcode", evidence={"gain": 0.1, "n": [1, None]})]
    ledger = read_ledger(path, MODEL)
    assert list(ledger.rows) == written
    assert [row.sequence for row in ledger.rows] == [1, 2]
    assert ledger.rows[1].at == AT.replace(microsecond=123000)
    assert ledger.rows[1].evidence == {"gain": 0.1, "n": [1, None]}
    assert ledger.size == path.stat().st_size
    assert ledger.unfinished == 0


def test_a_missing_ledger_is_empty(path):
    ledger = read_ledger(path, MODEL)
    assert ledger.rows == ()
    assert ledger.size == 0


def test_the_chain_is_what_it_says(path):
    """An independent reading: hashlib over the bytes of the file."""
    for number in (1, 2, 3):
        add(path, number=number)
    previous = hashlib.sha256(MODEL.encode()).hexdigest()
    for line in path.read_bytes().splitlines():
        row = json.loads(line)
        assert row["previous"] == previous
        body = line[: line.index(b',"sha256"')] + b"}"
        assert row["sha256"] == hashlib.sha256(body).hexdigest()
        previous = row["sha256"]


def test_a_time_is_written_in_utc(path):
    add(path, at=datetime(2026, 11, 20, 21, tzinfo=timezone(timedelta(hours=9))))
    assert json.loads(path.read_bytes())["time"] == "2026-11-20T12:00:00.000Z"


def test_evidence_becomes_plain_json(path):
    evidence = {
        "nan": math.nan,
        "inf": -math.inf,
        "np": np.float32(0.5),
        "flag": np.bool_(True),
        "list": (1, np.arange(2)),
        "at": AT,
    }
    row = add(path, evidence=evidence)
    expected = {"nan": None, "inf": None, "np": 0.5, "flag": True, "list": [1, [0, 1]], "at": str(AT)}
    assert row.evidence == read_ledger(path, MODEL).rows[0].evidence == expected


@pytest.mark.parametrize("keep", [1, 2, 10, 100, -2])
def test_an_unfinished_last_line_is_passed_over_and_cut_off(path, keep):
    first = add(path)
    sound = path.read_bytes()
    add(path, "promote")
    torn = path.read_bytes()[len(sound) :][:keep]
    path.write_bytes(sound + torn)
    ledger = read_ledger(path, MODEL)
    assert ledger.rows == (first,)
    assert ledger.unfinished == len(torn)
    again = add(path, "promote", reason="again")
    assert read_ledger(path, MODEL).rows == (first, again)
    assert path.read_bytes().startswith(sound + b'{"action"')


def test_zeros_that_a_power_cut_left_are_unfinished(path):
    first = add(path)
    path.write_bytes(path.read_bytes() + b"\0" * 400)
    assert read_ledger(path, MODEL).rows == (first,)
    add(path, "promote")
    assert len(read_ledger(path, MODEL).rows) == 2


def test_a_row_that_lacks_only_its_newline_counts(path):
    rows = (add(path), add(path, "promote"))
    path.write_bytes(path.read_bytes()[:-1])
    assert read_ledger(path, MODEL).rows == rows
    third = add(path, number=2)
    assert read_ledger(path, MODEL).rows == (*rows, third)


def test_a_first_line_that_is_torn_leaves_an_empty_ledger(path):
    add(path)
    path.write_bytes(path.read_bytes()[:50])
    assert read_ledger(path, MODEL).rows == ()
    add(path)
    assert len(read_ledger(path, MODEL).rows) == 1


def test_every_changed_byte_is_found(path, monkeypatch):
    monkeypatch.setattr("registry.ledger._PAUSE", 0)
    for number, action in enumerate(("register", "register", "promote"), start=1):
        add(path, action, number=min(number, 2))
    sound = path.read_bytes()
    for position in range(0, len(sound), 3):
        for flip in (0x01, 0x80):
            damaged = bytearray(sound)
            damaged[position] ^= flip
            path.write_bytes(damaged)
            with pytest.raises(InvalidLedger, match=r"ledger.jsonl:[1-3]: "):
                read_ledger(path, MODEL)
    for replacement in b"\x00 }\n5":  # the newline that ends the last row
        path.write_bytes(sound[:-1] + bytes([replacement]))
        if replacement != ord("\n"):
            with pytest.raises(InvalidLedger):
                read_ledger(path, MODEL)


def test_a_removed_inserted_or_moved_row_is_found(path):
    for number in (1, 2, 3):
        add(path, number=number)
    a, b, c = path.read_bytes().splitlines(keepends=True)
    for lines in (
        [b, c],
        [a, c],
        [a, c, b],
        [a, a, b, c],
        [a, b, b, c],
        [b"\n", a, b, c],
        [a, b"{}\n", b],
        [a, b"[]\n"],
    ):
        path.write_bytes(b"".join(lines))
        with pytest.raises(InvalidLedger):
            read_ledger(path, MODEL)


def test_a_ledger_of_another_model_is_refused(path):
    add(path, model="ETHUSDT/basic")
    with pytest.raises(InvalidLedger, match="a row before this one was changed"):
        read_ledger(path, MODEL)


def sealed(document):
    body = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    return body[:-1] + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 3}, "schema_version 3, this program reads 2: update it"),
        ({"action": "delete"}, "unknown action 'delete', expected one of register, promote, rollback, archive"),
        ({"staged": "../../etc"}, "not a temporary folder"),
        ({"version": "../../etc"}, "not a version"),
        ({"timeframe": "4h"}, "is not of '4h'"),
        ({"sequence": "1"}, "wrong type"),
        ({"sequence": True}, "wrong type"),
        ({"evidence": []}, "wrong type"),
        ({"time": "yesterday"}, "Invalid isoformat"),
        ({"sequence": 2}, "a row before this one"),
        ({"extra": 1}, "not a row of a ledger"),
    ],
)
def test_a_well_sealed_row_of_another_form_is_refused(path, change, message):
    add(path)
    document = json.loads(path.read_bytes())
    del document["sha256"]
    path.write_bytes(sealed(document))
    assert len(read_ledger(path, MODEL).rows) == 1  # our own sealing is right
    path.write_bytes(sealed(document | change))
    with pytest.raises(InvalidLedger, match=message):
        read_ledger(path, MODEL)


def test_a_sealed_line_that_is_no_json_is_refused(path):
    body = b'{"a":}'
    path.write_bytes(body[:-1] + b',"sha256":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n')
    with pytest.raises(InvalidLedger, match="not JSON"):
        read_ledger(path, MODEL)


def test_rows_that_contradict_each_other_are_refused(path):
    row = add(path)
    with pytest.raises(InvalidLedger, match="registered twice"):
        replay([row, row], "ledger")
    add(path, "promote", number=2)
    with pytest.raises(InvalidLedger, match=r"promote of .*_v2, which was not registered"):
        replay(read_ledger(path, MODEL).rows, "ledger")


def test_a_promotion_with_another_manifest_is_refused(path):
    add(path)
    add(path, "promote", manifest="1" * 64)
    with pytest.raises(InvalidLedger, match="was registered with another manifest"):
        replay(read_ledger(path, MODEL).rows, "ledger")
