"""Statements of a revision, run as they stand: colons and percent signs are no parameters."""

from __future__ import annotations

from collections.abc import Sequence

from alembic import op


def run(statements: Sequence[str]) -> None:
    """Run statements in the transaction of the revision."""
    driver = op.get_bind().connection.driver_connection
    for statement in statements:
        driver.execute(statement)


def run_unless_stepped(steps: Sequence[str]) -> None:
    """Run the ``STEPS`` of a revision, unless they have run before it in a transaction each, as on Citus."""
    if not op.get_context().config.attributes.get("stepped"):
        run(steps)
