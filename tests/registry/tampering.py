"""Damage a real bundle again and again, load it each time, and watch what the interpreter does; a program of its own.

Usage: ``tampering.py FOLDER COUNT SEED``. An audit hook cannot be taken off again, so this runs in its own process. Prints
one JSON document: how many mutations were loaded all the same, and every event that means that something was executed.
"""

from __future__ import annotations

import json
import random
import shutil
import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from registry_mutations import FRESH, KINDS, Mutation, pickle_that_runs
from small_models import AT, KEY, bundle_files

from ml.bundles import open_runner
from ml.errors import MLError
from registry.errors import InvalidBundle, RegistryError
from registry.store import PredictionModelRegistry

EXECUTES = (
    *("pickle.", "exec", "compile", "import", "marshal.", "code.", "function.__new__", "ctypes."),
    *("os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "subprocess.", "socket.", "webbrowser."),
)
events: Counter[str] = Counter()
armed = False


def watch(event: str, _arguments: object) -> None:
    if armed and event.startswith(EXECUTES):
        events[event] += 1


def draw(rng: random.Random, names: list[str]) -> Mutation:
    name, other = rng.sample(names, 2)
    return Mutation(
        kind=rng.choice(KINDS),
        name=name,
        other=other,
        where=rng.random(),
        bit=rng.randrange(8),
        added=rng.randbytes(rng.randint(1, 3)),
        fresh=rng.choice(FRESH),
    )


def load(root: Path) -> bool:
    """Load the champion as the bot does: every byte, then the model; False when it is refused."""
    model = PredictionModelRegistry(root, open_runner).champion(KEY)
    assert model is not None
    return model.runner is not None


def hostile(root: Path, marker: Path) -> list[str]:
    """Register bundles whose digests are all right and whose files are pickles; returns what opened."""
    opened = []
    for name in sorted(bundle_files()):
        if name == "metadata.json":
            continue  # the registry reads that one itself, and refuses to register it
        registry = PredictionModelRegistry(root, open_runner)
        made = registry.register(KEY, {**bundle_files(), name: pickle_that_runs(marker)}, at=AT)
        try:
            _ = made.runner
            opened.append(name)
        except (RegistryError, MLError):
            pass
    return opened


def main(folder: Path, count: int, seed: int) -> dict[str, object]:
    global armed
    root, rng = folder / "models", random.Random(seed)
    registry = PredictionModelRegistry(root, open_runner)
    made = registry.register(KEY, bundle_files(), at=AT)
    registry.promote(KEY, made.version_id, at=AT, reason="")
    names = sorted(path.name for path in made.path.iterdir())
    kept = shutil.copytree(made.path, folder / "kept")
    marker = made.path.parent / "pickle-ran"
    load(root)
    inert = hostile(folder / "warm", marker)  # once before anybody watches: imports are executions too
    sys.addaudithook(watch)
    armed = True
    if hostile(folder / "hostile", marker) != inert:
        raise AssertionError("a hostile bundle opened the second time")
    loaded, done, accepted = 0, 0, []
    while done < count:
        mutation = draw(rng, names)
        if not mutation.apply(made.path) or same(made.path, kept):
            continue
        done += 1
        try:
            load(root)
            accepted.append(repr(mutation))
        except InvalidBundle:
            pass
        armed = False
        shutil.rmtree(made.path)
        shutil.copytree(kept, made.path)
        armed = True
        if done % 100 == 0:
            loaded += load(root)
    return {
        "mutations": done,
        "accepted": accepted,
        "sound_loads": loaded,
        "executed": dict(events),
        "pickle_ran": marker.exists(),
        "unread_by_the_runner": inert,
    }


def same(folder: Path, kept: Path) -> bool:
    """Tell whether a mutation changed nothing: a swap of two equal files, a case that is no other."""
    mine = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file() and not path.is_symlink()}
    return len(list(folder.iterdir())) == len(mine) and mine == {
        path.name: path.read_bytes() for path in kept.iterdir()
    }


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
