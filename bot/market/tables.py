"""Files of candles as tables of raw columns: CSV (plain, gzip, zip), Parquet and Feather, told apart by content.

Text columns stay text here, so that an error can show what the file says; `bot.market.importer` makes them numbers.
"""

from __future__ import annotations

import csv
import gzip
import io
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa
from pyarrow import csv as pacsv
from pyarrow import feather
from pyarrow import parquet as pq

from bot.errors import DataError, UsageError
from registry.errors import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["KLINE_COLUMNS", "RawTable", "read_table"]

KLINE_COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
    "ignore",
)

_DELIMITERS = ",;\t|"


@dataclass(frozen=True)
class RawTable:
    """Columns of a file as they stand in it.

    Attributes
    ----------
    path : Path
        The file.
    names : tuple of str
        Column names as written.
    columns : tuple of pyarrow.ChunkedArray
        One a name; text for CSV files.
    text : str or None
        The data lines of a CSV file, to find a row's line number when something is wrong with it.
    first_line : int
        Line number of the first character of ``text``, from 1.
    delimiter : str
        Separator of the cells of a CSV file.
    """

    path: Path
    names: tuple[str, ...]
    columns: tuple[pa.ChunkedArray, ...]
    text: bytes | None = field(default=None, repr=False)
    first_line: int = 1
    delimiter: str = ","

    @property
    def rows(self) -> int:
        """Number of data rows."""
        return len(self.columns[0]) if self.columns else 0

    def place(self, row: int) -> str:
        """Return ``file.csv:17`` for a data row counted from 0, or ``file.parquet row 17`` counted from 1."""
        if self.text is None:
            return f"{self.path.name} row {row + 1}"
        quoted_or_blank = (b'"', b"\n\n", b"\n\r\n")
        if self.text[:1] not in b"\r\n" and not any(mark in self.text for mark in quoted_or_blank):
            return f"{self.path.name}:{self.first_line + row}"
        for number, (line, _) in enumerate(_records(self.text, self.first_line, self.delimiter)):
            if number == row:
                return f"{self.path.name}:{line}"
        return f"{self.path.name} row {row + 1}"

    def cell(self, row: int, column: int) -> object:
        """Return what the file says there."""
        return self.columns[column][row].as_py()


def read_table(path: Path) -> RawTable:
    """Read a file of candles; the format is told by its first bytes, not by its name.

    Raises
    ------
    UsageError
        When there is no such file.
    DataError
        When it is empty, cut off, not of a known format, or its rows have different numbers of cells.
    """
    data = _read_bytes(path)
    if not data.strip():
        raise DataError(f"{path} is empty")
    if data[:4] == b"PAR1":
        return _columnar(path, data, "Parquet")
    if data[:6] == b"ARROW1" or data[:4] == b"FEA1":
        return _columnar(path, data, "Feather")
    if data[:2] == b"\x1f\x8b":
        data = _gunzip(path, data)
    elif data[:4] == b"PK\x03\x04":
        data = _unzip(path, data)
    return _text_table(path, _as_utf8(path, data))


def _read_bytes(path: Path) -> bytes:
    if path.is_dir():
        raise UsageError(f"{path} is a folder: name one file")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        near = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UsageError(f"there is no file {path}{suggestion(path.name, near)}") from None
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror or error}") from error


def _gunzip(path: Path, data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except EOFError:
        raise DataError(f"{path} is a truncated gzip file: its end is missing; copy or download it again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error}); copy or download it again") from None


def _unzip(path: Path, data: bytes) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [name for name in archive.namelist() if name.lower().endswith((".csv", ".txt"))]
            if len(names) != 1:
                raise DataError(f"{path} is an archive of {len(archive.namelist())} files: expected one CSV file in it")
            return archive.read(names[0])
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise DataError(f"{path} is a damaged zip file ({error}); copy or download it again") from None


def _as_utf8(path: Path, data: bytes) -> bytes:
    if data[:2] in {b"\xff\xfe", b"\xfe\xff"}:
        try:
            data = data.decode("utf-16").encode()
        except UnicodeDecodeError as error:
            raise DataError(f"{path} is not a text file: {error}") from None
    data = data.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in data[:65_536]:
        raise DataError(f"{path} is not a table of candles: expected CSV (plain, gzip, zip), Parquet or Feather")
    return data


def _columnar(path: Path, data: bytes, name: str) -> RawTable:
    source = _native(data)
    try:
        table = pq.read_table(source) if name == "Parquet" else feather.read_table(source)
        table.validate()
    except (pa.ArrowException, ValueError, OSError) as error:
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise DataError(f"{path} is a damaged {name} file ({reason}); copy or download it again") from None
    if not table.num_rows:
        raise DataError(f"{path} has columns, but no rows")
    columns = tuple(_plain(column) for column in table.columns)
    return RawTable(path, tuple(str(column) for column in table.column_names), columns)


def _native(data: bytes) -> pa.BufferReader:
    """Return a source of Arrow's own memory: a worker thread that holds Python's while Python ends aborts the process."""
    memory = pa.BufferOutputStream()
    memory.write(data)
    return pa.BufferReader(memory.getvalue())


def _plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _text_table(path: Path, data: bytes) -> RawTable:
    header_line, number, start = _first_line(data)
    header, delimiter = _cells(path, header_line, number)
    names = tuple(cell.strip() for cell in header)
    first_line = number + 1
    if all(_is_number(name) for name in names):
        if len(names) not in {len(KLINE_COLUMNS), len(KLINE_COLUMNS) - 1}:
            raise DataError(
                f"{path.name}:{number} has {len(names)} numbers and no column names: expected a header such as "
                "timestamp,open,high,low,close,volume, or Binance's 12 columns without a header"
            )
        names = KLINE_COLUMNS[: len(names)]
        first_line, start = number, start - len(header_line) - 1
    text = data[max(start, 0) :]
    if names[0] == "Price" and text.startswith(b"Ticker"):  # yfinance writes its column levels one below the other
        below = text.split(b"\n", 2)
        names = (below[1].split(b",")[0].decode(errors="replace").strip() if len(below) > 1 else "", *names[1:])
        text, first_line = below[2] if len(below) > 2 else b"", first_line + 2
    if not text.strip():
        raise DataError(f"{path} has a header, but no rows")
    positions = [str(position) for position in range(len(names))]
    try:
        table = pacsv.read_csv(
            _native(text),
            read_options=pacsv.ReadOptions(column_names=positions),
            parse_options=pacsv.ParseOptions(delimiter=delimiter),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(positions, pa.string()), strings_can_be_null=False
            ),
        )
    except (pa.ArrowException, ValueError) as error:
        raise _structure_error(path, text, first_line, delimiter, names, error) from None
    return RawTable(path, names, tuple(table.columns), text, first_line, delimiter)


def _first_line(data: bytes) -> tuple[bytes, int, int]:
    """Return the first line that is neither blank, a comment nor a lone cell before a table, its number and its end."""
    start, number, lone = 0, 0, None
    while start < len(data):
        end = data.find(b"\n", start)
        end = len(data) if end < 0 else end
        line, number = data[start:end], number + 1
        stripped = line.strip()
        if stripped and not stripped.startswith(b"#"):
            if any(delimiter.encode() in stripped for delimiter in _DELIMITERS):
                return line, number, end + 1
            lone = lone or (line, number, end + 1)
        start = end + 1
        if number > 20:
            break
    return lone or (b"", 1, len(data))


def _cells(path: Path, line: bytes, number: int) -> tuple[list[str], str]:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise DataError(f"{path.name}:{number} is not text in UTF-8") from None
    delimiter = max(_DELIMITERS, key=text.count)
    return next(csv.reader([text.strip("\r")], delimiter=delimiter), []), delimiter


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _records(text: bytes, first_line: int, delimiter: str) -> list[tuple[int, list[str]]]:
    """Return every row that is not blank with its line number (slow: only for messages)."""
    reader = csv.reader(io.StringIO(text.decode(errors="replace"), newline=""), delimiter=delimiter)
    found: list[tuple[int, list[str]]] = []
    line = first_line
    try:
        for cells in reader:
            if cells:
                found.append((line, cells))
            line = first_line + reader.line_num
    except csv.Error:
        return found
    return found


def _structure_error(
    path: Path, text: bytes, first_line: int, delimiter: str, names: Sequence[str], error: Exception
) -> DataError:
    for line, cells in _records(text, first_line, delimiter):
        if len(cells) != len(names):
            what = f"{path.name}:{line} has {len(cells)} cells, expected {len(names)}"
            return DataError(f"{what} ({', '.join(names)})")
    reason = str(error).strip().split("\n", maxsplit=1)[0]
    return DataError(f"{path} cannot be read as a table: {reason}")
