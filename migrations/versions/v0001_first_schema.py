"""The first schema: ledger, knowledge, state versions, fleet, analytics.

Every table carries ``space_id`` and every key begins with it, so that Citus can distribute by it later (DESIGN section
11; ``tests/store/test_schema_rules.py`` checks the catalog). The statements are frozen text: a migration never imports
the live metadata.
"""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

FUNCTIONS = [
    """
    CREATE FUNCTION sona.uuid_time(id uuid) RETURNS timestamptz
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        RETURN to_timestamp(('x0000' || left(replace(id::text, '-', ''), 12))::bit(64)::bigint / 1000.0);
    END $$
    """,
    "COMMENT ON FUNCTION sona.uuid_time(uuid) IS 'The time a UUIDv7 was made, to the millisecond (RFC 9562).'",
    """
    CREATE FUNCTION sona.uuid_floor(at timestamptz) RETURNS uuid
    LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
    BEGIN
        RETURN rpad(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0'), 32, '0')::uuid;
    END $$
    """,
    "COMMENT ON FUNCTION sona.uuid_floor(timestamptz) IS "
    "'The smallest UUIDv7 of a time: WHERE id >= sona.uuid_floor(...) reads only the partitions it needs.'",
    # A partition is created separately and attached, which does not block recorders, unlike CREATE TABLE ... PARTITION
    # OF. Rows of the week in the default partition are moved under an exclusive lock: a reader that has planned without
    # the new partition would miss them.
    """
    CREATE FUNCTION sona.ensure_partitions(
        first_day timestamptz, weeks int, parents text[] DEFAULT ARRAY['trajectories', 'steps', 'feedback']
    ) RETURNS SETOF text
    LANGUAGE plpgsql AS $$
    DECLARE
        monday timestamp := date_trunc('week', first_day AT TIME ZONE 'UTC');
        parent text;
        child text;
        id_column text;
        first_id uuid;
        end_id uuid;
    BEGIN
        FOR week IN 0 .. weeks - 1 LOOP
            first_id := sona.uuid_floor((monday + week * interval '7 days') AT TIME ZONE 'UTC');
            end_id := sona.uuid_floor((monday + (week + 1) * interval '7 days') AT TIME ZONE 'UTC');
            FOREACH parent IN ARRAY parents LOOP
                child := format('%s_w%s', parent, to_char(monday + week * interval '7 days', 'YYYYMMDD'));
                CONTINUE WHEN to_regclass('sona.' || child) IS NOT NULL;
                BEGIN
                    EXECUTE format('CREATE TABLE sona.%I (LIKE sona.%I INCLUDING ALL)', child, parent);
                    EXECUTE format('ALTER TABLE sona.%I ATTACH PARTITION sona.%I FOR VALUES FROM (%L) TO (%L)',
                        parent, child, first_id, end_id);
                EXCEPTION WHEN check_violation THEN
                    id_column := CASE parent WHEN 'trajectories' THEN 'id' ELSE 'trajectory_id' END;
                    EXECUTE format('LOCK TABLE sona.%I IN ACCESS EXCLUSIVE MODE', parent);
                    EXECUTE format('CREATE TABLE sona.%I (LIKE sona.%I INCLUDING ALL)', child, parent);
                    EXECUTE format('INSERT INTO sona.%I SELECT * FROM sona.%I WHERE %I >= %L AND %I < %L',
                        child, parent || '_rest', id_column, first_id, id_column, end_id);
                    EXECUTE format('DELETE FROM sona.%I WHERE %I >= %L AND %I < %L',
                        parent || '_rest', id_column, first_id, id_column, end_id);
                    EXECUTE format('ALTER TABLE sona.%I ATTACH PARTITION sona.%I FOR VALUES FROM (%L) TO (%L)',
                        parent, child, first_id, end_id);
                END;
                RETURN NEXT child;
            END LOOP;
        END LOOP;
    END $$
    """,
    "COMMENT ON FUNCTION sona.ensure_partitions(timestamptz, int, text[]) IS "
    "'Makes the weekly partitions of the ledger that are missing, from the week of first_day on, moves the rows of "
    "these weeks out of the default partitions, and returns their names.'",
    """
    CREATE FUNCTION sona.ensure_dimension(dimension int) RETURNS SETOF text
    LANGUAGE plpgsql AS $$
    DECLARE
        parent text;
        child text;
        vector_column text;
        indexed text;
    BEGIN
        FOREACH parent IN ARRAY ARRAY['patterns', 'memory_nodes'] LOOP
            child := format('%s_d%s', parent, dimension);
            IF to_regclass('sona.' || child) IS NULL THEN
                vector_column := CASE parent WHEN 'patterns' THEN 'centroid' ELSE 'embedding' END;
                indexed := CASE
                    WHEN dimension <= 2000 THEN
                        format('((%I::vector(%s)) vector_cosine_ops)', vector_column, dimension)
                    WHEN dimension <= 4000 THEN
                        format('((%I::halfvec(%s)) halfvec_cosine_ops)', vector_column, dimension)
                    ELSE
                        format('((binary_quantize(%I)::bit(%s)) bit_hamming_ops)', vector_column, dimension)
                END;
                EXECUTE format('CREATE TABLE sona.%I PARTITION OF sona.%I FOR VALUES IN (%s)', child, parent, dimension);
                EXECUTE format('CREATE INDEX %I ON sona.%I USING hnsw %s', child || '_hnsw', child, indexed);
                EXECUTE format('COMMENT ON INDEX sona.%I IS %L', child || '_hnsw',
                    'Serves: ORDER BY ' || vector_column || ' <=> :query LIMIT k within one dimension');
                RETURN NEXT child;
            END IF;
        END LOOP;
    END $$
    """,
    "COMMENT ON FUNCTION sona.ensure_dimension(int) IS "
    "'Makes the partitions and HNSW indexes of one embedding dimension; one index per dimension, never one per space.'",
]

TABLES = [
    # -- spaces -------------------------------------------------------------------------------------------
    """
    CREATE TABLE sona.space_names (
        name text PRIMARY KEY CHECK (name <> ''),
        space_id int GENERATED ALWAYS AS IDENTITY UNIQUE
    )
    """,
    "COMMENT ON TABLE sona.space_names IS "
    "'Names of spaces, unique across all of them. A small reference table: the only one not distributed by space_id.'",
    """
    CREATE TABLE sona.spaces (
        space_id int PRIMARY KEY,
        name text NOT NULL,
        dim int NOT NULL CHECK (dim BETWEEN 1 AND 16000),
        settings jsonb NOT NULL DEFAULT '{}',
        live_version bigint NOT NULL DEFAULT 0 CHECK (live_version >= 0),
        created_at timestamptz NOT NULL
    )
    """,
    "COMMENT ON TABLE sona.spaces IS 'One isolated learning domain each: the unit of tenancy, learning and distribution.'",
    "COMMENT ON COLUMN sona.spaces.live_version IS 'The state version that servers serve; 0 before anything was learned.'",
    # -- the ledger ---------------------------------------------------------------------------------------
    """
    CREATE TABLE sona.batches (
        space_id int NOT NULL,
        batch bigint NOT NULL,
        server_id uuid NOT NULL,
        first_id uuid,
        last_id uuid,
        trajectories int NOT NULL CHECK (trajectories >= 0),
        steps int NOT NULL CHECK (steps >= 0),
        feedback int NOT NULL CHECK (feedback >= 0),
        recorded_at timestamptz NOT NULL,
        cycle_id uuid,
        PRIMARY KEY (space_id, batch)
    )
    """,
    "COMMENT ON TABLE sona.batches IS "
    "'One row per committed write of a server. It is the proof that the batch is in, and the unit a learner claims.'",
    "COMMENT ON COLUMN sona.batches.cycle_id IS 'The learning cycle that folded this batch in; null while it waits.'",
    "CREATE INDEX batches_waiting ON sona.batches (space_id) WHERE cycle_id IS NULL",
    "COMMENT ON INDEX sona.batches_waiting IS 'Serves: the batches of a space that no cycle has learned from yet.'",
    """
    CREATE TABLE sona.trajectories (
        space_id int NOT NULL,
        quality real CHECK (quality BETWEEN 0 AND 1),
        id uuid NOT NULL,
        batch bigint NOT NULL,
        policy_version bigint,
        candidate_set bigint,
        latency_us int CHECK (latency_us >= 0),
        propensity real CHECK (propensity > 0 AND propensity <= 1),
        cost real CHECK (cost >= 0),
        step_count smallint NOT NULL CHECK (step_count >= 0),
        route text,
        features real[],
        context text[],
        query text,
        embedding halfvec NOT NULL CHECK (vector_dims(embedding) BETWEEN 1 AND 16000),
        PRIMARY KEY (space_id, id)
    ) PARTITION BY RANGE (id)
    """,
    "CREATE TABLE sona.trajectories_rest PARTITION OF sona.trajectories DEFAULT",
    "COMMENT ON TABLE sona.trajectories IS 'One interaction each, append-only, in weekly partitions by its UUIDv7.'",
    "COMMENT ON COLUMN sona.trajectories.quality IS 'As it was told at the end; sona.outcomes has it with later feedback.'",
    "COMMENT ON COLUMN sona.trajectories.propensity IS 'Probability with which the policy chose this route.'",
    "COMMENT ON COLUMN sona.trajectories.features IS 'What the caller told the router of the query beside its embedding.'",
    "COMMENT ON COLUMN sona.trajectories.cost IS 'What the chosen route cost, in the caller''s unit.'",
    "COMMENT ON COLUMN sona.trajectories.candidate_set IS 'What was to choose from: sona.candidate_sets.set_id.'",
    """
    CREATE TABLE sona.steps (
        space_id int NOT NULL,
        reward real CHECK (reward BETWEEN -1e6 AND 1e6),
        trajectory_id uuid NOT NULL,
        offset_us int NOT NULL CHECK (offset_us >= 0),
        ordinal smallint NOT NULL CHECK (ordinal >= 0),
        activations halfvec,
        attention halfvec,
        PRIMARY KEY (space_id, trajectory_id, ordinal)
    ) PARTITION BY RANGE (trajectory_id)
    """,
    "CREATE TABLE sona.steps_rest PARTITION OF sona.steps DEFAULT",
    "COMMENT ON TABLE sona.steps IS 'The heavy payload of trajectories; its partitions are kept for a shorter time.'",
    """
    CREATE TABLE sona.feedback (
        space_id int NOT NULL,
        quality real CHECK (quality BETWEEN 0 AND 1),
        trajectory_id uuid NOT NULL,
        sequence bigint NOT NULL,
        batch bigint NOT NULL,
        recorded_at timestamptz NOT NULL,
        source text NOT NULL CHECK (source <> ''),
        correction text CHECK (correction <> ''),
        PRIMARY KEY (space_id, trajectory_id, source, sequence)
    ) PARTITION BY RANGE (trajectory_id)
    """,
    "CREATE TABLE sona.feedback_rest PARTITION OF sona.feedback DEFAULT",
    "CREATE INDEX feedback_batch ON sona.feedback (space_id, batch)",
    "COMMENT ON INDEX sona.feedback_batch IS 'Serves: the feedback that arrived in the batches a learner has claimed.'",
    "COMMENT ON TABLE sona.feedback IS "
    "'Append-only facts about quality. The highest sequence of a source counts; neither quality nor correction: retracted.'",
    "COMMENT ON COLUMN sona.feedback.correction IS 'The id of the candidate that would have been right.'",
    """
    CREATE TABLE sona.sealed_weeks (
        space_id int NOT NULL,
        first_id uuid NOT NULL,
        end_id uuid NOT NULL CHECK (end_id > first_id),
        trajectories bigint NOT NULL CHECK (trajectories >= 0),
        indexed bigint NOT NULL CHECK (indexed >= trajectories),
        sealed_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, first_id)
    )
    """,
    "COMMENT ON TABLE sona.sealed_weeks IS "
    "'Weeks of trajectories that have an HNSW index of the space''s dimension; a search scans all others exactly.'",
    "COMMENT ON COLUMN sona.sealed_weeks.trajectories IS 'Of the space, when the week was sealed.'",
    "COMMENT ON COLUMN sona.sealed_weeks.indexed IS 'Of all spaces in the same index, when the week was sealed.'",
    """
    CREATE TABLE sona.set_aside (
        space_id int NOT NULL,
        trajectory_id uuid NOT NULL,
        cycle_id uuid NOT NULL,
        reason text NOT NULL,
        PRIMARY KEY (space_id, trajectory_id, cycle_id)
    )
    """,
    "COMMENT ON TABLE sona.set_aside IS 'Trajectories a learner could not learn from, with the reason; it went on without.'",
    # -- candidates ---------------------------------------------------------------------------------------
    """
    CREATE TABLE sona.candidates (
        space_id int NOT NULL REFERENCES sona.spaces,
        candidate_id text NOT NULL CHECK (candidate_id <> ''),
        slot int CHECK (slot >= 0),
        recorded_at timestamptz NOT NULL,
        embedding halfvec NOT NULL,
        PRIMARY KEY (space_id, candidate_id),
        UNIQUE (space_id, slot)
    )
    """,
    "COMMENT ON TABLE sona.candidates IS 'What can be chosen (documents, answers, models), by id, with its embedding.'",
    "COMMENT ON COLUMN sona.candidates.slot IS 'Its row in the learned state; given by the first cycle that meets it.'",
    """
    CREATE TABLE sona.candidate_sets (
        space_id int NOT NULL,
        set_id bigint NOT NULL,
        candidate_ids text[] NOT NULL,
        PRIMARY KEY (space_id, set_id)
    )
    """,
    "COMMENT ON TABLE sona.candidate_sets IS 'Sets of candidates that were shown together, stored once by a hash of their ids.'",
    # -- learning -----------------------------------------------------------------------------------------
    """
    CREATE TABLE sona.cycles (
        space_id int NOT NULL REFERENCES sona.spaces,
        cycle_id uuid NOT NULL,
        loop text NOT NULL CHECK (loop IN ('background', 'deep')),
        server_id uuid NOT NULL,
        base_version bigint NOT NULL,
        version bigint NOT NULL,
        started_at timestamptz NOT NULL,
        finished_at timestamptz NOT NULL,
        trajectories int NOT NULL,
        feedback int NOT NULL,
        set_aside int NOT NULL,
        patterns int NOT NULL,
        detail jsonb NOT NULL DEFAULT '{}',
        PRIMARY KEY (space_id, cycle_id)
    )
    """,
    "COMMENT ON TABLE sona.cycles IS 'One run of a learning loop each: what it read, what it changed and what it took.'",
    """
    CREATE TABLE sona.patterns (
        space_id int NOT NULL REFERENCES sona.spaces,
        dim int NOT NULL,
        pattern_id uuid NOT NULL,
        kind text NOT NULL
            CHECK (kind IN ('general', 'reasoning', 'factual', 'creative', 'code', 'conversational')),
        size bigint NOT NULL CHECK (size >= 0),
        weight double precision NOT NULL CHECK (weight >= 0),
        quality double precision NOT NULL CHECK (quality BETWEEN 0 AND 1),
        created_version bigint NOT NULL,
        updated_version bigint NOT NULL,
        updated_at timestamptz NOT NULL,
        merged_from uuid[] NOT NULL DEFAULT '{}',
        typical_queries text[] NOT NULL DEFAULT '{}',
        typical_similarities real[] NOT NULL DEFAULT '{}',
        centroid vector NOT NULL CHECK (vector_norm(centroid) BETWEEN 0.99 AND 1.01),
        PRIMARY KEY (space_id, dim, pattern_id),
        CHECK (vector_dims(centroid) = dim),
        CHECK (cardinality(typical_queries) = cardinality(typical_similarities))
    ) PARTITION BY LIST (dim)
    """,
    "COMMENT ON TABLE sona.patterns IS 'Clusters of trajectories. A pattern keeps its id across cycles.'",
    "COMMENT ON COLUMN sona.patterns.weight IS 'Decayed number of trajectories behind the pattern.'",
    "COMMENT ON COLUMN sona.patterns.merged_from IS 'Lineage: the patterns that were merged into this one.'",
    "COMMENT ON COLUMN sona.patterns.typical_queries IS 'The queries nearest to the centroid, nearest first.'",
    "COMMENT ON COLUMN sona.patterns.typical_similarities IS 'Cosine of each typical query with the centroid, when it was met.'",
    """
    CREATE TABLE sona.pattern_routes (
        space_id int NOT NULL REFERENCES sona.spaces,
        pattern_id uuid NOT NULL,
        route text NOT NULL,
        size bigint NOT NULL CHECK (size >= 0),
        weight double precision NOT NULL CHECK (weight >= 0),
        quality double precision NOT NULL CHECK (quality BETWEEN 0 AND 1),
        PRIMARY KEY (space_id, pattern_id, route)
    )
    """,
    "COMMENT ON TABLE sona.pattern_routes IS 'How well each route did within each pattern.'",
    """
    CREATE TABLE sona.state_versions (
        space_id int NOT NULL REFERENCES sona.spaces,
        version bigint NOT NULL CHECK (version >= 1),
        parent bigint NOT NULL CHECK (parent >= 0 AND parent < version),
        cycle_id uuid NOT NULL,
        status text NOT NULL CHECK (status IN ('candidate', 'live', 'retired', 'rejected')),
        created_at timestamptz NOT NULL,
        metrics jsonb NOT NULL DEFAULT '{}',
        PRIMARY KEY (space_id, version)
    )
    """,
    "COMMENT ON TABLE sona.state_versions IS 'Immutable numbered sets of adapters, learned arrays and Fisher information.'",
    "COMMENT ON COLUMN sona.state_versions.status IS "
    "'candidate -> live when promoted, -> rejected when its gate fails; live -> retired when a newer one goes live.'",
    """
    CREATE TABLE sona.adapters (
        space_id int NOT NULL,
        version bigint NOT NULL,
        kind text NOT NULL CHECK (kind IN ('micro', 'base')),
        layer smallint NOT NULL CHECK (layer >= 0),
        rank smallint NOT NULL CHECK (rank >= 1),
        dim int NOT NULL CHECK (dim >= 1),
        scale real NOT NULL,
        norm double precision NOT NULL,
        a bytea NOT NULL,
        b bytea NOT NULL,
        PRIMARY KEY (space_id, version, kind, layer),
        FOREIGN KEY (space_id, version) REFERENCES sona.state_versions ON DELETE CASCADE,
        CHECK (length(a) = rank * dim * 4 AND length(b) = rank * dim * 4)
    )
    """,
    "COMMENT ON TABLE sona.adapters IS 'Low-rank weights of a version: a and b are (rank, dim) float32, little-endian.'",
    "COMMENT ON COLUMN sona.adapters.norm IS 'Frobenius norm of scale * b^T a: how far the adapter moves a unit vector at most.'",
    """
    CREATE TABLE sona.state_arrays (
        space_id int NOT NULL,
        version bigint NOT NULL,
        part text NOT NULL,
        name text NOT NULL,
        dtype text NOT NULL,
        shape int[] NOT NULL,
        data bytea NOT NULL,
        PRIMARY KEY (space_id, version, part, name),
        FOREIGN KEY (space_id, version) REFERENCES sona.state_versions ON DELETE CASCADE
    )
    """,
    "COMMENT ON TABLE sona.state_arrays IS 'The other learned arrays of a version (ranker, router, optimiser), C-contiguous.'",
    """
    CREATE TABLE sona.fisher_snapshots (
        space_id int NOT NULL REFERENCES sona.spaces,
        task int NOT NULL CHECK (task >= 0),
        layer smallint NOT NULL CHECK (layer >= 0),
        version bigint NOT NULL,
        created_at timestamptz NOT NULL,
        fisher bytea NOT NULL,
        optimum bytea NOT NULL,
        PRIMARY KEY (space_id, task, layer),
        CHECK (length(fisher) = length(optimum))
    )
    """,
    "COMMENT ON TABLE sona.fisher_snapshots IS "
    "'At each task boundary: the diagonal Fisher information and the optimum of a layer, float32, little-endian.'",
    """
    CREATE TABLE sona.route_statistics (
        space_id int NOT NULL REFERENCES sona.spaces,
        route text NOT NULL,
        size bigint NOT NULL CHECK (size >= 0),
        quality double precision NOT NULL CHECK (quality BETWEEN 0 AND 1),
        quality_variance double precision NOT NULL CHECK (quality_variance >= 0),
        latency_us double precision CHECK (latency_us >= 0),
        updated_version bigint NOT NULL,
        PRIMARY KEY (space_id, route)
    )
    """,
    "COMMENT ON TABLE sona.route_statistics IS 'What is known of each route over the whole space.'",
    # -- memory graph -------------------------------------------------------------------------------------
    """
    CREATE TABLE sona.memory_nodes (
        space_id int NOT NULL REFERENCES sona.spaces,
        dim int NOT NULL,
        node_id uuid NOT NULL,
        kind text NOT NULL CHECK (kind IN ('pattern', 'query')),
        pattern_id uuid,
        weight double precision NOT NULL CHECK (weight >= 0),
        visits bigint NOT NULL CHECK (visits >= 0),
        updated_at timestamptz NOT NULL,
        embedding vector NOT NULL,
        PRIMARY KEY (space_id, dim, node_id),
        CHECK (vector_dims(embedding) = dim)
    ) PARTITION BY LIST (dim)
    """,
    "COMMENT ON TABLE sona.memory_nodes IS 'Nodes of the memory graph: patterns and recurrent queries.'",
    """
    CREATE TABLE sona.memory_edges (
        space_id int NOT NULL REFERENCES sona.spaces,
        source_id uuid NOT NULL,
        target_id uuid NOT NULL,
        kind text NOT NULL CHECK (kind IN ('co-activation', 'dream')),
        weight double precision NOT NULL CHECK (weight BETWEEN 0 AND 1),
        updated_at timestamptz NOT NULL,
        PRIMARY KEY (space_id, source_id, target_id),
        CHECK (source_id <> target_id)
    )
    """,
    "COMMENT ON TABLE sona.memory_edges IS 'Weighted edges of the memory graph; dreams walk them.'",
    # -- fleet --------------------------------------------------------------------------------------------
    """
    CREATE TABLE sona.servers (
        space_id int NOT NULL REFERENCES sona.spaces,
        server_id uuid NOT NULL,
        host text NOT NULL,
        pid int NOT NULL,
        release text NOT NULL,
        started_at timestamptz NOT NULL,
        seen_at timestamptz NOT NULL,
        serving_version bigint NOT NULL,
        trajectories bigint NOT NULL DEFAULT 0,
        feedback bigint NOT NULL DEFAULT 0,
        dropped bigint NOT NULL DEFAULT 0,
        PRIMARY KEY (space_id, server_id)
    )
    """,
    "COMMENT ON TABLE sona.servers IS 'Every engine that opened the space: what it serves and what it has recorded.'",
]

VIEWS = [
    """
    CREATE VIEW sona.latest_feedback AS
    SELECT DISTINCT ON (space_id, trajectory_id, source)
        space_id, trajectory_id, source, sequence, quality, correction, recorded_at
    FROM sona.feedback
    ORDER BY space_id, trajectory_id, source, sequence DESC
    """,
    "COMMENT ON VIEW sona.latest_feedback IS 'What each source said last of each trajectory.'",
    """
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
    """,
    "COMMENT ON VIEW sona.outcomes IS "
    "'Each trajectory with its quality now: the mean of what its sources said last, else what it ended with.'",
    """
    CREATE VIEW sona.quality_by_day AS
    SELECT s.name AS space, date_trunc('day', o.started_at AT TIME ZONE 'UTC')::date AS day, o.route,
           count(*) AS trajectories, count(o.quality) AS rated, avg(o.quality) AS quality,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY o.latency_us) AS median_latency_us
    FROM sona.outcomes o
    JOIN sona.spaces s ON s.space_id = o.space_id
    GROUP BY s.name, day, o.route
    """,
    "COMMENT ON VIEW sona.quality_by_day IS 'Trajectories, quality and latency per space, day (UTC) and route.'",
    """
    CREATE VIEW sona.pattern_summary AS
    SELECT s.name AS space, p.pattern_id, p.kind, p.size, p.weight, p.quality, p.typical_queries[1] AS typical_query,
           r.routes, p.created_version, p.updated_version, p.updated_at, cardinality(p.merged_from) AS merged
    FROM sona.patterns p
    JOIN sona.spaces s ON s.space_id = p.space_id
    LEFT JOIN LATERAL (
        SELECT jsonb_object_agg(r.route, jsonb_build_object('size', r.size, 'quality', r.quality)) AS routes
        FROM sona.pattern_routes r
        WHERE r.space_id = p.space_id AND r.pattern_id = p.pattern_id
    ) r ON true
    """,
    "COMMENT ON VIEW sona.pattern_summary IS 'Patterns with their most typical query and how each route did in them.'",
    """
    CREATE VIEW sona.cycle_log AS
    SELECT s.name AS space, c.loop, c.version, c.started_at,
           extract(epoch FROM c.finished_at - c.started_at) * 1000 AS milliseconds,
           c.trajectories, c.feedback, c.set_aside, c.patterns, c.server_id, c.detail
    FROM sona.cycles c
    JOIN sona.spaces s ON s.space_id = c.space_id
    """,
    "COMMENT ON VIEW sona.cycle_log IS 'Learning cycles: when, what they read, which version they made, how long they took.'",
    """
    CREATE VIEW sona.fleet AS
    SELECT s.name AS space, v.server_id, v.host, v.pid, v.release, v.seen_at, v.serving_version,
           s.live_version - v.serving_version AS versions_behind, v.trajectories, v.feedback, v.dropped
    FROM sona.servers v
    JOIN sona.spaces s ON s.space_id = v.space_id
    """,
    "COMMENT ON VIEW sona.fleet IS 'Servers of each space: the version each serves and how far it is behind.'",
]


def upgrade() -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in [*FUNCTIONS, *TABLES, *VIEWS]:
        driver.execute(statement)


def downgrade() -> None:
    for view in ("fleet", "cycle_log", "pattern_summary", "quality_by_day", "outcomes", "latest_feedback"):
        op.execute(f"DROP VIEW sona.{view}")
    for table in (
        "servers", "memory_edges", "memory_nodes", "route_statistics", "fisher_snapshots", "state_arrays", "adapters",
        "state_versions", "pattern_routes", "patterns", "cycles", "candidate_sets", "candidates", "set_aside",
        "sealed_weeks",
        "feedback", "steps", "trajectories", "batches", "spaces", "space_names",
    ):  # fmt: skip
        op.execute(f"DROP TABLE sona.{table}")
    for function in (
        "ensure_dimension(int)", "ensure_partitions(timestamptz, int, text[])", "uuid_floor(timestamptz)", "uuid_time(uuid)"
    ):  # fmt: skip
        op.execute(f"DROP FUNCTION sona.{function}")
