"""The reference of a bundle: small, plain, the same bytes each time, and refused when damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest
from drift_documents import feature_rows

from ml.calibration import Calibration
from ml.drift.reference import (
    EMPTY,
    REFERENCE_FILE,
    drift_reference,
    read_reference,
    recorded_signal,
    reference_bytes,
    signal_parts,
    stated_signal,
)
from ml.errors import BrokenModel
from ml.features.catalogue import feature, feature_names
from registry.manifest import ALLOWED_SUFFIXES


@pytest.fixture(scope="module")
def market():
    return feature_rows(9_000, seed=5)


@pytest.fixture(scope="module")
def content(market):
    rows, names = market
    signal = np.random.default_rng(0).beta(30, 30, 5_000)
    return reference_bytes(drift_reference(rows, names, signal))


def test_the_same_rows_give_the_same_small_file(market, content):
    rows, names = market
    signal = np.random.default_rng(0).beta(30, 30, 5_000)
    assert reference_bytes(drift_reference(rows.copy(), list(names), signal)) == content
    assert len(content) < 60_000
    assert REFERENCE_FILE.endswith(ALLOWED_SUFFIXES)


def test_even_every_feature_of_the_catalogue_fits(market):
    names = tuple(name for name in feature_names() if feature(name).group != "sentiment")
    rows = np.random.default_rng(0).standard_normal((3_000, len(names))).astype(np.float32) * 12345.678
    assert len(reference_bytes(drift_reference(rows, names, None))) < 60_000


def test_it_reads_back_what_was_written(market, content):
    rows, names = market
    found = read_reference(content)
    document = json.loads(content)
    assert found.rows == len(rows)
    assert [*found.features, *found.not_judged] == [*document["features"], *document["not_judged"]]
    assert set(found.features) | set(found.not_judged) == set(names)
    assert {name: part.to_dict() for name, part in found.features.items()} == document["features"]
    assert set(found.signal) == {"value", "up", "size"}
    rises = np.random.default_rng(0).beta(30, 30, 5_000) >= 0.5
    assert found.signal["up"].mean == pytest.approx(rises.mean(), rel=1e-5)


def test_deciles_are_those_of_the_rows(market, content):
    rows, names = market
    part = read_reference(content).features["return_1"]
    column = rows[:, names.index("return_1")].astype(np.float64)
    assert part.edges == pytest.approx(np.quantile(column, np.arange(1, 10) / 10), rel=0.02, abs=1e-6)
    assert part.sigma == pytest.approx(column.std(), rel=1e-5)
    assert sum(part.counts) == len(rows)


def test_only_the_newest_65_536_rows_count():
    rows = np.random.default_rng(0).standard_normal((70_000, 1)).astype(np.float32)
    rows[: 70_000 - 65_536] = 99.0
    assert read_reference(reference_bytes(drift_reference(rows, ["return_1"], None))).features["return_1"].high < 10


def test_a_feature_that_never_had_a_value_is_said_so():
    rows = np.full((500, 2), np.nan, dtype=np.float32)
    rows[:, 0] = np.arange(500)
    found = read_reference(reference_bytes(drift_reference(rows, ["return_1", "rsi_14"], np.full(9, np.nan))))
    assert dict(found.not_judged) == {"rsi_14": EMPTY}
    assert found.signal == {}


def test_rows_that_do_not_fit_their_names_are_refused():
    with pytest.raises(ValueError, match="2 names do not fit"):
        drift_reference(np.zeros((5, 3), dtype=np.float32), ["return_1", "rsi_14"], None)


def test_the_signal_is_what_the_bundle_would_publish():
    publisher = Calibration(0.5, 0.1, -2.0, 0.0, 2.0, 1, 600, 600, 1.5)
    raw = np.array([-2.0, 0.0, 3.0, np.nan])
    signal = stated_signal(publisher, "direction", raw, np.full(4, 0.01), np.full(4, 100.0))
    expected = 1 / (1 + np.exp(-0.5 * 1.5 * np.tanh(raw[:3] / 1.5)))
    assert signal[:3] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(signal[3])
    parts = signal_parts(signal, "direction")
    assert parts["up"][:3].tolist() == [0.0, 1.0, 1.0]
    assert parts["size"][0] == pytest.approx(0.5 - expected[0])
    assert np.isnan(parts["up"][3])
    assert set(signal_parts(signal, "volatility")) == {"value"}


def test_each_task_is_recorded_in_its_own_column():
    class Columns:
        p_up, p_adverse, forecast = np.array([0.1]), np.array([0.2]), np.array([0.3])

    found = [recorded_signal(Columns, task)[0] for task in ("direction", "price", "risk", "volatility")]
    assert found == [0.1, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("damaged", "what"),
    [
        (b"{", "cannot be read"),
        (b"[]", "cannot be read"),
        (b'{"schema_version": 2}', "schema version 2"),
        (b'{"schema_version": 1, "rows": 3}', "cannot be read"),
        (b'{"schema_version": 1, "rows": 3, "features": [], "not_judged": {}, "signal": {}}', "cannot be read"),
        (
            b'{"schema_version": 1, "rows": 3, "features": {"return_1": {}}, "not_judged": {}, "signal": {}}',
            "a reference distribution cannot be read",
        ),
    ],
)
def test_a_damaged_file_is_refused(damaged, what):
    with pytest.raises(BrokenModel, match=what):
        read_reference(damaged)
