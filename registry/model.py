"""One bundle as its users see it: names, plain data, verified bytes, and the runner."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.errors import InvalidBundle, RegistryError
from registry.manifest import Manifest, read_manifest
from registry.names import ModelKey, parse_version

if TYPE_CHECKING:
    from datetime import datetime

    from registry.promotion import Status

__all__ = ["METADATA_VERSION", "OpenRunner", "StrategyModel", "check_metadata", "parse_json_object"]

METADATA_VERSION = 1


@dataclass(frozen=True, eq=False)
class StrategyModel:
    """A registered version of a model.

    The object stands for one immutable folder; its status is what the ledger said when the object was made. Nothing
    is read before it is asked for, and every byte that is read is checked against the manifest, and the manifest
    against the ledger.

    Attributes
    ----------
    key
        Symbol, type and timeframe.
    version_id
        Such as ``2026-11-20T120000Z_1h_v1``.
    path
        The resolved folder: never a link.
    digest
        SHA-256 of ``manifest.json``; names the content of the whole bundle.
    status
        ``candidate``, ``champion``, ``superseded``, ``archived`` or ``quarantined``.
    promoted_at
        When it last became champion; None when it never was.
    problem
        Why the bundle is broken, as far as a listing could see; None when it looks sound.
    open_runner
        Turns this object into something that predicts.
    """

    key: ModelKey
    version_id: str
    path: Path
    digest: str
    status: Status
    promoted_at: datetime | None = None
    problem: str | None = None
    open_runner: OpenRunner | None = field(default=None, repr=False)

    @property
    def symbol(self) -> str:
        """Canonical symbol."""
        return self.key.symbol

    @property
    def model_type(self) -> str:
        """Canonical model type."""
        return self.key.model_type

    @property
    def timeframe(self) -> str:
        """Length of the candles that it reads."""
        return self.key.timeframe

    @property
    def promoted(self) -> bool:
        """Whether it is, or ever was, the champion."""
        return self.promoted_at is not None

    @property
    def registered_at(self) -> datetime:
        """When it was registered, UTC, whole seconds."""
        return parse_version(self.version_id).at

    def __str__(self) -> str:
        """Return ``SYMBOL/TYPE@VERSION``, as a config names it."""
        return f"{self.symbol}/{self.model_type}@{self.version_id}"

    @cached_property
    def manifest(self) -> Manifest:
        """The files and their digests; raises InvalidBundle when it is not the manifest that was registered."""
        return read_manifest(self.path, self.digest)

    def read(self, name: str) -> bytes:
        """Return the bytes of one file, checked against the manifest before they are returned.

        Parameters
        ----------
        name
            A file of the bundle, such as ``model.txt``.

        Raises
        ------
        InvalidBundle
            When the file is missing, changed, or not named by the manifest.
        """
        return self.manifest.read(self.path, name)

    def check_names(self) -> None:
        """Compare names and sizes of the files with the manifest; raises InvalidBundle at the first difference."""
        self.manifest.check_names(self.path)

    def verify(self) -> None:
        """Check every byte of the bundle, and that it is the bundle of this key.

        Raises
        ------
        InvalidBundle
            Naming the first file that is missing, changed or unknown.
        """
        self.check_names()
        for name in self.manifest.files:
            self.read(name)
        self.metadata  # noqa: B018 - reading it checks its version and its names

    @cached_property
    def metadata(self) -> dict[str, Any]:
        """``metadata.json``: what was trained, on which data, with which parameters."""
        document = self._json("metadata.json")
        check_metadata(document, self.key, str(self.path))
        return document

    @cached_property
    def metrics(self) -> dict[str, Any]:
        """``metrics.json``: out-of-sample figures with their baselines and intervals; empty when there is none."""
        return self._json("metrics.json") if "metrics.json" in self.manifest.files else {}

    @cached_property
    def feature_schema(self) -> dict[str, Any]:
        """``feature_schema.json``: names, order and parameters of the features."""
        return self._json("feature_schema.json")

    @cached_property
    def calibration(self) -> dict[str, Any]:
        """``calibration.json``: the numbers that turn a raw score into a probability."""
        return self._json("calibration.json")

    @cached_property
    def runner(self) -> Any:
        """What predicts with this bundle; opened once.

        Raises
        ------
        RegistryError
            When the registry was made without ``open_runner``.
        """
        if self.open_runner is None:
            raise RegistryError(
                f"{self}: this registry reads bundles only; make it with "
                "PredictionModelRegistry(root, open_runner=ml.bundles.open_runner) to run them"
            )
        return self.open_runner(self)

    def _json(self, name: str) -> dict[str, Any]:
        return parse_json_object(self.read(name), name, str(self.path))


OpenRunner = Callable[[StrategyModel], Any]


def check_metadata(document: dict[str, Any], key: ModelKey, place: str) -> None:
    """Refuse metadata of an unknown format, or of another model.

    Raises
    ------
    InvalidBundle
        Naming the field, what it says and what was expected.
    """
    version = document.get("schema_version")
    if version != METADATA_VERSION:
        raise InvalidBundle(
            f"{place}: metadata.json has schema_version {version!r}, this program reads {METADATA_VERSION}"
        )
    for name, expected in (("symbol", key.symbol), ("model_type", key.model_type), ("timeframe", key.timeframe)):
        if name in document and document[name] != expected:
            raise InvalidBundle(f"{place}: metadata.json says {name} {document[name]!r}, the bundle is of {expected!r}")


def parse_json_object(data: bytes, name: str, place: str) -> dict[str, Any]:
    """Return the JSON object that some bytes hold; raises InvalidBundle naming the file otherwise."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InvalidBundle(f"{place}: {name!r} is not JSON ({error})") from None
    if not isinstance(document, dict):
        raise InvalidBundle(f"{place}: {name!r} is not a JSON object")
    return document
