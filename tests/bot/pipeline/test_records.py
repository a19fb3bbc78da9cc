"""The prequential record: appended only, sealed, and what is missing, changed or extra is found, named and repaired."""

from __future__ import annotations

import math

import numpy as np
import pytest
from small_recipes import HOUR, KEY, Works, moment, rows_of

from bot.errors import DataError, UsageError
from bot.pipeline.records import Records
from bot.pipeline.scoring import repair_stream
from bot.state import StateDatabase
from ml.record import OutOfSample
from registry.errors import RegistryError


def rows(first, count, **changes):
    """Return made-up rows of a record of direction."""
    rng = np.random.default_rng(first)
    columns = {
        name: np.zeros(count, dtype=dtype) if dtype != np.float64 else rng.normal(size=count)
        for name, dtype in OutOfSample.dtypes().items()
    }
    numbers = np.arange(first, first + count)
    columns |= {"open_ms": numbers * HOUR, "k": numbers, "scored": np.ones(count, dtype=np.bool_)}
    return OutOfSample(**(columns | changes))


@pytest.fixture
def state(tmp_path):
    with StateDatabase(tmp_path / "pipeline.db") as database:
        yield database


def append(records, first, count, **changes):
    record = rows(first, count, **changes)
    records.append("one", "direction", record, version="v1", source="prequential", training_rows=100)
    return record


def test_rows_come_back_to_the_bit(state):
    records = Records(state)
    odd = np.array([-0.0, math.nan, 5e-324, 1 / 3, -1.7976931348623157e308])
    first = append(records, 0, 5, raw_score=odd)
    second = append(records, 10, 3)
    for store in (records, Records(state)):  # as it was appended, and read anew
        found = store.read("one", "direction")
        for name, column in found.columns().items():
            wanted = np.concatenate([first.columns()[name], second.columns()[name]])
            assert column.dtype == wanted.dtype
            assert np.array_equal(column, wanted, equal_nan=column.dtype.kind == "f"), name
        assert store.read("one", "direction", after_ms=4 * HOUR).open_ms.tolist() == second.open_ms.tolist()
        assert len(store.read("nobody", "direction")) == 0
    assert records.sources("one") == [
        ("v1", "prequential", 0, 4 * HOUR, 5),
        ("v1", "prequential", 10 * HOUR, 12 * HOUR, 3),
    ]


def test_rows_that_come_too_late_are_refused_whole(state):
    records = Records(state)
    append(records, 0, 5)
    for first in (4, 0, 3):
        with pytest.raises(DataError, match=r"a row of .* comes too late"):
            append(records, first, 5)
    assert len(Records(state).read("one", "direction")) == 5


DAMAGE = {
    "missing": ("DELETE FROM record_direction WHERE open_ms = 11", "1 of its rows are missing"),
    "changed": ("UPDATE record_direction SET close = close + 1e-9 WHERE open_ms = 11", "a row was changed"),
    "extra": ("INSERT INTO record_direction SELECT stream, 2, 12 {rest} WHERE open_ms = 11", "holds each bar once"),
    "of nobody": ("INSERT INTO record_direction SELECT stream, 9, 7 {rest} WHERE open_ms = 11", "nobody appended"),
    "misplaced": ("INSERT INTO record_direction SELECT stream, 2, 2 {rest} WHERE open_ms = 11", "nobody appended"),
    "unsealed": ("DELETE FROM record_appends WHERE number = 2", "nobody appended"),
    "resealed": ("UPDATE record_appends SET training_rows = 1, count = 4 WHERE number = 2", "a row was changed"),
}


@pytest.mark.parametrize("kind", list(DAMAGE))
def test_what_is_not_as_it_was_appended_is_found(state, kind):
    records = Records(state)
    for first in (0, 10, 20):
        record = rows(first, 5, open_ms=np.delete(np.arange(first, first + 6), 2))
        records.append("one", "direction", record, version="v1", source="prequential", training_rows=100)
    statement, words = DAMAGE[kind]
    names = [name for name in OutOfSample.dtypes() if name != "open_ms"]
    state.execute(statement.format(rest=f", {', '.join(names)} FROM record_direction"))
    with pytest.raises(DataError, match=words) as error:
        Records(state).read("one", "direction")
    assert "bot pipeline repair one" in str(error.value)
    found = Records(state)
    damaged = found.first_damage("one", "direction")
    assert damaged == {"of nobody": 4}.get(kind, 2)
    found.drop("one", "direction", damaged)
    assert found.first_damage("one", "direction") is None
    kept = Records(state).read("one", "direction").open_ms.tolist()
    assert kept == [*np.delete(np.arange(6), 2)] if damaged == 2 else len(kept) == 15


@pytest.fixture
def works(tmp_path):
    works = Works(tmp_path)
    works.recipe("one", horizon=2)
    works.recipe("two", horizon=2, seed=1)
    for bars in (3_000, 3_012, 3_024):
        works.cycle(bars)
    return works


def stream_of(pipeline, name):
    return next(stream for stream, recipe in pipeline.store.known_recipes().items() if recipe["name"] == name)


@pytest.mark.parametrize("since", [2_000, 3_013])  # of the walk forward, and of what was said since
def test_a_damaged_record_is_named_the_others_go_on_and_it_is_scored_anew(works, since):
    with works.pipeline() as pipeline:
        stream = stream_of(pipeline, "one")
        before = rows_of(pipeline, stream), pipeline.records.sources(stream)
        changed = "UPDATE record_direction SET p_up = 0.9 WHERE stream = ? AND open_ms = ?"
        assert pipeline.store.state.execute(changed, (stream, moment(since))) == 1
    report = works.cycle(3_036)
    assert [(each.recipe, each.state) for each in report.recipes] == [("one", "failed"), ("two", "registered")]
    assert f"the record of {stream} is damaged" in report.recipes[0].reason
    assert "a row was changed" in report.recipes[0].reason
    with works.pipeline() as pipeline:
        dropped, scored = repair_stream(pipeline, stream, moment(3_024))
        assert dropped >= 1
        assert scored >= 10
        assert rows_of(pipeline, stream) == before[0]
        assert repair_stream(pipeline, stream, moment(3_024)) == (0, 0)
        if since > 3_000:
            assert pipeline.records.sources(stream)[0] == before[1][0]  # what was sound was not touched
    after = works.cycle(3_037, force=True)
    assert [(each.recipe, each.state) for each in after.recipes] == [("one", "registered"), ("two", "registered")]


def test_a_record_of_a_version_that_is_gone_stays_as_it_is(works):
    with works.pipeline() as pipeline:
        stream = stream_of(pipeline, "one")
        version = pipeline.store.versions(stream)[1][0]
        (pipeline.registry.root / "BTCUSDT/basic" / version / "model.txt").write_text("changed")
        pipeline.store.state.execute(
            "UPDATE record_direction SET p_up = 0.9 WHERE stream = ? AND number = 2", (stream,)
        )
        pipeline.store.state.execute(
            "UPDATE record_direction SET p_up = 0.9 WHERE stream = ? AND number = 1", (stream,)
        )
        before = pipeline.records.sources(stream)
        with pytest.raises(RegistryError):
            repair_stream(pipeline, stream, moment(3_024))
        assert pipeline.records.sources(stream) == before


def test_a_record_without_its_recipe_or_of_a_held_version_is_repaired_too(tmp_path):
    works = Works(tmp_path)
    path = works.recipe("one")
    for bars in (6_000, 6_012, 6_024):
        works.cycle(bars)
    path.rename(tmp_path / "one.yaml")
    works.recipe("other", seed=5)
    with works.pipeline() as pipeline:
        held = pipeline.store.facts(str(KEY)).held
        for record in (stream_of(pipeline, "one"), f"{KEY}{held.stream}"):
            before = rows_of(pipeline, record)
            pipeline.store.state.execute("DELETE FROM record_direction WHERE stream = ? AND number = 2", (record,))
            fresh = replace_records(pipeline)
            with pytest.raises(DataError, match="rows are missing"):
                fresh.read(record, "direction")
            repair_stream(pipeline, record, moment(6_024))
            assert rows_of(pipeline, record) == before


def replace_records(pipeline):
    pipeline.records = Records(pipeline.store.state)
    return pipeline.records


def test_a_record_that_is_not_there_is_a_matter_of_usage(works):
    with works.pipeline() as pipeline:
        stream = stream_of(pipeline, "one")
        with pytest.raises(UsageError, match=f"did you mean '{stream}'"):
            repair_stream(pipeline, stream[:-1], moment(3_024))
