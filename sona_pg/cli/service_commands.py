"""Commands of the HTTP service: serve it, and its API keys."""

from __future__ import annotations

import dataclasses
import logging
import signal
import socket
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from sona_pg.cli.demo_space import require_demo_space
from sona_pg.cli.figures_port import figures_served
from sona_pg.cli.log_lines import LogForm, log_to_stderr
from sona_pg.cli.options import SpaceName, Url, database_at
from sona_pg.cli.render import show_facts, show_rows
from sona_pg.config import LoopConfig, MaintenanceConfig, SonaConfig
from sona_pg.demo.helpdesk import DIM, SPACE, prepare_chat
from sona_pg.domain.access import SCOPES, Scope
from sona_pg.engine import Store
from sona_pg.errors import ConfigError, DatabaseUnavailable, InvalidValue, SettingsConflict

log = logging.getLogger("sona_pg.service")

keys_app = typer.Typer(help="API keys of the HTTP service: make, list or revoke them.", no_args_is_help=True)


@contextmanager
def _store(url: str | None) -> Iterator[Store]:
    with Store(url, require_database=True) as store:
        yield store


@keys_app.command("create")
def keys_create(
    name: Annotated[str, typer.Argument(help="Name of the holder: the source of feedback given with the key.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help=f"What it may do: {', '.join(SCOPES)}; more than once. Default: record and read."),
    ] = None,
    space: SpaceName = "default",
    url: Url = None,
) -> None:
    """Make an API key of a space and print its token, which is stored nowhere.

    Example: sona-pg keys create web --space support --scope record --scope read
    """
    wanted: list[Scope] = []
    for told in scope or ["record", "read"]:
        if told not in SCOPES:
            raise InvalidValue(f"--scope {told}: expected one of {', '.join(SCOPES)}")
        wanted.append(told)
    with _store(url) as store:
        key, token = store.create_key(space, name, wanted)
        show_facts({**key.as_dict(), "token": token}, "API key")


@keys_app.command("list")
def keys_list(space: SpaceName = "default", url: Url = None) -> None:
    """List the API keys of a space, those that were revoked too.

    Example: sona-pg keys list --space support
    """
    with _store(url) as store:
        show_rows([key.as_dict() for key in store.keys(space)], f"API keys of space {space!r}")


@keys_app.command("revoke")
def keys_revoke(
    key_id: Annotated[str, typer.Argument(help="Id of the key, as `sona-pg keys list` prints it.")],
    space: SpaceName = "default",
    url: Url = None,
) -> None:
    """Revoke an API key; servers refuse it within ten seconds.

    Example: sona-pg keys revoke 01a201cc-93ea-76e6-b259-0c736d53debe
    """
    try:
        known = UUID(key_id)
    except ValueError as exc:
        raise InvalidValue(f"{key_id!r} is no id of a key: see `sona-pg keys list`") from exc
    with _store(url) as store:
        store.revoke_key(space, known)
        show_facts({"key_id": key_id, "space": space, "revoked": True}, "API key")


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; another than this machine's own needs keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(help="Port to listen on; 0 chooses a free one.", min=0, max=65535)] = 8700,
    space: SpaceName = "default",
    dim: Annotated[
        int | None, typer.Option(help="Dimension of the space, if it is made; else 256.", min=1, show_default=False)
    ] = None,
    require_keys: Annotated[bool, typer.Option(help="Ask for an API key from this machine as well.")] = False,
    learn: Annotated[bool, typer.Option(help="Learn and maintain in this process; else `sona-pg worker` must.")] = True,
    durability: Annotated[
        str, typer.Option(help="Where a record is once it is answered by 202: in memory, or spool: in a file here too.")
    ] = "memory",
    rate: Annotated[float | None, typer.Option(help="Requests a second and key; else as many as come.")] = None,
    origin: Annotated[list[str] | None, typer.Option(help="Origin from which browsers may ask (CORS).")] = None,
    upstreams: Annotated[
        Path | None, typer.Option(help="TOML file of the models that /v1/chat/completions chooses from.")
    ] = None,
    demo: Annotated[
        bool, typer.Option("--demo", help="Prepare the chat demo at /demo: its space, with sample answers.")
    ] = False,
    demo_samples: Annotated[
        bool,
        typer.Option("--demo-samples", help="With --demo: also in a space that has records of its own."),
    ] = False,
    evaluation_scale: Annotated[
        list[str] | None,
        typer.Option(help="Scores of an OpenTelemetry evaluation that mean quality 0 and 1: NAME=LOW:HIGH."),
    ] = None,
    logs: Annotated[
        LogForm | None,
        typer.Option(
            help="Log a line for each request, with its trajectory, in this form; else none for those.",
            show_default=False,
        ),
    ] = None,
    metrics: Annotated[
        int | None, typer.Option(help="Serve Prometheus figures of all spaces on this port, too.", min=0, max=65535)
    ] = None,
    metrics_host: Annotated[
        str, typer.Option(help="Address of that port, which asks for no key: names of spaces, and figures.")
    ] = "127.0.0.1",
    grace: Annotated[float, typer.Option(help="Seconds that open requests have at the end.", min=0)] = 20.0,
    url: Url = None,
) -> None:
    """Serve the HTTP API (extra `server`): dashboard at /, docs at /docs, Prometheus figures at /metrics.

    While the database is away it starts all the same, and serves the last version that was served on this machine; if
    there is none, --dim must name the dimension, or it waits.

    Exit codes: 0 ended as asked, 1 an error, 2 wrong usage, such as a port that another program listens on.

    Example: sona-pg serve --space support --dim 256
    Example: sona-pg serve --demo
    """
    try:
        from sona_pg.service import ServiceOptions, create_app
        from sona_pg.service.metrics_text import figures, health
        from sona_pg.service.web_server import WebServer
    except ModuleNotFoundError as exc:
        raise ConfigError(f"the service needs an extra: pip install 'sona-pg[server]' ({exc.name} is missing)") from exc
    if durability not in ("memory", "spool"):
        raise InvalidValue(
            f"--durability {durability}: expected memory or spool; a request with an Idempotency-Key is answered after "
            "its commit"
        )
    own = _is_own(host)
    _require_free(host, port)
    config = _config(learn, durability)
    with _ended_by_sigterm(), Store(url, require_database=demo) as store:
        if not own:
            _require_keys(store, host)
        if not demo:
            dim = _dimension(store, space, dim)
        configured = _upstreams(upstreams) if upstreams is not None else {}
        options = ServiceOptions(
            space=space, dim=dim or DIM, config=config, require_keys=require_keys or not own, rate=rate,
            origins=tuple(origin or ()), evaluation_scales=dict(map(_scale, evaluation_scale or ())), **configured,
        )  # fmt: skip
        if demo:
            name = SPACE if space == "default" else space
            options = options.replace(space=name, dim=DIM)
            if not demo_samples:
                with database_at(url) as database:
                    require_demo_space(database, name)
            prepare_chat(store, name, options.config)
            typer.echo(f"Chat demo: http://{host}:{port}/demo  Dashboard: http://{host}:{port}/", err=True)
        told: dict[str, Any] = {"log_level": "info"}
        if logs is not None:
            log_to_stderr(logs)
            logging.getLogger("uvicorn").setLevel(logging.INFO)
            told = {"log_config": None}
        served = create_app(store, options)
        server = WebServer(served, grace, host=host, port=port, **told)
        with (
            figures_served(partial(figures, served), partial(health, served), metrics, metrics_host) as figures_port,
            suppress(KeyboardInterrupt, SystemExit),  # uvicorn exits by itself if it cannot start
        ):
            if figures_port is not None:
                log.info("figures for Prometheus are on port %d", figures_port)
            server.run()
        if not server.started:
            raise typer.Exit(1)


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the block as asked: uvicorn raises it again after its own end, which would kill this process."""
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _config(learn: bool, durability: str) -> SonaConfig:
    from sona_pg.service.service_options import BUFFERED

    return BUFFERED.replace(
        ingest=dataclasses.replace(BUFFERED.ingest, durability=durability),  # type: ignore[arg-type]
        loops=LoopConfig(automatic=learn),
        maintenance=MaintenanceConfig(automatic=learn),
    )


def _dimension(store: Store, space: str, asked: int | None) -> int:
    """Return the dimension of a space, or the one in which it is to be made; wait for the store if nobody knows it.

    Served in a wrong one, the space would refuse every vector until a restart.

    Raises:
        SettingsConflict: the space has another dimension than ``asked``.
    """
    told = False
    while True:
        try:
            known = store.dim_of(space)
            if None not in (known, asked) and known != asked:
                raise SettingsConflict(
                    f"space {space!r} has {known} dimensions, not {asked}: serve it without --dim, or another --space"
                )
            return known or asked or DIM
        except DatabaseUnavailable as exc:
            if asked is not None:
                return asked
            if not told:
                log.warning("the service waits for the store, which knows the dimension of %r: %s", space, exc)
                told = True
            time.sleep(1.0)


def _require_keys(store: Store, host: str) -> None:
    """Raise ConfigError if the store has no key, for the service asks for one; not while it cannot be asked."""
    try:
        there = store.key_store.any_live()
    except DatabaseUnavailable:
        return
    if not there:
        raise ConfigError(
            f"--host {host}: nobody could use it, for there is no API key; make one first: sona-pg keys create NAME"
        )


def _require_free(host: str, port: int) -> None:
    """Raise ConfigError unless the port can be listened on, before a store is opened."""
    try:
        for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind, protocol) as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                tried.bind(address)
            return
    except OSError as exc:
        raise ConfigError(f"--host {host} --port {port}: nothing can listen there: {exc.strerror or exc}") from exc


def _is_own(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _scale(told: str) -> tuple[str, tuple[float, float]]:
    name, _, bounds = told.rpartition("=")
    low, _, high = bounds.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError as exc:
        raise InvalidValue(f"--evaluation-scale {told}: expected NAME=LOW:HIGH, as in Relevance=1:5") from exc


def _upstreams(path: Path) -> dict[str, Any]:
    from sona_pg.service import Upstream

    try:
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        found = {name: Upstream(**known) for name, known in told.get("upstreams", {}).items()}
    except (OSError, tomllib.TOMLDecodeError, TypeError) as exc:
        raise ConfigError(
            f"--upstreams {path}: expected TOML with [upstreams.NAME] url, model, key, cost: {exc}"
        ) from exc
    return {"upstreams": found, "budget": told.get("budget")}
