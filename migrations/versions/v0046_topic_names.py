"""Names that people give to topics: a name follows its pattern through versions, merging, and learning anew.

A pattern learned anew may have the id of another one (ids are made of seed, version and place), so an id counts only
together with the centroid.
"""

from __future__ import annotations

from alembic import op

revision = "0046"
down_revision = "0045"
branch_labels = None
depends_on = None

TABLE = """
CREATE TABLE IF NOT EXISTS sona.pattern_names (
    space_id int NOT NULL REFERENCES sona.spaces,
    pattern_id uuid NOT NULL,
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 100),
    named_by text NOT NULL,
    named_at timestamptz NOT NULL,
    centroid vector,
    PRIMARY KEY (space_id, pattern_id)
)
"""
VIEW = """
CREATE OR REPLACE VIEW sona.topics WITH (security_invoker = true) AS
SELECT s.name AS space, n.space_id, n.name, p.pattern_id, p.size, round(p.weight)::bigint AS recent_ratings,
       CASE WHEN p.weight > 0 THEN p.quality END AS quality, p.kind, p.typical_queries[1] AS typical_query,
       n.pattern_id AS named_pattern_id, n.named_by, n.named_at
FROM sona.pattern_names n
JOIN sona.spaces s ON s.space_id = n.space_id
LEFT JOIN LATERAL (
    SELECT q.pattern_id, q.size, q.weight, q.quality, q.kind, q.typical_queries
    FROM sona.patterns q
    WHERE q.space_id = n.space_id AND q.dim = vector_dims(n.centroid) AND (q.centroid <=> n.centroid) <= CASE
        WHEN q.pattern_id = n.pattern_id OR n.pattern_id = ANY(q.merged_from) THEN 0.3 ELSE 0.1 END
    ORDER BY q.pattern_id = n.pattern_id DESC, n.pattern_id = ANY(q.merged_from) DESC, q.centroid <=> n.centroid
    LIMIT 1
) p ON true
"""
FUNCTION = """
CREATE OR REPLACE FUNCTION sona.name_topic(of_space text, of_pattern uuid, topic text, named_by text DEFAULT NULL)
RETURNS void
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
    wanted int := sona.require_space(of_space);
    given text := nullif(btrim(topic), '');
    middle vector := (SELECT p.centroid FROM sona.patterns p WHERE p.space_id = wanted AND p.pattern_id = of_pattern);
    known uuid[] := ARRAY(SELECT t.named_pattern_id FROM sona.topics t WHERE t.space_id = wanted AND t.pattern_id = of_pattern);
BEGIN
    IF middle IS NULL THEN
        RAISE EXCEPTION 'space % has no pattern %', quote_literal(of_space), of_pattern USING ERRCODE = 'no_data_found';
    ELSIF char_length(given) > 100 OR given ~ '[[:cntrl:]]' THEN
        RAISE EXCEPTION 'the name of a topic has at most 100 characters in one line'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    DELETE FROM sona.pattern_names n WHERE n.space_id = wanted AND n.pattern_id = ANY(known || of_pattern);
    IF given IS NULL THEN
        RETURN;
    ELSIF (SELECT count(*) FROM sona.pattern_names n WHERE n.space_id = wanted) >= 1000 THEN
        RAISE EXCEPTION 'space % has 1000 names of topics: take some away first', quote_literal(of_space)
            USING ERRCODE = 'program_limit_exceeded';
    END IF;
    INSERT INTO sona.pattern_names (space_id, pattern_id, name, named_by, named_at, centroid)
    VALUES (wanted, of_pattern, given, coalesce(name_topic.named_by, session_user), clock_timestamp(), middle);
END $$
"""
STEPS = [
    TABLE,
    "COMMENT ON TABLE sona.pattern_names IS 'Names that people gave to patterns. No part of a version: sona.topics has the "
    "live pattern that each name belongs to.'",
    "COMMENT ON COLUMN sona.pattern_names.pattern_id IS 'The pattern that it was given to, or that it was found to follow.'",
    "COMMENT ON COLUMN sona.pattern_names.centroid IS 'Of that pattern; null: an erasure has left none like it.'",
    VIEW,
    "COMMENT ON VIEW sona.topics IS E'Patterns that people have named. A name stays with its pattern, goes on with the one that "
    "this is merged into, and is found again by its centroid where learning was done anew; pattern_id is null while no live "
    "pattern is about the same. A pattern that was merged of several may have several names.\\n"
    "Example: SELECT name, size, quality, typical_query FROM sona.topics WHERE space = ''support'' ORDER BY size DESC'",
    FUNCTION,
    "COMMENT ON FUNCTION sona.name_topic(text, uuid, text, text) IS E'Names a live pattern, in place of the names that it had; "
    "NULL takes them away.\\nExample: SELECT sona.name_topic(''support'', (SELECT pattern_id FROM sona.pattern_summary WHERE "
    "space = ''support'' ORDER BY size DESC LIMIT 1), ''Late delivery'')'",
]  # fmt: skip


def upgrade() -> None:
    if not op.get_context().config.attributes.get("stepped"):
        driver = op.get_bind().connection.driver_connection  # takes colons and percent signs as they stand
        for statement in STEPS:
            driver.execute(statement)


def downgrade() -> None:
    op.execute("DROP FUNCTION sona.name_topic(text, uuid, text, text)")
    op.execute("DROP VIEW sona.topics")
    op.execute("DROP TABLE sona.pattern_names")
