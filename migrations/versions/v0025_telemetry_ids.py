"""Ids of trajectories by the spans and responses of OpenTelemetry that they were recorded from.

The previous release neither reads nor writes them.
"""

from __future__ import annotations

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

STEPS = [
    """
    CREATE TABLE IF NOT EXISTS sona.telemetry_ids (
        space_id int NOT NULL REFERENCES sona.spaces,
        key bytea NOT NULL CHECK (octet_length(key) = 16),
        trajectory_id uuid NOT NULL,
        recorded_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, key)
    )
    """,
    "COMMENT ON TABLE sona.telemetry_ids IS 'Trajectory of a span or a response of OpenTelemetry, by a hash of its id: an "
    "evaluation may arrive before or after the span that it is about.'",
    "CREATE INDEX IF NOT EXISTS telemetry_ids_by_time ON sona.telemetry_ids (space_id, recorded_at)",
    "COMMENT ON INDEX sona.telemetry_ids_by_time IS 'Serves: retention.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE sona.telemetry_ids")
