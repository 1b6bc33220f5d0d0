"""Lineage in SQL: the cycles behind a version and a pattern, the facts behind a cycle; and erasures by space."""

from __future__ import annotations

from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None

CYCLE = """
        cycle_id uuid, loop text, version bigint, started_at timestamptz, trajectories int, feedback int, server_id uuid
"""
VERSION_CYCLES = f"""
    CREATE OR REPLACE FUNCTION sona.version_cycles(of_space text, of_version bigint) RETURNS TABLE ({CYCLE})
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := sona.require_space(of_space);
    BEGIN
        RETURN QUERY
        SELECT c.cycle_id, c.loop, c.version, c.started_at, c.trajectories, c.feedback, c.server_id
        FROM sona.cycles c
        WHERE c.space_id = wanted AND c.error IS NULL AND c.version > c.base_version
          AND c.loop IN ('background', 'deep', 'load')
          AND coalesce(c.in_force, int8multirange(int8range(c.version, NULL))) @> of_version
        ORDER BY c.version;
    END $$
"""
PATTERN_CYCLES = f"""
    CREATE OR REPLACE FUNCTION sona.pattern_cycles(of_space text, of_pattern uuid) RETURNS TABLE ({CYCLE})
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := sona.require_space(of_space);
    BEGIN
        RETURN QUERY
        WITH RECURSIVE family AS (
            SELECT of_pattern AS pattern_id
            UNION
            SELECT merged.id FROM family f
            JOIN sona.version_patterns p ON p.space_id = wanted AND p.pattern_id = f.pattern_id
            CROSS JOIN LATERAL unnest(p.merged_from) AS merged (id)
        ), changed AS (
            SELECT p.created_version AS version FROM sona.version_patterns p JOIN family f ON f.pattern_id = p.pattern_id
            WHERE p.space_id = wanted
            UNION
            SELECT p.updated_version FROM sona.version_patterns p JOIN family f ON f.pattern_id = p.pattern_id
            WHERE p.space_id = wanted
        )
        SELECT c.cycle_id, c.loop, c.version, c.started_at, c.trajectories, c.feedback, c.server_id
        FROM sona.cycles c JOIN changed h ON h.version = c.version
        WHERE c.space_id = wanted AND c.error IS NULL AND c.version > c.base_version
        ORDER BY c.version;
    END $$
"""
CYCLE_FACTS = """
    CREATE OR REPLACE FUNCTION sona.cycle_facts(of_space text, of_cycle uuid, k int DEFAULT 1000) RETURNS TABLE (
        trajectory_id uuid, started_at timestamptz, fact text, source text, quality double precision, correction text,
        route text, query_text text
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := sona.require_space(of_space);
        claimed bigint[] := ARRAY(
            SELECT b.batch FROM sona.batches b WHERE b.space_id = wanted AND b.cycle_id = of_cycle
            UNION
            SELECT unnest(c.batches) FROM sona.cycles c WHERE c.space_id = wanted AND c.cycle_id = of_cycle);
        first uuid := (SELECT b.first_id FROM sona.batches b WHERE b.space_id = wanted AND b.batch = ANY(claimed)
                       AND b.first_id IS NOT NULL ORDER BY b.first_id LIMIT 1);
        last uuid := (SELECT b.last_id FROM sona.batches b WHERE b.space_id = wanted AND b.batch = ANY(claimed)
                      AND b.last_id IS NOT NULL ORDER BY b.last_id DESC LIMIT 1);
    BEGIN
        RETURN QUERY
        SELECT * FROM (
            SELECT t.id AS trajectory_id, sona.uuid_time(t.id) AS started_at, 'trajectory' AS fact, NULL AS source,
                   t.quality::float8 AS quality, NULL AS correction, t.route, t.query AS query_text
            FROM sona.trajectories t
            WHERE t.space_id = wanted AND t.batch = ANY(claimed) AND t.id >= first AND t.id <= last
            UNION ALL
            SELECT f.trajectory_id, sona.uuid_time(f.trajectory_id), 'feedback', f.source, f.quality::float8, f.correction,
                   NULL, NULL
            FROM sona.feedback f WHERE f.space_id = wanted AND f.batch = ANY(claimed)
        ) told
        ORDER BY told.trajectory_id, told.fact DESC, told.source LIMIT k;
    END $$
"""
LOG = """
    CREATE OR REPLACE VIEW sona.erasure_log AS
    SELECT s.name AS space, s.space_id, e.erasure_id, e.kind, e.phase, e.requested_at, e.finished_at,
           (e.removed ->> 'trajectories')::bigint AS trajectories, (e.removed ->> 'steps')::bigint AS steps,
           (e.removed ->> 'feedback')::bigint AS feedback, e.late, (e.receipt ->> 'version')::bigint AS version,
           e.receipt -> 'versions_dropped' AS versions_dropped, e.receipt
    FROM sona.spaces s JOIN sona.erasures e ON e.space_id = s.space_id
"""
LATEST = "(SELECT live_version FROM sona.spaces WHERE name = ''support'')"
COMMENTS = {
    "FUNCTION sona.version_cycles(text, bigint)": "The learning cycles behind a version, oldest first: of those that no "
    f"rollback has undone.\\nExample: SELECT version, loop, trajectories FROM sona.version_cycles(''support'', {LATEST})",
    "FUNCTION sona.pattern_cycles(text, uuid)": "The cycles that made or changed a pattern, or one that was merged into it, "
    "as far as kept versions tell.\\nExample: SELECT version, started_at, trajectories FROM sona.pattern_cycles(''support'', "
    "(SELECT pattern_id FROM sona.pattern_summary WHERE space = ''support'' ORDER BY size DESC LIMIT 1))",
    "FUNCTION sona.cycle_facts(text, uuid, int)": "The facts that a cycle learned from: its new trajectories, and the "
    "feedback that was new, by trajectory.\\nExample: SELECT trajectory_id, fact, source, quality FROM sona.cycle_facts("
    f"''support'', (SELECT cycle_id FROM sona.version_cycles(''support'', {LATEST}) ORDER BY version DESC LIMIT 1), 20)",
    "VIEW sona.erasure_log": "Erasures of users, sessions and single trajectories: what was removed, which versions were "
    "dropped, and the signed receipt.\\nExample: SELECT finished_at, kind, trajectories, versions_dropped FROM "
    "sona.erasure_log WHERE space = ''support'' ORDER BY requested_at DESC",
}
STEPS = [VERSION_CYCLES, PATTERN_CYCLES, CYCLE_FACTS, LOG, *(
    f"COMMENT ON {name} IS E'{comment}'" for name, comment in COMMENTS.items()
)]  # fmt: skip


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    for name in reversed(COMMENTS):
        op.execute(f"DROP {name}")
