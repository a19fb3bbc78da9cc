"""Facts: what is remembered of a model key, to the bit through JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import BrokenModel
from ml.lifecycle.facts import Champion, Facts, Held, version_stream

times = st.integers(0, 4_000_000_000_000)
names = st.text(min_size=1, max_size=12)
statistic = st.floats(0, 1e300)
champions = st.builds(
    Champion,
    stream=names,
    version=names,
    crowned_ms=times,
    since_ms=times,
    reference=st.none() | st.floats(0.5, 1),
    reference_rows=st.integers(0, 10**7),
    reference_hits=st.integers(0, 10**7),
    statistics=st.none() | st.lists(st.tuples(statistic, statistic), min_size=1, max_size=24).map(tuple),
)


@given(
    facts=st.builds(
        Facts,
        enrolled=st.dictionaries(names, times, max_size=4),
        restarts=st.dictionaries(names, times, max_size=4),
        champion=st.none() | champions,
        held=st.none() | st.builds(Held, names, names, times),
    )
)
def test_facts_are_the_same_after_json(facts):
    assert Facts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_a_recipe_that_is_known_keeps_the_time_at_which_it_came_and_counts_once():
    facts = Facts().enroll("a", 10).enroll("b", 20).enroll("a", 30)
    assert facts.enrolled == {"a": 10, "b": 20}
    assert (Facts().trials, facts.trials) == (1, 2)


def test_a_restart_moves_the_bar_from_which_a_stream_counts():
    facts = Facts().restart(("a", "@v1"), 50).restart(("a",), 70)
    assert [facts.counted_from(name) for name in ("a", "@v1", "b")] == [70, 50, None]


def test_a_version_has_a_stream_of_its_own():
    assert version_stream("2026-01-01T00-00Z_1h_ab") == "@2026-01-01T00-00Z_1h_ab"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema_version": 9}, "schema_version 9, this program reads 1"),
        ({"enrolled": 3}, "cannot be read: AttributeError"),
        ({"champion": {"stream": "a"}}, "cannot be read: KeyError: 'version'"),
        ({"held": "a"}, "cannot be read: TypeError"),
        ({"restarts": {"a": "soon"}}, "cannot be read: ValueError"),
    ],
)
def test_what_are_no_facts_is_refused_with_the_reason(change, message):
    with pytest.raises(BrokenModel, match=message):
        Facts.from_dict(Facts().to_dict() | change)
