"""Commands for the database itself: schema and maintenance."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Any

import typer

from sona_pg.cli.options import Url, address_of
from sona_pg.cli.render import show_facts, show_rows, show_rows_as_they_come
from sona_pg.config import Environment, MaintenanceConfig
from sona_pg.errors import SchemaError

db_app = typer.Typer(help="The database's schema.", no_args_is_help=True)


def maintain(
    keep_weeks: Annotated[int, typer.Option(help="Whole weeks to keep before this one; 0: for ever.", min=0)] = 0,
    keep_steps_weeks: Annotated[int, typer.Option(help="The same of steps alone, such as 8.", min=0)] = 0,
    drop_unlearned: Annotated[bool, typer.Option(help="Drop weeks even if no cycle has learned from them.")] = False,
    keep_waiting_weeks: Annotated[
        int, typer.Option(help="Weeks that feedback waits for a trajectory that never comes.", min=1)
    ] = 13,
    keep_versions: Annotated[int, typer.Option(help="State versions to keep of each space.", min=1)] = 50,
    memory_mb: Annotated[int, typer.Option(help="The most that building an index may take.", min=16)] = 1024,
    url: Url = None,
) -> None:
    """Create future partitions, index ended weeks, drop rows past retention; print each action.

    Engines do the same by themselves every hour. Idempotent.

    Example: sona-pg maintain --keep-weeks 26 --keep-steps-weeks 8
    """
    from sona_pg.store.database import Database

    policy = MaintenanceConfig(
        keep_weeks=keep_weeks,
        keep_steps_weeks=keep_steps_weeks,
        drop_unlearned=drop_unlearned,
        keep_waiting_weeks=keep_waiting_weeks,
        keep_versions=keep_versions,
        memory_mb=memory_mb,
    )
    with address_of(url) as address:
        database = Database.open(address, Environment.read().migrate)
        try:
            names = database.names()
            made = (_with_name(dataclasses.asdict(action), names) for action in database.maintenance(policy).run())
            show_rows_as_they_come(made, "maintenance")
        finally:
            database.close()


def _with_name(action: dict[str, Any], names: dict[int, str]) -> dict[str, Any]:
    """Return an action of maintenance with the name of a space in place of its number."""
    told = re.fullmatch(r"space (\d+)", action["subject"])
    name = None if told is None else names.get(int(told[1]))
    return action if name is None else {**action, "subject": f"space {name!r}"}


def distribute(
    shards: Annotated[int, typer.Option(help="Parts of each table: some for each worker.", min=1)] = 32,
    url: Url = None,
) -> None:
    """Spread a store over the workers of Citus by space; print each step. Repeat it if it was killed.

    The address is the coordinator's, which knows the workers already (citus_add_node).

    Example: sona-pg distribute --url postgresql://owner@coordinator/app
    """
    from sona_pg.store.admin import distribution

    with address_of(url) as address:
        made = (dataclasses.asdict(step) for step in distribution.distribute(address, shards))
        show_rows_as_they_come(made, "distribution")


@db_app.command("upgrade")
def db_upgrade(url: Url = None) -> None:
    """Migrate the schema to this release; idempotent.

    Example: sona-pg db upgrade --url postgresql://owner@db/app
    """
    from sona_pg.store.admin import migrate

    with address_of(url) as address:
        show_facts(dataclasses.asdict(migrate.upgrade(address)), "schema")


@db_app.command("info")
def db_info(url: Url = None) -> None:
    """Print the database's URL, without its password, its versions of Postgres, pgvector and schema, and its nodes.

    The embedded server answers at its URL while an engine, `sona-pg serve` or a command is using it.

    Example: sona-pg db info
    """
    from sona_pg.store.admin import migrate
    from sona_pg.store.admin.distribution import topology_at
    from sona_pg.store.connect import masked
    from sona_pg.store.topology import describe

    with address_of(url) as address:
        told = {"url": masked(address), **dataclasses.asdict(migrate.status(address))}
        show_facts({**told, "distributed": describe(topology_at(address))}, "schema")


@db_app.command("check")
def db_check(url: Url = None) -> None:
    """Check schema and data, such as after an interrupted restore; list every fault, and exit with status 1 on any.

    Example: sona-pg db check
    """
    from sona_pg.store.admin import check, migrate

    with address_of(url) as address:
        found = migrate.status(address)
        migrate.refuse_newer(found)
        migrate.refuse_older(found)
        faults = check.faults(address)
        if faults:
            show_rows([dataclasses.asdict(fault) for fault in faults], "faults")
            raise SchemaError(f"{len(faults)} things are missing or wrong: see the list; restore the dump again, whole")
        show_facts({**dataclasses.asdict(found), "faults": 0}, "schema")
