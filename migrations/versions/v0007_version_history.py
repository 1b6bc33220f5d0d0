"""The content of each version, staged versions, rollbacks, and SQL functions over them.

Every column is nullable or has a default, so that the previous release continues to work beside this one; its versions
have no content, which ``sona.versions`` shows.
"""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE IF NOT EXISTS sona.version_contents (
        space_id int NOT NULL,
        version bigint NOT NULL,
        patterns int NOT NULL CHECK (patterns >= 0),
        routes text[] NOT NULL DEFAULT '{}',
        route_sizes bigint[] NOT NULL DEFAULT '{}',
        route_qualities double precision[] NOT NULL DEFAULT '{}',
        route_variances double precision[] NOT NULL DEFAULT '{}',
        route_latencies double precision[] NOT NULL DEFAULT '{}',
        route_versions bigint[] NOT NULL DEFAULT '{}',
        tasks int[] NOT NULL DEFAULT '{}',
        task_layers smallint[] NOT NULL DEFAULT '{}',
        task_versions bigint[] NOT NULL DEFAULT '{}',
        PRIMARY KEY (space_id, version),
        FOREIGN KEY (space_id, version) REFERENCES sona.state_versions ON DELETE CASCADE
    )
    """,
    "COMMENT ON TABLE sona.version_contents IS 'What a version holds beside its adapters and arrays: how many rows of "
    "sona.version_patterns, its route statistics, and which rows of sona.version_tasks. A version without a row here was "
    "made by an earlier release, and cannot be brought back.'",
    "COMMENT ON COLUMN sona.version_contents.routes IS 'By name; the other route arrays are in the same order.'",
    "COMMENT ON COLUMN sona.version_contents.task_versions IS 'With tasks and task_layers: keys of sona.version_tasks.'",
    """
    CREATE TABLE IF NOT EXISTS sona.version_patterns (
        space_id int NOT NULL,
        version bigint NOT NULL,
        pattern_id uuid NOT NULL,
        size bigint NOT NULL,
        weight double precision NOT NULL,
        quality double precision NOT NULL,
        success_count bigint NOT NULL,
        recovered_count bigint NOT NULL,
        partial_count bigint NOT NULL,
        failure_count bigint NOT NULL,
        created_version bigint NOT NULL,
        updated_version bigint NOT NULL,
        kind text NOT NULL,
        merged_from uuid[] NOT NULL,
        typical_queries text[] NOT NULL,
        typical_similarities real[] NOT NULL,
        parameters jsonb NOT NULL,
        routes text[] NOT NULL,
        route_sizes bigint[] NOT NULL,
        route_weights double precision[] NOT NULL,
        route_qualities double precision[] NOT NULL,
        route_verdicts bigint[] NOT NULL,
        centroid vector NOT NULL,
        PRIMARY KEY (space_id, version, pattern_id),
        FOREIGN KEY (space_id, version) REFERENCES sona.state_versions ON DELETE CASCADE
    )
    """,
    "COMMENT ON TABLE sona.version_patterns IS 'The patterns of each version, as sona.patterns and sona.pattern_routes "
    "held them while it was live. Not searched: it has no HNSW index.'",
    "COMMENT ON COLUMN sona.version_patterns.route_verdicts IS "
    "'For each of routes: success, recovered, partial, failure (two axes).'",
    """
    CREATE TABLE IF NOT EXISTS sona.version_tasks (
        space_id int NOT NULL REFERENCES sona.spaces,
        task int NOT NULL CHECK (task >= 0),
        layer smallint NOT NULL CHECK (layer >= 0),
        version bigint NOT NULL,
        created_at timestamptz NOT NULL,
        kind text NOT NULL,
        fisher bytea NOT NULL,
        optimum bytea NOT NULL,
        PRIMARY KEY (space_id, task, layer, version)
    )
    """,
    "COMMENT ON TABLE sona.version_tasks IS 'Fisher information as sona.fisher_snapshots held it, once for all the "
    "versions that share it; version is the one that made it. Kept while a kept version names it.'",
    """
    CREATE TABLE IF NOT EXISTS sona.staged_versions (
        space_id int NOT NULL,
        version bigint NOT NULL,
        server_id uuid NOT NULL,
        batches bigint[] NOT NULL,
        cycle jsonb NOT NULL,
        set_aside jsonb NOT NULL DEFAULT '[]',
        started_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, version),
        FOREIGN KEY (space_id, version) REFERENCES sona.state_versions ON DELETE CASCADE
    )
    """,
    "COMMENT ON TABLE sona.staged_versions IS 'Candidate versions: the batches each was made from, which go on waiting "
    "until it is promoted, and the record of its cycle.'",
]

COLUMNS = [
    "ALTER TABLE sona.state_versions ADD COLUMN IF NOT EXISTS origin text NOT NULL DEFAULT 'cycle' "
    "CHECK (origin IN ('cycle', 'rebuild', 'rollback', 'load')), ADD COLUMN IF NOT EXISTS restores bigint, "
    "ADD COLUMN IF NOT EXISTS server_id uuid",
    "COMMENT ON COLUMN sona.state_versions.origin IS "
    "'How it was made: learned by a cycle, learned again from the ledger, an earlier version again, or out of a file.'",
    "COMMENT ON COLUMN sona.state_versions.restores IS 'Of a rollback: the version whose content it has; 0: nothing learned.'",
    "COMMENT ON COLUMN sona.state_versions.server_id IS 'Who made it; null if an earlier release did.'",
    "ALTER TABLE sona.cycles ADD COLUMN IF NOT EXISTS in_force int8multirange, ADD COLUMN IF NOT EXISTS batches bigint[], "
    "DROP CONSTRAINT IF EXISTS cycles_loop_check, "
    "ADD CONSTRAINT cycles_loop_check CHECK (loop IN ('background', 'deep', 'rollback', 'load'))",
    "COMMENT ON COLUMN sona.cycles.in_force IS 'Live versions that hold what the cycle has learned; null: its own and all "
    "later ones. A rollback ends it, and begins it again where it brings its content back.'",
    "COMMENT ON COLUMN sona.cycles.batches IS 'Of a cycle that a rollback has undone: the batches it had learned from.'",
    "ALTER TABLE sona.batches ADD COLUMN IF NOT EXISTS left_out_by bigint",
    "COMMENT ON COLUMN sona.batches.left_out_by IS 'The rollback (its version) that leaves these facts out of learning.'",
]

FUNCTIONS = [
    """
    CREATE OR REPLACE FUNCTION sona.patterns_at(of_space text, of_version bigint) RETURNS TABLE (
        pattern_id uuid, kind text, size bigint, weight double precision, quality double precision, verdicts jsonb,
        typical_queries text[], routes jsonb, parameters jsonb, created_version bigint, updated_version bigint,
        merged_from uuid[], centroid vector
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := (SELECT n.space_id FROM sona.space_names n WHERE n.name = of_space);
    BEGIN
        IF wanted IS NULL THEN
            RAISE EXCEPTION 'there is no space %', quote_literal(of_space) USING ERRCODE = 'no_data_found';
        END IF;
        IF of_version <> 0 AND NOT EXISTS (
            SELECT FROM sona.version_contents c WHERE c.space_id = wanted AND c.version = of_version
        ) THEN
            RAISE EXCEPTION 'the patterns of version % of space % are not kept', of_version, quote_literal(of_space)
                USING ERRCODE = 'no_data_found',
                HINT = 'It was pruned, was never there, or was made by a release before schema revision 0007.';
        END IF;
        RETURN QUERY
        SELECT p.pattern_id, p.kind, p.size, p.weight, p.quality,
               jsonb_build_object('success', p.success_count, 'recovered', p.recovered_count,
                                  'partial', p.partial_count, 'failure', p.failure_count),
               p.typical_queries, r.routes, p.parameters, p.created_version, p.updated_version, p.merged_from,
               p.centroid
        FROM sona.version_patterns p
        LEFT JOIN LATERAL (
            SELECT jsonb_object_agg(o.route, jsonb_build_object(
                       'size', o.size, 'weight', o.weight, 'quality', o.quality,
                       'success', p.route_verdicts[o.place][1], 'recovered', p.route_verdicts[o.place][2],
                       'partial', p.route_verdicts[o.place][3], 'failure', p.route_verdicts[o.place][4])) AS routes
            FROM unnest(p.routes, p.route_sizes, p.route_weights, p.route_qualities)
                WITH ORDINALITY AS o (route, size, weight, quality, place)
        ) r ON true
        WHERE p.space_id = wanted AND p.version = of_version;
    END $$
    """,
    "COMMENT ON FUNCTION sona.patterns_at(text, bigint) IS "
    "'The patterns of a space as a version held them; an error if they are not kept.'",
    """
    CREATE OR REPLACE FUNCTION sona.diff(of_space text, from_version bigint, to_version bigint) RETURNS TABLE (
        part text, name text, change text, before jsonb, after jsonb
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int := (SELECT n.space_id FROM sona.space_names n WHERE n.name = of_space);
    BEGIN
        RETURN QUERY
        SELECT d.part, d.name,
               CASE WHEN d.before IS NULL THEN 'added' WHEN d.after IS NULL THEN 'removed' ELSE 'changed' END,
               d.before, d.after
        FROM (
            SELECT 'pattern' AS part, coalesce(x.pattern_id, y.pattern_id)::text AS name, x.told AS before, y.told AS after
            FROM (SELECT p.pattern_id, jsonb_build_object('size', p.size, 'quality', p.quality, 'verdicts', p.verdicts,
                      'typical_query', p.typical_queries[1]) AS told FROM sona.patterns_at(of_space, from_version) p) x
            FULL JOIN (SELECT p.pattern_id, jsonb_build_object('size', p.size, 'quality', p.quality, 'verdicts', p.verdicts,
                      'typical_query', p.typical_queries[1]) AS told FROM sona.patterns_at(of_space, to_version) p) y
                ON y.pattern_id = x.pattern_id
            UNION ALL
            SELECT 'route', coalesce(x.route, y.route), x.told, y.told
            FROM (SELECT r.route, jsonb_build_object('size', r.size, 'quality', r.quality, 'latency_us', r.latency) AS told
                  FROM sona.version_contents c,
                       unnest(c.routes, c.route_sizes, c.route_qualities, c.route_latencies)
                           AS r (route, size, quality, latency)
                  WHERE c.space_id = wanted AND c.version = from_version) x
            FULL JOIN (SELECT r.route, jsonb_build_object('size', r.size, 'quality', r.quality, 'latency_us', r.latency) AS told
                  FROM sona.version_contents c,
                       unnest(c.routes, c.route_sizes, c.route_qualities, c.route_latencies)
                           AS r (route, size, quality, latency)
                  WHERE c.space_id = wanted AND c.version = to_version) y
                ON y.route = x.route
            UNION ALL
            SELECT 'adapter', coalesce(x.name, y.name), x.told, y.told
            FROM (SELECT l.kind || ' ' || l.layer AS name, jsonb_build_object('norm', l.norm, 'digest', md5(l.a || l.b))
                      AS told
                  FROM sona.adapters l WHERE l.space_id = wanted AND l.version = from_version) x
            FULL JOIN (SELECT l.kind || ' ' || l.layer AS name, jsonb_build_object('norm', l.norm, 'digest', md5(l.a || l.b))
                      AS told
                  FROM sona.adapters l WHERE l.space_id = wanted AND l.version = to_version) y
                ON y.name = x.name
            UNION ALL
            SELECT 'array', coalesce(x.name, y.name), x.told, y.told
            FROM (SELECT s.part || '/' || s.name AS name, jsonb_build_object('shape', s.shape, 'digest', md5(s.data)) AS told
                  FROM sona.state_arrays s WHERE s.space_id = wanted AND s.version = from_version) x
            FULL JOIN (SELECT s.part || '/' || s.name AS name, jsonb_build_object('shape', s.shape, 'digest', md5(s.data)) AS told
                  FROM sona.state_arrays s WHERE s.space_id = wanted AND s.version = to_version) y
                ON y.name = x.name
        ) d
        WHERE d.before IS DISTINCT FROM d.after
        ORDER BY 1, 2;
    END $$
    """,
    "COMMENT ON FUNCTION sona.diff(text, bigint, bigint) IS 'What differs between two versions of a space, from the first to "
    "the second: patterns (by size, quality, verdicts and typical query; their weights decay in every cycle), routes, "
    "adapters with their norms, and other learned arrays.'",
]

VIEWS = [
    """
    CREATE VIEW sona.versions AS
    SELECT s.name AS space, v.version, v.parent, v.status, v.origin, v.restores, v.created_at, v.server_id,
           coalesce(c.trajectories, (g.cycle ->> 'trajectories')::int) AS trajectories,
           coalesce(c.feedback, (g.cycle ->> 'feedback')::int) AS feedback,
           h.patterns, cardinality(h.routes) AS routes, h.version IS NOT NULL AS complete, v.format, v.cycle_id,
           c.in_force
    FROM sona.state_versions v
    JOIN sona.spaces s ON s.space_id = v.space_id
    LEFT JOIN sona.cycles c ON c.space_id = v.space_id AND c.cycle_id = v.cycle_id
    LEFT JOIN sona.staged_versions g ON g.space_id = v.space_id AND g.version = v.version
    LEFT JOIN sona.version_contents h ON h.space_id = v.space_id AND h.version = v.version
    """,
    "COMMENT ON VIEW sona.versions IS 'Versions of each space: what each was made from, how and by whom, what it read and "
    "holds; complete ones can be brought back.'",
]
LEARNING = """
    CREATE OR REPLACE VIEW sona.learning AS
    SELECT s.name AS space, s.space_id, s.live_version, v.created_at AS learned_at, now() - v.created_at AS age,
           w.facts AS waiting_facts, w.since AS waiting_since, f.failed AS failed_cycles, f.last_error,
           l.server_id AS learner, l.expires_at AS lease_expires_at
    FROM sona.spaces s
    LEFT JOIN sona.state_versions v ON v.space_id = s.space_id AND v.version = s.live_version
    LEFT JOIN sona.leases l ON l.space_id = s.space_id AND l.role = 'learner' AND l.expires_at > now()
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(b.trajectories + b.feedback), 0) AS facts, min(b.recorded_at) AS since
        FROM sona.batches b WHERE b.space_id = s.space_id AND b.cycle_id IS NULL{left_out}
    ) w
    CROSS JOIN LATERAL (
        SELECT count(*) AS failed, (array_agg(c.error ORDER BY c.started_at DESC))[1] AS last_error
        FROM sona.cycles c
        WHERE c.space_id = s.space_id AND c.error IS NOT NULL AND c.started_at > coalesce(v.created_at, '-infinity')
    ) f
"""

# One table and one transaction each: several locks at once would deadlock with learners and recorders.
STEPS = [*TABLES, *COLUMNS, *FUNCTIONS]


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        for statement in STEPS:
            op.execute(statement)
    for statement in [*VIEWS, LEARNING.format(left_out=" AND b.left_out_by IS NULL")]:
        op.execute(statement)


def downgrade() -> None:
    """Keep rollbacks in force; facts left out become unlearned again, and staged versions are deleted."""
    op.execute("DROP VIEW sona.versions")
    op.execute(LEARNING.format(left_out=""))
    op.execute("DROP FUNCTION sona.diff(text, bigint, bigint), sona.patterns_at(text, bigint)")
    op.execute("DROP TABLE sona.staged_versions, sona.version_tasks, sona.version_patterns, sona.version_contents")
    op.execute("DELETE FROM sona.cycles WHERE loop IN ('rollback', 'load') OR NOT upper_inf(in_force)")
    op.execute(
        "ALTER TABLE sona.cycles DROP COLUMN in_force, DROP COLUMN batches, DROP CONSTRAINT cycles_loop_check, "
        "ADD CONSTRAINT cycles_loop_check CHECK (loop IN ('background', 'deep'))"
    )
    op.execute("DELETE FROM sona.state_versions WHERE status = 'candidate'")
    op.execute("ALTER TABLE sona.state_versions DROP COLUMN origin, DROP COLUMN restores, DROP COLUMN server_id")
    op.execute("ALTER TABLE sona.batches DROP COLUMN left_out_by")
