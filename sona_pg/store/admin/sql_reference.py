"""SQL reference: tables, views and functions of schema ``sona`` with their comments, as Markdown.

A comment may end with a line ``Example: …``, one statement; a view without one is read by its space.
``.ci/sql_docs.py`` writes ``docs/sql.md`` from it, and a test runs every example.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg

OBJECTS = """
SELECT 'table' AS kind, c.relname::text AS name, '' AS arguments, '' AS returns,
       coalesce(obj_description(c.oid, 'pg_class'), '') AS told,
       ARRAY(SELECT a.attname::text || coalesce(': ' || col_description(c.oid, a.attnum), '') FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum) AS columns
FROM pg_class c
WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND c.relname <> 'schema_revision'
UNION ALL
SELECT 'view', c.relname, '', '', coalesce(obj_description(c.oid, 'pg_class'), ''),
       ARRAY(SELECT a.attname::text FROM pg_attribute a
             WHERE a.attrelid = c.oid AND a.attnum > 0 ORDER BY a.attnum)
FROM pg_class c WHERE c.relnamespace = 'sona'::regnamespace AND c.relkind = 'v'
UNION ALL
SELECT 'function', p.proname, pg_get_function_arguments(p.oid), pg_get_function_result(p.oid),
       coalesce(obj_description(p.oid, 'pg_proc'), ''), '{}'
FROM pg_proc p WHERE p.pronamespace = 'sona'::regnamespace
ORDER BY 1, 2, 3
"""
MARK = "\nExample: "
HEAD = """# SQL reference

Made from the comments in the database by `make docs-sql`; do not edit. Any client may read the views, as the roles of
[roles.md](roles.md); `audit_log` and `store_size` are for administrators. Every view has `space` and `space_id`.
Conditions on `day` read only these days; ids of trajectories are UUIDv7, and their tables are partitioned by week, so
on tables write `id >= sona.first_id('2026-11-20') AND id <= sona.last_id('2026-11-20')`. Figures of fewer than 10
ratings are marked `small_sample`; `low` and `high` are the 95 % interval of a quality. Days are UTC.

A quality is the mean of what each source said last. Where a customer's thumb up and an agent's correction disagree it
is .5, on all pages and in learning; yet whoever names another answer says that this one was wrong, so the request
counts as rated bad. Of `sona.outcomes` these are `WHERE quality <= 0.3 OR correction <> route`.

Where a number of a space is asked for, `sona.require_space('support')` is it. Query vectors are texts or `vector`; a
stored embedding is a `halfvec`, so it is cast:

```sql
SELECT similarity, query_text FROM sona.similar_trajectories('support', (SELECT embedding::vector
    FROM sona.trajectories WHERE space_id = sona.require_space('support') ORDER BY id DESC LIMIT 1), 3);
```

"""
USERS = """Functions for users come first in meaning, not in order: `find_patterns`, `similar_trajectories`,
`pattern_trajectories`, `record_trajectory`, `record_feedback`, `apply_micro_lora`, `apply_base_lora`, `routes_between`,
`best_routes`, `routes_on_like_questions`, `evaluate_policies`, `quality_by_parameter`, `quality_by_label`,
`candidates_offered`, `patterns_at`, `diff`. The others serve them, the views and maintenance.

"""


@dataclass(frozen=True, slots=True)
class SqlObject:
    """One table, view or function with its comment."""

    kind: str  # table, view, function
    name: str
    arguments: str  # of a function
    returns: str
    text: str
    example: str  # one statement; "" if there is none
    columns: tuple[str, ...]  # of a table or a view; of a table with their comments


def read_objects(raw: psycopg.Connection[Any]) -> list[SqlObject]:
    """Return all objects of schema ``sona`` for users, by kind and name."""
    found = []
    for kind, name, arguments, returns, told, columns in raw.execute(OBJECTS).fetchall():
        text, _, example = told.partition(MARK)
        if kind == "view" and not example:
            by = " WHERE space = 'support'" if "space" in columns else ""
            example = f"SELECT * FROM sona.{name}{by} LIMIT 20"
        found.append(SqlObject(kind, name, arguments, returns, text.strip(), example.strip(), tuple(columns)))
    return found


def render(objects: Sequence[SqlObject]) -> str:
    """Return the reference as Markdown."""
    parts = [HEAD, "## Views\n\n"]
    parts += [_section(known) for known in objects if known.kind == "view"]
    parts += ["## Functions\n\n", USERS]
    parts += [_section(known) for known in objects if known.kind == "function"]
    parts.append("## Tables\n\nThey may change with every release; views and functions keep their columns.\n\n")
    parts += [_table(known) for known in objects if known.kind == "table"]
    return "".join(parts).rstrip("\n") + "\n"


def _section(known: SqlObject) -> str:
    head = f"### {known.name}\n\n{known.text}\n\n"
    if known.kind == "view":
        head += f"Columns: {', '.join(f'`{column}`' for column in known.columns)}.\n\n"
    else:
        head += f"`{known.name}({known.arguments})` returns `{known.returns}`\n\n"
    return head + (f"```sql\n{known.example};\n```\n\n" if known.example else "")


def _table(known: SqlObject) -> str:
    lines = [f"- **{known.name}**: {known.text}\n"]
    for column in known.columns:
        name, _, text = column.partition(": ")
        if text:
            lines.append(f"  - `{name}`: {text}\n")
    return "".join(lines)
