"""Cycles that end by kill -9 before or after a step of theirs, each in a process of its own.

A step is a call that changes the disk: of the pipeline's store, of the records or of the registry.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from small_recipes import KEY, Works, rows_of

from bot.pipeline.records import Records
from bot.pipeline.store import PipelineStore
from registry.names import ModelKey
from registry.store import PredictionModelRegistry

STEPS = (
    (PipelineStore, ("enroll", "begin", "keep_build", "keep_facts", "note", "end")),
    (Records, ("append",)),
    (PredictionModelRegistry, ("register", "promote", "quarantine", "rollback", "archive")),
)


def warm_up(root: Path) -> None:
    """Do a first and a second cycle in this process: what they load, modules and kernels, its children find loaded."""
    works = Works(root)
    works.recipe("one")
    for bars in (6_000, 6_012):
        works.cycle(bars)
    state_of(root, KEY)


def aside(work: Callable[[], Any]) -> Any:
    """Do something in a child and return what it returns, or the name of the step at which it was killed.

    Raises
    ------
    RuntimeError
        With the child's traceback.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            answer = {"done": work()}
        except BaseException:
            answer = {"fault": traceback.format_exc()}
        with os.fdopen(writing, "w") as stream:
            json.dump(answer, stream)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as stream:
        text = stream.read()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return "killed"
    answer = json.loads(text)
    if "fault" in answer:
        raise RuntimeError(answer["fault"])
    return answer["done"]


def arm(point: int) -> list[str]:
    """Count the steps of this process and kill it at the one of this number; returns their names as they come."""
    names: list[str] = []

    def step(name: str) -> None:
        names.append(name)
        if len(names) == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def wrapped(owner: type, name: str) -> Callable[..., Any]:
        real = getattr(owner, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            step(f"before {owner.__name__}.{name}")
            done = real(*arguments, **keywords)
            step(f"after {owner.__name__}.{name}")
            return done

        return call

    for owner, methods in STEPS:
        for name in methods:
            setattr(owner, name, wrapped(owner, name))
    return names


def run_cycle(root: Path, bars: int, point: int = 0, **options: Any) -> Any:
    """Do a cycle in a child; returns the names of its steps, or ``killed``."""

    def work() -> list[str]:
        names = arm(point)
        Works(root, **options).cycle(bars)
        return names

    return aside(work)


def state_of(root: Path, key: ModelKey, **options: Any) -> dict[str, Any]:
    """Return everything that a cycle leaves: versions, ledger, records, builds, facts and whatever is not in order."""
    with Works(root, **options).pipeline() as pipeline:
        streams = list(pipeline.store.known_recipes())
        bundles = pipeline.registry.list_bundles(key.symbol, key.model_type, key.timeframe)
        return {
            "statuses": {model.version_id: model.status for model in bundles},
            "ledger": [(row.action, row.version, row.manifest, row.reason) for row in pipeline.registry.history(key)],
            "champion": pipeline.registry.champion_version(key),
            "records": {stream: rows_of(pipeline, stream) for stream in streams},
            "sources": {stream: pipeline.records.sources(stream) for stream in streams},
            "versions": {stream: pipeline.store.versions(stream) for stream in streams},
            "facts": pipeline.store.facts(str(key)).to_dict(),
            "cycles": [(each.moment_ms, each.status) for each in pipeline.store.cycles()],
            "disorder": [str(each) for each in [*pipeline.registry.validate(), *pipeline.registry.leftovers()]],
        }


def copied(template: Path, place: Path) -> Path:
    """Copy a works' folder."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place, symlinks=True)
    return place


__all__ = ["aside", "copied", "run_cycle", "state_of", "warm_up"]
