"""Import of logs into a space, and export of its records."""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from sona_pg.cli.options import SpaceName, Url, database_at
from sona_pg.cli.render import progress_bar, show_facts
from sona_pg.cli.space_commands import read_candidate_texts
from sona_pg.config import IngestConfig, LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.errors import ConfigError, InvalidValue, NotFound, SonaError, UnknownSpace
from sona_pg.transfer.row_source import Format

SOME_REJECTED, NOTHING_USABLE, STOPPED = 1, 2, 3  # exit codes

FromTime = Annotated[str | None, typer.Option(help="From this time on, ISO 8601.", show_default=False)]
ToTime = Annotated[str | None, typer.Option(help="Before this time, ISO 8601.", show_default=False)]


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


class Exported(StrEnum):
    """Kinds of rows to export."""

    trajectories = "trajectories"
    candidates = "candidates"
    pairs = "pairs"
    adapters = "adapters"


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
        typer.Option("--map", help="A heading of the file and the field that it means: HEADING=FIELD; repeatable."),
    ] = None,
    scale: Annotated[
        str | None, typer.Option(help="Ratings that mean quality 0 and 1: LOW:HIGH, as 1:5.", show_default=False)
    ] = None,
    delimiter: Annotated[
        str | None,
        typer.Option(help="Between the cells of a CSV, or `tab`; else its header tells: comma, semicolon or tab."),
    ] = None,
    timezone: Annotated[
        str | None, typer.Option(help="Zone of times that tell none, as Europe/Berlin.", show_default=False)
    ] = None,
    rejects: Annotated[
        Path | None, typer.Option(help="File of rejected rows; else FILE.rejects.jsonl.", show_default=False)
    ] = None,
    url: Url = None,
) -> None:
    """Record a file of logs, each row once, under its own time; an interrupted import goes on where it stopped.

    Exit codes: 0 all rows are recorded, 1 some were rejected or are known with other contents, 2 nothing could be used,
    3 stopped: run it again.

    Example: sona-pg import october.jsonl.gz --space support
    Example: sona-pg import survey.csv --dim 256 --map Question=text --map Stars=quality --scale 1:5 --timezone UTC
    """
    from sona_pg.engine import SonaEngine
    from sona_pg.transfer import ImportWanted, RowMapping, import_file, require_dimension

    with _exit_codes(), database_at(url) as database:
        mapping = RowMapping(dict(map(_named, named or ())), _scale(scale), _zone(timezone))
        wanted = ImportWanted(
            file, None if form is None else FORMATS[form], _time(at, "--at"), rejects, mapping, _delimiter(delimiter)
        )
        if not file.is_file():
            raise InvalidValue(f"{file} is no file")
        try:
            known = database.find_space(space).dim
        except UnknownSpace as exc:
            if dim is None:
                raise InvalidValue(
                    f"{exc}; to make {space!r}, add --dim 256 (rows with text), "
                    "or --dim and the length of your embeddings"
                ) from exc
            require_dimension(wanted, dim)  # a space of a wrong dimension would be in the way of the right one
            known = dim
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
    show_facts(done.as_dict(), f"imported {file.name} into space {space!r}")
    if done.unseen_headings:
        print(f"sona-pg: no row has {', '.join(done.unseen_headings)}: see --map", file=sys.stderr)
    if done.changed:
        print(
            f"sona-pg: {done.changed} rows are known with another quality, route or query, and stay as they were "
            "recorded: see docs/import-export.md, Corrected files",
            file=sys.stderr,
        )
    if done.rejected:
        raise typer.Exit(SOME_REJECTED if done.rejected < done.rows else NOTHING_USABLE)
    if done.changed:
        raise typer.Exit(SOME_REJECTED)
    if not done.rows:
        print(f"sona-pg: {file} has no rows", file=sys.stderr)
        raise typer.Exit(NOTHING_USABLE)


def export_records(
    what: Annotated[Exported, typer.Argument(help="What to export.")] = Exported.trajectories,
    space: SpaceName = "default",
    output: Annotated[
        Path | None,
        typer.Option(
            help="File: .parquet, .csv or else JSON lines, gzipped in .gz; adapters: a folder; else standard output."
        ),
    ] = None,
    since: FromTime = None,
    until: ToTime = None,
    with_embeddings: Annotated[
        bool, typer.Option("--with-embeddings", help="Write embeddings and the activations of steps as well.")
    ] = False,
    candidate_texts: Annotated[
        str | None, typer.Option(help="Of pairs: texts in place of ids, a JSON file of {id: text}, or MODULE:FUNCTION.")
    ] = None,
    url: Url = None,
) -> None:
    """Write trajectories, candidates or preference pairs as JSON lines, CSV or Parquet; memory does not grow with them.

    Adapters are written as Hugging Face PEFT reads them: OUTPUT/base and OUTPUT/micro, of the live version.

    Example: sona-pg export pairs --space support --since 2026-11-01T00:00Z --output pairs.jsonl
    """
    from sona_pg.transfer import ExportWanted, export_candidates, export_pairs, export_trajectories

    if what is Exported.adapters:
        _export_adapters(space, output, url)
        return
    with database_at(url) as database:
        wanted = ExportWanted(_time(since, "--since"), _time(until, "--until"), with_embeddings)
        texts = read_candidate_texts(candidate_texts)
        found = database.find_space(space)
        total = database.totals(found)["trajectories"]
        with _writer(output, what) as write, progress_bar(f"exporting {what.value}") as progress:

            def count(rows: int) -> None:
                progress(rows, max(total, rows))

            if what is Exported.trajectories:
                rows = export_trajectories(database, found, wanted, write, count)
            elif what is Exported.candidates:
                rows = export_candidates(database, found, write, count)
            else:
                rows = export_pairs(database, found, wanted, write, texts, count)
    if output is not None:
        show_facts({"rows": rows, "file": str(output)}, f"exported {what.value} of space {space!r}")


def _export_adapters(space: str, output: Path | None, url: str | None) -> None:
    from sona_pg.transfer import write_peft

    if output is None:
        raise InvalidValue("adapters need --output, a folder")
    with database_at(url) as database:
        found = database.find_space(space)
        version = database.live_version(found)
        if not version:
            raise InvalidValue(f"space {space!r} has learned nothing yet: its adapters leave every input as it is")
        done = write_peft(database.load_version(found, version), output)
    show_facts(done, f"adapters of space {space!r}")


@contextmanager
def _writer(output: Path | None, what: Exported) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes text; a file gets its name when it is complete."""
    if output is None:
        yield sys.stdout.write
        return
    beside = output.with_name(output.name + "~")
    try:
        if output.suffix.lower() == ".parquet":
            from sona_pg.transfer import ParquetOutput

            with ParquetOutput(beside, what.value) as rows:
                yield rows.write
            os.replace(beside, output)
            return
        zipped = output.suffix.lower() == ".gz"
        with (
            gzip.open(beside, "wt", encoding="utf-8", newline="")
            if zipped
            else beside.open("w", encoding="utf-8", newline="")
        ) as file:
            yield _text_writer(output, what, file)
        os.replace(beside, output)
    except OSError as exc:
        raise InvalidValue(f"{output} cannot be written: {exc.strerror}") from exc
    finally:
        beside.unlink(missing_ok=True)


def _text_writer(output: Path, what: Exported, file: TextIO) -> Callable[[str], object]:
    """Return a function that writes lines of JSON: as CSV where an import would read the file as CSV."""
    if ".csv" not in [suffix.lower() for suffix in output.suffixes]:
        return file.write
    from sona_pg.transfer import CsvOutput

    return CsvOutput(file, what.value).write


def _named(told: str) -> tuple[str, str]:
    heading, mark, name = told.rpartition("=")
    if not mark or not heading:
        raise InvalidValue(f"--map {told}: expected HEADING=FIELD, as in Question=text")
    return heading, name


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


def _time(told: str | None, option: str) -> datetime | None:
    if told is None:
        return None
    try:
        at = datetime.fromisoformat(told)
    except ValueError as exc:
        raise InvalidValue(f"{option} {told}: expected ISO 8601, such as 2026-11-01 or 2026-11-01T12:00Z") from exc
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
