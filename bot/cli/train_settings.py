"""What the options of ``bot train model`` and ``search`` share: the families, and the parameters of a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bot.errors import UsageError
from bot.training_settings import words

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ml.predictors.contract import Predictor

__all__ = ["FAMILIES", "model_parameters"]

FAMILIES = (
    *("basic", "sentiment", "direction", "price_nn", "momentum"),
    *("risk", "volatility", "autoregressive", "multi_ohlc"),
)
"""What ``--type`` takes, spelt out so that ``--help`` need not load the models; a test holds it against the catalogue."""


def model_parameters(
    family: type[Predictor], values: Sequence[str], options: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the parameters of ``--params`` and of the options that networks have, and a note on each that is not used.

    Parameters
    ----------
    family
        What is trained; an option counts where the family has a parameter of its name.
    values
        ``key=value`` words.
    options
        ``epochs``, ``batch_size``, ...; None where not given.

    Raises
    ------
    UsageError
        When a word is not of that form, or a parameter is given twice.
    """
    found: dict[str, Any] = {}
    for word in words(values):
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"--params {word!r}: expected key=value, such as num_leaves=15")
        if name in found:
            raise UsageError(f"--params {name} is given twice")
        found[name] = value
    known = family().parameters
    notes = []
    for name, value in options.items():
        if value is None:
            continue
        option = "--disable-mixed-precision" if name == "mixed_precision" else f"--{name.replace('_', '-')}"
        if name not in known:
            notes.append(f"{option} has no meaning for {family.type_name} ({family.architecture}) and is not used")
        elif name in found:
            raise UsageError(f"{option} and --params {name} are the same parameter: give one of them")
        else:
            found[name] = value
    return found, notes
