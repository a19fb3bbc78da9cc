"""The status of a live bot: an exact round trip through JSON, and no figure that is not one."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_statuses import live_status, symbol_status

from bot.errors import StorageError
from bot.live.status import LiveStatus, OpenOrder, RolePrediction, SymbolStatus

FIGURES = st.floats(allow_nan=False, allow_infinity=False)
MAYBE = st.none() | FIGURES
TEXTS = st.text(max_size=20)
ORDERS = st.builds(OpenOrder, st.sampled_from(["buy", "sell"]), FIGURES, MAYBE, TEXTS, TEXTS)
PREDICTIONS = st.builds(
    RolePrediction, TEXTS, TEXTS, st.none() | TEXTS, st.sampled_from([None, "up", "down"]), MAYBE, TEXTS, TEXTS
)
SYMBOLS = st.builds(
    SymbolStatus,
    symbol=TEXTS,
    open_ms=st.none() | st.integers(0, 2**53),
    close=MAYBE,
    predictions=st.lists(PREDICTIONS, max_size=2).map(tuple),
    position=FIGURES,
    entry_price=MAYBE,
    stop=MAYBE,
    target=MAYBE,
    open_orders=st.lists(ORDERS, max_size=2).map(tuple),
    cash=MAYBE,
    value=MAYBE,
    action=TEXTS,
    reason=TEXTS,
)


@given(
    symbols=st.lists(SYMBOLS, max_size=2),
    events=st.lists(st.tuples(st.integers(), TEXTS), max_size=2),
    protections=st.lists(TEXTS, max_size=2),
    cash=FIGURES,
)
def test_a_status_survives_json_to_the_last_bit(symbols, events, protections, cash):
    status = live_status(symbols=tuple(symbols), events=tuple(events), protections=tuple(protections), cash=cash)

    document = status.to_dict()

    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert LiveStatus.from_dict(json.loads(json.dumps(document))) == status
    assert repr(LiveStatus.from_dict(document)) == repr(status)  # tuples stay tuples, -0.0 stays -0.0


def test_the_document_has_the_names_that_scripts_read():
    document = live_status().to_dict()

    assert document["state"] == "running"
    assert document["symbols"][0]["predictions"][0]["confidence"] == 0.5731
    assert document["symbols"][0]["open_orders"][1]["kind"] == "target"
    assert document["events"][0] == [1_795_165_200_000, "bought 0.01234 BTCUSDT at 63900.1"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_figure_that_is_none_is_refused(value):
    for change in (lambda: live_status(cash=value), lambda: symbol_status(close=value)):
        with pytest.raises(ValueError, match="write None"):
            change()


@pytest.mark.parametrize("change", [{"mode": "money"}, {"state": "asleep"}])
def test_unknown_modes_and_states_are_refused(change):
    with pytest.raises(ValueError, match="expected one of"):
        live_status(**change)


def test_unknown_sides_and_directions_are_refused():
    with pytest.raises(ValueError, match="side of an order"):
        OpenOrder("long", 1.0, None, "market", "id")
    with pytest.raises(ValueError, match="direction"):
        RolePrediction("prediction", "X/basic@latest", None, "sideways", 0.5, "ok")


@pytest.mark.parametrize("break_it", [
    lambda d: d.pop("cash"),
    lambda d: d.update(more=1),
    lambda d: d["symbols"][0].pop("reason"),
    lambda d: d["symbols"][0]["open_orders"][0].update(side="long"),
    lambda d: d.update(symbols=None),
    lambda d: d.update(events=[[1]]),
    lambda d: d.clear(),
])  # fmt: skip
def test_a_document_of_another_version_is_one_clear_error(break_it):
    document = live_status().to_dict()
    break_it(document)

    with pytest.raises(StorageError, match="not the status of a live bot"):
        LiveStatus.from_dict(document)


def test_only_a_bot_that_said_so_has_ended():
    ended = [state for state in ("starting", "replaying", "running", "paused", "stopping", "stopped", "failed")
             if replace(live_status(), state=state).has_ended]  # fmt: skip

    assert ended == ["stopped", "failed"]
