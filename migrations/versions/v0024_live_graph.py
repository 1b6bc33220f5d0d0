"""The memory graph of the live version in its tables, with functions and views that answer from it.

No release has written a row of ``memory_nodes`` or ``memory_edges`` before. Rows of nodes are narrow (the embedding is
kept beside them) and leave room, so that counting a use does not insert into the HNSW index.
"""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

NARROW = "fillfactor = 70, toast_tuple_target = 128"

TABLES = [
    "ALTER TABLE sona.spaces ADD COLUMN graph_version bigint",
    "COMMENT ON COLUMN sona.spaces.graph_version IS 'The version whose memory graph memory_nodes and memory_edges hold; "
    "null: none.'",
    "ALTER TABLE sona.memory_nodes RENAME COLUMN weight TO importance",
    "ALTER TABLE sona.memory_nodes RENAME COLUMN visits TO access_count",
    "ALTER TABLE sona.memory_nodes RENAME CONSTRAINT memory_nodes_weight_check TO memory_nodes_importance_check",
    "ALTER TABLE sona.memory_nodes RENAME CONSTRAINT memory_nodes_visits_check TO memory_nodes_access_count_check",
    "ALTER TABLE sona.memory_nodes DROP CONSTRAINT memory_nodes_kind_check",
    "ALTER TABLE sona.memory_nodes ADD CONSTRAINT memory_nodes_kind_check "
    "CHECK (kind IN ('pattern', 'candidate', 'query', 'abstraction'))",
    "ALTER TABLE sona.memory_nodes ADD COLUMN candidate_id text, ADD COLUMN trajectory_id uuid, "
    "ADD COLUMN last_accessed timestamptz, ADD COLUMN degree int NOT NULL DEFAULT 0, "
    "ADD COLUMN strength double precision NOT NULL DEFAULT 0, ADD COLUMN created_version bigint NOT NULL DEFAULT 0",
    "ALTER TABLE sona.memory_nodes ALTER COLUMN embedding SET STORAGE EXTERNAL",
    "CREATE INDEX memory_nodes_of_candidates ON sona.memory_nodes (space_id, candidate_id) "
    "WHERE candidate_id IS NOT NULL",
    "COMMENT ON INDEX sona.memory_nodes_of_candidates IS 'Serves: the node of a candidate.'",
    "COMMENT ON TABLE sona.memory_nodes IS 'Nodes of the memory graph: patterns, candidates, recurrent queries, "
    "abstractions.'",
    "COMMENT ON COLUMN sona.memory_nodes.importance IS 'From 0 to 1: moves towards the quality of outcomes.'",
    "COMMENT ON COLUMN sona.memory_nodes.degree IS 'Edges that leave it.'",
    "COMMENT ON COLUMN sona.memory_nodes.strength IS 'Sum of the weights of the edges that leave it, as last "
    "reinforced.'",
    "COMMENT ON COLUMN sona.memory_nodes.created_version IS 'The version that made the node.'",
    "ALTER TABLE sona.memory_edges DROP CONSTRAINT memory_edges_pkey",
    "ALTER TABLE sona.memory_edges ADD CONSTRAINT memory_edges_pkey PRIMARY KEY (space_id, source_id, target_id, kind)",
    "ALTER TABLE sona.memory_edges DROP CONSTRAINT memory_edges_kind_check",
    "ALTER TABLE sona.memory_edges ADD CONSTRAINT memory_edges_kind_check "
    "CHECK (kind IN ('co-activation', 'similarity', 'sequence', 'dream', 'abstraction'))",
    "ALTER TABLE sona.memory_edges RENAME COLUMN updated_at TO reinforced_at",
    "ALTER TABLE sona.memory_edges ADD COLUMN created_version bigint NOT NULL DEFAULT 0",
    "CREATE INDEX memory_edges_back ON sona.memory_edges (space_id, target_id) "
    "WHERE kind IN ('sequence', 'abstraction')",
    "COMMENT ON INDEX sona.memory_edges_back IS 'Serves: what comes before, and the members of an abstraction.'",
    "CREATE INDEX memory_edges_dreamt ON sona.memory_edges (space_id, source_id) WHERE kind = 'dream'",
    "COMMENT ON INDEX sona.memory_edges_dreamt IS 'Serves: sona.dream_edges.'",
    "COMMENT ON TABLE sona.memory_edges IS 'Edges of the memory graph. A symmetric one has a row in each direction; a "
    "sequence goes from what came first, an abstraction from a member to what it is part of.'",
    "COMMENT ON COLUMN sona.memory_edges.weight IS 'When it was last reinforced; sona.weight_at tells it as of later.'",
    "COMMENT ON COLUMN sona.memory_edges.created_version IS 'The version that brought it into this table.'",
]

ENSURE_DIMENSION = """
CREATE OR REPLACE FUNCTION sona.ensure_dimension(dimension int) RETURNS SETOF text
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
            END || INDEXING;
            EXECUTE format('CREATE TABLE sona.%I PARTITION OF sona.%I FOR VALUES IN (%s)', child, parent, dimension)
                STORING;
            EXECUTE format('CREATE INDEX %I ON sona.%I USING hnsw %s', child || '_hnsw', child, indexed);
            EXECUTE format('COMMENT ON INDEX sona.%I IS %L', child || '_hnsw',
                'Serves: ORDER BY ' || vector_column || ' <=> :query LIMIT k within one dimension');
            RETURN NEXT child;
        END IF;
    END LOOP;
END $$
"""
LIGHT = "' WITH (m = 8, ef_construction = 32)'"
STORING = f"|| CASE parent WHEN 'memory_nodes' THEN ' WITH ({NARROW})' ELSE '' END"

EXISTING = f"""
DO $$
DECLARE
    child regclass;
    found regclass;
BEGIN
    FOR child IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'sona.memory_nodes'::regclass LOOP
        EXECUTE format('ALTER TABLE %s SET ({NARROW})', child);
        FOR found IN
            SELECT i.indexrelid::regclass FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'
            WHERE i.indrelid = child
        LOOP
            EXECUTE format('ALTER INDEX %s SET (m = 8, ef_construction = 32)', found);
            EXECUTE format('REINDEX INDEX %s', found);
        END LOOP;
    END LOOP;
END $$
"""

HALF_LIFE = "coalesce((s.settings ->> 'graph.half_life')::float8, 30)"

FUNCTIONS = [
    """
    CREATE FUNCTION sona.weight_at(
        weight double precision, kind text, reinforced_at timestamptz, half_life double precision, at timestamptz
    ) RETURNS double precision
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        RETURN CASE kind WHEN 'similarity' THEN weight ELSE
            weight * power(2, -greatest(extract(epoch FROM at - reinforced_at)::float8, 0) / 86400 / half_life) END;
    END $$
    """,
    "COMMENT ON FUNCTION sona.weight_at(double precision, text, timestamptz, double precision, timestamptz) IS "
    "'The weight of an edge at a time: halved for each half-life, in days, without use; similarity does not fade.'",
    f"""
    CREATE FUNCTION sona.neighbors(
        of_space text, of_node uuid, of_kind text DEFAULT NULL, at timestamptz DEFAULT now()
    ) RETURNS TABLE (
        node_id uuid, edge text, direction text, weight double precision, reinforced_at timestamptz, kind text,
        pattern_id uuid, candidate_id text
    )
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int;
        of_dim int;
        half_life double precision;
    BEGIN
        SELECT s.space_id, s.dim, {HALF_LIFE} INTO wanted, of_dim, half_life
        FROM sona.space_names n JOIN sona.spaces s ON s.space_id = n.space_id WHERE n.name = of_space;
        IF wanted IS NULL THEN
            RAISE EXCEPTION 'there is no space %', quote_literal(of_space) USING ERRCODE = 'no_data_found';
        END IF;
        RETURN QUERY
        SELECT n.node_id, e.kind, e.direction, sona.weight_at(e.weight, e.kind, e.reinforced_at, half_life, at),
               e.reinforced_at, n.kind, n.pattern_id, n.candidate_id
        FROM (
            SELECT o.target_id AS other, o.kind, o.weight, o.reinforced_at,
                   CASE WHEN o.kind IN ('sequence', 'abstraction') THEN 'out' ELSE 'both' END AS direction
            FROM sona.memory_edges o WHERE o.space_id = wanted AND o.source_id = of_node
            UNION ALL
            SELECT i.source_id, i.kind, i.weight, i.reinforced_at, 'in'
            FROM sona.memory_edges i
            WHERE i.space_id = wanted AND i.target_id = of_node AND i.kind IN ('sequence', 'abstraction')
        ) e
        JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = e.other
        WHERE of_kind IS NULL OR e.kind = of_kind
        ORDER BY 4 DESC, n.node_id, e.kind, e.direction;
    END $$
    """,
    "COMMENT ON FUNCTION sona.neighbors(text, uuid, text, timestamptz) IS "
    "'The nodes that an edge, of a kind if one is named, joins to a node of the live memory graph; heaviest first.'",
    f"""
    CREATE FUNCTION sona.neighborhood(
        of_space text, of_node uuid, hops int DEFAULT 2, most int DEFAULT 100, at timestamptz DEFAULT now()
    ) RETURNS TABLE (node_id uuid, hop int, strength double precision, kind text, pattern_id uuid, candidate_id text)
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int;
        of_dim int;
        half_life double precision;
        found uuid[] := ARRAY[of_node];
        distances int[] := ARRAY[0];
        strengths double precision[] := ARRAY[1.0];
        edge_nodes uuid[] := found;
        edge_strengths double precision[] := strengths;
    BEGIN
        SELECT s.space_id, s.dim, {HALF_LIFE} INTO wanted, of_dim, half_life
        FROM sona.space_names n JOIN sona.spaces s ON s.space_id = n.space_id WHERE n.name = of_space;
        IF wanted IS NULL THEN
            RAISE EXCEPTION 'there is no space %', quote_literal(of_space) USING ERRCODE = 'no_data_found';
        END IF;
        FOR step IN 1 .. hops LOOP
            SELECT array_agg(x.id ORDER BY x.strength DESC, x.id), array_agg(x.strength ORDER BY x.strength DESC, x.id)
            INTO edge_nodes, edge_strengths
            FROM (
                SELECT e.target_id AS id,
                       max(f.strength * sona.weight_at(e.weight, e.kind, e.reinforced_at, half_life, at)) AS strength
                FROM unnest(edge_nodes, edge_strengths) AS f (id, strength)
                JOIN sona.memory_edges e ON e.space_id = wanted AND e.source_id = f.id
                WHERE e.target_id <> ALL (found)
                GROUP BY e.target_id ORDER BY 2 DESC, 1 LIMIT most
            ) x;
            EXIT WHEN edge_nodes IS NULL;
            found := found || edge_nodes;
            strengths := strengths || edge_strengths;
            distances := distances || array_fill(step, ARRAY[cardinality(edge_nodes)]);
        END LOOP;
        RETURN QUERY
        SELECT n.node_id, x.hop, x.strength, n.kind, n.pattern_id, n.candidate_id
        FROM unnest(found, distances, strengths) AS x (id, hop, strength)
        JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = x.id
        ORDER BY x.hop, x.strength DESC, n.node_id;
    END $$
    """,
    "COMMENT ON FUNCTION sona.neighborhood(text, uuid, int, int, timestamptz) IS "
    "'The nodes within some hops of a node, along edges that leave: at most so many a hop, those with the heaviest paths "
    "(strength: product of the weights).'",
    f"""
    CREATE FUNCTION sona.communities(
        of_space text, around uuid DEFAULT NULL, rounds int DEFAULT 10, at timestamptz DEFAULT now()
    ) RETURNS TABLE (community bigint, node_id uuid, size bigint, kind text, pattern_id uuid, candidate_id text)
    LANGUAGE plpgsql STABLE AS $$
    #variable_conflict use_column
    DECLARE
        wanted int;
        of_dim int;
        half_life double precision;
        members uuid[];
        sources int[];
        targets int[];
        weights double precision[];
        labels int[];
        next_labels int[];
    BEGIN
        SELECT s.space_id, s.dim, {HALF_LIFE} INTO wanted, of_dim, half_life
        FROM sona.space_names n JOIN sona.spaces s ON s.space_id = n.space_id WHERE n.name = of_space;
        IF wanted IS NULL THEN
            RAISE EXCEPTION 'there is no space %', quote_literal(of_space) USING ERRCODE = 'no_data_found';
        END IF;
        IF around IS NULL THEN
            SELECT array_agg(n.node_id ORDER BY n.node_id) INTO members
            FROM sona.memory_nodes n WHERE n.space_id = wanted AND n.dim = of_dim;
        ELSE
            SELECT array_agg(n.node_id ORDER BY n.node_id) INTO members
            FROM sona.neighborhood(of_space, around, 2, 1000, at) n;
        END IF;
        WITH member AS (SELECT * FROM unnest(members) WITH ORDINALITY AS m (id, place)),
        joined AS (
            SELECT a.place::int AS one, b.place::int AS other,
                   sona.weight_at(e.weight, e.kind, e.reinforced_at, half_life, at) AS weight, e.kind
            FROM member a
            JOIN sona.memory_edges e ON e.space_id = wanted AND e.source_id = a.id
            JOIN member b ON b.id = e.target_id
        ),
        both_ways AS (
            SELECT one, other, weight FROM joined
            UNION ALL SELECT other, one, weight FROM joined WHERE kind IN ('sequence', 'abstraction')
        ),
        summed AS (SELECT one, other, sum(weight) AS weight FROM both_ways GROUP BY one, other)
        SELECT array_agg(one ORDER BY one, other), array_agg(other ORDER BY one, other),
               array_agg(weight ORDER BY one, other)
        INTO sources, targets, weights FROM summed;
        SELECT array_agg(place) INTO labels FROM generate_series(1, cardinality(members)) AS place;
        FOR step IN 1 .. rounds LOOP
            WITH edge AS (SELECT * FROM unnest(sources, targets, weights) AS e (one, other, weight)),
            label AS (SELECT * FROM unnest(labels) WITH ORDINALITY AS l (label, place)),
            vote AS (
                SELECT e.one, l.label, e.weight FROM edge e JOIN label l ON l.place = e.other
                UNION ALL
                SELECT l.place, l.label, max(e.weight) FROM label l JOIN edge e ON e.one = l.place
                GROUP BY l.place, l.label
            ),
            counted AS (SELECT one, label, sum(weight) AS weight FROM vote GROUP BY one, label),
            best AS (SELECT DISTINCT ON (one) one, label FROM counted ORDER BY one, weight DESC, label)
            SELECT array_agg(coalesce(b.label, l.label) ORDER BY l.place) INTO next_labels
            FROM label l LEFT JOIN best b ON b.one = l.place;
            EXIT WHEN next_labels = labels;
            labels := next_labels;
        END LOOP;
        RETURN QUERY
        WITH label AS (
            SELECT l.label, m.id, count(*) OVER (PARTITION BY l.label) AS size
            FROM unnest(labels, members) AS l (label, id), LATERAL (SELECT l.id) m
        )
        SELECT dense_rank() OVER (ORDER BY l.size DESC, l.label), n.node_id, l.size, n.kind, n.pattern_id, n.candidate_id
        FROM label l
        JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = l.id
        ORDER BY 1, n.node_id;
    END $$
    """,
    "COMMENT ON FUNCTION sona.communities(text, uuid, int, timestamptz) IS "
    "'Communities of the memory graph, or of what is around a node, by label propagation (Raghavan, Albert and Kumara "
    "2007); the largest first.'",
]

VIEWS = [
    """
    CREATE VIEW sona.graph_hubs AS
    SELECT s.name AS space, n.node_id, n.kind, n.degree, n.strength, n.importance, n.access_count, n.last_accessed,
           n.pattern_id, n.candidate_id, n.trajectory_id, p.typical_queries[1] AS typical_query, n.created_version
    FROM sona.memory_nodes n
    JOIN sona.spaces s ON s.space_id = n.space_id
    LEFT JOIN sona.patterns p ON p.space_id = n.space_id AND p.dim = n.dim AND p.pattern_id = n.pattern_id
    """,
    "COMMENT ON VIEW sona.graph_hubs IS 'Nodes of the live memory graph with their degree and strength: hubs are those with "
    "the most.'",
    f"""
    CREATE VIEW sona.dream_edges AS
    SELECT s.name AS space, e.source_id, e.target_id,
           sona.weight_at(e.weight, e.kind, e.reinforced_at, {HALF_LIFE}, now()) AS weight, e.reinforced_at,
           e.created_version
    FROM sona.memory_edges e
    JOIN sona.spaces s ON s.space_id = e.space_id
    WHERE e.kind = 'dream' AND e.source_id < e.target_id
    """,
    "COMMENT ON VIEW sona.dream_edges IS 'Edges that a dream has proposed and no use has confirmed, with their weights "
    "now.'",
    f"""
    CREATE VIEW sona.next_patterns AS
    SELECT e.space, e.pattern_id, e.next_id, e.times,
           e.times / (1 + sum(e.times) OVER (PARTITION BY e.space, e.pattern_id)) AS confidence,
           p.typical_queries[1] AS typical_query, f.typical_queries[1] AS next_query
    FROM (
        SELECT s.name AS space, e.space_id, s.dim, e.source_id AS pattern_id, e.target_id AS next_id,
               ln(1 - least(sona.weight_at(e.weight, e.kind, e.reinforced_at, {HALF_LIFE}, now()), 0.9999999))
                   / ln(0.99) AS times
        FROM sona.memory_edges e
        JOIN sona.spaces s ON s.space_id = e.space_id
        WHERE e.kind = 'sequence'
    ) e
    JOIN sona.patterns p ON p.space_id = e.space_id AND p.dim = e.dim AND p.pattern_id = e.pattern_id
    JOIN sona.patterns f ON f.space_id = e.space_id AND f.dim = e.dim AND f.pattern_id = e.next_id
    """,
    "COMMENT ON VIEW sona.next_patterns IS 'What usually comes next in a session: how often each pattern has followed "
    "another one (faded by its half-life), and its share of what followed, as if one more had gone elsewhere.'",
]

DROP = [
    "DROP VIEW sona.next_patterns, sona.dream_edges, sona.graph_hubs",
    "DROP FUNCTION sona.communities(text, uuid, int, timestamptz)",
    "DROP FUNCTION sona.neighborhood(text, uuid, int, int, timestamptz)",
    "DROP FUNCTION sona.neighbors(text, uuid, text, timestamptz)",
    "DROP FUNCTION sona.weight_at(double precision, text, timestamptz, double precision, timestamptz)",
    "DELETE FROM sona.memory_edges",
    "DELETE FROM sona.memory_nodes",
    "DROP INDEX sona.memory_edges_dreamt, sona.memory_edges_back",
    "ALTER TABLE sona.memory_edges DROP COLUMN created_version",
    "ALTER TABLE sona.memory_edges RENAME COLUMN reinforced_at TO updated_at",
    "ALTER TABLE sona.memory_edges DROP CONSTRAINT memory_edges_kind_check",
    "ALTER TABLE sona.memory_edges ADD CONSTRAINT memory_edges_kind_check CHECK (kind IN ('co-activation', 'dream'))",
    "ALTER TABLE sona.memory_edges DROP CONSTRAINT memory_edges_pkey",
    "ALTER TABLE sona.memory_edges ADD CONSTRAINT memory_edges_pkey PRIMARY KEY (space_id, source_id, target_id)",
    "COMMENT ON TABLE sona.memory_edges IS 'Weighted edges of the memory graph; dreams walk them.'",
    "COMMENT ON COLUMN sona.memory_edges.weight IS NULL",
    "DROP INDEX sona.memory_nodes_of_candidates",
    "ALTER TABLE sona.memory_nodes DROP COLUMN candidate_id, DROP COLUMN trajectory_id, DROP COLUMN last_accessed, "
    "DROP COLUMN degree, DROP COLUMN strength, DROP COLUMN created_version",
    "ALTER TABLE sona.memory_nodes ALTER COLUMN embedding SET STORAGE EXTENDED",
    "ALTER TABLE sona.memory_nodes DROP CONSTRAINT memory_nodes_kind_check",
    "ALTER TABLE sona.memory_nodes ADD CONSTRAINT memory_nodes_kind_check CHECK (kind IN ('pattern', 'query'))",
    "ALTER TABLE sona.memory_nodes RENAME CONSTRAINT memory_nodes_importance_check TO memory_nodes_weight_check",
    "ALTER TABLE sona.memory_nodes RENAME CONSTRAINT memory_nodes_access_count_check TO memory_nodes_visits_check",
    "COMMENT ON COLUMN sona.memory_nodes.importance IS NULL",
    "ALTER TABLE sona.memory_nodes RENAME COLUMN importance TO weight",
    "ALTER TABLE sona.memory_nodes RENAME COLUMN access_count TO visits",
    "COMMENT ON TABLE sona.memory_nodes IS 'Nodes of the memory graph: patterns and recurrent queries.'",
    "ALTER TABLE sona.spaces DROP COLUMN graph_version",
]
EXISTING_BEFORE = """
DO $$
DECLARE
    child regclass;
    found regclass;
BEGIN
    FOR child IN SELECT inhrelid::regclass FROM pg_inherits WHERE inhparent = 'sona.memory_nodes'::regclass LOOP
        EXECUTE format('ALTER TABLE %s RESET (fillfactor, toast_tuple_target)', child);
        FOR found IN
            SELECT i.indexrelid::regclass FROM pg_index i
            JOIN pg_class c ON c.oid = i.indexrelid
            JOIN pg_am a ON a.oid = c.relam AND a.amname = 'hnsw'
            WHERE i.indrelid = child
        LOOP
            EXECUTE format('ALTER INDEX %s RESET (m, ef_construction)', found);
            EXECUTE format('REINDEX INDEX %s', found);
        END LOOP;
    END LOOP;
END $$
"""


def upgrade() -> None:
    dimension = ENSURE_DIMENSION.replace("INDEXING", LIGHT).replace("STORING", STORING)
    _execute([*TABLES, dimension, EXISTING, *FUNCTIONS, *VIEWS])


def downgrade() -> None:
    light = f"CASE parent WHEN 'patterns' THEN {LIGHT} ELSE '' END"
    dimension = ENSURE_DIMENSION.replace("INDEXING", light).replace("STORING", "")
    _execute([*DROP, dimension, EXISTING_BEFORE])


def _execute(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)
