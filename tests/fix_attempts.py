"""Attempts of one space's login to reach another space, made from the catalog, and what each may answer."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass

import psycopg
import pytest
from fix_tenants import DIM, OTHER, SECRET, Tenants
from psycopg import sql

from sona_pg.store.admin.privileges import UNREADABLE

OWN_ID, OTHER_ID, NO_ID = 1, 2, 777
NOWHERE = "nonesuch"
REFUSED = "42501"
UNPLANNED = "0A000"  # Citus refuses some statements before rights are looked at

# Tries each statement in a transaction of its own that is rolled back; a query answers with its rows.
TRY = """
CREATE FUNCTION pg_temp.try(statements text[]) RETURNS TABLE (state text, told text, answer jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    statement text;
    message text;
    detail text;
    hint text;
BEGIN
    FOREACH statement IN ARRAY statements LOOP
        BEGIN
            answer := NULL;
            IF statement LIKE 'EXPLAIN%' THEN
                EXECUTE statement INTO answer;
            ELSE
                EXECUTE format('WITH tried AS (%s) SELECT jsonb_agg(to_jsonb(tried)) FROM tried', statement)
                    INTO answer;
            END IF;
            RAISE EXCEPTION USING ERRCODE = 'ZZ000', MESSAGE = 'done';
        EXCEPTION WHEN OTHERS THEN
            GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
                hint = PG_EXCEPTION_HINT;
            told := concat_ws(' | ', message, detail, hint);
            RETURN NEXT;
        END;
    END LOOP;
END $$;
CREATE FUNCTION pg_temp.peek(words text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN
    RAISE NOTICE '%', words;
    RETURN true;
END $$
"""
COLUMNS = """
SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind = ANY (%s::"char"[]) AND c.relispartition = %s
  AND c.relname <> 'schema_revision'
GROUP BY c.oid ORDER BY c.relname
"""
FUNCTIONS = """
SELECT proname::text, coalesce(proargnames[1:pronargs], '{}'), ARRAY(
    SELECT format_type(t, NULL) FROM unnest(proargtypes) WITH ORDINALITY AS listed (t, place) ORDER BY place)
FROM pg_proc WHERE pronamespace = 'sona'::regnamespace ORDER BY proname
"""


@dataclass(frozen=True)
class Attempt:
    statement: str
    twin: str | None = None  # the same about a space that does not exist
    expected: str = "nothing"  # 'nothing': no row; 'own': rows of the own space; 'alike': as the twin; 'refused'


@dataclass
class Catalog:
    """Names in the schema, and a row of the other space for each table."""

    tables: dict[str, list[str]]
    partitions: list[str]
    views: dict[str, list[str]]
    functions: list[tuple[str, list[str], list[str]]]
    rows: dict[str, dict]


@pytest.fixture(scope="module")
def catalog(tenants: Tenants) -> Catalog:
    with psycopg.connect(tenants.url) as owner:
        tables = dict(owner.execute(COLUMNS, [["r", "p"], False]).fetchall())
        partitions = [name for name, _ in owner.execute(COLUMNS, [["r"], True])]
        views = dict(owner.execute(COLUMNS, [["v"], False]).fetchall())
        rows = {}
        for name in tables:
            query = sql.SQL("SELECT to_jsonb(t) FROM {} t WHERE space_id = {} LIMIT 1")
            row = owner.execute(query.format(sql.Identifier("sona", name), OTHER_ID)).fetchone()
            assert row is not None, f"the other space has no row in {name}: add one to fix_tenants.FILL"
            rows[name] = row[0]
        return Catalog(tables, partitions, views, owner.execute(FUNCTIONS).fetchall(), rows)


# A line each. {t}: the table, {c}: one of its columns, {about}: a condition that only rows of another space fulfil.
ABOUT = f"""
t.space_id = {OTHER_ID}
t.space_id + 0 = {OTHER_ID}
t.space_id <> {OWN_ID}
NOT t.space_id = {OWN_ID}
t.space_id IN (0, {OTHER_ID}, {NO_ID})
t.space_id > {OWN_ID}
t.space_id IS DISTINCT FROM {OWN_ID}
t::text LIKE '%{SECRET}%'
to_jsonb(t)::text ~ '{SECRET}'
{{c}}::text = '{SECRET}'
EXISTS (SELECT FROM sona.spaces s WHERE s.space_id = t.space_id AND s.name = '{OTHER}')
""".strip().splitlines()
TARGETED = """
SELECT t.* FROM {t} t WHERE {about}
SELECT count({c}) FROM {t} t WHERE {about} HAVING count(*) > 0
SELECT t.* FROM {t} t WHERE {about} FOR KEY SHARE
SELECT t.* FROM {t} t WHERE {about} FOR UPDATE
SELECT u.* FROM {t} u JOIN LATERAL (SELECT FROM {t} t WHERE {about}) l ON true
SELECT 1 WHERE EXISTS (SELECT FROM {t} t WHERE {about})
SELECT max({c}::text) FROM {t} t WHERE {about} GROUP BY t.space_id
SELECT t.* FROM (SELECT t.*, row_number() OVER (ORDER BY ctid) FROM {t} t) t WHERE {about}
UPDATE {t} t SET space_id = t.space_id WHERE {about} RETURNING t.*
DELETE FROM {t} t WHERE {about} RETURNING t.*
DELETE FROM {t} t USING {t} u WHERE {about} RETURNING u.*
""".strip().splitlines()
WHOLE = f"""
TABLE {{t}}
SELECT * FROM {{t}} TABLESAMPLE SYSTEM (100)
SELECT * FROM ONLY {{t}}
SELECT DISTINCT ON (space_id) * FROM {{t}} ORDER BY space_id DESC
SELECT t.* FROM {{t}} t WHERE pg_temp.peek(t::text)
SELECT t.* FROM {{t}} t WHERE pg_temp.peek({{c}}::text)
SELECT t.* FROM {{t}} t WHERE 1 / (t.space_id - {OTHER_ID}) > -9
SELECT t.* FROM {{t}} t ORDER BY {{c}}::text
SELECT t.* FROM {{t}} t WHERE CASE WHEN t.space_id = {OTHER_ID} THEN t::text::int > 0 ELSE true END
SELECT max(space_id) OVER () AS space_id FROM {{t}}
SELECT t.space_id FROM {{t}} t WHERE ctid = ANY ('{{{{"(0,1)","(0,2)","(0,3)","(0,4)"}}}}')
""".strip().splitlines()


def of_tables(rng: random.Random, catalog: Catalog) -> Attempt:
    table = rng.choice(sorted(catalog.tables))
    names = {"t": f"sona.{table}", "c": f't."{rng.choice(catalog.tables[table])}"'}
    return Attempt(rng.choice(TARGETED).format(about=rng.choice(ABOUT).format(**names), **names))


def of_whole_tables(rng: random.Random, catalog: Catalog) -> Attempt:
    table = rng.choice(sorted(catalog.tables))
    column = f't."{rng.choice(catalog.tables[table])}"'
    return Attempt(rng.choice(WHOLE).format(t=f"sona.{table}", c=column), expected="own")


def of_writes(rng: random.Random, catalog: Catalog) -> Attempt:
    table = rng.choice(sorted(catalog.tables))
    name, row = f"sona.{table}", catalog.rows[table]
    end = rng.choice(["", "ON CONFLICT DO NOTHING"])
    kept = [column for column in catalog.tables[table] if rng.random() < 0.9 or column == "space_id"]

    def insert(number: int) -> str:
        told = json.dumps({**row, "space_id": number}).replace("'", "''")
        listed = ", ".join(f'"{column}"' for column in kept)
        row_of_space = f"SELECT {listed} FROM jsonb_populate_record(NULL::{name}, '{told}')"
        return f"INSERT INTO {name} ({listed}) {row_of_space} {end} RETURNING *"

    if rng.random() < 0.5:
        return Attempt(insert(OTHER_ID), insert(NO_ID), "alike")
    move = f"UPDATE {name} SET space_id = {{}} RETURNING *"
    return Attempt(move.format(OTHER_ID), move.format(NO_ID), "alike")


def of_partitions(rng: random.Random, catalog: Catalog) -> Attempt:
    name = f"sona.{rng.choice(catalog.partitions)}"
    return Attempt(
        rng.choice(
            [f"TABLE {name}", f"SELECT count(*) FROM {name}", f"DELETE FROM {name} RETURNING *",
             f"UPDATE {name} SET space_id = {OWN_ID} RETURNING *", f"SELECT FROM {name} FOR UPDATE"]
        ),
        expected="refused",
    )  # fmt: skip


def of_views(rng: random.Random, catalog: Catalog) -> Attempt:
    view = rng.choice(sorted(catalog.views))
    if rng.random() < 0.3:
        return Attempt(f"TABLE sona.{view}", expected="own")
    about = rng.choice(
        [f"v.space = '{OTHER}'", f"v.space_id = {OTHER_ID}", f"v.space_id > {OWN_ID}", f"v::text LIKE '%{SECRET}%'"]
    )
    return Attempt(f"SELECT v.* FROM sona.{view} v WHERE {about}")


def of_functions(rng: random.Random, catalog: Catalog) -> Attempt:
    name, names, types = rng.choice(catalog.functions)
    seed = rng.random()

    def call(space: str, number: int) -> str:
        chosen = random.Random(seed)
        given = [value_for(chosen, argument, kind, space, number) for argument, kind in zip(names, types, strict=True)]
        return f"SELECT * FROM sona.{name}({', '.join(given)})"

    return Attempt(call(OTHER, OTHER_ID), call(NOWHERE, NO_ID), "alike")


def value_for(rng: random.Random, argument: str, kind: str, space: str, number: int) -> str:
    """Return an SQL value for an argument of a function."""
    if argument == "of_space":
        return f"'{space}'" if kind == "text" else str(number)
    if kind.endswith("[]"):
        return f"ARRAY[{value_for(rng, argument, kind.removesuffix('[]'), space, number)}]::{kind}"
    values = {
        "text": ["'micro'", "'base'", "'trajectories'", "NULL"], "integer": ["0", "1", str(DIM)],
        "bigint": ["1", "2", "NULL"], "uuid": [f"'{rng.getrandbits(128):032x}'", "NULL"],
        "timestamp with time zone": ["'2026-01-01'", "'2026-11-22'"], "date": ["'2026-11-01'", "'2026-12-31'"],
        "double precision": ["0.5", "NULL"], "boolean": ["true", "false"], "smallint": ["1"],
        "bytea": [r"'\x0000803f'"], "jsonb": ["NULL"], "vector": [f"'{[1.0] * DIM}'"],
    }  # fmt: skip
    return f"{rng.choice(values[kind])}::{kind}"


def of_plans(rng: random.Random, catalog: Catalog) -> Attempt:
    table = rng.choice(sorted(set(catalog.tables) - UNREADABLE))
    statement = (
        f"EXPLAIN (ANALYZE, FORMAT JSON, COSTS OFF, TIMING OFF) SELECT 1 FROM sona.{table} WHERE space_id = {OTHER_ID}"
    )
    return Attempt(statement, expected="unread")


KINDS = {of_tables: 4, of_whole_tables: 2, of_writes: 2, of_partitions: 1, of_views: 2, of_functions: 2, of_plans: 1}


def nothing_is_found(attempt: Attempt, answer: tuple, twin: tuple | None) -> bool:
    """Whether an attempt was refused, or answered as its kind must be."""
    state, told, found = answer
    if state not in ("ZZ000", REFUSED) and attempt.expected != "alike":
        return SECRET not in told and state != "22012" and (attempt.expected != "refused" or state == UNPLANNED)
    if attempt.expected == "refused":
        return state == REFUSED
    if attempt.expected == "alike":
        assert twin is not None
        return without_names(answer) == without_names(twin)
    if attempt.expected == "own":
        return all(row.get("space_id") in (None, OWN_ID) for row in found or ()) and SECRET not in str(found)
    if attempt.expected == "unread":
        return found is None or not removed(found[0]["Plan"])
    return not found


def without_names(answer: tuple) -> str:
    """Return an answer without the names and numbers that were asked for.

    The shard of Citus that a number has depends on the number alone, not on whether a space has it.
    """
    words = re.sub(rf"\b({OTHER}|{NOWHERE})\b", "…", f"{answer[0]} {answer[1]} {answer[2]}")
    words = re.sub(r'(?<=\w)_\d{6}"', '"', words)
    return re.sub(rf"\b({OTHER_ID}|{NO_ID})\b", "…", words)


def removed(plan: dict) -> int:
    """Return the rows that the nodes of a plan have read for nothing, but for those that find the login's space."""
    if plan.get("Parent Relationship") == "InitPlan":
        return 0
    own = sum(count for key, count in plan.items() if key.startswith("Rows Removed"))
    return own + sum(removed(child) for child in plan.get("Plans", ()))
