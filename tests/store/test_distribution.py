"""Distribution of a store where there is no Citus; tests/citus has the others."""

from __future__ import annotations

import psycopg
import pytest

from sona_pg.errors import ConfigError, SchemaError
from sona_pg.ingest.refusals import is_content_error, state_of
from sona_pg.store.admin import health
from sona_pg.store.admin.distribution import distribute, topology_at
from sona_pg.store.admin.spreading import HASHED_TABLES, REFERENCE_TABLES
from sona_pg.store.schema import metadata


def test_without_the_extension_a_store_stays_as_it_is(database_url: str) -> None:
    with pytest.raises(ConfigError, match=r"has no Citus: install Citus 12\.1 or newer"):
        list(distribute(database_url))
    assert topology_at(database_url) is None
    assert [found for found in health.examine(database_url) if found.check == "distribution"] == []


def test_a_schema_that_is_not_there_is_not_distributed(empty_database_url: str) -> None:
    with pytest.raises(SchemaError, match="run sona-pg db upgrade"):
        list(distribute(empty_database_url))


def test_every_table_is_spread_or_copied_and_those_referred_to_come_first() -> None:
    assert sorted([*HASHED_TABLES, *REFERENCE_TABLES]) == sorted(table.name for table in metadata.tables.values())
    for table in metadata.tables.values():
        for key in table.foreign_key_constraints:
            assert HASHED_TABLES.index(key.referred_table.name) < HASHED_TABLES.index(table.name)


class Untold(psycopg.errors.InternalError_):
    """An error of a worker, as the coordinator passes it on."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message_primary = message

    @property
    def diag(self) -> object:  # type: ignore[override]
        return self


@pytest.mark.parametrize(
    ("message", "state", "refused"),
    [
        ('new row for relation "steps_102008" violates check constraint "steps_reward_check"', "23514", True),
        ('duplicate key value violates unique constraint "trajectories_pkey_102008"', "23505", True),
        ("connection to the remote node postgres@worker:5432 failed", "XX000", False),
    ],
)
def test_a_refused_row_is_told_by_its_message_where_the_code_is_missing(
    message: str, state: str, refused: bool
) -> None:
    assert state_of(Untold(message)) == state
    assert is_content_error(Untold(message)) == refused
