"""Source of an import: the file that is wanted, opened once it is clear that it can be used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sona_pg.errors import InvalidValue
from sona_pg.text.embedder import default_embedder
from sona_pg.transfer.log_row import CandidateRow, LogRow, read_candidate, read_trajectory
from sona_pg.transfer.parquet_rows import ParquetRows, is_parquet
from sona_pg.transfer.row_mapping import RowMapping
from sona_pg.transfer.row_source import Format, Row, RowSource

LISTED_BEGINS = b'{"line": '  # a line of a file of rejected or changed rows
LOOKED_AT = 256  # rows whose dimension is compared before a space is made


@dataclass(frozen=True, slots=True)
class ImportWanted:
    """A file to import, and how to read it."""

    path: Path
    form: Format | None = None  # by default as the file's name tells
    at: datetime | None = None  # time of rows that tell none
    rejects: Path | None = None  # by default FILE.rejects.jsonl
    mapping: RowMapping | None = None  # of a file with headings, ratings or times of its own
    delimiter: str | None = None  # of CSV; by default its header tells it
    encoding: str | None = None  # of CSV; by default UTF-8, and a file in another one is refused
    corrections: bool = False  # record changed ratings of known rows as feedback
    erased_too: bool = False  # record rows of erased users that tell no time
    changed: Path | None = None  # file that lists changed and corrected rows; by default none

    @property
    def rejects_path(self) -> Path:
        """File of the rejected rows."""
        return self.rejects or self.path.with_name(self.path.name + ".rejects.jsonl")

    @property
    def reading(self) -> str:
        """How the file is read, as text: an interrupted import that is read in another way begins again."""
        told = self.mapping or RowMapping()
        shape = f"{told.scale} {told.zone} {told.decimal} {told.date_format} {self.delimiter} {self.corrections}"
        shape += f" {self.erased_too}"
        return f"{self.form} {self.encoding} {self.at} {dict(told.names)} {dict(told.ratings)} {shape}"


@contextmanager
def open_source(wanted: ImportWanted) -> Iterator[RowSource | ParquetRows]:
    """Yield the rows of the wanted file, which is closed at the end.

    Raises:
        InvalidValue: it cannot be read, the file for rejected or changed rows is another file, or a mapped heading is
            missing.
    """
    _require_own(wanted.rejects_path, wanted.path, "the rejected rows")
    if wanted.changed is not None:
        if wanted.changed == wanted.rejects_path:
            raise InvalidValue(f"{wanted.changed} is the file of rejected rows: expected another for the changed rows")
        _require_own(wanted.changed, wanted.path, "the changed rows")
    source = _opened(wanted)
    try:
        headings = source.headings()
        names = wanted.mapping.names if wanted.mapping is not None else {}
        missing = [name for name in names if headings is not None and name not in headings]
        if missing:
            raise InvalidValue(
                f"{wanted.path} has no heading {missing[0]!r}: expected one of {', '.join(headings or ())}"
            )
        yield source
    finally:
        source.close()


def require_dimension(wanted: ImportWanted, dim: int) -> None:
    """Check the first rows against the dimension of the space that an import is about to make.

    Raises:
        InvalidValue: as ``open_source``; or the embeddings, of the rows or of the embedder, have another dimension.
        ConfigError: a row has a text alone, and there is no embedder.
    """
    with open_source(wanted) as source:
        parts = [part for row in islice(source.rows(), LOOKED_AT) if (part := part_of(wanted, row)) is not None]
    found = {part.embedding.size for part in parts if part.embedding is not None}
    if any(part.embedding is None for part in parts):
        own = default_embedder().dim
        if own != dim:
            raise InvalidValue(f"the default embedder gives texts {own} dimensions: expected --dim {own}, not {dim}")
    if found and dim not in found:
        raise InvalidValue(f"the rows' embeddings have {min(found)} dimensions: expected --dim {min(found)}, not {dim}")


def read_part(wanted: ImportWanted, row: Row, content: dict[str, Any]) -> LogRow | CandidateRow:
    """Return the trajectory or candidate of a row with mapped ``content``; InvalidValue: it cannot be used."""
    if "candidate" in content:
        return read_candidate(content)
    if wanted.corrections and content.get("id") is None:
        raise InvalidValue("it has no id, by which --corrections finds the row to correct: name its column by --map")
    return read_trajectory(content, row.raw, wanted.at)


def part_of(wanted: ImportWanted, row: Row) -> LogRow | CandidateRow | None:
    """Return the trajectory or candidate of a row; None: the import rejects it."""
    if row.content is None:
        return None
    try:
        content = row.content if wanted.mapping is None else wanted.mapping.apply(row.content)
        return read_part(wanted, row, content)
    except InvalidValue:
        return None


def _require_own(listed: Path, imported: Path, rows: str) -> None:
    """Refuse a file for ``rows`` that an import would overwrite, and that no import has written."""
    try:
        if not listed.parent.is_dir():
            raise InvalidValue(f"{listed} cannot be written: there is no folder {listed.parent}")
        if not listed.exists():
            return
        if imported.exists() and listed.samefile(imported):
            raise InvalidValue(f"{listed} is the imported file: expected another file for {rows}")
        if not listed.is_file():
            raise InvalidValue(f"{listed} is no file: expected a file for {rows}")
        with listed.open("rb") as file:
            begins = file.read(len(LISTED_BEGINS))
    except OSError as exc:
        raise InvalidValue(f"{listed} cannot be read: {exc.strerror}") from exc
    if begins not in (b"", LISTED_BEGINS):
        raise InvalidValue(f"{listed} holds other than {rows}: expected a new file, or one of an import")


def _opened(wanted: ImportWanted) -> RowSource | ParquetRows:
    if wanted.form == "parquet" or (wanted.form is None and is_parquet(wanted.path)):
        return ParquetRows(wanted.path)
    return RowSource(wanted.path, wanted.form, wanted.delimiter, wanted.encoding)
