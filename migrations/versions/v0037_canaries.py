"""Canaries: a share of the servers serves a candidate version while its gate judges it.

The previous release reads none of these columns: its servers serve the live version, as those outside the share do, and
its learner judges the candidate by their decisions alone.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0034_version_gates

revision = "0037"
down_revision = "0036"
branch_labels = None
depends_on = None

VIEW = v0034_version_gates.VIEW.replace("CREATE VIEW", "CREATE OR REPLACE VIEW").replace(
    "g.closed_at\n", "g.closed_at, g.share\n"
)
STEPS = [
    "ALTER TABLE sona.version_gates ADD COLUMN share double precision CHECK (share > 0 AND share <= 0.5)",
    "COMMENT ON COLUMN sona.version_gates.share IS 'Of the servers, that serve the candidate while it is judged; null: "
    "nobody does.'",
    "ALTER TABLE sona.spaces ADD COLUMN canary_version bigint, ADD COLUMN canary_share double precision",
    "COMMENT ON COLUMN sona.spaces.canary_version IS 'A candidate version that some servers serve while it is judged.'",
    "COMMENT ON COLUMN sona.spaces.canary_share IS 'Share of the servers that serve canary_version.'",
    VIEW,
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.gates")
    op.execute(v0034_version_gates.VIEW)
    op.execute(v0034_version_gates.STEPS[-1])
    op.execute("ALTER TABLE sona.version_gates DROP COLUMN share")
    op.execute("ALTER TABLE sona.spaces DROP COLUMN canary_version, DROP COLUMN canary_share")
