"""Every indicator keeps to the house's rules; one without an entry in ``EXAMPLES`` fails."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re

import backtrader as bt
import numpy as np
import pytest
from scripted_engine import ScriptedEngine, smooth_probabilities
from scripted_paths import ScriptedPaths
from trading_runs import MODES, assert_same_bits, candles_of, indicator_lines, random_bars

import indicators
from indicators.edge import HoldingEdge
from indicators.feature import Feature
from indicators.forecast import MLForecast
from indicators.prediction import MLPrediction

CANDLES = candles_of(random_bars(260, 17), "1h")
ENGINE = ScriptedEngine(CANDLES, smooth_probabilities(len(CANDLES), 1), warming=3)
PATHS = ScriptedPaths(CANDLES, smooth_probabilities(len(CANDLES), 1), warming=3)

EXAMPLES = {
    MLPrediction: lambda data: MLPrediction(data, model=ENGINE),
    HoldingEdge: lambda data: HoldingEdge(MLPrediction(data, model=ENGINE), model=ENGINE),
    MLForecast: lambda data: MLForecast(data, model=PATHS, steps=(1, 5, 9)),
    Feature: lambda data: Feature(data, name="return_1"),
}
"""How each indicator is made over a feed; the values that it then has are checked in ``tests/indicators``."""


def discovered():
    found = set()
    for module in pkgutil.iter_modules(indicators.__path__, "indicators."):
        for _, each in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if issubclass(each, bt.Indicator) and each.__module__ == module.name:
                found.add(each)
    return sorted(found, key=lambda each: each.__name__)


ALL = discovered()


def test_every_indicator_has_an_example_and_is_exported():
    assert {each.__name__ for each in ALL} == {each.__name__ for each in EXAMPLES}
    assert set(indicators.__all__) == {each.__name__ for each in ALL}
    assert all(getattr(indicators, name).__name__ == name for name in indicators.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        indicators.Nothing  # noqa: B018


@pytest.mark.parametrize("kind", ALL)
def test_its_own_folder_of_tests_covers_it(kind):
    from pathlib import Path

    texts = [path.read_text() for path in (Path(__file__).parents[1] / "indicators").glob("test_*.py")]
    assert any(kind.__name__ in text for text in texts)


@pytest.mark.parametrize("kind", ALL)
def test_batch_and_single_bars_are_both_written(kind):
    own = vars(kind)
    assert {"once", "next", "oncestart"} <= own.keys()  # a child with one of them alone would mix two calculations
    assert kind.oncestart(object(), 0, 1) is None  # a no-op, else the first bar is computed twice


@pytest.mark.parametrize("kind", ALL)
def test_it_says_what_its_lines_and_params_are(kind):
    lines, params = kind.lines._getlines(), kind.params._getkeys()
    assert not {"p", "l", "data", "lines", "params"} & set(lines)
    assert "Lines:" in kind.__doc__
    assert "Params:" in kind.__doc__
    for name in (*lines, *params):
        assert re.search(rf"``{name}``", kind.__doc__), f"{kind.__name__} does not document {name}"


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "batch"])
@pytest.mark.parametrize("kind", ALL)
def test_every_mode_of_cerebro_gives_the_same_bits(kind, mode):
    expected = indicator_lines(EXAMPLES[kind], CANDLES)
    assert any(not np.isnan(line).all() for line in expected.values())
    assert_same_bits(indicator_lines(EXAMPLES[kind], CANDLES, mode), expected)


@pytest.mark.parametrize("kind", ALL)
def test_a_longer_future_changes_nothing(kind):
    whole = indicator_lines(EXAMPLES[kind], CANDLES)
    for length in (1, 7, 130):
        part = indicator_lines(EXAMPLES[kind], CANDLES.slice(0, length))
        for name, line in part.items():
            assert line.tobytes() == whole[name][:length].tobytes()


@pytest.mark.parametrize("kind", ALL)
def test_the_first_bar_is_served(kind):
    made = []
    indicator_lines(lambda data: made.append(EXAMPLES[kind](data)) or made[0], CANDLES.slice(0, 3))
    assert made[0]._minperiod == 1
    assert all(isinstance(str(part), str) for part in made[0]._plotlabel())
