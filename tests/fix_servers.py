"""The Postgres servers of a test run: choice, start, and the report of those used.

`postgres_server` gives a test the default server: the embedded Postgres 18, or `SONA_PG_TEST_URL`. A test
marked `every_server` runs on Postgres 18, 17 in Docker, and 16; one marked `docker` runs in Docker only. Where
`SONA_PG_CITUS_URL` names a coordinator, tests marked `citus` run, and the files of `fix_citus.ALSO_ON_CITUS` there too,
but for tests marked `not_on_citus`.
Without a Docker engine the docker tests are deselected with a loud line; `REQUIRE_DOCKER=1` makes it fail.
"""

from __future__ import annotations

import dataclasses
import gc
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from fix_citus import CITUS_URL, runs_on_citus
from fix_homes import temporary_home

from sona_pg.store.admin.embedded import start_embedded

GIVEN_URL = os.environ.get("SONA_PG_TEST_URL")
IMAGE = os.environ.get("SONA_PG_TEST_IMAGE", "pgvector/pgvector:pg17")
REQUIRE_DOCKER = os.environ.get("REQUIRE_DOCKER", "0") not in ("", "0")
DEFAULT = "given" if GIVEN_URL else "embedded-18"
EVERY = [DEFAULT, "docker", "embedded-16"]
MARKS = {"docker": pytest.mark.docker, "citus": pytest.mark.citus}
VERSIONS = """
    SELECT current_setting('server_version'),
           (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')
"""


@dataclass(frozen=True)
class Server:
    name: str
    url: str  # of a role that may create databases
    version: str  # "Postgres 18.4, pgvector 0.8.5"


@dataclass
class Report:
    """Servers used by the run, for the summary."""

    servers: dict[str, str]  # name: version
    databases: dict[str, int]  # name: how many tests took one
    deselected: int = 0
    problem: str | None = None  # why Docker cannot be used


REPORT = pytest.StashKey[Report]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[REPORT] = Report({}, {})


def pytest_report_header() -> str:
    given = f"given ({_without_password(GIVEN_URL)})" if GIVEN_URL else DEFAULT
    required = ", required" if REQUIRE_DOCKER else ""
    return f"postgres: {given}, embedded-16, docker ({IMAGE}{required})"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "postgres_server" in metafunc.fixturenames:
        if metafunc.definition.get_closest_marker("docker"):
            names = ["docker"]
        elif metafunc.definition.get_closest_marker("citus"):
            names = ["citus"]
        else:
            names = EVERY if metafunc.definition.get_closest_marker("every_server") else [DEFAULT]
            if CITUS_URL and runs_on_citus(metafunc.definition):
                names = [*names, "citus"]
        parameters = [pytest.param(name, marks=MARKS.get(name, ())) for name in names]
        metafunc.parametrize("postgres_server", parameters, indirect=True, scope="session")


@pytest.hookimpl(trylast=True)  # after -m and -k, so that Docker is looked for only if a test is left for it
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for_citus = [] if CITUS_URL else [item for item in items if item.get_closest_marker("citus")]
    if for_citus:
        config.hook.pytest_deselected(items=for_citus)
        items[:] = [item for item in items if item not in set(for_citus)]
    for_docker = [item for item in items if item.get_closest_marker("docker")]
    if for_docker and (problem := _docker_problem(config)):
        if REQUIRE_DOCKER:
            raise pytest.UsageError(f"REQUIRE_DOCKER is set, and {problem}")
        config.stash[REPORT].deselected = len(for_docker)
        config.stash[REPORT].problem = problem
        config.hook.pytest_deselected(items=for_docker)
        items[:] = [item for item in items if item not in set(for_docker)]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of pytest-xdist: hand the report to the process that prints the summary."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["servers"] = dataclasses.asdict(session.config.stash[REPORT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add the report of a worker of pytest-xdist that has ended."""
    report, of_worker = node.config.stash[REPORT], getattr(node, "workeroutput", {}).get("servers")
    if of_worker is None:
        return
    report.servers.update(of_worker["servers"])
    for name, count in of_worker["databases"].items():
        report.databases[name] = report.databases.get(name, 0) + count
    report.deselected, report.problem = of_worker["deselected"], of_worker["problem"]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    report = config.stash[REPORT]
    if report.servers or report.problem:
        terminalreporter.section("servers of this run")
    for name, version in report.servers.items():
        terminalreporter.line(f"{name}: {version}, {report.databases.get(name, 0)} databases")
    if report.problem:
        missing = f"docker: {report.deselected} TESTS NOT RUN: {report.problem}"
        terminalreporter.line(f"{missing} (REQUIRE_DOCKER=1 makes this fail)", red=True, bold=True)


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A running server; parametrised by the marks `every_server` and `docker`."""
    name: str = request.param
    with _open(name) as url:
        with psycopg.connect(url) as connection:
            row = connection.execute(VERSIONS).fetchone()
        assert row is not None
        version = f"Postgres {row[0].split()[0]}, pgvector {row[1]}"
        request.config.stash[REPORT].servers[name] = version
        yield Server(name, url, version)


@contextmanager
def _open(name: str) -> Iterator[str]:
    if name == "given":
        assert GIVEN_URL
        yield GIVEN_URL
    elif name == "citus":
        assert CITUS_URL
        yield CITUS_URL
    elif name == "docker":
        with _docker_server() as url:
            yield url
    else:
        version = int(name.removeprefix("embedded-"))
        with temporary_home() as home, start_embedded(home, version=version) as server:
            yield server.url


@contextmanager
def _docker_server() -> Iterator[str]:
    os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")  # would be a second image to pull
    from testcontainers.community.postgres import PostgresContainer  # reads the environment when imported

    # A parallel HNSW build needs more shared memory than Docker's 64 MB.
    names = {"username": "sona", "password": "sona", "dbname": "sona", "driver": None}
    with PostgresContainer(IMAGE, **names, shm_size="512m", mem_limit="2g") as server:
        yield server.get_connection_url()


def _docker_problem(config: pytest.Config) -> str | None:
    """Why the docker tests cannot run: one line, or None if they can."""
    try:
        from docker.errors import DockerException, ImageNotFound

        from docker import from_env
    except ImportError:
        return "testcontainers is not installed: pip install 'sona-pg[test]'"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            client = from_env(timeout=60)
        except DockerException as exc:
            problem = f"no Docker engine answers ({_first_line(exc)})"
        else:
            problem = None
        gc.collect()  # of a connection that failed, docker leaves the socket open
    if problem:
        return problem
    try:
        client.images.get(IMAGE)
    except ImageNotFound:
        if reporter := config.pluginmanager.get_plugin("terminalreporter"):
            reporter.write_line(f"pulling {IMAGE}, once")
        try:
            client.images.pull(IMAGE)
        except DockerException as exc:
            return f"{IMAGE} cannot be pulled; docker/README.md says how to build an image ({_first_line(exc)})"
    finally:
        client.close()
    return None


def _first_line(exc: Exception) -> str:
    return str(exc).splitlines()[0][:160]


def _without_password(url: str) -> str:
    from sqlalchemy import make_url

    return make_url(url).render_as_string(hide_password=True)
