from __future__ import annotations

import pytest

from registry.errors import InvalidBundle, RegistryError
from registry.names import ModelKey
from registry.store import PredictionModelRegistry


def test_documents_are_read_as_plain_data(registry, key, files, at):
    model = registry.register(key, files("x"), at=at)
    assert (
        model.metadata["tag"] == model.metrics["tag"] == model.feature_schema["tag"] == model.calibration["tag"] == "x"
    )
    assert model.metadata is model.metadata
    assert model.metadata.get("timeframe") is None


def test_nothing_is_read_before_it_is_asked_for(registry, key, files, at, monkeypatch):
    registry.register(key, files(), at=at)
    model = registry.list_bundles()[0]
    seen = []
    monkeypatch.setattr("registry.manifest.read_regular_file", lambda folder, name: seen.append(name))
    assert model.version_id
    assert model.digest
    assert seen == []


def test_a_bundle_without_metrics_has_none(registry, key, files, at):
    model = registry.register(key, {"metadata.json": files()["metadata.json"]}, at=at)
    assert model.metrics == {}
    with pytest.raises(InvalidBundle, match=r"this bundle has no 'feature_schema.json'; it has metadata.json"):
        _ = model.feature_schema


def test_every_read_is_checked_when_it_is_made(registry, key, files, at):
    """The digest is that of the very bytes returned: a file that changes after a check is still refused."""
    model = registry.register(key, files(), at=at)
    model.verify()
    path = model.path / "calibration.json"
    path.write_bytes(path.read_bytes().replace(b"1.0", b"9.0"))
    with pytest.raises(InvalidBundle, match=r"'calibration.json' was changed"):
        _ = model.calibration


def test_the_runner_is_opened_once(registry, key, files, at):
    opened = []

    def open_runner(model):
        opened.append(model.version_id)
        return object()

    registry.register(key, files(), at=at)
    running = PredictionModelRegistry(registry.root, open_runner)
    model = running.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")
    assert opened == []
    assert model.runner is model.runner
    assert opened == [model.version_id]


def test_without_an_opener_the_runner_says_what_is_missing(registry, key, files, at):
    model = registry.register(key, files(), at=at)
    with pytest.raises(RegistryError, match=r"PredictionModelRegistry\(root, open_runner=ml.bundles.open_runner\)"):
        _ = model.runner


def test_a_bundle_of_another_model_is_refused(registry, files, at):
    """Both are sound, and the ledger of each vouches for its own digest only."""
    btc, eth = ModelKey("BTCUSDT", "basic", "1h"), ModelKey("ETHUSDT", "basic", "1h")
    a, b = registry.register(btc, files("a"), at=at), registry.register(eth, files("b"), at=at)
    spare = registry.root / "spare"
    a.path.rename(spare)
    b.path.rename(a.path)
    with pytest.raises(InvalidBundle, match="digest is not the one in the ledger"):
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")


@pytest.mark.parametrize("name", ["metadata.json", "manifest.json"])
def test_a_schema_version_of_the_future_is_refused(registry, key, files, at, name, monkeypatch):
    """Sound by its digests, written by a newer program."""
    module = {"metadata.json": "registry.model.METADATA_VERSION", "manifest.json": "registry.manifest.MANIFEST_VERSION"}
    monkeypatch.setattr(module[name], 7)
    registry.register(key, files() | {"metadata.json": b'{"schema_version": %d}' % (7 if "meta" in name else 1)}, at=at)
    monkeypatch.undo()
    with pytest.raises(InvalidBundle, match=f"{name} has schema_version 7, this program reads 1") as error:
        registry.select_bundle(symbol="BTCUSDT", model_type="basic", timeframe="1h", version="newest")
    assert error.value.exit_code == 3
    assert "schema_version 7" in str(registry.list_bundles()[0].problem)
    assert len(registry.validate()) == 1


def test_the_registry_imports_the_standard_library_only():
    import ast
    import sys
    from pathlib import Path

    import registry

    for source in Path(registry.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            for name in names:
                top = name.partition(".")[0]
                assert top == "registry" or top in sys.stdlib_module_names, f"{source.name} imports {name}"
                assert top not in {"pickle", "shelve", "marshal"}
