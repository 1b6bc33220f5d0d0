"""Fixtures are one concern a file: servers, databases, a proxy between client and server."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

# Two processes of tests, or anything beside them, make NumPy's threads wait for each other: ten times as long. NumPy
# reads this when it is imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

pytest_plugins = [
    "fix_chance",
    "fix_servers",
    "fix_databases",
    "fix_daily_figures",
    "fix_proxy",
    "fix_recent",
    "fix_ingest",
    "fix_ledger",
    "fix_pgbouncer",
    "fix_clock",
    "fix_tenants",
    "fix_attempts",
]


@pytest.fixture(scope="session", autouse=True)
def _home_of_its_own() -> Iterator[None]:
    """Engines of tests keep their files apart from the user's."""
    home = tempfile.mkdtemp(prefix="sona-pg-tests-")
    os.chmod(home, 0o755)  # an embedded server must reach it
    before = os.environ.get("SONA_PG_HOME")
    os.environ["SONA_PG_HOME"] = home
    yield
    if before is None:
        del os.environ["SONA_PG_HOME"]
    else:
        os.environ["SONA_PG_HOME"] = before
    shutil.rmtree(home)
