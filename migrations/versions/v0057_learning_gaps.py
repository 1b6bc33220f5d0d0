"""Times in which facts waited and no cycle learned, also after they have ended: what happened last night.

From the times of cycles and of batches: nothing new is stored.
"""

from __future__ import annotations

from alembic import op

revision = "0057"
down_revision = "0056"
branch_labels = None
depends_on = None

# A cycle's gap begins with the first batch since the cycle before it began that this one has not learned.
VIEW = """
CREATE OR REPLACE VIEW sona.learning_gaps WITH (security_invoker = true) AS
SELECT g.space, g.space_id, g.waited_from, g.waited_until, coalesce(g.waited_until, now()) - g.waited_from AS waited,
       g.version,
       (SELECT count(*) FROM sona.cycles f
        WHERE f.space_id = g.space_id AND f.error IS NOT NULL AND f.started_at >= g.waited_from
          AND f.started_at <= coalesce(g.waited_until, now())) AS failed_cycles
FROM (
    SELECT s.name AS space, c.space_id, least(greatest(b.recorded_at, p.finished_at), c.started_at) AS waited_from,
           c.started_at AS waited_until, c.version
    FROM sona.cycles c
    JOIN sona.spaces s ON s.space_id = c.space_id
    LEFT JOIN LATERAL (
        SELECT k.cycle_id, k.started_at, k.finished_at FROM sona.cycles k
        WHERE k.space_id = c.space_id AND k.started_at < c.started_at AND k.error IS NULL AND k.loop = 'background'
        ORDER BY k.started_at DESC LIMIT 1
    ) p ON true
    CROSS JOIN LATERAL (
        SELECT r.recorded_at FROM sona.batches r
        WHERE r.space_id = c.space_id AND r.recorded_at >= coalesce(p.started_at, '-infinity')
          AND r.recorded_at <= c.started_at AND r.cycle_id IS DISTINCT FROM p.cycle_id AND r.left_out_by IS NULL
        ORDER BY r.recorded_at LIMIT 1
    ) b
    WHERE c.error IS NULL AND c.loop = 'background'
    UNION ALL
    SELECT s.name, s.space_id, greatest(b.recorded_at, p.finished_at), NULL::timestamptz, NULL::bigint
    FROM sona.spaces s
    CROSS JOIN LATERAL (
        SELECT r.recorded_at FROM sona.batches r
        WHERE r.space_id = s.space_id AND r.cycle_id IS NULL AND r.left_out_by IS NULL
        ORDER BY r.recorded_at LIMIT 1
    ) b
    LEFT JOIN LATERAL (
        SELECT k.finished_at FROM sona.cycles k
        WHERE k.space_id = s.space_id AND k.error IS NULL AND k.loop = 'background' ORDER BY k.started_at DESC LIMIT 1
    ) p ON true
) g
"""
STEPS = [
    VIEW,
    "COMMENT ON VIEW sona.learning_gaps IS E'Times in which facts waited and none were learned, one row before each cycle of loop B "
    "that is kept: until it began, which made version, and how many cycles failed meanwhile; waited_until is null while facts wait. A "
    "wait up to loops.background_interval is as configured; a longer one tells that no learner ran.\\n"
    "Example: SELECT waited_from, waited_until, waited, failed_cycles FROM sona.learning_gaps WHERE space = ''support'' AND "
    "(waited_until > now() - interval ''7 days'' OR waited_until IS NULL) ORDER BY waited DESC LIMIT 10'",
]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.execute("DROP VIEW sona.learning_gaps")
