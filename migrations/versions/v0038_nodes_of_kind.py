"""The index on kinds of nodes has their dimension: counting a usual kind for ``nearest_nodes`` needs no row of the table.

Without it Postgres read the table: 77 ms instead of 6 at 30,000 nodes.
"""

from __future__ import annotations

from alembic import op

revision = "0038"
down_revision = "0037"
branch_labels = None
depends_on = None

COMMENT = "COMMENT ON INDEX sona.memory_nodes_of_kind IS 'Serves: sona.nearest_nodes of a kind, and whether it has few nodes.'"
BEFORE = "COMMENT ON INDEX sona.memory_nodes_of_kind IS 'Serves: sona.nearest_nodes of a kind that has few nodes.'"


def upgrade() -> None:
    op.execute("DROP INDEX sona.memory_nodes_of_kind")
    op.execute("CREATE INDEX memory_nodes_of_kind ON sona.memory_nodes (space_id, dim, kind)")
    op.execute(COMMENT)


def downgrade() -> None:
    op.execute("DROP INDEX sona.memory_nodes_of_kind")
    op.execute("CREATE INDEX memory_nodes_of_kind ON sona.memory_nodes (space_id, kind)")
    op.execute(BEFORE)
