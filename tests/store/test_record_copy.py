"""Rows of several queries by one COPY come back with their types, whatever they hold."""

from __future__ import annotations

import os
import uuid
from datetime import UTC, datetime

from sona_pg.store.database import Database
from sona_pg.store.record_copy import RecordCopy, RecordQuery
from sona_pg.store.transactions import reading

BIG = 1 << 20  # bytes
NAME, ID, AT = "é\u2028'\\\t", uuid.UUID(int=7), datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
VALUES = RecordQuery(
    "values",
    ("t.number", "t.name", "t.id", "t.at", "t.texts", "t.nothing::text AS nothing", "t.told", "t.counts"),
    """FROM (VALUES
        ({number}::bigint, {name}::text, {id}::uuid, {at}::timestamptz, ARRAY[{name}::text, NULL], NULL::text,
         '{{"a": [1, 2.5]}}'::jsonb, ARRAY[[1, 2], [3, 4]]::int8[]),
        (0, '', {id}, {at}, '{{}}', 'there', 'null', '{{}}')
    ) AS t (number, name, id, at, texts, nothing, told, counts)""",
)
BULK = RecordQuery("bulk", ("n",), "FROM (SELECT 1 AS n, {bulk}::bytea AS data) AS b", bulk="data")
NONE = RecordQuery("none", ("n",), "FROM generate_series(1, 0) AS n")


def test_each_query_has_its_rows_with_the_types_of_its_columns(database_url: str) -> None:
    data, database = os.urandom(BIG), Database.open(database_url)
    values = {"number": -(1 << 62), "name": NAME, "id": ID, "at": AT, "bulk": data}
    with reading(database.engine, "reading records") as connection:
        found = RecordCopy([VALUES, BULK, NONE]).read(connection, values)
    database.close()
    first, second = sorted(found["values"], key=lambda row: row.number)
    assert first == (-(1 << 62), NAME, ID, AT, [NAME, None], None, {"a": [1, 2.5]}, [[1, 2], [3, 4]])
    assert (second.name, second.texts, second.nothing, second.told, second.counts) == ("", [], "there", None, [])
    assert [(row.n, bytes(row.data)) for row in found["bulk"]] == [(1, data)]
    assert found["none"] == []
