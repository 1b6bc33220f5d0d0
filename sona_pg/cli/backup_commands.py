"""Commands that carry data as files: a dump of the whole store, an archive of one space."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from sona_pg.cli.options import Url, address_of, database_at
from sona_pg.cli.render import progress_bar, show_facts, show_rows
from sona_pg.cli.space_commands import Name, space_app
from sona_pg.errors import ConfigError, InvalidValue, SchemaError


def dump(
    file: Annotated[Path, typer.Argument(help="File to write; it appears, or is replaced, when the dump is whole.")],
    url: Url = None,
) -> None:
    """Dump the whole store to a file, by a pg_dump of the server's version; the embedded server is held up meanwhile.

    A role that row-level security or missing grants show only a part of the rows is refused.

    Example: sona-pg dump store.dump
    """
    from sona_pg.store.admin.dumping import dump as write_dump

    _require_folder(file)
    with address_of(url) as address, progress_bar(f"dumping to {file.name}") as progress:
        done = write_dump(address, file, progress)
    show_facts(done, "dump")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that sona-pg dump wrote.")],
    replace: Annotated[bool, typer.Option("--replace", help="Drop the store that is there; needs --yes.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Drop it at once: without it nothing is dropped.")] = False,
    url: Url = None,
) -> None:
    """Restore a dump into a database without a store, in one transaction, and check it.

    A file that was cut short is refused before anything changes. Run the grants of docs/roles.md afterwards. For an
    older Postgres, carry the spaces as archives.

    Exit codes: 0 all is there, 1 an error, or something is missing or wrong afterwards.

    Example: sona-pg restore store.dump --url postgresql://owner@db/new
    """
    from sona_pg.store.admin.dumping import at_work
    from sona_pg.store.admin.dumping import restore as read_dump

    if replace and not yes:
        raise ConfigError("--replace drops every space of the database: pass --yes to confirm")
    with address_of(url) as address:
        if replace and (there := at_work(address)):
            typer.echo(f"At work on the store of before: {', '.join(there)}. Start them again afterwards.", err=True)
        with progress_bar(f"restoring {file.name}") as progress:
            faults = read_dump(address, file, replace=replace, progress=progress)
    if faults:
        show_rows([dataclasses.asdict(fault) for fault in faults], "faults")
        raise SchemaError(f"{len(faults)} things are missing or wrong: see the list")
    show_facts({"file": str(file), "restored": True}, "restore")


def _require_folder(file: Path) -> None:
    if file.is_dir() or not file.parent.is_dir():
        why = "it is a folder" if file.is_dir() else f"there is no folder {file.parent}"
        raise InvalidValue(f"{file} cannot be written: {why}")


@space_app.command("archive")
def space_archive(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File to write; it appears, or is replaced, when it is whole.")],
    url: Url = None,
) -> None:
    """Write a whole space to one file, as it is at one moment: records, versions, candidates, settings, history.

    Left out: API keys, and the heartbeats of servers, whose counters are kept.

    Example: sona-pg space archive support support.sona
    """
    from sona_pg.store.admin.space_archive import write_archive

    _require_folder(file)
    with database_at(url) as database, progress_bar(f"archiving {name}") as progress:
        rows = write_archive(database.engine, database.find_space(name), file, progress)
    show_facts({"space": name, "file": str(file), "rows": rows, "bytes": file.stat().st_size}, f"space {name!r}")


@space_app.command("unarchive")
def space_unarchive(
    file: Annotated[Path, typer.Argument(help="A file that sona-pg space archive wrote.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the space; else the one it had.", show_default=False)
    ] = None,
    url: Url = None,
) -> None:
    """Make the space in an archive, in this store or another, of any version of Postgres; all of it or nothing.

    Example: sona-pg space unarchive support.sona --name support-copy
    """
    from sona_pg.store.admin.space_archive import read_archive

    with database_at(url) as database, progress_bar(f"restoring {file.name}") as progress:
        space, rows = read_archive(database.engine, file, name, progress)
    show_facts({"space": space.name, "dim": space.dim, "rows": rows}, f"space {space.name!r}")
