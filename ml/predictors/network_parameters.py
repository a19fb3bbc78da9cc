"""Parameters of networks, with the defaults of the guides: 300 epochs of 32 rows a step, windows of 120 bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ml.predictors.parameters import ParameterTable, Range

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["NETWORK", "SEQUENCE_NETWORK", "resolve_network"]

_NUMBERS = {
    "epochs": Range(300, 1, 100_000, whole=True),
    "batch_size": Range(32, 1, 65_536, whole=True),
    "learning_rate": Range(0.001, 0, 1, above=True),
    "units": Range(32, 1, 1_024, whole=True),
    "patience": Range(5, 1, 100_000, whole=True),
    "validation_split": Range(0.2, 0, 0.9),
    "windows_per_epoch": Range(4_096, 1, 10_000_000, whole=True),
    "weight_decay": Range(2.0, 0, 100),
    "dropout": Range(0.0, 0, 0.95),
}
_CHOICES = {"mixed_precision": ("auto", "on", "off"), "device": ("auto", "cpu", "gpu")}
_ALIASES = {
    "lr": "learning_rate",
    "num_epochs": "epochs",
    "early_stopping_patience": "patience",
    "hidden_units": "units",
}

NETWORK = ParameterTable(numbers=_NUMBERS, choices=_CHOICES, aliases=_ALIASES)
"""Networks of one row."""

SEQUENCE_NETWORK = ParameterTable(
    numbers={"sequence_length": Range(120, 2, 10_000, whole=True), **_NUMBERS},
    choices=_CHOICES,
    aliases={**_ALIASES, "lookback": "sequence_length"},
)
"""Networks of windows of rows."""

_WORDS = {"true": "on", "1": "on", "yes": "on", "false": "off", "0": "off", "no": "off"}


def resolve_network(table: ParameterTable, overrides: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return every parameter with its value; ``mixed_precision`` may be a truth value.

    Raises
    ------
    InvalidParameter
        As ``ParameterTable.resolve``.
    """
    given = dict(overrides or {})
    if "mixed_precision" in given:
        text = str(given["mixed_precision"]).strip().lower()
        given["mixed_precision"] = _WORDS.get(text, text)
    values, _ = table.resolve(given)
    return values
