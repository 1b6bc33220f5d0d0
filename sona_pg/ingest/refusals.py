"""What an error of Postgres says of the rows that were written: refused, too many at once, or neither."""

from __future__ import annotations

import psycopg

# SQLSTATE classes of errors in the rows themselves: data, integrity constraints, limits of an index row
CONTENT = ("22", "23", "54")
NOT_SUPPORTED = "0A000"  # COPY into a table with row-level security
# A worker of Citus that refuses a row of COPY: the coordinator passes its message on, without the code.
UNTOLD = "XX000"
UNTOLD_REASONS = (
    ("violates check constraint", "23514"),
    ("violates not-null constraint", "23502"),
    ("violates unique constraint", "23505"),
    ("index row", "54000"),
    ("out of range", "22003"),
    ("invalid ", "22P03"),
    ("dimensions", "22000"),
    ("row-level security", NOT_SUPPORTED),
)
# statement_timeout (or a cancel), and transaction_timeout
TOO_LONG = ("57014", "25P04")


def state_of(exc: psycopg.Error) -> str:
    """Return the SQLSTATE of an error, also of one that Citus passes on without it."""
    if exc.sqlstate != UNTOLD:
        return exc.sqlstate or ""
    told = exc.diag.message_primary or ""
    return next((state for words, state in UNTOLD_REASONS if words in told), UNTOLD)


def is_content_error(exc: BaseException) -> bool:
    """Whether Postgres refused the rows themselves, so that a retry would fail again."""
    return isinstance(exc, psycopg.Error) and state_of(exc).startswith(CONTENT)


def is_too_long(exc: BaseException) -> bool:
    """Whether a statement exceeded the server's time limit, so that a smaller part may succeed."""
    return isinstance(exc, psycopg.Error) and exc.sqlstate in TOO_LONG
