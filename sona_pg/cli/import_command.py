"""Import of logs into a space."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from sona_pg.cli.options import SpaceName, Url, database_at, read_time
from sona_pg.cli.render import progress_bar, show_facts, wants_json
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.errors import ConfigError, InvalidValue, NotFound, SonaError, UnknownSpace
from sona_pg.transfer.log_row import FIELDS
from sona_pg.transfer.row_source import Format

if TYPE_CHECKING:
    from sona_pg.store.database import Database
    from sona_pg.transfer import Imported

SOME_REJECTED, NOTHING_USABLE, STOPPED = 1, 2, 3  # exit codes


class FileFormat(StrEnum):
    """Formats of imported files."""

    jsonl = "jsonl"
    csv = "csv"
    parquet = "parquet"


FORMATS: dict[FileFormat, Format] = {
    FileFormat.jsonl: "jsonl",
    FileFormat.csv: "csv",
    FileFormat.parquet: "parquet",
}


@contextmanager
def _exit_codes() -> Iterator[None]:
    """Print our errors, and exit with the code of their kind."""
    try:
        yield
    except SonaError as exc:
        print(f"sona-pg: {exc}", file=sys.stderr)
        usage = isinstance(exc, InvalidValue | ConfigError | NotFound)
        raise typer.Exit(NOTHING_USABLE if usage else STOPPED) from exc
    except KeyboardInterrupt:
        print("sona-pg: stopped: run the same command again, and it goes on", file=sys.stderr)
        raise typer.Exit(STOPPED) from None


def import_records(
    file: Annotated[Path, typer.Argument(help="JSONL or CSV, plain or gzipped, or Parquet (extra `parquet`).")],
    space: SpaceName = "default",
    dim: Annotated[
        int | None, typer.Option(help="Make the space with so many dimensions, if it is missing.", min=1)
    ] = None,
    form: Annotated[
        FileFormat | None, typer.Option("--format", help="Else the file tells: Parquet, .csv, or JSONL.")
    ] = None,
    at: Annotated[
        str | None, typer.Option(help="Time of rows without started_at, ISO 8601.", show_default=False)
    ] = None,
    named: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            help="A heading and the field that it means: HEADING=FIELD, also =context:user (label user:VALUE) and "
            "=latency*60 (minutes); repeatable.",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="Ratings of the column quality that mean 0 and 1: LOW:HIGH, as 1:5.", show_default=False),
    ] = None,
    rating: Annotated[
        list[str] | None,
        typer.Option(help="A text in the column quality and its number: TEXT=NUMBER, as up=1; repeatable."),
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="Between the cells of a CSV, or `tab`; else its header tells: comma, semicolon or tab."),
    ] = None,
    encoding: Annotated[
        str | None,
        typer.Option(help="Of a CSV that is not UTF-8, as windows-1252 of Excel's 'CSV'.", show_default=False),
    ] = None,
    decimal: Annotated[str, typer.Option(help="Decimal mark of quality, latency and cost: . or ,")] = ".",
    date_format: Annotated[
        str | None,
        typer.Option(help="How started_at is written, as '%m/%d/%Y %I:%M %p' (strptime).", show_default=False),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times that tell none, as Europe/Berlin.", show_default=False)
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="File of rejected rows; else FILE.rejects.jsonl.", show_default=False)
    ] = None,
    corrections: Annotated[
        bool, typer.Option("--corrections", help="Record changed ratings of known rows as feedback, which counts.")
    ] = False,
    erased_too: Annotated[
        bool, typer.Option("--erased-too", help="Also record rows without started_at of users who were erased.")
    ] = False,
    changed: Annotated[
        Path | None,
        typer.Option(help="File to list the known rows whose contents differ, or were corrected.", show_default=False),
    ] = None,
    url: Url = None,
) -> None:
    """Record a file of logs, each row once, under its own time; an interrupted import goes on where it stopped.

    Exit codes: 0 all rows are recorded, 1 some were rejected, are about erased users, or are known with other contents,
    2 nothing could be used, 3 stopped: run it again.

    Example: sona-pg import october.jsonl.gz --space support
    Example: sona-pg import october.csv --space support --corrections --changed changed.jsonl
    Example: sona-pg import survey.csv --dim 256 --map Question=text --map Stars=quality --scale 1:5 --timezone UTC
    """
    from sona_pg.engine import SonaEngine
    from sona_pg.transfer import (
        ImportWanted,
        RowMapping,
        import_file,
        require_dimension,
        require_scale_and_encoding,
    )

    with _exit_codes(), database_at(url) as database:
        mapping = RowMapping(
            dict(map(_named, named or ())), _scale(scale), _zone(timezone), decimal, date_format,
            dict(map(_rating, rating or ())),
        )  # fmt: skip
        wanted = ImportWanted(
            file, None if form is None else FORMATS[form], read_time(at, "--at"), rejects, mapping,
            _delimiter(delimiter), encoding, corrections, erased_too, changed,
        )  # fmt: skip
        if not file.is_file():
            raise InvalidValue(f"{file} is no file: expected one, for it is read twice, the first time to check it")
        require_scale_and_encoding(wanted)
        made = False
        try:
            known = database.find_space(space).dim
        except UnknownSpace as exc:
            if dim is None:
                raise InvalidValue(
                    f"{exc}; to make {space!r}, add --dim 256 (rows with text), "
                    "or --dim and the length of your embeddings"
                ) from exc
            require_dimension(wanted, dim)  # a space of a wrong dimension would be in the way of the right one
            known, made = dim, True
        config = SonaConfig(
            ingest=IngestConfig(when_full="wait"),
            loops=LoopConfig(automatic=False, recent=0),
            maintenance=MaintenanceConfig(automatic=False),
        )
        with (
            SonaEngine(dim or known, database.url, space, config=config, create=dim is not None) as engine,
            progress_bar(f"importing {file.name}") as progress,
        ):
            done = import_file(engine, database, database.find_space(space), wanted, progress)
        empty = made and _removed_if_empty(database, space)
        waiting = 0 if empty else database.totals(database.find_space(space))["waiting"]
    facts = done.as_dict()
    if not wants_json():
        for told_below in ("first_changed", "first_erased"):
            facts.pop(told_below)
    show_facts(facts, f"imported {file.name} into space {space!r}")
    notes = [*notes_of(done, corrections=corrections), *([f"space {space!r} would be empty, and was not made"] * empty)]
    if waiting:
        notes.append(
            f"facts of space {space!r} that wait to be learned: {waiting}; a `sona-pg worker` or a server that "
            f"has the space open learns them by itself, without one run `sona-pg learn --space {shlex.quote(space)}`"
        )
    for note in notes:
        print(f"sona-pg: {note}", file=sys.stderr)
    if not done.rows:
        print(f"sona-pg: {file} has no rows", file=sys.stderr)
    if not done.rows or done.rejected == done.rows:
        raise typer.Exit(NOTHING_USABLE)
    if done.rejected or done.changed or done.erased:
        raise typer.Exit(SOME_REJECTED)


def notes_of(done: Imported, *, corrections: bool) -> Iterator[str]:
    """Yield a sentence for each thing about an import that its user must know."""
    if done.unseen_headings:
        yield f"no row has {', '.join(done.unseen_headings)}: see --map"
    if done.rejected == done.rows > 0:
        yield f"no row can be used: {done.first_reason}"
        if unknown := list(done.ignored_fields):
            yield (
                f"the columns {', '.join(map(repr, unknown))} are no fields of an import: tell which field each means, "
                f"as in --map {shlex.quote(f'{unknown[0]}=FIELD')} (fields: {', '.join(sorted(FIELDS))})"
            )
    for row in done.first_changed:
        told = ", ".join(
            f"{name} {json.dumps(change['recorded'])} -> {json.dumps(change['file'])}"
            + (" (corrected)" if name in row["corrected"] else "")
            for name, change in row["changes"].items()
        )
        yield f"line {row['line']}, id {row['id']!r}: {told}"
    if done.erased:
        yield (
            f"{done.erased} rows (the first: line {done.first_erased}) were not recorded: whoever they are about was "
            "erased from this space. Rows with a started_at after the erasure are recorded; --erased-too records "
            "those without a started_at. See docs/import-export.md, Erased users"
        )
    if done.corrected:
        yield f"{done.corrected} known rows were corrected by feedback"
    if done.changed:
        advice = (
            "only ratings can be corrected, of rows that feedback has not judged otherwise, and no feedback that an "
            "application counts (give it a higher sequence in the file)"
            if corrections
            else "--corrections records changed ratings"
        )
        yield (
            f"{done.changed} rows are known with another quality, feedback, route or query, and stay as they were "
            f"recorded: {advice}, --changed FILE lists all; see docs/import-export.md, Corrected files"
        )


def _removed_if_empty(database: Database, space: str) -> bool:
    """Remove the space that this import has made, if nothing was recorded in it; return whether it did."""
    found = database.find_space(space)
    counts = database.totals(found)
    if counts["servers"] or counts["trajectories"] or counts["feedback"] or database.new_candidates(found, 0):
        return False
    database.remove_space(space)
    return True


def _named(told: str) -> tuple[str, str]:
    heading, mark, name = told.rpartition("=")
    if not mark or not heading:
        raise InvalidValue(f"--map {told}: expected HEADING=FIELD, as in Question=text")
    return heading, name


def _rating(told: str) -> tuple[str, float]:
    text, _, number = told.rpartition("=")
    try:
        return text.strip(), float(number)
    except ValueError as exc:
        raise InvalidValue(f"--rating {told}: expected TEXT=NUMBER, as in up=1") from exc


def _scale(told: str | None) -> tuple[float, float] | None:
    if told is None:
        return None
    low, _, high = told.partition(":")
    try:
        return float(low), float(high)
    except ValueError as exc:
        raise InvalidValue(f"--scale {told}: expected LOW:HIGH, as in 1:5") from exc


def _zone(told: str | None) -> ZoneInfo | None:
    if told is None:
        return None
    try:
        return ZoneInfo(told)
    except (ZoneInfoNotFoundError, ValueError) as exc:
        raise InvalidValue(f"--timezone {told}: expected a zone such as UTC or Europe/Berlin") from exc


def _delimiter(told: str | None) -> str | None:
    if told is None or told == "tab":
        return None if told is None else "\t"
    if len(told) != 1 or told in '"\r\n':
        raise InvalidValue(f"--delimiter {told}: expected one character, or tab")
    return told
