"""Hubs, communities and the hierarchy of the memory graph, asked at a cost that grows with the answer.

``memory_standing`` has strength and community of each node, indexed. An index on these columns of ``memory_nodes`` would
insert a row into its HNSW index again with each change. Loop C stores the communities, which SQL computed at each call:
65 ms at 1,000 nodes, 5 s at 10,000.
"""

from __future__ import annotations

from alembic import op
from sona_pg.migrations.versions import v0029_sql_reference, v0033_graph_nodes

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

TABLES = [
    """
    CREATE TABLE sona.memory_standing (
        space_id int NOT NULL REFERENCES sona.spaces,
        node_id uuid NOT NULL,
        strength double precision NOT NULL CHECK (strength >= 0),
        community int CHECK (community > 0),
        PRIMARY KEY (space_id, node_id)
    )
    """,
    "COMMENT ON TABLE sona.memory_standing IS 'Strength and community of each node of the memory graph: beside memory_nodes, "
    "where an index on them would insert each changed row into the HNSW index again.'",
    "COMMENT ON COLUMN sona.memory_standing.strength IS 'As in memory_nodes.'",
    "COMMENT ON COLUMN sona.memory_standing.community IS 'Number of the community that the last deep cycle found; a new node "
    "has that of its heaviest neighbours; null: none yet.'",
    "INSERT INTO sona.memory_standing (space_id, node_id, strength) SELECT space_id, node_id, strength FROM sona.memory_nodes",
    "CREATE INDEX memory_standing_by_strength ON sona.memory_standing (space_id, strength DESC, node_id)",
    "COMMENT ON INDEX sona.memory_standing_by_strength IS 'Serves: sona.hubs.'",
    "CREATE INDEX memory_standing_by_community ON sona.memory_standing (space_id, community, node_id)",
    "COMMENT ON INDEX sona.memory_standing_by_community IS 'Serves: the members of a community.'",
    "CREATE INDEX memory_nodes_of_kind ON sona.memory_nodes (space_id, kind)",
    "COMMENT ON INDEX sona.memory_nodes_of_kind IS 'Serves: sona.nearest_nodes of a kind that has few nodes.'",
    "CREATE INDEX memory_edges_abstract ON sona.memory_edges (space_id, target_id) WHERE kind = 'abstraction'",
    "COMMENT ON INDEX sona.memory_edges_abstract IS 'Serves: sona.hierarchy.'",
    "COMMENT ON TABLE sona.memory_nodes IS 'Nodes of the memory graph: patterns, candidates, and abstractions, which are "
    "groups of patterns. A space makes none of kind query: its queries are remembered by its ranker.'",
    "COMMENT ON COLUMN sona.memory_nodes.trajectory_id IS 'Of a node of kind query.'",
]
OLD_TABLES = [
    "COMMENT ON COLUMN sona.memory_nodes.trajectory_id IS NULL",
    "COMMENT ON TABLE sona.memory_nodes IS 'Nodes of the memory graph: patterns, candidates, recurrent queries, "
    "abstractions.'",
    "DROP INDEX sona.memory_edges_abstract, sona.memory_nodes_of_kind",
    "DROP TABLE sona.memory_standing",
]

# Nodes are looked up by arrays of ids: of a subquery with a limit the planner expects a share of the whole graph.
HUBS = """
CREATE FUNCTION sona.hubs(of_space text, most int DEFAULT 10) RETURNS TABLE (
    node_id uuid, kind text, degree int, strength double precision, importance double precision, access_count bigint,
    community int, pattern_id uuid, candidate_id text, typical_query text
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    of_dim int := (SELECT s.dim FROM sona.spaces s WHERE s.space_id = wanted);
    found uuid[] := ARRAY(
        SELECT s.node_id FROM sona.memory_standing s WHERE s.space_id = wanted
        ORDER BY s.strength DESC, s.node_id LIMIT most);
BEGIN
    RETURN QUERY
    SELECT n.node_id, n.kind, n.degree, s.strength, n.importance, n.access_count, s.community, n.pattern_id,
           n.candidate_id, p.typical_queries[1]
    FROM unnest(found) AS f (id)
    JOIN sona.memory_standing s ON s.space_id = wanted AND s.node_id = f.id
    JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = f.id
    LEFT JOIN sona.patterns p ON p.space_id = wanted AND p.dim = of_dim AND p.pattern_id = n.pattern_id
    ORDER BY s.strength DESC, n.node_id;
END $$
"""
COMMUNITIES = """
CREATE FUNCTION sona.communities(of_space text, around uuid DEFAULT NULL)
RETURNS TABLE (community int, node_id uuid, size bigint, kind text, pattern_id uuid, candidate_id text)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    of_dim int := (SELECT s.dim FROM sona.spaces s WHERE s.space_id = wanted);
    own int := (SELECT s.community FROM sona.memory_standing s WHERE s.space_id = wanted AND s.node_id = around);
    members uuid[];
BEGIN
    IF around IS NULL THEN
        RETURN QUERY
        SELECT s.community, n.node_id, count(*) OVER (PARTITION BY s.community), n.kind, n.pattern_id, n.candidate_id
        FROM sona.memory_standing s
        JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = s.node_id
        WHERE s.space_id = wanted AND s.community IS NOT NULL
        ORDER BY 3 DESC, 1, 2;
        RETURN;
    END IF;
    members := ARRAY(SELECT s.node_id FROM sona.memory_standing s WHERE s.space_id = wanted AND s.community = own);
    RETURN QUERY
    SELECT own, n.node_id, cardinality(members)::bigint, n.kind, n.pattern_id, n.candidate_id
    FROM unnest(members) AS f (id)
    JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = f.id
    ORDER BY n.node_id;
END $$
"""
HIERARCHY = """
CREATE FUNCTION sona.hierarchy(of_space text, of_node uuid DEFAULT NULL) RETURNS TABLE (
    depth int, node_id uuid, parent_id uuid, path uuid[], kind text, importance double precision, pattern_id uuid,
    typical_query text
)
LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    of_dim int := (SELECT s.dim FROM sona.spaces s WHERE s.space_id = wanted);
    level int := 0;
    nodes uuid[];
    parents uuid[];
    paths text[];
BEGIN
    IF of_node IS NOT NULL THEN
        nodes := ARRAY[of_node];
    ELSE
        nodes := ARRAY(
            SELECT DISTINCT e.target_id FROM sona.memory_edges e WHERE e.space_id = wanted AND e.kind = 'abstraction'
            EXCEPT
            SELECT e.source_id FROM sona.memory_edges e WHERE e.space_id = wanted AND e.kind = 'abstraction'
            ORDER BY 1);
    END IF;
    parents := array_fill(NULL::uuid, ARRAY[cardinality(nodes)]);
    paths := nodes::text[];
    WHILE cardinality(nodes) > 0 LOOP
        RETURN QUERY
        SELECT level, n.node_id, f.parent, string_to_array(f.path, ' ')::uuid[], n.kind, n.importance, n.pattern_id,
               p.typical_queries[1]
        FROM unnest(nodes, parents, paths) AS f (id, parent, path)
        JOIN sona.memory_nodes n ON n.space_id = wanted AND n.dim = of_dim AND n.node_id = f.id
        LEFT JOIN sona.patterns p ON p.space_id = wanted AND p.dim = of_dim AND p.pattern_id = n.pattern_id;
        level := level + 1;
        SELECT array_agg(c.child ORDER BY c.child), array_agg(c.parent ORDER BY c.child),
               array_agg(c.path ORDER BY c.child)
        INTO nodes, parents, paths
        FROM (
            SELECT e.source_id AS child, e.target_id AS parent, f.path || ' ' || e.source_id AS path
            FROM unnest(nodes, paths) AS f (id, path)
            JOIN sona.memory_edges e ON e.space_id = wanted AND e.target_id = f.id AND e.kind = 'abstraction'
        ) c;
    END LOOP;
END $$
"""
EXACT = """    IF of_kind IS NOT NULL OR k > 128 OR dims > 4000 OR (
        SELECT count(*) FROM (
            SELECT FROM sona.memory_nodes n WHERE n.space_id = wanted AND n.dim = dims LIMIT 20001) few) <= 20000
    THEN
"""
EXACT_IF_FEW = """    IF k > 128 OR dims > 4000 OR (
        SELECT count(*) FROM (
            SELECT FROM sona.memory_nodes n WHERE n.space_id = wanted AND n.dim = dims
                AND (of_kind IS NULL OR n.kind = of_kind)
            LIMIT 20001) few) <= 20000
    THEN
"""
INDEXED = """        parts := format(scan, dims, 'AND n.indexed', format('n.embedding::%1$s(%2$s) <=> $2::%1$s(%2$s)',
                        CASE WHEN dims <= 2000 THEN 'vector' ELSE 'halfvec' END, dims))
            || ' UNION ALL ' || format(scan, dims, 'AND NOT n.indexed', 'n.embedding <=> $2');
"""
INDEXED_OF_KIND = """        only_kind := CASE WHEN of_kind IS NULL THEN '' ELSE format(' AND n.kind = %L', of_kind) END;
        parts := format(scan, dims, 'AND n.indexed' || only_kind, format('n.embedding::%1$s(%2$s) <=> $2::%1$s(%2$s)',
                        CASE WHEN dims <= 2000 THEN 'vector' ELSE 'halfvec' END, dims))
            || ' UNION ALL ' || format(scan, dims, 'AND NOT n.indexed' || only_kind, 'n.embedding <=> $2');
"""
NEAREST_BEFORE = v0033_graph_nodes.NEAREST
NEAREST = (
    NEAREST_BEFORE.replace(EXACT, EXACT_IF_FEW)
    .replace(INDEXED, INDEXED_OF_KIND)
    .replace("    parts text;\n", "    parts text;\n    only_kind text;\n")
)

OLD_COMMUNITIES = "FUNCTION sona.communities(text, uuid, int, timestamptz)"
OLD_COMMENT = (
    "Communities of the memory graph, or of what is around a node, by label propagation (Raghavan, Albert and Kumara 2007); "
    f"the largest first.\\nExample: {v0029_sql_reference.EXAMPLES[OLD_COMMUNITIES]}"
)
NEAREST_COMMENT = (
    "The nodes of the live memory graph nearest to a query vector, of one kind if one is named: among up to 20,000 exactly, "
    "else by index, with those not yet in it.\\nExample: SELECT similarity, kind, candidate_id "
    "FROM sona.nearest_nodes(''support'', ''[1,0,0]'', 5)"
)
COMMENTS = {
    "hubs(text, int)": "The nodes of the live memory graph with the strongest connections.\\nExample: SELECT kind, "
    "typical_query, degree, strength FROM sona.hubs(''support'', 10)",
    "communities(text, uuid)": "Communities of the live memory graph, as the last deep cycle found them by label propagation "
    "(Raghavan, Albert and Kumara 2007), the largest first; or the one community of a node. Their numbers stay as long as "
    "most of their nodes stay together.\\nExample: SELECT * FROM sona.communities(''support'')",
    "hierarchy(text, uuid)": "The hierarchy over patterns, from its top or from one of its nodes; path leads there from where "
    "it began.\\nExample: SELECT repeat(''    '', depth) || coalesce(typical_query, kind) FROM sona.hierarchy(''support'') "
    "ORDER BY path",
    "nearest_nodes(text, vector, int, text)": NEAREST_COMMENT,
}


def upgrade() -> None:
    told = [f"COMMENT ON FUNCTION sona.{name} IS E'{comment}'" for name, comment in COMMENTS.items()]
    _execute([*TABLES, f"DROP {OLD_COMMUNITIES}", HUBS, COMMUNITIES, HIERARCHY, _replacing(NEAREST), *told])


def downgrade() -> None:
    made = ("hubs(text, int)", "communities(text, uuid)", "hierarchy(text, uuid)")
    nearest = "nearest_nodes(text, vector, int, text)"
    told = [
        f"COMMENT ON {OLD_COMMUNITIES} IS E'{OLD_COMMENT}'",
        f"COMMENT ON FUNCTION sona.{nearest} IS E'{v0033_graph_nodes.COMMENTS[nearest]}'",
    ]
    before = [v0033_graph_nodes.COMMUNITIES, _replacing(NEAREST_BEFORE)]
    _execute([*(f"DROP FUNCTION sona.{name}" for name in made), *before, *told, *OLD_TABLES])


def _replacing(definition: str) -> str:
    return definition.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)


def _execute(statements: list[str]) -> None:
    driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
    for statement in statements:
        driver.execute(statement)
