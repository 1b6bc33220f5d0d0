"""Commands about versions: list, compare, stage, promote, roll back, save and load."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from sona_pg.cli.options import Limit, SpaceName, Url, database_at, engine_on
from sona_pg.cli.render import show_facts, show_rows
from sona_pg.domain.version import Difference
from sona_pg.errors import ConfigError, UnknownSpace

Version = Annotated[int, typer.Argument(help="Number of the version.", min=0)]
Yes = Annotated[bool, typer.Option("--yes", help="Change the version of every server without confirmation.")]
KeepFacts = Annotated[
    bool, typer.Option(help="Learn again from the facts since; otherwise they are left out of learning.")
]


def versions(space: SpaceName = "default", limit: Limit = 20, url: Url = None) -> None:
    """List the versions of a space, newest first: parent, origin, author, and whether it is live.

    Example: sona-pg versions --space support
    """
    with database_at(url) as database:
        found = database.versions.listing(database.find_space(space), limit)
        rows = [version.as_dict() | {"created_at": version.created_at} for version in found]  # formatted as others are
        show_rows(rows, f"versions of space {space!r}", ("cycle_id", "server_id"))


def diff(
    a: Annotated[int, typer.Argument(help="The version to begin with.", min=0)],
    b: Annotated[int, typer.Argument(help="The version to compare it with.", min=0)],
    space: SpaceName = "default",
    url: Url = None,
) -> None:
    """List the differences of two versions: patterns with their topics, routes, norms of adapters, distances of arrays.

    Example: sona-pg diff 3 4
    """
    with engine_on(space, url) as engine:
        found = engine.diff(a, b)
    show_rows([_row(item) for item in found], f"from version {a} to {b} of space {space!r}")


def stage(space: SpaceName = "default", url: Url = None) -> None:
    """Learn from unlearned facts and store the result as a candidate version; the live version stays.

    Example: sona-pg stage --space support
    """
    with engine_on(space, url) as engine:
        show_facts(engine.stage().as_dict(), f"candidate of space {space!r}")


def promote(version: Version, space: SpaceName = "default", yes: Yes = False, url: Url = None) -> None:
    """Make a staged version live on every server.

    Example: sona-pg promote 5 --yes
    """
    _require(yes, f"promoting version {version} of space {space!r}")
    with engine_on(space, url) as engine:
        show_facts({"live": engine.promote(version)}, f"space {space!r}")


def rollback(
    version: Version, space: SpaceName = "default", keep_facts: KeepFacts = False, yes: Yes = False, url: Url = None
) -> None:
    """Make an earlier version live again on every server, as a new, bit-identical version; 0: nothing learned.

    Example: sona-pg rollback 3 --yes
    """
    _require(yes, f"rolling space {space!r} back to version {version}")
    with engine_on(space, url) as engine:
        show_facts(engine.rollback(version, keep_facts=keep_facts).as_dict(), f"rollback of space {space!r}")


def save(
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    version: Annotated[int | None, typer.Option(help="Which version; by default the live one.", min=0)] = None,
    space: SpaceName = "default",
    url: Url = None,
) -> None:
    """Write a whole version to a file: everything that serving and further learning need.

    Example: sona-pg save support.sona --space support
    """
    with engine_on(space, url) as engine:
        engine.save(path, version)
        served = engine.version if version is None else version
    show_facts({"version": served, "file": str(path), "bytes": path.stat().st_size}, f"space {space!r}")


def load(
    path: Annotated[Path, typer.Argument(help="A file that sona-pg save wrote.")],
    space: SpaceName = "default",
    create: Annotated[bool, typer.Option(help="Make the space, with the file's settings, if it is not there.")] = False,
    keep_facts: KeepFacts = False,
    yes: Yes = False,
    url: Url = None,
) -> None:
    """Make the version in a file the live one of a space, of this store or another, on every server.

    Example: sona-pg load support.sona --space support --create --yes
    """
    _require(yes, f"publishing {path} in space {space!r}")
    if create:
        _make(space, path, url)
    with engine_on(space, url) as engine:
        show_facts({"live": engine.load(path, publish=True, keep_facts=keep_facts)}, f"space {space!r}")


VERSION_COMMANDS = (versions, diff, stage, promote, rollback, save, load)


def _require(yes: bool, what: str) -> None:
    if not yes:
        raise ConfigError(f"{what} changes the version served by every server: pass --yes to confirm")


def _make(space: str, path: Path, url: str | None) -> None:
    """Create the space for the version in a file, unless it exists."""
    from sona_pg.config import SonaConfig
    from sona_pg.config.space_settings import applied
    from sona_pg.serving.version_file import read_file

    found = read_file(path).space
    with database_at(url) as database:
        try:
            database.find_space(space)
        except UnknownSpace:
            config = applied(SonaConfig(hidden_dim=found.dim), found.settings)
            database.open_space(space, found.dim, database.now(), config=config)


def _row(item: Difference) -> dict[str, Any]:
    before, after = ({} if told is None else told for told in (item.before, item.after))
    return {
        "part": item.part,
        "name": item.name,
        "topic": item.topic,
        "change": item.change,
        **{f"{name}_before": before.get(name) for name in ("size", "quality", "norm")},
        **{f"{name}_after": after.get(name) for name in ("size", "quality", "norm")},
        "moved": after.get("moved"),
    }
