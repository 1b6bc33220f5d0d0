"""Command that erases the data of a user, and checks receipts."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sona_pg.cli.erasure_plans import show_plans
from sona_pg.cli.options import SpaceName, Url, database_at, engine_on
from sona_pg.cli.render import progress_bar, show_facts, show_whole
from sona_pg.errors import ConfigError, InvalidValue

if TYPE_CHECKING:
    from sona_pg.engine import SonaEngine

NOTHING_FOUND = 3  # exit code
OTHER_KEY = 4  # exit code


def forget(
    space: SpaceName = "default",
    user: Annotated[str | None, typer.Option(help="Whose data: trajectories labelled user:NAME.")] = None,
    session: Annotated[str | None, typer.Option(help="Of which session: labelled session:NAME.")] = None,
    trajectory: Annotated[list[str] | None, typer.Option(help="Id of a single one; may be repeated.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be removed; change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Erase at once: without it nothing is erased.")] = False,
    drop_expired: Annotated[
        bool, typer.Option("--drop-expired", help="Also drop what was learned from records that retention has removed.")
    ] = False,
    drop_contents: Annotated[
        bool, typer.Option("--drop-contents", help="Also drop the texts of answers that the user has probably written.")
    ] = False,
    all_spaces: Annotated[bool, typer.Option("--all-spaces", help="In every space of the database.")] = False,
    unfinished: Annotated[
        bool, typer.Option("--finish", help="Instead, finish erasures whose process was killed.")
    ] = False,
    verify: Annotated[
        Path | None, typer.Option(help="Instead, check the receipt in this file, or - for standard input.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Key that signs receipts; else SONA_PG_RECEIPT_KEY, else one in the home.")
    ] = None,
    url: Url = None,
) -> None:
    """Erase the data of a user, and everything learned from it, on every server; print the signed receipt.

    Keep the receipt with your records: it names nobody. Backups and files of sona-pg save still have the data; see
    docs/erasure.md.

    Exit codes: 0 done, 1 an error, or the receipt is not genuine, 3 nothing was found to be erased, 4 the receipt names
    another key than the one it was checked with.

    Example: sona-pg forget --space support --user 42 --yes
    """
    from sona_pg.engine.erasure_calls import subject_of

    told: dict[str, Any] = {"user": user, "session": session, "trajectories": trajectory or None}
    if not (unfinished or verify) and sum(given is not None for given in told.values()) != 1:
        raise InvalidValue("name one of --user, --session and --trajectory: whose data is to be erased")
    if not (yes or dry_run or unfinished or verify):
        raise ConfigError("an erasure cannot be undone: see --dry-run, and pass --yes to confirm")
    if dry_run and verify is None:
        subject = subject_of(**told)
        with database_at(url) as database:
            names = sorted(database.names().values()) if all_spaces else [space]
            if not show_plans(database, names, subject, _subject(told)):
                raise typer.Exit(NOTHING_FOUND)
        return
    if all_spaces:
        _require_no_receipt(verify)
        with database_at(url) as database:
            names = sorted(database.names().values())
        found = False
        for name in names:
            try:
                forget(
                    name,
                    user,
                    session,
                    trajectory,
                    dry_run,
                    yes,
                    drop_expired,
                    drop_contents,
                    False,
                    unfinished,
                    None,
                    key,
                    url,
                )
                found = True
            except typer.Exit as exc:
                if exc.exit_code != NOTHING_FOUND:
                    raise
        if not found:
            raise typer.Exit(NOTHING_FOUND)
        return
    with engine_on(space, url) as engine:
        if verify is not None:
            _verify(engine, space, verify, key)
            return
        if unfinished:
            with progress_bar("finishing erasures") as progress:
                finished = engine.finish_erasures(key=key, progress=progress)
            show_facts({"space": space, "finished": finished}, f"space {space!r}")
            return
        _require_a_name(engine, told)
        written = engine.forget_plan(**told).candidates
        with progress_bar(f"erasing from space {space!r}") as progress:
            receipt = engine.forget(
                **told, drop_expired=drop_expired, drop_contents=drop_contents, key=key, progress=progress
            )
    removed = receipt.facts["removed"]
    if any(removed.values()):
        rows = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in removed.items() if count)
        print(f"sona-pg: removed from space {space!r} of {_subject(told)}: {rows}", file=sys.stderr)
    if written:
        kept = "ids and embeddings" if drop_contents else "ids, embeddings and contents (see --drop-contents)"
        print(
            f"sona-pg: answers that {_subject(told)} has probably written; their {kept} stay: {', '.join(written)}",
            file=sys.stderr,
        )
    show_whole(receipt.as_dict())
    _require_found(space, told, sum(removed.values()))


def _require_a_name(engine: SonaEngine, told: dict[str, Any]) -> None:
    """Refuse a label in place of a name, such as --user user:4, unless there are records of a user of that name."""
    for kind in ("user", "session"):
        name = told[kind] or ""
        if name.startswith(f"{kind}:") and not engine.forget_plan(**told).trajectories:
            bare = name.removeprefix(f"{kind}:")
            raise InvalidValue(f"--{kind} {name}: expected the name without {kind}: before it, --{kind} {bare}")


def _subject(told: dict[str, Any]) -> str:
    ((kind, name),) = ((kind, name) for kind, name in told.items() if name is not None)
    return f"{kind} {name!r}" if isinstance(name, str) else "these trajectories"


def _require_found(space: str, told: dict[str, Any], found: int) -> None:
    """Exit with a code of its own where nothing was found: the name may be misspelt."""
    if not found:
        print(f"sona-pg: space {space!r} has nothing of {_subject(told)}", file=sys.stderr)
        raise typer.Exit(NOTHING_FOUND)


def _require_no_receipt(path: Path | None) -> None:
    if path is not None:
        raise InvalidValue("--verify beside --all-spaces: a receipt is of one space")


def _verify(engine: SonaEngine, space: str, path: Path, key: Path | None) -> None:
    """Print whether a receipt is genuine; exit unless it is."""
    from sona_pg.engine.receipt_key import receipt_key

    receipt = _read(path)
    genuine = engine.verify_receipt(receipt, key=key)
    signed_with, here = receipt["signature"].get("key"), receipt_key(key).name
    facts = {"receipt": str(path), "genuine": genuine, "signed_with": signed_with, "checked_with": here}
    show_facts(facts, f"receipt of space {space!r}")
    if not genuine and signed_with != here:
        print("The receipt names another key than it was checked with: give that one by --key.", file=sys.stderr)
        raise typer.Exit(OTHER_KEY)
    if not genuine:
        raise typer.Exit(1)


def _read(path: Path) -> dict[str, Any]:
    try:
        told = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text())
    except (OSError, ValueError) as exc:
        raise InvalidValue(f"--verify {path}: expected the JSON of a receipt: {exc}") from exc
    if not isinstance(told, dict):
        raise InvalidValue(f"--verify {path}: expected the JSON of a receipt")
    return told
