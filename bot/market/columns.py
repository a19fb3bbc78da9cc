"""Which column of a file is which: the usual names of times, prices and volumes, in any case and punctuation."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bot.errors import DataError, UsageError
from ml.candles import OPTIONAL_COLUMNS, PRICE_COLUMNS
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["DATE", "IGNORED_TEXT", "TIME", "VALUE", "match_columns", "match_side_columns"]

TIME = "time"
DATE = "date"  # a date whose time of day stands in the column `TIME`
VALUE = "value"

IGNORED_TEXT = "prices are taken as traded, not adjusted: splits and dividends show as jumps"

_ADJUSTED = ("adj_close", "adjusted_close", "adjclose")

# In order of preference: where a file has several, the first is taken.
_TIMES = (
    "open_ms", "open_time", "opentime", "timestamp", "unix", "unix_timestamp", "epoch", "datetime", "date_time",
    "gmt_time", "utc_time", "time", "date", "ts", "t", "index", "index_level_0", "unnamed_0", "",
)  # fmt: skip
_ALIASES: dict[str, tuple[str, ...]] = {
    "open": ("open", "o", "open_price", "price_open"),
    "high": ("high", "h", "max", "high_price", "price_high"),
    "low": ("low", "l", "min", "low_price", "price_low"),
    "close": ("close", "c", "last", "close_price", "price_close", "close_last"),
    "volume": ("volume", "vol", "v", "base_volume", "volume_base", "base_asset_volume", "tickvol", "tick_volume"),
    "quote_volume": ("quote_volume", "quote_asset_volume", "volume_quote", "quote_vol", "turnover", "q"),
    "trades": ("trades", "count", "number_of_trades", "num_trades", "trade_count", "tradecount", "n"),
    "taker_buy_base": (
        "taker_buy_base", "taker_buy_volume", "taker_buy_base_volume", "taker_buy_base_asset_volume",
        "taker_base_vol", "tb_base_av",
    ),
    "taker_buy_quote": (
        "taker_buy_quote", "taker_buy_quote_volume", "taker_buy_quote_asset_volume", "taker_quote_vol", "tb_quote_av",
    ),
}  # fmt: skip

_VALUES = ("value", "sentiment", "score", "fng_value", "fear_greed", "fear_and_greed", "fgi", "fng")


def match_columns(path: Path, names: Sequence[str]) -> dict[str, int]:
    """Return the position of each known column by our name for it.

    Parameters
    ----------
    path
        The file, for messages.
    names
        Column names as written.

    Returns
    -------
    dict
        Keys `TIME`, perhaps `DATE`, the four prices, and those optional columns that are there.

    Raises
    ------
    DataError
        When the time or a price is missing, or two columns have the same name.
    """
    plain = [_plain(name) for name in names]
    found: dict[str, int] = {}
    for ours, aliases in _ALIASES.items():
        for alias in aliases:
            places = [place for place, name in enumerate(plain) if name == alias]
            if len(places) > 1:
                raise DataError(f"{path.name} has two columns named {names[places[0]]!r}")
            if places:
                found[ours] = places[0]
                break
    taken = set(found.values())
    times = [plain.index(name) for name in _TIMES if name in plain and plain.index(name) not in taken]
    missing = [name for name in PRICE_COLUMNS if name not in found]
    if missing or not times:
        raise DataError(_missing(path, names, plain, missing or [TIME]))
    found[TIME] = times[0]
    if plain[times[0]] == "time" and "date" in plain:
        found[DATE] = plain.index("date")
    return {name: found[name] for name in (DATE, TIME, *PRICE_COLUMNS, *OPTIONAL_COLUMNS) if name in found}


def match_side_columns(path: Path, names: Sequence[str], chosen: Mapping[str, str]) -> dict[str, int]:
    """Return the positions of the time and the value of a side series.

    Parameters
    ----------
    path
        The file, for messages.
    names
        Column names as written.
    chosen
        Names of the columns `TIME` and `VALUE` where the user gave them.

    Raises
    ------
    UsageError
        When a column that the user named is not there.
    DataError
        When no column is known as a time or a value.
    """
    plain = [_plain(name) for name in names]
    found: dict[str, int] = {}
    for ours, aliases in ((VALUE, _VALUES), (TIME, _TIMES)):
        if ours in chosen:
            wanted = _plain(chosen[ours])
            if wanted not in plain:
                near = suggestion(wanted, plain)
                raise UsageError(f"{path.name} has no column {chosen[ours]!r}{near} (there: {', '.join(names)})")
            found[ours] = plain.index(wanted)
            continue
        places = [plain.index(alias) for alias in aliases if alias in plain]
        left = [place for place in places if place not in found.values()]
        if not left:
            raise DataError(
                f"{path.name} has no {ours} column: its columns are {', '.join(names)}; name it with --column {ours}=NAME"
            )
        found[ours] = left[0]
    return found


def _plain(name: str) -> str:
    """Return ``adj_close`` for ``Adj Close``, ``<ADJ_CLOSE>`` and ``adjClose``."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip().strip("\"'<>"))
    return re.sub(r"[^a-z0-9]+", "_", spaced.lower()).strip("_")


def _missing(path: Path, names: Sequence[str], plain: Sequence[str], missing: list[str]) -> str:
    text = f"{path.name} has no {' and no '.join(missing)} column: its columns are {', '.join(names)}"
    if missing == [TIME]:
        return f"{text}; expected one such as timestamp, open_time, datetime or date"
    if missing == ["close"] and any(name in _ADJUSTED for name in plain):
        return f"{text}; an adjusted close is not the price that was traded, and is not taken for it"
    near = suggestion(missing[0], [name for name in plain if name])
    return f"{text}{near or '; expected timestamp, open, high, low, close and perhaps volume'}"
