"""What a command prints: one JSON document, or text for a person; progress and errors on stderr."""

from __future__ import annotations

import codecs
import io
import json
import math
import os
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Report", "prepare_streams", "print_json", "progress", "to_json"]


def prepare_streams() -> None:
    """Make every text printable: what the terminal's encoding lacks is written as an escape, a closed stream swallows it."""
    codecs.register_error("bot.escape", _escape)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 - lives as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="bot.escape")


def _escape(error: UnicodeError) -> tuple[str | bytes, int]:
    """Write the minus sign of our figures as a hyphen, other letters that cannot be encoded as escapes."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text, end = codecs.backslashreplace_errors(error)
    unknown = error.object[error.start : error.end]
    return ("-" * len(unknown) if set(unknown) == {"\N{MINUS SIGN}"} else text), end


def to_json(document: Any, *, ascii_only: bool = False) -> str:
    """Return the document as JSON; a figure that is not finite is null, numpy scalars are numbers."""
    return json.dumps(_plain(document), indent=2, ensure_ascii=ascii_only, allow_nan=False)


def print_json(document: Any) -> None:
    """Print the document on stdout; with JSON's own escapes where its letters cannot be encoded there."""
    text = to_json(document)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = to_json(document, ascii_only=True)
    print(text)


def _plain(value: Any) -> Any:
    if hasattr(value, "item") and not isinstance(value, (str, bytes)) and getattr(value, "ndim", 0) == 0:
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if value is None or isinstance(value, (str, int)):
        return value
    return str(value)


class Report:
    """Output of one command: either JSON on stdout, or lines and tables for a person.

    Parameters
    ----------
    as_json
        Print exactly one JSON document and nothing else on stdout.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, document: Mapping[str, Any]) -> None:
        """Print the JSON document where it was asked for."""
        if self.as_json:
            print_json(document)

    def line(self, text: str = "") -> None:
        """Print a line for a person; never wrapped, never coloured."""
        if not self.as_json:
            print(text)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Print a table: drawn by rich on a terminal that is wide enough, plain aligned columns elsewhere."""
        if self.as_json:
            return
        cells = [[("-" if cell is None else str(cell)) for cell in row] for row in rows]
        widths = [max(len(str(column)), *(len(row[i]) for row in cells), 0) for i, column in enumerate(columns)]
        drawn = sum(widths) + 3 * len(widths) + 1
        if not sys.stdout.isatty() or drawn > shutil.get_terminal_size().columns:  # rich would cut figures off
            print(title)
            for row in [list(columns), *cells]:
                print("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
            return
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(title=title, title_justify="left")
        for column in columns:
            table.add_column(column)
        for row in cells:
            table.add_row(*(Text(cell) for cell in row))
        Console().print(table)


@contextmanager
def progress(title: str) -> Iterator[Callable[[float, str], None]]:
    """Show a progress bar on stderr while it is a terminal; yields ``update(fraction, text)``."""
    if not sys.stderr.isatty():
        yield lambda _fraction, _text: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda fraction, text: bar.update(task, completed=fraction, description=text or title)
