"""Commands about spaces: list, create, show, set, rename, re-embed, remove."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer

from sona_pg.cli.options import Url, complete_space, database_at
from sona_pg.cli.render import progress_bar, show_facts, show_rows, wants_json
from sona_pg.errors import ConfigError, InvalidValue, SpaceExists

space_app = typer.Typer(help="Spaces: list, make, show, change, rename or remove them.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="Name of the space.", autocompletion=complete_space)]


class Period(StrEnum):
    """Periods of a budget."""

    request = "request"
    day = "day"


@space_app.command("list")
def space_list(url: Url = None) -> None:
    """List the spaces of the database with their live versions and counts.

    Example: sona-pg space list
    """
    with database_at(url) as database:
        rows = [dataclasses.asdict(space) for space in database.summarise_spaces()]
        show_rows([{"space": row.pop("name"), **row} for row in rows], "spaces")


@space_app.command("create")
def space_create(
    name: Annotated[str, typer.Argument(help="Name of the space.")],
    dim: Annotated[int, typer.Option(help="Dimension of its embeddings.", min=1)] = 256,
    url: Url = None,
) -> None:
    """Make a space with the default settings; an engine or a server that opens a missing one does so as well.

    Example: sona-pg space create support --dim 256
    """
    from sona_pg.config import LoopConfig, MaintenanceConfig, SonaConfig
    from sona_pg.engine import Store

    quiet = SonaConfig(loops=LoopConfig(automatic=False), maintenance=MaintenanceConfig(automatic=False))
    with Store(url, require_database=True) as store:
        if name in {known.name for known in store.spaces()}:
            raise SpaceExists(f"there is a space {name!r} already: see `sona-pg space show {name}`")
        show_facts({"space": name, "dim": store.space(name, dim, config=quiet).dim}, f"space {name!r}")


@space_app.command("show")
def space_show(
    name: Name,
    history: Annotated[bool, typer.Option(help="Every change, with the version it holds from.")] = False,
    url: Url = None,
) -> None:
    """Print the learning settings of a space, used by all its learners.

    Example: sona-pg space show support --history
    """
    with database_at(url) as database:
        space = database.find_space(name)
        if not history:
            show_facts({"space": space.name, "dim": space.dim, **space.settings}, f"space {name!r}")
            return
        rows: list[dict[str, Any]] = []
        before: Mapping[str, Any] = {}
        for version, at, settings in database.settings_history(space):
            changed = {key: value for key, value in settings.items() if before and before[key] != value}
            rows.append({"from_version": version, "set_at": at, "changed": changed})
            before = settings
        show_rows(rows, f"settings of space {name!r}")


@space_app.command("set")
def space_set(
    name: Name,
    settings: Annotated[
        list[str] | None, typer.Argument(help="Settings to change, as NAME=VALUE, such as base.rank=16.")
    ] = None,
    url: Url = None,
) -> None:
    """Change learning settings of a space, from its next version on, and print these; without any, print all of them.

    As JSON, or in a pipe, all settings are printed.

    Example: sona-pg space set support base.rank=16 loops.growth=0.2
    """
    from sona_pg.config.space_settings import parsed

    changes = dict(parsed(told) for told in settings or ())
    with database_at(url) as database:
        space = database.find_space(name)
        known = database.set_settings(space, changes) if changes else database.settings(space)
    if wants_json() or not changes:
        show_facts(known, f"settings of space {name!r}", by_part=True)
    else:
        changed = {setting: known[setting] for setting in known if setting in changes}
        show_facts(changed, f"changed in space {name!r}; without settings the command prints all {len(known)}")


@space_app.command("budget")
def space_budget(
    name: Name,
    amount: Annotated[float | None, typer.Option(help="Set it, in the unit of costs, such as dollars.")] = None,
    per: Annotated[Period, typer.Option(help="Of a request on average, or of a day (UTC).")] = Period.request,
    remove: Annotated[bool, typer.Option("--remove", help="Remove it.")] = False,
    url: Url = None,
) -> None:
    """Print the budget of a space and what all servers have spent of it; or set or remove it.

    Another limit of a day keeps what was spent that day; any other change begins the count anew.

    Example: sona-pg space budget support
    """
    from sona_pg.engine.budget_calls import require_budget

    if remove and amount is not None:
        raise InvalidValue("--amount and --remove: choose one of them")
    with database_at(url) as database:
        space = database.find_space(name)
        if remove or amount is not None:
            wanted = None if amount is None else require_budget(amount, per.value)
            database.set_budget(space, wanted, "day" if per is Period.day else "request")
        known = database.budget(space)
        show_facts(known.as_dict() if known is not None else {"space": name, "budget": None}, f"budget of {name!r}")


@space_app.command("retention")
def space_retention(
    name: Name,
    weeks: Annotated[int | None, typer.Option(help="Keep its learned facts for so many weeks.", min=1)] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Keep them as long as the store keeps facts.")] = False,
    url: Url = None,
) -> None:
    """Print for how many weeks a space keeps the facts that it has learned from; or set or remove that.

    Maintenance deletes what is older. The retention of the whole store (keep_weeks) holds besides.

    Example: sona-pg space retention support --weeks 26
    """
    if remove and weeks is not None:
        raise InvalidValue("--weeks and --remove: choose one of them")
    with database_at(url) as database:
        space = database.find_space(name)
        if remove or weeks is not None:
            database.set_retention(space, weeks)
        show_facts({"space": name, "keep_weeks": database.retention(space)}, f"retention of {name!r}")


@space_app.command("rename")
def space_rename(
    name: Name, new_name: Annotated[str, typer.Argument(help="Its new name.")], url: Url = None
) -> None:  # fmt: skip
    """Rename a space; engines that have it open continue, later ones need the new name.

    Example: sona-pg space rename default support
    """
    with database_at(url) as database:
        space = database.rename_space(name, new_name)
        show_facts({"space": space.name, "dim": space.dim}, f"space {name!r} renamed")


@space_app.command("reembed")
def space_reembed(
    name: Name,
    dim: Annotated[int | None, typer.Option(help="Dimensions of the new embeddings.", min=1)] = None,
    model: Annotated[
        str | None,
        typer.Option(help="Embedder, as MODULE:FUNCTION from n texts to (n, dim); else wordllama, 256."),
    ] = None,
    candidate_texts: Annotated[
        str | None,
        typer.Option(
            help="Texts of candidates that have none in the store: a JSON file of {id: text}, null leaves one out, "
            "{} all; or MODULE:FUNCTION."
        ),
    ] = None,
    take_over: Annotated[
        bool, typer.Option("--catch-up", help="Only copy records that the old space has received since.")
    ] = False,
    learn: Annotated[bool, typer.Option(help="Learn from the copied records before the switch.")] = True,
    url: Url = None,
) -> None:
    """Embed a space again from its stored texts, with another model or dimension; an interrupted run can be resumed.

    The new space learns from the copied ledger and takes the name; the old one is kept as NAME~1 until it is removed.
    After a run that has ended, the same command embeds the new space once more, and keeps that one as NAME~2.

    Example: sona-pg space reembed support --dim 384 --model models:embed
    """
    from sona_pg.worker.reembedding import catch_up, reembed

    embed, dims = _model(model, dim, required=not take_over)
    texts = read_candidate_texts(candidate_texts, may_leave_out=True)
    with database_at(url) as database, progress_bar(f"embedding space {name!r}") as progress:
        if take_over:
            done = catch_up(database, name, embed, candidate_texts=texts, learn=learn, progress=progress)
        else:
            done = reembed(database, name, embed, dims, candidate_texts=texts, learn=learn, progress=progress)
    show_facts(dataclasses.asdict(done), f"space {name!r}")


def _model(named: str | None, dim: int | None, required: bool) -> tuple[Callable[[list[str]], Any], int]:
    """Return the embedder and its dimension; 0 if no dimension is given or ``required``."""
    if named is None:
        from sona_pg.text.embedder import default_embedder

        embedder = default_embedder()
        if dim not in (None, embedder.dim):
            raise InvalidValue(
                f"--dim {dim}: the default model gives {embedder.dim} dimensions; name another with --model"
            )
        return embedder.embed, embedder.dim
    if dim is None and required:
        raise InvalidValue(f"--model {named}: say with --dim how many dimensions it gives")
    return imported(named, "--model"), dim or 0


def read_candidate_texts(named: str | None, *, may_leave_out: bool = False) -> Any:
    """Return the texts of candidates by id, from a JSON file or a function; None without either.

    With ``may_leave_out``, null in place of a text is taken.
    """
    if named is None:
        return None
    path = Path(named)
    if not path.exists():
        if ":" not in named:
            raise InvalidValue(f"--candidate-texts {named}: there is no such file; a function is named MODULE:NAME")
        return imported(named, "--candidate-texts")
    try:
        texts = json.loads(path.read_text())
    except (OSError, ValueError) as exc:
        raise InvalidValue(f"--candidate-texts {named}: expected a JSON file of {{id: text}}: {exc}") from exc
    kinds = (str, type(None)) if may_leave_out else str
    if not isinstance(texts, dict) or not all(isinstance(text, kinds) for text in texts.values()):
        raise InvalidValue(f"--candidate-texts {named}: expected an object of texts by candidate id")
    return texts


def imported(named: str, option: str) -> Any:
    """Return the object that ``option`` names as ``module:name``; the current folder is on the path."""
    module, _, attribute = named.partition(":")
    if not module or not attribute:
        raise InvalidValue(f"{option} {named}: expected MODULE:NAME, such as models:embed")
    sys.path.insert(0, os.getcwd())
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise InvalidValue(f"{option} {named}: {exc}") from exc
    finally:
        sys.path.remove(os.getcwd())


@space_app.command("remove")
def space_remove(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it at once: without it nothing is deleted.")] = False,
    url: Url = None,
) -> None:
    """Delete a space with all its records and versions; engines that have it open stop recording.

    Example: sona-pg space remove support --yes
    """
    if not yes:
        raise ConfigError(f"removing space {name!r} deletes all its records and versions: pass --yes to confirm")
    with database_at(url) as database:
        removed = database.remove_space(name)
        rows = {table: count for table, count in removed.items() if count}
        show_facts({"space": name, "removed": True, "rows": rows}, f"removed space {name!r}")
