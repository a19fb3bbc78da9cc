"""Any change to a bundle is refused: a flipped, added or removed byte; a renamed, removed, added or swapped file; a link."""

from __future__ import annotations

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from registry_mutations import FRESH, KINDS, Mutation

from registry.errors import InvalidBundle
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KEY = ModelKey("BTCUSDT", "basic", "1h")
AT = datetime(2026, 11, 20, 12, tzinfo=UTC)
FILES = {
    "metadata.json": json.dumps({"schema_version": 1, "symbol": "BTCUSDT"}).encode(),
    "metrics.json": b'{"out_of_sample": {}}',
    "model.txt": bytes(range(256)) * 4,
    "oos_predictions.parquet": b"PAR1" + bytes(500),
    "README.md": b"",
}
NAMES = [*FILES, "manifest.json"]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    root = tmp_path_factory.mktemp("template") / "models"
    registry = PredictionModelRegistry(root)
    for _ in range(2):
        registry.register(KEY, FILES, at=AT)
    registry.promote(KEY, "2026-11-20T120000Z_1h_v1", at=AT, reason="")
    return root


@st.composite
def mutations(draw):
    """Return a way to damage a bundle's folder."""
    name = draw(st.sampled_from(NAMES))
    return Mutation(
        kind=draw(st.sampled_from(KINDS)),
        name=name,
        other=draw(st.sampled_from([each for each in NAMES if each != name])),
        where=draw(st.floats(0, 1, exclude_max=True)),
        bit=draw(st.integers(0, 7)),
        added=draw(st.binary(min_size=1, max_size=3)),
        fresh=draw(st.sampled_from(FRESH)),
    )


@settings(max_examples=200, deadline=None)
@given(mutation=mutations(), champion=st.booleans())
def test_any_mutation_of_a_bundle_is_refused(template, mutation, champion):
    with tempfile.TemporaryDirectory() as place:
        root = Path(shutil.copytree(template, Path(place) / "models", symlinks=True))
        version = f"2026-11-20T120000Z_1h_v{1 if champion else 2}"
        if not mutation.apply(root / "BTCUSDT/basic" / version):
            return
        registry = PredictionModelRegistry(root)
        with pytest.raises(InvalidBundle):
            registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version=version)
        if champion:
            with pytest.raises(InvalidBundle):
                registry.champion(KEY)
        assert any(finding.place.endswith(version) for finding in registry.validate())
        sound = registry.select_bundle(
            symbol="BTCUSDT",
            model_type="basic",
            timeframe="1h",
            version=f"2026-11-20T120000Z_1h_v{2 if champion else 1}",
        )
        assert sound.read("model.txt") == FILES["model.txt"]


@settings(max_examples=150, deadline=None)
@given(
    where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), kind=st.sampled_from(["flip", "insert", "delete"])
)
def test_any_changed_byte_of_a_ledger_is_reported(template, where, bit, kind):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.ledger._PAUSE", 0)
        root = Path(shutil.copytree(template, Path(place) / "models", symlinks=True))
        path = root / "BTCUSDT/basic/ledger.jsonl"
        data = path.read_bytes()
        at = int(where * len(data))
        changed = {
            "flip": data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :],
            "insert": data[:at] + bytes([bit]) + data[at:],
            "delete": data[:at] + data[at + 1 :],
        }[kind]
        path.write_bytes(changed)
        registry = PredictionModelRegistry(root)
        findings = registry.validate()
        if changed + b"\n" == data:  # only the last newline is gone: every row is complete
            assert findings == []
            return
        assert findings != []
        with pytest.raises(InvalidBundle):
            registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h")


@settings(max_examples=60, deadline=None)
@given(cut=st.floats(0, 1, exclude_max=True))
def test_a_cut_ledger_is_valid_or_reported(template, cut):
    """A cut inside the last row is a crash; what was lost there shows in the links."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(shutil.copytree(template, Path(place) / "models", symlinks=True))
        path = root / "BTCUSDT/basic/ledger.jsonl"
        data = path.read_bytes()
        path.write_bytes(data[: int(cut * len(data))])
        assert PredictionModelRegistry(root).validate() != [] or int(cut * len(data)) == len(data) - 1


@settings(max_examples=80, deadline=None)
@given(data=st.binary(max_size=400))
def test_a_manifest_or_ledger_of_any_bytes_is_refused_or_read_without_another_error(template, data):
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        patch.setattr("registry.ledger._PAUSE", 0)
        root = Path(shutil.copytree(template, Path(place) / "models", symlinks=True))
        (root / "BTCUSDT/basic/2026-11-20T120000Z_1h_v1/manifest.json").write_bytes(data)
        registry = PredictionModelRegistry(root)
        with pytest.raises(InvalidBundle):
            registry.champion(KEY)
        (root / "BTCUSDT/basic/ledger.jsonl").write_bytes(data)
        assert registry.validate() != []
        assert all(model.problem for model in registry.list_bundles())
        assert len(registry.list_bundles()) == 2
