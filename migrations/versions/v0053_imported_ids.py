"""Ids that the rows of an imported file have of their own, by which people find them again.

A trajectory's id is made of its row's id and time, so the row's id itself was lost. The previous release neither reads
nor writes them.
"""

from __future__ import annotations

from alembic import op

revision = "0053"
down_revision = "0052"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE IF NOT EXISTS sona.imported_ids (
    space_id int NOT NULL REFERENCES sona.spaces,
    trajectory_id uuid NOT NULL,
    imported_id text NOT NULL CHECK (octet_length(imported_id) BETWEEN 1 AND 256),
    PRIMARY KEY (space_id, trajectory_id)
)
"""
VIEW = """
CREATE OR REPLACE VIEW sona.imported WITH (security_invoker = true) AS
SELECT s.name AS space, i.space_id, i.imported_id, i.trajectory_id, o.started_at, o.query, o.route, o.quality_at_end,
       o.quality, o.correction, o.feedback, o.paid
FROM sona.imported_ids i
JOIN sona.spaces s ON s.space_id = i.space_id
CROSS JOIN LATERAL (
    SELECT sona.uuid_time(t.id) AS started_at, t.query, t.route, t.quality AS quality_at_end, coalesce(f.quality, t.quality)
           AS quality, f.correction, f.feedback,
           coalesce((SELECT c.paid FROM sona.feedback c
                     WHERE c.space_id = i.space_id AND c.trajectory_id = i.trajectory_id AND c.paid IS NOT NULL
                     ORDER BY c.sequence DESC, c.source DESC LIMIT 1), t.paid) AS paid
    FROM sona.trajectories t
    CROSS JOIN LATERAL (
        SELECT avg(CASE WHEN l.correction IS NULL THEN l.quality ELSE (l.correction = t.route)::int END) AS quality,
               max(l.correction) AS correction, count(l.source) AS feedback
        FROM sona.latest_feedback l WHERE l.space_id = i.space_id AND l.trajectory_id = i.trajectory_id
    ) f
    WHERE t.space_id = i.space_id AND t.id = i.trajectory_id
) o
"""
STEPS = [
    TABLE,
    "COMMENT ON TABLE sona.imported_ids IS 'Ids that rows of imported files have of their own, by trajectory; sona.imported "
    "shows them with the records.'",
    "CREATE INDEX IF NOT EXISTS imported_ids_by_id ON sona.imported_ids (space_id, imported_id)",
    "COMMENT ON INDEX sona.imported_ids_by_id IS 'Serves: finding a row by the id that its file gave it.'",
    VIEW,
    "COMMENT ON VIEW sona.imported IS E'Trajectories by the id that an imported file gave them, with their quality as "
    "sona.outcomes has it. One id may stand for several trajectories, of different times.\\n"
    "Example: SELECT started_at, query, route, quality, trajectory_id FROM sona.imported WHERE space = ''support'' AND "
    "imported_id = ''T-1042'''",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.imported")
    op.execute("DROP TABLE sona.imported_ids")
