"""The doctor: what is wrong with a store and this machine, and what to do about it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import typer

from sona_pg.cli.options import Url, address_of
from sona_pg.cli.render import show_rows
from sona_pg.config import Environment
from sona_pg.domain.finding import Finding
from sona_pg.errors import SonaError

LITTLE_DISK = (100 << 20, 2 << 30)  # bytes free: a fault, a warning
WARNINGS, FAULTS = 1, 2  # exit codes


def doctor(url: Url = None) -> None:
    """Check database, extension, schema, settings, clocks, pooler, lag, workers, learning, disk, uncommitted records.

    Exit codes: 0 all is well, 1 there are warnings, 2 something does not work. Objects and rows of the schema, such as
    after a restore, are checked by `sona-pg db check`.

    Example: sona-pg doctor --json | jq 'select(.status != "ok")'
    """
    found = list(_examined(url))
    show_rows([finding.as_dict() for finding in found], "doctor", wrap=True)
    worst = {finding.status for finding in found}
    if "fault" in worst:
        raise typer.Exit(FAULTS)
    if "warning" in worst:
        raise typer.Exit(WARNINGS)


def _examined(url: str | None) -> Iterator[Finding]:
    from sona_pg.store.admin.health import examine

    home = Environment.read().home
    yield from _disk(home)
    yield from _leftovers(home)
    try:
        with address_of(url) as address:
            yield from examine(address)
    except SonaError as exc:
        yield Finding(
            "database", "fault", str(exc), "name a database by SONA_PG_URL, or mend the embedded one's folder"
        )


def _disk(home: Path) -> Iterator[Finding]:
    there = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / 2**30:.1f} GiB free at {home}"
    advice = "records that wait for the database are kept there: free some space, or set SONA_PG_HOME elsewhere"
    if free < LITTLE_DISK[0]:
        yield Finding("disk", "fault", told, advice)
    elif free < LITTLE_DISK[1]:
        yield Finding("disk", "warning", told, advice)
    else:
        yield Finding("disk", "ok", told)


def _leftovers(home: Path) -> Iterator[Finding]:
    from sona_pg.ingest.leftovers import left_over

    abandoned, kept = left_over(home / "spool")
    if abandoned:
        yield Finding(
            "spool", "warning", f"{len(abandoned)} processes ended with records that are not committed "
            f"({sum(abandoned.values()):,} bytes), such as {next(iter(abandoned))}",
            "open an engine of that space on this machine (or start its server again): it commits them",
        )  # fmt: skip
    if kept:
        yield Finding(
            "spool", "warning", f"{kept} files of damaged or refused records are kept in {home}",
            "the log says why each was set aside; delete them once they are inspected",
        )  # fmt: skip
    if not abandoned and not kept:
        yield Finding("spool", "ok", "nothing is left of processes that have ended")
