"""Export of the records of a space."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TextIO

import typer

from sona_pg.cli.options import SpaceName, Url, database_at, read_time
from sona_pg.cli.render import progress_bar, show_facts
from sona_pg.cli.space_commands import read_candidate_texts
from sona_pg.errors import InvalidValue
from sona_pg.store.whole_file import whole_file

FromTime = Annotated[str | None, typer.Option(help="From this time on, ISO 8601.", show_default=False)]
ToTime = Annotated[str | None, typer.Option(help="Before this time, ISO 8601.", show_default=False)]


ENDINGS = ("", ".jsonl", ".ndjson", ".json", ".csv")  # of text, plain or with .gz behind


class Exported(StrEnum):
    """Kinds of rows to export."""

    trajectories = "trajectories"
    candidates = "candidates"
    pairs = "pairs"
    adapters = "adapters"


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
    excel: Annotated[
        bool,
        typer.Option(
            "--excel",
            help="Write CSV for Excel where the decimal mark is a comma: UTF-8 with its mark, semicolons.",
        ),
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
    if output is not None:
        _require_ending(output)
    if excel and (output is None or not _is_csv(output)):
        raise InvalidValue("--excel is for CSV: add --output and a name that ends in .csv")
    with database_at(url) as database:
        wanted = ExportWanted(read_time(since, "--since"), read_time(until, "--until"), with_embeddings)
        texts = read_candidate_texts(candidate_texts)
        found = database.find_space(space)
        total = database.totals(found)["trajectories"]
        with _writer(output, what, excel) as write, progress_bar(f"exporting {what.value}") as progress:

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


def _require_ending(output: Path) -> None:
    """Refuse a name of which another program would expect a format that is not written."""
    name = output.name.lower()
    if name.endswith(".parquet") or Path(name.removesuffix(".gz")).suffix in ENDINGS:
        return
    raise InvalidValue(
        f"--output {output}: {output.suffix} is not written: expected a name that ends in .csv, which Excel "
        "reads, in .jsonl or either with .gz, or in .parquet"
    )


@contextmanager
def _writer(output: Path | None, what: Exported, excel: bool) -> Iterator[Callable[[str], object]]:
    """Yield a function that writes text; a file gets its name when it is complete."""
    if output is None:
        yield sys.stdout.write
        return
    try:
        with whole_file(output) as beside:
            if output.suffix.lower() == ".parquet":
                from sona_pg.transfer import ParquetOutput

                with ParquetOutput(beside, what.value) as rows:
                    yield rows.write
                return
            encoding = "utf-8-sig" if excel else "utf-8"
            zipped = output.suffix.lower() == ".gz"
            with (
                gzip.open(beside, "wt", encoding=encoding, newline="")
                if zipped
                else beside.open("w", encoding=encoding, newline="")
            ) as file:
                yield _text_writer(output, what, file, excel)
    except OSError as exc:
        raise InvalidValue(f"{output} cannot be written: {exc.strerror}") from exc


def _text_writer(output: Path, what: Exported, file: TextIO, excel: bool) -> Callable[[str], object]:
    """Return a function that writes lines of JSON: as CSV where an import would read the file as CSV."""
    if not _is_csv(output):
        return file.write
    from sona_pg.transfer import CsvOutput

    return (CsvOutput(file, what.value, ";", ",") if excel else CsvOutput(file, what.value)).write


def _is_csv(output: Path) -> bool:
    return ".csv" in [suffix.lower() for suffix in output.suffixes]
