"""Where stops and targets rest, and what a bar does to them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.broker.protection import Exit, exit_prices, judge, path_after_fill
from bot.broker.rules import ExchangeRules

TICKS = ExchangeRules.from_dict({"price_tick": 0.5})


@pytest.mark.parametrize(
    ("fill", "stop_loss", "take_profit", "expected"),
    [
        (100.0, 0.03, 0.05, (97.0, 105.0)),
        (100.0, None, 0.05, (None, 105.0)),
        (100.0, 0.03, None, (97.0, None)),
        (100.0, None, None, (None, None)),
        (101.3, 0.03, 0.05, (98.5, 106.5)),  # 98.261 and 106.365 to the nearest half
        (0.6, 0.99, None, (0.5, None)),  # no price of zero
    ],
)
def test_exit_prices(fill, stop_loss, take_profit, expected):
    assert exit_prices(fill, stop_loss, take_profit, TICKS) == expected


@pytest.mark.parametrize(
    ("bar", "expected"),
    [
        ((100.0, 104.0, 98.0), None),
        ((100.0, 104.0, 97.0), Exit("stop", 97.0)),
        ((100.0, 105.0, 98.0), Exit("target", 105.0)),
        ((100.0, 105.0, 97.0), Exit("stop", 97.0)),  # both: the worst case
        ((97.0, 106.0, 90.0), Exit("stop", 97.0)),
        ((95.0, 106.0, 90.0), Exit("stop", 95.0)),  # a gap through the stop
        ((107.0, 108.0, 90.0), Exit("target", 107.0)),  # a gap through the target comes first in time
    ],
)
def test_a_bar_is_judged_worst_case_first(bar, expected):
    assert judge(*bar, 97.0, 105.0) == expected


@given(
    open_=st.floats(1, 100),
    up=st.floats(0, 50),
    down=st.floats(0, 0.9),
    stop=st.floats(1, 100),
    target=st.floats(1, 100),
)
def test_an_exit_is_never_better_than_the_bar_allows(open_, up, down, stop, target):
    high, low = open_ + up, open_ * (1 - down)
    found = judge(open_, high, low, stop, target)
    if found is None:
        assert low > stop
        assert high < target
    else:
        assert low <= found.price <= high
        assert found.price <= stop if found.reason == "stop" else found.price >= target
    assert judge(open_, high, low, None, None) is None


def test_after_a_fill_inside_the_bar_only_the_close_is_known_to_come_later():
    assert path_after_fill(100, 110, 90, 104, 97, at_open=True) == (100, 110, 90)
    assert path_after_fill(100, 110, 90, 104, 97, at_open=False) == (97, 104, 90)
    assert path_after_fill(100, 110, 90, 95, 97, at_open=False) == (97, 97, 90)
