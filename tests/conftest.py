"""Fixtures are one concern a file: servers, databases, a proxy between client and server."""

pytest_plugins = [
    "fix_servers",
    "fix_databases",
    "fix_proxy",
    "fix_ingest",
    "fix_ledger",
    "fix_pgbouncer",
    "fix_clock",
]
