"""Any sequence of operations: the registry answers as a dictionary would, and its disk is sound after every step."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from registry.errors import NoChampion, TransitionRefused
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

KEYS = [ModelKey("BTCUSDT", "basic", "1h"), ModelKey("BTCUSDT", "basic", "4h"), ModelKey("ETHUSDT", "basic", "1h")]


class Lifecycle(RuleBasedStateMachine):
    """The oracle: lists and dictionaries."""

    versions = Bundle("versions")

    @initialize()
    def start(self):
        self.place = Path(tempfile.mkdtemp())
        self.at = datetime(2026, 11, 20, tzinfo=UTC)
        self.registered = {key: [] for key in KEYS}
        self.archived = set()
        self.promoted = set()
        self.champion, self.previous = {}, {}

    @property
    def registry(self):
        return PredictionModelRegistry(self.place / "models")  # nothing is remembered between two calls

    @rule(target=versions, key=st.sampled_from(KEYS), seconds=st.integers(-2, 2))
    def register(self, key, seconds):
        self.at += timedelta(seconds=seconds)
        content = f"{key} {len(self.registered[key])}".encode()
        model = self.registry.register(
            key, {"metadata.json": b'{"schema_version": 1}', "model.txt": content}, at=self.at
        )
        assert model.version_id not in {version for version, _ in self.registered[key]}
        self.registered[key].append((model.version_id, content))
        return key, model.version_id

    @rule(target=versions, chosen=versions)
    def promote(self, chosen):
        key, version = chosen
        self.registry.promote(key, version, at=self.at, reason="")
        if self.champion.get(key) != version:
            if key in self.champion:
                self.previous[key] = self.champion[key]
            self.champion[key] = version
        self.archived.discard(chosen)
        self.promoted.add(chosen)
        return multiple()

    @rule(key=st.sampled_from(KEYS))
    def rollback(self, key):
        if not self.registered[key]:
            return
        if key not in self.previous:
            with pytest.raises(TransitionRefused):
                self.registry.rollback(key, at=self.at, reason="")
            return
        self.registry.rollback(key, at=self.at, reason="")
        self.champion[key], self.previous[key] = self.previous[key], self.champion[key]

    @rule(chosen=versions)
    def archive(self, chosen):
        key, version = chosen
        if version in (self.champion.get(key), self.previous.get(key)):
            with pytest.raises(TransitionRefused):
                self.registry.archive(key, version, at=self.at, reason="")
            return
        self.registry.archive(key, version, at=self.at, reason="")
        self.archived.add(chosen)

    @rule(key=st.sampled_from(KEYS), kind=st.sampled_from(["temporary", "torn"]))
    def crash(self, key, kind):
        """Leave what a crash leaves."""
        folder = self.place / "models" / key.symbol / key.model_type
        if not self.registered[key]:
            return
        if kind == "temporary":
            (folder / ".tmp-0").mkdir(exist_ok=True)
        elif kind == "torn":
            with (folder / "ledger.jsonl").open("ab") as stream:
                stream.write(b'{"action":"register",')

    @invariant()
    def the_registry_agrees(self):
        if not hasattr(self, "place"):
            return
        registry = self.registry
        assert registry.validate() == []
        listed = {}
        for model in registry.list_bundles():
            listed.setdefault(model.key, []).append(model)
        for key in KEYS:
            models = listed.get(key, [])
            assert [model.version_id for model in models] == [version for version, _ in self.registered[key]]
            for model, (version, content) in zip(models, self.registered[key], strict=True):
                assert model.status == self.status(key, version)
                assert model.promoted is ((key, version) in self.promoted)
                assert model.read("model.txt") == content
            if models:
                self.selects(registry, key)

    def status(self, key, version):
        if self.champion.get(key) == version:
            return "champion"
        if (key, version) in self.archived:
            return "archived"
        return "superseded" if (key, version) in self.promoted else "candidate"

    def selects(self, registry, key):
        names = {"symbol": key.symbol, "model_type": key.model_type, "timeframe": key.timeframe}
        folder = self.place / "models" / key.symbol / key.model_type
        kept = [version for version, _ in self.registered[key] if (key, version) not in self.archived]
        if kept:
            assert registry.select_bundle(**names, version="newest").version_id == kept[-1]
        if key in self.champion:
            assert registry.select_bundle(**names).version_id == self.champion[key]
            assert str((folder / f"latest-{key.timeframe}").readlink()) == self.champion[key]
        else:
            with pytest.raises(NoChampion):
                registry.select_bundle(**names)
        if key in self.previous:
            assert str((folder / f"previous-{key.timeframe}").readlink()) == self.previous[key]

    def teardown(self):
        if hasattr(self, "place"):
            shutil.rmtree(self.place)


Lifecycle.TestCase.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
TestLifecycle = Lifecycle.TestCase
