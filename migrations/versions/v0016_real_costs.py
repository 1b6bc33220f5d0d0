"""Real costs: at a trajectory's end or with feedback, beside the estimate of its decision.

The previous release neither reads nor writes them; it takes feedback that tells only a cost, under the source ``cost``, for
a retraction by a source that has said nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

LATEST = """
    CREATE OR REPLACE VIEW sona.latest_feedback AS
    SELECT DISTINCT ON (space_id, trajectory_id, source)
        space_id, trajectory_id, source, sequence, quality, correction, recorded_at
    FROM sona.feedback
    {condition}
    ORDER BY space_id, trajectory_id, source, sequence DESC
"""
OUTCOMES = """
    CREATE OR REPLACE VIEW sona.outcomes AS
    SELECT t.space_id, t.id AS trajectory_id, sona.uuid_time(t.id) AS started_at, t.route, t.query, t.latency_us,
           t.quality AS quality_at_end,
           coalesce(avg(CASE WHEN f.correction IS NULL THEN f.quality ELSE (f.correction = t.route)::int END),
                    t.quality) AS quality,
           max(f.correction) AS correction,
           count(f.source) AS feedback,
           coalesce((SELECT c.paid FROM sona.feedback c
                     WHERE c.space_id = t.space_id AND c.trajectory_id = t.id AND c.paid IS NOT NULL
                     ORDER BY c.sequence DESC, c.source DESC LIMIT 1), t.paid) AS paid
    FROM sona.trajectories t
    LEFT JOIN sona.latest_feedback f ON f.space_id = t.space_id AND f.trajectory_id = t.id
    GROUP BY t.space_id, t.id, t.route, t.query, t.latency_us, t.quality, t.paid
"""
STEPS = [
    "ALTER TABLE sona.trajectories ADD COLUMN IF NOT EXISTS paid real CHECK (paid >= 0 AND paid < 'infinity')",
    "COMMENT ON COLUMN sona.trajectories.paid IS 'Its real cost, as told at the end; sona.outcomes has it with feedback.'",
    "COMMENT ON COLUMN sona.trajectories.cost IS 'Estimated cost of the chosen route, in the caller''s unit.'",
    "ALTER TABLE sona.feedback ADD COLUMN IF NOT EXISTS paid real CHECK (paid >= 0 AND paid < 'infinity')",
    "COMMENT ON COLUMN sona.feedback.paid IS 'The real cost of the trajectory. Alone, the fact says nothing of its quality.'",
    LATEST.format(condition="WHERE quality IS NOT NULL OR correction IS NOT NULL OR paid IS NULL"),
    OUTCOMES,
    "COMMENT ON VIEW sona.outcomes IS "
    "'Each trajectory with its quality now: the mean of what its sources said last, else what it ended with; and with its "
    "real cost, as told last.'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)


def downgrade() -> None:
    op.execute(
        "CREATE TEMP TABLE dependent ON COMMIT DROP AS SELECT pg_get_viewdef('sona.quality_by_day'::regclass) AS view"
    )
    op.execute("DROP VIEW sona.quality_by_day, sona.outcomes")
    op.execute(LATEST.format(condition=""))
    op.execute("ALTER TABLE sona.feedback DROP COLUMN paid")
    op.execute("ALTER TABLE sona.trajectories DROP COLUMN paid")
    op.execute("COMMENT ON COLUMN sona.trajectories.cost IS 'What the chosen route cost, in the caller''s unit.'")
    op.execute(BEFORE)
    op.execute("DO $$ BEGIN EXECUTE 'CREATE VIEW sona.quality_by_day AS ' || (SELECT view FROM dependent); END $$")
    for view, comment in COMMENTS_BEFORE.items():
        op.execute(f"COMMENT ON VIEW sona.{view} IS '{comment}'")


BEFORE = """
    CREATE VIEW sona.outcomes AS
    SELECT t.space_id, t.id AS trajectory_id, sona.uuid_time(t.id) AS started_at, t.route, t.query, t.latency_us,
           t.quality AS quality_at_end,
           coalesce(avg(CASE WHEN f.correction IS NULL THEN f.quality ELSE (f.correction = t.route)::int END),
                    t.quality) AS quality,
           max(f.correction) AS correction,
           count(f.source) AS feedback
    FROM sona.trajectories t
    LEFT JOIN sona.latest_feedback f ON f.space_id = t.space_id AND f.trajectory_id = t.id
    GROUP BY t.space_id, t.id, t.route, t.query, t.latency_us, t.quality
"""
COMMENTS_BEFORE = {
    "outcomes": (
        "Each trajectory with its quality now: the mean of what its sources said last, else what it ended with."
    ),
    "quality_by_day": "Trajectories, quality and latency per space, day (UTC) and route.",
}
