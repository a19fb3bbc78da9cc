"""Roles of a strategy: which of them a config must bind, and whether what it binds says what the strategy reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bot.assembly import BoundModel
    from bot.config.loader import ConfigFile

__all__ = ["check_roles", "check_states"]


def check_roles(file: ConfigFile, strategy: type[Any], params: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` where a role that the strategy reads has no model; it says what to train.

    Parameters
    ----------
    file
        The config.
    strategy
        Its class. ``roles`` names what it may read, ``needed_roles(params)`` the groups of which one must be bound (default:
        each role), ``usual_types`` the type of model that usually plays a role; a class without them needs nothing.
    params
        Parameters of the config.
    """
    bound, roles = list(file.config.models), tuple(getattr(strategy, "roles", ()))
    needed = strategy.needed_roles(params) if hasattr(strategy, "needed_roles") else tuple((role,) for role in roles)
    usual = getattr(strategy, "usual_types", {})
    for group in needed:
        if any(role in bound for role in group):
            continue
        spare = [name for name in bound if name not in roles]
        near = next(((name, role) for name in spare for role in group if suggestion(name, [role])), None)
        name = strategy.__name__
        if near:
            message = f"{near[0]!r} is no role of {name}; did you mean {near[1]!r}?"
            raise file.error(("models", near[0]), message, key=True)
        ways = [f"'{role}: \"{{symbol}}/{usual.get(role, 'basic')}@latest\"'" for role in group]
        first = usual.get(group[0], "basic")
        message = (
            f"{name} needs a model for the role {' or '.join(repr(role) for role in group)}: add {' or '.join(ways)} to "
            f"models; train one with: bot train model {file.config.symbols[0]} --type {first} "
            f"--timeframe {file.config.timeframe}"
        )
        raise file.error(("models",), message)


def check_states(file: ConfigFile, strategy: type[Any], models: Sequence[BoundModel]) -> None:
    """Raise ``ConfigError`` where a model does not speak of what the strategy reads from its role.

    Parameters
    ----------
    file
        The config.
    strategy
        Its class; ``reads`` names the column of a prediction by role, or ``path``. Roles that are not there may be played by
        any model.
    models
        What is bound; a role without a champion passes.
    """
    reads = getattr(strategy, "reads", {})
    for bound in models:
        column, states = reads.get(bound.role), bound.engine.states
        if hasattr(bound.engine, "trusted_steps"):
            states = (*states, "path")
        if column is None or bound.model is None or column in states:
            continue
        usual = getattr(strategy, "usual_types", {}).get(bound.role, "basic")
        message = (
            f"{strategy.__name__} reads the {column} of the role {bound.role!r}, but {bound.reference} says "
            f"{', '.join(states)}; bind a model that says it, such as {{symbol}}/{usual}@latest"
        )
        raise file.error(("models", bound.role), message)
