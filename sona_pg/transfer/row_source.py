"""Rows of a file: JSONL or CSV, plain or gzipped, one at a time, each with its place in the file."""

from __future__ import annotations

import codecs
import csv
import gzip
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

from sona_pg.errors import InvalidValue
from sona_pg.transfer.json_codec import read_cell, read_json

Format = Literal["jsonl", "csv", "parquet"]
LONGEST_LINE = 64 << 20  # bytes
GZIP = b"\x1f\x8b"
UTF16 = (b"\xff\xfe", b"\xfe\xff")  # byte order marks
WORKBOOKS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")  # as files of Excel begin: .xlsx, .xls
SEPARATOR = re.compile('"?sep=(.)"?', re.IGNORECASE)  # a first line that tells Excel the delimiter
QUOTED = re.compile(r'"[^"]*("|$)')
CONVERT = "convert the file first, such as iconv -f WINDOWS-1252 -t UTF-8"
NAME_IT = f"name its encoding, as in --encoding windows-1252 for a CSV that Excel wrote, or {CONVERT}"
FORMULA = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")  # a cell that a spreadsheet would run, also if quoted
ASCII = bytes(range(128))
# Columns of CSV that may hold JSON.
JSON_CELLS = ("embedding", "feedback", "steps", "parameters", "decision", "context", "candidates")


class Row(NamedTuple):
    """One row as it was read."""

    line: int  # its first line, from 1
    content: dict[str, Any] | None  # None: it cannot be read
    raw: bytes
    reason: str = ""  # why it cannot be read
    text: bytes | None = None  # as it stands in the file, where ``raw`` differs
    is_misread: bool = False  # its bytes are not in the encoding of the file


class RowSource:
    """Reads the rows of a file from an offset on."""

    def __init__(
        self, path: Path, form: Format | None, delimiter: str | None = None, encoding: str | None = None
    ) -> None:
        """Open the file; without ``form`` its name tells it, .csv or .csv.gz, else JSONL.

        Without ``delimiter`` a CSV tells it: its first line, if that is ``sep=;`` or the like, else its header: comma,
        semicolon or tab, the most frequent outside quotes. Without ``encoding`` the file is UTF-8.

        Raises:
            InvalidValue: it cannot be read.
        """
        self.form: Format = form or ("csv" if ".csv" in [suffix.lower() for suffix in path.suffixes] else "jsonl")
        self._encoding = "utf-8" if encoding is None else _codec(encoding)
        if self.form != "csv" and self._encoding != "utf-8":
            raise InvalidValue(f"--encoding {encoding} is for CSV: JSON is UTF-8")
        try:
            self._raw: BinaryIO = path.open("rb")
            self.size = path.stat().st_size
            begins = self._raw.read(4)
            self._raw.seek(0)
        except OSError as exc:
            raise InvalidValue(f"{path} cannot be read: {exc.strerror}") from exc
        if begins in WORKBOOKS:
            self._raw.close()
            raise InvalidValue(
                f"{path} is a workbook of Excel (or a zip file): save it there as 'CSV UTF-8', import that"
            )
        self._file: Any = gzip.GzipFile(fileobj=self._raw) if begins.startswith(GZIP) else self._raw
        self._path = path
        self._delimiter = delimiter
        self._line = self._end = 0
        self._text: list[bytes] = []  # lines of the CSV row that is read

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._raw.close()

    @property
    def passed(self) -> int:
        """Bytes of the file, as it lies on the disk, that were read so far."""
        return self._raw.tell()

    @property
    def place(self) -> tuple[int, int]:
        """Lines, and bytes of the unzipped file, up to the end of the row that was yielded last."""
        return self._line, self._end

    def rows(self, line: int = 0, offset: int = 0) -> Iterator[Row]:
        """Yield the rows behind ``offset``, where ``line`` lines end; a header is read before.

        Raises:
            InvalidValue: the file is damaged, or a CSV has no header.
        """
        try:
            self._file.seek(0)
            yield from self._csv(line, offset) if self.form == "csv" else self._jsonl(line, offset)
        except (EOFError, gzip.BadGzipFile, OSError) as exc:
            raise InvalidValue(f"{self._path} cannot be read on after line {self._line}: {exc}") from exc

    def _jsonl(self, line: int, offset: int) -> Iterator[Row]:
        self._file.seek(offset)
        self._line, self._end = line, offset
        while raw := self._file.readline(LONGEST_LINE):
            self._line += 1
            self._end += len(raw)
            if len(raw) == LONGEST_LINE and not raw.endswith(b"\n"):
                self._pass_line()
                yield Row(self._line, None, b"", f"the line is longer than {LONGEST_LINE >> 20} MiB")
            elif text := raw.strip():
                yield self._read(text)

    def _read(self, text: bytes) -> Row:
        try:
            content = read_json(text)
        except (ValueError, RecursionError) as exc:
            reason = _not_utf8(text, CONVERT)
            return Row(self._line, None, text, reason or f"no JSON: {exc}", is_misread=bool(reason))
        if not isinstance(content, dict):
            return Row(self._line, None, text, f"a JSON {type(content).__name__}: expected an object")
        return Row(self._line, content, text)

    def _pass_line(self) -> None:
        while more := self._file.readline(LONGEST_LINE):
            self._end += len(more)
            if more.endswith(b"\n"):
                return

    def headings(self) -> list[str] | None:
        """Return the headings of a CSV; None for JSON, where each row has its own.

        Raises:
            InvalidValue: the file is damaged, or a CSV has no header.
        """
        if self.form != "csv":
            return None
        try:
            self._file.seek(0)
            return self._header()[0]
        except (EOFError, gzip.BadGzipFile, OSError) as exc:
            raise InvalidValue(f"{self._path} cannot be read: {exc}") from exc

    def _header(self) -> tuple[list[str], str]:
        """Return the headings and the delimiter, of a file that stands at its beginning."""
        csv.field_size_limit(LONGEST_LINE)
        self._line = self._end = 0
        lines = self._lines()
        header = next(lines, "")
        if self._text[-1:] and self._text[-1].startswith(UTF16):
            raise InvalidValue(f"{self._path} is UTF-16: convert the file first, such as iconv -f UTF-16 -t UTF-8")
        told = SEPARATOR.fullmatch(header.rstrip("\r\n"))
        if told is not None:
            header = next(lines, "")
        bare = QUOTED.sub("", header)
        delimiter = self._delimiter or (told[1] if told else max(",;\t", key=bare.count))
        try:
            names = [name.strip() for name in next(csv.reader(chain([header], lines), delimiter=delimiter), [])]
        except csv.Error as exc:
            raise InvalidValue(f"{self._path} has no header that can be read: {exc}") from exc
        if not names:
            raise InvalidValue(f"{self._path} is empty: expected a header with the names of the columns")
        if reason := _not_utf8("".join(names).encode("utf-8", "surrogateescape"), NAME_IT):
            raise InvalidValue(f"{self._path} has a header that is {reason}")
        return names, delimiter

    def _csv(self, line: int, offset: int) -> Iterator[Row]:
        names, delimiter = self._header()
        if offset > self._end:
            self._file.seek(offset)
            self._line, self._end = line, offset
        reader = csv.reader(self._lines(), delimiter=delimiter, strict=True)
        while True:
            first = self._line + 1
            self._text.clear()
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error as exc:
                yield Row(first, None, b"", f"no CSV: {exc}", self._read_text())
                continue
            if cells:
                yield self._of_cells(first, names, cells)._replace(text=self._read_text())

    def _read_text(self) -> bytes:
        return b"".join(self._text).rstrip(b"\r\n")

    def _of_cells(self, first: int, names: list[str], cells: list[str]) -> Row:
        raw = "\x1f".join(cells).encode("utf-8", "surrogateescape")
        if reason := _not_utf8(raw, NAME_IT):
            return Row(first, None, raw, reason, is_misread=True)
        if len(cells) != len(names):
            return Row(first, None, raw, f"{len(cells)} cells: the header has {len(names)}")
        content: dict[str, Any] = {
            name: cell[1:] if cell[0] == "'" and FORMULA.match(cell) else cell
            for name, cell in zip(names, cells, strict=True)
            if cell
        }
        for name in JSON_CELLS:
            cell = content.get(name)
            if cell is not None and cell.lstrip()[:1] in ("[", "{"):
                try:
                    content[name] = read_cell(cell)
                except (ValueError, RecursionError) as exc:
                    return Row(first, None, raw, f"{name} is no JSON: {exc}")
        return Row(first, content, raw)

    def _lines(self) -> Iterator[str]:
        while raw := self._file.readline(LONGEST_LINE):
            self._line += 1
            self._end += len(raw)
            codec = "utf-8-sig" if self._line == 1 and self._encoding == "utf-8" else self._encoding
            line = raw.decode(codec, "surrogateescape")
            self._text.append(raw if self._encoding == "utf-8" else line.encode("utf-8", "surrogateescape"))
            yield line


def _codec(encoding: str) -> str:
    """Return the name of a codec whose lines end as those of ASCII; InvalidValue: there is none of this name."""
    try:
        name = codecs.lookup(encoding).name
        if ASCII.decode(name) == ASCII.decode("ascii"):
            return name
    except (LookupError, UnicodeError):
        pass
    raise InvalidValue(f"--encoding {encoding}: expected one such as utf-8, windows-1252 or iso-8859-15")


def _not_utf8(raw: bytes, advice: str) -> str:
    """Return the reason to reject bytes that are not UTF-8, with ``advice``; empty for those that are."""
    try:
        raw.decode()
    except UnicodeDecodeError as exc:
        return f"not UTF-8 (byte 0x{raw[exc.start]:02x}): {advice}"
    return ""
