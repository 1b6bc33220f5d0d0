"""The worker: learns in the spaces of a store in a process of its own."""

from __future__ import annotations

import logging
import signal
import sys
import threading
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sona_pg.cli.log_lines import LogForm, log_to_stderr
from sona_pg.cli.options import Url, address_of
from sona_pg.cli.render import show_rows
from sona_pg.config import Environment, MaintenanceConfig

if TYPE_CHECKING:
    from sona_pg.domain.deep_result import AnyCycle

log = logging.getLogger("sona_pg.worker")

CYCLE_COLUMNS = ("cycle_id", "set_aside", "patterns_created", "patterns_merged", "patterns_pruned", "base_version")


def worker(
    spaces: Annotated[
        list[str] | None,
        typer.Option(help="Learn only in spaces of this name or pattern, such as 'team-*'; may be repeated."),
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Run the cycles that are due now, print them, and end.")] = False,
    maintain: Annotated[bool, typer.Option(help="Maintain the tables as well, as `sona-pg maintain` does.")] = True,
    grace: Annotated[
        float, typer.Option(help="Seconds that a stop waits for the running cycle before it is abandoned.", min=0.0)
    ] = 20.0,
    logs: Annotated[
        LogForm | None, typer.Option(help="Form of the log on standard error; else JSON unless it is a terminal.")
    ] = None,
    metrics: Annotated[
        int | None, typer.Option(help="Serve Prometheus figures on this port.", min=0, max=65535)
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address of the figures; they have no secrets, and ask for no key.")
    ] = "127.0.0.1",
    url: Url = None,
) -> None:
    """Learn in all spaces of a store until SIGTERM or SIGINT; any number of workers share the spaces by leases.

    A worker that dies or hangs loses its lease within ten seconds, and another one learns the same facts. Servers that
    leave learning to workers set LoopConfig(automatic=False). While the database is away a worker waits for it.

    Exit codes: 0 ended as asked (the running cycle was finished, or abandoned without a trace), 1 an error.

    Example: sona-pg worker --spaces 'team-*' --metrics 9187
    """
    from sona_pg.cli.figures_port import figures_served
    from sona_pg.cli.worker_figures import figures, health
    from sona_pg.store.database import Database
    from sona_pg.store.worker_sessions import own_name
    from sona_pg.worker.store_worker import StoreWorker

    stop = threading.Event()
    log_to_stderr(logs)
    with address_of(url) as address:
        database = Database.at(address, name=own_name())
        try:
            made = StoreWorker(database, names=spaces or (), maintenance=MaintenanceConfig() if maintain else None)
            policy = Environment.read().migrate
            if once:
                database.prepare(policy)
                show_cycles(made.run_once(), "cycles that were due")
                return
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            with figures_served(partial(figures, made), partial(health, made), metrics, metrics_host) as port:
                if made.wait_for(lambda: database.prepare(policy), stop):
                    log.info("worker %s is ready", made.worker_id, extra={"figures": {"port": port}})
                    made.run(stop)
                ended = made.end(grace)
            log.info("worker %s has ended%s", made.worker_id, "" if ended else ": its cycle was abandoned")
        finally:
            database.close()


def show_cycles(done: list[tuple[str, AnyCycle]], title: str) -> None:
    """Print cycles with the names of their spaces; without any, say so on standard error."""
    if not done:
        print(f"{title}: none", file=sys.stderr)
        return
    rows: list[dict[str, Any]] = [{"space": space, **result.as_dict()} for space, result in done]
    show_rows(rows, title, CYCLE_COLUMNS)
