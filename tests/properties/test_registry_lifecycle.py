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

from registry import reading
from registry.checkpoint import INTERVAL
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
        self.kept = PredictionModelRegistry(self.place / "models")
        self.at = datetime(2026, 11, 20, tzinfo=UTC)
        self.registered = {key: [] for key in KEYS}
        self.aside = {}  # (key, version) -> archived or quarantined
        self.crowned = {key: [] for key in KEYS}  # versions in the order of their last coronation
        self.champion = {}
        self.reigns = {key: [] for key in KEYS}

    @property
    def registry(self):
        """One that remembers nothing; `kept` remembers everything and has to agree."""
        return PredictionModelRegistry(self.place / "models")

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

    def crown(self, key, version):
        self.champion[key] = version
        self.aside.pop((key, version), None)
        self.crowned[key] = [each for each in self.crowned[key] if each != version] + [version]
        self.tell(key)

    def tell(self, key):
        now = self.champion.get(key)
        if (self.reigns[key][-1] if self.reigns[key] else None) != now:
            self.reigns[key].append(now)

    def previous(self, key, kind=None):
        found = [
            version
            for version in self.crowned[key]
            if version != self.champion.get(key) and self.aside.get((key, version)) == kind
        ]
        return found[-1] if found else None

    @rule(target=versions, chosen=versions, kept=st.booleans())
    def promote(self, chosen, kept):
        key, version = chosen
        (self.kept if kept else self.registry).promote(key, version, at=self.at, reason="")
        if self.champion.get(key) != version:
            self.crown(key, version)
        return multiple()

    @rule(key=st.sampled_from(KEYS), kept=st.booleans())
    def rollback(self, key, kept):
        if not self.registered[key]:
            return
        registry = self.kept if kept else self.registry
        target = self.previous(key) or self.previous(key, "archived")
        if target is None:
            with pytest.raises(TransitionRefused):
                registry.rollback(key, at=self.at, reason="")
            return
        assert registry.rollback(key, at=self.at, reason="").version_id == target
        self.crown(key, target)

    @rule(chosen=versions)
    def rollback_to(self, chosen):
        key, version = chosen
        if self.champion.get(key) == version:
            assert self.registry.rollback(key, at=self.at, reason="", version=version).status == "champion"
        elif version not in self.crowned[key] or self.aside.get(chosen) == "quarantined":
            with pytest.raises(TransitionRefused):
                self.registry.rollback(key, at=self.at, reason="", version=version)
        else:
            self.registry.rollback(key, at=self.at, reason="", version=version)
            self.crown(key, version)

    @rule(chosen=versions)
    def archive(self, chosen):
        key, version = chosen
        if version in (self.champion.get(key), self.previous(key)):
            with pytest.raises(TransitionRefused):
                self.registry.archive(key, version, at=self.at, reason="")
            return
        self.registry.archive(key, version, at=self.at, reason="")
        self.aside[chosen] = "archived"

    @rule(chosen=versions, kept=st.booleans())
    def quarantine(self, chosen, kept):
        key, version = chosen
        (self.kept if kept else self.registry).quarantine(key, version, at=self.at, reason="")
        self.aside[chosen] = "quarantined"
        if self.champion.get(key) == version:
            del self.champion[key]
            self.tell(key)

    @rule(chosen=versions)
    def restore(self, chosen):
        self.registry.restore(*chosen, at=self.at, reason="")
        self.aside.pop(chosen, None)

    @rule(key=st.sampled_from(KEYS))
    def withdraw(self, key):
        if not self.registered[key]:
            return
        done = self.registry.withdraw(key, at=self.at, reason="")
        assert (done.version_id if done else None) == self.champion.pop(key, None)
        self.tell(key)

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

    @rule(every=st.sampled_from([1, 3, 1000]))
    def checkpoint(self, every):
        """Change how often a checkpoint is written, and throw the last one away at times."""
        reading.INTERVAL = every
        if every == 3:
            for path in (self.place / "models").glob("*/*/.checkpoint.json"):
                path.unlink()

    @invariant()
    def the_registry_agrees(self):
        if not hasattr(self, "place"):
            return
        registry = self.registry
        assert registry.validate() == []
        listed = {}
        for model in registry.list_bundles():
            listed.setdefault(model.key, []).append(model)
        again = [(model.version_id, model.status, model.promoted_at) for model in self.kept.list_bundles()]
        assert again == [(model.version_id, model.status, model.promoted_at) for model in registry.list_bundles()]
        for key in KEYS:
            models = listed.get(key, [])
            assert [model.version_id for model in models] == [version for version, _ in self.registered[key]]
            for model, (version, content) in zip(models, self.registered[key], strict=True):
                assert model.status == self.status(key, version)
                assert model.promoted is (version in self.crowned[key])
                assert model.read("model.txt") == content
            assert [reign.version for reign in registry.reigns(key)] == self.reigns[key]
            assert registry.reigns(key) == self.kept.reigns(key)
            if models:
                self.selects(registry, key)

    def status(self, key, version):
        if self.champion.get(key) == version:
            return "champion"
        return self.aside.get((key, version)) or ("superseded" if version in self.crowned[key] else "candidate")

    def selects(self, registry, key):
        names = {"symbol": key.symbol, "model_type": key.model_type, "timeframe": key.timeframe}
        folder = self.place / "models" / key.symbol / key.model_type
        usable = [version for version, _ in self.registered[key] if (key, version) not in self.aside]
        if usable:
            assert registry.select_bundle(**names, version="newest").version_id == usable[-1]
        for link, wanted in (("latest", self.champion.get(key)), ("previous", self.previous(key))):
            path = folder / f"{link}-{key.timeframe}"
            assert (str(path.readlink()) if path.is_symlink() else None) == wanted
        if key in self.champion:
            assert registry.select_bundle(**names).version_id == self.champion[key]
        else:
            with pytest.raises(NoChampion):
                registry.select_bundle(**names)

    def teardown(self):
        if hasattr(self, "place"):
            shutil.rmtree(self.place)
        reading.INTERVAL = INTERVAL


Lifecycle.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestLifecycle = Lifecycle.TestCase
