"""The process environment: the only module that reads it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from sona_pg.config.config_part import require

MOST_READ_LAG = 10.0  # seconds

Migrate = Literal["auto", "check"]


@dataclass(frozen=True, slots=True)
class Environment:
    """Settings from environment variables."""

    url: str | None  # SONA_PG_URL
    home: Path  # SONA_PG_HOME, or the user's data folder
    migrate: Migrate = "auto"  # SONA_PG_MIGRATE: "check" refuses an older schema, and names the command to run
    receipt_key: Path | None = None  # SONA_PG_RECEIPT_KEY: file of the key that signs receipts of erasures
    read_url: str | None = None  # SONA_PG_READ_URL: a standby for search and analytics
    read_lag: float = MOST_READ_LAG  # SONA_PG_READ_LAG: seconds that it may lag

    @classmethod
    def read(cls, environ: Mapping[str, str] | None = None) -> Self:
        """Read the variables whose names begin with ``SONA_PG_``; an empty one counts as not set.

        Raises:
            ConfigError: ``SONA_PG_MIGRATE`` is neither ``auto`` nor ``check``; ``SONA_PG_READ_LAG`` is no number of
                seconds.
        """
        values = os.environ if environ is None else environ
        home = values.get("SONA_PG_HOME") or _data_folder(values)
        url = values.get("SONA_PG_URL") or None
        migrate = migrate_policy(values.get("SONA_PG_MIGRATE") or "auto", "SONA_PG_MIGRATE")
        key = values.get("SONA_PG_RECEIPT_KEY")
        lag = values.get("SONA_PG_READ_LAG")
        return cls(
            url,
            Path(home).expanduser(),
            migrate,
            Path(key).expanduser() if key else None,
            values.get("SONA_PG_READ_URL") or None,
            lag_seconds(lag, "SONA_PG_READ_LAG") if lag else MOST_READ_LAG,
        )


def inherited() -> dict[str, str]:
    """Return the environment for a child process, libpq's variables included."""
    return dict(os.environ)


def lag_seconds(value: object, name: str) -> float:
    """Return the seconds that a standby may lag; ConfigError, which names ``name``, for an invalid ``value``."""
    try:
        seconds = float(str(value))
    except ValueError:
        seconds = 0.0
    require(0.1 <= seconds <= 3600.0, name, value, "seconds, 0.1 to 3600")
    return seconds


def migrate_policy(value: str, name: str) -> Migrate:
    """Return the policy for an older schema; ConfigError, which names ``name``, for an invalid ``value``."""
    require(value in ("auto", "check"), name, value, "'auto' or 'check'")
    return "check" if value == "check" else "auto"


def _data_folder(values: Mapping[str, str]) -> Path:
    if sys.platform != "win32" and os.geteuid() == 0:
        return Path("/var/lib/sona-pg")  # Postgres drops root's rights, and must still reach its folder
    base = values.get("XDG_DATA_HOME")
    return (Path(base) if base else Path.home() / ".local" / "share") / "sona-pg"
