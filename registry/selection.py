"""The choice of one version: champion, newest, by name or by its beginning; and what to say when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from registry.errors import ModelNotFound, NoChampion, RegistryError, suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from registry.names import ModelKey
    from registry.promotion import Standing, VersionState
    from registry.shelf import Shelf

__all__ = ["by_prefix", "choose", "not_found"]

_ASIDE = ("archived", "quarantined")


def choose(shelf: Shelf, standing: Standing, key: ModelKey, version: str | None) -> VersionState:
    """Return the version that a selector names.

    Parameters
    ----------
    shelf, standing
        The model's folder and what its ledger adds up to.
    key
        The model; it has at least one version.
    version
        None or ``latest``, ``newest``, a version, or the beginning of one that no other version of the timeframe shares.

    Raises
    ------
    ModelNotFound, NoChampion
        When nothing answers to the selector.
    InvalidBundle
        When ``latest-TIMEFRAME`` points nowhere.
    """
    named = standing.versions.get(version or "")
    if named is not None and named.timeframe == key.timeframe and not shelf.is_pending(named):
        return named  # as below, no cost grows with the number of versions where there is an answer
    if version in (None, "latest"):
        shelf.check_link(key.timeframe)
        champion = standing.champions.get(key.timeframe)
        if champion is not None:
            return standing.versions[champion]
    elif version == "newest":
        last_first = reversed(standing.of(key.timeframe))
        kept = (state for state in last_first if state.status not in _ASIDE and not shelf.is_pending(state))
        if (newest := next(kept, None)) is not None:
            return newest
    states = shelf.visible(standing, key.timeframe)
    if version in (None, "latest"):
        last = ([state for state in states if state.status not in _ASIDE] or states)[-1].version
        raise NoChampion(
            f"{key}: none of its {len(states)} version(s) is promoted{_last_end(states)} (newest: {last}); use "
            f"{shelf.name}@newest to run it all the same, or "
            f"'bot models promote {shelf.symbol} {shelf.model_type} {last}'"
        )
    if version == "newest":
        aside = " or ".join(sorted({state.status for state in states}))
        raise ModelNotFound(f"{key}: all of its {len(states)} version(s) are {aside}; name one of them")
    return by_prefix(states, str(version), str(key), shelf.visible(standing))


def by_prefix(
    states: list[VersionState], text: str, place: str, elsewhere: list[VersionState] | None = None
) -> VersionState:
    """Return the version of that name, or the only one that begins so.

    Parameters
    ----------
    states
        Where to look.
    text
        What a person typed.
    place
        The model, for messages.
    elsewhere
        Versions of other timeframes, for a better message.

    Raises
    ------
    ModelNotFound
        When none or several begin so; the message lists them.
    """
    names = {state.version: state for state in states}
    if text in names:
        return names[text]
    found = [state for name, state in names.items() if text and name.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(state.version for state in found[:5])
        raise ModelNotFound(f"{place}: {text!r} is the beginning of {len(found)} versions: {listed}")
    if other := [state for state in elsewhere or [] if text and state.version.startswith(text)]:
        raise ModelNotFound(f"{place}: {other[0].version} is a version of timeframe {other[0].timeframe}")
    hint = suggestion(text, [*names, "latest", "newest"]) or f"; it has {', '.join(list(names)[-3:])}"
    raise ModelNotFound(f"{place}: no version {text!r}{hint}")


def not_found(shelf: Shelf, timeframe: str | None, shelves: Sequence[Shelf]) -> ModelNotFound:
    """Build the error for a model that is not there: what is, what is near, how to train it."""
    frames_of = {each: frames for each in shelves if (frames := _timeframes(each))}
    make = f"train model {shelf.symbol} --type {shelf.model_type}"
    if shelf.model_type == "ensemble":  # made of registered models, not trained
        make = f"ensemble create {shelf.symbol} --members basic@latest,direction@latest"
    train = f"bot {make} --timeframe {timeframe or '1h'}"
    frames = frames_of.get(shelf, [])
    wanted = f"{shelf.symbol}/{timeframe}/{shelf.model_type}" if timeframe else shelf.name
    if frames:
        hint = f"; {shelf.name} has timeframe {', '.join(frames)}"
    elif types := [each.model_type for each in frames_of if each.symbol == shelf.symbol]:
        if near := suggestion(shelf.model_type, types):  # a slip of the pen is not to be trained
            return ModelNotFound(f"no model {wanted} in {shelf.root}{near}")
        hint = f"; {shelf.symbol} has type {', '.join(types)}"
    else:
        symbols = sorted({each.symbol for each in frames_of})
        hint = suggestion(shelf.symbol, symbols)
        hint += f"; known symbols: {', '.join(symbols[:8])}" if symbols else "; the registry is empty"
    return ModelNotFound(
        f"no model {wanted} in {shelf.root}{hint}; {'make' if shelf.model_type == 'ensemble' else 'train'} it with '{train}'"
    )


def _last_end(states: Sequence[VersionState]) -> str:
    """Say which version was champion last and what became of it; nothing where there never was one."""
    crowned = [state for state in states if state.promoted is not None]
    if not crowned:
        return ""
    last = max(crowned, key=lambda state: state.promoted.sequence if state.promoted else 0)
    return f"; the last champion, {last.version}, " + (
        "is quarantined" if last.status == "quarantined" else "was withdrawn"
    )


def _timeframes(shelf: Shelf) -> list[str]:
    """Return the timeframes that have versions; a damaged ledger of another model is not this error's business."""
    try:
        return list(dict.fromkeys(state.timeframe for state in shelf.visible(shelf.standing())))
    except RegistryError:
        return []
